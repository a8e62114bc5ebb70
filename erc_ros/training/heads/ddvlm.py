"""The text-centred residual fusion of DDVLM (section 3.6; the paper does not number its equations).

It uses neither context (the text prompt has it) nor speakers, so that `causal` has no effect. Not
specified in the paper: with audio there is one residual per further modality; without text the
corrections are added to the mean of the other modalities' own logits.

The paper's formulas use one g for a vector (h_fused) and for logits (z), and do not give its size.
By its file sizes (13.5 MB in float32, 3.4 MB in int8) W_g has d rows: `gate: vector`. In h_fused it
is that vector, in z its mean. `gate: scalar` is one number in both places; layer norm cancels it in
`fused - text`. The visual logits, whose confidence counts, are those of the visual student, on its
own embedding: `own: embedding`; `own: projected` classifies the embedding in the text's space.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from erc_ros.training.heads.base import (
    AUDIO,
    TEXT,
    VISUAL,
    Details,
    FusionModel,
    FusionModelConfig,
    Inputs,
    blank,
)
from erc_ros.training.heads.inputs import input_norm
from erc_ros.values.settings import setting

GATES = ("scalar", "vector")
OWN = ("projected", "embedding")


@dataclass(frozen=True, slots=True)
class DdvlmConfig(FusionModelConfig):
    """width is that of the layer between an embedding and the text's space."""

    PARTS: ClassVar[tuple[str, ...]] = ("gate", "cosine", "confidence", "alpha")
    """Factors of the correction's strength; a removed one is 1."""

    alpha: float = 0.3
    """Initial strength of the correction; it is learned."""
    gate: str = setting("scalar", "size of the gate: one, or one per dimension", choices=GATES)
    own: str = setting("projected", "input of a modality's own classifier", choices=OWN)
    lowest_gate: float = 0.05
    highest_gate: float = 0.5

    def __post_init__(self) -> None:
        FusionModelConfig.__post_init__(self)
        if not 0 <= self.lowest_gate < self.highest_gate <= 1:
            raise ValueError(
                f"lowest_gate {self.lowest_gate} and highest_gate {self.highest_gate} must be a"
                " range within 0..1"
            )


def check_text_size(size: int, labels: int) -> None:
    """Check that the text embedding is large enough for the number of labels.

    Audio and visual embeddings are projected into the space of the text embedding. In a space of
    one dimension the labels are points on a line, and a layer norm makes every input equal.

    Raises:
        ValueError: fewer dimensions than labels.
    """
    if size < labels:
        raise ValueError(
            f"the text embedding has {size} dimensions; DDVLM projects the other modalities into"
            f" its space and needs at least {labels}, one for each label"
        )


