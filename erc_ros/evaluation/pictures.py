"""The report's pictures as SVG: arcs of valence and arousal, confusion, reliability, risk, latency.

Drawn for black and white: systems differ in their line, not in their colour. The same figures give
the same bytes.
"""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from erc_ros.evaluation.records import SystemScores
from erc_ros.metrics.pictures import draw_confusion

_LINES = ("-", "--", ":", "-.")
_INK = ("0.0", "0.45", "0.25", "0.6")
_SETTINGS: Any = {
    "svg.hashsalt": "erc_ros",  # ids in the file come from this, not from chance
    "svg.fonttype": "none",  # text stays text; the reader's fonts
    "text.parse_math": False,  # names are not formulas
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
}
MOST_PEOPLE = 12  # rows of arcs
MOST_POINTS = 150  # in a row; more could not be told apart


@dataclass(frozen=True)
class Picture:
    """data: a data URI. alt: what one would see, in words."""

    data: str
    alt: str
    caption: str


@dataclass(frozen=True)
class Arc:
    """One person's course, times in s.

    truth: (n, 3) time, valence, arousal; NaN where it was not annotated.
    """

    name: str
    times: NDArray[np.float64]
    valence: NDArray[np.float64]
    arousal: NDArray[np.float64]
    truth: NDArray[np.float64]


def drawn(draw: Callable[[], Figure]) -> str:
    """What `draw` draws, as a data URI of an SVG file without date and chance."""
    file = io.StringIO()
    with matplotlib.rc_context(_SETTINGS), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # the reader's font has it
        draw().savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return "data:image/svg+xml;base64," + base64.b64encode(file.getvalue().encode()).decode()


def arcs(people: Sequence[Arc], duration: float) -> str:
    """Valence and arousal over time (s), one row per person, the first `MOST_PEOPLE` of them."""
    people = people[:MOST_PEOPLE]

    def draw() -> Figure:
        figure = Figure((11, 0.6 + 1.1 * len(people)), layout="constrained")
        rows: Any = figure.subplots(len(people), sharex=True, squeeze=False)[:, 0]
        for axes, person in zip(rows, people, strict=True):
            axes.axhline(0, color="0.8", linewidth=0.8)
            times, valence, arousal = (
                _smoothed(each) for each in (person.times, person.valence, person.arousal)
            )
            axes.plot(times, valence, "o-k", linewidth=1.2, markersize=3, label="valence")
            axes.plot(
                times, arousal, "^--", color="0.45", linewidth=1.2, markersize=3, label="arousal"
            )
            for column, marker, name in ((1, "x", "valence"), (2, "+", "arousal")):
                known = person.truth[np.isfinite(person.truth[:, column])]
                if len(known):
                    times, values = _smoothed(known[:, 0]), _smoothed(known[:, column])
                    axes.plot(times, values, f"k{marker}", markersize=6, label=f"{name}, truth")
            axes.set(ylim=(-1.05, 1.05), yticks=(-1, 0, 1), xlim=(0, max(duration, 1.0)))
            many = _together(len(person.times))
            note = f", means of {many} utterances" if many > 1 else ""
            axes.set_title(person.name + note, loc="left", fontsize=9)
        rows[0].legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=4, frameon=False)
        rows[-1].set_xlabel("s since the recording began")
        return figure

    return drawn(draw)


