"""Read pickles of numbers, text and collections without creating other objects or running code."""

from __future__ import annotations

import pickle
from collections import OrderedDict, defaultdict
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

_CORE = "numpy._core" if hasattr(np, "_core") else "numpy.core"
_BUILTINS: dict[str, Any] = {
    cls.__name__: cls
    for cls in (set, frozenset, list, dict, tuple, bytes, bytearray, int, float, str)
}


def _encoded(text: str, encoding: str = "latin1") -> bytes:
    """Encode text for strings of Python 2; other codecs are not allowed."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"text in the encoding {encoding!r}")
    return text.encode("latin1")


_NAMES: dict[tuple[str, str], Any] = {
    **{
        (module, name): cls
        for module in ("builtins", "__builtin__")
        for name, cls in _BUILTINS.items()
    },
    ("__builtin__", "unicode"): str,
    ("__builtin__", "long"): int,
    ("collections", "OrderedDict"): OrderedDict,
    ("collections", "defaultdict"): defaultdict,
    ("_codecs", "encode"): _encoded,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    **{
        (f"numpy.{core}.{module}", name): getattr(import_module(f"{_CORE}.{module}"), name)
        for core in ("core", "_core")  # of numpy 1 and 2
        for module, name in (
            ("multiarray", "_reconstruct"),
            ("multiarray", "scalar"),
            ("numeric", "_frombuffer"),
        )
    },
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _NAMES[module, name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"it holds {module}.{name}, and only numbers, text, numpy arrays and collections of"
                " them are read: convert it on a machine where you trust it"
            ) from None


def read_pickle(file: Path) -> Any:
    """Return the content of a pickle.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, or holds something else than numbers, text, numpy arrays, and
            tuples, lists, sets and tables of them.
    """
    with file.open("rb") as stream:
        try:
            return _Unpickler(stream, encoding="latin1").load()
        except Exception as error:  # a damaged pickle may raise any exception
            raise ValueError(f"{file} cannot be read: {error}") from error
