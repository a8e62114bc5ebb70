"""Does `erc recalibrate` gain where a place differs, and refuse where it does not?

    python -m benchmarks.recalibration [--bundle edge-small]

Estimates of the voice alone, of RAVDESS and EmoDB clips by actors whom the voice part was not
trained on. Drawn as utterances of a place: as they are (nothing is to be gained), and with 75 % of
them neutral, as in ordinary talk. N of them are labeled; the gain in log loss is that of others.

Writes benchmarks/results/recalibration.json. Needs the extra [train].
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.record import write_results
from benchmarks.voice_groups import CORPORA, voice_estimates
from erc_ros.evaluation.recalibration import LabeledUtterances, cross_validated, fit
from erc_ros.inference.bundle import load_bundle
from erc_ros.inference.estimate import recalibrated
from erc_ros.resources import model_folder
from erc_ros.training.datasets import corpora
from erc_ros.training.datasets.folder import data_folder
from erc_ros.training.datasets.held_out import recorded_speakers
from erc_ros.training.datasets.utterances import LABELS

COUNTS, DRAWS, NEUTRAL = (20, 50, 100), 100, 0.75


def log_loss(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Return the mean over utterances."""
    right = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(right, 1e-12)).mean())


def measured(utterances: LabeledUtterances, neutral: int | None, count: int) -> dict[str, float]:
    """Draw places; return the share that is accepted, and what those gain on other utterances.

    neutral: index of the label that most utterances have; None: they are drawn as they are.
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
        truth = utterances.labels[others]
        gains.append(log_loss(before, truth) - log_loss(after, truth))
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
    """Draw as many of the utterances in `part`, of which NEUTRAL have the label."""
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
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--bundle", default="edge-small", help="folder, or a name in models/")
    parser.add_argument("--data", type=Path, help="folder of the data sets; default $ERC_DATA")
    options = parser.parse_args(argv)
    bundle, data = load_bundle(model_folder(options.bundle)), data_folder(options.data)
    held_out = recorded_speakers(bundle.training["held_out"]["audio"], str(bundle.folder))
    speakers = {*held_out.dev, *held_out.test}
    clips = [clip for clip in corpora.clips(CORPORA, data).clips if clip.speaker in speakers]
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
        f"voice alone, {len(clips)} clips of RAVDESS and EmoDB by actors whom the voice part was "
        f"not trained on; {DRAWS} draws for each number of labeled utterances",
    )


if __name__ == "__main__":
    main()
