"""Does an engine answer as ONNX Runtime does? Compared on inputs that were kept for it."""

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
Stored = tuple[Arrays, Arrays]  # inputs, and ONNX Runtime's answers

SAME = 1e-5  # of the largest answer: the order of additions
HALF = TOLERANCE


def keep(model: Path, stored: Sequence[Stored]) -> None:
    """Keep inputs of `model` with their answers; raises as `save_file`."""
    arrays = {
        f"{number}/{kind}/{name}": array
        for number, pair in enumerate(stored)
        for kind, named in zip(("inputs", "answers"), pair, strict=True)
        for name, array in named.items()
    }
    content = BytesIO()
    np.savez(content, **arrays)  # type: ignore[arg-type]
    store.save_file(store.check_file(model), content.getvalue())


def kept(model: Path) -> list[Stored]:
    """The stored inputs and answers of `model`.

    Raises:
        EngineError: there are none, or they cannot be read.
    """
    found: dict[int, Stored] = {}
    try:
        with np.load(store.check_file(model), allow_pickle=False) as arrays:
            for key in arrays.files:
                number, kind, name = key.split("/", 2)
                pair = found.setdefault(int(number), ({}, {}))
                pair[kind == "answers"][name] = arrays[key]
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise EngineError(
            f"{store.check_file(model)} cannot be read ({error}); build again"
        ) from error
    if not found:
        raise EngineError(f"{store.check_file(model)} holds nothing; build again")
    return list(found.values())


def disagreement(
    network: Callable[[Arrays], Arrays], stored: Sequence[Stored], tolerance: float
) -> float:
    """The largest difference from the stored answers, as a part of the largest answer.

    Raises:
        EngineError: it is above `tolerance`, or an answer has another shape or is not finite.
    """
    worst = 0.0
    for inputs, answers in stored:
        try:
            worst = max(worst, largest_difference(network(inputs), answers))
        except NetworkError as error:
            raise EngineError(str(error)) from error
    if worst > tolerance:
        raise EngineError(
            f"its answers differ from ONNX Runtime's by {worst:.2%}, allowed are {tolerance:.3%}"
        )
    return worst
