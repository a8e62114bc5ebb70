"""What the text encoder is trained on: prompts with soft targets, in batches of similar length."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from erc_ros.encoders.text import TextPrompt, Turn
from erc_ros.training.datasets.utterances import LABELS, Conversation, LabelledUtterance


@dataclass(frozen=True, slots=True)
class TextConfig:
    """The section `text` of a recipe: what is trained on what."""

    seeds: tuple[int, ...] = (0, 1, 2)
    max_tokens: int = 96
    dropout: float = 0.1
    layer_decay: float = 0.9
    """Each layer learns at this share of the rate of the one above it."""
    head_learning_rate: float = 1e-3
    votes: float = 0.3
    """How much of the target is EmotionLines' votes; the rest is MELD's label. 0: labels only."""
    smoothing: float = 0.0
    unknown_speakers: float = 0.1
    """Share of dialogues in which every speaker becomes <s0>, as when diarization gives none."""
    plain: float = 0.1
    """Share of dialogues without capitals and punctuation, as many recognisers write."""
    short_history: float = 0.3
    """Share of prompts with a random part of their history, as early in a conversation."""
    most_per_label: int = 5000
    """Of GoEmotions' rows, which are mostly neutral or joy."""
    pretrain: bool = True

    def __post_init__(self) -> None:
        if not self.seeds:
            raise ValueError("seeds must not be empty")
        for name in ("votes", "smoothing", "unknown_speakers", "plain", "short_history", "dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, must be in [0, 1)")
        if not 0 < self.layer_decay <= 1:
            raise ValueError(f"layer_decay is {self.layer_decay}, must be in (0, 1]")


class Example(NamedTuple):
    """One prompt and its target."""

    tokens: list[int]
    target: tuple[float, ...]


class Batch(NamedTuple):
    """Prompts of similar length. ids, mask (B, L) and index (B,) int64; target (B, C)."""

    ids: Tensor
    mask: Tensor
    index: Tensor
    target: Tensor


def balanced(rows: Sequence[Conversation], most: int, rng: random.Random) -> list[Conversation]:
    """At most `most` rows of each label, drawn at random."""
    shuffled = rng.sample(rows, len(rows))
    kept: list[Conversation] = []
    seen = [0] * len(LABELS)
    for row in shuffled:
        label = row.utterances[0].label
        seen[label] += 1
        if seen[label] <= most:
            kept.append(row)
    return kept


def augmented(
    dialogue: Conversation, prompt: TextPrompt, config: TextConfig, rng: random.Random
) -> list[Example]:
    """A training dialogue's prompts, varied as the robot will hear it."""
    utterances = dialogue.utterances
    if rng.random() < config.unknown_speakers:
        utterances = tuple(replace(u, speaker=0) for u in utterances)
    if rng.random() < config.plain:
        utterances = tuple(replace(u, text=plain_text(u.text)) for u in utterances)
    varied = Conversation(dialogue.name, utterances)
    return examples_of(varied, prompt, config, rng, config.short_history)


def examples_of(
    conversation: Conversation,
    prompt: TextPrompt,
    config: TextConfig,
    rng: random.Random,
    short_history: float = 0.0,
) -> list[Example]:
    """One prompt for every utterance: its history and itself, never what comes after it."""
    turns = [Turn(u.speaker, u.text) for u in conversation.utterances]
    examples = []
    for number, utterance in enumerate(conversation.utterances):
        first = rng.randint(0, number) if rng.random() < short_history else 0
        tokens = prompt.tokens(turns[first : number + 1])
        examples.append(Example(tokens, target(utterance, config)))
    return examples


def target(utterance: LabelledUtterance, config: TextConfig) -> tuple[float, ...]:
    """What the model should say, (C,): the label, softened by raters' votes and smoothing."""
    share = config.votes if utterance.votes else 0.0
    votes = utterance.votes or (0.0,) * len(LABELS)
    flat = config.smoothing / len(LABELS)
    return tuple(
        (1 - config.smoothing) * ((1 - share) * (index == utterance.label) + share * vote) + flat
        for index, vote in enumerate(votes)
    )


def plain_text(text: str) -> str:
    """Lower case, letters, digits and apostrophes only."""
    kept = "".join(c if c.isalnum() or c in "'’" else " " for c in text.lower())
    return " ".join(kept.split())


def make_batches(examples: Sequence[Example], size: int, rng: random.Random | None) -> list[Batch]:
    """Prompts of about the same length together, in random order; without rng, sorted by length."""
    order = list(range(len(examples)))
    if rng is not None:
        rng.shuffle(order)  # equal lengths meet other companions in every epoch
    order.sort(key=lambda number: len(examples[number].tokens))
    groups = [order[start : start + size] for start in range(0, len(order), size)]
    if rng is not None:
        rng.shuffle(groups)
    return [collate([examples[number] for number in group]) for group in groups]


def collate(examples: Sequence[Example]) -> Batch:
    """Padded to the longest."""
    longest = max(len(example.tokens) for example in examples)
    ids = torch.zeros(len(examples), longest, dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for row, example in enumerate(examples):
        ids[row, : len(example.tokens)] = torch.tensor(example.tokens)
        mask[row, : len(example.tokens)] = 1
    target = torch.tensor([example.target for example in examples])
    return Batch(ids, mask, mask.sum(dim=1) - 2, target)
