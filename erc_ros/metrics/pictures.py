"""Figures of a training run with matplotlib: confusion matrix, reliability diagram, curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from erc_ros.metrics.classification import Reliability

History = Sequence[Mapping[str, float]]


def draw_confusion(counts: NDArray[Any], names: Sequence[str]) -> Figure:
    """Draw a confusion matrix with the shares of each reference class and the counts.

    counts: (C, C), rows are reference classes, columns predicted ones. The row of a class without
    reference labels is empty.
    """
    total = counts.sum(axis=1, keepdims=True)  # (C, 1)
    shares = np.divide(counts, total, out=np.zeros(counts.shape), where=total > 0)
    size = 2.5 + 0.6 * len(names)
    figure = Figure((size, size), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="predicted", ylabel="true")
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
    axes.set_yticks(range(len(names)), names)
    for (row, column), count in np.ndenumerate(counts):
        colour = "white" if shares[row, column] > 0.5 else "black"
        text = f"{shares[row, column]:.0%}\n{count:.0f}" if total[row] else ""
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=7)
    return figure


def draw_reliability(reliability: Reliability) -> Figure:
    """Draw a reliability diagram: accuracy by confidence, and the share of estimates below it."""
    some = reliability.count > 0
    sums = reliability.confidence, reliability.right
    confidence, right = (values[some] / reliability.count[some] for values in sums)
    figure = Figure((4.5, 5.5), dpi=120, layout="constrained")
    above, below = figure.subplots(2, height_ratios=(3, 1), sharex=True)
    above.plot((0, 1), (0, 1), color="0.6", linestyle="--", label="calibrated")
    above.plot(confidence, right, marker="o", label=f"measured, error {reliability.error:.1%}")
    above.set(xlim=(0, 1), ylim=(0, 1), ylabel="share that is right")
    above.legend(loc="upper left")
    edges = np.linspace(0, 1, len(reliability.count) + 1)
    below.stairs(reliability.count / reliability.count.sum(), edges, fill=True)
    below.set(xlabel="confidence", ylabel="share of estimates")
    return figure


def draw_curves(histories: Mapping[str, History], choose: str) -> Figure:
    """Draw the training loss and the dev metric by epoch.

    histories: name of a seed -> history of `trainer.fit`. choose: the dev metric that selects the
    epoch; the selected epoch is marked.
    """
    figure = Figure((9, 3.5), dpi=120, layout="constrained")
    left, right = figure.subplots(1, 2)
    for number, (name, history) in enumerate(histories.items()):
        colour = f"C{number % 10}"
        _curve(left, [each["loss"] for each in history], name, colour)
        values = [each[choose] for each in history]
        _curve(right, values, name, colour)
        best = int(np.argmax(values))
        right.scatter(best + 1, values[best], s=80, facecolors="none", edgecolors=colour)
    left.set(xlabel="epoch", ylabel="loss on train")
    right.set(xlabel="epoch", ylabel=f"{choose.replace('_', ' ')} on dev")
    right.legend()
    return figure


def _curve(axes: Axes, values: Sequence[float], name: str, colour: str) -> None:
    axes.plot(range(1, len(values) + 1), values, marker=".", label=name, color=colour)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
