"""How far voice and face can be relied on, estimated while the pipeline runs.

A microphone may be dead, a camera may look at a poster, an encoder may be out of its domain. Which
of these is the case is not known beforehand, so it is inferred from what the modalities report:

- **Works or does not work.** Voice and face each have a hidden state. `State.works` is the joint
  probability of the four combinations, filtered as in a hidden Markov model: a modality that agrees
  with the words (and with the other modality) more often than chance gains probability, and with
  `change_rate` per utterance it may have broken or recovered.
- **Bias.** What a modality reports is compared with its own running mean `q`. A modality that
  always reports the same emotion carries no information and changes nothing.
- **Expressed or not.** People show an emotion with voice and face together, or with neither: one
  hidden variable for both, with probability 1 - `unexpressed`.
- **Plain words.** A sentence whose words are neutral is weak evidence that the speaker is neutral:
  the words' distribution is raised to `text_exponent`, and a share `plain_words` of its neutral
  probability is spread over the emotions.
- **Pairs** (section `pair`; optional). A voice and a face that agree with each other are of a
  speaker who shows what they feel whatever the words are ("It's eleven o'clock."), or of another
  person (a television). Words that do express an emotion tell which: `State.pair` is the
  probability of neither, of an expressive speaker, and of another person. The surer the words are
  of neutral, the likelier they say nothing about an expressive speaker (probability s).

With c an emotion, t, a, v the distributions of words, voice and face, z the hidden states:

    f_m(c)  = mismatch_m + (1 - mismatch_m) m(c) / q_m(c)        (1 where m is missing)
    k_z(c)  = unexpressed + (1 - unexpressed) * product of f_m(c) over the m that work in z
    P(z)   *= sum_c t(c) k_z(c) / (evidence that a broken modality explains as well)
    p(c)   ~ plain(t)(c) * sum_z P(z) k_z(c)

"Explained as well": the readings of a modality that follow the conversation, but not the utterance
(another person's face), agree with the mean u of the last words; what they agree with that is no
evidence that the modality works. With pairs, g(c) is k(c) of both by the constants of `pair`:

    s       = min(1, uninformative_words * t(neutral) ^ uninformative_power)
    P(expressive)     *= sum_c ((1 - s) t(c) + s prior(c)) g(c)
    P(another person) *= sum_c ((1 - s) u(c) + s prior(c)) g(c) = G
    P(neither)        *= the sum of the factors of P(z)
    p(c)   ~ P(neither) plain(t)(c) sum_z P(z) k_z(c) + P(another person) G plain(t)(c)
             + P(expressive) ((1 - s) plain(t)(c) + s prior(c)^without_text) g(c)

One implementation for nodes, replay, benchmarks and training: `step` is pure, causal and takes
constant time; any leading axes of its arrays are independent pipelines. Constants come from the
section `reliability` of a bundle's manifest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from erc_ros.values.errors import ErcValueError
from erc_ros.values.utterance import MODALITIES
from erc_ros.values.why import Distrust, name_of

Array = NDArray[np.float64]

ESTIMATED = MODALITIES[1:]  # voice and face; words are the reference
COMBINATIONS = ("product", "mixture")
LEAST = 1e-9  # of a probability that something else is divided by
UNTRUSTED = 0.1  # a modality that works with less probability gets a note
CONSTANT = 0.8  # mean probability of one emotion from which on a modality says nothing new
ENOUGH = 10.0  # utterances before a modality gets a note
TAKEN = 64  # utterances whose correction does not count twice
DEVICES = 8  # that are remembered while another one is in use


@dataclass(frozen=True)
class PerModality:
    """A constant of voice and one of face."""

    audio: float
    visual: float


@dataclass(frozen=True)
class PairConfig:
    """The constants of a voice and a face that agree; section `reliability.pair` of a bundle.

    expressive, another_person: probability, at the start, that a pair is of an expressive speaker,
    or of another person.
    """

    expressive: float
    another_person: float
    mismatch: float  # share of utterances in which one of them reports another emotion
    unexpressed: float  # share of utterances in which neither shows the emotion
    change_rate: float  # per utterance, that the probabilities start again
    uninformative_words: float  # share of sentences that say nothing, at a certain neutral
    uninformative_power: float  # how fast that share falls with the probability of neutral
    current_count: float = 0.0  # utterances that the current one counts as in its running mean

    def __post_init__(self) -> None:
        _check_ranges(self, _PAIR_RANGES)
        if self.expressive + self.another_person > 1 - LEAST:
            raise ErcValueError("expressive and another_person must sum to less than 1")

    @property
    def start(self) -> Array:
        """(3,): probabilities of neither, an expressive speaker, another person."""
        return np.array(
            [1 - self.expressive - self.another_person, self.expressive, self.another_person]
        )


@dataclass(frozen=True)
class ReliabilityConfig:
    """The constants; section `reliability` of a bundle (docs/reference/bundle.md).

    prior: share of each label where the words come from, (C,). neutral: index of the label that
    plain words get, -1: there is none, and no words are plain. Where there are no words, the prior
    has the exponent `without_text` and a new modality works with probability
    `initial_without_text`; reliability is not updated. combination: "product" multiplies the
    evidence of independent modalities; "mixture" weighs what a joint fusion model predicts from
    each set of modalities.
    """

    prior: tuple[float, ...]
    initial: PerModality  # probability that a new modality works
    mismatch: PerModality  # share of utterances in which a working modality reports another emotion
    unexpressed: float  # share of utterances in which neither voice nor face shows the emotion
    change_rate: float  # per utterance, that a modality starts at `initial` again
    text_exponent: float = 1.0
    plain_words: float = 0.0
    neutral: int = 0
    without_text: float = 1.0
    initial_without_text: float = 0.8
    prior_count: float = 4.0  # utterances that the start of the running mean counts as
    decay: float = 0.99  # of the running mean, per utterance
    word_correction: float = 0.0  # 0..1: how far a mean that the words share is no bias
    recent_decay: float = 0.8  # of the mean of the last words
    recent_count: float = 5.0  # utterances that the prior counts as in it
    combination: str = "product"
    pair: PairConfig | None = None

    def __post_init__(self) -> None:
        if len(self.prior) < 2 or not all(math.isfinite(x) and x > 0 for x in self.prior):
            raise ErcValueError("prior must be at least two positive shares")
        if abs(sum(self.prior) - 1) > 1e-3:
            raise ErcValueError(f"prior sums to {sum(self.prior):.4f}; it must sum to 1")
        if not -1 <= self.neutral < len(self.prior):
            raise ErcValueError(f"neutral is {self.neutral}; there are {len(self.prior)} labels")
        if self.combination not in COMBINATIONS:
            raise ErcValueError(
                f"combination is {self.combination!r}, known are {', '.join(COMBINATIONS)}"
            )
        if self.pair is not None and self.combination != "product":
            raise ErcValueError("pair needs the combination 'product'")
        _check_ranges(self, _RANGES)


def _check_ranges(config: object, ranges: Mapping[str, tuple[float, float]]) -> None:
    """Raise ErcValueError if a constant is out of its range."""
    for name, (low, high) in ranges.items():
        value = getattr(config, name)
        parts = (
            {f"{name}.{m}": getattr(value, m) for m in ESTIMATED}
            if isinstance(value, PerModality)
            else {name: value}
        )
        for place, number in parts.items():
            if not low <= number <= high:
                raise ErcValueError(f"{place} is {number}; it must be in [{low:g}, {high:g}]")


_RANGES = {
    "initial": (0.001, 0.999),
    "mismatch": (0.0, 1.0),
    "unexpressed": (0.0, 1.0),
    "change_rate": (1e-6, 0.5),
    "text_exponent": (0.05, 2.0),
    "plain_words": (0.0, 1.0),
    "without_text": (0.0, 1.0),
    "initial_without_text": (0.001, 0.999),
    "prior_count": (0.1, 1e4),
    "decay": (0.5, 1.0),
    "word_correction": (0.0, 1.0),
    "recent_decay": (0.0, 0.999),
    "recent_count": (0.1, 1e3),
}
_PAIR_RANGES = {
    "expressive": (0.0, 0.999),
    "another_person": (0.0, 0.999),
    "mismatch": (0.0, 1.0),
    "unexpressed": (0.001, 1.0),
    "change_rate": (0.0, 0.5),
    "uninformative_words": (0.0, 5.0),
    "uninformative_power": (0.0, 50.0),
    "current_count": (0.0, 100.0),
}
NEITHER, EXPRESSIVE, ANOTHER = range(3)  # of State.pair


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """What is known of voice and face so far; leading axes are independent pipelines.

    works: (..., 2, 2), probability that voice (first axis) and face (second) do not work or do.
    totals, word_totals: (..., 2, C), faded sums of what a modality reported, and of the words of
    the same utterances; counts, word_counts: (..., 2), faded numbers of them.
    recent: (..., C), recent_count: (...,): the same of the last words.
    pair: (..., 3), probability of neither, an expressive speaker, another person.
    """

    works: Array
    totals: Array
    counts: Array
    word_totals: Array
    word_counts: Array
    recent: Array
    recent_count: Array
    pair: Array

    @property
    def separately(self) -> Array:
        """(..., 2): probability that voice and face work, where the other one is missing."""
        return np.stack([self.works[..., 1, :].sum(-1), self.works[..., :, 1].sum(-1)], axis=-1)

    @property
    def reliability(self) -> Array:
        """(..., 2): probability that voice and face work; those of an expressive speaker do."""
        pair = self.pair[..., None, :]
        result: Array = pair[..., NEITHER] * self.separately + pair[..., EXPRESSIVE]
        return result


class Reading(NamedTuple):
    """What the modalities report of one utterance.

    alone: (..., 3, C), the distribution of words, voice and face independently; rows of a missing
    modality mean nothing. present: (..., 3) bool. joint: (..., 2, 2, 2, C), for "mixture": the
    fusion model's prediction by whether words, voice and face are given.
    """

    alone: Array
    present: NDArray[np.bool_]
    joint: Array | None = None


class Outcome(NamedTuple):
    """probabilities: (..., C). without: (..., 3, C), the same without words, voice, face.

    reliability: (..., 2), probability that voice and face work, before this utterance.
    """

    probabilities: Array
    without: Array
    reliability: Array


def initial_state(config: ReliabilityConfig, shape: tuple[int, ...] = ()) -> State:
    """Nothing is known yet, of as many pipelines as `shape` says."""
    classes = len(config.prior)
    a, v = config.initial.audio, config.initial.visual
    start = np.outer([1 - a, a], [1 - v, v])
    return State(
        works=np.broadcast_to(start, (*shape, 2, 2)).copy(),
        totals=np.zeros((*shape, 2, classes)),
        counts=np.zeros((*shape, 2)),
        word_totals=np.zeros((*shape, 2, classes)),
        word_counts=np.zeros((*shape, 2)),
        recent=np.zeros((*shape, classes)),
        recent_count=np.zeros(shape),
        pair=np.broadcast_to(_pair_start(config), (*shape, 3)).copy(),
    )


def _pair_start(config: ReliabilityConfig) -> Array:
    return np.array([1.0, 0.0, 0.0]) if config.pair is None else config.pair.start


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """What is known of one modality of one pipeline."""

    reliability: float
    totals: Array
    count: float
    word_totals: Array
    word_count: float


def part(state: State, m: int) -> Part:
    """Return the state of voice (0) or face (1)."""
    return Part(
        float(state.separately[m]),
        state.totals[m],
        float(state.counts[m]),
        state.word_totals[m],
        float(state.word_counts[m]),
    )


def with_part(config: ReliabilityConfig, state: State, m: int, known: Part) -> State:
    """The state with something else known of voice (0) or face (1), and nothing of the pair."""
    other = state.works.sum(axis=m)  # (2,): of the other modality
    own = np.array([1 - known.reliability, known.reliability])
    totals, counts = state.totals.copy(), state.counts.copy()
    word_totals, word_counts = state.word_totals.copy(), state.word_counts.copy()
    totals[m], counts[m] = known.totals, known.count
    word_totals[m], word_counts[m] = known.word_totals, known.word_count
    return replace(
        state,
        works=np.outer(own, other) if m == 0 else np.outer(other, own),
        totals=totals,
        counts=counts,
        word_totals=word_totals,
        word_counts=word_counts,
        pair=_pair_start(config),
    )


def step(config: ReliabilityConfig, state: State, reading: Reading) -> tuple[State, Outcome]:
    """Take one utterance: the state after it, and what it means.

    An utterance of which only words are known gets exactly the words' distribution; one of which
    nothing is known gets the prior's and changes nothing.
    """
    prior, base, _ = _constants(config)
    has_text, there = reading.present[..., :1], reading.present[..., 1:, None]
    words = np.where(has_text, reading.alone[..., 0, :], prior)  # (..., C)
    said = np.where(there, reading.alone[..., 1:, :], prior)  # (..., 2, C)
    evidence = _evidence(config, state, said, there)
    compared = there[..., 0] & has_text  # without words there is nothing to compare with
    usual = _mean(prior, config.recent_count, state.recent, state.recent_count[..., None])
    broken = np.maximum(1.0, (evidence.alone * usual[..., None, :]).sum(-1))
    broken = np.where(compared, broken, 1.0)  # (..., 2)
    agrees = (evidence.alone * words[..., None, :]).sum(-1)  # (..., 2)
    works = _weights(state.works, broken)
    works[..., 1, 0] *= agrees[..., 0]
    works[..., 0, 1] *= agrees[..., 1]
    works[..., 1, 1] *= (evidence.both * words).sum(-1)
    explained = works.sum(axis=(-2, -1), keepdims=True)
    works = works / explained

    plain = np.where(has_text, _plain(config, words), base)
    pairing = _Pairing(np.array([1.0, 0.0, 0.0]), np.zeros_like(words), np.zeros(words.shape[:-1]))
    pair = state.pair
    if config.pair is not None:
        is_pair = np.asarray(compared.all(axis=-1))[..., None]
        both = _both(config, config.pair, state, said, there)
        share = _uninformative(config, config.pair, words)[..., None]
        expressive = (((1 - share) * words + share * prior) * both).sum(-1)
        another = (((1 - share) * usual + share * prior) * both).sum(-1)
        posterior = pair * np.stack([explained[..., 0, 0], expressive, another], axis=-1)
        posterior = posterior / posterior.sum(-1, keepdims=True)
        kept = np.where(is_pair, posterior[..., EXPRESSIVE, None] * share, 0.0)[..., None]
        works = (1 - kept) * works + kept * state.works
        pairing = _Pairing(
            np.where(is_pair, pair, pairing.weights),
            ((1 - share) * plain + share * base) * both,
            another,
        )
        h = config.pair.change_rate
        after = np.maximum((1 - h) * posterior + h * config.pair.start, LEAST)
        pair = np.where(is_pair, after / after.sum(-1, keepdims=True), pair)
    outcome = _outcome(config, state, reading, evidence, broken, (words, plain), pairing)
    works = np.where(has_text[..., None], works, state.works)
    return _after(config, state, works, pair, reading, said), outcome


def distrust(config: ReliabilityConfig, state: State) -> dict[str, Distrust]:
    """Modality -> why it is not trusted, of one pipeline; without those that are."""
    reasons = {}
    for m, name in enumerate(ESTIMATED):
        if state.counts[m] < ENOUGH:
            continue
        usual = _usual(state, m)
        share = state.totals[m, usual] / state.counts[m]
        if share >= CONSTANT and usual != config.neutral:
            reasons[name] = Distrust.CONSTANT
        elif state.reliability[m] < UNTRUSTED:
            reasons[name] = Distrust.DISAGREES
    return reasons


def notes(config: ReliabilityConfig, state: State, labels: Sequence[str]) -> tuple[str, ...]:
    """The same in sentences without numbers, for logs."""
    sentences = []
    for name, reason in distrust(config, state).items():
        text = reason.explanation
        if reason is Distrust.CONSTANT:
            text = f"it reports {labels[_usual(state, ESTIMATED.index(name))]} all the time"
        sentences.append(f"the {name_of(name)} is not trusted: {text}")
    return tuple(sentences)


def _usual(state: State, m: int) -> int:
    """The label that voice (0) or face (1) reported most."""
    return int(state.totals[m].argmax())


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """The state of a running pipeline; it survives from one conversation to the next.

    A device is known by the frame_id of its messages. Another device starts without knowledge; one
    that returns is remembered, so two cameras that take turns do not disturb each other.

    before: the state before the last utterance, whose key is `last`: a corrected text replaces what
    the utterance contributed. taken: the keys of the last utterances that contributed.
    """

    state: State
    before: State
    last: tuple[str, str] = ("", "")
    taken: tuple[tuple[str, str], ...] = ()
    devices: tuple[str, str] = ("", "")
    others: tuple[tuple[int, str, Part], ...] = ()


def start(config: ReliabilityConfig) -> Memory:
    """Nothing is known."""
    state = initial_state(config)
    return Memory(state, state)


def enter(
    config: ReliabilityConfig, memory: Memory, key: tuple[str, str], devices: tuple[str, str]
) -> Memory:
    """The memory that counts for an utterance.

    Args:
        key: ids of its conversation and of itself.
        devices: frame_id of its microphone and of its camera; "" unknown or none.
    """
    if key[1] and key == memory.last:
        return replace(memory, state=memory.before)
    for m, device in enumerate(devices):
        if device and device != memory.devices[m]:
            memory = _switched(config, memory, m, device)
    return memory


def remember(memory: Memory, key: tuple[str, str], state: State) -> Memory:
    """The memory after an utterance; one that came before the last one does not count twice."""
    if key[1] and key != memory.last and key in memory.taken:
        return memory
    taken = memory.taken if key == memory.last else (*memory.taken, key)[-TAKEN:]
    return replace(memory, state=state, before=memory.state, last=key, taken=taken)


def forget(config: ReliabilityConfig, memory: Memory, modality: str) -> Memory:
    """The memory after the device of a modality was replaced: nothing is known of it."""
    m = ESTIMATED.index(modality)
    unknown = part(initial_state(config), m)
    others = tuple(each for each in memory.others if each[:2] != (m, memory.devices[m]))
    state = with_part(config, memory.state, m, unknown)
    return replace(memory, state=state, before=state, last=("", ""), others=others)


def _switched(config: ReliabilityConfig, memory: Memory, m: int, device: str) -> Memory:
    """Another microphone (0) or camera (1) than before."""
    former = memory.devices[m]
    devices = (device, memory.devices[1]) if m == 0 else (memory.devices[0], device)
    if not former:  # what is known was learned before the device had a name
        return replace(memory, devices=devices)
    known = {each[:2]: each[2] for each in memory.others}
    returning = known.pop((m, device), None) or part(initial_state(config), m)
    known.pop((m, former), None)
    kept = [*known.items(), ((m, former), part(memory.state, m))][-DEVICES:]
    state = with_part(config, memory.state, m, returning)
    others = tuple((number, name, value) for (number, name), value in kept)
    return replace(memory, state=state, devices=devices, others=others)


def _mean(prior: Array, count: float, totals: Array, counts: Array) -> Array:
    mean: Array = (count * prior + totals) / (count + counts)
    return mean


class _Evidence(NamedTuple):
    """k(c) where one modality works, (..., 2, C), and where both do, (..., C)."""

    alone: Array
    both: Array


class _Pairing(NamedTuple):
    """What a voice and a face that agree mean for an utterance.

    weights: (..., 3), probability of neither, an expressive speaker, another person; neither where
    one of them or the words are missing. expressive: (..., C), the prediction of an expressive
    speaker, not normalized; another: (...,), how well another person explains what they report.
    """

    weights: Array
    expressive: Array
    another: Array


def _evidence(
    config: ReliabilityConfig, state: State, said: Array, there: NDArray[np.bool_]
) -> _Evidence:
    """What a working voice and face say for and against each emotion; 1 where one is missing."""
    _, _, mismatch = _constants(config)
    factors = _factors(config, state, said, there, mismatch)
    e = config.unexpressed
    return _Evidence(e + (1 - e) * factors, e + (1 - e) * factors[..., 0, :] * factors[..., 1, :])


def _both(
    config: ReliabilityConfig,
    pair: PairConfig,
    state: State,
    said: Array,
    there: NDArray[np.bool_],
) -> Array:
    """g(c), (..., C): the evidence of a voice and a face that belong together."""
    factors = _factors(config, state, said, there, pair.mismatch, pair.current_count)
    e = pair.unexpressed
    both: Array = e + (1 - e) * factors[..., 0, :] * factors[..., 1, :]
    return both


def _factors(
    config: ReliabilityConfig,
    state: State,
    said: Array,
    there: NDArray[np.bool_],
    mismatch: Array | float,
    itself: float = 0.0,
) -> Array:
    """f(c) of voice and face, (..., 2, C).

    itself: utterances that this one counts as in the running mean that it is compared with: what is
    reported rarely is less surprising from a modality of which little is known.
    """
    prior = _constants(config)[0]
    counts = state.counts[..., None]
    mean = _mean(prior, config.prior_count, state.totals + itself * said, counts + itself)
    if config.word_correction:
        words = _mean(prior, config.prior_count, state.word_totals, state.word_counts[..., None])
        mean = mean * (prior / words) ** config.word_correction
    ratios = said / np.maximum(mean, 1e-6)
    factors: Array = np.where(there, mismatch + (1 - mismatch) * ratios, 1.0)
    return factors


def _weights(works: Array, broken: Array) -> Array:
    """(..., 2, 2): the states, each times what its modalities that do not work explain."""
    result: Array = works.copy()
    result[..., 0, :] *= broken[..., 0, None]
    result[..., :, 0] *= broken[..., 1, None]
    return result


def _outcome(
    config: ReliabilityConfig,
    state: State,
    reading: Reading,
    evidence: _Evidence,
    broken: Array,
    texts: tuple[Array, Array],
    pairing: _Pairing,
) -> Outcome:
    """The prediction with all modalities, and without each.

    texts: the words as reported and as `_plain` makes them, (..., C) each.
    """
    if reading.joint is not None and config.combination == "mixture":
        predictions = _mixtures(state, reading, broken)
    else:
        predictions = _products(config, state, reading, evidence, broken, texts, pairing)
    predictions = predictions / predictions.sum(axis=-1, keepdims=True)
    return Outcome(predictions[..., 0, :], predictions[..., 1:, :], state.reliability)


def _products(
    config: ReliabilityConfig,
    state: State,
    reading: Reading,
    evidence: _Evidence,
    broken: Array,
    texts: tuple[Array, Array],
    pairing: _Pairing,
) -> Array:
    """(..., 4, C), not normalized: with everything, without words, voice, face."""
    words, plain = texts
    base = _constants(config)[1]
    has_text, has_audio, has_visual = (reading.present[..., m, None] for m in range(3))
    without_words = _without_words(config, state.works)
    works = np.where(has_text[..., None], state.works, without_words)
    audio, visual = evidence.alone[..., 0, :], evidence.alone[..., 1, :]

    def supported(w: Array) -> Array:
        w = _weights(w, broken)[..., None]  # (..., 2, 2, 1)
        one = w[..., 0, 0, :] + w[..., 1, 0, :] * audio + w[..., 0, 1, :] * visual
        result: Array = one + w[..., 1, 1, :] * evidence.both
        return result

    a = works.sum(axis=-1)[..., None]  # (..., 2, 1): of voice
    v = works.sum(axis=-2)[..., None]
    only_audio = a[..., 0, :] * broken[..., 0, None] + a[..., 1, :] * audio
    only_visual = v[..., 0, :] * broken[..., 1, None] + v[..., 1, :] * visual
    neither, expressive, another = (pairing.weights[..., n, None] for n in range(3))
    together = neither * plain * supported(works)
    together = together + another * pairing.another[..., None] * plain
    together = together + expressive * pairing.expressive
    # Where there is nothing but words, they are taken as they are.
    only_words = np.where(has_text, words, base)
    return np.stack(
        [
            np.where(has_audio | has_visual, together, only_words),
            base * supported(without_words),
            np.where(has_visual, plain * only_visual, only_words),
            np.where(has_audio, plain * only_audio, only_words),
        ],
        axis=-2,
    )


def _without_words(config: ReliabilityConfig, works: Array) -> Array:
    """`works` where there are no words: a new modality then works with `initial_without_text`.

    There is nothing else to go by, so that an unknown voice or face is better than no estimate.
    """
    p = config.initial_without_text
    for m, axis in (("audio", -2), ("visual", -1)):
        start = getattr(config.initial, m)
        factor = np.array([1.0, max(1.0, p / (1 - p) * (1 - start) / start)])
        works = works * (factor[:, None] if axis == -2 else factor)
    result: Array = works / works.sum(axis=(-2, -1), keepdims=True)
    return result


def _mixtures(state: State, reading: Reading, broken: Array) -> Array:
    """The same of a joint fusion model: what it predicts from the modalities that work."""
    assert reading.joint is not None
    found = []
    for left_out in (None, 0, 1, 2):
        given = reading.present & np.array([left_out != m for m in range(3)])
        explained = np.where(given[..., 1:], broken, 1.0)
        weights = _weights(state.works, explained)
        given = given[..., None, None, None, None]
        rows = reading.joint
        rows = np.where(given[..., 0, :, :, :, :], rows[..., 1:, :, :, :], rows[..., :1, :, :, :])
        total = np.zeros(reading.joint.shape[:-4] + reading.joint.shape[-1:])
        for a in (0, 1):
            audio = given[..., 1, :, :, :, :] & bool(a)
            heard = np.where(audio, rows[..., 1:, :, :], rows[..., :1, :, :])
            for v in (0, 1):
                visual = given[..., 2, :, :, :, :] & bool(v)
                seen = np.where(visual, heard[..., 1:, :], heard[..., :1, :])
                total = total + weights[..., a, v, None] * seen[..., 0, 0, 0, :]
        found.append(total)
    return np.stack(found, axis=-2)


def _plain(config: ReliabilityConfig, words: Array) -> Array:
    """The words' distribution as far as words can say how a person feels."""
    powers = np.maximum(words, LEAST) ** config.text_exponent
    tempered: Array = powers / powers.sum(axis=-1, keepdims=True)
    if config.plain_words and config.neutral >= 0:
        spread = np.sqrt(_constants(config)[0])
        share = config.plain_words * tempered[..., config.neutral, None]
        tempered = (1 - share) * tempered + share * spread / spread.sum()
    return tempered


