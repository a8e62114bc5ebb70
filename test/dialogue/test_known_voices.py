"""People with enrolled voices have a name; all others, and all people by default, have none."""

from __future__ import annotations

import wave
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soxr
from tones import LoudIsSpeech, ToneEmbedding, scene, tone, tone_networks

from erc_ros.cli import main
from erc_ros.demo.conversation_bag import VOICES
from erc_ros.demo.voices import synthesiser
from erc_ros.dialogue.assembler import (
    AssemblerConfig,
    TextCorrected,
    UtteranceAssembler,
    UtteranceEvent,
)
from erc_ros.dialogue.speakers.clustering import VoiceProfile
from erc_ros.dialogue.speakers.embedding import load_manifest
from erc_ros.dialogue.speakers.enrolment import (
    EnrolmentError,
    enrol,
    least_alike,
    recognise_each,
    save_voices,
    speech_in,
)
from erc_ros.dialogue.speakers.turns import TurnCorrection
from erc_ros.dialogue.speaking_face import IdentityMatch
from erc_ros.pipeline import PerceptionConfig, known_voices
from erc_ros.resources import model_folder
from erc_ros.sensing.audio import AudioSamples
from erc_ros.values.nanoseconds import seconds
from erc_ros.values.transcript import Transcript
from erc_ros.values.utterance import Utterance

T0 = seconds(1_700_000_000)
ADA, BOB, STRANGER = 4, 20, 9
KNOWN = {name: enrol(ToneEmbedding(), tone(n, 6.0)) for name, n in (("Ada", ADA), ("Bob", BOB))}
TALK = scene((1, 4, BOB), (5, 8, STRANGER), (9, 12, ADA))


def listener(known: Mapping[str, VoiceProfile] = KNOWN) -> UtteranceAssembler:
    return UtteranceAssembler(AssemblerConfig(), LoudIsSpeech(), tone_networks(), known)


def said(ears: UtteranceAssembler, sound: np.ndarray = TALK, **text: object) -> list[Utterance]:
    """Return the utterances for audio; text: of the first speech, received at its end."""
    events = ears.feed_audio(AudioSamples(T0, sound[: 16_000 * 4]))
    if text:
        events += ears.feed_transcript(Transcript("Hello.", T0 + seconds(4), **text))
    events += ears.feed_audio(AudioSamples(T0 + seconds(4), sound[16_000 * 4 :]))
    events += ears.flush()
    return [event.utterance for event in events if isinstance(event, UtteranceEvent)]


def persons(utterances: list[Utterance]) -> list[str]:
    return [utterance.person_id for utterance in utterances if utterance.is_final]


def test_who_is_known_has_a_name_and_a_stranger_has_none() -> None:
    utterances = said(listener())
    assert persons(utterances) == ["Bob", "", "Ada"]
    assert [u.speaker_id for u in utterances if u.is_final] == ["0", "1", "2"]
    assert not any(u.person_id for u in utterances if not u.is_final)


def test_no_speaker_has_a_name_by_default() -> None:
    assert (
        persons(said(UtteranceAssembler(AssemblerConfig(), LoudIsSpeech(), tone_networks())))
        == [""] * 3
    )
    assert (
        persons(said(UtteranceAssembler(AssemblerConfig(), LoudIsSpeech(), known=KNOWN)))
        == [""] * 3
    )


def test_a_person_of_ros4hri_has_precedence() -> None:
    assert persons(said(listener(), person_id="p1")) == ["p1", "", "Ada"]
    ears = listener()
    ears.feed_match(IdentityMatch(("voice", "v1"), ("person", "p2"), 1.0))
    assert persons(said(ears, voice_id="v1")) == ["p2", "", "Ada"]


def test_the_name_of_a_corrected_text_follows_the_speaker_but_not_a_person_of_ros4hri() -> None:
    for person, expected in (("", "Ada"), ("p1", "p1")):
        ears = listener()
        said_first = said_until_flush(ears, person)
        assert said_first.person_id == (person or "Bob")
        ears._correct_speaker(TurnCorrection(said_first.start, said_first.end, 0, 2))
        again = Transcript("Hullo.", T0 + seconds(14), stamp=T0 + seconds(4), person_id=person)
        corrected = [e for e in ears.feed_transcript(again) if isinstance(e, TextCorrected)]
        assert [e.utterance.person_id for e in corrected] == [expected]


def said_until_flush(ears: UtteranceAssembler, person: str) -> Utterance:
    """Return the first utterance of continuing speech."""
    events = ears.feed_audio(AudioSamples(T0, TALK[: 16_000 * 4]))
    text = Transcript("Hello.", T0 + seconds(4), stamp=T0 + seconds(4), person_id=person)
    events += ears.feed_transcript(text)
    events += ears.feed_audio(AudioSamples(T0 + seconds(4), TALK[16_000 * 4 :]))
    finals = [e.utterance for e in events if isinstance(e, UtteranceEvent) and e.utterance.is_final]
    return finals[0]


def test_of_two_speakers_who_could_be_one_person_the_more_alike_has_the_name() -> None:
    ada = KNOWN["Ada"]
    nearly = replace(ada, total=ada.total + 0.5 * KNOWN["Bob"].total)
    assert recognise_each({0: nearly, 1: ada}, KNOWN, 0.5) == {1: "Ada"}
    assert recognise_each({0: ada, 1: KNOWN["Bob"]}, KNOWN, 0.5) == {0: "Ada", 1: "Bob"}
    assert recognise_each({0: ada}, {}, 0.5) == {}
    assert recognise_each({}, KNOWN, 0.5) == {}


