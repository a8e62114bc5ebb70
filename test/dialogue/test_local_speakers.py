"""Local speakers: linking of voices in windows of arbitrary order, with synthetic activities."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from erc_ros.dialogue.speakers.local_speakers import (
    ACTIVE,
    LocalSpeakers,
    LocalSpeakersConfig,
    active_runs,
    link_window,
)

CONFIG = LocalSpeakersConfig()
KEPT = 100  # frames
LENGTH = 40  # frames of a window
Activity = NDArray[np.float32]  # (frames, voices)


def speaking(frames: int, *spans: tuple[int, int, int]) -> Activity:
    """Convert (first, last + 1, voice) to activities (frames, voices), with three voices."""
    activity = np.zeros((frames, 3), np.float32)
    for first, last, voice in spans:
        activity[first:last, voice] = 1.0
    return activity


def follow(activity: Activity, step: int, order: list[list[int]]) -> LocalSpeakers:
    """Link windows with a step of `step` frames; order: order of the voices in each window."""
    tracks, numbering = LocalSpeakers(), itertools.cycle(order)
    for last in range(step, len(activity) + 1, step):
        first = max(0, last - LENGTH)
        tracks = link_window(tracks, CONFIG, first, activity[first:last, next(numbering)], KEPT)
    return tracks


def same(one: LocalSpeakers, other: LocalSpeakers) -> bool:
    return (
        (one.first, one.ids, one.separated, one.born)
        == (other.first, other.ids, other.separated, other.born)
        and np.array_equal(one.sums, other.sums)
        and np.array_equal(one.counts, other.counts)
    )


def test_after_a_gap_of_any_length_the_voices_are_new_and_memory_is_not() -> None:
    before = link_window(LocalSpeakers(), CONFIG, 0, speaking(40, (0, 40, 0)), KEPT)
    after = link_window(before, CONFIG, 10**12, speaking(40, (0, 40, 0)), KEPT)
    assert after.ids == (1,) and after.first == 10**12 and len(after.counts) == 40


THREE = speaking(80, (0, 20, 0), (18, 40, 1), (40, 60, 0), (55, 80, 2))
PERMUTATIONS = [list(p) for p in itertools.permutations(range(3))]


@settings(deadline=None)
@given(st.lists(st.sampled_from(PERMUTATIONS), min_size=1, max_size=8))
def test_how_the_network_numbers_its_voices_changes_nothing(order: list[list[int]]) -> None:
    assert same(follow(THREE, 10, order), follow(THREE, 10, [[0, 1, 2]]))


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 90), st.integers(4, 40), st.integers(0, 2)), min_size=1, max_size=6
    ),
    st.lists(st.sampled_from(PERMUTATIONS), min_size=1, max_size=8),
    st.sampled_from([5, 10, 20]),
)
def test_local_speakers_are_consistent_for_any_turns(
    spans: list[tuple[int, int, int]], order: list[list[int]], step: int
) -> None:
    heard = speaking(130, *((a, min(130, a + n), v) for a, n, v in spans))
    tracks = LocalSpeakers()
    for number, last in enumerate(range(step, len(heard) + 1, step)):
        first = max(0, last - LENGTH)
        window = heard[first:last, order[number % len(order)]]
        before, tracks = tracks, link_window(tracks, CONFIG, first, window, KEPT)
        assert tracks.sums.shape == (len(tracks.ids), len(tracks.counts))
        assert len(tracks.counts) <= KEPT and tracks.last == last
        assert list(tracks.ids) == sorted(set(tracks.ids))  # who came first stays first
        assert set(tracks.ids) - set(before.ids) <= set(range(before.born, tracks.born))
        assert all(a < b and {a, b} <= set(tracks.ids) for a, b in tracks.separated)
        assert 0.0 <= tracks.activity().min(initial=0.0) <= tracks.activity().max(initial=0.0) <= 1
        assert tracks.born >= before.born


def test_a_voice_keeps_its_name_from_window_to_window() -> None:
    tracks = follow(THREE, 10, PERMUTATIONS)
    assert tracks.ids == (0, 1, 2) and tracks.born == 3
    np.testing.assert_array_equal(tracks.activity() > ACTIVE, THREE.T > ACTIVE)


def test_only_voices_of_one_window_have_met() -> None:
    tracks = follow(speaking(80, (0, 15, 0), (30, 40, 1), (65, 80, 2)), 10, [[0, 1, 2]])
    assert tracks.separated == {(0, 1), (1, 2)}


def test_a_voice_that_was_silent_for_a_window_is_another_one() -> None:
    tracks = follow(speaking(80, (0, 20, 0), (65, 80, 0)), 10, [[0, 1, 2]])
    assert tracks.ids == (0, 1)


def test_a_voice_of_a_frame_or_two_is_noise() -> None:
    assert follow(speaking(40, (10, 12, 0)), 10, [[0, 1, 2]]).ids == ()
    assert follow(speaking(40, (10, 13, 0)), 10, [[0, 1, 2]]).ids == (0,)


def test_a_window_that_disagrees_counts_as_one_voice_of_several() -> None:
    """Three of four windows contain two voices; the mean follows the majority."""
    two, one = speaking(40, (0, 20, 0), (20, 40, 1)), speaking(40, (0, 20, 0))
    tracks = LocalSpeakers()
    for window in (two, two, one, two):
        tracks = link_window(tracks, CONFIG, 0, window, KEPT)
    np.testing.assert_allclose(tracks.activity()[:, [10, 30]], [[1.0, 0.0], [0.0, 0.75]])


def test_what_is_long_past_is_forgotten() -> None:
    tracks = follow(speaking(400, (0, 60, 0), (350, 400, 1)), 10, [[0, 1, 2]])
    assert (tracks.first, tracks.last, tracks.ids) == (300, 400, (1,))


def test_frames_without_window_have_no_speaker() -> None:
    tracks = link_window(LocalSpeakers(), CONFIG, 0, speaking(20, (0, 20, 0)), KEPT)
    tracks = link_window(tracks, CONFIG, 50, speaking(20, (0, 20, 0)), KEPT)
    assert tracks.last == 70 and tracks.ids == (0, 1)
    assert not tracks.activity()[:, 20:50].any() and not tracks.counts[20:50].any()


def test_a_window_that_begins_before_what_is_remembered_is_cut() -> None:
    tracks = link_window(LocalSpeakers(), CONFIG, 30, speaking(20, (0, 20, 0)), KEPT)
    tracks = link_window(tracks, CONFIG, 10, speaking(40, (0, 40, 0)), KEPT)
    assert (tracks.first, tracks.last, tracks.ids) == (30, 50, (0,))
    np.testing.assert_array_equal(tracks.counts, 2.0)


@pytest.mark.parametrize(
    ("is_on", "expected"),
    [([], []), ([0, 0], []), ([1, 1], [(0, 2)]), ([1, 0, 0, 1, 1], [(0, 1), (3, 5)])],
)
def test_runs_are_the_spans_of_true(is_on: list[int], expected: list[tuple[int, int]]) -> None:
    assert active_runs(np.array(is_on, bool)) == expected
