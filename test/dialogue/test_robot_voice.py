"""The robot's own voice in the microphone, and barge-in."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from erc_ros.dialogue.assembler import AssemblerConfig, UtteranceAssembler, UtteranceEvent
from erc_ros.dialogue.robot_voice import (
    Gate,
    RobotGateConfig,
    RobotSpeech,
    RobotVoiceConfig,
    RobotVoiceState,
    hear,
    is_playing,
    play,
    power,
    step,
)
from erc_ros.dialogue.voice_activity import SileroVoiceActivity
from erc_ros.sensing.audio import AudioSamples
from erc_ros.values.nanoseconds import NS, seconds
from erc_ros.values.utterance import Utterance

CONFIG = RobotGateConfig()
RATE = 16_000
LEVEL = 0.03  # RMS of the robot
LATE = 0.1  # s from /robot_speaking, or the loudspeaker's cable, to the microphone


def decibels(level: float) -> float:
    return float(10 ** (level / 10))


def robot_speech(gate: Gate, level: float, frames: int, seed: int = 0) -> tuple[Gate, int]:
    """Process frames whose level varies like speech; return how many passed as a person."""
    random, passed = np.random.default_rng(seed), 0
    for _ in range(frames):
        gate, is_alone = hear(gate, decibels(level + random.normal(0, 4)), True)
        passed += not is_alone
    return gate, passed


@pytest.mark.parametrize("level", [-60.0, -30.0, -10.0])
def test_the_robot_alone_does_not_pass_however_loud_it_is(level: float) -> None:
    _, passed = robot_speech(Gate(envelope=1.0), level, 2_000)
    assert passed == 0


def test_a_clearly_louder_person_passes_and_afterwards_the_robot_does_not() -> None:
    gate, _ = robot_speech(Gate(envelope=1.0), -40.0, 300)
    gate, passed = robot_speech(gate, -20.0, 60)
    assert passed > 50
    _, passed = robot_speech(gate, -40.0, 300)
    assert passed < 25  # what the gate stays open for


def test_no_audio_passes_before_the_robot_is_known() -> None:
    gate, passed = robot_speech(Gate(envelope=1.0), -40.0, CONFIG.min_learned - 10)
    _, more = robot_speech(gate, 0.0, 5)
    assert passed + more == 0


def test_silence_while_the_robot_says_it_speaks_teaches_nothing() -> None:
    gate = Gate(envelope=1.0)
    for _ in range(200):
        gate, is_alone = hear(gate, 1e-9, False)
        assert is_alone
    assert gate.learned == 0
    assert robot_speech(gate, -20.0, 500)[1] == 0


def test_a_robot_that_speaks_up_for_good_is_learned() -> None:
    gate, _ = robot_speech(Gate(envelope=1.0), -40.0, 300)
    gate, _ = robot_speech(gate, -28.0, 1_500)
    assert robot_speech(gate, -28.0, 500)[1] == 0


def test_the_robot_plays_until_the_room_has_rung_off() -> None:
    gate = play(Gate(), 0.01)
    frames = 0
    while is_playing(gate):
        gate, frames = play(gate, 0.0), frames + 1
    assert 0.5 < frames * 0.032 < 1.0


def test_power_is_the_mean_square() -> None:
    assert power(np.full(512, 0.5, np.float32)) == pytest.approx(0.25)


def test_with_less_margin_a_less_loud_person_passes() -> None:
    known, _ = robot_speech(Gate(envelope=1.0), -40.0, 300)
    level = decibels(known.loudness + CONFIG.margin - 1)
    for margin, passes in ((CONFIG.margin, False), (CONFIG.margin - 3, True)):
        gate, is_alone = known, True
        for _ in range(5):
            gate, is_alone = hear(gate, level, True, margin)
        assert is_alone is not passes


@given(st.lists(st.tuples(st.floats(0, 10), st.booleans()), max_size=200))
def test_the_state_stays_finite(frames: list[tuple[float, bool]]) -> None:
    gate = Gate()
    for level, is_speech in frames:
        gate, _ = hear(play(gate, level), level, is_speech)
    assert np.isfinite([gate.envelope, gate.loudness]).all()


def test_the_robot_is_talked_over_only_while_it_speaks() -> None:
    config, quiet = RobotVoiceConfig(), np.zeros(512, np.float32)
    state = RobotVoiceState(is_talked_over=True)
    state, is_robot = step(state, config, NS, quiet, quiet, 0.9)
    assert (state.is_talked_over, is_robot) == (False, False)
    state = RobotVoiceState((RobotSpeech(NS),), Gate(envelope=1.0))
    state, is_robot = step(state, config, 2 * NS, quiet + 0.1, quiet, 0.9)
    assert (state.is_talked_over, is_robot) == (False, True)
    state = replace(state, announced=robot_speech(state.announced, -40.0, 300)[0])
    for _ in range(10):
        state, is_robot = step(state, config, 3 * NS, quiet + 0.9, quiet, 0.9)
    assert (state.is_talked_over, is_robot) == (True, False)


# --- speech in a room ---


SPEAK = """
import sys, numpy
from erc_ros.demo.conversation_bag import DIALOGUE, VOICES
from erc_ros.demo.voices import synthesiser
voice, *numbers = map(int, sys.argv[1:])
said = [DIALOGUE[n] for n in numbers]
sound = [synthesiser().say(each.text, VOICES[voice], each.delivery) for each in said]
sys.stdout.buffer.write(numpy.concatenate(sound).tobytes())
"""


@cache
def said(numbers: range, voice: int, louder: float = 0.0) -> NDArray[np.float32]:
    """Return sentences of the demo, `decibels` louder than the robot."""
    pytest.importorskip("espeakng_loader", reason="the extra [demo] is not installed")
    # in a separate process, because the output of eSpeak depends on earlier calls
    words = [sys.executable, "-c", SPEAK, str(voice), *map(str, numbers)]
    sound = np.frombuffer(subprocess.run(words, check=True, stdout=subprocess.PIPE).stdout, "f4")
    rms = np.sqrt(np.mean(np.square(sound)))
    return np.asarray(sound * (LEVEL * 10 ** (louder / 20) / rms), np.float32)


def in_room(
    sound: NDArray[np.float32], start: float, length: int, seed: int
) -> NDArray[np.float32]:
    """Return (length,) samples from `start` s on in a room with RT60 0.4 s."""
    time = np.arange(round(0.5 * RATE)) / RATE
    response = np.random.default_rng(seed).normal(0, 1, len(time)) * 10 ** (-3 * time / 0.4)
    response /= np.sqrt(np.sum(response**2))
    response[0] += 1.0
    dry = np.zeros(length)
    first = round(start * RATE)
    dry[first : first + len(sound)] = sound
    size = 2 ** int(np.ceil(np.log2(length + len(time))))
    wet = np.fft.irfft(np.fft.rfft(dry, size) * np.fft.rfft(response, size), size)[:length]
    noise = np.random.default_rng(seed).normal(0, 1e-3, length)
    return np.asarray(wet / np.sqrt(2) + noise, np.float32)


def heard(
    robot: NDArray[np.float32], person: NDArray[np.float32] | None, has_reference: bool
) -> list[Utterance]:
    """Return the utterances if the robot speaks from 1 s on and the person from 5 s on."""
    length = len(robot) + 4 * RATE
    microphone = in_room(robot, 1.0 + LATE, length, seed=1)
    if person is not None:
        microphone += in_room(person, 5.0, length, seed=2)
    played = np.zeros(length, np.float32)
    played[RATE : RATE + len(robot)] = robot
    ears, events = (
        UtteranceAssembler(AssemblerConfig(expect_text="never"), SileroVoiceActivity()),
        [],
    )
    announced = {1.0: True, 1.0 + len(robot) / RATE: False}
    for first in range(0, length, 512):
        part = slice(first, first + 512)
        if not has_reference:
            for time in [time for time in announced if time * RATE <= first]:
                ears.feed_robot_speaking(NS + seconds(time), announced.pop(time))
        sound = AudioSamples(
            NS + first * NS // RATE, microphone[part], played[part] if has_reference else None
        )
        events += ears.feed_audio(sound)
    events += ears.flush()
    return [event.utterance for event in events if isinstance(event, UtteranceEvent)]


GATES = pytest.mark.parametrize("has_reference", [False, True], ids=["announced", "reference"])


@GATES
def test_a_robot_that_talks_alone_in_a_room_gives_no_utterance(has_reference: bool) -> None:
    assert heard(said(range(6), voice=2), None, has_reference) == []


@GATES
def test_a_person_who_talks_over_it_does(has_reference: bool) -> None:
    person = said(range(6, 7), voice=0, louder=12.0)
    utterances = heard(said(range(6), voice=2), person, has_reference)
    assert len(utterances) <= 2  # the robot drowns a syllable
    start, end = (utterances[0].start - NS) / NS, (utterances[-1].end - NS) / NS
    assert start == pytest.approx(5.0, abs=0.5)
    assert end == pytest.approx(5.0 + len(person) / RATE, abs=1.0)
