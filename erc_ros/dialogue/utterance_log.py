"""State of a conversation: ids, speaker labels, and published utterances for corrections."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from erc_ros.dialogue.alignment import (
    AlignmentConfig,
    SpeechSegment,
    expected_duration,
    is_same_speech,
    late_cost,
)
from erc_ros.dialogue.speakers.turns import Attribution, TurnCorrection
from erc_ros.dialogue.text_splitting import TextSplittingConfig, split
from erc_ros.values.events import ConversationEnded, SpeakerCorrected, TextCorrected
from erc_ros.values.nanoseconds import seconds
from erc_ros.values.settings import check, parameter, setting
from erc_ros.values.transcript import Transcript, text_confidence
from erc_ros.values.utterance import Utterance

MAX_VOICES = 64  # maximum number of ROS4HRI voice ids


@dataclass(frozen=True)
class UtteranceLogConfig:
    """Settings of the log of a conversation.

    Raises:
        ValueError: a value is outside its range.
    """

    conversation_gap: float = parameter(
        30.0,
        "silence that ends a conversation; the next one starts without history and speakers",
        "s",
        (1.0, 86_400.0),
    )
    max_speaker_corrections: int = setting(
        256, "utterances whose speaker can still be corrected", range=(1, 100_000)
    )
    max_text_corrections: int = setting(
        8, "final utterances that a later text can complete or correct", range=(0, 1_000)
    )

    def __post_init__(self) -> None:
        check(self)


# --- speaker labels ---


@dataclass(frozen=True, slots=True)
class Labels:
    """Assignment of speaker labels (0, 1, ...) to diarized speakers and to voice ids."""

    count: int = 0
    speakers: tuple[tuple[int, int], ...] = ()  # (diarized index, label)
    voices: tuple[tuple[str, int], ...] = ()  # (voice id, label), in order of use


def label(labels: Labels, attribution: Attribution, voice_id: str) -> tuple[Labels, str, float]:
    """Return the new state, the label ("" = unknown) and its confidence.

    A voice id takes precedence over the diarized speaker.
    """
    by_speaker = dict(labels.speakers)
    by_voice = dict(labels.voices)
    if not voice_id:
        if attribution.speaker is None:
            return labels, "", float("nan")
        if attribution.speaker not in by_speaker:
            labels = _bind(labels, labels.count, attribution.speaker, "")
        return labels, str(dict(labels.speakers)[attribution.speaker]), attribution.confidence
    if voice_id not in by_voice:
        bound_label = (
            by_speaker.get(attribution.speaker) if attribution.speaker is not None else None
        )
        if bound_label is None or bound_label in by_voice.values():
            new = attribution.speaker if attribution.speaker not in by_speaker else None
            labels = _bind(labels, labels.count, new, voice_id)
        else:
            labels = _bind(labels, bound_label, None, voice_id)
    return labels, str(dict(labels.voices)[voice_id]), 1.0


def label_of(labels: Labels, speaker: int | None) -> str:
    """Return the label of a diarized speaker; "" = unknown."""
    known_label = None if speaker is None else dict(labels.speakers).get(speaker)
    return "" if known_label is None else str(known_label)


def _bind(labels: Labels, number: int, speaker: int | None, voice_id: str) -> Labels:
    speakers = labels.speakers if speaker is None else (*labels.speakers, (speaker, number))
    voices = (*labels.voices, (voice_id, number)) if voice_id else labels.voices
    return Labels(max(labels.count, number + 1), speakers, voices[-MAX_VOICES:])


# --- the conversation ---


@dataclass(frozen=True, slots=True)
class OpenConversation:
    """begin: ns, start of its first speech or text. last: ns, end of its last speech or text."""

    begin: int
    last: int
    utterances: int = 0

    @property
    def id(self) -> str:
        return f"c{self.begin}"


@dataclass(frozen=True, slots=True, eq=False)
class FinalText:
    """A text (None: no text in time) and its final utterances."""

    transcript: Transcript | None
    parts: tuple[tuple[SpeechSegment, Utterance], ...]


@dataclass(frozen=True, slots=True)
class Published:
    """The published speaker of an utterance from `start` to `end` (ns), from diarization."""

    utterance_id: str
    start: int
    end: int
    speaker_id: str


@dataclass(frozen=True, slots=True, eq=False)
class LogState:
    """State.

    last_start: ns, start of the last conversation. rewinds: how often the clock went back to the
    start of an earlier conversation, as in a recording played in a loop; it makes the ids of
    conversations unique.
    """

    conversation: OpenConversation | None = None
    labels: Labels = Labels()
    finals: tuple[FinalText, ...] = ()
    published: tuple[Published, ...] = ()  # in order of publication
    last_start: int | None = None
    rewinds: int = 0


def spoken(state: LogState, start: int, end: int) -> LogState:
    """Record speech from `start` to `end` (ns), which begins or continues the conversation."""
    talk = state.conversation
    if talk is not None:
        return replace(state, conversation=replace(talk, last=max(talk.last, end)))
    is_again = state.last_start is not None and start <= state.last_start
    rewinds = state.rewinds + is_again
    conversation = OpenConversation(start + rewinds, end)  # a shift by a few ns is negligible
    return replace(state, conversation=conversation, last_start=start, rewinds=rewinds)


def attributed(
    state: LogState, config: UtteranceLogConfig, segment: SpeechSegment, voice_id: str
) -> tuple[LogState, str, float]:
    """Return the new state with a record for corrections, and the label and its confidence."""
    labels, speaker, confidence = label(state.labels, segment.attribution, voice_id)
    published = {p.utterance_id: p for p in state.published}
    if voice_id:  # takes precedence over diarization: no corrections
        published.pop(segment.utterance_id, None)
    else:
        one = Published(segment.utterance_id, segment.start, segment.end, speaker)
        published[segment.utterance_id] = one
    kept = tuple(published.values())[-config.max_speaker_corrections :]
    return replace(state, labels=labels, published=kept), speaker, confidence


def corrected(
    state: LogState, correction: TurnCorrection, rename: Callable[[Utterance, str], Utterance]
) -> tuple[LogState, SpeakerCorrected | None]:
    """Apply a speaker correction to the published utterances.

    rename: returns a final utterance with its new label.
    """
    before, labels, after = label_of(state.labels, correction.old_speaker), state.labels, ""
    if correction.new_speaker is not None:
        labels, after, _ = label(labels, Attribution(correction.new_speaker, 1.0), "")
    state = replace(state, labels=labels)
    affected = tuple(
        p.utterance_id
        for p in state.published
        if p.speaker_id == before != after and correction.covers(p.start, p.end)
    )
    if state.conversation is None or not affected:
        return state, None
    published = tuple(
        replace(p, speaker_id=after) if p.utterance_id in affected else p for p in state.published
    )
    finals = tuple(
        replace(
            final,
            parts=tuple(
                (segment, rename(u, after) if u.utterance_id in affected else u)
                for segment, u in final.parts
            ),
        )
        for final in state.finals
    )
    state = replace(state, published=published, finals=finals)
    talk = state.conversation
    assert talk is not None
    start, end = correction.start, correction.end
    return state, SpeakerCorrected(talk.id, affected, start, end, before, after)


def with_text(
    state: LogState,
    config: UtteranceLogConfig,
    final: FinalText,
    transcript: Transcript,
    splitting: TextSplittingConfig,
) -> tuple[LogState, list[TextCorrected]]:
    """Replace the text of final utterances, or the missing one, and its speaker if it has one."""
    texts: dict[int, Transcript] = {}
    for share in split(transcript, [segment for segment, _ in final.parts], splitting):
        if share.transcript is not None:
            texts[share.segments[0].start] = share.transcript
    events, parts = [], []
    for segment, utterance in final.parts:
        new = texts.get(segment.start)
        changed = replace(
            utterance,
            text="" if new is None else new.text,
            locale=utterance.locale if new is None else new.locale or utterance.locale,
            text_confidence=text_confidence(new),
        )
        if new is not None and new.voice_id:
            state, speaker, confidence = attributed(state, config, segment, new.voice_id)
            changed = replace(
                changed,
                speaker_id=speaker,
                speaker_confidence=confidence,
                voice_id=new.voice_id,
                person_id=new.person_id or changed.person_id,
            )
        parts.append((segment, changed))
        if changed.text != utterance.text:
            events.append(TextCorrected(changed, utterance.text))
    now = FinalText(transcript, tuple(parts))
    return replace(state, finals=tuple(now if f is final else f for f in state.finals)), events


def _start(final: FinalText) -> int:
    return final.parts[0][0].start


class UtteranceLog:
    """Log of the current conversation."""

    def __init__(self, config: UtteranceLogConfig) -> None:
        self._config = config
        self._state = LogState()

    @property
    def conversation(self) -> OpenConversation | None:
        """The current conversation; None before its first speech."""
        return self._state.conversation

    def spoke(self, start: int, end: int) -> None:
        """See `spoken`."""
        self._state = spoken(self._state, start, end)

    def next_id(self) -> str:
        """Return the id of a new utterance of the current conversation."""
        talk = self._state.conversation
        assert talk is not None
        talk = replace(talk, utterances=talk.utterances + 1)
        self._state = replace(self._state, conversation=talk)
        return f"u{talk.utterances}"

    @property
    def last_speaker(self) -> str:
        """Return the speaker of the last published utterance; "": unknown."""
        return next((p.speaker_id for p in reversed(self._state.published) if p.speaker_id), "")

    def label_of(self, speaker: int) -> str:
        """See `label_of`."""
        return label_of(self._state.labels, speaker)

    def heard_as(self, speaker_id: str) -> list[int]:
        """Return the diarized speakers with this label."""
        return [one for one, number in self._state.labels.speakers if str(number) == speaker_id]

    def attribute(self, segment: SpeechSegment, voice_id: str) -> tuple[str, float]:
        """See `attributed`."""
        self._state, speaker, confidence = attributed(self._state, self._config, segment, voice_id)
        return speaker, confidence

    def remember(
        self, transcript: Transcript | None, parts: tuple[tuple[SpeechSegment, Utterance], ...]
    ) -> None:
        """Record published final utterances, which a later text may correct."""
        finals = (*self._state.finals, FinalText(transcript, parts))
        kept = finals[len(finals) - min(len(finals), self._config.max_text_corrections) :]
        self._state = replace(self._state, finals=kept)

    def correct_speaker(
        self, correction: TurnCorrection, rename: Callable[[Utterance, str], Utterance]
    ) -> SpeakerCorrected | None:
        """See `corrected`."""
        self._state, event = corrected(self._state, correction, rename)
        return event

    def same_speech(self, transcript: Transcript, config: AlignmentConfig) -> list[FinalText]:
        """Return the final texts of the same speech, which this one replaces, in order of time."""
        return sorted(
            (
                final
                for final in self._state.finals
                if final.transcript is not None
                and is_same_speech(final.transcript, transcript, config)
            ),
            key=_start,
        )

    def without_text(
        self, transcript: Transcript, per_character: float, config: AlignmentConfig
    ) -> list[FinalText]:
        """Return the speech published without a text that this text matches, in order of time.

        A text without times is of one utterance; of one with times, several can be parts.
        """
        expected = expected_duration(transcript.text, per_character)
        costs = [
            (cost, final)
            for final in self._state.finals
            if final.transcript is None
            and (cost := late_cost(final.parts[0][0], transcript, expected, config)) is not None
        ]
        if transcript.start is None or transcript.end is None:
            costs = sorted(costs, key=lambda each: each[0])[:1]
        return sorted((final for _, final in costs), key=_start)

    def replace_text(
        self, final: FinalText, transcript: Transcript, config: TextSplittingConfig
    ) -> list[TextCorrected]:
        """See `with_text`."""
        self._state, events = with_text(self._state, self._config, final, transcript, config)
        return events

    def is_over(self, start: int) -> bool:
        """Return whether speech that begins at `start` (ns) begins a new conversation."""
        talk = self._state.conversation
        return talk is not None and start - talk.last > seconds(self._config.conversation_gap)

    def end(self, now: int) -> ConversationEnded | None:
        """End the conversation."""
        talk = self._state.conversation
        self._state = LogState(last_start=self._state.last_start, rewinds=self._state.rewinds)
        return None if talk is None else ConversationEnded(talk.id, max(talk.last, now))
