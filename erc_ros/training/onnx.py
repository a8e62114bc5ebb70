"""Export torch networks to ONNX with opset 17 and IR version 8, which all runtimes support."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from erc_ros.inference.bundle import MODALITY_LOGITS
from erc_ros.networks.network import Network
from erc_ros.training.heads.base import MODALITIES, FusionModel

OPSET, IR_VERSION = 17, 8  # onnxruntime 1.23.2 and TensorRT 10.3 load them
TOLERANCE = 1e-4
Example = Mapping[str, Tensor]
Axes = Mapping[str, Mapping[int, str]]


def write_onnx(
    model: nn.Module,
    examples: Sequence[Example],
    file: Path,
    outputs: Sequence[str],
    axes: Axes,
    tolerance: float = TOLERANCE,
) -> float:
    """Write `model` as `file` and compare ONNX Runtime with torch on all examples.

    The model is not changed: a copy in float32 and eval mode is exported.

    Args:
        examples: inputs by name, in the order of `forward`, of different sizes; the first one is
            traced.
        outputs: names of the results of `forward`.
        axes: axes of variable length: input or output -> axis -> its name.

    Returns:
        the largest difference of the two; relative for numbers above 1.

    Raises:
        ArithmeticError: the difference is more than the tolerance.
    """
    model = copy.deepcopy(model).cpu().float().eval()
    model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    with warnings.catch_warnings():
        # The tracing exporter is called legacy, but only it writes opset 17.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            tuple(examples[0].values()),
            str(file),
            input_names=list(examples[0]),
            output_names=list(outputs),
            dynamic_axes={name: dict(of_one) for name, of_one in axes.items()},
            opset_version=OPSET,
            dynamo=False,
        )
    written = onnx.load(str(file))
    written.ir_version = IR_VERSION
    onnx.checker.check_model(written)
    onnx.save(written, str(file))
    network = Network(file)
    read = {port.name for port in written.graph.input}  # a graph lacks unused inputs
    difference = max(_difference(model, network, example, outputs, read) for example in examples)
    if not difference <= tolerance:
        raise ArithmeticError(f"{file}: differs from torch by {difference}")
    return difference


@torch.inference_mode()
def _difference(
    model: nn.Module, network: Network, example: Example, outputs: Sequence[str], read: set[str]
) -> float:
    expected = model(*example.values())
    if isinstance(expected, Tensor):
        expected = (expected,)
    computed = network({name: value.numpy() for name, value in example.items() if name in read})
    pairs = zip(outputs, expected, strict=True)
    return max(_largest(computed[name], value.numpy()) for name, value in pairs)


def _largest(computed: NDArray[Any], expected: NDArray[Any]) -> float:
    """Return the largest difference; relative for numbers above 1."""
    return float((np.abs(computed - expected) / np.maximum(1, np.abs(expected))).max())


def export_fusion(head: FusionModel, file: Path) -> float:
    """Write a fusion model; see `write_onnx`. A late fusion also has output `modality_logits`."""
    examples = [_conversations(head, b, u) for b, u in ((2, 3), (1, 1), (3, 7))]
    outputs = ["logits", "weights"]
    model: nn.Module = head
    if head.INDEPENDENT:
        outputs, model = [*outputs, MODALITY_LOGITS], _WithModalities(head)
    axes = {name: {0: "B", 1: "U"} for name in [*examples[0], *outputs]}
    return write_onnx(model, examples, file, outputs, axes)


class _WithModalities(nn.Module):
    """A fusion model with the logits of each modality as its third output."""

    def __init__(self, head: FusionModel) -> None:
        super().__init__()
        self._head = head

    def forward(
        self,
        text: Tensor,
        audio: Tensor,
        visual: Tensor,
        modalities: Tensor,
        speakers: Tensor,
        valid: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the outputs of `FusionModel.forward`, and modality logits (B, U, 3, C)."""
        details = self._head.details(text, audio, visual, modalities, speakers, valid)
        return details.logits, details.weights, details.unimodal


def export_audio(network: nn.Module, file: Path, bands: int) -> float:
    """Write an audio encoder, features (B, T, bands) and frames (B,) -> embedding (B, E)."""
    draw = torch.Generator().manual_seed(0)
    examples = [
        {
            "features": torch.randn(len(frames), max(frames), bands, generator=draw),
            "frames": torch.tensor(frames),
        }
        for frames in ([120, 77, 1], [80, 60])
    ]
    axes = {"features": {0: "B", 1: "T"}, "frames": {0: "B"}, "embedding": {0: "B"}}
    return write_onnx(network, examples, file, ["embedding"], axes)


def export_voice(network: nn.Module, file: Path, size: int, heard: int) -> float:
    """Write a voice part: voice (B, size), heard (B, heard, size), is_heard (B, heard)."""
    draw = torch.Generator().manual_seed(0)
    examples = [
        {
            "voice": torch.randn(b, size, generator=draw),
            "heard": torch.randn(b, heard, size, generator=draw),
            "is_heard": torch.rand(b, heard, generator=draw) < 0.5,
        }
        for b in (2, 1)
    ]
    axes = {name: {0: "B"} for name in (*examples[0], "embedding")}
    return write_onnx(network, examples, file, ["embedding"], axes)


def export_face(network: nn.Module, file: Path, size: int) -> float:
    """Write a face encoder, faces (N, 1, size, size) -> embedding (N, E)."""
    draw = torch.Generator().manual_seed(0)
    examples = [{"faces": torch.rand(n, 1, size, size, generator=draw)} for n in (3, 1)]
    axes = {"faces": {0: "N"}, "embedding": {0: "N"}}
    return write_onnx(network, examples, file, ["embedding"], axes)


def _conversations(head: FusionModel, b: int, u: int) -> dict[str, Tensor]:
    """Return random inputs of B conversations of U utterances, some modalities missing."""
    rng = torch.Generator().manual_seed(u)
    inputs = {
        name: torch.randn(b, u, size, generator=rng)
        for name, size in zip(MODALITIES, head.config.embeddings, strict=True)
    }
    inputs["modalities"] = torch.rand(b, u, 3, generator=rng) < 0.8
    inputs["speakers"] = torch.randint(head.config.speakers, (b, u), generator=rng)
    inputs["valid"] = torch.arange(u) < torch.arange(u, u - b, -1).clamp_min(1)[:, None]
    return inputs
