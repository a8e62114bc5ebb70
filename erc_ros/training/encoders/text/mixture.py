"""Mix several corpora for one classifier: convert their labels, and draw the epochs."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from erc_ros.training.datasets import corpora
from erc_ros.training.datasets.corpus import CorpusSpec
from erc_ros.training.datasets.turns import with_speakers
from erc_ros.training.datasets.utterances import LABELS, Conversation, LabelledUtterance, Split

BUILT_IN = tuple(
    spec.name
    for spec in sorted(
        (spec for spec in corpora.BUILT_IN.values() if spec.text_number is not None),
        key=lambda spec: spec.text_number or 0,
    )
)
"""Corpora of the shared classifier, in their order. The first is the main corpus, whose logits
have no offset, unless a recipe names another one."""

MOST_REPEATED = 6
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


@dataclass(frozen=True, eq=False)
class Corpus:
    """A split of a corpus with labels in LABELS.

    classes: the corpus's own classes, each as indices into LABELS.
    """

    name: str
    conversations: tuple[Conversation, ...]
    classes: tuple[tuple[int, ...], ...]

    def truth(self) -> list[int]:
        """Return the class of every labeled utterance, in their order."""
        return [
            self.classes.index(u.among or (u.label,))
            for c in self.conversations
            for u in c.utterances
            if u.is_labelled
        ]


def ordered(names: Iterable[str]) -> list[str]:
    """Return names of corpora in the order of the classifier: built-in ones first.

    Raises:
        ValueError: an unknown corpus, one for evaluation only, or one with a label without a
            meaning in LABELS.
    """
    given = list(dict.fromkeys(names))
    for name in given:
        spec = corpora.find_for_training(name)
        if not spec.has_known_meaning or spec.read is None:
            raise ValueError(f"corpus {name!r} has no text with labels of {', '.join(LABELS)}")
    return [n for n in BUILT_IN if n in given] + [n for n in given if n not in BUILT_IN]


def numbers(main: str, names: Iterable[str]) -> dict[str, int]:
    """Return corpus -> number in the classifier: `main` is 0, then built-in ones and `names`."""
    return {n: number for number, n in enumerate(dict.fromkeys([main, *BUILT_IN, *names]))}


def check_main(name: str) -> None:
    """Check that a corpus may be the main one of a text training.

    Raises:
        ValueError: as `ordered`, or a label means several of LABELS.
    """
    ordered([name])
    corpora.find(name).to_labels  # noqa: B018


def read_corpus(name: str, data: Path, split: str) -> Corpus:
    """Read train, dev or test of a corpus of text for training.

    Raises:
        FileNotFoundError: it is not in `data`.
        ValueError: an unknown corpus or split, a corpus for evaluation only, or a label without a
            meaning in LABELS.
    """
    spec = corpora.find_for_training(name)
    return in_our_labels(name, corpora.read_split(spec, data, _theirs(spec, split)))


def read_test(name: str, data: Path) -> Corpus:
    """Read the test split of a corpus of text, also of one for evaluation only.

    Raises:
        FileNotFoundError, ValueError: as `read_corpus`.
    """
    return in_our_labels(name, corpora.read_split(corpora.find(name), data, "test"))


def _theirs(spec: CorpusSpec, split: str) -> str:
    return spec.dev if split == "dev" else split


def in_our_labels(name: str, split: Split) -> Corpus:
    """Return a split with its labels replaced by LABELS.

    Raises:
        ValueError: a label has no meaning in LABELS.
    """
    spec = corpora.find(name)
    classes = tuple(spec.meaning(label) for label in split.labels)

    def renamed(utterance: LabelledUtterance) -> LabelledUtterance:
        if utterance.label is None:
            return utterance
        meaning = classes[utterance.label]
        if len(meaning) == 1:
            return replace(utterance, label=meaning[0])
        return replace(utterance, label=None, among=meaning)

    conversations = tuple(
        replace(c, utterances=tuple(renamed(u) for u in c.utterances)) for c in split.conversations
    )
    return Corpus(name, conversations, classes)


def portion(
    conversations: Sequence[Conversation], share: float, epoch: int, seed: int
) -> list[Conversation]:
    """Return an epoch's share of a corpus; the next epoch continues where it ended.

    share: 0.25 takes a quarter, 2 takes everything twice.
    """
    order = list(range(len(conversations)))
    random.Random(seed).shuffle(order)
    size = round(len(order) * share)
    return [conversations[order[(epoch * size + n) % len(order)]] for n in range(size)]


def in_turns(conversation: Conversation, rng: random.Random) -> Conversation:
    """Split a comment of several sentences into turns of one speaker; the first ones are history.

    The last turn has the label, so that the encoder also learns from single comments to use the
    history. Conversations, and comments of one sentence, are unchanged.
    """
    if len(conversation.utterances) != 1:
        return conversation
    (comment,) = conversation.utterances
    sentences = [s for s in _SENTENCE_END.split(comment.text) if any(c.isalnum() for c in s)]
    if len(sentences) < 2:
        return conversation
    cut = rng.randint(1, len(sentences) - 1)
    first = replace(comment, text=" ".join(sentences[:cut]), label=None, among=(), votes=())
    last = replace(comment, text=" ".join(sentences[cut:]), index=1)
    return replace(conversation, utterances=(first, last))


def repeated(conversation: Conversation, rng: random.Random) -> Conversation:
    """Repeat a single comment two to six times, as turns of one speaker with the same label.

    In the corpora, repetition indicates a stronger emotion: without such examples, the estimate for
    repeated neutral sentences drifts to a rare emotion. Conversations are unchanged.
    """
    if len(conversation.utterances) != 1:
        return conversation
    (comment,) = conversation.utterances
    times = range(rng.randint(2, MOST_REPEATED))
    return replace(conversation, utterances=tuple(replace(comment, index=n) for n in times))


def after_another(
    conversation: Conversation, other: Conversation, rng: random.Random
) -> Conversation:
    """Put the last turns of another conversation before this one, as history without labels.

    A robot receives earlier talk about something else, of the same people or of others, and written
    dialogues are shorter than its history: the encoder learns what to ignore. Turns without a
    known speaker stay so.
    """
    earlier = other.utterances[-rng.randint(1, len(other.utterances)) :]
    renamed = "another " if rng.random() < 0.5 else ""

    def named(utterances: Sequence[LabelledUtterance], prefix: str) -> list[tuple[str, Any]]:
        return [(f"{prefix}{u.speaker}" if u.speaker else "", u) for u in utterances]

    history = [replace(u, label=None, among=(), votes=()) for u in earlier]
    turns = with_speakers([*named(history, renamed), *named(conversation.utterances, "")])
    return replace(conversation, utterances=turns)


def thinned(conversation: Conversation, share: float, rng: random.Random) -> Conversation:
    """Remove a share of the turns without label, such as those of the robot."""
    kept = tuple(u for u in conversation.utterances if u.is_labelled or rng.random() >= share)
    return replace(conversation, utterances=kept) if kept else conversation
