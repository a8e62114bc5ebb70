"""`erc build-engines`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from erc_ros.inference.engines.build import build, check
from erc_ros.resources import model_folder


def main(argv: Sequence[str]) -> int:
    """The exit status: 1 where an engine that TensorRT here could have could not be built."""
    parser = argparse.ArgumentParser(
        prog="erc build-engines",
        description="Prepare a bundle for this machine: graphs that ONNX Runtime opens faster, "
        "and TensorRT engines where there is a GPU. Run it on the robot, once per bundle.",
    )
    parser.add_argument("bundle", help="model bundle, a folder or a name in models/")
    parser.add_argument(
        "--check",
        action="store_true",
        help="build nothing; tell whether TensorRT could take the models (runs anywhere)",
    )
    options = parser.parse_args(argv)
    failed = (check if options.check else build)(model_folder(options.bundle))
    for text in failed:
        print(f"not built: {text}")
    return 1 if failed else 0
