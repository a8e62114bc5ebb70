"""Speaker turns. Values and pure functions; times in ns."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Attribution:
    """Speaker of a turn: index within the conversation, None = unclear; confidence 0..1."""

    speaker: int | None
    confidence: float


UNCLEAR = Attribution(None, float("nan"))


@dataclass(frozen=True, slots=True)
class SpeakerTurn:
    """Speech of one speaker from `start` to `end` (ns).

    overlapped: ns in which another speaker is active as well.
    """

    start: int
    end: int
    attribution: Attribution
    overlapped: int = 0


@dataclass(frozen=True, slots=True)
class TurnCorrection:
    """The speaker from `start` to `end` (ns) is `new_speaker` instead of `old_speaker`.

    Speakers are indices within the conversation, None = unclear.
    """

    start: int
    end: int
    old_speaker: int | None
    new_speaker: int | None

    def covers(self, start: int, end: int) -> bool:
        """Return whether most of the time from `start` to `end` (ns) is corrected."""
        common = min(end, self.end) - max(start, self.start)
        return 2 * common > end - start


def joined(turns: Sequence[SpeakerTurn]) -> list[SpeakerTurn]:
    """Merge adjacent and overlapping turns of one speaker."""
    result: list[SpeakerTurn] = []
    for turn in turns:
        speaker = turn.attribution.speaker
        place = next(
            (
                k
                for k in range(len(result) - 1, -1, -1)
                if result[k].attribution.speaker == speaker and result[k].end >= turn.start
            ),
            None,
        )
        if place is None:
            result.append(turn)
        else:
            result[place] = replace(result[place], end=max(result[place].end, turn.end))
    return result


def overlapped(turn: SpeakerTurn, others: Sequence[SpeakerTurn]) -> int:
    """Return the ns of a turn in which others speak as well."""
    spans = sorted(
        (max(turn.start, o.start), min(turn.end, o.end))
        for o in others
        if o.start < turn.end and turn.start < o.end
    )
    total, until = 0, turn.start
    for start, end in spans:
        total += max(0, end - max(start, until))
        until = max(until, end)
    return total


def shared(turns: Sequence[SpeakerTurn]) -> int:
    """Return the ns in which two or more turns overlap."""
    edges = sorted([(turn.start, 1) for turn in turns] + [(turn.end, -1) for turn in turns])
    total = speaking = 0
    for (time, change), (following, _) in itertools.pairwise(edges):
        speaking += change
        total += following - time if speaking > 1 else 0
    return total


def partition(turns: Sequence[SpeakerTurn], start: int, end: int) -> list[SpeakerTurn]:
    """Return turns that cover `start` to `end` without overlap; pauses are split in the middle."""
    parts: list[SpeakerTurn] = []
    for turn in turns:
        if parts and turn.end <= parts[-1].end:
            continue  # inside another turn
        begin = start
        if parts:
            last = parts[-1]
            begin = (max(turn.start, last.end) + last.end) // 2
            parts[-1] = replace(last, end=begin)
        parts.append(SpeakerTurn(begin, turn.end, turn.attribution))
    if parts:
        parts[-1] = replace(parts[-1], end=end)
    return parts


def without_short(turns: Sequence[SpeakerTurn], least: int) -> list[SpeakerTurn]:
    """Merge turns without speaker or shorter than `least` (ns) with the longer neighbor."""
    kept = list(turns)
    while len(kept) > 1:
        place = min(
            range(len(kept)),
            key=lambda k: (kept[k].attribution.speaker is not None, kept[k].end - kept[k].start),
        )
        short = kept[place]
        if short.attribution.speaker is not None and short.end - short.start >= least:
            break
        sides = [k for k in (place - 1, place + 1) if 0 <= k < len(kept)]
        into = max(sides, key=lambda k: kept[k].end - kept[k].start)
        kept[into] = _united(kept[into], short)
        del kept[place]
    united: list[SpeakerTurn] = []
    for turn in kept:
        if united and united[-1].attribution.speaker == turn.attribution.speaker:
            united[-1] = _united(united[-1], turn)
        else:
            united.append(turn)
    return united


def _united(turn: SpeakerTurn, other: SpeakerTurn) -> SpeakerTurn:
    """Return the union of two turns, with the speaker of the first."""
    start, end = min(turn.start, other.start), max(turn.end, other.end)
    return SpeakerTurn(start, end, turn.attribution)


def differences(before: Sequence[SpeakerTurn], now: Sequence[SpeakerTurn]) -> list[TurnCorrection]:
    """Return the spans in which two sequences of turns have different speakers."""
    corrections: list[TurnCorrection] = []
    for turn in now:
        for old in before:
            start, end = max(turn.start, old.start), min(turn.end, old.end)
            was, is_now = old.attribution.speaker, turn.attribution.speaker
            if start < end and was != is_now:
                corrections.append(TurnCorrection(start, end, was, is_now))
    return sorted(corrections, key=lambda correction: correction.start)
