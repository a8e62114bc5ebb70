"""The notebook of the examples runs, cell by cell."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parents[2] / "examples" / "analyze_a_recording.ipynb"


def run_cell(source: str, names: dict[str, Any]) -> Any:
    """Execute a cell, and return the value of its last expression, as a notebook shows it.

    A kernel (ipykernel with its dependencies: 60 MB) would do the same, as there is no magic.
    """
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, NOTEBOOK.name, "exec"), names)
    if last is None:
        return None
    return eval(compile(ast.Expression(last.value), NOTEBOOK.name, "eval"), names)


def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert content["nbformat"] == 4
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    values = []
    for cell in content["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []  # of another version they would contradict the text
            values.append(run_cell("".join(cell["source"]), names))
    tables = [value for value in values if hasattr(value, "columns")]
    assert len(tables[0]) == len(names["result"]) > 5
    assert (tmp_path / "estimates.csv").is_file()
