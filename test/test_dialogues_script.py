"""scripts/dialogues.py adds what is valid and unlike what bundles are measured on."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
if not (REPOSITORY / "scripts" / "dialogues.py").is_file():
    pytest.skip("not a checkout", allow_module_level=True)
sys.path.insert(0, str(REPOSITORY / "scripts"))

from dialogues import Texts, add, blocks, table  # noqa: E402

from benchmarks.contrast import read_pairs  # noqa: E402

PAIR = read_pairs()[0]
NEW = f"""# Style: two old friends, kitchen
- turns:
  - [Ann, "The kettle is on the wooden shelf.", neutral]
- group: lamp-1
  turns:
  - [Ann, "{PAIR.last}", joy]
- group: lamp-1
  turns:
  - [Ann, "A twin of a skipped dialogue.", joy]
- turns:
  - [Robot, "{next(t for p in read_pairs() for h in p.histories.values() for t in h if len(t.split()) > 6)}", neutral]
- turns:
  - [Ann, "x", bored]
- turns:
  - [Ann, "This one is fine, too.", joy]
"""  # noqa: E501


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    new, out = tmp_path / "new", tmp_path / "out"
    new.mkdir()
    out.mkdir()
    (new / "part_a.yaml").write_text(NEW)
    (out / "part_01.yaml").write_text('- turns:\n  - [Robot, "Hello.", neutral]\n')
    return new, out


def test_only_good_dialogues_are_added_with_their_style(folders: tuple[Path, Path]) -> None:
    new, out = folders
    reasons = add([new], None, out)
    comments, entries = blocks(out / "part_02.yaml")
    assert comments == ["# Style: two old friends, kitchen"]
    texts = [entry["turns"][0][1] for _, entry in entries]
    assert texts == ["The kettle is on the wooden shelf.", "This one is fine, too."]
    assert sorted(reasons.values()) == [1, 1, 1, 1]
    assert not (out / "part_03.yaml").exists()


def test_a_sentence_that_ends_a_dialogue_of_another_split_is_not_added(
    folders: tuple[Path, Path],
) -> None:
    new, out = folders
    lines = [
        f'- turns:\n  - [A, "opening {n}", neutral]\n  - [B, "we leave at noon today", joy]\n'
        for n in range(40)
    ]
    (new / "part_a.yaml").write_text("".join(lines))
    assert 0 < add([new], None, out).total() < 40


def test_the_counts_are_of_turns_of_people_and_robots(folders: tuple[Path, Path]) -> None:
    new, out = folders
    add([new], None, out)
    text = table(out)
    assert "3 entries: 0 dialogues, 3 single sentences" in text
    assert "| all | 2 | 100 % | 1 | 3 |" in text


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("I'll meet you at the station, Tom!", "same"),
        ("I will see you at the old station Tom", ""),
        ("Ill meet you at the station Ann", "near"),
        ("the station", ""),
    ],
)
def test_texts_match_by_words(text: str, match: str) -> None:
    assert Texts(["I'll meet you at the station, Tom"]).match(text) == match
