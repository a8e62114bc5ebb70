"""A face detector that also finds faces in profile: two cascades of OpenCV."""

from __future__ import annotations

from pathlib import Path

import cv2

from erc_ros.sensing.faces import Box, sorted_boxes
from erc_ros.sensing.frames import Frame
from erc_ros.sensing.images import image_size, to_gray

WIDTH = 320  # pixels of the searched image
SMALLEST = 32  # pixels of the smallest face in it
CASCADES = ("haarcascade_frontalface_alt2.xml", "haarcascade_profileface.xml")


class ProfileDetector:
    """`erc_ros.sensing.faces.FaceDetector`: frontal faces, else faces in profile."""

    def __init__(self) -> None:
        folder = Path(cv2.data.haarcascades)
        self._cascades = [cv2.CascadeClassifier(str(folder / name)) for name in CASCADES]

    def detect(self, frame: Frame) -> list[Box]:
        """Return the faces in the frame, the largest first."""
        gray = to_gray(frame, WIDTH)
        width, height = image_size(frame)
        for cascade in self._cascades:
            faces = cascade.detectMultiScale(
                gray, scaleFactor=1.15, minNeighbors=3, minSize=(SMALLEST, SMALLEST)
            )
            if len(faces):
                scale = width / gray.shape[1]
                boxes = [tuple(float(value) * scale for value in face) for face in faces]
                return sorted_boxes(boxes, width, height)
        return []
