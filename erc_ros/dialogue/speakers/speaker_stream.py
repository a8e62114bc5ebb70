"""Who speaks when, as sound comes: diarization alone, without text, with a chosen latency.

Sound in; turns out, decided `latency` after they were heard, each time once; turns of two voices
may lie over each other. And corrections of what was decided, where later speech shows it was wrong.
The assembler does the same with its own stretches; this is for those who want speakers only, and
for measuring.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from erc_ros.dialogue.speakers.diarization import DiarizationConfig
from erc_ros.dialogue.speakers.diarizer import Diarizer
from erc_ros.dialogue.speakers.networks import DiarizationNetworks
from erc_ros.dialogue.speakers.turns import SpeakerTurn, TurnCorrection, relabel
from erc_ros.dialogue.voice_activity import FRAME, FRAME_TIME, VoiceActivity
from erc_ros.values.nanoseconds import seconds
from erc_ros.values.settings import check, setting


@dataclass(frozen=True, slots=True)
class SpeakerStreamConfig:
    """How speakers are followed.

    Raises:
        ValueError: a value outside its range.
    """

    latency: float = setting(
        1.0,
        "what was heard this long ago is decided, a step later at the latest; less: worse",
        "s",
        (0.0, 15.0),
        source="benchmarks.diarization recorded",
    )
    step: float = setting(
        1.0,
        "decisions are made this often; what costs time is done once in a step",
        "s",
        (0.03, 5.0),
        source="benchmarks.diarization recorded",
    )
    min_probability: float = setting(
        0.15, "probability of speech from which an update is worth its time", range=(0.0, 1.0)
    )
    wake: float = setting(1.0, "updates go on this long after speech", "s", (0.0, 60.0))
    diarization: DiarizationConfig = field(default_factory=DiarizationConfig)

    def __post_init__(self) -> None:
        check(self)


class SpeakerStream:
    """Sound of one microphone -> who speaks. Not thread-safe."""

    def __init__(
        self,
        config: SpeakerStreamConfig,
        voice_activity: VoiceActivity,
        networks: DiarizationNetworks,
    ) -> None:
        self._config = config
        self._diarizer = Diarizer(config.diarization, networks)
        self._probability = voice_activity
        self._step = max(1, round(seconds(config.step) / FRAME_TIME))
        self._counters: Counter[str] = Counter()
        self.reset()

    def reset(self) -> None:
        """Forget everything but the counters: another conversation, from time 0 (ns)."""
        self._diarizer.reset()
        self._probability.reset()
        self._frames = 0
        self._waiting = np.zeros(0, np.float32)  # samples of a frame that is not full
        self._voiced = -seconds(self._config.wake) - 1  # ns, when speech was last heard
        self._told: list[SpeakerTurn] = []  # what was decided, as corrected
        self._decided = 0  # ns; until here all is decided

    def counters(self) -> Mapping[str, int]:
        """How often what happened since the start: turns, overlaps, corrections, updates."""
        return dict(self._counters)

    def feed(self, samples: NDArray[np.float32]) -> list[SpeakerTurn | TurnCorrection]:
        """The next (n,) samples, float32 at 16 kHz -> what is known by them."""
        samples = np.concatenate([self._waiting, samples])
        out: list[SpeakerTurn | TurnCorrection] = []
        first = 0
        while first + FRAME <= len(samples):
            out += self._listen(samples[first : first + FRAME])
            first += FRAME
        self._waiting = samples[first:].copy()
        return out

    def flush(self) -> list[SpeakerTurn | TurnCorrection]:
        """The sound has ended: everything is decided."""
        return self._decide(self._frames * FRAME_TIME)

    def _listen(self, frame: NDArray[np.float32]) -> list[SpeakerTurn | TurnCorrection]:
        time = self._frames * FRAME_TIME
        if self._probability.feed(frame) >= self._config.min_probability:
            self._voiced = time
        self._diarizer.feed(time, frame)
        self._frames += 1
        if self._frames % self._step:
            return []
        return self._decide(self._frames * FRAME_TIME - seconds(self._config.latency))

    def _decide(self, until: int) -> list[SpeakerTurn | TurnCorrection]:
        """Turns up to `until` (ns), as far as they are not decided yet, and corrections."""
        out: list[SpeakerTurn | TurnCorrection] = []
        if self._frames * FRAME_TIME - self._voiced <= seconds(self._config.wake):
            self._diarizer.update()
            self._counters["updates"] += 1
            out += self._corrected()
        if until > self._decided:
            new = self._diarizer.speakers_between(self._decided, until)
            self._decided = until
            self._told = [*self._told, *new][-self._config.diarization.max_corrected :]
            self._counters["turns"] += len(new)
            self._counters["overlaps"] += sum(turn.overlapped > 0 for turn in new)
            out += new
        return out

    def _corrected(self) -> list[TurnCorrection]:
        """Where what was told is understood otherwise now."""
        found: list[TurnCorrection] = []
        for turn in self._told:
            found += self._doubts(turn)
        for correction in found:
            self._told = relabel(self._told, correction)
        self._counters["corrections"] += len(found)
        return found

    def _doubts(self, turn: SpeakerTurn) -> list[TurnCorrection]:
        speaker = turn.attribution.speaker
        if turn.start < self._diarizer.reattributed_from:
            merged = self._diarizer.merged
            if speaker is None or speaker not in merged:
                return []
            return [TurnCorrection(turn.start, turn.end, speaker, merged[speaker])]
        now = self._diarizer.speakers_between(turn.start, turn.end)
        told = [t for t in self._told if t.start < turn.end and turn.start < t.end]
        found: list[TurnCorrection] = []
        for start, end in _gaps(turn, [t for t in now if t.attribution.speaker == speaker]):
            others = [t for t in now if t.start < end and start < t.end]
            known = {t.attribution.speaker for t in told if t.start < end and start < t.end}
            for other in others:
                if other.attribution.speaker not in known:
                    first, last = max(start, other.start), min(end, other.end)
                    found.append(TurnCorrection(first, last, speaker, other.attribution.speaker))
                    break
        return found


def _gaps(turn: SpeakerTurn, still: list[SpeakerTurn]) -> list[tuple[int, int]]:
    """(start, end) in ns of the parts of a turn that are in none of `still`, in order."""
    found: list[tuple[int, int]] = []
    until = turn.start
    for other in [*still, replace(turn, start=turn.end)]:
        if other.start > until:
            found.append((until, other.start))
        until = max(until, other.end)
    return found
