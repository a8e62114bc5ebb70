"""The content of `bundle.yaml`: the parts of a model package as checked values.

Each part has a kind, which determines what its network takes:

    text    cached    the new tokens, and the keys and values of earlier ones
            prompt    the whole prompt, history first, for every utterance
    audio   log-mel   64 bands, normalized over the utterance
            waveform  samples at 16 kHz, normalized or as they are
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
from erc_ros.encoders.text import PROMPTS, TokenRoles
from erc_ros.inference.reliability import ReliabilityConfig
from erc_ros.networks.session import Port, Signature
from erc_ros.values.errors import ErcValueError
from erc_ros.values.settings import check, required
from erc_ros.values.tables import build, shown
from erc_ros.values.utterance import MODALITIES, SAMPLE_RATE

FORMAT = 3
MANIFEST = "bundle.yaml"
PRECISIONS = ("float32", "float16", "int8-dynamic", "int8-static", "int8-weights")
LARGEST_FILE = 2 << 30  # bytes; no ONNX file can be larger
LARGEST_TOKENIZER = 64 << 20  # bytes
CONFIDENCE_FACTORS = (0.1, 10.0)  # range of each
SHARPNESS = (0.1, 10.0)
MAX_OFFSET = 5.0
TEMPERATURES = (1e-3, 1e3)  # likewise

_WIDTH = (1, 65536)  # of an embedding
_COUNT = (1, 1024)  # of layers, attention heads, utterances
_IMAGES = (1, 256)
_SECONDS = (0.1, 600.0)
_PIXELS = (8, 1024)
_IDS: Port = ("int64", (None, None))


def modality_set(modalities: Sequence[bool]) -> str:
    """Name a set of modalities: (True, False, True) -> "text+visual"; none: ""."""
    return "+".join(name for name, seen in zip(MODALITIES, modalities, strict=True) if seen)


MODALITY_SETS = tuple(
    modality_set(seen) for seen in itertools.product((True, False), repeat=3) if any(seen)
)
"""From "text+audio+visual" to "visual"."""


class BundleError(ErcValueError):
    """A bundle cannot be used; the message says what is wrong, where, and what to do."""


@dataclass(frozen=True)
class Tokens:
    """The tokenizer, and which of its tokens play which role.

    speakers: of an unknown speaker and of speakers 1 to 9; empty: speakers are not named.
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
    """A text encoder that takes the keys and values of earlier utterances.

    max_tokens: of history, utterance and question together. heads: attention heads per layer.
    question: the prompt ends with a question and is read at its mask, else at the utterance.
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
            raise ErcValueError(f"embedding {self.embedding} is no multiple of heads {self.heads}")

    @property
    def attention(self) -> tuple[int, int, int]:
        """Layers, heads, and the width of a head."""
        return self.layers, self.heads, self.embedding // self.heads

    @property
    def signature(self) -> Signature:
        """Inputs and outputs of the network."""
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
    """A text encoder that reads the whole prompt for every utterance.

    prompt: one of `encoders.text.PROMPTS`. history: the most earlier utterances that it reads; -1:
        all that fit.
    """

    file: Path
    tokenizer: Tokens
    embedding: int = required(_WIDTH)
    max_tokens: int = required(_WIDTH)
    prompt: str = required(choices=tuple(PROMPTS))
    precision: str = required(choices=PRECISIONS)
    history: int = required((-1, 1024), default=-1)

    def __post_init__(self) -> None:
        check(self)

    @property
    def signature(self) -> Signature:
        """Inputs and outputs of the network."""
        inputs: dict[str, Port] = {"input_ids": _IDS, "attention_mask": _IDS}
        if self.prompt != "plain":
            inputs["mask_index"] = ("int64", (None,))
        return _embeds(inputs, self.embedding)


@dataclass(frozen=True)
class LogMelAudio:
    """An audio encoder that takes log-mel features. max_seconds: the end of a longer one counts."""

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
        """Inputs and outputs of the network."""
        features: Port = ("float", (None, None, self.mel_bands))
        return _embeds({"features": features, "frames": ("int64", (None,))}, self.embedding)


@dataclass(frozen=True)
class WaveformAudio:
    """An audio encoder that takes samples. normalize: to mean 0 and variance 1 per utterance."""

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
        """Inputs and outputs of the network."""
        return _embeds({"waveform": ("float", (None, None))}, self.embedding)


@dataclass(frozen=True)
class VoiceAudio:
    """An audio encoder that takes speaker embeddings (`inference.voice`).

    features: numbers in a speaker embedding. heard: the most earlier utterances of the same speaker
        that it takes. speaker_network: name of the folder of the network that computes speaker
        embeddings, next to the bundle or in `models/`; it is not part of the bundle.
        speaker_sha256: of its ONNX file.
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
        """Inputs and outputs of the network."""
        inputs: dict[str, Port] = {
            "voice": ("float", (None, self.features)),
            "heard": ("float", (None, self.heard, self.features)),
            "is_heard": ("bool", (None, self.heard)),
        }
        return _embeds(inputs, self.embedding)


@dataclass(frozen=True)
class FaceCrops:
    """A face encoder that takes gray crops, one by one. size: pixels, square."""

    file: Path
    embedding: int = required(_WIDTH)
    size: int = required(_PIXELS)
    max_crops: int = required(_IMAGES)
    precision: str = required(choices=PRECISIONS)

    def __post_init__(self) -> None:
        check(self)

    @property
    def max_images(self) -> int:
        """The most crops of an utterance that are used."""
        return self.max_crops

    @property
    def signature(self) -> Signature:
        """Inputs and outputs of the network."""
        return _embeds({"faces": ("float", (None, 1, self.size, self.size))}, self.embedding)


