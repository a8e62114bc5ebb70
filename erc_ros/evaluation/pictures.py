"""The diagrams of the report as SVG: valence and arousal, confusion, reliability, risk, latency.

They are legible in black and white: systems differ in line style. The same figures give the same
bytes.
"""

from __future__ import annotations

import base64
import csv
import io
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from erc_ros.evaluation.names import clean, key, speaker_names
from erc_ros.evaluation.records import Recording, SystemScores
from erc_ros.metrics.pictures import draw_confusion
from erc_ros.replay.timeline import COLOURS
from erc_ros.values.files import write_whole
from erc_ros.values.nanoseconds import NS

_LINES = ("-", "--", ":", "-.")
_INK = ("0.0", "0.45", "0.25", "0.6")
_SETTINGS: Any = {
    "svg.hashsalt": "erc_ros",  # makes the ids in the file reproducible
    "svg.fonttype": "none",  # text in the fonts of the reader
    "text.parse_math": False,  # names are not formulas
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
}
MAX_PEOPLE = 12  # rows of arcs
MIN_RELIABILITY = 30  # minimum number of estimates; fewer give a noisy curve
MAX_POINTS = 150  # points in a row; more would overlap


@dataclass(frozen=True)
class Picture:
    """A diagram.

    name: of its files. draw: draws it. alt: alternative text. table: its data, with a header.
    """

    name: str
    draw: Callable[[], Figure]
    alt: str
    caption: str
    table: Sequence[Sequence[Any]]

    @cached_property
    def data(self) -> str:
        """The SVG as a data URI."""
        return drawn(self.draw)

    @property
    def csv(self) -> str:
        """The table as a data URI."""
        return "data:text/csv;base64," + base64.b64encode(_csv(self.table).encode()).decode()


@dataclass(frozen=True)
class Arc:
    """Valence and arousal of one person, times in s.

    truth: (n, 3) time, valence, arousal; NaN where it was not annotated.
    """

    name: str
    times: NDArray[np.float64]
    valence: NDArray[np.float64]
    arousal: NDArray[np.float64]
    truth: NDArray[np.float64]


