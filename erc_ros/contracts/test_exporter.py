"""The contract of `erc_ros.evaluation.exports.Exporter`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from erc_ros.evaluation.exports import Exporter, check_formats
from erc_ros.evaluation.exports.lines import Line
from erc_ros.values.nanoseconds import NS

SECRET = "xylophone"
LINES = [
    Line(0, 2 * NS, "speaker 1", SECRET, "joy", 0.8, 0.7, 0.4, (("joy", 0.8), ("anger", 0.2))),
    Line(NS, 3 * NS, "speaker 2", 'Grüße, 你好; "a, b"\n', "", 0.3, -0.1, 0.0),
    Line(4 * NS, 4 * NS, "", None, None, None, None, None),
]


@pytest.fixture
def loaded(exporter: str) -> Exporter:
    """The exporter, loaded as in `--export`; this also checks its suffix."""
    (instance,) = check_formats([exporter]).values()
    return instance


def written(exporter: Exporter, lines: list[Line], folder: Path, name: str = "talk") -> bytes:
    """Export lines and return the bytes of the written file."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}{exporter.suffix}"
    exporter.write(lines, file, "talk", 10 * NS)
    assert [each.name for each in folder.iterdir()] == [file.name], "it must write one file"
    return file.read_bytes()


def test_the_same_lines_give_the_same_bytes(loaded: Exporter, tmp_path: Path) -> None:
    """The bytes do not depend on the folder, a clock or a path."""
    first = written(loaded, LINES, tmp_path / "a")
    assert first == written(loaded, LINES, tmp_path / "b" / "c")
    assert str(tmp_path).encode() not in first


def test_a_recording_without_an_utterance_is_written(loaded: Exporter, tmp_path: Path) -> None:
    """An empty list is written without an error."""
    written(loaded, [], tmp_path / "a")


def test_without_text_no_word_is_written(loaded: Exporter, tmp_path: Path) -> None:
    """Export lines without text."""
    silent = [replace(line, text=None) for line in LINES]
    assert SECRET.encode() not in written(loaded, silent, tmp_path / "a")


def test_the_lines_are_not_changed(loaded: Exporter, tmp_path: Path) -> None:
    """Their order is not changed either."""
    lines = list(LINES)
    written(loaded, lines, tmp_path / "a")
    assert lines == LINES
