"""ASR output that was not spoken: sound tags, and hallucinated sentences in silence."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from tones import LoudIsSpeech

from erc_ros.adapters import ADAPTERS
from erc_ros.dialogue.assembler import AssemblerConfig, UtteranceAssembler
from erc_ros.dialogue.non_speech import is_invented, spoken_words
from erc_ros.sensing.audio import AudioSamples
from erc_ros.values.events import UtteranceEvent
from erc_ros.values.nanoseconds import NS
from erc_ros.values.transcript import Transcript

T0 = 1_000 * NS


@pytest.mark.parametrize(
    "text",
    [
        *("[MUSIC]", "(applause)", "[BLANK_AUDIO]", "♪♪", "<noise>", "*sighs*", "[Musik]"),
        *("[_TT_150]", "(speaking in foreign language)", "[upbeat music playing]"),
        "[Laughter] (coughs)",
    ],
)
def test_sound_tags_are_no_words(text: str) -> None:
    assert spoken_words(text) == ""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[laughs] That's great!", "That's great!"),
        ("I am sad :( really :)", "I am sad :( really :)"),
        ("call (555) 123", "call (555) 123"),
        ("I (really) love it", "I (really) love it"),
        ("a [MASK] and <s1>", "a [MASK] and <s1>"),
        ("music", "music"),
        ("", ""),
    ],
)
def test_words_next_to_tags_are_kept(text: str, words: str) -> None:
    assert spoken_words(text) == words


@pytest.mark.parametrize(
    ("text", "invented"),
    [
        ("Thank you for watching!", True),
        ("thanks for watching", True),
        ("Subtitles by the Amara.org community", True),
        ("Untertitel im Auftrag des ZDF für funk, 2017", True),
        ("Sous-titres réalisés par la communauté d'Amara.org", True),
        ("Thank you.", True),
        ("Thank you for the flowers.", False),
        ("Subtitles are nice.", False),
        ("I love watching you.", False),
    ],
)
def test_sentences_that_recognizers_invent(text: str, invented: bool) -> None:
    assert is_invented(text) == invented


def utterances(text: Transcript, loud: bool, with_sound: bool = True) -> tuple[list[str], dict]:
    """Return the texts of final utterances after 10 s, with or without speech in the last 2 s."""
    assembler = UtteranceAssembler(AssemblerConfig(), LoudIsSpeech())
    events = []
    sound = np.zeros(160_000, np.float32)
    if loud:
        sound[-34_000:-2_000] = np.sin(np.arange(32_000) * 0.2) * 0.5
    if with_sound:
        events += assembler.feed_audio(AudioSamples(T0, sound))
    events += assembler.feed_transcript(text)
    events += [
        event for n in range(1, 40) for event in assembler.advance(text.arrival + n * NS // 10)
    ]
    events += assembler.flush()
    finals = [e.utterance for e in events if isinstance(e, UtteranceEvent) and e.utterance.is_final]
    return [final.text for final in finals], dict(assembler.counters())


@pytest.mark.parametrize(
    ("said", "counter"),
    [("Thank you for watching!", "invented_texts"), ("[MUSIC]", "non_speech_texts")],
)
def test_a_text_of_silence_is_no_utterance(said: str, counter: str) -> None:
    text = Transcript(said, arrival=T0 + 10 * NS)
    texts, counts = utterances(text, loud=False)
    assert texts == [] and counts[counter] == 1


def test_the_same_sentence_counts_with_speech_or_without_audio() -> None:
    text = Transcript("Thank you for watching!", arrival=T0 + 10 * NS)
    assert utterances(text, loud=True)[0] == [text.text]
    assert utterances(text, loud=False, with_sound=False)[0] == [text.text]
    other = Transcript("I quietly left.", arrival=T0 + 10 * NS)
    assert utterances(other, loud=False)[0] == [other.text]


@pytest.mark.parametrize(("no_speech", "kept"), [(0.9, False), (0.1, True), (None, True)])
def test_a_recognizer_that_doubts_that_anybody_spoke_is_believed(
    no_speech: float | None, kept: bool
) -> None:
    text = Transcript("Thank you.", arrival=T0 + 10 * NS, no_speech=no_speech)
    texts, counts = utterances(text, loud=True)
    assert texts == (["Thank you."] if kept else [""])  # the voice is an utterance either way
    assert counts.get("invented_texts", 0) == (not kept)


def test_the_probability_comes_with_messages_that_have_it() -> None:
    read = ADAPTERS["whisper_msgs/msg/Transcription"].read
    message = SimpleNamespace(text="Thank you.", audio_time=2.0, transcription_time=0.5)
    assert read(message, T0).no_speech is None
    message.no_speech_prob = 0.9
    assert read(message, T0).no_speech == 0.9 and read(message, T0).start is not None
