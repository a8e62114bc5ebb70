"""Speakers that the audio part of a bundle was not trained on: the one place that selects them.

The training of the audio part chooses them and records them in its metrics.json (`held_out`). The
bundle manifest takes them from there (`training.held_out.audio`). Quantization, the fusion trial,
calibration and encoder evaluation read that record. Only a training computes a new split.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from erc_ros.training.datasets import corpora
from erc_ros.training.datasets.speech import Clip, SpeechCorpus

FOLDS = 5
BUNDLE_FOLD = 0
"""The fold whose log-mel model is exported."""
SPLITS = ("train", "dev", "test")


@dataclass(frozen=True)
class HeldOutSpeakers:
    """Names of speakers as in `Clip.speaker`; all others belong to `train`.

    Raises:
        ValueError: a speaker is in both sets, or a set is empty.
    """

    dev: frozenset[str]
    test: frozenset[str]

    def __post_init__(self) -> None:
        if not self.dev or not self.test:
            raise ValueError("held_out needs at least one speaker each for dev and test")
        if both := self.dev & self.test:
            raise ValueError(f"held_out names {', '.join(sorted(both))} for both dev and test")

    def rows(self, clips: Sequence[Clip], split: str) -> NDArray[np.int64]:
        """Indices of the clips of a split, ascending.

        Args:
            split: "train", "dev" or "test".
        """
        if split not in SPLITS:
            raise ValueError(f"split is {split!r}; must be one of {', '.join(SPLITS)}")
        splits = np.array([self._split_of(clip.speaker) for clip in clips], np.str_)
        return np.flatnonzero(splits == split)

    def _split_of(self, speaker: str) -> str:
        if speaker in self.test:
            return "test"
        return "dev" if speaker in self.dev else "train"


@dataclass(frozen=True, eq=False)
class SpeakerFold:
    """Indices of clips; no speaker is in two of the three."""

    train: NDArray[np.int64]
    dev: NDArray[np.int64]
    test: NDArray[np.int64]


def acted_speech(data: Path) -> SpeechCorpus:
    """The clips that stand for speech where that of the dialogues is not available.

    Raises:
        FileNotFoundError: a corpus is missing; says which.
    """
    return corpora.clips(corpora.ACTED, data)


def recorded_speakers(record: Any, source: str) -> HeldOutSpeakers:
    """The held-out speakers of a record `{dev: [...], test: [...]}`.

    Args:
        record: `held_out` of metrics.json, or `training.held_out.audio` of a manifest.
        source: the file, for the message.

    Raises:
        ValueError: no such record, or one of another form.
    """
    if not isinstance(record, Mapping) or not {"dev", "test"} <= set(record):
        raise ValueError(
            f"{source} does not name the speakers that its audio part was not trained on "
            "(held_out: dev and test). Without them no data can be called held out: add the names, "
            "or train the part again"
        )
    try:
        return HeldOutSpeakers(*(frozenset(map(str, record[name])) for name in ("dev", "test")))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{source}: {error}") from None


def new_speakers(clips: Sequence[Clip]) -> HeldOutSpeakers:
    """Held-out speakers for a training: those of fold `BUNDLE_FOLD`."""
    fold = folds(clips)[BUNDLE_FOLD]
    return HeldOutSpeakers(speakers_of(clips, fold.dev), speakers_of(clips, fold.test))


def speakers_of(clips: Sequence[Clip], rows: Iterable[int]) -> frozenset[str]:
    """The speakers of these clips."""
    return frozenset(clips[row].speaker for row in rows)


def speakers_of_bundle(
    training: Mapping[str, Any], has_audio: bool, clips: Sequence[Clip], source: str
) -> HeldOutSpeakers:
    """The held-out speakers of a bundle.

    Args:
        training: `training` of its manifest.
        has_audio: False: the bundle has learned from no speech, so that any split is held out.
        clips: of which a split is made for a bundle without an audio part.
        source: the manifest, for the message.

    Raises:
        ValueError: the bundle has an audio part and does not name them.
    """
    if not has_audio:
        return new_speakers(clips)
    held_out = training.get("held_out")
    record = held_out.get("audio") if isinstance(held_out, Mapping) else None
    return recorded_speakers(record, source)


def folds(clips: Sequence[Clip]) -> list[SpeakerFold]:
    """Five splits by speaker; the test parts are disjoint and together cover all speakers.

    Every fold has its share of each corpus and sex. Half of the next fold's speakers are dev.
    """
    groups: dict[tuple[str, str], set[str]] = {}
    for clip in clips:
        groups.setdefault((clip.corpus, clip.sex), set()).add(clip.speaker)
    fold_of: dict[str, int] = {}
    half_of: dict[str, int] = {}
    dealt = 0
    for key in sorted(groups):
        for speaker in sorted(groups[key]):
            fold_of[speaker], half_of[speaker] = dealt % FOLDS, dealt // FOLDS % 2
            dealt += 1
    fold = np.array([fold_of[clip.speaker] for clip in clips])
    half = np.array([half_of[clip.speaker] for clip in clips])
    splits = []
    for number in range(FOLDS):
        test = fold == number
        dev = (fold == (number + 1) % FOLDS) & (half == 0)
        splits.append(SpeakerFold(*(np.flatnonzero(part) for part in (~test & ~dev, dev, test))))
    return splits
