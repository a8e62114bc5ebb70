"""Pipeline from sensor data to emotion estimates, shared by nodes, replay and scripts.

    Perception: audio, images and texts in, utterances out
    Recognition: utterances in, estimates out
    Pipeline: both, one after the other

Inputs are fed in the order of their arrival; each call returns a list of events. The pipeline uses
neither ROS nor a wall clock: the same inputs in the same order give bit-identical events.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from erc_ros import plugins
from erc_ros.dialogue.alignment import expected_duration
from erc_ros.dialogue.assembler import AssemblerConfig, UtteranceAssembler
from erc_ros.dialogue.speakers.clustering import VoiceProfile
from erc_ros.dialogue.speakers.embedding import load_manifest
from erc_ros.dialogue.speakers.enrolment import (
    LEAST,
    MAX_NAME,
    EnrolmentError,
    load_voices,
    save_voices,
)
from erc_ros.dialogue.speakers.networks import DiarizationNetworks, load_networks
from erc_ros.dialogue.speaking_face import IdentityMatch, Kind
from erc_ros.dialogue.voice_activity import VoiceActivity, VoiceActivityFrames
from erc_ros.dialogue.voice_audio import VoiceAudio
from erc_ros.encoders.face_detector import YuNetDetector
from erc_ros.encoders.language import TextExclusion
from erc_ros.inference.bundle import Bundle, BundleError, load_bundle, read_manifest
from erc_ros.inference.emotion_recognizer import EmotionRecognizer
from erc_ros.inference.emotion_state import EmotionStateConfig
from erc_ros.inference.engines import tensorrt_engine
from erc_ros.inference.engines.background import EngineBuild
from erc_ros.inference.estimate import UNKNOWN, Estimate
from erc_ros.inference.label_map import read_label_map
from erc_ros.resources import model_folder
from erc_ros.sensing.audio import AudioFormat, AudioSamples
from erc_ros.sensing.face_search import FaceSearch
from erc_ros.sensing.faces import (
    CROP_SIZE,
    FaceDetector,
    FaceObservation,
    FaceTracker,
    observe_crop,
)
from erc_ros.sensing.frames import Frame
from erc_ros.sensing.microphone import AudioChunk, Microphone, MicrophoneEvent
from erc_ros.values.errors import ErcTypeError, ErcValueError, safe_message
from erc_ros.values.events import (
    ConversationEnded,
    DeviceReplaced,
    Event,
    SpeakerCorrected,
    TextCorrected,
    UtteranceEvent,
)
from erc_ros.values.nanoseconds import check_time, seconds
from erc_ros.values.opt_outs import OptOuts, speaker_key
from erc_ros.values.settings import (
    Composed,
    Value,
    check,
    configured,
    derived,
    entries,
    flattened,
    parameter,
    section,
    setting,
    values_of,
)
from erc_ros.values.tables import read_table
from erc_ros.values.transcript import Transcript
from erc_ros.values.utterance import MODALITIES, Utterance

OTHERS_FACES = seconds(2.0)  # after a ROS4HRI face, the own detector is not used for this time
REWOUND = seconds(10.0)  # an image that is earlier by more means that the clock was set back
TUNING_FILE = "tuning_file"  # parameter with the path of the tuning file
LATE = seconds(0.1)  # tolerance for inputs older than the time set by `advance`

Config = TypeVar("Config", bound="FromParameters")


# --- configuration ---


class FromParameters:
    """Mixin for configs that can be created from parameters."""

    @classmethod
    def from_parameters(cls: type[Config], parameters: Mapping[str, Value]) -> Config:
        """Create the config from settings by name; the others have their defaults.

        Nodes, `erc replay` and scripts use this method.

        Args:
            parameters: ROS parameters, settings of a tuning file, and `tuning_file` itself. A
                given setting overrides that in the file.

        Example:
            >>> PipelineConfig.from_parameters({"bundle": "edge-small", "face_rate": 10.0})

        Raises:
            ValueError: a parameter is unknown (the message suggests the nearest one), has a wrong
                type or is outside its range.
            FileNotFoundError: the tuning file does not exist.
        """
        return configured(cls, with_tuning(cls, parameters))


@dataclass(frozen=True, init=False)
class PerceptionConfig(Composed, FromParameters):
    """Settings of `Perception`, from camera, microphone and transcripts to utterances.

    Raises:
        ValueError: a value of a wrong type or outside its range, see `values.settings`.
    """

    dialogue: AssemblerConfig = section(AssemblerConfig)
    audio_rate: int = parameter(
        16_000, "samples per second, until an `audio_info` is received", range=(8000, 48_000)
    )
    audio_channels: int = parameter(
        1, "interleaved channels, until an `audio_info` is received", range=(1, 8)
    )
    audio_format: str = parameter(
        "S16LE",
        "sample format, until an `audio_info` is received",
        choices=("S16LE", "S32LE", "F32LE"),
    )
    audio_channel: int = parameter(
        -1,
        "microphone channel, from 0; -1: the mean of all but `reference_channel`",
        range=(-1, 7),
    )
    reference_channel: int = parameter(
        -1,
        "channel with the robot's playback, from 0, which is excluded unless a person is louder; "
        "-1: there is no such channel",
        range=(-1, 7),
    )
    audio_queue: int = setting(
        500,
        "chunks that may wait for the worker, and for an `audio_info`; the oldest is dropped and "
        "counted",
        range=(10, 10_000),
    )
    face_detector: str = parameter(
        "yunet",
        "yunet: a small network, part of this package; haar: OpenCV's cascade for frontal faces; "
        "none: the camera is not used; or a class of another package, by the name of its entry "
        "point or as module:Class",
    )
    face_model: str = parameter(
        "", "another ONNX file for `face_detector` yunet; empty: the one of this package"
    )
    face_rate: float = parameter(
        5.0,
        "frames per second that are searched for faces; the others are not decoded",
        "Hz",
        (0.5, 30.0),
    )
    voice_activity_model: str = parameter(
        "silero",
        "silero: the network of this package; or a class of another package, by the name of its "
        "entry point or as module:Class",
    )
    speaker_model: str = parameter(
        "speaker-campplus",
        "folder of the speaker embedding network, or a name in `models/`; none: no speaker "
        "diarization",
    )
    segmentation_model: str = parameter(
        "segmentation",
        "folder of the speaker segmentation network, or a name in `models/`",
    )
    speaker_device: str = parameter(
        "cpu",
        "device for the networks of speaker diarization; auto: CUDA if it works, else the CPU",
        choices=("auto", "cuda", "cpu"),
    )
    face_crop_size: int = parameter(
        CROP_SIZE,
        "width and height of face crops; a process that also runs the bundle enlarges it to what "
        "the bundle's visual part expects",
        "pixels",
        (32, 512),
        changes="anytime",
    )
    known_voices: str = parameter(
        "",
        "file of `erc enrol`: `person_id` names people whose voice is recognized and who "
        "have no ROS4HRI person; empty: no voices are recognized",
    )
    image_queue: int = setting(
        10,
        "frames that may wait for the worker; the oldest is dropped and counted",
        range=(1, 100),
    )
    speech_queue: int = setting(
        100,
        "texts that may wait for the worker; the oldest is dropped and counted",
        range=(1, 1000),
    )
    sensed: tuple[str, ...] = derived(MODALITIES)
    """Permitted modalities: without "visual" faces are not used, without "audio" no audio."""
    excluded_people: tuple[str, ...] = derived(())
    """Ids of people who opted out before the start."""

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class RecognitionConfig(FromParameters):
    """Settings of `Recognition`, from utterances to estimates.

    Raises:
        ValueError: a value of a wrong type or outside its range, see `values.settings`.
    """

    bundle: str = parameter("edge-small", "folder of the model bundle, or a name in `models/`")
    label_map: str = parameter(
        "",
        "other names for the labels of the bundle, as `happy=joy, excited=joy`: labels with the "
        "same name are merged; a label that is not named keeps its own",
    )
    device: str = parameter(
        "auto",
        "device for the models; auto: the first of tensorrt, cuda, cpu that works",
        choices=("auto", "tensorrt", "cuda", "cpu"),
    )
    publish_provisional: bool = parameter(
        False,
        "also estimate drafts (`is_final` false), from audio and faces before the text is known",
        changes="anytime",
    )
    min_confidence: float = parameter(
        0.35,
        "below it, the emotion is published as unknown: `label` is empty, other fields are set",
        range=(0.0, 1.0),
        source="python -m benchmarks.conditions",
        changes="anytime",
    )
    utterance_queue: int = setting(
        50,
        "utterances that may wait for the worker; the oldest is dropped and counted",
        range=(1, 1000),
    )
    emotion_state: EmotionStateConfig = field(default_factory=EmotionStateConfig)
    used: tuple[str, ...] = derived(MODALITIES)
    """Modalities that are used for the estimates."""

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, init=False)
class PipelineConfig(Composed, FromParameters):
    """Settings of perception and recognition.

    Example:
        >>> PipelineConfig(bundle="edge-small", face_rate=10.0)
    """

    perception: PerceptionConfig = section(PerceptionConfig)
    recognition: RecognitionConfig = section(RecognitionConfig)


def read_tuning(file: Path) -> dict[str, Value]:
    """Read and check a tuning file; `config/tuning.yaml` has all settings.

    Raises:
        ValueError: the file is not a YAML mapping, or a setting is unknown, a ROS parameter, or
            invalid; the message names the file, the setting and what to do.
        FileNotFoundError: the file does not exist.
    """
    by_name = {entry.name: entry for entry in entries(PipelineConfig)}
    values = dict(flattened(read_table(file)))
    for name in values:
        if name in by_name and by_name[name].setting.is_parameter:
            raise ErcValueError(f"{file}: {name} is a ROS parameter: set it in a params_file")
    try:
        config = configured(PipelineConfig, values)
    except ValueError as error:
        raise ErcValueError(f"{file}: {error}") from error
    checked = values_of(config)
    return {name: checked[name] for name in values}


def with_tuning(cls: type[Any], parameters: Mapping[str, Value]) -> dict[str, Value]:
    """Return the parameters together with the settings of their `tuning_file` that `cls` has.

    Raises:
        ValueError, FileNotFoundError: see `read_tuning`.
    """
    names = {entry.name for entry in entries(cls)}
    values = {n: v for n, v in parameters.items() if n in names or n != TUNING_FILE}
    file = parameters.get(TUNING_FILE, "")
    if not isinstance(file, str):
        raise ErcValueError(f"{TUNING_FILE} must be a string, got {file!r}")
    if not file:
        return values
    tuning = read_tuning(Path(file).expanduser())
    return {**{name: value for name, value in tuning.items() if name in names}, **values}


# --- inputs ---


@dataclass(frozen=True, slots=True)
class RobotSpeaking:
    """Whether the robot is speaking, from `stamp` (ns) on."""

    stamp: int
    speaking: bool

    def __post_init__(self) -> None:
        check_time("stamp", self.stamp)


@dataclass(frozen=True, slots=True)
class RobotMoving:
    """Whether the robot is moving, so that its motors are audible, from `stamp` (ns) on."""

    stamp: int
    moving: bool

    def __post_init__(self) -> None:
        check_time("stamp", self.stamp)


@dataclass(frozen=True, slots=True, eq=False)
class RobotJoints:
    """Joint states of the robot at `stamp` (ns): positions (J,), velocities (J,) or (0,)."""

    stamp: int
    positions: NDArray[np.float64]
    velocities: NDArray[np.float64]

    def __post_init__(self) -> None:
        check_time("stamp", self.stamp)


@dataclass(frozen=True, slots=True)
class FaceSpeaking:
    """ROS4HRI: whether the person with this face is speaking, from `stamp` (ns) on."""

    face_id: str
    stamp: int
    speaking: bool

    def __post_init__(self) -> None:
        check_time("stamp", self.stamp)


@dataclass(frozen=True, slots=True)
class VoiceSpeaking:
    """ROS4HRI: whether a voice, and the face matched with it, is speaking from `stamp` on."""

    voice_id: str
    stamp: int
    speaking: bool

    def __post_init__(self) -> None:
        check_time("stamp", self.stamp)


@dataclass(frozen=True, slots=True, eq=False)
class VoiceSound:
    """ROS4HRI: the separated audio of one voice."""

    voice_id: str
    chunk: AudioChunk


@dataclass(frozen=True, slots=True, eq=False)
class FaceLandmarks:
    """ROS4HRI: landmarks of a face at `stamp` (ns).

    points: (70, 2) float32 in pixels, in REP-155's order.
    """

    face_id: str
    stamp: int
    points: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class TrackedFace:
    """ROS4HRI: a face that another node detected and cropped."""

    face_id: str
    frame: Frame


@dataclass(frozen=True, slots=True)
class FormatExpected:
    """Whether an AudioFormat will follow, for which audio is buffered."""

    expected: bool


@dataclass(frozen=True, slots=True)
class FormatRefused:
    """The format of the audio is not supported: audio is ignored until another format is set."""

    reason: str


@dataclass(frozen=True, slots=True)
class MicrophoneReplaced:
    """Another device sends the audio from now on, and its format must be set again."""


Input = (
    AudioChunk
    | AudioFormat
    | FormatExpected
    | FormatRefused
    | MicrophoneReplaced
    | Frame
    | Transcript
    | RobotSpeaking
    | RobotMoving
    | RobotJoints
    | FaceSpeaking
    | VoiceSpeaking
    | VoiceSound
    | FaceLandmarks
    | TrackedFace
    | IdentityMatch
    | None
)
"""Result of an adapter; None: the message is ignored."""

# --- events ---


@dataclass(frozen=True, slots=True)
class InputRefused:
    """An input cannot be used; following inputs are not affected.

    source: "audio", "image", "speech", "humans", ... reason: why it cannot be used.
    """

    source: str
    reason: str


@dataclass(frozen=True, slots=True)
class InputLate:
    """An input was fed after `advance` had set a time after its arrival.

    Texts may then not be matched with their speech, and the conversation may be restarted. Call
    `advance` with the arrival of the inputs that were fed, not with the current time, if inputs
    wait in a queue.

    source: as in `InputRefused`. late: ns.
    """

    source: str
    late: int


@dataclass(frozen=True, slots=True)
class EstimateEvent:
    """Estimate of an utterance (`estimate.utterance`).

    A final utterance is estimated again after a late or corrected text.
    """

    estimate: Estimate


PerceptionEvent = Event | MicrophoneEvent | InputRefused | InputLate
PipelineEvent = PerceptionEvent | EstimateEvent
Handler = Callable[[Any], Iterable[PerceptionEvent]]


# --- pipeline ---


class Perception:
    """Assembles utterances from audio, images and texts, each of which may be missing.

    Not thread-safe: one caller. Face detection and speaker diarization run on threads of their
    own; `close` ends them.

    Args:
        config: the settings.
        assembler: replaces the assembler of the config.
        detector: replaces `config.face_detector`.
        min_crop_size: pixels, minimum size of face crops, for models that need it.
        opt_outs: people who opted out; None: those of the config.

    counts: samples (at 16 kHz), frames_searched, tracked_faces, late_inputs (see `InputLate`),
        opted_out (dropped utterances), voices_while_moving (utterances whose audio was not used),
        and each type of microphone event.

    Raises:
        ValueError, FileNotFoundError: a model or file that the config names is missing or broken.
    """

    def __init__(
        self,
        config: PerceptionConfig,
        assembler: UtteranceAssembler | None = None,
        detector: FaceDetector | None = None,
        min_crop_size: int = 0,
        opt_outs: OptOuts | None = None,
    ) -> None:
        self.counts: Counter[str] = Counter(samples=0, frames_searched=0)
        self._config = config
        self.opt_outs = OptOuts(config.excluded_people) if opt_outs is None else opt_outs
        self.frame_id = ""  # of the microphone, or of the camera
        self._camera_frame_id = ""
        format = AudioFormat(config.audio_rate, config.audio_channels, config.audio_format)
        self._voices = VoiceAudio(format, config.dialogue.kept_sound)
        self._microphone = microphone_of(config)
        self._assembler = _assembler(config) if assembler is None else assembler
        detector = _detector(config) if detector is None else detector
        detector = detector if "visual" in config.sensed else None
        self._tracker: FaceTracker | None = None
        self._faces: FaceSearch | None = None
        if detector is not None:
            self._tracker = FaceTracker(detector, config.face_rate)
            self._faces = FaceSearch(self._tracker)
        self.set_crop_size(max(config.face_crop_size, min_crop_size))
        self.faces: tuple[FaceObservation, ...] = ()
        """Faces of the last image in which the own detector found any."""
        self._others_until = 0  # ns, time until which the own detector is not used
        self._advanced: int | None = None  # ns, last time set by `advance`
        self._handlers = self._input_handlers()
        self._silenced: set[str] = set()  # speakers of this conversation who opted out
        self._silenced_version = self.opt_outs.version

    def feed(self, value: Input) -> list[PerceptionEvent]:
        """Process an input and return the resulting events.

        An invalid input is reported by `InputRefused` (an image after its face detection).
        """
        if type(value) not in self._handlers:
            raise ErcTypeError(f"{type(value).__name__} is not an input of the pipeline")
        source, handler = self._handlers[type(value)]
        events = _until_refused(lambda: handler(value), source)
        return [*self._late(value, source), *events]

    def advance(self, now: int) -> list[PerceptionEvent]:
        """Set the clock of the stamps to `now` (ns); return what has waited too long.

        To be called about every 0.1 s of that clock, whether or not anything arrives. Inputs that
        arrived before `now` must have been fed; see `InputLate`.

        Raises:
            TypeError: `now` is not in integer nanoseconds.
        """
        check_time("now", now)
        self._advanced = now
        events = [] if self._faces is None else self._see(self._faces.advance)
        return [*events, *self._completed(self._assembler.advance(now))]

    def reset(self) -> list[PerceptionEvent]:
        """End the conversation now: what comes next belongs to a new one."""
        events = [] if self._faces is None else self._see(self._faces.finish)
        events += self._completed(self._assembler.reset())
        self._voices.clear()
        return events

    def flush(self) -> list[PerceptionEvent]:
        """End the inputs and the conversation; return everything that waits."""
        events = [] if self._faces is None else self._see(self._faces.finish)
        events += _until_refused(lambda: self._hear(self._microphone.flush()), "audio")
        events += self._completed(self._assembler.flush())
        if self._faces is not None:
            self._faces.reset()
        return events

    def set_crop_size(self, pixels: int) -> None:
        """Set the width and height of the face crops that follow; another thread may call it."""
        self._crop_size = pixels
        if self._tracker is not None:
            self._tracker.crop_size = pixels

    def close(self) -> None:
        """End the threads of face detection and speaker diarization."""
        if self._faces is not None:
            self._faces.close()
        self._assembler.close()

    def speaking(self) -> tuple[str, str]:
        """The current conversation and speaker; "": there is none, or the speaker is unknown.

        Known about a second after they began, and until their speech has ended.
        """
        return self._assembler.conversation_id(), self._assembler.speaking()

    @property
    def known_names(self) -> frozenset[str]:
        """Names of the enrolled people."""
        return frozenset(self._assembler.known)

    def enrol(self, name: str, speaker_id: str = "", conversation_id: str = "") -> float:
        """Store the voice of a speaker, so that it is recognized from now on.

        Args:
            name: becomes the person_id of their utterances.
            speaker_id: "" = the last speaker.
            conversation_id: "" = the current conversation.

        Returns:
            Duration in s of the speech from which the voice was computed.

        Raises:
            EnrolmentError: the name is invalid, there is not enough speech, or the file of
                `known_voices` cannot be written; nothing is changed then.
        """
        here = self._assembler.conversation_id()
        if not 0 < len(name.strip()) <= MAX_NAME:
            raise EnrolmentError(f"a name has 1 to {MAX_NAME} characters, got {len(name.strip())}")
        speaker = speaker_id or self._assembler.last_speaker()
        if name.strip() in self.opt_outs or speaker_key(here, speaker) in self.opt_outs:
            raise EnrolmentError("this person opted out: withdraw that first (~/opt_out)")
        if conversation_id and conversation_id != here:
            raise EnrolmentError("this conversation has ended; enroll a speaker of the current one")
        voice = self._assembler.voice_of(speaker_id)
        if voice is None:
            who = f"no speaker {speaker_id[:20]!r}" if speaker_id else "no person"
            raise EnrolmentError(f"{who} has spoken in this conversation yet")
        if voice.heard < LEAST:
            raise EnrolmentError(
                f"{voice.heard:.1f} s of speech were received; at least {LEAST} s are needed"
            )
        self._keep({**self._assembler.known, name.strip(): replace(voice, speaker=None)})
        return voice.heard

    def forget_person(self, name: str) -> None:
        """Delete an enrolled voice, also in the file of `known_voices`.

        Raises:
            EnrolmentError: no voice of this name is stored, or the file cannot be written.
        """
        if name not in self._assembler.known:
            raise EnrolmentError("no voice of this name is stored")
        kept = {other: voice for other, voice in self._assembler.known.items() if other != name}
        self._keep(kept)

    def _keep(self, voices: dict[str, VoiceProfile]) -> None:
        if self._config.known_voices:
            network = load_manifest(model_folder(self._config.speaker_model)).sha256
            save_voices(Path(self._config.known_voices).expanduser(), network, voices)
        self._assembler.known = voices

    @property
    def refused_format(self) -> str:
        """Reason why the audio cannot be decoded, or ""."""
        return self._microphone.refused

    def counters(self) -> dict[str, int]:
        """Return all counters: `counts` and those of the assembler."""
        return {**self.counts, **self._assembler.counters()}

    def _late(self, value: Input, source: str) -> list[PerceptionEvent]:
        """Return an `InputLate` if the input arrived before the time set by `advance`."""
        if self._advanced is None or not isinstance(value, (AudioChunk, Transcript)):
            return []
        late = self._advanced - value.arrival
        if late <= LATE:
            return []
        self.counts["late_inputs"] += 1
        return [InputLate(source, late)]

    def _input_handlers(self) -> dict[type, tuple[str, Handler]]:
        """Return type of an input -> its source (see `InputRefused`) and its handler."""
        assembler = self._assembler

        def dialogue(feed: Callable[[Any], Iterable[Event]]) -> Handler:
            return lambda value: self._completed(feed(value))

        def speaks(feed: Callable[[str, int, bool], Iterable[Event]], of: str) -> Handler:
            return dialogue(lambda v: feed(getattr(v, of), v.stamp, v.speaking))

        return {
            AudioChunk: ("audio", self._take_chunk),
            AudioFormat: ("audio_info", self._take_format),
            FormatExpected: ("", self._take_expectation),
            FormatRefused: ("", self._take_refused_format),
            MicrophoneReplaced: ("", self._take_replacement),
            Frame: ("image", self._look),
            Transcript: ("speech", dialogue(assembler.feed_transcript)),
            RobotSpeaking: (
                "robot_speaking",
                dialogue(lambda v: assembler.feed_robot_speaking(v.stamp, v.speaking)),
            ),
            RobotMoving: (
                "robot_moving",
                dialogue(lambda v: assembler.feed_robot_moving(v.stamp, v.moving)),
            ),
            RobotJoints: (
                "robot_moving",
                dialogue(lambda v: assembler.feed_joints(v.stamp, v.positions, v.velocities)),
            ),
            FaceSpeaking: ("humans", speaks(assembler.feed_face_speaking, "face_id")),
            VoiceSpeaking: ("humans", speaks(assembler.feed_voice_speaking, "voice_id")),
            VoiceSound: ("humans", self._take_voice),
            FaceLandmarks: ("humans", self._take_landmarks),
            TrackedFace: ("humans", self._take_tracked_face),
            IdentityMatch: ("humans", dialogue(assembler.feed_match)),
            type(None): ("", lambda value: ()),
        }

    def _take_chunk(self, value: AudioChunk) -> Iterator[PerceptionEvent]:
        self.frame_id = self.frame_id or value.frame_id
        yield from self._hear(self._microphone.feed(value))

    def _take_format(self, value: AudioFormat) -> Iterable[PerceptionEvent]:
        self._microphone.inform(value)
        return ()

    def _take_expectation(self, value: FormatExpected) -> Iterable[PerceptionEvent]:
        self._microphone.expects_info = value.expected
        return ()

    def _take_refused_format(self, value: FormatRefused) -> Iterable[PerceptionEvent]:
        self._microphone.refuse(value.reason)
        return ()

    def _take_replacement(self, value: MicrophoneReplaced) -> Iterator[PerceptionEvent]:
        self.frame_id = ""
        yield from self._hear(self._microphone.replug())
        yield DeviceReplaced("audio")

    def _take_voice(self, value: VoiceSound) -> Iterable[PerceptionEvent]:
        if "audio" in self._config.sensed and not self.is_opted_out("voice", value.voice_id):
            self._voices.feed(value.voice_id, value.chunk)
        return ()

    def _take_landmarks(self, value: FaceLandmarks) -> Iterable[PerceptionEvent]:
        if "visual" not in self._config.sensed or self.is_opted_out("face", value.face_id):
            return ()
        return self._assembler.feed_landmarks(value.face_id, value.stamp, value.points)

    def is_opted_out(self, kind: Kind, name: str) -> bool:
        """Return whether an id, or an id matched by ROS4HRI, is of a person who opted out."""
        if not self.opt_outs:
            return False
        return any(each in self.opt_outs for each in self.matched(kind, name))

    def matched(self, kind: Kind, name: str) -> set[str]:
        """Return this id and the ids that ROS4HRI matched with it."""
        return self._assembler.matched(kind, name)

    def _take_tracked_face(self, value: TrackedFace) -> Iterable[Event]:
        if "visual" not in self._config.sensed:
            return ()
        if self.is_opted_out("face", value.face_id):  # only its presence is used
            self._assembler.note_presence(value.face_id, value.frame.stamp)
            return ()
        self.counts["tracked_faces"] += 1
        self._others_until = value.frame.stamp + OTHERS_FACES
        return self._assembler.feed_face(observe_crop(value.face_id, value.frame, self._crop_size))

    def _hear(self, events: Iterable[MicrophoneEvent]) -> Iterator[PerceptionEvent]:
        for event in events:
            if isinstance(event, AudioSamples):
                self.counts["samples"] += len(event.samples)
            else:
                self.counts[type(event).__name__] += 1
                yield event
            yield from self._completed(self._assembler.feed_audio(event))

    def _look(self, frame: Frame) -> Iterator[PerceptionEvent]:
        self._camera_frame_id = self._camera_frame_id or frame.frame_id
        if self._faces is None:
            return
        yield from self._see(self._faces.finish)
        if not self._others_until - REWOUND <= frame.stamp <= self._others_until:
            self.counts["frames_searched"] += 1
            self._faces.submit(frame)

    def _see(self, search: Callable[[], list[FaceObservation]]) -> list[PerceptionEvent]:
        """Process the results of a face detection."""

        def events() -> Iterator[PerceptionEvent]:
            faces = search()
            self.faces = tuple(faces) or self.faces
            for face in faces:
                if self.is_opted_out("face", face.track_id):
                    self._assembler.note_presence(face.track_id, face.stamp)
                else:
                    yield from self._completed(self._assembler.feed_face(face))

        return _until_refused(events, "image")

    def _completed(self, events: Iterable[Event]) -> Iterator[Event]:
        """Add frame_id and separated voices to the utterances of events.

        Events of people who opted out are dropped.
        """
        for event in events:
            if isinstance(event, (UtteranceEvent, TextCorrected)):
                utterance = event.utterance
                if self._drops(utterance):
                    self.counts["opted_out"] += utterance.is_final
                    continue
                frame_id = utterance.frame_id or self.frame_id or self._camera_frame_id
                utterance = replace(utterance, frame_id=frame_id, audio=self._alone(utterance))
                event = replace(event, utterance=utterance)
            if isinstance(event, ConversationEnded):
                self._silenced.clear()
            yield event

    def _drops(self, said: Utterance) -> bool:
        """Return whether an utterance is of a person who opted out.

        Later utterances of the same speaker are dropped as well, also without a face. Drafts are
        dropped if any person has opted out, because their speaker is not known yet.
        """
        if self._silenced_version != self.opt_outs.version:
            self._silenced_version = self.opt_outs.version
            self._silenced.clear()
        if not self.opt_outs:
            return False
        ids: tuple[tuple[Kind, str], ...] = (
            ("person", said.person_id),
            ("face", said.face_id),
            ("voice", said.voice_id),
        )
        speaker = speaker_key(said.conversation_id, said.speaker_id)
        is_theirs = speaker in self._silenced or self.opt_outs.covers(said)
        is_theirs = is_theirs or any(self.is_opted_out(kind, name) for kind, name in ids if name)
        if is_theirs:
            self.opt_outs.link(said)
            if speaker:
                self._silenced.add(speaker)
        return is_theirs or not said.is_final

    def _alone(self, said: Utterance) -> NDArray[np.int16]:
        """Return the audio of an utterance, or the separated voice if ROS4HRI publishes it."""
        if "audio" not in self._config.sensed:
            return np.zeros(0, np.int16)
        if self._assembler.is_distrusted(said.start, said.end):
            self.counts["voices_while_moving"] += said.is_final
            return np.zeros(0, np.int16)
        if not said.voice_id:
            return said.audio
        start = max(said.start, said.end - seconds(self._config.dialogue.max_audio))
        if said.start == said.end:  # a text without speech: estimate its duration
            start -= expected_duration(said.text, self._config.dialogue.texts.seconds_per_character)
        return self._voices.instead_of(said.audio, said.voice_id, start, said.end)


class Recognition:
    """Estimates the emotions of the utterances in events of `Perception`.

    Not thread-safe: one caller. The constructor runs every network once; `close` ends the threads.

    counts: estimates; with_text, with_audio, with_visual (estimates from the modality); unknown
        (estimates with a confidence below `min_confidence`); text_excluded_REASON, see
        `encoders.language.TextExclusion`; relabelled, not_relabelled (utterances with a corrected
        speaker that are, or are no longer, in the history).

    Raises:
        BundleError, FileNotFoundError: the bundle is missing or invalid.
        LabelMapError: `label_map` is invalid.
        NetworkError: the device is not available.
    """

    def __init__(self, config: RecognitionConfig) -> None:
        self.counts: Counter[str] = Counter()
        self.publish_provisional = config.publish_provisional
        self.min_confidence = config.min_confidence
        self._loaded: Bundle = load_bundle(model_folder(config.bundle, "bundle.yaml"))
        self._label_map = read_label_map(config.label_map, self._loaded.labels)
        self._recogniser = EmotionRecognizer(self._loaded, config.device)
        self._recogniser.warm_up()
        self._modalities = config.used
        self._conversation = ""

    @property
    def bundle(self) -> Bundle:
        """The model bundle with the published labels and anchors, see `label_map`."""
        return self._loaded if self._label_map is None else self._label_map.bundle(self._loaded)

    def feed(self, event: PipelineEvent) -> list[EstimateEvent]:
        """Process an event and return the resulting estimates.

        A draft is encoded, so that its final utterance takes less time; it is estimated if
        `publish_provisional` is set. A speaker correction affects only later estimates.
        """
        if isinstance(event, (UtteranceEvent, TextCorrected)):
            return self._recognise(event.utterance)
        if isinstance(event, SpeakerCorrected):
            relabelled = self._recogniser.correct(event)
            self.counts["relabelled"] += relabelled
            self.counts["not_relabelled"] += len(event.utterance_ids) - relabelled
        elif isinstance(event, ConversationEnded):
            self._recogniser.reset(event.conversation_id)
        elif isinstance(event, DeviceReplaced):
            self._recogniser.reset_reliability(event.modality)
        return []

    def forget_conversation(self) -> None:
        """Delete the history of the conversation of the last utterance."""
        self._recogniser.reset(self._conversation)

    def reset(self) -> None:
        """Delete the history of the last conversation and the reliability of voice and face."""
        self._recogniser.reset(self._conversation)
        self._recogniser.reset_reliability()

    @property
    def reliability(self) -> dict[str, float]:
        """Return the estimated probabilities that "audio" and "visual" work; {} without them."""
        return self._recogniser.reliability

    @property
    def distrust(self) -> tuple[str, ...]:
        """Return a sentence for each modality that is not trusted now."""
        return self._recogniser.distrust

    def close(self) -> None:
        """End the recognizer's threads."""
        self._recogniser.close()

    def build_engines(self) -> EngineBuild | None:
        """Start building engines, if TensorRT is available and a network has no engine.

        The networks use engines that are faster when they are ready. Close the returned object
        before `close`.
        """
        if all(network.device == "tensorrt" for network in self._recogniser.networks.values()):
            return None
        if tensorrt_engine.missing():
            return None
        return EngineBuild(self._loaded, self._recogniser.reopen)

    def texts_excluded(self) -> dict[str, int]:
        """Return the number of excluded texts by reason; see `encoders.language.TextExclusion`."""
        counts = {
            reason.value: self.counts[f"text_excluded_{reason.value}"] for reason in TextExclusion
        }
        return {reason: count for reason, count in counts.items() if count}

    def devices(self) -> dict[str, str]:
        """Return part of the bundle -> its device, and why better devices are not used."""
        return {
            part: f"{network.device} ({network.note})" if network.note else network.device
            for part, network in self._recogniser.networks.items()
        }

    def _recognise(self, utterance: Utterance) -> list[EstimateEvent]:
        self._conversation = utterance.conversation_id
        used = self._used(utterance)
        if not utterance.is_final:
            self._recogniser.prepare(used)
            if not self.publish_provisional:
                return []
        estimate = self._recogniser.feed(used)
        if used is not utterance:
            estimate = replace(estimate, utterance=utterance)
        if self._label_map is not None:
            estimate = self._label_map.estimate(estimate)
        if estimate.confidence < self.min_confidence:
            estimate = replace(estimate, label=UNKNOWN)
        self.counts["estimates"] += 1
        self.counts["unknown"] += not estimate.label
        for name, seen in zip(("text", "audio", "visual"), estimate.modalities, strict=True):
            self.counts[f"with_{name}"] += bool(seen)
        if estimate.text_excluded:
            self.counts[f"text_excluded_{estimate.text_excluded}"] += 1
        return [EstimateEvent(estimate)]

    def _used(self, utterance: Utterance) -> Utterance:
        """Return the utterance with the permitted modalities."""
        changes: dict[str, Any] = {}
        if "text" not in self._modalities:
            changes |= {"text": "", "locale": ""}
        if "audio" not in self._modalities:
            changes["audio"] = np.zeros(0, np.int16)
        if "visual" not in self._modalities:
            changes["faces"] = ()
        return replace(utterance, **changes) if changes else utterance


