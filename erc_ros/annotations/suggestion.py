"""Draft a file for `--tiers`, which defines the meaning of tiers and labels."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from erc_ros.annotations import read
from erc_ros.annotations.marks import Mark
from erc_ros.annotations.vocabulary import is_emotion, meant_label

EMOTIONS_AS_WORDS = 0.8  # minimum share of emotion words in a tier of emotions
MAX_EXAMPLES = 5  # emotions listed in a comment


def is_of_emotions(values: Sequence[str], labels: Sequence[str]) -> bool:
    """Return whether almost all of a tier's annotations are names of emotions."""
    emotions = [value for value in values if is_emotion(value, labels)]
    return len(values) > 1 and len(emotions) >= EMOTIONS_AS_WORDS * len(values)


def suggest(files: Sequence[Path], labels: Sequence[str]) -> str:
    """Return YAML for `--tiers`: each tier with its suggested meaning, each emotion with its label.

    Args:
        files: of annotations. labels: of the model package.

    Raises:
        AnnotationError: a file cannot be read.
    """
    tiers: dict[str, list[Mark]] = {}
    for mark in (mark for file in files for mark in read(file)):
        if mark.source.tier:
            tiers.setdefault(mark.source.tier, []).append(mark)
    named = {m.speaker for marks in tiers.values() for m in marks if m.speaker and not m.is_guess}
    named = named or {m.speaker for marks in tiers.values() for m in marks if m.is_guess}
    lines = [
        "# Meaning of tiers and emotions. Check each line, then: erc evaluate --tiers THIS_FILE",
        "# KIND@SPEAKER, KIND one of speech, text, emotion, valence, arousal; ~ excludes.",
        "tiers:" if tiers else "tiers: {}",
    ]
    words: Counter[str] = Counter()
    for tier, marks in tiers.items():
        values = [mark.value for mark in marks if mark.value]
        kind, speaker, comment = marks[0].kind, marks[0].speaker, f"{len(marks)} annotations"
        if marks[0].is_guess and is_of_emotions(values, labels):
            people = named - {tier}
            kind, speaker = "emotion", people.pop() if len(people) == 1 else "SPEAKER"
            comment += "; whose emotions?"
        elif marks[0].is_guess and named - {speaker} and speaker not in named:
            kind, comment = "", comment + "; words of a person, or nothing to evaluate?"
        if kind == "emotion":
            words.update(values)
            common = [f"{value} ({n})" for value, n in Counter(values).most_common(MAX_EXAMPLES)]
            comment += ": " + ", ".join(" ".join(each.split()) for each in common)
        meaning = _quoted(f"{kind}@{speaker}") if kind else "~"
        lines.append(f"  {_quoted(tier)}: {meaning}  # {comment}")
    if not tiers:
        words.update(m.value for file in files for m in read(file) if m.kind == "emotion")
    own = {label.casefold() for label in labels}
    others = sorted({word.casefold() for word in words if word} - own)
    lines.append("labels:" if others else "labels: {}")
    for word in others:
        lines.append(f"  {_quoted(word)}: {meant_label(word, labels) or '~'}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """Quote any text as a YAML scalar."""
    return json.dumps(text, ensure_ascii=False)
