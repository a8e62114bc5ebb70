"""Log of a conversation: ids, labels, and corrections of speaker and text."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from erc_ros.dialogue.alignment import AlignmentConfig, SpeechSegment
from erc_ros.dialogue.speakers.turns import Attribution, TurnCorrection
from erc_ros.dialogue.text_splitting import TextSplittingConfig
from erc_ros.dialogue.utterance_log import (
    Labels,
    UtteranceLog,
    UtteranceLogConfig,
    label,
    label_of,
)
from erc_ros.values.nanoseconds import seconds
from erc_ros.values.transcript import Transcript
from erc_ros.values.utterance import Utterance

CONFIG = UtteranceLogConfig()


def segment(name: str, start: float, end: float, speaker: int | None) -> SpeechSegment:
    attribution = Attribution(speaker, 0.9)
    return SpeechSegment(seconds(start), seconds(end), utterance_id=name, attribution=attribution)


def utterance(segment: SpeechSegment, text: str, speaker: str) -> Utterance:
    return Utterance(
        conversation_id="c1",
        utterance_id=segment.utterance_id,
        start=segment.start,
        end=segment.end,
        text=text,
        speaker_id=speaker,
        audio=np.zeros(0, np.int16),
    )


def log_of(*segments: SpeechSegment, text: str = "") -> UtteranceLog:
    """Return a log in which these segments were published separately."""
    log = UtteranceLog(CONFIG)
    for one in segments:
        log.spoke(one.start, one.end)
        speaker, _ = log.attribute(one, "")
        transcript = Transcript(text, one.end, stamp=one.end) if text else None
        log.remember(transcript, ((one, utterance(one, text, speaker)),))
    return log


def named(said: Utterance, speaker_id: str) -> Utterance:
    return replace(said, speaker_id=speaker_id)


# --- labels ---


def test_speakers_have_labels_in_the_order_in_which_they_come() -> None:
    labels, names = Labels(), []
    for speaker in (4, 2, 4, None):
        labels, name, _ = label(labels, Attribution(speaker, 0.9), "")
        names.append(name)
    assert names == ["0", "1", "0", ""]
    assert label_of(labels, 2) == "1" and label_of(labels, 9) == label_of(labels, None) == ""


def test_a_voice_id_takes_the_label_of_its_diarized_speaker_and_keeps_it() -> None:
    labels, _, _ = label(Labels(), Attribution(0, 0.9), "")
    labels, first, sure = label(labels, Attribution(0, 0.9), "a")
    labels, other, _ = label(labels, Attribution(0, 0.9), "b")
    labels, again, _ = label(labels, Attribution(7, 0.9), "a")
    assert (first, other, again, sure) == ("0", "1", "0", 1.0)


# --- the conversation ---


def test_a_conversation_lasts_until_too_long_a_silence() -> None:
    log = log_of(segment("u1", 1, 2, 0))
    assert not log.is_over(seconds(32)) and log.is_over(seconds(32.1))
    ended = log.end(seconds(40))
    assert ended is not None and ended.conversation_id == f"c{seconds(1)}"
    assert log.end(seconds(50)) is None and not log.is_over(seconds(999))


def test_ids_count_and_no_two_conversations_in_a_row_have_the_same_one() -> None:
    log = log_of(segment("", 1, 2, 0))
    assert [log.next_id(), log.next_id()] == ["u1", "u2"]
    first = log.conversation
    log.end(seconds(3))
    log.spoke(seconds(1), seconds(2))
    assert first is not None and log.conversation is not None
    assert log.conversation.id != first.id and log.next_id() == "u1"


# --- corrections of speakers ---


def test_a_correction_names_the_utterances_that_it_changes() -> None:
    log = log_of(segment("u1", 1, 2, 0), segment("u2", 2, 4, 1), segment("u3", 5, 6, 0))
    event = log.correct_speaker(TurnCorrection(seconds(0.5), seconds(2.5), 0, 1), named)
    assert event is not None
    assert (event.utterance_ids, event.before, event.after) == (("u1",), "0", "1")
    again = TurnCorrection(seconds(0.5), seconds(2.5), 0, 1)
    assert log.correct_speaker(again, named) is None


def test_speech_without_speaker_gets_one() -> None:
    log = log_of(segment("u1", 1, 2, None))
    event = log.correct_speaker(TurnCorrection(seconds(1), seconds(2), None, 3), named)
    assert event is not None and (event.before, event.after) == ("", "0")


def test_a_voice_id_takes_precedence_over_diarization() -> None:
    log = log_of(segment("u1", 1, 2, 0))
    log.attribute(segment("u1", 1, 2, 0), "a")
    assert log.correct_speaker(TurnCorrection(seconds(1), seconds(2), 0, 1), named) is None


def test_only_the_latest_utterances_are_corrected() -> None:
    log = UtteranceLog(UtteranceLogConfig(max_speaker_corrections=2))
    for number in range(4):
        one = segment(f"u{number}", number, number + 1, 0)
        log.spoke(one.start, one.end)
        log.attribute(one, "")
    event = log.correct_speaker(TurnCorrection(0, seconds(9), 0, 1), named)
    assert event is not None and event.utterance_ids == ("u2", "u3")


# --- corrections of texts ---


def test_a_text_of_the_same_speech_replaces_the_former_one_and_keeps_its_speaker() -> None:
    log = log_of(segment("u1", 1, 2, 0), text="Hallo.")
    log.correct_speaker(TurnCorrection(seconds(1), seconds(2), 0, 1), named)
    new = Transcript("Hello.", seconds(3), stamp=seconds(2))
    (final,) = log.same_speech(new, AlignmentConfig())
    (event,) = log.replace_text(final, new, TextSplittingConfig())
    assert (event.utterance.text, event.utterance.speaker_id) == ("Hello.", "1")
    (final,) = log.same_speech(new, AlignmentConfig())
    assert log.replace_text(final, new, TextSplittingConfig()) == []


def test_a_late_text_names_the_speaker_of_speech_that_was_published_before() -> None:
    log = log_of(segment("u1", 1, 2, 0), segment("u2", 3, 4, 0))
    late = Transcript("Hello.", seconds(3), stamp=seconds(2), voice_id="v", person_id="Anna")
    (final,) = log.without_text(late, 0.2, AlignmentConfig())
    (event,) = log.replace_text(final, late, TextSplittingConfig())
    said = event.utterance
    assert (said.text, said.voice_id, said.person_id) == ("Hello.", "v", "Anna")
    assert (said.speaker_id, said.speaker_confidence) == ("0", 1.0)
    # the name takes precedence over later speaker diarization
    correction = log.correct_speaker(TurnCorrection(seconds(0), seconds(5), 0, 1), named)
    assert correction is not None and correction.utterance_ids == ("u2",)
    assert log.attribute(segment("u3", 5, 6, 1), "v") == ("0", 1.0)


def test_a_late_text_finds_the_speech_that_went_out_without_one() -> None:
    log = log_of(segment("u1", 1, 2, 0), segment("u2", 4, 8, 0))
    late = Transcript("About a second.", seconds(9))
    # it came too late for the first, and is too short for the second
    assert log.without_text(late, 0.065, AlignmentConfig()) == []
    (final,) = log.without_text(replace(late, arrival=seconds(3)), 0.065, AlignmentConfig())
    assert final.parts[0][1].utterance_id == "u1"


def test_no_more_final_texts_are_remembered_than_can_be_corrected() -> None:
    none = UtteranceLog(UtteranceLogConfig(max_text_corrections=0))
    one = segment("u1", 1, 2, 0)
    none.spoke(one.start, one.end)
    none.remember(
        Transcript("Hallo.", seconds(2), stamp=seconds(2)), ((one, utterance(one, "", "")),)
    )
    new = Transcript("Hello.", seconds(3), stamp=seconds(2))
    assert none.same_speech(new, AlignmentConfig()) == []
