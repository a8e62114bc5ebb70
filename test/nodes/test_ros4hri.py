"""ROS4HRI (REP-155): latched persons, expressions as pyhri reads them, arbitrary ids."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from audio_common_msgs.msg import AudioData, AudioDataStamped
from node_bench import LATCHED, Bench, finals, image_message, play, sound_message
from rclpy.qos import QoSDurabilityPolicy, QoSProfile, QoSReliabilityPolicy
from std_msgs.msg import Bool, String
from std_srvs.srv import Trigger
from tones import scene, tone

hri = pytest.importorskip("hri_msgs.msg", reason="hri_msgs is not installed")

from erc_msgs.msg import Utterance  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402

from erc_ros.adapters import humans_adapter  # noqa: E402
from erc_ros.dialogue.face_history import FaceHistory  # noqa: E402
from erc_ros.dialogue.speaking_face import IdentityMatch  # noqa: E402
from erc_ros.nodes import expressions  # noqa: E402
from erc_ros.nodes.messages import EXPRESSION_OF, EXPRESSIONS  # noqa: E402
from erc_ros.nodes.voices import face_confidences, voice_id_of  # noqa: E402
from erc_ros.pipeline import Perception, PerceptionConfig, VoiceSpeaking  # noqa: E402
from erc_ros.values.nanoseconds import NS  # noqa: E402

MakeBench = Callable[..., Bench]
BEST_EFFORT = QoSProfile(depth=10, reliability=QoSReliabilityPolicy.BEST_EFFORT)


class Face:
    """What pyhri's Face does: it subscribes when its id is tracked, and remembers what comes.

    As its source has it: depth 1, reliable, volatile; a name that is not one of hri_msgs'
    constants clears the expression.
    """

    def __init__(self, bench: Bench, face_id: str) -> None:
        self.expression: str | None = None
        bench.probe.create_subscription(
            hri.Expression, f"/humans/faces/{face_id}/expression", self._hear, 1
        )

    def _hear(self, message: Any) -> None:
        self.expression = message.expression if message.expression in constants() else None


def constants() -> set[str]:
    return {
        value
        for name, value in vars(type(hri.Expression))["_Metaclass_Expression__constants"].items()
    }


def talk_of(bench: Bench, face: str, name: str) -> Utterance:
    return Utterance(conversation_id="c", utterance_id=name, face_id=face, text="oh", is_final=True)


def tracked(bench: Bench, *faces: str) -> Any:
    """A face detector that tracks these faces, with a latched list."""
    publisher = bench.talker(hri.IdsList, "/humans/faces/tracked", LATCHED)
    publisher.publish(hri.IdsList(ids=list(faces)))
    return publisher


def test_the_names_of_expressions_are_those_of_hri_msgs() -> None:
    assert constants() == EXPRESSIONS and set(EXPRESSION_OF.values()) <= EXPRESSIONS


def test_ids_of_a_person_published_before_the_node_started_are_received(
    make_bench: MakeBench,
) -> None:
    bench = make_bench(nodes=lambda **_: [])
    # As hri_person_manager: once, and kept for late subscribers.
    for part, value in (("face_id", "f7"), ("voice_id", "v1")):
        publisher = bench.probe.create_publisher(String, f"/humans/persons/anna/{part}", LATCHED)
        publisher.publish(String(data=value))
    speech = bench.probe.create_publisher(hri.LiveSpeech, "/humans/voices/v1/speech", 10)
    late = make_bench()
    late.wait(lambda: late.value("utterance_node: humans", "received") >= "2", "both were kept")
    bench.wait(speech.get_subscription_count, "the voice is heard")
    message = hri.LiveSpeech(final="it is me")
    message.header.stamp = bench.now_message()
    speech.publish(message)
    late.wait(lambda: late.estimates, "an estimate")
    assert late.estimates[0].person_id == "anna" and late.estimates[0].face_id == "f7"


def test_a_volatile_or_best_effort_publisher_is_received(make_bench: MakeBench) -> None:
    bench = make_bench()
    for name, qos in (("best", BEST_EFFORT), ("reliable", QoSProfile(depth=5)), ("kept", LATCHED)):
        talker = bench.talker(Bool, f"/humans/faces/{name}/is_speaking", qos)
        before = int(bench.value("utterance_node: humans", "received") or 0)

        def came(talker: Any = talker, before: int = before) -> bool:
            talker.publish(Bool(data=True))
            return int(bench.value("utterance_node: humans", "received") or 0) > before

        bench.wait(came, f"a message of {name}")
    assert not bench.nodes[0].complaints.last(f"/humans/faces/{name}/is_speaking")


def test_another_publisher_with_weaker_qos_is_received(make_bench: MakeBench) -> None:
    bench = make_bench()
    topic = "/humans/faces/f1/is_speaking"
    bench.talker(Bool, topic, LATCHED)
    other = bench.probe.create_publisher(Bool, topic, BEST_EFFORT)
    before = int(bench.value("utterance_node: humans", "received") or 0)

    def came() -> bool:
        other.publish(Bool(data=True))
        return int(bench.value("utterance_node: humans", "received") or 0) > before

    bench.wait(came, "it is heard")


def test_audio_is_reliable_if_all_publishers_offer_it(make_bench: MakeBench) -> None:
    bench = make_bench()

    def asked() -> set[Any]:
        subscriptions = bench.probe.get_subscriptions_info_by_topic("/audio")
        return {info.qos_profile.reliability for info in subscriptions}

    bench.talker(AudioData, "audio", QoSProfile(depth=10))
    bench.wait(lambda: asked() == {QoSReliabilityPolicy.RELIABLE}, "reliable sound")
    bench.driver().create_publisher(AudioData, "audio", BEST_EFFORT)
    bench.wait(lambda: asked() == {QoSReliabilityPolicy.BEST_EFFORT}, "what both can give")


@pytest.mark.parametrize("split", [False, True])
def test_the_first_expression_of_a_face_reaches_a_polling_subscriber(
    make_bench: MakeBench, split: bool
) -> None:
    bench = make_bench(split=split, parameters={"publish_expression": True})
    tracked(bench, "f7")
    face = Face(bench, "f7")
    topic = "/humans/faces/f7/expression"
    bench.wait(lambda: bench.probe.count_publishers(topic), "a topic, before anything is said")
    (info,) = bench.probe.get_publishers_info_by_topic(topic)
    assert info.qos_profile.durability == QoSDurabilityPolicy.TRANSIENT_LOCAL
    if split:
        bench.talker(Utterance, "utterances").publish(talk_of(bench, "f7", "u1"))
    else:
        picture = bench.talker(Image, "/humans/faces/f7/cropped", 5)

        def seen() -> bool:
            picture.publish(image_message(bench.now()))
            return bool(bench.nodes[0]._perception.counts["tracked_faces"] >= 2)

        bench.wait(seen, "the face is seen")
        bench.say("I cannot believe that all of this is true.")
    bench.wait(lambda: bench.estimates, "the estimate")
    assert bench.estimates[0].face_id == "f7"
    # A tutorial's timer at 10 Hz sees it with the first estimate, not with the second one.
    polls: list[str | None] = []
    bench.probe.create_timer(0.1, lambda: polls.append(face.expression))
    bench.wait(lambda: polls and polls[-1], "an expression")
    estimate = bench.estimates[0]
    assert polls[-1] == EXPRESSION_OF.get(estimate.label, estimate.label)
    late = bench.listen(hri.Expression, topic, LATCHED)
    bench.wait(lambda: late, "a late subscriber gets the last one")


def test_a_face_has_a_topic_only_while_it_is_tracked(
    make_bench: MakeBench,
) -> None:
    bench = make_bench(split=True, parameters={"publish_expression": True})
    detector = tracked(bench, "f7")
    topics = "/humans/faces/f7/expression", "/humans/faces/face1/expression"
    bench.wait(lambda: bench.probe.count_publishers(topics[0]), "a topic")
    bench.talker(Utterance, "utterances").publish(talk_of(bench, "face1", "u1"))
    bench.wait(lambda: bench.estimates, "the estimate")
    assert not bench.probe.count_publishers(topics[1])  # our own track
    detector.publish(hri.IdsList(ids=["f8"]))
    bench.wait(lambda: not bench.probe.count_publishers(topics[0]), "the topic is gone")
    bench.probe.destroy_publisher(detector)
    bench.wait(
        lambda: not bench.probe.count_publishers("/humans/faces/f8/expression"), "and f8's, too"
    )


def test_a_label_that_hri_msgs_does_not_know_is_not_sent(
    make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("erc_ros.nodes.messages.EXPRESSIONS", frozenset())
    bench = make_bench(split=True, parameters={"publish_expression": True})
    tracked(bench, "f7")
    heard = bench.listen(hri.Expression, "/humans/faces/f7/expression", LATCHED)
    bench.wait(lambda: bench.probe.count_publishers("/humans/faces/f7/expression"), "a topic")
    bench.talker(Utterance, "utterances").publish(talk_of(bench, "f7", "u1"))
    bench.wait(lambda: bench.estimates, "the estimate")
    label = bench.estimates[0].label
    bench.wait(lambda: bench.nodes[1].complaints.last(f"expression {label}"), "a complaint")
    assert not heard


def test_invalid_ids_and_thousands_of_faces_cause_no_failure(
    make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expressions, "MAX_FACES", 3)
    bench = make_bench(split=True, parameters={"publish_expression": True})
    bad = ["a/b", "a b", "..", "", "7up", "x" * 100_000]
    detector = tracked(bench, *bad, *(f"f{n}" for n in range(3000)))
    made = bench.nodes[1]._expressions._publishers
    bench.wait(lambda: len(made) == 3, "as many topics as may be")
    assert "REP-155" in bench.nodes[1].complaints.last("faces/tracked")
    talker = bench.talker(Utterance, "utterances")
    talker.publish(talk_of(bench, "f2999", "u1"))  # who speaks gets a topic in any case
    bench.wait(lambda: "f2999" in made, "a topic")
    for number, face in enumerate(bad):
        talker.publish(talk_of(bench, face, f"bad{number}"))
    bench.wait(lambda: len(bench.estimates) == len(bad), "all but the one that is too long")
    bench.wait(lambda: bench.value("emotion_node: recognizer", "unusable") == "1", "and it is told")
    assert bench.say("still here").text == "still here"
    assert len(made) == 3
    detector.publish(hri.IdsList())
    bench.wait(lambda: not made, "all gone")


class Voice:
    """What pyhri's Voice does, once its id is tracked."""

    def __init__(self, bench: Bench, voice_id: str) -> None:
        self.is_speaking: list[bool] = []
        self.speech: list[Any] = []
        topic = f"/humans/voices/{voice_id}"
        bench.probe.create_subscription(
            Bool, f"{topic}/is_speaking", lambda m: self.is_speaking.append(m.data), 1
        )
        bench.probe.create_subscription(
            hri.LiveSpeech, f"{topic}/speech", lambda m: self.speech.append(m), 1
        )


