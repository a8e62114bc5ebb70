"""Export trained encoders as the ONNX files of a bundle (docs/reference/bundle.md).

Padding does not change the embedding of a text. Waveforms are not padded: the robot encodes one
utterance at a time, and all rows of a batch have the same length.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from erc_ros.encoders.audio import MEL_BANDS
from erc_ros.encoders.face import SIZE
from erc_ros.training.encoders.audio.emotion2vec import Emotion2vecEncoder
from erc_ros.training.encoders.audio.pretrained import SpeechEncoder
from erc_ros.training.encoders.pretrained import Trainable, masked_mean, projected
from erc_ros.training.encoders.robot import FacesEncoder, LogMelEncoder
from erc_ros.training.encoders.text.pretrained import PretrainedTextEncoder, read_at
from erc_ros.training.encoders.visual.pretrained import VideoEncoder, read_clips
from erc_ros.training.manifest import fix_output
from erc_ros.training.onnx import Example, export_audio, export_face, write_onnx

TOLERANCE = 1e-3
PublishedEncoder = PretrainedTextEncoder | SpeechEncoder | VideoEncoder


class MaskReader(nn.Module):
    """A text encoder whose output is the embedding at the mask token."""

    def __init__(self, model: nn.Module, unit_length: bool) -> None:
        super().__init__()
        self._model, self._unit_length = model, unit_length

    def forward(self, input_ids: Tensor, attention_mask: Tensor, mask_index: Tensor) -> Tensor:
        """Return embeddings (B, d) for ids and mask (B, L) and mask positions (B)."""
        states = self._model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        embedding = projected(self._model, read_at(states, mask_index))
        return normalize(embedding, dim=-1) if self._unit_length else embedding


class PlainReader(nn.Module):
    """A text encoder whose output is the first token or the mean of all tokens."""

    def __init__(self, model: nn.Module, reading: str, unit_length: bool) -> None:
        super().__init__()
        self._model, self._reading, self._unit_length = model, reading, unit_length

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return embeddings (B, d) for ids and mask (B, L)."""
        states = self._model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        first = self._reading == "first"
        embedding = states[:, 0] if first else masked_mean(states, attention_mask)
        embedding = projected(self._model, embedding)
        return normalize(embedding, dim=-1) if self._unit_length else embedding


class StatesReader(nn.Module):
    """A speech encoder whose output is the first state or the mean of all states."""

    def __init__(self, model: nn.Module, reading: str) -> None:
        super().__init__()
        self._model, self._reading = model, reading

    def forward(self, samples: Tensor) -> Tensor:
        """Return embeddings (B, d) for samples (B, n)."""
        states: Tensor = self._model(input_values=samples).last_hidden_state  # (B, L, d)
        return states[:, 0] if self._reading == "first" else states.mean(dim=1)


class ClipReader(nn.Module):
    """A video encoder, or an encoder of single images."""

    def __init__(self, model: nn.Module, reading: str) -> None:
        super().__init__()
        self._model, self._reading = model, reading

    def forward(self, clip: Tensor) -> Tensor:
        """Return embeddings (B, d) for clips (B, T, 3, S, S)."""
        return read_clips(self._model, clip, self._reading)


