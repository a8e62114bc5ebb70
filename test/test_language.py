"""The check of words in `make lint`, on small repositories."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
if not (REPOSITORY / "scripts" / "language.py").is_file():
    pytest.skip("not a source tree", allow_module_level=True)
sys.path.insert(0, str(REPOSITORY / "scripts"))

import language  # noqa: E402

LIST = """
words:
  whoever: the person who
documents:
  pictures?: image
abbreviations: ROS
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with a list of words and an empty glossary."""
    for folder in ("docs/how-to", "erc_msgs/msg", "scripts", "erc_ros/config"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "scripts" / "words.yaml").write_text(LIST)
    (tmp_path / "docs" / "glossary.md").write_text("# Glossary\n\nVAD\n")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("A picture\n", 3),
        ("first\nWhoever speaks\n", 4),
        ("`whoever`\n\n    whoever\n\n```\nwhoever\n```\n", 0),
        ("[page](whoever.md) <!-- whoever -->\n", 0),
        ("whoeverelse\n", 0),
    ],
)
def test_a_word_of_a_document_is_reported_with_its_line(root: Path, text: str, line: int) -> None:
    (root / "docs" / "how-to" / "page.md").write_text(f"# Title\n\n{text}")
    places = [each.split(": ")[0] for each in language.in_documents(root)]
    assert places == ([f"docs/how-to/page.md:{line}"] if line else [])


def test_messages_are_checked_and_keys_of_a_configuration_are_not(root: Path) -> None:
    (root / "erc_msgs" / "msg" / "A.msg").write_text("bool a # whoever\n")
    (root / "erc_ros" / "config" / "a.yaml").write_text("whoever: 1 # a picture\n")
    assert [each.split(":")[0] for each in language.in_documents(root)] == ["erc_msgs/msg/A.msg"]


def test_history_is_not_checked(root: Path) -> None:
    (root / "CHANGELOG.md").write_text("# C\n\n## Unreleased\n\nwhoever\n\n## 0.1\n\nwhoever\n")
    assert [each.split(": ")[0] for each in language.in_documents(root)] == ["CHANGELOG.md:5"]


def test_an_abbreviation_that_is_not_in_the_glossary_is_reported(root: Path) -> None:
    (root / "docs" / "how-to" / "page.md").write_text("# Title\n\nVAD, ROS, XYZ, `QRS`\n")
    assert [each.split(": ")[1] for each in language.undefined(root)] == [
        "XYZ is not in docs/glossary.md"
    ]


def test_python_files_may_not_use_a_word_more_often(root: Path) -> None:
    (root / "a.py").write_text('"""For whoever reads."""\n# whoever\nwhoever = "whoever"\n')
    subprocess.run(["git", "add", "a.py"], cwd=root, check=True)
    assert language.counts(root) == {"whoever": 2}
    assert [each for each in language.exceeded(root) if "2 times, 0 allowed" in each]
    (root / "scripts" / "words_in_python.yaml").write_text("whoever: 2\n")
    assert list(language.exceeded(root)) == []
