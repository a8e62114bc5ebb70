"""What `bundle.yaml` says: its parts as values, read from format 3 and from format 2.

Every part has a kind, which tells what its network takes:

    text    cached    the new tokens, and the keys and values of those before
            prompt    the whole prompt, history first, for every utterance
    audio   log-mel   64 bands, normalised over the utterance
            waveform  samples at 16 kHz, normalised or as they are
            voice     what the speaker network says of it, and of the same speaker before
    visual  crops     gray faces in [0, 1], embedded one by one
            clip      so many RGB frames, normalised by channel

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
from erc_ros.encoders.text import BERT_ROLES, PROMPTS, TokenRoles
from erc_ros.inference.reliability import ReliabilityConfig
from erc_ros.values.errors import ErcValueError
from erc_ros.values.tables import build, shown
from erc_ros.values.utterance import MODALITIES, SAMPLE_RATE

FORMAT = 3
MANIFEST = "bundle.yaml"
PRECISIONS = ("float32", "float16", "int8-dynamic", "int8-static", "int8-weights")
LARGEST_FILE = 2 << 30  # bytes; no ONNX file can be larger
LARGEST_TOKENIZER = 64 << 20  # bytes

RANGES: Mapping[str, tuple[float, float]] = {
    "bytes": (1, LARGEST_FILE),
    "context": (1, 1024),
    "embedding": (1, 65536),
    "features": (1, 65536),
    "frames": (1, 256),
    "heads": (1, 1024),
    "heard": (0, 128),
    "history": (-1, 1024),
    "layers": (1, 1024),
    "max_crops": (1, 256),
    "max_seconds": (0.1, 600),
    "max_tokens": (1, 65536),
    "size": (8, 1024),
    "temperature": (1e-3, 1e3),
}
"""Of every number of that name, wherever it stands."""
CONFIDENCE_FACTORS = (0.1, 10.0)  # range of each


def modality_set(modalities: Sequence[bool]) -> str:
    """What was seen, in words: (True, False, True) -> "text+visual"; nothing: ""."""
    return "+".join(name for name, seen in zip(MODALITIES, modalities, strict=True) if seen)


MODALITY_SETS = tuple(
    modality_set(seen) for seen in itertools.product((True, False), repeat=3) if any(seen)
)
"""From "text+audio+visual" to "visual"."""


class BundleError(ErcValueError):
    """A bundle cannot be used; the message says what is wrong, where, and the way out."""


@dataclass(frozen=True)
class Form:
    """Another form of a part's network, for TensorRT (`erc quantize --target tensorrt`)."""

    file: Path
    precision: str


@dataclass(frozen=True)
class Tokens:
    """The tokenizer, and which of its tokens play which role.

    speakers: of an unknown speaker and of speakers 1 to 9; none: speakers are not named.
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

    question: the prompt ends with one and is read at its mask; else at the utterance itself.
    """

    file: Path
    tokenizer: Tokens
    embedding: int
    max_tokens: int  # history, utterance and question together
    layers: int
    heads: int  # of the attention of each layer
    precision: str
    question: bool = True
    tensorrt: Form | None = None

    def __post_init__(self) -> None:
        if self.heads > 0 and self.embedding % self.heads:
            raise ErcValueError(f"embedding {self.embedding} is no multiple of heads {self.heads}")

    @property
    def attention(self) -> tuple[int, int, int]:
        """Layers, heads, and the width of a head."""
        return self.layers, self.heads, self.embedding // self.heads


@dataclass(frozen=True)
class PromptText:
    """A text encoder that reads the whole prompt for every utterance.

    prompt: one of `encoders.text.PROMPTS`. history: utterances before the current one that it may
    see; -1: all that fit.
    """

    file: Path
    tokenizer: Tokens
    embedding: int
    max_tokens: int
    prompt: str
    precision: str
    history: int = -1
    tensorrt: Form | None = None

    def __post_init__(self) -> None:
        if self.prompt not in PROMPTS:
            raise ErcValueError(f"prompt is {self.prompt!r}, known are {', '.join(PROMPTS)}")


