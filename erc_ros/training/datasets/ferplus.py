"""FER2013 images with the votes of FER+ (Barsoum et al. 2016): 48x48 gray faces, ten raters each.

Layout of the folder: `labels.npz` (votes10 (N, 10), split (N,), both uint8), `meta.json` and
`mosaic/fer_KK.webp`, 1000 images each as 25 rows x 40 columns of 48x48 tiles.

Excluded images, which `FerPlus.findings` lists:
- `repeated`: images identical to an earlier one. FER2013 has 1840 of them; 288 test and 279
  validation images are in the training part as well, which would bias every score.
- `near duplicate`: validation and test images that show a training image again, with another crop
  or a watermark (`near_duplicates`).
- `no majority`: validation and test images that the FER+ rule gives no class (`majority`).
- `not rated as a face`: training images whose votes mostly say "unknown" or "not a face".
- `unreadable`: images of a mosaic that is missing, broken or of another size.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from erc_ros.encoders.face import SIZE
from erc_ros.training.datasets.corpus import CorpusSpec
from erc_ros.training.datasets.findings import Finding, Findings
from erc_ros.training.datasets.images import Faces, FerPlus
from erc_ros.training.datasets.near_duplicates import digest, known_near_duplicates

CLASSES = (
    "neutral",
    "happiness",
    "surprise",
    "sadness",
    "anger",
    "disgust",
    "fear",
    "contempt",
)  # the order of the vote columns, followed by "unknown" and "not a face"
TO_MELD = {
    "neutral": "neutral",
    "happiness": "joy",
    "surprise": "surprise",
    "sadness": "sadness",
    "anger": "anger",
    "disgust": "disgust",
    "fear": "fear",
    "contempt": "disgust",  # MELD has no contempt; disgust is closest
}
SPLITS = ("train", "valid", "test")
FOLDER = "fer2013plus"
PER_MOSAIC, ROWS, COLUMNS = 1000, 25, 40


def load(folder: Path, excluded: frozenset[str] | None = None) -> FerPlus:
    """Read the folder.

    Args:
        excluded: digests of validation and test images that show a training image again; None:
            those of FER+ itself (`near_duplicates.INDEX`).

    Raises:
        FileNotFoundError: the folder has no labels.npz.
        ValueError: labels of another shape, or a split without any usable image.
    """
    votes, split = _labels(folder / "labels.npz")
    pictures, readable = _pictures(folder / "mosaic", len(votes))
    first = _first_of_its_kind(pictures, split, readable)
    labels, targets = majority(votes), distribution(votes)
    rated = votes[:, : len(CLASSES)].sum(axis=1) * 2 > votes.sum(axis=1)
    if excluded is None:
        excluded = known_near_duplicates()
    faults: list[Finding] = []
    parts = []
    for number, name in enumerate(SPLITS):
        use = split == number
        reasons = [("unreadable", readable), ("repeated", first)]
        if name == "train":  # divided votes are kept, as targets are distributions
            reasons.append(("not rated as a face", rated & (targets.sum(axis=1) > 0)))
        else:
            reasons.append(("no majority", labels >= 0))
            is_listed = np.array([digest(picture) in excluded for picture in pictures])
            reasons.append(("near duplicate", ~is_listed))
        for reason, good in reasons:
            faults += [
                Finding(f"{name}: {reason}", "skipped", "labels.npz", int(picture))
                for picture in np.flatnonzero(use & ~good)
            ]
            use = use & good
        if not use.any():
            summary = "; ".join(Findings(tuple(faults)).lines())
            raise ValueError(f"{folder}: no usable image in the {name} split ({summary})")
        parts.append(Faces(pictures[use], targets[use], labels[use]))
    train, valid, test = parts
    return FerPlus(train, valid, test, Findings(tuple(faults)))


def majority(votes: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the class of each image by FER+'s majority rule, (N, 10) -> (N,); -1: no class.

    A single vote for a class is dropped as noise; the largest class must then have more than half
    of the remaining votes and be one of the eight emotions.
    """
    kept = np.where(votes > 1, votes, 0).astype(np.int64)
    best = kept.argmax(axis=1)
    clear = kept.max(axis=1) * 2 > kept.sum(axis=1)
    return np.where(clear & (best < len(CLASSES)), best, -1)


def distribution(votes: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Convert votes (N, 10) to probabilities of the emotions (N, 8); single votes are dropped.

    A row without remaining votes is all zero.
    """
    kept = np.where(votes > 1, votes, 0)[:, : len(CLASSES)].astype(np.float32)
    shares: NDArray[np.float32] = kept / np.maximum(kept.sum(axis=1, keepdims=True), 1)
    return shares


def _labels(file: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing: {file.parent} is not a FER+ folder")
    with np.load(file, allow_pickle=False) as arrays:
        missing = {"votes10", "split"} - set(arrays.files)
        if missing:
            raise ValueError(f"{file} lacks {sorted(missing)}, it has {arrays.files}")
        votes, split = arrays["votes10"], arrays["split"]
    if votes.shape != (len(split), 10) or split.max(initial=0) >= len(SPLITS):
        raise ValueError(f"{file}: votes {votes.shape} and split {split.shape} do not match")
    return votes, split


def _pictures(folder: Path, count: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return all images (N, 48, 48) and which of them could be read (N,)."""
    pictures = np.zeros((count, SIZE, SIZE), np.uint8)
    readable = np.zeros(count, bool)
    for number, start in enumerate(range(0, count, PER_MOSAIC)):
        file = folder / f"fer_{number:02d}.webp"
        image = cv2.imread(str(file), cv2.IMREAD_COLOR) if file.is_file() else None
        if image is None or image.shape[:2] != (ROWS * SIZE, COLUMNS * SIZE):
            continue
        tiles = image[..., 0].reshape(ROWS, SIZE, COLUMNS, SIZE).swapaxes(1, 2)
        end = min(start + PER_MOSAIC, count)
        pictures[start:end] = tiles.reshape(-1, SIZE, SIZE)[: end - start]
        readable[start:end] = True
    return pictures, readable


def _first_of_its_kind(
    pictures: NDArray[np.uint8], split: NDArray[np.uint8], readable: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Return (N,) True if no earlier image is equal; training images come first."""
    first = np.zeros(len(pictures), bool)
    seen: set[bytes] = set()
    for index in np.argsort(split, kind="stable"):
        if not readable[index]:
            continue
        digest = hashlib.sha256(pictures[index].tobytes()).digest()
        first[index] = digest not in seen
        seen.add(digest)
    return first


CORPORA = (
    CorpusSpec(
        name="ferplus",
        title="FER2013 pictures with FER+ votes",
        about="faces of a web search",
        license="votes MIT; the images have no clear license: research use",
        labels=CLASSES,
        meanings={name: (label,) for name, label in TO_MELD.items()},
        splits=SPLITS,
        images=lambda data: load(data / FOLDER),
        content="face images of 48x48 pixels with the votes of ten raters (Barsoum et al. 2016)",
        layout="`fer2013plus/`",
    ),
)
