"""Pretrained encoders that are trained further, on the clips of a corpus (MAGTKD's first stage)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from erc_ros.training.datasets import corpora
from erc_ros.training.encoders.audio.pretrained import SpeechEncoder
from erc_ros.training.encoders.sample import Sample
from erc_ros.training.encoders.visual.pretrained import VideoEncoder

ClipEncoder = SpeechEncoder | VideoEncoder


class PretrainedNetwork(nn.Module):
    """A pretrained encoder as a network: what its `collate` makes -> (N, dimension)."""

    def __init__(self, make: Callable[[], ClipEncoder]) -> None:
        super().__init__()
        self._encoder = make()
        self.model = self._encoder.model

    def forward(self, **inputs: Tensor) -> Tensor:
        """-> (N, dimension)."""
        return self._encoder.embed(inputs)


def sample_of(corpus: str, clip: Path, encoder: ClipEncoder) -> Sample:
    """What the encoder needs of a clip; without it where the clip has none."""
    try:
        if isinstance(encoder, VideoEncoder):
            return Sample(str(clip), frames=corpora.frames(clip, encoder.frames))
        return Sample(str(clip), sound=corpora.sound(corpus, clip))
    except corpora.UnusableMediaError:
        return Sample(str(clip))


def usable(corpus: str, clips: Sequence[Path | None], encoder: ClipEncoder) -> NDArray[np.bool_]:
    """Which clips the encoder can learn from, (N,); decodes each once."""
    samples = (None if clip is None else sample_of(corpus, clip, encoder) for clip in clips)
    return np.array([s is not None and not encoder.refuses(s) for s in samples], bool)


@dataclass(frozen=True, eq=False)
class ClipInputs:
    """Clips, decoded when they are asked for: memory is bounded by the batch."""

    corpus: str
    clips: Sequence[Path]
    encoder: ClipEncoder

    def __len__(self) -> int:
        return len(self.clips)

    def __call__(
        self, rows: NDArray[np.int64], generator: np.random.Generator | None
    ) -> dict[str, Tensor]:
        """The model's inputs for some clips, as they are.

        Raises:
            ValueError: a clip is no longer what it was when training began.
        """
        samples = [sample_of(self.corpus, self.clips[row], self.encoder) for row in rows]
        for sample in samples:
            if reason := self.encoder.refuses(sample):
                raise ValueError(f"{sample.key} cannot be used any more: {reason}")
        return self.encoder.collate(samples)
