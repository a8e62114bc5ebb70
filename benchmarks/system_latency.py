"""CPU time of each part of the four served systems, at the papers' sizes, float32 and int8.

    python -m benchmarks.system_latency [--repeats 5] [--parts magtkd roberta_large] [--write]

Batch 1, one thread, ONNX Runtime, weights at random: they do not change the time. float32 and int8
(dynamic: matrix products) of a part take turns. Milliseconds of CPU time, so that other processes
count little; median of the repeats. Of RoBERTa-large's 24 equal layers six are measured, and their
time counts four times. A system is the sum of its parts; on a robot they run side by side, and
audio and faces begin before the text is final. `--write` writes
benchmarks/results/system_latency.json after each part, with the machine's load; parts that are not
measured keep their figures.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from benchmarks.fusion_heads import PAPERS, example
from benchmarks.machine import description
from benchmarks.record import RESULTS, write_results
from erc_ros.encoders.audio import MEL_BANDS
from erc_ros.encoders.face import MAX_CROPS, SIZE
from erc_ros.networks.network import Network
from erc_ros.networks.session import signature
from erc_ros.training.encoders.audio.emotion2vec import Emotion2vec, Emotion2vecSizes
from erc_ros.training.encoders.audio.pretrained import SpeechEncoderConfig
from erc_ros.training.encoders.pretrained import add_projection
from erc_ros.training.encoders.robot import FacesEncoder, LogMelEncoder
from erc_ros.training.encoders.visual.pretrained import VideoEncoderConfig
from erc_ros.training.export.encoders import ClipReader, FramesReader, MaskReader, StatesReader
from erc_ros.training.heads.ddvlm import DdvlmConfig
from erc_ros.training.heads.lpgnet import LpgnetConfig
from erc_ros.training.heads.magtkd import MagtkdConfig
from erc_ros.training.heads.registry import HEADS
from erc_ros.training.heads.summer import SummerConfig
from erc_ros.training.onnx import write_onnx
from erc_ros.training.quantization.schemes import SCHEMES, quantize

NAME = "system_latency"
UTTERANCES = 16
SECONDS = 3.0
VOCABULARY = 1000
"""Tokens; looking one up takes as long in a table of 50,265."""
Inputs = dict[str, Tensor]


@dataclass(frozen=True)
class Part:
    """A network at its size: what it is, how it is made, and its inputs.

    lengths: of texts, tokens; each is measured. times: so often the network's time, which has only
        this share of the layers.
    """

    title: str
    make: Callable[[], nn.Module]
    inputs: Callable[[int], Inputs]
    lengths: tuple[int, ...] = (0,)
    times: int = 1


def _text(
    kind: str, lengths: tuple[int, ...], project: int = 0, times: int = 1, **sizes: int
) -> Part:
    def make() -> nn.Module:
        config = getattr(transformers, f"{kind}Config")(**sizes, vocab_size=VOCABULARY)
        model = getattr(transformers, f"{kind}Model")(config).eval()
        model.set_attn_implementation("eager")
        if project:
            add_projection(model, config.hidden_size, project, Path())
        return MaskReader(model, False)

    def inputs(tokens: int) -> Inputs:
        ids = torch.randint(5, VOCABULARY, (1, tokens))
        mask_index = torch.tensor([tokens - 2])
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "mask_index": mask_index}

    layers = times * sizes.get("num_hidden_layers", 12)
    return Part(f"{kind}, {layers} layers", make, inputs, lengths, times)


LARGE = {"hidden_size": 1024, "num_hidden_layers": 6, "num_attention_heads": 16}
LARGE |= {"intermediate_size": 4096, "max_position_embeddings": 514}
BASE = {"max_position_embeddings": 514}
MINILM = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12}
MINILM |= {"intermediate_size": 1536}


def _waveform(_: int) -> Inputs:
    return {"waveform": torch.randn(1, int(SECONDS * 16_000))}


def _clip(_: int) -> Inputs:
    return {"clip": torch.randn(1, 8, 3, 224, 224)}


def _data2vec() -> nn.Module:
    model = transformers.Data2VecAudioModel(transformers.Data2VecAudioConfig())
    model.set_attn_implementation("eager")
    return StatesReader(model, "mean")


def _emotion2vec() -> nn.Module:
    kernels = (10, 3, 3, 3, 3, 2, 2)
    return FramesReader(Emotion2vec(Emotion2vecSizes(512, kernels, 768, 12, 4, 8, 5, 19, 16, 10)))


def _timesformer() -> nn.Module:
    model = transformers.TimesformerModel(transformers.TimesformerConfig())
    model.set_attn_implementation("eager")
    return ClipReader(model, "first")


def _resnet(depths: list[int], hidden: list[int], layer: str) -> Callable[[], nn.Module]:
    sizes = {"depths": depths, "hidden_sizes": hidden, "layer_type": layer}
    config: Any = transformers.ResNetConfig.from_dict({**sizes, "num_labels": 1000})
    return lambda: ClipReader(transformers.ResNetForImageClassification(config), "classes")


def _head(name: str, config: Any) -> Part:
    return Part(
        f"{name}, width {config.width}",
        lambda: HEADS[name][1](config),
        lambda _: example(config, UTTERANCES),
    )


SUMMER = SummerConfig(
    width=1024, heads=4, layers=6, experts=8, alpha=2.0, embeddings=(768, 512, 1000)
)
PARTS: dict[str, Part] = {
    "roberta_large": _text("Roberta", (128, 32), 768, 4, **LARGE),
    "roberta_base": _text("Roberta", (128,), **BASE),
    "bert_base": _text("Bert", (32,)),
    "minilm": _text("Bert", (128, 32), **MINILM),
    "data2vec": Part("data2vec-audio-base, 3 s", _data2vec, _waveform),
    "emotion2vec": Part("emotion2vec-base, 3 s", _emotion2vec, _waveform),
    "log_mel": Part(
        "log-mel network, 3 s",
        lambda: LogMelEncoder(SpeechEncoderConfig("log-mel")).model,
        lambda _: {"features": torch.randn(1, 300, MEL_BANDS), "frames": torch.tensor([300])},
    ),
    "timesformer": Part("TimeSformer-base, 8 frames of 224", _timesformer, _clip),
    "resnet50": Part(
        "ResNet-50, 8 frames of 224",
        _resnet([3, 4, 6, 3], [256, 512, 1024, 2048], "bottleneck"),
        _clip,
    ),
    "resnet18": Part(
        "ResNet-18, 8 frames of 224", _resnet([2, 2, 2, 2], [64, 128, 256, 512], "basic"), _clip
    ),
    "faces": Part(
        "face network, 8 crops of 48",
        lambda: FacesEncoder(VideoEncoderConfig("faces")).model,
        lambda _: {"faces": torch.rand(MAX_CROPS, 1, SIZE, SIZE)},
    ),
    "magtkd": _head("magtkd", PAPERS["magtkd"]),
    "summer": _head("summer", SUMMER),
    "lpgnet": _head(
        "lpgnet",
        LpgnetConfig(width=768, modalities=("text", "audio"), embeddings=(768, 768, 768)),
    ),
    "ddvlm": _head("ddvlm", DdvlmConfig(width=768, gate="vector", embeddings=(768, 768, 768))),
    "magtkd_128": _head("magtkd", MagtkdConfig(width=128, embeddings=(384, 128, 128))),
}
SYSTEMS = {
    "magtkd": ("roberta_large_128", "data2vec", "timesformer", "magtkd"),
    "summer": ("roberta_base_128", "resnet50", "summer"),
    "lpgnet": ("bert_base_32", "emotion2vec", "lpgnet"),
    "ddvlm": ("roberta_large_128", "timesformer", "ddvlm"),
    "magtkd_minilm": ("minilm_128", "data2vec", "timesformer", "magtkd"),
    "magtkd_short_prompt": ("roberta_large_32", "data2vec", "timesformer", "magtkd"),
    "magtkd_resnet": ("roberta_large_128", "data2vec", "resnet18", "magtkd"),
    "magtkd_small": ("minilm_128", "log_mel", "faces", "magtkd_128"),
}
"""SUMMER without its openSMILE, which no model package can hold; the last four replace a part."""
KINDS = ("float32_ms", "int8_ms")


def measure(part: Part, repeats: int) -> dict[int, dict[str, float]]:
    """Length -> median CPU time in float32 and int8, which take turns, and the machine's load."""
    torch.manual_seed(0)
    examples = [part.inputs(length) for length in part.lengths]
    axes = {name: {1: "L"} for name in examples[0] if name in ("input_ids", "attention_mask")}
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
        outputs = ["logits", "weights"] if "modalities" in examples[0] else ["embedding"]
        write_onnx(part.make(), examples[-1:], source, outputs, axes, 1e-2)
        quantize(SCHEMES["dynamic"], source, target)
        networks = [Network(source), Network(target)]
        for length, inputs in zip(part.lengths, examples, strict=True):
            arrays = {name: inputs[name].numpy() for name in signature(source).inputs}
            times: list[list[float]] = [[], []]
            for number in range(repeats + 1):  # the first call does not count
                for network, of_one in zip(networks, times, strict=True):
                    start = time.process_time()
                    network(arrays)
                    if number:
                        of_one.append(1000 * (time.process_time() - start))
            medians = {
                kind: part.times * statistics.median(of_one)
                for kind, of_one in zip(KINDS, times, strict=True)
            }
            figures[length] = {**medians, "load": os.getloadavg()[0]}
    return figures


