"""How speakers, times and texts stand in what is written for people."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta, timezone

from erc_ros.evaluation.records import Prediction
from erc_ros.values.nanoseconds import NS


def clean(text: str) -> str:
    """What cannot be printed (control characters, halves of surrogates) becomes a space."""
    return "".join(c if c.isprintable() else " " for c in text)


def key(answer: Prediction) -> tuple[str, str]:
    """Who spoke: speakers are numbered anew in every conversation."""
    return answer.conversation_id, answer.speaker


def speaker_names(answers: Iterable[Prediction]) -> dict[tuple[str, str], str]:
    """Who spoke (`key`) -> "speaker 1"; in a second conversation "2: speaker 1"."""
    keys = dict.fromkeys(map(key, answers))
    conversations = list(dict.fromkeys(conversation for conversation, _ in keys))
    result = {}
    for conversation, speaker in keys:
        name = f"speaker {int(speaker) + 1}" if speaker.isdecimal() else clean(speaker)
        number = conversations.index(conversation)
        result[conversation, speaker] = (f"{number + 1}: " if number else "") + (name or "somebody")
    return result


def shown_label(answer: Prediction) -> str:
    """The label as the robot publishes it; below `min_confidence`, as "unknown (surprise)"."""
    return f"unknown ({answer.label})" if answer.is_unknown else answer.label


def confidence_of(answer: Prediction) -> float:
    """As it is published."""
    return float(answer.probabilities.max()) if answer.confidence is None else answer.confidence


def clock(time: int) -> str:
    """ns as "1:02" or "1:00:02"."""
    minutes, seconds = divmod(time // NS, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def moment(time: int) -> datetime:
    """ns of the recording's clock as a time that is the same in every time zone."""
    return datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=time // NS)
