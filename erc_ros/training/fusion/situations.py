"""Simulated situations of a robot, in which voice and face work, break or recover.

Text is MELD's, encoded by the bundle; voices and faces are clips of people held out from the
encoders' training, so that all results are simulated. Every situation is a stream of utterances
that `inference.reliability.step`, the code of the pipeline, processes; the state is kept over the
whole stream unless the situation is a cold start.

The constants of a bundle are fitted to this mixture, which was fixed before constants were compared
(WEIGHTS; voice and face together 0.6, voice alone 0.2, face alone 0.2):

    0.22  working, degraded to the single-modality accuracy that is published for MELD
    0.20  working, half as many mismatches
    0.10  working, every clip shows the label
    0.15  every fifth utterance has plain words and informative voice and face (half the mismatches)
    0.20  always broken: any emotion, another person's (two people, or the same person),
          always the same clip, noise, always the same emotion (each); voice, face, or both
    0.05  broken for 50 utterances, then working again (half the mismatches)
    0.03  one emotion for 300 utterances (half the mismatches)
    0.05  working as on MELD, with a new state at the start of each dialogue
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from erc_ros.inference.reliability import (
    Reading,
    ReliabilityConfig,
    initial_state,
    step,
)
from erc_ros.metrics.classification import weighted_f1
from erc_ros.training.fusion.conditions import ALWAYS, ANOTHER, ANY, SAME, of_another
from erc_ros.training.fusion.simulation import clip_of, draw, rates

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]
Flags = NDArray[np.bool_]

WEIGHTS: Mapping[str, float] = {
    "MELD's level": 0.22,
    "half the mismatches": 0.20,
    "no mismatch": 0.10,
    "plain words": 0.15,
    "broken": 0.20,
    "recovery": 0.05,
    "one emotion": 0.03,
    "cold start": 0.05,
}
LEVELS: Mapping[str, float] = {"MELD's level": 1.0, "half the mismatches": 0.5, "no mismatch": 0.0}
PRESENT: Mapping[str, tuple[bool, bool]] = {
    "both": (True, True),
    "voice": (True, False),
    "face": (False, True),
}
SHARES = {"both": 0.6, "voice": 0.2, "face": 0.2}
NOISE = "noise only"
TOGETHER = "of the same other person"
BROKEN = (ANY, ANOTHER, SAME, NOISE, *ALWAYS)
BREAK, WELL, DAY, USUAL = 50, 100, 300, 300  # utterances
PLAIN = (
    "It's eleven o'clock.",
    "The table is in the kitchen.",
    "I put the keys on the shelf.",
    "The bus stops at the corner.",
    "We have two of them.",
    "He is in the other room.",
    "The door is over there.",
    "I will be there at five.",
)


@dataclass(frozen=True, eq=False)
class Clips:
    """Outputs of a modality for n clips: reports (n, C), labels (n,); for noise and dark faces."""

    reports: Floats
    labels: Labels
    noise: Floats
    worse: Mapping[str, Floats]
    mismatch: float


@dataclass(frozen=True, eq=False)
class Material:
    """A split of MELD: words (N, C), labels (N,), first row of the dialogue (N,), speakers (N,).

    plain: the same with a plain sentence after every fourth utterance, its words (P, C) and which
    rows are plain (P,). coupling: see `simulation.Weakness`.
    """

    words: Floats
    labels: Labels
    first: Labels
    speakers: Labels
    plain_words: Floats
    is_plain: Flags
    audio: Clips
    visual: Clips
    coupling: float

    @property
    def is_right(self) -> Flags:
        """Mask of utterances whose text alone is correct."""
        right: Flags = self.words.argmax(axis=1) == self.labels
        return right


@dataclass(frozen=True, eq=False)
class Stream:
    """A sequence of utterances: alone (T, 3, C), present (T, 3), labels (T,).

    begins: (T,), where the state is reset. counted: (T,), mask of the scored rows.
    group: its key in WEIGHTS, or "" (not in the mixture).
    """

    name: str
    group: str
    alone: Floats
    present: Flags
    labels: Labels
    begins: Flags | None = None
    counted: Flags | None = None


def replayed(config: ReliabilityConfig, streams: Sequence[Stream]) -> list[Floats]:
    """Return the pipeline's predictions (T, C) for each stream."""
    by_number: dict[int, Floats] = {}
    groups: dict[tuple[int, bytes], list[int]] = {}
    for number, stream in enumerate(streams):  # streams of equal length are a batch
        key = len(stream.labels), b"" if stream.begins is None else stream.begins.tobytes()
        groups.setdefault(key, []).append(number)
    for numbers in groups.values():
        alone = np.stack([streams[n].alone for n in numbers])
        present = np.stack([streams[n].present for n in numbers])
        begins = streams[numbers[0]].begins
        state, rows = initial_state(config, (len(numbers),)), []
        for t in range(alone.shape[1]):
            if begins is not None and begins[t]:
                state = initial_state(config, (len(numbers),))
            state, outcome = step(config, state, Reading(alone[:, t], present[:, t]))
            rows.append(outcome.probabilities)
        for place, n in enumerate(numbers):
            by_number[n] = np.stack([row[place] for row in rows])
    return [by_number[n] for n in range(len(streams))]


