"""How fast a network is, side by side with others, and how much memory it takes.

    python -m erc_ros.training.quantization.measurement NETWORK.onnx INPUTS.npz
    python -m erc_ros.training.quantization.measurement BUNDLE

print the second: in a process of its own, as memory that was once taken is not given back.
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
    """Milliseconds for one input: median, what 95 % take at most, and mean."""

    p50: float
    p95: float
    mean: float


def speeds(files: Sequence[Path], feeds: Sequence[Feed]) -> list[Speed]:
    """Of each file, run in turn so that other load hits all alike; the first inputs warm up."""
    networks = [Network(file) for file in files]

    def runs(network: Network) -> Callable[[Feed], object]:
        return lambda feed: network(dict(feed))

    return side_by_side([runs(network) for network in networks], feeds)


def side_by_side(actions: Sequence[Callable[[Any], object]], items: Sequence[Any]) -> list[Speed]:
    """How long each action takes for an item; every item goes through all of them in turn.

    Raises:
        ValueError: no items.
    """
    if not items:
        raise ValueError("there is nothing to time the networks with")
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
    """MB that loading a network and running it adds to a process, at most at any time.

    Raises:
        RuntimeError: the process failed; says how.
    """
    with tempfile.TemporaryDirectory() as folder:
        inputs = Path(folder) / "inputs.npz"
        content: dict[str, Any] = dict(feed)
        np.savez(inputs, **content)
        return _in_own_process(network, inputs)


def bundle_memory(bundle: Path) -> float:
    """The same for a recognizer with all networks of a bundle, at their full sizes."""
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
    """A line of /proc/self/status in MB. Not getrusage: it reports the parent's peak as well."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError(f"/proc/self/status has no {name}")


if __name__ == "__main__":
    given = [Path(argument) for argument in sys.argv[1:]]
    print(_bundle_peak(*given) if len(given) == 1 else _network_peak(*given))
