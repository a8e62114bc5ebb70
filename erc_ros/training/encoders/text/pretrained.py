"""Text encoders of Hugging Face such as RoBERTa, BERT and MiniLM.

The prompt is one of `encoders.text.PROMPTS`, with or without history and speaker tokens. Training
and robot use the same class for it (`encoders.text.WholePrompt`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import AddedToken, Tokenizer
from torch import Tensor, nn
from torch.nn.functional import normalize
from transformers import AutoModel, AutoTokenizer

from erc_ros.encoders.text import (
    PROMPT_VERSION,
    PROMPTS,
    SPEAKER_TOKENS,
    Block,
    TokenRoles,
    Turn,
    Vocabulary,
    WholePrompt,
)
from erc_ros.training.encoders import pretrained
from erc_ros.training.encoders.sample import Sample
from erc_ros.values.settings import check, setting

READINGS = ("first", "mean")


@dataclass(frozen=True, slots=True)
class TextEncoderConfig:
    """The section of a text encoder."""

    model: str
    """A folder, or a name in the local Hugging Face cache."""
    prompt: str = setting("magtkd", "see `encoders.text.WholePrompt`", choices=PROMPTS)
    history: int = setting(
        -1, "earlier utterances in the prompt; -1: as many as fit, 0: none", "", (-1, 10_000)
    )
    speakers: bool = True
    """Each utterance begins with its speaker's token, and the question names the speaker."""
    reading: str = setting(
        "mean", "for the plain prompt: the first token or the mean of all tokens", choices=READINGS
    )
    unit_length: bool = False
    """Embeddings are scaled to length 1, as sentence encoders do."""
    max_tokens: int = 512
    """Longest input with special tokens, at most what the model accepts."""
    batch_size: int = setting(32, "prompts encoded together", "", (1, 10_000))
    layers: int = setting(0, "use only the lowest layers of the model; 0: all", "", (0, 1000))
    size: int = setting(
        0, "width of the embedding, by a linear layer after the model; 0: the model's", "",
        (0, 100_000),
    )  # fmt: skip

    def __post_init__(self) -> None:
        check(self)


def sentence_encoder(model: str, max_tokens: int = 256) -> PretrainedTextEncoder:
    """Return a sentence encoder as in sentence-transformers: mean of the tokens, length 1."""
    return PretrainedTextEncoder(
        TextEncoderConfig(
            model,
            prompt="plain",
            history=0,
            speakers=False,
            reading="mean",
            unit_length=True,
            max_tokens=max_tokens,
        )
    )


