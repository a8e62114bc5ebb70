"""Quantize the parts of a bundle: with given schemes, or each with its fastest scheme.

The fastest scheme depends on the machine and is measured on this one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from erc_ros.training.quantization.gate import Bench, Choice, passes
from erc_ros.training.quantization.measurement import speeds
from erc_ros.training.quantization.schemes import (
    FOR_CPU,
    FOR_TENSORRT,
    SCHEMES,
    Feed,
    quantize,
)

CALIBRATION, TIMED = 64, 60  # numbers of inputs
ALIKE = 1.05
"""Durations within 5 % count as equal; the smaller file is then better."""


@dataclass(frozen=True, slots=True)
class Made:
    """A quantized part: the name of its scheme, and its file."""

    scheme: str
    file: Path


@dataclass(frozen=True, slots=True)
class Tried:
    """A candidate of a part. passed: None if not tested, as a faster one passed."""

    scheme: str
    milliseconds: float
    bytes: int
    passed: bool | None


def by_schemes(bench: Bench, schemes: Mapping[str, str], folder: Path) -> dict[str, Made]:
    """Quantize each part with its own scheme; parts to which it does not apply are excluded.

    Raises:
        QuantizationError: calibration data do not match a network.
    """
    made = {}
    for part, scheme in schemes.items():
        feeds = bench.task.feeds(part, "calibration", CALIBRATION)
        if file := _make(bench.floats[part], part, scheme, feeds, folder):
            made[part] = Made(scheme, file)
    return made


def fastest(
    bench: Bench,
    parts: Sequence[str],
    max_drop: float,
    folder: Path,
    say: Callable[[str], None] = lambda line: None,
) -> tuple[dict[str, Made], dict[str, list[Tried]]]:
    """Select for each part the fastest candidate with which the bundle passes the gate on dev.

    Parts are processed in sequence, together with the earlier choices, so that the result passes as
    well. A part for which float32 is best is excluded.

    Returns:
        the selection, and the candidates of each part, fastest first.
    """
    made: dict[str, Made] = {}
    tried: dict[str, list[Tried]] = {}
    for part in parts:
        files = {"float32": bench.floats[part]}
        feeds = bench.task.feeds(part, "calibration", CALIBRATION)
        for scheme in FOR_CPU:
            if file := _make(bench.floats[part], part, scheme, feeds, folder):
                files[scheme] = file
        times = speeds(list(files.values()), bench.task.feeds(part, "dev", TIMED))
        waiting = {
            name: Tried(name, speed.p50, file.stat().st_size, None)
            for (name, file), speed in zip(files.items(), times, strict=True)
        }
        chosen, tried[part] = "", []
        while waiting:
            name = best(list(waiting.values()))
            candidate = waiting.pop(name)
            passed: bool | None = None
            if not chosen:
                choice = {**bench.floats, **{p: m.file for p, m in made.items()}, part: files[name]}
                passed = name == "float32" or passes(bench, choice, max_drop)
                chosen = name if passed else ""
            tried[part].append(Tried(name, candidate.milliseconds, candidate.bytes, passed))
        if chosen != "float32":
            made[part] = Made(chosen, files[chosen])
        say(f"{part}: {chosen}")
    return made, tried


def for_tensorrt(
    bench: Bench,
    parts: Sequence[str],
    max_drop: float,
    folder: Path,
    say: Callable[[str], None] = lambda line: None,
) -> tuple[dict[str, Made], dict[str, list[Tried]]]:
    """Select for each part the best scheme for a GPU with which the bundle passes the gate.

    Speed on the robot's GPU is unknown here. int8 activations are faster than int8 weights only,
    which are smaller than float16. Candidates are tested in this order; schemes with int8
    activations, which are equally fast, are sorted by their difference from float32.

    Returns:
        as `fastest`; the durations are those of this CPU.
    """
    made: dict[str, Made] = {}
    tried: dict[str, list[Tried]] = {}
    for part in parts:
        feeds = bench.task.feeds(part, "calibration", CALIBRATION)
        files = {
            name: _make(bench.floats[part], part, name, feeds, folder) for name in FOR_TENSORRT
        }
        before = {**bench.floats, **{p: m.file for p, m in made.items()}}
        choices = {name: {**before, part: file} for name, file in files.items() if file}

        def order(name: str, choices: Mapping[str, Choice] = choices) -> tuple[bool, float]:
            return name == FOR_TENSORRT[-1], bench.compare(choices[name], "dev").mean

        tried[part] = []
        for name in sorted(choices, key=order):
            passed = None if part in made else passes(bench, choices[name], max_drop)
            file = choices[name][part]
            (speed,) = speeds([file], bench.task.feeds(part, "dev", TIMED))
            tried[part].append(Tried(name, speed.p50, file.stat().st_size, passed))
            if passed:
                made[part] = Made(name, file)
        say(f"{part}: {made[part].scheme if part in made else 'float32'}")
    return made, tried


def best(candidates: Sequence[Tried]) -> str:
    """Return the name of the fastest candidate; of equally fast ones, the smallest."""
    limit = ALIKE * min(candidate.milliseconds for candidate in candidates)
    equal = [candidate for candidate in candidates if candidate.milliseconds <= limit]
    return min(equal, key=lambda candidate: candidate.bytes).scheme


def _make(source: Path, part: str, scheme: str, feeds: Sequence[Feed], folder: Path) -> Path | None:
    """Write the quantized file; None if the scheme applies to nothing in the part."""
    target = folder / f"{part}-{scheme}.onnx"
    return target if quantize(SCHEMES[scheme], source, target, feeds) else None
