"""The voice network: emotion from a speaker embedding, absolute and relative to the speaker.

Two small networks and a gate. The input of the first is the embedding relative to the mean of the
same speaker's earlier utterances; it is more accurate unless the speaker's emotion did not change.
The input of the second is the embedding itself, for first utterances and unchanged emotions. The
gate weights them by the variance of the earlier utterances along directions that separate emotions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from erc_ros.training.datasets.utterances import LABELS
from erc_ros.values.settings import check, setting

SHRINK = 4.0  # utterances of an average speaker that are added to those received
QUIET = 0.05  # smallest variance
RIDGE = 0.3  # shrinkage of the within-class covariance towards a sphere


@dataclass(frozen=True, slots=True)
class VoiceNetworkConfig:
    """Sizes; the section `network` of a voice recipe."""

    hidden: int = setting(128, "units of each hidden layer", "", (1, 10_000))
    dropout: float = setting(0.5, "between the layers", "", (0, 0.99))
    input_dropout: float = setting(0.2, "of the inputs", "", (0, 0.99))
    noise: float = setting(0.3, "standard deviation added to standardized inputs", "", (0, 10))

    def __post_init__(self) -> None:
        check(self)


class Judgement(NamedTuple):
    """Outputs: relative, absolute (B, C) logits; gate (B,) logit of "the emotion varied"."""

    relative: Tensor
    absolute: Tensor
    gate: Tensor

    @property
    def log_probabilities(self) -> Tensor:
        """Return the log-probabilities (B, C) of the gated mixture."""
        share = self.gate.sigmoid()[:, None]
        together = share * self.relative.softmax(1) + (1 - share) * self.absolute.softmax(1)
        return (together + 1e-6).log()


class VoiceNetwork(nn.Module):
    """voice (B, D), heard (B, H, D), is_heard (B, H) -> log-probabilities of the labels (B, 7)."""

    mean: Tensor
    deviation: Tensor
    directions: Tensor

    def __init__(self, config: VoiceNetworkConfig, size: int) -> None:
        super().__init__()
        classes = len(LABELS)
        self._noise = config.noise
        # Statistics of the training clips; `learn_scale` sets them, checkpoints contain them.
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("deviation", torch.ones(size))
        self.register_buffer("directions", torch.zeros(size, classes - 1))
        self.relative = _perceptron(size + 2, classes, config)
        self.absolute = _perceptron(size, classes, config)
        self.gate = nn.Sequential(nn.Linear(classes + 1, 16), nn.GELU(), nn.Linear(16, 1))

    @torch.no_grad()
    def learn_scale(
        self,
        features: NDArray[np.float32],
        labels: NDArray[np.int64],
        speakers: NDArray[np.str_],
        weights: NDArray[np.float64],
    ) -> None:
        """Set mean, deviation and `emotion_directions` from clips (N, D) with weights (N,)."""
        mean = np.average(features, 0, weights)
        deviation = np.sqrt(np.average(np.square(features - mean), 0, weights)) + 1e-6
        directions = emotion_directions((features - mean) / deviation, labels, speakers)
        self.mean.copy_(torch.from_numpy(mean))
        self.deviation.copy_(torch.from_numpy(deviation))
        self.directions[:, : directions.shape[1]] = torch.from_numpy(directions)

    def judge(self, voice: Tensor, heard: Tensor, is_heard: Tensor) -> Judgement:
        """Return the logits of both networks, and the gate."""
        seen = is_heard.to(voice.dtype)[..., None]  # (B, H, 1)
        x = (voice - self.mean) / self.deviation  # (B, D)
        h = (heard - self.mean) / self.deviation * seen
        before = seen.sum(dim=1)  # (B, 1)
        count = before + 1
        level = (h.sum(dim=1) + x) / (count + SHRINK)
        familiarity = torch.cat([torch.log1p(before) / 2, (before == 0).to(x.dtype)], dim=1)
        relative = self.relative(torch.cat([self._blurred(x - level), familiarity], dim=1))
        absolute = self.absolute(self._blurred(x))
        all_of = torch.cat([h, x[:, None]], dim=1) @ self.directions  # (B, H + 1, C - 1)
        here = torch.cat([seen, torch.ones_like(seen[:, :1])], dim=1)
        middle = (all_of * here).sum(dim=1) / count
        apart = (all_of - middle[:, None]) * here
        variance = (apart * apart).sum(dim=1) / count  # about 1 within one emotion
        gate = self.gate(torch.cat([torch.log(variance + QUIET), familiarity], dim=1))
        return Judgement(relative, absolute, gate[:, 0])

    def forward(self, voice: Tensor, heard: Tensor, is_heard: Tensor) -> Tensor:
        return self.judge(voice, heard, is_heard).log_probabilities

    def _blurred(self, x: Tensor) -> Tensor:
        return x + self._noise * torch.randn_like(x) if self.training else x


class VoiceEnsemble(nn.Module):
    """Ensemble: log of the mean probabilities (B, 7) of several voice networks.

    prior: subtracted from the log-probability of neutral, as networks trained with much ordinary
    speech expect neutral more often than it occurs in conversations.
    """

    correction: Tensor

    def __init__(self, members: Sequence[nn.Module], prior: float = 0.0) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        correction = torch.zeros(len(LABELS))
        correction[LABELS.index("neutral")] = -prior
        self.register_buffer("correction", correction)

    def forward(self, voice: Tensor, heard: Tensor, is_heard: Tensor) -> Tensor:
        each = torch.stack([member(voice, heard, is_heard) for member in self.members])
        together = torch.logsumexp(each, dim=0) - math.log(len(self.members))
        return (together + self.correction).log_softmax(1)


def _perceptron(inputs: int, outputs: int, config: VoiceNetworkConfig) -> nn.Sequential:
    return nn.Sequential(
        nn.Dropout(config.input_dropout),
        nn.Linear(inputs, config.hidden),
        nn.GELU(),
        nn.Dropout(config.dropout),
        nn.Linear(config.hidden, config.hidden),
        nn.GELU(),
        nn.Dropout(config.dropout),
        nn.Linear(config.hidden, outputs),
    )


def emotion_directions(
    features: NDArray[np.float64], labels: NDArray[np.int64], speakers: NDArray[np.str_]
) -> NDArray[np.float32]:
    """Return Fisher's discriminants of the labels within speakers, (N, D) -> (D, labels - 1).

    Scaled to variance 1 within a label, so that a larger variance indicates several labels.
    """
    there = np.unique(labels)
    centred = np.array(features, np.float64)
    for speaker in np.unique(speakers):
        own = speakers == speaker
        heard = [centred[own & (labels == k)].mean(0) for k in there if (own & (labels == k)).any()]
        centred[own] -= np.mean(heard, 0)  # independent of how often the speaker acted an emotion
    means = np.array([centred[labels == k].mean(0) for k in there])
    within = np.mean([np.cov(centred[labels == k].T, bias=True) for k in there], 0)
    size = within.shape[0]
    within = (1 - RIDGE) * within + RIDGE * np.trace(within) / size * np.eye(size)
    whiten = np.linalg.inv(np.linalg.cholesky(within + 1e-9 * np.eye(size)))
    _, vectors = np.linalg.eigh(whiten @ np.cov(means.T, bias=True) @ whiten.T)
    best: NDArray[np.float64] = whiten.T @ vectors[:, ::-1][:, : len(there) - 1]
    return best.astype(np.float32)
