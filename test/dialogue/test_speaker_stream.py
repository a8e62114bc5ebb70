"""Speakers followed in a stream: what is decided when, and sound as bad as it comes."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tones import RATE, ToneEmbedding, tone

from erc_ros.dialogue import speaker_stream
from erc_ros.dialogue.diarization import DiarizationConfig, SpeakerCorrection, Turn
from erc_ros.dialogue.speaker_embedding import SpeakerEmbedding
from erc_ros.dialogue.speaker_stream import SpeakerStream, SpeakerStreamConfig, relabel
from erc_ros.sensing.nanoseconds import NS, seconds

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "models" / "speaker-ge2e"
DATA = Path(os.environ.get("ERC_DATA", ROOT.parent / "shared" / "data"))
Samples = NDArray[np.float32]


class LoudIsSpeech:
    def feed(self, frame: Samples) -> float:
        return 0.95 if float(np.abs(frame).mean()) > 0.01 else 0.02

    def reset(self) -> None:
        pass


@pytest.fixture
def simple_ears(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speaker_stream, "SpeechProbability", LoudIsSpeech)


def scene(*turns: tuple[float, float, int], end: float) -> Samples:
    sound = np.zeros(round(end * RATE), np.float32)
    for start, finish, number in turns:
        said = tone(number, finish - start)
        sound[round(start * RATE) : round(start * RATE) + len(said)] = said
    return sound


DIALOGUE = scene((1, 4, 5), (5, 8, 20), (9, 12, 5), end=14.0)


def hear(
    stream: SpeakerStream, sound: Samples, chunk: int = 1_600
) -> list[Turn | SpeakerCorrection]:
    events: list[Turn | SpeakerCorrection] = []
    for first in range(0, len(sound), chunk):
        events += stream.feed(sound[first : first + chunk])
    return events + stream.flush()


def turns(events: list[Turn | SpeakerCorrection]) -> list[Turn]:
    return [event for event in events if isinstance(event, Turn)]


def at(found: list[Turn], second: float) -> list[int | None]:
    moment = seconds(second)
    return [t.attribution.speaker for t in found if t.start <= moment < t.end]


# --- what is decided when ---


@pytest.mark.parametrize("latency", [0.0, 1.0, 5.0])
@pytest.mark.usefixtures("simple_ears")
def test_every_moment_is_decided_once_and_in_order(latency: float) -> None:
    found = turns(hear(SpeakerStream(SpeakerStreamConfig(latency), ToneEmbedding()), DIALOGUE))
    assert all(one.end <= other.start for one, other in itertools.pairwise(found))
    assert [at(found, second) for second in (0.5, 3.0, 4.5, 7.0, 11.0)] == [[], [0], [], [1], [0]]


@pytest.mark.usefixtures("simple_ears")
def test_nothing_is_decided_before_its_time_nor_much_later() -> None:
    stream = SpeakerStream(SpeakerStreamConfig(latency=1.0), ToneEmbedding())
    decided = 0
    for first in range(0, len(DIALOGUE), RATE // 10):
        now = first * NS // RATE
        for event in turns(stream.feed(DIALOGUE[first : first + RATE // 10])):
            decided = event.end
        assert decided <= max(0, now - seconds(1.0) + seconds(0.1))
        if seconds(3.0) < now < seconds(4.0):  # in the middle of speech
            assert decided >= now - seconds(1.0) - seconds(0.6)


@pytest.mark.usefixtures("simple_ears")
def test_what_was_decided_too_soon_is_corrected() -> None:
    sound = scene((1, 4, 5), (5, 6.2, 20), (7, 9, 5), (10, 13, 20), end=14.0)
    events = hear(SpeakerStream(SpeakerStreamConfig(latency=0.5), ToneEmbedding()), sound)
    assert at(turns(events), 5.5) == [0]
    corrected = turns(events)
    for event in events:
        if isinstance(event, SpeakerCorrection):
            assert event.old_speaker != event.new_speaker
            corrected = relabel(corrected, event)
    assert at(corrected, 5.5) == [1] and at(corrected, 3.0) == [0] and at(corrected, 12.0) == [1]


@pytest.mark.usefixtures("simple_ears")
@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.integers(1, 60_000), max_size=8))
def test_any_chunking_gives_the_same_events(sizes: list[int]) -> None:
    stream = SpeakerStream(SpeakerStreamConfig(), ToneEmbedding())
    events: list[Turn | SpeakerCorrection] = []
    for part in np.split(DIALOGUE, np.minimum(np.cumsum(sizes), len(DIALOGUE)).astype(int)):
        events += stream.feed(part)
    events += stream.flush()
    assert events == hear(SpeakerStream(SpeakerStreamConfig(), ToneEmbedding()), DIALOGUE)


@pytest.mark.usefixtures("simple_ears")
def test_after_a_reset_all_is_as_at_first() -> None:
    stream = SpeakerStream(SpeakerStreamConfig(), ToneEmbedding())
    first = hear(stream, DIALOGUE)
    stream.reset()
    assert hear(stream, DIALOGUE) == first


def test_nonsense_in_the_configuration_is_refused_by_name() -> None:
    for wrong in ({"latency": -1.0}, {"latency": float("nan")}, {"step": 0.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            SpeakerStreamConfig(**wrong)  # type: ignore[arg-type]


# --- sound as it comes, with the real networks ---


@pytest.fixture(scope="module")
def network() -> SpeakerEmbedding:
    return SpeakerEmbedding(MODEL)


def people(found: list[Turn]) -> set[int | None]:
    return {turn.attribution.speaker for turn in found}


def spoken(found: list[Turn]) -> float:
    return sum(turn.end - turn.start for turn in found) / NS


def mainly(found: list[Turn]) -> int | None:
    return max(
        people(found), key=lambda s: spoken([t for t in found if t.attribution.speaker == s])
    )


def melody(duration: float) -> Samples:
    """Notes of half a second with overtones."""
    random, sound = np.random.default_rng(0), np.zeros(round(duration * RATE), np.float32)
    time = np.arange(RATE // 2) / RATE
    for first in range(0, len(sound) - len(time) + 1, len(time)):
        pitch = 220 * 2 ** (random.integers(0, 24) / 12)
        for overtone in (1, 2, 3):
            note = 0.05 / overtone * np.sin(2 * np.pi * pitch * overtone * time) * np.exp(-3 * time)
            sound[first : first + len(time)] += note.astype(np.float32)
    return sound


def applause(duration: float) -> Samples:
    """Bursts of noise of 25 ms, hundred in a second."""
    random, sound = np.random.default_rng(0), np.zeros(round(duration * RATE), np.float32)
    for first in random.integers(0, len(sound) - 400, int(100 * duration)):
        burst = random.normal(0, 0.1, 400) * np.exp(-np.arange(400) / 80)
        sound[first : first + 400] += burst.astype(np.float32)
    return sound


@pytest.mark.parametrize("sound", [melody(10), applause(10)], ids=["music", "applause"])
def test_music_and_applause_are_hardly_speech(network: SpeakerEmbedding, sound: Samples) -> None:
    found = turns(hear(SpeakerStream(SpeakerStreamConfig(), network), sound))
    assert spoken(found) < 2.0


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_a_microphone_that_sends_nothing_says_nothing(
    network: SpeakerEmbedding, value: float
) -> None:
    sound = np.full(20 * RATE, value, np.float32)
    assert hear(SpeakerStream(SpeakerStreamConfig(), network), sound) == []


def recording(name: str) -> Samples:
    path = DATA / "ami_diarization_30s" / f"{name}.flac"
    if not path.is_file():
        pytest.skip(f"no {path} (set ERC_DATA)")
    return np.asarray(soundfile.read(path, dtype="float32")[0], np.float32)


def test_a_speaker_is_known_again_after_minutes_of_silence(network: SpeakerEmbedding) -> None:
    said = recording("trn03")[5 * RATE : 11 * RATE]
    sound = np.concatenate([said, np.zeros(300 * RATE, np.float32), said])
    found = turns(hear(SpeakerStream(SpeakerStreamConfig(), network), sound, chunk=RATE))
    before = [turn for turn in found if turn.end < seconds(8)]
    after = [turn for turn in found if turn.start > seconds(306)]
    assert mainly(before) == mainly(after) == 0


def test_clipped_sound_and_that_of_a_telephone_are_still_one_speaker(
    network: SpeakerEmbedding,
) -> None:
    sound = recording("trn03")[2 * RATE : 14 * RATE]
    clipped = np.clip(sound * np.float32(30), -1, 1)
    spectrum = np.fft.rfft(sound)
    hertz = np.fft.rfftfreq(len(sound), 1 / RATE)
    spectrum[(hertz < 300) | (hertz > 3_400)] = 0
    for bad in (clipped, np.fft.irfft(spectrum, len(sound)).astype(np.float32)):
        found = turns(hear(SpeakerStream(SpeakerStreamConfig(), network), bad))
        assert spoken(found) > 8.0 and people(found) == {0}


def test_a_high_voice_like_a_childs_is_heard_and_is_somebody(network: SpeakerEmbedding) -> None:
    import soxr

    sound = recording("trn03")[2 * RATE : 14 * RATE]
    high = soxr.resample(sound, 1.5, 1.0)  # played faster: formants and pitch 1.5 times higher
    found = turns(hear(SpeakerStream(SpeakerStreamConfig(), network), high))
    assert spoken(found) > 4.0 and None not in people(found)


@pytest.mark.usefixtures("simple_ears")
def test_twelve_speakers_and_room_for_six() -> None:
    heard = [(1 + 4 * k, 4 + 4 * k, 4 * k + 2) for k in range(12)]
    sound = scene(*((float(a), float(b), n) for a, b, n in heard), end=50.0)
    config = SpeakerStreamConfig(diarization=DiarizationConfig(max_speakers=6))
    found = turns(hear(SpeakerStream(config, ToneEmbedding()), sound))
    assert people(found) == set(range(6))


@pytest.mark.usefixtures("simple_ears")
def test_speech_that_is_too_long_for_one_stretch_keeps_its_speakers() -> None:
    sound = scene((1, 13.5, 5), (13.5, 26, 20), end=28.0)
    found = turns(hear(SpeakerStream(SpeakerStreamConfig(), ToneEmbedding()), sound))
    assert [at(found, second) for second in (3.0, 12.0, 18.0, 25.0)] == [[0], [0], [1], [1]]
