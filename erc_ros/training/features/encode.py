"""`erc encode CORPUS SPLIT`: encode a corpus once and store the features.

The corpus is divided into shards of whole conversations. `ShardEncoder` encodes and writes one
shard, in this process or in several worker processes. Finished shards of the same encoder and the
same utterances are kept, so that an interrupted run continues.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
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

SHARD = 512  # minimum number of utterances
AT_ONCE = 16  # utterances whose audio or images are in memory
FRAMES = 32  # images per utterance, at regular times
NOT_FINITE = "the features are not finite"


@dataclass(frozen=True, slots=True)
class EncodingJob:
    """An encoding: corpus, encoder, and the folder of the features.

    encoder: one of ENCODERS, or a class of another package (`sample.Encoder`). model: its file,
    folder or name. options: its settings. shard: minimum number of utterances per shard.
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
        """Load the encoder.

        Raises:
            ValueError: the encoder does not have an option.
        """
        options = dict(self.options)
        try:
            if self.encoder in ENCODERS:
                return ENCODERS[self.encoder](self.model, options)
            encoder: Encoder = plugins.find(plugins.ENCODERS, self.encoder)(self.model, **options)
            return encoder
        except TypeError as error:
            raise ValueError(f"encoder {self.encoder}: {error}") from error


@dataclass(frozen=True, slots=True)
class Done:
    """A finished shard: number of utterances with features, start and end (ns since 1970)."""

    shard: int
    utterances: int
    begin: int
    end: int


class BundleText:
    """The robot's text encoder: `text.onnx` and `tokenizer.json` of a bundle or a training run.

    It encodes utterance after utterance with the cached history of the conversation, as on the
    robot; see `sample.Encoder`.

    Args:
        folder: a bundle or a training run.

    Raises:
        FileNotFoundError: no such files.
        ValueError: not an encoder of this kind, or an incompatible bundle.
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
            raise ValueError(f"{folder} has a text encoder without a cache; encode with text")
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
        """Refuse utterances without text."""
        if not sample.turns:
            return "no turn"
        return "" if sample.turns[-1].text.strip() else "empty text"

    def encode(self, samples: Sequence[Sample]) -> NDArray[np.float32]:
        """Return embeddings (N, d), each with the turns before it as context."""
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


def _pretrained(modality: str, model: str, options: dict[str, Any]) -> Encoder:
    from erc_ros.training.encoders.trainable import CONFIGS, make_encoder

    return make_encoder(CONFIGS[modality](model, **options))


ENCODERS: dict[str, Callable[[str, dict[str, Any]], Encoder]] = {
    "bundle-text": _bundle_text,
    "text": partial(_pretrained, "text"),
    "speech": partial(_pretrained, "audio"),
    "video": partial(_pretrained, "visual"),
}
"""Built-in encoders: the robot's, and local Hugging Face models (`training.encoders`)."""


