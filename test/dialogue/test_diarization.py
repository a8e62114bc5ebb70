"""Voices of a conversation, with embeddings made by hand."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from erc_ros.dialogue.diarization import (
    DiarizationConfig,
    Diarizer,
    Voices,
    attribute,
    change_points,
    is_narrow,
    unit,
)
from erc_ros.sensing.nanoseconds import NS, seconds

CONFIG = DiarizationConfig()
RATE = 16_000


def voice(number: int, noise: float = 0.0, seed: int = 0) -> NDArray[np.float32]:
    vector = np.zeros(64, np.float32)
    vector[number] = 1.0
    disturbance = np.random.default_rng(seed).normal(0, noise / 8, 64).astype(np.float32)
    return unit(vector + disturbance)


def follow(
    turns: list[tuple[int, float]], config: DiarizationConfig = CONFIG, noise: float = 0.4
) -> list[int | None]:
    voices, found = Voices(), []
    for place, (number, heard) in enumerate(turns):
        voices, one = attribute(voices, config, voice(number, noise, place), heard)
        found.append(one.speaker)
    return found


def test_speakers_are_numbered_as_they_come_and_keep_their_number() -> None:
    assert follow([(5, 2.0), (9, 2.0), (5, 2.0), (1, 3.0), (9, 2.0)]) == [0, 1, 0, 2, 1]


def test_a_short_unknown_voice_is_no_new_speaker() -> None:
    assert follow([(0, 3.0), (1, 0.3)]) == [0, None]


def test_short_evidence_adds_up() -> None:
    assert follow([(0, 3.0), (1, 0.5), (0, 2.0), (1, 0.5), (1, 0.5), (1, 2.0)])[-1] == 1


def test_there_are_no_more_speakers_than_allowed() -> None:
    config = DiarizationConfig(max_speakers=3)
    found = follow([(number, 3.0) for number in range(12)], config)
    assert set(found) == {0, 1, 2}


def test_silence_is_nobody() -> None:
    voices, found = attribute(Voices(), CONFIG, np.zeros(64, np.float32), 2.0)
    assert found.speaker is None and voices.speakers == 0


def test_confidence_falls_where_two_voices_are_alike() -> None:
    voices = Voices()
    for number in (0, 1):
        voices, _ = attribute(voices, CONFIG, voice(number), 5.0)
    _, clear = attribute(voices, CONFIG, voice(0), 5.0)
    _, doubtful = attribute(voices, CONFIG, unit(voice(0) + 0.9 * voice(1)), 5.0)
    assert clear.speaker == doubtful.speaker == 0
    assert 0 < doubtful.confidence < clear.confidence <= 1


def test_a_change_is_found_where_the_voice_changes() -> None:
    moments = [seconds(0.3 * k) for k in range(1, 20)]
    before = np.stack([voice(0 if m <= seconds(3.0) else 1) for m in moments])
    after = np.stack([voice(0 if m < seconds(3.0) else 1) for m in moments])
    assert change_points(moments, before, after, CONFIG, (0, seconds(6))) == [seconds(3.0)]
    assert change_points([], before, after, CONFIG, (0, seconds(6))) == []


class ToneEmbedding:
    """Hears the strongest of 64 frequencies."""

    def embed(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        power = np.abs(np.fft.rfft(samples, 1024 * 8)).reshape(-1)[:-1].reshape(64, 64).sum(1)
        return unit(power.astype(np.float32) ** 4)


def tone(number: int, duration: float) -> NDArray[np.float32]:
    time = np.arange(round(duration * RATE)) / RATE
    return (0.1 * np.sin(2 * np.pi * (number + 0.5) * 125 * time)).astype(np.float32)


def test_two_voices_in_one_stretch_are_split_where_they_change() -> None:
    diarizer = Diarizer(CONFIG, ToneEmbedding())
    samples = np.concatenate([tone(4, 2.4), tone(20, 2.4)])
    diarizer.begin(NS, samples[:100])
    diarizer.feed(samples[100:])
    end = NS + seconds(4.8)
    first, second = diarizer.turns(end, is_closed=True)
    assert (first.start, first.end, second.end) == (NS, second.start, end)
    assert abs(first.end - seconds(3.4)) <= seconds(0.3)
    assert (first.attribution.speaker, second.attribution.speaker) == (0, 1)
    assert diarizer.speakers == 2


def test_a_turn_at_the_border_is_found_once_the_stretch_is_closed() -> None:
    diarizer = Diarizer(CONFIG, ToneEmbedding())
    diarizer.begin(0, np.concatenate([tone(4, 3.0), tone(20, 0.9)]))
    assert diarizer.changes(0, seconds(3.9), is_closed=False) == []
    assert diarizer.changes(0, seconds(3.9), is_closed=True) == [seconds(3.0)]


def test_a_turn_is_provisional_until_it_is_over() -> None:
    diarizer = Diarizer(CONFIG, ToneEmbedding())
    diarizer.begin(0, np.concatenate([tone(4, 3.0), tone(20, 1.0)]))
    (early,) = diarizer.turns(seconds(2.0), is_closed=False)
    assert early.attribution.speaker == 0 and diarizer.speakers == 0
    diarizer.feed(tone(20, 1.4))
    first, second = diarizer.turns(seconds(5.4), is_closed=False)
    assert (first.attribution.speaker, second.attribution.speaker) == (0, 1)
    assert diarizer.speakers == 1
    assert diarizer.turns(seconds(5.4), is_closed=True) == [first, second]
    assert diarizer.speakers == 2


def test_whose_turn_most_of_a_time_is() -> None:
    diarizer = Diarizer(CONFIG, ToneEmbedding())
    diarizer.begin(0, np.concatenate([tone(4, 3.0), tone(20, 2.4)]))
    now = seconds(5.4)
    assert diarizer.who(seconds(1.0), seconds(3.2), now).speaker == 0
    assert diarizer.who(seconds(2.8), seconds(4.0), now).speaker == 1


def test_without_a_network_nobody_is_told_apart() -> None:
    diarizer = Diarizer(CONFIG, None)
    diarizer.begin(0, tone(4, 2.0))
    assert diarizer.changes(0, seconds(2), is_closed=True) == []
    (turn,) = diarizer.turns(seconds(2), is_closed=True)
    assert (turn.start, turn.end, turn.attribution.speaker) == (0, seconds(2), None)


def test_a_new_conversation_has_new_speakers() -> None:
    diarizer = Diarizer(CONFIG, ToneEmbedding())
    diarizer.begin(0, tone(4, 2.0))
    diarizer.turns(seconds(2), is_closed=True)
    diarizer.reset()
    assert diarizer.speakers == 0
    diarizer.begin(0, tone(20, 2.0))
    assert diarizer.turns(seconds(2), is_closed=True)[0].attribution.speaker == 0


def test_sound_of_a_telephone_is_recognised() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, RATE).astype(np.float32)
    spectrum = np.fft.rfft(noise)
    spectrum[3_400:] = 0
    assert is_narrow(np.fft.irfft(spectrum).astype(np.float32))
    assert not is_narrow(noise)
    assert not is_narrow(noise[:100])
