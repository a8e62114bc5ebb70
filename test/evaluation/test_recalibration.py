"""A few labeled utterances fit a model package to a place, or are refused."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from bundles import write_tiny_bundle

from erc_ros.cli import main
from erc_ros.evaluation.recalibration import (
    LabeledUtterances,
    RecalibrationError,
    cross_validated,
    fit,
    read_labeled,
)
from erc_ros.inference.bundle import load_bundle
from erc_ros.inference.estimate import calibrated, recalibrated
from erc_ros.inference.manifest import Calibration


def drawn(count: int, sharpness: float = 1.0, bias: float = 0.0, seed: int = 0, labels: int = 4):
    """Estimates of a model that is too sure by 1/sharpness, and misses label 1 by `bias`."""
    generator = np.random.default_rng(seed)
    p = generator.dirichlet(np.full(labels, 0.5), count)
    offsets = np.zeros(labels)
    offsets[1] = bias
    true = recalibrated(p, sharpness, offsets)
    truth = [generator.choice(labels, p=each / each.sum()) for each in true.astype(np.float64)]
    return LabeledUtterances(p, np.array(truth))


def test_what_is_wrong_is_found_and_held_out_utterances_gain() -> None:
    utterances = drawn(3000, sharpness=0.5, bias=1.0)
    sharpness, offsets = fit(utterances)
    assert sharpness == pytest.approx(0.5, abs=0.08)
    assert offsets[1] - offsets[[0, 2, 3]].mean() == pytest.approx(1.0, abs=0.25)
    gain = cross_validated(utterances)
    assert gain.is_real and gain.after[0] < gain.before[0] and gain.after[2] < gain.before[2]


def test_a_model_that_is_right_gains_nothing_and_stays_as_it_is() -> None:
    refused = [not cross_validated(drawn(20, seed=seed)).is_real for seed in range(20)]
    assert sum(refused) >= 18
    sharpness, offsets = fit(drawn(3000))
    assert sharpness == pytest.approx(1.0, abs=0.1) and np.abs(offsets).max() < 0.25


def test_twenty_utterances_of_a_model_that_misses_a_label_gain() -> None:
    gains = [cross_validated(drawn(20, sharpness=0.2, bias=3.0, seed=seed)) for seed in range(10)]
    assert sum(gain.is_real for gain in gains) >= 7


def test_probabilities_that_are_certain_and_one_label_only_hurt_nothing() -> None:
    certain = LabeledUtterances(np.tile([1.0, 0.0], (20, 1)), np.arange(20) % 2)
    sharpness, offsets = fit(certain)
    assert np.isfinite(sharpness) and np.isfinite(offsets).all()


def test_offsets_come_after_the_temperatures_and_change_the_label() -> None:
    logits = np.array([2.0, 1.0, 0.0], np.float32)
    seen = (True, False, False)
    before = calibrated(logits, Calibration(2.0), seen)
    after = calibrated(logits, Calibration(2.0, offsets=(0.0, 1.0, 0.0)), seen)
    assert before.argmax() == 0 and after.argmax() == 1 and after.sum() == pytest.approx(1)
    for wrong in ({"offsets": (9.0,)}, {"offsets": (float("nan"),)}, {"sharpness": 0.0}):
        with pytest.raises(ValueError):
            Calibration(**wrong)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("models") / "tiny")


def write(file: Path, bundle: Path, utterances: LabeledUtterances, **changes: str) -> Path:
    labels = load_bundle(bundle).labels
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, ["text", "reference", *(f"p_{n}" for n in labels)])
        writer.writeheader()
        for p, label in zip(utterances.probabilities, utterances.labels, strict=True):
            values = dict(zip((f"p_{n}" for n in labels), p, strict=True))
            writer.writerow({"text": "a, b", "reference": labels[label], **values, **changes})
        writer.writerow({"text": "not labeled"})
    return file


def test_the_command_writes_a_package_where_there_is_a_gain(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    count = len(load_bundle(bundle).labels)
    good = write(tmp_path / "good.csv", bundle, drawn(200, 0.3, 2.0, labels=count))
    out = tmp_path / "here"
    assert main(["recalibrate", str(bundle), str(good), "--out", str(out)]) == 0
    written = load_bundle(out)
    assert len(written.calibration.offsets) == count and "recalibrated" in written.version
    assert "log loss" in capsys.readouterr().out
    assert main(["recalibrate", str(bundle), str(good), "--out", str(out)]) != 0  # it exists
    again = tmp_path / "again"
    assert main(["recalibrate", str(out), str(good), "--out", str(again)]) != 0


def test_the_command_refuses_where_there_is_none(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    count = len(load_bundle(bundle).labels)
    right = write(tmp_path / "right.csv", bundle, drawn(60, labels=count))
    out = tmp_path / "here"
    assert main(["recalibrate", str(bundle), str(right), "--out", str(out)]) == 1
    assert "nothing is written" in capsys.readouterr().out and not out.exists()


def test_files_that_cannot_be_used_are_refused(bundle: Path, tmp_path: Path) -> None:
    package = load_bundle(bundle)
    count = len(package.labels)
    few = write(tmp_path / "few.csv", bundle, drawn(19, labels=count))
    foreign = write(tmp_path / "foreign.csv", bundle, drawn(30, labels=count), reference="bliss")
    broken = write(
        tmp_path / "broken.csv", bundle, drawn(30, labels=count), **{f"p_{package.labels[0]}": "x"}
    )
    (tmp_path / "columns.csv").write_text("text,reference\na,joy\n")
    for file in (few, foreign, broken, tmp_path / "columns.csv"):
        with pytest.raises(RecalibrationError):
            read_labeled([file], package)
