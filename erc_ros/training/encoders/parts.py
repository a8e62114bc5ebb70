"""What the audio and the face training leave behind: an ONNX part, embeddings, the best seed.

OUT/seed-0/   best.safetensors training.json metrics.json PART.onnx embeddings.safetensors
OUT/seed-1/   ...
OUT/best/     copies of the seed that was best on dev; metrics.json has every seed as well
"""

from __future__ import annotations

import json
import shutil
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from safetensors.numpy import load_file, save_file
from torch import Tensor, nn

OPSET, IR_VERSION = 17, 8
TOLERANCE = 1e-4


@dataclass(frozen=True, eq=False)
class Embedded:
    """embeddings (N, 128) float32 and labels (N,) int64, indices into utterances.LABELS."""

    embeddings: np.ndarray
    labels: np.ndarray


def export(
    model: nn.Module,
    inputs: Mapping[str, Tensor],
    dynamic: Mapping[str, dict[int, str]],
    file: Path,
) -> float:
    """Write `model` as ONNX with the output `embedding` and compare it with torch.

    Args:
        inputs: an example for every input, in the order of `forward`.
        dynamic: the axes that may have any length, input or output name -> axis -> its name.

    Returns:
        The largest difference of the two on the example.

    Raises:
        ArithmeticError: ONNX Runtime and torch disagree by more than 1e-4.
    """
    model.eval()
    torch.onnx.export(
        model,
        tuple(inputs.values()),
        str(file),
        input_names=list(inputs),
        output_names=["embedding"],
        dynamic_axes=dict(dynamic),
        opset_version=OPSET,
        dynamo=False,
    )
    part = onnx.load(str(file))
    part.ir_version = IR_VERSION
    onnx.checker.check_model(part)
    onnx.save(part, str(file))
    with torch.inference_mode():
        expected = model(*inputs.values()).numpy()
    got = session(file).run(None, {name: value.numpy() for name, value in inputs.items()})[0]
    difference = float(np.abs(np.asarray(got) - expected).max())
    if not difference <= TOLERANCE:
        raise ArithmeticError(f"{file}: differs from torch by {difference}")
    return difference


def session(file: Path) -> onnxruntime.InferenceSession:
    """The part on one CPU thread, as the robot runs it."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def save_embeddings(parts: Mapping[str, Embedded], file: Path) -> None:
    """Per part (train, valid, test) the tensors `<part>.embeddings` and `<part>.labels`."""
    arrays = {}
    for name, part in parts.items():
        arrays[f"{name}.embeddings"] = np.ascontiguousarray(part.embeddings, np.float32)
        arrays[f"{name}.labels"] = np.ascontiguousarray(part.labels, np.int64)
    save_file(arrays, file)


def load_embeddings(file: Path) -> dict[str, Embedded]:
    """Read what `save_embeddings` wrote.

    Raises:
        KeyError: the file lacks the labels of some embeddings.
    """
    arrays = load_file(file)
    names = sorted(name.rsplit(".", 1)[0] for name in arrays if name.endswith(".embeddings"))
    return {n: Embedded(arrays[f"{n}.embeddings"], arrays[f"{n}.labels"]) for n in names}


def write_metrics(metrics: Mapping[str, Any], folder: Path) -> None:
    """metrics.json; `choose_best` wants `seed`, `dev` (to maximise) and `test` (name -> number)."""
    text = json.dumps(metrics, indent=2, ensure_ascii=False) + "\n"
    (folder / "metrics.json").write_text(text, encoding="utf-8")


def choose_best(out: Path, files: Sequence[str]) -> dict[str, Any]:
    """Copy the seed that is best on dev to OUT/best; its metrics get mean and spread of all seeds.

    Where OUT/best has a file FINAL, something was built on the part there: it stays, whatever later
    seeds reach on dev, and only mean and spread are renewed.

    Raises:
        FileNotFoundError: no finished seed in `out`.
    """
    seeds = [json.loads(f.read_text("utf-8")) for f in sorted(out.glob("seed-*/metrics.json"))]
    if not seeds:
        raise FileNotFoundError(f"{out} has no seed-*/metrics.json")
    folder = out / "best"
    folder.mkdir(exist_ok=True)
    if (folder / "FINAL").exists():
        best = json.loads((folder / "metrics.json").read_text("utf-8"))
    else:
        best = max(seeds, key=lambda metrics: metrics["dev"])
        for name in files:
            shutil.copyfile(out / f"seed-{best['seed']}" / name, folder / name)
    summary = {
        "seeds": {str(m["seed"]): {"dev": m["dev"], "test": m["test"]} for m in seeds},
        "mean": _each(seeds, statistics.fmean),
        "deviation": _each(seeds, lambda x: statistics.stdev(x) if len(x) > 1 else 0.0),
    }
    chosen = {**best, "all_seeds": summary}
    write_metrics(chosen, folder)
    return chosen


def _each(seeds: list[dict[str, Any]], reduce: Any) -> dict[str, float]:
    return {name: reduce([m["test"][name] for m in seeds]) for name in seeds[0]["test"]}
