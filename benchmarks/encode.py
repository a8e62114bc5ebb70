"""Speed of encoding a corpus in one process and in two worker processes.

    python -m benchmarks.encode [--corpus meld --split dev] [--model edge-small]

The text encoder of the bundle encodes the corpus, and the features of both variants are compared.
Utterances/s are from the start of the first shard to the end of the last one; "with start" includes
loading. Then some shards are removed, and the shards that a restart encodes are counted.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.machine import Figure, description
from erc_ros.training.datasets.folder import data_folder
from erc_ros.training.features.encode import EncodingJob, encode, throughput
from erc_ros.training.features.store import FeatureStore

LOST = 3  # removed shards


def measure(job: EncodingJob) -> list[Figure]:
    """Run both variants; `job.out` is the parent folder of their stores."""
    figures = []
    speeds = {}
    stores = []
    for name, workers in (("this process", 1), ("2 processes", 2)):
        own = replace(job, out=job.out / str(len(stores)))
        begin = time.perf_counter()
        made = encode(own, workers)
        seconds = time.perf_counter() - begin
        stores.append(FeatureStore(own.out))
        speeds[name] = throughput(made)
        figures += [
            Figure(name, speeds[name], "utterances/s"),
            Figure(f"{name}, with start", len(stores[-1]) / seconds, "utterances/s"),
            Figure(f"{name}, load average", os.getloadavg()[0], ""),
        ]
    keys = list(stores[0].keys())
    for store in stores[1:]:
        assert np.array_equal(store.take(keys)[0], stores[0].take(keys)[0])
    last = replace(job, out=job.out / str(len(stores) - 1))
    for number in range(LOST):
        (last.out / f"{number:05d}.json").unlink()
    again = encode(last)
    return [
        *figures,
        Figure("2 processes against 1", speeds["2 processes"] / speeds["this process"], "times"),
        Figure(f"restart after the loss of {LOST} shards encodes", len(again), "shards", LOST),
        Figure("next restart encodes", len(encode(last)), "shards", 0),
        Figure("utterances with the same features in all variants", len(keys), ""),
    ]


def main() -> int:
    """Run the benchmark; see the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", default="meld")
    parser.add_argument("--split", default="dev")
    parser.add_argument("--model", default="edge-small")
    parser.add_argument("--shard", type=int, default=64, help="utterances in a shard, about")
    parser.add_argument("--data", type=Path, help="folder of the data sets; default $ERC_DATA")
    options = parser.parse_args()
    print(description())
    with tempfile.TemporaryDirectory() as folder:
        job = EncodingJob(
            options.corpus,
            options.split,
            data_folder(options.data).resolve(),
            Path(folder),
            model=str(Path(options.model).resolve()),
            shard=options.shard,
        )
        figures = measure(job)
    print("\n".join(figure.line() for figure in figures))
    return 0 if all(figure.reached for figure in figures) else 1


if __name__ == "__main__":
    raise SystemExit(main())
