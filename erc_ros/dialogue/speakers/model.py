"""Folders with one network: a manifest (YAML) and an ONNX file."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Set
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from erc_ros.networks.network import CPU, CUDA, Network, choose
from erc_ros.networks.session import NetworkError, Shape, signature
from erc_ros.values.errors import ErcValueError
from erc_ros.values.tables import build, read_table, shown
from erc_ros.values.utterance import SAMPLE_RATE

ABOUT = frozenset({"format", "name", "source", "licence", "bytes"})
"""Informative fields of every manifest."""


class SpeakerModelError(ErcValueError):
    """A speaker diarization model cannot be used."""


class NetworkManifest(Protocol):
    """Fields of every manifest: name of the ONNX file, its sha256, and the sample rate in Hz."""

    @property
    def file(self) -> str: ...

    @property
    def sha256(self) -> str: ...

    @property
    def rate(self) -> int: ...


M = TypeVar("M", bound=NetworkManifest)


def read_manifest(path: Path, version: int, cls: type[M], about: Set[str] = ABOUT) -> M:
    """Read and check a manifest and the sha256 of its network.

    Args:
        path: the YAML file, in the folder of the network.
        version: the required format version.
        cls: dataclass of the required fields; numbers must be positive.
        about: optional fields that are not returned.

    Raises:
        SpeakerModelError: the file is missing or invalid, has another format or sample rate, a
            field is missing, unknown or of the wrong type, or the network differs from its sha256.
    """
    try:
        raw = read_table(path)
    except (ValueError, FileNotFoundError) as error:
        raise SpeakerModelError(str(error)) from error
    if raw.get("format") != version:
        raise SpeakerModelError(
            f"{path}: format {shown(raw.get('format'))}, this version reads format {version}"
        )
    try:
        manifest = build(cls, {name: raw[name] for name in raw if name not in about}, "")
    except ValueError as error:
        raise SpeakerModelError(f"{path}: {error}") from error
    for field in dataclasses.fields(manifest):  # type: ignore[arg-type]
        value = getattr(manifest, field.name)
        if isinstance(value, (int, float)) and not value > 0:
            raise SpeakerModelError(f"{path}: {field.name} is {value}, must be positive")
    if manifest.rate != SAMPLE_RATE:
        raise SpeakerModelError(f"{path}: rate is {manifest.rate} Hz; must be {SAMPLE_RATE} Hz")
    try:
        file = path.with_name(manifest.file)
    except ValueError as error:
        raise SpeakerModelError(
            f"{path}: file is {shown(manifest.file)}, must be the name of a file in the same folder"
        ) from error
    _check_file(file, manifest.sha256, path.name)
    return manifest


def _check_file(path: Path, sha256: str, manifest: str) -> None:
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise SpeakerModelError(f"{path}: cannot be read ({error})") from error
    except ValueError as error:  # an invalid file name
        raise SpeakerModelError(f"{manifest}: {shown(path.name)} cannot be read") from error
    if digest != sha256:
        raise SpeakerModelError(f"{path}: sha256 is {digest}, {manifest} says {sha256}")


def open_network(
    path: Path, device: str, entry: Shape, result: Shape
) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Load a network with one input and one output, and return it as a function.

    Args:
        device: "cpu", "cuda", or "auto": CUDA if it works.
        entry, result: expected shapes of input and output; None: any size.

    Raises:
        SpeakerModelError: ONNX Runtime cannot load it, its shapes differ, or the device is not
            available.
    """
    try:
        ports = signature(path)
        network = Network(path, choose(device, (CUDA, CPU)))
    except NetworkError as error:
        raise SpeakerModelError(str(error)) from error
    (taken, (_, found_entry)), *_ = ports.inputs.items()
    (given, (_, found_result)), *_ = ports.outputs.items()
    for role, actual, expected in (("input", found_entry, entry), ("output", found_result, result)):
        fits = len(actual) == len(expected) and all(
            None in (size, wanted) or size == wanted
            for size, wanted in zip(actual, expected, strict=True)
        )
        if not fits:
            sizes = ", ".join("any" if size is None else str(size) for size in expected)
            raise SpeakerModelError(f"{path}: {role} is {list(actual)}, must be ({sizes})")
    return lambda array: network({taken: array})[given]
