"""Detection of several installed builds of ONNX Runtime, which overwrite each other's files."""

from __future__ import annotations

import functools
from importlib.metadata import PackageNotFoundError, distribution

BUILDS = (
    "onnxruntime",
    *(f"onnxruntime-{kind}" for kind in ("directml", "gpu", "openvino", "qnn")),
)
"""Distributions that install the module `onnxruntime`."""


@functools.cache
def mixed_builds() -> str:
    """Return an error text with a fix if several builds are installed, else ""."""
    builds = [name for name in BUILDS if _is_installed(name)]
    if len(builds) < 2:
        return ""
    return (
        f"{' and '.join(builds)} are installed into the same folder, so the files of one have "
        f"replaced those of the other; run `python3 -m pip uninstall -y {' '.join(builds)}`, then "
        f"install one of them: `python3 -m pip install {builds[-1]}`"
    )


def _is_installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True
