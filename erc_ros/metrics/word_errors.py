"""Word error rates of conversations: cpWER and tcpWER.

cpWER (Watanabe et al., CHiME-6, 2020): word error rate of the concatenated words of each speaker,
with the speaker assignment that has the fewest errors. tcpWER (von Neumann et al., "MeetEval",
CHiME workshop 2023): likewise, but two words match only if they are close in time. The tests
compare both with the package meeteval, which is not a dependency because it has no wheels.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Hashable, Mapping, Sequence, Sized
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TIME_COLLAR = 5_000_000_000  # ns, recommended by MeetEval for segments without word times


@dataclass(frozen=True, slots=True)
class TimedWord:
    """A word from `start` to `end` (ns)."""

    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class WordErrors:
    """Number of substitutions, insertions and deletions, and of reference words."""

    errors: int
    words: int

    @property
    def rate(self) -> float:
        """Word error rate; NaN without reference words. May exceed 1."""
        return self.errors / self.words if self.words else float("nan")


def words_of(text: str) -> list[str]:
    """Normalize a text to words: lower case, with accents and apostrophes, without punctuation.

    >>> words_of("Don’t WORRY, it's 5 o'clock…")
    ["don't", 'worry', "it's", '5', "o'clock"]
    """
    plain = unicodedata.normalize("NFKC", text).casefold().replace("’", "'")
    return [word for word in re.findall(r"[^\W_]+(?:'[^\W_]+)*", plain) if word]


def timed_words(words: Sequence[str], start: int, end: int) -> list[TimedWord]:
    """Distribute the time of a segment (ns) over its words by their number of letters."""
    edges = np.cumsum([0, *map(len, words)])
    times = start + (end - start) * edges // max(1, int(edges[-1]))
    return [
        TimedWord(word, int(first), int(last))
        for word, first, last in zip(words, times[:-1], times[1:], strict=True)
    ]


def edit_distance(reference: Sequence[str], hypothesis: Sequence[str]) -> int:
    """Return the Levenshtein distance of two word sequences."""
    every = np.ones((1, len(hypothesis)), bool)
    return _distance(*_numbers(reference, hypothesis), np.repeat(every, len(reference), axis=0))


def timed_edit_distance(
    reference: Sequence[TimedWord], hypothesis: Sequence[TimedWord], collar: int = TIME_COLLAR
) -> int:
    """Return the Levenshtein distance in which two words match only if they overlap in time.

    A word of the hypothesis covers its center plus and minus `collar` (ns).
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
    numbers = {word: number for number, word in enumerate(dict.fromkeys([*reference, *hypothesis]))}
    of = [
        np.array([numbers[word] for word in words], np.int64) for words in (reference, hypothesis)
    ]
    return of[0], of[1]


def _distance(
    reference: NDArray[np.int64], hypothesis: NDArray[np.int64], allowed: NDArray[np.bool_]
) -> int:
    """Compute the distance row by row. allowed: (N, M), whether two words may match."""
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
    """Compute the cpWER of one conversation from speaker -> words in order."""
    true, hypotheses = list(reference.values()), list(hypothesis.values())
    return _best([[edit_distance(r, h) for h in hypotheses] for r in true], true, hypotheses)


def tcp_errors(
    reference: Mapping[Hashable, Sequence[TimedWord]],
    hypothesis: Mapping[Hashable, Sequence[TimedWord]],
    collar: int = TIME_COLLAR,
) -> WordErrors:
    """Compute the tcpWER of one conversation from speaker -> words with times."""
    true, hypotheses = list(reference.values()), list(hypothesis.values())
    costs = [[timed_edit_distance(r, h, collar) for h in hypotheses] for r in true]
    return _best(costs, true, hypotheses)


def _best(
    costs: Sequence[Sequence[int]], true: Sequence[Sized], hypotheses: Sequence[Sized]
) -> WordErrors:
    """Return the errors of the best speaker assignment; unassigned speakers are all errors."""
    from scipy.optimize import linear_sum_assignment

    true_lengths = np.array([len(words) for words in true], np.int64)
    lengths = np.array([len(words) for words in hypotheses], np.int64)
    rows, columns = len(true_lengths), len(lengths)
    padded = np.zeros((max(rows, columns),) * 2, np.int64)
    padded[:rows, :columns] = np.array(costs, np.int64).reshape(rows, columns)
    padded[:rows, columns:] = true_lengths[:, None]  # deletions
    padded[rows:, :columns] = lengths[None, :]  # insertions
    return WordErrors(int(padded[linear_sum_assignment(padded)].sum()), int(true_lengths.sum()))
