"""Endurance test: hours of conversation with injected faults.

    python -m benchmarks.soak --hours 2 --seed 0 --out out/soak        over DDS, both modes
    python -m benchmarks.soak --hours 24 --core --out out/soak_core    the pipeline without DDS

Over DDS, the dialogue of the demo is repeated while sensors disappear and return with other rates
and formats, clocks drift and jump, conversations are reset, and one message in a hundred is
malicious. The test checks that the processes are alive, that memory, threads, file descriptors and
the log do not grow, that a text gets an estimate after each fault, and that every message was
received or counted as lost. The folder contains report.md and images. The exit status is 1 if a
check failed.

Without DDS the conversation runs faster than real time; Ctrl-C or SIGTERM ends the test early, and
the report contains the simulated hours.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np

from benchmarks.machine import description
from erc_ros.demo.conversation_bag import DIALOGUE, Phrase, perform
from erc_ros.demo.voices import synthesiser
from erc_ros.values.files import whole_folder
from erc_ros.values.nanoseconds import NS, seconds
from erc_ros.values.utterance import SAMPLE_RATE

try:
    from rclpy.impl.implementation_singleton import rclpy_implementation

    RCLError: type[Exception] = rclpy_implementation.RCLError
except ImportError:  # `--core` needs no ROS
    RCLError = OSError

CHUNK = SAMPLE_RATE // 50
HOSTILE = 100  # one message of this many is malicious
ANSWER = 20.0  # s within which a valid text must get an estimate after a fault
WARM_UP = 0.35  # share of the time before memory must be constant
DRIFT = 1e-4  # relative drift of the sensor clock
SPEED = 20  # minimum speed without DDS, in multiples of real time (CPU time)
MIB = 2**20


@dataclass
class Watch:
    """Measurements by name of a curve, as (s, value), and results of checks."""

    curves: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    checks: list[tuple[bool, str]] = field(default_factory=list)

    def note(self, name: str, at: float, value: float) -> None:
        self.curves.setdefault(name, []).append((at, value))

    def check(self, holds: bool, what: str) -> None:
        self.checks.append((holds, what))
        print(("ok    " if holds else "FAILED"), what, flush=True)

    def check_flat(self, name: str, most: float, unit: str) -> None:
        """Check that the median of the last quarter is at most `most` above that after warm-up."""
        values = [value for _, value in self.curves.get(name, [])]
        rest = values[int(len(values) * WARM_UP) :]
        if len(rest) < 8:
            self.check(False, f"{name}: too few measurements ({len(rest)})")
            return
        quarter = len(rest) // 4
        rise = float(np.median(rest[-quarter:]) - np.median(rest[:quarter]))
        self.check(rise <= most, f"{name} increased by {rise:.1f} {unit}, at most {most:g} allowed")


def memory_of(pid: int) -> float:
    """Return the resident memory of a process in MiB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / MIB


# --- without DDS ---


@contextmanager
def until_told(*signals: signal.Signals) -> Iterator[Event]:
    """Context manager that yields an event that is set by the first of these signals."""
    told = Event()
    before = {each: signal.signal(each, lambda number, frame: told.set()) for each in signals}
    try:
        yield told
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def core(hours: float, watch: Watch, bundle: str = "", speakers: bool = True) -> None:
    """Run hours of the dialogue through the pipeline, faster than real time."""
    with until_told(signal.SIGINT, signal.SIGTERM) as told:
        _core(hours, watch, bundle, speakers, told)


