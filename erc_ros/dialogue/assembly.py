"""What an utterance is made of besides its speech: ids, speaker labels, clean text. Values only."""

from __future__ import annotations

from dataclasses import dataclass, replace

from erc_ros.dialogue.speakers.turns import Attribution
from erc_ros.values.nanoseconds import seconds
from erc_ros.values.transcript import Transcript

REPEATED = seconds(0.25)  # the same text within this time is the same result, sent twice
REMEMBERED_TEXTS = 16
REMEMBERED_VOICES = 64  # ROS4HRI voice ids come and go


@dataclass(frozen=True, slots=True)
class Conversation:
    """begin: ns, when its first speech (or text) began. last: ns, when anything was last said."""

    begin: int
    last: int
    utterances: int = 0

    @property
    def id(self) -> str:
        return f"c{self.begin}"


@dataclass(frozen=True, slots=True)
class Labels:
    """Which speaker label (0, 1, ...) belongs to which diarized speaker and to which voice id."""

    count: int = 0
    speakers: tuple[tuple[int, int], ...] = ()  # (diarized index, label)
    voices: tuple[tuple[str, int], ...] = ()  # (voice id, label), the latest last


def label(labels: Labels, found: Attribution, voice_id: str) -> tuple[Labels, str, float]:
    """The speaker's label ("" unknown) and its confidence; a voice id overrides what was heard."""
    by_speaker = dict(labels.speakers)
    by_voice = dict(labels.voices)
    if not voice_id:
        if found.speaker is None:
            return labels, "", float("nan")
        if found.speaker not in by_speaker:
            labels = _bind(labels, labels.count, found.speaker, "")
        return labels, str(dict(labels.speakers)[found.speaker]), found.confidence
    if voice_id not in by_voice:
        heard = by_speaker.get(found.speaker) if found.speaker is not None else None
        if heard is None or heard in by_voice.values():
            new = found.speaker if found.speaker not in by_speaker else None
            labels = _bind(labels, labels.count, new, voice_id)
        else:
            labels = _bind(labels, heard, None, voice_id)
    return labels, str(dict(labels.voices)[voice_id]), 1.0


def label_of(labels: Labels, speaker: int | None) -> str:
    """The label that a diarized speaker has; "" unknown."""
    found = None if speaker is None else dict(labels.speakers).get(speaker)
    return "" if found is None else str(found)


def _bind(labels: Labels, number: int, speaker: int | None, voice_id: str) -> Labels:
    speakers = labels.speakers if speaker is None else (*labels.speakers, (speaker, number))
    voices = (*labels.voices, (voice_id, number)) if voice_id else labels.voices
    return Labels(max(labels.count, number + 1), speakers, voices[-REMEMBERED_VOICES:])


Heard = tuple[str, str, str, int]  # text, voice id, person id, time


def is_repeated(heard: tuple[Heard, ...], transcript: Transcript) -> bool:
    """Was this text heard just now, from the same voice and for the same time?"""
    return any(
        (text, voice, person) == (transcript.text, transcript.voice_id, transcript.person_id)
        and abs(time - transcript.time) <= REPEATED
        for text, voice, person, time in heard
    )


def remember(heard: tuple[Heard, ...], transcript: Transcript) -> tuple[Heard, ...]:
    one = (transcript.text, transcript.voice_id, transcript.person_id, transcript.time)
    return (*heard, one)[-REMEMBERED_TEXTS:]


def placed(transcript: Transcript, now: int, believed: int) -> Transcript:
    """With times that can be: no zero stamps, none after now or off by `believed` ns."""
    start, end, stamp = transcript.start, transcript.end, transcript.stamp
    words = transcript.words
    starts = [word.start for word in words]
    if starts != sorted(starts) or any(word.end < word.start for word in words):
        words = ()  # times that go back are none
    elif words and (start is None or end is None):
        start, end = words[0].start, max(word.end for word in words)
    if start is None or end is None or not 0 < start < end or abs(end - now) > believed:
        start = end = None
        words = ()
    if stamp is not None and (stamp <= 0 or abs(stamp - now) > believed):
        stamp = None
    arrival = transcript.arrival if abs(transcript.arrival - now) <= believed else now
    if stamp is not None:
        stamp = min(stamp, max(now, arrival))
    return replace(transcript, start=start, end=end, words=words, stamp=stamp, arrival=arrival)
