"""Everything that comes in -> what the dialogue knows: one path for the live node and for replay.

Values in the order in which they came, from `nodes/adapters.py`; events out, those of the dialogue
and those of the microphone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from erc_ros.dialogue.assembler import AssemblerConfig, UtteranceAssembler
from erc_ros.dialogue.speaking_face import Match
from erc_ros.sensing.audio import AudioFormat, Sound
from erc_ros.sensing.faces import FaceObservation, FaceTracker, observe_crop
from erc_ros.sensing.frames import Frame
from erc_ros.sensing.microphone import Microphone, MicrophoneEvent, SoundChunk
from erc_ros.values.events import Event
from erc_ros.values.nanoseconds import seconds
from erc_ros.values.transcript import Transcript

OTHERS_FACES = seconds(2.0)  # ROS4HRI faces seen so lately: our own detector rests
REWOUND = seconds(10.0)  # a picture so much earlier is of a clock that was set back


@dataclass(frozen=True, slots=True)
class RobotSpeaking:
    """Whether the robot itself speaks, from `stamp` (ns) on."""

    stamp: int
    speaking: bool


@dataclass(frozen=True, slots=True)
class FaceSpeaking:
    """ROS4HRI: whether the one with this face speaks, from `stamp` (ns) on."""

    face_id: str
    stamp: int
    speaking: bool


@dataclass(frozen=True, slots=True)
class TrackedFace:
    """ROS4HRI: a face that somebody else found and cut out."""

    face_id: str
    frame: Frame


Value = (
    SoundChunk
    | AudioFormat
    | Frame
    | Transcript
    | RobotSpeaking
    | FaceSpeaking
    | TrackedFace
    | Match
    | None
)


class Senses:
    """Microphone, faces and listener, put together.

    Args:
        tracker: finds faces in the camera's pictures; None: nobody looks.

    counts: samples (at 16 kHz), frames_searched, tracked_faces, and each kind of microphone event.
    """

    def __init__(
        self, microphone: Microphone, tracker: FaceTracker | None, listener: UtteranceAssembler
    ) -> None:
        self.microphone, self.tracker, self.listener = microphone, tracker, listener
        self.counts: Counter[str] = Counter()
        self._others_until = 0  # ns, until when our own detector rests

    def take(self, value: Value) -> Iterator[Event | MicrophoneEvent]:
        """What became known by this.

        Raises:
            ValueError: it cannot be used; what comes next may be.
        """
        if isinstance(value, SoundChunk):
            yield from self._hear(self.microphone.feed(value))
        elif isinstance(value, Frame):
            if not self.rests(value.stamp):
                yield from self.see(self.look(value))
        elif isinstance(value, Transcript):
            yield from self.listener.feed_transcript(value)
        elif isinstance(value, RobotSpeaking):
            yield from self.listener.feed_robot_speaking(value.stamp, value.speaking)
        elif isinstance(value, AudioFormat):
            self.microphone.inform(value)
        elif isinstance(value, TrackedFace):
            self.counts["tracked_faces"] += 1
            self._others_until = value.frame.stamp + OTHERS_FACES
            yield from self.see([observe_crop(value.face_id, value.frame)])
        elif isinstance(value, FaceSpeaking):
            yield from self.listener.feed_face_speaking(value.face_id, value.stamp, value.speaking)
        elif isinstance(value, Match):
            yield from self.listener.feed_match(value)

    def rests(self, stamp: int) -> bool:
        """Does our own detector rest at `stamp` (ns), since ROS4HRI finds the faces?"""
        return self._others_until - REWOUND <= stamp <= self._others_until

    def look(self, frame: Frame) -> list[FaceObservation]:
        """The faces of a picture, for `see`. May run ahead of `take`, in one other thread."""
        if self.tracker is None:
            return []
        self.counts["frames_searched"] += 1
        return self.tracker.feed(frame)

    def see(self, faces: Iterable[FaceObservation]) -> Iterator[Event]:
        """Faces that were found."""
        for face in faces:
            yield from self.listener.feed_face(face)

    def replug(self) -> Iterator[Event | MicrophoneEvent]:
        """Another microphone has taken the place of the former one."""
        yield from self._hear(self.microphone.replug())

    def flush(self) -> Iterator[Event | MicrophoneEvent]:
        """The inputs have ended: what was said until now goes out."""
        yield from self._hear(self.microphone.flush())
        yield from self.listener.flush()
        if self.tracker is not None:
            self.tracker.reset()

    def _hear(self, events: Iterable[MicrophoneEvent]) -> Iterator[Event | MicrophoneEvent]:
        for event in events:
            if isinstance(event, Sound):
                self.counts["samples"] += len(event.samples)
                yield from self.listener.feed_sound(event)
            else:
                self.counts[type(event).__name__] += 1
                yield event
                yield from self.listener.feed_sound(event)


def assembler_config(parameters: Mapping[str, Any]) -> AssemblerConfig:
    """What the parameters of config/parameters.yaml mean for the listener."""
    p = parameters
    return AssemblerConfig(
        expect_text=p["expect_text"],
        text_timeout=p["text_timeout"],
        conversation_gap=p["conversation_gap"],
        robot_tail=p["robot_tail"],
        provisional_period=p["provisional_period"],
    )


def microphone(parameters: Mapping[str, Any]) -> Microphone:
    """What they mean for the microphone."""
    p = parameters
    return Microphone(
        AudioFormat(p["audio_rate"], p["audio_channels"], p["audio_format"]),
        channel=p["audio_channel"] if p["audio_channel"] >= 0 else None,
        reference=p["reference_channel"] if p["reference_channel"] >= 0 else None,
        capacity=p["audio_queue"],
    )
