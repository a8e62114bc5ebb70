"""The folder of the data sets."""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "ERC_DATA"


def data_folder(given: Path | None = None) -> Path:
    """Return `given` (a command's --data), else $ERC_DATA.

    Raises:
        FileNotFoundError: neither is set.
    """
    if given is not None:
        return given
    if folder := os.environ.get(VARIABLE):
        return Path(folder)
    raise FileNotFoundError(
        f"the folder of the data sets is not set: give --data FOLDER or set {VARIABLE}"
        " (docs/reference/datasets.md)"
    )
