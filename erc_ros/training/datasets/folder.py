"""The folder of the data sets."""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "ERC_DATA"


def data_folder(given: Path | None = None) -> Path:
    """`given` (a command's --data), else $ERC_DATA.

    Raises:
        FileNotFoundError: neither says where they are.
    """
    if given is not None:
        return given
    if folder := os.environ.get(VARIABLE):
        return Path(folder)
    raise FileNotFoundError(
        f"where are the data sets? Give --data FOLDER or set {VARIABLE}"
        " (docs/reference/datasets.md)"
    )
