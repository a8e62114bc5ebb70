"""Select the held-out speakers of a bundle's audio part; the only module that does so.

The training of the audio part chooses them and records them in its metrics.json (`held_out`). The
bundle manifest copies them (`training.held_out.audio`). Quantization, the fusion trial, calibration
and encoder evaluation read this record. Only a training computes a new split.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from erc_ros.training.datasets import corpora
from erc_ros.training.datasets.speech import Clip, SpeechCorpus

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
        """Return the indices of the clips of a split, ascending.

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


def acted_speech(data: Path) -> SpeechCorpus:
    """Read the acted clips that replace the audio of the dialogues, which is not available.

    Raises:
        FileNotFoundError: a corpus is missing; names it.
    """
    return corpora.clips(corpora.ACTED, data)


def recorded_speakers(record: Any, source: str) -> HeldOutSpeakers:
    """Return the held-out speakers of a record `{dev: [...], test: [...]}`.

    Args:
        record: `held_out` of metrics.json, or `training.held_out.audio` of a manifest.
        source: the file, for error messages.

    Raises:
        ValueError: the record is missing or has another format.
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
    """Choose held-out speakers: a fifth for test, a tenth for dev, of each corpus and sex."""
    groups: dict[tuple[str, str], set[str]] = {}
    for clip in clips:
        groups.setdefault((clip.corpus, clip.sex), set()).add(clip.speaker)
    dealt = [speaker for key in sorted(groups) for speaker in sorted(groups[key])]
    return HeldOutSpeakers(dev=frozenset(dealt[1::10]), test=frozenset(dealt[::5]))


def speakers_of_bundle(
    training: Mapping[str, Any], has_audio: bool, clips: Sequence[Clip], source: str
) -> HeldOutSpeakers:
    """Return the held-out speakers of a bundle.

    Args:
        training: `training` of its manifest.
        has_audio: False: the bundle was not trained on speech, so that any split is held out.
        clips: divided into splits for a bundle without an audio part.
        source: the manifest, for error messages.

    Raises:
        ValueError: the bundle has an audio part and does not name them.
    """
    if not has_audio:
        return new_speakers(clips)
    held_out = training.get("held_out")
    record = held_out.get("audio") if isinstance(held_out, Mapping) else None
    return recorded_speakers(record, source)
