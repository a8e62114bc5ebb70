"""Why an estimate is as it is: what each modality indicated, how reliable it was, and its effect.

`Why` is computed once (`inference.estimate.why_of`); messages, rows, reports and views show it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from erc_ros.values.bounds import NAME

MOST_MODALITIES = 16  # of a message
DIGITS = 6  # of every number of an estimate that is written
NAMES = {"text": "words", "audio": "voice", "visual": "face"}
"""What readers of reports and images see instead of the names of modalities."""


TEXT_FIELDS = ("modality_labels", "modality_distrust", "labels_without")  # the others are numbers


class Distrust(str, Enum):
    """Why a modality is not trusted; the values are those of `modality_distrust` in messages."""

    CONSTANT = "constant"
    DISAGREES = "disagrees"

    @property
    def explanation(self) -> str:
        """The second half of a sentence about a modality."""
        return _EXPLANATIONS[self]


_EXPLANATIONS = {
    Distrust.CONSTANT: "it indicates one label all the time",
    Distrust.DISAGREES: "it does not agree with the words",
}


@dataclass(frozen=True)
class Why:
    """What a modality contributed to an estimate.

    indicates: the label that it indicates separately, with `probability`; "" = not computed.
    reliability: estimated probability that it works; 1 for text, the reference; None = not
        estimated.
    without: the label that the estimate would have without it, with `without_probability`; "" where
        there is no other modality.
    distrust: value of a `Distrust`; "" = it is trusted, or nothing is known yet.
    """

    indicates: str
    probability: float
    reliability: float | None
    without: str
    without_probability: float
    distrust: str = ""


def name_of(modality: str) -> str:
    """What readers see: "words", "voice", "face", or the modality's own name."""
    return NAMES.get(modality, modality)


def distrust_sentence(modality: str, reason: str) -> str:
    """Why a modality is not trusted. reason: value of a `Distrust`."""
    return f"the {name_of(modality)} is not trusted: {Distrust(reason).explanation}"


def explain(label: str, why: Mapping[str, Why]) -> list[str]:
    """Sentences for people: what the result would have been, and what is not trusted.

    Args:
        label: the most probable one of the estimate.
        why: modality -> Why of those that were there.

    Example:
        >>> words = Why("neutral", 0.7, 1.0, "anger", 0.8)
        >>> face = Why("anger", 0.9, 0.6, "neutral", 0.61)
        >>> explain("anger", {"text": words, "visual": face})
        ['Without the face: neutral 0.61', 'Without the words: still anger (0.80)']
    """
    without = {name: each for name, each in why.items() if each.without}
    changing = {name: each for name, each in without.items() if each.without != label}
    lines = [
        f"Without the {name_of(name)}: {each.without} {each.without_probability:.2f}"
        for name, each in changing.items()
    ]
    same = {name: each for name, each in without.items() if name not in changing}
    lines += [
        f"Without the {name_of(name)}: still {label} ({each.without_probability:.2f})"
        for name, each in same.items()
    ]
    lines += [
        distrust_sentence(name, each.distrust).capitalize()
        for name, each in why.items()
        if each.distrust
    ]
    if why and not without:
        names = " and ".join(map(name_of, why))
        lines.append(f"There is nothing but the {names}")
    return lines


def indicated(why: Mapping[str, Why]) -> str:
    """What each modality indicates separately, in one line.

    Example:
        >>> indicated({"text": Why("neutral", 0.7, 1.0, "", 0.0)})
        'words: neutral 0.70'
    """
    parts = []
    for name, each in why.items():
        part = f"{name_of(name)}: {each.indicates} {each.probability:.2f}" if each.indicates else ""
        if part and name != "text" and each.reliability is not None:
            part += f" (reliable {each.reliability:.2f})"
        parts += [part] if part else []
    return ", ".join(parts)


def brief(label: str, why: Mapping[str, Why]) -> str:
    """The same in one short line: what changes the label, and what is not trusted.

    Example:
        >>> face = Why("anger", 0.9, 0.02, "neutral", 0.61, "disagrees")
        >>> brief("anger", {"visual": face})
        'without face: neutral 0.61; face not trusted'
    """
    parts = [
        f"without {name_of(name)}: {why[name].without} {why[name].without_probability:.2f}"
        for name in changes(label, why)
    ]
    parts += [f"{name_of(name)} not trusted" for name, each in why.items() if each.distrust]
    return "; ".join(parts)


def changes(label: str, why: Mapping[str, Why]) -> list[str]:
    """The modalities without which an estimate would have another label."""
    return [name for name, each in why.items() if each.without not in ("", label)]


def message_fields(why: Mapping[str, Why], modalities: Iterable[str]) -> dict[str, list[Any]]:
    """The fields of an EmotionEstimate that say why; all empty where nothing is known."""
    entries = [why.get(name) for name in modalities] if why else []
    return {
        "modality_labels": [each.indicates if each else "" for each in entries],
        "modality_confidences": [each.probability if each else 0.0 for each in entries],
        "modality_reliability": [_or_nan(each.reliability if each else None) for each in entries],
        "modality_distrust": [each.distrust if each else "" for each in entries],
        "labels_without": [each.without if each else "" for each in entries],
        "confidences_without": [each.without_probability if each else 0.0 for each in entries],
    }


def why_of_message(message: Any) -> dict[str, Why]:
    """The inverse of `message_fields`, for the modalities that were seen; {} for older messages.

    A message whose arrays do not fit together, or with longer ones than any bundle needs, gives {}.
    """
    columns: list[Sequence[Any]] = [getattr(message, name, ()) for name in message_fields({}, ())]
    names = message.modality_names
    if len(names) > MOST_MODALITIES or any(
        len(column) != len(names) for column in (*columns, message.modalities)
    ):
        return {}
    texts = [names, *(getattr(message, name) for name in TEXT_FIELDS)]
    if any(len(text) > NAME for column in texts for text in column):
        return {}
    known = {reason.value for reason in Distrust}
    return {
        name: Why(
            label,
            rounded(probability),
            None if math.isnan(reliability) else rounded(reliability),
            without,
            rounded(confidence),
            distrust if distrust in known else "",
        )
        for name, is_seen, label, probability, reliability, distrust, without, confidence in zip(
            names, message.modalities, *columns, strict=True
        )
        if is_seen
    }


def rounded(value: float) -> float:
    """A number as it is written."""
    return round(float(value), DIGITS)


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value
