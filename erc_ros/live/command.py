"""`erc live`: estimate emotions from microphone and camera of this machine, without ROS."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import webbrowser
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from erc_ros.live.page import LivePage
from erc_ros.live.recorder import Recorder
from erc_ros.live.session import LiveSession, Observer
from erc_ros.media.devices import (
    DEFAULT,
    FRAME_RATE,
    Clock,
    Source,
    devices,
    open_camera,
    open_microphone,
)
from erc_ros.media.recognizers import load_recognizer
from erc_ros.parameters import RobotConfig
from erc_ros.pipeline import Pipeline
from erc_ros.replay.rows import Row
from erc_ros.values.errors import ErcValueError

NO_RECOGNIZER = (
    "no speech recognizer: estimates use voice and face only, which are much less accurate than "
    "text; select one with --recognizer"
)
ShowRow = Callable[[Row, int], None]


def source_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that select microphone, camera and speech recognizer."""
    parser.add_argument(
        "--microphone",
        default=DEFAULT,
        metavar="NAME",
        help="number or part of the name of a microphone, an audio or video file to use instead, "
        "or none",
    )
    parser.add_argument(
        "--camera",
        default=DEFAULT,
        metavar="NAME",
        help="number of a camera, /dev/videoN, a video file to use instead, or none",
    )
    parser.add_argument("--list-devices", action="store_true", help="list the devices and exit")
    parser.add_argument(
        "--recognizer",
        metavar="KIND:MODEL",
        help="speech recognizer: faster-whisper:MODEL, whisper.cpp:MODEL, vosk:FOLDER, "
        "pocketsphinx (for trials), or package.module:Class",
    )
    parser.add_argument(
        "--language",
        default="",
        metavar="CODE",
        help="spoken language, such as en; default: detected by the recognizer",
    )


def sources_of(options: argparse.Namespace) -> list[Source]:
    """Return the microphone and the camera that the user selected.

    Raises:
        DeviceError, FileNotFoundError: it is not the name of a camera; the file does not exist.
        ValueError: both are none.
    """
    chosen = open_microphone(options.microphone), open_camera(options.camera, FRAME_RATE)
    sources = [source for source in chosen if source is not None]
    if not sources:
        raise ErcValueError("--microphone none --camera none: at least one source is required")
    return sources


@contextmanager
def stopped_by_signals() -> Iterator[threading.Event]:
    """Yield an event that SIGINT and SIGTERM set."""
    stop = threading.Event()
    numbers = (signal.SIGINT, signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    former = {number: signal.signal(number, lambda *_: stop.set()) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


class _Console(Observer):
    def __init__(self, show: ShowRow) -> None:
        self._show, self._origin = show, 0

    def begin(self, origin: int) -> None:
        self._origin = origin

    def estimate(self, row: Row, rows: Sequence[Row]) -> None:
        self._show(row, self._origin)

    def note(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `erc live`."""
    source_options(parser)
    parser.add_argument(
        "--browser",
        action="store_true",
        help="also show images and explanations on a local web page",
    )
    parser.add_argument(
        "--port", type=int, default=0, help="port of that page; default: any free port"
    )
    parser.add_argument(
        "--record",
        type=Path,
        metavar="FILE.mkv",
        help="record audio, video and texts; without this option nothing is stored",
    )
    parser.add_argument("--no-text", action="store_true", help="do not show texts")
    parser.add_argument(
        "--speed", type=float, default=1.0, help="factor of real time, if all sources are files"
    )


def run(options: argparse.Namespace, robot: RobotConfig, show: ShowRow) -> int:
    """Run until the sources end or a signal arrives.

    Args:
        options: parsed options of `add_options`.
        robot: parameters of the pipeline.
        show: prints an estimate; receives the row and the start of the session (ns).

    Returns:
        0, or 1 if all sources failed without data.

    Raises:
        ValueError, OSError, DeviceError: an option is invalid.
    """
    if options.list_devices:
        print("\n".join(devices()))
        return 0
    sources = sources_of(options)
    if options.speed != 1 and not all(source.can_wait for source in sources):
        raise ErcValueError(
            "--speed requires files: use --microphone FILE and --camera FILE; one may be none"
        )
    Clock(options.speed)  # checks the speed before the models are loaded
    recognizer = None
    if options.recognizer:
        recognizer = load_recognizer(options.recognizer, options.language)
    console = _Console(show)
    has_microphone = any(source.kind == "microphone" for source in sources)
    if has_microphone and recognizer is None:
        console.note(f"warning: {NO_RECOGNIZER}")
    with ExitStack() as stack, stopped_by_signals() as stop:
        observers: list[Observer] = [console]
        recorder = None
        if options.record is not None:
            recorder = Recorder(options.record, [source.kind for source in sources])
            stack.callback(_finish, recorder)
            observers.append(recorder)
            console.note(f"recording to {recorder.path}")
        pipeline = stack.enter_context(Pipeline(robot.pipeline))
        if options.browser:
            page = LivePage(pipeline, options.port)
            stack.callback(page.close)
            observers.append(page)
            console.note(f"open {page.url}")
            if _has_window():
                webbrowser.open(page.url)
        for source in sources:
            console.note(f"{source.kind}: {source.name}")
        console.note("stop with Ctrl-C")
        session = LiveSession(
            pipeline, sources, recognizer, robot.utterance_node.perception.face_rate, observers
        )
        session.run(Clock(options.speed), stop)
    return 0 if session.received or not session.failed else 1


def _finish(recorder: Recorder) -> None:
    for file in recorder.close():
        print(f"  {file}", flush=True)


def _has_window() -> bool:
    """Whether a browser can open a window; on a server it might use the terminal instead."""
    names = ("DISPLAY", "WAYLAND_DISPLAY")
    return sys.platform != "linux" or any(os.environ.get(name) for name in names)
