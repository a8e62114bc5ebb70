"""Model bundles: folders with `bundle.yaml` and the files that it names, checked before use.

An inconsistent bundle is rejected as a whole: with the wrong tokenizer or another order of labels,
estimates would be wrong with high confidence. `docs/reference/bundle.md` describes the format.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from erc_ros.dialogue.speakers.embedding import SpeakerModelError, load_manifest
from erc_ros.encoders.text import TextPrompt, Vocabulary, WholePrompt, prompt_of_version
from erc_ros.inference.manifest import (
    LARGEST_TOKENIZER,
    MANIFEST,
    AudioPart,
    BundleError,
    CachedText,
    Calibration,
    Encoder,
    FileEntry,
    Fusion,
    Manifest,
    Part,
    TextPart,
    VisualPart,
    VoiceAudio,
    named_files,
    parse,
)
from erc_ros.inference.reliability import ReliabilityConfig
from erc_ros.networks.session import NetworkError, Port, Signature, signature
from erc_ros.resources import model_folder
from erc_ros.values.tables import LARGEST, parse_table
from erc_ros.values.utterance import MODALITIES

__all__ = ["Bundle", "BundleError", "load_bundle", "read_manifest", "text_prompt"]


@dataclass(frozen=True, eq=False)
class Bundle:
    """A checked model bundle.

    anchors: (C, 2) valence and arousal of each label, both in [-1, 1].
    audio, visual: None if the bundle has no encoder for that modality.
    calibration: conversion of logits to calibrated probabilities.
    reliability: constants of the online estimation of the reliability of voice and face; None: the
        output of the fusion network is not changed.
    languages: BCP-47 tags of the languages of the text encoder; empty: not stated.
    sha256: of the manifest, which contains the hashes of all files.
    """

    folder: Path
    sha256: str
    name: str
    version: str
    labels: tuple[str, ...]
    anchors: NDArray[np.float32]
    text: TextPart
    audio: AudioPart | None
    visual: VisualPart | None
    fusion: Fusion
    calibration: Calibration
    training: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    languages: tuple[str, ...] = ()
    reliability: ReliabilityConfig | None = None

    @property
    def float32_sha256(self) -> str:
        """sha256 of the float32 bundle from which `erc quantize` made this one, or its own."""
        made = self.metrics.get("quantization")
        return str(made["float32_sha256"]) if made else self.sha256

    @property
    def encoders(self) -> dict[str, Encoder]:
        """The existing encoders by modality, in the order of MODALITIES."""
        parts = {"text": self.text, "audio": self.audio, "visual": self.visual}
        return {name: part for name, part in parts.items() if part is not None}

    @property
    def parts(self) -> dict[str, Part]:
        """The encoders and the fusion network, by name."""
        return {**self.encoders, "fusion": self.fusion}


def load_bundle(path: Path | str) -> Bundle:
    """Load the bundle in the folder `path`.

    Everything is checked: the manifest's keys and values, size and sha256 of every file, and the
    inputs and outputs of every network.

    Raises:
        BundleError: a check failed; the text says what to do.
    """
    folder = Path(path)
    manifest, digest = _read(folder)
    _check_files(folder, manifest)
    bundle = Bundle(
        folder=folder,
        sha256=digest,
        name=manifest.name,
        version=manifest.version,
        labels=manifest.labels,
        anchors=np.array([manifest.anchors[label] for label in manifest.labels], np.float32),
        text=manifest.text,
        audio=manifest.audio,
        visual=manifest.visual,
        fusion=manifest.fusion,
        calibration=manifest.calibration,
        training=manifest.training,
        metrics=manifest.metrics,
        languages=manifest.languages,
        reliability=manifest.reliability,
    )
    try:
        text_prompt(bundle.text)
    except ValueError as error:
        raise BundleError(
            f"{bundle.text.tokenizer.file}: {error}; export the bundle again"
        ) from error
    _check_networks(bundle)
    if isinstance(bundle.audio, VoiceAudio):
        speaker_network(bundle)
    return bundle


def read_manifest(path: Path | str) -> Manifest:
    """Read and check the manifest of the bundle in the folder `path`; no other file is read.

    Raises:
        BundleError: a check failed.
    """
    return _read(Path(path))[0]


def speaker_network(bundle: Bundle) -> Path:
    """Return the folder of the speaker network of a bundle: next to its folder, or in `models/`.

    Raises:
        BundleError: the network is missing, or differs from that in the training.
    """
    part = bundle.audio
    assert isinstance(part, VoiceAudio)
    sibling = bundle.folder.resolve().parent / part.speaker_network
    try:
        folder = sibling if sibling.is_dir() else model_folder(part.speaker_network)
        manifest = load_manifest(folder)
    except (FileNotFoundError, SpeakerModelError) as error:
        raise BundleError(f"audio.speaker_network: {error}") from error
    if (manifest.sha256, manifest.size) != (part.speaker_sha256, part.features):
        raise BundleError(
            f"audio.speaker_network: {folder} has sha256 {manifest.sha256[:12]}... and size "
            f"{manifest.size}, but the bundle was trained on {part.speaker_sha256[:12]}... of size "
            f"{part.features}: use that network, or another bundle"
        )
    return folder


def text_prompt(part: TextPart) -> TextPrompt | WholePrompt:
    """Return the prompt builder for the text encoder of a bundle.

    Raises:
        ValueError: the tokenizer lacks a special token, or max_tokens is too small.
    """
    vocabulary = Vocabulary.from_file(part.tokenizer.file, part.tokenizer.roles)
    if isinstance(part, CachedText):
        return TextPrompt(vocabulary, part.max_tokens, has_question=part.question)
    prompt = prompt_of_version(part.prompt, part.prompt_version)
    return WholePrompt(vocabulary, part.max_tokens, prompt, part.history)


def sha256_of(file: Path) -> str:
    """Return the sha256 of a file in hexadecimal."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def fusion_signature(bundle: Bundle, actual: Signature) -> Signature:
    """Return the signature that a fusion network with the signature `actual` must have.

    The network may lack `OPTIONAL_INPUTS`, and may have inputs for modalities without an encoder in
    the bundle, which are always missing.
    """
    inputs: dict[str, Port] = {
        name: ("float", (None, None, part.embedding)) for name, part in bundle.encoders.items()
    }
    for name, port in OPTIONAL_INPUTS.items():
        if name in actual.inputs:
            inputs[name] = port
    for name in MODALITIES:
        if name in actual.inputs and name not in inputs:
            shape = actual.inputs[name][1]
            size = (shape[-1] if shape else None) or 1
            inputs[name] = ("float", (None, None, size))
    outputs: dict[str, Port] = {
        "logits": ("float", (None, None, len(bundle.labels))),
        "weights": ("float", (None, None, 3)),
    }
    if MODALITY_LOGITS in actual.outputs:
        outputs[MODALITY_LOGITS] = ("float", (None, None, 3, len(bundle.labels)))
    return Signature(inputs, outputs)


