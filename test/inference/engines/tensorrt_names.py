"""Which names of TensorRT's Python API our code uses, and which of them each version has.

    python test/inference/engines/tensorrt_names.py FOLDER

FOLDER holds wheels of the bindings (`pip download --no-deps tensorrt-cu12-bindings==10.3.0`, and
so on). They cannot be imported without TensorRT, but the names of classes, methods, members and
arguments stand in their library as C strings. What is found is written to tensorrt_names.json.
A string tells that a version has a name, not on which class or in which order its arguments come.
"""

from __future__ import annotations

import ast
import json
import re
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

FOUND = Path(__file__).with_name("tensorrt_names.json")
CODE = Path(__file__).parents[3] / "erc_ros" / "inference" / "engines" / "tensorrt_engine.py"
OBJECTS = {"trt", "builder", "network", "parser", "config", "made", "engine", "context"}
MEMBERS = {"_engine", "_runtime"}
BASES = {"ILogger", "IProgressMonitor"}
NOT_THEIRS = {"__init__", "__version__", "name", "file", "read_bytes", "tolerance"}
"""Python's own, and what a `store.Engine` has."""


def used() -> set[str]:
    """Every class, method, member and callback argument of TensorRT that our code names."""
    tree = ast.parse(CODE.read_text(encoding="utf-8"))
    return {name for node in ast.walk(tree) for name in _names(node)} - NOT_THEIRS


def _names(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Attribute) and _is_theirs(node.value):
        yield node.attr
    elif isinstance(node, ast.Call) and ast.unparse(node.func) == "getattr":
        if isinstance(node.args[1], ast.Constant) and _is_theirs(node.args[0]):
            yield str(node.args[1].value)
    elif isinstance(node, ast.ClassDef) and any(
        isinstance(base, ast.Attribute) and base.attr in BASES for base in node.bases
    ):
        for method in node.body:
            if isinstance(method, ast.FunctionDef) and not method.name.startswith("__"):
                yield method.name


def _is_theirs(value: ast.expr) -> bool:
    if isinstance(value, ast.Name):
        return value.id in OBJECTS
    if isinstance(value, ast.Attribute):
        return value.attr in MEMBERS or _is_theirs(value.value)
    return False


def has(library: bytes, name: str) -> bool:
    """Whether a C string is this name, or ends with it: linkers let strings share their ends."""
    return (
        re.search(rb"(?:\0|[A-Za-z0-9_])" + re.escape(name.encode()) + rb"\0", library) is not None
    )


def main(folder: str) -> None:
    """Look for every name in every wheel of the folder."""
    found = {}
    for wheel in sorted(Path(folder).glob("tensorrt*bindings-*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            (library,) = (name for name in archive.namelist() if name.endswith("tensorrt.so"))
            content = archive.read(library)
        version = "-".join(wheel.name.split("-")[:2])
        found[version] = {name: has(content, name) for name in sorted(used())}
    FOUND.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
