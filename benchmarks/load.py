"""Load test in real time: losses, CPU and memory with camera, microphone and speech recognizer.

    python -m benchmarks.load [--seconds 60]      (the target is for 600)
    python -m benchmarks.load --memory            and write benchmarks/results/memory.json

The camera sends raw images at 30 Hz. The first half of the time is silence, in the second half the
dialogue of the demo is played. Stamps are wall-clock times. CPU and memory of the process of the
nodes are read from /proc; 100 % is one core.
"""

from __future__ import annotations

import argparse
import os
import platform
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import Figure, description
from benchmarks.record import write_results
from erc_ros.demo.conversation_bag import DIALOGUE, HEIGHT, WIDTH, Phrase, perform, portrait
from erc_ros.demo.voices import synthesiser
from erc_ros.inference.bundle import load_bundle
from erc_ros.parameters import RobotConfig
from erc_ros.replay.definitions import typestore
from erc_ros.replay.via_dds import Listening, Nodes, recognizable_speech, running_nodes
from erc_ros.resources import model_folder
from erc_ros.values.nanoseconds import NS
from erc_ros.values.utterance import SAMPLE_RATE

FRAMES, CHUNKS = 30, 50  # per second
SAMPLES = SAMPLE_RATE // CHUNKS
WARM_UP = 5.0  # s that are excluded from CPU and memory
IMAGE, SOUND = "sensor_msgs/msg/Image", "audio_common_msgs/msg/AudioDataStamped"


class Stamped:
    """A serialized message with a variable header stamp (in CDR after the first 4 bytes)."""

    def __init__(self, kind: str, message: object) -> None:
        self._bytes = bytearray(typestore().serialize_cdr(message, kind))

    def at(self, stamp: int) -> bytes:
        """Return the bytes with `stamp` (ns)."""
        struct.pack_into("<iI", self._bytes, 4, *divmod(stamp, NS))
        return bytes(self._bytes)


def _header() -> object:
    types = typestore().types
    stamp = types["builtin_interfaces/msg/Time"](sec=0, nanosec=0)
    return types["std_msgs/msg/Header"](stamp=stamp, frame_id="bench")


def _image(pixels: NDArray[np.uint8]) -> Stamped:
    message = typestore().types[IMAGE](
        header=_header(),
        height=HEIGHT,
        width=WIDTH,
        encoding="bgr8",
        is_bigendian=0,
        step=3 * WIDTH,
        data=pixels.reshape(-1),
    )
    return Stamped(IMAGE, message)


def _sound(samples: NDArray[np.float32]) -> Stamped:
    types = typestore().types
    data = (np.clip(samples, -1, 1) * 32767).astype("<i2").view(np.uint8)
    audio = types["audio_common_msgs/msg/AudioData"](data=data)
    return Stamped(SOUND, types[SOUND](header=_header(), audio=audio))


def _text(kind: str, text: str, stamp: int) -> bytes:
    types = typestore().types
    if kind == "std_msgs/msg/String":
        return bytes(typestore().serialize_cdr(types[kind](data=text), kind))
    message = types[kind](
        header=_header(), incremental="", final=text, confidence=0.9, locale="en_US"
    )
    return Stamped(kind, message).at(stamp)


