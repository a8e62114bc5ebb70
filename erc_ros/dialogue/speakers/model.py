"""A folder with one network: a manifest (YAML), checked strictly, and an ONNX file beside it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnxruntime as ort
import yaml

from erc_ros.values.utterance import SAMPLE_RATE

ABOUT = {"format", "name", "source", "licence", "bytes"}
"""Fields of every manifest that are for people, not for the code."""


class SpeakerModelError(ValueError):
    """A model of who speaks that cannot be used; says what is wrong and where."""


def read_manifest(
    path: Path, version: int, fields: Mapping[str, type], about: set[str]
) -> dict[str, Any]:
    """The fields of a manifest, checked, and its network's sha256 too.

    Args:
        version: the only format that is read.
        fields: name -> type of every field that must be there; `file`, `sha256` and `rate` among
            them. Numbers must be above 0.
        about: further fields that may be there and are not returned.

    Raises:
        SpeakerModelError: missing, unreadable, another format, a field missing, unknown or of the
            wrong type, another rate than that of all sound here, or a network that differs from
            its sha256.
    """
    try:
        raw = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SpeakerModelError(f"{path}: cannot be read ({error})") from error
    if not isinstance(raw, dict):
        raise SpeakerModelError(f"{path}: not a mapping of fields")
    if raw.get("format") != version:
        raise SpeakerModelError(
            f"{path}: format {raw.get('format')!r}, this version reads format {version}"
        )
    unknown = sorted(set(raw) - set(fields) - about - ABOUT)
    missing = sorted(set(fields) - set(raw))
    if unknown or missing:
        raise SpeakerModelError(f"{path}: unknown fields {unknown}, missing fields {missing}")
    checked = {name: _typed(path, name, raw[name], kind) for name, kind in fields.items()}
    if checked["rate"] != SAMPLE_RATE:
        raise SpeakerModelError(f"{path}: rate {checked['rate']}, sound here has {SAMPLE_RATE}")
    _check_file(path.with_name(checked["file"]), checked["sha256"], path.name)
    return checked


def _typed(path: Path, name: str, value: Any, kind: type) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise SpeakerModelError(f"{path}: {name} is {value!r}, must be {kind.__name__}")
    if isinstance(value, (int, float)) and not value > 0:
        raise SpeakerModelError(f"{path}: {name} is {value}, must be positive")
    return value


def _check_file(path: Path, sha256: str, manifest: str) -> None:
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise SpeakerModelError(f"{path}: cannot be read ({error})") from error
    if found != sha256:
        raise SpeakerModelError(f"{path}: sha256 is {found}, {manifest} says {sha256}")


def open_network(path: Path) -> ort.InferenceSession:
    """The network with one input and one output, on one thread of the CPU.

    Raises:
        SpeakerModelError: onnxruntime cannot load it.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises classes of its own without a public base
        raise SpeakerModelError(f"{path}: onnxruntime cannot load it ({error})") from error


def check_ports(
    path: Path, session: ort.InferenceSession, entry: list[int | None], result: list[int | None]
) -> None:
    """Refuse a network whose first input and output have other shapes; None: any length.

    Raises:
        SpeakerModelError: says which.
    """
    ports = ((session.get_inputs()[0], entry), (session.get_outputs()[0], result))
    for role, (port, expected) in zip(("input", "output"), ports, strict=True):
        fits = len(port.shape) == len(expected) and all(
            size is None or found == size or not isinstance(found, int)
            for found, size in zip(port.shape, expected, strict=True)
        )
        if not fits:
            sizes = ", ".join("any" if size is None else str(size) for size in expected)
            raise SpeakerModelError(f"{path}: {role} is {port.shape}, must be ({sizes})")
