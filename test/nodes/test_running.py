"""The running nodes over DDS: outputs, diagnostics, robustness."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from audio_common_msgs.msg import AudioData, AudioDataStamped, AudioInfo
from erc_msgs.msg import EmotionLabels, EmotionStates, SpeakerCorrection, Utterance
from erc_msgs.srv import GetEmotion
from node_bench import LATCHED, SENSOR, Bench, image_message, sound_message
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Bool, String
from std_srvs.srv import Trigger

from erc_ros.nodes import inputs
from erc_ros.nodes.emotion import both
from erc_ros.nodes.messages import from_time
from erc_ros.nodes.utterance_node import TEXT_QOS
from erc_ros.sensing.face_search import FaceSearch
from erc_ros.sensing.faces import FaceObservation
from erc_ros.values.events import SpeakerCorrected, UtteranceEvent
from erc_ros.values.nanoseconds import NS
from erc_ros.values.utterance import Utterance as SaidUtterance

MakeBench = Callable[..., Bench]
BEST_EFFORT = QoSProfile(depth=10, reliability=QoSReliabilityPolicy.BEST_EFFORT)


def test_a_text_alone_becomes_an_estimate(make_bench: MakeBench) -> None:
    bench = make_bench()
    estimate = bench.say("I cannot believe it!")
    assert estimate.text == "I cannot believe it!" and estimate.is_final
    assert sum(estimate.probabilities) == pytest.approx(1, abs=1e-5)
    assert estimate.label == estimate.labels[int(np.argmax(estimate.probabilities))]
    assert list(estimate.modality_names) == ["text", "audio", "visual"]
    assert list(estimate.modalities) == [True, False, False]
    assert list(estimate.modality_weights) == [1.0, 0.0, 0.0]
    assert estimate.header.stamp == estimate.end and len(estimate.bundle_sha256) == 64
    stages = dict(zip(estimate.latency_stages, estimate.latency_ns, strict=False))
    assert list(stages)[:3] == ["waiting", "dialogue", "handover"] and stages["text"] > 0
    assert estimate.latency_total_ns >= max(stages.values())
    said = [utterance for utterance in bench.utterances if utterance.is_final]
    assert [u.utterance_id for u in said] == [estimate.utterance_id]


def test_what_is_not_confident_enough_is_unknown(make_bench: MakeBench) -> None:
    bench = make_bench(parameters={"min_confidence": 1.0})
    estimate = bench.say("I cannot believe it!")
    assert estimate.label == "" and estimate.confidence == max(estimate.probabilities) < 1
    assert sum(estimate.probabilities) == pytest.approx(1, abs=1e-5)
    states = bench.listen(EmotionStates, "emotion_state", LATCHED)
    bench.wait(lambda: states, "the latched states")
    assert all(state.label == "" for state in states[-1].states)
    named = SetParameters.Request(
        parameters=[Parameter("min_confidence", value=0.0).to_parameter_msg()]
    )
    assert bench.call(SetParameters, "emotion_node/set_parameters", named).results[0].successful
    again = bench.say("Really, I cannot!")
    assert again.label == again.labels[int(np.argmax(again.probabilities))]


def test_late_subscribers_get_the_labels(make_bench: MakeBench) -> None:
    bench = make_bench()
    estimate = bench.say("hello")
    labels = bench.listen(EmotionLabels, "emotion_labels", LATCHED)
    bench.wait(lambda: labels, "the latched labels")
    assert labels[0].labels == estimate.labels
    assert labels[0].bundle_sha256 == estimate.bundle_sha256
    valence = np.dot(estimate.probabilities, labels[0].valence)
    assert estimate.valence == pytest.approx(valence, abs=1e-5)


def test_late_subscribers_receive_the_states(make_bench: MakeBench) -> None:
    bench = make_bench()
    end = bench.now()
    said = SaidUtterance(
        "c", "u1", end - NS, end, text="Good morning.", speaker_id="0", is_final=True
    )
    for _ in range(2):  # the second time as if its text had been corrected
        bench.nodes[0]._give([UtteranceEvent(said)], 0, 0)
    bench.wait(lambda: bench.estimates, "an estimate")
    states = bench.listen(EmotionStates, "emotion_state", LATCHED)
    bench.wait(lambda: states and states[-1].states, "the latched states")
    (state,) = states[-1].states
    assert (state.conversation_id, state.speaker_id, state.utterances) == ("c", "0", 1)
    assert sum(state.probabilities) == pytest.approx(1, abs=1e-5)
    assert state.label == states[-1].labels[int(np.argmax(state.probabilities))]
    assert 0 < state.uncertainty < 1
    count = len(states)
    bench.wait(lambda: len(states) > count, "it is told again while nobody speaks")


def test_a_text_without_audio_gives_a_state_of_the_unknown_speaker(make_bench: MakeBench) -> None:
    bench = make_bench(parameters={"deployment_context": "unset"})
    none = bench.call(GetEmotion, "emotion_node/get_emotion", GetEmotion.Request())
    assert not none.success
    estimate = bench.say("My dog died yesterday.")
    states = bench.listen(EmotionStates, "emotion_state", LATCHED)
    bench.wait(lambda: states and states[-1].states, "the latched states")
    (state,) = states[-1].states
    assert (state.person_id, state.speaker_id) == (estimate.person_id, estimate.speaker_id)
    assert state.conversation_id == estimate.conversation_id and state.utterances == 1
    answer = bench.call(GetEmotion, "emotion_node/get_emotion", GetEmotion.Request())
    assert answer.success and answer.state.conversation_id == estimate.conversation_id


def test_texts_can_be_excluded(make_bench: MakeBench) -> None:
    open_bench = make_bench()
    open_text = open_bench.say("secret")
    open_bench.close()
    bench = make_bench(parameters={"publish_text": False})
    estimate = bench.say("secret")
    assert estimate.text == "" and estimate.modalities[0]
    assert list(estimate.probabilities) == list(open_text.probabilities)
    assert all(utterance.text == "" for utterance in bench.utterances)


def test_a_reset_begins_a_new_conversation(make_bench: MakeBench) -> None:
    bench = make_bench()
    first = bench.say("you are late again")
    same = bench.say("it is fine")
    for node in ("utterance_node", "emotion_node"):
        assert bench.call(Trigger, f"{node}/reset", Trigger.Request()).success
    after = bench.say("you are late again")
    assert first.conversation_id == same.conversation_id != after.conversation_id
    assert list(after.probabilities) == list(first.probabilities) != list(same.probabilities)


def test_a_camera_that_dies_is_reported_and_the_rest_carries_on(make_bench: MakeBench) -> None:
    bench = make_bench(parameters={"dead_after": 0.5})
    camera = bench.talker(Image, "image", SENSOR)
    for _ in range(3):
        camera.publish(image_message(bench.now()))
    status = bench.wait_for_diagnosis("utterance_node: image", "no message on /image")
    assert status.level == status.WARN
    bench.probe.destroy_publisher(camera)
    assert bench.say("can you see me?").text
    camera = bench.talker(Image, "image", SENSOR)

    def alive() -> bool:
        camera.publish(image_message(bench.now()))
        return bench.diagnoses["utterance_node: image"].message == "ok"

    bench.wait(alive, "the camera is back")


def test_the_buffers_of_large_images_are_released_with_their_publisher(
    make_bench: MakeBench,
) -> None:
    bench = make_bench()
    image = image_message(bench.now(), width=800, height=600)
    assert len(image.data) > inputs.HUGE

    def received() -> int:
        return int(bench.value("utterance_node: image", "received") or 0)

    for _ in range(2):
        camera, before = bench.talker(Image, "image", SENSOR), received()

        def arrives(camera: Any = camera, before: int = before) -> bool:
            camera.publish(image)
            return received() > before

        bench.wait(arrives, "a large image")
        bench.probe.destroy_publisher(camera)
        bench.wait(
            lambda: not bench.probe.get_subscriptions_info_by_topic("/image"), "no subscription"
        )


def test_the_type_of_an_input_is_that_of_its_publisher_also_when_it_changes(
    make_bench: MakeBench,
) -> None:
    bench = make_bench()

    def received() -> int:
        return int(bench.value("utterance_node: audio", "received") or 0)

    for kind in (AudioData, AudioDataStamped, AudioData):
        driver, before = bench.driver(), received()
        publisher = driver.create_publisher(kind, "audio", SENSOR)
        bench.wait(publisher.get_subscription_count, f"somebody hears {kind}")

        def arrives(publisher: Any = publisher, kind: Any = kind, before: int = before) -> bool:
            publisher.publish(kind())  # again: what is sent before both know each other is lost
            type_name = bench.value("utterance_node: audio", "type")
            return received() > before and type_name.endswith(f"/{kind.__name__}")

        bench.wait(arrives, f"a message of {kind}")
        driver.destroy_node()
    bench.talker(CompressedImage, "image/compressed", SENSOR)


def test_a_type_that_the_participant_still_has_otherwise_is_tried_again(
    make_bench: MakeBench,
) -> None:
    bench = make_bench()
    former = bench.probe.create_subscription(
        AudioDataStamped, "audio", lambda message: None, SENSOR
    )
    publisher = bench.driver().create_publisher(AudioData, "audio", SENSOR)
    bench.wait(lambda: bench.value("utterance_node: audio", "publishers") == "1", "it is seen")
    seen = bench.reports
    bench.wait(lambda: bench.reports > seen + 4, "it was tried, in vain")
    assert publisher.get_subscription_count() == 0
    bench.probe.destroy_subscription(former)
    bench.wait(publisher.get_subscription_count, "it is heard")


def test_a_type_without_an_adapter_is_named(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.probe.create_publisher(Bool, "speech", 10)
    status = bench.wait_for_diagnosis("utterance_node: speech", "std_msgs/msg/Bool")
    assert status.level == status.ERROR and "std_msgs/msg/String" in status.message


def bad_images(now: int) -> list[object]:
    unknown = image_message(now, encoding="rgb9")
    narrow = image_message(now)
    narrow.step = 10
    short = image_message(now)
    short.data = short.data[:100]
    empty = image_message(now, width=0, height=0)
    return [unknown, narrow, short, empty]


def test_bad_images_are_counted_and_cause_no_failure(make_bench: MakeBench) -> None:
    bench = make_bench(parameters={"face_rate": 30.0})
    camera = bench.talker(Image, "image", QoSProfile(depth=10))
    start = bench.now()
    for number, message in enumerate(bad_images(start)):
        message.header.stamp.sec += number  # each is due for the detector
        camera.publish(message)
    bench.wait(
        lambda: bench.value("utterance_node: image", "unusable") == "4", "4 bad images counted"
    )
    assert bench.say("still here").text == "still here"


def test_bad_audio_is_counted_and_causes_no_failure(make_bench: MakeBench) -> None:
    bench = make_bench()
    microphone = bench.talker(AudioDataStamped, "audio", QoSProfile(depth=10))
    odd = sound_message(np.zeros(160, np.int16), bench.now())
    odd.audio.data = odd.audio.data[:-1]
    microphone.publish(odd)
    microphone.publish(AudioDataStamped())
    microphone.publish(sound_message(np.zeros(160, np.int16), 0))
    bench.wait(
        lambda: (
            bench.value("utterance_node: audio", "received") == "3"
            and bench.value("utterance_node: audio", "unusable") == "1"
        ),
        "the odd chunk is counted, the empty one and the one without a stamp are fine",
    )
    assert bench.say("still here").text == "still here"


def test_mp3_is_refused_until_the_driver_sends_samples(make_bench: MakeBench) -> None:
    bench = make_bench()
    info = bench.talker(AudioInfo, "audio_info", 10)
    microphone = bench.talker(AudioData, "audio", QoSProfile(depth=10))
    fields = {"channels": 1, "sample_rate": 16000, "sample_format": "S16LE"}
    info.publish(AudioInfo(**fields, coding_format="MP3"))
    status = bench.wait_for_diagnosis("utterance_node: dialogue", "MP3")
    assert status.level == status.ERROR and "format:=wave" in status.message
    microphone.publish(AudioData(data=b"\xff\xfb\x90"))
    bench.wait(lambda: bench.value("utterance_node: audio", "unusable") == "1", "it is refused")
    info.publish(AudioInfo(**fields, coding_format="WAVE"))
    bench.wait_for_diagnosis("utterance_node: dialogue", "ok")


def test_audio_waits_for_its_audio_info(make_bench: MakeBench) -> None:
    bench = make_bench()
    info = bench.talker(AudioInfo, "audio_info", 10)
    microphone = bench.talker(AudioData, "audio", QoSProfile(depth=10))
    for _ in range(3):
        microphone.publish(AudioData(data=bytes(4 * 4410)))
    bench.wait(lambda: bench.value("utterance_node: audio", "received") == "3", "it came")
    assert bench.value("utterance_node: dialogue", "samples") == "0"
    info.publish(
        AudioInfo(channels=2, sample_rate=44100, sample_format="S16LE", coding_format="WAVE")
    )
    bench.wait(lambda: bench.value("utterance_node: audio_info", "received") == "1", "info came")
    for _ in range(3):
        microphone.publish(AudioData(data=bytes(4 * 4410)))
    bench.wait(
        lambda: int(bench.value("utterance_node: dialogue", "samples")) > 5 * 1600, "6 x 0.1 s"
    )


def test_a_publisher_that_means_another_type_is_named_and_not_listened_to(
    make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = inputs.type_hash
    if not real("audio_common_msgs/msg/AudioData"):
        pytest.skip("this distribution does not tell type hashes (before Iron)")

    def other(type_name: str) -> str:  # as if the other package of that name were installed here
        status = real(type_name)
        return status[:-4] + "0000" if type_name.startswith("audio_common_msgs/") else status

    bench = make_bench()
    bench.talker(AudioData, "audio", QoSProfile(depth=10))
    monkeypatch.setattr(inputs, "type_hash", other)
    status = bench.wait_for_diagnosis("utterance_node: audio", "mgonzs13")
    assert status.level == status.ERROR and "RIHS01_" in status.message
    monkeypatch.undo()
    bench.wait_for_diagnosis("utterance_node: audio", "ok")


def test_a_replaced_microphone_needs_a_new_audio_info(make_bench: MakeBench) -> None:
    bench = make_bench()
    info = bench.talker(AudioInfo, "audio_info", 10)
    first = bench.driver()
    microphone = first.create_publisher(AudioData, "audio", 10)
    bench.wait(microphone.get_subscription_count, "it is heard")
    told = {"sample_rate": 16000, "sample_format": "S16LE", "coding_format": "WAVE"}
    info.publish(AudioInfo(channels=1, **told))
    bench.wait(lambda: bench.value("utterance_node: audio_info", "received") == "1", "info came")
    microphone.publish(AudioData(data=bytes(3200)))
    bench.wait(lambda: bench.value("utterance_node: dialogue", "samples") == "1600", "0.1 s")
    first.destroy_node()
    second = bench.driver()
    microphone = second.create_publisher(AudioData, "audio", 10)
    bench.wait(microphone.get_subscription_count, "the new one is heard")
    bench.wait(lambda: bench.value("utterance_node: dialogue", "Replugged") == "1", "it is noticed")
    microphone.publish(AudioData(data=bytes(4 * 1600)))
    bench.wait(lambda: bench.value("utterance_node: audio", "received") == "2", "it came")
    assert bench.value("utterance_node: dialogue", "samples") == "1600"  # and waits
    info.publish(AudioInfo(channels=2, **told))
    bench.wait(lambda: bench.value("utterance_node: audio_info", "received") == "2", "info came")
    microphone.publish(AudioData(data=bytes(4 * 1600)))
    bench.wait(lambda: int(bench.value("utterance_node: dialogue", "samples")) >= 3200, "as stereo")


def test_ros4hri_faces_and_voices_are_used_where_they_come(make_bench: MakeBench) -> None:
    hri = pytest.importorskip("hri_msgs.msg", reason="hri_msgs is not installed")
    bench = make_bench()
    face = bench.talker(Image, "/humans/faces/f7/cropped", SENSOR)
    speaks = bench.talker(Bool, "/humans/faces/f7/is_speaking")
    match = bench.talker(hri.IdsMatch, "/humans/candidate_matches")
    voice = bench.talker(hri.LiveSpeech, "/humans/voices/v1/speech")
    global_speech = bench.talker(String, "speech")
    match.publish(hri.IdsMatch(id1="v1", id1_type=4, id2="f7", id2_type=2, confidence=0.9))
    speaks.publish(Bool(data=True))
    for _ in range(3):
        face.publish(image_message(bench.now()))
    bench.wait(lambda: bench.value("utterance_node: humans", "received") >= "3", "they came")
    global_speech.publish(String(data="I am somebody"))  # the same, for those who know no voices
    message = hri.LiveSpeech(final="I am somebody")
    message.header.stamp = bench.now_message()
    voice.publish(message)
    bench.wait(lambda: bench.estimates, "an estimate")
    (estimate,) = bench.estimates
    assert (estimate.text, estimate.voice_id, estimate.face_id) == ("I am somebody", "v1", "f7")


def test_speakers_are_corrected_on_a_topic(make_bench: MakeBench) -> None:
    bench = make_bench()
    corrections = bench.listen(SpeakerCorrection, "speaker_corrections", 10)
    bench.wait(lambda: bench.probe.count_publishers("speaker_corrections"), "it is offered")
    event = SpeakerCorrected("c1", ("u1", "u2"), 3 * NS, 5 * NS, "", "1")
    bench.nodes[0]._give([event], 0, 0)
    bench.wait(lambda: corrections, "a correction")
    (told,) = corrections
    assert (told.conversation_id, told.utterance_ids) == ("c1", ["u1", "u2"])
    assert (told.old_speaker_id, told.new_speaker_id) == ("", "1")
    assert from_time(told.start) == 3 * NS and told.header.stamp == told.end


def test_texts_of_a_ros4hri_recognizer_are_used(make_bench: MakeBench) -> None:
    hri = pytest.importorskip("hri_msgs.msg", reason="hri_msgs is not installed")
    bench = make_bench()
    recognizer = bench.talker(hri.LiveSpeech, "speech")
    message = hri.LiveSpeech(incremental="good", locale="en_GB")
    message.header.stamp = bench.probe.get_clock().now().to_msg()
    recognizer.publish(message)
    message.incremental, message.final, message.confidence = "", "good morning", 0.5
    recognizer.publish(message)
    bench.wait(lambda: bench.estimates and bench.utterances, "an estimate")
    assert [estimate.text for estimate in bench.estimates] == ["good morning"]
    assert (bench.utterances[-1].locale, bench.utterances[-1].text_confidence) == ("en_GB", 0.5)


def test_utterances_that_make_no_sense_are_counted(make_bench: MakeBench) -> None:
    bench = make_bench(split=True)
    talker = bench.talker(Utterance, "utterances")
    talker.publish(Utterance())
    talker.publish(Utterance(conversation_id="c", utterance_id="u", audio=[1, 2], sample_rate=8000))
    bench.wait(lambda: bench.value("emotion_node: recognizer", "unusable") == "2", "both counted")
    assert bench.say("still here").text == "still here"


def test_empty_texts_say_nothing_and_long_foreign_ones_something(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.say("first")
    for text in ("", "   ", "\n"):
        bench._text.publish(String(data=text))
    assert bench.say("你好，世界 🙂 " * 500).is_final
    assert bench.say("مرحبا").text == "مرحبا"
    assert len(bench.estimates) == 3


def test_speech_of_the_robot_is_not_an_utterance(make_bench: MakeBench) -> None:
    bench = make_bench()
    robot = bench.talker(Bool, "robot_speaking")
    bench.say("hello robot")
    robot.publish(Bool(data=True))
    bench.wait(
        lambda: bench.value("utterance_node: robot_speaking", "received") == "1", "it speaks"
    )
    bench._text.publish(String(data="hello human"))
    bench.wait(lambda: bench.value("utterance_node: speech", "received") == "2", "the text came")
    robot.publish(Bool(data=False))
    assert [estimate.text for estimate in bench.estimates] == ["hello robot"]


def test_a_queue_that_is_full_drops_the_oldest_and_counts(make_bench: MakeBench) -> None:
    bench = make_bench(parameters={"image_queue": 2})
    camera = bench.talker(Image, "image", QoSProfile(depth=10))
    waits, go_on = threading.Event(), threading.Event()
    node = bench.nodes[0]

    class Slow:
        def feed(self, frame: object) -> list[object]:
            go_on.wait(60)
            return []

        def reset(self) -> None:
            pass

    class Watched(FaceSearch):
        def finish(self) -> list[FaceObservation]:
            if self._search is not None:
                waits.set()
            return super().finish()

    node._perception._faces = Watched(Slow())
    camera.publish(image_message(bench.now()))
    bench.wait(waits.is_set, "the worker waits for the search, as the clock has ticked twice")
    for number in range(1, 6):  # one by one: DDS may lose one of five pictures that come at once
        camera.publish(image_message(bench.now() + number * NS))  # each is due for the detector
        bench.wait(lambda n=number: node._inputs["image"]._meter.count == 1 + n, "it has come")
    bench.wait(
        lambda: bench.value("utterance_node: image", "dropped") == "3", "3 frames were dropped"
    )
    assert bench.value("utterance_node: image", "queued") == "2"
    go_on.set()
    bench.wait(lambda: bench.value("utterance_node: image", "queued") == "0", "it caught up")


def test_qos_that_does_not_fit_is_named_with_the_parameter_that_helps(
    make_bench: MakeBench, capfd: pytest.CaptureFixture[str]
) -> None:
    bench = make_bench()
    bench.probe.create_publisher(String, "speech", BEST_EFFORT)
    complaints = bench.nodes[0].complaints
    bench.wait(lambda: complaints.last("/speech"), "a complaint about /speech")
    parameter = "qos_overrides./speech.subscription.reliability"
    assert parameter in complaints.last("/speech")
    other = make_bench(parameters={parameter: "best_effort"})
    talker = other.talker(String, "speech", BEST_EFFORT)
    other.wait(lambda: talker.get_subscription_count() == 1, "it is heard")
    assert not other.nodes[0].complaints.last("/speech")
    assert TEXT_QOS.reliability == QoSReliabilityPolicy.RELIABLE  # of every other topic


def test_stamps_far_from_the_nodes_clock_are_reported(make_bench: MakeBench) -> None:
    bench = make_bench()
    camera = bench.talker(Image, "image", QoSProfile(depth=10))
    camera.publish(image_message(1_600_000_000_000_000_000))
    status = bench.wait_for_diagnosis("utterance_node: dialogue", "use_sim_time")
    assert status.level == status.WARN


def test_latency_and_the_models_are_in_the_diagnostics(make_bench: MakeBench) -> None:
    bench = make_bench()
    estimate = bench.say("hello")
    bench.wait(lambda: bench.value("emotion_node: recognizer", "estimates") == "1", "it is counted")
    p50 = float(bench.value("emotion_node: recognizer", "latency_total_p50_ms"))
    assert p50 == pytest.approx(estimate.latency_total_ns / 1e6, abs=0.01)
    assert bench.value("emotion_node: bundle", "bundle_sha256") == estimate.bundle_sha256
    assert from_time(estimate.end) <= bench.now()


def test_a_synthesiser_that_dies_while_it_speaks_does_not_make_the_robot_deaf(
    make_bench: MakeBench,
) -> None:
    bench = make_bench(parameters={"image_type": "none"})
    bench.say("before")
    other = bench.driver()
    robot = other.create_publisher(Bool, "robot_speaking", 10)
    bench.wait(robot.get_subscription_count, "it is heard")
    robot.publish(Bool(data=True))
    speaks = "utterance_node: robot_speaking"
    bench.wait(lambda: bench.value(speaks, "received") == "1", "it speaks")
    bench._text.publish(String(data="what the robot says"))
    bench.wait(lambda: bench.value("utterance_node: dialogue", "robot_texts") == "1", "of itself")
    other.destroy_node()
    bench.wait(lambda: bench.value(speaks, "publishers") == "0", "it has died")

    def heard() -> bool:
        bench._text.publish(String(data="somebody"))
        return any(estimate.text == "somebody" for estimate in bench.estimates)

    bench.wait(heard, "the robot hears again", patience=10.0)


def test_a_remapped_info_is_awaited(make_bench: MakeBench) -> None:
    remap = ["--ros-args", "-r", "audio_info:=microphone/info"]
    bench = make_bench(nodes=lambda **options: both(cli_args=remap, **options))
    info = bench.talker(AudioInfo, "microphone/info", 10)
    bench.wait(lambda: bench.nodes[0]._format_expected, "the node knows that somebody will tell")
    microphone = bench.talker(AudioData, "audio", QoSProfile(depth=10))
    microphone.publish(AudioData(data=bytes(4 * 4800)))
    bench.wait(lambda: bench.value("utterance_node: audio", "received") == "1", "it came")
    assert bench.value("utterance_node: dialogue", "samples") == "0"
    told = {"sample_format": "S16LE", "coding_format": "WAVE"}
    info.publish(AudioInfo(channels=2, sample_rate=48000, **told))
    bench.wait(lambda: bench.value("utterance_node: audio_info", "received") == "1", "info came")
    microphone.publish(AudioData(data=bytes(4 * 4800)))
    bench.wait(
        lambda: 0 < int(bench.value("utterance_node: dialogue", "samples")) <= 3200, "2 x 0.1 s"
    )


def test_a_configured_type_without_a_publisher_is_named(make_bench: MakeBench) -> None:
    stamped = "audio_common_msgs/msg/AudioDataStamped"
    bench = make_bench(parameters={"audio_type": stamped})
    driver = bench.driver()
    driver.create_publisher(AudioData, "audio", 10)
    status = bench.wait_for_diagnosis("utterance_node: audio", "set audio_type to auto")
    assert (
        status.level == status.ERROR and "AudioData" in status.message and stamped in status.message
    )
