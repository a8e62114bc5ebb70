"""Current emotion state of each person, from the estimates of their utterances.

An estimate is about one utterance. A behavior tree needs the state of a person between utterances,
with its age and uncertainty. The state combines the utterances with weights that are halved every
`half_life`, and a uniform prior:

    weight_i = confidence_i * 2 ** (-(now - end_i) / half_life)
    probabilities = (prior * uniform + sum_i weight_i * probabilities_i) / (prior + sum_i weight_i)
    uncertainty = prior / (prior + sum_i weight_i)

These are the mean of a Dirichlet distribution with decaying evidence, and the share of the prior in
it. Utterances without any modality are not used.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from erc_ros.inference.estimate import Estimate
from erc_ros.values.events import SpeakerCorrected
from erc_ros.values.nanoseconds import seconds
from erc_ros.values.opt_outs import ids_of, speaker_key
from erc_ros.values.settings import check, parameter, setting

REMEMBERED = 512  # maximum number of utterances of all persons


@dataclass(frozen=True, slots=True)
class EmotionStateConfig:
    """Settings of the emotion state."""

    half_life: float = parameter(
        30.0,
        "an utterance counts half as much in `emotion_state` after this time",
        "s",
        (1.0, 3600.0),
        name="emotion_half_life",
        former="emotion_state.half_life",
    )
    prior: float = setting(
        0.3,
        "weight of the uniform prior, in utterances with confidence 1",
        range=(0.01, 10.0),
    )
    gone: float = setting(
        0.95, "a person with a greater `uncertainty` is removed", range=(0.0, 1.0)
    )
    begins: float = setting(
        0.5, "probability from which a label begins in `~/emotion_changes`", range=(0.0, 1.0)
    )
    ends: float = setting(0.35, "probability below which a label ends", range=(0.0, 1.0))

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True)
class Person:
    """A person, or a speaker of one conversation if the person is unknown.

    speaker_id "" without person_id: all unknown speakers of the conversation together.
    """

    person_id: str = ""
    conversation_id: str = ""
    speaker_id: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class EmotionState:
    """Emotion state of a person at `time` (ns).

    probabilities: (C,) in the order of the bundle's labels, sum 1; uniform without evidence.
    valence, arousal: -1..1, mean of the anchors weighted by the probabilities.
    uncertainty: 0..1, share of the prior; 1 without evidence.
    last: ns, end of the latest utterance. utterances: number of utterances.
    """

    person: Person
    time: int
    probabilities: NDArray[np.float64]
    valence: float
    arousal: float
    uncertainty: float
    last: int
    utterances: int


@dataclass(frozen=True, slots=True, eq=False)
class _Evidence:
    """Estimate of one utterance of a person. ids: all ids of the utterance's speaker."""

    person: Person
    ids: frozenset[str]
    conversation_id: str
    utterance_id: str
    end: int
    probabilities: NDArray[np.float64]