@dataclass
class Usage:
    """Samples of one process: time (s), CPU time used so far (s), RSS and PSS (MB)."""

    pid: int
    samples: list[tuple[float, float, float, float]] = field(default_factory=list)

    def look(self) -> None:
        """Take a sample."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        memory = int(fields[21]) * os.sysconf("SC_PAGE_SIZE") / 1e6
        rollup = Path(f"/proc/{self.pid}/smaps_rollup").read_text()
        pss = int(rollup.partition("\nPss:")[2].split()[0]) * 1024 / 1e6
        self.samples.append((time.monotonic(), cpu, memory, pss))

    def cpu(self, begin: float, end: float) -> float:
        """Return the CPU use in percent of one core between two monotonic times."""
        inside = [s for s in self.samples if begin <= s[0] <= end]
        return 100 * (inside[-1][1] - inside[0][1]) / (inside[-1][0] - inside[0][0])

    def memory(self, begin: float, end: float) -> list[float]:
        """Return the memory samples in MB between two times."""
        return [s[2] for s in self.samples if begin <= s[0] <= end]


def children(pid: int) -> list[int]:
    """Return the process ids of the children of a process."""
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def measure(robot: RobotConfig, seconds: float) -> list[Figure]:
    """Run the load test for `seconds`."""
    sound, phrases = perform(DIALOGUE, synthesiser())
    with running_nodes(robot, {}) as nodes, Listening() as listening:
        bench = _Bench(listening, sound, phrases)
        bench.connect(nodes)
        (pid,) = children(nodes.process.pid)
        usage = Usage(pid)
        begin = time.monotonic()
        bench.run(seconds, usage.look)
        bench.settle(lambda: bench.lost_frames() == 0 and bench.lost_chunks() == 0)
        end = time.monotonic()
        half = begin + seconds / 2
        early = usage.memory(begin + WARM_UP, half)
        late = usage.memory(half, end)
        problems = listening.problems()
        dialogue = listening.status("utterance_node: dialogue")
    for problem in problems:
        print(f"diagnostics of the nodes: {problem}")
    gaps = sum(int(dialogue.get(name, 0)) for name in ("Gap", "Overlap", "Jump"))
    return [
        Figure(f"camera frames lost, of {bench.frames}", bench.lost_frames(), "frames", 0),
        Figure("audio chunks lost", 100 * bench.lost_chunks() / bench.chunks, "%", 0),
        Figure("gaps in the audio", gaps, "", 0),
        Figure("estimates while speaking", bench.estimates(), f"of {bench.texts} texts"),
        Figure("CPU during silence", usage.cpu(begin + WARM_UP, half), "% of one core", 60),
        Figure("CPU during speech", usage.cpu(half, end), "% of one core"),
        Figure("memory (RSS), maximum", max(early + late), "MB", 500),
        Figure("memory (PSS), maximum", max(sample[3] for sample in usage.samples), "MB"),
        Figure("memory, mean during speech minus silence", _mean(late) - _mean(early), "MB"),
        Figure("memory, growth over the last third", _growth(late), "MB", 10),
    ]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _growth(values: list[float]) -> float:
    """Return the increase from the middle to the end of the values."""
    third = max(1, len(values) // 3)
    return _mean(values[-third // 2 :]) - _mean(values[-third : -third // 2])


class _Bench:
    """Publishes messages in real time and counts losses."""

    def __init__(
        self, listening: Listening, sound: NDArray[np.float32], phrases: list[Phrase]
    ) -> None:
        self._listening = listening
        self._speech = recognizable_speech()
        self._publishers = {
            topic: listening.publisher(topic, kind)
            for topic, kind in (("image", IMAGE), ("audio", SOUND), ("speech", self._speech))
        }
        camera = portrait([Phrase(0, 10, "")])
        self._faces = [_image(camera(number / 10)) for number in range(10)]
        noise = np.random.default_rng(0).standard_normal(SAMPLES * 50).astype(np.float32) * 1e-3
        self._quiet = [_sound(part) for part in noise.reshape(50, SAMPLES)]
        whole = len(sound) // SAMPLES * SAMPLES
        self._spoken = [_sound(part) for part in sound[:whole].reshape(-1, SAMPLES)]
        self._phrases = phrases
        self.frames = self.chunks = self.texts = 0

    def connect(self, nodes: Nodes) -> None:
        """Wait until the nodes have subscribed."""
        end = time.monotonic() + 60
        while not (
            all(p.get_subscription_count() for p in self._publishers.values())
            and self._listening.hears_estimates()
        ):
            nodes.check()
            if time.monotonic() > end:
                raise TimeoutError(f"the nodes have not subscribed:\n{nodes.tail()}")
            time.sleep(0.05)

    def run(self, seconds: float, each_second: Callable[[], None]) -> None:
        """Publish in real time: silence, then speech."""
        begin, wall = time.monotonic(), time.time_ns()
        due: list[tuple[float, Callable[[], None]]] = sorted(
            [
                *self._camera(seconds, wall),
                *self._microphone(seconds, wall),
                *self._texts(seconds, wall),
                *((float(second), each_second) for second in range(int(seconds) + 1)),
            ],
            key=lambda item: item[0],
        )
        for when, act in due:
            if (wait := begin + when - time.monotonic()) > 0:
                time.sleep(wait)
            act()

    def _camera(self, seconds: float, wall: int) -> Iterator[tuple[float, Callable[[], None]]]:
        for number in range(int(seconds * FRAMES)):
            stamp = wall + number * NS // FRAMES
            yield number / FRAMES, lambda n=number, s=stamp: self._send_frame(n, s)

    def _send_frame(self, number: int, stamp: int) -> None:
        self._publishers["image"].publish(self._faces[number // 3 % len(self._faces)].at(stamp))
        self.frames += 1

    def _microphone(self, seconds: float, wall: int) -> Iterator[tuple[float, Callable[[], None]]]:
        half = int(seconds * CHUNKS / 2)
        for number in range(int(seconds * CHUNKS)):
            chunks = self._quiet if number < half else self._spoken
            chunk = chunks[(number if number < half else number - half) % len(chunks)]
            stamp = wall + number * NS // CHUNKS
            yield (number + 1) / CHUNKS, lambda c=chunk, s=stamp: self._send_sound(c, s)

    def _send_sound(self, chunk: Stamped, stamp: int) -> None:
        self._publishers["audio"].publish(chunk.at(stamp))
        self.chunks += 1

    def _texts(self, seconds: float, wall: int) -> Iterator[tuple[float, Callable[[], None]]]:
        begin, length = int(seconds * CHUNKS / 2) / CHUNKS, len(self._spoken) / CHUNKS
        while begin < seconds:
            for phrase in self._phrases:
                when = begin + phrase.end
                if when + 0.5 < seconds:
                    data = _text(self._speech, phrase.text, wall + int(when * NS))
                    yield when + 0.5, lambda d=data: self._send_text(d)
            begin += length

    def _send_text(self, data: bytes) -> None:
        self._publishers["speech"].publish(data)
        self.texts += 1

    def settle(self, condition: Callable[[], bool], timeout: float = 5.0) -> None:
        """Wait for the last diagnostics (one per second), at most `timeout` s."""
        end = time.monotonic() + timeout
        while not condition() and time.monotonic() < end:
            time.sleep(0.1)

    def lost_frames(self) -> int:
        """Return the number of camera frames that were lost or dropped."""
        return self.frames - self._arrived("image")

    def lost_chunks(self) -> int:
        """Return the number of audio chunks that were lost or dropped."""
        return self.chunks - self._arrived("audio")

    def _arrived(self, name: str) -> int:
        values = self._listening.status(f"utterance_node: {name}")
        return int(values.get("received", 0)) - int(values.get("dropped", 0))

    def estimates(self) -> int:
        """Return the number of received final estimates."""
        return sum(message.is_final for *_, message in self._listening.estimates)


def main() -> int:
    """Run the benchmark; see the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--bundle", default=RobotConfig().emotion_node.recognition.bundle)
    parser.add_argument("--memory", action="store_true", help="write results/memory.json")
    options = parser.parse_args()
    print(description())
    figures = measure(RobotConfig().changed(bundle=options.bundle), options.seconds)
    print("\n".join(figure.line() for figure in figures))
    if options.memory:
        by_name = {figure.name: figure.value for figure in figures}
        pss = by_name["memory (PSS), maximum"]
        write_results(
            "memory",
            f"python -m benchmarks.load --seconds {options.seconds:g} --memory",
            load_bundle(model_folder(options.bundle)),
            {
                "pss_mb": pss,
                "rss_mb": by_name["memory (RSS), maximum"],
                "remaining_of_8_gb": 8 - pss / 1000,
                "audio_lost_percent": by_name["audio chunks lost"],
            },
            f"The greatest memory of the nodes' process in {options.seconds:g} s with a camera of "
            f"{WIDTH}x{HEIGHT} at {FRAMES} Hz, microphone and texts, on {platform.machine()}",
        )
    return 0 if all(figure.reached for figure in figures) else 1


if __name__ == "__main__":
    raise SystemExit(main())
