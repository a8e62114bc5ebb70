"""Who speaks: the speakers of one microphone's audio, distinguished while they speak.

Sound goes in by `feed`. An update (see `diarization`) takes in what was heard; `begin_update`
computes it next to the stream, and it is in effect from a fixed later position of the audio on (see
`deferred_updates`). Everything else is answered at once, from what is in effect.

Later audio corrects how earlier audio was attributed; see `corrections`.
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

JOINED_AT_ONCE = 32  # pieces of audio
GAP = seconds(0.1)  # audio that comes later than this follows a gap


class Diarizer:
    """Follows the speakers of one microphone, and knows those of the conversation.

    Not thread-safe, but for the networks: they are used by one worker thread.

    Args:
        networks: None: no person is distinguished, every attribution is unclear.
        executor: computes updates, one at a time; None: a thread of its own.
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
        """End the worker thread; an executor that was passed in is left as it is."""
        if self._own is not None:
            self._own.shutdown(wait=True, cancel_futures=True)

    def reset(self) -> None:
        """Forget audio and speakers: a new conversation."""
        self._work.reset(Diarization())
        self._state = Diarization()  # in effect
        self._samples = np.zeros(0, np.float32)  # the last ones
        self._new: list[NDArray[np.float32]] = []  # those after them
        self._end = 0  # samples until now; gaps count as silence
        self._origin = 0  # ns, time of sample 0
        self._seen = 0  # samples heard when the last update began
        self._history: tuple[SpeakerTurn, ...] = ()  # what was attributed, as corrected
        self._corrections: list[TurnCorrection] = []

    # --- sound ---

    def feed(self, time: int, samples: NDArray[np.float32]) -> None:
        """The next (n,) samples, float32 at 16 kHz, from `time` (ns) on; all audio, also pauses.

        Audio that is missing counts as silence. Time going back needs `reset`.
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
            self._origin += time - due  # a drift
        self._new.append(samples)
        self._end += len(samples)
        if len(self._new) >= JOINED_AT_ONCE:
            self._join(self._updater)

    def _join(self, updater: Updater) -> None:
        """Join what arrived, and forget what is too old for an update."""
        longest = updater.sizes.longest + updater.sizes.hop
        self._samples = np.concatenate([self._samples, *self._new])[-longest:]
        self._new.clear()

    # --- updates ---

    def begin_update(self, position: int) -> None:
        """At `position` (ns, of the audio) begin to take in what was heard since the last time."""
        updater = self._updater
        if updater is None or self._end - self._seen < updater.sizes.field:
            return
        self._seen = self._end
        self._join(updater)
        recording = RecordedAudio(self._samples, self._end)  # never written to
        self._work.submit(position, lambda state: updater.update(state, recording))

    def until(self, position: int) -> None:
        """The audio has come to `position` (ns): updates that are due take effect."""
        self._take_effect(self._work.until(position))

    def flush(self) -> None:
        """Updates that are under way take effect, due or not."""
        self._take_effect(self._work.flush())

    def _take_effect(self, states: list[Diarization]) -> None:
        for state in states:
            self._state = state
            self._correct()

    def _correct(self) -> None:
        """Note where what was attributed is understood otherwise now."""
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

    # --- what is in effect ---

    @property
    def speakers(self) -> int:
        """How many speakers were distinguished."""
        return self._state.clusters.speakers

    @property
    def reattributed_from(self) -> int:
        """ns; what was heard before is not attributed again, only whole speakers are joined."""
        if self._updater is None:
            return 0
        return self._time(self._state.local.last - self._updater.sizes.reattributed)

    def profiles(self) -> dict[int, VoiceProfile]:
        """What is known of every speaker's voice (for `enrolment.recognise`)."""
        if self._updater is None:
            return {}
        return speaker_profiles(self._state.clusters, self._updater.sizes.duration)

    def speakers_between(self, start: int, end: int) -> list[SpeakerTurn]:
        """Who speaks between `start` and `end` (ns), as far as updates have heard it.

        In order of their start; turns of two speakers may lie over each other.
        """
        turns = [
            SpeakerTurn(max(start, a), min(end, b), segment.attribution)
            for segment in self._state.segments
            if (a := self._time(segment.first)) < end and (b := self._time(segment.last)) > start
        ]
        turns = joined(turns)  # so that two turns that lie over each other are of two speakers
        return [
            replace(turn, overlapped=overlapped(turn, [o for o in turns if o is not turn]))
            for turn in turns
        ]

    def turns(self, start: int, end: int) -> list[SpeakerTurn]:
        """Whose the speech from `start` to `end` (ns) is: turns without gaps, one after the other.

        Where two speak, the one whose stretch began first has it until it ends. Turns shorter than
        `min_turn` belong to their neighbours.
        """
        parts = partition(self.speakers_between(start, end), start, end)
        turns = without_short(parts, seconds(self._config.min_turn))
        return turns or [SpeakerTurn(start, end, UNCLEAR)]

    def overlap(self, start: int, end: int) -> float:
        """Return the share (0..1) of start..end (ns) in which two or more speak; NaN: no speech."""
        turns = self.speakers_between(start, end) if end > start else []
        return shared(turns) / (end - start) if turns else math.nan

    def attribute(self, start: int, end: int) -> list[SpeakerTurn]:
        """`turns`, for an utterance: changes of them will be among the `corrections`."""
        turns = self.turns(start, end)
        self._history = (*self._history, *turns)[-self._config.max_corrected :]
        return turns

    def corrections(self) -> list[TurnCorrection]:
        """What `attribute` gave and has changed since the last call of this."""
        changed, self._corrections = self._corrections, []
        return changed

    def _time(self, frame: int) -> int:
        """ns, of the beginning of what is counted to a frame."""
        assert self._updater is not None
        return self._origin + self._updater.sizes.first_sample(frame) * NS // SAMPLE_RATE