class Pipeline:
    """Estimates the emotions of utterances in audio, images and texts.

    Not thread-safe: one caller. Close it, or use it in a `with` statement.

    Raises:
        ValueError, FileNotFoundError: a model or file that the config names is missing or broken.

    Example:
        >>> with Pipeline(PipelineConfig(bundle="edge-small")) as pipeline:
        ...     events = pipeline.feed(Transcript("I got the job!", arrival=1_000_000_000))
        ...     events += pipeline.flush()
        >>> [e.estimate.label for e in events if isinstance(e, EstimateEvent)]
        ['joy']
    """

    def __init__(self, config: PipelineConfig) -> None:
        self.recognition = Recognition(config.recognition)
        try:
            visual = self.recognition.bundle.visual
            size = 0 if visual is None else visual.size
            self.perception = Perception(config.perception, min_crop_size=size)
        except BaseException:
            self.recognition.close()
            raise

    @property
    def bundle(self) -> Bundle:
        """The model bundle in use."""
        return self.recognition.bundle

    def opt_out(self, name: str, opted_out: bool = True) -> None:
        """Add or withdraw the opt-out of a person (see `values.opt_outs.OptOuts`).

        Raises:
            OptOutError: the id is invalid.
        """
        self.perception.opt_outs.change(name, opted_out)
        self.recognition.forget_conversation()

    def feed(self, value: Input) -> list[PipelineEvent]:
        """Process an input (`AudioChunk`, `Frame`, `Transcript`, ...) and return the events.

        An estimate follows the event of its utterance. An invalid input is reported by
        `InputRefused` and does not affect others.
        """
        return self._with_estimates(self.perception.feed(value))

    def advance(self, now: int) -> list[PipelineEvent]:
        """Set the clock of the stamps to `now` (ns); return what has waited too long.

        To be called about every 0.1 s of that clock, whether or not anything arrives. Inputs that
        arrived before `now` must have been fed; see `InputLate`.

        Raises:
            TypeError: `now` is not in integer nanoseconds.
        """
        return self._with_estimates(self.perception.advance(now))

    def flush(self) -> list[PipelineEvent]:
        """End the inputs and the conversation; return everything that waits."""
        return self._with_estimates(self.perception.flush())

    def reset(self) -> list[PipelineEvent]:
        """End the conversation and reset the estimated reliability of voice and face."""
        events = self._with_estimates(self.perception.reset())
        self.recognition.reset()
        return events

    def close(self) -> None:
        """End all threads."""
        self.perception.close()
        self.recognition.close()

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _with_estimates(self, events: Iterable[PerceptionEvent]) -> list[PipelineEvent]:
        completed: list[PipelineEvent] = []
        for event in events:
            completed.append(event)
            completed += self.recognition.feed(event)
        return completed


