"""Events when the label of a person's emotion state changes, with hysteresis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from erc_ros.inference.emotion_state import EmotionState, EmotionStateConfig, Person


@dataclass(frozen=True, slots=True)
class EmotionChange:
    """The label of a person changed from `former_label` to `label`; "" = no label is certain.

    probability: of `label`, or of `former_label` if `label` is "".
    """

    person: Person
    label: str
    former_label: str
    probability: float


class EmotionChanges:
    """Tracks the current label of each person.

    A label begins when its probability reaches `begins`. It ends when its probability falls below
    `ends`, or another label begins. A person without a state is removed without an event.
    """

    def __init__(self, config: EmotionStateConfig, labels: Sequence[str]) -> None:
        self._config, self._names = config, tuple(labels)
        self._labels: dict[Person, str] = {}

    def feed(self, states: Sequence[EmotionState]) -> list[EmotionChange]:
        """Process the states of all persons and return the changes since the last call."""
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