@dataclass(frozen=True)
class LogMelAudio:
    """A sound encoder that takes log-mel features."""

    file: Path
    embedding: int
    max_seconds: float  # the end of a longer utterance counts
    precision: str
    mel_bands: int = MEL_BANDS
    sample_rate: int = SAMPLE_RATE
    tensorrt: Form | None = None

    def __post_init__(self) -> None:
        _check_rate(self.sample_rate)
        if self.mel_bands != MEL_BANDS:
            raise ErcValueError(
                f"mel_bands is {self.mel_bands}, erc_ros hears {MEL_BANDS}; train the audio "
                "encoder on those"
            )


@dataclass(frozen=True)
class WaveformAudio:
    """A sound encoder that takes samples. normalise: to mean 0 and variance 1 per utterance."""

    file: Path
    embedding: int
    max_seconds: float
    normalise: bool
    precision: str
    sample_rate: int = SAMPLE_RATE
    tensorrt: Form | None = None

    def __post_init__(self) -> None:
        _check_rate(self.sample_rate)


@dataclass(frozen=True)
class VoiceAudio:
    """A sound encoder on top of the network that tells speakers apart (`inference.voice`).

    speaker_network: the name of its folder, beside the bundle's or in `models/`; it is no part of
    the bundle. speaker_sha256: of its ONNX file. features: numbers in its embedding. heard: earlier
    utterances of the same speaker that count, at most.
    """

    file: Path
    embedding: int
    max_seconds: float
    features: int
    heard: int
    speaker_network: str
    speaker_sha256: str
    precision: str
    sample_rate: int = SAMPLE_RATE
    tensorrt: Form | None = None

    def __post_init__(self) -> None:
        _check_rate(self.sample_rate)
        _check_name(self.speaker_network, "speaker_network")


@dataclass(frozen=True)
class FaceCrops:
    """A face encoder that takes gray crops, each by itself."""

    file: Path
    embedding: int
    size: int  # pixels; square
    max_crops: int
    precision: str
    tensorrt: Form | None = None

    @property
    def most(self) -> int:
        """Crops of an utterance that count."""
        return self.max_crops


@dataclass(frozen=True)
class FaceClip:
    """A video encoder that takes a clip of the face; mean and std: of R, G, B in [0, 1]."""

    file: Path
    embedding: int
    size: int  # pixels; square
    frames: int
    precision: str
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    tensorrt: Form | None = None

    def __post_init__(self) -> None:
        for name, values in (("mean", self.mean), ("std", self.std)):
            if not all(map(math.isfinite, values)) or (name == "std" and not min(values) > 0):
                raise ErcValueError(f"{name} is {list(values)}; it must be finite, and std above 0")

    @property
    def most(self) -> int:
        """Crops of an utterance that count."""
        return self.frames


