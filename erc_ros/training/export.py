"""Fusion models to ONNX, in the form that every runtime loads: opset 17, IR version 8."""

from __future__ import annotations

import warnings
from pathlib import Path

import onnx
import torch
from torch import nn

from erc_ros.training.parts import IR_VERSION, OPSET


def export_fusion(network: nn.Module, file: Path) -> None:
    """Write a fusion model (`network.config.embeddings` are its three sizes) as `file`.

    Puts the network into eval mode.
    """
    b, u = 2, 3
    text, audio, visual = (torch.randn(b, u, size) for size in network.config.embeddings)
    inputs = {
        "text": text,
        "audio": audio,
        "visual": visual,
        "modalities": torch.ones(b, u, 3, dtype=torch.bool),
        "speakers": torch.zeros(b, u, dtype=torch.long),
        "valid": torch.ones(b, u, dtype=torch.bool),
    }
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
