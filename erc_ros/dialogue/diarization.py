"""Who speaks: speakers told apart while they speak.

Inside a stretch of speech the voice is embedded every `hop`. The windows of the last seconds and
the voices heard before are clustered anew whenever a stretch ends: a cluster is a speaker, on
enough evidence. The speakers are then followed through those windows with a cost for every change
(Viterbi), so that later speech corrects how earlier speech was understood.

How far apart two voices are is measured against how much one voice differs from itself, both
without what chance adds to short stretches. Rooms and telephones move all voices together, so they
hardly change such distances; a fixed limit on the cosine fails there.

The voices are a value (`Voices`); learning, clustering and following are pure. `Diarizer` holds
the sound of the open stretch and the network.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from erc_ros.dialogue.checks import check_range
from erc_ros.dialogue.utterance import SAMPLE_RATE
from erc_ros.sensing.nanoseconds import NS, seconds

Vector = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class DiarizationConfig:
    """How speakers are told apart. Durations in s.

    Raises:
        ValueError: a value outside its range.
    """

    max_speakers: int = 6
    """No more speakers than this in a conversation; the nearest one is taken instead."""
    new_speaker: float = 0.8
    """How different a voice must be to be somebody new, in units of what the model advises."""
    change: float = 0.1
    """The speaker changed where the cosine of before and after falls this far below the usual."""
    switch: float = 0.1
    """Cost of a change of speaker, as a difference of cosines: more gives fewer, longer turns."""
    window: float = 1.2
    """Voices are compared over this much speech."""
    hop: float = 0.2
    """And every so often."""
    min_turn: float = 0.6
    """A stretch of speech shorter than this is nobody's."""
    min_evidence: float = 1.9
    """Speech that it takes to believe in a new speaker (the first one needs `min_turn` only)."""

    def __post_init__(self) -> None:
        check_range("diarization.max_speakers", self.max_speakers, 1, 50)
        check_range("diarization.new_speaker", self.new_speaker, 0.0, 10.0)
        check_range("diarization.change", self.change, -1.0, 1.0)
        check_range("diarization.switch", self.switch, 0.0, 10.0)
        check_range("diarization.window", self.window, 0.5, 5.0)
        check_range("diarization.hop", self.hop, 0.05, self.window)
        check_range("diarization.min_turn", self.min_turn, 0.1, self.window)
        check_range("diarization.min_evidence", self.min_evidence, self.min_turn, 10.0)


@dataclass(frozen=True, slots=True)
class Attribution:
    """speaker: index within the conversation, None = unclear; confidence: 0..1."""

    speaker: int | None
    confidence: float


UNCLEAR = Attribution(None, float("nan"))


@dataclass(frozen=True, slots=True)
class Turn:
    """One voice from `start` to `end` (ns)."""

    start: int
    end: int
    attribution: Attribution


@dataclass(frozen=True, slots=True)
class SpeakerCorrection:
    """What was told of `start` to `end` (ns) has turned out otherwise: it was `new_speaker`.

    Speakers are indices within the conversation, None = unclear.
    """

    start: int
    end: int
    old_speaker: int | None
    new_speaker: int | None


