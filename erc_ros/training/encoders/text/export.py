"""Choose the text encoder on dev and write it for the bundle.

best/text.onnx               float32, opset 17; inputs and outputs of `CachingTextModule.forward`
best/tokenizer.json          with the speaker tokens
best/prompt.json             the layout of conversations for it
best/metrics.json            its settings and its scores on dev and test
best/best.safetensors        all weights
best/head.safetensors        its classifier: weight (7, 384), bias (7,)
best/embeddings.safetensors  its embedding of every MELD utterance, for the fusion's training
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file
from torch import Tensor

from erc_ros.encoders.text import TextPrompt
from erc_ros.training.datasets.utterances import Conversation, Split
from erc_ros.training.encoders.text.evaluation import predict
from erc_ros.training.encoders.text.examples import TextConfig
from erc_ros.training.encoders.text.model import (
    CachingTextModule,
    TextClassifier,
    load_tokenizer,
    make_model,
)
from erc_ros.training.engine.runs import BEST, choose_best, write_metrics
from erc_ros.training.engine.trainer import load_weights
from erc_ros.training.manifest import write_prompt
from erc_ros.training.onnx import write_onnx

OUTPUTS = ("embedding", "present")
AXES = {
    "input_ids": {0: "B", 1: "L"},
    "positions": {0: "B", 1: "L"},
    "visible": {0: "B", 1: "L", 2: "P+L"},
    "mask_index": {0: "B", 1: "A"},
    "past": {2: "B", 4: "P"},
    "embedding": {0: "B", 1: "A"},
    "present": {2: "B", 4: "L"},
}


def choose_and_export(config: TextConfig, splits: Mapping[str, Split], out: Path) -> Path:
    """Export the seed that is best on dev; return the folder best/."""
    result = choose_best(out, ["best.safetensors"])
    print(f"exporting seed {result['seed']} of {json.dumps(result['all_seeds'], indent=2)}")
    model = make_model(config.dropout, config.reading, config.corpora_of_classifier)
    load_weights(model, out / BEST / "best.safetensors")
    return write(model, config.prompt(load_tokenizer()), config, splits, out / BEST, result)


def write(
    model: TextClassifier,
    prompt: TextPrompt,
    config: TextConfig,
    splits: Mapping[str, Split],
    out: Path,
    result: Mapping[str, Any],
) -> Path:
    """Write the files for the bundle and the fusion into `out`."""
    difference = export(model.encoder, out / "text.onnx")
    load_tokenizer().save(str(out / "tokenizer.json"))
    write_prompt(out, prompt)
    head = {"weight": model.head.weight, "bias": model.head.bias}
    save_file(
        {name: np.ascontiguousarray(value.detach().numpy()) for name, value in head.items()},
        out / "head.safetensors",
    )
    arrays: dict[str, NDArray[Any]] = {}
    for name, split in splits.items():
        columns = embed(model, split.conversations, prompt, config)
        arrays |= {f"{name}.{key}": column for key, column in columns.items()}
    save_file(arrays, out / "embeddings.safetensors")
    write_metrics({**result, "onnx_difference": difference}, out)
    return out


def export(encoder: CachingTextModule, path: Path) -> float:
    """Write the encoder as ONNX; return the largest difference from torch, see `write_onnx`.

    Raises:
        ArithmeticError: the difference is above 1e-4.
    """
    longest = encoder.config.positions
    sizes = [(2, 3, 4, 2), (1, 0, 3, 1), (1, longest // 2, longest // 4, 1), (3, 7, 33, 5)]
    examples = [
        _example(encoder, batch, known, min(new, longest - known), asked)
        for batch, known, new, asked in sizes
    ]
    return write_onnx(encoder, examples, path, OUTPUTS, AXES)


@torch.inference_mode()
def embed(
    model: TextClassifier,
    conversations: Sequence[Conversation],
    prompt: TextPrompt,
    config: TextConfig,
) -> dict[str, NDArray[Any]]:
    """Embed all utterances in their order; return arrays of n rows.

    embedding (n, d) and logits (n, C) float32; label, dialogue (0, 1, ... in the split's order),
    index (0, 1, ... in the dialogue) and speaker (0..9) int64.
    """
    embedding, labels = predict(model, conversations, prompt, config, ask=model.embed)
    logits = model.head(torch.from_numpy(embedding)).numpy()
    places = [
        (number, index, utterance.speaker)
        for number, conversation in enumerate(conversations)
        for index, utterance in enumerate(conversation.utterances)
    ]
    columns = np.array(places, np.int64).T
    names = ("dialogue", "index", "speaker")
    return {
        "embedding": embedding,
        "logits": logits,
        "label": labels,
        **{name: np.ascontiguousarray(column) for name, column in zip(names, columns, strict=True)},
    }


def _example(
    encoder: CachingTextModule, batch: int, known: int, new: int, asked: int
) -> dict[str, Tensor]:
    """Return inputs of a pass over `new` random tokens with random attention masks."""
    size, rng = encoder.config, torch.Generator().manual_seed(known + new)
    heads = (size.layers, 2, batch, size.heads, known, size.width // size.heads)
    visible = torch.rand(batch, new, known + new, generator=rng) < 0.7
    visible[..., known:] |= torch.eye(new, dtype=torch.bool)
    return {
        "input_ids": torch.randint(1, size.vocabulary, (batch, new), generator=rng),
        "positions": torch.arange(known, known + new).repeat(batch, 1),
        "visible": visible,
        "mask_index": torch.randint(0, new, (batch, asked), generator=rng),
        "past": torch.randn(heads, generator=rng),
    }
