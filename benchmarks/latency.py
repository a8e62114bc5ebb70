"""Latency from the last input of an utterance to its estimate, with the nodes over DDS.

    python -m benchmarks.latency [--repeats 25]

The dialogue of the demo (12 turns, 50 s) is played in real time, with camera (JPEG, 15 Hz),
microphone and speech recognizer; 25 repeats are 300 utterances and take 21 minutes. The latency is
the time from publishing the final text until another process receives the estimate, including DDS
in both directions. It is divided into DDS to the node, waiting for the worker, dialogue, handover
to the emotion recognizer, encoders (text, audio and visual in parallel; results of a draft are
reused), fusion, and creating and sending the message. Split and joined turns are counted. The
targets are for 2 cores without other load.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.machine import Figure, description
from erc_ros.demo.conversation_bag import (
    DIALOGUE,
    SimulatedRecognizer,
    perform,
    portrait,
    write_conversation,
)
from erc_ros.demo.voices import synthesiser
from erc_ros.parameters import RobotConfig
from erc_ros.replay.bag import Bag
from erc_ros.replay.report import Result
from erc_ros.replay.rows import Row
from erc_ros.replay.via_dds import play, recognizable_speech

PERCENT = (50, 95, 99)
SAMPLES = 100  # minimum number of samples for p99
SLOWEST = 5


def run(robot: RobotConfig, repeats: int) -> Result:
    """Play the dialogue `repeats` times in a row."""
    dialogue = DIALOGUE * repeats
    audio, phrases = perform(dialogue, synthesiser())
    seen = [p for p, turn in zip(phrases, dialogue, strict=True) if turn.speaker == 0]
    with tempfile.TemporaryDirectory() as folder:
        path = write_conversation(
            Path(folder, "bag"),
            audio,
            phrases,
            portrait(seen),
            recognizer=SimulatedRecognizer(type=recognizable_speech()),
        )
        with Bag(path) as bag:
            return play(bag, {}, robot)


def percentile(values: Sequence[int], percent: int) -> float:
    """Return a percentile in ms of values in ns (nearest rank); NaN for too few values."""
    if len(values) * (100 - percent) < SAMPLES:
        return float("nan")
    return sorted(values)[max(0, -(-len(values) * percent // 100) - 1)] / 1e6


def measure(robot: RobotConfig, repeats: int) -> list[Figure]:
    """Return the figures and print the trace."""
    result = run(robot, repeats)
    print(trace(result.traces))
    texts = [turn.text for turn in DIALOGUE * repeats]
    rows = [row for row in result.rows if row.is_final]
    split, joined = split_and_joined(rows, texts)
    total = [each["all"] for each in result.traces]
    inside = [each["inside the nodes"] for each in result.traces]
    return [
        Figure("estimates that are missing or too many", abs(len(rows) - len(texts)), "", 0),
        Figure("turns that were split", split, f"of {len(texts)}", 0),
        Figure("estimates that join turns", joined, f"of {len(rows)}", 0),
        Figure("text to estimate over DDS, p50", percentile(total, 50), "ms", 12),
        Figure("text to estimate over DDS, p95", percentile(total, 95), "ms"),
        Figure("text to estimate over DDS, p99", percentile(total, 99), "ms", 40),
        Figure("inside the nodes, p50", percentile(inside, 50), "ms"),
        Figure("inside the nodes, p99", percentile(inside, 99), "ms"),
    ]


def split_and_joined(rows: Sequence[Row], texts: Sequence[str]) -> tuple[int, int]:
    """Return the number of split turns, and of estimates that contain several turns."""
    left, joined = list(texts), 0
    for row in rows:
        count = 0
        for text in set(left):
            if text in row.text:
                left.remove(text)
                count += 1
        joined += count > 1
    return len(left), joined


def trace(traces: Sequence[dict[str, int]]) -> str:
    """Return a table of the ms per stage, and the stages of the slowest estimates."""
    stages = list(dict.fromkeys(name for each in traces for name in each))
    lines = [f"{len(traces)} estimates, ms    " + "".join(f"{f'p{p}':>9}" for p in PERCENT)]
    for stage in stages:
        values = [each[stage] for each in traces if stage in each]
        lines.append(f"  {stage:<25}" + "".join(f"{percentile(values, p):9.2f}" for p in PERCENT))
    lines.append("the slowest, ms")
    for each in sorted(traces, key=lambda each: -each["all"])[:SLOWEST]:
        lines.append("  " + ", ".join(f"{name} {value / 1e6:.1f}" for name, value in each.items()))
    return "\n".join(lines)


def main() -> int:
    """Run the benchmark; see the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=25)
    parser.add_argument("--bundle", default=RobotConfig().emotion_node.recognition.bundle)
    options = parser.parse_args()
    print(description(), flush=True)
    figures = measure(RobotConfig().changed(bundle=options.bundle), options.repeats)
    print("\n".join(figure.line() for figure in figures))
    return 0 if all(figure.reached for figure in figures) else 1


if __name__ == "__main__":
    raise SystemExit(main())
