"""The same work on the runtime and in plain PyTorch fp32, side by side.

    python -m benchmarks.against_torch            (needs the extra [train])

Utterance: text with history, 3 s of sound, 8 faces and the fusion, from the raw input on, nothing
prepared. The runtime is `Recogniser`. On the other side stands `transformers.BertModel` with the
bundle's own text weights (int8 ones are multiplied out), checked to give the same embedding, and
the training's networks for sound, face and fusion (their size, not their weights: the time is the
same), one after the other, in eval and inference mode, fed by the same numpy front ends. PyTorch
gets all cores, and is also timed with one thread.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from transformers import BertConfig, BertModel

from benchmarks.machine import Figure, description
from erc_ros.dialogue.utterance import SAMPLE_RATE, FaceCrop, Utterance
from erc_ros.encoders.audio import audio_input
from erc_ros.encoders.face import face_input
from erc_ros.encoders.text import TextPrompt, Turn
from erc_ros.inference.backend import Network
from erc_ros.inference.bundle import Bundle, load_bundle
from erc_ros.inference.history import History, Perception, enter, fusion_input, step
from erc_ros.inference.recogniser import Recogniser
from erc_ros.nodes.places import model_folder
from erc_ros.replay.conversation_bag import DIALOGUE
from erc_ros.replay.offline import default_models
from erc_ros.training.audio import AudioNetwork, AudioNetworkConfig
from erc_ros.training.face import FaceNetwork, FaceNetworkConfig
from erc_ros.training.fusion.magt import Magt, MagtConfig

Arrays = dict[str, NDArray[np.float32]]
LEAST_COSINE = 0.97  # of an embedding; int8 activations cost about 0.01


class Weights:
    """The float weights in an ONNX file, whatever precision it keeps them in."""

    def __init__(self, file: Path) -> None:
        graph = onnx.load(str(file)).graph
        self._made = {output: node for node in graph.node for output in node.output}
        self._stored = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
        self._nodes = list(graph.node)

    def state(self) -> Arrays:
        """The state of the text encoder under BERT's names."""
        state: Arrays = {}
        for node in self._nodes:
            if node.op_type == "LayerNormalization":
                state[node.input[1]] = self._value(node.input[1])
                state[node.input[2]] = self._value(node.input[2])
            elif node.op_type == "Add":
                self._add(node, state)
        tables = [name for name in self._stored if "word_embeddings.weight" in name]
        if tables == ["embeddings.word_embeddings.weight"]:
            state[tables[0]] = self._stored[tables[0]]
        else:
            table = "embeddings.word_embeddings.weight"
            rows, scales = self._stored[f"{table}_rows"], self._stored[f"{table}_scales"]
            state[table] = rows.astype(np.float32) * scales
        name = "embeddings.position_embeddings.weight"
        state[name] = self._stored[name]
        return state

    def _add(self, node: onnx.NodeProto, state: Arrays) -> None:
        constants = [name for name in node.input if name in self._stored]
        others = [name for name in node.input if name not in self._stored]
        if len(constants) != 1 or len(others) != 1:
            return
        (bias,) = constants
        if bias.endswith(".bias"):
            state[bias] = self._stored[bias]
            state[f"{bias[:-5]}.weight"] = self._product(others[0]).T
        elif node.name.startswith("/embeddings/"):  # token type 0, folded into a constant
            row = self._stored[bias].reshape(-1)
            state["embeddings.token_type_embeddings.weight"] = np.stack([row, np.zeros_like(row)])

    def _product(self, name: str) -> NDArray[np.float32]:
        """The constant weight of the matrix product behind `name`."""
        node = self._made[name]
        while node.op_type not in ("MatMul", "MatMulInteger"):
            node = self._made[node.input[0]]
        weight = self._stored[node.input[1]]
        if node.op_type == "MatMul":
            return weight
        base = node.input[1].removesuffix("_quantized")
        zero = self._stored.get(f"{base}_zero_point", np.zeros(1, np.int8))
        scale = self._stored[f"{base}_scale"]
        return (weight.astype(np.float32) - zero.astype(np.float32)) * scale

    def _value(self, name: str) -> NDArray[np.float32]:
        while name not in self._stored:  # weights that are equal are stored once
            name = self._made[name].input[0]
        return self._stored[name]


def bert(file: Path) -> BertModel:
    """`transformers.BertModel` with the weights of a text.onnx."""
    state = {name: torch.tensor(value) for name, value in Weights(file).state().items()}
    words = state["embeddings.word_embeddings.weight"]
    layers = {name.split(".")[2] for name in state if name.startswith("encoder.layer.")}
    config = BertConfig(
        vocab_size=words.shape[0],
        hidden_size=words.shape[1],
        num_hidden_layers=len(layers),
        num_attention_heads=12,
        intermediate_size=len(state["encoder.layer.0.intermediate.dense.bias"]),
        max_position_embeddings=len(state["embeddings.position_embeddings.weight"]),
    )
    model = BertModel(config, add_pooling_layer=False).eval()
    missing, unexpected = model.load_state_dict(state, strict=False)
    if unexpected or [name for name in missing if "position_ids" not in name]:
        raise ValueError(f"{file} does not fit BertModel: lacks {missing}, extra {unexpected}")
    return model


