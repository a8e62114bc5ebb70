"""What an encoder sees of an utterance, and what an encoder is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from erc_ros.encoders.text import Turn
from erc_ros.values.utterance import SAMPLE_RATE


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One utterance of a corpus, with as much of it as is there.

    key: unique within the corpus. turns: what was said before, oldest first, and the utterance
    itself last. sound: (n,) or (n, channels), int16 or float in [-1, 1], at `sample_rate` Hz; a
    clip that was recorded at another rate than it says comes out wrong, so say the true one.
    frames: (T, H, W, 3) uint8 RGB, in their order.
    features: (d,) where the corpus is published as features of this modality.
    """

    key: str
    turns: tuple[Turn, ...] = ()
    sound: NDArray[np.int16] | NDArray[np.float32] | None = None
    sample_rate: int = SAMPLE_RATE
    frames: NDArray[np.uint8] | None = None
    features: NDArray[np.float32] | None = None


class Encoder(Protocol):
    """Utterances in, one embedding each out.

    Contract, for the encoders of `erc encode` and of other packages:

    - The class is called with the model (a path or name, as the command got it) and the options of
      the command as keywords. It raises ValueError or FileNotFoundError for those that it cannot
      use. It downloads nothing.
    - `modality`, `name` and `dimension` are constant. `name` changes whenever an embedding would.
    - `encode` gives each sample the same embedding whatever else is in the batch (within 1e-4),
      and the same again when it is called again. Values are finite float32.
    - A sample that `refuses` says nothing about ("") is encoded; others raise ValueError.
    - Samples of a conversation come in their order; `turns` holds everything that may be read.
    - One thread; with several workers, each has an encoder of its own.
    """

    modality: str
    """text, audio or visual."""
    name: str
    """The same for the same embeddings: kind, settings and a digest of the weights."""
    dimension: int

    def refuses(self, sample: Sample) -> str:
        """Why this utterance has no embedding, in words to count by; "" if it has one."""

    def encode(self, samples: Sequence[Sample]) -> NDArray[np.float32]:
        """One embedding a sample, (N, dimension), whatever else is in the batch.

        Raises:
            ValueError: a sample that `refuses`; names it.
        """


def unusable_sound(
    sample: Sample, shortest: int, rate: int = SAMPLE_RATE, least: str = "a frame"
) -> str:
    """Why its audio cannot be encoded, or "".

    Args:
        shortest: samples at `rate` (Hz) that an encoder needs; `least` says it in words.
    """
    if sample.sound is None:
        return "no sound"
    if sample.sound.ndim not in (1, 2) or sample.sound.dtype.kind not in "if":
        return f"sound of shape {sample.sound.shape} and type {sample.sound.dtype}"
    if sample.sample_rate <= 0:
        return f"a sample rate of {sample.sample_rate} Hz"
    if not np.isfinite(sample.sound).all():
        return "sound that is not finite"
    heard = len(sample.sound) * rate // sample.sample_rate
    return "" if heard >= shortest else f"sound shorter than {least}"


def check_samples(encoder: Encoder, samples: Sequence[Sample]) -> None:
    """Raises ValueError for the first sample that the encoder refuses, or for none at all."""
    if not samples:
        raise ValueError("there is nothing to encode: an empty batch")
    for sample in samples:
        if reason := encoder.refuses(sample):
            raise ValueError(f"utterance {sample.key!r} has no {encoder.modality}: {reason}")
