"""The model bundle: a folder with `bundle.yaml` and the files that it names, checked before use.

A bundle that does not fit is refused as a whole: a recogniser that runs with the wrong tokenizer or
with labels in another order would answer confidently and wrongly. `docs/` describes the format.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from erc_ros.encoders.audio import MEL_BANDS
from erc_ros.encoders.text import TextPrompt
from erc_ros.networks.session import NetworkError, Port, Signature, signature
from erc_ros.values.utterance import SAMPLE_RATE

FORMAT = 2
MANIFEST = "bundle.yaml"
PRECISIONS = ("float32", "float16", "int8-dynamic", "int8-static", "int8-weights")


class BundleError(ValueError):
    """A bundle cannot be used; the message says what is wrong, where, and the way out."""


@dataclass(frozen=True)
class TextPart:
    file: Path
    tokenizer: Path
    embedding: int
    max_tokens: int  # history, utterance and question together
    layers: int
    heads: int  # of the attention of each layer
    precision: str

    @property
    def attention(self) -> tuple[int, int, int]:
        """Layers, heads, and the width of a head."""
        return self.layers, self.heads, self.embedding // self.heads


@dataclass(frozen=True)
class AudioPart:
    file: Path
    mel_bands: int
    max_seconds: float  # the end of a longer utterance counts
    embedding: int
    precision: str


@dataclass(frozen=True)
class VisualPart:
    file: Path
    size: int  # pixels; square gray crops
    max_crops: int
    embedding: int
    precision: str


@dataclass(frozen=True)
class FusionPart:
    file: Path
    context: int  # utterances that it sees, the current one included
    causal: bool
    precision: str


@dataclass(frozen=True, eq=False)
class Bundle:
    """A checked bundle.

    anchors: (C, 2) valence and arousal of each label, both in [-1, 1].
    temperature: the logits are divided by it before softmax.
    sha256: of the manifest's bytes; the manifest holds the hashes of all files, so it covers them.
    """

    folder: Path
    sha256: str
    name: str
    version: str
    labels: tuple[str, ...]
    anchors: NDArray[np.float32]
    sample_rate: int
    text: TextPart
    audio: AudioPart
    visual: VisualPart
    fusion: FusionPart
    temperature: float
    training: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)


_WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
_WORDS |= {list: "a list", dict: "a mapping"}

_TOP: dict[str, type] = {
    "format": int,
    "name": str,
    "version": str,
    "labels": list,
    "anchors": dict,
    "sample_rate": int,
    "text": dict,
    "audio": dict,
    "visual": dict,
    "fusion": dict,
    "temperature": float,
    "files": dict,
    "training": dict,
    "metrics": dict,
}
_PARTS: dict[str, dict[str, type]] = {
    "text": {
        "file": str,
        "tokenizer": str,
        "embedding": int,
        "max_tokens": int,
        "layers": int,
        "heads": int,
        "precision": str,
    },
    "audio": {
        "file": str,
        "mel_bands": int,
        "max_seconds": float,
        "embedding": int,
        "precision": str,
    },
    "visual": {"file": str, "size": int, "max_crops": int, "embedding": int, "precision": str},
    "fusion": {"file": str, "context": int, "causal": bool, "precision": str},
}


def load_bundle(path: Path | str) -> Bundle:
    """Read and check the bundle in the folder `path`.

    Everything is checked: the manifest's keys and values, size and sha256 of every file, and the
    inputs and outputs of every network.

    Raises:
        BundleError: something does not fit; says what, where, and the way out.
    """
    folder = Path(path)
    manifest, digest = _read(folder)
    _newer(manifest, folder / MANIFEST)
    top = _section(manifest, _TOP, "")
    parts = {name: _part(top[name], name) for name in _PARTS}
    labels = _labels(top["labels"])
    _mel_bands(parts["audio"]["mel_bands"])
    _files(folder, top["files"], _named(parts))
    bundle = Bundle(
        folder=folder,
        sha256=digest,
        name=_filled(top["name"], "name"),
        version=_filled(top["version"], "version"),
        labels=labels,
        anchors=_anchors(top["anchors"], labels),
        sample_rate=_rate(top["sample_rate"]),
        text=TextPart(**_placed(folder, parts["text"])),
        audio=AudioPart(**_placed(folder, parts["audio"])),
        visual=VisualPart(**_placed(folder, parts["visual"])),
        fusion=FusionPart(**_placed(folder, parts["fusion"])),
        temperature=_temperature(top["temperature"]),
        training=top["training"],
        metrics=top["metrics"],
    )
    _check_text(bundle.text)
    _check_networks(bundle)
    return bundle


def sha256_of(file: Path) -> str:
    """sha256 of a file's bytes, as hexadecimal text."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def signatures(bundle: Bundle) -> dict[Path, Signature]:
    """What every network of a bundle has to take and give; None = any size."""
    text, audio, visual = bundle.text.embedding, bundle.audio.embedding, bundle.visual.embedding
    mel, size, labels = bundle.audio.mel_bands, bundle.visual.size, len(bundle.labels)
    layers, heads, width = bundle.text.attention
    tokens: dict[str, Port] = {
        "input_ids": ("int64", (None, None)),
        "positions": ("int64", (None, None)),
        "visible": ("bool", (None, None, None)),
        "mask_index": ("int64", (None, None)),
        "past": ("float", (layers, 2, None, heads, None, width)),
    }
    read: dict[str, Port] = {
        "embedding": ("float", (None, None, text)),
        "present": ("float", (layers, 2, None, heads, None, width)),
    }
    sequence: dict[str, Port] = {
        "text": ("float", (None, None, text)),
        "audio": ("float", (None, None, audio)),
        "visual": ("float", (None, None, visual)),
        "modalities": ("bool", (None, None, 3)),
        "speakers": ("int64", (None, None)),
        "valid": ("bool", (None, None)),
    }
    sound: dict[str, Port] = {
        "features": ("float", (None, None, mel)),
        "frames": ("int64", (None,)),
    }
    answers: dict[str, Port] = {
        "logits": ("float", (None, None, labels)),
        "weights": ("float", (None, None, 3)),
    }
    return {
        bundle.text.file: Signature(tokens, read),
        bundle.audio.file: Signature(sound, {"embedding": ("float", (None, audio))}),
        bundle.visual.file: Signature(
            {"faces": ("float", (None, 1, size, size))}, {"embedding": ("float", (None, visual))}
        ),
        bundle.fusion.file: Signature(sequence, answers),
    }


