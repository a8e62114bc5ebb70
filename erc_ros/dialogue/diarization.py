"""Who speaks: speakers told apart while they speak.

Inside a stretch of speech the voice is embedded every `hop`. Where the voice left of a moment
differs from the voice right of it, the stretch is split into turns; every turn is embedded as a
whole, and all turns of the conversation are clustered: a new cluster is a new speaker, on enough
evidence.
The voices are a value (`Voices`), deciding and learning are pure; `Diarizer` holds the sound of the
open stretch and the network.
"""

from __future__ import annotations

import itertools
from collections import Counter
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
    new_speaker: float = 0.7
    """Likeness to every known speaker (1: the same) below which a voice is somebody new."""
    new_speaker_narrow: float = 1.05
    """The same for sound with nothing above 4 kHz (telephone): voices are more alike in it."""
    change: float = 0.25
    """Cosine of the voices before and after a moment below which the speaker changed there."""
    window: float = 1.2
    """Voices are compared over this much speech before and after."""
    hop: float = 0.3
    """And every so often."""
    min_turn: float = 0.6
    """A turn inside a stretch is no shorter than this."""
    min_evidence: float = 1.2
    """Speech that it takes to believe in a new speaker (the first one needs `min_turn` only)."""

    def __post_init__(self) -> None:
        check_range("diarization.max_speakers", self.max_speakers, 1, 50)
        check_range("diarization.new_speaker", self.new_speaker, 0.0, 2.0)
        check_range("diarization.new_speaker_narrow", self.new_speaker_narrow, 0.0, 2.0)
        check_range("diarization.change", self.change, -1.0, 1.0)
        check_range("diarization.window", self.window, 0.5, 5.0)
        check_range("diarization.hop", self.hop, 0.05, self.window)
        check_range("diarization.min_turn", self.min_turn, 0.1, 5.0)
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


class Embedding(Protocol):
    def embed(self, samples: NDArray[np.float32]) -> Vector:
        """(n,) float32 at 16 kHz -> (size,), of length 1, or zeros for silence."""


# --- the voices of a conversation: pure ---


@dataclass(frozen=True, slots=True, eq=False)
class Voice:
    """What was heard of a voice. total: embeddings summed, weighted by seconds; heard: s."""

    total: Vector
    heard: float
    speaker: int | None = None

    @property
    def mean(self) -> Vector:
        return unit(self.total)

    def __add__(self, other: Voice) -> Voice:
        total = (self.total + other.total).astype(np.float32)
        return Voice(total, self.heard + other.heard, self.speaker)


@dataclass(frozen=True, slots=True, eq=False)
class Voices:
    """State: the turns that were heard, in their order, and how many speakers were told apart."""

    turns: tuple[Voice, ...] = ()
    speakers: int = 0


SHARPNESS = 8.0  # likeness 0.125 higher: e times as likely
CHANCE = 3.0  # s; speech after which an embedding is as much the voice as what was said just then
SHORTEST = 1.2  # s; shorter turns are alike by their shortness: they are corrected no further
SPECTRUM = 512  # samples
NARROW_EDGE, NARROW_SHARE = 3_800.0, 2e-4  # Hz; part of the energy above it
DOUBT = 0.3  # s; a turn of this length is told with half the confidence
MEMORY = 30.0  # s, of whether the sound is that of a telephone
MAX_TURNS = 60  # kept apart; older ones of a speaker are joined


def unit(vector: Vector) -> Vector:
    length = float(np.linalg.norm(vector))
    return vector if length == 0.0 else (vector / np.float32(length)).astype(np.float32)


