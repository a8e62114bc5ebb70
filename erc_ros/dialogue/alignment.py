"""Which speech does a text belong to? Pure functions on pieces of speech that have no text yet.

A recogniser that tells when its words were spoken claims the speech of that time. One that tells
only when it was done claims the speech that explains its text best: long enough for so many
characters, old enough (texts come in order), but not long past, and ending where one could end.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from erc_ros.dialogue.diarization import UNCLEAR, Attribution
from erc_ros.dialogue.transcript import Transcript
from erc_ros.sensing.nanoseconds import NS, seconds

SLACK = seconds(0.15)  # a time may lie this much before the end of its speech (padding, frames)
SNAP = seconds(0.4)  # told times are this inexact: a rest shorter than this belongs to the claim
SHORTEST = seconds(0.1)  # no text is spoken faster

# Costs of an explanation, on the scale of |ln(speech / expected speech)|.
PLAIN = 0.3  # s, added to both durations: short texts are not compared too strictly
DELAY = 0.6  # s; a recogniser is done this long after the end of the speech, more or less
# A stamp that lies this much before the arrival is when the speech ended, as the recogniser heard
# it: then there is no delay, but it may lie further before the end that voice activity found.
END_TOLD = seconds(0.1)
END_SLACK = seconds(0.4)
LATENESS = 0.2  # for each second off that delay
SKIPPED = 0.5  # for each older piece that would be left without text
CROSSED = 0.15  # for each pause inside the claim
CROSSED_SPEAKER = 0.4  # for each change of speaker inside it
OPEN_END = 0.6  # cut where the sound ends at this moment, in the midst of speech
DIP, DIP_DEPTH = 0.15, 0.35  # cut in a short silence; and for how little silent it is
QUIET, QUIET_DEPTH = 0.2, 0.4  # cut where it is quiet for a moment; and for how little quiet
QUIET_SPAN = 3  # frames on both sides that are louder


@dataclass(frozen=True, slots=True)
class Piece:
    """Speech of one voice that has no text yet. Times in ns."""

    start: int
    end: int  # as far as it was heard
    is_open: bool = False  # speech goes on
    deadline: int = 0  # when it goes out without text; only of a piece that is not open
    utterance_id: str = ""  # given with its draft
    attribution: Attribution = UNCLEAR


@dataclass(frozen=True, slots=True)
class Cut:
    """A moment (ns) inside a piece at which a text may end, and what it costs."""

    time: int
    cost: float


@dataclass(frozen=True, slots=True)
class Claim:
    """Speech from `start` to `end` (ns) gets the text: `pieces`, the outer ones cut maybe."""

    start: int
    end: int
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Latest:
    """The latest time (ns) at which the speech of a text can have ended.

    delay: s, how long before it the speech did end, more or less. slack: ns, how far after it the
    end that voice activity found may lie.
    """

    time: int
    delay: float
    slack: int


def expected_duration(text: str, seconds_per_character: float) -> int:
    """How long (ns) it takes to say `text`."""
    return max(SHORTEST, seconds(len(text) * seconds_per_character))


def dips(probabilities: Sequence[tuple[int, float]]) -> list[Cut]:
    """Moments of little speech: local minima of (time, probability of speech), one per silence."""
    cuts: list[Cut] = []
    run: list[tuple[int, float]] = []
    for time, probability in [*probabilities, (0, 1.0)]:
        if probability < 0.5:
            run.append((time, probability))
        elif run:
            lowest = min(p for _, p in run)
            # the whole silence belongs to what was said before it, as a pause does
            cuts.append(Cut(run[-1][0], DIP + DIP_DEPTH * lowest))
            run = []
    return cuts


def quiet(levels: Sequence[tuple[int, float]]) -> list[Cut]:
    """Moments quieter than half of the median level: local minima of (time, level)."""
    if not levels:
        return []
    values = [level for _, level in levels]
    typical = sorted(values)[len(values) // 2]
    cuts = []
    for place, (time, level) in enumerate(levels):
        near = values[max(0, place - QUIET_SPAN) : place + QUIET_SPAN + 1]
        if level < 0.5 * typical and level <= min(near):
            cuts.append(Cut(time, QUIET + QUIET_DEPTH * level / typical))
    return cuts


def align(
    pieces: Sequence[Piece], transcript: Transcript, expected: int, cuts: Sequence[Cut]
) -> Claim | None:
    """The speech that `transcript` belongs to, None if there is none.

    pieces: in the order of time; only the last one may be open. expected: ns that the text takes.
    cuts: moments inside pieces at which it may end.
    """
    if transcript.start is not None and transcript.end is not None:
        return _by_times(pieces, transcript.start, transcript.end, cuts)
    is_end = transcript.time < transcript.arrival - END_TOLD
    latest = Latest(transcript.time, *((0.0, END_SLACK) if is_end else (DELAY, SLACK)))
    return _by_duration(pieces, latest, expected, cuts)


def _by_times(pieces: Sequence[Piece], start: int, end: int, cuts: Sequence[Cut]) -> Claim | None:
    """All pieces that lie for the most part of themselves, or of the text, in start..end."""
    taken = []
    for piece in pieces:
        common = min(piece.end, end) - max(piece.start, start)
        shorter = min(piece.end - piece.start, end - start)
        if common > 0 and (2 * common >= shorter or common >= SNAP):
            taken.append(piece)
    if not taken:
        return None
    first, last = taken[0], taken[-1]
    begin = first.start if start - first.start < SNAP else start
    if last.end - end < SNAP and not last.is_open:
        return Claim(begin, last.end, tuple(taken))
    near = [cut for cut in cuts if abs(cut.time - end) < SNAP and begin < cut.time < last.end]
    if near:
        end = min(near, key=lambda cut: (cut.cost + 3 * abs(cut.time - end) / NS, cut.time)).time
    return Claim(begin, min(end, last.end), tuple(taken))


def _by_duration(
    pieces: Sequence[Piece], latest: Latest, expected: int, cuts: Sequence[Cut]
) -> Claim | None:
    """The cheapest run of pieces that ends before `latest`."""
    best: tuple[float, Claim] | None = None
    for first, piece in enumerate(pieces):
        if piece.start + SHORTEST > latest.time:
            break
        for last in range(first, len(pieces)):
            if pieces[last].start + SHORTEST > latest.time:
                break
            for cut in _ends(pieces[last], latest, cuts):
                claim = Claim(piece.start, cut.time, tuple(pieces[first : last + 1]))
                cost = cut.cost + first * SKIPPED + _cost(claim, latest, expected)
                if best is None or cost < best[0]:
                    best = (cost, claim)
    return None if best is None else best[1]


def _ends(piece: Piece, latest: Latest, cuts: Sequence[Cut]) -> list[Cut]:
    """Where in `piece` a text may end."""
    last = min(piece.end, latest.time)
    inside = [cut for cut in cuts if piece.start + SHORTEST <= cut.time <= last]
    if piece.end <= latest.time + latest.slack and not piece.is_open:
        return [*inside, Cut(piece.end, 0.0)]
    return [*inside, Cut(last, OPEN_END)]


def _cost(claim: Claim, latest: Latest, expected: int) -> float:
    spoken = sum(min(p.end, claim.end) - p.start for p in claim.pieces) / NS
    mismatch = abs(math.log((spoken + PLAIN) / (expected / NS + PLAIN)))
    lateness = LATENESS * abs((latest.time - claim.end) / NS - latest.delay)
    return mismatch + lateness + sum(map(_crossing, claim.pieces, claim.pieces[1:]))


def _crossing(left: Piece, right: Piece) -> float:
    speakers = left.attribution.speaker, right.attribution.speaker
    is_change = None not in speakers and speakers[0] != speakers[1]
    # turns that touch were split at a change of speaker
    return CROSSED_SPEAKER if is_change or right.start == left.end else CROSSED


def rests(claim: Claim) -> list[Piece]:
    """What the claim leaves of its outer pieces, to be drafted anew."""
    first, last = claim.pieces[0], claim.pieces[-1]
    left = []
    if claim.start > first.start:
        left.append(replace(first, end=claim.start, is_open=False, utterance_id=""))
    if claim.end < last.end or last.is_open:
        left.append(replace(last, start=claim.end, utterance_id=""))
    return left
