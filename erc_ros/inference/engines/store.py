"""Cache of TensorRT engines, with the conditions under which an engine may be used.

CACHE/edge-small/text.tensorrt.engine   engine, for this computer only
CACHE/edge-small/text.tensorrt.json     its key and sha256; an engine without it is not used
CACHE/edge-small/text.check.npz         inputs and outputs of ONNX Runtime, for comparison
CACHE/edge-small/lock                   held during a build

Engines of the variant for TensorRT in a bundle (`tensorrt/`) are in CACHE/edge-small-tensorrt.

CACHE is $ERC_ENGINES, else $XDG_CACHE_HOME/erc_ros/engines, else ~/.cache/erc_ros/engines. Engines
are code: write access to them allows running programs as the robot's user, so only the owner has
it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from erc_ros.values.errors import ErcRuntimeError

MANIFEST = "bundle.yaml"
FOR_TENSORRT = "tensorrt"
"""Subfolder of a bundle that contains a variant of the bundle for TensorRT."""
UNFINISHED = ".unfinished"


class EngineError(ErcRuntimeError):
    """An engine cannot be built or used."""


class RefusedEngine(EngineError):  # noqa: N818 - a kind of EngineError
    """A build failed on this computer and is not repeated."""


@dataclass(frozen=True)
class Key:
    """Identification of the bundle and computer of an engine, which must match to use it.

    bundle: sha256 of the manifest, which covers every file.
    machine: name, compute capability and driver of the GPU.
    builder: library and version that built the engine.
    precision: precision of the weights and activations.
    """

    bundle: str
    machine: str
    builder: str
    precision: str

    def difference(self, other: Key) -> str:
        """Return the differences of `other`, the key of an engine, as text; "" if it matches."""
        here, there = asdict(self), asdict(other)
        return "; ".join(
            f"built for {name} {_short(there[name])}, here is {_short(here[name])}"
            for name in here
            if here[name] != there[name]
        )


def source_of(model: Path) -> Path:
    """Return the ONNX file from which the engine of a model is built, often the model itself."""
    folder = model.parent / FOR_TENSORRT
    return folder / model.name if (folder / MANIFEST).is_file() else model


def folder_of(model: Path) -> Path:
    """Return the folder of the engine of a model, which may not exist."""
    places = (os.environ.get("ERC_ENGINES"), os.environ.get("XDG_CACHE_HOME"))
    if places[0]:
        root = Path(places[0])
    elif places[1]:
        root = Path(places[1]) / "erc_ros" / "engines"
    else:
        root = Path.home() / ".cache" / "erc_ros" / "engines"
    folder = model.parent.resolve()
    named = [folder.name] if folder.name != FOR_TENSORRT else [folder.parent.name, folder.name]
    return root / "-".join(named)


def engine_file(model: Path) -> Path:
    """Return the path of the engine of `model`."""
    return folder_of(model) / f"{model.stem}.tensorrt.engine"


def check_file(model: Path) -> Path:
    """Return the path of the stored inputs and outputs of `model`."""
    return folder_of(model) / f"{model.stem}.check.npz"


def bundle_hash(model: Path) -> str:
    """Return the hash of the bundle of `model`; "" for a file outside a bundle.

    The hash of a variant for TensorRT includes the bundle around it, whose changes invalidate the
    engines.
    """
    manifests = [model.parent / MANIFEST]
    if model.parent.name == FOR_TENSORRT:
        manifests += filter(Path.is_file, [model.parent.parent / MANIFEST])
    try:
        return hashlib.sha256(b"".join(file.read_bytes() for file in manifests)).hexdigest()
    except OSError:
        return ""


def find(model: Path, here: Key) -> Path | None:
    """Return the engine of `model` for this computer; None if it was not built.

    Raises:
        RefusedEngine: a build failed on this computer.
        EngineError: the engine is outdated, of another computer, or damaged.
    """
    file = engine_file(model)
    if not (file.exists() or _record(file).exists()):
        return None
    remedy = f"run `erc build-engines {model.parent}` on this machine"
    try:
        content: dict[str, Any] = json.loads(_record(file).read_text(encoding="utf-8"))
        key = Key(**content["key"])
        if "refused" in content:
            if here.difference(key):
                return None
            raise RefusedEngine(str(content["refused"]))
        digest = str(content["sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EngineError(f"{file} has no readable record next to it; {remedy}") from error
    if mismatch := here.difference(key):
        raise EngineError(f"{file} is skipped: {mismatch}; {remedy}")
    try:
        data = file.read_bytes()
    except OSError as error:
        raise EngineError(f"{file} cannot be read ({error.strerror}); {remedy}") from error
    if hashlib.sha256(data).hexdigest() != digest:
        raise EngineError(f"{file} was changed after it was built (sha256 differs); {remedy}")
    return file


def refuse(file: Path, key: Key, reason: str) -> None:
    """Record that a build failed, so that it is not repeated with the same key."""
    remove(file)
    save_file(_record(file), json.dumps({"key": asdict(key), "refused": reason}).encode())


def refusal(model: Path) -> str:
    """Return the recorded reason of a failed build with any key; "" without one."""
    try:
        content = json.loads(_record(engine_file(model)).read_text(encoding="utf-8"))
        return str(content.get("refused", ""))
    except (OSError, ValueError, AttributeError):
        return ""


def save(file: Path, data: bytes, key: Key) -> None:
    """Store an engine atomically, and then its record.

    Raises:
        EngineError: the folder cannot be written, or the disk is full.
    """
    remove(file)
    save_file(file, data)
    content = {"key": asdict(key), "sha256": hashlib.sha256(data).hexdigest()}
    save_file(_record(file), json.dumps(content, indent=2).encode())


def save_file(file: Path, data: bytes) -> None:
    """Write a file atomically.

    Raises:
        EngineError: the folder cannot be written, or the disk is full.
    """
    unfinished = file.with_name(file.name + UNFINISHED)
    try:
        with unfinished.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(unfinished, file)
    except OSError as error:
        raise EngineError(
            f"{file} cannot be written ({error.strerror}); free disk space, or set ERC_ENGINES to "
            "another folder"
        ) from error
    finally:
        unfinished.unlink(missing_ok=True)


def remove(file: Path) -> None:
    """Delete the record of an engine, and then the engine."""
    _record(file).unlink(missing_ok=True)
    file.unlink(missing_ok=True)


@contextlib.contextmanager
def building(folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Context manager that holds the lock of the folder; a second build reports that it waits.

    Incomplete files of an interrupted build are deleted.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        stream = (folder / "lock").open("a+")
    except OSError as error:
        raise EngineError(f"{folder} cannot be written to ({error.strerror})") from error
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another build runs in {folder}; waiting for its end")
            fcntl.flock(stream, fcntl.LOCK_EX)
        for leftover in folder.glob(f"*{UNFINISHED}"):
            leftover.unlink()
        yield


def _record(file: Path) -> Path:
    return file.with_suffix(".json")


def _short(text: str) -> str:
    return text if len(text) < 60 else f"{text[:12]}..."
