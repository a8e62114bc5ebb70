"""`erc encode CORPUS SPLIT`: encode a corpus once and store the features.

The corpus is divided into shards of whole conversations. A shard is the unit of work: it is
encoded and written by `ShardEncoder`, here in this process or, with several workers, in processes
of Ray Data on this machine or a cluster whose machines see the same folders. Nothing but the number
of a shard travels. What is already there, by the same encoder and of the same utterances, is not
made again; so a run that was killed goes on where it was.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from erc_ros import plugins
from erc_ros.encoders.text import Block, TextPrompt, Turn
from erc_ros.inference.bundle import load_bundle, sha256_of, text_prompt
from erc_ros.inference.manifest import MANIFEST
from erc_ros.inference.text_encoders import CachedTextEncoder
from erc_ros.networks.network import Network
from erc_ros.resources import model_folder
from erc_ros.training.datasets import corpora
from erc_ros.training.datasets.folder import data_folder
from erc_ros.training.datasets.utterances import Conversation, LabelledUtterance, Split, count
from erc_ros.training.encoders.sample import Encoder, Sample
from erc_ros.training.features.store import create, damage, read_shard, write_shard
from erc_ros.training.manifest import attention_shape, open_prompt
from erc_ros.values.utterance import MODALITIES

SHARD = 512  # utterances, about
AT_ONCE = 16  # utterances whose sound or pictures are in memory
FRAMES = 32  # pictures of an utterance, evenly over it
RAY_STARTS = 3  # it gives up after 30 s, which a busy machine may need
NOT_FINITE = "the features are not finite"


@dataclass(frozen=True, slots=True)
class EncodingJob:
    """What to encode, by what, and where to.

    encoder: one of ENCODERS, or a class of another package (`sample.Encoder`). model: file, folder
    or name, as that encoder takes it. options: its settings. shard: utterances in a shard, about.
    """

    corpus: str
    split: str
    data: Path
    out: Path
    encoder: str = "bundle-text"
    model: str = "edge-small"
    options: tuple[tuple[str, Any], ...] = ()
    shard: int = SHARD

    def __post_init__(self) -> None:
        if self.encoder not in ENCODERS and not plugins.is_reference(self.encoder):
            known = [*ENCODERS, *plugins.names(plugins.ENCODERS)]
            if self.encoder not in known:
                raise ValueError(
                    f"encoder {self.encoder!r} is unknown; known are {', '.join(known)}; or give a "
                    "class of yours as module:Class"
                )
        if self.shard < 1:
            raise ValueError(f"a shard must have at least 1 utterance, not {self.shard}")

    def load_encoder(self) -> Encoder:
        """The encoder; ValueError for an option that it does not have."""
        try:
            if self.encoder not in ENCODERS:
                encoder: Encoder = plugins.find(plugins.ENCODERS, self.encoder)(
                    self.model, **dict(self.options)
                )
                return encoder
            return ENCODERS[self.encoder](self.model, dict(self.options))
        except TypeError as error:
            raise ValueError(f"encoder {self.encoder}: {error}") from error


@dataclass(frozen=True, slots=True)
class Done:
    """One shard as it was made: how many utterances got features, and when (ns since 1970)."""

    shard: int
    utterances: int
    begin: int
    end: int


class BundleText:
    """The robot's text encoder: `text.onnx` and `tokenizer.json` of a bundle or a training run.

    Read as on the robot, an utterance after the other with a memory, anew for every conversation;
    see `sample.Encoder`.

    Args:
        folder: of a bundle or of a training run, which say how it reads.

    Raises:
        FileNotFoundError: no such files.
        ValueError: not an encoder of this form, or a bundle that does not fit.
    """

    modality = "text"

    def __init__(self, folder: Path) -> None:
        file, tokenizer = folder / "text.onnx", folder / "tokenizer.json"
        for needed in (file, tokenizer):
            if not needed.is_file():
                raise FileNotFoundError(f"{needed} is missing: {folder} has no text encoder")
        if (folder / MANIFEST).is_file():
            prompt = text_prompt(load_bundle(folder).text)
        else:
            prompt = open_prompt(folder)
        if not isinstance(prompt, TextPrompt):
            raise ValueError(f"{folder} has a text encoder that keeps nothing; encode with text")
        layers, heads, width = attention_shape(file)
        self._prompt = prompt
        self._read = CachedTextEncoder(Network(file), self._prompt, (layers, heads, width))
        self._turns: tuple[Turn, ...] = ()
        self._window: tuple[Block, ...] = ()
        self.dimension = heads * width
        parts = f"{sha256_of(file)} {sha256_of(tokenizer)} {prompt.max_tokens}"
        parts += "" if prompt.has_question else " no question"
        self.name = f"bundle-text-{hashlib.sha256(parts.encode()).hexdigest()[:12]}"

    def refuses(self, sample: Sample) -> str:
        """An utterance without text has no embedding."""
        if not sample.turns:
            return "no turn"
        return "" if sample.turns[-1].text.strip() else "empty text"

    def encode(self, samples: Sequence[Sample]) -> NDArray[np.float32]:
        """(N, d), each read after the turns before it."""
        return np.stack([self._embed(sample.turns) for sample in samples])

    def _embed(self, turns: tuple[Turn, ...]) -> NDArray[np.float32]:
        known = len(self._turns)
        if turns[:known] != self._turns:  # another conversation
            known = 0
            self._window = ()
            self._read.forget()
        for turn in turns[known:]:
            if turn.text.strip():
                self._window = self._prompt.slide(self._window, turn)
        self._turns = turns
        return self._read(self._window)


def _bundle_text(model: str, options: dict[str, Any]) -> Encoder:
    return BundleText(model_folder(model), **options)


def _bundle_audio(model: str, options: dict[str, Any]) -> Encoder:
    from erc_ros.training.encoders.small import BundleSpeechEncoder

    return BundleSpeechEncoder(model_folder(model) / "audio.onnx", **options)


def _text(model: str, options: dict[str, Any]) -> Encoder:
    from erc_ros.training.encoders.text.pretrained import PretrainedTextEncoder, TextEncoderConfig

    return PretrainedTextEncoder(TextEncoderConfig(model, **options))


def _speech(model: str, options: dict[str, Any]) -> Encoder:
    from erc_ros.training.encoders.audio.pretrained import SpeechEncoder, SpeechEncoderConfig

    return SpeechEncoder(SpeechEncoderConfig(model, **options))


def _video(model: str, options: dict[str, Any]) -> Encoder:
    from erc_ros.training.encoders.visual.pretrained import VideoEncoder, VideoEncoderConfig

    return VideoEncoder(VideoEncoderConfig(model, **options))


ENCODERS: dict[str, Callable[[str, dict[str, Any]], Encoder]] = {
    "bundle-text": _bundle_text,
    "bundle-audio": _bundle_audio,
    "text": _text,
    "speech": _speech,
    "video": _video,
}
"""The robot's own, and any local model of Hugging Face (`training.encoders`)."""


