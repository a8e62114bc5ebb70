"""A folder with one network: a manifest (YAML), checked strictly, and an ONNX file next to it."""

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
"""Fields of every manifest that are for people, not for the code."""


class SpeakerModelError(ErcValueError):
    """A model of who speaks that cannot be used; says what is wrong and where."""


class NetworkManifest(Protocol):
    """What every manifest says: the network's file, its sha256, and the rate of its audio in Hz."""

    @property
    def file(self) -> str: ...

    @property
    def sha256(self) -> str: ...

    @property
    def rate(self) -> int: ...


M = TypeVar("M", bound=NetworkManifest)


def read_manifest(path: Path, version: int, cls: type[M], about: Set[str] = ABOUT) -> M:
    """A manifest, checked, and its network's sha256 too.

    Args:
        path: the YAML file, next to the network.
        version: the only format that is read.
        cls: dataclass of all fields; they must be there, and numbers must be above 0.
        about: further fields that may be there and are not returned.

    Raises:
        SpeakerModelError: missing, unreadable, another format, a field missing, unknown or of the
            wrong type, another rate than that of all sound here, or a network that differs from
            its sha256.
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
        raise SpeakerModelError(f"{path}: rate {manifest.rate}, audio here has {SAMPLE_RATE}")
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
    except ValueError as error:  # a name that no file can have
        raise SpeakerModelError(f"{manifest}: {shown(path.name)} cannot be read") from error
    if digest != sha256:
        raise SpeakerModelError(f"{path}: sha256 is {digest}, {manifest} says {sha256}")


def open_network(
    path: Path, device: str, entry: Shape, result: Shape
) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """The network with one input and one output, as a function.

    Args:
        device: "cpu", "cuda", or "auto": CUDA where it works.
        entry, result: shapes of input and output; None: any size.

    Raises:
        SpeakerModelError: ONNX Runtime cannot load it, its shapes are others, or the device is not
            there.
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
