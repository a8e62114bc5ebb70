"""Who said what when: sound, faces and transcripts in, utterances out.

One object for the live node and for replay. It depends only on its inputs and their order, never on
a wall clock, so that the same inputs give the same utterances, in any chunking of the sound.

    sound -> voice activity -> stretch -> turns (diarization) -> pieces of speech without text
    final text -> claims pieces (alignment) -> utterance, one per speaker
    pieces whose text does not come -> utterance without text
    text that comes later, or again and otherwise -> the utterance once more
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from erc_ros.dialogue import assembly, voice_activity
from erc_ros.dialogue.alignment import (
    Claim,
    Cut,
    Piece,
    align,
    dips,
    expected_duration,
    is_same_speech,
    late_cost,
    majority,
    quiet,
    rests,
    split,
    text_within,
)
from erc_ros.dialogue.checks import check_range
from erc_ros.dialogue.recent import VOICE_BEFORE, RecentFaces, RecentSound, Seen
from erc_ros.dialogue.robot_voice import MARGIN_TO_REFERENCE, Echo, hear, is_playing, play, power
from erc_ros.dialogue.speakers.clustering import VoiceProfile
from erc_ros.dialogue.speakers.diarization import DiarizationConfig
from erc_ros.dialogue.speakers.diarizer import Diarizer
from erc_ros.dialogue.speakers.enrolment import least_alike, recognise_each
from erc_ros.dialogue.speakers.networks import DiarizationNetworks
from erc_ros.dialogue.speakers.turns import Attribution, TurnCorrection
from erc_ros.dialogue.speaking_face import Match
from erc_ros.dialogue.voice_activity import (
    FRAME,
    FRAME_TIME,
    Activity,
    Began,
    Ended,
    VoiceActivity,
    VoiceActivityConfig,
)
from erc_ros.sensing.audio import Sound
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
from erc_ros.values.nanoseconds import NS, seconds
from erc_ros.values.transcript import Transcript
from erc_ros.values.utterance import SAMPLE_RATE, Utterance

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

BACKWARDS = seconds(0.5)  # a clock that goes back further was set
DRIFT = seconds(0.005)  # the time of sound follows its stamps in steps of this
BELIEVED = seconds(10.0)  # times of a recogniser further from now than this are of another clock
ONSET = seconds(0.1)  # after min_speech, speech that ended is known to have begun
FRAGMENT = seconds(0.3)  # what follows a claim and is shorter goes out only with a text
LEFT_OVER = seconds(0.6)  # the same for what a claim leaves before it
UNANSWERED = 3  # stretches without text after which nobody waits for one
HELD_TEXTS = 16
REMEMBERED_UTTERANCES = 256  # whose speaker can still be corrected
LOOK = seconds(1.0)  # speakers of open speech are told apart this often
PAUSE = seconds(0.1)  # and where nobody speaks for so long,
LOOK_AT_PAUSE = seconds(0.25)  # after so much speech
ANSWERS = 8  # final utterances that a later text can still complete or correct
SPEAKER_CUT = 0.05  # cost of ending a text where the speaker changes
ROBOT_SPEAKS = seconds(60.0)  # at most; then the topic has died
ROBOT_TEXT = seconds(
    1.0
)  # the recogniser's text of what the robot said comes up to this much later
PATIENCE = 3  # times text_timeout is what partial texts can make a piece wait


@dataclass(frozen=True, slots=True)
class AssemblerConfig:
    """How to listen. Durations in s.

    Raises:
        ValueError: a value outside its range; the message names field, value and range.
    """

    expect_text: Literal["auto", "always", "never"] = "auto"
    """Does speech wait for its text? auto: until three stretches in a row got none."""
    text_timeout: float = 1.5
    """Speech whose text has not come this long after its end goes out without text."""
    speech_timeout: float = 0.5
    """A final text waits this long for sound that is still on its way."""
    seconds_per_character: float = 0.065
    """Expected duration of a text, where the recogniser tells no times."""
    max_text: int = 4000
    """Characters; a longer text is cut."""
    conversation_gap: float = 30.0
    """Silence that ends a conversation."""
    robot_tail: float = 0.3
    """What is heard this long after /robot_speaking fell is still the robot."""
    sound_timeout: float = 2.0
    """Speech is closed when no sound came for this long (the microphone died)."""
    provisional_period: float = 0.0
    """While somebody speaks, a draft goes out this often; 0: only when the speech has ended."""
    max_audio: float = 15.0
    """Sound kept with an utterance: its last part."""
    max_faces: int = 8
    """Face crops of an utterance."""
    frame_id: str = ""
    """Frame of the utterances (the microphone's)."""
    voice_activity: VoiceActivityConfig = field(default_factory=VoiceActivityConfig)
    diarization: DiarizationConfig = field(default_factory=DiarizationConfig)

    def __post_init__(self) -> None:
        if self.expect_text not in ("auto", "always", "never"):
            raise ValueError(f"expect_text is {self.expect_text!r}, must be auto, always or never")
        check_range("text_timeout", self.text_timeout, 0.0, 30.0)
        check_range("speech_timeout", self.speech_timeout, 0.0, 10.0)
        check_range("seconds_per_character", self.seconds_per_character, 0.005, 1.0)
        check_range("max_text", self.max_text, 1, 100_000)
        check_range("conversation_gap", self.conversation_gap, 1.0, 86_400.0)
        check_range("robot_tail", self.robot_tail, 0.0, 5.0)
        check_range("sound_timeout", self.sound_timeout, 0.1, 60.0)
        check_range("provisional_period", self.provisional_period, 0.0, 10.0)
        if 0.0 < self.provisional_period < 0.1:
            raise ValueError(
                f"provisional_period is {self.provisional_period}, must be 0 (off) or 0.1 .. 10"
            )
        check_range("max_audio", self.max_audio, 0.0, 60.0)
        check_range("max_faces", self.max_faces, 0, 64)


@dataclass(frozen=True, slots=True)
class _RobotSpeech:
    """The robot spoke from `start` to `end` (ns); end None: it still does."""

    start: int
    end: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Answer:
    """A text (None: none came in time) and the final utterances that it became."""

    transcript: Transcript | None
    parts: tuple[tuple[Piece, Utterance], ...]


@dataclass(frozen=True, slots=True)
class _Told:
    """Who was told to have said an utterance, from `start` to `end` (ns)."""

    utterance_id: str
    start: int
    end: int
    speaker: int | None  # as the diarizer numbers them
    speaker_id: str


def _is_within(part: Piece | _Told, whole: TurnCorrection) -> bool:
    """Does most of it lie in what is corrected?"""
    common = min(part.end, whole.end) - max(part.start, whole.start)
    return 2 * common > part.end - part.start


class UtteranceAssembler:
    """Listens to one place (one microphone, one camera, one recogniser; each may be missing).

    Not thread-safe: one worker calls it. Every method returns what became known by it, in order.
    """

    def __init__(
        self,
        config: AssemblerConfig,
        voice_activity: VoiceActivity,
        networks: DiarizationNetworks | None = None,
        known: Mapping[str, VoiceProfile] = {},
    ) -> None:
        """voice_activity: finds speech; it is this object's alone.

        networks: what tells speakers apart; None: nobody is told apart.

        known: name -> voice of people who are recognised (see `enrolment`).
        """
        self._config = config
        self._known = known
        self._alike = 1.0 if networks is None else least_alike(networks.embedding)
        self._diarizer = Diarizer(config.diarization, networks)
        self._probability = voice_activity
        kept = config.voice_activity.max_stretch + PATIENCE * config.text_timeout + 5.0
        self._sound = RecentSound(seconds(max(kept, config.max_audio + 5.0)))
        self._faces = RecentFaces()
        self._counters: Counter[str] = Counter()
        self._is_answered = config.expect_text != "never"
        self._last_begin: int | None = None  # of a conversation; no two in a row have the same id
        self._forget()

    def _forget(self) -> None:
        """The state before the first input, but for counters and whether text is expected."""
        self._pending = np.zeros(0, np.float32)  # samples of a frame that is not full
        self._pending_reference = np.zeros(0, np.float32)  # what the robot played meanwhile
        self._pending_start: int | None = None  # its time; None: no line of sound
        self._heard_until: int | None = None  # time of the sound that was listened to
        self._heard_at: int | None = None  # now, when sound last came
        self._is_foreign = False  # the microphone's clock is not ours
        self._now: int | None = None
        self._robot: tuple[_RobotSpeech, ...] = ()
        self._over_robot = False  # somebody talks over the robot at this moment
        self._announced = Echo(envelope=1.0)  # the robot, while it says that it speaks
        self._played = Echo()  # the robot, against the channel that carries what it plays
        self._texts: tuple[assembly.Heard, ...] = ()
        self._held: tuple[Transcript, ...] = ()
        self._partial: Transcript | None = None  # the latest, of speech without a final text
        self._unanswered = 0
        self._sound.clear()
        self._faces.clear()
        self._end_speech()
        self._begin_conversation()

    def _end_speech(self) -> None:
        self._activity = Activity()
        self._probability.reset()
        self._open: int | None = None  # start of what is not claimed yet of the open stretch
        self._began = 0  # ns, when the open stretch began
        self._looked = 0  # ns, up to when the speakers were told apart
        self._open_id = ""  # of its utterance, once a draft of it went out
        self._drafted = 0  # ns, when that was
        self._claimed_until = 0
        self._pieces: tuple[Piece, ...] = ()

    def _begin_conversation(self) -> None:
        self._conversation: assembly.Conversation | None = None
        self._labels = assembly.Labels()
        self._answers: tuple[_Answer, ...] = ()
        self._told: dict[str, _Told] = {}  # by utterance id, as far as voices were heard
        self._diarizer.reset()

    # --- inputs ---

    def feed_sound(self, event: MicrophoneEvent) -> list[Event]:
        """Take an event of the microphone: Sound is listened to, a break interrupts speech."""
        if isinstance(event, Sound):
            return self._hear(event)
        if isinstance(event, Jump) and event.after < event.before:
            return self._jump_back(event.after) if self._heard_until is not None else []
        is_gap = isinstance(event, Gap) and not event.filled
        if is_gap or isinstance(event, (Jump, Replugged)):
            return self._interrupt()
        return []

    def feed_face(self, face: FaceObservation) -> list[Event]:
        """Take one face of one camera frame."""
        if face.crop is not None:
            self._faces.add(face.track_id, face.crop)
        return []

    def feed_face_speaking(self, face_id: str, stamp: int, speaking: bool) -> list[Event]:
        """ROS4HRI says whether the one with this face speaks, from `stamp` (ns) on."""
        self._faces.tell(face_id, stamp, speaking)
        return []

    def feed_match(self, match: Match) -> list[Event]:
        """ROS4HRI says which face, voice and person belong together."""
        self._faces.match(match)
        return []

    def feed_transcript(self, transcript: Transcript) -> list[Event]:
        """Take a partial or final text."""
        out = self._tick(transcript.arrival)
        if not transcript.is_final:
            self._hint(transcript)
            return out
        text = transcript.text.strip()
        if not text:
            return [*out, self._count("empty_texts", transcript.arrival)]
        if len(text) > self._config.max_text:
            out.append(self._count("long_texts", transcript.arrival))
            text = text[: self._config.max_text]
        transcript = assembly.placed(replace(transcript, text=text), self._clock, BELIEVED)
        if assembly.is_repeated(self._texts, transcript):
            return [*out, self._count("repeated_texts", transcript.arrival)]
        self._texts = assembly.remember(self._texts, transcript)
        self._unanswered = 0
        self._is_answered = self._config.expect_text != "never"
        if self._partial is not None and self._partial.voice_id == transcript.voice_id:
            self._partial = None
        corrected = self._correct(transcript)
        return out + (self._take(transcript) if corrected is None else corrected)

    def feed_robot_speaking(self, stamp: int, speaking: bool) -> list[Event]:
        """The robot itself speaks from / until `stamp` (ns)."""
        is_open = bool(self._robot) and self._robot[-1].end is None
        if speaking and not is_open:
            self._robot = (*self._robot, _RobotSpeech(stamp))[-8:]
            return self._silence_from(stamp)
        if not speaking and is_open:
            self._robot = (*self._robot[:-1], replace(self._robot[-1], end=stamp))
        return []

    def advance(self, now: int) -> list[Event]:
        """Time (ns, the clock of the stamps) has come to `now`: what waited too long goes out."""
        return self._tick(now)

    def flush(self) -> list[Event]:
        """The inputs have ended: everything goes out, the conversation ends."""
        if self._open is not None:
            self._look()
        self._diarizer.flush()
        out = [*self._take_effect(0), *self._interrupt()]
        held, self._held = self._held, ()
        for transcript in held:
            out += self._attach(transcript) or self._text_only(transcript)
        return out + self._release() + self._end_conversation()

    def reset(self) -> list[Event]:
        """End the conversation (if any) now, and forget sound, faces, speakers. Counters stay."""
        out = self.flush()
        self._forget()
        return out

    def counters(self) -> Mapping[str, int]:
        """How often what happened since the start; what never happened is not there.

        utterances, drafts, merged_drafts (a text claimed several at once), withdrawn_drafts (of
        open speech that came to nothing), speech_without_text, texts_without_speech, fragments
        (scraps of speech beside a claim, dropped), partial_texts, empty_texts, repeated_texts,
        long_texts, late_texts and corrected_texts (of an utterance that was final), split_texts (of
        several speakers), robot_texts, robot_speech (dropped), barge_ins (speech that began while
        the robot spoke), speaker_corrections, sound_timeouts, clock_jumps, conversations; and of
        final utterances, how their face was found: face_match, face_is_speaking, face_motion,
        face_only, face_unclear (several, none chosen).
        """
        return dict(self._counters)

    # --- time ---

    @property
    def _clock(self) -> int:
        """Now, as far as it is known: the end of the sound, or later."""
        if self._heard_until is None:
            return self._now or 0
        if self._now is None or self._is_foreign:
            return self._heard_until
        return max(self._heard_until, self._now)

    def _tick(self, now: int) -> list[Event]:
        out: list[Event] = []
        if self._now is not None and now < self._now - BACKWARDS:
            out = self._jump_back(now)
        self._now = now if self._now is None else max(now, self._now)
        if self._heard_until is not None and self._heard_at is None:
            self._heard_at = self._now
        if self._heard_at is not None and self._is_silent_since(self._heard_at):
            if self._activity.start is not None:
                out += [self._count("sound_timeouts", now), *self._interrupt()]
            if self._is_foreign:  # its clock stands still: nothing would ever be due
                out += self._release()
            out += self._take_effect(self._now)
        return out + self._due()

    def _is_silent_since(self, heard_at: int) -> bool:
        assert self._now is not None and self._heard_until is not None
        last = heard_at if self._is_foreign else max(heard_at, self._heard_until)
        return self._now - last > seconds(self._config.sound_timeout)

    def _jump_back(self, stamp: int) -> list[Event]:
        out = self.reset()
        return [*out, self._count("clock_jumps", stamp)]

    def _due(self) -> list[Event]:
        """What has waited long enough."""
        clock, out = self._clock, self._try_held()
        while self._pieces and self._pieces[0].deadline <= clock:
            piece, self._pieces = self._pieces[0], self._pieces[1:]
            out += self._without_text(piece)
            self._unanswered += bool(piece.utterance_id)
        if self._unanswered >= UNANSWERED and self._config.expect_text == "auto":
            self._is_answered = False
            out += self._release()
        talk = self._conversation
        is_idle = self._activity.start is None and not self._pieces and not self._held
        return out + self._expire(clock) if talk is not None and is_idle else out

    # --- sound ---

    def _hear(self, sound: Sound) -> list[Event]:
        out: list[Event] = []
        if self._heard_until is not None and sound.start < self._heard_until - BACKWARDS:
            out = self._jump_back(sound.start)
        self._place(sound)
        played = np.zeros_like(sound.samples) if sound.reference is None else sound.reference
        samples = np.concatenate([self._pending, sound.samples])
        reference = np.concatenate([self._pending_reference, played])
        first = 0
        while first + FRAME <= len(samples):
            assert self._pending_start is not None
            frame = slice(first, first + FRAME)
            out += self._listen(self._pending_start, samples[frame], reference[frame])
            self._pending_start += FRAME_TIME
            first += FRAME
        self._pending, self._pending_reference = samples[first:].copy(), reference[first:].copy()
        if self._heard_until is not None and self._now is not None:
            self._is_foreign = self._now - self._heard_until > BELIEVED
            self._heard_at = self._now
        return out

    def _place(self, sound: Sound) -> None:
        """The time of the next frame: counted on from the last one, following a drift."""
        waiting = len(self._pending) * NS // SAMPLE_RATE
        if self._pending_start is None:
            self._pending_start = sound.start
        elif abs(sound.start - waiting - self._pending_start) > DRIFT:
            self._pending_start = sound.start - waiting

    def _listen(
        self, time: int, frame: NDArray[np.float32], reference: NDArray[np.float32]
    ) -> list[Event]:
        probability = self._probability.feed(frame)
        self._over_robot = False
        if self._is_only_robot(time, frame, reference, probability):
            probability = 0.0
            frame = np.zeros_like(frame)  # nor is the robot one of the speakers
        self._sound.add(time, probability, frame)
        self._heard_until = time + FRAME_TIME
        self._diarizer.feed(time, frame)
        self._activity, events = voice_activity.step(
            self._activity, self._config.voice_activity, time, probability
        )
        out = self._take_effect(self._heard_until)
        if self._open is not None:
            # an update at a pause is in effect before the stretch ends, and its text comes
            is_pause = self._heard_until - self._activity.last_voiced >= PAUSE
            is_worth = self._activity.last_voiced - self._looked >= LOOK_AT_PAUSE
            if (is_pause and is_worth) or self._heard_until - self._looked >= LOOK:
                self._look()
        return out + self._follow(events) + self._due() + self._provide()

    def _take_effect(self, position: int) -> list[Event]:
        """What is known of the speakers at `position` (ns); what was told is corrected."""
        self._diarizer.until(position)
        return [e for found in self._diarizer.corrections() for e in self._relabel(found)]

    def _look(self) -> None:
        """Begin to tell the speakers apart up to now."""
        assert self._heard_until is not None
        self._looked = self._heard_until
        self._diarizer.begin_update(self._heard_until)

    def _provide(self) -> list[Event]:
        """A draft of what is being said, every `provisional_period`."""
        period = seconds(self._config.provisional_period)
        if not period or self._open is None or self._heard_until is None:
            return []
        if self._heard_until - max(self._open, self._drafted) < period:
            return []
        self._drafted = self._heard_until
        out: list[Event] = []
        for piece in self._open_piece():
            if piece.end - piece.start >= min(period, LEFT_OVER):
                self._said(piece.start, piece.end)
                self._open_id = piece.utterance_id or self._next_id()
                piece = replace(piece, utterance_id=self._open_id)
                out.append(UtteranceEvent(self._utterance(piece, self._so_far(piece), False)))
        return out

    def _so_far(self, piece: Piece) -> Transcript | None:
        """What partial texts say of a piece whose final text is awaited."""
        if self._partial is None:
            return None
        pieces = [p for p in (*self._pieces, *self._open_piece()) if p.start < piece.start]
        text = text_within(self._partial, [*pieces, piece])
        return replace(self._partial, text=text) if text else None

    def _follow(self, events: list[Began | Ended]) -> list[Event]:
        out: list[Event] = []
        for event in events:
            if isinstance(event, Began):
                assert self._heard_until is not None
                out += self._expire(event.start)
                if self._over_robot:
                    out.append(self._count("barge_ins", event.start))
                self._open = self._began = event.start
            else:
                out += self._close(event.end)
        return out

    def _interrupt(self) -> list[Event]:
        """The line of sound is broken: an open stretch ends, what waits for text still waits."""
        self._activity, events = voice_activity.finish(self._activity, self._config.voice_activity)
        self._activity = Activity()
        self._probability.reset()
        self._pending = np.zeros(0, np.float32)
        self._pending_reference = np.zeros(0, np.float32)
        self._pending_start = None
        return self._follow(events)

    def _close(self, end: int) -> list[Event]:
        """The open stretch ended: its turns wait for their text."""
        start, self._open = self._open, None
        known, self._open_id = self._open_id, ""
        out: list[Event] = []
        if start is None or end - self._began < FRAME_TIME:
            return self._withdraw(known, end)
        # also where texts have claimed all of it: what was heard of the voices is learned from
        if self._looked < end - seconds(self._config.voice_activity.padding):
            self._look()
        turns = self._diarizer.attribute(self._began, end)
        for turn in turns:
            begin = max(start, turn.start)
            # a text that ended near a change of speaker ended at it
            is_rest = turn.start < start and turn.end - start < LEFT_OVER and turn is not turns[-1]
            if turn.end - begin >= FRAME_TIME and not is_rest:
                found = turn.attribution
                piece = Piece(start, turn.end, utterance_id=known, attribution=found)
                # a recogniser that finalises at pauses heard the pause after the last turn only
                out += self._wait(piece, heard_until=end)
                start, known = turn.end, ""
        return out + self._withdraw(known, end)

    def _relabel(self, found: TurnCorrection) -> list[Event]:
        """It was somebody else: what waits is told apart anew, and what was sent is corrected."""
        before = assembly.label_of(self._labels, found.old_speaker)
        if found.new_speaker is not None:
            attribution = Attribution(found.new_speaker, 1.0)
            self._labels, after, _ = assembly.label(self._labels, attribution, "")
        else:
            after = ""
        self._pieces = tuple(
            replace(piece, attribution=replace(piece.attribution, speaker=found.new_speaker))
            if piece.attribution.speaker == found.old_speaker and _is_within(piece, found)
            else piece
            for piece in self._pieces
        )
        said = [told for told in self._told.values() if told.speaker_id == before != after]
        affected = tuple(told.utterance_id for told in said if _is_within(told, found))
        if self._conversation is None or not affected:
            return []
        for utterance_id in affected:
            self._told[utterance_id] = replace(
                self._told[utterance_id], speaker=found.new_speaker, speaker_id=after
            )
        self._answers = tuple(
            replace(
                answer,
                parts=tuple(
                    (piece, self._said_by(u, after, found) if u.utterance_id in affected else u)
                    for piece, u in answer.parts
                ),
            )
            for answer in self._answers
        )
        self._counters["speaker_corrections"] += 1
        talk = self._conversation.id
        return [SpeakerCorrected(talk, affected, found.start, found.end, before, after)]

    def _said_by(self, said: Utterance, speaker_id: str, found: TurnCorrection) -> Utterance:
        """The utterance as somebody else's; a name that it has by its voice becomes theirs."""
        person = said.person_id
        if person in self._known:
            person = self._name(found.new_speaker)
        return replace(said, speaker_id=speaker_id, person_id=person)

    def _withdraw(self, utterance_id: str, stamp: int) -> list[Event]:
        """What a draft was sent of came to nothing."""
        return [self._count("withdrawn_drafts", stamp)] if utterance_id else []

    def _wait(self, piece: Piece, least: int = 0, heard_until: int = 0) -> list[Event]:
        """A piece of speech is complete; it waits for its text, if there is any to be expected.

        From its end on, or from `heard_until` (ns), where speech went on after it.

        What is shorter than `least` (ns), or a scrap after a claim, is no utterance without a text,
        unless a draft of it went out already.
        """
        since = max(piece.end, heard_until)
        piece = replace(piece, deadline=since + seconds(self._config.text_timeout))
        shortest = FRAGMENT if piece.start == self._claimed_until else least
        if piece.utterance_id or piece.end - piece.start >= shortest:
            self._said(piece.start, piece.end)
            piece = replace(piece, utterance_id=piece.utterance_id or self._next_id())
        if not self._is_answered:
            return self._without_text(piece)
        self._pieces = tuple(sorted((*self._pieces, piece), key=lambda p: p.start))
        if not piece.utterance_id:
            return []
        self._counters["drafts"] += 1
        return [UtteranceEvent(self._utterance(piece, self._so_far(piece), is_final=False))]

    # --- the robot's own voice ---

    def _is_only_robot(
        self,
        time: int,
        frame: NDArray[np.float32],
        reference: NDArray[np.float32],
        probability: float,
    ) -> bool:
        """Is the robot heard, and nobody who talks over it?"""
        self._played = play(self._played, power(reference))
        if not is_playing(self._played) and not self._is_robot(time):
            return False
        loud, is_speech = power(np.nan_to_num(frame)), probability >= 0.5
        if is_playing(self._played):
            self._played, is_alone = hear(self._played, loud, is_speech, MARGIN_TO_REFERENCE)
        else:
            self._announced, is_alone = hear(self._announced, loud, is_speech)
        self._over_robot = not is_alone
        return is_alone

    def _is_robot(self, time: int, late: int = 0) -> bool:
        """Did the robot speak at `time` (ns), or up to `late` before?"""
        tail = seconds(self._config.robot_tail)
        for speech in self._robot:
            end = speech.start + ROBOT_SPEAKS
            if speech.end is not None:
                end = min(end, speech.end + tail)
            if speech.start - FRAME_TIME < time < end + late:
                return True
        return False

    def _silence_from(self, stamp: int) -> list[Event]:
        """What was taken for speech since `stamp` was the robot."""
        if self._heard_until is None or stamp >= self._heard_until:
            return []
        out: list[Event] = []
        self._activity, events = voice_activity.finish(self._activity, self._config.voice_activity)
        for event in events:
            if isinstance(event, Ended) and stamp - event.start >= FRAGMENT:
                out += self._close(min(event.end, stamp))
            elif isinstance(event, Ended):
                self._open, known, self._open_id = None, self._open_id, ""
                out.append(self._count("robot_speech", stamp))
                out += self._withdraw(known, stamp)
        kept = []
        for piece in self._pieces:
            if piece.start >= stamp - FRAME_TIME:
                out.append(self._count("robot_speech", stamp))
            else:
                kept.append(replace(piece, end=min(piece.end, stamp)))
        self._pieces = tuple(kept)
        return out

    # --- text ---

    def _hint(self, partial: Transcript) -> None:
        """The recogniser is at work: what has ended waits for its text, within limits."""
        self._counters["partial_texts"] += 1
        if not partial.text.strip() or self._config.expect_text == "never":
            return
        self._partial = replace(partial, text=partial.text.strip()[: self._config.max_text])
        self._unanswered, self._is_answered = 0, True
        timeout = seconds(self._config.text_timeout)
        until = self._clock + timeout
        self._pieces = tuple(
            replace(p, deadline=max(p.deadline, min(until, p.end + PATIENCE * timeout)))
            for p in self._pieces
        )

    def _take(self, transcript: Transcript) -> list[Event]:
        """A final text: to its speech, or it waits for sound on its way, or stands alone."""
        attached = self._attach(transcript)
        if attached is not None:
            return attached
        if self._is_awaited(transcript) and len(self._held) < HELD_TEXTS:
            self._held = (*self._held, transcript)
            return []
        late = self._late(transcript)
        return self._text_only(transcript) if late is None else late

    def _correct(self, transcript: Transcript) -> list[Event] | None:
        """Another text for speech that has one: it replaces it; None: it is for other speech."""
        for place, held in enumerate(self._held):
            if is_same_speech(held, transcript):
                self._held = (*self._held[:place], transcript, *self._held[place + 1 :])
                return [self._count("corrected_texts", transcript.arrival)]
        for answer in self._answers:
            if answer.transcript is not None and is_same_speech(answer.transcript, transcript):
                return self._replace_text(answer, transcript, "corrected_texts")
        return None

    def _late(self, transcript: Transcript) -> list[Event] | None:
        """A text that comes when its speech has gone out without: it is sent once more with it."""
        if self._is_robot_text(transcript):
            return None
        expected = expected_duration(transcript.text, self._config.seconds_per_character)
        best: tuple[float, _Answer] | None = None
        for answer in self._answers:
            if answer.transcript is None:
                cost = late_cost(answer.parts[0][0], transcript, expected)
                if cost is not None and (best is None or cost < best[0]):
                    best = (cost, answer)
        return None if best is None else self._replace_text(best[1], transcript, "late_texts")

    def _replace_text(self, answer: _Answer, transcript: Transcript, why: str) -> list[Event]:
        out: list[Event] = [self._count(why, transcript.arrival)]
        texts: dict[int, Transcript] = {}
        for share in split(transcript, [piece for piece, _ in answer.parts]):
            if share.transcript is not None:
                texts[share.pieces[0].start] = share.transcript
        parts = []
        for piece, said in answer.parts:
            new = texts.get(piece.start)
            changed = replace(
                said,
                text="" if new is None else new.text,
                locale=said.locale if new is None else new.locale or said.locale,
                text_confidence=float("nan") if new is None else new.confidence,
            )
            parts.append((piece, changed))
            if changed.text != said.text:
                out.append(TextCorrected(changed, said.text))
        corrected = _Answer(transcript, tuple(parts))
        self._answers = tuple(corrected if a is answer else a for a in self._answers)
        return out

    def _is_awaited(self, transcript: Transcript) -> bool:
        """May its sound still be on its way?"""
        if self._heard_until is None or self._is_foreign:
            return False
        if self._clock - self._heard_until > seconds(self._config.sound_timeout):
            return False
        known = self._heard_until - seconds(self._config.voice_activity.min_speech) - ONSET
        waited = self._clock - transcript.arrival
        return transcript.time > known and waited < seconds(self._config.speech_timeout)

    def _try_held(self) -> list[Event]:
        out: list[Event] = []
        held, self._held = self._held, ()
        for transcript in held:
            out += self._take(transcript)
        return out

    def _attach(self, transcript: Transcript) -> list[Event] | None:
        """Give the text to its speech; None if there is none (yet)."""
        self._skip_pause()
        pieces = [*self._pieces, *self._open_piece()]
        if not pieces or pieces[0].start >= transcript.time:
            return None
        is_ahead = transcript.end is not None and transcript.end > pieces[-1].end
        if is_ahead and pieces[-1].is_open and self._is_awaited(transcript):
            return None  # the sound of its last words is on its way
        expected = expected_duration(transcript.text, self._config.seconds_per_character)
        claim = align(pieces, transcript, expected, self._cuts(pieces))
        return None if claim is None else self._claim(claim, transcript)

    def _skip_pause(self) -> None:
        """What follows a claim begins where somebody speaks again."""
        if self._open is None or self._open != self._claimed_until or self._heard_until is None:
            return
        for time, probability in self._sound.probabilities(self._open, self._heard_until):
            if probability >= 0.5:
                self._open = self._claimed_until = max(self._open, time - FRAME_TIME)
                return

    def _open_piece(self) -> list[Piece]:
        if self._open is None or self._heard_until is None:
            return []
        padding = seconds(self._config.voice_activity.padding)
        end = min(self._heard_until, self._activity.last_voiced + padding)
        is_paused = self._heard_until - self._activity.last_voiced >= PAUSE
        piece = Piece(self._open, end, True, is_paused, utterance_id=self._open_id)
        return [piece] if end > self._open else []

    def _cuts(self, pieces: list[Piece]) -> list[Cut]:
        span = pieces[0].start, pieces[-1].end
        cuts = dips(self._sound.probabilities(*span)) + quiet(self._sound.levels(*span))
        last = pieces[-1]
        if last.is_open:
            turns = self._diarizer.turns(last.start, last.end)
            cuts += [Cut(turn.start, SPEAKER_CUT) for turn in turns[1:]]
        return cuts

    def _claim(self, claim: Claim, transcript: Transcript) -> list[Event]:
        """The claimed speech gets the text, each speaker their part of it."""
        self._said(claim.start, claim.end)
        self._claimed_until = max(self._claimed_until, claim.end)
        claimed = {piece.start for piece in claim.pieces}
        self._pieces = tuple(piece for piece in self._pieces if piece.start not in claimed)
        if claim.pieces[-1].is_open:
            self._open_id = ""  # it is that of the claim now
        out: list[Event] = []
        parts: list[tuple[Piece, Utterance]] = []
        shares = split(transcript, self._spoken(claim))
        if sum(share.transcript is not None for share in shares) > 1:
            self._counters["split_texts"] += 1
        for share in shares:
            ids = [piece.utterance_id for piece in share.pieces if piece.utterance_id]
            if len(ids) > 1:
                self._counters["merged_drafts"] += len(ids) - 1
            whole = Piece(
                share.pieces[0].start,
                share.pieces[-1].end,
                utterance_id=ids[0] if ids else "",
                attribution=majority(share.pieces),
            )
            if share.transcript is None:
                out += self._wait(whole, LEFT_OVER)
                continue
            whole = replace(whole, utterance_id=whole.utterance_id or self._next_id())
            self._counters["utterances"] += 1
            said = self._utterance(whole, share.transcript, is_final=True)
            parts.append((whole, said))
            out.append(UtteranceEvent(said))
        self._answers = (*self._answers, _Answer(transcript, tuple(parts)))[-ANSWERS:]
        for rest in rests(claim):
            if rest.is_open:
                self._open = rest.start
            else:
                out += self._wait(rest, LEFT_OVER if rest.end <= claim.start else 0)
        return out

    def _spoken(self, claim: Claim) -> list[Piece]:
        """What was claimed, cut at the changes of voice."""
        spoken: list[Piece] = []
        for piece in claim.pieces:
            begin, end = max(piece.start, claim.start), min(piece.end, claim.end)
            turns = [(begin, end, piece.attribution)]
            if piece.is_open:
                told = self._diarizer.attribute(begin, end)
                turns = [(turn.start, turn.end, turn.attribution) for turn in told]
            known = piece.utterance_id
            for first, last, found in turns:
                spoken.append(Piece(first, last, utterance_id=known, attribution=found))
                known = ""
        return spoken

    def _text_only(self, transcript: Transcript) -> list[Event]:
        if self._is_robot_text(transcript):
            return [self._count("robot_texts", transcript.arrival)]
        end = transcript.time
        start = end if transcript.start is None else transcript.start
        out = self._expire(start)
        piece = Piece(start, end)
        self._said(start, end)
        piece = replace(piece, utterance_id=self._next_id())
        self._counters["utterances"] += 1
        self._counters["texts_without_speech"] += 1
        return [*out, self._answered(piece, transcript)]

    def _is_robot_text(self, transcript: Transcript) -> bool:
        """Is this what the recogniser made of the robot's own words?"""
        start = transcript.time if transcript.start is None else transcript.start
        return self._is_robot(start, late=0 if transcript.start is not None else ROBOT_TEXT)

    # --- utterances ---

    def _count(self, name: str, stamp: int) -> Counted:
        self._counters[name] += 1
        return Counted(name, stamp)

    def _said(self, start: int, end: int) -> None:
        talk = self._conversation
        if talk is None:
            begin = start + (start == self._last_begin)  # a clock may come back to the same time
            self._conversation = assembly.Conversation(begin=begin, last=end)
            self._last_begin = begin
        else:
            self._conversation = replace(talk, last=max(talk.last, end))

    def _next_id(self) -> str:
        assert self._conversation is not None
        number = self._conversation.utterances + 1
        self._conversation = replace(self._conversation, utterances=number)
        return f"u{number}"

    def _expire(self, start: int) -> list[Event]:
        """End the conversation if what begins at `start` comes after too long a silence."""
        talk = self._conversation
        if talk is None or start - talk.last <= seconds(self._config.conversation_gap):
            return []
        return self._release() + self._end_conversation()

    def _end_conversation(self) -> list[Event]:
        talk = self._conversation
        self._begin_conversation()
        if talk is None:
            return []
        self._counters["conversations"] += 1
        return [ConversationEnded(talk.id, max(talk.last, self._clock))]

    def _release(self) -> list[Event]:
        """Everything that waits for text goes out without."""
        pieces, self._pieces = self._pieces, ()
        return [event for piece in pieces for event in self._without_text(piece)]

    def _without_text(self, piece: Piece) -> list[Event]:
        if not piece.utterance_id:  # what a claim has left over
            return [self._count("fragments", piece.end)]
        self._counters["utterances"] += 1
        self._counters["speech_without_text"] += 1
        return [self._answered(piece, None)]

    def _answered(self, piece: Piece, transcript: Transcript | None) -> Event:
        said = self._utterance(piece, transcript, is_final=True)
        self._answers = (*self._answers, _Answer(transcript, ((piece, said),)))[-ANSWERS:]
        return UtteranceEvent(said)

    def _utterance(self, piece: Piece, text: Transcript | None, is_final: bool) -> Utterance:
        assert self._conversation is not None
        voice_id = "" if text is None else text.voice_id
        self._labels, speaker, confidence = assembly.label(
            self._labels, piece.attribution, voice_id
        )
        first = max(piece.start, piece.end - seconds(self._config.max_audio))
        if not voice_id:
            self._told[piece.utterance_id] = _Told(
                piece.utterance_id, piece.start, piece.end, piece.attribution.speaker, speaker
            )
            if len(self._told) > REMEMBERED_UTTERANCES:
                del self._told[next(iter(self._told))]
        else:  # a voice id is right whatever was heard
            self._told.pop(piece.utterance_id, None)
        seen = self._seen(piece, text)
        if is_final and seen.evidence:
            self._counters[f"face_{seen.evidence}"] += 1
        person = seen.person_id if text is None else text.person_id or seen.person_id
        if is_final and not person:
            person = self._name(piece.attribution.speaker)
        return Utterance(
            conversation_id=self._conversation.id,
            utterance_id=piece.utterance_id,
            start=piece.start,
            end=piece.end,
            text="" if text is None else text.text,
            locale="" if text is None else text.locale,
            text_confidence=float("nan") if text is None else text.confidence,
            speaker_id=speaker,
            speaker_confidence=confidence,
            overlap=self._diarizer.overlap(piece.start, piece.end),
            voice_id=voice_id,
            face_id=seen.face_id,
            person_id=person,
            is_final=is_final,
            frame_id=self._config.frame_id,
            audio=self._sound.samples(first, piece.end),
            faces=seen.crops,
        )

    def _name(self, speaker: int | None) -> str:
        """Whose voice the speaker has, as the diarizer numbers them; "" nobody's who is known."""
        if speaker is None or not self._known:
            return ""
        names = recognise_each(self._diarizer.profiles(), self._known, self._alike)
        return names.get(speaker, "")

    def _seen(self, piece: Piece, text: Transcript | None) -> Seen:
        """Faces while it was said; a text without speech took a while to say, too."""
        start = piece.start
        if start == piece.end and text is not None:
            start -= expected_duration(text.text, self._config.seconds_per_character)
        return self._faces.choose(
            start,
            piece.end,
            self._config.max_faces,
            self._sound.probabilities(start - VOICE_BEFORE, piece.end),
            "" if text is None else text.voice_id,
            "" if text is None else text.person_id,
        )
