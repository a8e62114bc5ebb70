"""State of the current speech region: its part without text, its draft, speaker updates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from erc_ros.dialogue import voice_activity
from erc_ros.dialogue.alignment import SpeechSegment
from erc_ros.dialogue.speakers.turns import SpeakerTurn
from erc_ros.dialogue.voice_activity import (
    FRAME_TIME,
    Activity,
    Began,
    Ended,
    VoiceActivityConfig,
)
from erc_ros.values.errors import ErcValueError
from erc_ros.values.nanoseconds import seconds
from erc_ros.values.settings import check, parameter, setting


@dataclass(frozen=True, slots=True)
class StretchConfig:
    """Drafts and speaker updates during a speech region, and minimum lengths of its parts.

    Raises:
        ValueError: a value is outside its range.
    """

    update_period: float = setting(
        1.0,
        "the speakers of open speech are updated this often",
        "s",
        (0.1, 10.0),
        source="benchmarks.diarization words",
    )
    pause: float = setting(
        0.1,
        "speakers are also updated at a pause of this length",
        "s",
        (0.0, 2.0),
        source="benchmarks.diarization words",
    )
    min_update: float = setting(
        0.25,
        "minimum speech before such an update, which then takes effect before the segment ends",
        "s",
        (0.0, 10.0),
    )
    draft_pause: float = setting(
        0.16,
        "a draft is published at a pause of this length, so that audio and faces are "
        "encoded before the text arrives; 0: only at the end",
        "s",
        (0.0, 3.0),
        source="benchmarks.latency",
    )
    min_fragment: float = setting(
        0.3,
        "a shorter remainder after a match becomes an utterance only with a text",
        "s",
        (0.0, 5.0),
        source="benchmarks.alignment",
    )
    min_left_over: float = setting(
        0.6,
        "likewise for a remainder before a match",
        "s",
        (0.0, 5.0),
        source="benchmarks.alignment",
    )

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class OpenSpeechConfig:
    """Settings of the current speech region.

    Raises:
        ValueError: a value is outside its range.
    """

    provisional_period: float = parameter(
        0.0,
        "during speech, a draft is published at this interval (at least 0.1); 0: only at "
        "pauses and at the end of speech",
        "s",
        (0.0, 10.0),
    )
    voice_activity: VoiceActivityConfig = field(default_factory=VoiceActivityConfig)
    stretch: StretchConfig = field(default_factory=StretchConfig)

    def __post_init__(self) -> None:
        check(self)
        if 0.0 < self.provisional_period < 0.1:
            raise ErcValueError(
                f"provisional_period is {self.provisional_period} s; must be 0 (off) or 0.1 to 10 s"
            )


@dataclass(frozen=True, slots=True)
class OpenSpeechState:
    """State. Times in ns.

    start: start of the part without text of the open speech region; None: no region is open.
    began: start of the region. matched_until: end of the part with text. updated: end of the audio
    of the last speaker update. utterance_id, drafted: id and time of its last draft.
    """

    activity: Activity = field(default_factory=Activity)
    start: int | None = None
    began: int = 0
    matched_until: int = 0
    updated: int = 0
    utterance_id: str = ""
    drafted: int = 0


@dataclass(frozen=True, slots=True)
class SpeechEnded:
    """A speech region ended at `end` (ns). segments: its parts, of one speaker each.

    withdrawn: id of a draft without a final utterance, or "".
    """

    end: int
    segments: tuple[SpeechSegment, ...] = ()
    withdrawn: str = ""


def open_segment(
    state: OpenSpeechState, config: OpenSpeechConfig, heard_until: int
) -> SpeechSegment | None:
    """Return the open segment up to `heard_until` (ns); None: no speech is open."""
    if state.start is None:
        return None
    last = state.activity.last_voiced
    end = min(heard_until, last + seconds(config.voice_activity.padding))
    if end <= state.start:
        return None
    is_paused = heard_until - last >= seconds(config.stretch.pause)
    return SpeechSegment(state.start, end, True, is_paused, utterance_id=state.utterance_id)


def without_pause(
    state: OpenSpeechState, probabilities: Sequence[tuple[int, float]]
) -> OpenSpeechState:
    """Move the start of the remainder after a match to the next speech.

    probabilities: (time, speech probability) since the match.
    """
    if state.start is None or state.start != state.matched_until:
        return state
    for time, probability in probabilities:
        if probability >= 0.5:
            start = max(state.start, time - FRAME_TIME)
            return replace(state, start=start, matched_until=start)
    return state


def is_update_due(state: OpenSpeechState, config: OpenSpeechConfig, heard_until: int) -> bool:
    """Return whether an update of the speakers is due."""
    if state.start is None:
        return False
    last, stretch = state.activity.last_voiced, config.stretch
    is_pause = heard_until - last >= seconds(stretch.pause)
    if is_pause and last - state.updated >= seconds(stretch.min_update):
        return True
    return heard_until - state.updated >= seconds(stretch.update_period)


def is_unheard(state: OpenSpeechState, config: OpenSpeechConfig, end: int) -> bool:
    """Return whether speech before the end of the region (ns) was in no speaker update."""
    return state.updated < end - seconds(config.voice_activity.padding)


def is_draft_due(state: OpenSpeechState, config: OpenSpeechConfig, heard_until: int) -> bool:
    """Return whether a draft of the open speech is due."""
    if state.start is None:
        return False
    period, pause = seconds(config.provisional_period), seconds(config.stretch.draft_pause)
    last = state.activity.last_voiced
    if pause and last > state.start and state.drafted < last + pause <= heard_until:
        return True
    return period > 0 and heard_until - max(state.start, state.drafted) >= period


def closed(
    state: OpenSpeechState, config: OpenSpeechConfig, end: int, turns: Sequence[SpeakerTurn]
) -> tuple[OpenSpeechState, SpeechEnded]:
    """End the speech region at `end` (ns) and split it by speaker.

    turns: speaker turns of the region; empty if it is not an utterance.
    """
    start, utterance_id = state.start, state.utterance_id
    state = replace(state, start=None, utterance_id="")
    if start is None:
        return state, SpeechEnded(end, (), utterance_id)
    segments: list[SpeechSegment] = []
    least = seconds(config.stretch.min_left_over)
    for turn in turns:
        begin = max(start, turn.start)
        # a text that ended close to a speaker change is assumed to end at it
        is_rest = turn.start < start and turn.end - start < least and turn is not turns[-1]
        if turn.end - begin >= FRAME_TIME and not is_rest:
            attribution = turn.attribution
            segments.append(
                SpeechSegment(start, turn.end, utterance_id=utterance_id, attribution=attribution)
            )
            start, utterance_id = turn.end, ""
    return state, SpeechEnded(end, tuple(segments), utterance_id)


class OpenSpeech:
    """The open speech region, if any."""

    def __init__(self, config: OpenSpeechConfig) -> None:
        self._config = config
        self.reset()

    def reset(self) -> None:
        """Delete the state."""
        self.state = OpenSpeechState()

    @property
    def is_active(self) -> bool:
        """Whether speech is detected, or may have begun."""
        return self.state.activity.start is not None

    def feed(self, time: int, probability: float) -> list[Began | Ended]:
        """Process the frame that starts at `time` (ns)."""
        activity, events = voice_activity.step(
            self.state.activity, self._config.voice_activity, time, probability
        )
        self.state = replace(self.state, activity=activity)
        return events

    def finish(self) -> list[Began | Ended]:
        """End the open speech."""
        activity, events = voice_activity.finish(self.state.activity, self._config.voice_activity)
        self.state = replace(self.state, activity=activity)
        return events

    def forget_activity(self) -> None:
        """Reset voice activity detection, because the audio is interrupted."""
        self.state = replace(self.state, activity=Activity())

    def begin(self, start: int) -> None:
        """Start a speech region at `start` (ns)."""
        self.state = replace(self.state, start=start, began=start)

    def updated(self, heard_until: int) -> None:
        """Record that a speaker update with the audio up to `heard_until` (ns) was started."""
        self.state = replace(self.state, updated=heard_until)

    def drafted(self, heard_until: int, utterance_id: str) -> None:
        """Record that a draft was published."""
        self.state = replace(self.state, drafted=heard_until, utterance_id=utterance_id)

    def matched(self, end: int, is_open: bool) -> None:
        """Record a match of speech up to `end` (ns). is_open: whether it includes open speech."""
        state = self.state
        start, utterance_id = (end, "") if is_open else (state.start, state.utterance_id)
        self.state = replace(
            state,
            start=start,
            utterance_id=utterance_id,
            matched_until=max(state.matched_until, end),
        )

    def skip_pause(self, probabilities: Sequence[tuple[int, float]]) -> None:
        """See `without_pause`."""
        self.state = without_pause(self.state, probabilities)

    def segment(self, heard_until: int) -> SpeechSegment | None:
        """Return the open segment; see `open_segment`."""
        return open_segment(self.state, self._config, heard_until)

    def close(self, end: int, turns: Sequence[SpeakerTurn]) -> SpeechEnded:
        """End the speech region; see `closed`."""
        self.state, ended = closed(self.state, self._config, end, turns)
        return ended