class ShardEncoder:
    """Encodes shards of a job, one after the other; every worker has one."""

    def __init__(
        self, job: EncodingJob, split: Split | None = None, encoder: Encoder | None = None
    ) -> None:
        self.job = job
        self.split = split or corpora.read(job.corpus, job.data, job.split)
        self.shards = plan(self.split.conversations, job.shard)
        self.encoder = encoder or job.load_encoder()

    def missing(self) -> list[int]:
        """The shards that still have to be made, whole ones by the same encoder left out."""
        return [number for number in range(len(self.shards)) if not self._is_done(number)]

    def source(self, number: int) -> str:
        """A digest of what a shard is made of: encoder, words, speakers, files."""
        digest = hashlib.sha256(self.encoder.name.encode())
        for conversation in self.shards[number]:
            for u in conversation.utterances:
                clip = u.pictures if self.encoder.modality == "visual" else u.clip
                file = (clip.name, clip.stat().st_size) if clip else None
                record = [conversation.key(u), u.speaker, u.text, file]
                digest.update(json.dumps(record).encode())
        return digest.hexdigest()

    def __call__(self, number: int) -> Done:
        """Encode and write one shard."""
        begin = time.time_ns()
        keys, features, left_out = self._features(self.shards[number])
        write_shard(self.job.out, number, self.source(number), keys, features, left_out)
        return Done(number, len(keys), begin, time.time_ns())

    def _is_done(self, number: int) -> bool:
        try:
            shard = read_shard(self.job.out, number)
        except ValueError:  # a damaged index is written anew
            return False
        return (
            shard is not None
            and shard.source == self.source(number)
            and not damage(self.job.out, number, shard)
        )

    def _features(
        self, conversations: Iterable[Conversation]
    ) -> tuple[list[str], NDArray[np.float32], dict[str, str]]:
        keys: list[str] = []
        rows = [np.zeros((0, self.encoder.dimension), np.float32)]
        left_out: dict[str, str] = {}
        for samples in self._batches(conversations, left_out):
            features = np.asarray(self.encoder.encode(samples), np.float32)
            finite = np.asarray(np.isfinite(features).all(axis=1))
            rows.append(features[finite])
            for sample, good in zip(samples, finite, strict=True):
                if good:
                    keys.append(sample.key)
                else:
                    left_out[sample.key] = NOT_FINITE
        return keys, np.concatenate(rows), left_out

    def _batches(
        self, conversations: Iterable[Conversation], left_out: dict[str, str]
    ) -> Iterator[list[Sample]]:
        """At most AT_ONCE samples at a time; those that have no features go to `left_out`."""
        batch: list[Sample] = []
        for conversation in conversations:
            turns = tuple(Turn(u.speaker, u.text) for u in conversation.utterances)
            for number, utterance in enumerate(conversation.utterances, start=1):
                key = conversation.key(utterance)
                try:
                    sample = sample_of(
                        self.job.corpus, key, turns[:number], utterance, self.encoder.modality
                    )
                except corpora.UnusableMediaError as error:
                    left_out[key] = str(error)
                    continue
                if reason := self.encoder.refuses(sample):
                    left_out[key] = reason
                    continue
                batch.append(sample)
                if len(batch) == AT_ONCE:
                    yield batch
                    batch = []
        if batch:
            yield batch


