"""Size, FLOPs and latency of every fusion model, with the width of its paper and with the default.

    python -m benchmarks.fusion_heads [--utterances 16] [--repeats 30]

Batch 1, one thread, float32, causal. FLOPs are those of the matrix products (torch's
FlopCounterMode; a multiplication and an addition are two). Latency is the median CPU time, in torch
and in ONNX Runtime, which the robot uses. The weights are random, since they do not affect the
time.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.machine import description
from erc_ros.networks.network import Network
from erc_ros.training.heads.base import MODALITIES, FusionModel, FusionModelConfig
from erc_ros.training.heads.concat import ConcatConfig
from erc_ros.training.heads.ddvlm import DdvlmConfig
from erc_ros.training.heads.lpgnet import LpgnetConfig
from erc_ros.training.heads.magtkd import MagtkdConfig
from erc_ros.training.heads.registry import HEADS
from erc_ros.training.heads.summer import SummerConfig
from erc_ros.training.onnx import export_fusion

PAPERS = {
    "concat": ConcatConfig(width=768, embeddings=(768, 768, 768)),
    "magtkd": MagtkdConfig(width=768, heads=8, embeddings=(768, 768, 768)),
    "summer": SummerConfig(width=1024, heads=4, layers=6, alpha=2.0, embeddings=(768, 512, 1000)),
    "lpgnet": LpgnetConfig(width=768, embeddings=(768, 768, 768)),
    "ddvlm": DdvlmConfig(width=768, embeddings=(768, 768, 768)),
}
"""Sizes of the papers for MELD, with all three modalities, even if the paper has two.

LateFusion is not from a paper.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Plain)
    parser.add_argument("--utterances", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--heads", nargs="+", choices=list(HEADS), default=list(HEADS))
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    print(description())
    print("| fusion model | size | width | parameters | MFLOPs | ms, torch | ms, ONNX Runtime |")
    print("|---" * 7 + "|")
    for name in arguments.heads:
        config, head = HEADS[name]
        papers = {"paper's": PAPERS[name]} if name in PAPERS else {}
        for size, sizes in {**papers, "default": config()}.items():
            model = head(sizes).eval()
            inputs = example(sizes, arguments.utterances)
            cells = [
                name,
                size,
                str(sizes.width),
                f"{sum(p.numel() for p in model.parameters()):,}",
                f"{flops(model, inputs) / 1e6:.1f}",
                f"{torch_milliseconds(model, inputs, arguments.repeats):.2f}",
                f"{onnx_milliseconds(model, inputs, arguments.repeats):.2f}",
            ]
            print("| " + " | ".join(cells) + " |", flush=True)
    return 0


class _Plain(argparse.RawDescriptionHelpFormatter):
    """Help formatter that keeps the lines of the module docstring."""


def example(config: FusionModelConfig, utterances: int) -> dict[str, Tensor]:
    """Return the input of one conversation with all modalities."""
    inputs = {
        name: torch.randn(1, utterances, size)
        for name, size in zip(MODALITIES, config.embeddings, strict=True)
    }
    inputs["modalities"] = torch.ones(1, utterances, 3, dtype=torch.bool)
    inputs["speakers"] = torch.ones(1, utterances, dtype=torch.long)
    inputs["valid"] = torch.ones(1, utterances, dtype=torch.bool)
    return inputs


@torch.inference_mode()
def flops(model: FusionModel, inputs: dict[str, Tensor]) -> int:
    """Return the FLOPs of one forward pass."""
    counter = FlopCounterMode(display=False)
    with counter:
        model(**inputs)
    return int(counter.get_total_flops())


@torch.inference_mode()
def torch_milliseconds(model: FusionModel, inputs: dict[str, Tensor], repeats: int) -> float:
    """Return the median ms of a forward pass in torch."""
    return median(lambda: model(**inputs), repeats)


def onnx_milliseconds(model: FusionModel, inputs: dict[str, Tensor], repeats: int) -> float:
    """Return the median ms of the exported model in ONNX Runtime."""
    arrays = {name: value.numpy() for name, value in inputs.items()}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "fusion.onnx"
        export_fusion(model, file)
        network = Network(file)
        return median(lambda: network(arrays), repeats)


def median(call: Callable[[], object], repeats: int) -> float:
    """Return the median ms of CPU time, after three warm-up calls."""
    times = []
    for number in range(repeats + 3):
        start = time.process_time()
        call()
        if number >= 3:
            times.append(1000 * (time.process_time() - start))
    return statistics.median(times)


if __name__ == "__main__":
    raise SystemExit(main())
