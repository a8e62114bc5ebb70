"""Streaming speaker diarization of the audio of one microphone.

`feed` appends audio. `begin_update` starts an update (see `diarization`) with this audio on another
thread; its result takes effect at a fixed later position of the audio (see `deferred_updates`). The
other methods return results of the last update in effect, without waiting.

Later audio may change the speakers of earlier audio; see `corrections`.
"""

from __future__ import annotations

import math
from concurrent.futures import Executor
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from erc_ros.dialogue.deferred_updates import DeferredUpdates
from erc_ros.dialogue.speakers.clustering import VoiceProfile, speaker_profiles
from erc_ros.dialogue.speakers.diarization import (
    Diarization,
    DiarizationConfig,
    RecordedAudio,
    Updater,
)
from erc_ros.dialogue.speakers.networks import DiarizationNetworks
from erc_ros.dialogue.speakers.turns import (
    UNCLEAR,
    SpeakerTurn,
    TurnCorrection,
    differences,
    joined,
    overlapped,
    partition,
    shared,
    without_short,
)
from erc_ros.sensing.background import background_executor
from erc_ros.values.nanoseconds import NS, seconds
from erc_ros.values.utterance import SAMPLE_RATE

JOINED_AT_ONCE = 32  # chunks of audio that are concatenated at once
GAP = seconds(0.1)  # minimum pause between chunks that is treated as a gap


