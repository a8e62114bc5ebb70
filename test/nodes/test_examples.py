"""The examples run unchanged with the real nodes over DDS."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from node_bench import LATCHED, Bench
from std_msgs.msg import String

from erc_ros.nodes.handover import Handover
from erc_ros.values.events import UtteranceEvent
from erc_ros.values.nanoseconds import NS
from erc_ros.values.utterance import Utterance

EXAMPLES = Path(__file__).parents[2] / "examples"
MakeBench = Callable[..., Bench]
MODEL = ("--ros-args", "-p", "llm:=my_model:complete")


@pytest.fixture
def run_example() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def start(name: str, *arguments: str) -> subprocess.Popen[str]:
        line = [sys.executable, str(EXAMPLES / name), *arguments]
        started.append(subprocess.Popen(line, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate(timeout=20)


def test_the_subscriber_example_prints_estimates(
    make_bench: MakeBench, run_example: Callable[..., Any]
) -> None:
    bench = make_bench()
    process = run_example("emotion_subscriber.py")
    bench.wait(lambda: bench.probe.count_subscribers("emotions") == 2, "it listens")
    estimate = bench.say("I got the job!")
    assert process.stdout.readline().startswith(f"speaker ?: {estimate.label} (")


def test_a_behavior_tree_uses_the_current_state(
    make_bench: MakeBench, run_example: Callable[..., Any]
) -> None:
    pytest.importorskip("py_trees", reason="py_trees is not installed")
    bench = make_bench()
    run_example("how_is_she_now.py", "anna")
    said = bench.listen(String, "say", LATCHED)
    bench.wait(lambda: said, "it speaks", patience=60.0)
    assert said[-1].data == "Hello, how are you?"  # nothing is known of her
    node = bench.nodes[1]

    def tell(number: int) -> None:
        end = bench.now()
        utterance = Utterance(
            "c", f"u{number}", end - NS, end, text="Oh.", speaker_id="0", person_id="anna"
        )
        node.receive(Handover(UtteranceEvent(utterance), 0, {}, 0))

    for number in range(20):  # she goes on, and it becomes clear how she is
        tell(number)
    bench.wait(lambda: len(said) > 1, "it knows more")
    state = next(s for s in node._states.persons() if s.person_id == "anna")
    valence = node._states.of(state, bench.now()).valence
    good, bad = "It is good to see you happy!", "I am sorry. Can I help?"
    expected = good if valence > 0.2 else bad if valence < -0.2 else "Hello again."
    assert said[-1].data == expected


@pytest.mark.parametrize("has_model", [False, True])
def test_a_dialogue_answers_annotated_speech(
    make_bench: MakeBench,
    run_example: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    has_model: bool,
) -> None:
    (tmp_path / "my_model.py").write_text(
        "def complete(messages):\n    return messages[0]['role'] + ': ' + messages[-1]['content']\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    bench = make_bench()
    said = bench.listen(String, "say", 10)
    run_example("emotional_dialogue.py", *(MODEL if has_model else ()))
    topic = "emotion_node/annotated_speech"
    bench.wait(lambda: bench.probe.count_subscribers(topic), "it listens", patience=60.0)
    bench.wait(lambda: bench.probe.count_publishers("say"), "it can speak")
    estimate = bench.say("He keeps my money.")
    bench.wait(lambda: said, "an answer")
    if has_model:
        annotation = f"[{estimate.label} {estimate.confidence:.2f}]"
        assert said[0].data == f"system: {annotation} He keeps my money."
    else:
        assert said[0].data
