"""Effect of the dialogue context: estimates of the same sentence after two different histories.

    python -m benchmarks.contrast [--bundle edge-small]

Reads test/assets/contrast_pairs.yaml. Text only; the last sentence of every pair is estimated with
both histories and without history. Prints the accuracy for the emotion intended by the history, and
the share of pairs in which the histories change the odds of the two emotions in the right
direction, with 95 % intervals over the pairs.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from benchmarks.record import write_results
from erc_ros.inference.bundle import load_bundle
from erc_ros.inference.emotion_recognizer import EmotionRecognizer
from erc_ros.resources import model_folder
from erc_ros.values.nanoseconds import seconds
from erc_ros.values.utterance import Utterance

PAIRS = Path(__file__).resolve().parents[1] / "test" / "assets" / "contrast_pairs.yaml"
TURN = 3.0  # s between turns


@dataclass(frozen=True, slots=True)
class Pair:
    """last: sentence after each history. histories: emotion -> the turns before it."""

    last: str
    histories: dict[str, tuple[str, ...]]


def read_pairs(file: Path = PAIRS) -> list[Pair]:
    """Read the pairs of a file.

    Raises:
        ValueError: a pair lacks `last`, or does not have exactly two emotions.
    """
    pairs = []
    for number, entry in enumerate(yaml.safe_load(file.read_text(encoding="utf-8")), start=1):
        histories = {name: tuple(turns) for name, turns in entry.items() if name != "last"}
        if "last" not in entry or len(histories) != 2:
            raise ValueError(f"{file.name}: pair {number} needs `last` and two emotions: {entry}")
        pairs.append(Pair(entry["last"], histories))
    return pairs


def answer(
    recognizer: EmotionRecognizer, turns: Sequence[str], conversation: str
) -> NDArray[np.float64]:
    """Return the probabilities (C,) of the last turn; two speakers alternate."""
    for place, text in enumerate(turns):
        start = seconds(TURN * place)
        utterance = Utterance(
            conversation_id=conversation,
            utterance_id=f"u{place}",
            start=start,
            end=start + seconds(TURN - 1),
            text=text,
            speaker_id=f"speaker{(len(turns) - place) % 2}",
            is_final=True,
        )
        estimate = recognizer.feed(utterance)
    return np.asarray(estimate.probabilities)


def bounds(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the 95 % bootstrap interval over pairs in percent."""
    rows = np.random.default_rng(0).integers(0, len(values), (2000, len(values)))
    low, high = np.percentile(100 * values[rows].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


def interval(values: NDArray[np.float64]) -> str:
    """Format the mean of (pairs,) in percent with its 95 % bootstrap interval."""
    low, high = bounds(values)
    return f"{100 * values.mean():5.1f} % ({low:.1f} to {high:.1f})"


def main(arguments: Sequence[str] | None = None) -> None:
    """Estimate every pair and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--bundle", default="edge-small", help="folder, or a name in models/")
    parser.add_argument("--results", metavar="NAME", help="write benchmarks/results/NAME.json")
    options = parser.parse_args(arguments)
    bundle = load_bundle(model_folder(options.bundle))
    pairs = read_pairs()
    labels = list(bundle.labels)
    right_with, right_without, right_side = [], [], []
    with EmotionRecognizer(bundle) as recognizer:
        for number, pair in enumerate(pairs):
            alone = answer(recognizer, [pair.last], f"{number} alone")
            odds = []
            one, other = (labels.index(name) for name in pair.histories)
            for name, history in pair.histories.items():
                after = answer(recognizer, [*history, pair.last], f"{number} {name}")
                right_with.append(labels[after.argmax()] == name)
                right_without.append(labels[alone.argmax()] == name)
                odds.append(np.log(after[one] / after[other]))
            right_side.append(odds[0] > odds[1])
    by_pair = [np.reshape(each, (-1, 2)).mean(axis=1) for each in (right_with, right_without)]
    print(f"{bundle.name} {bundle.version}, {len(pairs)} pairs, text only")
    print(f"accuracy with history       {interval(by_pair[0])}")
    print(f"accuracy without history    {interval(by_pair[1])}, at most 50")
    print(f"difference                  {interval(by_pair[0] - by_pair[1])}")
    print(f"odds in the right direction {interval(np.array(right_side, float))}, chance 50")
    if options.results:
        difference = by_pair[0] - by_pair[1]
        low, high = bounds(difference)
        figures = {
            "pairs": len(pairs),
            "with": 100 * by_pair[0].mean(),
            "without": 100 * by_pair[1].mean(),
            "difference": 100 * difference.mean(),
            "difference_low": low,
            "difference_high": high,
            "odds": 100 * np.mean(right_side),
        }
        command = "python -m benchmarks.contrast"
        command += f" --bundle {options.bundle} --results {options.results}"
        conditions = "212 written pairs of histories, text only; a development set of edge-small"
        write_results(options.results, command, bundle, figures, conditions)


if __name__ == "__main__":
    main()
