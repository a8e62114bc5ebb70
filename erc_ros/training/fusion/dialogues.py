"""Conversations as embeddings; batches, windows and predictions of fusion models.

Rows are indices of utterances in a split, -1: padding.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from erc_ros.training.engine.trainer import device_of
from erc_ros.training.heads.base import MODALITIES

EVERYTHING = (True, True, True)
AT_ONCE = 32
"""Number of conversations of a batch of predictions."""


@dataclass(frozen=True, eq=False)
class Dialogues:
    """One split, N utterances in their order.

    text, audio, visual (N, d_m) float32; labels (N,) int64, -100 if not labeled; speakers
    (N,) int64; first (N,) int64: the first row of the utterance's dialogue; present (N, 3)
    bool: mask of the embeddings, None: all.
    """

    text: NDArray[np.float32]
    audio: NDArray[np.float32]
    visual: NDArray[np.float32]
    labels: NDArray[np.int64]
    speakers: NDArray[np.int64]
    first: NDArray[np.int64]
    present: NDArray[np.bool_] | None = None

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sizes of the text, audio and visual embeddings."""
        return tuple(getattr(self, name).shape[1] for name in MODALITIES)

    def labels_of(self, rows: NDArray[np.int64]) -> Tensor:
        """Return labels (B, U) long, -100 without a label."""
        return torch.from_numpy(np.where(rows >= 0, self.labels[rows], -100))


def windows(first: NDArray[np.int64], context: int) -> NDArray[np.int64]:
    """Return every utterance's window (N, context) of rows, itself last, -1 before the dialogue."""
    rows = np.arange(len(first))[:, None] - np.arange(context)[::-1]
    return np.where(rows >= first[:, None], rows, -1)


def head_inputs(
    data: Dialogues,
    rows: NDArray[np.int64],
    modalities: NDArray[np.bool_],
    said: NDArray[np.int64] | None = None,
    heard: NDArray[np.int64] | None = None,
    shown: NDArray[np.int64] | None = None,
) -> dict[str, Tensor]:
    """Return the fusion's inputs for rows (B, U), -1: padding; modalities (B, U, 3).

    said, heard, shown: rows from which text, audio and faces are taken instead
    (`replace_modalities`).
    """
    if data.present is not None:
        modalities = modalities & data.present[rows]
    arrays = {
        "text": data.text[rows if said is None else said],
        "audio": data.audio[rows if heard is None else heard],
        "visual": data.visual[rows if shown is None else shown],
        "modalities": modalities,
        "speakers": data.speakers[rows],
        "valid": rows >= 0,
    }
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def conversations(data: Dialogues) -> list[NDArray[np.int64]]:
    """Return the rows of each conversation."""
    return np.split(np.arange(len(data.first)), np.unique(data.first)[1:])


def shuffled(data: Dialogues, size: int, rng: random.Random) -> list[NDArray[np.int64]]:
    """Return an epoch's batches (B, U) of whole conversations of similar length."""
    rows = conversations(data)
    rng.shuffle(rows)
    rows.sort(key=len)
    result = [padded(rows[start : start + size]) for start in range(0, len(rows), size)]
    rng.shuffle(result)
    return result


def shuffled_utterances(data: Dialogues, size: int, rng: random.Random) -> list[NDArray[np.int64]]:
    """Return an epoch's batches (B, 1) of labeled utterances, each a separate conversation."""
    rows = np.flatnonzero(data.labels >= 0).tolist()
    rng.shuffle(rows)
    starts = range(0, len(rows), size)
    return [np.array(rows[start : start + size], np.int64)[:, None] for start in starts]


def padded(rows: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Pad rows to (B, U) with -1 at the end."""
    result = np.full((len(rows), max(map(len, rows))), -1, np.int64)
    for number, row in enumerate(rows):
        result[number, : len(row)] = row
    return result


def degraded(data: Dialogues, rates: Sequence[float], draws: int, seed: int = 0) -> Dialogues:
    """A split, `draws` times, as hard as one whose labels the encoders have not seen.

    Each embedding of an utterance is mixed with that of another one. rates: in which share of the
    utterances the other's part is the larger one; text, audio, visual. Of halves a classifier
    is unsure, so that its errors are uncertain ones, as on utterances new to an encoder.
    """
    rng, rows = np.random.default_rng(seed), np.tile(np.arange(len(data.labels)), draws)
    mixed = {}
    for name, rate in zip(MODALITIES, rates, strict=True):
        own = getattr(data, name)
        # The part of the other one is u^(1/k), u uniform: above a half in 1 - 0.5^k of all.
        part = rng.random((len(rows), 1)) ** (1 / -np.log2(1 - rate)) if rate else 0.0
        other = own[rng.integers(0, len(own), len(rows))]
        mixed[name] = ((1 - part) * own[rows] + part * other).astype(np.float32)
    offsets = np.repeat(np.arange(draws) * len(data.labels), len(data.labels))
    present = None if data.present is None else data.present[rows]
    labels, speakers = data.labels[rows], data.speakers[rows]
    return Dialogues(
        **mixed, labels=labels, speakers=speakers, first=data.first[rows] + offsets, present=present
    )


@torch.inference_mode()
def predict_windows(
    model: nn.Module, data: Dialogues, context: int, modalities: Sequence[bool] = EVERYTHING
) -> NDArray[np.float32]:
    """Return logits (N, C) as in the recognizer, from these modalities only."""
    model.eval()
    answers = []
    for rows in np.array_split(windows(data.first, context), max(1, len(data.first) // 512)):
        answers.append(_logits(model, data, rows, modalities)[:, -1])
    return np.concatenate(answers)


@torch.inference_mode()
def predict_conversations(
    model: nn.Module, data: Dialogues, modalities: Sequence[bool] = EVERYTHING
) -> NDArray[np.float32]:
    """Return logits (N, C) of whole conversations; a causal model ignores later utterances."""
    model.eval()
    ordered = sorted(conversations(data), key=len)  # of similar length: little padding
    answers, order = [], []
    for start in range(0, len(ordered), AT_ONCE):
        rows = padded(ordered[start : start + AT_ONCE])
        answers.append(_logits(model, data, rows, modalities)[rows >= 0])
        order.append(rows[rows >= 0])
    result = np.concatenate(answers)
    return result[np.argsort(np.concatenate(order))]


def _logits(
    model: nn.Module, data: Dialogues, rows: NDArray[np.int64], modalities: Sequence[bool]
) -> NDArray[np.float32]:
    """Return logits (B, U, C)."""
    seen = (rows >= 0)[..., None] & np.array(modalities)
    inputs = head_inputs(data, rows, seen)
    device = device_of(model)
    logits: Tensor = model(**{name: value.to(device) for name, value in inputs.items()})[0]
    return logits.float().cpu().numpy()
