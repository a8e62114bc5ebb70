"""Who speaks when, as sound comes: diarization alone, without text, with a chosen latency.

Sound in; turns out, decided `latency` after they were heard, each time once and in order; and
corrections of what was decided, where later speech shows it was wrong. The listener does the same
with its own stretches; this is for those who want speakers only, and for measuring.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from erc_ros.dialogue import voice_activity
from erc_ros.dialogue.checks import check_range
from erc_ros.dialogue.diarization import (
    REMEMBERED,
    DiarizationConfig,
    Diarizer,
    Embedding,
    SpeakerCorrection,
    Turn,
    differences,
)
from erc_ros.dialogue.utterance import SAMPLE_RATE
from erc_ros.dialogue.voice_activity import (
    CUT_SEARCH,
    FRAME,
    FRAME_TIME,
    Activity,
    Began,
    Ended,
    SpeechProbability,
    VoiceActivityConfig,
)
from erc_ros.sensing.nanoseconds import NS, seconds

KEPT = CUT_SEARCH + seconds(1.0)  # of sound, so that a stretch has its beginning


@dataclass(frozen=True, slots=True)
class SpeakerStreamConfig:
    """How speakers are followed.

    Raises:
        ValueError: a value outside its range.
    """

    latency: float = 1.0
    """s; what was heard this long ago is decided. Less is decided worse, and corrected more."""
    step: float = 0.4
    """s; decisions are made this often."""
    voice_activity: VoiceActivityConfig = field(
        default_factory=lambda: VoiceActivityConfig(hangover=0.7, padding=0.15)
    )
    """Pauses inside a turn belong to it, as annotators see it; an utterance ends sooner."""
    diarization: DiarizationConfig = field(default_factory=DiarizationConfig)

    def __post_init__(self) -> None:
        check_range("latency", self.latency, 0.0, 30.0)
        check_range("step", self.step, 0.03, 5.0)


class SpeakerStream:
    """Sound of one microphone -> who speaks. Not thread-safe."""

    def __init__(self, config: SpeakerStreamConfig, embedding: Embedding | None) -> None:
        """embedding None: speech is found, speakers are not told apart."""
        self._config = config
        self._diarizer = Diarizer(config.diarization, embedding)
        self._probability = SpeechProbability()
        self._step = max(1, round(seconds(config.step) / FRAME_TIME))
        self.reset()

    def reset(self) -> None:
        """Forget everything: another conversation, from time 0 (ns)."""
        self._diarizer.reset()
        self._probability.reset()
        self._activity = Activity()
        self._frames = 0
        self._waiting = np.zeros(0, np.float32)  # samples of a frame that is not full
        self._kept = np.zeros(0, np.float32)  # the last samples that were listened to
        self._open: int | None = None  # start of the open stretch
        self._closed: list[Turn] = []  # of stretches that are over, not decided to their end
        self._told: list[Turn] = []  # what was decided, as corrected
        self._decided = 0  # ns; until here all is decided

    def feed(self, samples: NDArray[np.float32]) -> list[Turn | SpeakerCorrection]:
        """The next (n,) samples, float32 at 16 kHz -> what is known by them."""
        samples = np.concatenate([self._waiting, samples])
        out: list[Turn | SpeakerCorrection] = []
        first = 0
        while first + FRAME <= len(samples):
            out += self._listen(samples[first : first + FRAME])
            first += FRAME
        self._waiting = samples[first:].copy()
        return out

    def flush(self) -> list[Turn | SpeakerCorrection]:
        """The sound has ended: everything is decided."""
        self._activity, events = voice_activity.finish(self._activity, self._config.voice_activity)
        out = self._take(events)
        return out + self._decide(self._closed, self._frames * FRAME_TIME)

    def _listen(self, frame: NDArray[np.float32]) -> list[Turn | SpeakerCorrection]:
        time = self._frames * FRAME_TIME
        probability = self._probability.feed(frame)
        self._frames += 1
        self._kept = np.concatenate([self._kept, frame])[-KEPT * SAMPLE_RATE // NS :]
        if self._open is not None:
            self._diarizer.feed(frame)
        self._activity, events = voice_activity.step(
            self._activity, self._config.voice_activity, time, probability
        )
        out = self._take(events)
        if self._frames % self._step == 0:
            until = self._frames * FRAME_TIME - seconds(self._config.latency)
            out += self._decide([*self._closed, *self._open_turns()], until)
        return out

    def _take(self, events: list[Began | Ended]) -> list[Turn | SpeakerCorrection]:
        out: list[Turn | SpeakerCorrection] = []
        for event in events:
            if isinstance(event, Began):
                now = self._frames * FRAME_TIME
                self._open = max(0, event.start)
                heard = (now - self._open) * SAMPLE_RATE // NS
                self._diarizer.begin(self._open, self._kept[len(self._kept) - heard :])
                continue
            self._open = None
            turns = self._diarizer.turns(event.end, is_closed=True)
            self._closed += turns
            for correction in [*differences(self._told, turns), *self._diarizer.corrections()]:
                out += self._correct(correction)
        return out

    def _correct(self, correction: SpeakerCorrection) -> list[Turn | SpeakerCorrection]:
        """What is decided is told to be otherwise; what is not is only changed."""
        told = [
            replace(
                correction,
                start=max(turn.start, correction.start),
                end=min(turn.end, correction.end),
                old_speaker=turn.attribution.speaker,
            )
            for turn in self._told
            if turn.start < correction.end
            and correction.start < turn.end
            and turn.attribution.speaker != correction.new_speaker
        ]
        self._told = relabel(self._told, correction)
        self._closed = relabel(self._closed, correction)
        return [*told]

    def _open_turns(self) -> list[Turn]:
        """What seems to be said in the open stretch."""
        if self._open is None:
            return []
        padding = seconds(self._config.voice_activity.padding)
        end = min(self._frames * FRAME_TIME, self._activity.last_voiced + padding)
        return self._diarizer.turns(end, is_closed=False) if end > self._open else []

    def _decide(self, turns: list[Turn], until: int) -> list[Turn | SpeakerCorrection]:
        """Turns (in order) up to `until` (ns), as far as they are not decided yet."""
        out = [
            replace(turn, start=max(turn.start, self._decided), end=min(turn.end, until))
            for turn in turns
            if turn.start < until and turn.end > self._decided
        ]
        self._decided = max(self._decided, until)
        self._told = [*self._told, *out][-REMEMBERED:]
        self._closed = [turn for turn in self._closed if turn.end > self._decided]
        return [*out]


def relabel(turns: list[Turn], correction: SpeakerCorrection) -> list[Turn]:
    """The turns, where the correction holds with its speaker."""
    found: list[Turn] = []
    for turn in turns:
        start, end = max(turn.start, correction.start), min(turn.end, correction.end)
        if start >= end:
            found.append(turn)
            continue
        now = replace(turn.attribution, speaker=correction.new_speaker)
        parts = [
            replace(turn, end=start),
            Turn(start, end, now),
            replace(turn, start=end),
        ]
        found += [part for part in parts if part.start < part.end]
    return found