class Embedding(Protocol):
    """What a speaker network gives, and what is known of its vectors."""

    @property
    def same_voice(self) -> float:
        """What a voice's likeness to itself (dot product of two windows) is taken for at first.

        Less than it really is: then little speech does not make a new speaker.
        """

    @property
    def new_voice(self) -> float:
        """How much less that of two voices must be for the second to be somebody new."""

    def embed_all(self, stretches: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Stretches of one length n, each (n,) float32 at 16 kHz -> (B, size); silence: zeros."""


# --- the voices of a conversation: pure ---


@dataclass(frozen=True, slots=True, eq=False)
class Voice:
    """What was heard of a voice, as sums over windows.

    total: (size,) vectors; windows: their number; alike: dot products over the ordered pairs of
    windows that share no sound; pairs: the number of those; heard: s of speech.
    """

    total: Vector
    windows: int
    alike: float
    pairs: int
    heard: float
    speaker: int | None = None

    @property
    def mean(self) -> Vector:
        mean: Vector = (self.total / np.float32(self.windows)).astype(np.float32)
        return mean

    def __add__(self, other: Voice) -> Voice:
        """Both together; they share no sound."""
        return Voice(
            (self.total + other.total).astype(np.float32),
            self.windows + other.windows,
            self.alike + other.alike + 2.0 * float(self.total @ other.total),
            self.pairs + other.pairs + 2 * self.windows * other.windows,
            self.heard + other.heard,
            self.speaker,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """The voice from `start` to `end` (ns). fresh: s of it that no window before has heard."""

    start: int
    end: int
    vector: Vector
    fresh: float
    speaker: int | None = None  # that its cluster has


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """Speech without a pause from `start` to `end` (ns), and its windows, in order."""

    start: int
    end: int
    windows: tuple[Window, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Voices:
    """State: what was heard of a conversation.

    past: voices of older stretches; stretches: the last ones, which can still be understood anew;
    speakers: how many were told apart; neighbours: sum and number of the dot products of windows
    that follow each other.
    """

    past: tuple[Voice, ...] = ()
    stretches: tuple[Stretch, ...] = ()
    speakers: int = 0
    neighbours: tuple[float, int] = (0.0, 0)


SHARPNESS = 40.0  # a dot product 0.025 higher: e times as likely
PRIOR = 0.6  # s; speech after which a voice's likeness to itself is known as well as in general
NEIGHBOURS = 40.0  # windows after which it is known of this conversation
MAX_PAST = 24  # voices kept apart; older ones of a speaker are joined
FOLLOWED = seconds(20.0)  # speech that later speech can attribute anew, window by window
REMEMBERED = 500  # turns that can be corrected
BATCH = 5  # windows embedded at once while a stretch is open: cheaper than one by one
DOUBT = 0.3  # s; a turn of this length is told with half the confidence


def voice_of(windows: Sequence[Window]) -> Voice:
    """What is heard in windows of one voice."""
    vectors = np.stack([window.vector for window in windows])
    apart = _share_nothing(windows)
    products = vectors @ vectors.T
    return Voice(
        vectors.sum(axis=0),
        len(vectors),
        float(products[apart].sum()),
        int(apart.sum()),
        sum(window.fresh for window in windows),
        windows[0].speaker,
    )


def _share_nothing(windows: Sequence[Window]) -> NDArray[np.bool_]:
    """(n, n): do two windows have no sound in common?"""
    starts = np.array([window.start for window in windows], np.int64)
    ends = np.array([window.end for window in windows], np.int64)
    apart: NDArray[np.bool_] = (starts[:, None] >= ends[None]) | (starts[None] >= ends[:, None])
    return apart


@dataclass(frozen=True, slots=True)
class Measure:
    """How voices are compared.

    same: expected dot product of two windows of one voice; apart: how much less that of two voices
    is; prior: pairs of windows that `same` counts for.
    """

    same: float
    apart: float
    prior: float


def measure(voices: Voices, embedding: Embedding, config: DiarizationConfig) -> Measure:
    """From what the model advises and what was heard in this conversation."""
    total, count = voices.neighbours
    same = (total + NEIGHBOURS * embedding.same_voice) / (count + NEIGHBOURS)
    return Measure(same, embedding.new_voice * config.new_speaker, (PRIOR / config.hop) ** 2)


def voice_distance(one: Voice, other: Voice, by: Measure) -> float:
    """How much less alike two voices are than each is to itself: about 0 for one voice."""
    own = [(v.alike + by.prior * by.same) / (v.pairs + by.prior) for v in (one, other)]
    return sum(own) / 2 - float(one.mean @ other.mean)


class Clusters:
    """Voices and windows being joined to clusters; rows are the clusters that are left.

    Their distance is `voice_distance`, an unbiased estimate of half the squared distance of their
    means: however little was heard, since no sound is compared with itself.
    """

    def __init__(self, past: Sequence[Voice], windows: Sequence[Window], by: Measure) -> None:
        self._by = by
        vectors = [voice.total for voice in past] + [window.vector for window in windows]
        totals = np.stack(vectors).astype(np.float64)
        self.heard = np.array([v.heard for v in past] + [w.fresh for w in windows])
        self._counts = np.array([v.windows for v in past] + [1] * len(windows), np.float64)
        self._alike = np.array([v.alike for v in past] + [0.0] * len(windows))
        self._pairs = np.array([v.pairs for v in past] + [0] * len(windows), np.float64)
        apart = np.ones((len(totals), len(totals)))
        apart[len(past) :, len(past) :] = _share_nothing(windows)
        self._dots = totals @ totals.T
        self._far_dots = self._dots * apart
        self._far_pairs = np.outer(self._counts, self._counts) * apart
        self.groups = [[place] for place in range(len(totals))]
        self._alive = np.ones(len(totals), bool)
        own = self._own()
        self._distances = 0.5 * (own[:, None] + own[None])
        self._distances -= self._dots / np.outer(self._counts, self._counts)
        np.fill_diagonal(self._distances, np.inf)

    def _own(self) -> NDArray[np.float64]:
        own: NDArray[np.float64] = (self._alike + self._by.prior * self._by.same) / (
            self._pairs + self._by.prior
        )
        return own

    @property
    def alive(self) -> list[int]:
        """The rows of what is left."""
        return [int(place) for place in np.flatnonzero(self._alive)]

    def nearest(self) -> tuple[int, int, float]:
        """The two clusters nearest to each other, and their distance."""
        one, other = sorted(divmod(int(self._distances.argmin()), len(self._alive)))
        return one, other, float(self._distances[one, other])

    def join(self, one: int, other: int) -> None:
        """The cluster `other` becomes part of `one`."""
        self._alike[one] += self._alike[other] + 2.0 * self._far_dots[one, other]
        self._pairs[one] += self._pairs[other] + 2.0 * self._far_pairs[one, other]
        self._counts[one] += self._counts[other]
        self.heard[one] += self.heard[other]
        for sums in (self._dots, self._far_dots, self._far_pairs):
            sums[one] += sums[other]
            sums[:, one] += sums[:, other]
        self.groups[one] += self.groups[other]
        self._alive[other] = False
        own = self._own()
        row = 0.5 * (own + own[one]) - self._dots[one] / (self._counts * self._counts[one])
        row[~self._alive] = row[one] = np.inf
        self._distances[one] = self._distances[:, one] = row
        self._distances[other] = self._distances[:, other] = np.inf


def cluster(
    past: Sequence[Voice], windows: Sequence[Window], config: DiarizationConfig, by: Measure
) -> list[tuple[list[int], float]]:
    """Groups of one voice (places in past, then windows) and how much was heard of each (s).

    The two nearest are joined, again and again, while they are near enough or too many.
    """
    found = Clusters(past, windows, by)
    while len(found.alive) > 1:
        one, other, distance = found.nearest()
        believed = sum(found.heard[row] >= config.min_evidence for row in found.alive)
        if distance > by.apart and believed <= config.max_speakers:
            break
        found.join(one, other)
    return [(found.groups[row], float(found.heard[row])) for row in found.alive]


def learn(
    voices: Voices, config: DiarizationConfig, by: Measure
) -> tuple[Voices, dict[int, int | None]]:
    """Cluster the conversation anew.

    Every group gets the index that most of its speech had, or a new one on enough evidence. Two
    speakers who turn out to be one keep the index of which more was heard. The second result says
    what became of indices that are nobody's any more.
    """
    windows = [window for stretch in voices.stretches for window in stretch.windows]
    if not windows and not voices.past:
        return voices, {}
    items: list[Voice | Window] = [*voices.past, *windows]
    heard = [voice.heard for voice in voices.past] + [window.fresh for window in windows]
    groups = cluster(voices.past, windows, config, by)
    shares: Counter[tuple[int, int]] = Counter()  # thousandths of a second
    for number, (group, _) in enumerate(groups):
        for place in group:
            index = items[place].speaker
            if index is not None:
                shares[number, index] += 1 + round(1000 * heard[place])
    names: dict[int, int] = {}
    ranked = sorted(shares.items(), key=lambda share: (-share[1], share[0][1]))
    for (number, index), _ in ranked:
        if number not in names and index not in names.values():
            names[number] = index
    speakers = voices.speakers
    for number, (_, evidence) in sorted(enumerate(groups), key=lambda g: min(g[1][0])):
        is_enough = evidence >= config.min_evidence or speakers == 0
        if number not in names and is_enough and speakers < config.max_speakers:
            names[number] = speakers
            speakers += 1
    merged: dict[int, int | None] = {}
    for (number, index), _ in ranked:
        if index not in names.values():
            merged.setdefault(index, names.get(number))
    labels = {place: names.get(n) for n, (group, _) in enumerate(groups) for place in group}
    return _labelled(replace(voices, speakers=speakers), labels), merged


def _labelled(voices: Voices, labels: dict[int, int | None]) -> Voices:
    """labels: place in past, then windows -> speaker."""
    past = tuple(replace(voice, speaker=labels[k]) for k, voice in enumerate(voices.past))
    places = itertools.count(len(past))
    stretches = tuple(
        replace(
            stretch,
            windows=tuple(replace(w, speaker=labels[next(places)]) for w in stretch.windows),
        )
        for stretch in voices.stretches
    )
    return replace(voices, past=past, stretches=stretches)


def settle(voices: Voices) -> Voices:
    """What is older than FOLLOWED becomes past: the stretches become sums."""
    total, kept = 0, 0
    for stretch in reversed(voices.stretches):
        total += stretch.end - stretch.start
        if kept and total > FOLLOWED:
            break
        kept += 1
    first = len(voices.stretches) - kept
    past = list(voices.past)
    for stretch in voices.stretches[:first]:
        for speaker in dict.fromkeys(window.speaker for window in stretch.windows):
            past.append(voice_of([w for w in stretch.windows if w.speaker == speaker]))
    while len(past) > MAX_PAST:
        counts = Counter(voice.speaker for voice in past)
        most = counts.most_common(1)[0][0]
        one, other = [place for place, v in enumerate(past) if v.speaker == most][:2]
        if most is not None:  # of nobody known, the oldest is forgotten
            past[other] = past[one] + past[other]
        del past[one]
    return replace(voices, past=tuple(past), stretches=voices.stretches[first:])


# --- who speaks in which window: pure ---


def known_speakers(voices: Voices) -> dict[int, Voice]:
    """What was heard of every speaker."""
    windows = [window for stretch in voices.stretches for window in stretch.windows]
    found: dict[int, Voice] = {}
    for voice in voices.past:
        if voice.speaker is not None:
            known = found.get(voice.speaker)
            found[voice.speaker] = voice if known is None else known + voice
    for speaker in sorted({w.speaker for w in windows if w.speaker is not None}):
        recent = voice_of([window for window in windows if window.speaker == speaker])
        known = found.get(speaker)
        found[speaker] = recent if known is None else known + recent
    return found


def follow(scores: NDArray[np.float64], cost: float) -> NDArray[np.intp]:
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


def turns_of(voices: Voices, config: DiarizationConfig, by: Measure) -> list[Turn]:
    """Who spoke when in the stretches."""
    windows = [window for stretch in voices.stretches for window in stretch.windows]
    speakers = known_speakers(voices)
    if not windows or not speakers:
        return [Turn(stretch.start, stretch.end, UNCLEAR) for stretch in voices.stretches]
    vectors = np.stack([window.vector for window in windows]).astype(np.float64)
    own = [(v.alike + by.prior * by.same) / (v.pairs + by.prior) for v in speakers.values()]
    means = np.stack([voice.mean for voice in speakers.values()]).astype(np.float64)
    # log likelihood but for a factor: equal noise around every mean
    scores = vectors @ means.T - np.array(own) / 2
    path = follow(scores, config.switch)
    names = list(speakers)
    found: list[Turn] = []
    first = 0
    for stretch in voices.stretches:
        last = first + len(stretch.windows)
        if first == last:
            found.append(Turn(stretch.start, stretch.end, UNCLEAR))
        else:
            for start, end, begin, finish in _runs(stretch, path[first:last]):
                chosen = int(path[first + begin])
                inside = scores[first + begin : first + finish]
                confidence = _confidence(inside, chosen, (end - start) / NS, by)
                found.append(Turn(start, end, Attribution(names[chosen], confidence)))
        first = last
    return found


def _runs(stretch: Stretch, path: NDArray[np.intp]) -> list[tuple[int, int, int, int]]:
    """(start ns, end ns, first window, last + 1) of one speaker each; together the stretch."""
    edges = [0, *(np.flatnonzero(np.diff(path)) + 1).tolist(), len(path)]
    times = [stretch.start]
    for edge in edges[1:-1]:
        left, right = stretch.windows[edge - 1], stretch.windows[edge]
        times.append((left.start + left.end + right.start + right.end) // 4)
    times.append(stretch.end)
    return [(times[k], times[k + 1], edges[k], edges[k + 1]) for k in range(len(edges) - 1)]


def _confidence(scores: NDArray[np.float64], chosen: int, duration: float, by: Measure) -> float:
    """Softmax over the speakers and somebody new, less for a short turn."""
    mean = scores.mean(axis=0)
    newcomer = by.same / 2 - by.apart  # what a voice on the verge of being new would score
    rivals = np.append(np.delete(mean, chosen), newcomer)
    certainty = duration / (duration + DOUBT)
    odds = np.exp(np.clip(SHARPNESS * (rivals - mean[chosen]), -50.0, 50.0))
    return float(certainty / (1.0 + odds.sum()))


# --- change points: pure ---


def change_points(
    moments: list[int],
    cosines: NDArray[np.float64],
    least: float,
    apart: int,
    bounds: tuple[int, int],
) -> list[int]:
    """Moments (ns) at which the speaker changed.

    moments: candidates, ascending; cosines: (n,) of the voices left and right of each; least:
    above it nothing changed; bounds: start and end of the speech. Strongest change first, `apart`
    (ns) from each other and from the bounds.
    """
    chosen: list[int] = []
    for place in np.argsort(cosines, kind="stable"):
        moment = moments[place]
        # beside a change, too, a window holds some of the other voice: only the minimum counts
        near = [c for m, c in zip(moments, cosines, strict=True) if abs(m - moment) < apart]
        is_change = cosines[place] < least and cosines[place] <= min(near)
        if is_change and all(abs(moment - other) >= apart for other in (*bounds, *chosen)):
            chosen.append(moment)
    return sorted(chosen)


# --- a conversation ---


def differences(told: Sequence[Turn], now: Sequence[Turn]) -> list[SpeakerCorrection]:
    """Where two accounts of the same time name different speakers."""
    found: list[SpeakerCorrection] = []
    for turn in now:
        for old in told:
            start, end = max(turn.start, old.start), min(turn.end, old.end)
            was, is_now = old.attribution.speaker, turn.attribution.speaker
            if start < end and was != is_now:
                found.append(SpeakerCorrection(start, end, was, is_now))
    return sorted(found, key=lambda correction: correction.start)


class Diarizer:
    """Compares voices inside speech, and knows those of the conversation. Not thread-safe."""

    def __init__(self, config: DiarizationConfig, embedding: Embedding | None) -> None:
        """embedding None: nobody is told apart, every attribution is unclear."""
        self._config = config
        self._embedding = embedding
        self._hop = round(config.hop * SAMPLE_RATE)
        # whole hops, so that one window begins where another ends
        self._window = max(1, round(config.window / config.hop)) * self._hop
        self.reset()

    def reset(self) -> None:
        """Forget the speakers and the open stretch: a new conversation."""
        self._voices = Voices()
        self._history: tuple[Turn, ...] = ()  # what was told of stretches that are over
        self._corrections: list[SpeakerCorrection] = []
        self.begin(0, np.zeros(0, np.float32))

    @property
    def speakers(self) -> int:
        """How many speakers were told apart."""
        return self._voices.speakers

    def begin(self, start: int, samples: NDArray[np.float32]) -> None:
        """A stretch began at `start` (ns); samples (n,): what was heard of it already."""
        self._start = start
        self._samples = np.zeros(0, np.float32)
        self._windows: tuple[Window, ...] = ()
        self._drafted: tuple[int, Voices] | None = None  # windows learned from, and the result
        self.feed(samples)

    def feed(self, samples: NDArray[np.float32]) -> None:
        """The next samples (n,) of the open stretch."""
        if self._embedding is None:
            return
        self._samples = np.concatenate([self._samples, samples])
        while len(self._unseen()) >= BATCH:
            self._look(self._unseen()[:BATCH])

    def _unseen(self) -> list[int]:
        """First samples of the windows that are complete and not embedded yet."""
        complete = len(self._samples) - self._window
        return list(range(len(self._windows) * self._hop, complete + 1, self._hop))

    def _look(self, firsts: Sequence[int]) -> None:
        assert self._embedding is not None
        if not firsts:
            return
        parts = [self._samples[first : first + self._window] for first in firsts]
        found = [
            Window(
                self._time(first),
                self._time(first + self._window),
                vector,
                (self._hop if first else self._window) / SAMPLE_RATE,
            )
            for first, vector in zip(firsts, self._embedding.embed_all(parts), strict=True)
        ]
        self._windows = (*self._windows, *found)

    def _time(self, place: int) -> int:
        return self._start + place * NS // SAMPLE_RATE

    def _place(self, time: int) -> int:
        return max(0, min(len(self._samples), (time - self._start) * SAMPLE_RATE // NS))

    def changes(self, start: int, end: int, is_closed: bool) -> list[int]:
        """Moments (ns) between `start` and `end`, in the open stretch, of another voice.

        Closer than `window` to either nothing is found. is_closed: the stretch ends at `end`.
        """
        if self._embedding is None:
            return []
        self._look(self._unseen())
        by = self._measure(self._voices)
        inner = [w for w in self._windows if w.start >= start and w.end <= end]
        moments, cosines = self._neighbours(inner)
        apart = seconds(self._config.min_turn)
        return change_points(moments, cosines, by.same - self._config.change, apart, (start, end))

    def _neighbours(self, windows: Sequence[Window]) -> tuple[list[int], NDArray[np.float64]]:
        """Moments (ns) at which one window ends and another begins, and their dot products."""
        beginning = {window.start: window for window in windows}
        pairs = [(w, beginning[w.end]) for w in windows if w.end in beginning]
        products = [float(left.vector @ right.vector) for left, right in pairs]
        return [left.end for left, _ in pairs], np.array(products, np.float64)

    def turns(self, end: int, is_closed: bool) -> list[Turn]:
        """Who spoke when in the open stretch, up to `end` (ns).

        is_closed: the stretch is over; it is learned from, and what was told of the stretches
        before may change: see `corrections`. Otherwise all is provisional.
        """
        if self._embedding is None:
            return [Turn(self._start, end, UNCLEAR)]
        windows = self._inside(end)
        if not is_closed:
            voices = self._draft(end, windows)
            found = turns_of(voices, self._config, self._measure(voices))
        else:
            voices = self._with(end, windows)
            voices, merged = learn(voices, self._config, self._measure(voices))
            found = turns_of(voices, self._config, self._measure(voices))
            self._tell(found, merged)
            self._voices = settle(voices)
            self._drafted = None
        return [turn for turn in found if turn.start >= self._start]

    def _inside(self, end: int) -> tuple[Window, ...]:
        """Windows of the open stretch up to `end`; a short stretch is one as a whole."""
        assert self._embedding is not None
        self._look(self._unseen())
        windows = tuple(window for window in self._windows if window.end <= end)
        last = self._place(end)
        if not windows and last >= round(self._config.min_turn * SAMPLE_RATE):
            vector = self._embedding.embed_all([self._samples[:last]])[0]
            windows = (Window(self._start, end, vector, last / SAMPLE_RATE),)
        return tuple(window for window in windows if window.vector.any())

    def _with(self, end: int, windows: tuple[Window, ...]) -> Voices:
        """The voices and the open stretch up to `end`, not learned from yet."""
        _, cosines = self._neighbours(windows)
        total, count = self._voices.neighbours
        return replace(
            self._voices,
            neighbours=(total + float(cosines.sum()), count + len(cosines)),
            stretches=(*self._voices.stretches, Stretch(self._start, end, windows)),
        )

    def _measure(self, voices: Voices) -> Measure:
        assert self._embedding is not None
        return measure(voices, self._embedding, self._config)

    def _draft(self, end: int, windows: tuple[Window, ...]) -> Voices:
        """The same, learned from as far as there are whole batches: that takes some time."""
        whole = len(windows) // BATCH * BATCH or (len(windows) if not self.speakers else 0)
        if not whole:
            return self._with(end, windows)
        if self._drafted is None or self._drafted[0] != whole:
            voices = self._with(end, windows[:whole])
            self._drafted = whole, learn(voices, self._config, self._measure(voices))[0]
        voices = self._drafted[1]
        last = Stretch(self._start, end, (*voices.stretches[-1].windows, *windows[whole:]))
        return replace(voices, stretches=(*voices.stretches[:-1], last))

    def _tell(self, found: Sequence[Turn], merged: dict[int, int | None]) -> None:
        """Remember what is told now, and note where it differs from what was told before."""
        first = found[0].start
        older = [turn for turn in self._history if turn.end <= first]
        followed = [turn for turn in self._history if turn.end > first]
        renamed = [
            replace(turn, attribution=replace(turn.attribution, speaker=merged[speaker]))
            if (speaker := turn.attribution.speaker) in merged
            else turn
            for turn in older
        ]
        self._corrections += differences(older, renamed) + differences(followed, found)
        self._history = (*renamed, *found)[-REMEMBERED:]

    def corrections(self) -> list[SpeakerCorrection]:
        """What was told of closed stretches and has changed since the last call of this."""
        found, self._corrections = self._corrections, []
        return found

    def whole_voice(self, end: int) -> Voice | None:
        """The open stretch up to `end` (ns) as one voice, not learned from; None: silence."""
        windows = self._inside(end) if self._embedding is not None else ()
        return voice_of(windows) if windows else None

    def voices(self) -> dict[int, tuple[Voice, Measure]]:
        """What is known of every speaker, and how to compare it (for `enrolment.recognise`)."""
        speakers = known_speakers(self._voices)
        return {index: (v, self._measure(self._voices)) for index, v in speakers.items()}

    def who(self, start: int, end: int, now: int) -> Attribution:
        """Whose turn is most of start..end (ns) in the open stretch, heard up to `now`?"""
        turns = self.turns(max(now, end), is_closed=False)
        return max(turns, key=lambda t: min(t.end, end) - max(t.start, start)).attribution