def _uninformative(config: ReliabilityConfig, pair: PairConfig, words: Array) -> Array:
    """(...,): the probability that the words say nothing about the speaker."""
    if config.neutral < 0:
        return np.zeros(words.shape[:-1])
    share = pair.uninformative_words * words[..., config.neutral] ** pair.uninformative_power
    result: Array = np.minimum(1.0, share)
    return result


@lru_cache(maxsize=16)
def _constants(config: ReliabilityConfig) -> tuple[Array, Array, Array]:
    """The prior and its power without words, (C,) each; the mismatches, (2, 1)."""
    prior = np.array(config.prior)
    base = prior**config.without_text
    return prior, base / base.sum(), np.array([[getattr(config.mismatch, m)] for m in ESTIMATED])


def _after(
    config: ReliabilityConfig,
    state: State,
    works: Array,
    pair: Array,
    reading: Reading,
    said: Array,
) -> State:
    """Return the state for the next utterance."""
    there = reading.present[..., 1:]
    has_text = reading.present[..., 0]
    # Without words there is nothing to compare with: what is known of voice and face is kept.
    compared = there & has_text[..., None]
    h = np.where(compared, config.change_rate, 0.0)  # (..., 2)
    a, v = config.initial.audio, config.initial.visual
    ha, hv = h[..., 0, None, None], h[..., 1, None, None]
    works = np.maximum(works / works.sum(axis=(-2, -1), keepdims=True), LEAST)
    works = (1 - ha) * works + ha * np.array([[1 - a], [a]]) * works.sum(-2, keepdims=True)
    works = (1 - hv) * works + hv * np.array([[1 - v, v]]) * works.sum(-1, keepdims=True)
    decay, counted = config.decay, compared[..., None]
    words = reading.alone[..., 0, :]
    recent = config.recent_decay
    return State(
        works=works / works.sum(axis=(-2, -1), keepdims=True),
        totals=np.where(counted, decay * state.totals + said, state.totals),
        counts=np.where(compared, decay * state.counts + 1, state.counts),
        word_totals=np.where(
            counted, decay * state.word_totals + words[..., None, :], state.word_totals
        ),
        word_counts=np.where(compared, decay * state.word_counts + 1, state.word_counts),
        recent=np.where(has_text[..., None], recent * state.recent + words, state.recent),
        recent_count=np.where(has_text, recent * state.recent_count + 1, state.recent_count),
        pair=pair,
    )