def sample_of(
    corpus: str, key: str, turns: tuple[Turn, ...], utterance: LabelledUtterance, modality: str
) -> Sample:
    """What an encoder of this modality gets of an utterance.

    Raises:
        UnusableMediaError: it has no clip, or a broken one.
    """
    if utterance.features:
        return Sample(key, turns, features=utterance.features[MODALITIES.index(modality)])
    if modality == "text":
        return Sample(key, turns)
    file = utterance.clip if modality == "audio" else utterance.pictures
    if file is None:
        raise corpora.UnusableMediaError("no clip")
    if modality == "audio":
        return Sample(key, turns, sound=corpora.sound(corpus, file))
    return Sample(key, turns, frames=corpora.frames(file, FRAMES))


def plan(conversations: Iterable[Conversation], size: int) -> list[tuple[Conversation, ...]]:
    """Whole conversations in their order, `size` utterances to a shard or a few more."""
    shards: list[tuple[Conversation, ...]] = []
    current: list[Conversation] = []
    for conversation in conversations:
        current.append(conversation)
        if count(current) >= size:
            shards.append(tuple(current))
            current = []
    return [*shards, tuple(current)] if current else shards


def encode_split(corpus: str, split: Split, encoder: Encoder, out: Path) -> None:
    """Make what is missing of the features of a split that was read already; see `encode`.

    Raises:
        ValueError: `out` has another encoder's features.
    """
    here = ShardEncoder(EncodingJob(corpus, split.name, Path(), out), split, encoder)
    create(out, encoder.name, encoder.dimension, len(here.shards))
    for number in here.missing():
        here(number)


def encode(
    job: EncodingJob,
    workers: int = 1,
    cluster: str | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> list[Done]:
    """Make what is missing of a job's features; returns the shards that were made.

    Args:
        workers: 1 encodes in this process, more in as many of Ray's.
        cluster: address of a Ray cluster; None starts one on this machine. Given, even a single
            worker runs there.

    Raises:
        FileNotFoundError: corpus or model is not there.
        ValueError: corpus, model or options are unusable, or `out` has another encoder's features.
        RuntimeError: a worker failed.
    """
    if workers < 1:
        raise ValueError(f"{workers} workers can do nothing, at least 1 is needed")
    here = ShardEncoder(job)
    for line in here.split.findings.lines():
        say(f"{job.corpus} {job.split}: {line}")
    made_by = {"encoder": job.encoder, "model": job.model, "options": dict(job.options)}
    create(job.out, here.encoder.name, here.encoder.dimension, len(here.shards), made_by)
    missing = here.missing()
    say(f"{len(here.shards)} shards, {len(here.shards) - len(missing)} are there already")
    made = []
    begin = time.monotonic()
    use_ray = missing and (workers > 1 or cluster is not None)
    for done in _on_ray(here, missing, workers, cluster) if use_ray else map(here, missing):
        made.append(done)
        left = (time.monotonic() - begin) / len(made) * (len(missing) - len(made))
        say(f"shard {done.shard}: {done.utterances} utterances; about {left:.0f} s left")
    return made


class _RayWorker:
    """A `ShardEncoder` in another process; checks that it plans the same shards."""

    def __init__(self, job: EncodingJob) -> None:
        self._encode = ShardEncoder(job)

    def __call__(self, row: dict[str, Any]) -> dict[str, int]:
        number = row["shard"]
        shards = self._encode.shards
        if number >= len(shards) or self._encode.source(number) != row["source"]:
            raise ValueError(
                f"shard {number} is another one on this worker: corpus {self._encode.job.data} or"
                f" model {self._encode.job.model} differ from the driver's"
            )
        done = self._encode(number)
        return {"shard": number, "rows": done.utterances, "begin": done.begin, "end": done.end}


def _on_ray(
    here: ShardEncoder, missing: Sequence[int], workers: int, cluster: str | None
) -> Iterator[Done]:
    """Encode on Ray Data, in whatever order the shards are finished."""
    import ray
    from ray.exceptions import RayError

    _connect(workers, cluster)
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        rows = [{"shard": number, "source": here.source(number)} for number in missing]
        # A block for each shard: it is what is scheduled, and what is repeated if a worker dies.
        made = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
            _RayWorker,
            fn_constructor_args=(here.job,),
            compute=ray.data.ActorPoolStrategy(size=min(workers, len(rows))),
            num_cpus=1,
        )
        for row in made.iter_rows():
            yield Done(*(int(row[key]) for key in ("shard", "rows", "begin", "end")))
    except RayError as error:
        reason = str(getattr(error, "cause", None) or error).strip().splitlines()[-1]
        raise RuntimeError(f"a worker failed: {reason}") from error
    finally:
        ray.shutdown()


