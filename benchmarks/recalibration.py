"""Gain from `erc recalibrate` with a different label distribution, and acceptance without one.

    python -m benchmarks.recalibration [--bundle edge-small]

Estimates are from audio only, of RAVDESS and EmoDB clips by actors who are not in the training data
of the voice part. Utterances are drawn without change (no gain is expected), and with 75 % neutral
ones, as in ordinary talk. N of them are labeled; the gain in log loss is measured on others.

Writes benchmarks/results/recalibration.json. Needs the extra [train].
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.record import write_results
from benchmarks.voice_groups import held_out_clips, voice_estimates
from erc_ros.evaluation.recalibration import LabeledUtterances, cross_validated, fit
from erc_ros.inference.estimate import recalibrated
from erc_ros.training.datasets.utterances import LABELS

COUNTS, DRAWS, NEUTRAL = (20, 50, 100), 100, 0.75


def log_loss(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Return the mean log loss over utterances."""
    right = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(right, 1e-12)).mean())


def measured(utterances: LabeledUtterances, neutral: int | None, count: int) -> dict[str, float]:
    """Return the share of draws in which the recalibration is accepted, and its mean gain.

    neutral: index of the label of most utterances; None: the distribution is not changed.
    """
    generator = np.random.default_rng(count)
    gains, harmful = [], 0
    for _ in range(DRAWS):
        drawn = generator.permutation(len(utterances.labels))
        labeled, others = drawn[:count], drawn[count:]
        if neutral is not None:
            labeled, others = (
                _mostly(utterances, neutral, part, generator) for part in (labeled, others)
            )
        known = LabeledUtterances(utterances.probabilities[labeled], utterances.labels[labeled])
        if len(set(known.labels)) < 2 or not cross_validated(known).is_real:
            continue
        before = utterances.probabilities[others]
        after = recalibrated(before, *fit(known)).astype(np.float64)
        labels = utterances.labels[others]
        gains.append(log_loss(before, labels) - log_loss(after, labels))
        harmful += gains[-1] < 0
    return {
        "accepted": 100 * len(gains) / DRAWS,
        "harmful": 100 * harmful / DRAWS,
        "gain": float(np.mean(gains)) if gains else 0.0,
    }


def _mostly(
    utterances: LabeledUtterances,
    label: int,
    part: NDArray[np.int64],
    generator: np.random.Generator,
) -> NDArray[np.int64]:
    """Draw utterances of `part`, of which the share NEUTRAL has the label."""
    is_label = utterances.labels[part] == label
    if is_label.all() or not is_label.any():
        return part
    wanted = generator.random(len(part)) < NEUTRAL
    return np.where(
        wanted,
        generator.choice(part[is_label], len(part)),
        generator.choice(part[~is_label], len(part)),
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark, print the results and write them to a file."""
    bundle, clips = held_out_clips(argv, __doc__)
    estimates = voice_estimates(bundle, clips)
    names = list(bundle.labels)
    utterances = LabeledUtterances(
        np.array([estimate.probabilities for estimate in estimates], np.float64),
        np.array([names.index(LABELS[clip.label]) for clip in clips]),
    )
    figures: dict[str, dict[str, dict[str, float]]] = {}
    for name, neutral in (("as_they_are", None), ("mostly_neutral", names.index("neutral"))):
        figures[name] = {f"of_{n}": measured(utterances, neutral, n) for n in COUNTS}
        print(name, figures[name])
    write_results(
        "recalibration",
        "python -m benchmarks.recalibration",
        bundle,
        figures,
        f"audio only, {len(clips)} clips of RAVDESS and EmoDB by actors who are not in the "
        f"training data of the voice part; {DRAWS} draws for each number of labeled utterances",
    )


if __name__ == "__main__":
    main()
