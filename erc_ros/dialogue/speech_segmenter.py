"""Segmentation of audio into speech segments of one speaker each.

Combines framing, detection of the robot's own voice, voice activity detection and diarization. The
result depends only on the audio and on the recorded robot states, matches and drafts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from erc_ros.dialogue.alignment import AlignmentConfig, Cut, SpeechSegment, TextMatch, dips, quiet
from erc_ros.dialogue.audio_history import AudioHistory
from erc_ros.dialogue.framing import AudioFrame, Framer, FramingConfig
from erc_ros.dialogue.open_speech import (
    OpenSpeech,
    OpenSpeechConfig,
    SpeechEnded,
    is_draft_due,
    is_unheard,
    is_update_due,
)
from erc_ros.dialogue.robot_motion import RobotMotion, RobotMotionConfig
from erc_ros.dialogue.robot_voice import RobotVoice, RobotVoiceConfig
from erc_ros.dialogue.speakers.diarization import DiarizationConfig
from erc_ros.dialogue.speakers.diarizer import Diarizer
from erc_ros.dialogue.speakers.turns import TurnCorrection
from erc_ros.dialogue.voice_activity import FRAME_TIME, Began, Ended, VoiceActivity
from erc_ros.sensing.audio import AudioSamples
from erc_ros.values.nanoseconds import seconds
from erc_ros.values.settings import Composed, section


@dataclass(frozen=True, init=False)
class SpeechSegmenterConfig(Composed):
    """Settings of the parts that determine the speech segments."""

    open_speech: OpenSpeechConfig = section(OpenSpeechConfig)
    robot_voice: RobotVoiceConfig = section(RobotVoiceConfig)
    robot_motion: RobotMotionConfig = field(default_factory=RobotMotionConfig)
    framing: FramingConfig = field(default_factory=FramingConfig)
    diarization: DiarizationConfig = field(default_factory=DiarizationConfig)


@dataclass(frozen=True, slots=True)
class SpeechBegan:
    """A person began to speak at `start` (ns). is_barge_in: while the robot spoke."""

    start: int
    is_barge_in: bool


@dataclass(frozen=True, slots=True)
class RobotHeard:
    """The open speech up to `end` (ns) was the robot's. withdrawn: id of its draft, or ""."""

    end: int
    withdrawn: str = ""


SpeechEvent = SpeechBegan | SpeechEnded | RobotHeard | TurnCorrection


