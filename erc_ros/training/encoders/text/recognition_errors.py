"""What goes wrong before the text encoder: words misheard, and speakers mixed up.

A word is wrong with the given rate: 60 % of the errors replace it by one that sounds alike (or, if
none is known, by a frequent one), 25 % leave it out, 15 % put a frequent word before it; roughly
how the errors of recognizers on conversational English are spread. It is a model of errors, no
recognizer: real errors come in bursts and depend on sound.
"""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import replace

from erc_ros.training.datasets.utterances import Conversation

REPLACED, LEFT_OUT = 0.6, 0.25  # of all errors; the rest is put in
FREQUENT = 200
_SOUNDS = str.maketrans("cqgjzvtmyaeiouhw", "kkkksfdnaaaaaaaa")


class SimulatedWordErrors:
    """Knows which words sound alike.

    Args:
        texts: where the words come from, such as a training split.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        counts = Counter(word for text in texts for word in _words(text.lower()))
        self._frequent = [word for word, _ in counts.most_common(FREQUENT)]
        if not self._frequent:
            raise ValueError("the texts hold no words")
        self._alike: dict[str, list[str]] = defaultdict(list)
        for word in sorted(counts):
            self._alike[sound(word)].append(word)

    def misheard(self, text: str, rate: float, rng: random.Random) -> str:
        """The text with about `rate` (0..1) of its words wrong; at least one word is kept."""
        heard: list[str] = []
        said = text.split()
        for word in said:
            if rng.random() >= rate:
                heard.append(word)
                continue
            kind = rng.random()
            if kind < REPLACED:
                heard.append(self._replacement(word, rng))
            elif kind >= REPLACED + LEFT_OUT:
                heard += [rng.choice(self._frequent), word]
        return " ".join(heard or said[:1])

    def _replacement(self, word: str, rng: random.Random) -> str:
        plain = word.lower().strip(".,!?;:\"'")
        alike = [other for other in self._alike.get(sound(plain), ()) if other != plain]
        return rng.choice(alike or self._frequent)


def sound(word: str) -> str:
    """A rough key of how a word sounds: like consonants as one, vowels as one, no doubles."""
    alike = re.sub(r"[^a-z]", "", word.lower()).translate(_SOUNDS)
    return re.sub(r"(.)\1+", r"\1", alike)


def misheard(
    conversation: Conversation, errors: SimulatedWordErrors, rate: float, rng: random.Random
) -> Conversation:
    """The conversation as a speech recognizer with this word error rate might write it."""
    utterances = (
        replace(u, text=errors.misheard(u.text, rate, rng)) for u in conversation.utterances
    )
    return replace(conversation, utterances=tuple(utterances))


def mixed_up(conversation: Conversation, rate: float, rng: random.Random) -> Conversation:
    """The conversation with a share of its utterances given to another of its speakers.

    In a conversation of one person it is a second one, whom the diarization made up.
    """
    speakers = sorted({u.speaker for u in conversation.utterances})
    others = speakers if len(speakers) > 1 else [*speakers, min(9, speakers[0] + 1)]

    def speaker(own: int) -> int:
        if rng.random() >= rate:
            return own
        return rng.choice([other for other in others if other != own])

    utterances = (replace(u, speaker=speaker(u.speaker)) for u in conversation.utterances)
    return replace(conversation, utterances=tuple(utterances))


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text)