class PlainTorch:
    """An utterance's way through the four networks, as one would write it for PyTorch."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._prompt = TextPrompt.from_file(bundle.text.tokenizer, bundle.text.max_tokens)
        self._text = bert(bundle.text.file)
        self._audio = AudioNetwork(AudioNetworkConfig()).eval()
        self._face = FaceNetwork(FaceNetworkConfig()).eval()
        self._fusion = Magt(MagtConfig()).eval()
        self._history = History()

    def text(self, turns: list[Turn]) -> NDArray[np.float32]:
        """The text embedding (384,)."""
        prompt = self._prompt(turns)
        with torch.inference_mode():
            states = self._text(
                input_ids=torch.from_numpy(prompt.input_ids),
                attention_mask=torch.from_numpy(prompt.attention_mask),
            ).last_hidden_state
            return states[0, int(prompt.mask_index[0])].numpy()

    def feed(self, utterance: Utterance) -> NDArray[np.float32]:
        """Probabilities (C,) of an utterance after those before it."""
        self._history, turn = enter(self._history, utterance)
        text = self.text([*self._history.turns(), turn])
        features = torch.from_numpy(audio_input(utterance.audio))[None]
        frames = torch.tensor([features.shape[1]])
        limit, size = self._bundle.visual.max_crops, self._bundle.visual.size
        faces = face_input(utterance.faces, limit, size)
        with torch.inference_mode():
            audio = self._audio(features, frames)[0].numpy()
            visual = self._face(torch.from_numpy(faces)).mean(dim=0).numpy()
            perception = Perception(utterance.utterance_id, turn, text, audio, visual)
            self._history = step(self._history, perception, self._bundle.fusion.context)
            sizes = (text.size, audio.size, visual.size)
            inputs = fusion_input(self._history.perceptions, sizes)
            logits, _ = self._fusion(*(torch.from_numpy(value) for value in inputs.values()))
            return logits[0, -1].softmax(dim=-1).numpy()


def utterances(count: int) -> list[Utterance]:
    """The demo's dialogue with noise as sound and faces: what costs time, not what it means."""
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
    """ms per utterance; the first third warms up."""
    times = []
    for utterance in said:
        begin = time.perf_counter_ns()
        action(utterance)
        times.append(time.perf_counter_ns() - begin)
    return statistics.median(times[len(times) // 3 :]) / 1e6


def median_prepared(recogniser: Recogniser, said: list[Utterance]) -> float:
    """As in life: sound and faces of a draft are encoded before its final text comes."""
    times = []
    for utterance in said:
        recogniser.prepare(replace(utterance, text="", is_final=False))
        time.sleep(0.1)
        begin = time.perf_counter_ns()
        recogniser.feed(utterance)
        times.append(time.perf_counter_ns() - begin)
    return statistics.median(times[len(times) // 3 :]) / 1e6


def same_text(bundle: Bundle, plain: PlainTorch) -> float:
    """Least cosine between the bundle's text embedding and BertModel's, over the demo's turns."""
    network = Network(bundle.text.file, "cpu")
    prompt = TextPrompt.from_file(bundle.text.tokenizer, bundle.text.max_tokens)
    cosines = []
    for count in range(1, len(DIALOGUE) + 1):
        turns = [Turn(turn.speaker + 1, turn.text) for turn in DIALOGUE[:count]]
        inputs = prompt(turns)
        mine = network(
            {
                "input_ids": inputs.input_ids,
                "attention_mask": inputs.attention_mask,
                "mask_index": inputs.mask_index,
            }
        )["embedding"].reshape(-1)
        theirs = plain.text(turns)
        cosines.append(mine @ theirs / np.linalg.norm(mine) / np.linalg.norm(theirs))
    return float(min(cosines))


def measure(name: str, count: int = 45) -> list[Figure]:
    """Time both sides on `count` utterances each."""
    bundle = load_bundle(model_folder(name))
    said, cores = utterances(count), torch.get_num_threads()
    plain = PlainTorch(bundle)
    cosine = same_text(bundle, plain)
    with Recogniser(bundle) as recogniser:
        recogniser.warm_up()
        mine = median(recogniser.feed, said)
        last = median_prepared(recogniser, said)
        text = median(recogniser.feed, [replace(u, audio=u.audio[:0], faces=()) for u in said])
    torch_all = median(plain.feed, said)
    torch.set_num_threads(1)
    torch_one = median(plain.feed, said)
    torch.set_num_threads(cores)
    return [
        Figure("text embedding, least cosine to BertModel's", cosine, "", LEAST_COSINE, more=True),
        Figure("an utterance, this runtime", mine, "ms"),
        Figure("an utterance, text only, this runtime", text, "ms"),
        Figure("what is left at its final text (the rest prepared)", last, "ms"),
        Figure(f"an utterance, PyTorch fp32, {cores} threads", torch_all, "ms"),
        Figure("an utterance, PyTorch fp32, 1 thread", torch_one, "ms"),
        Figure("final text to estimate, faster by", min(torch_all, torch_one) / last, "times"),
        Figure("everything, faster by", min(torch_all, torch_one) / mine, "times", 4, more=True),
    ]


def main() -> int:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", default=default_models().bundle)
    parser.add_argument("--utterances", type=int, default=45)
    options = parser.parse_args()
    print(description() + f", torch {torch.__version__}")
    figures = measure(options.bundle, options.utterances)
    print("\n".join(figure.line() for figure in figures))
    return 0 if all(figure.reached for figure in figures) else 1


if __name__ == "__main__":
    raise SystemExit(main())
