"""Quantized text encoders of the papers' sizes, RoBERTa-base and large: speed and size only.

    python -m benchmarks.text_encoder_sizes [--sizes base large] [--tokens 32 128]

The weights are random, so nothing is said about quality; time and size do not depend on them.
One thread, batch 1, all schemes in turn on the same inputs. Needs the extra [train] and, for
large, about 8 GB of memory.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import RobertaConfig, RobertaModel

from benchmarks.machine import description
from erc_ros.training.quantization.measurement import Speed, speeds
from erc_ros.training.quantization.schemes import (
    Dynamic,
    Scheme,
    SmoothQuant,
    Static,
    WeightOnly,
    quantize,
)

SIZES = {
    "base": RobertaConfig(vocab_size=50265, max_position_embeddings=514, type_vocab_size=1),
    "large": RobertaConfig(
        vocab_size=50265,
        max_position_embeddings=514,
        type_vocab_size=1,
        hidden_size=1024,
        num_hidden_layers=24,
        num_attention_heads=16,
        intermediate_size=4096,
    ),
}
# The alpha of SmoothQuant and the ranges of static change neither speed nor size.
SCHEMES: dict[str, Scheme] = {
    "weight-only int8": WeightOnly(),
    "weight-only int8, DequantizeLinear": WeightOnly("dequantize"),
    "dynamic int8": Dynamic(),
    "SmoothQuant": SmoothQuant((0.5,)),
    "static int8": Static(),
}
REPEATS = {"base": 10, "large": 3}
LEFT_OUT = {"base": (), "large": ("weight-only int8, DequantizeLinear", "SmoothQuant")}
"""To keep the whole run within minutes."""

Feed = dict[str, NDArray[Any]]


class FirstToken(nn.Module):
    """The embedding of the first token."""

    def __init__(self, config: RobertaConfig) -> None:
        super().__init__()
        self.encoder = RobertaModel(config, add_pooling_layer=False)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(1, L), (1, L) -> (1, d)."""
        return self.encoder(input_ids, attention_mask).last_hidden_state[:, 0]


def export(config: RobertaConfig, file: Path) -> Path:
    """Random weights of this size as float32 ONNX."""
    torch.manual_seed(0)
    model = FirstToken(config).eval()
    ids = torch.ones(1, 8, dtype=torch.long)
    names = ["input_ids", "attention_mask"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (ids, ids),
            str(file),
            input_names=names,
            output_names=["embedding"],
            dynamic_axes={name: {1: "L"} for name in names},
            opset_version=17,
            dynamo=False,
        )
    onnx.checker.check_model(str(file))
    return file


def feed(tokens: int, seed: int) -> Feed:
    """A sentence of random tokens."""
    ids = np.random.default_rng(seed).integers(5, 50000, (1, tokens))
    return {"input_ids": ids, "attention_mask": np.ones_like(ids)}


def measure(size: str, tokens: list[int], folder: Path) -> list[str]:
    """One row of a table for each scheme."""
    files = {"float32": export(SIZES[size], folder / "float32.onnx")}
    for number, (name, scheme) in enumerate(SCHEMES.items()):
        if name in LEFT_OUT[size]:
            continue
        begin = time.monotonic()
        files[name] = folder / f"{number}.onnx"
        quantize(scheme, files["float32"], files[name], [feed(16, 0), feed(16, 1)])
        print(f"  {size}, {name}: made in {time.monotonic() - begin:.0f} s", flush=True)
    columns: list[list[Speed]] = [
        speeds(list(files.values()), [feed(length, seed) for seed in range(REPEATS[size])])
        for length in tokens
    ]
    rows = []
    for number, (name, file) in enumerate(files.items()):
        times = " | ".join(
            f"{column[number].p50:.1f} ({column[0].p50 / column[number].p50:.2f}x)"
            for column in columns
        )
        smaller = files["float32"].stat().st_size / file.stat().st_size
        megabytes = f"{file.stat().st_size / 1e6:.0f} ({smaller:.2f}x)"
        rows.append(f"| RoBERTa-{size}, {name} | {megabytes} | {times} |")
    return rows


def main() -> int:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--tokens", nargs="+", type=int, default=[32, 128])
    options = parser.parse_args()
    logging.getLogger("onnxruntime.quantization").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    print(description() + ", one thread, random weights\n", flush=True)
    heads = " | ".join(f"ms at {tokens} tokens" for tokens in options.tokens)
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as folder:
            rows = measure(size, options.tokens, Path(folder))
        print(f"\n| | MB | {heads} |\n|---|---|{'---|' * len(options.tokens)}")
        print("\n".join(rows), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
