"""Voices of a conversation, with embeddings made by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tones import RATE, ToneEmbedding, tone, unit

from erc_ros.dialogue import diarization
from erc_ros.dialogue.diarization import (
    Attribution,
    DiarizationConfig,
    Diarizer,
    Measure,
    SpeakerCorrection,
    Turn,
    Voice,
    Window,
    change_points,
    cluster,
    differences,
    follow,
    voice_of,
)
from erc_ros.sensing.nanoseconds import NS, seconds

CONFIG = DiarizationConfig()
BY = Measure(same=0.94, apart=0.2, prior=16.0)


def converse(
    turns: Sequence[tuple[int, float]], config: DiarizationConfig = CONFIG
) -> tuple[Diarizer, list[Turn]]:
    """Every turn (tone, s) is a stretch of its own, half a second of silence between them."""
    diarizer, now, told = Diarizer(config, ToneEmbedding()), 0, []
    for number, duration in turns:
        diarizer.begin(now, tone(number, duration))
        now += seconds(duration)
        told += diarizer.turns(now, is_closed=True)
        now += seconds(0.5)
    return diarizer, told


def speakers(turns: Sequence[Turn]) -> list[int | None]:
    return [turn.attribution.speaker for turn in turns]


# --- a conversation ---


def test_speakers_are_numbered_as_they_come_and_keep_their_number() -> None:
    _, told = converse([(5, 2.4), (9, 2.4), (5, 2.4), (1, 3.0), (9, 2.4)])
    assert speakers(told) == [0, 1, 0, 2, 1]


def test_somebody_who_returns_after_long_is_known() -> None:
    turns = [(5, 3.0), *[(9, 4.0), (20, 4.0)] * 12, (5, 3.0)]
    diarizer, told = converse(turns)
    assert speakers(told)[0] == speakers(told)[-1] == 0
    assert diarizer.speakers == 3


def test_a_short_unknown_voice_is_no_new_speaker() -> None:
    diarizer, _ = converse([(5, 3.0), (9, 0.8)])
    assert diarizer.speakers == 1


def test_short_evidence_adds_up_and_what_was_told_is_corrected() -> None:
    diarizer, told = converse([(5, 3.0), (9, 1.2), (5, 2.0), (9, 1.2)])
    assert speakers(told) == [0, 0, 0, 1]
    (correction,) = diarizer.corrections()
    assert correction == SpeakerCorrection(told[1].start, told[1].end, 0, 1)
    assert diarizer.corrections() == []


def test_there_are_no_more_speakers_than_allowed() -> None:
    config = DiarizationConfig(max_speakers=6)
    diarizer, told = converse([(4 * number + 2, 3.0) for number in range(12)], config)
    assert set(speakers(told)) == set(range(6)) and diarizer.speakers == 6


def test_one_endless_speaker_stays_one() -> None:
    diarizer, told = converse([(7, 14.9)] * 20)
    assert set(speakers(told)) == {0} and diarizer.speakers == 1
    assert diarizer.corrections() == []


def test_two_speakers_who_turn_out_to_be_one_become_one() -> None:
    """At first two, since little was heard; what lies between them shows that they are one."""
    voices = diarization.Voices(
        past=(spread([0.0], 6, 0), spread([1.0], 6, 1)), speakers=2, stretches=()
    )
    near = Measure(same=0.9, apart=0.6, prior=1.0)
    merged, moved = diarization.learn(voices, CONFIG, near)
    assert moved == {1: 0} and {voice.speaker for voice in merged.past} == {0}


def spread(angles: Sequence[float], each: int, speaker: int) -> Voice:
    vectors = [np.array([np.cos(a), np.sin(a)], np.float32) for a in angles for _ in range(each)]
    windows = [Window(k * NS, (k + 1) * NS, v, 1.0, speaker) for k, v in enumerate(vectors)]
    return voice_of(windows)


def test_a_stretch_of_silence_is_nobodys() -> None:
    diarizer = Diarizer(CONFIG, ToneEmbedding())
    diarizer.begin(0, np.zeros(2 * RATE, np.float32))
    assert speakers(diarizer.turns(seconds(2), is_closed=True)) == [None]
    assert diarizer.speakers == 0


def test_a_new_conversation_has_new_speakers() -> None:
    diarizer, _ = converse([(4, 2.0), (20, 2.4)])
    diarizer.reset()
    assert diarizer.speakers == 0 and diarizer.corrections() == []
    diarizer.begin(0, tone(20, 2.0))
    assert speakers(diarizer.turns(seconds(2), is_closed=True)) == [0]


def test_without_a_network_nobody_is_told_apart() -> None:
    diarizer = Diarizer(CONFIG, None)
    diarizer.begin(0, tone(4, 2.0))
    assert diarizer.changes(0, seconds(2), is_closed=True) == []
    (turn,) = diarizer.turns(seconds(2), is_closed=True)
    assert (turn.start, turn.end, turn.attribution.speaker) == (0, seconds(2), None)


# --- inside a stretch ---


def test_two_voices_in_one_stretch_are_split_where_they_change() -> None:
    diarizer = Diarizer(CONFIG, ToneEmbedding())
    samples = np.concatenate([tone(4, 2.4), tone(20, 3.0)])
    diarizer.begin(NS, samples[:100])
    diarizer.feed(samples[100:])
    end = NS + seconds(5.4)
    first, second = diarizer.turns(end, is_closed=True)
    assert (first.start, first.end, second.end) == (NS, second.start, end)
    assert abs(first.end - seconds(3.4)) <= seconds(0.3)
    assert speakers([first, second]) == [0, 1]
    assert diarizer.speakers == 2


def test_a_change_can_be_found_while_the_stretch_is_open() -> None:
    diarizer = Diarizer(CONFIG, ToneEmbedding())
    diarizer.begin(0, np.concatenate([tone(4, 3.0), tone(20, 2.0)]))
    (moment,) = diarizer.changes(0, seconds(5.0), is_closed=False)
    assert abs(moment - seconds(3.0)) <= seconds(0.2)
    assert diarizer.changes(0, seconds(3.0), is_closed=False) == []


def test_an_open_stretch_tells_nothing_for_good() -> None:
    diarizer = Diarizer(CONFIG, ToneEmbedding())
    diarizer.begin(0, np.concatenate([tone(4, 3.0), tone(20, 3.4)]))
    now = seconds(6.4)
    assert speakers(diarizer.turns(now, is_closed=False)) == [0, 1]
    assert diarizer.speakers == 0
    assert diarizer.who(seconds(1.0), seconds(3.2), now).speaker == 0
    assert diarizer.who(seconds(2.8), seconds(4.0), now).speaker == 1
    assert speakers(diarizer.turns(now, is_closed=True)) == [0, 1]
    assert diarizer.speakers == 2


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 40_000), max_size=12))
def test_any_chunking_gives_the_same_turns(sizes: list[int]) -> None:
    sound = np.concatenate([tone(4, 3.0, 0.02), tone(20, 3.0, 0.02), tone(9, 3.0, 0.02)])
    whole, parts = (Diarizer(CONFIG, ToneEmbedding()) for _ in range(2))
    whole.begin(0, sound)
    edges = np.minimum(np.cumsum([0, *sizes]), len(sound)).tolist()
    parts.begin(0, sound[: edges[0]])
    for first, last in zip(edges, [*edges[1:], len(sound)], strict=True):
        parts.feed(sound[first:last])
    one, other = (d.turns(seconds(9), is_closed=True) for d in (whole, parts))
    assert one == other and speakers(one) == [0, 1, 2]


def test_memory_is_bounded() -> None:
    diarizer, _ = converse([(4 * (k % 5) + 2, 2.0) for k in range(60)])
    voices = diarizer._voices
    assert len(voices.past) <= diarization.MAX_PAST
    heard = sum(stretch.end - stretch.start for stretch in voices.stretches)
    assert heard <= diarization.FOLLOWED + seconds(2.0)


# --- clustering ---


def windows_of(vectors: Sequence[NDArray[np.float32]]) -> list[Window]:
    return [Window(k * NS, (k + 1) * NS, vector, 1.0) for k, vector in enumerate(vectors)]


def noisy(direction: int, count: int, seed: int) -> list[NDArray[np.float32]]:
    noise = np.random.default_rng(seed).normal(0, 0.25 / 8, (count, 64))
    noise[:, direction] += 1.0
    return [unit(vector.astype(np.float32)) for vector in noise]


@pytest.mark.parametrize("count", [2, 5, 30])
def test_a_noisy_voice_is_one_voice_however_much_is_heard_of_it(count: int) -> None:
    groups = cluster([], windows_of(noisy(3, count, 0)), CONFIG, BY)
    assert len(groups) == 1


def test_a_room_that_moves_all_voices_together_changes_nothing() -> None:
    vectors = noisy(3, 10, 0) + noisy(5, 10, 1)
    room = np.zeros(64, np.float32)
    room[40] = 2.0
    for shift in (0.0, 1.0):
        windows = windows_of([vector + np.float32(shift) * room for vector in vectors])
        by = Measure(0.94 + 4.0 * shift, 0.2, 16.0)
        groups = [sorted(group) for group, _ in cluster([], windows, CONFIG, by)]
        assert sorted(groups) == [list(range(10)), list(range(10, 20))]


def test_a_voice_is_not_compared_with_sound_that_it_shares() -> None:
    vector = unit(np.ones(4, np.float32))
    shared = [Window(k * NS // 5, k * NS // 5 + NS, vector, 0.2) for k in range(5)]
    assert voice_of(shared).pairs == 0
    assert voice_of(windows_of([vector] * 3)).pairs == 6


def test_sums_of_voices_are_those_of_all_their_windows() -> None:
    windows = windows_of(noisy(3, 6, 0))
    whole, parts = voice_of(windows), voice_of(windows[:2]) + voice_of(windows[2:])
    np.testing.assert_allclose(parts.total, whole.total, rtol=1e-4)
    assert parts.alike == pytest.approx(whole.alike, rel=1e-5)
    assert (parts.pairs, parts.windows, parts.heard) == (30, 6, whole.heard)


# --- following, changes, differences ---


def test_a_change_of_speaker_has_its_price() -> None:
    scores = np.array([[0.0, -1.0], [-0.2, 0.0], [0.0, -1.0], [-1.0, 0.0], [-1.0, 0.0]])
    assert follow(scores, cost=0.3).tolist() == [0, 0, 0, 1, 1]
    assert follow(scores, cost=0.0).tolist() == [0, 1, 0, 1, 1]
    assert follow(scores, cost=9.0).tolist() == [1, 1, 1, 1, 1]


def test_changes_are_apart_and_the_strongest_win() -> None:
    moments = [seconds(0.2 * k) for k in range(1, 20)]
    cosines = np.full(19, 0.9)
    cosines[9], cosines[10] = 0.1, 0.2
    bounds = (0, seconds(4))
    assert change_points(moments, cosines, 0.7, seconds(0.6), bounds) == [moments[9]]
    assert change_points(moments, cosines, 0.05, seconds(0.6), bounds) == []
    assert change_points([], np.zeros(0), 0.7, seconds(0.6), bounds) == []


def turn(start: float, end: float, speaker: int | None) -> Turn:
    return Turn(seconds(start), seconds(end), Attribution(speaker, 0.5))


def test_only_what_differs_is_corrected() -> None:
    told = [turn(0, 2, 0), turn(2, 4, 1)]
    now = [turn(0, 3, 0), turn(3, 4, 1)]
    assert differences(told, now) == [SpeakerCorrection(seconds(2), seconds(3), 1, 0)]
    assert differences(told, told) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_speakers": 0},
        {"new_speaker": -1.0},
        {"window": 0.1},
        {"hop": 3.0},
        {"min_turn": float("nan")},
        {"min_evidence": 0.1},
    ],
)
def test_nonsense_in_the_configuration_is_refused_by_name(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        DiarizationConfig(**wrong)  # type: ignore[arg-type]
