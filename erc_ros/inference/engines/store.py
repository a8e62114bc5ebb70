"""Where engines lie, what they were built for, and whether one may be used.

CACHE/edge-small/text.tensorrt.engine   made on this machine, for it alone
CACHE/edge-small/text.tensorrt.json     its key, size and sha256: an engine without it is none
CACHE/edge-small/text.check.npz         inputs and ONNX Runtime's answers, to compare with
CACHE/edge-small/timing.cache           what TensorRT learned about its kernels
CACHE/edge-small/lock                   held while somebody builds

Engines of the form for TensorRT that is in a bundle (`tensorrt/`) lie in CACHE/edge-small-tensorrt.

CACHE is $ERC_ENGINES, else $XDG_CACHE_HOME/erc_ros/engines, else ~/.cache/erc_ros/engines. The
folder below it is named like the bundle's. Engines are code: whoever can write there can run
programs as the robot's user, so the folder is made for its owner only.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from erc_ros.values.errors import ErcRuntimeError

MANIFEST = "bundle.yaml"
FOR_TENSORRT = "tensorrt"
"""A folder of a bundle: the same networks in the form that TensorRT takes, a bundle of its own."""
UNFINISHED = ".unfinished"
SUFFIX = {"tensorrt": ".tensorrt.engine", "onnxruntime": ".onnxruntime.onnx"}


class EngineError(ErcRuntimeError):
    """An engine cannot be built or used; the message says which, why, and the way out."""


class RefusedEngine(EngineError):  # noqa: N818 - a kind of EngineError
    """It was tried on this machine, and is not worth another try; the message says why."""


@dataclass(frozen=True)
class Key:
    """What an engine was built for; it is used where all of it agrees.

    bundle: sha256 of the manifest, which covers every file.
    machine: the GPU's name and compute capability, or the processor and its features.
    builder: library and version that made it, and will have to read it.
    precision: of the weights and activations.
    """

    bundle: str
    machine: str
    builder: str
    precision: str

    def difference(self, found: Key) -> str:
        """What of `found`, an engine's key, does not fit here, in words; "" if all fits."""
        here, there = asdict(self), asdict(found)
        return "; ".join(
            f"built for {name} {_short(there[name])}, here is {_short(here[name])}"
            for name in here
            if here[name] != there[name]
        )


@dataclass(frozen=True)
class Engine:
    """An engine whose key agrees and whose bytes are those that were built."""

    file: Path
    key: Key
    tolerance: float
    difference: float  # from ONNX Runtime on the stored inputs, when it was built


def source_of(model: Path) -> Path:
    """The file of which TensorRT makes the engine of a bundle's file: often that file itself."""
    folder = model.parent / FOR_TENSORRT
    return folder / model.name if (folder / MANIFEST).is_file() else model


def folder_of(model: Path) -> Path:
    """Where the engines of a bundle's file lie. Nothing is made."""
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


def engine_file(model: Path, kind: str) -> Path:
    """The engine of `model`. kind: "tensorrt" or "onnxruntime"."""
    return folder_of(model) / f"{model.stem}{SUFFIX[kind]}"


def check_file(model: Path) -> Path:
    """Inputs of `model` and the answers of ONNX Runtime."""
    return folder_of(model) / f"{model.stem}.check.npz"


def bundle_hash(model: Path) -> str:
    """Of the bundle that `model` belongs to; "" for a file outside of a bundle.

    A form for TensorRT has that of the bundle around it in it: replaced, its engines are stale.
    """
    manifests = [model.parent / MANIFEST]
    if model.parent.name == FOR_TENSORRT:
        manifests += filter(Path.is_file, [model.parent.parent / MANIFEST])
    try:
        return hashlib.sha256(b"".join(file.read_bytes() for file in manifests)).hexdigest()
    except OSError:
        return ""


