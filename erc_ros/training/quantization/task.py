"""Evaluation data of a bundle (dialogues, audio, faces), and their processing by its networks.

The only module of the quantization that depends on the networks' inputs. A bundle whose manifest
names its corpus is evaluated on its audio and faces (`CorpusMaterial`).

Any other bundle is evaluated on MELD's text and labels. MELD's audio and faces are not available:
every utterance gets a clip of other corpora with its label (or, for a fixed share, with any label;
see `fusion.simulation`). This simulation is only for the comparison of a network with its float32
version on the same input.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from erc_ros.encoders.text import Turn
from erc_ros.inference.bundle import Bundle, fusion_sizes, speaker_network, text_prompt
from erc_ros.inference.inputs import audio_inputs, unusable, visual_inputs
from erc_ros.inference.manifest import MANIFEST, VoiceAudio
from erc_ros.inference.text_encoders import open_text_encoder
from erc_ros.inference.voice import HeardVoice, VoiceFeatures, voice_inputs
from erc_ros.networks.network import Network
from erc_ros.training.datasets import corpora
from erc_ros.training.datasets.held_out import acted_speech, speakers_of_bundle
from erc_ros.training.datasets.utterances import LABELS, Conversation
from erc_ros.values.utterance import FaceCrop, Utterance

PARTS = ("text", "audio", "visual", "fusion")
ENCODERS = PARTS[:3]
SPLITS = ("calibration", "dev", "test")
"""calibration: a part of the training data; the gate uses dev; test is evaluated once."""
CALIBRATION_DIALOGUES, CALIBRATION_FACES = 40, 300
MISMATCH = {"audio": 0.53, "visual": 0.75}
"""Share of clips with any label; gives each modality about the accuracy published for MELD."""
FACES = 8  # crops per utterance in measurements of latency
PICTURES = 16  # crops per utterance, as by `erc cut-faces`

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]
Feed = Mapping[str, NDArray[Any]]
Run = Callable[[dict[str, NDArray[Any]]], dict[str, Floats]]


@dataclass(frozen=True, eq=False)
class Material:
    """The data of one split.

    sounds: clips (n,) int16 at 16 kHz. faces: (F, S, S) uint8. Labels are indices into LABELS.
    """

    conversations: tuple[Conversation, ...]
    sounds: tuple[NDArray[np.int16], ...]
    sound_labels: Labels
    faces: NDArray[np.uint8]
    face_labels: Labels

    def __post_init__(self) -> None:
        if not any(c.utterances for c in self.conversations):
            raise ValueError("there is no utterance to evaluate")
        for name, labels in (("sound", self.sound_labels), ("face", self.face_labels)):
            if lacking := sorted(set(self.labels.tolist()) - set(labels.tolist())):
                names = ", ".join(LABELS[label] for label in lacking)
                raise ValueError(f"no {name} has the labels {names}")

    told = (
        "text and labels are MELD's; audio and faces are simulated (clips of RAVDESS, EmoDB, FER+)"
        ": only for comparisons with float32, not a benchmark"
    )

    @property
    def labels(self) -> Labels:
        """Return the labels (N,) of all utterances in their order."""
        return labels_of(self.conversations)

    def drawn(self, part: str) -> tuple[Labels, Sequence[NDArray[Any]]]:
        """Return the clip of each utterance (N,), and the clips: audio (n,) or images (1, S, S)."""
        labels = self.sound_labels if part == "audio" else self.face_labels
        chosen = draw(self.labels, labels, MISMATCH[part], seed=ENCODERS.index(part))
        return chosen, self.sounds if part == "audio" else tuple(self.faces[:, None])

    def shown(self, number: int) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
        """Return audio and images of an utterance, to measure its latency."""
        sounds = draw(self.labels, self.sound_labels, 0.0, seed=0)
        places = range(number * FACES, (number + 1) * FACES)
        return self.sounds[sounds[number]], np.take(self.faces, places, axis=0, mode="wrap")


@dataclass(frozen=True, eq=False)
class CorpusMaterial:
    """One split of the bundle's training corpus, with its own audio and faces.

    They are decoded on access, so that memory does not grow with the corpus.
    """

    corpus: str
    conversations: tuple[Conversation, ...]

    def __post_init__(self) -> None:
        if not (self.labels >= 0).any():
            raise ValueError("there is no labeled utterance to evaluate")

    @property
    def told(self) -> str:
        """Description of the data for the report."""
        return f"text, audio, faces and labels are those of {self.corpus}"

    @property
    def labels(self) -> Labels:
        """Return the labels (N,), -100 without a label."""
        return labels_of(self.conversations)

    def drawn(self, part: str) -> tuple[Labels, Sequence[NDArray[Any]]]:
        """Return the clip of each utterance (N,), and the clips; a missing one is empty."""
        clips = _Clips(self.corpus, part, self.conversations)
        return np.arange(len(clips)), clips

    def shown(self, number: int) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
        """Return audio and images of an utterance."""
        audio = self.drawn("audio")[1][number]
        return audio, self.drawn("visual")[1][number]


@dataclass(frozen=True, eq=False)
class _Clips(Sequence[NDArray[Any]]):
    """Audio (n,) int16 or images (T, H, W, 3) BGR of utterances, decoded on access."""

    corpus: str
    part: str
    conversations: tuple[Conversation, ...]

    @cached_property
    def _files(self) -> list[Path | None]:
        utterances = (u for c in self.conversations for u in c.utterances)
        return [u.clip if self.part == "audio" else u.pictures for u in utterances]

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, number: Any) -> Any:
        nothing = np.zeros(0, np.int16) if self.part == "audio" else np.zeros((0, 1, 1), np.uint8)
        file = self._files[number]
        if file is None:
            return nothing
        try:
            if self.part == "audio":
                audio = corpora.sound(self.corpus, file)
                return np.rint(np.clip(audio, -1, 1) * 32767).astype(np.int16)
            return np.ascontiguousarray(corpora.frames(file, PICTURES)[..., ::-1])
        except corpora.UnusableMediaError:
            return nothing


AnyMaterial = Material | CorpusMaterial


def labels_of(conversations: Sequence[Conversation]) -> Labels:
    """Return the labels (N,) of all utterances in their order, -100 without a label."""
    labels = (u.label for c in conversations for u in c.utterances)
    return np.array([-100 if label is None else label for label in labels], np.int64)


def owners_of(conversations: Sequence[Conversation]) -> Labels:
    """Return the number (N,) of each utterance's conversation."""
    counts = [len(c.utterances) for c in conversations]
    return np.repeat(np.arange(len(counts)), counts)