def sums(parts: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Of the systems whose parts were all measured."""
    return {
        system: {kind: sum(parts[name][kind] for name in names) for kind in KINDS}
        for system, names in SYSTEMS.items()
        if set(names) <= set(parts)
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    machine = description()
    print(f"{machine}\n| part | float32, ms | int8, ms |\n|---|---|---|")
    measured: dict[str, dict[str, float]] = {}
    for name in arguments.parts:
        part = PARTS[name]
        for length, figures in measure(part, arguments.repeats).items():
            key, title = (name, part.title)
            if length:
                key, title = f"{name}_{length}", f"{part.title}, {length} tokens"
            measured[key] = figures
            print(
                f"| {title} | " + " | ".join(f"{figures[k]:.1f}" for k in KINDS) + " |", flush=True
            )
        if arguments.write:
            _write(measured, arguments.repeats, machine)
    for system, times in sums(measured).items():
        print(f"| **{system}** | " + " | ".join(f"{ms:.1f}" for ms in times.values()) + " |")
    return 0


def _write(measured: Mapping[str, Mapping[str, float]], repeats: int, machine: str) -> None:
    file = RESULTS / f"{NAME}.json"
    earlier = json.loads(file.read_text())["figures"]["parts"] if file.is_file() else {}
    parts = {**earlier, **measured}
    write_results(
        NAME,
        f"python -m benchmarks.system_latency --repeats {repeats} --write",
        None,
        {"parts": parts, "systems": sums(parts)},
        f"CPU time of one thread, random weights; load of each part's run; {machine}",
    )


if __name__ == "__main__":
    raise SystemExit(main())