def streams(material: Material, seed: int, all_broken: bool = True) -> list[Stream]:
    """Return every situation, with one draw of the clips."""
    rng = np.random.default_rng([seed, 17])
    made = [*_working(material, seed), *_plain(material, seed), *_one_emotion(material, seed)]
    made += _recovering(material, seed, rng)
    if all_broken:
        made += _broken(material, seed, rng)
    return made


def score(stream: Stream, predicted: Floats) -> float:
    """Return the weighted F1 (0..100) of the scored rows."""
    rows = slice(None) if stream.counted is None else stream.counted
    classes = predicted.shape[1]
    return 100 * weighted_f1(stream.labels[rows], predicted[rows].argmax(axis=1), classes)


def gain(stream: Stream, predicted: Floats) -> float:
    """Return the gain over text alone, points of weighted F1."""
    return score(stream, predicted) - score(stream, stream.alone[:, 0])


def _stream(
    name: str,
    group: str,
    words: Floats,
    pair: Sequence[Floats],
    labels: Labels,
    present: tuple[bool, bool] = (True, True),
    begins: Flags | None = None,
    counted: Flags | None = None,
) -> Stream:
    """Make a stream. pair: outputs of voice and face, (T, C) each."""
    there = np.broadcast_to(np.array([True, *present]), (len(labels), 3))
    alone = np.stack([words, *pair], axis=1)
    return Stream(name, group, alone, there, labels, begins, counted)


def drawn(
    clips: Clips,
    labels: Labels,
    is_right: Flags,
    share: float,
    coupling: float,
    prior: Floats,
    seed: int,
) -> Floats:
    """Draw the modality's outputs for these utterances, with a share of MELD's mismatches."""
    how = share * rates(clips.mismatch, is_right, coupling)
    reports: Floats = clips.reports[draw(labels, clips.labels, how, prior, seed)]
    return reports


def _pair(
    m: Material, labels: Labels, is_right: Flags, share: float, seed: int
) -> tuple[Floats, Floats]:
    prior = np.bincount(m.labels, minlength=m.words.shape[1]) / len(m.labels)
    audio, visual = (
        drawn(clips, labels, is_right, share, m.coupling, prior, seed * 100 + number)
        for number, clips in enumerate((m.audio, m.visual))
    )
    return audio, visual


def _working(m: Material, seed: int) -> Iterator[Stream]:
    begins = m.first == np.arange(len(m.first))
    for level, share in LEVELS.items():
        pair = _pair(m, m.labels, m.is_right, share, seed)
        for name, present in PRESENT.items():
            yield _stream(f"{level}, {name}", level, m.words, pair, m.labels, present)
        if share == 1.0:
            name = "cold start, both"
            yield _stream(name, "cold start", m.words, pair, m.labels, begins=begins)


def _plain(m: Material, seed: int) -> Iterator[Stream]:
    rng = np.random.default_rng([seed, 5])
    plain, count = m.is_plain, m.words.shape[1]
    labels = np.empty(len(plain), np.int64)
    labels[~plain], labels[plain] = m.labels, rng.integers(0, count, plain.sum())
    is_right = np.zeros(len(plain), bool)
    is_right[~plain] = m.is_right
    pair = _pair(m, labels, is_right, 0.5, seed)
    for reports, telling in zip(pair, _pair(m, labels, is_right, 0.0, seed), strict=True):
        reports[plain] = telling[plain]
    words = m.plain_words
    yield _stream("plain words", "plain words", words, pair, labels, counted=plain)


def _one_emotion(m: Material, seed: int) -> Iterator[Stream]:
    before = _pair(m, m.labels[:USUAL], m.is_right[:USUAL], 0.5, seed)
    for label in np.argsort(-np.bincount(m.labels))[1:5]:
        rows = np.resize(np.flatnonzero(m.labels == label), DAY)
        day = _pair(m, m.labels[rows], m.is_right[rows], 0.5, seed + 50)
        labels = np.concatenate([m.labels[:USUAL], m.labels[rows]])
        words = np.concatenate([m.words[:USUAL], m.words[rows]])
        pair = [np.concatenate(parts) for parts in zip(before, day, strict=True)]
        counted = np.arange(len(labels)) >= USUAL
        name = f"one emotion, {label}"
        yield _stream(name, "one emotion", words, pair, labels, counted=counted)


