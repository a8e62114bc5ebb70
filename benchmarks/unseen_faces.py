"""Accuracy on posed faces that are not in the training data, from the face only.

    python -m benchmarks.unseen_faces [--bundle edge-small]

Reads DATA/ckplus48/EMOTION/*.png, the common copy of CK+ with 48x48 gray images (anger, disgust,
fear, happy, sadness, surprise; contempt is excluded), the last three of each pose. Every image is
an utterance without text and audio in a new conversation. Percent, with 95 % intervals over people.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.unseen_text import percent
from erc_ros.inference.bundle import load_bundle
from erc_ros.inference.emotion_recognizer import EmotionRecognizer
from erc_ros.metrics import classification as metrics
from erc_ros.resources import model_folder
from erc_ros.training.datasets.folder import data_folder
from erc_ros.training.datasets.utterances import LABELS
from erc_ros.values.nanoseconds import NS
from erc_ros.values.utterance import FaceCrop, Utterance

FOLDER = "ckplus48"
EMOTIONS = {
    "anger": "anger",
    "disgust": "disgust",
    "fear": "fear",
    "happy": "joy",
    "sadness": "sadness",
    "surprise": "surprise",
}
"""Folder -> label."""
FIGURES = ("accuracy", "unweighted_recall", "calibration_error")


def read_pictures(folder: Path) -> tuple[list[NDArray[np.uint8]], list[str], list[str]]:
    """Read the images (H, W, 3) BGR with their labels and people.

    Raises:
        FileNotFoundError: there are no images.
        ValueError: a file is not an image.
    """
    pictures, labels, people = [], [], []
    for name, label in EMOTIONS.items():
        for file in sorted((folder / name).glob("*.png")):
            picture = cv2.imdecode(np.fromfile(file, np.uint8), cv2.IMREAD_COLOR)
            if picture is None:
                raise ValueError(f"{file} is not an image")
            pictures.append(np.asarray(picture, np.uint8))
            labels.append(label)
            people.append(file.name.split("_")[0])
    if not pictures:
        raise FileNotFoundError(f"no images in {folder}/{{{','.join(EMOTIONS)}}}")
    return pictures, labels, people


def look_at(
    recognizer: EmotionRecognizer, pictures: Sequence[NDArray[np.uint8]]
) -> NDArray[np.float64]:
    """Return the probabilities (n, C) of images, each in a new conversation."""
    rows = []
    for number, picture in enumerate(pictures):
        said = Utterance(
            conversation_id=f"c{number}",
            utterance_id="u1",
            start=0,
            end=NS,
            is_final=True,
            faces=(FaceCrop(NS // 2, picture),),
        )
        rows.append(recognizer.feed(said).probabilities)
    return np.array(rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the metrics and the recall of each emotion."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--bundle", default="edge-small", help="folder, or a name in models/")
    parser.add_argument("--data", type=Path, help="folder of the data sets; default $ERC_DATA")
    options = parser.parse_args(arguments)
    pictures, names, people = read_pictures(data_folder(options.data) / FOLDER)
    bundle = load_bundle(model_folder(options.bundle))
    order = [list(bundle.labels).index(label) for label in LABELS]
    with EmotionRecognizer(bundle) as recognizer:
        answers = look_at(recognizer, pictures)[:, order]
    truth = np.array([LABELS.index(name) for name in names])
    owners = np.unique(people, return_inverse=True)[1]
    intervals = metrics.intervals(truth, answers[None], LABELS, owners, resamples=300)
    print(f"{bundle.name} {bundle.version}, {len(truth)} images of {owners.max() + 1} people")
    for name in FIGURES:
        print(f"{name:18} {percent(intervals[name])}")
    said = answers.argmax(axis=1)
    for label in EMOTIONS.values():
        mine = truth == LABELS.index(label)
        wrong = np.bincount(said[mine & (said != truth)], minlength=len(LABELS))
        most = f", else most often {LABELS[wrong.argmax()]}" if wrong.any() else ""
        print(f"recall {label:11} {100 * (said[mine] == truth[mine]).mean():.0f}{most}")


if __name__ == "__main__":
    main()
