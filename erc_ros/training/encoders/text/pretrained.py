"""Text by any encoder of Hugging Face: RoBERTa, BERT, MiniLM and the like.

Three ways to ask (`PROMPTS`), each with or without history and speaker tokens:

- magtkd: `<s> <s1> t1 <s2> t2 ... </s> Now <si> feels <mask> </s>`, read at the mask
  (MAGTKD, eq. 1-3);
- ddvlm: the last 511 tokens of `<s> <s1> t1 ... <si> tk Now <si> feels`, then the mask, read there
  (DDVLM, section 3.3);
- plain: `<s> <s1> t1 ... <si> tk </s>`, read at the first token or as the mean.

What does not fit is cut from the left: the oldest words go first, never the question.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import AddedToken
from torch import Tensor, nn
from torch.nn.functional import normalize
from transformers import AutoModel, AutoTokenizer

from erc_ros.encoders.text import (
    LAST_SPEAKER,
    MAX_CHARACTERS,
    SPEAKER_TOKENS,
    TokenRoles,
    Turn,
)
from erc_ros.training.encoders import pretrained
from erc_ros.training.encoders.sample import Sample

PROMPTS = ("magtkd", "ddvlm", "plain")
READINGS = ("first", "mean")


@dataclass(frozen=True, slots=True)
class TextEncoderConfig:
    """The section of a text encoder."""

    model: str
    """A folder, or a name in the local Hugging Face cache."""
    prompt: str = "magtkd"
    history: int = -1
    """Utterances before the current one that it may see; -1: all that fit, 0: none."""
    speakers: bool = True
    """Every utterance begins with its speaker's token, and the question names the speaker."""
    reading: str = "mean"
    """Of the plain prompt: the first token, or the mean of all. The others read at the mask."""
    unit_length: bool = False
    """Embeddings are scaled to length 1, as sentence encoders do."""
    max_tokens: int = 512
    """Longest input, special tokens counted; never more than the model takes."""
    batch_size: int = 32
    layers: int = 0
    """Only so many of its layers, the lowest ones; 0: all."""

    def __post_init__(self) -> None:
        if self.layers < 0:
            raise ValueError(f"layers is {self.layers}, must be 0 (all) or more")
        if self.prompt not in PROMPTS:
            raise ValueError(f"prompt is {self.prompt!r}, must be one of {PROMPTS}")
        if self.reading not in READINGS:
            raise ValueError(f"reading is {self.reading!r}, must be one of {READINGS}")
        if self.history < -1:
            raise ValueError(f"history is {self.history}, must be -1 (all), 0 (none) or more")
        if self.batch_size < 1:
            raise ValueError(f"batch_size is {self.batch_size}, must be at least 1")


