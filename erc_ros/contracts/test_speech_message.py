"""The contract of `erc_ros.adapters.SpeechMessage`."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest

from erc_ros.adapters import SpeechMessage, UnusableMessageError, message_class
from erc_ros.plugins import SPEECH_MESSAGES, find
from erc_ros.values.bounds import TEXT
from erc_ros.values.transcript import Transcript

ARRIVAL = 1_700_000_000_000_000_000


def new(name: str) -> SpeechMessage:
    """Create a reader as in the node."""
    made: SpeechMessage = find(SPEECH_MESSAGES, name)()
    return made


def example(reader: SpeechMessage, text: str = "") -> Any:
    """Create a message of the reader's type, with `text` in every string field."""
    kind = message_class(reader.message_type)
    if kind is None:
        pytest.skip(f"{reader.message_type} is not installed here")
    message: Any = kind()
    for name, type_name in message.get_fields_and_field_types().items():
        if type_name == "string":
            setattr(message, name, text)
    return message


def test_the_type_is_that_of_a_ros_message(speech_message: str) -> None:
    """The type has the form package/msg/Name."""
    assert re.fullmatch(r"[a-z]\w*/msg/[A-Z]\w*", new(speech_message).message_type)


def test_an_empty_message_has_no_words(speech_message: str) -> None:
    """A message with default values gives None, or raises the documented error."""
    reader = new(speech_message)
    try:
        transcript = reader.read(example(reader), ARRIVAL)
    except UnusableMessageError:
        return
    assert transcript is None or isinstance(transcript, Transcript)


def test_a_message_gives_the_same_transcript_twice(speech_message: str) -> None:
    """`read` has no state and does not read a clock."""
    reader = new(speech_message)
    first = reader.read(example(reader, "hello"), ARRIVAL)
    assert first is None or isinstance(first, Transcript)
    assert first == reader.read(example(reader, "hello"), ARRIVAL)


def test_a_text_that_is_too_long_is_cut(speech_message: str) -> None:
    """At most `bounds.TEXT` characters are kept, or the message is refused."""
    reader = new(speech_message)
    try:
        transcript = reader.read(example(reader, "a" * (TEXT + 1)), ARRIVAL)
    except UnusableMessageError:
        return
    assert transcript is None or len(transcript.text) <= TEXT


def test_a_message_without_fields_is_an_error_of_its_kind(speech_message: str) -> None:
    """A message with another definition raises the documented error, not that of a library."""
    with pytest.raises((UnusableMessageError, AttributeError)):
        new(speech_message).read(SimpleNamespace(), ARRIVAL)
