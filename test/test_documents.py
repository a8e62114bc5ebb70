"""Files and modules that the documents name exist."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parent.parent
OTHERS = {
    "my_fusion.py",
    "table.yaml",
    "metadata.yaml",
    "recipe.yaml",
    "_diagnostic_updater.py",
}  # of bags, runs and libraries

MOST_WORDS = {"README.md": 900, "docs": 40_000}
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
FILE_SUFFIXES = {"csv", "html", "jpg", "json", "md", "txt", "yaml"}
PYTHON_RANGE = re.compile(r"Python (3\.\d+) to (3\.\d+)")

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


@pytest.mark.parametrize("place", MOST_WORDS)
def test_a_reader_gets_no_more_words_than_promised(place: str) -> None:
    """Comments with the sources of figures do not count."""
    documents = [file for file in tracked() if file.startswith(place) and file.endswith(".md")]
    texts = [(REPOSITORY / file).read_text(encoding="utf-8") for file in documents]
    words = sum(len(COMMENT.sub("", text).split()) for text in texts)
    assert 100 < words <= MOST_WORDS[place]


def add_sections(value: object, sections: dict[str, set[str]]) -> None:
    """Add the names of the settings of each section of a YAML file, at any depth."""
    if isinstance(value, dict):
        for name, own in value.items():
            if isinstance(own, dict):
                sections.setdefault(str(name), set()).update(map(str, own))
    for each in value.values() if isinstance(value, dict) else value:
        if isinstance(each, (dict, list)):
            add_sections(each, sections)


def test_every_setting_that_a_document_names_by_its_section_exists() -> None:
    """`text.pretrained` is a setting if a tuning file, recipe or manifest has a section `text`."""
    files, sections = tracked(), dict[str, set[str]]()
    for file in files:
        if re.fullmatch(r"erc_ros/(config|models)/.*\.yaml", file):
            for content in yaml.safe_load_all((REPOSITORY / file).read_text(encoding="utf-8")):
                add_sections(content, sections)
    assert "slack" in sections["alignment"] and "temperature" in sections["calibration"]
    missing = []
    for file in files:
        if not file.endswith(".md") or file == "CHANGELOG.md":  # which names former settings
            continue
        text = (REPOSITORY / file).read_text(encoding="utf-8")
        for section, name in set(re.findall(r"`(?:[a-z_]+\.)*([a-z_]+)\.([a-z_]+)`", text)):
            if name not in sections.get(section, {name}) | FILE_SUFFIXES:
                missing.append(f"{file}: {section}.{name}")
    assert not missing, "\n".join(sorted(missing))


def test_all_documents_state_the_same_versions_of_python() -> None:
    """Those that are tested; the lock also resolves for later ones."""
    if not (REPOSITORY / "pyproject.toml").is_file():
        pytest.skip("not a source tree")
    text = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    versions = re.findall(r"Python :: (3\.\d+)", text)
    assert f'requires-python = ">={versions[0]}"' in text
    places = ("README.md", "CONTRIBUTING.md", "Makefile", "docs/how-to/install.md")
    tutorials = ("docs/tutorials/first_estimates.md", "docs/tutorials/elan.md")
    for place in (*places, *tutorials):
        stated = PYTHON_RANGE.findall((REPOSITORY / place).read_text(encoding="utf-8"))
        assert stated == [(versions[0], versions[-1])], place


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
