"""Many jobs: one after the other here, or on Ray; finished ones are kept and not done again.

The answers to each are one file below `folder`, named by the job's key, so that killing and
starting again goes on where it was, whatever the number of workers; the truth is joined when they
are read. Never more than one recording per process is in memory.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from erc_ros.evaluation.jobs import EvaluationJob, answered, joined, key
from erc_ros.evaluation.kept import KeptError, from_bytes, to_bytes
from erc_ros.evaluation.records import Recording
from erc_ros.values.files import write_whole

SUFFIX = ".npz"

Watch = Callable[[float], None]
"""Told how many of the jobs are done, with fractions."""


@dataclass(frozen=True, slots=True)
class Kept:
    """The answers of a job in their file."""

    job: EvaluationJob
    file: Path

    def load(self) -> Recording:
        """Read them, and join them with the truth.

        Raises:
            KeptError: damaged.
        """
        return joined(self.job, from_bytes(self.file.read_bytes()))


def run(
    jobs: Sequence[EvaluationJob],
    folder: Path,
    workers: int = 1,
    cluster: str | None = None,
    watch: Watch | None = None,
) -> list[Kept]:
    """Do what is not kept yet; results in the order of the jobs.

    Failures are results as well (`Recording.error`), but are tried again next time.

    Args:
        workers: processes of Ray; 1 works in this one.
        cluster: address of a Ray cluster, whose machines must see the recordings under the same
            paths; None starts one on this machine.

    Raises:
        ValueError: no workers.
        OSError: the folder cannot be written to.
        RuntimeError: Ray does not start.
    """
    if workers < 1:
        raise ValueError(f"{workers} workers can do nothing, at least 1 is needed")
    folder.mkdir(parents=True, exist_ok=True)
    found = [Kept(job, folder / f"{_key(job)}{SUFFIX}") for job in jobs]
    missing = [place for place, each in enumerate(found) if not _is_finished(each)]
    done = float(len(jobs) - len(missing))
    if watch is not None:
        watch(done)
    use_ray = missing and (workers > 1 or cluster is not None)
    results = _on_ray(jobs, missing, workers, cluster) if use_ray else _here(jobs, missing, watch)
    for place, content in results:
        write_whole(found[place].file, content)
        done += 1
        if watch is not None:
            watch(done)
    return found


def _key(job: EvaluationJob) -> str:
    try:
        return key(job)
    except (OSError, ValueError):  # `evaluate` tells why
        digest = hashlib.sha256(f"{job.name}\0{job.system.name}".encode()).hexdigest()
        return f"unreadable-{digest}"


def _is_finished(kept: Kept) -> bool:
    if not kept.file.is_file():
        return False
    try:
        return not from_bytes(kept.file.read_bytes()).error
    except (KeptError, OSError):
        return False


def _here(
    jobs: Sequence[EvaluationJob], missing: Sequence[int], watch: Watch | None
) -> Iterator[tuple[int, bytes]]:
    for count, place in enumerate(missing):
        before = len(jobs) - len(missing) + count

        def progress(share: float, before: int = before) -> None:
            if watch is not None:
                watch(before + share)

        yield place, to_bytes(answered(jobs[place], progress))


def _result(job: EvaluationJob) -> bytes:
    return to_bytes(answered(job))


def _on_ray(
    jobs: Sequence[EvaluationJob], missing: Sequence[int], workers: int, cluster: str | None
) -> Iterator[tuple[int, bytes]]:
    import ray
    from ray.exceptions import RayError

    _connect(workers, cluster)
    try:
        remote: Any = ray.remote(num_cpus=1)(_result)
        waiting = list(missing)
        running: dict[Any, int] = {}
        while waiting or running:
            while waiting and len(running) < workers:
                place = waiting.pop(0)
                running[remote.remote(jobs[place])] = place
            (ready, *_), _ = ray.wait(list(running))
            place = running.pop(ready)
            try:
                yield place, ray.get(ready)
            except RayError as error:  # its process died, as often as Ray tries
                job, reason = jobs[place], str(error).strip().splitlines()[0]
                yield (
                    place,
                    to_bytes(Recording(job.name, job.system.name, 0, 0, (), error=reason)),
                )
    finally:
        ray.shutdown()


def _connect(workers: int, cluster: str | None) -> None:
    import ray

    local: dict[str, Any] = {"num_cpus": workers, "include_dashboard": False}
    try:
        ray.init(
            address=cluster or "local",
            log_to_driver=False,
            logging_level=logging.ERROR,
            **({} if cluster else local),
        )
    except Exception as error:
        where = f"connect to {cluster}" if cluster else "start on this machine"
        raise RuntimeError(f"Ray does not {where}: {error}") from error
