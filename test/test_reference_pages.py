"""The generated reference pages show the commands and messages that there are."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
if not (REPOSITORY / "scripts" / "reference.py").is_file():
    pytest.skip("not a source tree", allow_module_level=True)
sys.path.insert(0, str(REPOSITORY / "scripts"))


@pytest.mark.parametrize("name", ["cli.md", "messages.md"])
def test_a_generated_page_is_up_to_date(name: str) -> None:
    """`python scripts/reference.py --write` writes it."""
    from reference import PAGES

    page = (REPOSITORY / "docs" / "reference" / name).read_text(encoding="utf-8")
    assert page == PAGES[name]()


def test_every_command_is_in_a_group() -> None:
    from erc_ros.cli import _COMMANDS, _GROUPS

    assert sorted(name for names in _GROUPS.values() for name in names) == sorted(_COMMANDS)
