"""Content of `bundle.yaml`: the parts of a model package as checked values.

Each part has a kind, which determines the input of its network:

    text    cached    the new tokens, and the keys and values of earlier ones
            prompt    the whole prompt, history first, for every utterance
    audio   log-mel   64 bands, normalized over the utterance
            waveform  samples at 16 kHz, optionally normalized
            voice     speaker embeddings of the utterance and of the speaker's earlier ones
    visual  crops     gray face crops in [0, 1], embedded one by one
            clip      a fixed number of RGB frames, normalized per channel

`docs/reference/bundle.md` describes the format key by key.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from erc_ros.encoders.audio import MEL_BANDS
from erc_ros.encoders.language import primary_language
from erc_ros.encoders.text import PROMPT_VERSION, PROMPTS, TokenRoles
from erc_ros.inference.reliability import ReliabilityConfig
from erc_ros.networks.session import Port, Signature
from erc_ros.values.errors import ErcValueError
from erc_ros.values.settings import check, required
from erc_ros.values.tables import build, shown
from erc_ros.values.utterance import MODALITIES, SAMPLE_RATE

FORMAT = 3
MANIFEST = "bundle.yaml"
PRECISIONS = ("float32", "float16", "int8-dynamic", "int8-static", "int8-weights")
LARGEST_FILE = 2 << 30  # bytes, maximum size of an ONNX file
LARGEST_TOKENIZER = 64 << 20  # bytes
CONFIDENCE_FACTORS = (0.1, 10.0)  # allowed range
SHARPNESS = (0.1, 10.0)
MAX_OFFSET = 5.0
TEMPERATURES = (1e-3, 1e3)  # allowed range

_WIDTH = (1, 65536)  # allowed range of the size of an embedding
_COUNT = (1, 1024)  # allowed range of layers, attention heads, utterances
_IMAGES = (1, 256)
_SECONDS = (0.1, 600.0)
_PIXELS = (8, 1024)
_IDS: Port = ("int64", (None, None))


def modality_set(modalities: Sequence[bool]) -> str:
    """Return the name of a set of modalities: "text+visual" for (True, False, True)."""
    return "+".join(name for name, seen in zip(MODALITIES, modalities, strict=True) if seen)


MODALITY_SETS = tuple(
    modality_set(seen) for seen in itertools.product((True, False), repeat=3) if any(seen)
)
"""Names of all sets, from "text+audio+visual" to "visual"."""


class BundleError(ErcValueError):
    """A bundle cannot be used."""


@dataclass(frozen=True)
class Tokens:
    """The tokenizer and its special tokens.

    speakers: tokens of an unknown speaker and of speakers 1 to 9; empty: no speaker tokens.
    """

    file: Path
    start: str
    separator: str
    mask: str = ""
    speakers: tuple[str, ...] = ()

    @property
    def roles(self) -> TokenRoles:
        return TokenRoles(self.start, self.separator, self.mask, self.speakers)


@dataclass(frozen=True)
class CachedText:
    """A text encoder with cached keys and values of earlier utterances.

    max_tokens: maximum number of tokens of history, utterance and question together. heads:
    attention heads per layer. question: whether the prompt ends with a question and the embedding
    is read at its mask; otherwise it is read at the utterance.
    """

    file: Path
    tokenizer: Tokens
    embedding: int = required(_WIDTH)
    max_tokens: int = required(_WIDTH)
    layers: int = required(_COUNT)
    heads: int = required(_COUNT)
    precision: str = required(choices=PRECISIONS)
    question: bool = True

    def __post_init__(self) -> None:
        check(self)
        if self.embedding % self.heads:
            raise ErcValueError(
                f"embedding is {self.embedding}; must be a multiple of heads, {self.heads}"
            )

    @property
    def attention(self) -> tuple[int, int, int]:
        """Number of layers, number of heads, and width of a head."""
        return self.layers, self.heads, self.embedding // self.heads

    @property
    def signature(self) -> Signature:
        """Return the inputs and outputs of the network."""
        layers, heads, width = self.attention
        past: Port = ("float", (layers, 2, None, heads, None, width))
        inputs: dict[str, Port] = {
            "input_ids": _IDS,
            "positions": _IDS,
            "visible": ("bool", (None, None, None)),
            "mask_index": _IDS,
            "past": past,
        }
        return Signature(
            inputs, {"embedding": ("float", (None, None, self.embedding)), "present": past}
        )


@dataclass(frozen=True)
class PromptText:
    """A text encoder that encodes the whole prompt for every utterance.

    prompt: one of `encoders.text.PROMPTS`. history: maximum number of earlier utterances; -1: all
        that fit. prompt_version: `encoders.text.PROMPT_VERSION` when it was exported.
    """

    file: Path
    tokenizer: Tokens
    embedding: int = required(_WIDTH)
    max_tokens: int = required(_WIDTH)
    prompt: str = required(choices=tuple(PROMPTS))
    precision: str = required(choices=PRECISIONS)
    history: int = required((-1, 1024), default=-1)
    prompt_version: int = required((1, PROMPT_VERSION), default=1)

    def __post_init__(self) -> None:
        check(self)

    @property
    def signature(self) -> Signature:
        """Return the inputs and outputs of the network."""
        inputs: dict[str, Port] = {"input_ids": _IDS, "attention_mask": _IDS}
        if self.prompt != "plain":
            inputs["mask_index"] = ("int64", (None,))
        return _embeds(inputs, self.embedding)


@dataclass(frozen=True)
class LogMelAudio:
    """An audio encoder of log-mel features. max_seconds: the end of longer audio is used."""

    file: Path
    embedding: int = required(_WIDTH)
    max_seconds: float = required(_SECONDS)
    precision: str = required(choices=PRECISIONS)
    mel_bands: int = required((MEL_BANDS, MEL_BANDS), default=MEL_BANDS)
    sample_rate: int = required((SAMPLE_RATE, SAMPLE_RATE), default=SAMPLE_RATE)

    def __post_init__(self) -> None:
        check(self)

    @property
    def signature(self) -> Signature:
        """Return the inputs and outputs of the network."""
        features: Port = ("float", (None, None, self.mel_bands))
        return _embeds({"features": features, "frames": ("int64", (None,))}, self.embedding)


@dataclass(frozen=True)
class WaveformAudio:
    """An audio encoder of samples, optionally with mean 0 and variance 1 per utterance."""

    file: Path
    embedding: int = required(_WIDTH)
    max_seconds: float = required(_SECONDS)
    normalise: bool = required()
    precision: str = required(choices=PRECISIONS)
    sample_rate: int = required((SAMPLE_RATE, SAMPLE_RATE), default=SAMPLE_RATE)

    def __post_init__(self) -> None:
        check(self)

    @property
    def signature(self) -> Signature:
        """Return the inputs and outputs of the network."""
        return _embeds({"waveform": ("float", (None, None))}, self.embedding)


@dataclass(frozen=True)
class VoiceAudio:
    """An audio encoder of speaker embeddings (`inference.voice`).

    features: size of a speaker embedding. heard: maximum number of earlier utterances of the same
        speaker. speaker_network: folder of the network for speaker embeddings, next to the bundle
        or in `models/`; it is not part of the bundle. speaker_sha256: sha256 of its ONNX file.
    """

    file: Path
    embedding: int = required(_WIDTH)
    max_seconds: float = required(_SECONDS)
    features: int = required(_WIDTH)
    heard: int = required((0, 128))
    speaker_network: str = required()
    speaker_sha256: str = required()
    precision: str = required(choices=PRECISIONS)
    sample_rate: int = required((SAMPLE_RATE, SAMPLE_RATE), default=SAMPLE_RATE)

    def __post_init__(self) -> None:
        check(self)
        _check_name(self.speaker_network, "speaker_network")

    @property
    def signature(self) -> Signature:
        """Return the inputs and outputs of the network."""
        inputs: dict[str, Port] = {
            "voice": ("float", (None, self.features)),
            "heard": ("float", (None, self.heard, self.features)),
            "is_heard": ("bool", (None, self.heard)),
        }
        return _embeds(inputs, self.embedding)


@dataclass(frozen=True)
class FaceCrops:
    """A face encoder of single gray crops. size: pixels, width and height."""

    file: Path
    embedding: int = required(_WIDTH)
    size: int = required(_PIXELS)
    max_crops: int = required(_IMAGES)
    precision: str = required(choices=PRECISIONS)

    def __post_init__(self) -> None:
        check(self)

    @property
    def max_images(self) -> int:
        """Maximum number of crops of an utterance."""
        return self.max_crops

    @property
    def signature(self) -> Signature:
        """Return the inputs and outputs of the network."""
        return _embeds({"faces": ("float", (None, 1, self.size, self.size))}, self.embedding)


@dataclass(frozen=True)
class FaceClip:
    """A video encoder of a clip of the face.

    size: pixels, width and height. mean, std: of R, G and B in [0, 1].
    """

    file: Path
    embedding: int = required(_WIDTH)
    size: int = required(_PIXELS)
    frames: int = required(_IMAGES)
    precision: str = required(choices=PRECISIONS)
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)

    def __post_init__(self) -> None:
        check(self)
        for name, values in (("mean", self.mean), ("std", self.std)):
            if not all(map(math.isfinite, values)) or (name == "std" and not min(values) > 0):
                raise ErcValueError(f"{name} is {list(values)}; it must be finite, and std above 0")

    @property
    def max_images(self) -> int:
        """Maximum number of crops of an utterance."""
        return self.frames

    @property
    def signature(self) -> Signature:
        """Return the inputs and outputs of the network."""
        clip: Port = ("float", (None, self.frames, 3, self.size, self.size))
        return _embeds({"clip": clip}, self.embedding)


def _embeds(inputs: Mapping[str, Port], embedding: int) -> Signature:
    """Return the signature of an encoder with these inputs."""
    return Signature(inputs, {"embedding": ("float", (None, embedding))})


@dataclass(frozen=True)
class Fusion:
    """The fusion network. context: number of its input utterances, with the current one."""

    file: Path
    context: int = required(_COUNT)
    causal: bool = required()
    precision: str = required(choices=PRECISIONS)

    def __post_init__(self) -> None:
        check(self)
        if not self.causal:
            raise ErcValueError(
                "causal is false, which needs later utterances; train the fusion with causal: true"
            )


TextPart = CachedText | PromptText
AudioPart = LogMelAudio | WaveformAudio | VoiceAudio
VisualPart = FaceCrops | FaceClip
Encoder = TextPart | AudioPart | VisualPart
Part = Encoder | Fusion

KINDS: Mapping[str, Mapping[str, type[Any]]] = {
    "text": {"cached": CachedText, "prompt": PromptText},
    "audio": {"log-mel": LogMelAudio, "waveform": WaveformAudio, "voice": VoiceAudio},
    "visual": {"crops": FaceCrops, "clip": FaceClip},
}


@dataclass(frozen=True)
class FileEntry:
    """Size of a file in bytes, and its sha256 in hexadecimal."""

    sha256: str
    bytes: int = required((1, LARGEST_FILE))

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class Calibration:
    """Conversion of logits to calibrated probabilities.

    temperature: divisor of the logits before softmax; 1: not calibrated.
    temperatures: set of modalities, such as "text" or "text+audio" -> temperature to use instead
        for utterances with exactly these modalities.
    confidence_factors: set of modalities -> one factor per label, by which the confidence is
        multiplied if that label is the most probable one (`estimate.scale_confidence`).
    sharpness, offsets: from `erc recalibrate`: the logarithms of the probabilities are multiplied
        by `sharpness`, and one offset per label is added; empty offsets: not recalibrated.
    """

    temperature: float = required(TEMPERATURES, default=1.0)
    temperatures: dict[str, float] = field(default_factory=dict)
    confidence_factors: dict[str, tuple[float, ...]] = field(default_factory=dict)
    sharpness: float = required(SHARPNESS, default=1.0)
    offsets: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        check(self)
        for offset in self.offsets:
            if not abs(offset) <= MAX_OFFSET:
                raise ErcValueError(
                    f"offsets holds {offset}; must be in [-{MAX_OFFSET:g}, {MAX_OFFSET:g}]"
                )
        for name, temperature in self.temperatures.items():
            _check_of_set("temperatures", name, (temperature,), TEMPERATURES)
        for name, factors in self.confidence_factors.items():
            _check_of_set("confidence_factors", name, factors, CONFIDENCE_FACTORS)

    def of(self, modalities: Sequence[bool]) -> float:
        """Return the temperature for an utterance with these modalities: text, audio, visual."""
        return self.temperatures.get(modality_set(modalities), self.temperature)

    def factors_of(self, modalities: Sequence[bool]) -> tuple[float, ...]:
        """Return the confidence factors for an utterance with these modalities, or ()."""
        return self.confidence_factors.get(modality_set(modalities), ())


def _check_of_set(
    where: str, name: str, values: Sequence[float], limits: tuple[float, float]
) -> None:
    if name not in MODALITY_SETS:
        raise ErcValueError(
            f"{where} has the key {shown(name)}; must be one of {', '.join(MODALITY_SETS)}"
        )
    low, high = limits
    for value in values:
        if not low <= value <= high:
            raise ErcValueError(f"{where}.{name} is {value}; must be in [{low:g}, {high:g}]")


@dataclass(frozen=True)
class Manifest:
    """Content of bundle.yaml. The audio and visual parts are optional.

    anchors: valence and arousal of each label, in [-1, 1].
    languages: BCP-47 tags of the languages of the text encoder; empty: not stated, so that no text
        is excluded for its language.
    """

    format: int
    name: str
    version: str
    labels: tuple[str, ...]
    anchors: dict[str, tuple[float, float]]
    text: Any
    fusion: Fusion
    files: dict[str, FileEntry]
    training: dict[str, Any]
    metrics: dict[str, Any]
    calibration: Calibration = Calibration()
    audio: Any = None
    visual: Any = None
    reliability: ReliabilityConfig | None = None
    languages: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("name", "version"):
            if not getattr(self, name).strip():
                raise ErcValueError(f"{name} is empty; give one")
        for tag in self.languages:
            if not primary_language(tag):
                raise ErcValueError(
                    f"languages contains {shown(tag)}; expected BCP-47 tags such as en or de-AT"
                )
        if len(self.labels) < 2 or not all(self.labels):
            raise ErcValueError(f"labels is {list(self.labels)!r}; must have at least two names")
        if len(set(self.labels)) != len(self.labels):
            raise ErcValueError(f"labels contains a name twice: {', '.join(self.labels)}")
        if differing := sorted(set(self.anchors) ^ set(self.labels)):
            raise ErcValueError(
                f"anchors and labels differ in {', '.join(differing)}; every label needs one anchor"
            )
        for label, pair in self.anchors.items():
            if not all(abs(x) <= 1 for x in pair):
                raise ErcValueError(
                    f"anchors.{label} is {list(pair)!r}; expected [valence, arousal] in [-1, 1]"
                )
        if self.reliability is not None and len(self.reliability.prior) != len(self.labels):
            raise ErcValueError(
                f"reliability.prior has {len(self.reliability.prior)} values for"
                f" {len(self.labels)} labels; every label needs one"
            )
        if len(self.calibration.offsets) not in (0, len(self.labels)):
            raise ErcValueError(
                f"calibration.offsets has {len(self.calibration.offsets)} values for"
                f" {len(self.labels)} labels; every label needs one"
            )
        for seen, factors in self.calibration.confidence_factors.items():
            if len(factors) != len(self.labels):
                raise ErcValueError(
                    f"calibration.confidence_factors.{seen} has {len(factors)} values for"
                    f" {len(self.labels)} labels; every label needs one"
                )

    def parts(self) -> Iterator[tuple[str, Part]]:
        """Yield (name, part) of the existing parts, the fusion last."""
        for name in ("text", "audio", "visual", "fusion"):
            if (part := getattr(self, name)) is not None:
                yield name, part


def parse(table: Mapping[str, Any], folder: Path) -> Manifest:
    """Build the manifest from a mapping; its files are in `folder`.

    Raises:
        BundleError: a check failed; the text says what to do.
    """
    version = table.get("format")
    if type(version) is not int or version != FORMAT:
        newer = type(version) is int and version > FORMAT
        remedy = "update erc_ros" if newer else "export the bundle again"
        raise BundleError(
            f"{MANIFEST}: format is {shown(version)}; this erc_ros reads {FORMAT}: {remedy}"
        )
    try:
        manifest = _parsed(table)
        for name, part in manifest.parts():
            for file, where in _files_of(part, name):
                _check_name(file, where)
    except ValueError as error:
        raise BundleError(f"{MANIFEST}: {error}") from error
    placed = {name: _placed(part, folder) for name, part in manifest.parts()}
    return replace(manifest, **placed)


def _parsed(table: Mapping[str, Any]) -> Manifest:
    values = dict(table)
    for name, kinds in KINDS.items():
        if name not in values:
            continue
        part = values[name]
        if not isinstance(part, Mapping):
            raise ErcValueError(f"{name} must be a mapping, got {shown(part)}")
        kind = part.get("kind")
        if not isinstance(kind, str) or kind not in kinds:
            raise ErcValueError(f"{name}.kind is {shown(kind)}; must be one of {', '.join(kinds)}")
        settings = {key: value for key, value in part.items() if key != "kind"}
        values[name] = build(kinds[kind], settings, name)
    manifest = build(Manifest, values, "")
    if missing := [key for key in ("data", "licence") if key not in manifest.training]:
        raise ErcValueError(
            f"training lacks {missing}: add the training data and license of the weights"
        )
    return manifest


def _check_name(name: object, where: str) -> None:
    # Only names, so that an untrusted manifest cannot refer to a file outside its folder. The file
    # may be a symbolic link (colcon links installed files); the hash covers its content.
    text = str(name)
    plain = isinstance(name, (str, Path)) and not any(c in text for c in "/\\:\0")
    if not plain or text in ("", ".", ".."):
        raise ErcValueError(
            f"{where} is {shown(text)}; only plain names of files in the same folder are allowed"
        )


def _placed(value: Any, folder: Path) -> Any:
    """Return a part with the paths of its files in `folder`."""
    changed: dict[str, Any] = {}
    for each in dataclasses.fields(value):
        content = getattr(value, each.name)
        if each.name == "file":
            changed["file"] = folder / content
        elif dataclasses.is_dataclass(content):
            changed[each.name] = _placed(content, folder)
    return replace(value, **changed)


def named_files(manifest: Manifest) -> dict[Path, str]:
    """Return file -> key of the manifest that names it."""
    return {file: where for name, part in manifest.parts() for file, where in _files_of(part, name)}


def _files_of(value: Any, where: str) -> Iterator[tuple[Path, str]]:
    for each in dataclasses.fields(value):
        content = getattr(value, each.name)
        if each.name == "file":
            yield content, f"{where}.file"
        elif dataclasses.is_dataclass(content):
            yield from _files_of(content, f"{where}.{each.name}")