def _read(folder: Path) -> tuple[dict[Any, Any], str]:
    file = folder / MANIFEST
    try:
        data = file.read_bytes()
    except OSError as error:
        hint = "give the folder that holds bundle.yaml, for example models/edge-small"
        raise BundleError(f"{file} cannot be read ({error.strerror}); {hint}") from error
    try:
        manifest = yaml.safe_load(data)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise BundleError(f"{file} is no valid YAML ({reason}); restore the file") from error
    if not isinstance(manifest, dict):
        raise BundleError(f"{file} holds {_kind(manifest)} instead of a mapping; restore the file")
    return manifest, hashlib.sha256(data).hexdigest()


def _newer(manifest: dict[Any, Any], file: Path) -> None:
    found = manifest.get("format")
    if isinstance(found, int) and found > FORMAT:
        raise BundleError(
            f"{file} has format {found}, this erc_ros reads {FORMAT}; "
            "update erc_ros or use an older bundle"
        )
    if "format" in manifest and (found != FORMAT or isinstance(found, bool)):
        raise BundleError(f"{file}: format is {found!r}, expected {FORMAT}; export the bundle anew")


def _section(found: dict[Any, Any], expected: dict[str, type], where: str) -> dict[str, Any]:
    place = f"section {where!r} of {MANIFEST}" if where else MANIFEST
    if unknown := [key for key in found if key not in expected]:
        names = ", ".join(map(repr, unknown))
        raise BundleError(
            f"{place}: unknown key {names}; known are {', '.join(expected)} "
            "(a typing error, or a bundle for another version of erc_ros)"
        )
    if missing := [key for key in expected if key not in found]:
        raise BundleError(f"{place}: missing key {', '.join(missing)}; export the bundle anew")
    for key, kind in expected.items():
        if not _is(found[key], kind):
            raise BundleError(
                f"{place}: {key} is {found[key]!r}, expected {_WORDS[kind]}; correct the entry"
            )
    # A number without a point is one as well: 6 for 6.0.
    return {k: float(found[k]) if kind is float else found[k] for k, kind in expected.items()}


def _is(value: object, kind: type) -> bool:
    if isinstance(value, bool):
        return kind is bool  # for Python, True is a whole number as well
    return isinstance(value, (int, float) if kind is float else kind)


def _kind(value: object) -> str:
    return "nothing" if value is None else _WORDS.get(type(value), type(value).__name__)


def _part(found: dict[Any, Any], name: str) -> dict[str, Any]:
    part = _section(found, _PARTS[name], name)
    for key in ("file", "tokenizer"):
        if key in part:
            _plain_name(part[key], f"{name}.{key}")
    if part["precision"] not in PRECISIONS:
        known = ", ".join(PRECISIONS)
        raise BundleError(
            f"{MANIFEST}: {name}.precision is {part['precision']!r}, known are {known}"
        )
    for key, value in part.items():
        if _is(value, float) and not (math.isfinite(value) and value > 0):
            raise BundleError(f"{MANIFEST}: {name}.{key} is {value}; it must be above 0")
    return part