def _until_refused(
    events: Callable[[], Iterable[PerceptionEvent]], source: str
) -> list[PerceptionEvent]:
    """Return the events; a ValueError is converted to a last event, `InputRefused`."""
    taken: list[PerceptionEvent] = []
    try:
        for event in events():
            taken.append(event)
    except ValueError as error:
        taken.append(InputRefused(source, safe_message(error)))
    return taken


# --- objects from the config ---


def _assembler(config: PerceptionConfig) -> UtteranceAssembler:
    return UtteranceAssembler(
        config.dialogue, voice_activity(config), speaker_networks(config), known_voices(config)
    )


def voice_activity(config: PerceptionConfig) -> VoiceActivity:
    """Create the voice activity detector of the config, for frames of FRAME samples.

    Raises:
        ValueError: the detector does not exist, or its frame length is not supported.
    """
    name = config.voice_activity_model
    detector: VoiceActivity = plugins.make(plugins.VOICE_ACTIVITY, name)
    return detector if name in plugins.VOICE_ACTIVITY.own else VoiceActivityFrames(detector)


def microphone_of(config: PerceptionConfig) -> Microphone:
    """Create a microphone with the format and channels of the config."""
    return Microphone(
        AudioFormat(config.audio_rate, config.audio_channels, config.audio_format),
        channel=config.audio_channel if config.audio_channel >= 0 else None,
        reference=config.reference_channel if config.reference_channel >= 0 else None,
        capacity=config.audio_queue,
    )


