"""Training examples of the text encoder: dialogues with soft targets, in batches by length."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from tokenizers import Tokenizer
from torch import Tensor

from erc_ros.encoders.text import Block, Layout, TextPrompt, Turn
from erc_ros.training.datasets.corpora import COMMENTS, DIALOGUES, VOTES
from erc_ros.training.datasets.utterances import LABELS, Conversation, LabelledUtterance
from erc_ros.training.encoders.text.mixture import (
    check_main,
    in_turns,
    numbers,
    ordered,
    repeated,
    thinned,
)
from erc_ros.training.encoders.text.model import READINGS
from erc_ros.training.encoders.text.recognition_errors import (
    SimulatedWordErrors,
    misheard,
    mixed_up,
)
from erc_ros.values.settings import check, setting


@dataclass(frozen=True, slots=True)
class TextConfig:
    """The section `text` of a recipe. Shares are in [0, 1]."""

    corpus: str = DIALOGUES
    """The main corpus. Its dev split selects the epoch and the correction of the class prior."""
    seeds: tuple[int, ...] = (0, 1, 2)
    max_tokens: int = 256
    word_errors: float = setting(0.0, "highest word error rate of a training dialogue", "", (0, 1))
    speaker_errors: float = setting(0.0, "highest share of wrong speaker labels", "", (0, 1))
    reading: str = setting(
        "mask", "token position of an embedding: `model.TextModelConfig`", choices=READINGS
    )
    dropout: float = setting(0.1, "dropout in the encoder and before the classifier", "", (0, 0.99))
    layer_decay: float = setting(
        0.9, "learning rate of a layer, as a share of that of the layer above", "", (0.01, 1)
    )
    head_learning_rate: float = setting(1e-3, "of the classifier", "", (0, 1))
    votes: float = setting(
        0.3, "share of EmotionLines' votes in the target, next to the label", "", (0, 1)
    )
    unknown_speakers: float = setting(
        0.1, "share of dialogues in which every speaker is <s0>, as without diarization", "", (0, 1)
    )
    plain: float = setting(
        0.1, "share of dialogues without capitals and punctuation, as of an ASR", "", (0, 1)
    )
    forget: float = setting(
        0.03, "share of utterances with an empty history, as after a pause", "", (0, 1)
    )
    missing: float = setting(0.0, "share of unlabeled turns removed from the history", "", (0, 1))
    in_turns: float = setting(
        0.0, "share of single comments split into turns (`mixture.in_turns`)", "", (0, 1)
    )
    again: float = setting(
        0.0, "share of single comments that are repeated (`mixture.repeated`)", "", (0, 1)
    )
    after_another: float = setting(
        0.0, "share of mixed conversations after another (`mixture.after_another`)", "", (0, 1)
    )
    most_per_label: int = setting(5000, "GoEmotions' rows per label, at most", "", (1, 1e6))
    pretraining: Mapping[str, float] = field(default_factory=lambda: {COMMENTS: 1.0})
    """First training, once for all seeds: corpus -> its share in an epoch. Empty: skipped."""
    mixed: Mapping[str, float] = field(default_factory=dict)
    """Corpora that are then mixed into each epoch of the main corpus, in the same form."""

    def __post_init__(self) -> None:
        check(self)
        if not self.seeds:
            raise ValueError("seeds must not be empty")
        check_main(self.corpus)
        for name in ("pretraining", "mixed"):
            for corpus, share in getattr(self, name).items():
                if not share > 0:
                    raise ValueError(f"{name}.{corpus} is {share}: must be a positive share")
            ordered(getattr(self, name))

    @property
    def corpora(self) -> list[str]:
        """Corpora in addition to the main one, in the order of the classifier."""
        return [c for c in ordered([*self.pretraining, *self.mixed]) if c != self.corpus]

    @property
    def corpora_of_classifier(self) -> int:
        """Number of corpora that share the classifier."""
        return len(numbers(self.corpus, self.corpora))

    def without(self, corpus: str) -> TextConfig:
        """Return the same training without a corpus."""
        remaining = {
            name: {c: share for c, share in getattr(self, name).items() if c != corpus}
            for name in ("pretraining", "mixed")
        }
        votes = 0.0 if corpus in (self.corpus, VOTES) else self.votes
        return replace(self, **remaining, votes=votes)  # type: ignore[arg-type]

    def prompt(self, tokenizer: Tokenizer) -> TextPrompt:
        """Return the layout of conversations for this training."""
        return TextPrompt(tokenizer, self.max_tokens, has_question=self.reading == "mask")


class TokenRow(NamedTuple):
    """The tokens of one pass, and the targets of the utterances whose embeddings are read."""

    layout: Layout
    targets: list[tuple[float, ...]]
    corpus: int = 0
    """Number of the corpus in the classifier (`mixture.numbers`)."""


class Batch(NamedTuple):
    """Padded rows of similar length: L tokens, at most A questions.

    ids, positions (B, L) and asked_at (B, A) int64; visible (B, L, L) bool; asked (B, A) bool, the
    mask of the questions; target (B, A, C); corpus (B,).
    """

    ids: Tensor
    positions: Tensor
    visible: Tensor
    asked_at: Tensor
    asked: Tensor
    target: Tensor
    corpus: Tensor


def balanced(rows: Sequence[Conversation], most: int, rng: random.Random) -> list[Conversation]:
    """Return at most `most` rows of each label, drawn at random."""
    kept: list[Conversation] = []
    counts = [0] * len(LABELS)
    for row in rng.sample(rows, len(rows)):
        label = row.utterances[0].label
        assert label is not None  # single comments are labeled
        counts[label] += 1
        if counts[label] <= most:
            kept.append(row)
    return kept


def augmented(
    dialogue: Conversation,
    prompt: TextPrompt,
    config: TextConfig,
    rng: random.Random,
    errors: SimulatedWordErrors | None = None,
) -> list[TokenRow]:
    """Return the rows of a training dialogue with random changes, as of a robot's input."""
    if config.in_turns and rng.random() < config.in_turns:
        dialogue = in_turns(dialogue, rng)
    if config.again and rng.random() < config.again:
        dialogue = repeated(dialogue, rng)
    if config.missing:
        dialogue = thinned(dialogue, config.missing, rng)
    if config.speaker_errors:
        dialogue = mixed_up(dialogue, rng.uniform(0, config.speaker_errors), rng)
    if errors is not None and config.word_errors:
        dialogue = misheard(dialogue, errors, rng.uniform(0, config.word_errors), rng)
    utterances = dialogue.utterances
    if rng.random() < config.unknown_speakers:
        utterances = tuple(replace(u, speaker=0) for u in utterances)
    if rng.random() < config.plain:
        utterances = tuple(replace(u, text=plain_text(u.text)) for u in utterances)
    return rows_of(Conversation(dialogue.name, utterances), prompt, config, rng)