def material_of(bundle: Bundle, data: Path, corpus: str = "") -> Mapping[str, AnyMaterial]:
    """Read the evaluation data: `corpus`, else the corpus of the manifest, else MELD.

    Raises:
        FileNotFoundError: a data set is missing.
        ValueError: the corpus has other labels than the bundle.
    """
    corpus = corpus or str(bundle.training.get("corpus", ""))
    if not corpus:
        if bundle.labels != LABELS:
            raise ValueError(
                f"{bundle.folder} answers with {', '.join(bundle.labels)} and does not say what it "
                "learned from: name a corpus with these labels (--corpus)"
            )
        return read_material(data, bundle)
    splits: dict[str, CorpusMaterial] = {}
    for split in SPLITS:
        read = corpora.read(corpus, data, "train" if split == "calibration" else split)
        if read.labels != bundle.labels:
            raise ValueError(
                f"{corpus} has the labels {', '.join(read.labels)}, {bundle.folder} answers with "
                f"{', '.join(bundle.labels)}"
            )
        talks = read.conversations
        if split == "calibration":
            talks = talks[:: max(1, len(talks) // CALIBRATION_DIALOGUES)]
        splits[split] = CorpusMaterial(corpus, tuple(talks))
    return splits


def read_material(data: Path, bundle: Bundle) -> dict[str, Material]:
    """Read MELD's dialogues with RAVDESS, EmoDB and FER+, per split.

    Speakers of dev and test are those that the manifest of the bundle names as held out
    (`training.held_out.audio`); calibration takes all others. Faces follow the split of FER+.

    Raises:
        FileNotFoundError: a data set is missing; names the expected path.
        ValueError: the bundle has an audio part and its manifest does not name held-out speakers.
    """
    dialogues = {
        s: corpora.read(corpora.DIALOGUES, data, "train" if s == "calibration" else s).conversations
        for s in SPLITS
    }
    step = max(1, len(dialogues["calibration"]) // CALIBRATION_DIALOGUES)
    dialogues["calibration"] = dialogues["calibration"][::step]
    clips = acted_speech(data).clips
    source = str(bundle.folder / MANIFEST)
    speakers = speakers_of_bundle(bundle.training, bundle.audio is not None, clips, source)
    chosen = {split: speakers.rows(clips, split) for split in ("dev", "test")}
    chosen["calibration"] = speakers.rows(clips, "train")[::8]
    pictures = corpora.images(corpora.FACES, data)
    result = {}
    for split, name in zip(SPLITS, ("train", "valid", "test"), strict=True):
        faces = getattr(pictures, name)
        known = np.flatnonzero(faces.labels >= 0)
        if split == "calibration":
            known = np.random.default_rng(0).permutation(known)[:CALIBRATION_FACES]
        to_labels = corpora.find(corpora.FACES).to_labels
        split_clips = [clips[index] for index in chosen[split]]
        result[split] = Material(
            conversations=tuple(dialogues[split]),
            sounds=tuple(np.rint(clip.samples * 32767).astype(np.int16) for clip in split_clips),
            sound_labels=np.array([clip.label for clip in split_clips], np.int64),
            faces=faces.pictures[known],
            face_labels=to_labels[faces.labels[known]],
        )
    return result


class Task:
    """Runs the networks of a bundle on the data as on the robot, one input at a time.

    The networks are arguments, so that float32 and quantized ones are evaluated by the same code.

    Args:
        bundle: sizes, tokenizer and the float32 networks.
        material: data of every split.
        workers: number of conversations, clips or images in parallel; None: number of cores.
    """

    def __init__(
        self, bundle: Bundle, material: Mapping[str, AnyMaterial], workers: int | None = None
    ) -> None:
        self.bundle = bundle
        self._workers = workers or len(os.sched_getaffinity(0))
        self.material = dict(material)
        self.parts, self.encoders = tuple(bundle.parts), tuple(bundle.encoders)
        self._prompt = text_prompt(bundle.text)
        self._fusion_sizes = fusion_sizes(bundle)
        self._heard: dict[bytes, Floats] = {}

    def file(self, part: str) -> Path:
        """Return the float32 network of a part."""
        file: Path = getattr(self.bundle, part).file
        return file

    def embed(self, part: str, run: Run, split: str) -> Floats:
        """Return an encoder's embeddings (N, E) of all utterances; NaN without input."""
        material = self.material[split]
        if part == "text":
            rows = self._each(lambda c: self._text(run, c), material.conversations)
            return np.concatenate([row for row in rows if len(row)])
        chosen, clips = material.drawn(part)
        used = np.unique(chosen)
        read = self.embed_sound if part == "audio" else self.embed_face
        nothing = np.full(self.bundle.encoders[part].embedding, np.nan, np.float32)

        def one(index: int) -> Floats:
            embedding = read(run, clips[index])
            return nothing if embedding is None else embedding.mean(axis=0)

        embedded = np.stack(self._each(one, used.tolist()))
        result: Floats = embedded[np.searchsorted(used, chosen)]
        return result

    def logits(
        self,
        run: Run,
        embeddings: Mapping[str, Floats],
        split: str,
        seen: Sequence[bool] = (True, True, True),
    ) -> Floats:
        """Return logits (N, C) of the fusion, from these modalities only.

        embeddings: of the three encoders, (N, E) each.
        """
        material, begin, jobs = self.material[split], 0, []
        for conversation in material.conversations:
            jobs.append((conversation, begin))
            begin += len(conversation.utterances)

        def answer(job: tuple[Conversation, int]) -> list[Floats]:
            feeds = self._windows(*job, embeddings, seen)
            return [run(feed)["logits"][:, -1] for feed in feeds]

        return np.concatenate([row for rows in self._each(answer, jobs) for row in rows])

    def feeds(self, part: str, split: str, limit: int) -> list[Feed]:
        """Return at most `limit` inputs of a part, collected while the float32 networks run.

        Processes one after the other, so that the result is reproducible.
        """
        small = self._first(split, limit)
        recorded: list[Feed] = []

        def recording(network: Run) -> Run:
            def run(feed: dict[str, NDArray[Any]]) -> dict[str, Floats]:
                # the text encoder overwrites the keys and values that it returned
                recorded.append({name: np.array(value) for name, value in feed.items()})
                return network(feed)

            return run

        if part != "fusion":
            small.embed(part, recording(Network(self.file(part))), split)
        else:
            embeddings = {e: small.embed(e, Network(self.file(e)), split) for e in self.encoders}
            small.logits(recording(Network(self.file("fusion"))), embeddings, split)
        return recorded[:limit]

    def utterances(self, split: str, limit: int) -> list[Utterance]:
        """Return the first utterances with audio and faces, as inputs of the recognizer."""
        material = self._first(split, limit).material[split]
        made: list[Utterance] = []
        for owner, conversation in enumerate(material.conversations):
            for utterance in conversation.utterances[: limit - len(made)]:
                number = len(made)
                audio, faces = material.shown(number)
                made.append(
                    Utterance(
                        conversation_id=f"conversation {owner}",
                        utterance_id=f"utterance {number}",
                        start=number * 4_000_000_000,
                        end=number * 4_000_000_000 + 3_000_000_000,
                        text=utterance.text,
                        speaker_id=str(utterance.speaker),
                        audio=audio,
                        faces=tuple(
                            FaceCrop(number * 4_000_000_000 + place, image)
                            for place, image in enumerate(faces)
                        ),
                    )
                )
        return made

    def _first(self, split: str, limit: int) -> Task:
        """Return the task with the first conversations that have `limit` utterances."""
        material, kept, count = self.material[split], [], 0
        for conversation in material.conversations:
            if count >= limit:
                break
            kept.append(conversation)
            count += len(conversation.utterances)
        few = replace(material, conversations=tuple(kept))
        return Task(self.bundle, {**self.material, split: few}, workers=1)

    def _each(self, function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        """Map in threads, in order; ONNX Runtime releases the GIL."""
        with ThreadPoolExecutor(self._workers) as workers:
            return list(workers.map(function, items))

    def _text(self, run: Run, conversation: Conversation) -> Floats:
        """Return embeddings (n, E), with cached keys and values of earlier utterances."""
        encoder = open_text_encoder(run, self.bundle.text, self._prompt)
        return encoder.conversation(Turn(u.speaker, u.text) for u in conversation.utterances)

    def embed_sound(self, run: Run, audio: NDArray[np.int16]) -> Floats | None:
        """Return the audio network's embedding (1, E) of a clip; None without audio."""
        assert self.bundle.audio is not None
        if unusable(audio):
            return None
        if not isinstance(self.bundle.audio, VoiceAudio):
            return run(audio_inputs(self.bundle.audio, audio))["embedding"]
        features = self._features(audio)
        alone = HeardVoice("", "", features)  # each clip as the first of its speaker
        return run(voice_inputs([alone], (), self.bundle.audio.heard))["embedding"]

    def _features(self, audio: NDArray[np.int16]) -> Floats:
        """Return the speaker features of a clip, cached: their network is never quantized."""
        assert isinstance(self.bundle.audio, VoiceAudio)
        key = blake2b(audio.tobytes(), digest_size=16).digest()
        if key not in self._heard:
            features = self._voice(audio)
            nothing = np.zeros(self.bundle.audio.features, np.float32)
            self._heard[key] = nothing if features is None else features
        return self._heard[key]

    @cached_property
    def _voice(self) -> VoiceFeatures:
        assert isinstance(self.bundle.audio, VoiceAudio)
        return VoiceFeatures(speaker_network(self.bundle), self.bundle.audio.max_seconds)

    def embed_face(self, run: Run, pictures: NDArray[np.uint8]) -> Floats | None:
        """Return the visual network's embeddings (T, E) of images (T, ...); None without images."""
        assert self.bundle.visual is not None
        crops = [FaceCrop(0, image) for image in pictures]
        inputs, _ = visual_inputs(self.bundle.visual, crops)
        return None if inputs is None else run(inputs)["embedding"]

    def _windows(
        self,
        conversation: Conversation,
        begin: int,
        embeddings: Mapping[str, Floats],
        seen: Sequence[bool],
    ) -> Iterator[dict[str, NDArray[Any]]]:
        """Yield the fusion's input for every utterance, with the last ones of its conversation."""
        speakers = np.array([u.speaker for u in conversation.utterances], np.int64)
        for last in range(len(conversation.utterances)):
            first = max(0, last + 1 - self.bundle.fusion.context)
            rows, count = slice(begin + first, begin + last + 1), last + 1 - first
            there = np.zeros((1, count, len(ENCODERS)), bool)
            feed: dict[str, NDArray[Any]] = {}
            for number, name in enumerate(ENCODERS):
                if name in self.encoders:
                    features = embeddings[name][None, rows]
                    there[..., number] = seen[number] & np.isfinite(features).all(axis=-1)
                    feed[name] = np.nan_to_num(features)
                elif name in self._fusion_sizes:
                    feed[name] = np.zeros((1, count, self._fusion_sizes[name]), np.float32)
            feed |= {
                "modalities": there,
                "speakers": speakers[None, first : last + 1],
                "valid": np.ones((1, count), bool),
            }
            yield {name: array for name, array in feed.items() if name in self._fusion_sizes}


def draw(labels: Labels, clip_labels: Labels, mismatch: float, seed: int) -> Labels:
    """Draw a clip (N,) for each utterance: with its label, or for a share, with any label."""
    rng = np.random.default_rng(seed)
    chance, place = rng.random(len(labels)), rng.random(len(labels))
    wanted = np.where(chance < mismatch, rng.permutation(labels), labels)
    order = np.argsort(clip_labels, kind="stable")
    counts = np.bincount(clip_labels, minlength=int(labels.max()) + 1)
    starts = np.cumsum(counts) - counts
    chosen: Labels = order[starts[wanted] + (place * counts[wanted]).astype(np.int64)]
    return chosen
