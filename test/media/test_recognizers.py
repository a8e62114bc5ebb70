"""Speech recognition of media files: segments, times, and the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from data_folder import need
from media_clips import write_media
from numpy.typing import NDArray

from erc_ros.cli import main
from erc_ros.demo.conversation_bag import DIALOGUE, VOICES, Phrase, perform, write_demo
from erc_ros.demo.voices import synthesiser
from erc_ros.media.files import ORIGIN, MediaFile
from erc_ros.media.recognizers import RecognizedSpeech, RecognizerError, load_recognizer
from erc_ros.media.transcripts import Cue
from erc_ros.plugins import PluginError
from erc_ros.replay.bag import Bag
from erc_ros.sensing.audio import AudioFormat
from erc_ros.sensing.microphone import AudioChunk
from erc_ros.values.nanoseconds import NS, seconds
from erc_ros.values.transcript import Word

TURNS = DIALOGUE[:3]


class Counting:
    """Hears the duration of a segment instead of its words."""

    def __init__(self, model: str = "", language: str = "") -> None:
        self.language = language

    def transcribe(self, samples: NDArray[np.int16]) -> list[Cue]:
        length = len(samples) * NS // 16_000
        word = Word("I", 0, length)
        return [Cue(0, 10 * length, f"I am so happy {len(samples)}", words=(word,))]


class Deaf:
    """Hears no words."""

    def __init__(self, model: str, language: str) -> None:
        pass

    def transcribe(self, samples: NDArray[np.int16]) -> list[Cue]:
        return []


def spoken() -> tuple[NDArray[np.int16], list[Phrase]]:
    audio, phrases = perform(TURNS, synthesiser())
    return (audio * 32767).astype(np.int16), phrases


def cues_of(samples: NDArray[np.int16], size: int) -> list[Cue]:
    speech, cues = RecognizedSpeech(Counting()), []
    for at in range(0, len(samples), size):
        data = samples[at : at + size].tobytes()
        chunk = AudioChunk(data, ORIGIN + at * NS // 16_000, 0, format=AudioFormat(16_000, 1))
        cues += speech.feed(chunk)
    return cues + speech.flush()


def test_each_phrase_is_one_segment_at_its_time() -> None:
    samples, phrases = spoken()
    cues = cues_of(samples, 1600)
    assert len(cues) == len(phrases)
    for cue, phrase in zip(cues, phrases, strict=True):
        assert (cue.start - ORIGIN) / NS == pytest.approx(phrase.start, abs=0.35)
        assert (cue.end - ORIGIN) / NS == pytest.approx(phrase.end, abs=0.5)
        assert (cue.words[0].start, cue.words[0].end) == (cue.start, cue.end)


def test_the_size_of_the_chunks_changes_nothing() -> None:
    samples, _ = spoken()
    # An unknown confidence is NaN, which equals nothing; as text it does.
    first, *others = (repr(cues_of(samples, size)) for size in (1600, 777, 48_000))
    assert others == [first, first]


def test_a_jump_of_the_audio_ends_the_segment() -> None:
    samples, phrases = spoken()
    first = phrases[0]
    middle = round((first.start + first.end) / 2 * 16_000)
    speech, format = RecognizedSpeech(Counting()), AudioFormat(16_000, 1)
    cues = speech.feed(AudioChunk(samples[:middle].tobytes(), ORIGIN, 0, format=format))
    later = ORIGIN + seconds(100)
    cues += speech.feed(AudioChunk(samples[middle:].tobytes(), later, 0, format=format))
    assert cues[0].end <= ORIGIN + middle * NS // 16_000
    assert all(cue.start >= later for cue in cues[1:])


def test_a_class_of_the_user_reads_a_film(tmp_path: Path) -> None:
    audio, phrases = perform(TURNS, synthesiser())
    path = write_media(tmp_path / "talk.wav", [audio], rate=16_000)
    name = f"{__name__}:Counting"
    assert main(["replay", str(path), "--recognizer", name, "--out", str(tmp_path / "out")]) == 0
    lines = (tmp_path / "out" / "estimates.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    texts = [row["text"] for row in rows if row["is_final"] and row["text"]]
    assert len(texts) == len(phrases)
    assert all(text.startswith("I am so happy") for text in texts)


def test_import_writes_the_recognized_words(tmp_path: Path) -> None:
    audio, phrases = perform(TURNS, synthesiser())
    path = write_media(tmp_path / "talk.wav", [audio], rate=16_000)
    assert main(["import", str(path), "--recognizer", f"{__name__}:Counting"]) == 0
    with Bag(tmp_path / "talk.bag") as bag:
        texts = [record.message.text for record in bag.messages({"/speech"})]
    assert len(texts) == len(phrases)
    assert all(text.startswith("I am so happy") for text in texts)


def test_no_words_are_no_error(tmp_path: Path) -> None:
    audio, _ = perform(TURNS[:1], synthesiser())
    path = write_media(tmp_path / "talk.wav", [audio], rate=16_000)
    arguments = ["--recognizer", f"{__name__}:Deaf", "--out", str(tmp_path / "out")]
    assert main(["replay", str(path), *arguments]) == 0


def test_the_speech_of_a_rosbag_is_recognized_again(tmp_path: Path) -> None:
    bag, name = tmp_path / "talk", f"{__name__}:Counting"
    write_demo(bag, speech_type="std_msgs/msg/String")
    arguments = [str(bag), "--recognizer", name, "--out", str(tmp_path / "out")]
    assert main(["replay", *arguments]) == 0
    lines = (tmp_path / "out" / "estimates.jsonl").read_text().splitlines()
    texts = [row["text"] for line in lines if (row := json.loads(line))["is_final"]]
    assert len([text for text in texts if text.startswith("I am so happy")]) >= 8
    # The words of a cue over two speech segments are divided between them.
    words = {word for text in texts for word in text.split() if not word.isdigit()}
    assert words == {"I", "am", "so", "happy"}
    warnings = json.loads((tmp_path / "out" / "summary.json").read_text())["warnings"]
    assert any("recognized again" in text for text in warnings)
    arguments = [str(bag), "--transcript", str(tmp_path / "words.srt")]
    assert main(["replay", *arguments, "--out", str(tmp_path / "out")]) == 1


@pytest.mark.parametrize("name", ["nonsense", "faster-whisper", "vosk", "os:nothing", "os.path:x"])
def test_unknown_recognizers_are_refused(name: str) -> None:
    with pytest.raises((RecognizerError, PluginError)):
        load_recognizer(name)


def test_transcript_and_recognizer_exclude_each_other(tmp_path: Path) -> None:
    path = write_media(tmp_path / "talk.wav", [np.zeros(16_000, np.float32)], rate=16_000)
    words = tmp_path / "words.srt"
    words.write_text("1\n00:00:00,100 --> 00:00:00,500\nhello\n")
    arguments = ["--transcript", str(words), "--recognizer", f"{__name__}:Deaf"]
    assert main(["replay", str(path), *arguments, "--out", str(tmp_path / "out")]) == 1


def recognized(path: Path) -> list[Cue]:
    speech = RecognizedSpeech(load_recognizer("pocketsphinx"))
    cues = [cue for chunk in MediaFile(path).chunks() for cue in speech.feed(chunk)]
    return cues + speech.flush()


def test_pocketsphinx_gives_words_with_times(tmp_path: Path) -> None:
    audio = synthesiser().say("Hello, how are you?", VOICES[0])
    cues = recognized(write_media(tmp_path / "talk.wav", [np.pad(audio, 16_000)], rate=16_000))
    assert cues
    for cue in cues:
        assert cue.text == " ".join(word.text for word in cue.words)
        times = [time for word in cue.words for time in (word.start, word.end)]
        assert times == sorted(times)
        assert cue.start <= times[0] <= times[-1] <= cue.end


@pytest.mark.data
def test_pocketsphinx_has_a_word_error_rate_of_a_quarter_on_a_famous_speech() -> None:
    """Measured: 27 % (6 of 22 words) with pocketsphinx 5.1.1; one clip of clear speech."""
    wer = pytest.importorskip("meeteval").wer.wer.siso.siso_word_error_rate
    cues = recognized(need("asr_clips") / "asr_clips" / "jfk.flac")
    said = (
        "and so my fellow americans ask not what your country can do for you ask what you can do "
        "for your country"
    )
    assert wer(said, " ".join(cue.text for cue in cues)).error_rate <= 0.4
