"""Who speaks: speakers told apart while they speak.

    sound -> segmentation (who speaks beside whom, in the last 10 s) -> local voices, followed
          -> where one is alone: embeddings of short windows -> clustered: speakers

The segmentation network finds speech, changes of voice and overlap precisely, also in short turns,
but knows nobody after 10 s and takes alike voices far from the microphone for one. The embeddings
know a voice again, but need about a second of it. Each makes up for the other: windows are cut
where one local voice is alone, and a local voice may turn out to be several speakers.

Later sound corrects how earlier sound was understood; see `corrections`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from erc_ros.dialogue.checks import check_range
from erc_ros.dialogue.speakers.clustering import (
    Limits,
    Matrix,
    Voice,
    Voices,
    Window,
    beside,
    follow,
    known_speakers,
    learn,
    settle,
)
from erc_ros.dialogue.speakers.embedding import SpeakerEmbedding
from erc_ros.dialogue.speakers.local_speakers import ACTIVE, Tracks, follow_voices, runs
from erc_ros.dialogue.speakers.segmentation import Segmentation
from erc_ros.values.nanoseconds import NS, seconds
from erc_ros.values.utterance import SAMPLE_RATE

FOLLOWED = 20.0  # s that later sound can attribute anew, moment by moment
KEPT = FOLLOWED + 12.0  # s of local voices that are remembered
REMEMBERED = 500  # turns that can be corrected
SHARPNESS = 12.0  # a fit 0.08 better: e times as likely
DOUBT = 0.3  # s; a turn of this length is told with half the confidence
GATHERED = 32  # pieces of sound that are joined at once
BREAK = seconds(0.1)  # sound that comes later than this follows a gap
ALONE = 0.8  # of a window must be one voice alone, else it is cut anew


@dataclass(frozen=True, slots=True)
class DiarizationConfig:
    """How speakers are told apart. Durations in s.

    Raises:
        ValueError: a value outside its range.
    """

    max_speakers: int = 6
    """No more speakers than this at once in a conversation; the nearest one is taken instead."""
    new_speaker: float = 1.0
    """How different a voice must be to be somebody new, in units of what the model advises."""
    distinct: float = 0.15
    """Two voices heard beside each other count as this much less alike than they sound."""
    switch: float = 0.2
    """Cost of a change of speaker within a run of speech: more gives fewer, longer turns."""
    window: float = 1.2
    """Voices are compared over this much speech."""
    hop: float = 0.4
    """And every so often."""
    min_turn: float = 0.4
    """Speech shorter than this is nobody's by itself, and no turn inside other speech."""
    min_evidence: float = 1.6
    """Speech that it takes to believe in a new speaker (the first one needs `min_turn` only)."""
    min_beside: float = 0.6
    """The same for a voice that was heard beside all known speakers."""

    def __post_init__(self) -> None:
        check_range("diarization.max_speakers", self.max_speakers, 1, 50)
        check_range("diarization.new_speaker", self.new_speaker, 0.0, 10.0)
        check_range("diarization.distinct", self.distinct, 0.0, 2.0)
        check_range("diarization.switch", self.switch, 0.0, 10.0)
        check_range("diarization.window", self.window, 0.5, 5.0)
        check_range("diarization.hop", self.hop, 0.05, self.window)
        check_range("diarization.min_turn", self.min_turn, 0.1, self.window)
        check_range("diarization.min_evidence", self.min_evidence, self.min_turn, 10.0)
        check_range("diarization.min_beside", self.min_beside, self.min_turn, 10.0)


@dataclass(frozen=True, slots=True)
class Attribution:
    """speaker: index within the conversation, None = unclear; confidence: 0..1."""

    speaker: int | None
    confidence: float


UNCLEAR = Attribution(None, float("nan"))


