"""Face detection on a background thread with a deterministic result.

Detection takes 20 to 40 ms, five times per second, and would delay the other inputs. It starts with
its frame, and its result takes effect with the next frame or with the second clock tick after it,
whichever is first. This is a fixed position in the order of the inputs: a slow computer waits there
and gives the same results.
"""

from __future__ import annotations

from concurrent.futures import Future

from erc_ros.sensing.background import background_executor
from erc_ros.sensing.faces import FaceObservation, FaceTracker
from erc_ros.sensing.frames import Frame

TICKS = 2  # clock ticks after which a result takes effect if no frame follows


class FaceSearch:
    """Run a face tracker on a thread of its own. Not thread-safe: for one caller.

    Each method that returns faces waits for the detection in the last frame, and raises ImageError
    if that frame could not be decoded.
    """

    def __init__(self, tracker: FaceTracker) -> None:
        self._tracker = tracker
        self._worker = background_executor("faces")
        self._search: Future[list[FaceObservation]] | None = None
        self._ticks = 0  # since the frame was submitted

    def submit(self, frame: Frame) -> None:
        """Start detection in a frame; the previous result must have been taken (`finish`)."""
        assert self._search is None
        self._search, self._ticks = self._worker.submit(self._tracker.feed, frame), 0

    def advance(self) -> list[FaceObservation]:
        """Count a clock tick and return the faces of the last frame when they take effect."""
        self._ticks += 1
        return self.finish() if self._ticks >= TICKS else []

    def finish(self) -> list[FaceObservation]:
        """Wait for the faces of the last frame; empty if they were already returned."""
        search, self._search = self._search, None
        return [] if search is None else search.result()

    def reset(self) -> None:
        """Discard the tracks and the running detection."""
        if self._search is not None:
            self._search.exception()  # waits for its end
        self._search = None
        self._tracker.reset()

    def close(self) -> None:
        """End the thread."""
        self._worker.shutdown(wait=True, cancel_futures=True)
