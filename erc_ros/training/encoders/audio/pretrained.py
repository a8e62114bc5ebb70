"""Speech encoders of Hugging Face for waveforms: data2vec-audio, wav2vec 2.0, WavLM, HuBERT.

Audio of another rate than the model's (16 kHz) is resampled.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoFeatureExtractor, AutoModel

from erc_ros.training.encoders import pretrained
from erc_ros.training.encoders.sample import Sample, unusable_sound
from erc_ros.values.settings import check, setting

READINGS = ("mean", "first")


@dataclass(frozen=True, slots=True)
class SpeechEncoderConfig:
    """The section of a speech encoder."""

    model: str
    """A folder, or a name in the local Hugging Face cache."""
    reading: str = setting("mean", "the mean of the frames or the first one", choices=READINGS)
    max_seconds: float = setting(
        20.0, "only the end of a longer utterance is used; memory grows with its square", "s",
        (0.1, 600),
    )  # fmt: skip
    batch_size: int = setting(8, "clips encoded together", "", (1, 10_000))

    def __post_init__(self) -> None:
        check(self)


class SpeechEncoder:
    """Encoder of audio; see `sample.Encoder` and `pretrained.Trainable`.

    Clips are padded to the longest and masked. In some models padding changes the embedding
    nevertheless (group normalization over time, stacked position convolutions). The constructor
    tests this; `embed` processes one clip at a time with such a model.

    Raises:
        FileNotFoundError: the model or its feature extractor is not on this machine.
        ValueError: the model cannot be read, or does not take a waveform.
    """

    modality = "audio"

    def __init__(self, config: SpeechEncoderConfig) -> None:
        folder = pretrained.local_folder(config.model)
        self.config = config
        self.model: nn.Module = pretrained.load(AutoModel, folder)
        self._extract = pretrained.load_processor(AutoFeatureExtractor, folder)
        if self.model.main_input_name != "input_values":
            raise ValueError(
                f"{folder} takes {self.model.main_input_name}, not a waveform: use a"
                " data2vec-audio, wav2vec2, WavLM, HuBERT or UniSpeech model"
            )
        # No SpecAugment masks, which are for pretraining: some clips have only a few frames.
        self.model.config.apply_spec_augment = False
        self.rate = int(self._extract.sampling_rate)
        self.normalises = bool(self._extract.do_normalize)
        self.dimension = int(self.model.config.hidden_size)
        settings = asdict(config) | {"model": "", "batch_size": 0}  # without effect on embeddings
        self.name = f"speech-{pretrained.digest(folder, **settings)}"
        sizes = self.model.config.conv_kernel, self.model.config.conv_stride
        self._layers = list(zip(*sizes, strict=True))
        self.shortest = receptive_field(self._layers)
        self._one_by_one = False
        self._one_by_one = not self.ignores_padding()
        self.batch_size = 1 if self._one_by_one else config.batch_size

    def refuses(self, sample: Sample) -> str:
        """Refuse audio that is missing, not finite, or shorter than one frame (25 ms)."""
        return unusable_sound(sample, self.shortest, self.rate)

    def size(self, sample: Sample) -> int:
        """Return the duration of the audio that is encoded, ms."""
        assert sample.sound is not None
        seconds = len(sample.sound) / sample.sample_rate
        return round(min(seconds, self.config.max_seconds) * 1000)

    def collate(self, samples: Sequence[Sample]) -> dict[str, Tensor]:
        """Return input_values (N, n) float32, attention_mask (N, n), frame_mask (N, T) int64."""
        limit = round(self.config.max_seconds * self.rate)
        sounds = [waveform(sample, self.rate)[-limit:] for sample in samples]
        inputs = self._extract(
            sounds,
            sampling_rate=self.rate,
            padding=True,
            return_attention_mask=True,
            return_tensors="pt",
        )
        frames = torch.tensor([frame_count(len(sound), self._layers) for sound in sounds])
        return {
            "input_values": inputs["input_values"],
            "attention_mask": inputs["attention_mask"].long(),
            "frame_mask": (torch.arange(int(frames.max())) < frames[:, None]).long(),
        }

    def embed(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return embeddings (N, d) for inputs of `collate`."""
        if self._one_by_one and len(inputs["input_values"]) > 1:
            rows = range(len(inputs["input_values"]))
            return torch.cat([self._embed(_without_padding(inputs, row)) for row in rows])
        return self._embed(inputs)

    def sequence(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return frames (N, T, d) and their mask (N, T) bool for inputs of `collate`."""
        there = inputs["frame_mask"].bool()
        if not self._one_by_one:
            return self._frames(inputs), there
        rows = range(len(there))
        alone = [self._frames(_without_padding(inputs, row))[0] for row in rows]
        return pad_sequence(alone, batch_first=True), there

    def _frames(self, inputs: Mapping[str, Tensor]) -> Tensor:
        mask = inputs["attention_mask"]
        states: Tensor = self.model(
            input_values=inputs["input_values"],
            # No mask without padding: some models were trained without masks.
            attention_mask=None if bool(mask.all()) else mask,
        ).last_hidden_state  # (N, T, d)
        return states

    def _embed(self, inputs: Mapping[str, Tensor]) -> Tensor:
        states = self._frames(inputs)  # (N, T, d)
        if self.config.reading == "first":
            first: Tensor = states[:, 0]
            return first
        return pretrained.masked_mean(states, inputs["frame_mask"])

    def encode(self, samples: Sequence[Sample]) -> NDArray[np.float32]:
        """Return embeddings (N, d); see `pretrained.encode`."""
        return pretrained.encode(self, samples)

    def save(self, folder: Path) -> None:
        """Write model and feature extractor as a Hugging Face folder."""
        pretrained.save(folder, self.model, self._extract)

    @torch.inference_mode()
    def ignores_padding(self) -> bool:
        """Return whether a clip has the same embedding in a batch with a longer one."""
        generator = np.random.default_rng(0)
        noise = generator.standard_normal(4 * self.shortest + self.rate // 5).astype(np.float32)
        quiet = (noise[::2] / 10).astype(np.float32)
        long, short = (Sample("", sound=s, sample_rate=self.rate) for s in (noise, quiet))
        alone, padded = self.embed(self.collate([short])), self.embed(self.collate([short, long]))
        return bool((alone[0] - padded[0]).abs().max() <= 1e-4 * alone.abs().max())


def _without_padding(inputs: Mapping[str, Tensor], row: int) -> dict[str, Tensor]:
    """Return one clip of the inputs of `collate`, without its padding."""
    samples = int(inputs["attention_mask"][row].sum())
    frames = int(inputs["frame_mask"][row].sum())
    return {
        "input_values": inputs["input_values"][row : row + 1, :samples],
        "attention_mask": inputs["attention_mask"][row : row + 1, :samples],
        "frame_mask": inputs["frame_mask"][row : row + 1, :frames],
    }


def waveform(sample: Sample, rate: int) -> NDArray[np.float32]:
    """Return a sample's audio as (n,) float32 in [-1, 1] at `rate` Hz, channels averaged."""
    assert sample.sound is not None
    sound: NDArray[Any] = sample.sound
    if sound.dtype.kind == "i":
        sound = sound / np.float32(-float(np.iinfo(sound.dtype).min))
    mono = sound.mean(axis=1) if sound.ndim == 2 else sound
    if sample.sample_rate != rate:
        mono = soxr.resample(mono, sample.sample_rate, rate)
    return np.ascontiguousarray(mono, np.float32)


def frame_count(samples: int, layers: Sequence[tuple[int, int]]) -> int:
    """Return the number of frames after convolutions (kernel, stride) over `samples`."""
    for kernel, stride in layers:
        samples = max(0, (samples - kernel) // stride + 1)
    return samples


def receptive_field(layers: Sequence[tuple[int, int]]) -> int:
    """Return the number of samples of one frame."""
    strides = [stride for _, stride in layers]
    return 1 + sum((k - 1) * math.prod(strides[:n]) for n, (k, _) in enumerate(layers))
