"""Pending speech segments that wait for text, and texts that wait for audio."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from erc_ros.dialogue.alignment import (
    AlignmentConfig,
    Cut,
    SpeechSegment,
    TextMatch,
    align,
    expected_duration,
    is_same_speech,
)
from erc_ros.dialogue.non_speech import is_invented
from erc_ros.dialogue.speakers.turns import TurnCorrection
from erc_ros.dialogue.text_splitting import TextSplittingConfig, text_within
from erc_ros.values.nanoseconds import seconds
from erc_ros.values.settings import check, parameter, setting
from erc_ros.values.transcript import Transcript

MAX_HELD = 16  # maximum number of texts that wait for audio
MAX_RECENT = 16  # number of texts in which repetitions are detected
NO_SPEECH = 0.6  # minimum probability of silence, Whisper's default


@dataclass(frozen=True, slots=True)
class WaitingConfig:
    """Internal timeouts of text matching.

    Raises:
        ValueError: a value is outside its range.
    """

    max_unanswered: int = setting(
        3,
        "segments in a row without text after which segments do not wait for text",
        range=(1, 1_000),
    )
    patience: float = setting(
        3.0, "maximum wait after partial texts, in units of `text_timeout`", range=(1.0, 100.0)
    )
    repeated: float = setting(
        0.25, "the same text within this time is a duplicate and is dropped", "s", (0.0, 10.0)
    )
    max_offset: float = setting(
        10.0,
        "times of a speech recognizer that differ from the present time by more are ignored",
        "s",
        (1.0, 600.0),
    )
    onset: float = setting(
        0.1, "delay after `min_speech` within which speech may still be detected", "s", (0.0, 2.0)
    )

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class TextMatchingConfig:
    """Settings of text matching.

    Raises:
        ValueError: a value is outside its range.
    """

    expect_text: str = parameter(
        "auto",
        "whether speech waits for its text; auto: until three segments in a row had none",
        choices=("auto", "always", "never"),
    )
    text_timeout: float = parameter(
        1.5,
        "speech whose text has not arrived this long after its end is published without text",
        "s",
        (0.0, 30.0),
        source="benchmarks.alignment",
    )
    speech_timeout: float = setting(
        0.5, "a final text waits this long for audio that has not arrived yet", "s", (0.0, 10.0)
    )
    seconds_per_character: float = setting(
        0.065,
        "expected duration of a text, if the speech recognizer gives no times",
        "s",
        (0.005, 1.0),
        source="benchmarks.alignment",
    )
    max_text: int = setting(4000, "a longer text is cut", "characters", (1, 100_000))
    waiting: WaitingConfig = field(default_factory=WaitingConfig)
    alignment: AlignmentConfig = field(default_factory=AlignmentConfig)
    text_splitting: TextSplittingConfig = field(default_factory=TextSplittingConfig)

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True)
class RecentText:
    """A received text. time: latest end of its speech in ns."""

    text: str
    voice_id: str
    person_id: str
    time: int


@dataclass(frozen=True, slots=True)
class TextMatching:
    """State.

    segments: pending speech, sorted by time. held: texts that wait for audio. partial: the latest
    partial text without a final one. is_answered: whether text is expected. unanswered: number of
    segments in a row without text. recent: the last texts.
    """

    segments: tuple[SpeechSegment, ...] = ()
    held: tuple[Transcript, ...] = ()
    partial: Transcript | None = None
    is_answered: bool = True
    unanswered: int = 0
    recent: tuple[RecentText, ...] = ()


# --- texts ---


def placed(transcript: Transcript, now: int, max_offset: int) -> Transcript:
    """Remove invalid times of a text: zero, in the future, or off by more than `max_offset` ns."""
    start, end, stamp = transcript.start, transcript.end, transcript.stamp
    words = transcript.words
    starts = [word.start for word in words]
    if starts != sorted(starts) or any(word.end < word.start for word in words):
        words = ()  # word times that decrease are invalid
    elif words and (start is None or end is None):
        start, end = words[0].start, max(word.end for word in words)
    if start is None or end is None or not 0 < start < end or abs(end - now) > max_offset:
        start = end = None
        words = ()
    if stamp is not None and (stamp <= 0 or abs(stamp - now) > max_offset):
        stamp = None
    arrival = transcript.arrival if abs(transcript.arrival - now) <= max_offset else now
    if stamp is not None:
        stamp = min(stamp, max(now, arrival))
    return replace(transcript, start=start, end=end, words=words, stamp=stamp, arrival=arrival)


def is_repeated(recent: Sequence[RecentText], transcript: Transcript, within: int) -> bool:
    """Return whether the same text of the same voice has a time that differs by <= `within` ns."""
    same = transcript.text, transcript.voice_id, transcript.person_id
    return any(
        (r.text, r.voice_id, r.person_id) == same and abs(r.time - transcript.time) <= within
        for r in recent
    )


def admitted(
    state: TextMatching, config: TextMatchingConfig, transcript: Transcript, now: int
) -> tuple[TextMatching, Transcript | None, list[str]]:
    """Check a final text.

    Returns:
        The new state; the text with valid times, or None if it is dropped; counters to increase.
    """
    text = transcript.text.strip()
    if not text:
        return state, None, ["empty_texts"]
    if (transcript.no_speech or 0.0) >= NO_SPEECH and is_invented(text):
        return state, None, ["invented_texts"]
    counts = []
    if len(text) > config.max_text:
        counts.append("long_texts")
        text = text[: config.max_text]
    offset = seconds(config.waiting.max_offset)
    transcript = placed(replace(transcript, text=text), now, offset)
    if is_repeated(state.recent, transcript, seconds(config.waiting.repeated)):
        return state, None, [*counts, "repeated_texts"]
    one = RecentText(text, transcript.voice_id, transcript.person_id, transcript.time)
    partial = state.partial
    if partial is not None and partial.voice_id == transcript.voice_id:
        partial = None
    state = replace(
        state,
        recent=(*state.recent, one)[-MAX_RECENT:],
        unanswered=0,
        is_answered=config.expect_text != "never",
        partial=partial,
    )
    return state, transcript, counts


def hinted(
    state: TextMatching, config: TextMatchingConfig, partial: Transcript, now: int
) -> TextMatching:
    """Extend the deadlines of pending speech after a partial text, up to a maximum."""
    if not partial.text.strip() or config.expect_text == "never":
        return state
    timeout = seconds(config.text_timeout)
    longest = round(config.waiting.patience * timeout)
    segments = tuple(
        replace(p, deadline=max(p.deadline, min(now + timeout, p.end + longest)))
        for p in state.segments
    )
    partial = replace(partial, text=partial.text.strip()[: config.max_text])
    return replace(state, segments=segments, partial=partial, unanswered=0, is_answered=True)


# --- pending speech ---


def due(
    state: TextMatching, config: TextMatchingConfig, now: int
) -> tuple[TextMatching, tuple[SpeechSegment, ...]]:
    """Return the new state and the segments whose deadline has passed at `now` (ns)."""
    if not state.segments and state.unanswered < config.waiting.max_unanswered:
        return state, ()
    count = 0
    while count < len(state.segments) and state.segments[count].deadline <= now:
        count += 1
    due_segments, kept = state.segments[:count], state.segments[count:]
    unanswered = state.unanswered + sum(bool(segment.utterance_id) for segment in due_segments)
    state = replace(state, segments=kept, unanswered=unanswered)
    if unanswered >= config.waiting.max_unanswered and config.expect_text == "auto":
        return replace(state, segments=(), is_answered=False), (*due_segments, *kept)
    return state, due_segments


def reattributed(state: TextMatching, correction: TurnCorrection) -> TextMatching:
    """Return the state with the corrected speaker of pending speech."""
    segments = tuple(
        replace(segment, attribution=replace(segment.attribution, speaker=correction.new_speaker))
        if segment.attribution.speaker == correction.old_speaker
        and correction.covers(segment.start, segment.end)
        else segment
        for segment in state.segments
    )
    return replace(state, segments=segments)


class TextMatcher:
    """Matches texts with pending speech."""

    def __init__(self, config: TextMatchingConfig) -> None:
        self._config = config
        self._state = TextMatching(is_answered=config.expect_text != "never")

    def reset(self) -> None:
        """Delete pending segments and texts, but not whether text is expected."""
        self._state = TextMatching(is_answered=self._state.is_answered)

    @property
    def is_answered(self) -> bool:
        """Whether text is expected."""
        return self._state.is_answered

    @property
    def is_waiting(self) -> bool:
        """Whether a segment or text is pending."""
        return bool(self._state.segments or self._state.held)

    def admit(self, transcript: Transcript, now: int) -> tuple[Transcript | None, list[str]]:
        """Check a final text; see `admitted`."""
        self._state, admitted_text, counts = admitted(self._state, self._config, transcript, now)
        return admitted_text, counts

    def hint(self, partial: Transcript, now: int) -> None:
        """Process a partial text; see `hinted`."""
        self._state = hinted(self._state, self._config, partial, now)

    def wait(self, segment: SpeechSegment, since: int) -> None:
        """Add a complete segment, whose timeout begins at `since` (ns)."""
        segment = replace(segment, deadline=since + seconds(self._config.text_timeout))
        segments = sorted((*self._state.segments, segment), key=lambda p: p.start)
        self._state = replace(self._state, segments=tuple(segments))

    def due(self, now: int) -> tuple[SpeechSegment, ...]:
        """Remove and return the segments whose deadline has passed; see `due`."""
        self._state, due_segments = due(self._state, self._config, now)
        return due_segments

    def release(self) -> tuple[SpeechSegment, ...]:
        """Remove and return all pending segments."""
        segments = self._state.segments
        self._state = replace(self._state, segments=())
        return segments

    def cut_at(self, stamp: int, tolerance: int) -> int:
        """Remove pending speech after `stamp` (ns), which was the robot's.

        Returns:
            The number of removed segments.
        """
        segments = self._state.segments
        kept = [p for p in segments if p.start < stamp - tolerance]
        cut = tuple(replace(p, end=min(p.end, stamp)) for p in kept)
        self._state = replace(self._state, segments=cut)
        return len(segments) - len(kept)

    def reattribute(self, correction: TurnCorrection) -> None:
        """See `reattributed`."""
        self._state = reattributed(self._state, correction)

    def candidates(self, open_segment: Sequence[SpeechSegment]) -> list[SpeechSegment]:
        """Return the segments that a text can match, sorted by time."""
        return [*self._state.segments, *open_segment]

    def match(
        self, transcript: Transcript, segments: Sequence[SpeechSegment], cuts: Sequence[Cut]
    ) -> TextMatch | None:
        """Match a text with speech, and remove the matched segments."""
        expected = expected_duration(transcript.text, self._config.seconds_per_character)
        match = align(segments, transcript, expected, cuts, self._config.alignment)
        if match is not None:
            matched = {segment.start for segment in match.segments}
            kept = tuple(
                segment for segment in self._state.segments if segment.start not in matched
            )
            self._state = replace(self._state, segments=kept)
        return match

    def hold(self, transcript: Transcript) -> bool:
        """Hold a text until its audio arrives; return False if too many texts wait."""
        if len(self._state.held) >= MAX_HELD:
            return False
        self._state = replace(self._state, held=(*self._state.held, transcript))
        return True

    def held(self) -> tuple[Transcript, ...]:
        """Remove and return the held texts, to be matched again."""
        held = self._state.held
        if held:
            self._state = replace(self._state, held=())
        return held

    def correct(self, transcript: Transcript) -> bool:
        """Replace a held text of the same speech; return whether there was one."""
        held = list(self._state.held)
        for place, waiting in enumerate(held):
            if is_same_speech(waiting, transcript, self._config.alignment):
                held[place] = transcript
                self._state = replace(self._state, held=tuple(held))
                return True
        return False

    def partial_of(
        self, segment: SpeechSegment, open_segment: Sequence[SpeechSegment]
    ) -> Transcript | None:
        """Return the part of the partial text in a pending segment; None without one."""
        partial = self._state.partial
        if partial is None:
            return None
        before = [p for p in self.candidates(open_segment) if p.start < segment.start]
        text = text_within(partial, [*before, segment])
        return replace(partial, text=text) if text else None