class SpeechSegmenter:
    """Segments the audio of one microphone.

    Args:
        voice_activity: voice activity detector, used by this object only.
        history: history to which the audio is appended.
        diarizer: speaker diarization.
    """

    def __init__(
        self,
        config: SpeechSegmenterConfig,
        voice_activity: VoiceActivity,
        history: AudioHistory,
        diarizer: Diarizer,
    ) -> None:
        self._config = config
        self._voice_activity, self._history, self._diarizer = voice_activity, history, diarizer
        self.robot = RobotVoice(config.robot_voice)
        voice = config.robot_voice
        self.motion = RobotMotion(
            config.robot_motion, seconds(voice.robot_tail), seconds(voice.robot_gate.max_speech)
        )
        self.open = OpenSpeech(config.open_speech)
        self._framer = Framer(config.framing)
        self.reset()

    def reset(self) -> None:
        """Reset the state of all parts."""
        self._voice_activity.reset()
        self._history.clear()
        self._diarizer.reset()
        self.robot.reset()
        self.motion.reset()
        self.open.reset()
        self._framer.reset()
        self.heard_until: int | None = None
        """End of the processed audio in ns; None before the first frame."""

    def feed(self, sound: AudioSamples) -> Iterator[list[SpeechEvent]]:
        """Process audio and yield the events of each frame; `heard_until` is its end."""
        for frame in self._framer.feed(sound):
            yield self._listen(frame)

    def _listen(self, frame: AudioFrame) -> list[SpeechEvent]:
        samples, probability = frame.samples, self._voice_activity.feed(frame.samples)
        is_robot = self.robot.feed(frame.start, samples, frame.reference, probability)
        if is_robot or (self.motion.mutes and self.motion.is_moving(frame.start)):
            probability = 0.0
            samples = np.zeros_like(samples)  # excludes the robot from the speakers
        self._history.add(frame.start, probability, samples)
        self.heard_until = frame.start + FRAME_TIME
        self._diarizer.feed(frame.start, samples)
        events = self.open.feed(frame.start, probability)
        corrections: list[SpeechEvent] = list(self.corrections(self.heard_until))
        if is_update_due(self.open.state, self._config.open_speech, self.heard_until):
            self._begin_update()
        return corrections + self._follow(events)

    def _follow(self, events: Sequence[Began | Ended]) -> list[SpeechEvent]:
        speech_events: list[SpeechEvent] = []
        for event in events:
            if isinstance(event, Began):
                self.open.begin(event.start)
                speech_events.append(SpeechBegan(event.start, self.robot.is_talked_over))
            else:
                speech_events.append(self._close(event.end))
        return speech_events

    def _close(self, end: int) -> SpeechEnded:
        state = self.open.state
        if state.start is None or end - state.began < FRAME_TIME:
            return self.open.close(end, [])
        # also if texts have matched all of it, to update the speaker profiles
        if is_unheard(state, self._config.open_speech, end):
            self._begin_update()
        return self.open.close(end, self._diarizer.attribute(state.began, end))

    def _begin_update(self) -> None:
        assert self.heard_until is not None
        self.open.updated(self.heard_until)
        self._diarizer.begin_update(self.heard_until)

    def corrections(self, position: int) -> list[TurnCorrection]:
        """Return the speaker corrections at `position` (ns) of the audio."""
        self._diarizer.until(position)
        return self._diarizer.corrections()

    def interrupt(self) -> list[SpeechEvent]:
        """End open speech, because the audio is interrupted."""
        events = self.open.finish()
        self.open.forget_activity()
        self._voice_activity.reset()
        self._framer.reset()
        return self._follow(events)

    def finish(self) -> list[SpeechEvent]:
        """End open speech at the end of the audio, after a last speaker update."""
        if self.open.state.start is not None:
            self._begin_update()
        self._diarizer.flush()
        return [*self._diarizer.corrections(), *self.interrupt()]

    def announce_robot(self, stamp: int, speaking: bool) -> tuple[bool, list[SpeechEvent]]:
        """Record that the robot starts or stops speaking at `stamp` (ns).

        Returns:
            Whether the audio since `stamp` is the robot's voice; and the events of open speech.
        """
        began = self.robot.announce(stamp, speaking)
        if not began or self.heard_until is None or stamp >= self.heard_until:
            return False, []
        events: list[SpeechEvent] = []
        for event in self.open.finish():
            if not isinstance(event, Ended):
                continue
            if stamp - event.start >= seconds(self._config.open_speech.stretch.min_fragment):
                events.append(self._close(min(event.end, stamp)))
            else:
                events.append(RobotHeard(stamp, self.open.close(stamp, []).withdrawn))
        return True, events

    # --- open speech, for texts ---

    @property
    def is_active(self) -> bool:
        """Whether a person speaks."""
        return self.open.is_active

    @property
    def open_start(self) -> int | None:
        """Start (ns) of the part of open speech without text; None: no speech is open."""
        return self.open.state.start

    @property
    def matched_until(self) -> int | None:
        """End (ns) of the part of the speech that has a text."""
        return self.open.state.matched_until

    @property
    def draft_id(self) -> str:
        """Id of the draft of open speech; "": there is no draft."""
        return self.open.state.utterance_id

    def is_robot_text(self, time: int, is_start: bool) -> bool:
        """Whether a text of `time` (ns), the start or end of its speech, is the robot's."""
        return self.robot.is_text_of(time, is_start)

    def segment(self) -> list[SpeechSegment]:
        """Return the open segment without text as a list; empty without open speech."""
        segment = None if self.heard_until is None else self.open.segment(self.heard_until)
        return [] if segment is None else [segment]

    def skip_pause(self) -> None:
        """Move the start of the remainder after a match to the next speech."""
        state = self.open.state
        if state.start is None or state.start != state.matched_until or self.heard_until is None:
            return
        self.open.skip_pause(self._history.probabilities(state.start, self.heard_until))

    def drafted(self, utterance_id: str) -> None:
        """Record a draft of open speech; `utterance_id` is "" if it was too short for one."""
        assert self.heard_until is not None
        self.open.drafted(self.heard_until, utterance_id)

    def is_draft_due(self) -> bool:
        """Return whether a draft of open speech is due."""
        until = self.heard_until
        return until is not None and is_draft_due(self.open.state, self._config.open_speech, until)

    def cuts(self, segments: Sequence[SpeechSegment], config: AlignmentConfig) -> list[Cut]:
        """Return the cuts in these segments at which a text may end."""
        start, end = segments[0].start, segments[-1].end
        cuts = dips(self._history.probabilities(start, end), config)
        cuts += quiet(self._history.levels(start, end), config)
        if segments[-1].is_open:
            turns = self._diarizer.turns(segments[-1].start, segments[-1].end)
            cuts += [Cut(turn.start, config.change) for turn in turns[1:]]
        return cuts

    def match(self, match: TextMatch) -> list[SpeechSegment]:
        """Record a match, and return its segments split at speaker changes."""
        self.open.matched(match.end, match.segments[-1].is_open)
        spoken: list[SpeechSegment] = []
        for segment in match.segments:
            begin, end = max(segment.start, match.start), min(segment.end, match.end)
            turns = [(begin, end, segment.attribution)]
            if segment.is_open:
                attributed = self._diarizer.attribute(begin, end)
                turns = [(turn.start, turn.end, turn.attribution) for turn in attributed]
            utterance_id = segment.utterance_id
            for first, last, attribution in turns:
                spoken.append(
                    SpeechSegment(first, last, utterance_id=utterance_id, attribution=attribution)
                )
                utterance_id = ""
        return spoken
