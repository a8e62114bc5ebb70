"""Rules of USE.md over DDS: contexts, modalities, `~/sensing`, opt-out, events, retention."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from erc_msgs.msg import EmotionStates, Sensing
from erc_msgs.srv import Enrol, OptOut
from lifecycle_msgs.msg import Transition
from node_bench import LATCHED, Bench, finals, image_message, play
from std_msgs.msg import Bool, String
from tones import scene

from erc_ros.inference.emotion_recognizer import EmotionRecognizer
from erc_ros.values.deployment import PROHIBITED
from erc_ros.values.events import UtteranceEvent
from erc_ros.values.nanoseconds import NS
from erc_ros.values.utterance import Utterance

MakeBench = Callable[..., Bench]
NODES = ("utterance_node", "emotion_node")
LANGUAGES = ["en", "de", "fr", "es", "it", "pt"]


def sensing(bench: Bench) -> list[Sensing]:
    return bench.listen(Sensing, "utterance_node/sensing", LATCHED)


def opt_out(bench: Bench, node: str, id: str, opted_out: bool = True) -> Any:
    return bench.call(OptOut, f"{node}/opt_out", OptOut.Request(id=id, opted_out=opted_out))


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[Utterance]:
    """Every utterance of which anything reaches the encoders."""
    utterances: list[Utterance] = []
    encode = EmotionRecognizer._encode

    def record(self: EmotionRecognizer, utterance: Utterance) -> object:
        if utterance.conversation_id:  # else the warm-up
            utterances.append(utterance)
        return encode(self, utterance)

    monkeypatch.setattr(EmotionRecognizer, "_encode", record)
    return utterances


# --- contexts and modalities ---


@pytest.mark.parametrize("context", PROHIBITED)
def test_at_work_and_in_education_the_nodes_stay_unconfigured_and_name_the_article(
    make_bench: MakeBench, context: str
) -> None:
    bench = make_bench(parameters={"deployment_context": context}, running=False)
    for node in NODES:
        status = bench.wait_for_diagnosis(f"{node}: state", "Article 5(1)(f)")
        assert status.level == status.ERROR
        assert bench.state(node) == "unconfigured"
    bench.close()
    exception = {"deployment_context": context, "deployment_exception": "medical"}
    bench = make_bench(parameters=exception)
    assert bench.say("hello").modalities[0]


@pytest.mark.parametrize("split", [False, True])
def test_without_a_context_only_text_is_used_with_a_warning(
    make_bench: MakeBench, tones: None, encoded: list[Utterance], split: bool
) -> None:
    parameters = {"deployment_context": "unset", "sound_timeout": 30.0, "text_timeout": 30.0}
    bench = make_bench(split=split, parameters=parameters)
    told = sensing(bench)
    for node in NODES:
        status = bench.wait_for_diagnosis(f"{node}: state", "deployment_context")
        assert status.level == status.WARN
    camera = bench.probe.create_publisher(type(image_message(0)), "image", 5)
    face = bench.probe.create_publisher(type(image_message(0)), "/humans/faces/f1/cropped", 5)
    bench.talker(Bool, "/humans/faces/f1/is_speaking", 5)  # so all of ROS4HRI was looked at
    play(bench, scene((0.5, 3, 4), end=5), bench.now() - 6 * NS)
    bench.wait(lambda: bench.utterances, "a draft")
    estimate = bench.say("what was that all about, my friend")
    assert list(estimate.modalities) == [True, False, False]
    assert not camera.get_subscription_count() and not face.get_subscription_count()
    assert encoded and not any(len(said.audio) or said.faces for said in encoded)
    assert all(not len(said.audio) and not said.faces for said in bench.utterances)
    bench.wait(lambda: told and told[-1].persons, "a person is sensed")
    assert list(told[-1].modalities) == ["text"]
    assert list(told[-1].persons[0].modalities) == ["text"]


@pytest.mark.parametrize("split", [False, True])
def test_modalities_that_are_not_chosen_are_not_used(
    make_bench: MakeBench, tones: None, encoded: list[Utterance], split: bool
) -> None:
    chosen = {"deployment_context": "home", "modalities": "audio"}
    parameters = {**chosen, "sound_timeout": 30.0, "text_timeout": 30.0}
    bench = make_bench(split=split, parameters=parameters)
    play(bench, scene((0.5, 3, 4), end=5), bench.now() - 6 * NS)
    bench.wait(lambda: bench.utterances, "a draft")
    estimate = bench.say("what was that all about, my friend")
    assert list(estimate.modalities) == [False, True, False] and estimate.text
    assert encoded and not any(said.text for said in encoded)


def test_a_modality_that_does_not_exist_leaves_the_nodes_unconfigured(
    make_bench: MakeBench,
) -> None:
    bench = make_bench(parameters={"modalities": "voice"}, running=False)
    for node in NODES:
        bench.wait_for_diagnosis(f"{node}: state", "'voice'")
        assert bench.state(node) == "unconfigured"


# --- who is sensed ---


def test_sensing_lists_persons_modalities_times_and_notices_in_six_languages(
    make_bench: MakeBench,
) -> None:
    bench = make_bench(parameters={"deployment_context": "public"})
    told = sensing(bench)
    bench.wait(lambda: told, "a latched message, before anybody is there")
    assert not told[0].persons and list(told[0].notice_languages) == LANGUAGES
    assert told[0].deployment_context == "public" and told[0].recording_allowed
    assert len(set(told[0].notices)) == len(LANGUAGES) and "your face" in told[0].notices[0]
    assert list(told[0].modalities) == ["text", "audio", "visual"]
    face = bench.talker(type(image_message(0)), "/humans/faces/f7/cropped", 5)
    first = bench.now()

    def seen() -> bool:
        face.publish(image_message(bench.now()))
        return bool(told[-1].persons)

    bench.wait(seen, "a face")
    (person,) = told[-1].persons
    assert (person.face_id, list(person.modalities)) == ("f7", ["visual"])
    since = person.since.sec * 10**9 + person.since.nanosec
    assert first <= since <= bench.now()
    bench.say("I cannot believe that all of this is true.")
    bench.wait(lambda: "text" in told[-1].persons[0].modalities, "the same person speaks")
    (person,) = told[-1].persons
    assert person.face_id == "f7" and person.since.sec * 10**9 + person.since.nanosec == since
    count = len(told)
    bench.wait(lambda: bench.reports > 20, "some time goes by")
    assert len(told) == count  # no change, no message
    bench.probe.create_publisher(Bool, "recording_allowed", LATCHED).publish(Bool(data=False))
    bench.wait(lambda: not told[-1].recording_allowed, "consent is part of it")
    bench.change("utterance_node", Transition.TRANSITION_DEACTIVATE)
    bench.wait(lambda: not told[-1].modalities, "nothing is sensed")
    assert not told[-1].persons and not told[-1].notices


# --- opt-out ---


@pytest.mark.parametrize("split", [False, True])
def test_nothing_is_inferred_about_a_person_who_opted_out(
    make_bench: MakeBench, encoded: list[Utterance], split: bool
) -> None:
    bench = make_bench(split=split)
    told, states = sensing(bench), bench.listen(EmotionStates, "emotion_state", LATCHED)
    person = bench.probe.create_publisher(String, "/humans/persons/anna/face_id", LATCHED)
    person.publish(String(data="f7"))
    face = bench.talker(type(image_message(0)), "/humans/faces/f7/cropped", 5)

    def seen() -> bool:
        face.publish(image_message(bench.now()))
        return bool(told and told[-1].persons)

    bench.wait(seen, "she is seen")
    assert bench.say("I cannot believe that all of this is true.").person_id == "anna"
    bench.wait(lambda: states and states[-1].states, "a state")
    for node in NODES if split else NODES[:1]:
        assert opt_out(bench, node, "anna").success
    bench.wait(lambda: not states[-1].states, "her state is forgotten")
    bench.wait(lambda: told[-1].opted_out == 1 and not told[-1].persons, "she is not sensed")
    before, searched = len(bench.utterances), bench.nodes[0]._perception.counts["tracked_faces"]
    encoded.clear()
    for number in range(5):
        face.publish(image_message(bench.now()))
        bench._text.publish(String(data=f"this is secret number {number}"))

    def dropped() -> bool:
        face.publish(image_message(bench.now()))
        return bool(bench.nodes[0]._perception.counts["opted_out"])

    bench.wait(dropped, "her utterances are dropped")
    assert len(bench.utterances) == before and encoded == []
    assert bench.nodes[0]._perception.counts["tracked_faces"] == searched
    assert not told[-1].persons
    enrol = Enrol.Request(person_id="anna")
    assert not bench.call(Enrol, "utterance_node/enrol", enrol).success
    # It holds through transitions.
    for step in ("DEACTIVATE", "CLEANUP", "CONFIGURE", "ACTIVATE"):
        for node in NODES:
            assert bench.change(node, getattr(Transition, f"TRANSITION_{step}"))
    assert all("anna" in node.opt_outs for node in bench.nodes[: 2 if split else 1])
    assert opt_out(bench, "utterance_node", "anna", False).success
    assert not opt_out(bench, "utterance_node", "anna", False).success


def test_an_utterance_that_comes_over_dds_is_not_read_either(
    make_bench: MakeBench, encoded: list[Utterance]
) -> None:
    from erc_msgs.msg import Utterance as Message

    bench = make_bench(split=True, parameters={"opted_out": "anna, v3"})
    talker = bench.talker(Message, "utterances")
    for number, ids in enumerate(({"person_id": "anna"}, {"voice_id": "v3"}, {"person_id": "bob"})):
        talker.publish(
            Message(conversation_id="c", utterance_id=str(number), text="oh", is_final=True, **ids)
        )
    bench.wait(lambda: bench.estimates, "an estimate")
    assert [estimate.person_id for estimate in bench.estimates] == ["bob"]
    assert [said.person_id for said in encoded] == ["bob"]


def test_the_latched_expression_of_a_face_that_opted_out_is_withdrawn(
    make_bench: MakeBench,
) -> None:
    hri = pytest.importorskip("hri_msgs.msg", reason="hri_msgs is not installed")
    from erc_msgs.msg import Utterance as Message

    bench = make_bench(split=True, parameters={"publish_expression": True})
    bench.talker(hri.IdsList, "/humans/faces/tracked", LATCHED).publish(hri.IdsList(ids=["f7"]))
    topic = "/humans/faces/f7/expression"
    bench.wait(lambda: bench.probe.count_publishers(topic), "a topic")
    talker = bench.talker(Message, "utterances")
    said = {"conversation_id": "c", "face_id": "f7", "text": "oh", "is_final": True}
    talker.publish(Message(utterance_id="1", **said))
    first = bench.listen(hri.Expression, topic, LATCHED)
    bench.wait(lambda: first, "an expression")
    publishers = bench.nodes[1]._expressions._publishers
    former = publishers["f7"]
    assert opt_out(bench, "emotion_node", "f7").success
    bench.wait(lambda: publishers.get("f7") is not former, "it is withdrawn")
    bench.wait(lambda: bench.probe.count_publishers(topic), "a topic without a message")
    late = bench.listen(hri.Expression, topic, LATCHED)
    talker.publish(Message(utterance_id="2", **said))
    talker.publish(Message(utterance_id="3", **{**said, "face_id": "f8"}))
    bench.wait(lambda: len(bench.estimates) == 2, "the estimate of another face")
    assert not any(message.expression for message in late)


def test_states_of_others_remain_where_an_opt_out_does_not_concern_them(
    make_bench: MakeBench,
) -> None:
    bench = make_bench()
    states = bench.listen(EmotionStates, "emotion_state", LATCHED)

    def people() -> set[str]:
        persons = {s.person_id or s.speaker_id or "unknown" for s in states[-1].states}
        return persons if states else set()

    def hand_over(number: int, **ids: str) -> None:
        end = bench.now()
        said = Utterance("c", f"u{number}", end - NS, end, text="Oh.", is_final=True, **ids)
        bench.nodes[0]._give([UtteranceEvent(said)], 0, 0)

    spoken = ({"person_id": "anna"}, {"speaker_id": "0", "face_id": "f1"}, {"speaker_id": "1"}, {})
    for number, ids in enumerate(spoken):
        hand_over(number, **ids)
    bench.wait(lambda: states and people() == {"anna", "0", "1", "unknown"}, "their states")
    absent = opt_out(bench, "emotion_node", "bob")
    present = opt_out(bench, "emotion_node", "f1")
    assert absent.success and present.success and absent.message != present.message
    bench.wait(lambda: people() == {"anna", "1"}, "hers is forgotten, and the unknown speaker's")
    assert opt_out(bench, "utterance_node", "c/9").message == absent.message
    assert opt_out(bench, "utterance_node", "c/1").message == present.message
    bench.wait(lambda: people() == {"anna"}, "one more")
    bench.nodes[0].opt_outs.link(Utterance("c", "u9", 0, 1, person_id="anna", face_id="f9"))
    bench.wait(lambda: not people(), "an id that was linked later")


def test_an_id_that_is_sensed_without_a_state_may_belong_to_any_speaker(
    make_bench: MakeBench,
) -> None:
    bench = make_bench()
    states = bench.listen(EmotionStates, "emotion_state", LATCHED)
    end = bench.now()
    said = Utterance("c", "u1", end - NS, end, text="Oh.", speaker_id="0", is_final=True)
    bench.nodes[0]._give([UtteranceEvent(said)], 0, 0)
    bench.wait(lambda: states and states[-1].states, "a state")
    bench.nodes[0]._notice.note_face("f7", end)
    assert opt_out(bench, "emotion_node", "f7").success
    bench.wait(lambda: not states[-1].states, "it may be theirs")


def test_ids_that_cannot_opt_out_are_refused(make_bench: MakeBench) -> None:
    bench = make_bench(running=False, parameters={"autostart": False})
    for wrong in ("", " ", "c/", "a\x07b", "x" * 100_000):
        assert not opt_out(bench, "utterance_node", wrong).success
    assert opt_out(bench, "utterance_node", "f1").success  # in every state


# --- events and retention ---


def test_events_are_logged_without_content_for_their_owner_only(
    make_bench: MakeBench, tmp_path: Path
) -> None:
    file = tmp_path / "events.jsonl"
    parameters = {"event_log": str(file), "deployment_context": "care"}
    bench = make_bench(parameters=parameters)
    bench.say("zanzibarquux is a secret")
    assert opt_out(bench, "utterance_node", "person-quux").success
    bench.probe.create_publisher(Bool, "recording_allowed", LATCHED).publish(Bool(data=False))
    bench.wait(lambda: '"event": "recording_allowed"' in file.read_text(), "consent is withdrawn")
    bench.close()
    text = file.read_text()
    assert "quux" not in text and stat.S_IMODE(file.stat().st_mode) == 0o600
    events = [json.loads(line) for line in text.splitlines()]
    kinds = [event["event"] for event in events]
    assert kinds.count("activated") == kinds.count("deactivated") == 2
    assert kinds.count("opt_out") == kinds.count("recording_allowed") == 1
    by_kind = {(event["event"], event["node"]): event for event in events}
    start = by_kind["activated", "emotion_node"]
    assert start["deployment_context"] == "care" and len(start["bundle_sha256"]) == 64
    assert start["modalities"] == ["text", "audio", "visual"]
    assert by_kind["deactivated", "emotion_node"]["with_text"] == 1


def test_an_event_log_that_cannot_be_written_ends_nothing(
    make_bench: MakeBench, tmp_path: Path
) -> None:
    bench = make_bench(parameters={"event_log": str(tmp_path / "no" / "folder")})
    assert bench.say("hello").text == "hello"
    assert bench.nodes[0].complaints.last("event_log")


def test_nothing_is_kept_by_default(
    make_bench: MakeBench, tones: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    bench = make_bench(parameters={"expect_text": "never"})
    play(bench, scene((0.5, 3, 4), end=5), bench.now())
    bench.wait(lambda: finals(bench), "an utterance")
    bench.close()
    logs = tmp_path / ".ros"
    assert [
        path for path in tmp_path.rglob("*") if path.is_file() and logs not in path.parents
    ] == []
