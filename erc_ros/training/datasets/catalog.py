"""The tables of corpora in the documentation, made from their specs.

python -m erc_ros.training.datasets.catalog docs/reference/datasets.md
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from erc_ros.metrics.table import markdown
from erc_ros.training.datasets.corpora import BUILT_IN
from erc_ros.training.datasets.corpus import EVALUATION, TRAINING

_TABLE = re.compile(r"(<!-- corpora: (\w+) -->\n).*?(\n<!-- end -->)", re.DOTALL)


def table(use: str) -> str:
    """Return a Markdown table of the built-in corpora of one use (TRAINING or EVALUATION)."""
    rows = [
        [
            f"`{spec.name}`",
            spec.content,
            ", ".join(spec.splits),
            str(len(spec.labels)),
            ", ".join(spec.languages),
            spec.license or "not stated",
            spec.layout,
        ]
        for spec in BUILT_IN.values()
        if spec.use == use
    ]
    head = ["name", "content", "splits", "labels", "languages", "license", "files in the folder"]
    return "\n".join(markdown(head, rows))


def filled(text: str) -> str:
    """Return a document with updated tables of corpora."""
    return _TABLE.sub(lambda m: f"{m[1]}{table(m[2])}{m[3]}", text)


if __name__ == "__main__":
    page = Path(sys.argv[1])
    page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
    assert {TRAINING, EVALUATION} <= set(re.findall(r"<!-- corpora: (\w+) -->", page.read_text()))