@dataclass(frozen=True, slots=True)
class Turn:
    """One voice from `start` to `end` (ns).

    overlapped: ns in which another one speaks, too, where turns may lie over each other.
    """

    start: int
    end: int
    attribution: Attribution
    overlapped: int = 0


@dataclass(frozen=True, slots=True)
class SpeakerCorrection:
    """What was told of `start` to `end` (ns) has turned out otherwise: it was `new_speaker`.

    Speakers are indices within the conversation, None = unclear.
    """

    start: int
    end: int
    old_speaker: int | None
    new_speaker: int | None


class LocalVoices(Protocol):
    """A segmentation network: `Segmentation`, or what stands for it."""

    @property
    def hop(self) -> int:
        """Samples from frame to frame; frame k is centred on sample k * hop + field / 2."""

    @property
    def field(self) -> int:
        """Samples that a frame sees."""

    @property
    def longest(self) -> int:
        """Samples that one run may have."""

    def run(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n,) at 16 kHz -> (F, voices) probability of each; F = 1 + (n - field) // hop."""


class Embedding(Protocol):
    """A speaker network: `SpeakerEmbedding`, or what stands for it."""

    @property
    def same_voice(self) -> float:
        """Likeness of two windows of one voice, usually."""

    @property
    def new_voice(self) -> float:
        """How much less alike than that two voices are at least, on average."""

    def features(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n,) at 16 kHz -> (T, bands)."""

    def embed_all(self, stretches: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Features of each -> (B, size) of length 1; silence: zeros."""


@dataclass(frozen=True, slots=True)
class Networks:
    """The two networks that tell speakers apart."""

    segmentation: LocalVoices
    embedding: Embedding


def load_networks(segmentation: Path, embedding: Path, *, device: str = "cpu") -> Networks:
    """From the folders with segmentation.yaml and with speaker.yaml.

    Args:
        device: "cpu", "cuda", or "auto": CUDA where it works.

    Raises:
        SpeakerModelError: a folder's content is missing, changed or does not fit, or the device is
            not there.
    """
    networks = Networks(Segmentation(segmentation, device), SpeakerEmbedding(embedding, device))
    if device != "cpu":  # it is compared with the CPU at its first call: now, before anybody speaks
        noise = np.random.default_rng(0).normal(0, 0.1, 2 * SAMPLE_RATE).astype(np.float32)
        networks.segmentation.run(noise)
        networks.embedding.embed_all([networks.embedding.features(noise)])
    return networks


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """A stretch of frames of one local voice, and whose it is."""

    first: int
    last: int
    row: int  # of the local voice
    attribution: Attribution


