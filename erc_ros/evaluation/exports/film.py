"""Audio and images of a recording as WAV and MP4, for ELAN and other players.

Time 0 of both is the recording's first message, as in every other export.
"""

from __future__ import annotations

import wave
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from erc_ros.parameters import RobotConfig
from erc_ros.pipeline import PerceptionConfig, microphone_of
from erc_ros.replay.bag import BagRecord, Recording, Topic
from erc_ros.replay.consent import WithheldTimes, withheld_times
from erc_ros.replay.offline import adapter_of, heard_topics
from erc_ros.replay.recording import open_recording
from erc_ros.sensing.audio import AudioFormat, AudioSamples
from erc_ros.sensing.frames import Frame
from erc_ros.sensing.images import ImageError, to_bgr
from erc_ros.sensing.microphone import AudioChunk
from erc_ros.values.files import whole_file
from erc_ros.values.nanoseconds import NS, seconds
from erc_ros.values.utterance import SAMPLE_RATE

_TOLERANCE = seconds(0.02)  # smaller steps of the clock are not gaps
_AHEAD = seconds(60.0)  # stamps later than this after arrival are from another clock
_MILLISECONDS = Fraction(1, 1000)
_FILM_RATE = 15.0  # Hz; images of a video from a media file
_WIDEST = 1280  # pixels; wider images are scaled down


def write_media(
    bag: Path,
    topics: Mapping[str, str],
    origin: int,
    folder: Path,
    name: str,
    robot: RobotConfig | None = None,
) -> list[Path]:
    """Write NAME.wav and NAME.mp4 of a recording, if it has audio and images.

    While `recording_allowed` was false, the audio is silent and the video black.

    Args:
        topics, robot: as `replay` takes them.
        origin: ns, the recording's first message.

    Raises:
        BagError: the recording has no usable topic.
        OSError: the folder cannot be written to.
    """
    robot = RobotConfig() if robot is None else robot
    folder.mkdir(parents=True, exist_ok=True)
    with open_recording(bag, frame_rate=_FILM_RATE) as opened:
        selected = heard_topics(opened, topics, robot.utterance_node, Counter())
        withheld = withheld_times(opened)
        audio = robot.utterance_node.perception
        files = (
            write_wav(
                opened,
                selected,
                origin,
                folder / f"{name}.wav",
                audio,
                withheld,
            ),
            write_mp4(opened, selected, origin, folder / f"{name}.mp4", withheld),
        )
    return [file for file in files if file is not None]


def write_wav(
    bag: Recording,
    topics: Mapping[str, list[Topic]],
    origin: int,
    file: Path,
    config: PerceptionConfig,
    withheld: WithheldTimes,
) -> Path | None:
    """Write the audio that the pipeline processes: mono, 16 kHz, 16 bit; None without audio.

    Gaps are silent, so that a time in the file is a time of the recording; audio whose stamps are
    minutes after its arrival is excluded.

    Args:
        topics: as `heard_topics` gives them.
        withheld: times at which the audio is silent.

    Raises:
        OSError: the folder cannot be written to.
    """
    sounds = _sounds(bag, topics, config, withheld)
    first = next(sounds, None)
    if first is None:
        return None
    written = 0
    with whole_file(file) as part, wave.open(str(part), "wb") as stream:
        stream.setnchannels(1)
        stream.setsampwidth(2)
        stream.setframerate(SAMPLE_RATE)
        for sound in chain((first,), sounds):
            samples = np.clip(np.rint(sound.samples * 32768), -32768, 32767).astype("<i2")
            _silence(samples, sound.start, withheld)
            expected = (sound.start - origin) * SAMPLE_RATE // NS
            missing = expected - written
            if abs(missing) * NS <= _TOLERANCE * SAMPLE_RATE and written:
                missing = 0
            samples = samples[max(0, -missing) :]
            for position in range(0, max(0, missing), SAMPLE_RATE):
                stream.writeframes(bytes(2 * min(SAMPLE_RATE, missing - position)))
            stream.writeframes(samples.tobytes())
            written += max(0, missing) + len(samples)
    return file