class FramesReader(nn.Module):
    """emotion2vec whose output is the mean of the frames; normalizes the waveform as `collate`."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._model = model

    def forward(self, samples: Tensor) -> Tensor:
        """Return embeddings (B, d) for samples (B, n)."""
        centered = samples - samples.mean(dim=-1, keepdim=True)
        variance = centered.square().mean(dim=-1, keepdim=True)
        frames: Tensor = self._model(centered * torch.rsqrt(variance + 1e-5))  # (B, T, d)
        return frames.mean(dim=1)


def export_encoder(encoder: Trainable, file: Path) -> float:
    """Write `file`; return its largest difference from torch on examples of several sizes.

    Raises:
        TypeError: a bundle cannot have this kind of encoder.
        ArithmeticError: the difference is more than 1e-3.
        ValueError: the network cannot be written as ONNX.
    """
    if isinstance(encoder, LogMelEncoder):
        difference = export_audio(encoder.model, file, MEL_BANDS)
    elif isinstance(encoder, FacesEncoder):
        difference = export_face(encoder.model, file, SIZE)
    elif isinstance(encoder, Emotion2vecEncoder):
        network = FramesReader(copy.deepcopy(encoder.model).cpu().float().eval())
        axes = {"waveform": {0: "B", 1: "n"}, "embedding": {0: "B"}}
        sounds = _waveforms(encoder.shortest)
        difference = write_onnx(network, sounds, file, ["embedding"], axes, TOLERANCE)
    elif isinstance(encoder, PublishedEncoder):
        difference = _export_published(encoder, file)
    else:
        raise TypeError(f"{encoder.name} is of a kind that a bundle cannot have")
    fix_output(file, "embedding", encoder.dimension)
    return difference


def _export_published(encoder: PublishedEncoder, file: Path) -> float:
    model: Any = copy.deepcopy(encoder.model).cpu().float().eval()
    model.set_attn_implementation("eager")  # other implementations select a kernel during tracing
    network, examples, axes = _reader(encoder, model)
    outputs = {"embedding": {0: "B"}}
    try:
        return write_onnx(network, examples, file, ["embedding"], {**axes, **outputs}, TOLERANCE)
    except (RuntimeError, TypeError) as error:  # errors of the tracer
        kind, reason = type(encoder.model).__name__, str(error).partition("\n")[0]
        raise ValueError(f"{kind} cannot be written as ONNX: {reason}") from error


def _reader(
    encoder: PublishedEncoder, model: nn.Module
) -> tuple[nn.Module, Sequence[Example], Mapping[str, Mapping[int, str]]]:
    draw = torch.Generator().manual_seed(0)
    if isinstance(encoder, PretrainedTextEncoder):
        return _text_reader(encoder, model, draw)
    if isinstance(encoder, SpeechEncoder):
        reader = StatesReader(model, encoder.config.reading)
        return reader, _waveforms(encoder.shortest), {"waveform": {0: "B", 1: "n"}}
    clips = [
        {"clip": torch.randn(b, encoder.frames, 3, encoder.side, encoder.side, generator=draw)}
        for b in (2, 1, 3)
    ]
    return ClipReader(model, encoder.config.reading), clips, {"clip": {0: "B"}}


def _waveforms(shortest: int) -> list[Example]:
    draw = torch.Generator().manual_seed(0)
    lengths = ((2, 3 * shortest + 1600), (1, shortest), (3, 16_000))
    return [{"waveform": torch.randn(*shape, generator=draw)} for shape in lengths]


def _text_reader(
    encoder: PretrainedTextEncoder, model: nn.Module, draw: torch.Generator
) -> tuple[nn.Module, Sequence[Example], Mapping[str, Mapping[int, str]]]:
    config = encoder.config
    at_mask = config.prompt != "plain"
    names = ["input_ids", "attention_mask", *(["mask_index"] if at_mask else [])]
    padding, examples = encoder.tokenizer.pad_token_id or 0, []
    for lengths in ((9, 5), (encoder.max_tokens,), (7, 12, 3)):
        ids = torch.randint(len(encoder.tokenizer), (len(lengths), max(lengths)), generator=draw)
        seen = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
        # No padding id inside a text: RoBERTa's positions skip it.
        ids = torch.where(seen, ids.masked_fill(ids == padding, padding + 1), padding)
        values = (ids, seen.long(), torch.tensor(lengths) - 1)
        examples.append(dict(zip(names, values, strict=False)))
    reader = (
        MaskReader(model, config.unit_length)
        if at_mask
        else PlainReader(model, config.reading, config.unit_length)
    )
    axes = {name: {0: "B", 1: "L"} for name in ("input_ids", "attention_mask")}
    return reader, examples, {**axes, **({"mask_index": {0: "B"}} if at_mask else {})}
