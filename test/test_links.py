"""Links of the Markdown pages resolve, and every page of docs/ is in the navigation."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parent.parent
if not (REPOSITORY / "mkdocs.yml").is_file() or not (REPOSITORY / ".git").exists():
    pytest.skip("not a checkout", allow_module_level=True)
sys.path.insert(0, str(REPOSITORY / "scripts"))

from links import broken, pages  # noqa: E402


def test_every_link_of_the_pages_resolves() -> None:
    """`python scripts/links.py` prints the same."""
    assert [line for page in pages() for line in broken(page)] == []


@pytest.mark.parametrize(
    ("link", "fault"),
    [
        ("[a](none.md)", "does not exist"),
        ("[a](page.md#none)", "page.md#none"),
        ("[a](../page.md)", "leaves the repository"),
        ("[a](page.md#a-title)", ""),
        ("[a](https://example.org/none)", ""),
        ("`[a](none.md)`", ""),
    ],
)
def test_a_broken_link_is_reported(link: str, fault: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# A `title`\n\n{link}\n", encoding="utf-8")
    lines = list(broken(page, tmp_path))
    assert [fault in line for line in lines] == ([True] if fault else [])


def test_every_page_is_in_the_navigation() -> None:
    text = (REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8")
    listed, folders = set(), []

    def walk(entry: object) -> None:
        if isinstance(entry, str) and entry.endswith("/"):
            folders.append(entry)
        elif isinstance(entry, str):
            listed.add(entry)
        elif isinstance(entry, list | dict):
            for each in entry.values() if isinstance(entry, dict) else entry:
                walk(each)

    walk(yaml.safe_load(text)["nav"])
    docs = REPOSITORY / "docs"
    there = {page.relative_to(docs).as_posix() for page in docs.rglob("*.md")}
    missing = {page for page in there - listed if not page.startswith(tuple(folders))}
    assert missing == set()
    generated = {f"reference/{name}.md" for name in ("cli", "messages", "tuning")}  # site_hooks.py
    assert {page for page in listed - there if not page.startswith("project/")} == generated