def _detector(config: PerceptionConfig) -> FaceDetector | None:
    if config.face_detector == "none":
        return None
    if config.face_detector == "yunet" and config.face_model:
        return YuNetDetector(Path(config.face_model).expanduser())
    detector: FaceDetector = plugins.make(plugins.FACE_DETECTORS, config.face_detector)
    return detector


def speaker_networks(config: PerceptionConfig) -> DiarizationNetworks | None:
    """Load the networks of the config; None: there is no speaker diarization.

    Raises:
        SpeakerModelError: the content of a folder is missing or invalid.
    """
    if config.speaker_model in ("", "none"):
        return None
    return load_networks(
        model_folder(config.segmentation_model, "segmentation.yaml"),
        model_folder(config.speaker_model, "speaker.yaml"),
        device=config.speaker_device,
    )


def crop_size(bundle: str) -> int:
    """Return the width and height (pixels) of face crops that a bundle expects; 0: unknown.

    Only the manifest is read. `Recognition` reports errors of a bundle.
    """
    try:
        visual = read_manifest(model_folder(bundle)).visual
    except (BundleError, FileNotFoundError):
        return 0
    return 0 if visual is None else visual.size


def known_voices(config: PerceptionConfig) -> dict[str, VoiceProfile]:
    """Load name -> voice from the file of the config; {} without a file.

    Raises:
        EnrolmentError: the file is invalid, or there is no speaker_model.
    """
    file, model = config.known_voices, config.speaker_model
    if not file:
        return {}
    if model in ("", "none"):
        raise EnrolmentError(f"known_voices is {file!r}; recognizing voices needs a speaker_model")
    manifest = load_manifest(model_folder(model))
    return load_voices(Path(file).expanduser(), manifest.sha256, manifest.size)