class HRIListener:
    """What pyhri's HRIListener does for voices: depth 1, volatile."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.voices: dict[str, Voice] = {}
        self.ever: dict[str, Voice] = {}
        bench.probe.create_subscription(hri.IdsList, "/humans/voices/tracked", self._hear, 1)

    def _hear(self, message: Any) -> None:
        for gone in set(self.voices) - set(message.ids):
            del self.voices[gone]
        for new in set(message.ids) - set(self.voices):
            self.ever[new] = self.voices[new] = Voice(self.bench, new)


def test_voices_are_published_with_texts_and_matches(make_bench: MakeBench, tones: None) -> None:
    parameters = {
        "publish_voices": True,
        "publish_voice_audio": True,
        "sound_timeout": 30.0,
        "text_timeout": 30.0,
    }
    bench = make_bench(parameters=parameters)
    people = HRIListener(bench)
    matches = bench.listen(hri.IdsMatch, "/humans/candidate_matches", 50)
    tracked(bench, "f7")
    face = bench.talker(Image, "/humans/faces/f7/cropped", 5)
    bench.wait(lambda: bench.nodes[0]._voices._faces.ids == ("f7",), "the face is tracked")
    start = bench.now()
    for number in range(15):
        face.publish(image_message(start + number * NS // 5))
    play(bench, scene((0.5, 3, 4), end=5), start)
    bench.wait(lambda: people.voices, "a voice, when its first speech has ended")
    ((name, voice),) = people.voices.items()
    sound = bench.listen(AudioData, f"/humans/voices/{name}/audio", LATCHED)
    text = bench.talker(hri.LiveSpeech, "speech")
    text.publish(hri.LiveSpeech(final="good morning", confidence=0.5, locale="en_GB"))
    bench.wait(lambda: voice.speech, "it is told what it said: also the first time")
    told = voice.speech[0]
    assert (told.final, told.confidence, told.locale) == ("good morning", 0.5, "en_GB")
    bench.wait(lambda: finals(bench), "the utterance, on its own topic")
    (said,) = finals(bench)
    assert said.voice_id == name and told.header.stamp == said.end
    bench.wait(lambda: sound, "its sound")
    assert len(sound[0].data) == 2 * len(said_sound(bench))
    bench.wait(lambda: matches, "whose face it may be")
    match = matches[0]
    assert (match.id1, match.id1_type, match.id2, match.id2_type) == (name, 4, "f7", 2)
    assert match.confidence == pytest.approx(2 / 3)
    play(bench, scene((0.5, 3, 4), end=3), start + 5 * NS)
    bench.wait(lambda: voice.is_speaking == [True], "it speaks again")
    play(bench, np.zeros(16_000, np.float32), start + 8 * NS)
    bench.wait(lambda: voice.is_speaking == [True, False], "it has ended")
    assert bench.call(Trigger, "utterance_node/reset", Trigger.Request()).success
    bench.wait(lambda: not people.voices, "ids of voices do not persist")
    bench.wait(lambda: matches[-1].confidence == 0.0, "nor do their matches")
    bench.wait(lambda: not bench.probe.count_publishers(f"/humans/voices/{name}/speech"), "topics")


def said_sound(bench: Bench) -> Any:
    (said,) = finals(bench)
    duration = (said.end.sec - said.start.sec) * NS + said.end.nanosec - said.start.nanosec
    return range(duration * 16_000 // NS)


def test_withheld_content_is_not_published_by_a_voice(make_bench: MakeBench, tones: None) -> None:
    parameters = {"publish_voices": True, "publish_voice_audio": True, "expect_text": "never"}
    bench = make_bench(parameters=parameters)
    bench.nodes[0].consent.tell(False)
    people = HRIListener(bench)
    play(bench, scene((0.5, 3, 4), end=5), bench.now())
    bench.wait(lambda: people.voices and finals(bench), "a voice")
    ((name, voice),) = people.voices.items()
    sound = bench.listen(AudioData, f"/humans/voices/{name}/audio", LATCHED)
    count = bench.reports
    bench.wait(lambda: bench.reports > count + 5, "some time has gone by")
    assert not voice.speech and not sound


def test_a_voice_is_not_sure_of_a_face_that_it_had_once() -> None:
    assert face_confidences(["a"]) == {"a": pytest.approx(2 / 3)}
    contradicting = face_confidences(["a", "b", "a", "a"])
    assert contradicting["a"] == pytest.approx(4 / 6) and contradicting["b"] == pytest.approx(2 / 6)
    assert face_confidences([]) == {}


def test_a_separated_voice_is_the_audio_of_its_utterance(
    make_bench: MakeBench, tones: None
) -> None:
    parameters = {"publish_media": True, "sound_timeout": 30.0, "text_timeout": 30.0}
    bench = make_bench(parameters=parameters)
    voice = "/humans/voices/v1"
    speech = bench.talker(hri.LiveSpeech, f"{voice}/speech")
    alone = bench.talker(AudioDataStamped, f"{voice}/audio", QoSProfile(depth=100))
    start = bench.now() - 6 * NS
    # two people at once on the microphone; separated, one of them
    play(bench, scene((1, 3, 4), (1, 3, 20), end=5), start)
    bench.wait(lambda: bench.utterances, "a draft")
    mixed = np.array(bench.utterances[0].audio)
    sound = (tone(4, 2.0) * 32767).astype(np.int16)
    for first in range(0, len(sound), 8000):
        stamp = start + NS + first * NS // 16_000
        alone.publish(sound_message(sound[first : first + 8000], stamp))
    humans = bench.nodes[0]._humans
    bench.wait(lambda: humans._meter.count >= 4, "it came")
    speech.publish(hri.LiveSpeech(final="it is me and nobody else, whoever else there is"))
    bench.wait(lambda: finals(bench), "the utterance")
    said = finals(bench)[0]
    assert said.voice_id == "v1"

    def share_of_the_other(samples: np.ndarray) -> float:
        spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
        at = np.fft.rfftfreq(len(samples), 1 / 16_000)
        own, other = (spectrum[np.abs(at - (n + 0.5) * 125) < 20].max() for n in (4, 20))
        return float(other / own)

    assert share_of_the_other(mixed) == pytest.approx(1, abs=0.1)
    assert share_of_the_other(np.array(said.audio)) < 0.01
    odd = sound_message(sound[:2], start)
    odd.audio.data = odd.audio.data[:3]
    alone.publish(odd)
    bench.wait(lambda: bench.value("utterance_node: humans", "unusable") == "1", "it is counted")


def test_landmarks_say_whose_mouth_moves(make_bench: MakeBench, tones: None) -> None:
    parameters = {"sound_timeout": 30.0, "text_timeout": 30.0, "face_rate": 30.0}
    bench = make_bench(parameters=parameters)
    faces = ("rests", "speaks")
    shapes = {
        face: bench.talker(hri.FacialLandmarks, f"/humans/faces/{face}/landmarks", 50)
        for face in faces
    }
    crops = {face: bench.talker(Image, f"/humans/faces/{face}/cropped", 50) for face in faces}
    start = bench.now() - 6 * NS
    for number in range(25):
        for face in faces:
            stamp = start + number * NS // 5
            crops[face].publish(image_message(stamp))
            is_open = face == "speaks" and 5 <= number < 20 and number % 2
            shapes[face].publish(landmarks_message(stamp, 0.06 if is_open else 0.0))
        came = 4 * (number + 1)
        bench.wait(lambda c=came: bench.nodes[0]._humans._meter.count >= c, "all have come")
    play(bench, scene((1, 4, 4), end=6), start)
    bench.wait(lambda: bench.utterances, "a draft")
    bench.talker(String, "speech").publish(String(data="which of us is it that speaks now"))
    bench.wait(lambda: finals(bench), "an utterance")
    assert finals(bench)[0].face_id == "speaks"
    bench.wait(lambda: bench.value("utterance_node: dialogue", "face_motion") == "1", "by motion")


def landmarks_message(stamp: int, opening: float) -> Any:
    """A face whose lips are open by so much of the picture's height."""
    message = hri.FacialLandmarks(width=640, height=480)
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, NS)
    places = {36: (0.4, 0.4), 39: (0.45, 0.4), 42: (0.55, 0.4), 45: (0.6, 0.4), 27: (0.5, 0.4)}
    places |= {30: (0.5, 0.5)} | {upper: (0.5, 0.6) for upper in (61, 62, 63)}
    places |= {lower: (0.5, 0.6 + opening) for lower in (65, 66, 67)}
    for number, (x, y) in places.items():
        message.landmarks[number].x, message.landmarks[number].y = x, y
    return message