def test_pauses_are_excluded_from_an_enrolled_voice() -> None:
    speech = speech_in(scene((2, 5, ADA), (9, 12, ADA), end=20), LoudIsSpeech())
    assert len(speech) / 16_000 == pytest.approx(6.4, abs=0.1)  # with a little on both sides
    assert len(speech_in(np.zeros(16_000, np.float32), LoudIsSpeech())) == 0
    assert len(speech_in(np.zeros(0, np.float32), LoudIsSpeech())) == 0


# --- the command ---


def spoken(path: Path, voice: int, rate: int = 44_100, channels: int = 2) -> Path:
    """Return a recording of a synthetic voice with pauses."""
    pytest.importorskip("espeakng_loader", reason="the extra [demo] is not installed")
    engine = synthesiser()
    texts = ("The boats come home when the lights go on.", "We stay there until the evening.") * 2
    pause = np.zeros(16_000, np.float32)
    sound = np.concatenate([np.append(engine.say(text, VOICES[voice]), pause) for text in texts])
    samples = np.repeat(soxr.resample(sound, 16_000, rate), channels)
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, 2, rate, 0, "NONE", ""))
        file.writeframes((samples * 32_767).astype("<i2").tobytes())
    return path


def known_in(file: Path) -> dict[str, VoiceProfile]:
    return known_voices(PerceptionConfig(known_voices=str(file)))


def test_a_voice_is_enrolled_replaced_and_removed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "voices.json"
    first, other = spoken(tmp_path / "a.wav", 0), spoken(tmp_path / "b.wav", 1, 8_000, 1)
    assert main(["enrol", "Ada L.", str(first), "--voices", str(file)]) == 0
    told = capsys.readouterr().out
    assert "Ada L. added" in told and "personal data" in told
    assert f"erc enrol 'Ada L.' --remove --voices {file}" in told
    assert file.stat().st_mode & 0o077 == 0  # readable by the owner only
    assert main(["enrol", "Bob", str(first), "--voices", str(file)]) == 0
    before = known_in(file)
    np.testing.assert_array_equal(before["Bob"].total, before["Ada L."].total)
    assert main(["enrol", "Bob", str(other), "--voices", str(file)]) == 0
    assert "Bob replaced" in capsys.readouterr().out
    after = known_in(file)
    assert 7.0 < after["Bob"].heard < 11.0  # without most of the pauses
    least = least_alike(ToneEmbedding())
    assert recognise_each({0: after["Bob"]}, {"Ada L.": after["Ada L."]}, least) == {}
    assert main(["enrol", "Bob", "--remove", "--voices", str(file)]) == 0
    assert set(known_in(file)) == {"Ada L."}


def test_a_voice_of_another_network_can_still_be_removed(tmp_path: Path) -> None:
    save_voices(tmp_path / "voices.json", "a" * 64, KNOWN)
    assert main(["enrol", "Bob", "--remove", "--voices", str(tmp_path / "voices.json")]) == 0
    content = (tmp_path / "voices.json").read_text("utf-8")
    assert "Ada" in content and "Bob" not in content


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "No such file"),
        (b"ID3 no wave", "ffmpeg"),
        (b"", "ffmpeg"),
        (b"silence", "0.0 s of speech were found; record at least 5.0 s"),
    ],
)
def test_an_unusable_recording_is_one_line_and_leaves_the_file(
    content: bytes | None, complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sound = tmp_path / "a.wav"
    if content == b"silence":
        with wave.open(str(sound), "wb") as file:
            file.setparams((1, 2, 16_000, 0, "NONE", ""))
            file.writeframes(bytes(64_000))
    elif content is not None:
        sound.write_bytes(content)
    command = ["enrol", "Ada", str(sound), "--voices", str(tmp_path / "voices.json")]
    assert main(command) == 1
    error = capsys.readouterr().err
    assert complaint in error and str(sound) in error and error.count("\n") == 1
    assert not (tmp_path / "voices.json").exists()


def test_wrong_use_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(tmp_path / "voices.json")
    for wrong in (["Ada", "--voices", file], ["Ada", "a.wav", "--remove", "--voices", file]):
        with pytest.raises(SystemExit):
            main(["enrol", *wrong])
    assert main(["enrol", "Ada", "--remove", "--voices", file]) == 1
    save_voices(Path(file), "a" * 64, KNOWN)
    capsys.readouterr()
    assert main(["enrol", "Somebody", "--remove", "--voices", file]) == 1
    assert "Ada" not in capsys.readouterr().err


def test_a_parameter_that_names_no_usable_file_is_refused_without_a_name(tmp_path: Path) -> None:
    config = PerceptionConfig(known_voices=str(tmp_path / "voices.json"))
    with pytest.raises(EnrolmentError, match="read"):
        known_voices(config)
    with pytest.raises(EnrolmentError, match="speaker_model"):
        known_voices(replace(config, speaker_model="none"))
    save_voices(tmp_path / "voices.json", "a" * 64, KNOWN)
    with pytest.raises(EnrolmentError, match="enrol"):
        known_voices(config)
    manifest = load_manifest(model_folder(config.speaker_model))
    save_voices(tmp_path / "voices.json", manifest.sha256, KNOWN)  # of another length
    with pytest.raises(EnrolmentError, match=r"voice.*1.*192") as error:
        known_voices(config)
    assert "Ada" not in str(error.value)
    assert known_voices(replace(config, known_voices="")) == {}
