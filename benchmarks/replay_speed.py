"""Speed of replaying the conversation of the demo, with camera, from a bag or a video.

    python -m benchmarks.replay_speed               # the demo's rosbag, 50 s
    python -m benchmarks.replay_speed --minutes 5   # a video of that length with subtitles
    python -m benchmarks.replay_speed --hour        # one hour; writes results/replay_hour.json

The video is the conversation again and again (640 x 480 at 25 Hz, H.264, AAC), through
`erc replay VIDEO --transcript SUBTITLES` in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from benchmarks.machine import Figure, description
from benchmarks.record import write_results
from erc_ros.demo.conversation_bag import (
    DIALOGUE,
    HEIGHT,
    WIDTH,
    Phrase,
    perform,
    portrait,
    write_demo,
)
from erc_ros.demo.voices import synthesiser
from erc_ros.inference.bundle import load_bundle
from erc_ros.parameters import RobotConfig
from erc_ros.replay.bag import Bag
from erc_ros.replay.offline import replay
from erc_ros.resources import model_folder
from erc_ros.values.utterance import SAMPLE_RATE

RATE = 25  # frames per second of the video
AIM, MEMORY = 15, 700  # times real time; MiB


def measure(robot: RobotConfig) -> list[Figure]:
    """Replay the recording of the demo once."""
    with tempfile.TemporaryDirectory() as folder, Bag(write_demo(Path(folder, "bag"))) as bag:
        timing = replay(bag, {}, robot).timing
    return [
        Figure("replay", timing["times_real_time"], "x real time", 10, more=True),
        Figure("recognizer alone, p50", timing["recogniser_ms"].get("p50", float("nan")), "ms"),
    ]


def write_video(file: Path, minutes: float) -> Path:
    """Write the demo's conversation, repeated, as MP4 and its subtitles as SRT.

    The images of one conversation are encoded once.
    """
    import av

    samples, phrases = perform(DIALOGUE, synthesiser())
    count = len(samples) * RATE // SAMPLE_RATE
    samples = samples[: count * SAMPLE_RATE // RATE]
    repeats = max(1, round(minutes * 60 * RATE / count))
    view = portrait([p for p, turn in zip(phrases, DIALOGUE, strict=True) if turn.speaker == 0])
    with av.open(str(file), "w") as container:
        video = container.add_stream("libx264", rate=RATE, options={"preset": "veryfast"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        packets = []
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(view(number / RATE), format="bgr24")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            packets += video.encode(frame)
        packets += video.encode(None)
        encoded = [(bytes(p), p.pts, p.dts, p.time_base, p.is_keyframe) for p in packets]
        for repeat in range(repeats):
            for data, pts, dts, base, is_key in encoded:
                packet = av.Packet(data)
                shift = int(repeat * count / (RATE * base))
                packet.stream, packet.time_base, packet.is_keyframe = video, base, is_key
                packet.pts, packet.dts = pts + shift, dts + shift
                container.mux(packet)
            for at in range(0, len(samples), 1024):
                block = av.AudioFrame.from_ndarray(samples[None, at : at + 1024], "fltp", "mono")
                block.sample_rate, block.time_base = SAMPLE_RATE, Fraction(1, SAMPLE_RATE)
                block.pts = repeat * len(samples) + at
                container.mux(audio.encode(block))
        container.mux(audio.encode(None))
    file.with_suffix(".srt").write_text(_subtitles(phrases, len(samples) / SAMPLE_RATE, repeats))
    return file


def _subtitles(phrases: Sequence[Phrase], length: float, repeats: int) -> str:
    entries: list[str] = []
    for repeat in range(repeats):
        for phrase in phrases:
            times = (_clock(repeat * length + moment) for moment in (phrase.start, phrase.end))
            entries.append(f"{len(entries) + 1}\n{' --> '.join(times)}\n{phrase.text}\n")
    return "\n".join(entries)


def _clock(moment: float) -> str:
    milliseconds = round(moment * 1000)
    seconds = milliseconds // 1000
    return (
        f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02},{milliseconds % 1000:03}"
    )


def measure_video(minutes: float, bundle: str) -> dict[str, float]:
    """Replay a video by the command, and return its figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        video = write_video(folder / "talk.mp4", minutes)
        command = ["replay", str(video), "--out", str(folder / "out"), "--bundle", bundle]
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "erc_ros.cli", *command], stdout=subprocess.DEVNULL
        )
        memory: list[float] = []  # MiB, each second
        while not (ended := os.wait4(process.pid, os.WNOHANG))[0]:
            memory.append(_resident(process.pid))
            time.sleep(1.0)
        _, status, used = ended
        total = time.perf_counter() - began
        if status:
            raise RuntimeError(f"erc {' '.join(command)} failed")
        timing = json.loads((folder / "out" / "timing.json").read_text())
    quarter = max(1, len(memory) // 4)
    return {
        "minutes": timing["recorded_s"] / 60,
        "wall_s": timing["wall_s"],
        "command_s": total,
        "times_real_time": timing["times_real_time"],
        "cpu_s": timing["cpu_s"],
        "memory_peak_mib": used.ru_maxrss / 1024,
        "memory_second_quarter_mib": float(np.median(memory[quarter : 2 * quarter] or memory)),
        "memory_last_quarter_mib": float(np.median(memory[-quarter:])),
    }


def _resident(process: int) -> float:
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> int:
    """Run the benchmark; see the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", default=RobotConfig().emotion_node.recognition.bundle)
    parser.add_argument("--minutes", type=float, help="a video of this length, instead of a bag")
    parser.add_argument("--hour", action="store_true", help="60 minutes; writes the results")
    options = parser.parse_args()
    machine = description()
    print(machine)
    minutes = 60.0 if options.hour else options.minutes
    if minutes is None:
        figures = measure(RobotConfig().changed(bundle=options.bundle))
    else:
        values = measure_video(minutes, options.bundle)
        figures = [
            Figure("replay", values["times_real_time"], "x real time", AIM, more=True),
            Figure("peak memory", values["memory_peak_mib"], "MiB", MEMORY),
            Figure("memory, second quarter", values["memory_second_quarter_mib"], "MiB"),
            Figure("memory, last quarter", values["memory_last_quarter_mib"], "MiB"),
        ]
        if options.hour:
            write_results(
                "replay_hour",
                "python -m benchmarks.replay_speed --hour",
                load_bundle(model_folder(options.bundle)),
                values,
                f"The demo's conversation in a loop, {WIDTH} x {HEIGHT} at {RATE} Hz (H.264, AAC), "
                f"with subtitles, by erc replay. {machine}",
            )
    print("\n".join(figure.line() for figure in figures))
    return 0 if all(figure.reached for figure in figures) else 1


if __name__ == "__main__":
    raise SystemExit(main())
