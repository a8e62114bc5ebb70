"""All benchmarks of speed in one command (make bench).

    python -m benchmarks.bench [--seconds 60] [--repeats 25]

The targets are for 2 cores without other load, and for a load test of ten minutes (`--seconds
600`).
"""

from __future__ import annotations

import argparse
import traceback
from collections.abc import Callable

from benchmarks import latency, load, replay_speed
from benchmarks.machine import Figure, description
from erc_ros.parameters import RobotConfig


def main() -> int:
    """Measure and print; the exit status is 1 if a target is not reached."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", default=RobotConfig().emotion_node.recognition.bundle)
    parser.add_argument("--seconds", type=float, default=60.0, help="of the load test")
    parser.add_argument("--repeats", type=int, default=25, help="of the dialogue, for the latency")
    options = parser.parse_args()
    robot = RobotConfig().changed(bundle=options.bundle)

    def against_torch() -> list[Figure]:
        from benchmarks.against_alternatives import measure  # needs the extra [train]

        return measure(options.bundle)

    sections: list[tuple[str, Callable[[], list[Figure]]]] = [
        ("Replay of a recording", lambda: replay_speed.measure(robot)),
        ("Against PyTorch fp32", against_torch),
        ("Latency, real time over DDS", lambda: latency.measure(robot, options.repeats)),
        (f"Live load, {options.seconds:.0f} s", lambda: load.measure(robot, options.seconds)),
    ]
    print(description(), flush=True)
    good = True
    for title, measure in sections:
        print(f"\n{title}", flush=True)
        try:
            figures = measure()
        except Exception:  # noqa: BLE001  (the others run after a failure)
            traceback.print_exc()
            good = False
            continue
        print("\n".join(f"  {figure.line()}" for figure in figures), flush=True)
        good = good and all(figure.reached for figure in figures)
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
