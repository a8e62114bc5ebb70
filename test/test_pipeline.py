"""The pipeline in a script: inputs and events, without ROS."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import wave
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from bundles import write_tiny_bundle
from hypothesis import given, settings
from hypothesis import strategies as st
from tones import LoudIsSpeech, scene, tone_networks

import erc_ros
from erc_ros import (
    AudioChunk,
    AudioFormat,
    EstimateEvent,
    Frame,
    InputLate,
    InputRefused,
    Perception,
    PerceptionConfig,
    Pipeline,
    PipelineConfig,
    RobotSpeaking,
    SpeakerCorrected,
    Transcript,
)
from erc_ros.dialogue.alignment import expected_duration
from erc_ros.dialogue.assembler import AssemblerConfig, UtteranceAssembler
from erc_ros.dialogue.speakers.embedding import load_manifest
from erc_ros.dialogue.speakers.enrolment import MAX_NAME, EnrolmentError, load_voices
from erc_ros.dialogue.voice_activity import SileroVoiceActivity
from erc_ros.inference.bundle import read_manifest
from erc_ros.inference.engines import tensorrt_engine
from erc_ros.pipeline import (
    LATE,
    FaceLandmarks,
    FaceSpeaking,
    FormatExpected,
    FormatRefused,
    IdentityMatch,
    MicrophoneReplaced,
    RobotJoints,
    RobotMoving,
    TrackedFace,
    VoiceSound,
    VoiceSpeaking,
    crop_size,
    known_voices,
    microphone_of,
    speaker_networks,
)
from erc_ros.resources import model_folder
from erc_ros.sensing.audio import AudioSamples
from erc_ros.sensing.faces import Box, FaceObservation
from erc_ros.values.events import (
    ConversationEnded,
    DeviceReplaced,
    Event,
    TextCorrected,
    UtteranceEvent,
)
from erc_ros.values.nanoseconds import NS
from erc_ros.values.opt_outs import speaker_key
from erc_ros.values.utterance import Utterance

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> PipelineConfig:
    bundle = write_tiny_bundle(tmp_path_factory.mktemp("models") / "tiny")
    return PipelineConfig(
        bundle=str(bundle), speaker_model="none", device="cpu", min_confidence=0.0
    )


def said(text: str, time: int = NS) -> Transcript:
    return Transcript(text, arrival=time)


@pytest.mark.parametrize("channels", [1, 2])
def test_the_example_of_a_pipeline_in_the_documentation_gives_an_estimate(
    tmp_path: Path, channels: int
) -> None:
    pytest.importorskip("espeakng_loader", reason="the extra [demo] is not installed")
    from erc_ros.demo.conversation_bag import VOICES
    from erc_ros.demo.voices import synthesiser

    (code,) = re.findall(
        r"```python\n(.*?)```", (REPOSITORY / "docs/how-to/python.md").read_text(), re.DOTALL
    )
    sound = synthesiser().say("I got the job, I am so happy!", VOICES[0])
    samples = (sound.clip(-1, 1) * 32_767).astype("<i2")
    with wave.open(str(tmp_path / "hello.wav"), "wb") as file:
        file.setparams((channels, 2, 16_000, 0, "NONE", ""))
        file.writeframes(samples.repeat(channels).tobytes())
    show = "\nprint(event.estimate.utterance.end - event.estimate.utterance.start)"
    code += "for event in events:\n    if isinstance(event, EstimateEvent):" + show.replace(
        "\n", "\n        "
    )
    (tmp_path / "example.py").write_text(code)
    command = [sys.executable, "example.py"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    line, lasts = run.stdout.splitlines()  # one estimate, however many channels
    label, confidence, text = line.split(" ", 2)
    assert label == "joy" and 0.2 < float(confidence) <= 1.0
    assert text == "I got the job, I am so happy!"
    assert int(lasts) <= len(sound) * NS / 16_000 + NS / 2


def test_a_text_becomes_an_utterance_and_then_its_estimate(config: PipelineConfig) -> None:
    with Pipeline(config) as pipeline:
        events = [*pipeline.feed(said("Good morning.")), *pipeline.flush()]
    kinds = [type(event) for event in events]
    assert kinds.index(UtteranceEvent) < kinds.index(EstimateEvent) < kinds.index(ConversationEnded)
    (estimate,) = (event.estimate for event in events if isinstance(event, EstimateEvent))
    assert estimate.utterance.text == "Good morning." and estimate.modalities == (
        True,
        False,
        False,
    )
    assert estimate.label in pipeline.bundle.labels
    assert float(estimate.probabilities.sum()) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("is_reset", [False, True])
def test_a_reset_forgets_the_audio_of_voices(config: PipelineConfig, is_reset: bool) -> None:
    samples = np.random.default_rng(0).integers(-9000, 9000, 16_000).astype("<i2").tobytes()
    with Pipeline(config) as pipeline:
        pipeline.feed(VoiceSound("v1", AudioChunk(samples, 10 * NS, 11 * NS)))
        if is_reset:
            pipeline.reset()
        text = Transcript("Hello.", arrival=11 * NS, start=10 * NS, end=11 * NS, voice_id="v1")
        events = [*pipeline.feed(text), *pipeline.flush()]
    (said,) = (event.utterance for event in events if isinstance(event, UtteranceEvent))
    assert said.voice_id == "v1" and bool(len(said.audio)) != is_reset


def test_a_reset_begins_a_new_conversation(config: PipelineConfig) -> None:
    with Pipeline(config) as pipeline:
        events = [*pipeline.feed(said("You again.")), *pipeline.reset()]
        events += [*pipeline.feed(said("You again.", 9 * NS)), *pipeline.flush()]
    first, second = (event.estimate for event in events if isinstance(event, EstimateEvent))
    assert first.utterance.conversation_id != second.utterance.conversation_id
    np.testing.assert_array_equal(first.probabilities, second.probabilities)


def test_unusable_input_is_reported_and_does_not_affect_others(config: PipelineConfig) -> None:
    frame = Frame(NS, "rgb9", 4, 4, 12, bytes(48))
    with Pipeline(config) as pipeline:
        odd = pipeline.feed(AudioChunk(b"123", NS, NS))
        later = [*pipeline.feed(frame), *pipeline.advance(NS), *pipeline.advance(NS + 1)]
        pipeline.feed(FormatRefused("it is MP3"))
        mp3 = pipeline.feed(AudioChunk(bytes(320), NS, NS))
        rest = [*pipeline.feed(said("Still here.")), *pipeline.flush()]
    assert [event.source for event in odd if isinstance(event, InputRefused)] == ["audio"]
    (refused,) = (event for event in later if isinstance(event, InputRefused))
    assert refused.source == "image" and "rgb9" in refused.reason
    assert mp3 == [InputRefused("audio", "it is MP3")]
    assert any(isinstance(event, EstimateEvent) for event in rest)


def samples_of(chunk: AudioChunk, config: PipelineConfig) -> int:
    """Return the number of samples (16 kHz) that a pipeline reads from a chunk."""
    heard = 0
    with Pipeline(config) as pipeline:
        events = [*pipeline.feed(chunk), *pipeline.flush()]
        assert not [event for event in events if isinstance(event, InputRefused)]
        heard = pipeline.perception.counts["samples"]
    return heard


tone = np.sin(np.arange(16_000) * 0.1) / 2


@pytest.mark.parametrize("kind", ["f4", "f8", ">f4", "i2", "i4"])
def test_samples_of_an_array_are_what_its_type_says(config: PipelineConfig, kind: str) -> None:
    full = {"i2": 2**15, "i4": 2**31}.get(kind, 1)
    samples = (tone * full).astype(kind)
    assert samples_of(AudioChunk(samples, NS, 2 * NS), config) == 16_000
    as_bytes = AudioChunk((tone * 2**15).astype("<i2").tobytes(), NS, 2 * NS)
    heard = []
    for chunk in (AudioChunk(samples, NS, 2 * NS), as_bytes):
        perception = Perception(PerceptionConfig(face_detector="none", speaker_model="none"))
        chunks = [*perception._microphone.feed(chunk), *perception._microphone.flush()]
        heard.append(np.concatenate([e.samples for e in chunks if isinstance(e, AudioSamples)]))
        perception.close()
    np.testing.assert_allclose(heard[0], heard[1], atol=2**-14)


def test_an_array_of_two_axes_knows_its_channels(config: PipelineConfig) -> None:
    stereo = np.stack([tone, tone], axis=1).astype(np.float32)
    assert samples_of(AudioChunk(stereo, NS, 2 * NS), config) == 16_000
    told = AudioChunk(stereo, NS, 2 * NS, format=AudioFormat(16_000, 2))
    assert samples_of(told, config) == 16_000
    interleaved = AudioChunk(stereo.reshape(-1), NS, 2 * NS, format=AudioFormat(16_000, 2))
    assert samples_of(interleaved, config) == 16_000
    with Pipeline(config) as pipeline:
        (refused,) = pipeline.feed(AudioChunk(stereo, NS, NS, format=AudioFormat(16_000, 1)))
    assert isinstance(refused, InputRefused) and refused.source == "audio"


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (np.zeros(100, np.float16), TypeError),
        (np.zeros(100, np.int64), TypeError),
        (np.zeros(100, complex), TypeError),
        ([0.0, 0.1], TypeError),
        ("sound", TypeError),
        (np.array([0.0, 12_000.0], np.float32), ValueError),  # of 16 bit, as floats
        (np.zeros((2, 16_000), np.float32), ValueError),  # channels first
        (np.zeros((4, 4, 2), np.float32), ValueError),
    ],
)
def test_other_audio_data_is_refused(data: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        AudioChunk(data, NS, NS)


def test_floats_that_are_not_finite_are_replaced_and_counted(config: PipelineConfig) -> None:
    samples = tone.astype(np.float32)
    samples[7], samples[9] = np.nan, np.inf
    with Pipeline(config) as pipeline:
        pipeline.feed(AudioChunk(samples, NS, 2 * NS))
        assert pipeline.perception.counts["Repaired"] == 1


def test_a_time_in_seconds_is_refused(config: PipelineConfig) -> None:
    with pytest.raises(TypeError, match="nanoseconds"):
        Transcript("Hello.", arrival=1.0)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="nanoseconds"):
        Transcript("Hello.", arrival=NS, end=1.5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="nanoseconds"):
        AudioChunk(bytes(2), 0.5, NS)  # type: ignore[arg-type]
    for speaking in (
        lambda stamp: RobotSpeaking(stamp, True),
        lambda stamp: RobotMoving(stamp, True),
        lambda stamp: RobotJoints(stamp, np.zeros(1), np.zeros(0)),
        lambda stamp: FaceSpeaking("f1", stamp, True),
        lambda stamp: VoiceSpeaking("v1", stamp, True),
    ):
        assert speaking(NS).stamp == NS
        with pytest.raises(TypeError, match="nanoseconds"):
            speaking(1.0)
    with pytest.raises(ValueError, match="64 bits"):
        Transcript("Hello.", arrival=10**30)
    with Pipeline(config) as pipeline, pytest.raises(TypeError, match="nanoseconds"):
        pipeline.advance(1.0)  # type: ignore[arg-type]
    assert Transcript("Hello.", arrival=np.int64(NS)).time == NS  # type: ignore[arg-type]


def test_a_clock_that_overtakes_inputs_is_reported(config: PipelineConfig) -> None:
    with Pipeline(config) as pipeline:
        events = [*pipeline.advance(5 * NS), *pipeline.feed(said("Late.", 2 * NS))]
        events += pipeline.feed(AudioChunk(bytes(3200), 2 * NS, 4 * NS))
        in_time = pipeline.feed(said("In time.", 6 * NS))
        counts = pipeline.perception.counters()
    late = [event for event in events if isinstance(event, InputLate)]
    assert late == [InputLate("speech", 3 * NS), InputLate("audio", NS)]
    assert counts["late_inputs"] == 2
    assert not [event for event in in_time if isinstance(event, InputLate)]


def test_a_closed_pipeline_leaves_no_thread_and_no_file(config: PipelineConfig) -> None:
    """Speaker diarization and face detection each have a thread."""
    told = replace(config, speaker_model="speaker-campplus")
    noise = np.random.default_rng(0).normal(0, 0.1, 2 * 16_000).astype(np.float32)
    frame = Frame(2 * NS, "rgb8", 64, 64, 192, bytes(64 * 64 * 3))

    def use() -> tuple[set[str], int]:
        during = set()
        with Pipeline(told) as pipeline:
            pipeline.feed(frame)
            for number, chunk in enumerate(np.split(noise, 20)):
                start = NS + number * NS // 10
                pipeline.feed(AudioChunk(chunk, start, start + NS // 10))
            pipeline.perception._assembler._diarizer.begin_update(0)
            during = {thread.name for thread in threading.enumerate()}
        return during, len(os.listdir("/proc/self/fd"))

    before = set(threading.enumerate())
    (during, files), *others = [use() for _ in range(3)]
    assert any(name.startswith("diarizer") for name in during)
    assert set(threading.enumerate()) <= before
    assert [each for _, each in others] == [files, files]


def test_scripts_find_what_they_feed_and_receive_in_the_package() -> None:
    assert {"AudioFormat", "RobotSpeaking", "SpeakerCorrected"} <= set(erc_ros.__all__)
    assert SpeakerCorrected.__module__ == "erc_ros.values.events"


def test_what_is_no_input_at_all_is_an_error(config: PipelineConfig) -> None:
    with Pipeline(config) as pipeline, pytest.raises(TypeError, match="str"):
        pipeline.feed("hello")  # type: ignore[arg-type]


def test_a_draft_is_estimated_only_where_it_is_wanted(config: PipelineConfig) -> None:
    draft = UtteranceEvent(erc_ros.Utterance("c", "u1", 0, 1, "Well", is_final=False))
    for wanted in (False, True):
        told = PipelineConfig.from_parameters(
            {
                "bundle": config.recognition.bundle,
                "publish_provisional": wanted,
                "speaker_model": "none",
            }
        )
        with Pipeline(told) as pipeline:
            events = pipeline.recognition.feed(draft)
        assert [event.estimate.is_final for event in events] == [False] * wanted


@pytest.mark.parametrize(
    ("missing", "devices", "is_built"),
    [
        ("", {"text": "tensorrt", "fusion": "cpu"}, True),
        ("", {"text": "tensorrt", "fusion": "tensorrt"}, False),
        ("no TensorRT", {"text": "cpu", "fusion": "cpu"}, False),
    ],
)
def test_engines_are_built_where_tensorrt_is_and_a_network_lacks_one(
    missing: str,
    devices: dict[str, str],
    is_built: bool,
    config: PipelineConfig,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tensorrt_engine, "missing", lambda: missing)
    monkeypatch.setattr("erc_ros.pipeline.EngineBuild", lambda bundle, ready: (bundle, ready))
    with Pipeline(config) as pipeline:
        recognition = pipeline.recognition
        recogniser = recognition._recogniser
        networks = {part: SimpleNamespace(device=name) for part, name in devices.items()}
        with monkeypatch.context() as patch:
            patch.setattr(recogniser, "networks", networks)
            built = recognition.build_engines()
        expected = (recogniser.bundle, recogniser.reopen) if is_built else None
        assert built == expected


def test_what_is_not_confident_enough_is_unknown_and_keeps_its_probabilities(
    config: PipelineConfig,
) -> None:
    said = UtteranceEvent(erc_ros.Utterance("c", "u1", 0, NS, "Well", is_final=True))
    estimates = {}
    for least in (0.0, 1.0):
        told = PipelineConfig.from_parameters(
            {"bundle": config.recognition.bundle, "min_confidence": least, "speaker_model": "none"}
        )
        with Pipeline(told) as pipeline:
            (event,) = pipeline.recognition.feed(said)
            assert pipeline.recognition.counts["unknown"] == least
        estimates[least] = event.estimate
    named, unknown = estimates[0.0], estimates[1.0]
    assert named.label and unknown.label == "" and unknown.confidence == named.confidence < 1
    np.testing.assert_array_equal(named.probabilities, unknown.probabilities)


def test_nothing_outside_is_changed_and_little_is_loaded_by_the_import() -> None:
    code = (
        "import os, sys; before = dict(os.environ); import erc_ros; assert dir(erc_ros); "
        "print(dict(os.environ) == before, 'numpy' in sys.modules, 'onnxruntime' in sys.modules); "
        "import cv2; before = dict(os.environ); "  # OpenCV itself lengthens LD_LIBRARY_PATH
        "erc_ros.Pipeline; print(dict(os.environ) == before, 'rclpy' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["True", "False", "False", "True", "False"]


def test_a_name_that_does_not_exist_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="Pipelin"):
        erc_ros.Pipelin  # noqa: B018


def test_a_recording_in_a_loop_never_uses_the_id_of_a_conversation_again(
    config: PipelineConfig,
) -> None:
    ids = []
    with Pipeline(config) as pipeline:
        for _ in range(3):
            for time in (100 * NS, 200 * NS):  # two conversations, then the sequence begins again
                pipeline.advance(time)
                events = [*pipeline.feed(said(f"Hello at {time}.", time)), *pipeline.advance(time)]
                events += pipeline.advance(time + 2 * NS)
                ids += [
                    event.utterance.conversation_id
                    for event in events
                    if isinstance(event, UtteranceEvent) and event.utterance.is_final
                ]
    assert len(ids) == len(set(ids)) == 6


# --- faces are detected in parallel with the stream ---


class Sees:
    """A detector that finds one face in every image, after `wait`."""

    def __init__(self, wait: threading.Event | None = None) -> None:
        self._wait = wait
        self.frames: list[int] = []

    def detect(self, frame: Frame) -> list[Box]:
        if self._wait is not None:
            self._wait.wait(10)
        self.frames.append(frame.stamp)
        return [Box(4, 4, 40, 40)]


class Notes(UtteranceAssembler):
    """Records its inputs in order."""

    def __init__(self) -> None:
        super().__init__(AssemblerConfig(), SileroVoiceActivity())
        self.given: list[str] = []

    def feed_face(self, face: FaceObservation) -> list[Event]:
        self.given.append(f"face {face.stamp}")
        return super().feed_face(face)

    def feed_transcript(self, transcript: Transcript) -> list[Event]:
        self.given.append(f"text {transcript.arrival}")
        return super().feed_transcript(transcript)

    def advance(self, now: int) -> list[Event]:
        self.given.append("tick")
        return super().advance(now)


def order(kinds: str, is_slow: bool) -> list[str]:
    """Return the order of the inputs of the assembler: f(rame), s(peech), t(ick)."""
    go_on = threading.Event()
    notes, sees = Notes(), Sees(go_on if is_slow else None)
    perception = Perception(PerceptionConfig(face_rate=30.0), notes, sees)
    slow: list[threading.Timer] = []
    for number, kind in enumerate(kinds, start=1):
        time = number * NS
        if is_slow:  # the search ends somewhere while the stream goes on or waits
            slow.append(threading.Timer(0.0002 * (number % 3), go_on.set))
            slow[-1].start()
        if kind == "f":
            perception.feed(Frame(time, "rgb8", 64, 48, 192, bytes(64 * 48 * 3)))
        elif kind == "s":
            perception.feed(said("Hm.", time))
        else:
            perception.advance(time)
        if is_slow:
            go_on.clear()
    go_on.set()
    perception.flush()
    perception.close()
    for timer in slow:
        timer.join()
    return notes.given


@given(st.text("fst", min_size=1, max_size=12))
@settings(max_examples=25, deadline=None)
def test_faces_take_effect_at_the_same_place_however_long_their_search_takes(kinds: str) -> None:
    assert order(kinds, is_slow=True) == order(kinds, is_slow=False)


def test_a_text_does_not_wait_for_the_search_for_faces() -> None:
    go_on = threading.Event()
    notes = Notes()
    perception = Perception(PerceptionConfig(), notes, Sees(go_on))
    perception.feed(Frame(NS, "rgb8", 64, 48, 192, bytes(64 * 48 * 3)))
    perception.feed(RobotSpeaking(NS, False))
    perception.feed(said("Quick!"))
    assert notes.given[0] == f"text {NS}"  # while the detector still looks
    assert not any("face" in what for what in notes.given)
    go_on.set()
    perception.advance(2 * NS)
    perception.advance(2 * NS + 1)
    assert notes.given[-2:] == [f"face {NS}", "tick"]
    perception.close()


# --- faces and voices from another node (ROS4HRI) ---


def test_the_own_detector_rests_while_others_send_faces_and_after_the_clock_was_set_back() -> None:
    sees = Sees()
    perception = Perception(PerceptionConfig(face_rate=30.0), Notes(), sees)
    black = bytes(64 * 48 * 3)
    perception.feed(TrackedFace("anna", Frame(100 * NS, "rgb8", 64, 48, 192, black)))
    for time in (101, 103, 95, 92, 50, 51):  # s; at 50 s a recording has started again
        perception.feed(Frame(time * NS, "rgb8", 64, 48, 192, black))
    perception.flush()
    perception.close()
    assert sees.frames == [103 * NS, 50 * NS, 51 * NS]
    assert perception.counts["frames_searched"] == 3 and perception.counts["tracked_faces"] == 1


def test_a_text_without_speech_gets_the_voice_of_the_time_it_took() -> None:
    config = PerceptionConfig(speaker_model="none", face_detector="none")
    perception = Perception(config)
    voice = np.random.default_rng(0).integers(-9000, 9000, 10 * 16_000).astype("<i2")
    for number in range(100):  # 10 s in chunks of 0.1 s
        part = voice[number * 1600 : (number + 1) * 1600].tobytes()
        stamp = NS + number * NS // 10
        perception.feed(VoiceSound("v1", AudioChunk(part, stamp, stamp + NS // 10)))
    text = "This took me a few seconds to say."
    told = Transcript(text, arrival=11 * NS, voice_id="v1")
    events = [*perception.feed(told), *perception.flush()]
    perception.close()
    (utterance,) = {e.utterance for e in events if isinstance(e, UtteranceEvent)}
    assert utterance.start == utterance.end
    took = expected_duration(text, config.dialogue.texts.seconds_per_character) / NS
    assert 1 < took < 9
    assert len(utterance.audio) / 16_000 == pytest.approx(took, abs=0.01)
    np.testing.assert_allclose(utterance.audio, voice[-len(utterance.audio) :], atol=1)


@pytest.mark.parametrize(("kind", "name"), [(FaceSpeaking, "f2"), (VoiceSpeaking, "v")])
def test_the_face_that_ros4hri_says_is_speaking_is_that_of_the_utterance(
    kind: type[FaceSpeaking | VoiceSpeaking], name: str
) -> None:
    config = PerceptionConfig(speaker_model="none", face_detector="none", face_rate=30.0)
    perception = Perception(config, UtteranceAssembler(config.dialogue, LoudIsSpeech()))
    perception.feed(IdentityMatch(("voice", "v"), ("face", "f2"), 0.9))
    perception.feed(kind(name, 2 * NS, True))
    picture = bytes(64 * 48 * 3)
    events: list[Event] = []
    for number, part in enumerate(scene((1, 3, 5)).reshape(-1, 1600)):
        time = NS + number * NS // 10
        for face in ("f1", "f2"):
            perception.feed(TrackedFace(face, Frame(time, "rgb8", 64, 48, 192, picture)))
        events += perception.feed(heard(part, time))
    events += perception.feed(said("One two three.", 9 * NS // 2))
    events += perception.flush()
    perception.close()
    finals = [e.utterance for e in events if isinstance(e, UtteranceEvent) and e.utterance.is_final]
    assert {utterance.face_id for utterance in finals} == {"f2"}


# --- what the halves report ---


def heard(samples: np.ndarray, start: int, frame_id: str = "") -> AudioChunk:
    data = (samples.clip(-1, 1) * 32_767).astype("<i2").tobytes()
    return AudioChunk(data, start, start + len(samples) * NS // 16_000, frame_id)


def test_a_reset_takes_in_the_faces_that_are_still_searched_for() -> None:
    notes = Notes()
    perception = Perception(PerceptionConfig(), notes, Sees())
    perception.feed(Frame(NS, "rgb8", 64, 48, 192, bytes(64 * 48 * 3)))
    perception.reset()
    assert notes.given == [f"face {NS}"]
    perception.close()


def test_another_microphone_has_its_own_frame() -> None:
    config = PerceptionConfig(speaker_model="none", face_detector="none")
    perception = Perception(config)
    frames = []
    for name in ("left", "right"):
        perception.feed(MicrophoneReplaced())
        frames.append(perception.frame_id)
        perception.feed(AudioFormat(16_000, 1, "S16LE"))
        perception.feed(heard(np.zeros(320), NS, name))
        frames.append(perception.frame_id)
    perception.close()
    assert frames == ["", "left", "", "right"]


def test_without_a_detector_no_image_is_decoded() -> None:
    perception = Perception(PerceptionConfig(speaker_model="none", face_detector="none"))
    broken = Frame(NS, "jpeg", 0, 0, 0, b"no picture at all")
    assert [*perception.feed(broken), *perception.flush()] == []
    assert perception.counts["frames_searched"] == 0 and perception.faces == ()
    perception.close()


def test_a_detector_of_which_there_is_no_file_or_a_wrong_one_is_refused(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.onnx"
    wrong.write_bytes(b"this is no model")
    for file, error in ((tmp_path / "none.onnx", FileNotFoundError), (wrong, ValueError)):
        config = PerceptionConfig(speaker_model="none", face_detector="yunet", face_model=str(file))
        with pytest.raises(error, match=file.name):
            Perception(config)


def test_the_size_of_crops_that_a_bundle_expects_is_that_of_its_manifest(
    config: PipelineConfig, tmp_path: Path
) -> None:
    visual = read_manifest(Path(config.recognition.bundle)).visual
    assert visual is not None and crop_size(config.recognition.bundle) == visual.size
    assert crop_size("edge-open") == 0  # reads words alone
    (tmp_path / "bundle.yaml").write_text("format: 3\n", encoding="utf-8")
    assert crop_size(str(tmp_path)) == crop_size("no-such-bundle") == 0


def test_estimates_are_counted_with_what_they_were_made_of(config: PipelineConfig) -> None:
    noise = np.random.default_rng(0).integers(-8000, 8000, 16_000).astype(np.int16)
    utterances = [
        erc_ros.Utterance("c", "u1", 0, NS, "Well", is_final=True),
        erc_ros.Utterance("c", "u2", NS, 2 * NS, "Well", is_final=True, audio=noise),
        erc_ros.Utterance("c", "u3", 2 * NS, 3 * NS, "", is_final=True, audio=noise),
    ]
    with Pipeline(config) as pipeline:
        for utterance in utterances:
            pipeline.recognition.feed(UtteranceEvent(utterance))
        counts = +pipeline.recognition.counts
        devices = pipeline.recognition.devices()
    assert counts == {"estimates": 3, "with_text": 2, "with_audio": 2}
    assert set(devices) == {"text", "audio", "visual", "fusion"}
    assert set(devices.values()) == {"cpu"}


def test_a_voice_is_enrolled_known_again_kept_in_the_file_and_forgotten(tmp_path: Path) -> None:
    config = PerceptionConfig(known_voices=str(tmp_path / "voices"), face_detector="none")
    ears = UtteranceAssembler(config.dialogue, LoudIsSpeech(), tone_networks())
    perception = Perception(config, ears)

    def persons(start: int, voice: int) -> list[str]:
        sound, events = scene((0.5, 7.5, voice)), []
        for at in range(0, len(sound), 1600):
            events += perception.feed(heard(sound[at : at + 1600], start + at * NS // 16_000))
        events += perception.advance(start + 9 * NS)
        finals = [e.utterance for e in events if isinstance(e, UtteranceEvent)]
        return [said.person_id for said in finals if said.is_final]

    with pytest.raises(EnrolmentError):
        perception.enrol("Ada")  # no speech yet
    assert set(persons(NS, 4)) <= {""}
    for name in ("", "   ", "n" * 1000):
        with pytest.raises(EnrolmentError, match="characters"):
            perception.enrol(name)
    with pytest.raises(EnrolmentError, match="ended"):
        perception.enrol("Ada", conversation_id="another")
    assert perception.known_names == frozenset()
    assert 5 < perception.enrol(" Ada ") <= 7
    assert perception.known_names == {"Ada"}
    network = load_manifest(model_folder(config.speaker_model)).sha256
    file = Path(config.known_voices)
    assert set(load_voices(file, network, 64)) == {"Ada"}
    assert set(persons(20 * NS, 4)) == {"Ada"}
    with pytest.raises(EnrolmentError, match="name"):
        perception.forget_person("Bob")
    perception.forget_person("Ada")
    assert perception.known_names == frozenset() and load_voices(file, network, 64) == {}
    perception.close()


def test_what_the_robot_says_is_no_utterance_and_what_comes_after_is_one() -> None:
    config = PerceptionConfig(speaker_model="none", face_detector="none", expect_text="never")
    perception = Perception(
        config, UtteranceAssembler(config.dialogue, LoudIsSpeech(), tone_networks())
    )
    sound, events = scene((1, 4, 5), (6, 9, 5)), []
    for at in range(0, len(sound), 1600):
        if at == 8_000:
            perception.feed(RobotSpeaking(NS + NS // 2, True))
        if at == 16_000 * 9 // 2:
            perception.feed(RobotSpeaking(NS + 9 * NS // 2, False))
        events += perception.feed(heard(sound[at : at + 1600], NS + at * NS // 16_000))
    events += perception.flush()
    perception.close()
    (utterance,) = {
        e.utterance for e in events if isinstance(e, UtteranceEvent) and e.utterance.is_final
    }
    assert utterance.start / NS == pytest.approx(7, abs=0.2)
    assert utterance.end / NS == pytest.approx(10, abs=0.2)


def test_the_faces_of_the_last_image_with_faces_are_known() -> None:
    perception = Perception(PerceptionConfig(), Notes(), Sees())
    assert perception.faces == ()
    for second in (1, 2):
        perception.feed(Frame(second * NS, "rgb8", 64, 48, 192, bytes(64 * 48 * 3)))
        perception.advance((second + 1) * NS)
    perception.flush()
    (face,) = perception.faces
    assert (face.stamp, face.box) == (2 * NS, Box(4, 4, 40, 40))
    perception.close()


@pytest.mark.parametrize(("expected", "size"), [(0, 64), (48, 64), (128, 128)])
def test_crops_have_a_size_of_their_own_or_what_the_models_expect(expected: int, size: int) -> None:
    config = PerceptionConfig(face_crop_size=64, face_detector="none", speaker_model="none")
    perception = Perception(config, min_crop_size=expected)
    pixels = np.zeros((200, 200, 3), np.uint8)
    frame = Frame(NS, "bgr8", 200, 200, 600, pixels.tobytes())
    perception.feed(TrackedFace("f", frame))
    events = perception.feed(Transcript("hello there", arrival=NS + NS // 10))
    events += perception.flush()
    perception.close()
    (said,) = [e.utterance for e in events if isinstance(e, UtteranceEvent)]
    assert [crop.pixels.shape for crop in said.faces] == [(size, size, 3)]


# --- what perception does with each input ---


def perception_of(**settings: object) -> Perception:
    """With tones for voices, and no camera."""
    config = PerceptionConfig(face_detector="none", **settings)
    return Perception(config, UtteranceAssembler(config.dialogue, LoudIsSpeech(), tone_networks()))


def play(perception: Perception, sound: np.ndarray, start: int) -> list[Utterance]:
    """The final utterances of the audio, fed in chunks of 0.1 s."""
    events: list[object] = []
    for at in range(0, len(sound), 1600):
        events += perception.feed(heard(sound[at : at + 1600], start + at * NS // 16_000))
    events += perception.advance(start + len(sound) * NS // 16_000)
    finals = [e.utterance for e in events if isinstance(e, UtteranceEvent)]
    return [utterance for utterance in finals if utterance.is_final]


def test_a_speaker_is_enrolled_by_id_though_another_spoke_last() -> None:
    perception = perception_of()
    first, *_, last = play(perception, scene((0.5, 7.5, 4), (9, 16, 40), end=19), NS)
    assert first.speaker_id and last.speaker_id and first.speaker_id != last.speaker_id
    for name in ("", " ", "n" * (MAX_NAME + 1)):
        with pytest.raises(EnrolmentError):
            perception.enrol(name)
    with pytest.raises(EnrolmentError):
        perception.enrol("Ada", "no-such-speaker")
    perception.opt_outs.change(speaker_key(first.conversation_id, first.speaker_id), True)
    with pytest.raises(EnrolmentError):
        perception.enrol("Ada", first.speaker_id)
    perception.opt_outs.change(speaker_key(first.conversation_id, first.speaker_id), False)
    assert perception.known_names == frozenset()
    perception.enrol("A")  # of who spoke last
    assert perception.known_names == {"A"}
    perception.forget_person("A")
    name = "n" * MAX_NAME
    perception.enrol(name, first.speaker_id, first.conversation_id)
    perception.reset()
    (again, other) = play(perception, scene((0.5, 7.5, 4), (9, 16, 40), end=19), 60 * NS)
    assert (again.person_id, other.person_id) == (name, "")
    perception.close()


def test_whom_little_was_heard_of_cannot_be_enrolled() -> None:
    perception = perception_of()
    assert play(perception, scene((0.5, 2.5, 4)), NS)
    with pytest.raises(EnrolmentError):
        perception.enrol("Ada")
    assert perception.known_names == frozenset()
    perception.close()


def test_who_speaks_now_is_known_while_they_speak() -> None:
    perception = perception_of()
    assert perception.speaking() == ("", "")
    sound = scene((0.5, 6, 4), (8, 14, 4), end=17)
    (first,) = play(perception, sound[: 12 * 16_000], NS)
    assert perception.speaking() == (first.conversation_id, first.speaker_id)
    assert first.conversation_id and first.speaker_id
    assert play(perception, sound[12 * 16_000 :], 13 * NS)
    assert perception.speaking() == (first.conversation_id, "")
    perception.close()


def test_a_voice_is_not_used_and_counted_while_the_robot_moves() -> None:
    perception = perception_of(speaker_model="none", expect_text="never")
    perception.feed(RobotMoving(NS, True))
    (moving,) = play(perception, scene((1, 3, 4), end=5), NS)
    perception.feed(RobotMoving(6 * NS, False))
    (still,) = play(perception, scene((2, 4, 4), end=7), 6 * NS)
    assert (len(moving.audio), bool(len(still.audio))) == (0, True)
    assert perception.counts["voices_while_moving"] == 1
    assert perception.counters()["voices_while_moving"] == 1
    perception.close()


def test_joints_that_move_make_the_robot_move() -> None:
    perception = perception_of(speaker_model="none", expect_text="never")
    for tenth in range(10, 50):
        speeds = np.array([2.0])
        perception.feed(RobotJoints(tenth * NS // 10, np.array([tenth / 5]), speeds))
    (moving,) = play(perception, scene((1, 3, 4), end=5), NS)
    assert len(moving.audio) == 0
    perception.close()


def test_without_audio_an_utterance_has_none() -> None:
    perception = perception_of(speaker_model="none", expect_text="never", sensed=("text",))
    (said,) = play(perception, scene((1, 3, 4), end=5), NS)
    assert said.audio.shape == (0,) and said.end > said.start
    perception.close()


def test_nothing_is_an_input_that_says_nothing() -> None:
    perception = perception_of(speaker_model="none")
    assert perception.feed(None) == []
    perception.close()


def test_a_voice_alone_has_the_format_of_the_microphone() -> None:
    perception = perception_of(speaker_model="none", audio_format="F32LE", audio_rate=8000)
    samples = (np.sin(np.arange(8000) * 0.1) / 2).astype("<f4")
    perception.feed(VoiceSound("v1", AudioChunk(samples.tobytes(), NS, 2 * NS)))
    text = Transcript("Hello.", arrival=2 * NS, start=NS, end=2 * NS, voice_id="v1")
    events = [*perception.feed(text), *perception.flush()]
    perception.close()
    (utterance,) = [e.utterance for e in events if isinstance(e, UtteranceEvent)]
    assert len(utterance.audio) == pytest.approx(16_000, abs=1500)  # the resampler waits
    assert np.abs(utterance.audio).max() == pytest.approx(2**14, rel=0.02)


class Receives(Notes):
    """Writes down the landmarks and the joints that it was given."""

    def feed_landmarks(self, face_id: str, stamp: int, points: np.ndarray) -> list[Event]:
        self.given.append(f"landmarks {face_id} {stamp} {points.sum():.0f}")
        return []

    def note_presence(self, face_id: str, stamp: int) -> None:
        self.given.append(f"presence {face_id} {stamp}")


def test_landmarks_are_used_unless_their_face_opted_out_or_faces_are_not_sensed() -> None:
    for sensed, expected in (
        (("visual",), ["landmarks f1 7 140", "presence f2 9"]),
        (("text", "audio"), []),
    ):
        notes = Receives()
        perception = Perception(PerceptionConfig(face_detector="none", sensed=sensed), notes)
        perception.opt_outs.change("f2", True)
        for face in ("f1", "f2"):
            assert not perception.feed(FaceLandmarks(face, 7, np.ones((70, 2), np.float32)))
        perception.feed(TrackedFace("f2", Frame(9, "rgb8", 4, 4, 12, bytes(48))))
        assert notes.given == expected
        perception.close()


def test_a_face_of_the_own_detector_that_opted_out_is_present_and_no_more() -> None:
    notes = Receives()
    perception = Perception(PerceptionConfig(face_rate=30.0), notes, Sees())

    def see(stamp: int) -> None:
        perception.feed(Frame(stamp, "rgb8", 64, 48, 192, bytes(64 * 48 * 3)))
        for later in (1, 2):
            perception.advance(stamp + later)

    see(NS)
    (face,) = perception.faces
    perception.opt_outs.change(face.track_id, True)
    see(NS + NS // 5)
    perception.close()
    looks = [each for each in notes.given if each != "tick"]
    assert looks == [f"face {NS}", f"presence {face.track_id} {NS + NS // 5}"]


@pytest.mark.parametrize(("order", "expected"), [("ca", "ear"), ("c", "eye"), ("a", "ear")])
def test_an_utterance_has_the_frame_of_the_microphone_else_of_the_camera(
    order: str, expected: str
) -> None:
    perception = Perception(PerceptionConfig(speaker_model="none"), None, Sees())
    if "c" in order:
        for frame_id in ("eye", "other eye"):
            perception.feed(Frame(NS, "rgb8", 4, 4, 12, bytes(48), frame_id=frame_id))
    if "a" in order:
        for second, frame_id in ((1, "ear"), (2, "other ear")):
            perception.feed(heard(np.zeros(16_000), second * NS, frame_id))
    events = [*perception.feed(said("Hello.", 3 * NS)), *perception.flush()]
    perception.close()
    (utterance,) = [e.utterance for e in events if isinstance(e, UtteranceEvent)]
    assert utterance.frame_id == expected


def test_an_input_is_late_from_a_tenth_of_a_second_on() -> None:
    perception = perception_of(speaker_model="none")
    events = perception.feed(said("The clock was not set.", NS))
    assert not [event for event in events if isinstance(event, InputLate)]
    perception.advance(5 * NS)
    in_time = perception.feed(said("In time.", 5 * NS - LATE))
    late = perception.feed(said("Late.", 5 * NS - LATE - 1))
    assert not [event for event in in_time if isinstance(event, InputLate)]
    assert InputLate("speech", LATE + 1) in late and perception.counts["late_inputs"] == 1
    perception.close()


def test_audio_waits_for_a_format_that_is_expected() -> None:
    perception = perception_of(speaker_model="none")
    perception.feed(FormatExpected(True))
    perception.feed(heard(np.zeros(1600), NS))
    assert perception.counts["samples"] == 0
    perception.feed(AudioFormat(8000, 1))
    perception.feed(heard(np.zeros(1600), NS + NS // 5))
    perception.flush()
    assert perception.counts["samples"] == pytest.approx(6400, abs=100)  # both at 8 kHz
    assert perception.refused_format == ""
    perception.feed(FormatRefused("it is MP3"))
    assert perception.refused_format == "it is MP3"
    events = perception.feed(MicrophoneReplaced())
    assert DeviceReplaced("audio") in events and perception.refused_format == ""
    perception.close()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, 0.4),  # the mean of the channels
        ({"audio_channel": 0}, 0.1),
        ({"audio_channel": 1}, 0.3),
        ({"reference_channel": 0}, 0.55),  # the mean of the others
        ({"reference_channel": 1}, 0.45),
    ],
)
def test_the_channels_that_the_parameters_choose_are_heard(
    settings: dict[str, int], expected: float
) -> None:
    config = PerceptionConfig(
        audio_rate=16_000, audio_channels=3, audio_format="F32LE", audio_queue=33, **settings
    )
    microphone = microphone_of(config)
    tone = np.sin(np.arange(16_000) * 0.1)
    samples = np.stack([tone * 0.1, tone * 0.3, tone * 0.8], axis=1).astype("<f4")
    events = [*microphone.feed(AudioChunk(samples.tobytes(), NS, 2 * NS)), *microphone.flush()]
    heard = np.concatenate([e.samples for e in events if isinstance(e, AudioSamples)])
    assert np.abs(heard).max() == pytest.approx(expected, abs=0.01)
    assert microphone._capacity == 33


def test_a_broken_part_of_perception_leaves_no_thread_of_recognition(
    config: PipelineConfig,
) -> None:
    before = set(threading.enumerate())
    for part in ("face_detector", "voice_activity_model"):
        with pytest.raises(ValueError, match="no-such"):
            Pipeline(
                PipelineConfig.from_parameters(
                    {
                        "bundle": config.recognition.bundle,
                        "speaker_model": "none",
                        part: "no-such",
                    }
                )
            )
    assert set(threading.enumerate()) <= before


def test_known_voices_need_a_model_that_knows_voices_and_a_file(tmp_path: Path) -> None:
    for model in ("", "none"):
        with pytest.raises(EnrolmentError):
            known_voices(PerceptionConfig(known_voices="voices.json", speaker_model=model))
        assert known_voices(PerceptionConfig(speaker_model=model)) == {}
        assert speaker_networks(PerceptionConfig(speaker_model=model)) is None
    assert known_voices(PerceptionConfig()) == {}


# --- what recognition reports ---


def final(name: str, second: int, text: str = "Well") -> UtteranceEvent:
    utterance = erc_ros.Utterance(
        "c", name, second * NS, (second + 1) * NS, text, speaker_id="s1", is_final=True
    )
    return UtteranceEvent(utterance)


def test_corrected_speakers_are_counted_as_far_as_they_are_remembered(
    config: PipelineConfig,
) -> None:
    with Pipeline(config) as pipeline:
        recognition = pipeline.recognition
        for number in range(2):
            recognition.feed(final(f"u{number}", number))
        correction = SpeakerCorrected("c", ("u0", "u1", "gone"), 0, 9 * NS, "s1", "s2")
        assert recognition.feed(correction) == []
        assert recognition.counts["relabelled"] == 2
        assert recognition.counts["not_relabelled"] == 1


def test_events_of_the_dialogue_reach_the_recognizer(
    config: PipelineConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[object] = []
    with Pipeline(config) as pipeline:
        recognition = pipeline.recognition
        recogniser = recognition._recogniser
        monkeypatch.setattr(recogniser, "reset", lambda *of: told.append(("reset", *of)))
        monkeypatch.setattr(
            recogniser, "reset_reliability", lambda *of: told.append(("reliability", *of))
        )
        recognition.feed(final("u1", 1))
        recognition.feed(ConversationEnded("c", 3 * NS))
        recognition.feed(DeviceReplaced("audio"))
        recognition.feed(TextCorrected(final("u1", 1, "Bad").utterance, "Well"))
        pipeline.opt_out("somebody-else")
        pipeline.reset()
    assert told == [
        ("reset", "c"),
        ("reliability", "audio"),
        ("reset", "c"),
        ("reset", "c"),
        ("reliability",),
    ]
    assert recognition.counts["estimates"] == 2


def test_a_network_s_device_is_told_with_its_note(
    config: PipelineConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Pipeline(config) as pipeline:
        networks = {
            "text": SimpleNamespace(device="cpu", note="no CUDA"),
            "audio": SimpleNamespace(device="cuda", note=""),
        }
        with monkeypatch.context() as patch:
            patch.setattr(pipeline.recognition._recogniser, "networks", networks)
            devices = pipeline.recognition.devices()
    assert devices == {"text": "cpu (no CUDA)", "audio": "cuda"}
