"""`erc calibrate BUNDLE`: calibrate the confidence of a finished bundle, and measure it.

Temperatures and confidence factors are fitted on dev, on the predictions of the bundle's own
(quantized) networks, for each set of modalities. Test is evaluated once: calibration errors, and
the accuracy with missing or broken modalities. The results are written into manifest and card.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from erc_ros.inference.bundle import Bundle, load_bundle
from erc_ros.inference.estimate import calibrated
from erc_ros.inference.manifest import FORMAT, MANIFEST, Calibration, modality_set
from erc_ros.metrics.classification import calibration_error
from erc_ros.resources import model_folder, recipe_file
from erc_ros.training.datasets import corpora
from erc_ros.training.datasets.folder import data_folder
from erc_ros.training.datasets.utterances import LABELS, Conversation
from erc_ros.training.engine.runs import write_json
from erc_ros.training.export.card import write_measured
from erc_ros.training.fusion.bundle_trial import (
    SETS,
    BundleTrial,
    answered,
    calibrate,
    calibration_errors,
    errors_without_text,
    read_text,
    read_trial,
)
from erc_ros.training.fusion.conditions import Result, measure_conditions, worst
from erc_ros.training.fusion.fit_reliability import fit, read_material, start_of
from erc_ros.training.manifest import write_manifest

FOUR = {"happy": "joy", "sad": "sadness", "angry": "anger"}  # of EmoContext; all else is `others`
ROWS = 1500  # of EmoContext that are evaluated
TEXT = (True, False, False)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return 0, or 1 if the bundle or the data cannot be used."""
    parser = argparse.ArgumentParser(
        prog="erc calibrate", description="Calibrate a finished bundle in place, and measure it."
    )
    parser.add_argument("bundle", help="model package of format 3: a folder, or a name in models/")
    parser.add_argument("--data", type=Path, help="folder of the data sets; default $ERC_DATA")
    parser.add_argument(
        "--reliability",
        type=int,
        metavar="STEPS",
        help="first fit the constants of the reliability of voice and face, with STEPS trials",
    )
    parser.add_argument(
        "--reliability-from",
        type=recipe_file,
        metavar="FILE",
        help="first set these constants (YAML, the section `reliability` of a manifest); "
        "with --reliability the search starts from them",
    )
    options = parser.parse_args(argv)
    folder, data = model_folder(options.bundle), data_folder(options.data)
    try:
        if options.reliability_from is not None:
            set_reliability(folder, options.reliability_from)
        if options.reliability is not None:
            fit_reliability(folder, data, options.reliability)
        for line in calibrate_bundle(folder, data):
            print(line, flush=True)
    except (ValueError, OSError) as error:
        print(f"erc calibrate: {error}", file=sys.stderr)
        return 1
    return 0


def fit_reliability(folder: Path, data: Path, steps: int) -> None:
    """Fit the section `reliability` on dev, and write it into the manifest.

    Raises:
        BundleError, ValueError: the bundle cannot be used, or is not a late fusion.
        FileNotFoundError: a corpus is missing.
    """
    bundle = load_bundle(folder)
    material = read_material(bundle, read_trial(bundle, data, "dev"), data, "dev")
    config = fit(start_of(bundle, material), material, steps)
    section = asdict(config)
    section["prior"] = [round(share, 5) for share in config.prior]
    _write_reliability(folder, section)


def set_reliability(folder: Path, file: Path) -> None:
    """Write the constants in `file` (YAML) into the manifest as its section `reliability`.

    Raises:
        BundleError, ValueError: they do not fit the bundle; the manifest is not changed.
        OSError: the file cannot be read.
    """
    load_bundle(folder)
    try:
        section = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{file} is not YAML: {error}") from error
    if not isinstance(section, dict):
        raise ValueError(f"{file} must be a table of constants, not {type(section).__name__}")
    before = (folder / MANIFEST).read_bytes()
    try:
        _write_reliability(folder, section)
    except ValueError:
        (folder / MANIFEST).write_bytes(before)
        raise


def _write_reliability(folder: Path, section: Mapping[str, Any]) -> None:
    file = folder / MANIFEST
    manifest: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    manifest["reliability"] = dict(section)
    manifest.pop("files")
    write_manifest(folder, manifest)
    load_bundle(folder)


