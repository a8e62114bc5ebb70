"""Robustness of text estimates to wrong speakers and words: MELD with simulated errors.

    python -m benchmarks.robustness runs/text/best [more runs] [--split test] [--seeds 3]

Each run is the folder of an `erc train` run of kind text. Its exported network encodes every
dialogue as on the robot, and its classifier gives the labels. Errors are drawn for every seed.
"""

from __future__ import annotations

import argparse
import random
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from erc_ros.inference.text_encoders import CachedTextEncoder
from erc_ros.metrics import classification as metrics
from erc_ros.networks.network import Network
from erc_ros.networks.session import signature
from erc_ros.training.datasets.folder import data_folder
from erc_ros.training.datasets.meld import read_meld
from erc_ros.training.datasets.utterances import Conversation
from erc_ros.training.encoders.evaluation import read
from erc_ros.training.encoders.text.recognition_errors import (
    SimulatedWordErrors,
    misheard,
    mixed_up,
)
from erc_ros.training.manifest import open_prompt

SPEAKERS = (0.0, 0.1, 0.2, 0.4)
WORDS = (0.0, 0.05, 0.1, 0.2, 0.3)
Corrupt = Callable[[Conversation, float, random.Random], Conversation]


class TextRun:
    """Text encoder and classifier of a run."""

    def __init__(self, folder: Path) -> None:
        layers, _, _, heads, _, width = signature(folder / "text.onnx").inputs["past"][1]
        prompt = open_prompt(folder)
        self._reader = CachedTextEncoder(
            Network(folder / "text.onnx"), prompt, (layers, heads, width)
        )
        head = load_file(folder / "head.safetensors")
        self._weight, self._bias = head["weight"], head["bias"]

    def weighted_f1(self, conversations: Sequence[Conversation]) -> float:
        """Return the weighted F1 of all utterances, 0..100."""
        rows = np.concatenate([read(self._reader, c) for c in conversations])
        labels = np.array([u.label for c in conversations for u in c.utterances])
        predicted = (rows @ self._weight.T + self._bias).argmax(axis=1)
        return 100 * metrics.weighted_f1(labels, predicted, len(self._bias))


def table(
    title: str,
    runs: Sequence[Path],
    conversations: Sequence[Conversation],
    corrupt: Corrupt,
    rates: Sequence[float],
    seeds: int,
) -> str:
    """Return a table of the weighted F1 by error rate, mean and standard deviation over seeds."""
    lines = [
        f"| {title} | " + " | ".join(f"{rate:.0%}" for rate in rates) + " |",
        "|---|" + "---|" * len(rates),
    ]
    for folder in runs:
        run, cells = TextRun(folder), []
        for rate in rates:
            draws = range(seeds if rate else 1)
            rows = [
                run.weighted_f1([corrupt(c, rate, random.Random(seed)) for c in conversations])
                for seed in draws
            ]
            spread = f" ± {statistics.stdev(rows):.2f}" if len(rows) > 1 else ""
            cells.append(f"{statistics.fmean(rows):.2f}{spread}")
        lines.append(f"| {folder.parent.name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> int:
    """Run the benchmark; see the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+", help="folders such as runs/text/best")
    parser.add_argument("--split", choices=("dev", "test"), default="test")
    parser.add_argument("--seeds", type=int, default=3, help="draws of the errors")
    parser.add_argument("--data", type=Path, help="folder of the data sets; default $ERC_DATA")
    options = parser.parse_args()
    meld = read_meld(data_folder(options.data), options.split).conversations
    train = read_meld(data_folder(options.data), "train").conversations
    errors = SimulatedWordErrors(u.text for c in train for u in c.utterances)
    print(f"MELD {options.split}, weighted F1, errors simulated, {options.seeds} draws\n")
    print(table("wrong speaker", options.runs, meld, mixed_up, SPEAKERS, options.seeds))
    print()

    def wrong_words(c: Conversation, rate: float, rng: random.Random) -> Conversation:
        return misheard(c, errors, rate, rng)

    print(table("wrong words", options.runs, meld, wrong_words, WORDS, options.seeds))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
