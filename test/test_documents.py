"""Files and modules that the documents name exist."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
OTHERS = {
    "my_fusion.py",
    "table.yaml",
    "metadata.yaml",
    "recipe.yaml",
    "_diagnostic_updater.py",
}  # of bags, runs and libraries

EXTRA = re.compile(r"`\[(\w+)\]`")


def tracked() -> list[str]:
    if not (REPOSITORY / ".git").exists():
        pytest.skip("not a checkout")
    done = subprocess.run(
        ["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def test_every_file_and_module_that_a_document_names_is_there() -> None:
    files = tracked()
    ends = {file[at:] for file in files for at in (0, *(m.end() for m in re.finditer("/", file)))}
    missing = []
    for document in (file for file in files if file.endswith(".md")):
        text = (REPOSITORY / document).read_text(encoding="utf-8")
        named = set(re.findall(r"`([\w/]+\.(?:py|yaml|xml|txt))[`, :]", text)) - OTHERS
        modules = re.findall(r"python -m ((?:benchmarks|erc_ros)(?:\.\w+)+)", text)
        named |= {module.replace(".", "/") + ".py" for module in modules}
        missing += [f"{document}: {name}" for name in sorted(named) if name not in ends]
    assert not missing, "\n".join(missing)


def test_the_installation_page_has_every_extra_and_every_file_of_requirements() -> None:
    if not (REPOSITORY / "pyproject.toml").is_file():
        pytest.skip("not a source tree")
    page = (REPOSITORY / "docs/how-to/install.md").read_text(encoding="utf-8")
    text = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    extras = text.partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    defined = set(re.findall(r"^(\w+) = \[", extras, re.MULTILINE))
    told = {
        name for row in re.findall(r"^\| (`\[.*?) \|", page, re.M) for name in EXTRA.findall(row)
    }
    assert told == defined
    versions = page.partition("## Versions")[2]
    files = {entry.name + "/" * entry.is_dir() for entry in (REPOSITORY / "requirements").iterdir()}
    assert set(re.findall(r"^\| `([\w.]+/?)` \|", versions, re.M)) == files


def test_no_document_installs_a_package_that_no_index_has() -> None:
    """The package is not on PyPI: `pip install 'erc_ros[replay]'` fails."""
    named = [
        file for file in tracked() if file.endswith((".py", ".md")) and "CHANGELOG" not in file
    ]
    wrong = re.compile(r"pip install [^\n]*'?erc_ros" + r"\[")
    found = [
        file
        for file in named
        if wrong.search((REPOSITORY / file).read_text(encoding="utf-8", errors="replace"))
    ]
    assert found in ([], ["test/test_documents.py"])