def calibrate_bundle(folder: Path, data: Path) -> list[str]:
    """Fit, measure, and write the manifest, calibration.json and calibration.md in `folder`.

    Returns:
        The lines of calibration.md.

    Raises:
        BundleError, ValueError: the bundle is not usable, or of an older format.
        FileNotFoundError: a corpus is missing.
    """
    file = folder / MANIFEST
    manifest: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    if manifest.get("format") != FORMAT:
        raise ValueError(f"{file} has format {manifest.get('format')}: assemble the bundle again")
    bundle = load_bundle(folder)
    dev = read_trial(bundle, data, "dev")
    calibration = calibrate(dev)
    test = read_trial(bundle, data, "test")
    results = measure_conditions(test.predict, test.dialogues, test.audio, test.visual)
    without_text = errors_without_text(test, calibration)
    errors = {
        "dev": calibration_errors(dev, calibration),
        "test before": calibration_errors(test, Calibration()),
        "test": calibration_errors(test, calibration),
    }
    elsewhere = {}
    with contextlib.suppress(FileNotFoundError):
        elsewhere["EmoContext, 4 classes, text"] = other_text(bundle, data, calibration)
    manifest["calibration"] = asdict(calibration)
    measured = summary(results, errors, without_text, elsewhere)
    manifest["metrics"]["as_it_ships"] = measured
    manifest.pop("files")
    write_manifest(folder, manifest)
    load_bundle(folder)
    write_json(folder / "calibration.json", measured)
    unsure = abstaining(test, calibration)
    return write_measured(
        folder, results, errors, without_text, bundle.labels, calibration, elsewhere, unsure
    )


def summary(
    results: Sequence[Result],
    errors: Mapping[str, Mapping[str, float]],
    without_text: Mapping[str, Mapping[float, float]],
    elsewhere: Mapping[str, Mapping[str, float]],
) -> dict[str, Any]:
    """Return the results for the manifest."""
    largest_loss = worst(results)
    return {
        "meld_test_weighted_f1": {r.condition.name: round(r.f1, 2) for r in results},
        "worst_condition": {largest_loss.condition.name: round(largest_loss.difference, 2)},
        "calibration_error": {
            split: {seen: round(value, 4) for seen, value in values.items()}
            for split, values in errors.items()
        },
        "calibration_error_without_text_by_mismatches": {
            seen: {f"{share:g}": round(value, 4) for share, value in values.items()}
            for seen, values in without_text.items()
        },
        "other_corpora": {
            name: {key: round(value, 4) for key, value in values.items()}
            for name, values in elsewhere.items()
        },
    }


def other_text(bundle: Bundle, data: Path, calibration: Calibration) -> dict[str, float]:
    """Return accuracy and calibration error on EmoContext's last turns, from text alone.

    Its four classes: joy, sadness, anger, and `others` with the sum of the other probabilities.
    """
    split = corpora.read(corpora.CHATS, data, "test")
    chosen = split.conversations[:: max(1, len(split.conversations) // ROWS)]
    logits, last = read_text(bundle, chosen)
    probabilities = calibrated(logits[last], calibration, TEXT).astype(np.float64)
    four = np.stack(
        [
            probabilities[:, LABELS.index(FOUR[name])] if name in FOUR else 0 * probabilities[:, 0]
            for name in split.labels
        ],
        axis=1,
    )
    four[:, split.labels.index("others")] = 1 - four.sum(axis=1)
    ground_truth = _last_labels(chosen)
    return {
        "accuracy": float((four.argmax(axis=1) == ground_truth).mean()),
        "calibration error": calibration_error(ground_truth, four),
    }


def abstaining(
    trial: BundleTrial, calibration: Calibration
) -> dict[str, list[tuple[float, float, float, float]]]:
    """Return rows of min_confidence, share unknown, accuracy of these and of others."""
    tables = {}
    for seen in (SETS[0], TEXT):
        logits, ground_truth = answered(trial, seen)
        probabilities = calibrated(logits, calibration, seen)
        confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == ground_truth
        rows = []
        for threshold in (0.25, 0.3, 0.35, 0.4, 0.5, 0.6):
            unsure = confidence < threshold
            rows.append((threshold, _mean(unsure), _mean(right[unsure]), _mean(right[~unsure])))
        tables[modality_set(seen)] = rows
    return tables


def _mean(values: NDArray[np.bool_]) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _last_labels(conversations: Sequence[Conversation]) -> NDArray[np.int64]:
    return np.array([c.utterances[-1].label for c in conversations], np.int64)
