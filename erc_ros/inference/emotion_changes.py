"""When a person's state takes another label, with hysteresis: "Anna became sad"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from erc_ros.inference.emotion_state import EmotionState, EmotionStateConfig, Person


@dataclass(frozen=True, slots=True)
class EmotionChange:
    """A person's label ends, and another one begins; "": none is certain.

    probability: of `label`; if it is "", of `former_label`.
    """

    person: Person
    label: str
    former_label: str
    probability: float


class EmotionChanges:
    """The present label of each person.

    A label begins when its probability reaches `begins`, and ends when it falls below `ends` or
    another one begins. Who is in no state any more is forgotten without an event.
    """

    def __init__(self, config: EmotionStateConfig, labels: Sequence[str]) -> None:
        self._config, self._names = config, tuple(labels)
        self._labels: dict[Person, str] = {}

    def feed(self, states: Sequence[EmotionState]) -> list[EmotionChange]:
        """Take the states of all persons; return what has changed since the last time."""
        changes = []
        labels = {}
        for state in states:
            former = self._labels.get(state.person, "")
            label = labels[state.person] = self._next(former, state)
            if label != former:
                probability = state.probabilities[self._names.index(label or former)]
                changes.append(EmotionChange(state.person, label, former, float(probability)))
        self._labels = labels
        return changes

    def _next(self, former: str, state: EmotionState) -> str:
        best = int(state.probabilities.argmax())
        if state.probabilities[best] >= self._config.begins:
            return self._names[best]
        if former and state.probabilities[self._names.index(former)] >= self._config.ends:
            return former
        return ""