def test_own_voices_are_not_used_as_input(make_bench: MakeBench) -> None:
    bench = make_bench()
    own = voice_id_of("c1", "0")
    bench.probe.create_publisher(hri.LiveSpeech, f"/humans/voices/{own}/speech", 10)
    other = bench.talker(hri.LiveSpeech, "/humans/voices/v1/speech")
    assert bench.probe.count_subscribers(f"/humans/voices/{own}/speech") == 0
    assert other.get_subscription_count() == 1


def test_contradictory_matches_cause_no_failure(make_bench: MakeBench) -> None:
    bench = make_bench()
    match = bench.talker(hri.IdsMatch, "/humans/candidate_matches")
    voice = bench.talker(hri.LiveSpeech, "/humans/voices/v1/speech")
    for person, confidence in (("anna", 0.9), ("bob", 0.9), ("anna", 0.0), ("bob", 0.4)):
        match.publish(
            hri.IdsMatch(id1="v1", id1_type=4, id2=person, id2_type=1, confidence=confidence)
        )
    for face in ("f1", "f2"):
        match.publish(hri.IdsMatch(id1="v1", id1_type=4, id2=face, id2_type=2, confidence=0.8))
    match.publish(hri.IdsMatch(id1="v1", id1_type=4, id2="v1", id2_type=4, confidence=0.8))
    match.publish(hri.IdsMatch(id1="x" * 100_000, id1_type=4, id2="f1", id2_type=2, confidence=1.0))
    match.publish(hri.IdsMatch(id1="v1", id1_type=4, id2="f1", id2_type=2, confidence=7.0))
    bench.wait(lambda: bench.value("utterance_node: humans", "unusable") == "2", "two are refused")
    voice.publish(hri.LiveSpeech(final="it is me"))
    bench.wait(lambda: bench.estimates, "an estimate")
    assert bench.estimates[0].person_id == "bob" and bench.estimates[0].face_id in ("f1", "f2")


def test_a_voice_of_others_that_speaks_makes_its_face_speak() -> None:
    faces = FaceHistory()
    faces.match(IdentityMatch(("voice", "v1"), ("face", "f1"), 0.9))
    assert faces.of_voice("v1") == ["f1"] and faces.of_voice("v2") == []
    adapter = humans_adapter("/humans/voices/v1/is_speaking", "std_msgs/msg/Bool")
    assert adapter is not None
    value = adapter.read(Bool(data=True), 5)
    assert value == VoiceSpeaking("v1", 5, True)
    config = PerceptionConfig(face_detector="none", speaker_model="none")
    ears = Perception(config)
    ears.feed(IdentityMatch(("voice", "v1"), ("face", "f1"), 0.9))
    ears.feed(value)
    assert ears._assembler._faces._spoken["f1"].spans == ((5, None),)
    ears.close()