class Diarizer:
    """Follows the voices of one microphone, and knows those of the conversation. Not thread-safe.

    All sound goes in by `feed`; `look` is what costs time: it takes up to the last 10 s in. Then
    `turns` and `voices_between` tell what was heard.
    """

    def __init__(self, config: DiarizationConfig, networks: Networks | None) -> None:
        """networks None: nobody is told apart, every attribution is unclear."""
        self._config = config
        self._networks = networks
        if networks is not None:
            self._hop, self._field = networks.segmentation.hop, networks.segmentation.field
            frames_per_s = SAMPLE_RATE / self._hop
            self._window = round(config.window * frames_per_s)
            self._step = max(1, round(config.hop * frames_per_s))
            self._shortest = round(config.min_turn * frames_per_s)
            self._kept = round(KEPT * frames_per_s)
            self._followed = round(FOLLOWED * frames_per_s)
            self._limits = Limits(
                same=networks.embedding.same_voice,
                least=networks.embedding.same_voice
                - config.new_speaker * networks.embedding.new_voice,
                distinct=config.distinct,
                switch=config.switch,
                evidence=config.min_evidence,
                evidence_beside=config.min_beside,
                speakers=config.max_speakers,
                frame=1 / frames_per_s,
            )
        self.reset()

    def reset(self) -> None:
        """Forget sound and speakers: a new conversation."""
        self._samples = np.zeros(0, np.float32)  # the last ones
        self._new: list[NDArray[np.float32]] = []  # those after them
        self._heard = 0  # samples until now; gaps count as silence
        self._origin = 0  # ns, time of sample 0
        self._looked = 0  # samples heard when `look` last looked
        self._tracks = Tracks()
        self._voices = Voices()
        self._parts: list[_Part] = []  # as far as local voices are remembered
        self._history: tuple[Turn, ...] = ()  # what was told
        self._corrections: list[SpeakerCorrection] = []
        self.merged: dict[int, int | None] = {}
        """What became of speakers who were nobody's any more at the last look."""

    @property
    def speakers(self) -> int:
        """How many speakers were told apart."""
        return self._voices.speakers

    # --- sound ---

    def feed(self, time: int, samples: NDArray[np.float32]) -> None:
        """The next (n,) samples, float32 at 16 kHz, from `time` (ns) on; all sound, also pauses.

        Sound that is missing counts as silence. Time going back needs `reset`.
        """
        if self._networks is None:
            return
        due = self._origin + self._heard * NS // SAMPLE_RATE
        if not self._heard:
            self._origin = time
        elif time - due > BREAK:
            missing = (time - due) * SAMPLE_RATE // NS
            self._heard += missing
            silence = np.zeros(min(missing, self._networks.segmentation.longest), np.float32)
            self._new.append(silence)
        else:
            self._origin += time - due  # a drift
        self._new.append(samples)
        self._heard += len(samples)
        if len(self._new) >= GATHERED:
            self._gather()

    def _gather(self) -> None:
        """Join what came in, and forget what is too old to be looked at."""
        assert self._networks is not None
        longest = self._networks.segmentation.longest + self._hop
        self._samples = np.concatenate([self._samples, *self._new])[-longest:]
        self._new.clear()

    def look(self) -> None:
        """Take in what was heard since the last look. Costs a run of each network."""
        if self._networks is None or self._heard - self._looked < self._field:
            return
        self._looked = self._heard
        self._gather()
        network = self._networks.segmentation
        begin = max(0, self._heard - min(len(self._samples), network.longest))
        first = -(-begin // self._hop)  # frames have the same places in every window
        heard = network.run(self._samples[len(self._samples) - (self._heard - first * self._hop) :])
        if not len(heard):
            return
        self._tracks = follow_voices(self._tracks, first, heard, self._kept)
        windows = self._cut()
        voices = replace(self._voices, windows=windows)
        together = beside(windows, self._tracks.met, network.longest // self._hop)
        voices, fits, self.merged = learn(voices, together, self._limits)
        self._parts = self._attributed(voices, fits)
        self._correct()
        self._voices = settle(voices, self._tracks.last - self._followed, self._limits.frame)

    def _time(self, frame: int) -> int:
        """Of the beginning of what is counted to a frame: half a hop before its centre."""
        sample = frame * self._hop + (self._field - self._hop) // 2
        return self._origin + sample * NS // SAMPLE_RATE

    @property
    def followed_from(self) -> int:
        """ns; what was heard before is not told apart anew, only whole speakers are joined."""
        return self._time(self._tracks.last - self._followed)

    # --- windows ---

    def _cut(self) -> tuple[Window, ...]:
        """The windows of the last seconds: those that still hold one voice, and new ones."""
        is_on = self._tracks.activity() > ACTIVE
        alone = is_on & (is_on.sum(axis=0) == 1)  # (T, n)
        first = self._tracks.first
        oldest = self._tracks.last - self._followed
        kept: dict[tuple[int, int], list[Window]] = {}
        settled = [window for window in self._voices.windows if window.last <= oldest]
        current = [window for window in self._voices.windows if window.last > oldest]
        stretches = [runs(row) for row in alone]
        for window in current:
            inside = alone[:, window.first - first : window.last - first].mean(axis=1)
            row = int(inside.argmax())
            middle = (window.first + window.last) // 2 - first
            run = next((k for k, (a, b) in enumerate(stretches[row]) if a <= middle < b), None)
            if (
                inside[row] >= ALONE
                and run is not None
                and self._is_whole(window, stretches[row][run])
            ):
                kept.setdefault((row, run), []).append(
                    replace(window, track=self._tracks.ids[row], run=run)
                )
        spans: list[tuple[int, int, int, int]] = []
        for row, found in enumerate(stretches):
            for run, (a, b) in enumerate(found):
                begin = max(a, oldest - first)
                have = [window.first - first for window in kept.get((row, run), [])]
                spans += [(row, run, s, e) for s, e in self._missing(begin, b, have)]
        new = self._embedded(spans)
        windows = [*settled, *(w for group in kept.values() for w in group), *new]
        return tuple(sorted(windows, key=lambda w: (w.first, w.track)))

    def _is_whole(self, window: Window, run: tuple[int, int]) -> bool:
        """A window of full length, or one of a run that has not grown since."""
        length = window.last - window.first
        return length >= self._window or run[1] - run[0] <= length + self._step // 2

    def _missing(self, begin: int, end: int, have: Sequence[int]) -> list[tuple[int, int]]:
        """(first, last) of windows that the run from `begin` to `end` needs besides `have`."""
        if end - begin < self._window:
            is_new = end - begin >= self._shortest and not have
            return [(begin, end)] if is_new else []
        starts = range(begin, end - self._window + 1, self._step)
        free = [s for s in starts if all(abs(s - other) >= self._step for other in have)]
        return [(s, s + self._window) for s in free]

    def _embedded(self, spans: Sequence[tuple[int, int, int, int]]) -> list[Window]:
        """Windows of (row, run, first column, last column); what holds no voice is left out."""
        assert self._networks is not None
        embedding, first = self._networks.embedding, self._tracks.first
        before = self._heard - len(self._samples)  # samples that are forgotten
        offset = (self._field - self._hop) // 2
        found = []
        for row, run, a, b in spans:
            begin, end = ((first + edge) * self._hop + offset - before for edge in (a, b))
            if begin >= 0:
                found.append((row, run, first + a, first + b, self._samples[begin:end]))
        vectors = embedding.embed_all([embedding.features(part[-1]) for part in found])
        return [
            Window(a, b, vector, min(1.0, (b - a) / self._window), self._tracks.ids[row], run)
            for (row, run, a, b, _), vector in zip(found, vectors, strict=True)
            if vector.any()
        ]

    # --- whose ---

    def _attributed(self, voices: Voices, fits: Matrix) -> list[_Part]:
        """Every stretch of every local voice, and whose it is."""
        activity = self._tracks.activity()
        first = self._tracks.first
        found: list[_Part] = []
        for row, track in enumerate(self._tracks.ids):
            own = [k for k, window in enumerate(voices.windows) if window.track == track]
            paths = self._paths(voices, fits, own)
            for a, b in runs(activity[row] > ACTIVE):
                found += self._told_apart(first + a, first + b, row, voices, fits, paths)
        return sorted(found, key=lambda part: (part.first, part.row))

    def _paths(self, voices: Voices, fits: Matrix, own: Sequence[int]) -> dict[int, int]:
        """Window -> speaker, followed through each run."""
        found: dict[int, int] = {}
        if not voices.speakers or not np.isfinite(fits).any():
            return found
        for run in dict.fromkeys(voices.windows[k].run for k in own):
            places = [k for k in own if voices.windows[k].run == run]
            path = follow(fits[places], self._limits.switch)
            found.update(zip(places, path.tolist(), strict=True))
        return found

    def _told_apart(
        self,
        first: int,
        last: int,
        row: int,
        voices: Voices,
        fits: Matrix,
        paths: dict[int, int],
    ) -> list[_Part]:
        """One stretch of a local voice, cut where the speaker changes."""
        middles = {k: (voices.windows[k].first + voices.windows[k].last) / 2 for k in paths}
        inside = [k for k in paths if first <= middles[k] < last]
        if not inside:
            near = min(paths, key=lambda k: abs(middles[k] - (first + last) / 2), default=None)
            if near is None:
                return [_Part(first, last, row, UNCLEAR)]
            inside = [near]
        found: list[_Part] = []
        begin = 0
        for place in range(1, len(inside) + 1):
            if place < len(inside) and paths[inside[place]] == paths[inside[begin]]:
                continue
            a = found[-1].last if found else first
            b = last
            if place < len(inside):
                b = round((middles[inside[place - 1]] + middles[inside[place]]) / 2)
            speaker = paths[inside[begin]]
            sure = self._confidence(fits[inside[begin:place]], speaker, b - a)
            found.append(_Part(a, b, row, Attribution(speaker, sure)))
            begin = place
        return found

    def _confidence(self, fits: Matrix, chosen: int, frames: int) -> float:
        """Softmax over the speakers and somebody new, less for a short turn."""
        mean = fits.mean(axis=0)
        rivals = np.append(np.delete(mean, chosen), self._limits.least)
        certainty = frames * self._limits.frame / (frames * self._limits.frame + DOUBT)
        odds = np.exp(np.clip(SHARPNESS * (rivals - mean[chosen]), -50.0, 50.0))
        return float(certainty / (1.0 + odds.sum()))

    # --- what is told ---

    def voices_between(self, start: int, end: int) -> list[Turn]:
        """Who speaks between `start` and `end` (ns), as far as `look` has looked.

        In order of their start; turns of two voices may lie over each other.
        """
        if self._networks is None:
            return []
        found = [
            Turn(max(start, a), min(end, b), part.attribution)
            for part in self._parts
            if (a := self._time(part.first)) < end and (b := self._time(part.last)) > start
        ]
        found = _joined(found)  # so that two turns that lie over each other are of two speakers
        return [
            replace(
                turn, overlapped=_overlap(turn, [other for other in found if other is not turn])
            )
            for turn in found
        ]

    def turns(self, start: int, end: int) -> list[Turn]:
        """Whose the speech from `start` to `end` (ns) is: turns without gaps, one after the other.

        Where two speak, the one whose stretch began first has it until it ends. Turns shorter than
        `min_turn` belong to their neighbours.
        """
        found = _partition(self.voices_between(start, end), start, end)
        return _without_short(found, seconds(self._config.min_turn)) or [Turn(start, end, UNCLEAR)]

    def overlap(self, start: int, end: int) -> float:
        """Share (0..1) of `start` to `end` (ns) in which two or more speak; NaN: nobody heard."""
        turns = self.voices_between(start, end) if end > start else []
        return _shared(turns) / (end - start) if turns else math.nan

    def tell(self, start: int, end: int) -> list[Turn]:
        """`turns`, after a look if there was none since `end`; changes of them will be noted."""
        if self._origin + self._looked * NS // SAMPLE_RATE < end:
            self.look()
        turns = self.turns(start, end)
        self._history = (*self._history, *turns)[-REMEMBERED:]
        return turns

    def _correct(self) -> None:
        """Note where what was told is understood otherwise now."""
        oldest = self.followed_from
        now: list[Turn] = []
        for turn in self._history:
            speaker = turn.attribution.speaker
            if turn.start >= oldest:
                again = self.turns(turn.start, turn.end)
                differ = differences([turn], again)
                self._corrections += differ
                now += again if differ else [turn]
            elif speaker in self.merged:
                renamed = replace(turn.attribution, speaker=self.merged[speaker])
                now.append(replace(turn, attribution=renamed))
                self._corrections += differences([turn], now[-1:])
            else:
                now.append(turn)
        self._history = tuple(now[-REMEMBERED:])

    def corrections(self) -> list[SpeakerCorrection]:
        """What `tell` has told and has changed since the last call of this."""
        found, self._corrections = self._corrections, []
        return found

    def voices(self) -> dict[int, Voice]:
        """What is known of every speaker (for `enrolment.recognise`)."""
        return known_speakers(self._voices, self._limits.frame) if self._networks else {}


# --- turns: pure ---


def _joined(turns: Sequence[Turn]) -> list[Turn]:
    """Turns of one speaker that touch, or lie over each other, are one."""
    found: list[Turn] = []
    for turn in turns:
        speaker = turn.attribution.speaker
        place = next(
            (
                k
                for k in range(len(found) - 1, -1, -1)
                if found[k].attribution.speaker == speaker and found[k].end >= turn.start
            ),
            None,
        )
        if place is None:
            found.append(turn)
        else:
            found[place] = replace(found[place], end=max(found[place].end, turn.end))
    return found


def _overlap(turn: Turn, others: Sequence[Turn]) -> int:
    """ns of the turn in which others speak as well."""
    spans = sorted(
        (max(turn.start, o.start), min(turn.end, o.end))
        for o in others
        if o.start < turn.end and turn.start < o.end
    )
    total, until = 0, turn.start
    for start, end in spans:
        total += max(0, end - max(start, until))
        until = max(until, end)
    return total


def _shared(turns: Sequence[Turn]) -> int:
    """ns in which two or more of the turns lie over each other."""
    edges = sorted([(turn.start, 1) for turn in turns] + [(turn.end, -1) for turn in turns])
    total = speaking = 0
    for (time, change), (following, _) in itertools.pairwise(edges):
        speaking += change
        total += following - time if speaking > 1 else 0
    return total


def _partition(turns: Sequence[Turn], start: int, end: int) -> list[Turn]:
    """One after the other from `start` to `end`; pauses are cut in the middle."""
    found: list[Turn] = []
    for turn in turns:
        if found and turn.end <= found[-1].end:
            continue  # inside another one
        begin = start
        if found:
            last = found[-1]
            begin = (max(turn.start, last.end) + last.end) // 2
            found[-1] = replace(last, end=begin)
        found.append(Turn(begin, turn.end, turn.attribution))
    if found:
        found[-1] = replace(found[-1], end=end)
    return found


def _without_short(turns: Sequence[Turn], least: int) -> list[Turn]:
    """Turns shorter than `least` (ns), or of nobody, go to the longer neighbour."""
    found = list(turns)
    while len(found) > 1:
        place = min(
            range(len(found)),
            key=lambda k: (found[k].attribution.speaker is not None, found[k].end - found[k].start),
        )
        short = found[place]
        if short.attribution.speaker is not None and short.end - short.start >= least:
            break
        sides = [k for k in (place - 1, place + 1) if 0 <= k < len(found)]
        into = max(sides, key=lambda k: found[k].end - found[k].start)
        found[into] = _united(found[into], short)
        del found[place]
    united: list[Turn] = []
    for turn in found:
        if united and united[-1].attribution.speaker == turn.attribution.speaker:
            united[-1] = _united(united[-1], turn)
        else:
            united.append(turn)
    return united


def _united(turn: Turn, other: Turn) -> Turn:
    """Both, as the first one's."""
    start, end = min(turn.start, other.start), max(turn.end, other.end)
    return Turn(start, end, turn.attribution)


def differences(told: Sequence[Turn], now: Sequence[Turn]) -> list[SpeakerCorrection]:
    """Where two accounts of the same time name different speakers."""
    found: list[SpeakerCorrection] = []
    for turn in now:
        for old in told:
            start, end = max(turn.start, old.start), min(turn.end, old.end)
            was, is_now = old.attribution.speaker, turn.attribution.speaker
            if start < end and was != is_now:
                found.append(SpeakerCorrection(start, end, was, is_now))
    return sorted(found, key=lambda correction: correction.start)
