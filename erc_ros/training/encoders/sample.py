"""`Sample`, the input of an encoder, and `Encoder`, its interface."""

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
    """One utterance of a corpus with the modalities that are available.

    key: unique within the corpus. turns: the earlier turns, oldest first, and the utterance itself
    last. sound: (n,) or (n, channels), int16 or float in [-1, 1], at `sample_rate` Hz, the rate of
    the recording.
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
    """Interface of encoders: utterances to embeddings.

    Contract, for the encoders of `erc encode` and of other packages:

    - The class is called with the model (a path or name from the command line) and the options of
      the command as keywords. It raises ValueError or FileNotFoundError if it cannot use them, and
      downloads nothing.
    - `modality`, `name` and `dimension` are constant. If embeddings change, `name` changes.
    - The embedding of a sample does not depend on the batch (within 1e-4) or on earlier calls.
      Values are finite float32.
    - A sample for which `refuses` returns "" is encoded; others raise ValueError.
    - Samples of a conversation are encoded in order; `turns` has the whole permitted context.
    - Calls are in one thread; each worker process has a separate encoder.
    """

    modality: str
    """text, audio or visual."""
    name: str
    """Identifies the embeddings: kind, settings and a digest of the weights."""
    dimension: int

    def refuses(self, sample: Sample) -> str:
        """Return why an utterance has no embedding, as a countable reason; "" if it has one."""

    def encode(self, samples: Sequence[Sample]) -> NDArray[np.float32]:
        """Return one embedding per sample, (N, dimension), independent of the batch.

        Raises:
            ValueError: a sample is refused; names it.
        """


def unusable_sound(
    sample: Sample, shortest: int, rate: int = SAMPLE_RATE, least: str = "a frame"
) -> str:
    """Return why the audio of a sample cannot be encoded, or "".

    Args:
        shortest: minimum number of samples at `rate` (Hz); `least` is the same in words.
    """
    if sample.sound is None:
        return "no sound"
    if sample.sound.ndim not in (1, 2) or sample.sound.dtype.kind not in "if":
        return f"sound of shape {sample.sound.shape} and type {sample.sound.dtype}"
    if sample.sample_rate <= 0:
        return f"a sample rate of {sample.sample_rate} Hz"
    if not np.isfinite(sample.sound).all():
        return "sound that is not finite"
    samples = len(sample.sound) * rate // sample.sample_rate
    return "" if samples >= shortest else f"sound shorter than {least}"


def check_samples(encoder: Encoder, samples: Sequence[Sample]) -> None:
    """Raise ValueError for the first sample that the encoder refuses, or an empty batch."""
    if not samples:
        raise ValueError("there is nothing to encode: an empty batch")
    for sample in samples:
        if reason := encoder.refuses(sample):
            raise ValueError(f"utterance {sample.key!r} has no {encoder.modality}: {reason}")