class EmotionStateTracker:
    """Tracks the emotion states of all persons. Not thread-safe.

    The last 512 utterances are used. The estimate of a corrected text replaces the previous one;
    a speaker correction moves the utterance to the other speaker.

    Args:
        anchors: (C, 2), valence and arousal of each label.
    """

    def __init__(self, config: EmotionStateConfig, anchors: NDArray[np.float32]) -> None:
        self._config = config
        self._anchors = anchors.astype(np.float64)
        self._evidence: tuple[_Evidence, ...] = ()

    def feed(self, estimate: Estimate) -> EmotionState | None:
        """Process an estimate and return the state of its person; None for a draft.

        Drafts are ignored, since a final estimate follows. A new conversation id ends the previous
        conversation.
        """
        utterance = estimate.utterance
        for other in {each.conversation_id for each in self._evidence}:
            if other != utterance.conversation_id:
                self.end_conversation(other)
        person = _person(utterance.conversation_id, utterance.speaker_id, utterance.person_id)
        if not estimate.is_final:
            return None
        kept = [
            each
            for each in self._evidence
            if (each.conversation_id, each.utterance_id)
            != (utterance.conversation_id, utterance.utterance_id)
        ]
        if any(estimate.modalities):
            evidence = _Evidence(
                person,
                ids_of(utterance),
                utterance.conversation_id,
                utterance.utterance_id,
                utterance.end,
                estimate.probabilities.astype(np.float64),
            )
            kept.append(evidence)
        self._evidence = tuple(kept[-REMEMBERED:])
        return self.of(person, utterance.end)

    def correct(self, correction: SpeakerCorrected) -> None:
        """Assign utterances to another speaker, except those of a known person."""
        conversation = correction.conversation_id
        after = _person(conversation, correction.after, "")
        before_key = speaker_key(conversation, correction.before)
        after_key = speaker_key(conversation, correction.after)
        self._evidence = tuple(
            replace(each, person=after, ids=each.ids - {before_key} | {after_key})
            if _is_meant(each, correction)
            else each
            for each in self._evidence
        )

    def end_conversation(self, conversation_id: str) -> None:
        """Delete the speakers of a conversation, but not known persons."""
        self._evidence = tuple(
            each
            for each in self._evidence
            if each.person.person_id or each.conversation_id != conversation_id
        )

    def has(self, name: str) -> bool:
        """Whether an utterance has this id of a person, face, voice or speaker."""
        return any(name in each.ids for each in self._evidence)

    def forget(self, name: str) -> int:
        """Delete the person with this id (see `has`); return the number of deleted utterances."""
        return self._delete({each.person for each in self._evidence if name in each.ids})

    def forget_unknown(self) -> None:
        """Delete the unknown speakers."""
        persons = {each.person for each in self._evidence}
        self._delete({each for each in persons if not (each.person_id or each.speaker_id)})

    def _delete(self, persons: Collection[Person]) -> int:
        kept = tuple(each for each in self._evidence if each.person not in persons)
        deleted = len(self._evidence) - len(kept)
        self._evidence = kept
        return deleted

    def clear(self) -> None:
        """Delete all persons."""
        self._evidence = ()

    def persons(self) -> list[Person]:
        """Return all persons with an utterance, in the order of their latest utterance."""
        return list(dict.fromkeys(each.person for each in reversed(self._evidence)))[::-1]

    def present(self, time: int) -> list[EmotionState]:
        """Return the states at `time` (ns) in the order of `persons`; delete uncertain ones."""
        by_person: dict[Person, list[_Evidence]] = {person: [] for person in self.persons()}
        for each in self._evidence:
            by_person[each.person].append(each)
        states = [
            _state(person, evidence, time, self._config, self._anchors)
            for person, evidence in by_person.items()
        ]
        present = [state for state in states if state.uncertainty <= self._config.gone]
        if len(present) < len(states):
            kept = {state.person for state in present}
            self._evidence = tuple(each for each in self._evidence if each.person in kept)
        return present

    def of(self, person: Person, time: int) -> EmotionState:
        """Return the state of a person at `time` (ns)."""
        evidence = [each for each in self._evidence if each.person == person]
        return _state(person, evidence, time, self._config, self._anchors)


def _is_meant(evidence: _Evidence, correction: SpeakerCorrected) -> bool:
    return (
        not evidence.person.person_id
        and evidence.conversation_id == correction.conversation_id
        and evidence.utterance_id in correction.utterance_ids
    )


def _person(conversation_id: str, speaker_id: str, person_id: str) -> Person:
    if person_id:
        return Person(person_id=person_id)
    return Person(conversation_id=conversation_id, speaker_id=speaker_id)


def _state(
    person: Person,
    evidence: Sequence[_Evidence],
    time: int,
    config: EmotionStateConfig,
    anchors: NDArray[np.float64],
) -> EmotionState:
    labels = len(anchors)
    total = np.full(labels, config.prior / labels)
    for each in evidence:
        age = max(0, time - each.end)  # an utterance in the future has age 0
        fading = 2.0 ** (-age / seconds(config.half_life))
        total += each.probabilities.max() * fading * each.probabilities
    mass = float(total.sum())
    probabilities = total / mass
    valence, arousal = probabilities @ anchors
    return EmotionState(
        person=person,
        time=time,
        probabilities=probabilities,
        valence=float(valence),
        arousal=float(arousal),
        uncertainty=config.prior / mass,
        last=max((each.end for each in evidence), default=0),
        utterances=len(evidence),
    )
