"""The generated pages of the site contain the existing commands and messages."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
if not (REPOSITORY / "scripts" / "reference.py").is_file():
    pytest.skip("not a source tree", allow_module_level=True)
sys.path.insert(0, str(REPOSITORY / "scripts"))

from reference import PAGES, commands, messages  # noqa: E402

from erc_ros.cli import _COMMANDS, _GROUPS  # noqa: E402


def test_every_command_is_in_a_group_and_on_the_page() -> None:
    assert sorted(name for names in _GROUPS.values() for name in names) == sorted(_COMMANDS)
    page = commands()
    assert [name for name in _COMMANDS if f"### erc {name}\n" not in page] == []
    assert "| `--transcript FILE` |" in page


def test_every_message_service_and_field_is_on_the_page() -> None:
    page = messages()
    for file in [*REPOSITORY.glob("erc_msgs/msg/*.msg"), *REPOSITORY.glob("erc_msgs/srv/*.srv")]:
        assert f"## {file.stem}\n" in page
        for line in file.read_text(encoding="utf-8").splitlines():
            declared = line.partition("#")[0].split()
            if len(declared) > 1:
                assert f"| `{declared[1]}` | {declared[0]} |" in page, line


def test_the_navigation_has_the_generated_pages() -> None:
    navigation = (REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8")
    assert all(f"reference/{name}\n" in navigation for name in PAGES)
