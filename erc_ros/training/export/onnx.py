"""Fusion models to ONNX, in the form that every runtime loads: opset 17, IR version 8."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor

from erc_ros.training.encoders.parts import IR_VERSION, OPSET, TOLERANCE, session
from erc_ros.training.heads.base import MODALITIES, Head


def export_fusion(network: Head, file: Path) -> float:
    """Write a fusion model as `file` and compare it with torch on batches of other sizes.

    Puts the network into eval mode.

    Returns:
        The largest difference of the two in logits and weights.

    Raises:
        ArithmeticError: it is more than 1e-4.
    """
    inputs = _example(network, 2, 3)
    outputs = ["logits", "weights"]
    network.eval()
    with warnings.catch_warnings():
        # The exporter that traces is called legacy; it is the one that writes opset 17.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            tuple(inputs.values()),
            str(file),
            input_names=list(inputs),
            output_names=outputs,
            dynamic_axes={name: {0: "B", 1: "U"} for name in [*inputs, *outputs]},
            opset_version=OPSET,
            dynamo=False,
        )
    model = onnx.load(str(file))
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model)
    onnx.save(model, str(file))
    difference = max(_difference(network, file, b, u) for b, u in ((1, 1), (3, 7)))
    if not difference <= TOLERANCE:
        raise ArithmeticError(f"{file}: differs from torch by {difference}")
    return difference


def _example(network: Head, b: int, u: int) -> dict[str, Tensor]:
    """Random inputs of B conversations of U utterances, some modalities missing."""
    rng = torch.Generator().manual_seed(u)
    inputs = {
        name: torch.randn(b, u, size, generator=rng)
        for name, size in zip(MODALITIES, network.config.embeddings, strict=True)
    }
    inputs["modalities"] = torch.rand(b, u, 3, generator=rng) < 0.8
    inputs["speakers"] = torch.randint(network.config.speakers, (b, u), generator=rng)
    inputs["valid"] = torch.arange(u) < torch.arange(u, u - b, -1).clamp_min(1)[:, None]
    return inputs


@torch.inference_mode()
def _difference(network: Head, file: Path, b: int, u: int) -> float:
    inputs = _example(network, b, u)
    got = session(file).run(None, {name: value.numpy() for name, value in inputs.items()})
    pairs = zip(got, network(**inputs), strict=True)
    return max(float(np.abs(a - expected.numpy()).max()) for a, expected in pairs)
