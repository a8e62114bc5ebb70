"""`erc recalibrate`: calibrate a model package for a site with a few labeled utterances.

Only the sharpness and one offset per label are fitted (`inference.manifest.Calibration`): the model
is unchanged. The gain is measured by cross-validation; without a gain, nothing is written.
"""

from __future__ import annotations

import argparse
import csv
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from erc_ros.inference.bundle import Bundle, load_bundle
from erc_ros.inference.estimate import recalibrated
from erc_ros.inference.manifest import MAX_OFFSET, SHARPNESS
from erc_ros.metrics.classification import calibration_error
from erc_ros.resources import model_folder
from erc_ros.values.errors import ErcValueError
from erc_ros.values.files import write_whole

MIN_UTTERANCES = 20  # labeled
FOLDS = 10
STEPS = 50  # maximum of Newton's method, which converges after a few
RESAMPLES = 2000
# Inverse variances of the Gaussian priors around the original offsets (0) and sharpness (1).
KEEP_OFFSETS, KEEP_SHARPNESS = 4.0, 15.0  # python -m benchmarks.recalibration
MIN_TOTAL = 3.0  # gain in log likelihood: the utterances are e^3 = 20 times as probable
COLUMN = "reference"


class RecalibrationError(ErcValueError):
    """The utterances cannot be used, or there is no gain."""


@dataclass(frozen=True, eq=False)
class LabeledUtterances:
    """probabilities: (N, C), of the original package. labels: (N,), reference indices."""

    probabilities: NDArray[np.float64]
    labels: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Gain:
    """The gain on held-out utterances. before, after: mean log loss, accuracy, ECE.

    low: lower end of the 99 % interval of the gain in log loss, over utterances. total: the sum.
    """

    before: tuple[float, float, float]
    after: tuple[float, float, float]
    low: float
    total: float

    @property
    def is_real(self) -> bool:
        """Whether the interval is above zero, and the sum is at least `MIN_TOTAL`."""
        return self.low > 0 and self.total >= MIN_TOTAL


def fit(utterances: LabeledUtterances) -> tuple[float, NDArray[np.float64]]:
    """Return the maximum a posteriori sharpness and offsets (C,); the priors are 1 and 0."""
    logarithms = np.log(np.maximum(utterances.probabilities, 1e-12))
    count, size = logarithms.shape
    truth = np.eye(size)[utterances.labels]
    start = np.concatenate(([1.0], np.zeros(size)))
    keep = np.concatenate(([KEEP_SHARPNESS], np.full(size, KEEP_OFFSETS)))
    values = start.copy()
    # (N, C, C + 1): derivative of each logit by sharpness and offsets
    slopes = np.concatenate(
        (logarithms[:, :, None], np.broadcast_to(np.eye(size), (count, size, size))), axis=2
    )
    for _ in range(STEPS):
        p = recalibrated(utterances.probabilities, values[0], values[1:]).astype(np.float64)
        gradient = np.einsum("nc,ncv->v", p - truth, slopes) + keep * (values - start)
        mean = np.einsum("nc,ncv->nv", p, slopes)
        curvature = np.einsum("nc,ncv,ncw->vw", p, slopes, slopes) - mean.T @ mean + np.diag(keep)
        step = np.linalg.solve(curvature, gradient)
        values -= step * min(1.0, 1.0 / max(1e-9, float(np.abs(step).max())))
        if np.abs(step).max() < 1e-6:
            break
    sharpness = float(np.clip(values[0], *SHARPNESS))
    return sharpness, np.clip(values[1:], -MAX_OFFSET, MAX_OFFSET)


def cross_validated(utterances: LabeledUtterances) -> Gain:
    """Return the gain on utterances that were not used for the fit."""
    generator = np.random.default_rng(0)
    count = len(utterances.labels)
    fold = generator.permutation(np.arange(count) % min(FOLDS, count))
    after = np.empty_like(utterances.probabilities)
    for number in np.unique(fold):
        rest = fold != number
        fitted = fit(LabeledUtterances(utterances.probabilities[rest], utterances.labels[rest]))
        after[~rest] = recalibrated(utterances.probabilities[~rest], *fitted)
    losses = [
        -np.log(np.maximum(p[np.arange(count), utterances.labels], 1e-12))
        for p in (utterances.probabilities, after)
    ]
    drawn = generator.integers(0, count, (RESAMPLES, count))
    low = float(np.quantile((losses[0] - losses[1])[drawn].mean(axis=1), 0.005))
    return Gain(
        _figures(losses[0], utterances.probabilities, utterances.labels),
        _figures(losses[1], after, utterances.labels),
        low,
        float((losses[0] - losses[1]).sum()),
    )


def _figures(
    losses: NDArray[np.float64], p: NDArray[np.float64], labels: NDArray[np.int64]
) -> tuple[float, float, float]:
    accuracy = float((p.argmax(axis=1) == labels).mean())
    return float(losses.mean()), accuracy, calibration_error(labels, p, bins=5)