def _together(count: int) -> int:
    """How many utterances make one point of an arc."""
    return -(-count // MOST_POINTS)


def _smoothed(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) -> means of as many that follow each other as leave at most `MOST_POINTS`."""
    parts = np.split(values, range(many := _together(len(values)), len(values), many or 1))
    return np.array([part.mean() for part in parts if len(part)])


def score_pictures(systems: Sequence[SystemScores]) -> list[Picture]:
    """What the scores hold, system beside system; nothing of what is empty."""
    found = [_confusion(system) for system in systems if np.any(system.confusion)]
    if any(system.reliability for system in systems):
        found.append(_reliability(systems))
    if any(system.risk_coverage for system in systems):
        found.append(_risk(systems))
    if any(system.latencies for system in systems):
        found.append(_latency(systems))
    return found


def _confusion(system: SystemScores) -> Picture:
    counts = np.array(system.confusion)
    right, total = int(np.trace(counts)), int(counts.sum())
    confused = [
        (int(counts[row, column]), truth, answer)
        for row, truth in enumerate(system.labels)
        for column, answer in enumerate(system.labels)
        if row != column and counts[row, column]
    ]
    confused.sort(key=lambda entry: -entry[0])
    often = ", ".join(f"{t} taken for {a} ({n})" for n, t, a in confused[:3]) or "nothing"
    return Picture(
        drawn(lambda: draw_confusion(counts, system.labels)),
        f"Confusion matrix of {system.system}: {right} of {total} right; confused: {often}.",
        f"{system.system}: row the truth, column the answer; shares of the row, and counts.",
    )


def _reliability(systems: Sequence[SystemScores]) -> Picture:
    def draw() -> Figure:
        figure = Figure((4.5, 5.0), layout="constrained")
        above, below = figure.subplots(2, height_ratios=(3, 1), sharex=True)
        above.plot((0, 1), (0, 1), color="0.7", linewidth=0.8)
        for number, system in enumerate(systems):
            bins, style = system.reliability, _style(number)
            confidences = [each.confidence for each in bins]
            above.plot(
                confidences, [b.accuracy for b in bins], marker="o", label=system.system, **style
            )
            below.vlines(
                [c + 0.008 * number for c in confidences],
                0,
                [b.count for b in bins],
                color=style["color"],
                linestyle=style["linestyle"],
                linewidth=3,
            )
        above.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="share that is right")
        above.legend(frameon=False)
        below.set(xlabel="confidence", ylabel="answers", ylim=(0, None))
        return figure

    spoken = "; ".join(
        f"{system.system}: "
        + ", ".join(f"{b.accuracy:.0%} right at {b.confidence:.0%}" for b in system.reliability)
        for system in systems
    )
    return Picture(
        drawn(draw),
        f"Reliability. {spoken}.",
        "How often answers of a confidence are right. On the grey line the confidence is true.",
    )


def _risk(systems: Sequence[SystemScores]) -> Picture:
    def draw() -> Figure:
        figure = Figure((4.5, 3.6), layout="constrained")
        axes = figure.add_subplot()
        for number, system in enumerate(systems):
            if system.risk_coverage:
                coverage, risk = zip(*system.risk_coverage, strict=True)
                axes.plot(coverage, risk, label=system.system, **_style(number))
        axes.set(xlim=(0, 1), ylim=(0, None), xlabel="share answered", ylabel="share of wrong ones")
        axes.legend(frameon=False)
        return figure

    spoken = "; ".join(
        f"{s.system}: " + ", ".join(f"{risk:.0%} wrong at {c:.0%}" for c, risk in _some(s))
        for s in systems
        if s.risk_coverage
    )
    return Picture(
        drawn(draw),
        f"Risk against coverage. {spoken}.",
        "What remains wrong when only the most confident answers are taken.",
    )


def _some(system: SystemScores) -> list[tuple[float, float]]:
    """The points at about a quarter, a half, three quarters and all."""
    points = system.risk_coverage
    return [min(points, key=lambda p: abs(p[0] - share)) for share in (0.25, 0.5, 0.75, 1.0)]


def _latency(systems: Sequence[SystemScores]) -> Picture:
    def draw() -> Figure:
        figure = Figure((4.5, 3.6), layout="constrained")
        axes = figure.add_subplot()
        for number, system in enumerate(systems):
            if system.latencies:
                values = np.sort(np.array(system.latencies)) / 1e6
                shares = np.arange(1, len(values) + 1) / len(values)
                axes.step(values, shares, where="post", label=system.system, **_style(number))
        axes.set(
            xlabel="ms from the last input to the estimate",
            ylabel="share of answers",
            ylim=(0, 1.02),
            xlim=(0, None),
        )
        axes.legend(frameon=False, loc="lower right")
        return figure

    spoken = "; ".join(
        f"{s.system}: "
        + ", ".join(f"{np.percentile(s.latencies, p) / 1e6:.0f} ms for {p} %" for p in (50, 95))
        for s in systems
        if s.latencies
    )
    return Picture(drawn(draw), f"Latency. {spoken}.", f"How long answers took. {spoken}.")


def _style(number: int) -> Mapping[str, Any]:
    return {"color": _INK[number % 4], "linestyle": _LINES[number % 4]}