def find(model: Path, kind: str, here: Key) -> Engine | None:
    """The engine of `model` for this machine; None if none was built.

    Raises:
        RefusedEngine: it was tried here, and `refuse` says why there is none.
        EngineError: there is one, and it may not be used: it is stale, foreign or damaged.
    """
    file = engine_file(model, kind)
    if not (file.exists() or _record(file).exists()):
        return None
    way_out = f"run `erc build-engines {model.parent}` on this machine"
    try:
        content: dict[str, Any] = json.loads(_record(file).read_text(encoding="utf-8"))
        key = Key(**content["key"])
        if "refused" in content:
            if here.difference(key):
                return None
            raise RefusedEngine(str(content["refused"]))
        size, digest = int(content["bytes"]), str(content["sha256"])
        tolerance, difference = float(content["tolerance"]), float(content["difference"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EngineError(f"{file} has no readable record next to it; {way_out}") from error
    if mismatch := here.difference(key):
        raise EngineError(f"{file} is passed over: {mismatch}; {way_out}")
    try:
        data = file.read_bytes()
    except OSError as error:
        raise EngineError(f"{file} cannot be read ({error.strerror}); {way_out}") from error
    if len(data) != size:
        raise EngineError(f"{file} has {len(data)} bytes, expected {size}; {way_out}")
    if hashlib.sha256(data).hexdigest() != digest:
        raise EngineError(f"{file} was changed after it was built (sha256 differs); {way_out}")
    return Engine(file, key, tolerance, difference)


def refuse(file: Path, key: Key, reason: str) -> None:
    """Remember that an engine is not worth another try while its key stays the same."""
    remove(file)
    save_file(_record(file), json.dumps({"key": asdict(key), "refused": reason}).encode())


def refusal(model: Path, kind: str) -> str:
    """Why an engine was refused here, whatever its key; "" if it was not."""
    try:
        found = json.loads(_record(engine_file(model, kind)).read_text(encoding="utf-8"))
        return str(found.get("refused", ""))
    except (OSError, ValueError, AttributeError):
        return ""


def save(file: Path, make: Callable[[Path], float], key: Key, tolerance: float) -> None:
    """Put an engine into its place, whole or not at all; the record comes last.

    Args:
        make: writes the engine to the path that it gets, and tells how far its answers differ.
        tolerance: how far they may; for those who use the engine later.

    Raises:
        EngineError: the disk is full, or the folder cannot be written to; nothing is left behind.
    """
    remove(file)
    with _placed(file) as unfinished:
        difference = make(unfinished)
        data = unfinished.read_bytes()
    content = {
        "key": asdict(key),
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "tolerance": tolerance,
        "difference": difference,
    }
    save_file(_record(file), json.dumps(content, indent=2).encode())


def save_file(file: Path, data: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        EngineError: the disk is full, or the folder cannot be written to.
    """
    with _placed(file) as unfinished:
        unfinished.write_bytes(data)


def remove(file: Path) -> None:
    """Take an engine away; its record first, so that it is never taken for whole."""
    _record(file).unlink(missing_ok=True)
    file.unlink(missing_ok=True)


@contextlib.contextmanager
def building(folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the folder's lock: of two builds at once the second says so, and waits.

    What an earlier build left unfinished (the power failed, it was killed) is taken away.
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


@cache
def processor() -> str:
    """The processor and its features, as text of bounded length."""
    names, features = "", ""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, value = (part.strip() for part in line.partition(":"))
            if name in ("model name", "CPU part") and not names:
                names = value
            if name in ("flags", "Features") and not features:
                features = " ".join(sorted(value.split()))
    except OSError:
        pass
    return f"{os.uname().machine} {names} {hashlib.sha256(features.encode()).hexdigest()[:12]}"


def _record(file: Path) -> Path:
    return file.with_suffix(".json")


def _short(text: str) -> str:
    return text if len(text) < 60 else f"{text[:12]}..."


@contextlib.contextmanager
def _placed(file: Path) -> Iterator[Path]:
    """A path to write to, which becomes `file` at the end, and nothing after an error."""
    unfinished = file.with_name(file.name + UNFINISHED)
    try:
        yield unfinished
        with unfinished.open("rb") as stream:
            os.fsync(stream.fileno())
        os.replace(unfinished, file)
    except OSError as error:
        raise EngineError(
            f"{file} cannot be written ({error.strerror}); free some space, or set ERC_ENGINES to "
            "a folder that has it"
        ) from error
    finally:
        unfinished.unlink(missing_ok=True)
