"""Face detection in the background of the other inputs.

A search takes 20 to 40 ms, five times a second. In the stream's way, a text that comes meanwhile
would wait for it. So a search begins with its frame and takes effect with the next frame, or with
the second tick of the clock after it, whichever comes first: a fixed place in the order of the
inputs, so that a slow machine waits there and never answers differently.
"""

from __future__ import annotations

from concurrent.futures import Future

from erc_ros.sensing.background import background_executor
from erc_ros.sensing.faces import FaceObservation, FaceTracker
from erc_ros.sensing.frames import Frame

TICKS = 2  # that a search may take where no frame follows


class FaceSearch:
    """Runs a tracker on a thread of its own. Not thread-safe: one caller.

    Every method that returns faces waits for the search that began with the last frame, and raises
    ImageError where that frame could not be read.
    """

    def __init__(self, tracker: FaceTracker) -> None:
        self._tracker = tracker
        self._worker = background_executor("faces")
        self._search: Future[list[FaceObservation]] | None = None
        self._ticks = 0  # since it began

    def submit(self, frame: Frame) -> None:
        """Begin a search; the result of the one before must have been taken (`finish`)."""
        assert self._search is None
        self._search, self._ticks = self._worker.submit(self._tracker.feed, frame), 0

    def advance(self) -> list[FaceObservation]:
        """The clock has ticked: the faces of the last frame, if it is their turn."""
        self._ticks += 1
        return self.finish() if self._ticks >= TICKS else []

    def finish(self) -> list[FaceObservation]:
        """The faces of the last frame, now; empty where they were taken before."""
        search, self._search = self._search, None
        return [] if search is None else search.result()

    def reset(self) -> None:
        """Forget the faces, and the search that runs."""
        if self._search is not None:
            self._search.exception()  # until it has ended
        self._search = None
        self._tracker.reset()

    def close(self) -> None:
        """End the thread."""
        self._worker.shutdown(wait=True, cancel_futures=True)
