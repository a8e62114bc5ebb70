"""Comparison of an engine's outputs with those of ONNX Runtime, on stored inputs."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from erc_ros.inference.engines import store
from erc_ros.inference.engines.store import EngineError
from erc_ros.networks.session import TOLERANCE, NetworkError, largest_difference

Arrays = dict[str, NDArray[Any]]
Stored = tuple[Arrays, Arrays]  # inputs and outputs of ONNX Runtime


def keep(model: Path, stored: Sequence[Stored]) -> None:
    """Store inputs of `model` with their outputs; raises as `store.save_file`."""
    arrays = {
        f"{number}/{kind}/{name}": array
        for number, pair in enumerate(stored)
        for kind, named in zip(("inputs", "outputs"), pair, strict=True)
        for name, array in named.items()
    }
    content = BytesIO()
    np.savez(content, **arrays)  # type: ignore[arg-type]
    store.save_file(store.check_file(model), content.getvalue())


def kept(model: Path) -> list[Stored]:
    """Return the stored inputs and outputs of `model`.

    Raises:
        EngineError: the file does not exist or cannot be read.
    """
    stored: dict[int, Stored] = {}
    try:
        with np.load(store.check_file(model), allow_pickle=False) as arrays:
            for key in arrays.files:
                number, kind, name = key.split("/", 2)
                pair = stored.setdefault(int(number), ({}, {}))
                pair[kind == "outputs"][name] = arrays[key]
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise EngineError(
            f"{store.check_file(model)} cannot be read ({error}); build again"
        ) from error
    if not stored:
        raise EngineError(f"{store.check_file(model)} is empty; build again")
    return list(stored.values())


def disagreement(
    network: Callable[[Arrays], Arrays], stored: Sequence[Stored], tolerance: float = TOLERANCE
) -> float:
    """Return the largest difference from the stored outputs, relative to the largest output.

    Raises:
        EngineError: the difference is above `tolerance`, or an output has another shape or is not
            finite.
    """
    worst = 0.0
    for inputs, outputs in stored:
        try:
            worst = max(worst, largest_difference(network(inputs), outputs))
        except NetworkError as error:
            raise EngineError(str(error)) from error
    if worst > tolerance:
        raise EngineError(
            f"its outputs differ from ONNX Runtime's by {worst:.2%}; at most {tolerance:.3%} are "
            "allowed"
        )
    return worst
