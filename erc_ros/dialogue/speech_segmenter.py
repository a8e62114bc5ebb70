"""Audio -> segments of speech, as segments of one speaker each.

Wires framing, the robot's own voice, voice activity and the diarizer. What it gives depends on the
audio alone, and on what is known of the robot, of matches and of drafts.
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
    """Settings of the parts that determine the segments of speech."""

    open_speech: OpenSpeechConfig = section(OpenSpeechConfig)
    robot_voice: RobotVoiceConfig = section(RobotVoiceConfig)
    robot_motion: RobotMotionConfig = field(default_factory=RobotMotionConfig)
    framing: FramingConfig = field(default_factory=FramingConfig)
    diarization: DiarizationConfig = field(default_factory=DiarizationConfig)


@dataclass(frozen=True, slots=True)
class SpeechBegan:
    """A person began to speak at `start` (ns). is_barge_in: over the robot."""

    start: int
    is_barge_in: bool


@dataclass(frozen=True, slots=True)
class RobotHeard:
    """What was taken for speech until `end` (ns) was the robot. withdrawn: id of its draft."""

    end: int
    withdrawn: str = ""


SpeechEvent = SpeechBegan | SpeechEnded | RobotHeard | TurnCorrection


class SpeechSegmenter:
    """Listens to one microphone.

    Args:
        voice_activity: finds speech; it is this object's alone.
        history: where the audio is kept.
        diarizer: tells speakers apart.
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
        """Forget everything: what comes next follows nothing."""
        self._voice_activity.reset()
        self._history.clear()
        self._diarizer.reset()
        self.robot.reset()
        self.motion.reset()
        self.open.reset()
        self._framer.reset()
        self.heard_until: int | None = None
        """ns, of the audio that was listened to; None: there was none."""

    def feed(self, sound: AudioSamples) -> Iterator[list[SpeechEvent]]:
        """What each frame of it tells; time has come to `heard_until` with each."""
        for frame in self._framer.feed(sound):
            yield self._listen(frame)

    def _listen(self, frame: AudioFrame) -> list[SpeechEvent]:
        samples, probability = frame.samples, self._voice_activity.feed(frame.samples)
        is_robot = self.robot.feed(frame.start, samples, frame.reference, probability)
        if is_robot or (self.motion.mutes and self.motion.is_moving(frame.start)):
            probability = 0.0
            samples = np.zeros_like(samples)  # nor is the robot one of the speakers
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
        # also where texts have matched all of it: what was heard of the voices is learned from
        if is_unheard(state, self._config.open_speech, end):
            self._begin_update()
        return self.open.close(end, self._diarizer.attribute(state.began, end))

    def _begin_update(self) -> None:
        assert self.heard_until is not None
        self.open.updated(self.heard_until)
        self._diarizer.begin_update(self.heard_until)

    def corrections(self, position: int) -> list[TurnCorrection]:
        """At `position` (ns) of the audio, or later: what is known otherwise of the speakers."""
        self._diarizer.until(position)
        return self._diarizer.corrections()

    def interrupt(self) -> list[SpeechEvent]:
        """The audio is broken: open speech ends."""
        events = self.open.finish()
        self.open.forget_activity()
        self._voice_activity.reset()
        self._framer.reset()
        return self._follow(events)

    def finish(self) -> list[SpeechEvent]:
        """The audio has ended: open speech ends, with all that can be known of its speakers."""
        if self.open.state.start is not None:
            self._begin_update()
        self._diarizer.flush()
        return [*self._diarizer.corrections(), *self.interrupt()]

    def announce_robot(self, stamp: int, speaking: bool) -> tuple[bool, list[SpeechEvent]]:
        """The robot speaks from / until `stamp` (ns).

        Returns:
            Is what was heard since `stamp` the robot? And what follows for open speech.
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
        """What is being spoken and has no text yet, if anything."""
        segment = None if self.heard_until is None else self.open.segment(self.heard_until)
        return [] if segment is None else [segment]

    def skip_pause(self) -> None:
        """What follows a match begins where a person speaks again."""
        state = self.open.state
        if state.start is None or state.start != state.matched_until or self.heard_until is None:
            return
        self.open.skip_pause(self._history.probabilities(state.start, self.heard_until))

    def drafted(self, utterance_id: str) -> None:
        """A draft of what is open was due; its id, "" where it was too short for one."""
        assert self.heard_until is not None
        self.open.drafted(self.heard_until, utterance_id)

    def is_draft_due(self) -> bool:
        """Is it time for another draft of what is being said?"""
        until = self.heard_until
        return until is not None and is_draft_due(self.open.state, self._config.open_speech, until)

    def cuts(self, segments: Sequence[SpeechSegment], config: AlignmentConfig) -> list[Cut]:
        """Where in these segments a text may end."""
        start, end = segments[0].start, segments[-1].end
        cuts = dips(self._history.probabilities(start, end), config)
        cuts += quiet(self._history.levels(start, end), config)
        if segments[-1].is_open:
            turns = self._diarizer.turns(segments[-1].start, segments[-1].end)
            cuts += [Cut(turn.start, config.change) for turn in turns[1:]]
        return cuts

    def match(self, match: TextMatch) -> list[SpeechSegment]:
        """A text matches this; it is given back cut at the changes of speaker."""
        self.open.matched(match.end, match.segments[-1].is_open)
        spoken: list[SpeechSegment] = []
        for segment in match.segments:
            begin, end = max(segment.start, match.start), min(segment.end, match.end)
            turns = [(begin, end, segment.attribution)]
            if segment.is_open:
                told = self._diarizer.attribute(begin, end)
                turns = [(turn.start, turn.end, turn.attribution) for turn in told]
            known = segment.utterance_id
            for first, last, attribution in turns:
                spoken.append(
                    SpeechSegment(first, last, utterance_id=known, attribution=attribution)
                )
                known = ""
        return spoken
