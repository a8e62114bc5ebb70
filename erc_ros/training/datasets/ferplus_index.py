"""List the validation and test images of FER+ that show a training image again.

`python -m erc_ros.training.datasets.ferplus_index [--data DATA]` writes `near_duplicates.INDEX`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from erc_ros.training.datasets import ferplus
from erc_ros.training.datasets.folder import data_folder
from erc_ros.training.datasets.near_duplicates import CORRELATION, INDEX, digest, near_duplicates


def main(argv: Sequence[str] | None = None) -> int:
    """Write the index of images from the FER+ folder."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of the data sets; default $ERC_DATA")
    parser.add_argument(
        "--out", type=Path, default=INDEX, help="file to write; default %(default)s"
    )
    options = parser.parse_args(argv)
    try:
        faces = ferplus.load(data_folder(options.data) / ferplus.FOLDER, frozenset())
    except (FileNotFoundError, ValueError) as error:
        print(f"ferplus_index: {error}", file=sys.stderr)
        return 1
    lines = [
        "# FER+: digests (near_duplicates.digest) of validation and test images that correlate by",
        f"# {CORRELATION:.2f} or more with a training image.",
        "# Written by: python -m erc_ros.training.datasets.ferplus_index",
    ]
    for name in ("valid", "test"):
        images = getattr(faces, name).pictures
        chosen = images[near_duplicates(images, faces.train.pictures)]
        lines += [f"# {name}: {len(chosen)} of {len(images)}", *sorted(map(digest, chosen))]
        print(f"{name}: {len(chosen)} of {len(images)} images", flush=True)
    options.out.write_text("\n".join(lines) + "\n", encoding="ascii")
    return 0


if __name__ == "__main__":
    sys.exit(main())
