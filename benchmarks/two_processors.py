"""Comparison of two replays of one recording, used by `scripts/emulate_aarch64`.

    python -m benchmarks.two_processors out/here out/there

Both arguments are folders of `erc replay`. Utterances, speakers and labels must be the same;
probabilities may differ by MOST. The exit status is 1 if they differ.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

MOST = 0.02  # measured: 0.007 between processors, 0.015 between versions of onnxruntime
SAME = ("utterance_id", "speaker_id", "start", "end", "text", "label")


def read(folder: Path) -> list[dict[str, Any]]:
    """Read the rows of a replay."""
    lines = (folder / "estimates.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def differences(
    here: Sequence[dict[str, Any]], there: Sequence[dict[str, Any]]
) -> tuple[list[str], float]:
    """Return the differences as texts, and the largest difference of a probability."""
    if len(here) != len(there):
        return [f"{len(here)} utterances and {len(there)}"], 1.0
    different, worst = [], 0.0
    for one, other in zip(here, there, strict=True):
        for name in SAME:
            if one.get(name) != other.get(name):
                different.append(
                    f"{one['utterance_id']}: {name} {one.get(name)!r} and {other.get(name)!r}"
                )
        mine, theirs = one["probabilities"], other["probabilities"]
        worst = max(worst, *(abs(mine[label] - theirs[label]) for label in mine))
    return different, worst


def main() -> int:
    """Run the benchmark; see the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("here", type=Path)
    parser.add_argument("there", type=Path)
    options = parser.parse_args()
    here, there = read(options.here), read(options.there)
    different, worst = differences(here, there)
    print("\n".join(different))
    print(f"{len(here)} utterances, probabilities differ by {worst:.4f} at most")
    return 1 if different or worst > MOST else 0


if __name__ == "__main__":
    raise SystemExit(main())
