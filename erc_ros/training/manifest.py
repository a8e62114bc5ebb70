"""Write manifests of model bundles, which `erc_ros.inference.bundle` reads, and prompts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import yaml

from erc_ros.encoders.text import MAX_TOKENS, TextPrompt
from erc_ros.inference.bundle import sha256_of
from erc_ros.inference.manifest import MANIFEST
from erc_ros.networks.session import signature

PROMPT = "prompt.json"
"""File next to a trained text encoder with the settings for `open_prompt`."""


def write_manifest(folder: Path, manifest: dict[str, Any]) -> Path:
    """Write `bundle.yaml` into `folder`, with size and sha256 of every file of its parts.

    Args:
        folder: the folder that has the files.
        manifest: everything except `files`.

    Returns:
        the manifest's path.
    """
    parts = [manifest[part] for part in ("text", "audio", "visual", "fusion") if part in manifest]
    files = {
        name: {"sha256": sha256_of(folder / name), "bytes": (folder / name).stat().st_size}
        for part in parts
        for name in _named(part)
    }
    path = folder / MANIFEST
    text = yaml.safe_dump({**manifest, "files": files}, sort_keys=False, default_flow_style=None)
    path.write_text(text, encoding="utf-8")
    return path


def attention_shape(text: Path) -> tuple[int, int, int]:
    """Return layers, heads and width of a head of a text encoder, from its input `past`.

    Raises:
        ValueError: it does not have this input.
    """
    inputs = signature(text).inputs
    if "past" not in inputs:
        raise ValueError(f"{text} has no input 'past': export it again with `erc train`")
    layers, _, _, heads, _, width = inputs["past"][1]
    if layers is None or heads is None or width is None:
        raise ValueError(f"{text} does not declare the size of its cache: export it again")
    return layers, heads, width


def write_prompt(folder: Path, prompt: TextPrompt) -> None:
    """Write the layout of conversations for the text encoder in `folder`."""
    content = {"max_tokens": prompt.max_tokens, "question": prompt.has_question}
    (folder / PROMPT).write_text(json.dumps(content) + "\n", encoding="utf-8")


def open_prompt(folder: Path, max_tokens: int = 0) -> TextPrompt:
    """Return the prompt, which lays out conversations for the text encoder of a training run.

    max_tokens: 0: as in training.

    Raises:
        FileNotFoundError: the folder has no tokenizer.
        ValueError: a file is invalid.
    """
    file = folder / PROMPT
    content = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return TextPrompt.from_file(
        folder / "tokenizer.json",
        max_tokens or content.get("max_tokens", MAX_TOKENS),
        has_question=content.get("question", True),
    )


def _named(part: dict[str, Any]) -> Iterator[str]:
    """Yield the files of a part, including its tokenizer."""
    for key, value in part.items():
        if isinstance(value, dict):
            yield from _named(value)
        elif key == "file":
            yield value


def fix_output(file: Path, output: str, size: int) -> None:
    """Declare the size of the last dimension of `output`, which exporters often omit.

    Raises:
        ValueError: the network has no such output, or declares another size.
    """
    model = onnx.load(str(file))
    outputs = {port.name: port for port in model.graph.output}
    if output not in outputs:
        raise ValueError(f"{file} has no output {output!r}; it has {', '.join(outputs)}")
    last = outputs[output].type.tensor_type.shape.dim[-1]
    if last.HasField("dim_value") and last.dim_value != size:
        raise ValueError(f"{file}: output {output} has size {last.dim_value}, expected {size}")
    last.dim_value = size
    onnx.save(model, str(file))
