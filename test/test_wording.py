"""Tests check types, names and values of errors, not sentences."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).resolve().parent
MOST = 50  # patterns of two or more words in a row
COMMAND = re.compile(r"(?:erc|ros2|apt|pip|hf) [a-z-]+")
WORDS = re.compile(r"[A-Za-z]{2,}[,;:]? [a-z]{2,}")


def sentences() -> list[str]:
    """Yield each `match=` whose pattern has two consecutive words, with its place."""
    matches = []
    for file in sorted(TESTS.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                for keyword in node.keywords:
                    text = COMMAND.sub("", ast.unparse(keyword.value))
                    if keyword.arg == "match" and WORDS.search(text):
                        matches.append(f"{file.relative_to(TESTS)}:{keyword.value.lineno}: {text}")
    return matches


def test_few_tests_match_the_wording_of_an_error() -> None:
    matches = sentences()
    assert len(matches) <= MOST, "\n".join(matches)