class ShardEncoder:
    """Encodes shards of a job one by one; each worker process has its own."""

    def __init__(
        self, job: EncodingJob, split: Split | None = None, encoder: Encoder | None = None
    ) -> None:
        self.job = job
        self.split = split or corpora.read(job.corpus, job.data, job.split)
        self.shards = plan(self.split.conversations, job.shard)
        self.encoder = encoder or job.load_encoder()

    def missing(self) -> list[int]:
        """Return the numbers of the shards that are missing, damaged or outdated."""
        return [number for number in range(len(self.shards)) if not self._is_done(number)]

    def source(self, number: int) -> str:
        """Return a digest of what determines a shard: encoder, words, speakers and files."""
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
        except ValueError:  # a damaged index is written again
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
        """Yield at most AT_ONCE samples at a time; excluded ones go to `left_out`."""
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
    """Return the inputs of an encoder of this modality for an utterance.

    Raises:
        UnusableMediaError: it has no clip, or one that could not be decoded.
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
    """Return shards of whole conversations in their order, with at least `size` utterances each."""
    shards: list[tuple[Conversation, ...]] = []
    current: list[Conversation] = []
    for conversation in conversations:
        current.append(conversation)
        if count(current) >= size:
            shards.append(tuple(current))
            current = []
    return [*shards, tuple(current)] if current else shards


def encode_split(corpus: str, split: Split, encoder: Encoder, out: Path) -> None:
    """Encode the missing shards of a split that is in memory; see `encode`.

    Raises:
        ValueError: `out` has another encoder's features.
    """
    here = ShardEncoder(EncodingJob(corpus, split.name, Path(), out), split, encoder)
    create(out, encoder.name, encoder.dimension, len(here.shards))
    for number in here.missing():
        here(number)


def encode(
    job: EncodingJob, workers: int = 1, say: Callable[[str], None] = lambda _: None
) -> list[Done]:
    """Encode the missing shards of a job; return the shards that were encoded.

    Args:
        workers: 1 encodes in this process, more in as many worker processes.

    Raises:
        FileNotFoundError: corpus or model is missing.
        ValueError: corpus, model or options are unusable, or `out` has another encoder's features.
        RuntimeError: a worker process ended unexpectedly.
    """
    if workers < 1:
        raise ValueError(f"workers is {workers}, must be at least 1")
    here = ShardEncoder(job)
    for line in here.split.findings.lines():
        say(f"{job.corpus} {job.split}: {line}")
    made_by = {"encoder": job.encoder, "model": job.model, "options": dict(job.options)}
    create(job.out, here.encoder.name, here.encoder.dimension, len(here.shards), made_by)
    missing = here.missing()
    say(f"{len(here.shards)} shards, {len(here.shards) - len(missing)} are complete")
    made = []
    begin = time.monotonic()
    uses_pool = workers > 1 and len(missing) > 1
    for done in _in_processes(job, missing, workers) if uses_pool else map(here, missing):
        made.append(done)
        remaining = (time.monotonic() - begin) / len(made) * (len(missing) - len(made))
        say(f"shard {done.shard}: {done.utterances} utterances; about {remaining:.0f} s left")
    return made


_worker: ShardEncoder
"""The encoder of this process, if it is a worker of `_in_processes`."""


def _begin_worker(job: EncodingJob) -> None:
    global _worker
    _worker = ShardEncoder(job)


def _encode_shard(number: int) -> Done:
    return _worker(number)


def _in_processes(job: EncodingJob, missing: Sequence[int], workers: int) -> Iterator[Done]:
    """Encode shards in worker processes, in the order in which they finish."""
    # A fork would copy locks that threads of torch and ONNX Runtime hold.
    context = multiprocessing.get_context("spawn")
    count = min(workers, len(missing))
    with ProcessPoolExecutor(count, context, _begin_worker, (job,)) as pool:
        try:
            for future in as_completed([pool.submit(_encode_shard, each) for each in missing]):
                yield future.result()
        except BrokenProcessPool as error:
            raise RuntimeError(
                "a worker process ended unexpectedly (out of memory?); finished shards are kept:"
                " run the command again, perhaps with fewer workers"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def throughput(made: Sequence[Done]) -> float:
    """Return utterances per second from the first start to the last end; NaN without shards."""
    if not made:
        return float("nan")
    seconds = (max(done.end for done in made) - min(done.begin for done in made)) / 1e9
    return sum(done.utterances for done in made) / seconds


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return 0, or 2 if corpus, model or options cannot be used."""
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
        "--option", action="append", default=[], metavar="NAME=VALUE", help="options of the encoder"
    )
    parser.add_argument("--out", type=Path, help="default runs/features/CORPUS-SPLIT-ENCODER")
    parser.add_argument("--data", type=Path, help="folder of the data sets; default $ERC_DATA")
    parser.add_argument("--shard", type=int, default=SHARD, help="utterances per shard, at least")
    parser.add_argument("--workers", type=int, default=1, help="worker processes")
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
        made = encode(job, chosen.workers, lambda line: print(line, flush=True))
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
    without = "".join(f"; {number} excluded: {reason}" for reason, number in reasons.items())
    return f"{folder}: {len(store)} utterances by {store.encoder}{without}"
