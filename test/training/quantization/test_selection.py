"""The fastest that passes."""

from __future__ import annotations

from pathlib import Path

import pytest

from erc_ros.training.quantization.gate import Bench
from erc_ros.training.quantization.selection import Tried, best, by_schemes, fastest
from erc_ros.training.quantization.task import Task


@pytest.mark.parametrize(
    ("candidates", "expected"),
    [
        ([("slow", 2.0, 1), ("fast", 1.0, 9)], "fast"),
        ([("large", 1.0, 9), ("as fast", 1.04, 1)], "as fast"),
        ([("large", 1.0, 9), ("slower", 1.06, 1)], "large"),
    ],
)
def test_the_fastest_is_best_and_of_equals_the_smallest(
    candidates: list[tuple[str, float, int]], expected: str
) -> None:
    assert best([Tried(*each, passed=None) for each in candidates]) == expected


def test_a_scheme_leaves_out_parts_that_it_does_not_apply_to(task: Task, tmp_path: Path) -> None:
    made = by_schemes(
        Bench(task), dict.fromkeys(["text", "audio", "fusion"], "weight-only"), tmp_path
    )
    assert set(made) == {"audio", "fusion"}  # the tiny text encoder has no weights


def test_every_part_gets_a_candidate_that_passes(task: Task, tmp_path: Path) -> None:
    made, tried = fastest(Bench(task), ["audio", "fusion"], 100.0, tmp_path)
    for part, candidates in tried.items():
        asked = [each for each in candidates if each.passed is not None]
        assert len(asked) == 1 and asked[0].passed  # everything may be lost, so the first passes
        assert made.get(part, asked[0]).scheme == asked[0].scheme
        assert {"float32", "weight-only", "dynamic", "static", "fp16"} <= {
            t.scheme for t in candidates
        }


def test_what_loses_too_much_is_passed_over(task: Task, tmp_path: Path) -> None:
    bench = Bench(task)
    made, tried = fastest(bench, ["fusion"], 0.0, tmp_path)
    choice = {**bench.floats, **{part: each.file for part, each in made.items()}}
    assert bench.compare(choice, "dev").drop <= 0
    asked = [each.passed for each in tried["fusion"] if each.passed is not None]
    assert asked[-1] and not any(asked[:-1])
