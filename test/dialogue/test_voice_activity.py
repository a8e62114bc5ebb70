"""Speech regions from probabilities; and the real network on silence, noise and speech."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from erc_ros.dialogue.voice_activity import (
    FRAME,
    FRAME_TIME,
    Activity,
    Began,
    Ended,
    SileroVoiceActivity,
    VoiceActivityConfig,
    finish,
    step,
)
from erc_ros.values.nanoseconds import seconds

CONFIG = VoiceActivityConfig()


def run(
    probabilities: list[float], config: VoiceActivityConfig = CONFIG
) -> tuple[Activity, list[Began | Ended]]:
    activity, events = Activity(), []
    for number, probability in enumerate(probabilities):
        activity, more = step(activity, config, number * FRAME_TIME, probability)
        events += more
    return activity, events


def test_a_word_is_a_region_with_padding_on_both_sides() -> None:
    _, events = run([0.0] * 20 + [0.9] * 20 + [0.0] * 20)
    began, ended = events
    assert isinstance(began, Began) and isinstance(ended, Ended)
    assert began.start == ended.start == 20 * FRAME_TIME - seconds(CONFIG.padding)
    assert ended.end == 40 * FRAME_TIME + seconds(CONFIG.padding)


def test_padding_does_not_reach_before_the_first_frame_of_the_audio() -> None:
    speech, silence = [0.9] * 20, [0.0] * 20
    began = [event.start for event in run(speech + silence + speech)[1] if type(event) is Began]
    assert began == [0, 40 * FRAME_TIME - seconds(CONFIG.padding)]


def test_a_click_is_no_speech() -> None:
    _, events = run([0.0] * 20 + [0.9] * 2 + [0.0] * 20)
    assert events == []


def test_a_pause_shorter_than_the_hangover_does_not_end_the_region() -> None:
    _, events = run([0.9] * 20 + [0.0] * 8 + [0.9] * 20 + [0.0] * 20)
    assert [type(event) for event in events] == [Began, Ended]


def test_between_onset_and_offset_speech_goes_on_but_does_not_begin() -> None:
    assert run([0.2] * 50)[1] == []
    _, events = run([0.9] * 10 + [0.2] * 40 + [0.0] * 20)
    assert isinstance(events[-1], Ended)
    assert events[-1].end == 50 * FRAME_TIME + seconds(CONFIG.padding)


def test_endless_speech_is_cut_where_it_is_most_silent() -> None:
    config = VoiceActivityConfig(max_stretch=5.0)
    probabilities = [0.9] * 400
    probabilities[140] = 0.5
    _, events = run(probabilities, config)
    ended = [event for event in events if isinstance(event, Ended)]
    assert ended[0].is_cut and ended[0].end == 140 * FRAME_TIME + FRAME_TIME // 2
    assert all(event.end - event.start <= seconds(5.0) for event in ended)
    assert events[events.index(ended[0]) + 1] == Began(ended[0].end)


def test_a_cut_prefers_a_pause_to_a_single_doubtful_frame() -> None:
    probabilities = [0.9] * 400
    probabilities[110] = 0.3
    probabilities[130:133] = [0.4, 0.35, 0.4]
    _, events = run(probabilities, VoiceActivityConfig(max_stretch=5.0))
    ended = next(event for event in events if isinstance(event, Ended))
    assert ended.end == 131 * FRAME_TIME + FRAME_TIME // 2


def test_speech_at_the_end_of_the_stream_is_closed() -> None:
    activity, events = run([0.9] * 20)
    assert [type(event) for event in events] == [Began]
    closed, events = finish(activity, CONFIG)
    assert [type(event) for event in events] == [Ended]
    assert finish(closed, CONFIG)[1] == []


@given(st.lists(st.floats(0, 1), max_size=400))
def test_regions_are_in_order_and_never_overlap(probabilities: list[float]) -> None:
    activity, events = run(probabilities)
    events += finish(activity, CONFIG)[1]
    assert [type(event) for event in events] == [Began, Ended] * (len(events) // 2)
    last = -seconds(1.0)
    for event in events:
        if isinstance(event, Ended):
            assert last <= event.start < event.end
            last = event.end


@given(st.lists(st.tuples(st.integers(6, 20), st.integers(4, 20)), min_size=2, max_size=6))
def test_padding_never_overlaps_the_previous_region(runs: list[tuple[int, int]]) -> None:
    config = VoiceActivityConfig(hangover=0.12, padding=0.12)  # two paddings exceed the silence
    probabilities = [p for voiced, quiet in runs for p in [0.9] * voiced + [0.0] * quiet]
    activity, events = run(probabilities, config)
    events += finish(activity, config)[1]
    ended = [event for event in events if isinstance(event, Ended)]
    assert len(ended) == len(runs)
    for before, after in pairwise(ended):
        assert before.end <= after.start


@pytest.mark.parametrize(
    "samples", [np.zeros(FRAME), np.full(FRAME, np.nan), np.full(FRAME, np.inf)]
)
def test_silence_and_what_is_no_number_are_no_speech(samples: np.ndarray) -> None:
    network = SileroVoiceActivity()
    assert network.feed(samples.astype(np.float32)) < 0.3
    assert network.feed(np.zeros(FRAME, np.float32)) < 0.3  # and nothing is spoilt for later


def test_another_number_of_samples_is_refused() -> None:
    with pytest.raises(ValueError, match="512"):
        SileroVoiceActivity().feed(np.zeros(100, np.float32))


@pytest.mark.parametrize(
    "wrong", [{"onset": 2.0}, {"offset": 0.9}, {"padding": 1.0}, {"max_stretch": float("nan")}]
)
def test_nonsense_in_the_configuration_is_refused_by_name(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        VoiceActivityConfig(**wrong)
