"""Do valence and arousal of the words agree with readers? The test split of EmoBank, text alone.

    python -m benchmarks.emobank EMOBANK/corpus/emobank.csv [--bundle edge-small]

EmoBank (Buechel and Hahn, EACL 2017; github.com/JULIELab/EmoBank, CC BY-SA 4.0) has sentences with
valence and arousal from 1 to 5, the mean of several annotators. Each sentence of the split `test`
is an utterance in a conversation of its own. Pearson's r with 95 % intervals over the documents
that the sentences are from. No other split is read, and nothing is fitted.

Writes benchmarks/results/emobank.json.
"""

from __future__ import annotations

import argparse
import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.record import write_results
from erc_ros.inference.bundle import load_bundle
from erc_ros.inference.emotion_recognizer import EmotionRecognizer
from erc_ros.resources import model_folder
from erc_ros.values.nanoseconds import seconds
from erc_ros.values.utterance import Utterance

DIMENSIONS = ("valence", "arousal")
RESAMPLES = 2000
PLACE = re.compile(r"_\d+_\d+$")  # of a sentence in its document, at the end of its id


class Sentence(NamedTuple):
    """rated: valence and arousal, 1 to 5."""

    document: str
    text: str
    rated: tuple[float, float]


def read_sentences(file: Path) -> list[Sentence]:
    """The test split.

    Raises:
        ValueError: not EmoBank's table, or without a test split.
    """
    with file.open(encoding="utf-8", newline="") as lines:
        table = csv.DictReader(lines)
        if missing := {"id", "split", "V", "A", "text"} - set(table.fieldnames or ()):
            raise ValueError(f"{file} has no columns {', '.join(sorted(missing))}")
        sentences = [
            Sentence(PLACE.sub("", row["id"]), row["text"], (float(row["V"]), float(row["A"])))
            for row in table
            if row["split"] == "test"
        ]
    if not sentences:
        raise ValueError(f"{file} has no rows of the split test")
    return sentences


def correlation(
    estimated: NDArray[np.float64], rated: NDArray[np.float64], documents: Sequence[str]
) -> dict[str, float]:
    """Pearson's r of two (n,) arrays, with a 95 % interval over documents."""
    _, owners = np.unique(documents, return_inverse=True)
    places = [np.flatnonzero(owners == owner) for owner in range(owners.max() + 1)]
    generator, drawn = np.random.default_rng(0), []
    for _ in range(RESAMPLES):
        chosen = generator.integers(0, len(places), len(places))
        rows = np.concatenate([places[n] for n in chosen])
        drawn.append(np.corrcoef(estimated[rows], rated[rows])[0, 1])
    low, high = np.quantile(drawn, (0.025, 0.975))
    r = np.corrcoef(estimated, rated)[0, 1]
    return {"r": float(r), "r_low": float(low), "r_high": float(high)}


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("table", type=Path, help="emobank.csv")
    parser.add_argument("--bundle", default="edge-small", help="folder, or a name in models/")
    options = parser.parse_args(argv)
    sentences = read_sentences(options.table)
    bundle = load_bundle(model_folder(options.bundle))
    estimates = []
    with EmotionRecognizer(bundle) as recognizer:
        for number, sentence in enumerate(sentences):
            start = seconds(10.0 * number)
            said = Utterance(
                f"{number}", "0", start, start + seconds(2.0), text=sentence.text, is_final=True
            )
            estimates.append(recognizer.feed(said))
    documents = [sentence.document for sentence in sentences]
    figures: dict[str, object] = {
        "sentences": len(sentences),
        "documents": len(set(documents)),
        "without_text": sum(bool(estimate.text_excluded) for estimate in estimates),
    }
    for place, name in enumerate(DIMENSIONS):
        estimated = np.array([getattr(estimate, name) for estimate in estimates], np.float64)
        rated = np.array([sentence.rated[place] for sentence in sentences])
        figures[name] = correlation(estimated, rated, documents)
    print(figures)
    write_results(
        "emobank",
        "python -m benchmarks.emobank EMOBANK/corpus/emobank.csv",
        bundle,
        figures,
        "EmoBank, test split, each sentence a conversation of its own; text only; Pearson's r "
        "with 95 % intervals over documents",
    )


if __name__ == "__main__":
    main()
