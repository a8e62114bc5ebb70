"""Check the relative links and anchors of the repository's Markdown pages, without network.

python scripts/links.py          # status 1 if a link or anchor does not exist
"""

from __future__ import annotations

import re
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
HEADING = re.compile(r"^(#{1,6})\s+(.+?)\s*#*\s*$", re.MULTILINE)
FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,}).*?^ {0,3}\1[^\n]*$", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"(?<=\n\n)(?: {4}[^\n]*\n)+")
CODE = re.compile(r"`+[^`\n]*`+")
ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)


def anchor_of(heading: str) -> str:
    """The anchor of a heading, as Python-Markdown and GitHub both make it."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    text = re.sub(r"<!--.*?-->|[`*]", "", text)
    text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    text = re.sub(r"[^\w\s-]", "", text).strip().lower()
    return re.sub(r"[-\s]+", "-", text)


@cache
def anchors(page: Path) -> frozenset[str]:
    """The anchors of a page: headings and explicit ids."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    ids = re.findall(r"<a (?:id|name)=\"([^\"]+)\"|\{ ?#([\w-]+) ?\}", text)
    headings = [anchor_of(match[2]) for match in HEADING.finditer(text)]
    return frozenset([*headings, *(first or second for first, second in ids)])


def broken(page: Path, root: Path = ROOT) -> Iterator[str]:
    """A line for each link of a page whose file or anchor does not exist."""
    text = page.read_text(encoding="utf-8")
    blank = FENCE.sub(lambda match: "\n" * match[0].count("\n"), text)
    blank = INDENTED.sub(lambda match: "\n" * match[0].count("\n"), blank)
    blank = CODE.sub("", blank)
    for match in LINK.finditer(blank):
        if ELSEWHERE.match(match[1]):
            continue
        path, _, anchor = unquote(match[1]).partition("#")
        target = (page.parent / path).resolve() if path else page
        line = blank.count("\n", 0, match.start()) + 1
        where = f"{page.relative_to(root)}:{line}: {match[1]}"
        if root not in (target, *target.parents):
            yield f"{where} leaves the repository"
        elif not target.exists():
            yield f"{where} does not exist"
        elif anchor and target.suffix == ".md" and anchor not in anchors(target):
            yield f"{where}: {target.name} has no such heading"


def pages(root: Path = ROOT) -> list[Path]:
    """The Markdown pages that belong to the repository."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    return [page for name in listed.stdout.splitlines() if (page := root / name).is_file()]


def main() -> int:
    """Print what is wrong; the number of broken links decides the exit status."""
    lines = [line for page in pages() for line in broken(page)]
    print("\n".join(lines) or "all links resolve")
    return min(len(lines), 1)


if __name__ == "__main__":
    sys.exit(main())
