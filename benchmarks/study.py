"""A study of twenty participants, evaluated on processes, killed halfway and continued.

    python -m benchmarks.study [--turns 8]

Generates `examples/study` (two conditions, three annotators, one unreadable recording), evaluates
it with one command, kills all of its processes when half of the recordings are finished, starts the
command again, and compares the results with those of an uninterrupted run. Draws the figures of the
notebook. Writes benchmarks/results/study.json.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.machine import description
from benchmarks.record import ROOT, write_results
from erc_ros.evaluation.kept import from_bytes
from erc_ros.inference.bundle import load_bundle
from erc_ros.parameters import RobotConfig
from erc_ros.resources import model_folder

EXAMPLE = ROOT / "examples" / "study"
ANNOTATORS = ("RA1", "RA2", "RA3")
PARTICIPANTS, WORKERS = 20, 2
OF_THE_RUN = "timing.json"  # run time, date and command


def command(cache: str, out: str) -> list[str]:
    """Return the command that evaluates the whole study."""
    line = [sys.executable, "-m", "erc_ros.cli", "evaluate", "recordings", "--study", "study.csv"]
    line += ["--truth", *(f"{name}={name}" for name in ANNOTATORS), "--offset", "RA2=-1.5"]
    return [*line, "--workers", str(WORKERS), "--cache", cache, "--out", out, "--export"]


def finished(cache: Path) -> dict[str, int]:
    """Return the cached recordings, and their inode, which changes when one is computed again.

    Failures are tried again.
    """
    return {
        file.name: file.stat().st_ino
        for file in cache.glob("*.npz")
        if not from_bytes(file.read_bytes()).error
    }


def killed(folder: Path, after: int) -> tuple[float, dict[str, int]]:
    """Kill the evaluation after `after` recordings: seconds until then, and the cached files."""
    began = time.perf_counter()
    with subprocess.Popen(
        command("cache", "killed"), cwd=folder, stdout=subprocess.DEVNULL, start_new_session=True
    ) as process:
        while len(finished(folder / "cache")) < after and process.poll() is None:
            time.sleep(0.5)
        os.killpg(process.pid, signal.SIGKILL)
    if process.returncode != -signal.SIGKILL:
        raise RuntimeError(f"the evaluation ended before it was killed: {process.returncode}")
    return time.perf_counter() - began, finished(folder / "cache")


def evaluated(folder: Path, cache: str, out: str) -> float:
    """Evaluate the study: s that it took.

    Raises:
        RuntimeError: the exit status is not 1 (one recording is unreadable).
    """
    began = time.perf_counter()
    done = subprocess.run(command(cache, out), cwd=folder, stdout=subprocess.DEVNULL, check=False)
    if done.returncode != 1:
        raise RuntimeError(f"exit status {done.returncode}; 1 is expected")
    return time.perf_counter() - began


def files(folder: Path) -> list[Path]:
    """Return the files of a folder of results that do not depend on the run, relative to it."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != OF_THE_RUN)
    return sorted(path.relative_to(folder) for path in paths)


def draw(folder: Path) -> list[str]:
    """Run the notebook on the results, and return the names of its figures."""
    cells = json.loads((EXAMPLE / "figures.ipynb").read_text())["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    script = "\n".join(["import matplotlib", "matplotlib.use('Agg')", *code])
    subprocess.run([sys.executable, "-c", script], cwd=folder, check=True)
    return sorted(file.name for file in folder.glob("*.pdf"))


def measure(folder: Path, turns: int) -> dict[str, float]:
    """Do all of it in a folder, and return the figures.

    Raises:
        RuntimeError: a recording was computed again, or the results differ.
    """
    began = time.perf_counter()
    make = [sys.executable, str(EXAMPLE / "make_study.py"), str(folder)]
    make += ["--participants", str(PARTICIPANTS), "--turns", str(turns)]
    subprocess.run(make, check=True)
    made = time.perf_counter() - began
    recordings = 2 * PARTICIPANTS
    until, before = killed(folder, recordings // 2)
    resumed = evaluated(folder, "cache", "results")
    after = finished(folder / "cache")
    again = [name for name, inode in before.items() if after.get(name) != inode]
    whole = evaluated(folder, "other", "whole")
    names = files(folder / "results")
    _, differ, missing = filecmp.cmpfiles(
        folder / "results", folder / "whole", map(str, names), shallow=False
    )
    if again or differ or missing or names != files(folder / "whole"):
        raise RuntimeError(f"computed again: {again}; different results: {differ + missing}")
    scores = json.loads((folder / "results" / "scores.json").read_text())
    agreement = next(iter(scores["agreement"].values()))["by_segment"]
    length = sum(each["duration_s"] for each in scores["recordings"])
    return {
        "participants": PARTICIPANTS,
        "recordings": recordings,
        "unreadable": sum(bool(each["error"]) for each in scores["recordings"]),
        "minutes_of_recordings": length / 60,
        "finished_when_killed": len(before),
        "computed_again": len(again),
        "identical_files": len(names),
        "generated_s": made,
        "until_killed_s": until,
        "continued_s": resumed,
        "uninterrupted_s": whole,
        "annotated_segments": agreement["units"],
        "figures_drawn": len(draw(folder)),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=8, help="utterances of a recording")
    options = parser.parse_args(argv)
    machine = description()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), options.turns)
    bundle = load_bundle(model_folder(RobotConfig().emotion_node.recognition.bundle))
    file = write_results(
        "study",
        f"python -m benchmarks.study --turns {options.turns}",
        bundle,
        figures,
        f"{WORKERS} processes. {machine}",
    )
    print(file.read_text())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