def read_labeled(files: Sequence[Path], bundle: Bundle) -> LabeledUtterances:
    """Read the rows of `estimates.csv` of `erc replay` that have a value in column `reference`.

    Raises:
        RecalibrationError: a file without the columns, an unknown label, or too few utterances.
    """
    columns = [f"p_{label}" for label in bundle.labels]
    rows: list[list[float]] = []
    labels: list[int] = []
    for file in files:
        with file.open(newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream)
            missing = [name for name in (COLUMN, *columns) if name not in (reader.fieldnames or ())]
            if missing:
                raise RecalibrationError(
                    f"{file} has no column {missing[0]}: take estimates.csv of `erc replay` with "
                    f"the package {bundle.name}, and add the column {COLUMN} with the right labels"
                )
            for line in reader:
                label = (line[COLUMN] or "").strip()
                if not label:
                    continue
                if label not in bundle.labels:
                    raise RecalibrationError(
                        f"{file}:{reader.line_num}: {COLUMN} is {label[:40]!r}; the labels are "
                        f"{', '.join(bundle.labels)}"
                    )
                try:
                    values = [float(line[name] or "nan") for name in columns]
                except (ValueError, TypeError):
                    values = [float("nan")]
                if not np.all(np.isfinite(values)) or not 0.9 < sum(values) < 1.1:
                    raise RecalibrationError(
                        f"{file}:{reader.line_num}: the probabilities must be numbers with sum 1"
                    )
                rows.append(values)
                labels.append(bundle.labels.index(label))
    if len(labels) < MIN_UTTERANCES or len(set(labels)) < 2:
        raise RecalibrationError(
            f"{len(labels)} utterances with {len(set(labels))} different labels in the column "
            f"{COLUMN}; at least {MIN_UTTERANCES} with two are needed"
        )
    return LabeledUtterances(np.array(rows), np.array(labels, np.int64))


def write_recalibrated(
    bundle: Bundle, sharpness: float, offsets: NDArray[np.float64], folder: Path
) -> None:
    """Write the package with these values into a new folder.

    Raises:
        FileExistsError: the folder exists.
    """
    shutil.copytree(bundle.folder, folder)
    file = folder / "bundle.yaml"
    manifest = yaml.safe_load(file.read_text(encoding="utf-8"))
    manifest["version"] = f"{bundle.version}+recalibrated"
    calibration = manifest.setdefault("calibration", {})
    calibration["sharpness"] = round(sharpness, 4)
    calibration["offsets"] = [round(float(offset), 4) for offset in offsets]
    write_whole(file, yaml.safe_dump(manifest, sort_keys=False, allow_unicode=True))
    load_bundle(folder)


def main(argv: Sequence[str]) -> int:
    """Fit, report the gain, and write a package if there is a gain.

    Returns:
        0: written. 1: refused, because there is no gain on held-out utterances.

    Raises:
        RecalibrationError, FileNotFoundError, FileExistsError, BundleError: see above.
    """
    parser = argparse.ArgumentParser(
        prog="erc recalibrate",
        description="Fit the confidence of a model package to a place, with at least "
        f"{MIN_UTTERANCES} labeled utterances: a sharpness and an offset per label. The gain is "
        "measured by cross-validation; without a gain, nothing is written.",
    )
    parser.add_argument("bundle", help="folder, or a name in models/")
    parser.add_argument(
        "labeled",
        type=Path,
        nargs="+",
        help=f"estimates.csv of `erc replay` with this package and a column {COLUMN}: the label",
    )
    parser.add_argument("--out", type=Path, required=True, help="new folder for the package")
    options = parser.parse_args(argv)
    if options.out.exists():
        raise FileExistsError(f"{options.out} exists: choose a new folder")
    bundle = load_bundle(model_folder(options.bundle))
    if bundle.calibration.offsets:
        raise RecalibrationError(f"{bundle.folder} is recalibrated: start from the original")
    utterances = read_labeled(options.labeled, bundle)
    gain = cross_validated(utterances)
    print(f"{len(utterances.labels)} utterances, cross-validated:")
    for name, before, after in zip(
        ("log loss", "accuracy", "calibration error"), gain.before, gain.after, strict=True
    ):
        print(f"  {name:18}{before:.3f} -> {after:.3f}")
    if not gain.is_real:
        print(
            "No gain is certain (99 % interval and sum of the log loss): nothing is written. More "
            "labeled utterances may show one."
        )
        return 1
    sharpness, offsets = fit(utterances)
    write_recalibrated(bundle, sharpness, offsets, options.out)
    shown = ", ".join(f"{n} {o:+.2f}" for n, o in zip(bundle.labels, offsets, strict=True))
    print(f"{options.out}: sharpness {sharpness:.2f}, offsets {shown}")
    print(f"Use it: parameter bundle := {options.out.resolve()}")
    return 0
