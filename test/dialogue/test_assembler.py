"""Utterance assembly from tones, texts, faces and robot states; each late, wrong or missing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tones import RATE, LoudIsSpeech, scene, tone_networks
from tones import tone as voice

from erc_ros.dialogue.assembler import (
    AssemblerConfig,
    ConversationEnded,
    Counted,
    Event,
    SpeakerCorrected,
    TextCorrected,
    Transcript,
    UtteranceAssembler,
    UtteranceEvent,
)
from erc_ros.dialogue.open_speech import StretchConfig
from erc_ros.dialogue.speakers.diarization import DiarizationConfig
from erc_ros.dialogue.speaking_face import IdentityMatch
from erc_ros.dialogue.voice_activity import VoiceActivityConfig
from erc_ros.sensing.audio import AudioSamples
from erc_ros.sensing.clock import Gap, Jump
from erc_ros.sensing.faces import Box, FaceObservation
from erc_ros.sensing.microphone import Replugged
from erc_ros.values.nanoseconds import NS, seconds
from erc_ros.values.transcript import Word
from erc_ros.values.utterance import FaceCrop, Utterance

T0 = 1_700_000_000 * NS


def at(time: float) -> int:
    return T0 + seconds(time)


def silence(duration: float) -> NDArray[np.float32]:
    return np.zeros(round(duration * RATE), np.float32)


def final(text: str, time: float, **more: object) -> Transcript:
    return replace(Transcript(text, arrival=at(time)), **more)  # type: ignore[arg-type]


def play(
    listener: UtteranceAssembler,
    samples: NDArray[np.float32],
    texts: list[Transcript] = [],  # noqa: B006 - never changed
    chunk: int = 1600,
    start: float = 0.0,
) -> list[Event]:
    """Feed audio in chunks, and every text when the audio has reached its arrival time."""
    events, waiting, first = [], list(texts), 0
    while first < len(samples):
        size = chunk
        if waiting:  # no chunk reaches over a text
            until = (waiting[0].arrival - at(start)) * RATE // NS
            size = max(1, min(chunk, until - first)) if until > first else 0
        if size == 0:
            events += listener.feed_transcript(waiting.pop(0))
            continue
        part = samples[first : first + size]
        events += listener.feed_audio(AudioSamples(at(start) + first * NS // RATE, part))
        first += size
    for text in waiting:
        events += listener.feed_transcript(text)
    return events


def finals(events: list[Event]) -> list[Utterance]:
    utterances = [e.utterance for e in events if isinstance(e, UtteranceEvent)]
    return [utterance for utterance in utterances if utterance.is_final]


def drafts(events: list[Event]) -> list[Utterance]:
    utterances = [e.utterance for e in events if isinstance(e, UtteranceEvent)]
    return [utterance for utterance in utterances if not utterance.is_final]


def counted(events: list[Event]) -> list[str]:
    return [event.name for event in events if isinstance(event, Counted)]


def span(utterance: Utterance) -> tuple[float, float]:
    return (utterance.start - T0) / NS, (utterance.end - T0) / NS


def listener(**config: object) -> UtteranceAssembler:
    return UtteranceAssembler(AssemblerConfig(**config), LoudIsSpeech(), tone_networks())  # type: ignore[arg-type]


# --- the ordinary way ---


def test_speech_and_its_text_become_one_utterance() -> None:
    events = play(listener(), scene((1, 3, 5)), [final("How are you today?", 3.6)])
    (at_pause, draft), (utterance,) = drafts(events), finals(events)
    assert utterance.text == "How are you today?"
    assert (at_pause.utterance_id, span(at_pause)) == (utterance.utterance_id, span(utterance))
    assert np.array_equal(at_pause.audio, utterance.audio)  # so that it can be read beforehand
    assert span(utterance) == (pytest.approx(1.0, abs=0.15), pytest.approx(3.0, abs=0.15))
    assert (draft.utterance_id, draft.text) == (utterance.utterance_id, "")
    assert utterance.conversation_id == f"c{utterance.start}"
    assert utterance.utterance_id == "u1"
    assert utterance.speaker_id == "0"
    expected = round((utterance.end - utterance.start) / NS * RATE)
    assert utterance.audio.dtype == np.int16 and abs(len(utterance.audio) - expected) < 1_100


def test_what_was_said_before_a_pause_is_drafted_with_what_follows() -> None:
    text = final("Well, I do not really know about that.", 3.75)
    events = play(listener(), scene((1, 2.2, 5), (2.6, 3.4, 5)), [text])
    (utterance,) = finals(events)
    assert span(utterance) == (pytest.approx(1.0, abs=0.15), pytest.approx(3.4, abs=0.15))
    joined = [draft for draft in drafts(events) if span(draft) == span(utterance)]
    assert [draft.utterance_id for draft in joined] == [utterance.utterance_id]
    assert np.array_equal(joined[0].audio, utterance.audio)
    for period in (0.2, 0.5):  # during speech, drafts are of that speech only
        events = play(
            listener(provisional_period=period), scene((1, 2.2, 5), (2.6, 3.4, 5)), [text]
        )
        ends = [span(d)[1] for d in drafts(events) if span(d)[0] < 2 and span(d)[1] > 2.5]
        assert ends == [span(utterance)[1]]


def test_speakers_are_distinguished_and_recognized_again() -> None:
    sound = scene((1, 4, 5), (5, 9, 20), (10, 13, 5))
    texts = [
        final("one two three four five and six and seven", 4.5),
        final("eight nine ten eleven twelve thirteen and so on, and on", 9.5),
        final("sixty, seventy, eighty, ninety, a hundred", 13.5),
    ]
    utterances = finals(play(listener(), sound, texts))
    assert [u.speaker_id for u in utterances] == ["0", "1", "0"]
    assert [u.utterance_id for u in utterances] == ["u1", "u2", "u3"]


def test_a_speaker_change_without_a_pause_splits_the_segment() -> None:
    events = play(listener(expect_text="never"), scene((1, 4, 5), (4, 7, 20)))
    first, second = finals(events)
    assert [first.speaker_id, second.speaker_id] == ["0", "1"]
    assert first.end == second.start
    assert span(first)[1] == pytest.approx(4.0, abs=0.05)


def test_a_recognizer_that_finalizes_in_mid_speech_cuts_the_utterance() -> None:
    sound = scene((1, 3.0, 5), (3.15, 6, 5))
    texts = [final("This is the first sentence of two.", 3.5)]
    texts.append(final("And this is the second one, a bit longer.", 6.6))
    first, second = finals(play(listener(), sound, texts))
    assert span(first)[1] == pytest.approx(3.1, abs=0.2)
    assert span(second)[0] == pytest.approx(3.1, abs=0.2)
    assert "second" in second.text


def test_times_of_the_recognizer_are_used() -> None:
    sound = scene((1, 3, 5), (3.5, 5, 5))
    late = final("Second.", 6.0, start=at(3.5), end=at(5))
    early = final("First.", 6.1, start=at(1), end=at(3))
    utterances = finals(play(listener(text_timeout=5.0), sound, [late, early]))
    assert [u.text for u in utterances] == ["Second.", "First."]
    assert span(utterances[0])[0] > 3.2 and span(utterances[1])[1] < 3.2


def test_speech_after_the_claimed_part_is_an_utterance_and_a_scrap_before_it_is_not() -> None:
    text = final("Hello.", 3.9, start=at(1.4), end=at(2.6))
    after, before = 3.1 - 2.6, 1.4 - 0.9  # s, both shorter than what may be left before a text
    assert max(after, before) < StretchConfig().min_left_over
    utterances = finals(play(listener(), scene((1, 3, 5)), [text]))
    assert [u.text for u in utterances] == ["Hello.", ""]
    assert span(utterances[0]) == (1.4, 2.6)
    assert span(utterances[1]) == (2.6, pytest.approx(3.1, abs=0.03))


def test_speech_after_the_part_of_a_text_that_came_late_is_an_utterance() -> None:
    assert StretchConfig().min_left_over > 3.1 - 2.6  # s; that is for speech before a text
    second = final("Second.", 6.0, start=at(3.5), end=at(5))
    first = final("First.", 6.1, start=at(1), end=at(2.6))
    ears = listener(text_timeout=5.0)
    found = finals(play(ears, scene((1, 3, 5), (3.5, 5, 5)), [second, first]) + ears.flush())
    assert [u.text for u in found] == ["Second.", "First.", ""]
    assert span(found[2]) == (2.6, pytest.approx(3.1, abs=0.03))


def test_a_voice_id_overrides_the_diarized_speaker() -> None:
    sound = scene((1, 3, 5), (4, 6, 5), (7, 9, 5))
    texts = [
        final("one two three four", 3.5, voice_id="a"),
        final("five six seven eight", 6.5, voice_id="b", person_id="p"),
        final("nine ten eleven twelve", 9.5, voice_id="a"),
    ]
    utterances = finals(play(listener(), sound, texts))
    assert [u.speaker_id for u in utterances] == ["0", "1", "0"]
    assert (utterances[1].voice_id, utterances[1].person_id) == ("b", "p")


# --- text ---


def test_text_that_does_not_come_is_not_waited_for_longer_than_the_timeout() -> None:
    ears = listener()
    events = play(ears, scene((1, 3, 5)))  # two seconds of silence: 1.5 s after the end is in it
    (utterance,) = finals(events)
    assert utterance.text == "" and utterance.is_final
    assert len(utterance.audio) > 0


def test_without_a_recognizer_nothing_waits_after_three_timeouts() -> None:
    ears = listener()
    turns = [(1 + 4 * k, 3 + 4 * k, 5) for k in range(5)]
    play(ears, scene(*turns))
    events = play(ears, scene((1, 3, 5))[: round(3.6 * RATE)], start=23)
    (utterance,) = finals(events)
    assert span(utterance)[1] == pytest.approx(26, abs=0.15)
    assert len(drafts(events)) == 1  # at the pause
    # and a text makes it wait again
    events = ears.feed_transcript(final("Hello.", 27.0))
    events += play(ears, scene((1, 3, 5))[: round(3.6 * RATE)], start=29)
    assert len(drafts(events)) == 2  # and at the end of the speech
    assert [u.text for u in finals(events)] == ["Hello."]


def test_text_without_a_microphone_is_an_utterance_of_its_own() -> None:
    ears = listener()
    (utterance,) = finals(ears.feed_transcript(final("Nobody hears me.", 5, locale="en")))
    assert (utterance.start, utterance.end) == (at(5), at(5))
    assert (utterance.speaker_id, utterance.locale) == ("", "en")
    assert len(utterance.audio) == 0
    (second,) = finals(ears.feed_transcript(final("But me?", 8, voice_id="v")))
    assert (second.utterance_id, second.speaker_id) == ("u2", "0")


def test_text_without_speech_is_an_utterance_while_audio_continues() -> None:
    events = play(listener(), silence(4), [final("A ghost.", 2.0)])
    (utterance,) = finals(events)
    assert utterance.start == utterance.end == at(2.0)


def test_who_speaks_is_known_while_they_do() -> None:
    ears, sound = listener(), scene((1, 3, 5), (6, 12, 5))
    assert (ears.speaking(), ears.conversation_id()) == ("", "")
    (utterance, *_) = finals(play(ears, sound[: 10 * RATE], [final("Hello.", 3.5)]))
    assert ears.speaking() == utterance.speaker_id == ears.last_speaker() != ""
    play(ears, sound[10 * RATE :], start=10)
    assert (ears.speaking(), ears.conversation_id()) == ("", utterance.conversation_id)


def test_texts_without_speech_are_counted() -> None:
    ears = listener()
    play(ears, silence(4), [final("A ghost.", 2.0), final("Another one.", 3.0)])
    assert ears.counters()["texts_without_speech"] == 2


def test_text_waits_for_audio_that_has_not_arrived() -> None:
    ears, sound = listener(), scene((1, 2, 5))
    ears.advance(at(0.9))
    events = play(ears, sound[: round(1.0 * RATE)])
    events += ears.feed_transcript(final("A quick answer", 2.1, start=at(1), end=at(2)))
    assert finals(events) == []
    events += play(ears, sound[round(1.0 * RATE) :], start=1.0)
    (utterance,) = finals(events)
    assert utterance.text and span(utterance)[0] == pytest.approx(1.0, abs=0.15)


def test_text_whose_audio_never_arrives_is_published() -> None:
    ears = listener()
    play(ears, silence(1.0))
    events = ears.feed_transcript(final("Hello?", 1.2))
    assert finals(events) == []
    assert len(finals(ears.advance(at(2.0)))) == 1


def test_empty_long_and_repeated_texts() -> None:
    ears = listener(max_text=10)
    assert counted(ears.feed_transcript(final("  ", 1))) == ["empty_texts"]
    events = ears.feed_transcript(final("x" * 100, 2))
    assert counted(events) == ["long_texts"] and len(finals(events)[0].text) == 10
    assert counted(ears.feed_transcript(final("x" * 100, 2.1))) == ["long_texts", "repeated_texts"]
    assert finals(ears.feed_transcript(final("x" * 10, 9)))
    assert ears.counters()["long_texts"] == 2


@pytest.mark.parametrize("text", ["你好，今天怎么样？", "שלום", "🙂🙂", "a\u0000b", "ﷺ" * 50])
def test_any_script_passes_unchanged(text: str) -> None:
    (utterance,) = finals(listener().feed_transcript(final(text, 1)))
    assert utterance.text == text


def test_partial_texts_are_hints_only() -> None:
    ears = listener()
    events = play(ears, scene((1, 3, 5))[: round(4.0 * RATE)], [final("How", 2, is_final=False)])
    assert finals(events) == []
    ears.feed_transcript(final("How are", 4.0, is_final=False))  # and make it wait
    assert finals(ears.advance(at(5.0))) == []
    assert len(finals(ears.advance(at(8.0)))) == 1
    assert ears.counters()["partial_texts"] == 2


def test_stamps_of_another_clock_are_not_believed() -> None:
    for stamp in (0, 12, at(9_000)):
        events = play(listener(), scene((1, 3, 5)), [final("How are you?", 3.5, stamp=stamp)])
        (utterance,) = finals(events)
        assert utterance.text and span(utterance)[0] == pytest.approx(1.0, abs=0.15)


# --- one text of two speakers, texts that come twice or too late ---


def corrected(events: list[Event]) -> list[TextCorrected]:
    return [event for event in events if isinstance(event, TextCorrected)]


TWO = scene((1, 4, 5), (4, 7, 20))


@pytest.mark.parametrize("has_words", [True, False])
def test_a_final_over_two_speakers_is_split_at_the_turn(has_words: bool) -> None:
    text = "Where have you been all day? At the sea, as always."
    times = [1.0, 1.5, 2.1, 2.7, 3.2, 3.7, 4.1, 4.6, 5.2, 5.8, 6.5]
    words = tuple(
        Word(word, at(time), at(time + 0.2)) for word, time in zip(text.split(), times, strict=True)
    )
    told = final(text, 7.6, start=at(1), end=at(7), words=words if has_words else ())
    ears = listener()
    first, second = finals(play(ears, TWO, [told]))
    assert first.text == "Where have you been all day?" and first.speaker_id == "0"
    assert second.text == "At the sea, as always." and second.speaker_id == "1"
    assert span(first)[1] == pytest.approx(4.0, abs=0.05) and first.end <= second.start
    assert ears.counters()["split_texts"] == 1


def test_a_final_in_mid_speech_over_two_speakers_is_split_too() -> None:
    text = "Where have you been all day? At the sea, as always."
    told = final(text, 8.0, start=at(1), end=at(7.9))
    utterances = finals(play(listener(), scene((1, 4, 5), (4, 11, 20)), [told]))
    assert [(u.text, u.speaker_id) for u in utterances[:2]] == [
        ("Where have you been all day?", "0"),
        ("At the sea, as always.", "1"),
    ]


def test_a_later_final_for_the_same_time_replaces_the_text() -> None:
    ears = listener()
    texts = [
        final("I scream.", 3.5, start=at(1), end=at(3)),
        final("Ice cream.", 4.5, start=at(1), end=at(3), confidence=0.9),
    ]
    events = play(ears, scene((1, 3, 5)), texts)
    (utterance,), (change,) = finals(events), corrected(events)
    assert (change.before, change.utterance.text) == ("I scream.", "Ice cream.")
    assert change.utterance.text_confidence == 0.9 and change.utterance.is_final
    assert change.utterance.utterance_id == utterance.utterance_id
    assert (change.utterance.start, change.utterance.end) == (utterance.start, utterance.end)
    assert "corrected_texts" in counted(events)


def test_two_finals_of_one_stamp_are_two_opinions() -> None:
    texts = [final("I scream.", 3.5, stamp=at(3)), final("Ice cream.", 3.9, stamp=at(3))]
    events = play(listener(), scene((1, 3, 5)), texts)
    assert len(finals(events)) == 1
    assert [change.utterance.text for change in corrected(events)] == ["Ice cream."]


def test_a_correction_of_two_speakers_words_changes_the_one_that_differs() -> None:
    span_of = {"start": at(1), "end": at(7)}
    texts = [
        final("Where have you been all day? At the sea, as always.", 7.6, **span_of),
        final("Where have you been all day? At the see, as always.", 8.2, **span_of),
    ]
    events = play(listener(), TWO, texts)
    (change,) = corrected(events)
    assert (change.before, change.utterance.text) == (
        "At the sea, as always.",
        "At the see, as always.",
    )


def test_a_text_that_comes_after_its_speech_went_out_completes_it() -> None:
    ears = listener(text_timeout=0.5)
    events = play(ears, scene((1, 3, 5)), [final("I was here for two seconds, you know.", 4.6)])
    (utterance,), (change,) = finals(events), corrected(events)
    assert (utterance.text, change.before) == ("", "")
    assert change.utterance.text == "I was here for two seconds, you know."
    assert change.utterance.utterance_id == utterance.utterance_id
    assert len(change.utterance.audio) == len(utterance.audio)
    assert ears.counters()["late_texts"] == 1


def test_a_named_text_that_comes_after_its_speech_names_the_speaker() -> None:
    names = {"voice_id": "Anna", "person_id": "Anna"}
    late = final("I was here for two seconds, you know.", 4.6, **names)
    (change,) = corrected(play(listener(text_timeout=0.5), scene((1, 3, 5)), [late]))
    said = change.utterance
    assert (said.voice_id, said.person_id, said.speaker_confidence) == ("Anna", "Anna", 1.0)


SPLIT = "I was at the sea all day. Then I came home."


@pytest.mark.parametrize("has_words", [True, False])
def test_a_text_over_speech_that_was_published_and_speech_that_waits_is_divided(
    has_words: bool,
) -> None:
    """A subtitle over two sentences of one person with a pause."""
    times = [1.0, 1.3, 1.6, 1.8, 2.0, 2.3, 2.6, 5.0, 5.4, 5.8, 6.5]
    words = tuple(
        Word(word, at(time), at(time + 0.2))
        for word, time in zip(SPLIT.split(), times, strict=True)
    )
    one = final(SPLIT, 7.3, start=at(1), end=at(7), words=words if has_words else ())
    ears = listener()
    events = play(ears, scene((1, 3.5, 5), (5, 7, 5)), [one])
    first, second = finals(events)
    (change,) = corrected(events)
    assert (first.text, second.text) == ("", "Then I came home.")
    assert change.utterance.text == "I was at the sea all day."
    assert change.utterance.utterance_id == first.utterance_id != second.utterance_id
    again = replace(one, text=SPLIT.replace("sea", "see"), arrival=at(7.5))
    (change,) = corrected(ears.feed_transcript(again))
    assert change.utterance.text == "I was at the see all day."


def test_a_text_over_speech_that_was_all_published_is_divided() -> None:
    one = final(SPLIT, 9.5, start=at(1), end=at(7))
    events = play(listener(), np.append(scene((1, 3.5, 5), (5, 7, 5)), silence(4)), [one])
    assert [u.text for u in finals(events)] == ["", ""]
    assert [change.utterance.text for change in corrected(events)] == [
        "I was at the sea all day.",
        "Then I came home.",
    ]


def test_a_late_text_of_another_length_or_of_an_old_conversation_is_an_utterance() -> None:
    ears = listener(text_timeout=0.5)
    events = play(ears, scene((1, 3, 5)), [final("No.", 4.6)])
    assert [u.text for u in finals(events)] == ["", "No."]
    ears = listener(text_timeout=0.5)
    play(ears, scene((1, 3, 5)))
    ears.reset()
    events = ears.feed_transcript(final("I was here for two seconds, you know.", 5.1))
    assert corrected(events) == [] and len(finals(events)) == 1


# not at the same time as the first voice, and at first too short for a speaker
LATER = scene((1, 4, 5), (16, 17, 20), (18, 23, 20))


def test_who_is_recognised_later_is_corrected_in_what_was_said_before() -> None:
    ears = listener(expect_text="never")
    events = play(ears, LATER) + ears.flush()
    said_before, said_later = finals(events)[1], finals(events)[-1]
    (change,) = [event for event in events if isinstance(event, SpeakerCorrected)]
    assert (change.before, change.after) == (said_before.speaker_id, said_later.speaker_id)
    assert change.utterance_ids == (said_before.utterance_id,)
    assert change.conversation_id == said_before.conversation_id
    assert change.start <= said_before.start + seconds(0.1) and change.end > change.start
    assert ears.counters()["speaker_corrections"] == 1


def test_of_twelve_speakers_six_are_known_at_once_and_the_rest_is_corrected() -> None:
    ears = listener(expect_text="never", diarization=DiarizationConfig(max_speakers=6))
    sound = scene(*((1.0 + 4 * k, 4.0 + 4 * k, 4 * k + 2) for k in range(12)))
    events = play(ears, sound) + ears.flush()
    known = {u.utterance_id: u.speaker_id for u in finals(events)}
    assert len(known) == 12 and "" not in known.values()
    for event in events:
        if isinstance(event, SpeakerCorrected):
            known.update(dict.fromkeys(event.utterance_ids, event.after))
    assert len(set(known.values())) == 6
    corrections = [event for event in events if isinstance(event, SpeakerCorrected)]
    assert ears.counters()["speaker_corrections"] == len(corrections) > 0


def test_a_voice_id_is_not_corrected_by_diarization() -> None:
    texts = [final("Yes, why?", 17.4, voice_id="a")]
    events = play(listener(), LATER, texts)
    changes = [event for event in events if isinstance(event, SpeakerCorrected)]
    named = next(u for u in finals(events) if u.voice_id == "a")
    assert all(named.utterance_id not in change.utterance_ids for change in changes)


# --- drafts during speech ---


def test_during_speech_drafts_are_published_with_partial_texts() -> None:
    ears = listener(provisional_period=0.5)
    for tick in range(40):
        ears.feed_face(face("face1", tick / 10))
    partials = [final("How are", 2.0, is_final=False), final("How are you", 2.6, is_final=False)]
    events = play(ears, scene((1, 3, 5)), [*partials, final("How are you today?", 3.6)])
    (utterance,) = finals(events)
    early = [draft for draft in drafts(events) if draft.end < utterance.end]
    assert len(early) in (3, 4)
    assert {draft.utterance_id for draft in drafts(events)} == {utterance.utterance_id}
    assert {draft.conversation_id for draft in drafts(events)} == {utterance.conversation_id}
    assert [draft.end for draft in drafts(events)] == sorted(d.end for d in drafts(events))
    assert all(draft.start == utterance.start and draft.faces for draft in early)
    assert len(early[-1].audio) > len(early[0].audio) > 0
    assert early[0].text == "" and early[-1].text == "How are you"
    assert drafts(events)[-1].text == "How are you"  # of the draft at the end as well
    assert all(draft.speaker_id == "" for draft in early)


def test_drafts_of_speech_that_turns_out_to_be_the_robot_are_withdrawn() -> None:
    ears = listener(provisional_period=0.3)
    events = play(ears, scene((1, 3, 5))[: round(2.0 * RATE)])
    assert drafts(events)
    events = ears.feed_robot_speaking(at(0.95), True)
    assert "withdrawn_drafts" in counted(events)


@settings(max_examples=6, deadline=None)
@given(st.data())
def test_provisional_drafts_come_at_the_same_time_in_any_chunking(data: st.DataObject) -> None:
    chunk = data.draw(st.integers(100, 40_000))
    period = data.draw(st.sampled_from([0.1, 0.4, 1.0]))
    hints = [final("Where have", 1.4, is_final=False), final("At the", 3.0, is_final=False)]
    texts = sorted([*TEXTS, *hints], key=lambda text: text.arrival)
    whole, parts = (listener(provisional_period=period) for _ in range(2))
    expected = play(whole, CHAT, texts) + whole.flush()
    assert said(play(parts, CHAT, texts, chunk) + parts.flush()) == said(expected)
    # and they change nothing of what is final
    without = listener()
    plain = finals(play(without, CHAT, texts) + without.flush())
    assert [(u.start, u.end, u.text, u.speaker_id) for u in finals(expected)] == [
        (u.start, u.end, u.text, u.speaker_id) for u in plain
    ]


# --- conversations and clocks ---


def test_silence_ends_the_conversation_and_resets_the_speakers() -> None:
    ears = listener(conversation_gap=10.0)
    first = play(ears, scene((1, 3, 5)), [final("Goodbye then.", 3.5)])
    ended = [e for e in ears.advance(at(14)) if isinstance(e, ConversationEnded)]
    assert [e.conversation_id for e in ended] == [finals(first)[0].conversation_id]
    assert ears.advance(at(60)) == []
    (other,) = finals(ears.feed_transcript(final("Anybody there?", 61)))
    assert other.conversation_id == f"c{at(61)}" and other.utterance_id == "u1"


def test_texts_alone_end_a_conversation_too() -> None:
    ears = listener(conversation_gap=10.0)
    ears.feed_transcript(final("One.", 1))
    events = ears.feed_transcript(final("Two.", 100))
    assert isinstance(events[0], ConversationEnded) and finals(events)[0].utterance_id == "u1"


def test_a_microphone_that_dies_in_mid_speech_does_not_hold_anything_up() -> None:
    ears = listener()
    ears.advance(at(0.1))
    play(ears, scene((1, 3, 5))[: round(2.5 * RATE)])
    ears.advance(at(2.5))
    events = ears.advance(at(5.0))
    assert "sound_timeouts" in counted(events)
    events += ears.advance(at(9.0))
    (utterance,) = finals(events)
    assert span(utterance)[1] == pytest.approx(2.5, abs=0.15)
    # it comes back
    again = [*ears.feed_audio(Gap(at(2.5), seconds(17.5), filled=False))]
    again += play(ears, scene((1, 3, 5)), start=20)
    assert len(finals(again + ears.flush())) == 1


@pytest.mark.parametrize("through", ["jump", "sound", "advance"])
def test_a_clock_that_jumps_back_starts_a_new_conversation(through: str) -> None:
    ears = listener()
    ears.advance(at(3_600))
    play(ears, scene((1, 3, 5))[: round(3.2 * RATE)], start=3_600)
    if through == "jump":
        events = ears.feed_audio(Jump(at(3_603.2), at(10)))
    elif through == "sound":
        events = play(ears, silence(0.1), start=10)
    else:
        events = ears.advance(at(10))
    assert "clock_jumps" in counted(events)
    assert len(finals(events)) == 1  # the open speech is not lost
    assert isinstance(events[[isinstance(e, ConversationEnded) for e in events].index(True)], Event)
    events = play(ears, scene((1, 3, 5)), [final("And on we go.", 13.5)], start=10)
    (utterance,) = finals(events)
    assert utterance.text and span(utterance)[0] == pytest.approx(11, abs=0.15)


def test_a_clock_that_jumps_ahead_an_hour_ends_the_conversation_and_loses_nothing() -> None:
    ears = listener()
    events = play(ears, scene((1, 3, 5))[: round(2.5 * RATE)])
    events += ears.feed_audio(Jump(at(2.5), at(3_602.5)))
    events += play(ears, scene((1, 3, 5)), start=3_602.5)
    first, second = finals(events + ears.flush())
    assert first.conversation_id != second.conversation_id
    assert span(first)[1] == pytest.approx(2.5, abs=0.15)
    assert span(second)[0] == pytest.approx(3_603.5, abs=0.15)


def test_a_pause_of_the_driver_splits_speech_but_not_the_conversation() -> None:
    ears = listener()
    events = play(ears, scene((1, 3, 5))[: round(2.5 * RATE)])
    events += ears.feed_audio(Jump(at(2.5), at(14.5)))
    events += play(ears, scene((1, 3, 5)), start=14.5)
    first, second = finals(events + ears.flush())
    assert first.conversation_id == second.conversation_id
    assert "clock_jumps" not in counted(events)


def test_another_microphone_in_mid_speech_ends_the_segment() -> None:
    ears = listener()
    events = play(ears, scene((1, 3, 5))[: round(2.5 * RATE)])
    events += ears.feed_audio(Replugged())
    events += play(ears, scene((1, 3, 5)), start=4.0)
    first, second = finals(events + ears.flush())
    assert span(first)[1] == pytest.approx(2.5, abs=0.15)
    assert span(second) == (pytest.approx(5, abs=0.15), pytest.approx(7, abs=0.15))


def test_a_microphone_with_another_clock_still_works() -> None:
    ears = listener()
    ears.advance(at(100_000))
    events = play(ears, scene((1, 3, 5), (4, 6, 5)))
    assert len(finals(events + ears.flush())) == 2


def test_a_gap_ends_the_segment_but_not_the_wait_for_its_text() -> None:
    ears = listener()
    events = play(ears, scene((1, 3, 5))[: round(2.5 * RATE)])
    events += ears.feed_audio(Gap(at(2.5), seconds(1.2), filled=False))
    events += ears.feed_transcript(final("Half of a sentence", 3.0))
    (utterance,) = finals(events)
    assert span(utterance) == (pytest.approx(1, abs=0.15), pytest.approx(2.5, abs=0.15))


# --- the robot, faces ---


def test_the_robots_own_voice_and_words_are_dropped() -> None:
    ears, sound = listener(), scene((1, 3, 5))
    ears.feed_robot_speaking(at(0.9), True)
    events = play(ears, sound[: round(3.1 * RATE)])
    ears.feed_robot_speaking(at(3.1), False)
    events += play(ears, sound[round(3.1 * RATE) :], start=3.1)
    events += ears.feed_transcript(final("I am a robot.", 3.7))
    assert finals(events) == [] and ears.counters()["robot_texts"] == 1
    events = play(ears, scene((1, 3, 5)), [final("I am not.", 9.5)], start=6)
    assert [u.text for u in finals(events)] == ["I am not."]


def test_a_robot_that_is_announced_late_is_dropped_too() -> None:
    ears, sound = listener(), scene((1, 3, 5))
    events = play(ears, sound[: round(1.8 * RATE)])
    events += ears.feed_robot_speaking(at(0.95), True)
    events += play(ears, sound[round(1.8 * RATE) :], start=1.8)
    assert finals(events) + drafts(events) == []


def test_a_person_who_speaks_before_the_robot_is_kept() -> None:
    ears, sound = listener(), scene((1, 3, 5), (3.1, 5, 20))
    events = play(ears, sound[: round(3.2 * RATE)])
    events += ears.feed_robot_speaking(at(3.1), True)
    events += play(ears, sound[round(3.2 * RATE) :], start=3.2)
    events += ears.feed_robot_speaking(at(5), False)
    (utterance,) = finals(events + ears.flush())
    assert span(utterance)[1] <= 3.15


def test_a_person_louder_than_the_robot_is_detected() -> None:
    robot, ears = voice(5, 8.0) * np.float32(0.3), listener()
    ears.feed_robot_speaking(at(0.0), True)
    events = play(ears, robot[: 4 * RATE])
    loud = robot[4 * RATE :].copy()
    loud[: 2 * RATE] += voice(20, 2.0)
    events += play(ears, loud, start=4.0)
    ears.feed_robot_speaking(at(8.0), False)
    events += play(ears, silence(2.0), start=8.0)
    (utterance,) = finals(events + ears.flush())
    assert span(utterance) == (pytest.approx(4.0, abs=0.2), pytest.approx(6.85, abs=0.05))
    assert ears.counters()["barge_ins"] == 1


def test_a_robot_that_starts_late_or_speaks_up_is_no_person() -> None:
    ears = listener()
    ears.feed_robot_speaking(at(0.0), True)
    quiet_then = np.concatenate([silence(2.0), voice(5, 3.0), voice(5, 3.0) * np.float32(1.8)])
    assert finals(play(ears, quiet_then) + ears.flush()) == []


def with_playback(
    samples: NDArray[np.float32], playback: NDArray[np.float32], start: float = 0.0
) -> list[AudioSamples]:
    chunks = range(0, len(samples), 1600)
    return [
        AudioSamples(at(start) + n * NS // RATE, samples[n : n + 1600], playback[n : n + 1600])
        for n in chunks
    ]


def test_what_the_reference_channel_plays_is_the_robot_and_a_tail_after_it_too() -> None:
    ears, played = listener(), scene((1, 4, 5))
    echo = 0.5 * np.concatenate([silence(0.02), played[: -round(0.02 * RATE)]])
    echo[4 * RATE : round(4.15 * RATE)] += 0.5 * voice(5, 0.15)  # the room rings on
    events = [e for sound in with_playback(echo, played) for e in ears.feed_audio(sound)]
    assert drafts(events) + finals(events + ears.flush()) == []


def test_a_person_who_talks_over_the_reference_is_detected() -> None:
    ears, played = listener(), scene((1, 9, 5))
    heard = np.float32(0.2) * played
    heard[5 * RATE : 7 * RATE] += voice(20, 2.0)
    events = [e for sound in with_playback(heard, played) for e in ears.feed_audio(sound)]
    (utterance,) = finals(events + ears.flush())
    assert span(utterance) == (pytest.approx(5.0, abs=0.15), pytest.approx(7.84, abs=0.05))
    assert ears.counters()["barge_ins"] == 1


def test_a_face_that_is_matched_with_the_voice_goes_with_its_texts() -> None:
    ears = listener()
    for tick in range(60):
        ears.feed_face(face("f1", tick / 10))
        ears.feed_face(face("f2", tick / 10))
    ears.feed_match(IdentityMatch(("voice", "v"), ("face", "f2"), 0.9))
    texts = [final("One two three four.", 3.6, voice_id="v")]
    (utterance,) = finals(play(ears, scene((1, 3, 5)), texts))
    assert utterance.face_id == "f2" and utterance.faces
    events = play(ears, scene((1, 3, 5)), [final("Who says that?", 9.6)], start=6.0)
    assert finals(events)[-1].face_id == ""  # no face was visible
    assert ears.counters()["face_match"] == 1


def test_of_two_faces_that_tell_nothing_none_is_taken_and_that_is_counted() -> None:
    ears = listener()
    for tick in range(60):
        ears.feed_face(face("f1", tick / 10))
        ears.feed_face(face("f2", tick / 10))
    (utterance,) = finals(play(ears, scene((1, 3, 5)), [final("One two three.", 3.6)]))
    assert (utterance.face_id, utterance.faces) == ("", ())
    assert ears.counters()["face_unclear"] == 1
    ears.feed_face_speaking("f1", at(8), True)
    for tick in range(60, 120):
        ears.feed_face(face("f1", tick / 10))
        ears.feed_face(face("f2", tick / 10))
    (utterance,) = finals(play(ears, scene((2, 4, 5)), [final("One two three.", 10.6)], start=6.0))
    assert utterance.face_id == "f1" and ears.counters()["face_is_speaking"] == 1


def face(track: str, time: float) -> FaceObservation:
    crop = FaceCrop(at(time), np.full((96, 96, 3), int(time * 10) % 256, np.uint8))
    return FaceObservation(track, at(time), Box(0, 0, 96, 96), crop)


def test_the_crops_are_of_the_face_seen_most_and_spread_over_the_utterance() -> None:
    ears = listener()
    for tick in range(100):
        ears.feed_face(face("face1", tick / 10))
        if tick % 3 == 0:
            ears.feed_face(face("face2", tick / 10))
    (utterance,) = finals(play(ears, scene((1, 5, 5)), [final("A rather long speech.", 5.5)]))
    assert utterance.face_id == "face1" and len(utterance.faces) == 8
    stamps = [(crop.stamp - T0) / NS for crop in utterance.faces]
    assert stamps == sorted(stamps) and stamps[0] < 1.4 and stamps[-1] > 4.5


def test_without_faces_there_is_no_face() -> None:
    (utterance,) = finals(listener().feed_transcript(final("Hello.", 1)))
    assert utterance.face_id == "" and utterance.faces == ()


# --- all of it ---


def said(events: list[Event]) -> list[tuple[object, ...]]:
    """Return all comparable data of utterances and conversations."""
    out: list[tuple[object, ...]] = []
    for event in events:
        if isinstance(event, UtteranceEvent):
            u = event.utterance
            ids = u.conversation_id, u.utterance_id, u.speaker_id, f"{u.speaker_confidence}"
            out.append((*ids, u.start, u.end, u.text, u.is_final, u.audio.tobytes()))
        else:
            out.append((event,))
    return out


CHAT = scene((0.5, 2.0, 5), (2.1, 3.4, 20), (4.2, 5.0, 5), (5.05, 7.3, 20))
TEXTS = [
    final("Where have you been all day?", 2.4),
    final("At the sea, swimming.", 3.9),
    final("Not without me!", 5.4),
    final("Next time I shall ask you before, all right?", 7.9),
]


@settings(max_examples=10, deadline=None)
@given(st.data())
def test_any_chunking_gives_identical_utterances(data: st.DataObject) -> None:
    chunk = data.draw(st.integers(1, 40_000).filter(lambda n: n > 100))
    whole, parts = listener(), listener()
    expected = play(whole, CHAT, TEXTS) + whole.flush()
    assert said(play(parts, CHAT, TEXTS, chunk) + parts.flush()) == said(expected)
    assert len(finals(expected)) == 4


def test_two_runs_give_identical_utterances() -> None:
    runs = []
    for _ in range(2):
        ears = listener()
        runs.append(said(play(ears, CHAT, TEXTS) + ears.flush()))
    assert runs[0] == runs[1]


def test_the_same_time_again_is_another_conversation() -> None:
    ears = listener()
    events = play(ears, CHAT, TEXTS) + ears.reset() + play(ears, CHAT, TEXTS) + ears.flush()
    assert len({u.conversation_id for u in finals(events)}) == 2
    assert [u.utterance_id for u in finals(events)] == ["u1", "u2", "u3", "u4"] * 2


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_whatever_comes_in_whatever_order_nothing_breaks_and_all_ends(data: st.DataObject) -> None:
    ears = listener(conversation_gap=5.0)
    time, events, texts = 0.0, [], 0
    for _ in range(data.draw(st.integers(1, 25))):
        kind = data.draw(st.sampled_from(["sound", "text", "robot", "advance", "gap", "back"]))
        if kind == "sound":
            length = data.draw(st.floats(0.01, 2.0))
            tone = voice(data.draw(st.integers(2, 40)), length)
            tone *= np.float32(data.draw(st.sampled_from([0.0, 1.0, 1.0, np.nan])))
            events += ears.feed_audio(AudioSamples(at(time), tone))
            time += length
        elif kind == "text":
            texts += 1
            start = data.draw(st.none() | st.floats(-3, 3))
            end = None if start is None else start + data.draw(st.floats(-1, 3))
            told = {} if start is None or end is None else {"start": start, "end": end}
            more: dict[str, object] = {k: at(time + v) for k, v in told.items()}
            more["is_final"] = data.draw(st.booleans())
            more["voice_id"] = data.draw(st.sampled_from(["", "", "a", "b"]))
            delay = data.draw(st.floats(-1, 3))
            events += ears.feed_transcript(final(f"text {texts} " * texts, time + delay, **more))
        elif kind == "robot":
            events += ears.feed_robot_speaking(at(time), data.draw(st.booleans()))
        elif kind == "advance":
            events += ears.advance(at(time + data.draw(st.floats(-0.2, 8.0))))
        elif kind == "gap":
            events += ears.feed_audio(Gap(at(time), seconds(2), filled=False))
            time += 2
        else:
            before, time = time, time - 20.123  # never to the same moment: ids hold the time
            events += ears.feed_audio(Jump(at(before), at(time)))
    events += ears.flush()
    waiting = {(u.conversation_id, u.utterance_id): u for u in drafts(events)}
    done = {(u.conversation_id, u.utterance_id) for u in finals(events)}
    merged = ears.counters().get("merged_drafts", 0) + ears.counters().get("robot_speech", 0)
    assert len(set(waiting) - done) <= merged
    assert len(done) == len(finals(events))
    ended = [e.conversation_id for e in events if isinstance(e, ConversationEnded)]
    assert set(ended) == {conversation for conversation, _ in done | set(waiting)}
    assert ears.flush() == []


def test_many_utterances_need_no_more_memory_than_some() -> None:
    ears = listener(voice_activity=VoiceActivityConfig(max_stretch=4.0), max_audio=4.0)
    turn = np.concatenate([voice(5, 0.4), silence(0.5)])
    texts, sizes = 0, []
    for number in range(240):
        start = number * 0.9
        events = play(ears, turn, start=start)
        events += ears.feed_transcript(final(f"number {number}", start + 0.9))
        ears.feed_face(face("face1", start))
        texts += sum(u.text != "" for u in finals(events))
        if number in (80, 239):
            sizes.append(memory(ears))
    assert sizes[1] <= sizes[0] * 1.1
    assert texts == 240
    assert ears.counters()["utterances"] == 240


def memory(ears: UtteranceAssembler) -> int:
    """Return the bytes of all arrays and containers that an object refers to."""
    seen: set[int] = set()
    todo: list[object] = [ears]
    size = 0
    while todo:
        thing = todo.pop()
        if id(thing) in seen or isinstance(thing, type):
            continue
        seen.add(id(thing))
        size += thing.nbytes if isinstance(thing, np.ndarray) else 50
        if isinstance(thing, dict):
            todo += [*thing.keys(), *thing.values()]
        elif isinstance(thing, (str, bytes, int, float)):
            continue
        elif hasattr(thing, "__iter__") and not isinstance(thing, np.ndarray):
            todo += list(thing)
        elif hasattr(thing, "__dict__"):
            todo.append(vars(thing))
        else:
            todo += [
                getattr(thing, n) for n in getattr(thing, "__slots__", ()) if hasattr(thing, n)
            ]
    return size


@pytest.mark.parametrize(
    "wrong",
    [
        {"expect_text": "maybe"},
        {"text_timeout": -1.0},
        {"max_faces": 1_000},
        {"max_text": 0},
        {"provisional_period": 0.01},
        {"provisional_period": float("nan")},
    ],
)
def test_nonsense_in_the_configuration_is_refused_by_name(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        AssemblerConfig(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("ahead", [0.0, 3.0, 20.0, 3600.0, -20.0, -3600.0])
def test_a_microphone_of_any_clock_that_dies_in_mid_speech_holds_nothing_up(ahead: float) -> None:
    ears = listener(expect_text="never")
    events, chunk = [], 1600
    samples = scene((0.5, 9, 5))[: 2 * RATE]  # it dies in mid-sentence
    for first in range(0, len(samples), chunk):
        now = at((first + chunk) / RATE)
        events += ears.advance(now)
        events += ears.feed_audio(
            AudioSamples(now + seconds(ahead - 0.1), samples[first : first + chunk])
        )
    for tick in range(1, 50):
        events += ears.advance(at(2.0 + tick / 10))
        if finals(events):
            break
    assert len(finals(events)) == 1
    assert tick <= 22  # sound_timeout, and a look
