"""Run jobs in one or several processes; results are cached and not computed again.

The predictions of a job are one file in `folder`, named by a hash of everything on which they
depend, so that an interrupted evaluation continues with any number of workers or output folder.
Annotations are joined when a file is read. No process holds more than one recording in memory.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from erc_ros.evaluation.jobs import EvaluationJob, answered, joined, key
from erc_ros.evaluation.kept import KeptError, from_bytes, to_bytes
from erc_ros.evaluation.records import Recording
from erc_ros.sensing.background import SWITCH_INTERVAL
from erc_ros.values.files import write_whole

SUFFIX = ".npz"
UNUSED = 30 * 86_400  # s, after which a cached result is deleted

Watch = Callable[[float], None]
"""Receives the number of finished jobs, with fractions."""


@dataclass(frozen=True, slots=True)
class Kept:
    """The cached predictions of a job."""

    job: EvaluationJob
    file: Path

    def load(self) -> Recording:
        """Read the predictions, and join them with the annotations.

        Raises:
            KeptError: the file is damaged.
        """
        return joined(self.job, from_bytes(self.file.read_bytes()))


def cache_folder() -> Path:
    """Return the user's folder for predictions: $XDG_CACHE_HOME/erc_ros, usually in ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "erc_ros"


def run(
    jobs: Sequence[EvaluationJob], folder: Path, workers: int = 1, watch: Watch | None = None
) -> list[Kept]:
    """Run the jobs that are not cached; return results in the order of the jobs.

    Failures are results as well (`Recording.error`), but are tried again in the next run.

    Args:
        folder: the cache; only its owner can read it and its files.
        workers: processes; with 1, this one.

    Raises:
        ValueError: `workers` is below 1.
        OSError: the folder cannot be written to.
    """
    if workers < 1:
        raise ValueError(f"{workers} workers; must be at least 1")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    _delete_unused(folder)
    results = [Kept(job, folder / f"{_key(job)}{SUFFIX}") for job in jobs]
    missing = [place for place, each in enumerate(results) if not _is_finished(each)]
    done = float(len(jobs) - len(missing))
    if watch is not None:
        watch(done)
    contents = _in_processes if workers > 1 and len(missing) > 1 else _here
    for place, content in contents(jobs, missing, workers, watch):
        write_whole(results[place].file, content, is_private=True)
        done += 1
        if watch is not None:
            watch(done)
    return results


def _delete_unused(folder: Path) -> None:
    oldest = time.time() - UNUSED
    for file in folder.glob(f"*{SUFFIX}"):
        if file.stat().st_mtime < oldest:
            file.unlink(missing_ok=True)


def _key(job: EvaluationJob) -> str:
    try:
        return key(job)
    except (OSError, ValueError):  # `answered` reports the reason
        digest = hashlib.sha256(f"{job.name}\0{job.system.name}".encode()).hexdigest()
        return f"unreadable-{digest}"


def _is_finished(kept: Kept) -> bool:
    try:
        is_finished = not from_bytes(kept.file.read_bytes()).error
        os.utime(kept.file)  # marks the file as in use
    except (KeptError, OSError):
        return False
    return is_finished


def _here(
    jobs: Sequence[EvaluationJob], missing: Sequence[int], _: int, watch: Watch | None
) -> Iterator[tuple[int, bytes]]:
    for count, place in enumerate(missing):
        before = len(jobs) - len(missing) + count

        def progress(share: float, before: int = before) -> None:
            if watch is not None:
                watch(before + share)

        yield place, to_bytes(answered(jobs[place], progress))


def _result(job: EvaluationJob) -> bytes:
    return to_bytes(answered(job))


def _in_processes(
    jobs: Sequence[EvaluationJob], missing: Sequence[int], workers: int, _: Watch | None
) -> Iterator[tuple[int, bytes]]:
    # spawn: a fork would copy threads and locks of ONNX Runtime
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        min(workers, len(missing)), context, sys.setswitchinterval, (SWITCH_INTERVAL,)
    ) as executor:
        places = {executor.submit(_result, jobs[place]): place for place in missing}
        for future in as_completed(places):
            place = places[future]
            try:
                yield place, future.result()
            except BrokenProcessPool:  # killed, often by lack of memory; the others end as well
                job, reason = jobs[place], "its process was killed: use fewer --workers"
                yield (
                    place,
                    to_bytes(Recording(job.name, job.system.name, 0, 0, (), error=reason)),
                )