def rows_of(
    conversation: Conversation,
    prompt: TextPrompt,
    config: TextConfig,
    rng: random.Random | None = None,
) -> list[TokenRow]:
    """Return a conversation as rows, as the robot encodes it: a new row when the window moves.

    Every labeled utterance is read once, in order. With `rng`, a share `config.forget` of the
    utterances begins with an empty history.
    """
    rows: list[TokenRow] = []
    window: tuple[Block, ...] = ()
    asked: list[int] = []
    targets: list[tuple[float, ...]] = []

    def finish() -> None:
        if asked:
            rows.append(TokenRow(prompt.arrange(window, asked), list(targets)))
        asked.clear()
        targets.clear()

    for utterance in conversation.utterances:
        block = prompt.block(Turn(utterance.speaker, utterance.text))
        forget = rng is not None and rng.random() < config.forget
        if surplus := len(window) if forget else prompt.surplus(window, block):
            finish()
            window = window[surplus:]
        window += (block,)
        if utterance.is_labelled:
            asked.append(len(window) - 1)
            targets.append(target(utterance, config))
    finish()
    return rows


def target(utterance: LabelledUtterance, config: TextConfig) -> tuple[float, ...]:
    """Return the target (C,) of an utterance: its label mixed with the votes of raters.

    If several labels may be correct, each of them is 1.
    """
    if utterance.among:
        return tuple(float(index in utterance.among) for index in range(len(LABELS)))
    share = config.votes if utterance.votes else 0.0
    votes = utterance.votes or (0.0,) * len(LABELS)
    return tuple(
        (1 - share) * (index == utterance.label) + share * vote for index, vote in enumerate(votes)
    )


def plain_text(text: str) -> str:
    """Return lower-case letters, digits and apostrophes only, as an ASR without punctuation."""
    kept = "".join(c if c.isalnum() or c in "'’" else " " for c in text.lower())
    return " ".join(kept.split())


def make_batches(rows: Sequence[TokenRow], size: int, rng: random.Random | None) -> list[Batch]:
    """Group rows of similar length, with at least `size` utterances each, except for one batch.

    The order is random; without rng, sorted by length.
    """
    order = list(range(len(rows)))
    if rng is not None:
        rng.shuffle(order)  # rows of equal length are grouped differently in every epoch
    order.sort(key=lambda number: len(rows[number].layout.input_ids))
    groups: list[list[int]] = [[]]
    utterances = 0
    for number in order:
        if utterances >= size:
            groups.append([])
            utterances = 0
        groups[-1].append(number)
        utterances += len(rows[number].targets)
    if rng is not None:
        rng.shuffle(groups)
    return [collate([rows[number] for number in group]) for group in groups if group]


def collate(rows: Sequence[TokenRow]) -> Batch:
    """Pad rows to the longest. Padding attends to itself only, so that no softmax is empty."""
    count, longest = len(rows), max(len(row.layout.input_ids) for row in rows)
    most = max(len(row.targets) for row in rows)
    ids = torch.zeros(count, longest, dtype=torch.int64)
    positions = torch.zeros_like(ids)
    visible = torch.eye(longest, dtype=torch.bool).repeat(count, 1, 1)
    index = torch.zeros(count, most, dtype=torch.int64)
    asked = torch.zeros(count, most, dtype=torch.bool)
    target = torch.zeros(count, most, len(rows[0].targets[0]))
    corpus = torch.tensor([row.corpus for row in rows])
    for number, (layout, targets, _) in enumerate(rows):
        tokens, questions = len(layout.input_ids), len(targets)
        ids[number, :tokens] = torch.from_numpy(layout.input_ids)
        positions[number, :tokens] = torch.from_numpy(layout.positions)
        visible[number, :tokens, :tokens] = torch.from_numpy(layout.visible)
        index[number, :questions] = torch.from_numpy(layout.mask_index)
        asked[number, :questions] = True
        target[number, :questions] = torch.tensor(targets)
    return Batch(ids, positions, visible, index, asked, target, corpus)
