"""Accuracy of a fusion while modalities are missing, uninformative or degraded.

Text is real; audio and faces are clips of other corpora (`simulation`), of people held out from the
encoders' training. A condition is the state of each modality; clips are drawn several times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from erc_ros.metrics.classification import weighted_f1
from erc_ros.metrics.table import markdown
from erc_ros.training.datasets.utterances import LABELS
from erc_ros.training.fusion.dialogues import Dialogues
from erc_ros.training.fusion.simulation import clip_of

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]
Predict = Callable[[Dialogues, Sequence[bool]], Floats]
"""(dialogues, mask of text, audio, visual) -> logits (N, C)."""

MISSING, AS_IT_IS, ANY, ANOTHER, SAME = (
    "missing",
    "as it is",
    "any emotion",
    "another person's",
    "always the same clip",
)
ALWAYS = tuple(f"always {label}" for label in LABELS)
TOLERANCE = 0.5  # maximum loss by a modality, points of weighted F1


@dataclass(frozen=True, eq=False)
class SimulatedModality:
    """The n clips from which a modality is drawn.

    embeddings (n, E), labels (n,). chosen: (draws, N), the clip of each utterance when it works.
    worse: the same clips in bad conditions ("0 dB"), (n, E) each. noise: (k, E), negatives.
    """

    embeddings: Floats
    labels: Labels
    chosen: NDArray[np.int64]
    worse: Mapping[str, Floats] = field(default_factory=dict)
    noise: Mapping[str, Floats] = field(default_factory=dict)

    @property
    def broken(self) -> tuple[str, ...]:
        """All faulty states of the modality."""
        return (*self.worse, *self.noise, ANY, ANOTHER, SAME, *ALWAYS)


@dataclass(frozen=True, slots=True)
class Condition:
    """The state of each modality. text: whether it is present."""

    audio: str
    visual: str
    text: bool = True

    @property
    def seen(self) -> tuple[bool, bool, bool]:
        """Mask of text, audio, visual."""
        return self.text, self.audio != MISSING, self.visual != MISSING

    @property
    def name(self) -> str:
        """Description of the condition."""
        parts = ["text"] if self.text else []
        if self.audio == self.visual != MISSING:
            parts.append(f"audio and face {self.audio}")
        else:
            how = {"sound": self.audio, "face": self.visual}
            parts += [f"{modality} {state}" for modality, state in how.items() if state != MISSING]
        return " + ".join(parts)


@dataclass(frozen=True, slots=True)
class Result:
    """Result of a condition: weighted F1 (0..100), its spread over the draws, its reference.

    against: reference: text alone; without text the best single modality.
    """

    condition: Condition
    f1: float
    spread: float
    against: float

    @property
    def difference(self) -> float:
        """Gain in points; below -TOLERANCE the additional modalities reduce the accuracy."""
        return self.f1 - self.against


def conditions(audio: SimulatedModality, visual: SimulatedModality) -> Iterator[Condition]:
    """Return all conditions: text only, with one other modality, with both, and without text."""
    yield Condition(MISSING, MISSING)
    for how in (AS_IT_IS, *audio.broken):
        yield Condition(how, MISSING)
    for how in (AS_IT_IS, *visual.broken):
        yield Condition(MISSING, how)
    yield Condition(AS_IT_IS, AS_IT_IS)
    for how in (ANY, ANOTHER, SAME, *ALWAYS):
        yield Condition(how, how)
    for how in (*audio.worse, *audio.noise):
        yield Condition(how, AS_IT_IS)
    for how in (*visual.worse, *visual.noise):
        yield Condition(AS_IT_IS, how)
    yield Condition(AS_IT_IS, MISSING, text=False)
    yield Condition(MISSING, AS_IT_IS, text=False)
    yield Condition(AS_IT_IS, AS_IT_IS, text=False)


def measure_conditions(
    predict: Predict,
    data: Dialogues,
    audio: SimulatedModality,
    visual: SimulatedModality,
    seed: int = 1,
) -> list[Result]:
    """Evaluate every condition; return means over the draws of the clips."""
    scores_of: dict[Condition, tuple[float, float]] = {}
    for condition in conditions(audio, visual):
        scores = []
        for draw in range(len(audio.chosen)):
            rng = np.random.default_rng([seed, draw])
            embedded_audio = embedded(condition.audio, audio, data, draw, rng)
            shown = embedded(condition.visual, visual, data, draw, rng)
            answered = predict(replace(data, audio=embedded_audio, visual=shown), condition.seen)
            scores.append(100 * weighted_f1(data.labels, answered.argmax(axis=1), len(LABELS)))
            if condition.seen == (True, False, False):
                break
        scores_of[condition] = float(np.mean(scores)), float(np.std(scores))
    text = scores_of[Condition(MISSING, MISSING)][0]
    alone = [
        scores_of[Condition(AS_IT_IS, MISSING, text=False)][0],
        scores_of[Condition(MISSING, AS_IT_IS, text=False)][0],
    ]
    results = []
    for condition, (f1, spread) in scores_of.items():
        there = [f for f, seen in zip(alone, condition.seen[1:], strict=True) if seen]
        against = text if condition.text else max(there)
        results.append(Result(condition, f1, spread, against))
    return results


def embedded(
    how: str, modality: SimulatedModality, data: Dialogues, draw: int, rng: np.random.Generator
) -> Floats:
    """Return the modality's embedding (N, E) of each utterance in a condition."""
    count = len(data.labels)
    chosen: NDArray[np.int64] = modality.chosen[draw]
    if how in modality.worse:
        return modality.worse[how][chosen]
    if how in modality.noise:
        return modality.noise[how][rng.integers(0, len(modality.noise[how]), count)]
    if how == MISSING:
        return np.zeros((count, modality.embeddings.shape[1]), np.float32)
    if how == ANY:
        chosen = rng.integers(0, len(modality.labels), count)
    elif how == SAME:
        chosen = np.repeat(rng.integers(0, len(modality.labels)), count)
    elif how == ANOTHER:
        chosen = clip_of(
            of_another(data.labels, data.first, rng), modality.labels, rng.random(count)
        )
    elif how in ALWAYS:
        wanted = np.full(count, ALWAYS.index(how), np.int64)
        chosen = clip_of(wanted, modality.labels, rng.random(count))
    return modality.embeddings[chosen]


def of_another(labels: Labels, first: Labels, rng: np.random.Generator) -> Labels:
    """Return for each utterance the label of a random utterance of its dialogue.

    first: (N,), the row with which each dialogue begins.
    """
    wanted: Labels = labels.copy()
    for begin in np.unique(first):
        rows = np.flatnonzero(first == begin)
        wanted[rows] = labels[rng.permutation(rows)]
    return wanted


def worst(results: Sequence[Result]) -> Result:
    """Return the result with the largest loss by additional modalities."""
    return min(results, key=lambda result: result.difference)


def as_they_are(results: Sequence[Result]) -> float:
    """Return the mean over text, text + audio, text + face and all three."""
    states = {MISSING, AS_IT_IS}
    good = [
        r.f1
        for r in results
        if r.condition.text and {r.condition.audio, r.condition.visual} <= states
    ]
    return float(np.mean(good))


def table(results: Sequence[Result]) -> list[str]:
    """Return the results as Markdown."""
    rows = []
    for r in results:
        mark = "" if r.difference >= -TOLERANCE else " **worse**"
        rows.append(
            [r.condition.name, f"{r.f1:.1f} ± {r.spread:.1f}", f"{r.difference:+.1f}{mark}"]
        )
    return markdown(["seen", "weighted F1", "against text, or the best modality alone"], rows)