def _core(hours: float, watch: Watch, bundle: str, speakers: bool, told: Event) -> None:
    from erc_ros.pipeline import EstimateEvent, Pipeline, PipelineConfig
    from erc_ros.sensing.microphone import AudioChunk
    from erc_ros.values.transcript import Transcript

    options: dict[str, Any] = {"bundle": bundle} if bundle else {}
    if not speakers:
        options["speaker_model"] = "none"
    sound, phrases = perform(DIALOGUE, synthesiser())
    data = (np.clip(sound, -1, 1) * 32767).astype("<i2")
    begin, now, estimates, texts, next_note = time.monotonic(), seconds(1e9), 0, 0, 0.0
    start, used = now, time.process_time()
    size = SAMPLE_RATE // 10
    with Pipeline(PipelineConfig.from_parameters(options)) as pipeline:
        while now - start < hours * 3600 * NS and not told.is_set():
            waiting = list(phrases)
            for first in range(0, len(data) - size, size):
                chunk = AudioChunk(data[first : first + size].tobytes(), now, now + NS // 10, "mic")
                events = pipeline.feed(chunk)
                now += NS // 10
                while waiting and waiting[0].end + 0.4 < first / SAMPLE_RATE:
                    events += pipeline.feed(Transcript(waiting.pop(0).text, arrival=now))
                    texts += 1
                events += pipeline.advance(now)
                if (simulated := (now - start) / NS) >= next_note:
                    _look(watch, "core", simulated, {"": os.getpid()})
                    next_note = simulated + hours * 3600 / 400
                estimates += sum(
                    isinstance(event, EstimateEvent) and event.estimate.utterance.is_final
                    for event in events
                )
            now += seconds(random.Random(now).choice((1.0, 1.0, 40.0)))  # 40 s end a conversation
    wall, used = time.monotonic() - begin, time.process_time() - used
    simulated = (now - start) / NS
    watch.check(
        simulated >= hours * 3600,
        f"{simulated / 3600:.1f} of {hours:g} hours of conversation",
    )
    watch.check(
        simulated >= SPEED * used,
        f"{simulated / 3600:.2f} h in {wall:.0f} s and {used:.0f} s of processor time: "
        f"{simulated / used:.0f} times real time",
    )
    watch.check(0 <= estimates - texts <= texts, f"{texts} texts, {estimates} estimates")
    by_hour = {int(at // 3600): value for at, value in watch.curves["core memory"]}
    told_by_hour = ", ".join(f"{value:.0f}" for value in by_hour.values())
    watch.check(True, f"MiB at the end of each hour: {told_by_hour}")
    for name, most, unit in (
        ("memory", 20.0, "MiB"),
        ("threads", 2.0, ""),
        ("descriptors", 6.0, ""),
    ):
        watch.check_flat(f"core {name}", most, unit)


# --- over DDS ---


class Robot:
    """Simulated sensors of a robot, and subscriptions to the output of the nodes."""

    def __init__(self, seed: int) -> None:
        import rclpy
        from diagnostic_msgs.msg import DiagnosticArray
        from erc_msgs.msg import EmotionEstimate
        from rclpy.executors import SingleThreadedExecutor

        rclpy.init()
        self.random = random.Random(seed)
        self.node = rclpy.create_node("soak", namespace="/soak")
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self.answers: Counter[str] = Counter()
        self.values: dict[str, dict[str, str]] = {}
        self.latencies: list[tuple[float, float]] = []
        self.sent: Counter[str] = Counter()
        self.unsent = 0  # messages that DDS did not accept
        self.hostile = 0
        self.offset = 0  # ns, offset of the sensor clock
        self.rate = SAMPLE_RATE  # of the microphone, Hz
        self.format = "jpeg"  # of the camera
        self.begin = time.monotonic()
        self.publishers: dict[str, Any] = {}
        self.node.create_subscription(EmotionEstimate, "emotions", self._answered, 100)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._diagnosed, 50)

    def _answered(self, message: Any) -> None:
        total = sum(message.probabilities)
        if message.is_final and abs(total - 1) < 1e-3:
            self.answers[message.text] += 1
        self.latencies.append((time.monotonic() - self.begin, message.latency_total_ns / 1e6))

    def _diagnosed(self, message: Any) -> None:
        for status in message.status:
            self.values[status.name.rpartition("/")[2]] = {v.key: v.value for v in status.values}

    def value(self, status: str, key: str) -> int:
        text = self.values.get(status, {}).get(key, "0")
        return int(float(text)) if text.replace(".", "").lstrip("-").isdigit() else 0

    def spin(self, duration: float) -> None:
        end = time.monotonic() + duration
        while (left := end - time.monotonic()) > 0:
            self.executor.spin_once(timeout_sec=left)

    def until(self, true: Callable[[], Any], patience: float) -> bool:
        end = time.monotonic() + patience
        while not true():
            if time.monotonic() > end:
                return False
            self.executor.spin_once(timeout_sec=0.05)
        return True

    def plug(self, name: str) -> None:
        """Create the publisher of a sensor and wait for a subscription."""
        from audio_common_msgs.msg import AudioDataStamped, AudioInfo
        from sensor_msgs.msg import CompressedImage
        from std_msgs.msg import Bool, String

        kinds = {
            "audio": AudioDataStamped,
            "audio_info": AudioInfo,
            "image/compressed": CompressedImage,
            "speech": String,
            "robot_speaking": Bool,
        }
        made = self.node.create_publisher(kinds[name], name, 50)
        self.publishers[name] = made
        self.until(lambda: made.get_subscription_count() > 0, 15.0)

    def unplug(self, name: str) -> None:
        self.node.destroy_publisher(self.publishers.pop(name))

    def stamp(self, message: Any) -> None:
        drifted = seconds((time.monotonic() - self.begin) * DRIFT)
        now = self.node.get_clock().now().nanoseconds + self.offset + drifted
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(max(0, now), NS)

    def send(self, name: str, message: Any) -> None:
        if name in self.publishers:
            try:
                self.publishers[name].publish(message)
            except RCLError:  # the queue of DDS is full: the message was not sent
                self.unsent += 1
                return
            self.sent[name.partition("/")[0]] += 1

    def say(self, text: str) -> None:
        from std_msgs.msg import String

        self.send("speech", String(data=text))

    def hear(self, samples: np.ndarray) -> None:
        from audio_common_msgs.msg import AudioDataStamped

        message = AudioDataStamped()
        self.stamp(message)
        message.header.frame_id = "microphone"
        more, less = max(1, self.rate // SAMPLE_RATE), max(1, SAMPLE_RATE // self.rate)
        samples = np.repeat(samples[::less], more)
        message.audio.data = array("B", samples.astype("<i2").tobytes())
        self.send("audio", message)

    def see(self, pictures: dict[str, bytes]) -> None:
        """Publish an image. pictures: the same image in every format."""
        from sensor_msgs.msg import CompressedImage

        message = CompressedImage(format=self.format, data=array("B", pictures[self.format]))
        self.stamp(message)
        self.send("image/compressed", message)

    def harm(self) -> None:
        """Publish a malicious message."""
        from audio_common_msgs.msg import AudioDataStamped
        from sensor_msgs.msg import CompressedImage
        from std_msgs.msg import String

        self.hostile += 1
        rng = self.random
        picture, sound = CompressedImage(format="jpeg"), AudioDataStamped()
        self.stamp(picture)
        self.stamp(sound)
        kind = rng.randrange(8)
        if kind == 0:
            picture.data = array("B", b"\xff\xd8" + rng.randbytes(rng.randrange(2000)))
        elif kind == 1:
            picture.format = "x" * rng.randrange(1, 5000)
        elif kind == 2:
            picture.data = array(
                "B", b"\x89PNG\r\n\x1a\n" + rng.randbytes(100) + b"IEND" + bytes(4)
            )
        elif kind == 3:
            sound.audio.data = array("B", rng.randbytes(2 * rng.randrange(500) + 1))
        elif kind == 4:
            sound.header.frame_id = "f" * 10_000
            sound.audio.data = array("B", bytes(640))
        elif kind == 5:
            sound.header.stamp.sec = -rng.randrange(2**31)
        elif kind == 6:
            self.send("speech", String(data=" \x00\t" * rng.randrange(1000)))
            return
        else:
            self.send("speech", String(data="\n" * 2_000_000))
            return
        self.send("image/compressed" if kind < 3 else "audio", picture if kind < 3 else sound)

    def close(self) -> None:
        import rclpy

        self.node.destroy_node()
        rclpy.try_shutdown()


@contextmanager
def system(mode: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Context manager that runs the nodes as `erc run` does."""
    line = [sys.executable, "-m", "erc_ros.nodes.run", f"mode:={mode}", "namespace:=soak"]
    line.append("deployment_context:=research")
    with log.open("wb") as stream:
        process = subprocess.Popen(line, stderr=stream, stdout=stream)
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def children(pid: int) -> list[int]:
    return [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def over_dds(mode: str, duration: float, seed: int, folder: Path, watch: Watch) -> None:
    """Test one mode for `duration` s."""
    import cv2

    sound, phrases = perform(DIALOGUE, synthesiser(), seed)
    data = (np.clip(sound, -1, 1) * 32767).astype("<i2")
    shape = (240, 320, 3)
    grey = np.full(shape, 128, np.uint8)
    frames = {name: cv2.imencode(f".{name}", grey)[1].tobytes() for name in ("jpeg", "png")}
    log = folder / f"{mode}.log"
    robot = Robot(seed)
    with system(mode, log) as process:
        # Processes of the nodes are determined after the topic has a subscription.
        watched = "speech"
        for name in ("audio", "image/compressed", watched):
            robot.plug(name)
        robot.spin(3.0)
        pids = children(process.pid)
        begin = robot.begin = time.monotonic()
        faults = _faults(robot)
        period = max(15.0, min(60.0, duration / 8))
        next_fault, next_look, last = begin + period, begin, begin
        number, fault_number, position, waiting = 0, 0, 0, list(phrases)
        while (now := time.monotonic()) - begin < duration and process.poll() is None:
            number += 1
            robot.hear(data[position : position + CHUNK])
            position += CHUNK
            while waiting and waiting[0].end + 0.4 < position / SAMPLE_RATE:
                robot.say(waiting.pop(0).text)
            if position + CHUNK > len(data):
                position, waiting = 0, list[Phrase](phrases)
            if number % 10 == 0:
                robot.see(frames)
            if robot.random.randrange(HOSTILE) == 0:
                robot.harm()
            if now > next_look:
                _look(watch, mode, now - begin, {f" {n}": pid for n, pid in enumerate(pids)})
                watch.note(f"{mode} log", now - begin, log.stat().st_size / 1000)
                next_look = now + 1.0
            if now > next_fault:
                name, cause = faults[fault_number % len(faults)]
                fault_number += 1
                cause()
                _check_clean(robot, watch, f"{mode}: after {name}", fault_number)
                next_fault = time.monotonic() + period
                last = time.monotonic()
            last = max(last + 1 / 50, time.monotonic() - 0.2)
            robot.spin(max(0.0, last - time.monotonic()))
        watch.check(process.poll() is None, f"{mode}: alive after {duration:.0f} s")
        if process.poll() is None:
            robot.spin(3.0)
            _account(robot, watch, mode)
            _measure(robot, watch, mode)
            for name in ("memory", "threads", "descriptors"):
                for place in range(len(pids)):
                    most = {"memory": 30.0, "threads": 2.0, "descriptors": 6.0}[name]
                    watch.check_flat(f"{mode} {name} {place}", most, "")
            lines = len(log.read_bytes().splitlines())
            watch.check(lines < 100 + duration, f"{mode}: {lines} lines in the log")
            said = [turn.text for turn in DIALOGUE if turn.text.encode() in log.read_bytes()]
            watch.check(not said, f"{mode}: the log contains no spoken words")
    watch.check(process.returncode == 0, f"{mode}: ended with status {process.returncode}")
    robot.close()


def _look(watch: Watch, mode: str, at: float, processes: dict[str, int]) -> None:
    """Record memory, threads and descriptors. processes: suffix of the curve -> process id."""
    for name, pid in processes.items():
        if not Path(f"/proc/{pid}").exists():
            continue
        watch.note(f"{mode} memory{name}", at, memory_of(pid))
        watch.note(f"{mode} threads{name}", at, len(os.listdir(f"/proc/{pid}/task")))
        watch.note(f"{mode} descriptors{name}", at, len(os.listdir(f"/proc/{pid}/fd")))


def _faults(robot: Robot) -> list[tuple[str, Callable[[], None]]]:
    def replug(name: str) -> Callable[[], None]:
        def cause() -> None:
            robot.unplug(name)
            robot.spin(5.0)
            robot.plug(name)

        return cause

    def another_rate(rate: int) -> Callable[[], None]:
        def cause() -> None:
            from audio_common_msgs.msg import AudioInfo

            robot.unplug("audio")
            if "audio_info" not in robot.publishers:
                robot.plug("audio_info")
            robot.rate = rate
            form = {"sample_format": "S16LE", "coding_format": "WAVE"}
            robot.send("audio_info", AudioInfo(channels=1, sample_rate=rate, **form))
            robot.plug("audio")

        return cause

    def another_format() -> None:
        robot.format = "png" if robot.format == "jpeg" else "jpeg"

    def jump(by: float) -> Callable[[], None]:
        def cause() -> None:
            robot.offset += seconds(by)

        return cause

    def reset() -> None:
        from std_srvs.srv import Trigger

        client = robot.node.create_client(Trigger, "utterance_node/reset")
        if client.wait_for_service(10.0):
            robot.until(client.call_async(Trigger.Request()).done, 10.0)
        robot.node.destroy_client(client)

    def synthesiser_dies() -> None:
        from std_msgs.msg import Bool

        robot.plug("robot_speaking")
        robot.send("robot_speaking", Bool(data=True))
        robot.spin(1.0)
        robot.unplug("robot_speaking")
        robot.spin(1.5)

    def flood() -> None:
        for _ in range(200):
            robot.hear(np.zeros(CHUNK, np.int16))
            robot.harm()

    return [
        ("a microphone that died", replug("audio")),
        ("a clock that jumped ahead", jump(30.0)),
        ("a microphone of 48 kHz", another_rate(48_000)),
        ("a camera that died", replug("image/compressed")),
        ("a flood", flood),
        ("a camera of another format", another_format),
        ("a clock that jumped back", jump(-45.0)),
        ("a synthesiser that died", synthesiser_dies),
        ("a reset", reset),
        ("a microphone of 8 kHz", another_rate(8_000)),
        ("a microphone of 16 kHz", another_rate(SAMPLE_RATE)),
        ("a clock that was set right", jump(15.0)),
    ]


def _check_clean(robot: Robot, watch: Watch, what: str, number: int) -> None:
    text = f"This is clean utterance number {number}."
    robot.spin(1.0)
    robot.say(text)
    answered = robot.until(lambda: robot.answers[text] > 0, ANSWER)
    watch.check(answered, f"{what}: a valid text gets an estimate")


def _account(robot: Robot, watch: Watch, mode: str) -> None:
    """Check that every sent message was received or lost, and received ones are used or counted."""
    for name in ("audio", "image", "speech"):
        status = f"utterance_node: {name}"
        received, lost = robot.value(status, "received"), robot.value(status, "lost_by_dds")
        missing = robot.sent[name] - received - lost
        # The loss of the first or last messages of a publisher leaves no gap in the sequence.
        watch.check(
            abs(missing) <= 20 + 0.01 * robot.sent[name],
            f"{mode} {name}: {robot.sent[name]} sent = {received} received + {lost} lost by DDS "
            f"+ {missing} not seen; {robot.value(status, 'dropped')} dropped, "
            f"{robot.value(status, 'unusable')} unusable, {robot.value(status, 'queued')} waiting",
        )
    watch.check(robot.hostile > 0, f"{mode}: {robot.hostile} hostile messages")
    watch.check(
        robot.unsent <= 0.05 * robot.sent.total(),
        f"{mode}: {robot.unsent} messages that DDS did not accept",
    )


def _measure(robot: Robot, watch: Watch, mode: str) -> None:
    for at, milliseconds in robot.latencies:
        watch.note(f"{mode} latency", at, milliseconds)
    by_hour: dict[int, list[float]] = {}
    for at, milliseconds in robot.latencies:
        by_hour.setdefault(int(at // 3600), []).append(milliseconds)
    for hour, values in by_hour.items():
        p50, p95, p99 = np.percentile(values, (50, 95, 99))
        watch.check(
            True,
            f"{mode} hour {hour + 1}: {len(values)} estimates, latency p50 {p50:.0f}, "
            f"p95 {p95:.0f}, p99 {p99:.0f} ms",
        )


# --- the report ---


def write(folder: Path, watch: Watch, command: str) -> None:
    """Write report.md and an image of each kind of curve."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    failed = sum(not holds for holds, _ in watch.checks)
    often = Counter(watch.checks)  # repeated checks are one row
    rows = [
        (what, often[True, what], often[False, what])
        for what in dict.fromkeys(what for _, what in watch.checks)
    ]
    lines = [
        "# Endurance",
        "",
        f"`{command}`: {len(watch.checks)} checks, {failed} failed.",
        "",
        f"On {description()}; {date.today():%Y-%m-%d}.",
        "",
        "| ok | failed | |",
        "|---|---|---|",
        *(f"| {ok or ''} | {f'**{bad}**' if bad else ''} | {what} |" for what, ok, bad in rows),
        "",
    ]
    kinds = ("memory", "threads", "descriptors", "log", "latency")
    units = {"memory": "MiB", "log": "kB", "latency": "ms"}
    for kind in kinds:
        curves = {name: curve for name, curve in watch.curves.items() if kind in name}
        if not curves:
            continue
        figure, axes = pyplot.subplots(figsize=(9, 3))
        for name, curve in curves.items():
            style = "." if kind == "latency" else "-"
            axes.plot(
                [at / 60 for at, _ in curve], [value for _, value in curve], style, label=name
            )
        axes.set_xlabel("minutes")
        axes.set_ylabel(units.get(kind, kind))
        axes.legend(fontsize=7)
        figure.tight_layout()
        figure.savefig(folder / f"{kind}.png", dpi=110)
        pyplot.close(figure)
        lines += [f"![{kind}]({kind}.png)", ""]
    (folder / "report.md").write_text("\n".join(lines), encoding="utf-8")


def main(argv: list[str] | None = None) -> int:
    """Run the test and write the report."""
    parser = argparse.ArgumentParser(prog="benchmarks.soak", description=(__doc__ or "")[:80])
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("out/soak"))
    parser.add_argument("--core", action="store_true", help="the pipeline without DDS")
    parser.add_argument("--mode", choices=("single", "split"), help="default: one after the other")
    options = parser.parse_args(argv)
    watch = Watch()
    with whole_folder(options.out) as folder:
        if options.core:
            core(options.hours, watch)
        else:
            modes = [options.mode] if options.mode else ["single", "split"]
            for mode in modes:
                duration = options.hours * 3600 / len(modes)
                over_dds(mode, duration, options.seed, folder, watch)
        arguments = " ".join(argv if argv is not None else sys.argv[1:])
        write(folder, watch, f"python -m benchmarks.soak {arguments}")
    print(f"{options.out}/report.md")
    return 0 if all(holds for holds, _ in watch.checks) else 1


if __name__ == "__main__":
    raise SystemExit(main())
