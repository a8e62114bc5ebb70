"""Train a fusion model on conversations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from erc_ros.training.engine.trainer import Fit, TrainerConfig, device_of, fit
from erc_ros.training.fusion.dialogues import EVERYTHING, Dialogues, head_inputs
from erc_ros.training.fusion.objectives import Objective
from erc_ros.training.fusion.simulation import (
    ModalityDropout,
    drop_modalities,
    replace_modalities,
)
from erc_ros.training.heads.base import FusionModel


@dataclass(frozen=True, slots=True)
class HeadSizes:
    """Sizes of all fusion models; the section `network`."""

    width: int = 128
    dropout: float = 0.3
    input_dropout: float = 0.3


def train_head(
    model: FusionModel,
    objective: Objective,
    data: Dialogues,
    trainer: TrainerConfig,
    dropout: ModalityDropout,
    *,
    batches: Callable[[int], Sequence[NDArray[np.int64]]],
    evaluate: Callable[[nn.Module], Mapping[str, float]],
    choose: str,
    out: Path,
    settings: Mapping[str, Any],
    seen: Sequence[bool] = EVERYTHING,
    say: Callable[[str], None] = print,
) -> Fit:
    """Train on `batches` of rows of `data`; see `trainer.fit`.

    Args:
        dropout: rates of missing modalities; only used if all modalities are enabled.
        seen: enabled modalities (text, audio, visual).
        settings: settings in addition to `trainer` that determine the result.
    """
    rng = np.random.default_rng(trainer.seed)

    def loss(model: nn.Module, rows: NDArray[np.int64]) -> Tensor:
        assert isinstance(model, FusionModel)
        there = (rows >= 0)[..., None] & np.array(seen)
        sources = [rows, rows, rows]
        if all(seen):
            there = drop_modalities(rows >= 0, dropout, rng)
        if any(dropout.replaced):
            sources = replace_modalities(rows, sources, dropout, rng)
        device = device_of(model)
        inputs = head_inputs(data, rows, there, *sources)
        on_device = {name: tensor.to(device) for name, tensor in inputs.items()}
        return objective(model, on_device, data.labels_of(rows).to(device))

    return fit(
        model,
        trainer,
        batches=batches,
        loss=loss,
        evaluate=evaluate,
        choose=choose,
        out=out,
        after_step=objective.after_step,
        stateful=[objective, rng],
        settings=settings,
        say=say,
    )
