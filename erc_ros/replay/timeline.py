"""The timeline image: utterances by speaker and time, colored by emotion, with a table."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from erc_ros.values.nanoseconds import NS
from erc_ros.values.utterance import speaker_name
from erc_ros.values.why import NAMES, brief

if TYPE_CHECKING:
    from erc_ros.replay.rows import Row

# Colors of Okabe and Ito, which color-blind people can distinguish.
COLOURS = {
    "neutral": "#b3b3b3",
    "surprise": "#56b4e9",
    "fear": "#cc79a7",
    "sadness": "#0072b2",
    "joy": "#f0c419",
    "disgust": "#009e73",
    "anger": "#d55e00",
}
_OTHERS = ("#8c6bb1", "#7f6000", "#1b9e77", "#e7298a", "#444444")  # for other label sets
INK, FAINT, RULE = "#222222", "#6b6b6b", "#dddddd"
PER_PAGE = 24  # utterances; a longer recording has several images
TOGETHER = 0.2  # overlap from which an utterance is marked

# The page in inches, from the top; text in points.
_WIDTH = 10.0
_MARGIN = 0.25
_LANE, _ROW = 0.42, 0.29
_LANES_LEFT = 1.05
# Left edges of the table's columns.
_NUMBER, _TIME, _SPEAKER, _TEXT = 0.25, 0.62, 1.1, 1.9
_LABEL, _BAR, _SEEN, _LATENCY = 6.0, 6.75, 7.95, 9.75
_BAR_WIDTH, _SEEN_WIDTH, _SEEN_STEP = 0.6, 0.33, 0.43
_WHY_WIDTH = 2.9  # of an additional column, if the estimates have explanations


# Seconds between two ticks of the time axis: the first value with at most 12 ticks is used.
_STEPS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 7200, 1e9)


@dataclass(frozen=True)
class _Lane:
    """One line of the overview: a speaker of a conversation."""

    name: str
    rows: tuple[int, ...]  # indices into the page's rows


def draw(rows: Sequence[Row], file: Path, origin: int) -> list[Path]:
    """Draw the final estimates, `PER_PAGE` to an image, and return the files.

    Args:
        file: the first image; the others are numbered, "timeline-2.png".
        origin: time 0, ns.
    """
    finals = sorted((row for row in rows if row.is_final), key=lambda row: (row.start, row.end))
    pages = [finals[i : i + PER_PAGE] for i in range(0, len(finals), PER_PAGE)] or [[]]
    files = []
    for number, page in enumerate(pages, 1):
        name = file if number == 1 else file.with_name(f"{file.stem}-{number}{file.suffix}")
        _Page(page, origin, (number - 1) * PER_PAGE + 1).save(name)
        files.append(name)
    return files


class _Page:
    """One image. Coordinates are inches from the top left corner."""

    def __init__(self, rows: Sequence[Row], origin: int, first: int) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self._rows, self._origin, self._first = rows, origin, first
        self._lanes = _lanes(rows)
        self._with_latency = any(row.latency is not None for row in rows)
        self._legend_top = _MARGIN
        self._lanes_top = _MARGIN + 0.38
        self._axis = self._lanes_top + _LANE * max(1, len(self._lanes))
        self._table_top = self._axis + 0.62
        height = self._table_top + 0.32 + _ROW * max(1, len(rows)) + _MARGIN
        self._why_left = _WIDTH if self._with_latency else _LATENCY - 0.4
        is_why_known = any(row.why for row in rows)
        self._right = self._why_left + _WHY_WIDTH if is_why_known else _WIDTH
        self._figure = Figure(figsize=(self._right, height), dpi=160, facecolor="white")
        canvas: Any = FigureCanvasAgg(self._figure)
        self._renderer = canvas.get_renderer()
        self._axes = self._figure.add_axes((0, 0, 1, 1))
        self._axes.set_xlim(0, self._right)
        self._axes.set_ylim(height, 0)
        self._axes.axis("off")
        self._begin, self._end = self._span()

    def save(self, file: Path) -> None:
        """Draw the page and write it to a file."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing")  # drawn as a box
            self._legend()
            self._overview()
            self._table()
            self._figure.savefig(file)

    def _legend(self) -> None:
        x = _LANES_LEFT
        for label in _labels(self._rows):
            self._box(x, self._legend_top + 0.03, 0.16, 0.16, _color(label))
            x += 0.24 + self._text(x + 0.23, self._legend_top + 0.11, label or "unknown") + 0.22

    def _overview(self) -> None:
        self._ticks()
        for number, lane in enumerate(self._lanes):
            top = self._lanes_top + number * _LANE
            middle = top + _LANE / 2
            self._line(_LANES_LEFT, middle, self._right - _MARGIN, middle, RULE)
            name = self._fitting(lane.name, _LANES_LEFT - _MARGIN)
            self._text(_LANES_LEFT - 0.12, middle, name, align="right", bold=True)
            free = _LANES_LEFT
            for index in lane.rows:
                free = self._utterance(index, top, free)
        if not self._lanes:
            self._text(_LANES_LEFT, self._lanes_top + _LANE / 2, "no utterances", color=FAINT)

    def _utterance(self, index: int, top: float, free: float) -> float:
        """Draw an utterance, numbered if there is space; return where free space begins."""
        row = self._rows[index]
        left = self._x(row.start)
        width = max(0.03, self._x(row.end) - left - 0.015)  # a gap between neighbors
        self._box(left, top + 0.07, width, _LANE - 0.14, _color(row.label))
        number, center = str(self._first + index), left + width / 2
        needed = self._width(number, 8.0)
        if center - needed / 2 < free or needed > width:
            return free
        ink = _ink_on(row.label)
        self._text(center, top + _LANE / 2, number, align="center", size=8, color=ink)
        return center + needed / 2

    def _ticks(self) -> None:
        span = (self._end - self._begin) / NS
        step = next(step for step in _STEPS if span <= 12 * step)
        second = -(-((self._begin - self._origin) / NS) // step) * step
        while second * NS + self._origin <= self._end:
            x = self._x(int(second * NS) + self._origin)
            self._line(x, self._lanes_top, x, self._axis + 0.05, "#eeeeee")
            self._text(x, self._axis + 0.15, _clock(second), align="center", color=FAINT, size=8)
            second += step

    def _table(self) -> None:
        top = self._table_top
        for x, name in ((_TIME, "time"), (_SPEAKER, "speaker"), (_TEXT, "words")):
            self._text(x, top, name, color=FAINT, size=8)
        self._text(_LABEL, top, "emotion, confidence", color=FAINT, size=8)
        if self._right != _WIDTH:
            self._text(self._why_left, top, "what decided", color=FAINT, size=8)
        for place, name in enumerate(NAMES.values()):
            x = _SEEN + place * _SEEN_STEP + _SEEN_WIDTH / 2
            self._text(x, top, name, color=FAINT, size=8, align="center")
        if self._with_latency:
            self._text(_LATENCY, top, "delay", color=FAINT, size=8, align="right")
        for index, row in enumerate(self._rows):
            self._entry(index, row, top + 0.3 + index * _ROW)

    def _entry(self, index: int, row: Row, y: float) -> None:
        self._line(_NUMBER, y - _ROW / 2, self._right - _MARGIN, y - _ROW / 2, "#eeeeee")
        self._box(_NUMBER, y - 0.1, 0.27, 0.2, _color(row.label))
        number, ink = str(self._first + index), _ink_on(row.label)
        self._text(_NUMBER + 0.135, y, number, align="center", size=8, color=ink)
        self._text(_TIME, y, _clock((row.start - self._origin) / NS), color=FAINT)
        self._text(_SPEAKER, y, self._fitting(_name(row), _TEXT - _SPEAKER - 0.05))
        room = _LABEL - _TEXT - 0.15
        if row.overlap is not None and row.overlap >= TOGETHER:
            room -= 0.1 + self._text(
                _TEXT + room, y, "two at once", align="right", size=8, color=FAINT
            )
        text = self._fitting(row.text, room)
        self._text(_TEXT, y, text or "(no text)", color=INK if text else FAINT)
        if row.label:
            self._text(_LABEL, y, row.label, bold=True)
        else:
            self._text(_LABEL, y, f"{row.most_probable}?", color=FAINT)  # unknown: the legend
        self._box(_BAR, y - 0.06, _BAR_WIDTH, 0.12, "#eeeeee")
        self._box(_BAR, y - 0.06, _BAR_WIDTH * row.confidence, 0.12, _color(row.label))
        self._text(_BAR + _BAR_WIDTH + 0.08, y, f"{row.confidence:.0%}", size=8)
        self._modalities(row, y)
        if row.why:
            room = _WHY_WIDTH - _MARGIN
            text = self._fitting(brief(row.most_probable, row.why), room, 8)
            self._text(self._why_left, y, text, size=8)
        if row.latency is not None:
            self._text(_LATENCY, y, f"{row.latency / 1e6:.0f} ms", align="right", size=8)

    def _modalities(self, row: Row, y: float) -> None:
        """Draw three bars, as long as the modality's weight; a dash for a missing modality.

        A bar has the color of the label that the modality alone indicates (gray: unknown), and a
        frame if the modality is not trusted.
        """
        for place, name in enumerate(NAMES):
            x, weight = _SEEN + place * _SEEN_STEP, row.weights.get(name, 0.0)
            if not row.modalities.get(name):
                self._text(x + _SEEN_WIDTH / 2, y, "–", align="center", color="#bbbbbb")
                continue
            self._box(x, y - 0.06, _SEEN_WIDTH, 0.12, "#e3e3e3")
            why = row.why.get(name)
            fill = _color(why.indicates) if why and why.indicates else "#777777"
            self._box(x, y - 0.06, _SEEN_WIDTH * weight, 0.12, fill)
            if why and why.distrust:
                corners = [(x, -0.06), (x + _SEEN_WIDTH, -0.06), (x + _SEEN_WIDTH, 0.06), (x, 0.06)]
                for (x0, y0), (x1, y1) in zip(corners, [*corners[1:], corners[0]], strict=True):
                    self._line(x0, y + y0, x1, y + y1, "#c00000")

    # Drawing in inches.

    def _span(self) -> tuple[int, int]:
        if not self._rows:
            return self._origin, self._origin + 10 * NS
        begin = min(row.start for row in self._rows)
        end = max(row.end for row in self._rows)
        begin = self._origin if begin - self._origin < 20 * NS else begin - NS
        return begin, max(end, begin + NS)

    def _x(self, time: int) -> float:
        width = self._right - _MARGIN - _LANES_LEFT
        return _LANES_LEFT + width * (time - self._begin) / (self._end - self._begin)

    def _box(self, x: float, y: float, width: float, height: float, color: str) -> None:
        from matplotlib.patches import Rectangle

        self._axes.add_patch(Rectangle((x, y), width, height, facecolor=color, linewidth=0))

    def _line(self, x0: float, y0: float, x1: float, y1: float, color: str) -> None:
        self._axes.plot((x0, x1), (y0, y1), color=color, linewidth=0.8, zorder=0)

    def _text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        align: str = "left",
        size: float = 9.0,
        color: str = INK,
        bold: bool = False,
    ) -> float:
        """Write, and return the width."""
        drawn = self._axes.text(
            x,
            y,
            text,
            fontsize=size,
            color=color,
            horizontalalignment=align,
            verticalalignment="center_baseline",
            fontweight="bold" if bold else "normal",
            parse_math=False,
        )
        return float(drawn.get_window_extent(self._renderer).width) / self._figure.dpi

    def _width(self, text: str, size: float = 9.0) -> float:
        from matplotlib.font_manager import FontProperties

        font = FontProperties(size=size)
        width, _, _ = self._renderer.get_text_width_height_descent(text, font, False)
        return float(width) / self._figure.dpi

    def _fitting(self, text: str, width: float, size: float = 9.0) -> str:
        """Truncate a text to a width, with an ellipsis."""
        text = " ".join("".join(c if c.isprintable() else " " for c in text).split())[:300]
        if self._width(text, size) <= width:
            return text
        while text and self._width(text + "…", size) > width:
            text = text[:-1]
        return text.rstrip() + "…"