def _csv(table: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(table)
    return text.getvalue()


def write_figures(pictures: Sequence[Picture], folder: Path) -> list[Path]:
    """Write NAME.svg, NAME.pdf and NAME.csv of each; the same pictures give the same bytes.

    Raises:
        OSError: the folder cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for picture in pictures:
        base = re.sub(r"[^\w.-]", "_", picture.name)
        for suffix in ("svg", "pdf"):
            files.append(folder / f"{base}.{suffix}")
            write_whole(files[-1], _rendered(picture.draw, suffix))
        if picture.table:
            files.append(folder / f"{base}.csv")
            write_whole(files[-1], _csv(picture.table))
    return files


def drawn(draw: Callable[[], Figure]) -> str:
    """Return the figure of `draw` as a data URI of a reproducible SVG file."""
    return "data:image/svg+xml;base64," + base64.b64encode(_rendered(draw, "svg")).decode()


def _rendered(draw: Callable[[], Figure], kind: str) -> bytes:
    file = io.BytesIO()
    no_date = {"svg": "Date", "pdf": "CreationDate"}[kind]
    with matplotlib.rc_context(_SETTINGS), warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="Glyph .* missing"
        )  # the reader may have the font
        draw().savefig(file, format=kind, metadata={no_date: None, "Creator": None})
    return file.getvalue()


def timeline(recording: Recording) -> Picture:
    """Who spoke when with which emotion: the annotation above, the estimates below."""
    segments = recording.truth.segments if recording.truth is not None else ()
    names = speaker_names(recording.predictions)
    bars = [("annotation", s.speaker, s.start, s.end, s.emotion or "") for s in segments]
    bars += [("estimate", names[key(p)], p.start, p.end, p.label) for p in recording.predictions]
    lanes = list(dict.fromkeys(bar[:2] for bar in bars))

    def draw() -> Figure:
        figure = Figure((11, 1.2 + 0.4 * len(lanes)), layout="constrained")
        axes = figure.add_subplot()
        for kind, who, start, end, label in bars:
            shape = (start / NS, (end - start) / NS)
            lane = lanes.index((kind, who))
            color = COLOURS.get(label, "#ffffff")
            axes.broken_barh([shape], (lane - 0.4, 0.8), color=color, edgecolor="0.2")
            axes.text(start / NS, lane, f" {label[:3]}", fontsize=6, va="center", clip_on=True)
        axes.set_yticks(range(len(lanes)), [clean(f"{who} ({kind})") for kind, who in lanes])
        axes.set(xlim=(0, max(1.0, recording.duration / NS)), xlabel="time since the start, s")
        axes.invert_yaxis()
        return figure

    table = [("kind", "speaker", "start_s", "end_s", "emotion")]
    rows = [(kind, who, start / NS, end / NS, label) for kind, who, start, end, label in bars]
    return Picture("timeline", draw, "", "Speakers and emotions over time.", [*table, *rows])


def arcs(people: Sequence[Arc], duration: float) -> str:
    """Valence and arousal over time (s), one row per person, the first `MAX_PEOPLE` of them."""
    people = people[:MAX_PEOPLE]

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
                truth = person.truth[np.isfinite(person.truth[:, column])]
                if len(truth):
                    times, values = _smoothed(truth[:, 0]), _smoothed(truth[:, column])
                    axes.plot(times, values, f"k{marker}", markersize=6, label=f"{name}, annotated")
            axes.set(ylim=(-1.05, 1.05), yticks=(-1, 0, 1), xlim=(0, max(duration, 1.0)))
            many = _together(len(person.times))
            note = f", means of {many} utterances" if many > 1 else ""
            axes.set_title(person.name + note, loc="left", fontsize=9)
        rows[0].legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=4, frameon=False)
        rows[-1].set_xlabel("time since the start, s")
        return figure

    return drawn(draw)


def _together(count: int) -> int:
    """Return the number of utterances that one point shows."""
    return -(-count // MAX_POINTS)


def _smoothed(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the means of groups of consecutive values (n,), at most `MAX_POINTS` of them."""
    parts = np.split(values, range(many := _together(len(values)), len(values), many or 1))
    return np.array([part.mean() for part in parts if len(part)])


def score_pictures(systems: Sequence[SystemScores]) -> list[Picture]:
    """Return the diagrams of the scores, with all systems in each, without empty ones."""
    systems = [
        replace(each, system=clean(each.system), labels=tuple(map(clean, each.labels)))
        for each in systems
    ]
    systems = [
        each
        if sum(bin_.count for bin_ in each.reliability) >= MIN_RELIABILITY
        else replace(each, reliability=())
        for each in systems
    ]
    pictures = [_confusion(system) for system in systems if np.any(system.confusion)]
    return pictures + [
        draw(own)
        for draw, name in (
            (_reliability, "reliability"),
            (_risk, "risk_coverage"),
            (_latency, "latencies"),
        )
        if (own := [system for system in systems if getattr(system, name)])
    ]


def _confusion(system: SystemScores) -> Picture:
    counts = np.array(system.confusion)
    wrong = counts * ~np.eye(len(counts), dtype=bool)
    most = np.argsort(-wrong, axis=None, kind="stable")[:3]
    confused = [
        f"{system.labels[row]} taken for {system.labels[column]} ({counts[row, column]})"
        for row, column in zip(*np.unravel_index(most, counts.shape), strict=True)
        if wrong[row, column]
    ]
    rows = [[label, *row] for label, row in zip(system.labels, counts.tolist(), strict=True)]
    return Picture(
        f"confusion-{system.system}",
        lambda: draw_confusion(counts, system.labels),
        f"Confusion matrix of {system.system}: {np.trace(counts)} of {counts.sum()} correct; "
        f"confused: {', '.join(confused) or 'none'}.",
        f"{system.system}: row = annotation, column = estimate; shares of the row, and counts.",
        [["annotated", *system.labels], *rows],
    )


def _lines(
    systems: Sequence[SystemScores],
    curve: Callable[[SystemScores], Sequence[Any]],
    in_words: Callable[[SystemScores], str],
    name: str,
    caption: str,
    **axes: Any,
) -> Picture:
    """Return a diagram with a line for each system."""

    def draw() -> Figure:
        figure = Figure((4.5, 3.6), layout="constrained")
        plot = figure.add_subplot()
        for number, system in enumerate(systems):
            x, y = curve(system)
            plot.plot(x, y, label=system.system, **_style(number))
        plot.set(**axes)
        plot.legend(frameon=False)
        return figure

    spoken = "; ".join(f"{system.system}: {in_words(system)}" for system in systems)
    rows = [
        (system.system, x, y)
        for system in systems
        for x, y in zip(*map(list, curve(system)), strict=True)
    ]
    table = [("system", axes["xlabel"], axes["ylabel"]), *rows]
    file = name.lower().replace(" ", "-")
    return Picture(file, draw, f"{name}. {spoken}.", caption, table)


def _reliability(systems: Sequence[SystemScores]) -> Picture:
    return _lines(
        systems,
        lambda s: ([b.confidence for b in s.reliability], [b.accuracy for b in s.reliability]),
        lambda s: ", ".join(
            f"{b.accuracy:.0%} of {b.count} correct at {b.confidence:.0%}" for b in s.reliability
        ),
        "Reliability",
        "Share of correct estimates by confidence; equal where the confidence is calibrated.",
        xlim=(0, 1),
        ylim=(0, 1.02),
        xlabel="confidence",
        ylabel="share correct",
    )


def _risk(systems: Sequence[SystemScores]) -> Picture:
    def in_words(system: SystemScores) -> str:
        points = system.risk_coverage
        shares = [min(points, key=lambda p: abs(p[0] - n / 4)) for n in (1, 2, 3, 4)]
        return ", ".join(f"{risk:.0%} wrong at {coverage:.0%}" for coverage, risk in shares)

    return _lines(
        systems,
        lambda s: tuple(zip(*s.risk_coverage, strict=True)),
        in_words,
        "Risk against coverage",
        "Errors that remain when only the most confident estimates are used.",
        xlim=(0, 1),
        ylim=(0, None),
        xlabel="share of estimates used",
        ylabel="share wrong",
    )


def _latency(systems: Sequence[SystemScores]) -> Picture:
    def in_words(system: SystemScores) -> str:
        quantiles = np.percentile(system.latencies, (50, 95)) / 1e6
        return "{:.0f} ms for 50 %, {:.0f} ms for 95 %".format(*quantiles)

    return _lines(
        systems,
        lambda s: (
            np.sort(np.array(s.latencies)) / 1e6,
            np.arange(1, len(s.latencies) + 1) / len(s.latencies),
        ),
        in_words,
        "Latency",
        "Time from the end of the speech to the estimate.",
        xlim=(0, None),
        ylim=(0, 1.02),
        xlabel="latency, ms",
        ylabel="share of estimates",
    )


def _style(number: int) -> Mapping[str, Any]:
    return {"color": _INK[number % 4], "linestyle": _LINES[number % 4], "marker": "."}