def sentence_encoder(model: str, max_tokens: int = 256) -> PretrainedTextEncoder:
    """A sentence encoder as sentence-transformers runs it: mean of the tokens, length 1."""
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
    """Text -> embedding, as `config` says; see `sample.Encoder` and `pretrained.Trainable`.

    Raises:
        FileNotFoundError: the model is not on this machine.
        ValueError: the model cannot be read, has no mask token for a prompt that needs one, or
            takes too few tokens for the prompt.
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
        self.dimension = int(self.model.config.hidden_size)
        settings = asdict(config) | {"model": "", "batch_size": 0}  # neither changes an embedding
        if not config.layers:
            del settings["layers"]  # so that an encoder that has all keeps its name
        self.name = f"text-{config.prompt}-{pretrained.digest(folder, **settings)}"
        self._first = self._token("cls_token", "bos_token")
        self._end = self._token("sep_token", "eos_token")
        self._mask: list[int] = []
        if config.prompt != "plain":
            self._mask = self._token("mask_token")
            if not self._mask:
                raise ValueError(f"{folder}: its tokenizer has no mask token; use prompt: plain")
        self.max_tokens = min(config.max_tokens, most_tokens(self.model))
        least = len(self._first) + len(self._question(1)) + 2
        if self.max_tokens < least:
            raise ValueError(f"max_tokens is {self.max_tokens}, must be at least {least}")

    @property
    def roles(self) -> TokenRoles:
        """Its tokens by the roles that they play in prompts."""
        start, separator, mask = (
            next(
                (str(token) for name in names if (token := getattr(self.tokenizer, name, None))), ""
            )
            for names in (("cls_token", "bos_token"), ("sep_token", "eos_token"), ("mask_token",))
        )
        return TokenRoles(start, separator, mask, SPEAKER_TOKENS if self.config.speakers else ())

    def refuses(self, sample: Sample) -> str:
        """An utterance without text has no embedding."""
        if not sample.turns:
            return "no turn"
        return "" if sample.turns[-1].text.strip() else "empty text"

    def size(self, sample: Sample) -> int:
        """About as many characters as reach the model."""
        return sum(len(turn.text) + 8 for turn in self._seen(sample))

    def tokens(self, sample: Sample) -> tuple[list[int], int]:
        """The prompt, at most max_tokens ids, and where it is read (-1: nowhere in particular).

        Raises:
            ValueError: a speaker outside 0..9.
        """
        turns = self._seen(sample)
        body: list[list[int]] = []
        length = 0
        for turn in reversed(turns):
            if not 0 <= turn.speaker <= LAST_SPEAKER:
                raise ValueError(f"{sample.key}: speaker is {turn.speaker}, not 0..{LAST_SPEAKER}")
            if body and not turn.text:
                continue
            body.append([*self._speaker(turn.speaker), *self._words(turn.text)])
            length += len(body[-1])
            if length >= self.max_tokens:
                break
        said = [token for turn in reversed(body) for token in turn]
        question = self._question(turns[-1].speaker)
        if self.config.prompt == "ddvlm":
            everything = [*self._first, *said, *question]
            ids = [*everything[-(self.max_tokens - 1) :], *self._mask]
            return ids, len(ids) - 1
        room = self.max_tokens - len(self._first) - len(question)
        ids = [*self._first, *said[-room:], *question]
        if self.config.prompt == "magtkd":
            return ids, len(ids) - 1 - len(self._end)
        return ids, -1

    def collate(self, samples: Sequence[Sample]) -> dict[str, Tensor]:
        """input_ids, attention_mask (N, L) and, read at a mask, mask_index (N,); all int64."""
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
        """What `collate` made -> its tokens (N, L, d), and which there are (N, L) bool."""
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        states: Tensor = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
        return states, mask.bool()

    def embed(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """What `collate` made -> (N, d)."""
        states, mask = self.sequence(inputs)  # (N, L, d), (N, L)
        if self.config.prompt != "plain":
            embedding = read_at(states, inputs["mask_index"])
        elif self.config.reading == "first":
            embedding = states[:, 0]
        else:
            embedding = pretrained.masked_mean(states, mask)
        return normalize(embedding, dim=-1) if self.config.unit_length else embedding

    def encode(self, samples: Sequence[Sample]) -> NDArray[np.float32]:
        """(N, d); see `pretrained.encode`."""
        return pretrained.encode(self, samples)

    def save(self, folder: Path) -> None:
        """Model and tokenizer, with the speaker tokens, as a Hugging Face folder."""
        pretrained.save(folder, self.model, self.tokenizer)

    def _seen(self, sample: Sample) -> Sequence[Turn]:
        history = self.config.history
        return sample.turns if history < 0 else sample.turns[-(history + 1) :]

    def _question(self, speaker: int) -> list[int]:
        if self.config.prompt == "plain":
            return self._end
        who = self._speaker(speaker) or self._words("someone")
        question = [*self._words("Now"), *who, *self._words("feels")]
        if self.config.prompt == "ddvlm":
            return question
        return [*self._end, *question, *self._mask, *self._end]

    def _speaker(self, speaker: int) -> list[int]:
        if not self.config.speakers:
            return []
        return [self.tokenizer.convert_tokens_to_ids(SPEAKER_TOKENS[speaker])]

    def _words(self, text: str) -> list[int]:
        # What people say is text, even if somebody spells out "<s1>" or "<mask>"; a lone surrogate
        # is none. The space before makes the first word the same as any other (byte-level BPE).
        kept = text[-MAX_CHARACTERS:].encode("utf-8", "replace").decode("utf-8").strip()
        if not kept:
            return []
        ids: list[int] = self.tokenizer(
            f" {kept}", add_special_tokens=False, split_special_tokens=True, verbose=False
        )["input_ids"]
        return ids

    def _token(self, *names: str) -> list[int]:
        for name in names:
            if (token := getattr(self.tokenizer, name, None)) is not None:
                return [self.tokenizer.convert_tokens_to_ids(token)]
        return []


def read_at(states: Tensor, index: Tensor) -> Tensor:
    """The state at a place of each row: states (N, L, d), index (N) -> (N, d)."""
    where = index[:, None, None].expand(-1, 1, states.shape[-1])
    return states.gather(1, where)[:, 0]


def add_speakers(tokenizer: Any, model: Any) -> None:
    """Add `<s0>`..`<s9>`, each beginning as "speaker" and its number, 0 as "someone".

    A model that was trained with them has them already, and keeps what it learned.
    """
    known = tokenizer.get_vocab()
    new = [token for token in SPEAKER_TOKENS if token not in known]
    tokenizer.add_tokens([AddedToken(t, special=True, normalized=False) for t in new], True)
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        # Its own first values would be drawn at random: other embeddings in every run.
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    weights = model.get_input_embeddings().weight
    with torch.no_grad():
        for token in new:
            number = SPEAKER_TOKENS.index(token)
            words = f" speaker {number}" if number else " someone"
            ids = tokenizer(words, add_special_tokens=False)["input_ids"]
            weights[tokenizer.convert_tokens_to_ids(token)] = weights[ids].mean(dim=0)


def most_tokens(model: nn.Module) -> int:
    """How many tokens the model's positions allow (RoBERTa's begin behind the padding's id)."""
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            skipped = 0 if module.padding_idx is None else module.padding_idx + 1
            return module.num_embeddings - skipped
    return int(getattr(model.config, "max_position_embeddings", 1 << 30))