def _lanes(rows: Sequence[Row]) -> list[_Lane]:
    speakers: dict[tuple[str, str], list[int]] = {}
    for index, row in enumerate(rows):
        speakers.setdefault((row.conversation_id, row.speaker_id), []).append(index)
    several = len({conversation for conversation, _ in speakers}) > 1
    ordered = sorted(
        speakers.items(), key=lambda item: (item[1][0] if several else 0, not item[0][1], item[0])
    )
    return [_Lane(_name(*map(rows.__getitem__, indices)), tuple(indices)) for _, indices in ordered]


def _name(*rows: Row) -> str:
    """Return the name of the speaker of these rows: the person's name if known."""
    person = next((row.person_id for row in rows if row.person_id), "")
    return speaker_name(rows[0].speaker_id, person) or "unknown"


def _labels(rows: Sequence[Row]) -> list[str]:
    """Return the labels of the legend; "" if an estimate is unknown."""
    labels = [label for row in rows for label in row.probabilities]
    return list(dict.fromkeys([*labels, *("" for row in rows if not row.label)]))


def _color(label: str) -> str:
    if label in COLOURS:
        return COLOURS[label]
    return _OTHERS[sum(map(ord, label)) % len(_OTHERS)]


def _ink_on(label: str) -> str:
    red, green, blue = (int(_color(label)[i : i + 2], 16) for i in (1, 3, 5))
    return INK if 0.3 * red + 0.6 * green + 0.1 * blue > 120 else "white"


def _clock(second: float) -> str:
    sign, second = ("-" if second < 0 else ""), abs(int(second))
    minutes, seconds = divmod(second, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{sign}{hours}:{minutes:02}:{seconds:02}" if hours else f"{sign}{minutes}:{seconds:02}"
