"""Marks: the annotations of a file, before files are joined."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from erc_ros.annotations.records import Source
from erc_ros.values.files import decode
from erc_ros.values.nanoseconds import NS

MAX_BYTES = 64 * 2**20  # per annotation file; an hour of dense ELAN tiers is about 2 MiB
MAX_MARKS = 500_000  # in a file
TEXT_ALONE = NS  # assumed duration of an utterance without audio, before its text arrives
UNIX_TIME = 10**8 * NS  # times later than this are on the clock of the recording's stamps
MAX_SECONDS = 10**10  # s; larger times are invalid (Unix time is below 2e9)

# Content of a tier, by words that occur in names of tiers, types and vocabularies.
_KINDS = {
    **dict.fromkeys(("emotion", "emotions", "emo", "affect", "feeling", "mood"), "emotion"),
    **dict.fromkeys(("text", "transcript", "transcription", "words", "utterance"), "text"),
    **dict.fromkeys(("utterances", "tx", "txt"), "text"),
    **dict.fromkeys(("speech", "turn", "turns"), "speech"),
    "valence": "valence",
    "arousal": "arousal",
}
# Tiers with these words are not evaluated.
_OTHER_NAMES = (
    "gaze note notes comment comments gesture gestures head hand hands posture laughter event "
    "events noise topic task phase condition section action actions act dialogact marker markers "
    "sync todo remark remarks face facial"
)
_OTHER = frozenset(_OTHER_NAMES.split())


class AnnotationError(ValueError):
    """Annotations that cannot be used; the message names file, tier, line and remedy."""


@dataclass(frozen=True, slots=True)
class Mark:
    """One annotation of one thing.

    kind: "speech" (a turn), "text", "emotion", "valence" or "arousal"; "" for something else.
    start, end: ns on the clock of the annotation. speaker: "" where there is no name.
    value: without surrounding blanks.
    recording: its name, "" if the format does not have it.
    is_guess: read as words of a person, as the name of the tier has no known word.
    """

    kind: str
    start: int
    end: int
    speaker: str
    value: str
    source: Source
    recording: str = ""
    is_guess: bool = False


def place(source: Source) -> str:
    """Return file, tier and line for a message."""
    tier = f", tier {source.tier!r}" if source.tier else ""
    line = f", {'annotation' if source.tier else 'line'} {source.line}" if source.line else ""
    return f"{source.file}{tier}{line}"


def read_bytes(path: Path) -> bytes:
    """Return the content of a file of annotations.

    Raises:
        AnnotationError: it cannot be read, or is larger than `MAX_BYTES`.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise AnnotationError(f"{path}: cannot be read ({error.strerror})") from error
    if len(content) > MAX_BYTES:
        raise AnnotationError(
            f"{path.name}: more than {MAX_BYTES >> 20} MiB; annotations are smaller"
        )
    return content


def read_text(path: Path) -> str:
    """Return the content of a text file without its byte order mark, see `decode`."""
    text = decode(read_bytes(path), path.name)
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise AnnotationError(f"{path.name}, line {line}: not a text file; save it as UTF-8")
    return text


def time_of(text: str, source: Source) -> int:
    """Return seconds of a file in ns.

    Raises:
        AnnotationError: not a number, or out of range.
    """
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not abs(value) <= MAX_SECONDS:
        raise AnnotationError(f"{place(source)}: {text!r} is not a time in seconds")
    return round(value * NS)


def meaning(tier: str, participant: str = "", hints: Collection[str] = ()) -> tuple[str, str, bool]:
    """Return (kind, speaker, whether it is a guess) of a tier; kind "" for something else.

    "emotion@Anna", "Anna emotion", "Anna_emotion", "Anna-Emo", "AnnaEmo" and "emotion" with the
    participant Anna are emotions of Anna. Other tiers have the words of their participant; without
    one, it is guessed that they have the words of a person of their name.

    Args:
        hints: names of its type and controlled vocabulary, for names that do not say the kind.
    """
    hinted = next((kind for hint in hints if (kind := _kind(hint))), "")
    before, at, after = tier.rpartition("@")
    if at:
        kind = _KINDS.get(before.strip().casefold(), "") or hinted
        return kind, participant or after.strip(), False
    for name in (tier.strip(), _CAMEL.sub(" ", tier.strip())):
        words = re.split(r"[\s_:.-]+", name)
        for word, others in ((words[-1], words[:-1]), (words[0], words[1:])):
            kind = _KINDS.get(word.casefold(), "")
            if kind:
                return kind, participant or " ".join(others), False
    if hinted:
        return hinted, participant or tier.strip(), False
    if _OTHER & {word.casefold() for word in words}:
        return "", participant or tier.strip(), False
    return "text", participant or tier.strip(), not participant


_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z][a-z])")  # in "P1Emo", before "Emo"


def _kind(name: str) -> str:
    return next(
        (_KINDS[word] for word in re.split(r"[\s_:.-]+", name.casefold()) if word in _KINDS), ""
    )
