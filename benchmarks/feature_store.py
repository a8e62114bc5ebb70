"""Read speed of the feature store, compared with a copy in memory.

    python -m benchmarks.feature_store [--utterances 100000] [--dimension 768]

Random features are written as by `erc encode`, with 512 utterances per shard, and read in three
ways: all in order, batches of 32 conversations of 10 utterances by key, and single utterances by
key in random order. GB/s are the median over reads of a shard or batch, which other load affects
little. "CPU" uses the CPU time of the process: the speed without other load, since the features are
in the page cache.
"""

from __future__ import annotations

import argparse
import gc
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from benchmarks.machine import Figure, description
from erc_ros.training.features.store import FeatureStore, create, write_shard

SHARD, TURNS, CONVERSATIONS, SINGLE = 512, 10, 32, 1024
ROUNDS = 5
Piece = Callable[[], int]
"""Function that reads data and returns the number of bytes."""


def measure(folder: Path, utterances: int, dimension: int) -> list[Figure]:
    """Write a store to `folder`, and read it."""
    size = utterances * dimension * 4
    before = _own_memory()
    begin = time.perf_counter()
    keys = _write(folder, utterances, dimension)
    written = size / (time.perf_counter() - begin) / 1e9
    growth = _own_memory() - before

    before = _own_memory()
    begin = time.perf_counter()
    store = FeatureStore(folder)
    opening = time.perf_counter() - begin
    gc.collect()
    index = (_own_memory() - before) / utterances

    _forget(folder)
    shards = range(utterances // SHARD)  # complete shards
    buffer = np.empty((SHARD, dimension), np.float32)
    cold = _speed(_scan(store, buffer), 1)
    # Different parts of 1 GB, so that the data is not in the CPU cache.
    memory = np.ones((len(shards) * SHARD, dimension), np.float32)
    copied = _speed([_copy(memory[n * SHARD : (n + 1) * SHARD], buffer) for n in shards], ROUNDS)
    del memory
    before = _own_memory()
    scan = _speed([piece for _ in range(ROUNDS) for piece in _scan(store, buffer)], 1)
    reading = _own_memory() - before

    rng = np.random.default_rng(0)
    starts = rng.permutation(utterances // TURNS) * TURNS
    talks = [
        [keys[at] for start in group for at in range(start, start + TURNS)]
        for group in np.array_split(starts, max(1, len(starts) // CONVERSATIONS))
    ]
    shuffled = [keys[at] for at in rng.permutation(utterances)]
    singles = [shuffled[at : at + SINGLE] for at in range(0, utterances, SINGLE)]
    batches = _speed([_take(store, each) for each in talks], 3)
    random = _speed([_take(store, each) for each in singles], 3)
    begin = time.perf_counter()
    store.verify()
    verified = size / (time.perf_counter() - begin) / 1e9
    read = {
        "copy in memory, the reference": (copied, None),
        "all shards in order": (scan, 1.0),
        f"batches of {CONVERSATIONS} conversations by key": (batches, 1.0),
        f"{SINGLE} utterances by key, random order": (random, None),
        "all shards in order, not in the page cache": (cold, None),
    }
    return [
        *(Figure(name, clock, "GB/s", aim, more=True) for name, ((clock, _), aim) in read.items()),
        *(Figure(f"{name}, CPU", cpu, "GB/s") for name, ((_, cpu), _) in read.items()),
        Figure("all shards compared with their hashes", verified, "GB/s"),
        Figure("written, with hash and fsync", written, "GB/s"),
        Figure("features", size / 1e9, "GB"),
        Figure("opened in", opening * 1e3, "ms"),
        Figure("memory of the open store", index, "bytes/utterance"),
        Figure("increase of memory after writing", growth / 1e6, "MB"),
        Figure("increase of memory after reading", reading / 1e6, "MB"),
    ]


def _write(folder: Path, utterances: int, dimension: int) -> list[str]:
    keys = [f"train/{at // TURNS}/{at % TURNS}" for at in range(utterances)]
    create(folder, "random-0", dimension, -(-utterances // SHARD))
    rng = np.random.default_rng(0)
    for number, start in enumerate(range(0, utterances, SHARD)):
        own = keys[start : start + SHARD]
        features = rng.random((len(own), dimension), np.float32)
        write_shard(folder, number, "", own, features, {})
    return keys


def _scan(store: FeatureStore, buffer: np.ndarray) -> list[Piece]:
    """Return functions that open and copy one shard each."""
    shards = store.shards()
    return [lambda: _copy(next(shards), buffer)()] * (len(store) // SHARD)


def _copy(features: np.ndarray, buffer: np.ndarray) -> Piece:
    def piece() -> int:
        np.copyto(buffer, features)
        return features.nbytes

    return piece


def _take(store: FeatureStore, keys: Sequence[str]) -> Piece:
    def piece() -> int:
        features, there = store.take(keys)
        assert there.all()
        return features.nbytes

    return piece


def _speed(pieces: Sequence[Piece], rounds: int) -> tuple[float, float]:
    """Return the median GB/s by wall-clock time and by CPU time."""
    speeds = []
    for _ in range(rounds):
        for piece in pieces:
            begin, ran = time.perf_counter_ns(), time.process_time_ns()
            size = piece()
            ran, passed = time.process_time_ns() - ran, time.perf_counter_ns() - begin
            speeds.append((size / passed, size / max(ran, 1)))  # bytes/ns are GB/s
    clock, cpu = np.median(speeds, axis=0)
    return float(clock), float(cpu)


def _forget(folder: Path) -> None:
    """Remove the files from the page cache (they were written to disk with fsync)."""
    for file in folder.glob("*.npy"):
        descriptor = os.open(file, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def _own_memory() -> int:
    """Return the anonymous memory of this process in bytes."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no RssAnon in /proc/self/status: this benchmark needs Linux")


def main() -> int:
    """Run the benchmark; see the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--utterances", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=768)
    parser.add_argument("--folder", type=Path, help="where to write; default the system's")
    options = parser.parse_args()
    print(description())
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        figures = measure(Path(folder, "store"), options.utterances, options.dimension)
    print("\n".join(figure.line() for figure in figures))
    return 0 if all(figure.reached for figure in figures) else 1


if __name__ == "__main__":
    raise SystemExit(main())
