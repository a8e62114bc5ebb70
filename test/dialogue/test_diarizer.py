"""Streaming diarization, with tones as voices and synthetic turns."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tones import RATE, Samples, ToneEmbedding, ToneSegmentation, scene, tone, tone_networks, unit

from erc_ros.dialogue.speakers.diarization import DiarizationConfig
from erc_ros.dialogue.speakers.diarizer import Diarizer
from erc_ros.dialogue.speakers.networks import DiarizationNetworks
from erc_ros.dialogue.speakers.turns import (
    Attribution,
    SpeakerTurn,
    TurnCorrection,
    differences,
    joined,
    partition,
    without_short,
)
from erc_ros.values.nanoseconds import NS, seconds

CONFIG = DiarizationConfig()
FRAME = 512  # samples that come at once


def feed(diarizer: Diarizer, sound: Samples, look: float = 1.0, start: int = 0) -> None:
    """Feed all samples from `start` (ns) on, with an update every `look` s and one at the end."""
    every = round(look * RATE / FRAME)
    for number, first in enumerate(range(0, len(sound), FRAME), start=1):
        diarizer.feed(start + first * NS // RATE, sound[first : first + FRAME])
        if number % every == 0:
            diarizer.begin_update(0)
            diarizer.flush()
    diarizer.begin_update(0)
    diarizer.flush()


def heard(sound: Samples, config: DiarizationConfig = CONFIG, look: float = 1.0) -> Diarizer:
    diarizer = Diarizer(config, tone_networks())
    feed(diarizer, sound, look)
    return diarizer


def speakers(turns: Sequence[SpeakerTurn]) -> list[int | None]:
    return [turn.attribution.speaker for turn in turns]


def converse(
    turns: Sequence[tuple[int, float]],
    config: DiarizationConfig = CONFIG,
    pause: float = 0.5,
    networks: DiarizationNetworks | None = None,
) -> tuple[Diarizer, list[int | None], list[TurnCorrection]]:
    """Feed turns (tone, s) and attribute each at its end, as the assembler does."""
    diarizer, now = Diarizer(config, networks or tone_networks()), 0.0
    told: list[int | None] = []
    corrections: list[TurnCorrection] = []
    for number, duration in turns:
        feed(diarizer, tone(number, duration), start=seconds(now))
        told += speakers(diarizer.attribute(seconds(now), seconds(now + duration)))
        corrections += diarizer.corrections()
        feed(diarizer, np.zeros(round(pause * RATE), np.float32), start=seconds(now + duration))
        now += duration + pause
    return diarizer, told, corrections


# --- a conversation ---


def test_who_speaks_when_also_two_at_once() -> None:
    diarizer = heard(scene((1, 4, 5), (4.5, 7, 20), (7, 10, 5), (9, 12, 33)))
    turns = diarizer.speakers_between(0, seconds(14))
    assert speakers(turns) == [0, 1, 0, 2]
    times = [(1, 4), (4.5, 7), (7, 10), (9, 12)]
    for turn, (start, end) in zip(turns, times, strict=True):
        assert turn.start / NS == pytest.approx(start, abs=0.03)
        assert turn.end / NS == pytest.approx(end, abs=0.03)
    assert [turn.overlapped / NS for turn in turns] == pytest.approx([0, 0, 1, 1], abs=0.05)


def test_turns_follow_each_other_without_gaps() -> None:
    diarizer = heard(scene((1, 4, 5), (4.5, 7, 20), (7, 10, 5), (9, 12, 33)))
    turns = diarizer.turns(seconds(0.9), seconds(12.1))
    assert speakers(turns) == [0, 1, 0, 2]
    edges = [turns[0].start, *(turn.end for turn in turns)]
    assert [turn.start for turn in turns] == edges[:-1]
    assert [edge / NS for edge in edges] == pytest.approx([0.9, 4.25, 7, 10, 12.1], abs=0.05)
    inner = diarizer.turns(seconds(5), seconds(6))
    assert [(turn.start, turn.end) for turn in inner] == [(seconds(5), seconds(6))]
    assert speakers(inner) == [1]


def test_speakers_are_numbered_as_they_come_and_keep_their_number() -> None:
    diarizer, told, corrections = converse([(5, 2.4), (9, 2.4), (5, 2.4), (1, 3.0), (9, 2.4)])
    assert told == [0, 1, 0, 2, 1]
    assert diarizer.speakers == 3 and corrections == []


def test_a_person_who_returns_after_long_is_recognized() -> None:
    diarizer, told, _ = converse([(5, 3.0), *[(9, 4.0), (20, 4.0)] * 6, (5, 3.0)])
    assert told[0] == told[-1] == 0
    assert diarizer.speakers == 3


def test_a_short_unknown_voice_from_far_off_is_no_new_speaker() -> None:
    diarizer, _, _ = converse([(5, 3.0), (9, 0.8)], pause=11.0)
    assert diarizer.speakers == 1


def test_a_short_voice_that_overlaps_the_others_is_a_new_speaker() -> None:
    diarizer, told, _ = converse([(5, 3.0), (9, 0.8)])
    assert diarizer.speakers == 2 and told == [0, 1]


def test_short_evidence_adds_up_and_attributed_turns_are_corrected() -> None:
    diarizer, told, corrections = converse([(5, 3.0), (9, 1.2), (9, 1.2)], pause=11.0)
    assert told == [0, 0, 1] and diarizer.speakers == 2
    assert corrections == [TurnCorrection(seconds(14), seconds(15.2), 0, 1)]
    assert diarizer.corrections() == []


def test_there_are_no_more_speakers_at_once_than_allowed() -> None:
    """Two similar speakers are merged; the free index is used again."""
    for bound in (1, 2, 6):
        config = DiarizationConfig(max_speakers=bound)
        diarizer, told, corrections = converse([(4 * k + 2, 2.0) for k in range(12)], config)
        assert set(told) <= set(range(2 * bound)) and None not in told
        assert len(diarizer.profiles()) == bound
        assert corrections  # of those who were joined


def test_one_endless_speaker_stays_one() -> None:
    diarizer, told, corrections = converse([(7, 60.0)])
    assert told == [0] and diarizer.speakers == 1 and corrections == []
    assert sum(voice.heard for voice in diarizer.profiles().values()) == pytest.approx(60, abs=2)


class Blurred(ToneEmbedding):
    """Tone 7 is similar to tones 5 and 6, which differ from each other."""

    def _embed(self, samples: Samples) -> Samples:
        five, six, seven = super()._embed(samples)[[5, 6, 7]]
        return unit(np.array([five + 0.5 * six + 0.85 * seven, 0.87 * six + 0.52 * seven]))


def test_two_speakers_who_turn_out_to_be_one_are_corrected_as_long_as_turns_are_remembered() -> (
    None
):
    """Audio between them shows that they are one; single frames of earlier turns are final."""
    blurred = DiarizationNetworks(ToneSegmentation(), Blurred())
    diarizer, told, corrections = converse(
        [(5, 3.0), (6, 3.0), (6, 3.0), *[(7, 4.0)] * 4], pause=11.0, networks=blurred
    )
    assert told[:3] == [0, 1, 1]
    assert len(diarizer.profiles()) == 1
    ends = {0: [0.0], 1: [14.0, 28.0]}  # s, when their turns began
    (gone,) = {c.old_speaker for c in corrections if c.start < seconds(42)}
    assert [c.start / NS for c in corrections if c.start < seconds(42)] == ends[gone or 0]


def test_silence_has_no_speaker() -> None:
    diarizer = heard(np.zeros(3 * RATE, np.float32))
    assert diarizer.speakers_between(0, seconds(3)) == [] and diarizer.speakers == 0
    (turn,) = diarizer.turns(0, seconds(3))
    assert (turn.start, turn.end, turn.attribution.speaker) == (0, seconds(3), None)


def test_a_new_conversation_has_new_speakers() -> None:
    diarizer = heard(scene((0, 2, 4), (2, 5, 20)))
    assert diarizer.speakers == 2
    diarizer.reset()
    assert diarizer.speakers == 0 and diarizer.corrections() == []
    assert diarizer.speakers_between(0, seconds(9)) == [] and diarizer.profiles() == {}
    feed(diarizer, tone(20, 2.0))
    assert speakers(diarizer.attribute(0, seconds(2))) == [0]


def test_without_networks_no_speaker_is_distinguished() -> None:
    diarizer = Diarizer(CONFIG, None)
    feed(diarizer, tone(4, 2.0))
    assert diarizer.speakers_between(0, seconds(2)) == [] and diarizer.profiles() == {}
    (turn,) = diarizer.attribute(0, seconds(2))
    assert (turn.start, turn.end, turn.attribution.speaker) == (0, seconds(2), None)
    assert np.isnan(turn.attribution.confidence)


def test_similar_voices_have_less_confidence() -> None:
    clear = heard(scene((0, 3, 5), (4, 7, 20)))
    noisy = heard(np.concatenate([tone(5, 3, 0.03), tone(20, 3, 0.03, seed=1)]))
    short = heard(scene((0, 3, 5), (4, 4.8, 20)))
    one, two, three = (
        d.speakers_between(seconds(3), seconds(9))[-1].attribution for d in (clear, noisy, short)
    )
    assert (one.speaker, two.speaker, three.speaker) == (1, 1, 1)
    assert 1 > one.confidence > max(two.confidence, three.confidence) > 0


# --- audio in chunks ---


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 40_000), max_size=12))
def test_chunks_of_the_audio_do_not_change_the_turns(sizes: list[int]) -> None:
    sound = np.concatenate([tone(4, 3.0, 0.02), tone(20, 3.0, 0.02), tone(9, 3.0, 0.02)])
    whole, parts = (Diarizer(CONFIG, tone_networks()) for _ in range(2))
    whole.feed(0, sound)
    edges = [0, *np.minimum(np.cumsum(sizes), len(sound)).tolist(), len(sound)]
    for first, last in itertools.pairwise(edges):
        if first < last:
            parts.feed(first * NS // RATE, sound[first:last])
    for diarizer in (whole, parts):
        diarizer.begin_update(0)
        diarizer.flush()
    one, other = (diarizer.attribute(0, seconds(9)) for diarizer in (whole, parts))
    assert speakers(one) == [0, 1, 2]
    assert [replace(turn, start=0, end=0) for turn in one] == [
        replace(turn, start=0, end=0) for turn in other
    ]
    for turn, same in zip(one, other, strict=True):  # but for rounding of a nanosecond
        assert abs(turn.start - same.start) < 1_000 and abs(turn.end - same.end) < 1_000


@settings(max_examples=15, deadline=None)
@given(st.floats(0.3, 3.0))
def test_how_often_is_looked_changes_little(look: float) -> None:
    diarizer = heard(scene((1, 4, 5), (4.5, 7, 20), (7, 10, 5), (9, 12, 33)), look=look)
    turns = diarizer.speakers_between(0, seconds(14))
    assert speakers(turns) == [0, 1, 0, 2]
    times = [(1, 4), (4.5, 7), (7, 10), (9, 12)]
    for turn, (start, end) in zip(turns, times, strict=True):
        assert turn.start / NS == pytest.approx(start, abs=0.06)
        assert turn.end / NS == pytest.approx(end, abs=0.06)


def test_missing_audio_is_silence_and_times_stay_right() -> None:
    diarizer = Diarizer(CONFIG, tone_networks())
    feed(diarizer, tone(5, 3.0), start=NS)
    feed(diarizer, tone(20, 3.0), start=seconds(6))
    turns = diarizer.speakers_between(0, seconds(20))
    assert speakers(turns) == [0, 1]
    assert [t.start / NS for t in turns] == pytest.approx([1, 6], abs=0.03)
    # the last frame of all ends half its field before the last sample
    assert [t.end / NS for t in turns] == pytest.approx([4, 9], abs=0.07)


@pytest.mark.parametrize("hours", [1, 24])
def test_a_clock_that_jumps_ahead_costs_no_memory_and_no_speaker(hours: int) -> None:
    diarizer = Diarizer(CONFIG, tone_networks())
    feed(diarizer, scene((0, 3, 5), (3, 6, 20), end=6.0))
    later = seconds(3_600 * hours)
    feed(diarizer, tone(20, 3.0), start=later)
    (turn,) = diarizer.speakers_between(later, later + seconds(3))
    assert turn.attribution.speaker == 1
    assert turn.start / NS == pytest.approx(3_600 * hours, abs=0.03)
    assert len(diarizer._samples) <= 11 * RATE


def test_a_clock_that_drifts_is_followed() -> None:
    diarizer, fast = Diarizer(CONFIG, tone_networks()), 1.003
    sound = np.concatenate([tone(5, 20.0), tone(20, 5.0)])
    for number, first in enumerate(range(0, len(sound), FRAME)):
        diarizer.feed(round(first * fast * NS / RATE), sound[first : first + FRAME])
        if number % 30 == 0:
            diarizer.begin_update(0)
            diarizer.flush()
    turns = diarizer.turns(seconds(18), seconds(25))
    assert turns[0].end / NS == pytest.approx(20.06, abs=0.035)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_silence(value: float) -> None:
    sound = scene((0, 3, 5), (5, 8, 20))
    sound[3 * RATE : 5 * RATE] = value
    turns = heard(sound).speakers_between(0, seconds(10))
    assert speakers(turns) == [0, 1]
    assert all(np.isfinite(turn.attribution.confidence) for turn in turns)


def test_memory_is_bounded() -> None:
    diarizer, _, _ = converse([(4 * (k % 5) + 2, 2.0) for k in range(60)])
    frames = RATE / ToneSegmentation.hop
    assert len(diarizer._state.clusters.profiles) <= CONFIG.clustering.max_profiles
    assert len(diarizer._state.clusters.windows) <= CONFIG.reattribution / CONFIG.hop + 2
    assert len(diarizer._state.local.counts) <= (CONFIG.reattribution + 12) * frames + 1
    assert len(diarizer._samples) <= 11 * RATE
    assert len(diarizer._history) <= CONFIG.max_corrected


# --- turns ---


def turn(start: float, end: float, speaker: int | None, confidence: float = 0.5) -> SpeakerTurn:
    return SpeakerTurn(seconds(start), seconds(end), Attribution(speaker, confidence))


def spans(turns: Sequence[SpeakerTurn]) -> list[tuple[float, float, int | None]]:
    return [(t.start / NS, t.end / NS, t.attribution.speaker) for t in turns]


def test_adjacent_turns_of_one_speaker_are_one_turn() -> None:
    parts = [turn(0, 1, 0), turn(0.5, 2, 1), turn(1, 3, 0), turn(2.5, 4, 1)]
    assert spans(joined(parts)) == [(0, 3, 0), (0.5, 2, 1), (2.5, 4, 1)]


def test_pauses_are_cut_in_the_middle_and_who_began_first_has_the_overlap() -> None:
    turns = [turn(1, 4, 0), turn(2, 3, 1), turn(3.5, 6, 1), turn(8, 9, 0)]
    assert spans(partition(turns, 0, seconds(10))) == [(0, 4, 0), (4, 7, 1), (7, 10, 0)]
    assert partition([], 0, NS) == []


def test_what_is_short_goes_to_the_longer_neighbour() -> None:
    turns = [turn(0, 2, 0), turn(2, 2.2, 1), turn(2.2, 5, 2), turn(5, 6, None), turn(6, 9, 1)]
    assert spans(without_short(turns, seconds(0.4))) == [(0, 2, 0), (2, 5, 2), (5, 9, 1)]
    assert spans(without_short([turn(0, 1, 0), turn(1, 1.2, 1), turn(1.2, 2, 0)], NS // 2)) == [
        (0, 2, 0)
    ]
    assert spans(without_short([turn(0, 0.1, None)], NS)) == [(0, 0.1, None)]


some_turns = st.lists(
    st.tuples(st.integers(0, 50), st.integers(1, 20), st.sampled_from([None, 0, 1, 2])), max_size=8
).map(lambda found: sorted((turn(a, a + n, s) for a, n, s in found), key=lambda t: t.start))


@given(some_turns, st.integers(0, 5))
def test_turns_cover_all_of_a_region_once(turns: list[SpeakerTurn], least: int) -> None:
    told = without_short(partition(joined(turns), 0, seconds(80)), seconds(least))
    assert bool(told) == bool(turns)
    edges = [0, *(t.end for t in told)]
    assert [t.start for t in told] == edges[:-1]
    assert all(t.start < t.end for t in told)
    assert not told or edges[-1] == seconds(80)
    assert len(told) < 2 or all(t.end - t.start >= seconds(least) for t in told)
    assert all(
        one.attribution.speaker != other.attribution.speaker
        for one, other in itertools.pairwise(told)
    )


def test_only_what_differs_is_corrected() -> None:
    told, now = [turn(0, 2, 0), turn(2, 4, 1)], [turn(0, 3, 0), turn(3, 4, 1)]
    assert differences(told, now) == [TurnCorrection(seconds(2), seconds(3), 1, 0)]
    assert differences(told, told) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_speakers": 0},
        {"new_speaker": -1.0},
        {"distinct": -0.1},
        {"switch": 11.0},
        {"window": 0.1},
        {"hop": 3.0},
        {"min_turn": float("nan")},
        {"min_evidence": 0.1},
        {"min_beside": 0.1},
    ],
)
def test_nonsense_in_the_configuration_is_refused_by_name(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        DiarizationConfig(**wrong)  # type: ignore[arg-type]
