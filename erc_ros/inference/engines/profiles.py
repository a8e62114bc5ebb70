"""Optimization profiles of engines, from the limits in the manifest and the names of the axes.

The length of texts is dynamic, but the kernels of an engine are selected for one length. The range
of lengths is therefore divided into buckets that double in size, with one profile per bucket, tuned
for its longest text. Texts are not padded, and short texts use kernels for short texts. The
profiles of an engine share its weights; each profile costs build time and some memory.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from erc_ros.encoders.audio import frame_count
from erc_ros.inference.bundle import Bundle
from erc_ros.inference.engines.store import EngineError
from erc_ros.inference.inputs import SHORTEST_SOUND
from erc_ros.values.utterance import SAMPLE_RATE

Shape = tuple[int, ...]
Profile = Mapping[str, tuple[Shape, Shape, Shape]]  # input -> minimum, typical, maximum shape
Axes = Mapping[str, Sequence["int | str | None"]]  # input -> sizes, names of dynamic axes

SHORTEST_BUCKET = 32  # tokens
SUMS: Mapping[str, tuple[str, ...]] = {"P+L": ("P", "L"), "PL": ("P", "L")}
"""Name of an axis -> axes whose sizes add up to its size."""


@dataclass(frozen=True)
class SizeRange:
    """Range of the size of an axis (inclusive), and the size for which kernels are selected."""

    least: int
    typical: int
    greatest: int


def ranges(bundle: Bundle) -> dict[str, tuple[SizeRange, ...]]:
    """Return name of a dynamic axis -> its size ranges, with one profile per range."""
    tokens = bundle.text.max_tokens
    samples = 0 if bundle.audio is None else int(bundle.audio.max_seconds * SAMPLE_RATE)
    shortest, longest = frame_count(SHORTEST_SOUND), frame_count(samples)
    return {
        "B": (SizeRange(1, 4, 4),),  # 4: the fusion also runs without each modality
        "U": (_up_to(bundle.fusion.context),),  # utterances
        "N": (_up_to(0 if bundle.visual is None else bundle.visual.max_images),),  # face crops
        "n": (SizeRange(SHORTEST_SOUND, (SHORTEST_SOUND + samples) // 2, samples),),  # of audio
        "T": (SizeRange(shortest, (shortest + longest) // 2, longest),),  # frames of audio
        "L": buckets(tokens),  # new tokens
        "P": (SizeRange(0, tokens // 2, tokens),),  # cached tokens
        "A": (SizeRange(1, 1, 1),),  # questions
    }


def _up_to(most: int) -> SizeRange:
    return SizeRange(1, most, most)


def buckets(greatest: int) -> tuple[SizeRange, ...]:
    """Return the ranges 1..32, 33..64, 65..128, ... up to `greatest`, each tuned for its end."""
    ranges: list[SizeRange] = []
    least, end = 1, SHORTEST_BUCKET
    while least <= greatest:
        most = min(end, greatest)
        ranges.append(SizeRange(least, most, most))
        least, end = most + 1, end * 2
    return tuple(ranges)


def profiles(axes: Axes, sizes: Mapping[str, Sequence[SizeRange]], model: str) -> list[Profile]:
    """Return one profile per combination of the ranges of the axes in `axes`.

    Raises:
        EngineError: a dynamic axis has no name, or is not in `sizes`.
    """
    used: set[str] = set()
    for name, shape in axes.items():
        for size in shape:
            if isinstance(size, int):
                continue
            parts = SUMS.get(str(size), (str(size),))
            if not sizes.keys() >= set(parts):
                raise EngineError(
                    f"{model}: axis {size!r} of input {name} has no known range (known are "
                    f"{', '.join((*sizes, *SUMS))}); export the model with one of these names, or "
                    "add the axis to erc_ros/inference/engines/profiles.py"
                )
            used |= set(parts)
    names = sorted(used)
    return [
        _profile(axes, dict(zip(names, chosen, strict=True)))
        for chosen in itertools.product(*(sizes[name] for name in names))
    ]


def _profile(axes: Axes, chosen: Mapping[str, SizeRange]) -> Profile:
    def length(size: int | str | None, which: str) -> int:
        if isinstance(size, int):
            return size
        parts = SUMS.get(str(size), (str(size),))
        return sum(getattr(chosen[part], which) for part in parts)

    def shape(name: str, which: str) -> Shape:
        return tuple(length(size, which) for size in axes[name])

    return {
        name: (shape(name, "least"), shape(name, "typical"), shape(name, "greatest"))
        for name in axes
    }


def fitting(profiles: Sequence[Profile], shapes: Mapping[str, Shape]) -> int | None:
    """Return the index of the first profile that covers the input shapes; None without one."""
    for number, profile in enumerate(profiles):
        if set(profile) == set(shapes) and all(
            len(least) == len(shapes[name])
            and all(a <= b <= c for a, b, c in zip(least, shapes[name], greatest, strict=True))
            for name, (least, _, greatest) in profile.items()
        ):
            return number
    return None
