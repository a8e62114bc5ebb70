"""Faults of a robot in the field, in the pipeline: clocks that are set back, failing sensors."""

from __future__ import annotations

import os
import subprocess
import sys
import wave
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from bundles import write_tiny_bundle
from numpy.typing import NDArray

pytest.importorskip("espeakng_loader", reason="the extra [demo] is not installed")

from erc_ros import AudioChunk, EstimateEvent, Pipeline, PipelineConfig, Transcript
from erc_ros.inference.estimate import Estimate
from erc_ros.values.events import ConversationEnded, Event
from erc_ros.values.nanoseconds import NS
from erc_ros.values.utterance import SAMPLE_RATE

TURNS = ("I got the job.", "That is wonderful!", "I am afraid of the first day.", "Why?")
CHUNK = NS // 10
LONG = 4 * NS  # of a turn, with its pause
START = 1_700_000_000 * NS
MIB = 2**20


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture()
def pipeline(bundle: Path) -> Iterator[Pipeline]:
    config = PipelineConfig(bundle=str(bundle), speaker_model="none", device="cpu")
    with Pipeline(config) as made:
        yield made


@cache
def voice() -> NDArray[np.int16]:
    """Return a turn: 2 s of speech, and silence."""
    from erc_ros.demo.conversation_bag import VOICES
    from erc_ros.demo.voices import synthesiser

    said = synthesiser().say("I got the job, and I am so happy about it!", VOICES[0])
    turn = np.zeros(LONG * SAMPLE_RATE // NS)
    count = min(len(said), 2 * SAMPLE_RATE)
    turn[:count] = said[:count]
    return (turn.clip(-1, 1) * 32767).astype("<i2")


def heard(begin: int) -> bytes:
    """Return the 0.1 s of a turn that begin at `begin`."""
    first = begin % LONG * SAMPLE_RATE // NS
    return voice()[first : first + SAMPLE_RATE // 10].tobytes()


def conversation(
    pipeline: Pipeline, start: int, stamps: int | None = None, deaf: bool = False, turns: int = 4
) -> list[Event]:
    """Return turns of 4 s, from `start` on the node's clock.

    stamps: start on the microphone's clock, if it differs. deaf: whether there is no microphone.
    """
    events: list[Event] = []
    ahead = (start if stamps is None else stamps) - start
    for now in range(0, turns * LONG, CHUNK):
        if not deaf:
            stamp = start + now + ahead
            events += pipeline.feed(AudioChunk(heard(now), stamp, start + now + CHUNK, "mic"))
        if now % LONG == 3 * NS:
            said = TURNS[now // LONG % len(TURNS)]
            events += pipeline.feed(Transcript(said, arrival=start + now))
        events += pipeline.advance(start + now + CHUNK)
    return events


def estimates(events: list[Event]) -> list[Estimate]:
    result = [event.estimate for event in events if isinstance(event, EstimateEvent)]
    return [estimate for estimate in result if estimate.utterance.is_final]


def texts(events: list[Event]) -> list[str]:
    return [e.utterance.text for e in estimates(events) if e.utterance.text]


def check_whole(events: list[Event]) -> None:
    for estimate in estimates(events):
        assert estimate.utterance.end >= estimate.utterance.start
        assert np.isfinite(estimate.probabilities).all()
        assert estimate.probabilities.sum() == pytest.approx(1)


@pytest.mark.parametrize("back", [NS // 2, 16 * NS, 3600 * NS])
def test_every_text_gets_an_estimate_when_all_clocks_go_back(pipeline: Pipeline, back: int) -> None:
    events = conversation(pipeline, START)
    events += conversation(pipeline, START + 16 * NS - back)
    events += pipeline.flush()
    check_whole(events)
    assert texts(events) == [*TURNS, *TURNS]


@pytest.mark.parametrize("ahead", [-20 * NS, 20 * NS, 3600 * NS])
def test_every_text_gets_an_estimate_when_the_clock_of_the_microphone_jumps(
    pipeline: Pipeline, ahead: int
) -> None:
    events = conversation(pipeline, START)
    second = START + 16 * NS
    events += conversation(pipeline, second, stamps=second + ahead)
    events += conversation(pipeline, second + 16 * NS)  # and back
    events += pipeline.flush()
    check_whole(events)
    assert texts(events) == [*TURNS] * 3


def test_a_bag_that_is_played_in_a_loop_gives_the_same_in_every_round(pipeline: Pipeline) -> None:
    rounds = [conversation(pipeline, START) for _ in range(3)]
    check_whole([event for events in rounds for event in events])
    said = [texts(events) for events in rounds]
    assert [text for each in said for text in each] == [*TURNS] * 3
    ids = [e.utterance.utterance_id for events in rounds for e in estimates(events)]
    conversations = [e.utterance.conversation_id for events in rounds for e in estimates(events)]
    assert len({*zip(conversations, ids, strict=True)}) == len(ids)


def test_texts_get_estimates_without_a_microphone_and_audio_counts_again_after_it(
    pipeline: Pipeline,
) -> None:
    before = conversation(pipeline, START)
    without = conversation(pipeline, START + 16 * NS, deaf=True, turns=15)
    after = conversation(pipeline, START + 76 * NS) + pipeline.flush()
    check_whole([*before, *without, *after])
    assert texts(before) + texts(without) + texts(after) == [
        *TURNS, *(TURNS[n % 4] for n in range(15)), *TURNS
    ]  # fmt: skip
    sound = [[e.modalities[1] for e in estimates(events)] for events in (before, without, after)]
    assert all(sound[0]) and all(sound[2])
    assert sum(sound[1]) <= 1  # speech during the failure of the microphone


def test_thirty_conversations_with_resets_leave_nothing_of_each_other(pipeline: Pipeline) -> None:
    answers, names, memory = [], set(), []
    for number in range(30):
        start = START + number * 600 * NS
        events = conversation(pipeline, start, turns=1) + pipeline.reset()
        check_whole(events)
        assert texts(events) == list(TURNS[:1])
        assert sum(isinstance(event, ConversationEnded) for event in events) == 1
        answers.append([estimate.probabilities for estimate in estimates(events)])
        (name,) = {estimate.utterance.conversation_id for estimate in estimates(events)}
        names.add(name)
        pages = Path("/proc/self/statm").read_text().split()[1]
        memory.append(int(pages) * os.sysconf("SC_PAGESIZE"))
    assert len(names) == 30
    for answer in answers[1:]:
        np.testing.assert_allclose(answer, answers[0], atol=1e-5)
    assert np.median(memory[-8:]) - np.median(memory[8:16]) < 10 * MIB


def buffered() -> dict[str, str]:
    """The environment without PYTHONUNBUFFERED, which hides errors of Python's last flush."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}


def test_a_line_that_the_full_disk_does_not_take_changes_no_exit_status(
    bundle: Path, tmp_path: Path
) -> None:
    pytest.importorskip("av", reason="the extra [media] is not installed")
    with wave.open(str(tmp_path / "silence.wav"), "wb") as audio:
        audio.setparams((1, 2, 16_000, 0, "NONE", ""))
        audio.writeframes(bytes(32_000))
    line = [sys.executable, "-m", "erc_ros.cli", "replay", str(tmp_path / "silence.wav")]
    line += ["--bundle", str(bundle), "--speaker-model", "", "--out", str(tmp_path / "out")]
    heard = subprocess.run(line, capture_output=True, text=True, check=True, timeout=120)
    assert heard.stderr, "the hint that there is neither a transcript nor a recognizer"
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            line,
            stderr=full,
            stdout=subprocess.DEVNULL,
            check=False,
            timeout=120,
            env=buffered(),
        )
    assert done.returncode == 0


def test_a_replay_goes_on_when_its_log_s_disk_is_full(bundle: Path, tmp_path: Path) -> None:
    pytest.importorskip("rosbags", reason="the extra [replay] is not installed")
    from erc_ros.replay.bag import BagWriter

    kind = "std_msgs/msg/String"
    with BagWriter(tmp_path / "bag") as writer:
        for number in range(3):
            time = START + number * NS
            writer.write("/speech", kind, time, writer.new(kind, data=f"Hello {number}."))
    line = [sys.executable, "-m", "erc_ros.cli", "replay", str(tmp_path / "bag")]
    line += ["--bundle", str(bundle), "--speaker-model", "", "--out", str(tmp_path / "out")]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            line,
            stderr=full,
            stdout=subprocess.DEVNULL,
            check=False,
            timeout=120,
            env=buffered(),
        )
    assert done.returncode == 0
    assert (tmp_path / "out" / "estimates.jsonl").read_text().count("\n") == 3


def test_a_read_only_file_system_is_reported_in_a_line(bundle: Path, tmp_path: Path) -> None:
    """Files cannot be created in /proc by any user."""
    pytest.importorskip("rosbags", reason="the extra [replay] is not installed")
    from erc_ros.replay.bag import BagWriter

    with BagWriter(tmp_path / "bag") as writer:
        kind = "std_msgs/msg/String"
        writer.write("/speech", kind, START, writer.new(kind, data="Hello."))
    command = ["replay", str(tmp_path / "bag"), "--bundle", str(bundle), "--out", "/proc/out"]
    command += ["--speaker-model", ""]
    line = [sys.executable, "-m", "erc_ros.cli", *command]
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1
    said = done.stdout + done.stderr
    assert "Traceback" not in said and "/proc/" in said