class Correction(nn.Module):
    """The correction of the text's logits by another modality."""

    def __init__(self, size: int, config: DdvlmConfig) -> None:
        super().__init__()
        d = config.embeddings[TEXT]
        self.config = config
        self.project = nn.Sequential(
            input_norm(size),
            nn.Dropout(config.input_dropout),
            nn.Linear(size, config.width),
            nn.ReLU(),
            nn.Linear(config.width, d),
        )
        self.own = nn.Linear(d if config.own == "projected" else size, config.labels)
        self.classifier = nn.Sequential(
            nn.LayerNorm(d), nn.Dropout(config.dropout), nn.Linear(d, config.labels)
        )
        if config.has("gate"):
            self.gate = nn.Linear(4 * d, d if config.gate == "vector" else 1)
            # Initialize inside the range: above its upper end the gate has no gradient.
            nn.init.constant_(self.gate.bias, -1.0)
        if config.has("alpha"):
            self.alpha = nn.Parameter(torch.tensor(config.alpha))

    def forward(self, text: Tensor, other: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Compute the correction; text (B, U, d), other (B, U, d_m).

        Returns the correction (B, U, C), its strength (B, U, 1), the modality's own logits
        (B, U, C) and its projection (B, U, d).
        """
        has = self.config.has
        v = self.project(other)  # (B, U, d): W2 ReLU(W1 LN(h_v))
        g = torch.ones_like(v[..., :1])  # (B, U, 1)
        if has("gate"):
            parts = torch.cat([text, v, text - v, text * v], dim=-1)  # (B, U, 4d)
            g = torch.sigmoid(self.gate(parts))  # (B, U, 1 or d)
            g = g.clamp(self.config.lowest_gate, self.config.highest_gate)
        fused = text + g * v  # (B, U, d)
        delta = self.classifier(fused - text)  # (B, U, C): W_c Dropout(LN(h_fused - h_t))
        own = self.own(v if self.config.own == "projected" else other)  # (B, U, C)
        g = g.mean(dim=-1, keepdim=True)  # (B, U, 1)
        strength = g * self.alpha if has("alpha") else g  # (B, U, 1)
        if has("cosine"):
            # Not torch's cosine_similarity: avoids a division by the norm of a zero vector.
            norms = (text.square().sum(-1) * v.square().sum(-1)).clamp_min(1e-12).sqrt()  # (B, U)
            strength = strength * (1 + (text * v).sum(-1) / norms)[..., None] / 2  # s_cos
        if has("confidence"):
            strength = strength * own.softmax(dim=-1).amax(dim=-1, keepdim=True)  # s_conf
        return strength * delta, strength, own, v  # alpha g s_cos s_conf delta


class Ddvlm(FusionModel):
    """The text's logits, and a correction from each other modality."""

    CONFIG = DdvlmConfig
    READS_CONTEXT = False

    def __init__(self, config: DdvlmConfig) -> None:
        super().__init__(config)
        d = config.embeddings[TEXT]
        check_text_size(d, config.labels)
        self.missing = nn.Parameter(torch.randn(d) * 0.02)
        self.classifier = nn.Sequential(
            nn.Dropout(config.input_dropout), nn.Linear(d, config.labels)
        )
        self.corrections = nn.ModuleList(
            Correction(config.embeddings[m], config) for m in (AUDIO, VISUAL)
        )

    def fuse(self, inputs: Inputs) -> Details:
        """Compute the fusion; weights: text 1 and the corrections' strengths, normalized."""
        seen = inputs.seen
        has_text = seen[..., :1]  # (B, U, 1)
        t = torch.where(has_text, inputs.embeddings[TEXT], self.missing)  # (B, U, d)
        text_logits = self.classifier(t)  # (B, U, C)
        owns, features = [text_logits], [t]
        shifts, strengths = torch.zeros_like(text_logits), [torch.zeros_like(t[..., :1])]
        for m in (AUDIO, VISUAL):
            here = seen[..., m : m + 1]  # (B, U, 1)
            shift, strength, own, v = self.corrections[m - 1](t, inputs.embeddings[m])
            shifts = shifts + blank(shift, here)  # (B, U, C)
            strengths.append(blank(strength.abs(), here))  # (B, U, 1)
            owns.append(own)
            features.append(v)
        # Base logits: those of the text, else the mean of the others; (B, U, 3).
        other = torch.arange(3, device=seen.device) != TEXT
        base = (seen & ~(has_text & other)).float()
        base = base / base.sum(dim=-1, keepdim=True).clamp_min(1.0)
        unimodal = torch.stack(owns, dim=2)  # (B, U, 3, C)
        mean = (unimodal * base[..., None]).sum(dim=2)  # (B, U, C)
        nothing = ~seen.any(dim=-1, keepdim=True)  # (B, U, 1)
        logits = torch.where(nothing, text_logits, mean) + shifts  # z_t + sum alpha g s s delta
        weights = base + torch.cat(strengths, dim=-1)  # (B, U, 3)
        weights = weights / weights.sum(dim=-1, keepdim=True).clamp_min(1e-6)
        return Details(logits, weights, unimodal, torch.stack(features, dim=2))
