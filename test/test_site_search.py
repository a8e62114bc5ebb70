"""The search of the documentation works in a page opened from disk."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parent.parent / "docs"
if not (DOCS / "search.js").is_file():
    pytest.skip("not a source tree", allow_module_level=True)
INDEX = """const siteIndex = [
    {location: "a.html", page: "A", title: "A", text: "a microphone"},
    {location: "b.html#m", page: "B", title: "Microphone", text: "<b>connect</b> it"},
    {location: "c.html", page: "C", title: "C", text: "camera"},
];"""


def test_sections_with_all_words_are_listed_titles_first(tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("Chromium is not installed (make browser)")
    (tmp_path / "search").mkdir()
    (tmp_path / "search" / "index.js").write_text(INDEX)
    shutil.copy(DOCS / "search.js", tmp_path)
    body = (DOCS / "search.md").read_text(encoding="utf-8").partition("\n")[2]
    (tmp_path / "search.html").write_text(f"<!doctype html><body>{body}</body>")
    address = (tmp_path / "search.html").as_uri() + "?q=microphone"
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    done = subprocess.run(
        [browser, *options, profile, address],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    first, second = done.stdout.find('href="b.html#m"'), done.stdout.find('href="a.html"')
    assert 0 < first < second and "c.html" not in done.stdout
    assert "2 sections" in done.stdout and "<b>connect" not in done.stdout
