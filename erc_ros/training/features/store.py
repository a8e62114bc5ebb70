"""Store the features of a corpus on disk; they are read by key at more than 1 GB/s.

    store.json     encoder, dimension, number of shards, arguments of the encoder
    00000.npy      (n, dimension) float32
    00000.json     the shard's keys in the order of its rows, size and sha256 of the .npy, a digest
                   of the input, and key -> reason for the excluded utterances

A shard is complete once its .json exists; both files are written under another name and renamed,
so that all shards of an interrupted run are complete. Nothing is pickled. An open store has the
keys in memory (about 150 bytes per utterance); the features are in the page cache.
"""

from __future__ import annotations

import io
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from erc_ros.inference.bundle import sha256_of
from erc_ros.values.files import write_whole

FORMAT = 1
INDEX = "store.json"

Features = NDArray[np.float32]


class StoreError(ValueError):
    """A feature store cannot be used; the message states the fault, the file and the remedy."""


@dataclass(frozen=True, slots=True)
class Shard:
    """Content of a shard's .json. source: a digest of encoder and input."""

    keys: tuple[str, ...]
    left_out: Mapping[str, str]  # key -> reason
    source: str
    bytes: int
    sha256: str


def create(
    folder: Path,
    encoder: str,
    dimension: int,
    shards: int,
    made_by: Mapping[str, Any] | None = None,
) -> None:
    """Create a store, or continue one of the same encoder.

    Removes temporary files of an interrupted run and surplus shards. Only one process may call
    this; any number may then write shards.

    Args:
        made_by: encoder, model and options of `erc encode`.

    Raises:
        StoreError: the folder has features of another encoder, or other files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / INDEX).is_file():
        _same_encoder(folder, _index(folder), encoder, dimension)
    elif others := sorted(p.name for p in folder.iterdir() if not p.name.startswith(".")):
        raise StoreError(f"{folder} is not a feature store, it has {others[0]}: use another folder")
    for temporary in folder.glob(".*-????????????????"):  # of `write_whole`
        temporary.unlink()
    for file in folder.glob("[0-9]*.json"):
        if file.stem.isdigit() and int(file.stem) >= shards:
            file.unlink()
            file.with_suffix(".npy").unlink(missing_ok=True)
    content: dict[str, Any] = {
        "format": FORMAT,
        "encoder": encoder,
        "dimension": dimension,
        "shards": shards,
        **({"made_by": dict(made_by)} if made_by else {}),
    }
    _write_json(folder / INDEX, content)


def write_shard(
    folder: Path,
    number: int,
    source: str,
    keys: Sequence[str],
    features: Features,
    left_out: Mapping[str, str],
) -> None:
    """Write one shard: features (n, dimension) float32, a key for each row.

    Raises:
        StoreError: the rows do not match the keys or the store, a key occurs twice, or a feature
            is not finite.
    """
    dimension = _index(folder)["dimension"]
    if features.shape != (len(keys), dimension) or features.dtype != np.float32:
        raise StoreError(
            f"features are {features.dtype} {features.shape}, must be float32 "
            f"({len(keys)}, {dimension}): a row for each key"
        )
    if len(set(keys)) < len(keys):
        [(key, _)] = Counter(keys).most_common(1)
        raise StoreError(f"the key {key!r} occurs twice in shard {number}")
    if bad := np.flatnonzero(~np.isfinite(features).all(axis=1)).tolist():
        raise StoreError(f"the features of {keys[bad[0]]!r} are not finite: exclude it")
    file, data = _npy(folder, number), io.BytesIO()
    np.save(data, features, allow_pickle=False)
    write_whole(file, data.getvalue())
    content = {
        "source": source,
        "bytes": file.stat().st_size,
        "sha256": sha256_of(file),
        "keys": list(keys),
        "left_out": dict(left_out),
    }
    _write_json(file.with_suffix(".json"), content)


def read_shard(folder: Path, number: int) -> Shard | None:
    """Read a shard's .json; None if it does not exist.

    Raises:
        StoreError: its .json is damaged.
    """
    file = _npy(folder, number).with_suffix(".json")
    if not file.is_file():
        return None
    content = _read_json(file)
    try:
        return Shard(
            tuple(content["keys"]),
            dict(content["left_out"]),
            str(content["source"]),
            int(content["bytes"]),
            str(content["sha256"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(f"{file} is damaged ({error!r}): delete it and encode again") from error


def damage(folder: Path, number: int, shard: Shard, thorough: bool = True) -> str:
    """Return the fault of a shard's features, "" if there is no fault.

    Args:
        thorough: read the file and compare the hash; else compare its size only.
    """
    file = _npy(folder, number)
    if not file.is_file():
        return f"{file} is missing"
    if (size := file.stat().st_size) != shard.bytes:
        return f"{file} has {size} bytes, must have {shard.bytes}: it was truncated or changed"
    if thorough and (digest := sha256_of(file)) != shard.sha256:
        return f"{file} has sha256 {digest[:12]}, must have {shard.sha256[:12]}: it was changed"
    return ""


class FeatureStore:
    """Read features by the utterance's key; can be opened in several processes.

    Args:
        folder: written by `erc encode`.
        encoder: required name of the encoder; None accepts any.

    Raises:
        FileNotFoundError: the folder is not a store.
        StoreError: features of another encoder, missing or truncated shards, a key in two shards.
    """

    def __init__(self, folder: Path, encoder: str | None = None) -> None:
        if not (folder / INDEX).is_file():
            raise FileNotFoundError(f"{folder} has no {INDEX}: make the features with `erc encode`")
        index = _index(folder)
        self.folder = folder
        self.encoder: str = index["encoder"]
        self.dimension: int = index["dimension"]
        self.made_by: dict[str, Any] = dict(index.get("made_by") or {})
        _same_encoder(folder, index, encoder or self.encoder, self.dimension)
        self._row: dict[str, int] = {}
        self.left_out: dict[str, str] = {}
        starts = [0]
        for number in range(index["shards"]):
            shard = self._shard(number, index["shards"])
            self._row.update(
                zip(shard.keys, range(starts[-1], starts[-1] + len(shard.keys)), strict=True)
            )
            self.left_out.update(shard.left_out)
            starts.append(starts[-1] + len(shard.keys))
            if len(self._row) != starts[-1]:
                raise StoreError(f"{folder}: shard {number} has keys of an earlier one; {_AGAIN}")
        self._starts = np.array(starts, np.int64)
        self._begins: dict[int, int] = {}
        files = (_npy(folder, number) for number in range(index["shards"]))
        self._versions = [_version(file.stat()) for file in files]

    def __len__(self) -> int:
        """Return the number of utterances with features."""
        return len(self._row)

    def __contains__(self, key: str) -> bool:
        return key in self._row

    def keys(self) -> tuple[str, ...]:
        """The keys, in the order of `shards`."""
        return tuple(self._row)

    def __getitem__(self, key: str) -> Features:
        """Return the features (dimension,) of one utterance.

        Raises:
            KeyError: it has no features; states the reason if known.
        """
        if key not in self._row:
            reason = self.left_out.get(key, "it is not in this corpus")
            raise KeyError(f"{self.folder} has no features of {key!r}: {reason}")
        features: Features = self.take([key])[0][0]
        return features

    def take(self, keys: Sequence[str]) -> tuple[Features, NDArray[np.bool_]]:
        """Return features (n, dimension) in the order of `keys`, 0 where missing, and a mask (n,).

        An excluded utterance is not an error here, but a missing modality. Rows that are adjacent
        in the store and in `keys`, such as those of a conversation, are read at once.

        Raises:
            StoreError: a file was truncated or replaced since the store was opened.
        """
        rows = np.fromiter((self._row.get(key, -1) for key in keys), np.int64, len(keys))
        features = np.zeros((len(keys), self.dimension), np.float32)
        numbers = np.searchsorted(self._starts, rows, side="right") - 1  # -1: absent
        breaks = np.flatnonzero((np.diff(rows) != 1) | (np.diff(numbers) != 0)) + 1
        for begin, end in pairwise([0, *breaks.tolist(), len(keys)]):
            if begin < end and rows[begin] >= 0:
                number = int(numbers[begin])
                self._read(number, int(rows[begin] - self._starts[number]), features[begin:end])
        return features, rows >= 0

    def shards(self) -> Iterator[Features]:
        """Yield the features of each shard (n, dimension), read-only."""
        for number in range(len(self._starts) - 1):
            shape = self._shape(number)
            if shape[0] == 0:  # a memory map cannot be empty
                yield np.zeros(shape, np.float32)
            else:
                file = _npy(self.folder, number)
                yield np.memmap(file, np.float32, "r", self._begin(number), shape)

    def verify(self) -> None:
        """Read all shards and compare the hashes.

        Raises:
            StoreError: a shard was changed.
        """
        for number in range(len(self._starts) - 1):
            shard = read_shard(self.folder, number)
            reason = damage(self.folder, number, shard) if shard else f"shard {number} is missing"
            if reason:
                raise StoreError(f"{reason}; {_AGAIN}")

    def _shard(self, number: int, shards: int) -> Shard:
        shard = read_shard(self.folder, number)
        if shard is None:
            raise StoreError(f"{self.folder}: shard {number} of {shards} is missing; {_AGAIN}")
        if reason := damage(self.folder, number, shard, thorough=False):
            raise StoreError(f"{reason}; {_AGAIN}")
        return shard

    def _read(self, number: int, first: int, into: Features) -> None:
        """Fill `into` (n, dimension) with the rows of a shard from `first` on.

        Uses read, not a memory map: mapping is slower for a conversation, and the process would
        crash if another process truncated the file.
        """
        file = f"{self.folder}/{number:05d}.npy"
        at = self._begin(number) + first * self.dimension * into.itemsize
        left = into.data.cast("B")
        descriptor = os.open(file, os.O_RDONLY)
        try:
            if _version(os.fstat(descriptor)) != self._versions[number]:
                raise StoreError(f"{file} was changed since the store was opened: open it again")
            while left:
                count = os.preadv(descriptor, [left], at)
                if count == 0:
                    raise StoreError(f"{file} ends too early; {_AGAIN}")
                left, at = left[count:], at + count
        finally:
            os.close(descriptor)

    def _begin(self, number: int) -> int:
        """Return the offset of a shard's numbers in its file, bytes."""
        if number not in self._begins:
            self._begins[number] = _header(_npy(self.folder, number), self._shape(number))
        return self._begins[number]

    def _shape(self, number: int) -> tuple[int, int]:
        return int(self._starts[number + 1] - self._starts[number]), self.dimension


