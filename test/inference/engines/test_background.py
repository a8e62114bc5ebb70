"""Engines built while other networks run, with stand-ins for TensorRT and the GPU."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from erc_ros.inference.bundle import load_bundle
from erc_ros.inference.emotion_recognizer import EmotionRecognizer
from erc_ros.inference.engines import background, store, tensorrt_engine
from erc_ros.inference.engines.background import BuildState, EngineBuild, step
from erc_ros.networks import gpu
from erc_ros.values.utterance import Utterance

PARTS = ("text", "audio", "visual", "fusion")
PATIENCE = 60.0


def until(true: Callable[[], Any]) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, "waited in vain"
        threading.Event().wait(0.01)


@pytest.fixture()
def recognizer(folder: Path, tensorrt: None) -> Iterator[EmotionRecognizer]:
    with EmotionRecognizer(load_bundle(folder), "auto") as made:
        assert {network.device for network in made.networks.values()} == {"cpu"}
        yield made


def devices(recognizer: EmotionRecognizer) -> list[str]:
    return [network.device for network in recognizer.networks.values()]


def engines(folder: Path) -> list[Path]:
    return sorted(store.folder_of(folder / "text.onnx").glob("*.tensorrt.engine"))


def answers(recognizer: EmotionRecognizer) -> bool:
    answer = recognizer.feed(Utterance("c", "u", 0, 1, text="hello"))
    return bool(answer.probabilities.sum() == pytest.approx(1))


def test_the_networks_change_over_to_engines_when_these_are_ready(
    folder: Path, recognizer: EmotionRecognizer
) -> None:
    seen: list[BuildState] = []
    with closing(EngineBuild(recognizer.bundle, recognizer.reopen)) as build:
        assert answers(recognizer)  # meanwhile
        until(lambda: seen.append(build.state) or "tensorrt" in devices(recognizer))
        until(lambda: devices(recognizer) == ["tensorrt"] * 4)
        last = build.state
    assert last.state == "done" and last.problem == ""
    assert set(last.results) == {"text", "audio", "visual", "fusion"}
    assert all(" ms against " in text for text in last.results.values())
    assert answers(recognizer)


def test_the_next_start_has_nothing_to_build(folder: Path, recognizer: EmotionRecognizer) -> None:
    with closing(EngineBuild(recognizer.bundle, recognizer.reopen)):
        until(lambda: devices(recognizer) == ["tensorrt"] * 4)
    times = [file.stat().st_mtime_ns for file in engines(folder)]
    with EmotionRecognizer(load_bundle(folder), "auto") as another:
        assert devices(another) == ["tensorrt"] * 4
    assert times == [file.stat().st_mtime_ns for file in engines(folder)]


def test_power_that_fails_in_mid_build_costs_a_build_and_no_more(
    folder: Path, recognizer: EmotionRecognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN", "slow")
    build = EngineBuild(recognizer.bundle, recognizer.reopen)
    until(lambda: build.state.part)
    assert build._process is not None
    os.kill(build._process.pid, signal.SIGKILL)
    build.close()
    (store.folder_of(folder / "text.onnx") / "text.tensorrt.engine.unfinished").write_bytes(b"half")
    monkeypatch.delenv("STAND_IN")
    for file in store.folder_of(folder / "text.onnx").glob("*.json"):
        file.unlink()  # power that fails leaves no word of a signal
    with closing(EngineBuild(recognizer.bundle, recognizer.reopen)):
        until(lambda: devices(recognizer) == ["tensorrt"] * 4)
    assert not list(store.folder_of(folder / "text.onnx").glob("*.unfinished"))


def test_a_node_that_ends_takes_the_build_with_it_and_the_next_one_begins_again(
    folder: Path, recognizer: EmotionRecognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN", "slow")
    build = EngineBuild(recognizer.bundle, recognizer.reopen)
    until(lambda: build.state.part)
    assert build._process is not None
    build.close()
    assert build._process.poll() is not None and answers(recognizer)
    assert not engines(folder) and not store.refusal(folder / "text.onnx")


def test_a_killed_parent_takes_the_build_with_it(
    folder: Path, tensorrt: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN", "slow")
    line = [sys.executable, "-m", background.__name__, str(folder), gpu.LIBRARY, "0"]
    pipe = subprocess.PIPE
    child = subprocess.Popen(line, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)
    assert child.stdin is not None and child.stdout is not None
    until(lambda: "begun" in child.stdout.readline())
    child.stdin.close()  # as the system does for who is killed
    child.stdout.close()
    assert child.wait(PATIENCE) != 0


def test_a_full_disk_is_reported_and_the_next_start_builds(
    folder: Path, recognizer: EmotionRecognizer
) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    try:
        with closing(EngineBuild(recognizer.bundle, recognizer.reopen)) as build:
            until(lambda: build.state.state != "building")
            state = build.state
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "cannot be written" in state.problem and "free disk space" in state.problem
    assert devices(recognizer) == ["cpu"] * 4 and answers(recognizer)
    with closing(EngineBuild(recognizer.bundle, recognizer.reopen)):
        until(lambda: devices(recognizer) == ["tensorrt"] * 4)


def test_a_part_on_which_tensorrt_crashes_is_skipped_and_not_built_again(
    folder: Path, recognizer: EmotionRecognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN", "fatal")
    with closing(EngineBuild(recognizer.bundle, recognizer.reopen)) as build:
        until(lambda: build.state.state != "building" and "tensorrt" in devices(recognizer))
        until(lambda: not build._thread.is_alive())
        state = build.state
    crashed = [name for name, text in state.results.items() if "with signal 11" in text]
    assert (crashed, state.problem, state.state) == (["visual"], "", "done")
    for name, network in recognizer.networks.items():
        assert (network.device == "cpu") == (name in crashed)
    monkeypatch.delenv("STAND_IN")
    with closing(EngineBuild(recognizer.bundle, recognizer.reopen)) as build:
        until(lambda: build.state.state != "building")
    assert [name for name, n in recognizer.networks.items() if n.device == "cpu"] == crashed


def test_a_new_driver_that_crashes_on_the_old_engines_gets_new_ones(
    folder: Path, recognizer: EmotionRecognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(EngineBuild(recognizer.bundle, recognizer.reopen)):
        until(lambda: devices(recognizer) == ["tensorrt"] * 4)
    before = [file.read_bytes() for file in engines(folder)]
    monkeypatch.setenv("STAND_IN_PATCH", "13.2.1")
    tensorrt_engine.probe.cache_clear()
    with EmotionRecognizer(load_bundle(folder), "auto") as another:
        assert devices(another) == ["cpu"] * 4 and answers(another)
        with closing(EngineBuild(another.bundle, another.reopen)):
            until(lambda: devices(another) == ["tensorrt"] * 4)
    assert all(a.read_bytes() != b for a, b in zip(engines(folder), before, strict=True))


def test_tensorrt_that_does_not_work_at_all_is_reported(
    recognizer: EmotionRecognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background.tensorrt_engine, "probe", _broken)
    with closing(EngineBuild(recognizer.bundle, recognizer.reopen)) as build:
        until(lambda: build.state.state == "failed")
        assert build.state.problem == "TensorRT does not work: no libnvinfer"
    assert answers(recognizer)


def _broken(bundle: Path) -> tensorrt_engine.Probe:
    return tensorrt_engine.Probe(None, {}, "TensorRT does not work: no libnvinfer")


def test_the_state_follows_the_lines_of_the_building_process() -> None:
    at_work = step(BuildState(), {"begun": "text"}, PARTS)
    assert (at_work.state, at_work.part) == ("building", "text")
    assert step(at_work, {"begun": "other"}, PARTS) == at_work
    built = step(at_work, {"result": "text: 3 ms: fast"}, PARTS)
    assert built.results == {"text": "3 ms: fast"}
    done = step(built, {"failed": ["audio: refused: for a reason"]}, PARTS)
    assert (done.state, done.part, done.results["audio"]) == ("done", "", "refused: for a reason")
