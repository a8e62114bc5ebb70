"""Speed of replaying the conversation of the demo, with camera, from a bag.

python -m benchmarks.replay_speed
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmarks.machine import Figure, description
from erc_ros.demo.conversation_bag import write_demo
from erc_ros.parameters import RobotConfig
from erc_ros.replay.bag import Bag
from erc_ros.replay.offline import replay


def measure(robot: RobotConfig) -> list[Figure]:
    """Replay the recording of the demo once."""
    with tempfile.TemporaryDirectory() as folder, Bag(write_demo(Path(folder, "bag"))) as bag:
        timing = replay(bag, {}, robot).timing
    return [
        Figure("replay", timing["times_real_time"], "x real time", 10, more=True),
        Figure("recognizer alone, p50", timing["recogniser_ms"].get("p50", float("nan")), "ms"),
    ]


def main() -> int:
    """Run the benchmark; see the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", default=RobotConfig().emotion_node.recognition.bundle)
    options = parser.parse_args()
    print(description())
    figures = measure(RobotConfig().changed(bundle=options.bundle))
    print("\n".join(figure.line() for figure in figures))
    return 0 if all(figure.reached for figure in figures) else 1


if __name__ == "__main__":
    raise SystemExit(main())
