"""Accuracy on FER+ test images, from the face only; the face network was trained on FER+.

    python -m benchmarks.fer_faces [--bundle edge-small]

Each image is an utterance without text and audio. Measured on all test images that are not
byte-identical to a training image, and without the images that show a training image again with
another crop or a watermark (`training.datasets.near_duplicates`). Writes
benchmarks/results/fer_faces.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from benchmarks.record import write_results
from benchmarks.unseen_faces import look_at
from erc_ros.inference.bundle import load_bundle
from erc_ros.inference.emotion_recognizer import EmotionRecognizer
from erc_ros.metrics import classification as metrics
from erc_ros.resources import model_folder
from erc_ros.training.datasets import ferplus
from erc_ros.training.datasets.folder import data_folder
from erc_ros.training.datasets.near_duplicates import digest, known_near_duplicates
from erc_ros.training.datasets.utterances import LABELS


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark, print the results and write them to a file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--bundle", default="edge-small", help="folder, or a name in models/")
    parser.add_argument("--data", type=Path, help="folder of the data sets; default $ERC_DATA")
    options = parser.parse_args(argv)
    bundle = load_bundle(model_folder(options.bundle))
    faces = ferplus.load(data_folder(options.data) / ferplus.FOLDER, frozenset()).test
    is_near = np.array([digest(image) in known_near_duplicates() for image in faces.pictures])
    to_label = np.array([LABELS.index(ferplus.TO_MELD[name]) for name in ferplus.CLASSES])
    ground_truth = to_label[faces.labels]
    order = [list(bundle.labels).index(label) for label in LABELS]
    images = [
        np.asarray(cv2.cvtColor(each, cv2.COLOR_GRAY2BGR), np.uint8) for each in faces.pictures
    ]
    with EmotionRecognizer(bundle) as recognizer:
        probabilities = look_at(recognizer, images)[:, order]
    predicted = probabilities.argmax(axis=1)
    figures = {}
    every = np.ones(len(ground_truth), bool)
    for name, rows in (("all", every), ("near_duplicates", is_near), ("without", ~is_near)):
        scored = ground_truth[rows], predicted[rows]
        figures[name] = {
            "images": int(rows.sum()),
            "accuracy": 100 * metrics.accuracy(*scored, len(LABELS)),
            "mean_recall": 100 * metrics.unweighted_recall(*scored, len(LABELS)),
            "calibration_error": 100
            * metrics.calibration_error(ground_truth[rows], probabilities[rows]),
            **{
                f"recall_{label}": 100 * recall
                for label, recall in metrics.report(
                    ground_truth[rows], probabilities[rows], LABELS
                )["recall"].items()
            },
        }
    figures["without"]["excluded_percent"] = 100 * float(is_near.mean())
    conditions = "FER+ test, seven labels, face only, one image per utterance"
    command = f"python -m benchmarks.fer_faces --bundle {options.bundle}"
    print(write_results("fer_faces", command, bundle, figures, conditions).name)
    for name, each in figures.items():
        print(name, *(f"{key} {value:.1f}" for key, value in each.items()))


if __name__ == "__main__":
    main()
