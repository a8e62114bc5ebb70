"""Words that annotators use for emotions, and the labels that they usually mean."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from importlib import resources
from types import MappingProxyType

import yaml

_CONTENT = yaml.safe_load(
    (resources.files(__package__) / "emotion_words.yaml").read_text(encoding="utf-8")
)
_ABBREVIATED = ("joy", "sadness", "anger", "fear", "surprise", "disgust", "neutral")
EMOTION_WORDS = MappingProxyType(
    {emotion[:3]: emotion for emotion in _ABBREVIATED}
    | {
        word: emotion
        for emotion, words in _CONTENT["words"].items()
        for word in (emotion, *words.split(", "))
    }
)
"""A word or a usual abbreviation (three letters), in lower case -> the emotion that it names."""

_MEANT: Mapping[str, str] = MappingProxyType(_CONTENT["instead"])  # where the label is missing
UNKNOWN_WORDS = frozenset(("unknown", "unclear", "undecided", "n/a", "na", "?", "xxx", "other"))
"""Annotations of annotators who were not sure."""


def is_emotion(word: str, labels: Collection[str] = ()) -> bool:
    """Whether an annotation is the name of an emotion: one of `labels`, or a usual word."""
    name = word.strip().casefold()
    return name in EMOTION_WORDS or name in {label.casefold() for label in labels}


def meant_label(word: str, labels: Sequence[str]) -> str:
    """Return the label that an annotated word probably means, "" if there is no such label.

    Compares meanings; compares spelling only if the word does not name another emotion.

    Example:
        >>> meant_label("happiness", ("joy", "sadness"))
        'joy'
    """
    name = word.strip().casefold()
    by_meaning = {EMOTION_WORDS.get(label.casefold(), label.casefold()): label for label in labels}
    emotion = EMOTION_WORDS.get(name, "")
    if emotion:
        return by_meaning.get(emotion) or by_meaning.get(_MEANT.get(emotion, ""), "")
    near = difflib.get_close_matches(name, [label.casefold() for label in labels], 1, 0.75)
    return next((label for label in labels if near and label.casefold() == near[0]), "")
