"""Several corpora for one classifier: their labels in terms of seven, and what an epoch takes."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from erc_ros.training.datasets import corpora
from erc_ros.training.datasets.unseen import UNSEEN
from erc_ros.training.datasets.utterances import LABELS, Conversation, LabelledUtterance, Split

CORPORA = ("meld", "goemotions", "emocontext", "robot-dialogues")
"""Corpora of text by name. The first is the one whose answers are served as they are."""

DEV = {"goemotions": "valid", "emocontext": "valid"}
"""What a corpus calls its dev split, if not dev."""

MEANINGS = {
    "happy": ("joy",),
    "sad": ("sadness",),
    "angry": ("anger",),
    "others": ("neutral", "surprise", "fear", "disgust"),
}
"""Labels of other corpora -> those of ours that they may mean."""

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


@dataclass(frozen=True, eq=False)
class Corpus:
    """A split of a corpus with labels of LABELS.

    classes: what the corpus itself tells apart, each as indices into LABELS.
    """

    name: str
    conversations: tuple[Conversation, ...]
    classes: tuple[tuple[int, ...], ...]

    @property
    def number(self) -> int:
        """Its place in CORPORA. ValueError: nobody trains on it."""
        _check(self.name)
        return CORPORA.index(self.name)

    def truth(self) -> list[int]:
        """The class of every labelled utterance, in their order."""
        return [
            self.classes.index(u.among or (u.label,))
            for c in self.conversations
            for u in c.utterances
            if u.is_labelled
        ]


def read_corpus(name: str, data: Path, split: str) -> Corpus:
    """Read train, dev or test of a corpus of CORPORA.

    Raises:
        FileNotFoundError: it is not in `data`.
        ValueError: an unknown corpus or split, one to measure with only (`datasets.unseen`), or a
            label that means nothing here.
    """
    _check(name)
    theirs = DEV.get(name, split) if split == "dev" else split
    return in_our_labels(name, corpora.read(name, data, theirs))


def in_our_labels(name: str, split: Split) -> Corpus:
    """A corpus with its labels replaced by ours.

    Raises:
        ValueError: a label that means nothing here.
    """
    classes = tuple(_meaning(label) for label in split.labels)

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
    """An epoch's share of a corpus; the epochs after it go on where it ended.

    share: 0.25 takes a quarter, 2 takes everything twice.
    """
    order = list(range(len(conversations)))
    random.Random(seed).shuffle(order)
    size = round(len(order) * share)
    return [conversations[order[(epoch * size + n) % len(order)]] for n in range(size)]


def in_turns(conversation: Conversation, rng: random.Random) -> Conversation:
    """A comment of several sentences as turns of one speaker: what stands first becomes history.

    The label stays with the last turn. So single comments tell, too, that what was said before
    counts. Conversations, and comments of one sentence, stay as they are.
    """
    if len(conversation.utterances) != 1:
        return conversation
    (said,) = conversation.utterances
    sentences = [s for s in _SENTENCE_END.split(said.text) if any(c.isalnum() for c in s)]
    if len(sentences) < 2:
        return conversation
    cut = rng.randint(1, len(sentences) - 1)
    first = replace(said, text=" ".join(sentences[:cut]), label=None, among=(), votes=())
    last = replace(said, text=" ".join(sentences[cut:]), index=1)
    return replace(conversation, utterances=(first, last))


def repeated(conversation: Conversation, times: int) -> Conversation:
    """A single comment as if its speaker said it `times` times in a row, meaning the same.

    Elsewhere who says something twice in a row means more by it the second time: without such
    rows, plain words that are said again and again drift to a rare emotion. Conversations stay as
    they are.
    """
    if len(conversation.utterances) != 1:
        return conversation
    (said,) = conversation.utterances
    return replace(
        conversation, utterances=tuple(replace(said, index=place) for place in range(times))
    )


def thinned(conversation: Conversation, share: float, rng: random.Random) -> Conversation:
    """Without a share of the turns that nobody labelled: what the robot said, say."""
    kept = tuple(u for u in conversation.utterances if u.is_labelled or rng.random() >= share)
    return replace(conversation, utterances=kept) if kept else conversation


def _check(name: str) -> None:
    if name in UNSEEN:
        raise ValueError(f"corpus {name!r} is to measure with and never to train on")
    if name not in CORPORA:
        raise ValueError(f"corpus {name!r} is unknown; known are {', '.join(CORPORA)}")


def _meaning(label: str) -> tuple[int, ...]:
    names = MEANINGS.get(label, (label,))
    if unknown := set(names) - set(LABELS):
        raise ValueError(f"label {sorted(unknown)[0]!r} means none of {', '.join(LABELS)}")
    return tuple(LABELS.index(name) for name in names)
