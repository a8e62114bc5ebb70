"""Compare the figures in Markdown pages with the results files.

    python -m benchmarks.figures             # list figures that differ; status 1 if any do
    python -m benchmarks.figures --write     # put the figures of the results files into the pages
    python -m benchmarks.figures --commands  # commands to repeat after a change of the bundle

A figure in a page is a number followed by a comment with its source:

    61.0<!-- figure: text.json#meld/weighted_f1 -->
    61.0<!-- figure: erc_ros/models/edge-small/calibration.json#meld_test_weighted_f1/text -->

A name without a folder is in benchmarks/results, whose numbers are in `figures`. `*100` after the
key multiplies a fraction. The format of the number in the page (decimals, sign) is kept.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.record import MEASURED, RESULTS, ROOT, fingerprint

FIGURE = re.compile(
    r"(?P<number>[-+]?\d[\d,]*(?:\.\d+)?)(?P<between>\*{0,2}(?: ?%)?\*{0,2})"
    r"<!-- figure: (?P<file>[^#\s]+)#(?P<key>[^*>]+?)(?P<times>\*100)? -->"
)
MARKER = "<!-- figure:"
PAGES = (
    "README.md",
    "USE.md",
    "QUALITY_DECLARATION.md",
    "docs/**/*.md",
    "erc_ros/models/*/README.md",
)


@dataclass(frozen=True)
class Shown:
    """A figure in a page. expected: the number of the results file in the same format."""

    page: Path
    line: int
    written: str
    expected: str
    source: str


def pages(root: Path = ROOT) -> list[Path]:
    """Return the pages that may have figures."""
    return sorted(page for pattern in PAGES for page in root.glob(pattern))


def figures(page: Path, root: Path = ROOT) -> Iterator[Shown]:
    """Yield the figures of a page.

    Raises:
        ValueError: a marker has no number before it, or its source does not exist.
    """
    text = page.read_text(encoding="utf-8")
    matches = list(FIGURE.finditer(text))
    if len(matches) != text.count(MARKER):
        raise ValueError(f"{page}: a figure marker is invalid, or has no number before it")
    for match in matches:
        line = text.count("\n", 0, match.start()) + 1
        source = f"{match['file']}#{match['key']}"
        try:
            value = lookup(match["file"], match["key"], root)
        except (OSError, KeyError, TypeError) as error:
            raise ValueError(f"{page}:{line}: there is no {source} ({error})") from None
        if match["times"]:
            value *= 100
        yield Shown(page, line, match["number"], like(match["number"], value), source)


def lookup(file: str, key: str, root: Path = ROOT) -> float:
    """Return the number in a results file at a key whose parts are separated by slashes.

    Raises:
        OSError, KeyError, TypeError: the file or key does not exist, or is not a number.
    """
    is_result = "/" not in file
    path = root / "benchmarks" / "results" / file if is_result else root / file
    text = path.read_text(encoding="utf-8")
    value: Any = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    if is_result:
        value = value["figures"]
    for part in key.strip().split("/"):
        value = value[part]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{value!r} is not a number")
    return float(value)


def like(written: str, value: float) -> str:
    """Format a value with the decimals, sign and thousands separators of `written`."""
    decimals = len(written.partition(".")[2])
    sign = "+" if written[0] in "+-" else ""
    separator = "," if "," in written else ""
    return format(value, f"{sign}{separator}.{decimals}f")


def update(page: Path, root: Path = ROOT) -> bool:
    """Update the figures in a page; return whether it changed."""
    text = page.read_text(encoding="utf-8")
    expected = iter([each.expected for each in figures(page, root)])
    changed = FIGURE.sub(lambda m: next(expected) + m[0][len(m["number"]) :], text)
    if changed != text:
        page.write_text(changed, encoding="utf-8")
    return changed != text


def stale(root: Path = ROOT) -> list[str]:
    """Return a line for every measured results file whose bundle has changed."""
    lines = []
    for file in sorted((root / "benchmarks" / "results").glob("*.json")):
        content = json.loads(file.read_text(encoding="utf-8"))
        if content["status"] != MEASURED or "bundle" not in content:
            continue
        bundle = content["bundle"]
        if fingerprint(root / "erc_ros" / "models" / bundle["name"]) != bundle["sha256"]:
            lines.append(f"{file.name}: {bundle['name']} has changed; run: {content['command']}")
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status is 1 if a figure differs from its results file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="update the pages")
    parser.add_argument("--commands", action="store_true", help="print the commands and stop")
    options = parser.parse_args(argv)
    if options.commands:
        for file in sorted(RESULTS.glob("*.json")):
            content = json.loads(file.read_text(encoding="utf-8"))
            if content["status"] == MEASURED:
                print(content["command"])
        return 0
    differ = 0
    try:
        for page in pages():
            if options.write:
                if update(page):
                    print(f"{page.relative_to(ROOT)}: updated")
                continue
            for each in figures(page):
                if each.written != each.expected:
                    where = f"{page.relative_to(ROOT)}:{each.line}"
                    print(f"{where}: {each.written}, {each.source} has {each.expected}")
                    differ += 1
        for line in stale():
            print(line)
    except ValueError as error:
        print(f"figures: {error}", file=sys.stderr)
        return 1
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
