"""Provenance of results: versions, hashes of models and inputs, parameters."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from erc_ros.inference.bundle import load_bundle
from erc_ros.parameters import RobotConfig
from erc_ros.resources import commit, model_folder, package_version
from erc_ros.values.settings import values_of

LIBRARIES = (
    "numpy",
    "onnxruntime",
    "opencv-python-headless",
    "opencv-python",
    "soxr",
    "tokenizers",
)
_CHUNK = 2**20  # bytes


def software() -> dict[str, Any]:
    """Return the versions of this package, of Python and of libraries that affect results."""
    return {
        "erc_ros": package_version(),
        "commit": commit() or "unknown",
        "python": platform.python_version(),
        "machine": platform.machine(),
        "libraries": {name: release for name in LIBRARIES if (release := _version(name))},
    }


def models(robot: RobotConfig) -> dict[str, Any]:
    """Return the models that a robot's parameters name, with their hashes."""
    node = robot.utterance_node.perception
    bundle = load_bundle(model_folder(robot.emotion_node.recognition.bundle))
    content: dict[str, Any] = {
        "bundle": {"name": bundle.name, "version": bundle.version, "sha256": bundle.sha256}
    }
    names = {"speaker_model": node.speaker_model, "segmentation_model": node.segmentation_model}
    for role, name in names.items():
        if name not in ("", "none"):
            content[role] = {"name": Path(name).name, "sha256": digest(model_folder(name))}
    return content


def changed_parameters(robot: RobotConfig) -> dict[str, dict[str, Any]]:
    """Return node -> its parameters that differ from the defaults."""
    default = RobotConfig()
    changed = {}
    for name in ("utterance_node", "emotion_node"):
        usual = values_of(getattr(default, name))
        own = values_of(getattr(robot, name))
        changed[name] = {key: own[key] for key in sorted(own) if own[key] != usual.get(key)}
    return changed


def digests(paths: Iterable[Path]) -> dict[str, str]:
    """Return name of a file or folder -> its SHA-256, without those that could not be read."""
    hashes = {}
    for path in paths:
        try:
            hashes[path.name] = digest(path)
        except OSError:
            continue
    return hashes


def digest(*paths: Path) -> str:
    """Return the SHA-256 of files, or of the names and contents of all files of a folder."""
    total = hashlib.sha256()
    for path in paths:
        is_folder = path.is_dir()
        files = sorted(file for file in path.rglob("*") if file.is_file()) if is_folder else [path]
        for file in files:
            if is_folder:
                total.update(f"\0{file.relative_to(path).as_posix()}\0".encode())
            with file.open("rb") as stream:
                while chunk := stream.read(_CHUNK):
                    total.update(chunk)
    return total.hexdigest()


def lines(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Flatten nested values to (name, value) for a table, such as ("bundle sha256", "18d1...")."""
    rows: list[tuple[str, str]] = []
    for name, value in values.items():
        full_name = f"{prefix} {name}".strip()
        if isinstance(value, Mapping):
            rows += lines(value, full_name)
        else:
            rows.append((full_name, str(value)))
    return rows


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