def is_narrow(samples: NDArray[np.float32]) -> bool:
    """Is this (n,) sound of a telephone: next to nothing above 4 kHz?"""
    if len(samples) < SPECTRUM:
        return False
    frames = samples[: len(samples) // SPECTRUM * SPECTRUM].reshape(-1, SPECTRUM)
    spectrum = np.fft.rfft(frames * np.hanning(SPECTRUM).astype(np.float32), axis=1)
    power = np.square(np.abs(spectrum)).sum(axis=0)
    above = power[round(NARROW_EDGE * SPECTRUM / SAMPLE_RATE) :].sum()
    return bool(above < NARROW_SHARE * power.sum())


def likeness(one: Voice, other: Voice) -> float:
    """Cosine of two voices, corrected for the shortness of what was heard of them.

    Short turns of one person differ by chance: their cosine is lower the shorter they are. The
    correction (for attenuation, Spearman 1904) makes it about 1 for one voice, at any length.
    """
    return float(one.mean @ other.mean) * _correction(one) * _correction(other)


def _correction(voice: Voice) -> float:
    return float(np.sqrt(1.0 + CHANCE / max(voice.heard, SHORTEST)))


def attribute(
    voices: Voices, config: DiarizationConfig, vector: Vector, heard: float
) -> tuple[Voices, Attribution]:
    """Whose voice is this? vector: embedding of `heard` seconds of speech. Learns from it.

    All turns of the conversation are clustered anew, so that what is heard later corrects how
    earlier, shorter turns were understood; a cluster keeps the index that most of it had.
    """
    if not vector.any():
        return voices, UNCLEAR
    turn = Voice((vector * np.float32(heard)).astype(np.float32), heard)
    if heard < config.min_turn:
        return voices, _nearest(_clusters(voices), turn, config)
    turns = _bounded((*voices.turns, turn))
    groups = cluster(turns, config)
    voices = _relabel(turns, groups, voices.speakers, config)
    clusters = _clusters(voices)
    speaker = voices.turns[-1].speaker
    if speaker is None:
        is_full = voices.speakers >= config.max_speakers
        return voices, _nearest(clusters, turn, config, is_certain=is_full)
    rest = {index: voice for index, voice in clusters.items() if index != speaker}
    confidence = _confidence(turn, clusters[speaker], list(rest.values()), config)
    return voices, Attribution(speaker, confidence)


def cluster(turns: tuple[Voice, ...], config: DiarizationConfig) -> list[list[int]]:
    """Groups of turns (their places) of one voice.

    The two groups most alike are joined, again and again, while they are alike enough or too many.
    """
    groups = [[place] for place in range(len(turns))]
    voices = list(turns)
    while len(groups) > 1:
        alike = _all_likenesses(voices)
        one, other = sorted(divmod(int(alike.argmax()), len(voices)))
        believed = sum(voice.heard >= config.min_evidence for voice in voices)
        if alike[one, other] < config.new_speaker and believed <= config.max_speakers:
            break
        groups[one] = sorted(groups[one] + groups.pop(other))
        voices[one] = voices[one] + voices.pop(other)
    return groups


def _all_likenesses(voices: list[Voice]) -> NDArray[np.float64]:
    means = np.stack([voice.mean for voice in voices]).astype(np.float64)
    corrections = np.array([_correction(voice) for voice in voices])
    alike: NDArray[np.float64] = (means @ means.T) * np.outer(corrections, corrections)
    np.fill_diagonal(alike, -np.inf)
    return alike


def _relabel(
    turns: tuple[Voice, ...], groups: list[list[int]], speakers: int, config: DiarizationConfig
) -> Voices:
    """Every group gets the index that most of its speech had, or a new one on enough evidence."""
    shares: list[tuple[float, int, int]] = []
    for number, group in enumerate(groups):
        for index in {turns[place].speaker for place in group} - {None}:
            share = sum(turns[place].heard for place in group if turns[place].speaker == index)
            shares.append((share, number, index))  # type: ignore[arg-type]
    names: dict[int, int] = {}
    for _, number, index in sorted(shares, key=lambda s: (-s[0], s[2])):
        if number not in names and index not in names.values():
            names[number] = index
    for number, group in enumerate(groups):
        evidence = sum(turns[place].heard for place in group)
        is_enough = evidence >= config.min_evidence or speakers == 0
        if number not in names and is_enough and speakers < config.max_speakers:
            names[number] = speakers
            speakers += 1
    labelled = list(turns)
    for number, group in enumerate(groups):
        for place in group:
            labelled[place] = replace(turns[place], speaker=names.get(number))
    return Voices(tuple(labelled), speakers)


def _clusters(voices: Voices) -> dict[int, Voice]:
    found: dict[int, Voice] = {}
    for turn in voices.turns:
        if turn.speaker is not None:
            found[turn.speaker] = found[turn.speaker] + turn if turn.speaker in found else turn
    return found


def _nearest(
    clusters: dict[int, Voice], turn: Voice, config: DiarizationConfig, is_certain: bool = False
) -> Attribution:
    """The known speaker most like `turn`; unclear if it is like nobody, unless it must be one."""
    if not clusters:
        return UNCLEAR
    speaker = max(clusters, key=lambda index: likeness(clusters[index], turn))
    if not is_certain and likeness(clusters[speaker], turn) < config.new_speaker:
        return UNCLEAR
    rest = [voice for index, voice in clusters.items() if index != speaker]
    return Attribution(speaker, _confidence(turn, clusters[speaker], rest, config))


def _confidence(turn: Voice, own: Voice, others: list[Voice], config: DiarizationConfig) -> float:
    """Softmax over the speakers and somebody new, less for a short turn."""
    rivals = np.array([*(likeness(other, turn) for other in others), config.new_speaker])
    certainty = turn.heard / (turn.heard + DOUBT)
    return float(certainty / (1.0 + np.exp(SHARPNESS * (rivals - likeness(own, turn))).sum()))


def _bounded(turns: tuple[Voice, ...]) -> tuple[Voice, ...]:
    """Too many turns: the two oldest of the speaker who has most of them become one."""
    if len(turns) <= MAX_TURNS:
        return turns
    counts = Counter(turn.speaker for turn in turns)
    most = counts.most_common(1)[0][0]
    first, second = [place for place, turn in enumerate(turns) if turn.speaker == most][:2]
    joined = list(turns)
    joined[first] = turns[first] + turns[second]
    del joined[second]
    return tuple(joined)


# --- change points: pure ---


def change_points(
    moments: list[int],
    before: NDArray[np.float32],
    after: NDArray[np.float32],
    config: DiarizationConfig,
    bounds: tuple[int, int],
) -> list[int]:
    """Moments (ns) at which the speaker changed.

    moments: candidates, ascending; before, after: (n, size) embeddings of what is left and right of
    each; bounds: start and end of the speech. Strongest change first, `min_turn` apart.
    """
    if not moments:
        return []
    cosines = np.einsum("ij,ij->i", before, after)
    apart = seconds(config.min_turn)
    chosen: list[int] = []
    for place in np.argsort(cosines, kind="stable"):
        moment = moments[place]
        # beside a change, too, a window holds some of the other voice: only the minimum counts
        near = [c for m, c in zip(moments, cosines, strict=True) if abs(m - moment) < apart]
        is_change = cosines[place] < config.change and cosines[place] <= min(near)
        if is_change and all(abs(moment - other) >= apart for other in (*bounds, *chosen)):
            chosen.append(moment)
    return sorted(chosen)


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """The voice from `start` to `end` (ns)."""

    start: int
    end: int
    vector: Vector


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
        self._narrow = 0.0  # s heard of sound of a telephone, less that of wider sound
        self.begin(0, np.zeros(0, np.float32))

    @property
    def speakers(self) -> int:
        """How many speakers are known."""
        return self._voices.speakers

    def begin(self, start: int, samples: NDArray[np.float32]) -> None:
        """A stretch began at `start` (ns); samples (n,): what was heard of it already."""
        self._start = start
        self._hops = 0  # windows tried
        self._samples = np.zeros(0, np.float32)
        self._windows: tuple[Window, ...] = ()
        self._told: tuple[Turn, ...] = ()  # turns that are over
        self.feed(samples)

    def feed(self, samples: NDArray[np.float32]) -> None:
        """The next samples (n,) of the open stretch."""
        if self._embedding is None:
            return
        self._samples = np.concatenate([self._samples, samples])
        while self._window + self._hops * self._hop <= len(self._samples):
            first = self._hops * self._hop
            self._windows = (*self._windows, self._look(first, first + self._window))
            self._hops += 1

    def _look(self, first: int, last: int) -> Window:
        assert self._embedding is not None
        vector = self._embedding.embed(self._samples[first:last])
        return Window(self._time(first), self._time(last), vector)

    def _time(self, place: int) -> int:
        return self._start + place * NS // SAMPLE_RATE

    def changes(self, start: int, end: int, is_closed: bool) -> list[int]:
        """Moments (ns) between `start` and `end`, in the open stretch, of another voice.

        is_closed: nothing follows after `end`; then shorter windows at the borders are compared as
        well, which takes some time. Otherwise the last `window` is left for later.
        """
        if self._embedding is None:
            return []
        inner = [w for w in self._windows if w.start >= start and w.end <= end]
        ending = {w.end: w for w in inner}
        beginning = {w.start: w for w in inner}
        if is_closed:
            ending, beginning = self._at_borders(start, end, ending, beginning)
        moments = sorted(ending.keys() & beginning.keys())
        if not moments:
            return []
        return change_points(
            moments,
            np.stack([ending[moment].vector for moment in moments]),
            np.stack([beginning[moment].vector for moment in moments]),
            self._config,
            (start, end),
        )

    def _at_borders(
        self, start: int, end: int, ending: dict[int, Window], beginning: dict[int, Window]
    ) -> tuple[dict[int, Window], dict[int, Window]]:
        """The same, with shorter windows where start or end are too near for whole ones."""
        first, last = self._place(start), self._place(end)
        shortest = round(self._config.min_turn * SAMPLE_RATE)
        for place in range(0, len(self._samples), self._hop):
            if not first + shortest <= place <= last - shortest:
                continue
            moment = self._time(place)
            if moment not in ending:
                ending = {**ending, moment: self._look(max(first, place - self._window), place)}
            if moment not in beginning:
                window = self._look(place, min(last, place + self._window))
                beginning = {**beginning, moment: window}
        return ending, beginning

    def turns(self, end: int, is_closed: bool) -> list[Turn]:
        """Who spoke when in the open stretch, up to `end` (ns).

        A turn is learned from once it is over: when another voice was heard for long enough after
        it, or is_closed says that the stretch is. The last one of an open stretch is provisional.
        """
        if self._embedding is None:
            return [Turn(self._start, end, UNCLEAR)]
        start = self._told[-1].end if self._told else self._start
        bounds = [start, *self.changes(start, end, is_closed), end]
        found = list(itertools.pairwise(bounds))
        for begin, finish in found if is_closed else found[:-1]:
            self._voices, told = self._attribute(begin, finish)
            self._told = (*self._told, Turn(begin, finish, told))
        if is_closed:
            return list(self._told)
        begin, finish = found[-1]
        return [*self._told, Turn(begin, finish, self._attribute(begin, finish)[1])]

    def who(self, start: int, end: int, now: int) -> Attribution:
        """Whose turn is most of start..end (ns) in the open stretch, heard up to `now`?"""
        turns = self.turns(max(now, end), is_closed=False)
        return max(turns, key=lambda t: min(t.end, end) - max(t.start, start)).attribution

    def _attribute(self, start: int, end: int) -> tuple[Voices, Attribution]:
        assert self._embedding is not None
        samples = self._samples[self._place(start) : self._place(end)]
        if not len(samples):
            return self._voices, UNCLEAR
        inner = [w.vector for w in self._windows if w.start >= start and w.end <= end]
        vector = unit(np.sum(inner, axis=0)) if inner else self._embedding.embed(samples)
        heard = len(samples) / SAMPLE_RATE
        narrow = self._narrow + (heard if is_narrow(samples) else -heard)
        config = self._config
        if narrow > 0:
            config = replace(config, new_speaker=config.new_speaker_narrow)
        self._narrow = max(-MEMORY, min(MEMORY, narrow))
        return attribute(self._voices, config, vector, heard)

    def _place(self, time: int) -> int:
        return max(0, min(len(self._samples), (time - self._start) * SAMPLE_RATE // NS))
