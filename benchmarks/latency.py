"""Time from an utterance's last input to its estimate, through the nodes over DDS in real time.

    python -m benchmarks.latency [--repeats 5]

The demo's dialogue (12 turns, 50 s) is played several times, with camera (JPEG, 15 Hz), microphone
and recogniser. "text to estimate": from publishing the final text until another process has the
estimate, both ways over DDS; "inside the nodes": from its arrival in the node to publishing.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmarks.machine import Figure, description
from erc_ros.demo.conversation_bag import (
    DIALOGUE,
    SimulatedRecogniser,
    perform,
    portrait,
    write_conversation,
)
from erc_ros.demo.voices import synthesiser
from erc_ros.parameters import RobotConfig
from erc_ros.replay.bag import Bag
from erc_ros.replay.via_dds import play, recognisable_speech


def measure(robot: RobotConfig, repeats: int) -> list[Figure]:
    """Play the dialogue `repeats` times in a row."""
    dialogue = DIALOGUE * repeats
    sound, phrases = perform(dialogue, synthesiser())
    seen = [p for p, turn in zip(phrases, dialogue, strict=True) if turn.speaker == 0]
    with tempfile.TemporaryDirectory() as folder:
        path = write_conversation(
            Path(folder, "bag"),
            sound,
            phrases,
            portrait(seen),
            recogniser=SimulatedRecogniser(type=recognisable_speech()),
        )
        with Bag(path) as bag:
            result = play(bag, {}, robot)
    over, inside = result.timing["latency_ms"], result.timing["node_latency_ms"]
    count = sum(row.is_final for row in result.rows)
    return [
        Figure("estimates", count, f"of {len(dialogue)} turns", len(dialogue), more=True),
        Figure("text to estimate over DDS, p50", over["p50"], "ms", 30),
        Figure("text to estimate over DDS, p99", over["p99"], "ms", 80),
        Figure("inside the nodes, p50", inside["p50"], "ms"),
        Figure("inside the nodes, p99", inside["p99"], "ms"),
    ]


def main() -> int:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--bundle", default=RobotConfig().emotion_node.bundle)
    options = parser.parse_args()
    print(description())
    figures = measure(RobotConfig().changed(bundle=options.bundle), options.repeats)
    print("\n".join(figure.line() for figure in figures))
    return 0 if all(figure.reached for figure in figures) else 1


if __name__ == "__main__":
    raise SystemExit(main())
