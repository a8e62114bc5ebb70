"""Measure the speed of networks, compared with each other, and their memory.

    python -m erc_ros.training.quantization.measurement NETWORK.onnx INPUTS.npz
    python -m erc_ros.training.quantization.measurement BUNDLE

print the memory. This needs a separate process, as freed memory is not always returned.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from erc_ros.inference.bundle import load_bundle
from erc_ros.inference.emotion_recognizer import EmotionRecognizer
from erc_ros.networks.network import Network

Feed = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Speed:
    """Milliseconds for one input: median, 95 % quantile, and mean."""

    p50: float
    p95: float
    mean: float


def speeds(files: Sequence[Path], feeds: Sequence[Feed]) -> list[Speed]:
    """Measure files in turn, so that other load affects all equally; the first inputs warm up."""
    networks = [Network(file) for file in files]

    def runs(network: Network) -> Callable[[Feed], object]:
        return lambda feed: network(dict(feed))

    return side_by_side([runs(network) for network in networks], feeds)


def side_by_side(actions: Sequence[Callable[[Any], object]], items: Sequence[Any]) -> list[Speed]:
    """Measure the duration of each action; all actions process each item in turn.

    Raises:
        ValueError: no items.
    """
    if not items:
        raise ValueError("there are no inputs to measure the networks with")
    for action in actions:
        for item in items[:3]:
            action(item)
    durations: list[list[int]] = [[] for _ in actions]
    for item in items:
        for action, taken in zip(actions, durations, strict=True):
            begin = time.perf_counter_ns()
            action(item)
            taken.append(time.perf_counter_ns() - begin)
    return [
        Speed(*(float(x) / 1e6 for x in (*np.percentile(taken, (50, 95)), np.mean(taken))))
        for taken in durations
    ]


def peak_memory(network: Path, feed: Feed) -> float:
    """Return the peak memory (MB) that loading and running a network adds to a process.

    Raises:
        RuntimeError: the process failed; states the reason.
    """
    with tempfile.TemporaryDirectory() as folder:
        inputs = Path(folder) / "inputs.npz"
        content: dict[str, Any] = dict(feed)
        np.savez(inputs, **content)
        return _in_own_process(network, inputs)


def bundle_memory(bundle: Path) -> float:
    """Return the peak memory (MB) of a recognizer with all networks and maximum input sizes."""
    return _in_own_process(bundle)


def _in_own_process(*arguments: Path) -> float:
    root = Path(__file__).resolve().parents[3]
    places = [str(root), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, "-m", __name__, *(str(argument.resolve()) for argument in arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(places)},
    )
    if done.returncode:
        reason = done.stderr.strip()[-500:]
        raise RuntimeError(f"measuring the memory of {arguments[0]} failed: {reason}")
    return float(done.stdout)


def _network_peak(network: Path, inputs: Path) -> float:
    with np.load(inputs, allow_pickle=False) as stored:
        feed = dict(stored)
    before = _status("VmRSS")
    runner = Network(network)
    for _ in range(3):
        runner(feed)
    return _status("VmHWM") - before


def _bundle_peak(folder: Path) -> float:
    bundle = load_bundle(folder)
    before = _status("VmRSS")
    with EmotionRecognizer(bundle) as recognizer:
        recognizer.warm_up()
    return _status("VmHWM") - before


def _status(name: str) -> float:
    """Return a value of /proc/self/status in MB; getrusage would include the parent's peak."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError(f"/proc/self/status has no {name}")


if __name__ == "__main__":
    given = [Path(argument) for argument in sys.argv[1:]]
    print(_bundle_peak(*given) if len(given) == 1 else _network_peak(*given))
