"""Assembly of utterances from audio, faces and transcripts.

The node and the replay use the same object. It depends only on its inputs and their order, not on a
wall clock: the same inputs give the same utterances, with any chunk size of the audio.

    audio -> speech segments of one speaker each (speech_segmenter) -> pending segments
    final text -> matching pending segments (text_matching) -> one utterance per speaker
        (text_splitting)
    pending segment, no text before its deadline -> utterance without text
    late or corrected text -> corrected utterance (utterance_log)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from erc_ros.dialogue.alignment import (
    SpeechSegment,
    TextMatch,
    expected_duration,
    majority,
    remainders,
)
from erc_ros.dialogue.audio_history import AudioHistory
from erc_ros.dialogue.face_history import FaceHistory, Seen
from erc_ros.dialogue.non_speech import is_invented, spoken_words
from erc_ros.dialogue.open_speech import SpeechEnded
from erc_ros.dialogue.speakers.clustering import VoiceProfile
from erc_ros.dialogue.speakers.diarizer import Diarizer
from erc_ros.dialogue.speakers.enrolment import (
    VoiceRecognitionConfig,
    least_alike,
    recognise_each,
)
from erc_ros.dialogue.speakers.networks import DiarizationNetworks
from erc_ros.dialogue.speakers.turns import TurnCorrection
from erc_ros.dialogue.speaking_face import IdentityMatch, Kind, SpeakingFaceConfig
from erc_ros.dialogue.speech_segmenter import (
    SpeechBegan,
    SpeechEvent,
    SpeechSegmenter,
    SpeechSegmenterConfig,
)
from erc_ros.dialogue.text_matching import TextMatcher, TextMatchingConfig
from erc_ros.dialogue.text_splitting import Share, divide, split
from erc_ros.dialogue.utterance_log import FinalText, UtteranceLog, UtteranceLogConfig
from erc_ros.dialogue.voice_activity import FRAME_TIME, VoiceActivity
from erc_ros.sensing.audio import AudioSamples
from erc_ros.sensing.clock import Gap, Jump
from erc_ros.sensing.faces import FaceObservation
from erc_ros.sensing.microphone import MicrophoneEvent, Replugged
from erc_ros.values.events import (
    ConversationEnded,
    Counted,
    Event,
    SpeakerCorrected,
    TextCorrected,
    UtteranceEvent,
)
from erc_ros.values.nanoseconds import seconds
from erc_ros.values.settings import Composed, check, section, setting
from erc_ros.values.transcript import Transcript, text_confidence
from erc_ros.values.utterance import Utterance

__all__ = [
    "AssemblerConfig",
    "ConversationEnded",
    "Counted",
    "Event",
    "SpeakerCorrected",
    "TextCorrected",
    "Transcript",
    "UtteranceAssembler",
    "UtteranceEvent",
]

JOINED = seconds(1.0)  # maximum pause between segments that one text may cover, for drafts
QUIET_BEFORE = seconds(2.0)  # maximum delay of a text without times after its speech
QUIET = 0.3  # speech probability below which a frame is evidence of silence


@dataclass(frozen=True, init=False)
class AssemblerConfig(Composed):
    """Settings of the utterance assembly and its parts.

    Raises:
        ValueError: a value is outside its range; the message names field, value and range.
    """

    speech: SpeechSegmenterConfig = section(SpeechSegmenterConfig)
    texts: TextMatchingConfig = section(TextMatchingConfig)
    log: UtteranceLogConfig = section(UtteranceLogConfig)
    sound_timeout: float = setting(
        2.0,
        "speech is closed when no audio arrives for this time (the microphone failed)",
        "s",
        (0.1, 60.0),
    )
    max_backwards: float = setting(
        0.5,
        "if the clock goes back by more, the conversation is restarted",
        "s",
        (0.0, 60.0),
    )
    max_audio: float = setting(
        15.0, "audio kept with an utterance: its last part", "s", (0.0, 60.0)
    )
    max_faces: int = setting(8, "face crops of an utterance", range=(0, 64))
    speaking_face: SpeakingFaceConfig = field(default_factory=SpeakingFaceConfig)
    voice_recognition: VoiceRecognitionConfig = field(default_factory=VoiceRecognitionConfig)

    def __post_init__(self) -> None:
        check(self)

    @property
    def kept_sound(self) -> float:
        """Duration in s of the audio history."""
        longest = self.speech.open_speech.voice_activity.max_stretch
        waits = longest + self.texts.waiting.patience * self.texts.text_timeout
        return max(waits, self.max_audio) + 5.0


@dataclass(frozen=True, slots=True)
class _Clock:
    """The present time of the inputs and of the audio, in ns; None = not known yet.

    now: time of the inputs. sound: end of the processed audio. heard_at: `now` when the last audio
    was received. looked_at: `now` at the first input after that. is_foreign: the microphone stamps
    are from another clock.
    """

    now: int | None = None
    sound: int | None = None
    heard_at: int | None = None
    looked_at: int | None = None
    is_foreign: bool = False

    @property
    def time(self) -> int:
        """Best estimate of the present time: the end of the audio, or later."""
        if self.sound is None:
            return self.now or 0
        if self.now is None or self.is_foreign:
            return self.sound
        return max(self.sound, self.now)

    def is_silent(self, timeout: int) -> bool:
        """Return whether no audio was received for `timeout` (ns)."""
        if self.now is None or self.sound is None or self.heard_at is None:
            return False
        if self.looked_at is not None and self.now - self.looked_at > timeout:
            return True  # even if the audio stamps are later: their clock may be ahead
        last = self.heard_at if self.is_foreign else max(self.heard_at, self.sound)
        return self.now - last > timeout

    def without_sound(self) -> _Clock:
        """Return the state after the audio stopped: stamps ahead of now are from another clock."""
        if self.now is None or self.sound is None:
            return self
        return replace(self, is_foreign=self.is_foreign or self.sound > self.now)

    def at(self, now: int) -> _Clock:
        """Return the state at time `now`."""
        now = now if self.now is None else max(now, self.now)
        heard_at, looked_at = (
            now if self.sound is not None and since is None else since
            for since in (self.heard_at, self.looked_at)
        )
        return replace(self, now=now, heard_at=heard_at, looked_at=looked_at)

    def after_chunk(self, max_offset: int) -> _Clock:
        """Return the state after a chunk of audio was processed."""
        if self.sound is None or self.now is None:
            return replace(self, looked_at=None)
        is_foreign = self.now - self.sound > max_offset
        return replace(self, is_foreign=is_foreign, heard_at=self.now, looked_at=None)


class UtteranceAssembler:
    """Assembles utterances from one microphone, one camera and one speech recognizer.

    Each of them may be missing. Every method returns the resulting events in order. Not
    thread-safe: one worker calls it.

    Args:
        voice_activity: voice activity detector, used by this object only.
        networks: networks for speaker diarization; None: all speakers are unknown.
        known: name -> voice of the enrolled people (see `enrolment`).
        executor: runs speaker diarization, one update at a time; None: a thread of its own.
    """

    def __init__(
        self,
        config: AssemblerConfig,
        voice_activity: VoiceActivity,
        networks: DiarizationNetworks | None = None,
        known: Mapping[str, VoiceProfile] = {},
        executor: Executor | None = None,
    ) -> None:
        self._config = config
        self.known = dict(known)
        """Name -> voice of the enrolled people; may be changed between two calls."""
        self._alike = 1.0
        if networks is not None:
            self._alike = least_alike(networks.embedding, config.voice_recognition)
        self._diarizer = Diarizer(config.speech.diarization, networks, executor)
        self._sound = AudioHistory(seconds(config.kept_sound))
        self._faces = FaceHistory(config.speaking_face)
        self._speech = SpeechSegmenter(config.speech, voice_activity, self._sound, self._diarizer)
        self._texts = TextMatcher(config.texts)
        self._log = UtteranceLog(config.log)
        self._clock = _Clock()
        self._counters: Counter[str] = Counter()

    # --- inputs ---

    def feed_audio(self, event: MicrophoneEvent) -> list[Event]:
        """Process an event of the microphone; a gap or clock jump ends open speech."""
        if isinstance(event, AudioSamples):
            return self._listen(event)
        if isinstance(event, Jump) and event.after < event.before:
            return self._restart(event.after) if self._clock.sound is not None else []
        is_gap = isinstance(event, Gap) and not event.filled
        if is_gap or isinstance(event, (Jump, Replugged)):
            return self._follow(self._speech.interrupt())
        return []

    def feed_face(self, face: FaceObservation) -> list[Event]:
        """Process one face of one camera frame."""
        if face.crop is not None:
            self._faces.add(face.track_id, face.crop)
        return []

    def note_presence(self, face_id: str, stamp: int) -> None:
        """Record that a face is present at `stamp` (ns), without using its image."""
        self._faces.note_presence(face_id, stamp)

    def matched(self, kind: Kind, name: str) -> set[str]:
        """Return this id and the ids that ROS4HRI matched with it."""
        return self._faces.matched(kind, name)

    def feed_landmarks(
        self, face_id: str, stamp: int, landmarks: NDArray[np.float32]
    ) -> list[Event]:
        """Process the ROS4HRI landmarks of a face at `stamp` (ns): (70, 2) in pixels."""
        self._faces.add_landmarks(face_id, stamp, landmarks)
        return []

    def feed_face_speaking(self, face_id: str, stamp: int, speaking: bool) -> list[Event]:
        """Process the ROS4HRI report whether a face is speaking, from `stamp` (ns) on."""
        self._faces.set_speaking(face_id, stamp, speaking)
        return []

    def feed_voice_speaking(self, voice_id: str, stamp: int, speaking: bool) -> list[Event]:
        """Process the ROS4HRI report whether a voice and its faces are speaking, from `stamp`."""
        for face_id in self._faces.of_voice(voice_id):
            self._faces.set_speaking(face_id, stamp, speaking)
        return []

    def feed_match(self, match: IdentityMatch) -> list[Event]:
        """Process a ROS4HRI match of a face, voice or person."""
        self._faces.match(match)
        return []

    def feed_transcript(self, transcript: Transcript) -> list[Event]:
        """Process a partial or final text, without waiting for pending work."""
        out = self.advance(transcript.arrival)
        now = self._clock.time
        if not transcript.is_final:
            self._counters["partial_texts"] += 1
            self._texts.hint(transcript, now)
            return out
        text, counts = self._texts.admit(transcript, now)
        out += [self._count(name, transcript.arrival) for name in counts]
        if text is None:
            return out
        if self._texts.correct(text):
            return [*out, self._count("corrected_texts", text.arrival)]
        former = self._log.same_speech(text, self._config.texts.alignment)
        if former:
            return out + self._give(former, text, "corrected_texts")[0]
        return out + self._take(text)

    def feed_robot_speaking(self, stamp: int, speaking: bool) -> list[Event]:
        """Record that the robot starts or stops speaking at `stamp` (ns)."""
        is_robot, events = self._speech.announce_robot(stamp, speaking)
        out = self._follow(events)
        if is_robot:  # the audio since then
            count = self._texts.cut_at(stamp, FRAME_TIME)
            out += [self._count("robot_speech", stamp) for _ in range(count)]
        return out

    def feed_robot_moving(self, stamp: int, moving: bool) -> list[Event]:
        """Record that the robot starts or stops moving at `stamp` (ns)."""
        self._speech.motion.announce(stamp, moving)
        return []

    def feed_joints(
        self, stamp: int, positions: NDArray[np.float64], velocities: NDArray[np.float64]
    ) -> list[Event]:
        """Process the joint states of the robot at `stamp` (ns), see `RobotMotion`."""
        self._speech.motion.observe_joints(stamp, positions, velocities)
        return []

    def is_distrusted(self, start: int, end: int) -> bool:
        """Return whether the audio of start..end (ns) is not used, because the robot moved."""
        motion = self._speech.motion
        return motion.distrusts and motion.covers(start, end)

    def advance(self, now: int) -> list[Event]:
        """Advance the time to `now` (ns, clock of the stamps) and publish overdue segments."""
        out: list[Event] = []
        before = self._clock.now
        if before is not None and now < before - seconds(self._config.max_backwards):
            out = self._restart(now)
        self._clock = self._clock.at(now)
        if self._clock.is_silent(seconds(self._config.sound_timeout)):
            self._clock = self._clock.without_sound()
            if self._speech.is_active:
                out.append(self._count("sound_timeouts", now))
                out += self._follow(self._speech.interrupt())
            if self._clock.is_foreign:  # the audio clock stands still, so no deadline would pass
                out += self._without_text(self._texts.release())
            out += self._follow(self._speech.corrections(max(now, self._clock.time)))
        return out + self._due()

    def flush(self) -> list[Event]:
        """Publish all pending speech and end the conversation, at the end of the inputs."""
        out = self._follow(self._speech.finish())
        for transcript in self._texts.held():
            out += self._match(transcript) or self._text_only(transcript)
        return out + self._end_conversation()

    def reset(self) -> list[Event]:
        """End the conversation and delete audio, faces and speakers. Counters are kept."""
        out = self.flush()
        self._speech.reset()
        self._faces.clear()
        self._texts.reset()
        self._clock = _Clock()
        return out

    def close(self) -> None:
        """End the thread of the speaker diarization, unless an executor was passed in."""
        self._diarizer.close()

    def counters(self) -> Mapping[str, int]:
        """Return the counters since the start; zero counters are not included.

        utterances, drafts, merged_drafts (matched by the same text), withdrawn_drafts (speech that
        was too short or the robot's), speech_without_text, texts_without_speech, fragments (short
        remainders of a match, dropped), partial_texts, empty_texts, repeated_texts,
        non_speech_texts (sound tags, dropped), invented_texts (typical ASR output for silence,
        dropped), long_texts, late_texts and corrected_texts (for a final utterance), split_texts
        (of several speakers), robot_texts and robot_speech (dropped), barge_ins (speech that began
        while the robot spoke), speaker_corrections, sound_timeouts, clock_jumps, conversations;
        and for final utterances, how the speaking face was determined: face_match,
        face_is_speaking, face_motion, face_only, face_unclear (several faces, none chosen).
        """
        return dict(self._counters)

    # --- speakers ---

    def speaking(self) -> str:
        """Return the present speaker; "" if there is no speech or the speaker is unknown.

        This is the last speaker in the open speech; diarization is updated about once per second.
        """
        start, heard_until = self._speech.open_start, self._speech.heard_until
        if start is None or heard_until is None:
            return ""
        speakers = (
            t.attribution.speaker for t in self._diarizer.speakers_between(start, heard_until)
        )
        known_speakers = [speaker for speaker in speakers if speaker is not None]
        return self._log.label_of(known_speakers[-1]) if known_speakers else ""

    def last_speaker(self) -> str:
        """Return the last speaker of this conversation; "": unknown."""
        return self._log.last_speaker

    def voice_of(self, speaker_id: str) -> VoiceProfile | None:
        """Return the voice of a speaker of this conversation; "": of the last speaker."""
        speakers = self._log.heard_as(speaker_id or self._log.last_speaker)
        profiles = self._diarizer.profiles()
        voices = [profiles[speaker] for speaker in speakers if speaker in profiles]
        return max(voices, key=lambda voice: voice.heard, default=None)

    def conversation_id(self) -> str:
        """Id of the current conversation; "" without one."""
        talk = self._log.conversation
        return "" if talk is None else talk.id

    # --- time and audio ---

    def _restart(self, stamp: int) -> list[Event]:
        """Restart the conversation, because the clock was set back."""
        return [*self.reset(), self._count("clock_jumps", stamp)]

    def _due(self) -> list[Event]:
        """Process texts and segments whose deadline has passed."""
        out: list[Event] = []
        for transcript in self._texts.held():
            out += self._take(transcript)
        now = self._clock.time
        out += self._without_text(self._texts.due(now))
        is_idle = not self._speech.is_active and not self._texts.is_waiting
        if is_idle and self._log.is_over(now):
            out += self._end_conversation()
        return out

    def _listen(self, sound: AudioSamples) -> list[Event]:
        out: list[Event] = []
        end, back = self._clock.sound, seconds(self._config.max_backwards)
        if end is not None and sound.start < end - back:
            out = self._restart(sound.start)
        for events in self._speech.feed(sound):
            self._clock = replace(self._clock, sound=self._speech.heard_until)
            out += self._follow(events) + self._due() + self._draft()
        self._clock = self._clock.after_chunk(seconds(self._config.texts.waiting.max_offset))
        return out

    def _follow(self, events: Iterable[SpeechEvent]) -> list[Event]:
        """Process the events of the speech segmenter."""
        out: list[Event] = []
        for event in events:
            if isinstance(event, TurnCorrection):
                out += self._correct_speaker(event)
            elif isinstance(event, SpeechBegan):
                if self._log.is_over(event.start):
                    out += self._end_conversation()
                if event.is_barge_in:
                    out.append(self._count("barge_ins", event.start))
            else:
                if isinstance(event, SpeechEnded):
                    for segment in event.segments:
                        # a recognizer that finalizes at pauses sends one text for all of them
                        out += self._wait(segment, heard_until=event.end)
                else:
                    out.append(self._count("robot_speech", event.end))
                if event.withdrawn:
                    out.append(self._count("withdrawn_drafts", event.end))
        return out

    def _draft(self) -> list[Event]:
        """Publish a draft of open speech: at a pause, and every `provisional_period`."""
        if not self._speech.is_draft_due():
            return []
        out: list[Event] = []
        least = self._config.speech.open_speech.stretch.min_left_over
        if period := self._config.speech.open_speech.provisional_period:
            least = min(least, period)
        utterance_id = self._speech.draft_id
        for segment in self._speech.segment():
            if segment.end - segment.start >= seconds(least):
                self._log.spoke(segment.start, segment.end)
                utterance_id = utterance_id or self._log.next_id()
                segment = replace(segment, utterance_id=utterance_id)
                out.append(self._event(segment, self._partial(segment), is_final=False))
                # during speech there is no text of both yet, so that encoding them would be wasted
                if segment.is_paused and (joined := self._joined(segment)):
                    out.append(self._event(joined, self._partial(joined), is_final=False))
        self._speech.drafted(utterance_id)
        return out

    def _joined(self, segment: SpeechSegment) -> SpeechSegment | None:
        """Return the segment joined with recent pending ones, which one text may cover."""
        first = segment
        for before in reversed(self._texts.candidates([])):
            if before.utterance_id and 0 <= first.start - before.end <= JOINED:
                first = before
        return None if first is segment else replace(first, end=segment.end)

    def _wait(
        self, segment: SpeechSegment, least: float = 0.0, heard_until: int = 0
    ) -> list[Event]:
        """Add a complete segment to those that wait for text, or publish it without text.

        The deadline is counted from its end, or from `heard_until` (ns) if speech continued after
        it. A segment shorter than `least` (s), or a short remainder after a match, becomes an
        utterance only with a text, unless a draft of it was already published.
        """
        if segment.start == self._speech.matched_until:
            least = self._config.speech.open_speech.stretch.min_fragment
        if segment.utterance_id or segment.end - segment.start >= seconds(least):
            self._log.spoke(segment.start, segment.end)
            segment = replace(segment, utterance_id=segment.utterance_id or self._log.next_id())
        if not self._texts.is_answered:
            return self._without_text([segment])
        self._texts.wait(segment, max(segment.end, heard_until))
        if not segment.utterance_id:
            return []
        self._counters["drafts"] += 1
        return [self._event(segment, self._partial(segment), is_final=False)]

    # --- text ---

    def _partial(self, segment: SpeechSegment) -> Transcript | None:
        return self._texts.partial_of(segment, self._speech.segment())

    def _take(self, transcript: Transcript) -> list[Event]:
        """Match a final text with speech, hold it until its audio arrives, or publish it alone."""
        matched = self._match(transcript)
        if matched is not None:
            return matched
        if self._is_awaited(transcript) and self._texts.hold(transcript):
            return []
        late = self._published_without(transcript)
        return self._give(late, transcript, "late_texts")[0] or self._text_only(transcript)

    def _match(self, transcript: Transcript) -> list[Event] | None:
        """Match a text with speech; None if no speech matches (yet)."""
        self._speech.skip_pause()
        segments = self._texts.candidates(self._speech.segment())
        if not segments or segments[0].start >= transcript.time:
            return None
        is_ahead = transcript.end is not None and transcript.end > segments[-1].end
        if is_ahead and segments[-1].is_open and self._is_awaited(transcript):
            return None  # the audio of its last words has not arrived yet
        cuts = self._speech.cuts(segments, self._config.texts.alignment)
        match = self._texts.match(transcript, segments, cuts)
        return None if match is None else self._accept(match, transcript)

    def _accept(self, match: TextMatch, transcript: Transcript) -> list[Event]:
        """Publish the utterances of a match, split by speaker."""
        self._log.spoke(match.start, match.end)
        parts: list[tuple[SpeechSegment, Utterance]] = []
        least = self._config.speech.open_speech.stretch.min_left_over
        segments = self._speech.match(match)
        out, remainder = self._give_before(segments, transcript)
        shares = [Share(tuple(segments), None)]
        if remainder is not None:
            shares = split(remainder, segments, self._config.texts.text_splitting)
        if sum(share.transcript is not None for share in shares) > 1:
            self._counters["split_texts"] += 1
        for share in shares:
            ids = [segment.utterance_id for segment in share.segments if segment.utterance_id]
            if len(ids) > 1:
                self._counters["merged_drafts"] += len(ids) - 1
            start, end = share.segments[0].start, share.segments[-1].end
            utterance_id = ids[0] if ids else ""
            whole = SpeechSegment(
                start, end, utterance_id=utterance_id, attribution=majority(share.segments)
            )
            if share.transcript is None:
                out += self._wait(whole, least)
                continue
            whole = replace(whole, utterance_id=utterance_id or self._log.next_id())
            self._counters["utterances"] += 1
            event = self._event(whole, share.transcript, is_final=True)
            parts.append((whole, event.utterance))
            out.append(event)
        if remainder is not None:
            self._log.remember(transcript, tuple(parts))
        for segment in remainders(match):
            if not segment.is_open:
                out += self._wait(segment, least if segment.end <= match.start else 0.0)
        return out

    def _give_before(
        self, segments: Sequence[SpeechSegment], transcript: Transcript
    ) -> tuple[list[Event], Transcript | None]:
        """Give the first words of a text to speech that was published before the text came.

        Returns what follows, and the words that remain for `segments`.
        """
        if transcript.start is None:
            return [], transcript
        late = self._published_without(transcript)
        late = [final for final in late if final.parts[0][0].end <= segments[0].start]
        return self._give(late, transcript, "late_texts", segments)

    def _is_awaited(self, transcript: Transcript) -> bool:
        """Return whether the audio of a text may still arrive."""
        config, clock = self._config, self._clock
        if clock.sound is None or clock.is_foreign:
            return False
        if clock.time - clock.sound > seconds(config.sound_timeout):
            return False
        delay = config.speech.open_speech.voice_activity.min_speech + config.texts.waiting.onset
        waited = clock.time - transcript.arrival
        is_ahead = transcript.time > clock.sound - seconds(delay)
        return is_ahead and waited < seconds(config.texts.speech_timeout)

    def _is_of_robot(self, transcript: Transcript) -> bool:
        """Return whether a text is a transcript of the robot's own speech."""
        start = transcript.start
        is_start = start is not None
        return self._speech.is_robot_text(transcript.time if start is None else start, is_start)

    def _text_only(self, transcript: Transcript) -> list[Event]:
        """Publish a text without matching speech, or drop and count it."""
        if self._is_of_robot(transcript):
            return [self._count("robot_texts", transcript.arrival)]
        if not spoken_words(transcript.text):
            return [self._count("non_speech_texts", transcript.arrival)]
        if is_invented(transcript.text) and self._was_quiet(transcript):
            return [self._count("invented_texts", transcript.arrival)]
        end = transcript.time
        start = end if transcript.start is None else transcript.start
        out = self._end_conversation() if self._log.is_over(start) else []
        self._log.spoke(start, end)
        self._counters["texts_without_speech"] += 1
        return [
            *out,
            self._final(SpeechSegment(start, end, utterance_id=self._log.next_id()), transcript),
        ]

    def _was_quiet(self, transcript: Transcript) -> bool:
        """Return whether there was audio at the time of the text, but no evidence of speech."""
        end, start = transcript.time, transcript.start
        if start is None:
            took = expected_duration(transcript.text, self._config.texts.seconds_per_character)
            start = end - took - QUIET_BEFORE
        frames = self._sound.probabilities(start, end)
        is_covered = 2 * len(frames) * FRAME_TIME >= end - start
        return is_covered and all(probability < QUIET for _, probability in frames)

    def _published_without(self, transcript: Transcript) -> list[FinalText]:
        """Speech of this text that was published without words."""
        config = self._config.texts
        if self._is_of_robot(transcript):
            return []
        return self._log.without_text(transcript, config.seconds_per_character, config.alignment)

    def _give(
        self,
        finals: Sequence[FinalText],
        transcript: Transcript,
        why: str,
        after: Sequence[SpeechSegment] = (),
    ) -> tuple[list[Event], Transcript | None]:
        """Divide a text between published utterances, and speech `after` them that waits.

        Returns what follows, and the words that are left for `after`.
        """
        if not finals:
            return [], transcript
        start = transcript.start or 0  # earlier speech is not of this text
        groups = [
            tuple(replace(segment, start=max(segment.start, start)) for segment, _ in final.parts)
            for final in finals
        ]
        groups += [tuple(after)] if after else []
        shares = divide(transcript, groups, self._config.texts.text_splitting)
        out: list[Event] = []
        for final, share in zip(finals, shares, strict=False):
            text = share.transcript
            if text is None:
                if final.transcript is None:
                    continue
                text = replace(transcript, text="", words=())
            out.append(self._count(why, transcript.arrival))
            out += self._log.replace_text(final, text, self._config.texts.text_splitting)
        return out, shares[-1].transcript if after else None

    # --- utterances ---

    def _count(self, name: str, stamp: int) -> Counted:
        self._counters[name] += 1
        return Counted(name, stamp)

    def _end_conversation(self) -> list[Event]:
        """Publish all pending segments without text, and end the conversation."""
        out = self._without_text(self._texts.release())
        ended = self._log.end(self._clock.time)
        self._diarizer.reset()
        if ended is not None:
            self._counters["conversations"] += 1
            out.append(ended)
        return out

    def _without_text(self, segments: Sequence[SpeechSegment]) -> list[Event]:
        out: list[Event] = []
        for segment in segments:
            if segment.utterance_id:
                self._counters["speech_without_text"] += 1
                out.append(self._final(segment, None))
            else:  # a short remainder of a match
                out.append(self._count("fragments", segment.end))
        return out

    def _final(self, segment: SpeechSegment, transcript: Transcript | None) -> Event:
        self._counters["utterances"] += 1
        event = self._event(segment, transcript, is_final=True)
        self._log.remember(transcript, ((segment, event.utterance),))
        return event

    def _correct_speaker(self, correction: TurnCorrection) -> list[Event]:
        """Correct the speaker of pending segments and of published utterances."""

        def rename(utterance: Utterance, speaker_id: str) -> Utterance:
            """Replace the speaker, and the person if recognized by voice."""
            by_voice = utterance.person_id in self.known
            person = self._name(correction.new_speaker) if by_voice else utterance.person_id
            return replace(utterance, speaker_id=speaker_id, person_id=person)

        self._texts.reattribute(correction)
        event = self._log.correct_speaker(correction, rename)
        if event is None:
            return []
        self._counters["speaker_corrections"] += 1
        return [event]

    def _event(
        self, segment: SpeechSegment, text: Transcript | None, is_final: bool
    ) -> UtteranceEvent:
        """Build the utterance of a speech segment."""
        talk = self._log.conversation
        assert talk is not None
        voice_id = "" if text is None else text.voice_id
        speaker, confidence = self._log.attribute(segment, voice_id)
        seen = self._seen(segment, text)
        if is_final and seen.evidence:
            self._counters[f"face_{seen.evidence}"] += 1
        person = seen.person_id if text is None else text.person_id or seen.person_id
        if is_final and not person:
            person = self._name(segment.attribution.speaker)
        first = max(segment.start, segment.end - seconds(self._config.max_audio))
        return UtteranceEvent(
            Utterance(
                conversation_id=talk.id,
                utterance_id=segment.utterance_id,
                start=segment.start,
                end=segment.end,
                text="" if text is None else text.text,
                locale="" if text is None else text.locale,
                text_confidence=text_confidence(text),
                speaker_id=speaker,
                speaker_confidence=confidence,
                overlap=self._diarizer.overlap(segment.start, segment.end),
                voice_id=voice_id,
                face_id=seen.face_id,
                person_id=person,
                is_final=is_final,
                audio=self._sound.samples(first, segment.end),
                faces=seen.crops,
            )
        )

    def _name(self, speaker: int | None) -> str:
        """Return the enrolled person with the voice of a diarized speaker; "" if there is none."""
        if speaker is None or not self.known:
            return ""
        names = recognise_each(self._diarizer.profiles(), self.known, self._alike)
        return names.get(speaker, "")

    def _seen(self, segment: SpeechSegment, text: Transcript | None) -> Seen:
        """Choose the speaking face; for a text without speech, its duration is estimated."""
        start, config = segment.start, self._config
        if start == segment.end and text is not None:
            start -= expected_duration(text.text, config.texts.seconds_per_character)
        return self._faces.choose(
            start,
            segment.end,
            config.max_faces,
            self._sound.probabilities(start - seconds(config.speaking_face.before), segment.end),
            "" if text is None else text.voice_id,
            "" if text is None else text.person_id,
        )
