"""Word error rates of conversations: cpWER and its time-constrained form.

cpWER (Watanabe et al., CHiME-6, 2020): each speaker's words one after the other, the assignment of
found speakers to true ones with the fewest errors, errors by words. tcpWER (von Neumann et al.,
"MeetEval", CHiME workshop 2023): a word may only stand for one that is said at about its time. The
tests compare both with the package meeteval, which is not installed with this one: it comes as
source only.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Hashable, Mapping, Sequence, Sized
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TIME_COLLAR = 5_000_000_000  # ns, what MeetEval recommends for segments without times of words


@dataclass(frozen=True, slots=True)
class TimedWord:
    """A word from `start` to `end`, ns."""

    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class WordErrors:
    """Substituted, inserted and left-out words together, and how many were said."""

    errors: int
    words: int

    @property
    def rate(self) -> float:
        """NaN where nothing was said. May exceed 1."""
        return self.errors / self.words if self.words else float("nan")


def words_of(text: str) -> list[str]:
    """The words that are compared: without case, accents kept, of punctuation only apostrophes.

    >>> words_of("Don’t WORRY, it's 5 o'clock…")
    ["don't", 'worry', "it's", '5', "o'clock"]
    """
    plain = unicodedata.normalize("NFKC", text).casefold().replace("’", "'")
    return [word for word in re.findall(r"[^\W_]+(?:'[^\W_]+)*", plain) if word]


def timed_words(words: Sequence[str], start: int, end: int) -> list[TimedWord]:
    """Times of words from the times of their segment (ns), by their numbers of letters."""
    edges = np.cumsum([0, *map(len, words)])
    times = start + (end - start) * edges // max(1, int(edges[-1]))
    return [
        TimedWord(word, int(first), int(last))
        for word, first, last in zip(words, times[:-1], times[1:], strict=True)
    ]


def edit_distance(reference: Sequence[str], hypothesis: Sequence[str]) -> int:
    """Fewest substitutions, insertions and deletions (Levenshtein)."""
    every = np.ones((1, len(hypothesis)), bool)
    return _distance(*_numbers(reference, hypothesis), np.repeat(every, len(reference), axis=0))


def timed_edit_distance(
    reference: Sequence[TimedWord], hypothesis: Sequence[TimedWord], collar: int = TIME_COLLAR
) -> int:
    """The same, where a word stands for one only if they overlap in time.

    A word of the hypothesis is at the middle of its time, `collar` (ns) to either side.
    """
    middle = np.array([(word.start + word.end) / 2 for word in hypothesis], np.float64)
    first = np.array([word.start for word in reference], np.float64)[:, None]
    last = np.array([word.end for word in reference], np.float64)[:, None]
    near = (first < middle + collar) & (last > middle - collar)
    return _distance(
        *_numbers([word.text for word in reference], [word.text for word in hypothesis]), near
    )


def _numbers(
    reference: Sequence[str], hypothesis: Sequence[str]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    known = {word: number for number, word in enumerate(dict.fromkeys([*reference, *hypothesis]))}
    of = [np.array([known[word] for word in words], np.int64) for words in (reference, hypothesis)]
    return of[0], of[1]


def _distance(
    reference: NDArray[np.int64], hypothesis: NDArray[np.int64], allowed: NDArray[np.bool_]
) -> int:
    """One row of the table after the other; allowed (N, M): may these two stand for each other?"""
    steps = np.arange(len(hypothesis) + 1)
    row = steps.copy()
    for word, may in zip(reference, allowed, strict=True):
        down = row + 1
        diagonal = np.where(may, row[:-1] + (hypothesis != word), down[1:])
        down[1:] = np.minimum(down[1:], diagonal)
        row = np.minimum.accumulate(down - steps) + steps  # insertions
    return int(row[-1])


def cp_errors(
    reference: Mapping[Hashable, Sequence[str]], hypothesis: Mapping[Hashable, Sequence[str]]
) -> WordErrors:
    """cpWER of one conversation; speaker -> words in the order in which they were said."""
    true, hypotheses = list(reference.values()), list(hypothesis.values())
    return _best([[edit_distance(r, h) for h in hypotheses] for r in true], true, hypotheses)


def tcp_errors(
    reference: Mapping[Hashable, Sequence[TimedWord]],
    hypothesis: Mapping[Hashable, Sequence[TimedWord]],
    collar: int = TIME_COLLAR,
) -> WordErrors:
    """tcpWER of one conversation; speaker -> words with their times."""
    true, hypotheses = list(reference.values()), list(hypothesis.values())
    costs = [[timed_edit_distance(r, h, collar) for h in hypotheses] for r in true]
    return _best(costs, true, hypotheses)


def _best(
    costs: Sequence[Sequence[int]], true: Sequence[Sized], hypotheses: Sequence[Sized]
) -> WordErrors:
    """No speaker is assigned: all words of the speaker are deletions, or insertions."""
    from scipy.optimize import linear_sum_assignment

    said, heard = [len(words) for words in true], [len(words) for words in hypotheses]
    size = max(len(said), len(heard))
    padded = np.zeros((size, size), np.int64)
    padded[: len(said), : len(heard)] = np.array(costs, np.int64).reshape(len(said), len(heard))
    padded[: len(said), len(heard) :] = np.array(said, np.int64)[:, None]
    padded[len(said) :, : len(heard)] = np.array(heard, np.int64)[None, :]
    return WordErrors(int(padded[linear_sum_assignment(padded)].sum()), sum(said))
