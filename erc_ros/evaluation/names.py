"""Format speakers, times and texts for results."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta, timezone

from erc_ros.evaluation.records import Prediction
from erc_ros.values.nanoseconds import NS
from erc_ros.values.utterance import speaker_name


def clean(text: str) -> str:
    """Return the text with spaces for control characters and lone surrogates."""
    return "".join(c if c.isprintable() else " " for c in text)


def key(answer: Prediction) -> tuple[str, str]:
    """Return (conversation, speaker): speaker numbers start at 0 in each conversation."""
    return answer.conversation_id, answer.speaker


def speaker_names(answers: Iterable[Prediction]) -> dict[tuple[str, str], str]:
    """Return `key` -> the person, or "speaker 1"; in a second conversation "2: speaker 1"."""
    people: dict[tuple[str, str], str] = {}
    for answer in answers:
        people[key(answer)] = people.get(key(answer)) or answer.person
    conversations = list(dict.fromkeys(conversation for conversation, _ in people))
    result = {}
    for (conversation, speaker), person in people.items():
        name = clean(speaker_name(speaker, person))
        number = conversations.index(conversation)
        prefix = f"{number + 1}: " if number and not person else ""
        result[conversation, speaker] = prefix + (name or "unknown speaker")
    return result


def shown_label(answer: Prediction) -> str:
    """Return the label; below `min_confidence`, "unknown (surprise)"."""
    return f"unknown ({answer.label})" if answer.is_unknown else answer.label


def confidence_of(answer: Prediction) -> float:
    """Return the published confidence."""
    return float(answer.probabilities.max()) if answer.confidence is None else answer.confidence


def clock(time: int) -> str:
    """Return ns as "1:02" or "1:00:02"."""
    minutes, seconds = divmod(time // NS, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def moment(time: int) -> datetime:
    """Return ns of the recording's clock as UTC."""
    return datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=time // NS)
