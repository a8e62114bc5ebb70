"""`recording_allowed` over DDS: withheld content is never published."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from erc_msgs.srv import Enrol
from lifecycle_msgs.msg import Transition
from node_bench import LATCHED, Bench, finals, play
from std_msgs.msg import Bool, String
from tones import scene

from erc_ros.nodes import consent
from erc_ros.values.nanoseconds import NS

MakeBench = Callable[..., Bench]
REPOSITORY = Path(__file__).parents[2]
NODES = ("utterance_node", "emotion_node")
REAL = consent.DISCOVERY  # s, before the fixture of the other tests shortens it


@pytest.fixture(autouse=True)
def as_on_a_robot(make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consent, "DISCOVERY", REAL)


def talk(bench: Bench) -> None:
    """A text every 50 ms."""
    speech = bench.probe.create_publisher(String, "speech", 50)
    number = iter(range(10**9))
    bench.probe.create_timer(0.05, lambda: speech.publish(String(data=f"secret {next(number)}")))


def tell(bench: Bench, allowed: bool, qos: Any = LATCHED) -> Any:
    publisher = bench.probe.create_publisher(Bool, "recording_allowed", qos)
    publisher.publish(Bool(data=allowed))
    return publisher


def texts(bench: Bench) -> list[str]:
    return [message.text for message in (*bench.utterances, *bench.estimates) if message.text]


@pytest.mark.parametrize("split", [False, True])
def test_no_text_is_published_where_a_latched_false_was_there_first(
    make_bench: MakeBench, split: bool
) -> None:
    town = make_bench(nodes=lambda **_: [])
    tell(town, False)
    talk(town)
    for _ in range(3):
        bench = make_bench(split=split)
        bench.wait(lambda b=bench: len(b.estimates) > 20, "estimates")
        assert texts(bench) == []
        bench.close()
    assert texts(town) == []


def test_a_latched_publisher_whose_message_comes_late_is_waited_for(
    make_bench: MakeBench,
) -> None:
    town = make_bench(nodes=lambda **_: [])
    publisher = town.probe.create_publisher(Bool, "recording_allowed", LATCHED)
    talk(town)
    bench = make_bench()
    asked = bench.nodes[0].consent
    bench.wait(lambda: asked._queries > 2 * consent.ANSWER, "many queries without an answer")
    publisher.publish(Bool(data=False))
    bench.wait(lambda: len(bench.estimates) > 20, "estimates")
    assert texts(bench) == []


def test_a_latched_publisher_that_is_discovered_late_is_waited_for(make_bench: MakeBench) -> None:
    bench = make_bench(split=True)
    assert bench.say("before").text == "before"
    publisher = bench.probe.create_publisher(Bool, "recording_allowed", LATCHED)
    bench.wait(lambda: not any(node.consent.allowed for node in bench.nodes), "both discover it")
    bench._text.publish(String(data="secret"))
    publisher.publish(Bool(data=False))
    bench.wait(lambda: len(bench.estimates) == 2, "an estimate")
    assert "secret" not in texts(bench)


def test_without_a_publisher_the_wait_is_bounded_and_nothing_is_lost(make_bench: MakeBench) -> None:
    begin = time.monotonic()
    bench = make_bench()
    assert bench.say("the first").text == "the first"
    assert time.monotonic() - begin < REAL + 10.0
    assert bench.nodes[0].consent is bench.nodes[1].consent


def test_the_last_message_applies_in_every_state_after_its_publisher_ended(
    make_bench: MakeBench,
) -> None:
    bench = make_bench(split=True)
    assert bench.say("before").text == "before"
    teller = tell(bench, False)
    bench.wait(lambda: all(node.consent._is_received for node in bench.nodes), "both know")
    bench.probe.destroy_publisher(teller)
    before = len(texts(bench))
    t = Transition
    for steps in (
        (t.TRANSITION_DEACTIVATE, t.TRANSITION_ACTIVATE),
        (
            t.TRANSITION_DEACTIVATE,
            t.TRANSITION_CLEANUP,
            t.TRANSITION_CONFIGURE,
            t.TRANSITION_ACTIVATE,
        ),
    ):
        for node in NODES:
            assert all(bench.change(node, step) for step in steps)
        bench.wait(lambda: bench._text.get_subscription_count() > 0, "it listens again")
        assert bench.say("secret").text == ""
    assert len(texts(bench)) == before
    tell(bench, True)
    bench.wait(lambda: all(node.consent.allowed for node in bench.nodes), "both know")
    assert bench.say("allowed").text == "allowed"


@pytest.mark.parametrize(
    ("mode", "publisher_ends"), [("single", False), ("single", True), ("split", True)]
)
def test_a_respawned_process_publishes_nothing_that_was_forbidden_before(
    make_bench: MakeBench, bundle: Path, tmp_path: Path, mode: str, publisher_ends: bool
) -> None:
    bench = make_bench(nodes=lambda **_: [])
    publisher = tell(bench, False)
    talk(bench)
    parameters = tmp_path / "parameters.yaml"
    parameters.write_text("/**/utterance_node: {ros__parameters: {speaker_model: none}}")
    arguments = [f"mode:={mode}", f"bundle:={bundle}", f"params_file:={parameters}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "erc_ros.nodes.run", *arguments, "respawn:=true"],
        cwd=REPOSITORY,
        stderr=subprocess.DEVNULL,
    )
    try:
        bench.wait(lambda: len(bench.estimates) > 20, "estimates", patience=60.0)
        if publisher_ends:
            bench.probe.destroy_publisher(publisher)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        for child in children:
            os.kill(int(child), signal.SIGKILL)
        before = {message.conversation_id for message in bench.estimates}

        def again() -> bool:
            return len([m for m in bench.estimates if m.conversation_id not in before]) > 20

        bench.wait(again, "estimates of the new process", patience=60.0)
    finally:
        process.terminate()
        process.wait(30)
    assert texts(bench) == []


def test_a_late_subscriber_gets_no_text_of_the_time_before_it_was_forbidden(
    make_bench: MakeBench, tones: None
) -> None:
    hri = pytest.importorskip("hri_msgs.msg", reason="hri_msgs is not installed")
    bench = make_bench(parameters={"publish_voices": True, "text_timeout": 20.0})
    bench.wait(lambda: bench.nodes[0].consent.allowed, "it is decided")
    speech = bench.talker(hri.LiveSpeech, "speech")
    play(bench, scene((1, 3, 4), end=5), bench.now() - 5 * NS)
    bench.wait(lambda: [u for u in bench.utterances if u.speaker_id], "somebody spoke")
    speech.publish(hri.LiveSpeech(final="this is a secret of mine"))
    utterances = bench.wait(lambda: [u for u in finals(bench) if u.voice_id and u.text], "a voice")
    topic = f"/humans/voices/{utterances[0].voice_id}/speech"
    early = bench.listen(hri.LiveSpeech, topic, LATCHED)
    bench.wait(lambda: [m for m in early if m.final], "the latched text")
    tell(bench, False)
    bench.wait(lambda: not bench.nodes[0].consent.allowed, "it is known")
    count = bench.reports
    bench.wait(lambda: bench.reports > count + 10, "some time has gone by")
    late = bench.listen(hri.LiveSpeech, topic, LATCHED)
    bench.wait(lambda: bench.probe.count_subscribers(topic) == 2, "both are there")
    count = bench.reports
    bench.wait(lambda: bench.reports > count + 10, "some time has gone by")
    assert not late


def test_enrollment_is_refused_while_it_is_false(make_bench: MakeBench, tones: None) -> None:
    bench = make_bench(parameters={"text_timeout": 0.3})
    tell(bench, False)
    bench.wait(lambda: bench.nodes[0].consent.wait(0.0), "it is known")
    play(bench, scene((1, 8, 4), end=10), bench.now())
    bench.wait(lambda: finals(bench), "somebody spoke")
    request = Enrol.Request(person_id="Ada")
    answer = bench.call(Enrol, "utterance_node/enrol", request)
    assert not answer.success and "recording_allowed" in answer.message and answer.heard == 0
    assert not bench.nodes[0]._working().known_names
    tell(bench, True)
    bench.wait(lambda: bench.nodes[0].consent.allowed, "it is known")
    answer = bench.call(Enrol, "utterance_node/enrol", request)
    assert answer.success, answer.message
    assert bench.nodes[0]._working().known_names == {"Ada"}


def test_content_can_be_withheld_until_a_message_allows_it(make_bench: MakeBench) -> None:
    bench = make_bench(parameters={"recording_allowed": False})
    assert bench.say("secret").text == ""
    teller = tell(bench, True, 10)  # volatile and repeated, as `ros2 topic pub` does by default
    bench.probe.create_timer(0.2, lambda: teller.publish(Bool(data=True)))
    bench.wait(lambda: bench.nodes[0].consent.allowed, "it is known")
    assert bench.say("allowed").text == "allowed"


def test_a_latched_publisher_is_received_among_volatile_ones(make_bench: MakeBench) -> None:
    town = make_bench(nodes=lambda **_: [])
    tell(town, False)
    town.probe.create_publisher(Bool, "recording_allowed", 10)  # and says nothing
    bench = make_bench()
    assert bench.say("secret").text == ""