@dataclass(frozen=True)
class FaceClip:
    """A video encoder that takes a clip of the face.

    size: pixels, square. mean, std: of R, G, B in [0, 1].
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
        """The most crops of an utterance that are used."""
        return self.frames

    @property
    def signature(self) -> Signature:
        """Inputs and outputs of the network."""
        clip: Port = ("float", (None, self.frames, 3, self.size, self.size))
        return _embeds({"clip": clip}, self.embedding)


def _embeds(inputs: Mapping[str, Port], embedding: int) -> Signature:
    """Of an encoder with these inputs: B or N inputs of L tokens, T frames or n samples."""
    return Signature(inputs, {"embedding": ("float", (None, embedding))})


@dataclass(frozen=True)
class Fusion:
    """The fusion network. context: utterances that it takes, the current one included."""

    file: Path
    context: int = required(_COUNT)
    causal: bool = required()
    precision: str = required(choices=PRECISIONS)

    def __post_init__(self) -> None:
        check(self)
        if not self.causal:
            raise ErcValueError(
                "causal is false: it needs later utterances; train the fusion with causal: true"
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
    """How logits become calibrated probabilities.

    temperature: the logits are divided by it before softmax; 1: not calibrated.
    temperatures: instead of `temperature`, for utterances with exactly these modalities, such as
        "text" or "text+audio".
    confidence_factors: for such sets one factor per label: the confidence is multiplied by it where
        that label is the most probable one (`estimate.scale_confidence`).
    sharpness, offsets: of `erc recalibrate`, one offset per label: the logarithms of the
        probabilities are multiplied by the one, the others are added; (): not recalibrated.
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
        """The temperature for an utterance with these modalities: text, audio, visual."""
        return self.temperatures.get(modality_set(modalities), self.temperature)

    def factors_of(self, modalities: Sequence[bool]) -> tuple[float, ...]:
        """The confidence factors for such an utterance; empty: it has none."""
        return self.confidence_factors.get(modality_set(modalities), ())


def _check_of_set(
    where: str, name: str, values: Sequence[float], limits: tuple[float, float]
) -> None:
    if name not in MODALITY_SETS:
        raise ErcValueError(f"{where} names {shown(name)}, known are {', '.join(MODALITY_SETS)}")
    low, high = limits
    for value in values:
        if not low <= value <= high:
            raise ErcValueError(f"{where}.{name} is {value}; it must be in [{low:g}, {high:g}]")


@dataclass(frozen=True)
class Manifest:
    """The content of bundle.yaml. A bundle may lack its audio or its visual part.

    anchors: valence and arousal of each label, in [-1, 1].
    languages: BCP-47 tags of the languages that the text encoder reads; (): not stated, so that no
        text is excluded for its language.
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
                    f"languages holds {shown(tag)}; expected BCP-47 tags such as en or de-AT"
                )
        if len(self.labels) < 2 or not all(self.labels):
            raise ErcValueError(f"labels must be at least two names, found {list(self.labels)!r}")
        if len(set(self.labels)) != len(self.labels):
            raise ErcValueError(f"labels holds a name twice: {', '.join(self.labels)}")
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
        """Yield (name, part) of the parts that exist; the fusion last."""
        for name in ("text", "audio", "visual", "fusion"):
            if (part := getattr(self, name)) is not None:
                yield name, part


def parse(table: Mapping[str, Any], folder: Path) -> Manifest:
    """Return the manifest in `table`, with its files in `folder`.

    Raises:
        BundleError: something does not fit; says what, where, and what to do.
    """
    version = table.get("format")
    if type(version) is not int or version != FORMAT:
        newer = type(version) is int and version > FORMAT
        remedy = "update erc_ros" if newer else "export the bundle again"
        raise BundleError(
            f"{MANIFEST}: format is {shown(version)}, this erc_ros reads {FORMAT}; {remedy}"
        )
    try:
        manifest = _parsed(table)
        for file, where in named_files(manifest).items():
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
            raise ErcValueError(f"{name}.kind is {shown(kind)}, known are {', '.join(kinds)}")
        settings = {key: value for key, value in part.items() if key != "kind"}
        values[name] = build(kinds[kind], settings, name)
    manifest = build(Manifest, values, "")
    if missing := [key for key in ("data", "licence") if key not in manifest.training]:
        raise ErcValueError(
            f"training lacks {missing}: what the weights were trained on, and who may use them"
        )
    return manifest


def _check_name(name: object, where: str) -> None:
    # Names only: a manifest from elsewhere must not make us read a file outside its folder. A name
    # may be a link (colcon links installed files); the hash covers the content.
    text = str(name)
    plain = isinstance(name, (str, Path)) and not any(c in text for c in "/\\:\0")
    if not plain or text in ("", ".", ".."):
        raise ErcValueError(
            f"{where} is {shown(text)}; only plain names of files in the same folder are allowed"
        )


def _placed(value: Any, folder: Path) -> Any:
    """The part with its files in `folder`."""
    changed: dict[str, Any] = {}
    for each in dataclasses.fields(value):
        content = getattr(value, each.name)
        if each.name == "file":
            changed["file"] = folder / content
        elif dataclasses.is_dataclass(content):
            changed[each.name] = _placed(content, folder)
    return replace(value, **changed)


def named_files(manifest: Manifest) -> dict[Path, str]:
    """Every file that a part names -> the key that names it."""
    return {file: where for name, part in manifest.parts() for file, where in _files_of(part, name)}


def _files_of(value: Any, where: str) -> Iterator[tuple[Path, str]]:
    for each in dataclasses.fields(value):
        content = getattr(value, each.name)
        if each.name == "file":
            yield content, f"{where}.file"
        elif dataclasses.is_dataclass(content):
            yield from _files_of(content, f"{where}.{each.name}")
