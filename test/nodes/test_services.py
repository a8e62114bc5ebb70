"""Services of both nodes over DDS: enroll, forget, change models, with consent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from bundles import CLIP, Kinds, write_tiny_bundle_3
from erc_msgs.msg import EmotionLabels, EmotionStates
from erc_msgs.srv import Enrol, ForgetPerson, SetBundle
from executors import Held
from lifecycle_msgs.msg import Transition
from node_bench import LATCHED, Bench, finals, play
from std_msgs.msg import Bool
from std_srvs.srv import Trigger
from tones import LoudIsSpeech, ToneEmbedding, scene, tone, tone_networks

from erc_ros import pipeline
from erc_ros.dialogue.assembler import UtteranceAssembler
from erc_ros.dialogue.speakers.embedding import load_manifest
from erc_ros.dialogue.speakers.enrolment import EnrolmentError, enrol, load_voices, save_voices
from erc_ros.pipeline import Recognition
from erc_ros.resources import model_folder
from erc_ros.values.nanoseconds import NS

MakeBench = Callable[..., Bench]
SERVICES = {
    "utterance_node/reset": (Trigger, Trigger.Request()),
    "utterance_node/enrol": (Enrol, Enrol.Request(person_id="Ada")),
    "utterance_node/forget_person": (ForgetPerson, ForgetPerson.Request(person_id="Ada")),
    "emotion_node/reset": (Trigger, Trigger.Request()),
    "emotion_node/forget_person": (ForgetPerson, ForgetPerson.Request(person_id="Ada")),
    "emotion_node/set_bundle": (SetBundle, SetBundle.Request(bundle="edge-small")),
}


@pytest.mark.parametrize("state", ["not configured", "inactive"])
def test_services_in_the_wrong_state_say_so(make_bench: MakeBench, state: str) -> None:
    bench = make_bench(running=False, parameters={"autostart": False})
    if state == "inactive":
        for node in ("utterance_node", "emotion_node"):
            assert bench.change(node, Transition.TRANSITION_CONFIGURE)
    for name, (kind, request) in SERVICES.items():
        answer = bench.call(kind, name, request)
        assert not answer.success
        assert state in answer.message and "activate" in answer.message, name


def test_a_speaker_is_enrolled_and_recognized_until_forgotten(
    make_bench: MakeBench, tones: None
) -> None:
    bench = make_bench(parameters={"expect_text": "never"})
    start = bench.now()
    play(bench, scene((1, 3, 4), end=5), start)
    bench.wait(lambda: finals(bench), "somebody spoke")
    said = finals(bench)[-1]
    answer = bench.call(Enrol, "utterance_node/enrol", Enrol.Request(person_id="Ada"))
    assert not answer.success and "at least 5.0 s" in answer.message
    play(bench, scene((1, 8, 4), end=10), start + 5 * NS)
    bench.wait(lambda: len(finals(bench)) > 1, "they spoke again")
    here = {"conversation_id": said.conversation_id, "speaker_id": said.speaker_id}
    answer = bench.call(Enrol, "utterance_node/enrol", Enrol.Request(person_id="Ada", **here))
    assert answer.success and answer.heard > 5 and "cleaned up" in answer.message
    play(bench, scene((1, 4, 4), end=6), start + 15 * NS)
    bench.wait(lambda: len(finals(bench)) > 2, "and again")
    assert finals(bench)[-1].person_id == "Ada"
    bench.wait(lambda: bench.estimates and bench.estimates[-1].person_id == "Ada", "an estimate")
    forget = ForgetPerson.Request(person_id="Ada")
    for node in ("utterance_node", "emotion_node"):
        assert bench.call(ForgetPerson, f"{node}/forget_person", forget).success
        assert not bench.call(ForgetPerson, f"{node}/forget_person", forget).success
    states = bench.listen(EmotionStates, "emotion_state", LATCHED)
    bench.wait(lambda: states, "the states")
    assert all(state.person_id != "Ada" for state in states[-1].states)
    play(bench, scene((1, 4, 4), end=6), start + 21 * NS)
    bench.wait(lambda: len(finals(bench)) > 3, "and once more")
    assert finals(bench)[-1].person_id == ""


def test_an_enrolled_voice_is_stored_and_recognized_after_a_restart(
    make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file, network = tmp_path / "voices.json", load_manifest(model_folder("speaker-campplus"))

    def assembler(config: pipeline.PerceptionConfig) -> UtteranceAssembler:
        known = load_voices(Path(config.known_voices), network.sha256, 64)
        return UtteranceAssembler(config.dialogue, LoudIsSpeech(), tone_networks(), known)

    monkeypatch.setattr(pipeline, "_assembler", assembler)
    save_voices(file, network.sha256, {"Bob": enrol(ToneEmbedding(), tone(20, 6.0))})
    parameters = {
        "expect_text": "never",
        "known_voices": str(file),
        "speaker_model": "speaker-campplus",
    }
    bench = make_bench(parameters=parameters)
    play(bench, scene((1, 9, 4), end=11), bench.now())
    bench.wait(lambda: finals(bench), "somebody spoke")
    answer = bench.call(Enrol, "utterance_node/enrol", Enrol.Request(person_id="Ada"))
    assert answer.success and str(file) in answer.message, answer.message
    assert set(load_voices(file, network.sha256, 64)) == {"Ada", "Bob"}
    before = file.read_bytes()
    bench.close()

    again = make_bench(parameters=parameters)
    play(again, scene((1, 5, 4), end=7), again.now())
    again.wait(lambda: finals(again), "they spoke again")
    assert finals(again)[-1].person_id == "Ada"
    forget = ForgetPerson.Request(person_id="Ada")
    assert again.call(ForgetPerson, "utterance_node/forget_person", forget).success
    assert set(load_voices(file, network.sha256, 64)) == {"Bob"} and file.read_bytes() != before


@pytest.mark.parametrize(
    ("request_", "word"),
    [
        ({"person_id": ""}, "name"),
        ({"person_id": "x" * 100_000}, "characters"),
        ({"person_id": "Ada"}, "no person"),
        ({"person_id": "../Ada Lovelace/..", "speaker_id": "7"}, "no speaker"),
        ({"person_id": "Ada", "conversation_id": "c0"}, "ended"),
    ],
)
def test_invalid_enrollment_requests_are_refused(
    make_bench: MakeBench, request_: dict[str, str], word: str
) -> None:
    bench = make_bench()
    answer = bench.call(Enrol, "utterance_node/enrol", Enrol.Request(**request_))
    assert not answer.success and word in answer.message and answer.heard == 0
    assert bench.say("still here").text == "still here"


def test_the_file_follows_enrolled_and_forgotten_voices(tmp_path: Path, tones: None) -> None:
    file = tmp_path / "voices.json"
    network = load_manifest(model_folder("speaker-campplus")).sha256
    voice = enrol(ToneEmbedding(), tone(4, 6.0))
    save_voices(file, network, {"Bob": voice})
    config = pipeline.PerceptionConfig(known_voices=str(file), face_detector="none")
    ears = pipeline.Perception(config)
    ears._assembler.known = {"Bob": voice}
    before = file.read_text()
    with pytest.raises(EnrolmentError):
        ears.forget_person("Ada")
    assert file.read_text() == before
    ears.forget_person("Bob")
    assert "Bob" not in file.read_text() and not ears._assembler.known
    file.unlink()
    tmp_path.chmod(0o755)
    ears.close()


def test_other_models_take_over_between_two_utterances(
    make_bench: MakeBench, bundle: Path, tmp_path: Path
) -> None:
    other = write_tiny_bundle_3(tmp_path, Kinds(visual="clip"))  # of larger images
    manifest = yaml.safe_load((other / "bundle.yaml").read_text())
    manifest["name"] = "other"
    (other / "bundle.yaml").write_text(yaml.safe_dump(manifest))
    bench = make_bench()
    assert bench.nodes[0]._perception._crop_size < CLIP
    labels = bench.listen(EmotionLabels, "emotion_labels", LATCHED)
    assert bench.say("hello").bundle_name == "tiny"
    request = SetBundle.Request(bundle=str(other))
    answer = bench.call(SetBundle, "emotion_node/set_bundle", request)
    assert answer.success and answer.bundle_name == "other", answer.message
    estimate = bench.say("hello again")
    assert estimate.bundle_name == "other" and estimate.bundle_sha256 == answer.bundle_sha256
    bench.wait(lambda: labels[-1].bundle_name == "other", "its labels")
    assert bench.value("emotion_node: bundle", "bundle") != ""
    assert bench.nodes[1].parameters["bundle"] == str(other)
    bench.wait(lambda: bench.nodes[0]._perception._crop_size == CLIP, "larger face crops")


def test_a_broken_bundle_changes_nothing_during_speech(
    make_bench: MakeBench, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file in bundle.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "face.onnx").write_bytes(b"no model")
    bench = make_bench()
    loading = Held(Recognition)
    monkeypatch.setattr("erc_ros.nodes.emotion_node.Recognition", loading)
    client = bench.probe.create_client(SetBundle, "emotion_node/set_bundle")
    assert client.wait_for_service(30)
    future = client.call_async(SetBundle.Request(bundle=str(tmp_path)))
    assert loading.begun.wait(30)
    assert bench.say("while it is loaded").bundle_name == "tiny"
    second = bench.call(SetBundle, "emotion_node/set_bundle", SetBundle.Request(bundle="x"))
    assert not second.success and "SetBundle" in second.message
    loading.may_go_on.set()
    bench.wait(future.done, "an answer")
    assert not future.result().success and "face.onnx" in future.result().message
    assert bench.say("and after it").bundle_name == "tiny"
    for name in ("no-such-bundle", "../..", "", "x" * 100_000):
        request = SetBundle.Request(bundle=name)
        answer = bench.call(SetBundle, "emotion_node/set_bundle", request)
        assert not answer.success and answer.bundle_name == "tiny" and answer.bundle_sha256
    assert bench.say("still here").bundle_name == "tiny"
    bench.probe.destroy_client(client)


@pytest.mark.parametrize("split", [False, True])
def test_texts_and_media_are_held_back_at_once_and_late_nodes_know(
    make_bench: MakeBench, tones: None, split: bool
) -> None:
    empty = make_bench(nodes=lambda **_: [])
    told = empty.probe.create_publisher(Bool, "recording_allowed", LATCHED)
    told.publish(Bool(data=False))
    parameters = {"publish_media": True, "text_timeout": 0.3}
    bench = make_bench(split=split, parameters=parameters)
    bench.wait(lambda: not any(node.consent.allowed for node in bench.nodes), "both know")
    held_back = bench.say("secret")
    assert held_back.text == "" and held_back.modalities[0] != split
    play(bench, scene((1, 2, 4), end=4), bench.now())
    bench.wait(lambda: len(bench.estimates) == len(finals(bench)) == 2, "somebody spoke")
    assert not any(u.text or len(u.audio) or u.faces for u in bench.utterances)
    told.publish(Bool(data=True))
    bench.wait(lambda: all(node.consent.allowed for node in bench.nodes), "both know")
    assert bench.say("told to all").text == "told to all"
