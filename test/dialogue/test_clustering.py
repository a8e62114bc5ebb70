"""Speaker clustering: clusters, indices and profiles, with synthetic vectors."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from erc_ros.dialogue.speakers import clustering as v
from erc_ros.dialogue.speakers.clustering import (
    ClusteringThresholds,
    EmbeddedWindow,
    SpeakerClusters,
    VoiceProfile,
)

FRAME = 0.1  # s
LIMITS = ClusteringThresholds(
    same=1.0,
    least=0.5,
    distinct=0.15,
    evidence=1.6,
    evidence_beside=0.6,
    speakers=6,
    frame=FRAME,
)
NOBODY_MET = frozenset[tuple[int, int]]()


def axis(number: int, towards: int | None = None, likeness: float = 0.0) -> NDArray[np.float32]:
    """Return the axis `number` of 16 as a voice, or one with a given similarity to `towards`."""
    vector = np.zeros(16, np.float32)
    vector[number] = np.sqrt(1 - likeness**2)
    if towards is not None:
        vector[towards] = likeness
    return vector


def window(
    first: int, vector: NDArray[np.float32], length: int = 12, **more: int
) -> EmbeddedWindow:
    return EmbeddedWindow(first, first + length, vector, min(1.0, length / 12), **more)


def said(*numbers: int, first: int = 0) -> tuple[EmbeddedWindow, ...]:
    """Return consecutive windows of 1.2 s, one per voice, each in a run of its own."""
    return tuple(
        window(first + 20 * place, axis(number), local=number, run=place)
        for place, number in enumerate(numbers)
    )


def recluster(
    known: SpeakerClusters,
    met: frozenset[tuple[int, int]] = NOBODY_MET,
    limits: ClusteringThresholds = LIMITS,
) -> tuple[SpeakerClusters, v.Matrix, dict[int, int | None]]:
    return v.recluster(known, v.co_occurrence(known.windows, met, near=100), limits)


def speakers(clusters_of: SpeakerClusters) -> list[int | None]:
    return [window.speaker for window in clusters_of.windows]


# --- clusters ---


def clusters(
    vectors: Sequence[NDArray[np.float32]], limits: ClusteringThresholds = LIMITS
) -> list[list[int]]:
    stack = np.stack(vectors).astype(np.float64)
    ones = np.ones(len(stack))
    return sorted(sorted(group) for group in v.cluster(stack @ stack.T, ones, 1.2 * ones, limits))


def test_what_is_alike_on_average_is_one_voice() -> None:
    groups = clusters([axis(0), axis(1), axis(2, 0, 0.8), axis(3, 1, 0.7), axis(0)])
    assert groups == [[0, 2, 4], [1, 3]]


def test_the_link_is_the_mean_of_all_pairs() -> None:
    """A chain whose ends are different is split, although adjacent members are similar."""
    chain = [axis(0), axis(1, 0, 0.55), axis(2, 1, 0.55)]
    assert clusters(chain) == [[0, 1], [2]]


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.permutations(range(9)))
def test_the_order_of_the_windows_does_not_change_the_groups(seed: int, order: list[int]) -> None:
    random = np.random.default_rng(seed)
    vectors = [axis(k % 3) + random.normal(0, 0.1, 16).astype(np.float32) for k in range(9)]
    shuffled = clusters([vectors[k] for k in order])
    assert sorted(sorted(order[k] for k in group) for group in shuffled) == clusters(vectors)


@settings(deadline=None)
@given(st.integers(1, 14), st.integers(1, 6), st.integers(1, 3))
def test_no_more_speakers_than_allowed_and_no_window_is_lost(
    people: int, limit: int, each: int
) -> None:
    vectors = [axis(k) for k in range(people) for _ in range(each)]
    groups = clusters(vectors, replace(LIMITS, speakers=limit, evidence=1.0))
    assert len(groups) == min(people, limit)
    assert sorted(place for group in groups for place in group) == list(range(len(vectors)))


def test_too_little_speech_for_a_speaker_does_not_count_against_the_limit() -> None:
    assert len(clusters([axis(k) for k in range(9)], replace(LIMITS, speakers=2))) == 9


# --- learning ---


def test_speakers_are_numbered_as_they_come() -> None:
    clustered, _, merged = recluster(SpeakerClusters(windows=said(5, 5, 3, 3, 5, 8, 8)))
    assert speakers(clustered) == [0, 0, 1, 1, 0, 2, 2]
    assert (clustered.speakers, merged) == (3, {})


def test_the_first_voice_is_a_speaker_at_once_the_second_after_some_speech() -> None:
    assert speakers(recluster(SpeakerClusters(windows=said(5)))[0]) == [0]
    assert speakers(recluster(SpeakerClusters(windows=said(5, 3)))[0]) == [0, None]
    assert speakers(recluster(SpeakerClusters(windows=said(5, 3, 3)))[0]) == [0, 1, 1]


def test_a_voice_that_co_occurred_with_all_others_becomes_a_speaker_sooner() -> None:
    known = SpeakerClusters(windows=said(5, 3))
    assert speakers(recluster(known, frozenset({(3, 5)}))[0]) == [0, 1]
    three = SpeakerClusters(windows=said(5, 5, 8, 8, 3))
    assert speakers(recluster(three, frozenset({(3, 5)}))[0]) == [0, 0, 1, 1, None]
    assert speakers(recluster(three, frozenset({(3, 5), (3, 8)}))[0]) == [0, 0, 1, 1, 2]


def test_distant_windows_do_not_co_occur() -> None:
    windows = (window(0, axis(5), local=5), window(150, axis(3), local=3))
    assert not v.co_occurrence(windows, frozenset({(3, 5)}), near=100).any()
    co_occurs = v.co_occurrence(windows, frozenset({(3, 5)}), near=200)
    assert co_occurs.tolist() == [[False, True], [True, False]]


def test_similar_voices_are_two_if_they_co_occurred() -> None:
    alike = tuple(
        window(20 * k, axis(0) if k % 2 else axis(1, 0, 0.6), local=k % 2) for k in range(4)
    )
    assert speakers(recluster(SpeakerClusters(windows=alike))[0]) == [0, 0, 0, 0]
    assert speakers(recluster(SpeakerClusters(windows=alike), frozenset({(0, 1)}))[0]) == [
        0,
        1,
        0,
        1,
    ]


@given(st.lists(st.sampled_from([None, 0, 1, 2]), max_size=5), st.randoms())
def test_profiles_of_separated_speakers_are_less_similar_to_both(
    windows: list[int | None], random: Random
) -> None:
    """By every pair in turn; between two windows `co_occurs` alone decides."""
    profiles = [random.choice([None, 0, 1, 2]) for _ in range(4)]
    met = frozenset({(0, 1), (1, 2)})
    known = SpeakerClusters(
        tuple(VoiceProfile(axis(0), 1.0, 2.0, speaker) for speaker in profiles),
        tuple(replace(each, speaker=s) for each, s in zip(said(*[0] * 5), windows, strict=False)),
        3,
        met,
    )
    count = len(known.windows)
    found = v.similarity(known, np.zeros((count, count), bool), 0.25)
    everyone = [*profiles, *windows]
    for (row, one), (column, other) in itertools.product(enumerate(everyone), repeat=2):
        has_profile = row < 4 or column < 4
        are_separated = {one, other} in ({0, 1}, {1, 2})
        assert found[row, column] == (0.75 if has_profile and are_separated else 1.0)


def test_a_speaker_keeps_the_number_while_others_come_and_go() -> None:
    known = SpeakerClusters()
    for start, numbers in enumerate([(5, 5), (3, 3), (8, 8, 5), (3, 5, 8)]):
        fresh = said(*numbers, first=100 * start)
        known, _, merged = recluster(replace(known, windows=(*known.windows, *fresh)))
        assert not merged
        known = v.freeze(known, 100 * start, FRAME, 24)
    assert {voice.speaker: int(voice.mean.argmax()) for voice in known.profiles} == {
        0: 5,
        1: 3,
        2: 8,
    }
    assert speakers(known) == [1, 0, 2]


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=16), st.integers(1, 4))
def test_numbers_stay_and_no_more_speakers_than_allowed_are_there_at_once(
    numbers: list[int], bound: int
) -> None:
    known, limits = SpeakerClusters(), replace(LIMITS, speakers=bound)
    for place, number in enumerate(numbers):
        fresh = window(20 * place, axis(number), local=place)
        before = {w.first: w.speaker for w in known.windows}
        known, fits, merged = recluster(
            replace(known, windows=(*known.windows, fresh)), limits=limits
        )
        known = v.freeze(known, 20 * place - 100, FRAME, 24)
        found = {item.speaker for item in (*known.windows, *known.profiles)} - {None}
        assert found <= set(range(known.speakers)) and len(found) <= bound
        assert fits.shape[1] == known.speakers <= 2 * bound
        if len(set(numbers)) <= bound:  # strangers to each other never become one, or another
            now = {w.first: w.speaker for w in known.windows}
            assert not merged
            assert all(before[k] in (None, now[k]) for k in set(before) & set(now))


def test_merged_speakers_keep_the_number_with_more_speech() -> None:
    """A window between them shows that they are the same."""
    past = (
        VoiceProfile(3 * axis(1, 0, 0.3), 3.0, 3.6, speaker=0),
        VoiceProfile(5 * axis(0), 5.0, 6.0, speaker=1),
    )
    between = tuple(window(100 + 20 * k, axis(1, 0, 0.8)) for k in range(8))
    assert recluster(SpeakerClusters(past, (), 2))[2] == {}
    clustered, _, merged = recluster(SpeakerClusters(past, between, 2))
    assert merged == {0: 1}
    assert {voice.speaker for voice in clustered.profiles} == {1} and set(speakers(clustered)) == {
        1
    }


def test_a_window_is_compared_with_windows_of_other_audio() -> None:
    windows = (window(0, axis(0)), window(4, axis(0)), window(40, axis(1, 0, 0.8)))
    clustered, fits, _ = recluster(SpeakerClusters(windows=windows))
    assert speakers(clustered) == [0, 0, 0]
    # the second one shares 8 frames with the first, and itself with itself: the third counts
    np.testing.assert_allclose(
        fits[:2, 0], (0.8 + LIMITS.clustering.prior * LIMITS.same) / (1 + LIMITS.clustering.prior)
    )


def test_no_audio_is_no_speaker() -> None:
    clustered, fits, merged = recluster(SpeakerClusters())
    assert (clustered.speakers, fits.shape, merged) == (0, (0, 0), {})


# --- what is kept ---


def test_settled_windows_are_sums_and_nothing_is_lost() -> None:
    known, _, _ = recluster(SpeakerClusters(windows=said(5, 3, 5, 3, 5)))
    settled = v.freeze(known, 52, FRAME, 24)
    assert [w.first for w in settled.windows] == [60, 80]
    assert {voice.speaker: (voice.weight, voice.heard) for voice in settled.profiles} == {
        0: (2.0, pytest.approx(2.4)),
        1: (1.0, pytest.approx(1.2)),
    }
    before, after = (v.speaker_profiles(voices, FRAME) for voices in (known, settled))
    assert before.keys() == after.keys()
    for speaker, voice in before.items():
        np.testing.assert_allclose(after[speaker].total, voice.total)
        assert after[speaker].heard == pytest.approx(voice.heard)


def test_the_past_is_bounded_and_profiles_without_speaker_are_deleted_first() -> None:
    known = SpeakerClusters(speakers=2)
    for place in range(80):
        speaker = (None, 0, None, 1)[place % 4]
        fresh = window(20 * place, axis(place % 4), speaker=speaker)
        known = v.freeze(replace(known, windows=(fresh,)), 20 * place + 20, FRAME, 24)
        assert len(known.profiles) <= 24
    heard = {speaker: voice.weight for speaker, voice in v.speaker_profiles(known, FRAME).items()}
    assert heard == {0: 20.0, 1: 20.0}
    assert all(voice.weight == 1.0 for voice in known.profiles if voice.speaker is None)


def test_overlapping_windows_count_once() -> None:
    windows = [window(first, axis(0)) for first in (0, 4, 8, 30)]
    assert v.speech_duration(windows, FRAME) == pytest.approx(3.2)
    assert v.profile_of(windows, FRAME).weight == 4.0


# --- following ---


def test_a_change_of_speaker_has_its_price() -> None:
    scores = np.array([[0.0, -1.0], [-0.2, 0.0], [0.0, -1.0], [-1.0, 0.0], [-1.0, 0.0]])
    assert v.viterbi(scores, cost=0.3).tolist() == [0, 0, 0, 1, 1]
    assert v.viterbi(scores, cost=0.0).tolist() == [0, 1, 0, 1, 1]
    assert v.viterbi(scores, cost=9.0).tolist() == [1, 1, 1, 1, 1]


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 3), st.floats(0.0, 2.0))
def test_no_other_path_is_better(seed: int, count: int, people: int, cost: float) -> None:
    scores = np.random.default_rng(seed).normal(0, 1, (count, people))

    def worth(path: Sequence[int]) -> float:
        changes = sum(one != other for one, other in itertools.pairwise(path))
        return float(scores[np.arange(count), list(path)].sum()) - cost * changes

    best = max(worth(path) for path in np.ndindex(*[people] * count))
    assert worth(v.viterbi(scores, cost).tolist()) == pytest.approx(best)


def test_who_has_said_nothing_is_never_followed() -> None:
    scores = np.array([[0.4, -np.inf], [0.1, -np.inf]])
    assert v.viterbi(scores, 0.2).tolist() == [0, 0]
