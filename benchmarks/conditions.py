"""Accuracy of a bundle on MELD with missing, silent or broken modalities.

    python -m benchmarks.conditions [--bundle edge-small] [--split test]

Text is real; audio and faces are clips of RAVDESS, EmoDB and FER+ of people who are not in the
training data (`training.fusion.bundle_trial`). Prints the difference of every condition to text
only, the calibration error of each set of modalities, and the risk at several coverages (selective
prediction). Needs the extra [train] and the corpora.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np

from erc_ros.inference.bundle import load_bundle
from erc_ros.inference.estimate import calibrated
from erc_ros.inference.manifest import modality_set
from erc_ros.metrics.classification import calibration_error
from erc_ros.metrics.selective import area_under_risk_coverage, risk_coverage
from erc_ros.metrics.table import markdown
from erc_ros.resources import model_folder
from erc_ros.training.datasets.folder import data_folder
from erc_ros.training.fusion.bundle_trial import SETS, answered, read_trial
from erc_ros.training.fusion.conditions import measure_conditions, table, worst

LEAST = (0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark and print the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--bundle", default="edge-small", help="folder, or a name in models/")
    parser.add_argument("--split", choices=("dev", "test"), default="test")
    options = parser.parse_args(arguments)
    bundle = load_bundle(model_folder(options.bundle))
    trial = read_trial(bundle, data_folder(None), options.split)
    results = measure_conditions(trial.predict, trial.dialogues, trial.audio, trial.visual)
    print(f"{bundle.name} {bundle.version}, MELD {options.split}\n")
    print("\n".join(table(results)))
    least = worst(results)
    print(f"\nworst: {least.difference:+.2f} ({least.condition.name})\n")
    rows = []
    for seen in SETS:
        logits, truth = answered(trial, seen)
        probabilities = calibrated(logits, bundle.calibration, seen)
        error = 100 * calibration_error(truth, probabilities)
        right = probabilities.argmax(axis=1) == truth
        area = area_under_risk_coverage(probabilities.max(axis=1), right)
        rows.append([modality_set(seen), f"{error:.1f} %", f"{100 * area:.1f}"])
    print(
        "\n".join(markdown(["modalities", "calibration error", "area under risk-coverage"], rows))
    )
    logits, truth = answered(trial, (True, False, False))
    probabilities = calibrated(logits, bundle.calibration, (True, False, False))
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    rows = []
    for at_least in LEAST:
        unsure = confidence < at_least
        rate = f"{100 * right[unsure].mean():.0f} %" if unsure.any() else "-"
        rows.append([f"{at_least:g}", f"{100 * unsure.mean():.1f} %", rate,
                     f"{100 * right[~unsure].mean():.1f} %"])  # fmt: skip
    head = ["min_confidence", "unknown", "accuracy of unknown", "accuracy of the others"]
    print("\ntext only\n" + "\n".join(markdown(head, rows)))
    coverage, risk = risk_coverage(confidence, right)
    shown = [f"{risk[np.searchsorted(coverage, c)]:.3f} at {c:.0%}" for c in (0.25, 0.5, 0.75)]
    print(f"\nrisk at coverage: {', '.join(shown)}, {risk[-1]:.3f} at 100%")


if __name__ == "__main__":
    main()
