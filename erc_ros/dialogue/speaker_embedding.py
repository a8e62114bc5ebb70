"""A voice as a vector: GE2E speaker embeddings on ONNX Runtime.

Generalized end-to-end loss for speaker verification, Wan et al. 2018 (arXiv 1710.10467): three
LSTM layers over 40 mel bands, the last hidden state projected to 256 numbers, ReLU, length 1. The
spectrum in front of it is power (not its logarithm), so the level of the sound is normalised first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import yaml
from numpy.typing import NDArray

from erc_ros.dialogue.utterance import SAMPLE_RATE

MANIFEST = "speaker.yaml"
FORMAT = 1
SILENCE = 1e-5  # RMS; below it there is no voice whose level could be raised


class SpeakerModelError(ValueError):
    """A speaker model that cannot be used; says what is wrong and where."""


@dataclass(frozen=True, slots=True)
class SpeakerManifest:
    """What speaker.yaml says about the network beside it."""

    file: str
    sha256: str
    rate: int  # Hz
    mel_bands: int
    window: int  # samples
    hop: int  # samples
    frames: int  # the network was trained on stretches of this many
    size: int  # numbers in an embedding
    level_dbfs: float  # quieter sound is raised to this level
    same_voice: float  # dot product of two windows of one voice, as long as it is not known
    new_voice: float  # how much less alike than themselves two voices are at least

    @property
    def seconds(self) -> float:
        """Length of the stretches that the network was trained on."""
        return self.frames * self.hop / self.rate


_FIELDS: dict[str, type] = {
    "file": str,
    "sha256": str,
    "rate": int,
    "mel_bands": int,
    "window": int,
    "hop": int,
    "frames": int,
    "size": int,
    "level_dbfs": float,
    "same_voice": float,
    "new_voice": float,
}
_ABOUT = {"format", "name", "source", "licence", "bytes", "mel"}  # for people, not for the code


def load_manifest(folder: Path) -> SpeakerManifest:
    """Read and check folder/speaker.yaml.

    Raises:
        SpeakerModelError: missing, unreadable, another format, a field missing, unknown or of the
            wrong type, or a network that differs from its sha256.
    """
    path = folder / MANIFEST
    try:
        raw = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SpeakerModelError(f"{path}: cannot be read ({error})") from error
    if not isinstance(raw, dict):
        raise SpeakerModelError(f"{path}: not a mapping of fields")
    if raw.get("format") != FORMAT:
        raise SpeakerModelError(
            f"{path}: format {raw.get('format')!r}, this version reads format {FORMAT}"
        )
    unknown = sorted(set(raw) - set(_FIELDS) - _ABOUT)
    missing = sorted(set(_FIELDS) - set(raw))
    if unknown or missing:
        raise SpeakerModelError(f"{path}: unknown fields {unknown}, missing fields {missing}")
    manifest = SpeakerManifest(**{name: _typed(path, raw, name) for name in _FIELDS})
    if manifest.rate != SAMPLE_RATE:
        raise SpeakerModelError(f"{path}: rate {manifest.rate}, sound here has {SAMPLE_RATE}")
    _check_file(folder / manifest.file, manifest.sha256)
    return manifest


def _typed(path: Path, raw: dict[str, Any], name: str) -> Any:
    value, kind = raw[name], _FIELDS[name]
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise SpeakerModelError(f"{path}: {name} is {value!r}, must be {kind.__name__}")
    if isinstance(value, int) and value <= 0:
        raise SpeakerModelError(f"{path}: {name} is {value}, must be positive")
    return value


def _check_file(path: Path, sha256: str) -> None:
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise SpeakerModelError(f"{path}: cannot be read ({error})") from error
    if found != sha256:
        raise SpeakerModelError(f"{path}: sha256 is {found}, {MANIFEST} says {sha256}")


def mel_filters(bands: int, window: int, rate: int) -> NDArray[np.float32]:
    """Triangular filters on the Slaney scale, each of area 1: (bands, window // 2 + 1).

    The scale is linear up to 1 kHz and logarithmic above (Auditory Toolbox, Slaney 1998), from 0 Hz
    to half the rate.
    """
    linear_step, corner = 200.0 / 3, 1000.0
    log_step = np.log(6.4) / 27.0
    top = corner / linear_step + np.log(rate / 2 / corner) / log_step
    points = np.linspace(0.0, top, bands + 2)
    above = corner * np.exp(log_step * (points - corner / linear_step))
    hertz = np.where(points * linear_step < corner, points * linear_step, above)
    bins = np.arange(window // 2 + 1) * (rate / window)
    rising = (bins[None, :] - hertz[:-2, None]) / (hertz[1:-1] - hertz[:-2])[:, None]
    falling = (hertz[2:, None] - bins[None, :]) / (hertz[2:] - hertz[1:-1])[:, None]
    shape = np.maximum(0.0, np.minimum(rising, falling))
    filters: NDArray[np.float32] = (shape * (2.0 / (hertz[2:] - hertz[:-2]))[:, None]).astype(
        np.float32
    )
    return filters


class SpeakerEmbedding:
    """Embeds stretches of speech. Not thread-safe."""

    def __init__(self, folder: Path) -> None:
        """Load the model in `folder`; raises SpeakerModelError if its content cannot be used."""
        self.manifest = load_manifest(folder)
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        path = folder / self.manifest.file
        try:
            self._session = ort.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime raises classes of its own without a public base
            raise SpeakerModelError(f"{path}: onnxruntime cannot load it ({error})") from error
        self._check_shapes(path)
        self._filters = mel_filters(
            self.manifest.mel_bands, self.manifest.window, self.manifest.rate
        )
        # periodic Hann, as spectra are taken
        turns = np.arange(self.manifest.window) / self.manifest.window
        self._taper = (0.5 - 0.5 * np.cos(2 * np.pi * turns)).astype(np.float32)

    @property
    def same_voice(self) -> float:
        return self.manifest.same_voice

    @property
    def new_voice(self) -> float:
        return self.manifest.new_voice

    def _check_shapes(self, path: Path) -> None:
        entry, result = self._session.get_inputs()[0], self._session.get_outputs()[0]
        if list(entry.shape[2:]) != [self.manifest.mel_bands] or entry.name != "mel":
            raise SpeakerModelError(
                f"{path}: input {entry.name} {entry.shape}, must be mel (B, T, "
                f"{self.manifest.mel_bands})"
            )
        if list(result.shape[1:]) != [self.manifest.size]:
            raise SpeakerModelError(
                f"{path}: output {result.shape}, must be (B, {self.manifest.size})"
            )

    def mel(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Mel power spectrum: (n,) at 16 kHz -> (T, mel_bands), T = 1 + n // hop.

        Frame t is centred on sample t * hop; beyond both ends is silence.
        """
        window, hop = self.manifest.window, self.manifest.hop
        padded = np.pad(samples.astype(np.float32, copy=False), window // 2)
        frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop]
        spectrum = np.fft.rfft(frames * self._taper, axis=1)  # (T, window // 2 + 1)
        power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
        mel: NDArray[np.float32] = power @ self._filters.T
        return mel

    def level(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Raise quiet sound to the level that the network was trained on; loud sound stays."""
        rms = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) if samples.size else 0.0
        wanted = 10.0 ** (self.manifest.level_dbfs / 20)
        if rms < SILENCE or rms >= wanted:
            return samples
        raised: NDArray[np.float32] = (samples * np.float32(wanted / rms)).astype(np.float32)
        return raised

    def embed(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """One stretch of speech, (n,) float32 at 16 kHz of any length -> (size,)."""
        vector: NDArray[np.float32] = self.embed_all([samples])[0]
        return vector

    def embed_all(self, stretches: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Stretches of one length, each (n,) float32 at 16 kHz -> (B, size).

        Not-a-number counts as silence; silence gives zeros.
        """
        out = np.zeros((len(stretches), self.manifest.size), np.float32)
        clean = [np.nan_to_num(s, nan=0.0, posinf=0.0, neginf=0.0) for s in stretches]
        heard = [k for k, s in enumerate(clean) if s.size and float(np.abs(s).max()) >= SILENCE]
        if heard:
            mels = np.stack([self.mel(self.level(clean[place])) for place in heard])
            out[heard] = self._session.run(None, {"mel": mels})[0]
        return out