def _plain_name(name: str, where: str) -> None:
    # Names only: a manifest from elsewhere must not make us read a file outside its folder. What a
    # name links to is free (colcon links installed files); the hash covers its content.
    if not name or name in (".", "..") or any(c in name for c in "/\\:\0"):
        raise BundleError(
            f"{MANIFEST}: {where} is {name!r}; only plain names of files beside it are allowed"
        )


def _named(parts: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Every file that the parts name, and where it is named."""
    return {
        part[key]: f"{name}.{key}"
        for name, part in parts.items()
        for key in ("file", "tokenizer")
        if key in part
    }


def _files(folder: Path, listed: dict[Any, Any], named: dict[str, str]) -> None:
    if extra := [str(name) for name in listed if name not in named]:
        raise BundleError(f"{MANIFEST}: files lists {', '.join(extra)}, which no part names")
    for name, where in named.items():
        if name not in listed:
            raise BundleError(f"{MANIFEST}: files lacks {name} (named by {where}); export anew")
        if not isinstance(listed[name], dict):
            raise BundleError(f"{MANIFEST}: files.{name} must be a mapping of sha256 and bytes")
        entry = _section(listed[name], {"sha256": str, "bytes": int}, f"files.{name}")
        _file(folder / name, entry)


def _file(file: Path, entry: dict[str, Any]) -> None:
    way_out = "the copy is damaged or incomplete: fetch the bundle again"
    try:
        size = file.stat().st_size
        if size != entry["bytes"]:
            raise BundleError(f"{file} has {size} bytes, expected {entry['bytes']}; {way_out}")
        digest = sha256_of(file)
    except OSError as error:
        raise BundleError(f"{file} cannot be read ({error.strerror}); {way_out}") from error
    if digest != entry["sha256"]:
        raise BundleError(
            f"{file} has sha256 {digest[:12]}..., expected {entry['sha256'][:12]}...; {way_out}"
        )


def _filled(text: str, where: str) -> str:
    if not text.strip():
        raise BundleError(f"{MANIFEST}: {where} is empty; give one")
    return text


def _labels(found: list[Any]) -> tuple[str, ...]:
    if len(found) < 2 or not all(isinstance(label, str) and label for label in found):
        raise BundleError(f"{MANIFEST}: labels must be at least two names, found {found!r}")
    if len(set(found)) != len(found):
        raise BundleError(f"{MANIFEST}: labels holds a name twice: {', '.join(found)}")
    return tuple(found)


def _anchors(found: dict[Any, Any], labels: tuple[str, ...]) -> NDArray[np.float32]:
    if set(found) != set(labels):
        differing = ", ".join(sorted(map(str, set(found) ^ set(labels))))
        raise BundleError(
            f"{MANIFEST}: anchors and labels differ in {differing}; every label needs one anchor"
        )
    for label in labels:
        pair = found[label]
        good = isinstance(pair, list) and len(pair) == 2 and all(_is(x, float) for x in pair)
        if not good or not all(abs(x) <= 1 for x in pair):
            raise BundleError(
                f"{MANIFEST}: anchors.{label} is {pair!r}; expected [valence, arousal] in [-1, 1]"
            )
    return np.array([found[label] for label in labels], np.float32)


def _rate(found: int) -> int:
    if found != SAMPLE_RATE:
        raise BundleError(
            f"{MANIFEST}: sample_rate is {found}, erc_ros works at {SAMPLE_RATE} Hz; "
            "train the audio encoder at that rate"
        )
    return found


def _temperature(found: float) -> float:
    if not (math.isfinite(found) and found > 0):
        raise BundleError(
            f"{MANIFEST}: temperature is {found}; it must be above 0 (1 = not calibrated)"
        )
    return found


def _mel_bands(found: int) -> None:
    if found != MEL_BANDS:
        raise BundleError(
            f"{MANIFEST}: audio.mel_bands is {found}, erc_ros hears {MEL_BANDS}; "
            "train the audio encoder on those"
        )


def _placed(folder: Path, part: dict[str, Any]) -> dict[str, Any]:
    return {
        key: folder / value if key in ("file", "tokenizer") else value
        for key, value in part.items()
    }


def _check_text(text: TextPart) -> None:
    if text.embedding % text.heads:
        raise BundleError(
            f"{MANIFEST}: text.embedding {text.embedding} is no multiple of text.heads {text.heads}"
        )
    try:
        TextPrompt.from_file(text.tokenizer, text.max_tokens)
    except ValueError as error:
        raise BundleError(f"{text.tokenizer}: {error}; export the bundle anew") from error


def _check_networks(bundle: Bundle) -> None:
    for file, expected in signatures(bundle).items():
        try:
            found = signature(file)
        except NetworkError as error:
            raise BundleError(f"{error}; export the bundle anew") from error
        if difference := expected.difference(found):
            raise BundleError(
                f"{file}: {difference}; the file belongs to another bundle, or the manifest's "
                "sizes are wrong"
            )
