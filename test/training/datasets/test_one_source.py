"""What is known of a corpus is in its spec alone; the documentation and the code follow it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

pytest.importorskip("soundfile", reason="needs the extra [train]")

from erc_ros.training.datasets import catalog
from erc_ros.training.datasets.corpora import BUILT_IN

ROOT = Path(__file__).parents[3]
READERS = {Path(name).stem for name in (ROOT / "erc_ros/training/datasets").glob("*.py")} & {
    *(name.replace("-", "_") for name in BUILT_IN),
    *("iemocap", "reccon", "ordinary_speech"),
}
MAKES_LAYOUTS = {"cli.py", "generated_corpora.py"}  # erc make-corpus writes two official layouts


def test_the_documentation_has_the_tables_of_the_specs() -> None:
    text = (ROOT / "docs" / "reference" / "datasets.md").read_text(encoding="utf-8")
    assert catalog.filled(text) == text and "`dailydialog`" in text and "`meld-3`" in text


@pytest.mark.parametrize("folder", sorted(f.name for f in (ROOT / "erc_ros").iterdir()))
def test_nothing_outside_the_readers_names_a_corpus(folder: str) -> None:
    root = ROOT / "erc_ros" / folder
    files = [root] if root.suffix == ".py" else root.rglob("*.py")
    named = []
    for file in files:
        if file.parent.name == "datasets" or file.name in MAKES_LAYOUTS:
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                readers = {node.module.rpartition(".")[2], *(each.name for each in node.names)}
                is_reader = "training.datasets" in node.module and readers & READERS
            else:
                is_reader = isinstance(node, ast.Constant) and node.value in BUILT_IN
            if is_reader:
                named.append(f"{file.name}:{node.lineno}")
    assert not named