@dataclass(frozen=True)
class Fusion:
    """The head: what it sees of the conversation."""

    file: Path
    context: int  # utterances that it sees, the current one included
    causal: bool
    precision: str
    tensorrt: Form | None = None

    def __post_init__(self) -> None:
        if not self.causal:
            raise ErcValueError(
                "causal is false: it needs later utterances; train the head with causal: true"
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
    """What a file must be: its size in bytes, and its sha256 in hexadecimal."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class Calibration:
    """How logits become probabilities that can be trusted.

    temperature: the logits are divided by it before softmax; 1: not calibrated.
    temperatures: instead of it, for utterances of which exactly these modalities were seen, such as
        "text" or "text+audio"; the others take `temperature`.
    confidence_factors: for such sets, one for each label: what the confidence is multiplied by
        where that label is the answer (`estimate.scale_confidence`); the others keep theirs.
    """

    temperature: float = 1.0
    temperatures: dict[str, float] = field(default_factory=dict)
    confidence_factors: dict[str, tuple[float, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, found in self.temperatures.items():
            _check_of_set("temperatures", name, (found,), RANGES["temperature"])
        for name, factors in self.confidence_factors.items():
            _check_of_set("confidence_factors", name, factors, CONFIDENCE_FACTORS)

    def of(self, modalities: Sequence[bool]) -> float:
        """The temperature for an utterance of which these were seen: text, audio, visual."""
        return self.temperatures.get(modality_set(modalities), self.temperature)

    def factors_of(self, modalities: Sequence[bool]) -> tuple[float, ...]:
        """The confidence factors for such an utterance; empty: none."""
        return self.confidence_factors.get(modality_set(modalities), ())


def _check_of_set(
    where: str, name: str, values: Sequence[float], limits: tuple[float, float]
) -> None:
    if name not in MODALITY_SETS:
        raise ErcValueError(f"{where} names {shown(name)}, known are {', '.join(MODALITY_SETS)}")
    least, most = limits
    for found in values:
        if not least <= found <= most:
            raise ErcValueError(f"{where}.{name} is {found}; it must be in [{least:g}, {most:g}]")


@dataclass(frozen=True)
class Manifest:
    """The whole of bundle.yaml. A bundle may lack its audio or its visual part.

    languages: BCP-47 tags of the languages that the text encoder reads; (): not told, and then no
        text is excluded for its language.
    """

    format: int
    name: str
    version: str
    labels: tuple[str, ...]
    anchors: dict[str, tuple[float, float]]  # valence and arousal of each label, in [-1, 1]
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
        for seen, factors in self.calibration.confidence_factors.items():
            if len(factors) != len(self.labels):
                raise ErcValueError(
                    f"calibration.confidence_factors.{seen} has {len(factors)} values for"
                    f" {len(self.labels)} labels; every label needs one"
                )

    def parts(self) -> Iterator[tuple[str, Part]]:
        """(name, part) of those that are there; the fusion last."""
        for name in ("text", "audio", "visual", "fusion"):
            if (part := getattr(self, name)) is not None:
                yield name, part


def parse(table: Mapping[str, Any], folder: Path) -> Manifest:
    """A manifest of format 3 or 2, with its files in `folder`.

    Raises:
        BundleError: something does not fit; says what, where, and the way out.
    """
    found = table.get("format")
    if isinstance(found, int) and not isinstance(found, bool) and found > FORMAT:
        raise BundleError(
            f"{MANIFEST} has format {found}, this erc_ros reads 2 and {FORMAT}; update erc_ros or "
            "use an older bundle"
        )
    if isinstance(found, bool) or found not in (2, FORMAT):
        raise BundleError(
            f"{MANIFEST}: format is {shown(found)}, expected {FORMAT} or 2; export the bundle again"
        )
    try:
        manifest = _of_format_2(table) if found == 2 else _of_format_3(table)
        _check(manifest)
    except ValueError as error:
        raise BundleError(f"{MANIFEST}: {error}") from error
    placed = {name: _placed(part, folder) for name, part in manifest.parts()}
    return replace(manifest, **placed)


def _of_format_3(table: Mapping[str, Any]) -> Manifest:
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


@dataclass(frozen=True)
class _Text2:
    file: Path
    tokenizer: str
    embedding: int
    max_tokens: int
    layers: int
    heads: int
    precision: str


@dataclass(frozen=True)
class _Audio2:
    file: Path
    mel_bands: int
    max_seconds: float
    embedding: int
    precision: str


@dataclass(frozen=True)
class _Visual2:
    file: Path
    size: int
    max_crops: int
    embedding: int
    precision: str


@dataclass(frozen=True)
class ManifestOfFormat2:
    """One kind of each part, BERT's tokens by name; all four parts are there."""

    format: int
    name: str
    version: str
    labels: tuple[str, ...]
    anchors: dict[str, tuple[float, float]]
    sample_rate: int
    text: _Text2
    audio: _Audio2
    visual: _Visual2
    fusion: Fusion
    temperature: float
    files: dict[str, FileEntry]
    training: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_rate(self.sample_rate)


def _of_format_2(table: Mapping[str, Any]) -> Manifest:
    old = build(ManifestOfFormat2, table, "")
    text = vars(old.text)
    tokens = Tokens(Path(old.text.tokenizer), *dataclasses.astuple(BERT_ROLES))
    _check_name(old.text.tokenizer, "text.tokenizer")
    return Manifest(
        format=old.format,
        name=old.name,
        version=old.version,
        labels=old.labels,
        anchors=old.anchors,
        text=_said_of("text", CachedText, **{**text, "tokenizer": tokens}),
        audio=_said_of("audio", LogMelAudio, **vars(old.audio)),
        visual=FaceCrops(**vars(old.visual)),
        fusion=old.fusion,
        files=old.files,
        training=old.training,
        metrics=old.metrics,
        calibration=Calibration(old.temperature),
    )


def _said_of(name: str, cls: type[Any], **values: Any) -> Any:
    try:
        return cls(**values)
    except ValueError as error:
        raise ErcValueError(f"{name}: {error}") from error


def _check(manifest: Manifest) -> None:
    """Ranges, precisions and file names, wherever they stand."""
    _check_values("calibration", manifest.calibration)
    for name, entry in manifest.files.items():
        _check_values(f"files.{name}", entry)
    for name, part in manifest.parts():
        _check_values(name, part)


def _check_values(where: str, value: Any) -> None:
    for each in dataclasses.fields(value):
        found, place = getattr(value, each.name), f"{where}.{each.name}"
        if dataclasses.is_dataclass(found):
            _check_values(place, found)
        elif each.name == "precision" and found not in PRECISIONS:
            raise ErcValueError(f"{place} is {found!r}, known are {', '.join(PRECISIONS)}")
        elif each.name == "file":
            _check_name(found, place)
        elif each.name in RANGES:
            least, most = RANGES[each.name]
            if not least <= found <= most:
                raise ErcValueError(f"{place} is {found}; it must be in [{least:g}, {most:g}]")


def _check_name(name: object, where: str) -> None:
    # Names only: a manifest from elsewhere must not make us read a file outside its folder. What a
    # name links to is free (colcon links installed files); the hash covers its content.
    text = str(name)
    plain = isinstance(name, (str, Path)) and not any(c in text for c in "/\\:\0")
    if not plain or text in ("", ".", ".."):
        raise ErcValueError(
            f"{where} is {shown(text)}; only plain names of files in the same folder are allowed"
        )


def _check_rate(found: int) -> None:
    if found != SAMPLE_RATE:
        raise ErcValueError(
            f"sample_rate is {found}, erc_ros works at {SAMPLE_RATE} Hz; train the audio encoder "
            "at that rate"
        )


def _placed(value: Any, folder: Path) -> Any:
    """The part with its files in `folder`."""
    changed: dict[str, Any] = {}
    for each in dataclasses.fields(value):
        found = getattr(value, each.name)
        if each.name == "file":
            changed["file"] = folder / found
        elif dataclasses.is_dataclass(found):
            changed[each.name] = _placed(found, folder)
    return replace(value, **changed)


def named_files(manifest: Manifest) -> dict[Path, str]:
    """Every file that a part names, and where it is named."""
    return {file: where for name, part in manifest.parts() for file, where in _files_of(part, name)}


def _files_of(value: Any, where: str) -> Iterator[tuple[Path, str]]:
    for each in dataclasses.fields(value):
        found = getattr(value, each.name)
        if each.name == "file":
            yield found, f"{where}.file"
        elif dataclasses.is_dataclass(found):
            yield from _files_of(found, f"{where}.{each.name}")
