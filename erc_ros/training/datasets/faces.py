"""`erc cut-faces`: detect and crop the faces of a corpus' clips once, as on the robot.

Detection takes 20 to 40 ms per image, a hundred times as long as reading a crop, so that it is not
repeated in every epoch. Each utterance gets a JPEG below DATA/faces with crops at regular times,
one below the other, of the face that is largest over the utterance. index.json in the same folder
has the reason for every utterance without a face.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from erc_ros.encoders.face_detector import YuNetDetector
from erc_ros.sensing.faces import FaceTracker
from erc_ros.sensing.frames import Frame
from erc_ros.training.datasets.folder import data_folder
from erc_ros.training.datasets.media import UnusableClipError, pictures_of
from erc_ros.training.datasets.scenes import FACES, INDEX, NO_FACE, WHOLE, Scene
from erc_ros.values.files import write_whole

CROPS, SIZE, QUALITY = 16, 224, 92
AT_ONCE = 32  # number of utterances after which the index is written
RATE = 1000.0  # Hz; every image that is given to the tracker is searched


@dataclass(frozen=True, slots=True, eq=False)
class FaceCut:
    """Crops (T, size, size, 3) BGR. is_face: else the middle of the whole image."""

    crops: NDArray[np.uint8]
    is_face: bool


def cut(scene: Scene, most: int = CROPS, size: int = SIZE) -> FaceCut:
    """Return the face of a scene, or the whole image of one person without a detected face.

    Raises:
        UnusableClipError: unreadable, without images, or without a face among several people.
    """
    pictures = pictures_of(scene.file, most, scene.start, scene.end)
    width = pictures.shape[2]
    left, right = round(scene.left * width), round(scene.right * width)
    frames = np.ascontiguousarray(pictures[:, :, left:right, ::-1])  # BGR, as the tracker has it
    tracker = FaceTracker(YuNetDetector(), RATE, crop_size=size)
    crops: dict[str, list[NDArray[np.uint8]]] = {}
    area: Counter[str] = Counter()
    for number, frame in enumerate(frames, start=1):
        height, width = frame.shape[:2]
        # About the robot's detection rate, so that faces are tracked as on the robot.
        stamp = number * 200_000_000
        seen = tracker.feed(Frame(stamp, "bgr8", width, height, 0, frame.tobytes()))
        for face in seen:
            if face.crop is not None:
                crops.setdefault(face.track_id, []).append(face.crop.pixels)
                area[face.track_id] += face.box.area
    if area:
        return FaceCut(np.stack(crops[area.most_common(1)[0][0]]), True)
    if not scene.is_one_person:
        raise UnusableClipError(NO_FACE)
    return FaceCut(np.stack([_middle(frame, size) for frame in frames]), False)


def _middle(picture: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = picture[top : top + side, left : left + side]
    return np.asarray(cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA), np.uint8)


def cut_corpus(
    scenes: Iterable[tuple[str, Scene]], folder: Path, most: int = CROPS, size: int = SIZE
) -> Counter[str]:
    """Crop the utterances that have no crops yet; return outcome (face, WHOLE, reason) -> count.

    Raises:
        ValueError: the folder holds crops of another size or number.
        OSError: a file cannot be written; finished crops are kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"crops": most, "size": size}
    index = json.loads((folder / INDEX).read_text("utf-8")) if (folder / INDEX).is_file() else {}
    if index and {key: index.get(key) for key in settings} != settings:
        raise ValueError(f"{folder} has other crops than {settings}: remove it or use these")
    outcomes: dict[str, str] = index.get("utterances", {})
    waiting = 0
    for name, scene in scenes:
        if name in outcomes:
            continue
        try:
            face_cut = cut(scene, most, size)
        except UnusableClipError as error:
            outcomes[name] = str(error)
        else:
            strip = face_cut.crops.reshape(-1, *face_cut.crops.shape[2:])
            done, jpeg = cv2.imencode(".jpg", strip, (cv2.IMWRITE_JPEG_QUALITY, QUALITY))
            if not done:
                raise ValueError(f"{scene.file}: its crops cannot be written as JPEG")
            write_whole(folder / f"{name}.jpg", jpeg.tobytes())
            outcomes[name] = "face" if face_cut.is_face else WHOLE
        waiting += 1
        if waiting % AT_ONCE == 0:
            _write_index(folder, settings, outcomes)
    _write_index(folder, settings, outcomes)
    return Counter(outcomes.values())


def _write_index(folder: Path, settings: dict[str, int], outcomes: dict[str, str]) -> None:
    content = {**settings, "utterances": dict(sorted(outcomes.items()))}
    write_whole(folder / INDEX, json.dumps(content, indent=0) + "\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return 0, or 2 if corpus or settings cannot be used."""
    from erc_ros.training.datasets.corpora import BUILT_IN, find

    built_in = {spec.scenes[0]: spec for spec in BUILT_IN.values() if spec.scenes}
    parser = argparse.ArgumentParser(prog="erc cut-faces", description=__doc__)
    parser.add_argument("corpus", help=f"{', '.join(built_in)}, or module:object")
    parser.add_argument("--data", type=Path, help="folder of the data sets; default $ERC_DATA")
    parser.add_argument("--crops", type=int, default=CROPS, help="crops per utterance, at most")
    parser.add_argument("--size", type=int, default=SIZE, help="side of a crop, pixels")
    chosen = parser.parse_args(argv)
    if not (1 <= chosen.crops <= 256 and 8 <= chosen.size <= 1024):
        parser.error("--crops must be 1 to 256, --size 8 to 1024")
    try:
        data = data_folder(chosen.data)
        spec = built_in.get(chosen.corpus) or find(chosen.corpus)
        if spec.scenes is None:
            raise ValueError(f"corpus {chosen.corpus!r} has no videos; {', '.join(built_in)} have")
        name, parts = spec.scenes
        for part, scenes in parts(data).items():
            folder = data / FACES / name / part
            counts = cut_corpus(scenes, folder, chosen.crops, chosen.size)
            summary = ", ".join(f"{count} {outcome}" for outcome, count in counts.most_common())
            print(f"{folder}: {summary}", flush=True)
    except (ValueError, FileNotFoundError, RuntimeError) as error:
        print(f"erc cut-faces: {error}", file=sys.stderr)
        return 2
    return 0
