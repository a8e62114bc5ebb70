"""Explanation of an estimate: label, reliability and effect of each modality.

`Why` is computed once (`inference.estimate.why_of`); messages, rows, reports and views show it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from erc_ros.values.bounds import NAME

MOST_MODALITIES = 16  # modalities of a message; a message with more is not read
DIGITS = 6  # decimal places of the numbers of an estimate in files
NAMES = {"text": "words", "audio": "voice", "visual": "face"}
"""Modality -> its name in reports and images."""


TEXT_FIELDS = ("modality_labels", "modality_distrust", "labels_without")  # the others are numbers


class Distrust(str, Enum):
    """Reason why a modality is not trusted; values of `modality_distrust` in messages."""

    CONSTANT = "constant"
    DISAGREES = "disagrees"

    @property
    def explanation(self) -> str:
        """The reason as the second half of a sentence about a modality."""
        return _EXPLANATIONS[self]


_EXPLANATIONS = {
    Distrust.CONSTANT: "it indicates one label all the time",
    Distrust.DISAGREES: "it does not agree with the words",
}


@dataclass(frozen=True)
class Why:
    """Contribution of one modality to an estimate.

    indicates: most probable label from this modality only, with `probability`; "" = not computed.
    reliability: estimated probability that the modality works; 1 for text, which is the reference;
        None = not estimated.
    without: label of the estimate without this modality, with `without_probability`; "" if there
        is no other modality.
    distrust: value of a `Distrust`; "" = trusted, or not known yet.
    """

    indicates: str
    probability: float
    reliability: float | None
    without: str
    without_probability: float
    distrust: str = ""


def name_of(modality: str) -> str:
    """Return the name of a modality in reports: "words", "voice", "face", or its own name."""
    return NAMES.get(modality, modality)


def distrust_sentence(modality: str, reason: str) -> str:
    """Return a sentence why a modality is not trusted. reason: value of a `Distrust`."""
    return f"the {name_of(modality)} is not trusted: {Distrust(reason).explanation}"


def explain(label: str, why: Mapping[str, Why]) -> list[str]:
    """Return sentences with the label without each modality, and the modalities not trusted.

    Args:
        label: most probable label of the estimate.
        why: modality -> Why, of the available modalities.

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
    """Return one line with the label from each modality only.

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
    """Return one short line: modalities that change the label, and modalities not trusted.

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
    """Return the modalities without which the estimate would have another label."""
    return [name for name, each in why.items() if each.without not in ("", label)]


def message_fields(why: Mapping[str, Why], modalities: Iterable[str]) -> dict[str, list[Any]]:
    """Return the explanation as the fields of an EmotionEstimate message; empty without one."""
    entries = [why.get(name) for name in modalities] if why else []
    return {
        "modality_labels": [each.indicates if each else "" for each in entries],
        "modality_confidences": [each.probability if each else 0.0 for each in entries],
        "modality_reliability": [or_nan(each.reliability if each else None) for each in entries],
        "modality_distrust": [each.distrust if each else "" for each in entries],
        "labels_without": [each.without if each else "" for each in entries],
        "confidences_without": [each.without_probability if each else 0.0 for each in entries],
    }


def why_of_message(message: Any) -> dict[str, Why]:
    """Return the explanation in a message, the inverse of `message_fields`; {} if it has none.

    The result is {} as well for arrays whose lengths differ or exceed MOST_MODALITIES.
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
    reasons = {reason.value for reason in Distrust}
    return {
        name: Why(
            label,
            rounded(probability),
            None if math.isnan(reliability) else rounded(reliability),
            without,
            rounded(confidence),
            distrust if distrust in reasons else "",
        )
        for name, is_seen, label, probability, reliability, distrust, without, confidence in zip(
            names, message.modalities, *columns, strict=True
        )
        if is_seen
    }


def rounded(value: float) -> float:
    """Round a number to DIGITS decimal places."""
    return round(float(value), DIGITS)


def or_nan(value: float | None) -> float:
    """NaN for a number that is not known."""
    return math.nan if value is None else value
