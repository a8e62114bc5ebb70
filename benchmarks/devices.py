"""Latency of a bundle on every device of this machine, as a table: measured, or not and why.

    python -m benchmarks.devices [--bundle edge-small] [--repeats 3]

A made-up conversation (16 turns of growing length, sound, faces) goes through the recogniser with
nothing prepared: everything is computed when the utterance ends. Milliseconds on the wall.
"""

from __future__ import annotations

import argparse
import statistics
import time

from benchmarks.machine import description
from erc_ros.inference.bundle import Bundle, load_bundle
from erc_ros.inference.engines.build import conversation
from erc_ros.inference.recogniser import Recogniser
from erc_ros.networks.session import NetworkError
from erc_ros.pipeline import PipelineConfig
from erc_ros.resources import model_folder

DEVICES = ("tensorrt", "cuda", "cpu")
PARTS = ("text", "audio", "visual", "fusion")


def row(bundle: Bundle, device: str, repeats: int) -> str:
    """One line of the table; "not measured" with the reason where the device does not start."""
    begin = time.perf_counter()
    try:
        recogniser = Recogniser(bundle, device)
    except NetworkError as error:
        return f"| {device} | not measured: {str(error).partition(';')[0]} |" + " |" * 7
    with recogniser:
        recogniser.warm_up()
        start = time.perf_counter() - begin
        found = []
        for _ in range(repeats):
            found += [recogniser.feed(utterance) for utterance in conversation(bundle)]
            recogniser.reset("built")
    total = sorted(estimate.latency_total / 1e6 for estimate in found)
    parts = [
        statistics.median(estimate.latency[name] / 1e6 for estimate in found) for name in PARTS
    ]
    cells = [
        f"{ms:.2f}" for ms in (*parts, statistics.median(total), total[int(0.95 * len(total))])
    ]
    return f"| {device} | measured | {' | '.join(cells)} | {start:.1f} |"


def main() -> int:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", default=PipelineConfig().recognition.bundle)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    bundle = load_bundle(model_folder(options.bundle))
    print(f"{bundle.name} {bundle.version} on {description()}\n")
    print("| device | | text | audio | visual | fusion | utterance p50 | p95 | start s |")
    print("|---|---|---|---|---|---|---|---|---|")
    for device in DEVICES:
        print(row(bundle, device, options.repeats), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
