"""Face detection on a thread of its own: when a result takes effect."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from erc_ros.sensing.background import background_executor
from erc_ros.sensing.face_search import TICKS, FaceSearch
from erc_ros.sensing.faces import Box, FaceTracker
from erc_ros.sensing.frames import Frame
from erc_ros.sensing.images import ImageError, to_bgr
from erc_ros.values.nanoseconds import NS

T0 = 1_700_000_000 * NS
FACE = Box(20, 20, 60, 60)


class Detector:
    """Always detects the same face, after it is released; records its threads."""

    def __init__(self) -> None:
        self.may_find = threading.Event()
        self.may_find.set()
        self.threads: set[str] = set()

    def detect(self, frame: Frame) -> list[Box]:
        to_bgr(frame)
        self.may_find.wait(30)
        self.threads.add(threading.current_thread().name)
        return [FACE]


@pytest.fixture
def detector() -> Detector:
    return Detector()


@pytest.fixture
def search(detector: Detector) -> Iterator[FaceSearch]:
    face_search = FaceSearch(FaceTracker(detector))
    yield face_search
    detector.may_find.set()
    face_search.close()


def frame(stamp: int = T0, encoding: str = "mono8") -> Frame:
    return Frame(stamp, encoding, 100, 100, 100, np.full(10_000, 90, np.uint8).tobytes())


def test_a_frame_takes_effect_with_the_second_tick(search: FaceSearch, detector: Detector) -> None:
    search.submit(frame())
    results = [search.advance() for _ in range(TICKS + 1)]
    assert results[: TICKS - 1] == [[]] * (TICKS - 1)
    (face,) = results[TICKS - 1]
    assert face.stamp == T0
    assert results[TICKS] == [] == search.finish()
    assert threading.current_thread().name not in detector.threads


def test_the_next_frame_takes_the_result_of_the_one_before(search: FaceSearch) -> None:
    search.submit(frame())
    assert search.advance() == []
    assert len(search.finish()) == 1 and search.finish() == []
    search.submit(frame(T0 + NS // 5))
    assert [face.stamp for face in search.finish()] == [T0 + NS // 5]


def test_a_search_that_takes_long_is_waited_for(search: FaceSearch, detector: Detector) -> None:
    detector.may_find.clear()
    search.submit(frame())
    assert search.advance() == []
    threading.Timer(0.1, detector.may_find.set).start()
    assert len(search.finish()) == 1


def test_reset_forgets_the_search_that_runs(search: FaceSearch) -> None:
    search.submit(frame())
    first = search.finish()[0].track_id
    search.submit(frame(T0 + NS // 5))
    search.reset()
    assert search.finish() == [] and search.advance() == []
    search.submit(frame(T0 + NS))
    assert search.finish()[0].track_id != first


def test_an_unreadable_frame_is_reported_where_its_faces_are_taken(search: FaceSearch) -> None:
    search.submit(frame(encoding="no-such-encoding"))
    with pytest.raises(ImageError, match="no-such-encoding"):
        search.finish()
    search.submit(frame(T0 + NS))
    assert len(search.finish()) == 1


def test_close_ends_the_thread() -> None:
    executor = background_executor("for-this-test")
    assert executor.submit(threading.current_thread).result().name.startswith("for-this-test")
    executor.shutdown(wait=True)
    assert not [t for t in threading.enumerate() if t.name.startswith("for-this-test")]


@pytest.mark.skipif(sys.platform != "linux", reason="threads have no priority of their own")
def test_the_thread_stands_back_behind_a_process_of_low_priority() -> None:
    """A user may not raise a priority: the thread of a process at 10 cannot run at 5."""
    code = (
        "import os, threading; os.nice(10)\n"
        "from erc_ros.sensing.background import background_executor\n"
        "thread = background_executor('test').submit(threading.get_native_id).result()\n"
        "print(os.getpriority(os.PRIO_PROCESS, thread) - os.getpriority(os.PRIO_PROCESS, 0))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 0 <= int(done.stdout) <= 5
