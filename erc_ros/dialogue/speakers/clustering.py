"""Online speaker clustering of embeddings. Values and pure functions.

Speech of a single active speaker is embedded in short windows. The windows of the last seconds and
the frozen profiles of earlier speech are clustered again in every update (agglomerative clustering
with average linkage). A cluster with enough speech is a speaker and keeps the index that most of
its speech had. The similarity of two voices that are both active in one window of the segmentation
network is reduced.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from erc_ros.values.settings import check, setting

Vector = NDArray[np.float32]
Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ClusteringConfig:
    """Settings of speaker clustering, in addition to those of the embedding network.

    Raises:
        ValueError: a value is outside its range.
    """

    max_profiles: int = setting(
        24,
        "maximum number of frozen profiles; beyond it, older ones of one speaker are merged",
        range=(2, 1_000),
    )
    min_separated: int = setting(
        6,
        "co-occurring windows of each of two speakers after which they are never merged",
        "windows",
        (1, 100),
        source="benchmarks.diarization recorded",
    )
    prior: float = setting(
        1.0,
        "weight of the model's usual similarity relative to that measured for a speaker",
        "windows",
        (0.0, 20.0),
        source="benchmarks.diarization recorded",
    )

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True, eq=False)
class VoiceProfile:
    """Speaker profile: sum of embeddings.

    total: (size,) weighted sum of embeddings. weight: sum of weights. heard: s of speech.
    """

    total: Vector
    weight: float
    heard: float
    speaker: int | None = None

    @property
    def mean(self) -> Vector:
        mean: Vector = (self.total / np.float32(self.weight)).astype(np.float32)
        return mean

    def __add__(self, other: VoiceProfile) -> VoiceProfile:
        total: Vector = self.total + other.total
        heard = self.heard + other.heard
        return VoiceProfile(total, self.weight + other.weight, heard, self.speaker)


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddedWindow:
    """Embedding of a single active voice in frames `first` to `last` (exclusive).

    vector: (size,) of length 1. weight: 1 for a window of full length. local: id of its local
    speaker. run: index of the run of that local speaker. speaker: index of its cluster.
    """

    first: int
    last: int
    vector: Vector
    weight: float
    local: int = -1
    run: int = -1
    speaker: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class SpeakerClusters:
    """State of the clustering of a conversation.

    profiles: frozen, of earlier speech. windows: of the last seconds, sorted by start. speakers:
    number of speakers so far. separated: pairs of speakers (lower index first) that are never
    merged, because they co-occurred.
    """

    profiles: tuple[VoiceProfile, ...] = ()
    windows: tuple[EmbeddedWindow, ...] = ()
    speakers: int = 0
    separated: frozenset[tuple[int, int]] = frozenset()


@dataclass(frozen=True, slots=True)
class ClusteringThresholds:
    """Thresholds of the clustering, from the configuration and the embedding network.

    Similarity is the cosine of two embeddings. same: usual similarity of two windows of one voice.
    least: minimum mean similarity within one voice. distinct: reduction of the similarity of two
    voices that co-occur. evidence: s of speech before a new speaker is created. evidence_beside:
    likewise for a voice that co-occurred with all known speakers. speakers: maximum number of
    speakers. frame: s, length of a frame.
    """

    same: float
    least: float
    distinct: float
    evidence: float
    evidence_beside: float
    speakers: int
    frame: float
    clustering: ClusteringConfig = field(default_factory=ClusteringConfig)


def co_occurrence(
    windows: Sequence[EmbeddedWindow], separated: frozenset[tuple[int, int]], near: int
) -> NDArray[np.bool_]:
    """Return (n, n): whether two windows are of voices that co-occurred.

    separated: pairs of local speakers. near: maximum distance of the windows in frames.
    """
    count = len(windows)
    co_occurs = np.zeros((count, count), bool)
    for row, one in enumerate(windows):
        for column in range(row):
            other = windows[column]
            pair = min(one.local, other.local), max(one.local, other.local)
            if pair in separated and abs(one.first - other.first) < near:
                co_occurs[row, column] = co_occurs[column, row] = True
    return co_occurs


def similarity(clusters: SpeakerClusters, co_occurs: NDArray[np.bool_], distinct: float) -> Matrix:
    """Return the similarity matrix (n, n) of the profiles followed by the windows."""
    vectors = [voice.mean for voice in clusters.profiles] + [w.vector for w in clusters.windows]
    stack = np.stack(vectors).astype(np.float64)
    similarities: Matrix = stack @ stack.T
    first = len(clusters.profiles)
    similarities[first:, first:] -= distinct * co_occurs
    # profiles do not co-occur with present windows, but their speakers may have co-occurred before
    items: list[VoiceProfile | EmbeddedWindow] = [*clusters.profiles, *clusters.windows]
    speakers = np.array([-1 if item.speaker is None else item.speaker for item in items])
    for pair in clusters.separated:
        for one, other in (pair, pair[::-1]):
            rows = np.flatnonzero(speakers[:first] == one)
            columns = np.flatnonzero(speakers == other)
            windows = columns[columns >= first]
            similarities[np.ix_(rows, columns)] -= distinct
            similarities[np.ix_(windows, rows)] -= distinct
    return similarities


def cluster(
    similarities: Matrix, weights: Matrix, heard: Matrix, thresholds: ClusteringThresholds
) -> list[list[int]]:
    """Cluster by average linkage, until no two clusters reach `thresholds.least`.

    With more than `thresholds.speakers` clusters of enough speech, merging continues below it.

    similarities: (n, n). weights: (n,) in averages. heard: (n,) s of speech.
    """
    sums = similarities * np.outer(weights, weights)
    pairs = np.outer(weights, weights)
    heard = heard.copy()
    links = similarities.copy()
    np.fill_diagonal(links, -np.inf)
    groups: dict[int, list[int]] = {place: [place] for place in range(len(similarities))}
    while len(groups) > 1:
        one, other = sorted(divmod(int(links.argmax()), len(links)))
        if links[one, other] < thresholds.least:
            believed = sum(heard[row] >= thresholds.evidence for row in groups)
            if believed <= thresholds.speakers:
                break
        groups[one] += groups.pop(other)
        heard[one] += heard[other]
        for table in (sums, pairs):
            table[one] += table[other]
            table[:, one] += table[:, other]
        merged = links[one] == -np.inf
        merged[other] = True
        row = np.where(merged, -np.inf, sums[one] / pairs[one])
        row[one] = -np.inf
        links[one] = links[:, one] = row
        links[other] = links[:, other] = -np.inf
    return list(groups.values())


def speech_duration(windows: Sequence[EmbeddedWindow], frame: float) -> float:
    """Return the s of speech in windows that may overlap, sorted by start."""
    total, until = 0, 0
    for window in windows:
        total += max(0, window.last - max(window.first, until))
        until = max(until, window.last)
    return total * frame


def recluster(
    clusters: SpeakerClusters, co_occurs: NDArray[np.bool_], thresholds: ClusteringThresholds
) -> tuple[SpeakerClusters, Matrix, dict[int, int | None]]:
    """Cluster the profiles and windows of a conversation again.

    Each cluster keeps the speaker index that most of its speech had, or gets a new one if it has
    enough speech. Two speakers that are merged keep the index of the one with more speech.

    Returns:
        The clusters with their speakers; the similarity of each window to each speaker as
        (windows, speakers); and the new index, or None, of each speaker that no longer exists.
    """
    items: list[VoiceProfile | EmbeddedWindow] = [*clusters.profiles, *clusters.windows]
    if not items:
        return clusters, np.zeros((0, clusters.speakers)), {}
    weights = np.array([item.weight for item in items], np.float64)
    durations = np.array(
        [v.heard for v in clusters.profiles] + _fresh(clusters.windows, thresholds.frame)
    )
    similarities = similarity(clusters, co_occurs, thresholds.distinct)
    groups = cluster(similarities, weights, durations, thresholds)
    names, merged, speakers = _named(clusters, groups, durations, co_occurs, thresholds)
    labels = {place: names.get(n) for n, group in enumerate(groups) for place in group}
    first = len(clusters.profiles)
    changed = SpeakerClusters(
        tuple(replace(v, speaker=labels[k]) for k, v in enumerate(clusters.profiles)),
        tuple(replace(w, speaker=labels[first + k]) for k, w in enumerate(clusters.windows)),
        speakers,
        _separated(
            clusters.separated, names, groups, co_occurs, first, thresholds.clustering.min_separated
        ),
    )
    return changed, _fits(changed, similarities, weights, thresholds), merged


def _separated(
    known: frozenset[tuple[int, int]],
    names: Mapping[int, int],
    groups: Sequence[Sequence[int]],
    co_occurs: NDArray[np.bool_],
    first: int,
    min_separated: int,
) -> frozenset[tuple[int, int]]:
    """Return the pairs of speakers that co-occurred, now or earlier.

    Each must have enough co-occurring windows, since one voice may briefly be split in two.
    """
    recent = {
        speaker: [place - first for place in groups[number] if place >= first]
        for number, speaker in names.items()
    }
    separated = {pair for pair in known if pair[0] in recent and pair[1] in recent}
    for one, other in itertools.combinations(sorted(recent), 2):
        between = co_occurs[np.ix_(recent[one], recent[other])]
        if min(between.any(axis=1).sum(), between.any(axis=0).sum()) >= min_separated:
            separated.add((one, other))
    return frozenset(separated)


def _fresh(windows: Sequence[EmbeddedWindow], frame: float) -> list[float]:
    """Return the s of each window that no earlier window of its run contains."""
    until: dict[tuple[int, int], int] = {}
    durations = []
    for window in windows:
        key = window.local, window.run
        durations.append(max(0, window.last - max(window.first, until.get(key, 0))) * frame)
        until[key] = max(until.get(key, 0), window.last)
    return durations


def _named(
    clusters: SpeakerClusters,
    groups: Sequence[Sequence[int]],
    heard: Matrix,
    co_occurs: NDArray[np.bool_],
    thresholds: ClusteringThresholds,
) -> tuple[dict[int, int], dict[int, int | None], int]:
    """Return group -> speaker, the new index of merged speakers, and the number of speakers."""
    ranked = _ranked(clusters, groups, heard)
    names: dict[int, int] = {}
    for number, index in ranked:
        if number not in names and index not in names.values():
            names[number] = index
    # an index without a group is reused, but not in the same update
    taken = {index for _, index in ranked}
    _name_new(names, taken, clusters, groups, heard, co_occurs, thresholds)
    speakers = max(clusters.speakers, 1 + max(names.values(), default=-1))
    merged: dict[int, int | None] = {}
    for number, index in ranked:
        if index not in names.values():
            merged.setdefault(index, names.get(number))
    return names, merged, speakers


def _ranked(
    clusters: SpeakerClusters, groups: Sequence[Sequence[int]], heard: Matrix
) -> list[tuple[int, int]]:
    """Return pairs of a group and a previous speaker in it, by decreasing speech."""
    items: list[VoiceProfile | EmbeddedWindow] = [*clusters.profiles, *clusters.windows]
    shares: Counter[tuple[int, int]] = Counter()  # thousandths of a second
    for number, group in enumerate(groups):
        for place in group:
            index = items[place].speaker
            if index is not None:
                shares[number, index] += 1 + round(1000 * heard[place])
    return sorted(shares, key=lambda pair: (-shares[pair], pair[1]))


def _name_new(
    names: dict[int, int],
    taken: set[int],
    clusters: SpeakerClusters,
    groups: Sequence[Sequence[int]],
    heard: Matrix,
    co_occurs: NDArray[np.bool_],
    thresholds: ClusteringThresholds,
) -> None:
    """Assign a free index to each group without previous speaker that has enough speech."""
    first = len(clusters.profiles)
    for number in sorted(range(len(groups)), key=lambda n: min(groups[n])):
        if number in names or len(names) >= thresholds.speakers:
            continue
        others = [groups[named] for named in names]
        is_beside = bool(others) and _is_beside(groups[number], others, co_occurs, first)
        needed = thresholds.evidence_beside if is_beside else thresholds.evidence
        if not taken or sum(heard[place] for place in groups[number]) >= needed:
            names[number] = next(k for k in itertools.count() if k not in taken)
            taken.add(names[number])


def _is_beside(
    group: Sequence[int],
    others: Sequence[Sequence[int]],
    co_occurs: NDArray[np.bool_],
    first: int,
) -> bool:
    """Return whether a group co-occurred with every other group."""
    own = [place - first for place in group if place >= first]
    for other in others:
        theirs = [place - first for place in other if place >= first]
        if not own or not theirs or not co_occurs[np.ix_(own, theirs)].any():
            return False
    return True


def _fits(
    clusters: SpeakerClusters,
    similarities: Matrix,
    weights: Matrix,
    thresholds: ClusteringThresholds,
) -> Matrix:
    """Return the mean similarity of each window to each speaker, (windows, speakers).

    Windows that share audio with it are excluded; speakers without other speech get -inf.
    """
    first = len(clusters.profiles)
    items: list[VoiceProfile | EmbeddedWindow] = [*clusters.profiles, *clusters.windows]
    speakers = [item.speaker for item in items]
    member = np.array(
        [[speaker == k for k in range(clusters.speakers)] for speaker in speakers], np.float64
    ).reshape(len(speakers), clusters.speakers)
    starts = np.array([w.first for w in clusters.windows])
    ends = np.array([w.last for w in clusters.windows])
    apart = np.ones((len(clusters.windows), len(speakers)))
    apart[:, first:] = (starts[:, None] >= ends[None]) | (starts[None] >= ends[:, None])
    counted = apart * weights
    sums = (similarities[first:] * counted) @ member
    prior = np.where(member[first:] > 0, thresholds.same, thresholds.least)
    weight = thresholds.clustering.prior
    fits: Matrix = (sums + weight * prior) / (counted @ member + weight)
    fits[:, member.sum(axis=0) == 0] = -np.inf
    return fits


def freeze(
    clusters: SpeakerClusters, first: int, frame: float, max_profiles: int
) -> SpeakerClusters:
    """Merge the windows that end before frame `first` into one profile per speaker."""
    old = [window for window in clusters.windows if window.last <= first]
    kept = tuple(window for window in clusters.windows if window.last > first)
    profiles = list(clusters.profiles)
    for speaker in dict.fromkeys(window.speaker for window in old):
        own_windows = [window for window in old if window.speaker == speaker]
        later = [window for window in kept if window.speaker == speaker]
        # overlapping speech counts once
        duration = speech_duration([*own_windows, *later], frame) - speech_duration(later, frame)
        profiles.append(replace(profile_of(own_windows, frame), heard=duration))
    while len(profiles) > max_profiles:
        counts = Counter(voice.speaker for voice in profiles)
        most = counts.most_common(1)[0][0]
        one, other = [place for place, v in enumerate(profiles) if v.speaker == most][:2]
        if most is not None:  # otherwise the oldest profile without speaker is deleted
            profiles[other] = profiles[one] + profiles[other]
        del profiles[one]
    return replace(clusters, profiles=tuple(profiles), windows=kept)


def profile_of(windows: Sequence[EmbeddedWindow], frame: float) -> VoiceProfile:
    """Return the profile of the windows of one voice, sorted by start."""
    total: Vector = np.sum([w.weight * w.vector for w in windows], axis=0, dtype=np.float32)
    weight = sum(window.weight for window in windows)
    return VoiceProfile(total, weight, speech_duration(windows, frame), windows[0].speaker)


def speaker_profiles(clusters: SpeakerClusters, frame: float) -> dict[int, VoiceProfile]:
    """Return the profile of every speaker."""
    profiles: dict[int, VoiceProfile] = {}
    recent = [
        profile_of([w for w in clusters.windows if w.speaker == speaker], frame)
        for speaker in sorted({w.speaker for w in clusters.windows if w.speaker is not None})
    ]
    for voice in (*clusters.profiles, *recent):
        if voice.speaker is not None:
            profile = profiles.get(voice.speaker)
            profiles[voice.speaker] = voice if profile is None else profile + voice
    return profiles


def viterbi(scores: Matrix, cost: float) -> NDArray[np.intp]:
    """Return the Viterbi path through scores (windows, speakers) with `cost` per change."""
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
