"""Several corpora for one classifier: their labels in terms of seven, and what an epoch takes."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from erc_ros.training.datasets import corpora
from erc_ros.training.datasets.corpus import CorpusSpec
from erc_ros.training.datasets.utterances import LABELS, Conversation, LabelledUtterance, Split

BUILT_IN = tuple(
    spec.name
    for spec in sorted(
        (spec for spec in corpora.BUILT_IN.values() if spec.text_number is not None),
        key=lambda spec: spec.text_number or 0,
    )
)
"""Corpora of the shared classifier, in their order. The first is the one whose predictions are
served as they are, unless a recipe names another main corpus."""

MOST_REPEATED = 6
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


@dataclass(frozen=True, eq=False)
class Corpus:
    """A split of a corpus with labels of LABELS.

    classes: what the corpus itself distinguishes, each as indices into LABELS.
    """

    name: str
    conversations: tuple[Conversation, ...]
    classes: tuple[tuple[int, ...], ...]

    def truth(self) -> list[int]:
        """The class of every labelled utterance, in their order."""
        return [
            self.classes.index(u.among or (u.label,))
            for c in self.conversations
            for u in c.utterances
            if u.is_labelled
        ]


def ordered(names: Iterable[str]) -> list[str]:
    """Names of corpora in the order of the classifier: the built-in ones, then all others.

    Raises:
        ValueError: an unknown corpus, one to measure with only, or one with a label that means
            none of LABELS.
    """
    given = list(dict.fromkeys(names))
    for name in given:
        spec = corpora.find_for_training(name)
        if not spec.has_known_meaning or spec.read is None:
            raise ValueError(f"corpus {name!r} has no text with labels of {', '.join(LABELS)}")
    return [n for n in BUILT_IN if n in given] + [n for n in given if n not in BUILT_IN]


def numbers(main: str, names: Iterable[str]) -> dict[str, int]:
    """Corpus -> its number in the classifier: 0 is `main`, then the built-in ones and `names`."""
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
        ValueError: an unknown corpus or split, one to measure with only, or a label that means
            nothing here.
    """
    spec = corpora.find_for_training(name)
    return in_our_labels(name, corpora.read_split(spec, data, _theirs(spec, split)))


def read_test(name: str, data: Path) -> Corpus:
    """Read the test split of a corpus of text, also of one to measure with only.

    Raises:
        FileNotFoundError, ValueError: as `read_corpus`.
    """
    return in_our_labels(name, corpora.read_split(corpora.find(name), data, "test"))


def _theirs(spec: CorpusSpec, split: str) -> str:
    return spec.dev if split == "dev" else split


def in_our_labels(name: str, split: Split) -> Corpus:
    """A corpus with its labels replaced by ours.

    Raises:
        ValueError: a label that means nothing here.
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
    """Without a share of the turns that no person labelled: what the robot said, say."""
    kept = tuple(u for u in conversation.utterances if u.is_labelled or rng.random() >= share)
    return replace(conversation, utterances=kept) if kept else conversation
