"""What an encoder's stage makes of the test split, as a picture: t-SNE, coloured by label.

    python -m benchmarks.feature_pictures runs/magtkd/stages/text     writes features-test.png there

Of the first seed. Points that lie together are alike; distances between groups mean little.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from erc_ros.metrics.pictures import draw_points
from erc_ros.training.engine.evaluation import Run, read_run
from erc_ros.training.engine.runs import ANSWERS, RunError
from erc_ros.training.features.store import FeatureStore


def draw_features(run: Run) -> Path:
    """features-test.png: a t-SNE of the features of the run's first seed, coloured by label.

    Raises:
        RunError: the run keeps no features, or too few.
    """
    from sklearn.manifold import TSNE

    seed = run.folder / run.seeds[0]
    if not all((seed / kind / "test").is_dir() for kind in ("features", "answers")):
        raise RunError(
            f"{seed} keeps no features: give the folder of an encoder's stage, such as stages/text"
        )
    features, answers = (FeatureStore(seed / kind / "test") for kind in ("features", "answers"))
    said = answers.take(answers.keys())[0]
    wanted = np.load(seed / ANSWERS)["test"]
    rows: list[int] = []  # utterances without a label have features, and no row in logits.npz
    for row, logits in enumerate(said):
        if len(rows) < len(wanted) and np.array_equal(logits, wanted[len(rows)]):
            rows.append(row)
    if len(rows) < max(len(wanted), 3):
        raise RunError(f"{seed}: its features are not those of its answers: train that seed again")
    kept = features.take([answers.keys()[row] for row in rows])[0]
    perplexity = min(30.0, (len(kept) - 1) / 3)
    points = TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(kept)
    file = run.folder / "features-test.png"
    draw_points(points, run.splits["test"].labels, run.names).savefig(file)
    return file


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0, or 1 when a folder is no such stage."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, metavar="STAGE", help="folder with seed-N/")
    try:
        for folder in parser.parse_args(argv).runs:
            print(draw_features(read_run(folder)))
    except RunError as error:
        print(f"benchmarks.feature_pictures: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
