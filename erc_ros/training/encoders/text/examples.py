"""What the text encoder is trained on: dialogues with soft targets, in batches of like length."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
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

ATTENTIONS = ("causal", "full")
OBJECTIVES = ("cross_entropy", "class_balanced", "logit_adjusted")
MOST_REPEATED = 6


@dataclass(frozen=True, slots=True)
class TextConfig:
    """The section `text` of a recipe: what is trained on what."""

    corpus: str = DIALOGUES
    """The main corpus, whose dev split chooses the epoch and the correction of the class prior."""
    seeds: tuple[int, ...] = (0, 1, 2)
    max_tokens: int = 256
    attention: str = "causal"
    """Or full: every utterance is read anew with its history, which may see what comes after it
    up to that utterance, as in the papers. Several times the work; for a teacher."""
    teacher: str = ""
    """Folder of a trained teacher (`text_export`): the student starts with its weights and learns
    from its embeddings and answers too."""
    teaching: float = 0.5
    """How much of the loss is the teacher's: its answers softened, and its embeddings. 0: the
    training only starts with its weights, and goes on with other data."""
    word_errors: float = 0.0
    """Training dialogues get word errors at a rate drawn from 0 to this (`recognition_errors`)."""
    speaker_errors: float = 0.0
    """And utterances of a wrong speaker, at a rate drawn from 0 to this."""
    history: bool = True
    """False: every utterance for itself (an ablation)."""
    speakers: bool = True
    """False: every speaker is <s0> (an ablation)."""
    reading: str = "mask"
    """What an utterance's embedding is: see `model.TextModelConfig`."""
    objective: str = "cross_entropy"
    """Or class_balanced or logit_adjusted (`losses`), both with the label alone as target."""
    ema: float = 0.0
    """Decay of the moving average that teaches (DDVLM's self-distillation); 0: nobody does."""
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
    forget: float = 0.03
    """Share of training utterances that begin with an empty history, as after a pause."""
    missing: float = 0.0
    """Share of the turns without a label that are left out of the history."""
    in_turns: float = 0.0
    """Share of GoEmotions' comments whose first sentences become history (`mixture.in_turns`)."""
    repeated: float = 0.0
    """Share of the single comments that are mixed in which their speaker says two to six times in
    a row, each time meaning the same (`mixture.repeated`)."""
    most_per_label: int = 5000
    """Of GoEmotions' rows, which are mostly neutral or joy."""
    pretraining: Mapping[str, float] = field(default_factory=lambda: {COMMENTS: 1.0})
    """What the encoder learns first, once for all seeds: corpus -> the share of it that an epoch
    takes. Empty: nothing."""
    mixed: Mapping[str, float] = field(default_factory=dict)
    """And what is mixed into each epoch of MELD afterwards."""

    def __post_init__(self) -> None:
        if not self.seeds:
            raise ValueError("seeds must not be empty")
        check_main(self.corpus)
        names = ["votes", "smoothing", "unknown_speakers", "plain", "forget", "dropout"]
        for name in [*names, "word_errors", "speaker_errors", "missing", "repeated"]:
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, must be in [0, 1)")
        if not 0 <= self.in_turns <= 1:
            raise ValueError(f"in_turns is {self.in_turns}, must be in [0, 1]")
        if self.reading not in READINGS:
            raise ValueError(f"reading is {self.reading!r}, must be one of {READINGS}")
        for name in ("pretraining", "mixed"):
            for corpus, share in getattr(self, name).items():
                if not share > 0:
                    raise ValueError(f"{name}.{corpus} is {share}: must be a positive share")
            ordered(getattr(self, name))
        if self.attention not in ATTENTIONS:
            raise ValueError(f"attention is {self.attention!r}, must be one of {ATTENTIONS}")
        if not 0 <= self.teaching <= 1:
            raise ValueError(f"teaching is {self.teaching}, must be in [0, 1]")
        if self.teacher and self.teaching and self.mixed:
            raise ValueError(
                "a teacher knows MELD's dialogues alone: set teaching to 0, or mix none"
            )
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema is {self.ema}, must be in [0, 1)")
        if self.objective not in OBJECTIVES:
            raise ValueError(f"objective is {self.objective!r}, must be one of {OBJECTIVES}")
        if not 0 < self.layer_decay <= 1:
            raise ValueError(f"layer_decay is {self.layer_decay}, must be in (0, 1]")

    @property
    def corpora(self) -> list[str]:
        """The corpora in addition to the main one, in the order of the classifier."""
        return [c for c in ordered([*self.pretraining, *self.mixed]) if c != self.corpus]

    @property
    def corpora_of_classifier(self) -> int:
        """How many corpora share the classifier."""
        return len(numbers(self.corpus, self.corpora))

    def without(self, corpus: str) -> TextConfig:
        """The same training without a corpus."""
        left = {
            name: {c: share for c, share in getattr(self, name).items() if c != corpus}
            for name in ("pretraining", "mixed")
        }
        votes = 0.0 if corpus in (self.corpus, VOTES) else self.votes
        return replace(self, **left, votes=votes)  # type: ignore[arg-type]

    def prompt(self, tokenizer: Tokenizer) -> TextPrompt:
        """What lays out conversations for this training."""
        return TextPrompt(tokenizer, self.max_tokens, has_question=self.reading == "mask")


class TokenRow(NamedTuple):
    """What the encoder reads in one pass, and what it should answer to each question in it."""

    layout: Layout
    targets: list[tuple[float, ...]]
    taught: NDArray[np.float32] | None = None
    """(A, d): the teacher's embeddings, if there is a teacher."""
    corpus: int = 0
    """Its number in the classifier (`mixture.numbers`)."""


