"""The robot's own voice in the microphone, and somebody who talks over it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from erc_ros.sensing.echo import LEAST_LEARNED, Echo, hear, is_playing, play, power


def decibels(level: float) -> float:
    return float(10 ** (level / 10))


def robot_speech(echo: Echo, level: float, frames: int, seed: int = 0) -> tuple[Echo, int]:
    """Frames whose level varies as speech does; how many passed as somebody else."""
    random, passed = np.random.default_rng(seed), 0
    for _ in range(frames):
        echo, is_alone = hear(echo, decibels(level + random.normal(0, 4)), True)
        passed += not is_alone
    return echo, passed


@pytest.mark.parametrize("level", [-60.0, -30.0, -10.0])
def test_the_robot_alone_does_not_pass_however_loud_it_is(level: float) -> None:
    _, passed = robot_speech(Echo(envelope=1.0), level, 2_000)
    assert passed == 0


def test_somebody_clearly_louder_passes_and_afterwards_the_robot_does_not() -> None:
    echo, _ = robot_speech(Echo(envelope=1.0), -40.0, 300)
    echo, passed = robot_speech(echo, -20.0, 60)
    assert passed > 50
    _, passed = robot_speech(echo, -40.0, 300)
    assert passed < 25  # what the gate stays open for


def test_nobody_passes_before_the_robot_is_known() -> None:
    echo, passed = robot_speech(Echo(envelope=1.0), -40.0, LEAST_LEARNED - 10)
    _, more = robot_speech(echo, 0.0, 5)
    assert passed + more == 0


def test_silence_while_the_robot_says_it_speaks_teaches_nothing() -> None:
    echo = Echo(envelope=1.0)
    for _ in range(200):
        echo, is_alone = hear(echo, 1e-9, False)
        assert is_alone
    assert echo.learned == 0
    assert robot_speech(echo, -20.0, 500)[1] == 0


def test_a_robot_that_speaks_up_for_good_is_learned() -> None:
    echo, _ = robot_speech(Echo(envelope=1.0), -40.0, 300)
    echo, _ = robot_speech(echo, -28.0, 1_500)
    assert robot_speech(echo, -28.0, 500)[1] == 0


def test_the_robot_plays_until_the_room_has_rung_off() -> None:
    echo = play(Echo(), 0.01)
    frames = 0
    while is_playing(echo):
        echo, frames = play(echo, 0.0), frames + 1
    assert 0.2 < frames * 0.032 < 0.6


def test_power_is_the_mean_square() -> None:
    assert power(np.full(512, 0.5, np.float32)) == pytest.approx(0.25)


@given(st.lists(st.tuples(st.floats(0, 10), st.booleans()), max_size=200))
def test_the_state_stays_finite(frames: list[tuple[float, bool]]) -> None:
    echo = Echo()
    for level, is_speech in frames:
        echo, _ = hear(play(echo, level), level, is_speech)
    assert np.isfinite([echo.envelope, echo.loudness]).all()