class Diarizer:
    """Determines the speakers of a conversation in the audio of one microphone.

    Not thread-safe; the networks are used by the worker thread only.

    Args:
        networks: networks for speaker diarization; None: all speakers are unclear.
        executor: runs updates, one at a time; None: a thread of its own.
    """

    def __init__(
        self,
        config: DiarizationConfig,
        networks: DiarizationNetworks | None,
        executor: Executor | None = None,
    ) -> None:
        self._config = config
        self._updater = None if networks is None else Updater(config, networks)
        self._own = background_executor("diarizer") if executor is None else None
        executor = executor or self._own
        assert executor is not None
        self._work = DeferredUpdates(executor, seconds(config.delay), Diarization())
        self.reset()

    def close(self) -> None:
        """End the worker thread, unless the executor was passed in."""
        if self._own is not None:
            self._own.shutdown(wait=True, cancel_futures=True)

    def reset(self) -> None:
        """Delete audio and speakers, for a new conversation."""
        self._work.reset(Diarization())
        self._state = Diarization()  # last update in effect
        self._samples = np.zeros(0, np.float32)  # audio for the next update
        self._new: list[NDArray[np.float32]] = []  # chunks after it
        self._end = 0  # samples so far, with gaps as silence
        self._origin = 0  # ns, time of sample 0
        self._seen = 0  # samples at the start of the last update
        self._history: tuple[SpeakerTurn, ...] = ()  # attributed turns with corrections
        self._corrections: list[TurnCorrection] = []

    # --- audio ---

    def feed(self, time: int, samples: NDArray[np.float32]) -> None:
        """Append samples, including pauses: (n,) float32 at 16 kHz from `time` (ns) on.

        Missing audio counts as silence. Call `reset` before a time that goes back.
        """
        if self._updater is None:
            return
        due = self._origin + self._end * NS // SAMPLE_RATE
        if not self._end:
            self._origin = time
        elif time - due > GAP:
            missing = (time - due) * SAMPLE_RATE // NS
            self._end += missing
            silence = np.zeros(min(missing, self._updater.sizes.longest), np.float32)
            self._new.append(silence)
        else:
            self._origin += time - due  # clock drift
        self._new.append(samples)
        self._end += len(samples)
        if len(self._new) >= JOINED_AT_ONCE:
            self._join(self._updater)

    def _join(self, updater: Updater) -> None:
        """Concatenate the new chunks, and delete audio that is too old for an update."""
        longest = updater.sizes.longest + updater.sizes.hop
        self._samples = np.concatenate([self._samples, *self._new])[-longest:]
        self._new.clear()

    # --- updates ---

    def begin_update(self, position: int) -> None:
        """Start an update with the new audio at `position` (ns of the audio)."""
        updater = self._updater
        if updater is None or self._end - self._seen < updater.sizes.field:
            return
        self._seen = self._end
        self._join(updater)
        recording = RecordedAudio(self._samples, self._end)  # read only
        self._work.submit(position, lambda state: updater.update(state, recording))

    def until(self, position: int) -> None:
        """Apply the updates that take effect up to `position` (ns of the audio)."""
        self._take_effect(self._work.until(position))

    def flush(self) -> None:
        """Wait for all running updates and apply them."""
        self._take_effect(self._work.flush())

    def _take_effect(self, states: list[Diarization]) -> None:
        for state in states:
            self._state = state
            self._correct()

    def _correct(self) -> None:
        """Record the turns whose speaker has changed."""
        oldest, merged = self.reattributed_from, self._state.merged
        now: list[SpeakerTurn] = []
        for turn in self._history:
            speaker = turn.attribution.speaker
            if turn.start >= oldest:
                again = self.turns(turn.start, turn.end)
                changed = differences([turn], again)
                self._corrections += changed
                now += again if changed else [turn]
            elif speaker is not None and speaker in merged:
                renamed = replace(turn.attribution, speaker=merged[speaker])
                now.append(replace(turn, attribution=renamed))
                self._corrections += differences([turn], now[-1:])
            else:
                now.append(turn)
        self._history = tuple(now[-self._config.max_corrected :])

    # --- results ---

    @property
    def speakers(self) -> int:
        """Number of speakers."""
        return self._state.clusters.speakers

    @property
    def reattributed_from(self) -> int:
        """Time (ns) before which single frames keep their speaker; speakers may still be merged."""
        if self._updater is None:
            return 0
        return self._time(self._state.local.last - self._updater.sizes.reattributed)

    def profiles(self) -> dict[int, VoiceProfile]:
        """Return the voice profile of every speaker (for `enrolment.recognise`)."""
        if self._updater is None:
            return {}
        return speaker_profiles(self._state.clusters, self._updater.sizes.duration)

    def speakers_between(self, start: int, end: int) -> list[SpeakerTurn]:
        """Return the turns from `start` to `end` (ns) that updates have determined so far.

        They are sorted by start; turns of two speakers may overlap.
        """
        turns = [
            SpeakerTurn(max(start, a), min(end, b), segment.attribution)
            for segment in self._state.segments
            if (a := self._time(segment.first)) < end and (b := self._time(segment.last)) > start
        ]
        turns = joined(turns)  # so that overlapping turns are of different speakers
        return [
            replace(turn, overlapped=overlapped(turn, [o for o in turns if o is not turn]))
            for turn in turns
        ]

    def turns(self, start: int, end: int) -> list[SpeakerTurn]:
        """Return turns that cover `start` to `end` (ns) without gaps and overlaps.

        Overlapped speech belongs to the turn that began first. Turns shorter than `min_turn` are
        merged with a neighbor.
        """
        parts = partition(self.speakers_between(start, end), start, end)
        turns = without_short(parts, seconds(self._config.min_turn))
        return turns or [SpeakerTurn(start, end, UNCLEAR)]

    def overlap(self, start: int, end: int) -> float:
        """Return the share (0..1) of start..end (ns) in which two or more speak; NaN: no speech."""
        turns = self.speakers_between(start, end) if end > start else []
        return shared(turns) / (end - start) if turns else math.nan

    def attribute(self, start: int, end: int) -> list[SpeakerTurn]:
        """Return `turns` and remember them, so that `corrections` reports later changes."""
        turns = self.turns(start, end)
        self._history = (*self._history, *turns)[-self._config.max_corrected :]
        return turns

    def corrections(self) -> list[TurnCorrection]:
        """Return the changes of attributed turns since the last call."""
        changed, self._corrections = self._corrections, []
        return changed

    def _time(self, frame: int) -> int:
        """Return the start of a frame in ns."""
        assert self._updater is not None
        return self._origin + self._updater.sizes.first_sample(frame) * NS // SAMPLE_RATE