class PretrainedTextEncoder:
    """Encoder of text; see `sample.Encoder` and `pretrained.Trainable`.

    Raises:
        FileNotFoundError: the model is not on this machine.
        ValueError: the model could not be loaded, its tokenizer lacks a token of the prompt, or it
            accepts too few tokens for the prompt.
    """

    modality = "text"

    def __init__(self, config: TextEncoderConfig) -> None:
        folder = pretrained.local_folder(config.model)
        self.config = config
        self.batch_size = config.batch_size
        self.model: nn.Module = pretrained.load(AutoModel, folder, config.layers)
        self.tokenizer = pretrained.load_processor(AutoTokenizer, folder)
        if config.speakers:
            add_speakers(self.tokenizer, self.model)
        width = int(self.model.config.hidden_size)
        if config.size:
            pretrained.add_projection(self.model, width, config.size, folder)
        self.dimension = config.size or width
        settings = asdict(config) | {"model": "", "batch_size": 0}  # without effect on embeddings
        if config.prompt == "magtkd":  # another wording gives another name
            settings["prompt_version"] = PROMPT_VERSION
        for name in ("layers", "size"):
            if not settings[name]:
                del settings[name]  # keeps the name of an encoder without them
        self.name = f"text-{config.prompt}-{pretrained.digest(folder, **settings)}"
        self.max_tokens = min(config.max_tokens, most_tokens(self.model))
        # A copy: the vocabulary reads spelled-out special tokens as plain text.
        copied = Tokenizer.from_str(self.tokenizer.backend_tokenizer.to_str())
        copied.no_truncation()
        copied.no_padding()
        try:
            vocabulary = Vocabulary(copied, self.roles)
            self.prompt = WholePrompt(vocabulary, self.max_tokens, config.prompt, config.history)
        except ValueError as error:
            raise ValueError(f"{folder}: {error}") from error

    @property
    def roles(self) -> TokenRoles:
        """Return its special tokens by their role in a prompt."""
        start, separator, mask = (
            next(
                (str(token) for name in names if (token := getattr(self.tokenizer, name, None))), ""
            )
            for names in (("cls_token", "bos_token"), ("sep_token", "eos_token"), ("mask_token",))
        )
        return TokenRoles(start, separator, mask, SPEAKER_TOKENS if self.config.speakers else ())

    def refuses(self, sample: Sample) -> str:
        """Refuse utterances without text."""
        if not sample.turns:
            return "no turn"
        return "" if sample.turns[-1].text.strip() else "empty text"

    def size(self, sample: Sample) -> int:
        """Return the approximate number of characters in the prompt."""
        return sum(len(turn.text) + 8 for turn in self._turns(sample))

    def tokens(self, sample: Sample) -> tuple[list[int], int]:
        """Return the ids of the prompt, at most max_tokens, and the position of its mask or -1.

        Raises:
            ValueError: a speaker outside 0..9; names the utterance.
        """
        blocks: list[Block] = []
        try:
            for turn in reversed(self._turns(sample)):
                if blocks and not turn.text:
                    continue
                blocks.append(self.prompt.block(turn))
                if sum(map(len, blocks)) >= self.max_tokens:
                    break
        except ValueError as error:
            raise ValueError(f"{sample.key}: {error}") from error
        return self.prompt.assemble(blocks[::-1])

    def collate(self, samples: Sequence[Sample]) -> dict[str, Tensor]:
        """Return input_ids, attention_mask (N, L) and, for a mask, mask_index (N,); int64."""
        prompts = [self.tokens(sample) for sample in samples]
        longest = max(len(ids) for ids, _ in prompts)
        padding = self.tokenizer.pad_token_id or 0
        input_ids = torch.full((len(prompts), longest), padding)
        attention_mask = torch.zeros_like(input_ids)
        for row, (ids, _) in enumerate(prompts):
            input_ids[row, : len(ids)] = torch.tensor(ids)
            attention_mask[row, : len(ids)] = 1
        mask_index = torch.tensor([at for _, at in prompts])
        return {"input_ids": input_ids, "attention_mask": attention_mask, "mask_index": mask_index}

    def sequence(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return tokens (N, L, d) and their mask (N, L) bool for inputs of `collate`."""
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        states = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
        return pretrained.projected(self.model, states), mask.bool()

    def embed(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return embeddings (N, d) for inputs of `collate`."""
        states, mask = self.sequence(inputs)  # (N, L, d), (N, L)
        if self.config.prompt != "plain":
            embedding = read_at(states, inputs["mask_index"])
        elif self.config.reading == "first":
            embedding = states[:, 0]
        else:
            embedding = pretrained.masked_mean(states, mask)
        return normalize(embedding, dim=-1) if self.config.unit_length else embedding

    def encode(self, samples: Sequence[Sample]) -> NDArray[np.float32]:
        """Return embeddings (N, d); see `pretrained.encode`."""
        return pretrained.encode(self, samples)

    def save(self, folder: Path) -> None:
        """Write model and tokenizer, with the speaker tokens, as a Hugging Face folder."""
        pretrained.save(folder, self.model, self.tokenizer)

    def _turns(self, sample: Sample) -> Sequence[Turn]:
        history = self.config.history
        return sample.turns if history < 0 else sample.turns[-(history + 1) :]


def read_at(states: Tensor, index: Tensor) -> Tensor:
    """Return the state at one position of each row: states (N, L, d), index (N) -> (N, d)."""
    where = index[:, None, None].expand(-1, 1, states.shape[-1])
    return states.gather(1, where)[:, 0]


def add_speakers(tokenizer: Any, model: Any) -> None:
    """Add `<s0>`..`<s9>`, with the embedding of "speaker" and the number, 0 with that of "someone".

    A model that has these tokens keeps their embeddings.
    """
    vocabulary = tokenizer.get_vocab()
    new = [token for token in SPEAKER_TOKENS if token not in vocabulary]
    tokenizer.add_tokens([AddedToken(t, special=True, normalized=False) for t in new], True)
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        # The default initialization is random and would differ in every run.
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    weights = model.get_input_embeddings().weight
    with torch.no_grad():
        for token in new:
            number = SPEAKER_TOKENS.index(token)
            words = f" speaker {number}" if number else " someone"
            ids = tokenizer(words, add_special_tokens=False)["input_ids"]
            weights[tokenizer.convert_tokens_to_ids(token)] = weights[ids].mean(dim=0)


def most_tokens(model: nn.Module) -> int:
    """Return the number of positions of the model (RoBERTa's begin after the padding's id)."""
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            skipped = 0 if module.padding_idx is None else module.padding_idx + 1
            return module.num_embeddings - skipped
    return int(getattr(model.config, "max_position_embeddings", 1 << 30))
