"""Live sources: microphones and cameras of this machine, or files in their place.

A source runs in a separate thread and yields values whose `arrival` (audio) or `stamp` (images) is
the current time of a `Clock`.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from erc_ros.media.files import CHUNK, MAX_SIDE, ORIGIN, SUFFIXES, MediaError, MediaFile
from erc_ros.sensing.audio import MAX_RATE, MIN_RATE, AudioFormat
from erc_ros.sensing.frames import Frame
from erc_ros.sensing.microphone import AudioChunk
from erc_ros.values.bounds import shown
from erc_ros.values.errors import ErcRuntimeError, ErcValueError
from erc_ros.values.nanoseconds import NS, seconds

FRAME_RATE = 15.0  # Hz, of a camera
NONE, DEFAULT = "none", "default"
MAX_SPEED = 100.0
_SILENCE = 3.0  # s without data after which a device counts as unplugged
_WAITING = 600  # maximum number of audio blocks that wait for the thread of the source
_JUMP = seconds(0.1)  # deviation of measured from expected time that indicates lost audio
_STEP = seconds(0.001)  # maximum adaptation of a block's time to the measured time


class DeviceError(ErcRuntimeError):
    """A microphone or camera cannot be used or was unplugged; the message states a remedy."""


class Clock:
    """The current time in ns since 1970.

    Args:
        speed: factor of real time; for files as sources.
        read: the underlying clock (ns). With `time.time_ns` the time follows corrections of the
            system clock, as the clocks of ROS nodes do.

    Attributes:
        start: time of its creation (ns).
    """

    def __init__(self, speed: float = 1.0, read: Callable[[], int] = time.monotonic_ns) -> None:
        if not 0.01 <= speed <= MAX_SPEED:
            raise ErcValueError(f"speed is {speed:g}; must be 0.01 to {MAX_SPEED:g}")
        self.speed = speed
        self.start = time.time_ns()
        self._read, self._begin = read, read()

    def now(self) -> int:
        """Return the current time (ns)."""
        passed = self._read() - self._begin
        return self.start + (passed if self.speed == 1 else int(passed * self.speed))

    def sleep_until(self, moment: int, stop: threading.Event) -> bool:
        """Wait until `moment` (ns); return whether `stop` is still unset."""
        while (left := moment - self.now()) > 0:
            if stop.wait(min(0.5, left / NS / self.speed)):
                return False
        return not stop.is_set()


class Source(Protocol):
    """A microphone or a camera.

    Contract: `values` yields in the order of time and returns soon after `stop` is set or at the
    end of a file. It is called once.
    """

    kind: str
    """ "microphone" or "camera". """
    name: str
    """Name for the user."""
    can_wait: bool
    """Whether its values may be taken late: a file can wait, a device cannot."""

    def values(self, clock: Clock, stop: threading.Event) -> Iterator[AudioChunk | Frame]:
        """Yield audio chunks (mono, with format and stamp) or frames (bgr8).

        Raises:
            DeviceError: the device cannot be used, or was unplugged.
            MediaError: the file cannot be used.
        """


class FileMicrophone:
    """The audio of a media file, played at the speed of the clock."""

    kind, can_wait = "microphone", True

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, path.name

    def values(self, clock: Clock, stop: threading.Event) -> Iterator[AudioChunk]:
        """See `Source`."""
        for chunk in MediaFile(self.path).chunks():
            assert chunk.stamp is not None
            if not clock.sleep_until(clock.start + chunk.arrival - ORIGIN, stop):
                return
            yield replace(chunk, stamp=clock.start + chunk.stamp - ORIGIN, arrival=clock.now())


class FileCamera:
    """The video of a media file, played at the speed of the clock. rate: maximum (Hz)."""

    kind, can_wait = "camera", True

    def __init__(self, path: Path, rate: float = FRAME_RATE) -> None:
        self.path, self.name, self.rate = path, path.name, rate

    def values(self, clock: Clock, stop: threading.Event) -> Iterator[Frame]:
        """See `Source`."""
        media = MediaFile(self.path)
        if media.video is None:
            raise MediaError(f"{self.path} has no video track")
        for frame in media.frames(self.rate):
            stamp = clock.start + frame.stamp - ORIGIN
            if not clock.sleep_until(stamp, stop):
                return
            yield replace(frame, stamp=stamp)


class Microphone:
    """A microphone of this machine, read with PortAudio.

    Args:
        device: number or part of the name, as listed by `erc live --list-devices`; "": the default
            microphone.
    """

    kind, can_wait = "microphone", False

    def __init__(self, device: str = "") -> None:
        self.device, self.name = device, device or DEFAULT
        self.lost = 0  # blocks that were dropped here or by the driver

    def values(self, clock: Clock, stop: threading.Event) -> Iterator[AudioChunk]:
        """See `Source`."""
        library = sounddevice()
        blocks: queue.Queue[tuple[int, bytes]] = queue.Queue(_WAITING)
        ended = threading.Event()
        device = int(self.device) if self.device.isdecimal() else self.device or None

        def receive(data: Any, count: int, times: Any, status: Any) -> None:
            self.lost += bool(status)
            delay = float(times.currentTime - times.inputBufferAdcTime)
            if not 0 < delay < 5:  # some drivers do not report it
                delay = count / rate
            try:
                blocks.put_nowait((clock.now() - seconds(delay), bytes(data)))
            except queue.Full:
                self.lost += 1

        try:
            information = library.query_devices(device, "input")
            rate = round(min(max(information["default_samplerate"], MIN_RATE), MAX_RATE))
            self.name = str(information["name"])
            stream = library.RawInputStream(
                rate,
                device=device,
                channels=1,
                dtype="int16",
                blocksize=rate * CHUNK // NS,
                callback=receive,
                finished_callback=ended.set,
            )
        except (library.PortAudioError, ValueError) as error:
            raise DeviceError(
                f"no microphone {self.device or DEFAULT!r} ({shown(error)}): connect one, allow "
                "its use, or choose another (--list-devices)"
            ) from error
        with stream:
            yield from self._chunks(blocks, clock, stop, ended, AudioFormat(rate, 1, "S16LE"))

    def _chunks(
        self,
        blocks: queue.Queue[tuple[int, bytes]],
        clock: Clock,
        stop: threading.Event,
        ended: threading.Event,
        format: AudioFormat,
    ) -> Iterator[AudioChunk]:
        expected: int | None = None
        last = time.monotonic()
        order = "<i2" if sys.byteorder == "little" else ">i2"
        while not stop.is_set():
            try:
                measured, data = blocks.get(timeout=0.2)
            except queue.Empty:
                if ended.is_set() or time.monotonic() - last > _SILENCE:
                    raise DeviceError(
                        f"no audio from microphone {self.name!r} for {_SILENCE:g} s: it was "
                        "unplugged, or another program uses it; connect it and start again"
                    ) from None
                continue
            last = time.monotonic()
            # Arrival times have jitter; the number of samples gives more exact times.
            stamp = measured
            if expected is not None and abs(measured - expected) < _JUMP:
                stamp = expected + min(max(measured - expected, -_STEP), _STEP)
            samples = np.frombuffer(data, order)
            expected = stamp + len(samples) * NS // format.rate
            yield AudioChunk(
                samples.astype("<i2", copy=False).tobytes(), stamp, clock.now(), format=format
            )


class Camera:
    """A camera of this machine, read with OpenCV.

    Args:
        device: its number, or `/dev/videoN`.
        rate: maximum frame rate (Hz).
    """

    kind, can_wait = "camera", False

    def __init__(self, device: str = "0", rate: float = FRAME_RATE) -> None:
        number = device.removeprefix("/dev/video")
        if not number.isdecimal():
            raise DeviceError(
                f"there is no camera {shown(device)}; give a number, /dev/videoN or a video file"
            )
        self.number, self.rate = int(number), rate
        self.name = f"/dev/video{self.number}" if sys.platform == "linux" else number

    def values(self, clock: Clock, stop: threading.Event) -> Iterator[Frame]:
        """See `Source`."""
        self._check()
        capture = cv2.VideoCapture(self.number)
        try:
            if not capture.isOpened():
                raise DeviceError(
                    f"camera {self.name} could not be opened: allow its use for this program, or "
                    "end the program that uses it"
                )
            capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
            last, due = time.monotonic(), clock.now()
            while not stop.is_set():
                is_read, pixels = capture.read()
                now = clock.now()
                if not is_read:
                    if time.monotonic() - last > _SILENCE or not self._exists():
                        raise DeviceError(
                            f"camera {self.name} stopped sending images: it was unplugged; "
                            "connect it and start again"
                        )
                    stop.wait(0.1)
                    continue
                last = time.monotonic()
                if now >= due:
                    due = max(due + round(NS / self.rate), now - NS)
                    yield frame_of(pixels, now)
        finally:
            capture.release()

    def _exists(self) -> bool:
        return sys.platform != "linux" or Path(self.name).exists()

    def _check(self) -> None:
        if not self._exists():
            raise DeviceError(f"there is no camera {self.name}: connect one, or choose another")
        if sys.platform == "linux" and not os.access(self.name, os.R_OK | os.W_OK):
            raise DeviceError(
                f"no permission for the camera {self.name}: add your user to the group video "
                "(sudo usermod -aG video $USER) and log in again"
            )


def frame_of(pixels: Any, stamp: int) -> Frame:
    """Return a BGR image of OpenCV as a frame of at most MAX_SIDE pixels per side."""
    scale = MAX_SIDE / max(pixels.shape[:2])
    if scale < 1:
        pixels = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    if pixels.ndim == 2:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR)
    height, width = pixels.shape[:2]
    data = np.ascontiguousarray(pixels, np.uint8).tobytes()
    return Frame(stamp, "bgr8", width, height, 3 * width, data)


def sounddevice() -> Any:
    """Import and return the library for microphones.

    Raises:
        DeviceError: sounddevice or PortAudio is missing.
    """
    try:
        import sounddevice
    except ModuleNotFoundError as error:
        raise DeviceError(
            "sounddevice is not installed: in the source tree, pip install '.[live]'"
        ) from error
    except OSError as error:  # the wheel for Linux does not include PortAudio
        raise DeviceError(
            "the library PortAudio is missing: sudo apt install libportaudio2"
        ) from error
    return sounddevice


def open_microphone(name: str) -> Source | None:
    """Return the source of `--microphone`: a file, a device, or None for "none"."""
    if name == NONE:
        return None
    if _is_file(name):
        return FileMicrophone(_existing(name))
    return Microphone("" if name == DEFAULT else name)


def open_camera(name: str, rate: float = FRAME_RATE) -> Source | None:
    """Return the source of `--camera`: a file, a device, or None for "none".

    Raises:
        DeviceError: it is not the name of a camera. FileNotFoundError: the file does not exist.
    """
    if name == NONE:
        return None
    if _is_file(name):
        return FileCamera(_existing(name), rate)
    return Camera("0" if name == DEFAULT else name, rate)


def _is_file(name: str) -> bool:
    return Path(name).suffix.casefold() in SUFFIXES or Path(name).is_file()


def _existing(name: str) -> Path:
    if not (path := Path(name)).is_file():
        raise FileNotFoundError(f"{name} does not exist; give a media file, a device or none")
    return path


def devices() -> list[str]:
    """Return one line for each microphone and camera."""
    lines = []
    try:
        library = sounddevice()
        for number, each in enumerate(library.query_devices()):
            if each["max_input_channels"]:
                lines.append(f"microphone {number}: {each['name']}")
    except DeviceError as error:
        lines.append(f"microphones: {error}")
    lines += [f"camera {path}" for path in sorted(Path("/dev").glob("video*"))]
    return lines
