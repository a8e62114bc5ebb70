"""The rows of a replay and their replacement."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from erc_ros.replay.rows import Row, relabelled, row_of_message, with_row


def row(number: int, is_final: bool = True, conversation: str = "c", text: str = "") -> Row:
    return Row(
        conversation_id=conversation,
        utterance_id=f"u{number}",
        speaker_id="0",
        voice_id="",
        face_id="",
        person_id="",
        start=number,
        end=number + 1,
        text=text,
        label="joy",
        confidence=0.5,
        valence=0.0,
        arousal=0.0,
        probabilities={"joy": 0.5, "anger": 0.5},
        modalities={"text": True},
        weights={"text": 1.0},
        is_final=is_final,
    )


def test_a_final_row_is_replaced_in_its_place_by_another_final_one() -> None:
    rows = [row(1), row(2), row(3)]
    corrected = row(2, text="corrected")
    assert with_row(rows, corrected) == [row(1), corrected, row(3)]
    assert with_row(rows, row(2, conversation="d")) == [*rows, row(2, conversation="d")]


def test_drafts_neither_replace_nor_are_replaced() -> None:
    draft, final = row(1, is_final=False), row(1)
    assert with_row([draft], final) == [draft, final]
    assert with_row([final], draft) == [final, draft]
    assert with_row([draft], draft) == [draft, draft]


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=30))
def test_every_utterance_has_one_final_row_the_last_one(given: list[tuple[int, bool]]) -> None:
    rows: list[Row] = []
    for count, (number, is_final) in enumerate(given):
        rows = with_row(rows, row(number, is_final, text=str(count)))
    finals = {r.utterance_id: r.text for r in rows if r.is_final}
    assert len(finals) == sum(r.is_final for r in rows)
    assert finals == {f"u{n}": str(c) for c, (n, is_final) in enumerate(given) if is_final}
    assert sum(not r.is_final for r in rows) == sum(not is_final for _, is_final in given)


def test_another_speaker_is_set_in_the_named_utterances_of_the_conversation_only() -> None:
    rows = [row(1), row(2), row(1, conversation="d"), row(1, is_final=False)]
    changed = relabelled(rows, "c", {"u1"}, "7")
    assert [r.speaker_id for r in changed] == ["7", "0", "0", "7"]


@pytest.mark.parametrize(("overlap", "expected"), [(0.1234567, 0.123457), (math.nan, None)])
def test_a_row_has_what_the_message_has(overlap: float, expected: float | None) -> None:
    message_type = pytest.importorskip(
        "erc_msgs.msg._emotion_estimate", reason="needs ROS"
    ).EmotionEstimate
    message = message_type(
        conversation_id="c",
        utterance_id="u",
        speaker_id="1",
        voice_id="v",
        face_id="f",
        person_id="p",
        text="Hello.",
        label="joy",
        labels=["joy", "anger"],
        probabilities=[0.75, 0.25],
        confidence=0.75,
        valence=0.5,
        arousal=-0.25,
        modality_names=["text", "audio", "visual"],
        modalities=[True, False, True],
        modality_weights=[0.5, 0.0, 0.25],
        is_final=True,
        overlap=overlap,
    )
    message.start.sec, message.start.nanosec = 5, 1
    message.end.sec, message.end.nanosec = 7, 2
    assert row_of_message(message, 12) == Row(
        conversation_id="c",
        utterance_id="u",
        speaker_id="1",
        voice_id="v",
        face_id="f",
        person_id="p",
        start=5_000_000_001,
        end=7_000_000_002,
        text="Hello.",
        label="joy",
        confidence=0.75,
        valence=0.5,
        arousal=-0.25,
        probabilities={"joy": 0.75, "anger": 0.25},
        modalities={"text": True, "audio": False, "visual": True},
        weights={"text": 0.5, "audio": 0.0, "visual": 0.25},
        is_final=True,
        overlap=expected,
        latency=12,
    )


def test_a_moved_row_keeps_its_length() -> None:
    moved = row(5).moved(7)
    assert (moved.start, moved.end) == (12, 13)
