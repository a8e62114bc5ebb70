"""Simulate errors in the inputs of the text encoder: wrong words and wrong speakers.

A word is wrong with the given rate: 60 % of the errors are substitutions by a word of similar
pronunciation (or, without such a word, a frequent one), 25 % deletions, 15 % insertions of a
frequent word; about the distribution of ASR errors on conversational English. Here errors are
independent; real errors occur in bursts and depend on the audio.
"""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import replace

from erc_ros.training.datasets.utterances import Conversation

REPLACED, LEFT_OUT = 0.6, 0.25  # shares of all errors; the others are insertions
FREQUENT = 200
_SOUNDS = str.maketrans("cqgjzvtmyaeiouhw", "kkkksfdnaaaaaaaa")


class SimulatedWordErrors:
    """Simulates ASR errors, with words of similar pronunciation.

    Args:
        texts: source of the vocabulary, such as a training split.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        counts = Counter(word for text in texts for word in _words(text.lower()))
        self._frequent = [word for word, _ in counts.most_common(FREQUENT)]
        if not self._frequent:
            raise ValueError("the texts contain no words")
        self._alike: dict[str, list[str]] = defaultdict(list)
        for word in sorted(counts):
            self._alike[sound(word)].append(word)

    def misheard(self, text: str, rate: float, rng: random.Random) -> str:
        """Return the text with a share `rate` (0..1) of wrong words; at least one word remains."""
        result: list[str] = []
        words = text.split()
        for word in words:
            if rng.random() >= rate:
                result.append(word)
                continue
            kind = rng.random()
            if kind < REPLACED:
                result.append(self._replacement(word, rng))
            elif kind >= REPLACED + LEFT_OUT:
                result += [rng.choice(self._frequent), word]
        return " ".join(result or words[:1])

    def _replacement(self, word: str, rng: random.Random) -> str:
        plain = word.lower().strip(".,!?;:\"'")
        similar = [other for other in self._alike.get(sound(plain), ()) if other != plain]
        return rng.choice(similar or self._frequent)


def sound(word: str) -> str:
    """Return an approximate key of the pronunciation: consonant groups, one vowel, no doubles."""
    key = re.sub(r"[^a-z]", "", word.lower()).translate(_SOUNDS)
    return re.sub(r"(.)\1+", r"\1", key)


def misheard(
    conversation: Conversation, errors: SimulatedWordErrors, rate: float, rng: random.Random
) -> Conversation:
    """Return the conversation with simulated ASR errors of this word error rate."""
    utterances = (
        replace(u, text=errors.misheard(u.text, rate, rng)) for u in conversation.utterances
    )
    return replace(conversation, utterances=tuple(utterances))


def mixed_up(conversation: Conversation, rate: float, rng: random.Random) -> Conversation:
    """Return the conversation with a share of its utterances assigned to other speakers.

    In a conversation of one person it is a second speaker, as a diarization error.
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
