"""Pictures of diarization on recordings: who spoke, above, and who was found, below.

    python -m benchmarks.timelines [--out docs/images]

The telephone call and AMI's development excerpts ($ERC_DATA) as `call.png`,
`ami-dev00.png`, `ami-dev01.png`. Every band is an answer to who spoke when: the truth, what was
decided after a latency, and the same with its corrections. A lane is a speaker; two at once are
overlap. The error counts overlap and has no collar.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure
from pyannote.core import Segment, Timeline
from pyannote.metrics.diarization import DiarizationErrorRate

from benchmarks.conversations import Conversation, call, meetings
from benchmarks.diarization import annotation, remembered, stream
from erc_ros.dialogue.speakers.networks import DiarizationNetworks
from erc_ros.dialogue.speakers.turns import SpeakerTurn as Found
from erc_ros.training.datasets.folder import data_folder
from erc_ros.values.nanoseconds import NS

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
LATENCIES = (1.0, 5.0)  # s
# Of Okabe and Ito, which colour-blind people can tell apart; found speakers whom nobody matches
# are dark, whoever they are.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
NOBODY = "#444444"
LANE, GAP, WIDTH = 0.2, 0.12, 10.0  # inches

Span = tuple[float, float, str]
"""Start and end (s), and the speaker: of the truth, or "+1", ... where the truth has nobody."""


@dataclass(frozen=True)
class Band:
    """One answer to who spoke when."""

    name: str
    spans: tuple[Span, ...]


def bands(conversation: Conversation, networks: DiarizationNetworks) -> Iterator[Band]:
    """The truth, then for each latency what was decided and what was left of it."""
    yield Band("truth", tuple((t.start, t.end, t.speaker) for t in conversation.turns))
    for latency in LATENCIES:
        decided, corrected, _ = stream(conversation, networks, latency)
        yield _band(f"decided after {latency:g} s", conversation, decided)
        yield _band("with corrections", conversation, corrected)


def _band(name: str, conversation: Conversation, turns: Sequence[Found]) -> Band:
    """With the speakers' names of the truth, by the best one-to-one naming, and the error."""
    spans = [(t.start / NS, t.end / NS, str(t.attribution.speaker)) for t in turns]
    truth = annotation((t.start, t.end, t.speaker) for t in conversation.turns)
    found, rate = annotation(spans), DiarizationErrorRate()
    whole = Timeline([Segment(0, conversation.duration)])
    error = rate(truth, found, uem=whole)
    names = dict(rate.optimal_mapping(truth, found, uem=whole))
    others = [speaker for _, _, speaker in spans if speaker not in names]
    names |= {speaker: f"+{k}" for k, speaker in enumerate(dict.fromkeys(others), 1)}
    return Band(f"{name}\nerror {error:.0%}", tuple((a, b, names[s]) for a, b, s in spans))


def draw(bands: Sequence[Band], duration: float) -> Figure:
    """Bands from above, the first one the truth; in each a lane for every speaker, by colour.

    duration: s.
    """
    known = list(dict.fromkeys(speaker for _, _, speaker in bands[0].spans))
    lanes = [_lanes(band, known) for band in bands]
    heights = [LANE * len(names) for names in lanes]
    height = sum(heights) + GAP * len(bands) + 0.35
    figure = Figure((WIDTH, height), dpi=110, facecolor="white")
    top = height - 0.1
    for band, names, tall in zip(bands, lanes, heights, strict=True):
        place = (0.14, (top - tall) / height, 0.84, tall / height)
        axes = figure.add_axes(place, xlim=(0, duration), ylim=(len(names), 0))
        axes.set_yticks([])
        axes.set_ylabel(band.name, rotation=0, ha="right", va="center", fontsize=9)
        axes.tick_params(bottom=band is bands[-1], labelbottom=band is bands[-1], labelsize=8)
        axes.xaxis.set_major_formatter("{x:g} s")
        axes.spines[:].set_color("#bbbbbb")
        axes.grid(axis="x", color="#e6e6e6")
        axes.set_axisbelow(True)
        for lane, name in enumerate(names):
            spans = [(start, end - start) for start, end, who in band.spans if who == name]
            colour = COLOURS[known.index(name) % len(COLOURS)] if name in known else NOBODY
            axes.broken_barh(spans, (lane + 0.08, 0.84), facecolors=colour)
        top -= tall + GAP
    return figure


def _lanes(band: Band, known: Sequence[str]) -> list[str]:
    """Every speaker of the truth, then the others who were found."""
    return list(dict.fromkeys([*known, *(speaker for _, _, speaker in band.spans)]))


def main(argv: Sequence[str] | None = None) -> int:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=IMAGES, help="folder for the pictures")
    options = parser.parse_args(argv)
    if not data_folder().is_dir():
        print(f"{data_folder()} is not here: set ERC_DATA to the data folder", file=sys.stderr)
        return 1
    networks = remembered()
    options.out.mkdir(parents=True, exist_ok=True)
    excerpts = {f"ami-{excerpt.name}": excerpt for excerpt in meetings("development")}
    for name, conversation in {"call": call(), **excerpts}.items():
        file = options.out / f"{name}.png"
        figure = draw([*bands(conversation, networks)], conversation.duration)
        figure.savefig(file, metadata={"Software": None})
        print(file)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
