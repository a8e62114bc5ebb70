"""Face detectors on natural photographs: detection rate, and recall of the emotions.

    python -m benchmarks.face_detectors [--bundle edge-small] [--most 300]

Reads DATA/facial_expressions, a copy of github.com/muxspace/facial_expressions (Apache-2.0):
`images/*.jpg`, photographs of one person each from the web and from LFW, and `data/legend.csv` with
an expression for each. None of it is used for training. At most --most photographs of each
expression are used. Each is placed in the center of a gray frame of twice its size, so that the
detector has to search for it as in a camera image. Every photograph is an utterance without text
and audio. For each detector, the command prints as JSON: the share of photographs with a detected
face, CPU time per frame, and the recall of each expression and their mean, for the photographs in
which both detectors find a face and for all (no face counts as wrong).
"""

from __future__ import annotations

import argparse
import csv
import json
import time
import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.record import write_results
from benchmarks.unseen_faces import look_at
from erc_ros.encoders.face_detector import YuNetDetector
from erc_ros.inference.bundle import load_bundle
from erc_ros.inference.emotion_recognizer import EmotionRecognizer
from erc_ros.resources import model_folder
from erc_ros.sensing.faces import FaceDetector, HaarDetector, cut_face
from erc_ros.sensing.frames import Frame
from erc_ros.training.datasets.folder import data_folder
from erc_ros.training.datasets.utterances import LABELS

FOLDER = "facial_expressions"
EXPRESSIONS = {
    "neutral": "neutral",
    "surprise": "surprise",
    "fear": "fear",
    "sadness": "sadness",
    "happiness": "joy",
    "disgust": "disgust",
    "anger": "anger",
}
"""Expression in the legend -> label; contempt is excluded."""
GRAY = 127

Image = NDArray[np.uint8]


def photographs(folder: Path, most: int) -> list[tuple[Path, str]]:
    """Return files and labels, at most `most` of each label, selected by checksums of the names.

    Raises:
        FileNotFoundError: the folder has no legend or no images.
    """
    by_label: dict[str, set[Path]] = defaultdict(set)
    with (folder / "data/legend.csv").open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            label, file = EXPRESSIONS.get(row["emotion"].lower()), folder / "images" / row["image"]
            if label is not None and file.is_file():
                by_label[label].add(file)
    if not by_label:
        raise FileNotFoundError(f"{folder}/images has none of the photographs of the legend")
    chosen = []
    for label in EXPRESSIONS.values():
        files = sorted(by_label[label], key=lambda file: zlib.crc32(file.name.encode()))
        chosen += [(file, label) for file in files[:most]]
    return chosen


def in_frame(photograph: Image) -> Image:
    """Place a photograph in the center of a gray image of twice its size."""
    height, width = photograph.shape[:2]
    rows, columns = (height // 2, height - height // 2), (width // 2, width - width // 2)
    return np.pad(photograph, (rows, columns, (0, 0)), constant_values=GRAY)


def crops(detector: FaceDetector, images: Sequence[Image]) -> tuple[list[Image | None], float]:
    """Return the largest face of each image, or None, and the ms of CPU time per image."""
    faces: list[Image | None] = []
    used = 0.0
    for image in images:
        framed = in_frame(image)
        height, width = framed.shape[:2]
        frame = Frame(1, "bgr8", width, height, 3 * width, framed.tobytes())
        began = time.thread_time()
        boxes = detector.detect(frame)
        used += time.thread_time() - began
        faces.append(cut_face(framed, boxes[0]) if boxes else None)
    return faces, 1e3 * used / len(images)


def recalls(
    truth: Sequence[str], predicted: Sequence[str], counted: Sequence[bool]
) -> dict[str, float]:
    """Return the recall of each label and their mean in percent, for the counted images."""
    rows: dict[str, float] = {}
    for label in EXPRESSIONS.values():
        own = [
            p == label
            for t, p, c in zip(truth, predicted, counted, strict=True)
            if c and t == label
        ]
        rows[label] = round(100 * float(np.mean(own)), 1) if own else float("nan")
    return {**rows, "mean": round(float(np.nanmean(list(rows.values()))), 1)}


def measure(
    bundle: str, files: Sequence[tuple[Path, str]], detectors: Mapping[str, FaceDetector]
) -> dict[str, Any]:
    """Measure each detector on the same photographs."""
    images, truth = [], []
    for file, label in files:
        image = cv2.imdecode(np.fromfile(file, np.uint8), cv2.IMREAD_COLOR)
        if image is not None:
            images.append(np.asarray(image, np.uint8))
            truth.append(label)
    cut = {name: crops(detector, images) for name, detector in detectors.items()}
    both = [all(rows[0][n] is not None for rows in cut.values()) for n in range(len(images))]
    result: dict[str, Any] = {"photographs": len(images), "found_by_all": sum(both)}
    loaded = load_bundle(model_folder(bundle))
    order = [list(loaded.labels).index(label) for label in LABELS]
    with EmotionRecognizer(loaded) as recognizer:
        for name, (faces, ms) in cut.items():
            known = [n for n, face in enumerate(faces) if face is not None]
            seen = [face for face in faces if face is not None]
            said = look_at(recognizer, seen)[:, order].argmax(axis=1)
            predicted = [""] * len(images)
            for n, label in zip(known, said.tolist(), strict=True):
                predicted[n] = LABELS[label]
            result[name] = {
                "found": round(100 * len(known) / len(images), 1),
                "ms": round(ms, 1),
                "recall_of_found_by_all": recalls(truth, predicted, both),
                "recall_of_all": recalls(truth, predicted, [True] * len(truth)),
            }
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the results and write them to benchmarks/results/face_detectors.json."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.face_detectors",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--bundle", default="edge-small", help="folder, or a name in models/")
    parser.add_argument("--data", type=Path, help="folder of the data sets; default $ERC_DATA")
    parser.add_argument("--most", type=int, default=300, help="photographs of each expression")
    options = parser.parse_args(arguments)
    files = photographs(data_folder(options.data) / FOLDER, options.most)
    detectors = {"yunet": YuNetDetector(), "haar": HaarDetector()}
    results = measure(options.bundle, files, detectors)
    print(json.dumps(results, indent=2))
    bundle = load_bundle(model_folder(options.bundle))
    command = f"python -m benchmarks.face_detectors --bundle {bundle.name} --most {options.most}"
    conditions = f"{len(files)} natural photographs of github.com/muxspace/facial_expressions"
    write_results("face_detectors", command, bundle, results, conditions)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