def _silence(samples: NDArray[np.int16], start: int, withheld: WithheldTimes) -> None:
    """Silence the parts of samples from `start` (ns) on that are withheld."""
    for span in withheld.spans:
        first, last = ((time - start) * SAMPLE_RATE // NS for time in span)
        samples[max(0, first) : max(0, last + 1)] = 0


def _sounds(
    bag: Recording,
    topics: Mapping[str, list[Topic]],
    config: PerceptionConfig,
    withheld: WithheldTimes,
) -> Iterator[AudioSamples]:
    microphone = microphone_of(config)
    microphone.expects_info = "audio_info" in topics
    now = 0
    for record in _records(bag, topics, ("audio", "audio_info")):
        now = record.time
        try:
            value = adapter_of(record).read(record.message, record.time)
            if isinstance(value, AudioFormat):
                microphone.inform(value)
            elif isinstance(value, AudioChunk) and not withheld.touch(record.time, record.time):
                yield from _sound_until(now + _AHEAD, microphone.feed(value))
        except ValueError:
            continue  # `replay` counts and reports it
    yield from _sound_until(now + _AHEAD, microphone.flush())


def _sound_until(latest: int, events: Iterable[object]) -> Iterator[AudioSamples]:
    return (event for event in events if isinstance(event, AudioSamples) and event.start <= latest)


def _records(
    bag: Recording, topics: Mapping[str, list[Topic]], roles: tuple[str, ...]
) -> Iterator[BagRecord]:
    return bag.messages({topic.name for role in roles for topic in topics.get(role, ())})


def write_mp4(
    bag: Recording,
    topics: Mapping[str, list[Topic]],
    origin: int,
    file: Path,
    withheld: WithheldTimes,
) -> Path | None:
    """Write the camera's images as H.264, each at its time; None without images.

    Args:
        topics: as `heard_topics` gives them.
        withheld: times at which the video is black.

    Raises:
        OSError: the folder cannot be written to.
    """
    if "image" not in topics:
        return None
    import av

    pictures = _pictures(bag, topics, origin, withheld)
    first = next(pictures, None)
    if first is None:
        return None
    exact = {"fflags": "+bitexact"}
    with (
        whole_file(file) as part,
        av.open(str(part), "w", format="mp4", options=exact) as container,
    ):
        stream = _stream(container, first[1])
        for time, picture in chain((first,), pictures):
            height, width = stream.height, stream.width
            if picture.shape[:2] != (height, width):
                picture = np.asarray(cv2.resize(picture, (width, height)), np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
            frame.pts, frame.time_base = time, _MILLISECONDS
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file


def _stream(container: Any, picture: NDArray[np.uint8]) -> Any:
    """Add a video stream with one encoder thread: with several, the bytes depend on the machine."""
    import av

    height, width = picture.shape[:2]
    scale = min(1.0, _WIDEST / width)
    stream = container.add_stream("libx264", rate=30, options={"preset": "veryfast", "crf": "26"})
    stream.width, stream.height = (max(2, int(side * scale) // 2 * 2) for side in (width, height))
    stream.pix_fmt = "yuv420p"
    stream.time_base = stream.codec_context.time_base = _MILLISECONDS
    stream.codec_context.thread_count = 1
    stream.codec_context.flags |= av.codec.context.Flags.bitexact
    return stream


def _pictures(
    bag: Recording, topics: Mapping[str, list[Topic]], origin: int, withheld: WithheldTimes
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield (ms, image) in ascending order; the first image is shown from 0 on."""
    last = -1
    for record in _records(bag, topics, ("image",)):
        try:
            frame = adapter_of(record).read(record.message, record.time)
            if not isinstance(frame, Frame):
                continue
            picture = to_bgr(frame)
            if withheld.touch(*sorted((frame.stamp, record.time))):
                picture = np.zeros_like(picture)
        except (ValueError, ImageError):
            continue  # `replay` counts and reports it
        time = (frame.stamp - origin) // 1_000_000
        if last < 0:
            yield 0, picture
            last = 0
        if time > last:
            yield time, picture
            last = time