MODALITY_LOGITS = "modality_logits"
"""Optional output of a late fusion: the logits of each modality only, (B, U, 3, C)."""

OPTIONAL_INPUTS: dict[str, Port] = {
    "modalities": ("bool", (None, None, 3)),
    "speakers": ("int64", (None, None)),
    "valid": ("bool", (None, None)),
}
"""Inputs of a fusion network in addition to the embeddings."""


def fusion_sizes(bundle: Bundle) -> dict[str, int]:
    """Return the last size of each input of the fusion network, see `fusion_input`."""
    inputs = signature(bundle.fusion.file).inputs
    return {name: shape[-1] or 1 for name, (_, shape) in inputs.items()}


_OTHER_KINDS = {
    "segmentation.yaml": "a network for the segmentation of speakers",
    "speaker.yaml": "a speaker network",
}
"""File of a model folder -> what the folder has."""


def _read(folder: Path) -> tuple[Manifest, str]:
    file = folder / MANIFEST
    try:
        size = file.stat().st_size
        if size > LARGEST:
            raise BundleError(f"{file} has {size} bytes, at most {LARGEST} are read")
        data = file.read_bytes()
    except OSError as error:
        other = next((kind for name, kind in _OTHER_KINDS.items() if (folder / name).is_file()), "")
        if other:
            raise BundleError(
                f"{folder} is {other}, not a model package for emotions; `erc models` lists those"
            ) from error
        hint = "give the folder of a model package with this file; `erc models` lists them"
        raise BundleError(f"{file} cannot be read ({error.strerror}); {hint}") from error
    try:
        table = parse_table(data, str(file))
    except ValueError as error:
        raise BundleError(f"{error}; restore the file") from error
    return parse(table, folder), hashlib.sha256(data).hexdigest()


def _check_files(folder: Path, manifest: Manifest) -> None:
    named = {file.name: where for file, where in named_files(manifest).items()}
    if extra := [name for name in manifest.files if name not in named]:
        raise BundleError(f"{MANIFEST}: files lists {', '.join(extra)}, which no part names")
    for name, where in named.items():
        if name not in manifest.files:
            raise BundleError(f"{MANIFEST}: files lacks {name} (named by {where}); export it again")
        _check_file(folder / name, manifest.files[name])
    tokenizer = manifest.text.tokenizer.file
    if (size := manifest.files[tokenizer.name].bytes) > LARGEST_TOKENIZER:
        raise BundleError(f"{tokenizer} has {size} bytes, at most {LARGEST_TOKENIZER} are read")


def _check_file(file: Path, entry: FileEntry) -> None:
    way_out = "the copy is damaged or incomplete: fetch the bundle again"
    try:
        size = file.stat().st_size
        if size != entry.bytes:
            raise BundleError(f"{file} has {size} bytes, expected {entry.bytes}; {way_out}")
        digest = sha256_of(file)
    except OSError as error:
        raise BundleError(f"{file} cannot be read ({error.strerror}); {way_out}") from error
    if digest != entry.sha256:
        raise BundleError(
            f"{file} has sha256 {digest[:12]}..., expected {entry.sha256[:12]}...; {way_out}"
        )


def _check_networks(bundle: Bundle) -> None:
    for part in bundle.parts.values():
        try:
            actual = signature(part.file)
        except NetworkError as error:
            raise BundleError(f"{error}; export the bundle again") from error
        expected = fusion_signature(bundle, actual) if isinstance(part, Fusion) else part.signature
        if difference := expected.difference(actual):
            raise BundleError(
                f"{part.file}: {difference}; the file belongs to another bundle, or the "
                "manifest's sizes are wrong"
            )
