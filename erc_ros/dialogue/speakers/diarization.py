"""Diarization as a fold: what is known of the speakers, and a pure `update` with more audio.

    sound -> segmentation (who speaks beside whom, in the last 10 s) -> local speakers, linked
          -> where one is alone: embeddings of short windows -> clustered: speakers

The segmentation network finds speech, changes of voice and overlap precisely, also in short turns,
but does not recognize a speaker after 10 s and merges similar voices far from the microphone. The
embeddings recognize a voice, but need about a second of it. Each compensates for the other:
windows are cut where one local speaker is alone, and a local speaker may turn out to be several
speakers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from erc_ros.dialogue.speakers.clustering import (
    ClusteringConfig,
    ClusteringThresholds,
    EmbeddedWindow,
    Matrix,
    SpeakerClusters,
    co_occurrence,
    freeze,
    recluster,
    viterbi,
)
from erc_ros.dialogue.speakers.local_speakers import (
    ACTIVE,
    LocalSpeakers,
    LocalSpeakersConfig,
    active_runs,
    link_window,
)
from erc_ros.dialogue.speakers.networks import DiarizationNetworks
from erc_ros.dialogue.speakers.turns import UNCLEAR, Attribution
from erc_ros.values.errors import ErcValueError
from erc_ros.values.settings import check, parameter, setting
from erc_ros.values.utterance import SAMPLE_RATE

_RECORDED = "benchmarks.diarization recorded"
_COMPOSED = "benchmarks.diarization composed"


@dataclass(frozen=True, slots=True)
class DiarizationConfig:
    """How speakers are distinguished.

    Raises:
        ValueError: a value outside its range.
    """

    max_speakers: int = parameter(
        6,
        "no more speakers than this at once in a conversation; the nearest one is taken instead",
        range=(1, 50),
        former="diarization.max_speakers",
    )
    new_speaker: float = setting(
        1.0,
        "how different a voice must be to be a new speaker, in units of what the model advises",
        range=(0.0, 10.0),
        source=_COMPOSED,
    )
    distinct: float = setting(
        0.15,
        "the similarity of two voices that speak at the same time is reduced by this",
        range=(0.0, 2.0),
        source=_RECORDED,
    )
    switch: float = setting(
        0.2,
        "cost of a change of speaker within a run of speech: more gives fewer, longer turns",
        range=(0.0, 10.0),
        source=_RECORDED,
    )
    window: float = setting(
        1.2, "voices are compared over this much speech", "s", (0.5, 5.0), source=_RECORDED
    )
    hop: float = setting(
        0.4, "and every so often, at most `window`", "s", (0.05, 5.0), source=_RECORDED
    )
    min_turn: float = setting(
        0.4,
        "shorter speech is not attributed to a speaker on its own, and is no turn inside "
        "other speech",
        "s",
        (0.1, 5.0),
        source=_RECORDED,
    )
    min_evidence: float = setting(
        1.6,
        "speech that it takes to believe in a new speaker (the first one needs `min_turn` only)",
        "s",
        (0.1, 10.0),
        source=_COMPOSED,
    )
    min_beside: float = setting(
        0.6,
        "the same for a voice that was heard together with all known speakers",
        "s",
        (0.1, 10.0),
        source=_COMPOSED,
    )
    min_alone: float = setting(
        0.8,
        "minimum share of an embedded window in which only its voice speaks; otherwise it "
        "is cut again",
        range=(0.5, 1.0),
        source=_RECORDED,
    )
    reattribution: float = setting(
        20.0,
        "how far back later audio changes the attribution of speech, frame by frame",
        "s",
        (2.0, 120.0),
        source=_RECORDED,
    )
    sharpness: float = setting(
        12.0,
        "confidence: a speaker whose similarity is 1/sharpness higher is e times as likely",
        range=(0.1, 100.0),
    )
    doubt: float = setting(
        0.3, "confidence: a turn of this length is attributed with half of it", "s", (0.0, 5.0)
    )
    max_corrected: int = setting(500, "turns that can still be corrected", range=(1, 100_000))
    delay: float = setting(
        0.18,
        "audio from the start of a speaker update until it takes effect: the time that the "
        "update may take before other work waits for it",
        "s",
        (0.0, 2.0),
        source="benchmarks.diarization words",
    )
    local: LocalSpeakersConfig = field(default_factory=LocalSpeakersConfig)
    clustering: ClusteringConfig = field(default_factory=ClusteringConfig)

    def __post_init__(self) -> None:
        check(self)
        for name, least, greatest in (
            ("hop", 0.05, self.window),
            ("min_turn", 0.1, self.window),
            ("min_evidence", self.min_turn, 10.0),
            ("min_beside", self.min_turn, 10.0),
        ):
            value = getattr(self, name)
            if not least <= value <= greatest:
                raise ErcValueError(
                    f"diarization.{name} must be in [{least:g}, {greatest:g}] with window"
                    f" {self.window:g} and min_turn {self.min_turn:g}, got {value!r}"
                )


@dataclass(frozen=True, slots=True)
class FrameSizes:
    """The configuration in frames and samples of a segmentation network."""

    hop: int  # samples from frame to frame
    field: int  # samples that a frame sees
    longest: int  # samples of a run of the network
    window: int  # frames
    step: int  # frames between windows
    shortest: int  # frames of a turn
    kept: int  # frames of local speakers that are remembered
    reattributed: int  # frames

    @classmethod
    def of(cls, config: DiarizationConfig, networks: DiarizationNetworks) -> FrameSizes:
        """For these networks."""
        network = networks.segmentation
        per_second = SAMPLE_RATE / network.hop
        # the person who is in a run of the network must still be known, and 2 s longer for the rest
        remembered = config.reattribution + network.longest / SAMPLE_RATE + 2.0
        return cls(
            hop=network.hop,
            field=network.field,
            longest=network.longest,
            window=round(config.window * per_second),
            step=max(1, round(config.hop * per_second)),
            shortest=round(config.min_turn * per_second),
            kept=round(remembered * per_second),
            reattributed=round(config.reattribution * per_second),
        )

    @property
    def duration(self) -> float:
        """s of a frame."""
        return 1 / (SAMPLE_RATE / self.hop)

    def first_sample(self, frame: int) -> int:
        """Of what is counted to a frame: from half a hop before its centre."""
        return frame * self.hop + (self.field - self.hop) // 2


def thresholds(
    config: DiarizationConfig, networks: DiarizationNetworks, sizes: FrameSizes
) -> ClusteringThresholds:
    """How speakers are compared with these networks."""
    same = networks.embedding.same_voice
    return ClusteringThresholds(
        same=same,
        least=same - config.new_speaker * networks.embedding.new_voice,
        distinct=config.distinct,
        evidence=config.min_evidence,
        evidence_beside=config.min_beside,
        speakers=config.max_speakers,
        frame=sizes.duration,
        clustering=config.clustering,
    )


@dataclass(frozen=True, slots=True, eq=False)
class RecordedAudio:
    """The last samples of the audio. end: samples since the beginning, gaps counted as silence."""

    samples: NDArray[np.float32]
    end: int


@dataclass(frozen=True, slots=True, eq=False)
class SpeakerSegment:
    """Frames `first` to `last` (exclusive) of one local speaker (row), and whose speech it is."""

    first: int
    last: int
    row: int
    attribution: Attribution


@dataclass(frozen=True, slots=True, eq=False)
class Diarization:
    """State: what is known of the speakers.

    segments: of the last seconds, as far as local speakers are remembered. merged: what became of
    speakers who were no person's any more at the last update.
    """

    local: LocalSpeakers = field(default_factory=LocalSpeakers)
    clusters: SpeakerClusters = field(default_factory=SpeakerClusters)
    segments: tuple[SpeakerSegment, ...] = ()
    merged: Mapping[int, int | None] = field(default_factory=dict)


class Updater:
    """Updates with fixed networks and configuration; holds no state."""

    def __init__(self, config: DiarizationConfig, networks: DiarizationNetworks) -> None:
        self.sizes = FrameSizes.of(config, networks)
        self._config, self._networks = config, networks
        self._thresholds = thresholds(config, networks, self.sizes)

    def update(self, state: Diarization, recording: RecordedAudio) -> Diarization:
        """Take in the audio since the last update. Costs a run of each network."""
        sizes, network = self.sizes, self._networks.segmentation
        begin = max(0, recording.end - min(len(recording.samples), sizes.longest))
        first = -(-begin // sizes.hop)  # frames have the same places in every window
        skipped = len(recording.samples) - (recording.end - first * sizes.hop)
        window = network.run(recording.samples[skipped:])
        if not len(window):
            return state
        local = link_window(state.local, self._config.local, first, window, sizes.kept)
        windows = self._windows(local, state.clusters, recording)
        clusters = replace(state.clusters, windows=windows)
        near = co_occurrence(windows, local.separated, sizes.longest // sizes.hop)
        clusters, fits, merged = recluster(clusters, near, self._thresholds)
        segments = self._segments(local, clusters, fits)
        oldest = local.last - sizes.reattributed
        most = self._config.clustering.max_profiles
        frozen = freeze(clusters, oldest, sizes.duration, most)
        return Diarization(local, frozen, segments, merged)

    # --- windows ---

    def _windows(
        self, local: LocalSpeakers, clusters: SpeakerClusters, recording: RecordedAudio
    ) -> tuple[EmbeddedWindow, ...]:
        """The windows of the last seconds: those that still hold one voice, and new ones."""
        is_active = local.activity() > ACTIVE
        alone = is_active & (is_active.sum(axis=0) == 1)  # (L, n)
        first = local.first
        oldest = local.last - self.sizes.reattributed
        old = [window for window in clusters.windows if window.last <= oldest]
        current = [window for window in clusters.windows if window.last > oldest]
        runs = [active_runs(row) for row in alone]
        kept: dict[tuple[int, int], list[EmbeddedWindow]] = {}
        for window in current:
            inside = alone[:, window.first - first : window.last - first].mean(axis=1)
            row = int(inside.argmax())
            middle = (window.first + window.last) // 2 - first
            run = next((k for k, (a, b) in enumerate(runs[row]) if a <= middle < b), None)
            is_alone = inside[row] >= self._config.min_alone
            if is_alone and run is not None and self._is_whole(window, runs[row][run]):
                same = replace(window, local=local.ids[row], run=run)
                kept.setdefault((row, run), []).append(same)
        spans: list[tuple[int, int, int, int]] = []
        for row, row_runs in enumerate(runs):
            for run, (a, b) in enumerate(row_runs):
                begin = max(a, oldest - first)
                have = [window.first - first for window in kept.get((row, run), [])]
                spans += [(row, run, s, e) for s, e in self._missing(begin, b, have)]
        new = self._embedded(local, recording, spans)
        windows = [*old, *(w for group in kept.values() for w in group), *new]
        return tuple(sorted(windows, key=lambda w: (w.first, w.local)))

    def _is_whole(self, window: EmbeddedWindow, run: tuple[int, int]) -> bool:
        """A window of full length, or one of a run that has not grown since."""
        length = window.last - window.first
        return length >= self.sizes.window or run[1] - run[0] <= length + self.sizes.step // 2

    def _missing(self, begin: int, end: int, have: Sequence[int]) -> list[tuple[int, int]]:
        """(first, last) of windows that the run from `begin` to `end` needs besides `have`."""
        size, step = self.sizes.window, self.sizes.step
        if end - begin < size:
            is_new = end - begin >= self.sizes.shortest and not have
            return [(begin, end)] if is_new else []
        starts = range(begin, end - size + 1, step)
        free = [s for s in starts if all(abs(s - other) >= step for other in have)]
        return [(s, s + size) for s in free]

    def _embedded(
        self,
        local: LocalSpeakers,
        recording: RecordedAudio,
        spans: Sequence[tuple[int, int, int, int]],
    ) -> list[EmbeddedWindow]:
        """Windows of (row, run, first column, last column); what holds no voice is excluded."""
        embedding, first = self._networks.embedding, local.first
        forgotten = recording.end - len(recording.samples)
        cut = []
        for row, run, a, b in spans:
            begin, end = (self.sizes.first_sample(first + edge) - forgotten for edge in (a, b))
            if begin >= 0:
                cut.append((row, run, first + a, first + b, recording.samples[begin:end]))
        vectors = embedding.embed_all([embedding.features(part[-1]) for part in cut])
        return [
            EmbeddedWindow(a, b, vector, min(1.0, (b - a) / self.sizes.window), local.ids[row], run)
            for (row, run, a, b, _), vector in zip(cut, vectors, strict=True)
            if vector.any()
        ]

    # --- whose ---

    def _segments(
        self, local: LocalSpeakers, clusters: SpeakerClusters, fits: Matrix
    ) -> tuple[SpeakerSegment, ...]:
        """Every run of every local speaker, and whose speech it is."""
        activity = local.activity()
        segments: list[SpeakerSegment] = []
        for row, name in enumerate(local.ids):
            own = [k for k, window in enumerate(clusters.windows) if window.local == name]
            paths = self._paths(clusters, fits, own)
            for a, b in active_runs(activity[row] > ACTIVE):
                run = SpeakerSegment(local.first + a, local.first + b, row, UNCLEAR)
                segments += self._attributed(run, clusters, fits, paths)
        return tuple(sorted(segments, key=lambda segment: (segment.first, segment.row)))

    def _paths(self, clusters: SpeakerClusters, fits: Matrix, own: Sequence[int]) -> dict[int, int]:
        """Window -> speaker, by the best path through each run."""
        speakers: dict[int, int] = {}
        if not clusters.speakers or not np.isfinite(fits).any():
            return speakers
        for run in dict.fromkeys(clusters.windows[k].run for k in own):
            places = [k for k in own if clusters.windows[k].run == run]
            path = viterbi(fits[places], self._config.switch)
            speakers.update(zip(places, path.tolist(), strict=True))
        return speakers

    def _attributed(
        self,
        run: SpeakerSegment,
        clusters: SpeakerClusters,
        fits: Matrix,
        paths: dict[int, int],
    ) -> list[SpeakerSegment]:
        """One run of a local speaker, cut where the speaker changes."""
        middles = {k: (clusters.windows[k].first + clusters.windows[k].last) / 2 for k in paths}
        inside = [k for k in paths if run.first <= middles[k] < run.last]
        if not inside:
            centre = (run.first + run.last) / 2
            near = min(paths, key=lambda k: abs(middles[k] - centre), default=None)
            if near is None:
                return [run]
            inside = [near]
        segments: list[SpeakerSegment] = []
        begin = 0
        for place in range(1, len(inside) + 1):
            if place < len(inside) and paths[inside[place]] == paths[inside[begin]]:
                continue
            a = segments[-1].last if segments else run.first
            b = run.last
            if place < len(inside):
                b = round((middles[inside[place - 1]] + middles[inside[place]]) / 2)
            speaker = paths[inside[begin]]
            sure = self._confidence(fits[inside[begin:place]], speaker, b - a)
            segments.append(SpeakerSegment(a, b, run.row, Attribution(speaker, sure)))
            begin = place
        return segments

    def _confidence(self, fits: Matrix, chosen: int, frames: int) -> float:
        """Softmax over the speakers and a person new, less for a short turn."""
        mean = fits.mean(axis=0)
        rivals = np.append(np.delete(mean, chosen), self._thresholds.least)
        length = frames * self.sizes.duration
        odds = np.exp(np.clip(self._config.sharpness * (rivals - mean[chosen]), -50.0, 50.0))
        return float(length / (length + self._config.doubt) / (1.0 + odds.sum()))
