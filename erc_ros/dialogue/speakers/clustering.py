"""The voices of a conversation, told apart by their embeddings: values and pure functions.

Speech in which one voice is alone is embedded in short windows. The windows of the last seconds and
what was heard before are clustered anew again and again (average linkage: the two clusters whose
parts are most alike on average are joined, until no two are alike enough). A cluster is a speaker
on enough evidence, and keeps the number that most of its speech had. Two voices that the
segmentation network heard beside each other count as less alike than their embeddings say.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]
Matrix = NDArray[np.float64]

MAX_PAST = 24  # voices kept apart; older ones of a speaker are joined
BESIDE = 6  # windows of each of two speakers, heard beside the other, that tell them apart for good
PRIOR = 1.0  # windows; how long what is usual counts more than what was heard


@dataclass(frozen=True, slots=True, eq=False)
class Voice:
    """What was heard of a voice. total: (size,) sum of vectors; weight: of how many; heard: s."""

    total: Vector
    weight: float
    heard: float
    speaker: int | None = None

    @property
    def mean(self) -> Vector:
        mean: Vector = (self.total / np.float32(self.weight)).astype(np.float32)
        return mean

    def __add__(self, other: Voice) -> Voice:
        total: Vector = self.total + other.total
        heard = self.heard + other.heard
        return Voice(total, self.weight + other.weight, heard, self.speaker)


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """One voice alone, in frames `first` to `last` (exclusive).

    vector: (size,) of length 1; weight: 1 for a window of full length; track: which local voice it
    is at present, run: which of its stretches; speaker: that its cluster has.
    """

    first: int
    last: int
    vector: Vector
    weight: float
    track: int = -1
    run: int = -1
    speaker: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Voices:
    """State: what was heard of a conversation.

    past: what was heard earlier; windows: of the last seconds, in order of their start; speakers:
    how many were told apart; apart: pairs of them (lower first) that were heard beside each other.
    """

    past: tuple[Voice, ...] = ()
    windows: tuple[Window, ...] = ()
    speakers: int = 0
    apart: frozenset[tuple[int, int]] = frozenset()


@dataclass(frozen=True, slots=True)
class Limits:
    """How voices are compared. Likeness is the dot product of vectors of length 1.

    same: of two windows of one voice, usually; least: of one voice, on average; distinct: how much
    less alike two voices count that were heard beside each other; switch: cost of another speaker
    in a run; evidence: s of speech that make a speaker; evidence_beside: the same for who was heard
    beside all speakers known so far; speakers: at most; frame: s.
    """

    same: float
    least: float
    distinct: float
    switch: float
    evidence: float
    evidence_beside: float
    speakers: int
    frame: float


def beside(
    windows: Sequence[Window], met: frozenset[tuple[int, int]], near: int
) -> NDArray[np.bool_]:
    """(n, n): did one window of the segmentation network (`near` frames) tell the two apart?"""
    count = len(windows)
    found = np.zeros((count, count), bool)
    for row, one in enumerate(windows):
        for column in range(row):
            other = windows[column]
            pair = min(one.track, other.track), max(one.track, other.track)
            if pair in met and abs(one.first - other.first) < near:
                found[row, column] = found[column, row] = True
    return found


def likeness(voices: Voices, are_beside: NDArray[np.bool_], distinct: float) -> Matrix:
    """(n, n) of the past voices, then the windows."""
    vectors = [voice.mean for voice in voices.past] + [w.vector for w in voices.windows]
    stack = np.stack(vectors).astype(np.float64)
    alike: Matrix = stack @ stack.T
    first = len(voices.past)
    alike[first:, first:] -= distinct * are_beside
    # what is past was heard beside nobody who speaks now, but its speaker may have been
    items: list[Voice | Window] = [*voices.past, *voices.windows]
    for row in range(first):
        for column in range(len(items)):
            if _pair(items[row].speaker, items[column].speaker) in voices.apart:
                alike[row, column] -= distinct
                if column >= first:
                    alike[column, row] -= distinct
    return alike


def _pair(one: int | None, other: int | None) -> tuple[int, int] | None:
    return None if one is None or other is None else (min(one, other), max(one, other))


def cluster(alike: Matrix, weights: Matrix, heard: Matrix, limits: Limits) -> list[list[int]]:
    """Groups of one voice: average linkage, joined while alike enough, or too many speakers.

    alike: (n, n); weights: (n,) of each in averages; heard: (n,) s of speech.
    """
    sums = alike * np.outer(weights, weights)
    pairs = np.outer(weights, weights)
    heard = heard.copy()
    links = alike.copy()
    np.fill_diagonal(links, -np.inf)
    groups: dict[int, list[int]] = {place: [place] for place in range(len(alike))}
    while len(groups) > 1:
        one, other = sorted(divmod(int(links.argmax()), len(links)))
        believed = sum(heard[row] >= limits.evidence for row in groups)
        if links[one, other] < limits.least and believed <= limits.speakers:
            break
        groups[one] += groups.pop(other)
        heard[one] += heard[other]
        for table in (sums, pairs):
            table[one] += table[other]
            table[:, one] += table[:, other]
        gone = links[one] == -np.inf
        gone[other] = True
        row = np.where(gone, -np.inf, sums[one] / pairs[one])
        row[one] = -np.inf
        links[one] = links[:, one] = row
        links[other] = links[:, other] = -np.inf
    return list(groups.values())


def heard_in(windows: Sequence[Window], frame: float) -> float:
    """s of speech in windows that may share some, in order of their start."""
    total, until = 0, 0
    for window in windows:
        total += max(0, window.last - max(window.first, until))
        until = max(until, window.last)
    return total * frame


def learn(
    voices: Voices, are_beside: NDArray[np.bool_], limits: Limits
) -> tuple[Voices, Matrix, dict[int, int | None]]:
    """Cluster the conversation anew.

    Every group gets the index that most of its speech had, or a new one on enough evidence. Two
    speakers who turn out to be one keep the index of which more was heard.

    Returns:
        The voices with their speakers; (windows, speakers) how well each window fits each speaker;
        what became of indices that are nobody's any more.
    """
    items: list[Voice | Window] = [*voices.past, *voices.windows]
    if not items:
        return voices, np.zeros((0, voices.speakers)), {}
    weights = np.array([item.weight for item in items], np.float64)
    heard = np.array([v.heard for v in voices.past] + _fresh(voices.windows, limits.frame))
    alike = likeness(voices, are_beside, limits.distinct)
    groups = cluster(alike, weights, heard, limits)
    names, merged, speakers = _named(voices, groups, heard, are_beside, limits)
    labels = {place: names.get(n) for n, group in enumerate(groups) for place in group}
    first = len(voices.past)
    changed = Voices(
        tuple(replace(v, speaker=labels[k]) for k, v in enumerate(voices.past)),
        tuple(replace(w, speaker=labels[first + k]) for k, w in enumerate(voices.windows)),
        speakers,
        _apart(voices.apart, names, groups, are_beside, first),
    )
    return changed, _fits(changed, alike, weights, limits), merged


def _apart(
    known: frozenset[tuple[int, int]],
    names: Mapping[int, int],
    groups: Sequence[Sequence[int]],
    are_beside: NDArray[np.bool_],
    first: int,
) -> frozenset[tuple[int, int]]:
    """Pairs of speakers that were heard beside each other, now or earlier.

    Both in enough windows: where one voice is cut in two for a moment, there are few.
    """
    recent = {
        speaker: [place - first for place in groups[number] if place >= first]
        for number, speaker in names.items()
    }
    found = {pair for pair in known if pair[0] in recent and pair[1] in recent}
    for one, other in itertools.combinations(sorted(recent), 2):
        between = are_beside[np.ix_(recent[one], recent[other])]
        if min(between.any(axis=1).sum(), between.any(axis=0).sum()) >= BESIDE:
            found.add((one, other))
    return frozenset(found)


def _fresh(windows: Sequence[Window], frame: float) -> list[float]:
    """s of each window that those of the same run before it have not heard."""
    until: dict[tuple[int, int], int] = {}
    found = []
    for window in windows:
        key = window.track, window.run
        found.append(max(0, window.last - max(window.first, until.get(key, 0))) * frame)
        until[key] = max(until.get(key, 0), window.last)
    return found


def _named(
    voices: Voices,
    groups: Sequence[Sequence[int]],
    heard: Matrix,
    are_beside: NDArray[np.bool_],
    limits: Limits,
) -> tuple[dict[int, int], dict[int, int | None], int]:
    """Group -> speaker; what became of speakers without a group; how many there are now."""
    items: list[Voice | Window] = [*voices.past, *voices.windows]
    shares: Counter[tuple[int, int]] = Counter()  # thousandths of a second
    for number, group in enumerate(groups):
        for place in group:
            index = items[place].speaker
            if index is not None:
                shares[number, index] += 1 + round(1000 * heard[place])
    ranked = sorted(shares.items(), key=lambda share: (-share[1], share[0][1]))
    names: dict[int, int] = {}
    for (number, index), _ in ranked:
        if number not in names and index not in names.values():
            names[number] = index
    # a number that is nobody's any more is given again, but not to others in the same moment
    taken = {index for _, index in shares}
    for number in sorted(range(len(groups)), key=lambda n: min(groups[n])):
        if number in names or len(names) >= limits.speakers:
            continue
        others = [groups[named] for named in names]
        is_apart = bool(others) and _is_beside(groups[number], others, are_beside, len(voices.past))
        needed = limits.evidence_beside if is_apart else limits.evidence
        if not taken or sum(heard[place] for place in groups[number]) >= needed:
            names[number] = next(k for k in itertools.count() if k not in taken)
            taken.add(names[number])
    speakers = max(voices.speakers, 1 + max(names.values(), default=-1))
    merged: dict[int, int | None] = {}
    for (number, index), _ in ranked:
        if index not in names.values():
            merged.setdefault(index, names.get(number))
    return names, merged, speakers


def _is_beside(
    group: Sequence[int],
    others: Sequence[Sequence[int]],
    are_beside: NDArray[np.bool_],
    first: int,
) -> bool:
    """Was the group heard beside every other one?"""
    own = [place - first for place in group if place >= first]
    for other in others:
        theirs = [place - first for place in other if place >= first]
        if not own or not theirs or not are_beside[np.ix_(own, theirs)].any():
            return False
    return True


def _fits(voices: Voices, alike: Matrix, weights: Matrix, limits: Limits) -> Matrix:
    """(windows, speakers): mean likeness of a window to what else was heard of the speaker.

    Windows that share sound with it are left out; speakers without anything get -inf.
    """
    first = len(voices.past)
    items: list[Voice | Window] = [*voices.past, *voices.windows]
    speakers = [item.speaker for item in items]
    member = np.array(
        [[speaker == k for k in range(voices.speakers)] for speaker in speakers], np.float64
    ).reshape(len(speakers), voices.speakers)
    starts = np.array([w.first for w in voices.windows])
    ends = np.array([w.last for w in voices.windows])
    apart = np.ones((len(voices.windows), len(speakers)))
    apart[:, first:] = (starts[:, None] >= ends[None]) | (starts[None] >= ends[:, None])
    counted = apart * weights
    sums = (alike[first:] * counted) @ member
    prior = np.where(member[first:] > 0, limits.same, limits.least)
    fits: Matrix = (sums + PRIOR * prior) / (counted @ member + PRIOR)
    fits[:, member.sum(axis=0) == 0] = -np.inf
    return fits


def settle(voices: Voices, first: int, frame: float) -> Voices:
    """Windows that end before frame `first` become past: sums, one for each speaker."""
    old = [window for window in voices.windows if window.last <= first]
    kept = tuple(window for window in voices.windows if window.last > first)
    past = list(voices.past)
    for speaker in dict.fromkeys(window.speaker for window in old):
        said = [window for window in old if window.speaker == speaker]
        later = [window for window in kept if window.speaker == speaker]
        heard = heard_in([*said, *later], frame) - heard_in(later, frame)  # what they share: once
        past.append(replace(voice_of(said, frame), heard=heard))
    while len(past) > MAX_PAST:
        counts = Counter(voice.speaker for voice in past)
        most = counts.most_common(1)[0][0]
        one, other = [place for place, v in enumerate(past) if v.speaker == most][:2]
        if most is not None:  # of nobody known, the oldest is forgotten
            past[other] = past[one] + past[other]
        del past[one]
    return replace(voices, past=tuple(past), windows=kept)


def voice_of(windows: Sequence[Window], frame: float) -> Voice:
    """What is heard in windows (in order of their start) of one voice."""
    total: Vector = np.sum([w.weight * w.vector for w in windows], axis=0, dtype=np.float32)
    weight = sum(window.weight for window in windows)
    return Voice(total, weight, heard_in(windows, frame), windows[0].speaker)


def known_speakers(voices: Voices, frame: float) -> dict[int, Voice]:
    """What was heard of every speaker."""
    found: dict[int, Voice] = {}
    recent = [
        voice_of([w for w in voices.windows if w.speaker == speaker], frame)
        for speaker in sorted({w.speaker for w in voices.windows if w.speaker is not None})
    ]
    for voice in (*voices.past, *recent):
        if voice.speaker is not None:
            known = found.get(voice.speaker)
            found[voice.speaker] = voice if known is None else known + voice
    return found


def follow(scores: Matrix, cost: float) -> NDArray[np.intp]:
    """The best path through scores (windows, speakers), where every change costs `cost`."""
    count, speakers = scores.shape
    came_from = np.zeros((count, speakers), np.intp)
    best = scores[0].copy()
    for place in range(1, count):
        leader = int(best.argmax())
        is_change = best[leader] - cost > best
        came_from[place] = np.where(is_change, leader, np.arange(speakers))
        best = np.maximum(best, best[leader] - cost) + scores[place]
    path = np.zeros(count, np.intp)
    path[-1] = best.argmax()
    for place in range(count - 1, 0, -1):
        path[place - 1] = came_from[place, path[place]]
    return path
