"""XED, on files of its layout that are written here."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("soundfile", reason="needs the extra [train]")

from data_folder import DATA, need

from erc_ros.training.datasets.utterances import UNUSABLE_ROW
from erc_ros.training.datasets.xed import (
    OTHER_EMOTION,
    PLACEHOLDER,
    SPLITS,
    read_xed,
)


def write(folder: Path, *lines: str) -> Path:
    (folder / "xed").mkdir(exist_ok=True)
    (folder / "xed" / "en-annotated.tsv").write_text("".join(f"{line}\n" for line in lines))
    return folder


def read_all(data: Path) -> dict[str, list[tuple[str, str]]]:
    """Split -> (label, text) of each line; a split without a line is missing."""
    found = {}
    for split in SPLITS:
        try:
            read = read_xed(data, split)
        except ValueError:
            continue
        said = [c.utterances[0] for c in read.conversations]
        found[split] = [(read.labels[u.label or 0], u.text) for u in said]
    return found


def test_a_line_with_one_emotion_becomes_a_comment_as_people_write_it(tmp_path: Path) -> None:
    data = write(tmp_path, "- Well , I don ' t care !\t1", "... Oh no .\t7")
    lines = {line for each in read_all(data).values() for line in each}
    assert lines == {("anger", "Well, I don't care!"), ("surprise", "Oh no.")}


def test_a_line_said_twice_is_in_one_split(tmp_path: Path) -> None:
    texts = [f"number {n} is here" for n in range(60)]
    data = write(tmp_path, *(f"{text} .\t5" for text in texts), *(f"{text} !\t6" for text in texts))
    sets = [{text.strip(".!") for _, text in each} for each in read_all(data).values()]
    assert len(sets) == 3 and sum(map(len, sets)) == len(set().union(*sets)) == 60


def test_other_lines_are_counted_by_reason(tmp_path: Path) -> None:
    data = write(
        tmp_path, *(f"good {n}\t4" for n in range(60)),
        "both\t1, 3", "waits\t2", "Fuck off , [PERSON]\t1", "...\t6", "nine\t9", "no tab",
    )  # fmt: skip
    findings = read_xed(data, "train").findings
    assert findings.rows(OTHER_EMOTION) == (61, 62)
    assert findings.rows(PLACEHOLDER) == (63, 64)
    assert findings.rows(UNUSABLE_ROW) == (65, 66)


@pytest.mark.data
def test_the_real_file_is_as_published() -> None:
    need("xed")
    assert [len(read_xed(DATA, split).conversations) for split in SPLITS] == [7136, 892, 863]
