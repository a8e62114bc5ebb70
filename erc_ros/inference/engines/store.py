"""Where TensorRT engines are stored, what they were built for, and whether one may be used.

CACHE/edge-small/text.tensorrt.engine   made on this machine, for it alone
CACHE/edge-small/text.tensorrt.json     its key and sha256; an engine without it is not used
CACHE/edge-small/text.check.npz         inputs and outputs of ONNX Runtime, to compare with
CACHE/edge-small/lock                   held during a build

Engines of the variant for TensorRT in a bundle (`tensorrt/`) are in CACHE/edge-small-tensorrt.

CACHE is $ERC_ENGINES, else $XDG_CACHE_HOME/erc_ros/engines, else ~/.cache/erc_ros/engines. Engines
are code, and write access to them runs programs as the robot's user: only the owner has it.
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
"""A folder of a bundle: the same networks as TensorRT takes them, a bundle of its own."""
UNFINISHED = ".unfinished"


class EngineError(ErcRuntimeError):
    """An engine cannot be built or used; the message says which, why, and what to do."""


class RefusedEngine(EngineError):  # noqa: N818 - a kind of EngineError
    """A build was tried on this machine and is not worth repeating; the message says why."""


@dataclass(frozen=True)
class Key:
    """What an engine was built for; it is used where all of it agrees.

    bundle: sha256 of the manifest, which covers every file.
    machine: the GPU's name, compute capability and driver.
    builder: library and version that built it and will load it.
    precision: of the weights and activations.
    """

    bundle: str
    machine: str
    builder: str
    precision: str

    def difference(self, other: Key) -> str:
        """What in `other`, an engine's key, does not fit here, in words; "" if all fits."""
        here, there = asdict(self), asdict(other)
        return "; ".join(
            f"built for {name} {_short(there[name])}, here is {_short(here[name])}"
            for name in here
            if here[name] != there[name]
        )


def source_of(model: Path) -> Path:
    """The file from which the engine of a bundle's file is built: often that file itself."""
    folder = model.parent / FOR_TENSORRT
    return folder / model.name if (folder / MANIFEST).is_file() else model


def folder_of(model: Path) -> Path:
    """The folder of the engines of a bundle's file; it need not exist."""
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
    """The engine of `model`."""
    return folder_of(model) / f"{model.stem}.tensorrt.engine"


def check_file(model: Path) -> Path:
    """Inputs of `model` and the outputs of ONNX Runtime."""
    return folder_of(model) / f"{model.stem}.check.npz"


def bundle_hash(model: Path) -> str:
    """Hash of the bundle that `model` belongs to; "" for a file outside a bundle.

    That of a variant for TensorRT includes the bundle around it: if it changes, engines are stale.
    """
    manifests = [model.parent / MANIFEST]
    if model.parent.name == FOR_TENSORRT:
        manifests += filter(Path.is_file, [model.parent.parent / MANIFEST])
    try:
        return hashlib.sha256(b"".join(file.read_bytes() for file in manifests)).hexdigest()
    except OSError:
        return ""


def find(model: Path, here: Key) -> Path | None:
    """Return the engine of `model` for this machine; None if none was built.

    Raises:
        RefusedEngine: a build was tried here and refused.
        EngineError: there is one that may not be used: it is stale, foreign or damaged.
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
    """Record that an engine is not worth another build while its key stays the same."""
    remove(file)
    save_file(_record(file), json.dumps({"key": asdict(key), "refused": reason}).encode())


def refusal(model: Path) -> str:
    """Why an engine was refused here, whatever its key; "" if it was not."""
    try:
        content = json.loads(_record(engine_file(model)).read_text(encoding="utf-8"))
        return str(content.get("refused", ""))
    except (OSError, ValueError, AttributeError):
        return ""


def save(file: Path, data: bytes, key: Key) -> None:
    """Store an engine, whole or not at all; its record comes last.

    Raises:
        EngineError: the disk is full, or the folder cannot be written to; nothing is left behind.
    """
    remove(file)
    save_file(file, data)
    content = {"key": asdict(key), "sha256": hashlib.sha256(data).hexdigest()}
    save_file(_record(file), json.dumps(content, indent=2).encode())


def save_file(file: Path, data: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        EngineError: the disk is full, or the folder cannot be written to.
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
            f"{file} cannot be written ({error.strerror}); free some space, or set ERC_ENGINES to "
            "a folder that has it"
        ) from error
    finally:
        unfinished.unlink(missing_ok=True)


def remove(file: Path) -> None:
    """Delete an engine; its record first, so that half an engine is never used."""
    _record(file).unlink(missing_ok=True)
    file.unlink(missing_ok=True)


@contextlib.contextmanager
def building(folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the folder's lock: of two builds at once the second says so, and waits.

    Unfinished files of an earlier build (power failure, kill) are deleted.
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
            say(f"another build is at work in {folder}; waiting for its end")
            fcntl.flock(stream, fcntl.LOCK_EX)
        for leftover in folder.glob(f"*{UNFINISHED}"):
            leftover.unlink()
        yield


def _record(file: Path) -> Path:
    return file.with_suffix(".json")


def _short(text: str) -> str:
    return text if len(text) < 60 else f"{text[:12]}..."
