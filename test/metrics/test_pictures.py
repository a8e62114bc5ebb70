"""Figures are tested by reading back the drawn data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from reference_pictures import assert_looks_as_before

from erc_ros.metrics.classification import reliability
from erc_ros.metrics.pictures import (
    draw_confusion,
    draw_curves,
    draw_reliability,
)

COUNTS = np.array([[6, 2, 0], [1, 3, 0], [0, 0, 0]])


def test_the_confusion_shows_shares_of_the_true_class() -> None:
    (axes,) = draw_confusion(COUNTS, ("joy", "fear", "anger")).axes
    shown = np.asarray(axes.images[0].get_array())
    assert shown.tolist() == [[0.75, 0.25, 0], [0.25, 0.75, 0], [0, 0, 0]]
    assert axes.get_xlabel() == "predicted" and axes.get_ylabel() == "true"
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert [label.get_text() for label in labels] == ["joy", "fear", "anger"]
    texts = {text.get_position(): text.get_text() for text in axes.texts}  # (column, row)
    assert texts[1, 0] == "25%\n2" and texts[0, 0] == "75%\n6"
    assert texts[2, 2] == ""  # anger is never true: nothing is claimed


def test_the_reliability_shows_only_bins_with_predictions() -> None:
    p = [[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.4, 0.6]]
    above, below = draw_reliability(reliability([0, 1, 1, 1], p, bins=10)).axes
    diagonal, measured = above.lines
    assert diagonal.get_xydata().tolist() == [[0, 0], [1, 1]]
    assert measured.get_xydata() == pytest.approx(np.array([[0.6, 1.0], [0.9, 0.5]]))
    assert "error 40.0%" in measured.get_label()
    shares, edges, _ = below.patches[0].get_data()
    assert shares.tolist() == [0] * 6 + [0.5, 0, 0, 0.5]
    assert edges == pytest.approx(np.linspace(0, 1, 11))


def test_curves_show_every_epoch_and_the_chosen_one() -> None:
    history = [
        {"loss": 2.0, "weighted_f1": 0.3},
        {"loss": 1.0, "weighted_f1": 0.6},
        {"loss": 0.5, "weighted_f1": 0.6},
    ]
    left, right = draw_curves({"seed-0": history, "seed-1": history[:1]}, "weighted_f1").axes
    assert left.lines[0].get_xydata().tolist() == [[1, 2.0], [2, 1.0], [3, 0.5]]
    assert right.lines[0].get_ydata() == pytest.approx([0.3, 0.6, 0.6])
    assert right.lines[1].get_xydata().tolist() == [[1, 0.3]]
    rings = [ring.get_offsets().tolist() for ring in right.collections]
    assert rings == [[[2, 0.6]], [[1, 0.3]]]  # of equal epochs the first, as the trainer does
    assert right.get_ylabel() == "weighted f1 on dev"
    assert [text.get_text() for text in right.get_legend().texts] == ["seed-0", "seed-1"]


def test_a_figure_is_written_without_a_window(tmp_path: Path) -> None:
    draw_confusion(COUNTS, ("a", "b", "c")).savefig(tmp_path / "c.png")
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")


def test_the_figures_equal_the_reference_images(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    p = random.dirichlet([1, 1, 1], 200)
    history = [{"loss": 2.0 / n, "weighted_f1": 0.1 * n} for n in range(1, 6)]
    runs = {f"seed-{seed}": history[: 5 - seed] for seed in range(3)}
    pictures = {
        "confusion": draw_confusion(COUNTS, ("joy", "fear", "anger")),
        "reliability": draw_reliability(reliability(random.integers(0, 3, 200), p)),
        "curves": draw_curves(runs, "weighted_f1"),
    }
    for name, figure in pictures.items():
        figure.savefig(tmp_path / f"{name}.png")
        assert_looks_as_before(tmp_path / f"{name}.png", f"{name}.png")
