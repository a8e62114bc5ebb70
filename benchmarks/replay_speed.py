"""How fast a recording is replayed: the demo's conversation, with camera, as a bag.

python -m benchmarks.replay_speed
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmarks.machine import Figure, description
from erc_ros.demo.conversation_bag import write_demo
from erc_ros.replay.bag import Bag
from erc_ros.replay.offline import Models, default_models, replay


def measure(models: Models) -> list[Figure]:
    """Replay the demo's recording once."""
    with tempfile.TemporaryDirectory() as folder, Bag(write_demo(Path(folder, "bag"))) as bag:
        timing = replay(bag, {}, models).timing
    return [
        Figure("replay", timing["times_real_time"], "x real time", 10, more=True),
        Figure("recogniser alone, p50", timing["recogniser_ms"].get("p50", float("nan")), "ms"),
    ]


def main() -> int:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", default=default_models().bundle)
    options = parser.parse_args()
    print(description())
    figures = measure(Models(options.bundle, default_models().speaker))
    print("\n".join(figure.line() for figure in figures))
    return 0 if all(figure.reached for figure in figures) else 1


if __name__ == "__main__":
    raise SystemExit(main())
