"""Online speaker diarization: a frozen state and a pure `update` with new audio.

    audio -> segmentation of the last 10 s (local speakers, overlap) -> linking of local speakers
          -> embeddings of short windows with one active voice -> clustering -> speakers

The segmentation network detects speech, speaker changes and overlap precisely, also in short turns.
It does not recognize a speaker after 10 s and merges similar voices far from the microphone.
Embeddings recognize a voice, but need about one second of it. Windows are therefore taken where one
local speaker is active, and clustering may split a local speaker into several speakers.
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
    """Settings of speaker diarization.

    Raises:
        ValueError: a value is outside its range.
    """

    max_speakers: int = parameter(
        6,
        "maximum number of speakers in a conversation; further voices join the most similar one",
        range=(1, 50),
        former="diarization.max_speakers",
    )
    new_speaker: float = setting(
        1.0,
        "minimum difference of a new speaker, in units of `new_voice` of the embedding network",
        range=(0.0, 10.0),
        source=_COMPOSED,
    )
    distinct: float = setting(
        0.15,
        "reduction of the similarity of two voices that speak at the same time",
        range=(0.0, 2.0),
        source=_RECORDED,
    )
    switch: float = setting(
        0.2,
        "cost of a speaker change within a run of speech: more gives fewer, longer turns",
        range=(0.0, 10.0),
        source=_RECORDED,
    )
    window: float = setting(1.2, "length of an embedded window", "s", (0.5, 5.0), source=_RECORDED)
    hop: float = setting(
        0.4, "step between windows, at most `window`", "s", (0.05, 5.0), source=_RECORDED
    )
    min_turn: float = setting(
        0.4,
        "minimum duration of a turn; shorter speech is attributed together with its neighbor",
        "s",
        (0.1, 5.0),
        source=_RECORDED,
    )
    min_evidence: float = setting(
        1.6,
        "speech needed to create a new speaker (the first one needs only `min_turn`)",
        "s",
        (0.1, 10.0),
        source=_COMPOSED,
    )
    min_beside: float = setting(
        0.6,
        "likewise for a voice that spoke at the same time as all known speakers",
        "s",
        (0.1, 10.0),
        source=_COMPOSED,
    )
    min_alone: float = setting(
        0.8,
        "minimum share of an embedded window in which only its voice speaks",
        range=(0.5, 1.0),
        source=_RECORDED,
    )
    reattribution: float = setting(
        20.0,
        "how far back later audio changes the attribution of single frames",
        "s",
        (2.0, 120.0),
        source=_RECORDED,
    )
    sharpness: float = setting(
        12.0,
        "confidence: a speaker whose similarity is 1/sharpness higher is e times as likely",
        range=(0.1, 100.0),
    )
    doubt: float = setting(0.3, "confidence is halved for a turn of this length", "s", (0.0, 5.0))
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
    """Durations of the configuration in frames and samples of a segmentation network."""

    hop: int  # samples between frames
    field: int  # samples, receptive field of a frame
    longest: int  # samples, input length of the network
    window: int  # frames
    step: int  # frames between windows
    shortest: int  # frames, minimum length of a turn
    kept: int  # frames, history of local speakers
    reattributed: int  # frames, see `DiarizationConfig.reattribution`

    @classmethod
    def of(cls, config: DiarizationConfig, networks: DiarizationNetworks) -> FrameSizes:
        """Return the sizes for these networks."""
        network = networks.segmentation
        per_second = SAMPLE_RATE / network.hop
        # local speakers must be kept for the input of the network, with a margin of 2 s
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
        """Duration of a frame in s."""
        return 1 / (SAMPLE_RATE / self.hop)

    def first_sample(self, frame: int) -> int:
        """Return the first sample of a frame: half a hop before its center."""
        return frame * self.hop + (self.field - self.hop) // 2


def thresholds(
    config: DiarizationConfig, networks: DiarizationNetworks, sizes: FrameSizes
) -> ClusteringThresholds:
    """Return the clustering thresholds for these networks."""
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
    """The last samples of the audio. end: samples since the start, with gaps as silence."""

    samples: NDArray[np.float32]
    end: int


@dataclass(frozen=True, slots=True, eq=False)
class SpeakerSegment:
    """Frames `first` to `last` (exclusive) of one local speaker (row), and their speaker."""

    first: int
    last: int
    row: int
    attribution: Attribution


@dataclass(frozen=True, slots=True, eq=False)
class Diarization:
    """State of the diarization.

    segments: speech of the last seconds, for which local speakers are kept. merged: new index of
    the speakers that were merged in the last update.
    """

    local: LocalSpeakers = field(default_factory=LocalSpeakers)
    clusters: SpeakerClusters = field(default_factory=SpeakerClusters)
    segments: tuple[SpeakerSegment, ...] = ()
    merged: Mapping[int, int | None] = field(default_factory=dict)


class Updater:
    """Computes updates with fixed networks and configuration; has no state."""

    def __init__(self, config: DiarizationConfig, networks: DiarizationNetworks) -> None:
        self.sizes = FrameSizes.of(config, networks)
        self._config, self._networks = config, networks
        self._thresholds = thresholds(config, networks, self.sizes)

    def update(self, state: Diarization, recording: RecordedAudio) -> Diarization:
        """Return the state updated with the new audio. Runs each network once."""
        sizes, network = self.sizes, self._networks.segmentation
        begin = max(0, recording.end - min(len(recording.samples), sizes.longest))
        first = -(-begin // sizes.hop)  # frames are aligned between runs of the network
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
        """Return the windows of the last seconds that still contain one voice, and new ones."""
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
        """Return whether a window has full length, or covers all of its run."""
        length = window.last - window.first
        return length >= self.sizes.window or run[1] - run[0] <= length + self.sizes.step // 2

    def _missing(self, begin: int, end: int, have: Sequence[int]) -> list[tuple[int, int]]:
        """Return (first, last) of the windows that are missing in the run begin..end."""
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
        """Embed windows of (row, run, first column, last column), without windows of silence."""
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

    # --- attribution ---

    def _segments(
        self, local: LocalSpeakers, clusters: SpeakerClusters, fits: Matrix
    ) -> tuple[SpeakerSegment, ...]:
        """Return every run of every local speaker with its speaker."""
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
        """Return window -> speaker, by the Viterbi path through each run."""
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
        """Split one run of a local speaker at speaker changes."""
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
        """Return the softmax over the speakers and an unknown one, reduced for a short turn."""
        mean = fits.mean(axis=0)
        rivals = np.append(np.delete(mean, chosen), self._thresholds.least)
        length = frames * self.sizes.duration
        odds = np.exp(np.clip(self._config.sharpness * (rivals - mean[chosen]), -50.0, 50.0))
        return float(length / (length + self._config.doubt) / (1.0 + odds.sum()))