def _connect(workers: int, cluster: str | None) -> None:
    """To a Ray cluster, or to a small one that is started on this machine and ends with us."""
    import ray

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    local: dict[str, Any] = {"num_cpus": workers, "include_dashboard": False}
    for attempt in range(1, RAY_STARTS + 1):
        try:
            ray.init(
                address=cluster or "local",
                log_to_driver=False,
                logging_level="ERROR",
                **({} if cluster else local),
            )
            return
        except Exception as error:  # Ray raises bare Exception where its processes start too slowly
            ray.shutdown()
            if attempt == RAY_STARTS:
                raise RuntimeError(
                    f"Ray could not be reached or started ({error}); start it with `ray start"
                    " --head` and give --cluster auto"
                ) from error


def throughput(made: Sequence[Done]) -> float:
    """Utterances a second from the first shard's begin to the last one's end; NaN for none."""
    if not made:
        return float("nan")
    seconds = (max(done.end for done in made) - min(done.begin for done in made)) / 1e9
    return sum(done.utterances for done in made) / seconds


def main(argv: Sequence[str] | None = None) -> int:
    """Encode. Returns the exit status: 0, or 2 when something is not usable."""
    parser = argparse.ArgumentParser(prog="erc encode", description=__doc__)
    parser.add_argument("corpus", help=f"{', '.join(corpora.BUILT_IN)}, or module:object")
    parser.add_argument("split", help="train, dev, test; corpora of acted speech have only: all")
    parser.add_argument(
        "--encoder",
        default="bundle-text",
        help=f"{', '.join(ENCODERS)}; or a class of another package, by the name of its entry "
        "point or as module:Class",
    )
    parser.add_argument(
        "--model",
        default="edge-small",
        help="model package (folder, or name in models/), run, or Hugging Face model",
    )
    parser.add_argument(
        "--option", action="append", default=[], metavar="NAME=VALUE", help="of the encoder"
    )
    parser.add_argument("--out", type=Path, help="default runs/features/CORPUS-SPLIT-ENCODER")
    parser.add_argument("--data", type=Path, help="folder of the data sets; default $ERC_DATA")
    parser.add_argument("--shard", type=int, default=SHARD, help="utterances in a shard, about")
    parser.add_argument("--workers", type=int, default=1, help="more than 1: on Ray (extra [ray])")
    parser.add_argument("--cluster", metavar="ADDRESS", help="a running Ray cluster, or: auto")
    chosen = parser.parse_args(argv)
    try:
        corpus = corpora.find_for_training(chosen.corpus).name
        name = f"{corpus}-{chosen.split}-{chosen.encoder.rpartition(':')[2]}"
        job = EncodingJob(
            chosen.corpus,
            chosen.split,
            (chosen.data or data_folder()).resolve(),
            (chosen.out or Path("runs/features") / name).resolve(),
            chosen.encoder,
            chosen.model,
            tuple(_option(text) for text in chosen.option),
            chosen.shard,
        )
        made = encode(job, chosen.workers, chosen.cluster, lambda line: print(line, flush=True))
    except (ValueError, FileNotFoundError, RuntimeError) as error:
        print(f"erc encode: {error}", file=sys.stderr)
        return 2
    print(_summary(job.out))
    if made:
        print(f"{throughput(made):.1f} utterances/s")
    return 0


def _option(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"option {text!r} must be written NAME=VALUE")
    return name, yaml.safe_load(value)


def _summary(folder: Path) -> str:
    from erc_ros.training.features.store import FeatureStore

    store = FeatureStore(folder)
    reasons = Counter(store.left_out.values())
    without = "".join(f"; {number} left out: {reason}" for reason, number in reasons.items())
    return f"{folder}: {len(store)} utterances by {store.encoder}{without}"