def _recovering(m: Material, seed: int, rng: np.random.Generator) -> Iterator[Stream]:
    """Yield streams that are broken for BREAK utterances of every BREAK + WELL."""
    pair = _pair(m, m.labels, m.is_right, 0.5, seed)
    is_broken = np.arange(len(m.labels)) % (BREAK + WELL) >= WELL
    for kind in (ANY, SAME, NOISE):
        changed = [
            np.where(is_broken[:, None], broken(m, clips, kind, rng), reports)
            for clips, reports in zip((m.audio, m.visual), pair, strict=True)
        ]
        yield _stream(f"recovery, {kind}", "recovery", m.words, changed, m.labels)


def _broken(m: Material, seed: int, rng: np.random.Generator) -> Iterator[Stream]:
    begins = m.first == np.arange(len(m.first))
    working = _pair(m, m.labels, m.is_right, 1.0, seed)
    for kind in BROKEN:
        pair = [broken(m, clips, kind, rng) for clips in (m.audio, m.visual)]
        for name, present in PRESENT.items():
            yield _stream(f"{name} {kind}", "broken", m.words, pair, m.labels, present)
        yield _stream(f"cold, both {kind}", "", m.words, pair, m.labels, begins=begins)
        if kind in (ANY, SAME, NOISE):
            voice, face = [pair[0], working[1]], [working[0], pair[1]]
            yield _stream(f"voice {kind}, face as it is", "", m.words, voice, m.labels)
            yield _stream(f"face {kind}, voice as it is", "", m.words, face, m.labels)
    wanted = of_another(m.labels, m.first, rng)
    pair = [
        clips.reports[clip_of(wanted, clips.labels, rng.random(len(wanted)))]
        for clips in (m.audio, m.visual)
    ]
    yield _stream(f"both {TOGETHER}", "broken", m.words, pair, m.labels)
    yield _stream(f"cold, both {TOGETHER}", "", m.words, pair, m.labels, begins=begins)


def badly_lit(m: Material, seed: int) -> tuple[Stream, Flags]:
    """Return a stream of two people, one of them with dark faces, and a mask of this one."""
    rng = np.random.default_rng([seed, 29])
    pair = _pair(m, m.labels, m.is_right, 0.5, seed)
    is_dark: Flags = m.speakers % 2 == 0
    noise = broken(m, m.visual, NOISE, rng)
    visual = np.where(is_dark[:, None], noise, pair[1])
    return _stream("one of two badly lit", "", m.words, [pair[0], visual], m.labels), is_dark


def broken(m: Material, clips: Clips, kind: str, rng: np.random.Generator) -> Floats:
    """Return the outputs (N, C) of a broken modality for every utterance."""
    count = len(m.labels)
    reports, rows = clips.reports, rng.integers(0, len(clips.labels), count)
    if kind == NOISE:
        reports, rows = clips.noise, rng.integers(0, len(clips.noise), count)
    elif kind == SAME:
        rows = np.repeat(rng.integers(0, len(clips.labels)), count)
    elif kind != ANY:
        rows = clip_of(_wanted(m, kind, rng), clips.labels, rng.random(count))
    chosen: Floats = reports[rows]
    return chosen


def _wanted(m: Material, kind: str, rng: np.random.Generator) -> Labels:
    """Return the clips' labels of a modality that is another person's, or always the same."""
    if kind == ANOTHER:
        return of_another(m.labels, m.first, rng)
    return np.full(len(m.labels), ALWAYS.index(kind), np.int64)


def half_back(config: ReliabilityConfig, material: Material, seeds: Sequence[int]) -> float:
    """Return the number of utterances after a break until half of the gain is restored (mean).

    The gain is the accuracy minus that of text alone, averaged over all breaks and over a window of
    ten utterances.
    """
    made = [
        stream
        for seed in seeds
        for stream in _recovering(material, seed, np.random.default_rng([seed, 17]))
    ]
    period = BREAK + WELL
    right = np.zeros(period)
    count = np.zeros(period)
    for stream, predicted in zip(made, replayed(config, made), strict=True):
        more = (predicted.argmax(1) == stream.labels).astype(float)
        more -= stream.alone[:, 0].argmax(1) == stream.labels
        place = np.arange(len(more)) % period
        rows = np.arange(len(more)) >= period  # there is no break before the first period
        right += np.bincount(place[rows], more[rows], period)
        count += np.bincount(place[rows], minlength=period)
    mean = right / np.maximum(count, 1)
    full = mean[WELL // 2 : WELL].mean()
    smooth = np.convolve(mean[:WELL], np.ones(10) / 10, "valid")
    return float(np.argmax(smooth >= full / 2))