def _version(status: os.stat_result) -> tuple[int, int, int]:
    """Return a value that changes when a file is replaced or written to."""
    return status.st_ino, status.st_mtime_ns, status.st_size


def _header(file: Path, shape: tuple[int, int]) -> int:
    """Return the offset of the data in an .npy, which must have float32 of this shape."""
    try:
        with file.open("rb") as stream:
            if np.lib.format.read_magic(stream) != (1, 0):
                raise ValueError("of an unsupported version")
            stored, by_column, kind = np.lib.format.read_array_header_1_0(stream)
            offset = stream.tell()
    except (ValueError, OSError) as error:
        raise StoreError(f"{file} cannot be read ({error}); {_AGAIN}") from error
    if stored != shape or kind != np.float32 or by_column:
        raise StoreError(f"{file} holds {kind} {stored}, must be float32 {shape}; {_AGAIN}")
    return offset


_AGAIN = "run the same `erc encode` again, which encodes the missing shards"


def _same_encoder(folder: Path, index: Mapping[str, Any], encoder: str, dimension: int) -> None:
    if index["encoder"] != encoder or index["dimension"] != dimension:
        raise StoreError(
            f"{folder} holds features of the encoder {index['encoder']!r} ({index['dimension']}"
            f" numbers), not of {encoder!r} ({dimension}): use another folder"
        )


def _index(folder: Path) -> dict[str, Any]:
    file = folder / INDEX
    content = _read_json(file)
    wanted = {"format": int, "encoder": str, "dimension": int, "shards": int}
    if any(not isinstance(content.get(key), kind) for key, kind in wanted.items()):
        raise StoreError(f"{file} is damaged: it must have {', '.join(wanted)}")
    if content["format"] != FORMAT:
        raise StoreError(
            f"{file} is of format {content['format']}, known is {FORMAT}: encode again"
        )
    return content


def _npy(folder: Path, number: int) -> Path:
    return folder / f"{number:05d}.npy"


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise StoreError(f"{file} is truncated or not JSON: delete it and encode again") from error
    if not isinstance(content, dict):
        raise StoreError(f"{file} is not a mapping: delete it and encode again")
    return content


def _write_json(file: Path, content: Mapping[str, Any]) -> None:
    write_whole(file, json.dumps(content, ensure_ascii=False, indent=1) + "\n")
