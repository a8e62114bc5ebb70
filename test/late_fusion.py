"""Tiny bundles with the section `reliability`, one with a late fusion like edge-small's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import yaml
from bundles import AUDIO, TEXT, VISUAL, write_tiny_bundle_3
from onnx import numpy_helper, parser

from erc_ros.inference.manifest import MANIFEST
from erc_ros.training.manifest import write_manifest

ANGER = 6
SECTION: dict[str, Any] = {
    "prior": [0.47, 0.12, 0.03, 0.07, 0.17, 0.03, 0.11],
    "initial": {"audio": 0.15, "visual": 0.25},
    "mismatch": {"audio": 0.4, "visual": 0.6},
    "unexpressed": 0.15,
    "change_rate": 0.002,
    "text_exponent": 0.75,
    "plain_words": 0.25,
}

# `modality_logits` says what each modality indicates alone; `always` is added to the voice's.
GRAPH = f"""
<ir_version: 8, opset_import: ["": 17]>
fusion (float[B, U, {TEXT}] text, float[B, U, {AUDIO}] audio, float[B, U, {VISUAL}] visual,
        bool[B, U, 3] modalities, int64[B, U] speakers, bool[B, U] valid)
  => (float[B, U, 7] logits, float[B, U, 3] weights, float[B, U, 3, 7] modality_logits)
  <int64[1] axis = {{2}}>
{{
  words = MatMul (text, of_text)
  heard = MatMul (audio, of_audio)
  voice = Add (heard, always)
  face = MatMul (visual, of_visual)
  first = Unsqueeze (words, axis)
  second = Unsqueeze (voice, axis)
  third = Unsqueeze (face, axis)
  modality_logits = Concat <axis = 2> (first, second, third)
  weights = Cast <to = 1> (modalities)
  logits = Identity (words)
}}
"""


def write_late_bundle(
    folder: Path,
    is_stuck: bool = False,
    section: dict[str, Any] | None = SECTION,
    training: dict[str, Any] | None = None,
) -> Path:
    """Write a tiny bundle with a late fusion, and return the folder.

    Args:
        is_stuck: the voice reports anger with confidence 1, whatever the audio is.
        section: `reliability` of the manifest; None: without it.
        training: more entries of `training` of the manifest.
    """
    write_tiny_bundle_3(folder)
    rng, model = np.random.default_rng(0), parser.parse_model(GRAPH)
    for name, weights in (
        ("of_text", rng.standard_normal((TEXT, 7)) * 0.1),
        ("of_audio", rng.standard_normal((AUDIO, 7)) * (0.0 if is_stuck else 0.1)),
        ("always", np.eye(7)[ANGER] * (100.0 if is_stuck else 0.0)),
        ("of_visual", rng.standard_normal((VISUAL, 7)) * 0.1),
    ):
        model.graph.initializer.append(numpy_helper.from_array(np.float32(weights), name))
    onnx.checker.check_model(model)
    onnx.save(model, str(folder / "fusion.onnx"))
    return with_section(folder, section, training or {})


def with_section(
    folder: Path,
    section: dict[str, Any] | None = SECTION,
    training: dict[str, Any] | None = None,
) -> Path:
    """Change the manifest of a bundle and return its folder."""
    manifest = yaml.safe_load((folder / MANIFEST).read_text(encoding="utf-8"))
    manifest.pop("files", None)
    manifest["training"] |= training or {}
    if section is not None:
        manifest["reliability"] = section
    write_manifest(folder, manifest)
    return folder