class Batch(NamedTuple):
    """Rows of similar length, padded: L tokens, A questions at most.

    ids, positions (B, L) and asked_at (B, A) int64; visible (B, L, L) and asked (B, A) bool, which
    questions there are; target (B, A, C); corpus (B,); taught (B, A, d) with a teacher.
    """

    ids: Tensor
    positions: Tensor
    visible: Tensor
    asked_at: Tensor
    asked: Tensor
    target: Tensor
    corpus: Tensor
    taught: Tensor | None = None


def balanced(rows: Sequence[Conversation], most: int, rng: random.Random) -> list[Conversation]:
    """At most `most` rows of each label, drawn at random."""
    shuffled = rng.sample(rows, len(rows))
    kept: list[Conversation] = []
    seen = [0] * len(LABELS)
    for row in shuffled:
        label = row.utterances[0].label
        assert label is not None  # of a comment that is there to be learned from
        seen[label] += 1
        if seen[label] <= most:
            kept.append(row)
    return kept


def augmented(
    dialogue: Conversation,
    prompt: TextPrompt,
    config: TextConfig,
    rng: random.Random,
    errors: SimulatedWordErrors | None = None,
) -> list[TokenRow]:
    """A training dialogue, varied as the robot will hear it."""
    if config.in_turns and rng.random() < config.in_turns:
        dialogue = in_turns(dialogue, rng)
    if config.repeated and rng.random() < config.repeated:
        dialogue = repeated(dialogue, rng.randint(2, MOST_REPEATED))
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
    """A conversation as the robot reads it: a new row wherever its window slides.

    Every labelled utterance is asked about once, in order. With `rng`, a share `config.forget` of
    all begins with an empty history.
    """
    if config.attention == "full":
        numbers = [n for n, each in enumerate(conversation.utterances) if each.is_labelled]
        return [full_row(conversation, last, prompt, config, rng) for last in numbers]
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
        block = prompt.block(Turn(utterance.speaker if config.speakers else 0, utterance.text))
        forget = not config.history or (rng is not None and rng.random() < config.forget)
        if surplus := len(window) if forget else prompt.surplus(window, block):
            finish()
            window = window[surplus:]
        window += (block,)
        if utterance.is_labelled:
            asked.append(len(window) - 1)
            targets.append(target(utterance, config))
    finish()
    return rows


def full_row(
    conversation: Conversation,
    last: int,
    prompt: TextPrompt,
    config: TextConfig,
    rng: random.Random | None,
) -> TokenRow:
    """One utterance with as much of its history as fits, where all tokens see all.

    With `rng`, half of the utterances see a random part of their history.
    """
    first = rng.randint(0, last) if rng is not None and rng.random() < 0.5 else 0
    first = first if config.history else last
    window: list[Block] = []
    for utterance in reversed(conversation.utterances[first : last + 1]):
        block = prompt.block(Turn(utterance.speaker if config.speakers else 0, utterance.text))
        if window and len(prompt.arrange([block, *window], [0]).input_ids) > config.max_tokens:
            break
        window.insert(0, block)
    layout = prompt.arrange(window, [len(window) - 1])
    layout = replace(layout, visible=np.ones_like(layout.visible))
    return TokenRow(layout, [target(conversation.utterances[last], config)])


def target(utterance: LabelledUtterance, config: TextConfig) -> tuple[float, ...]:
    """What the model should say, (C,): the label, softened by raters' votes and smoothing.

    Where several labels may be right, a 1 for each of them.
    """
    if utterance.among:
        return tuple(float(index in utterance.among) for index in range(len(LABELS)))
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


def make_batches(rows: Sequence[TokenRow], size: int, rng: random.Random | None) -> list[Batch]:
    """Rows of about the same length together, at least `size` utterances (but for the rest).

    In random order; without rng, sorted by length.
    """
    order = list(range(len(rows)))
    if rng is not None:
        rng.shuffle(order)  # equal lengths meet other companions in every epoch
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
    """Padded to the longest. Padding sees itself only, so that no softmax is empty."""
    count, longest = len(rows), max(len(row.layout.input_ids) for row in rows)
    most = max(len(row.targets) for row in rows)
    ids = torch.zeros(count, longest, dtype=torch.int64)
    positions = torch.zeros_like(ids)
    visible = torch.eye(longest, dtype=torch.bool).repeat(count, 1, 1)
    index = torch.zeros(count, most, dtype=torch.int64)
    asked = torch.zeros(count, most, dtype=torch.bool)
    target = torch.zeros(count, most, len(rows[0].targets[0]))
    width = 0 if rows[0].taught is None else rows[0].taught.shape[1]
    taught = torch.zeros(count, most, width)
    corpus = torch.tensor([row.corpus for row in rows])
    for number, (layout, targets, embeddings, _) in enumerate(rows):
        tokens, questions = len(layout.input_ids), len(targets)
        ids[number, :tokens] = torch.from_numpy(layout.input_ids)
        positions[number, :tokens] = torch.from_numpy(layout.positions)
        visible[number, :tokens, :tokens] = torch.from_numpy(layout.visible)
        index[number, :questions] = torch.from_numpy(layout.mask_index)
        asked[number, :questions] = True
        target[number, :questions] = torch.tensor(targets)
        if embeddings is not None:
            taught[number, :questions] = torch.from_numpy(embeddings)
    return Batch(ids, positions, visible, index, asked, target, corpus, taught if width else None)


def with_teacher(rows: Sequence[TokenRow], embeddings: NDArray[np.float32]) -> list[TokenRow]:
    """The rows of one conversation with its teacher's embeddings, (utterances, d)."""
    ends = np.cumsum([len(row.targets) for row in rows])
    parts = np.split(embeddings, ends[:-1])
    return [row._replace(taught=part) for row, part in zip(rows, parts, strict=True)]
