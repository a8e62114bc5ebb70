"""`erc build-engines`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from erc_ros.inference.engines.build import build, check
from erc_ros.resources import model_folder


def main(argv: Sequence[str]) -> int:
    """Run the command; the exit status is 1 if an engine could not be built."""
    parser = argparse.ArgumentParser(
        prog="erc build-engines",
        description="Build the TensorRT engines of a bundle for this computer. Run it on the "
        "robot, once per bundle.",
    )
    parser.add_argument("bundle", help="model package: a folder, or a name in models/")
    parser.add_argument(
        "--check",
        action="store_true",
        help="build nothing; report whether TensorRT could run the networks (works anywhere)",
    )
    parser.add_argument(
        "--keep-slower",
        action="store_true",
        help="keep engines that are slower than ONNX Runtime",
    )
    options = parser.parse_args(argv)
    folder = model_folder(options.bundle, "bundle.yaml")
    failed = check(folder) if options.check else build(folder, keep_slower=options.keep_slower)
    for text in failed:
        print(f"not built: {text}")
    return 1 if failed else 0
