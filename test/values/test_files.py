"""Files are written completely or not at all."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from erc_ros.values import files
from erc_ros.values.files import check_folder, explain, whole_file, whole_folder, write_whole


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "voices.json")


@pytest.fixture
def umask() -> Iterator[None]:
    """Set a umask with which the group may read and others may not."""
    before = os.umask(0o027)
    yield
    os.umask(before)


@pytest.mark.parametrize(("is_private", "expected"), [(False, 0o640), (True, 0o600)])
def test_a_file_is_replaced_in_one_move_and_follows_the_umask(
    tmp_path: Path, umask: None, is_private: bool, expected: int
) -> None:
    file = tmp_path / "voices.json"
    file.write_text("old")
    file.chmod(0o644)
    before = file.stat().st_ino
    write_whole(file, "new", is_private)
    assert file.read_text() == "new" and file.stat().st_ino != before
    assert mode(file) == expected and list(tmp_path.iterdir()) == [file]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "file")
    write_whole(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "file").read_bytes() == b"new"


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_leaves_the_former_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    file = tmp_path / "voices.json"
    file.write_text("old")
    monkeypatch.setattr(files.os, step, full)
    with pytest.raises(OSError, match="No space") as error:
        write_whole(file, "new")
    assert file.read_text() == "old" and list(tmp_path.iterdir()) == [file]
    assert "make room" in explain(error.value)


def test_a_folder_comes_whole_or_not_at_all(tmp_path: Path, umask: None) -> None:
    folder = tmp_path / "a" / "report"
    with pytest.raises(ZeroDivisionError), whole_folder(folder) as new:
        (new / "half").touch()
        raise ZeroDivisionError
    assert list((tmp_path / "a").iterdir()) == []
    with whole_folder(folder) as new:
        (new / "inner").mkdir()
        (new / "inner" / "file").touch()
    assert mode(folder) == mode(folder / "inner") == 0o750
    assert mode(folder / "inner" / "file") == 0o640


def test_what_else_is_in_a_folder_stays(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    (tmp_path / "report").write_text("old")
    with pytest.raises(ZeroDivisionError), whole_folder(tmp_path) as new:
        (new / "report").write_text("half")
        raise ZeroDivisionError
    assert (tmp_path / "report").read_text() == "old"
    with whole_folder(tmp_path) as new:
        (new / "report").write_text("new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "report"]
    assert (tmp_path / "report").read_text() == "new"


@pytest.mark.parametrize("name", ["file", "file/inner/out"])
def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    for action in (lambda: check_folder(tmp_path / name), lambda: whole(tmp_path / name)):
        with pytest.raises(NotADirectoryError) as error:
            action()
        assert "choose another name" in explain(error.value)


@pytest.mark.parametrize("place", ["/proc/erc", "/proc/erc/out"])
def test_a_folder_that_cannot_be_written_is_named_before_the_work(place: str) -> None:
    with pytest.raises(PermissionError) as error:
        check_folder(Path(place))
    assert error.value.filename == place and "choose" in explain(error.value)


def test_a_check_of_a_folder_leaves_nothing(tmp_path: Path) -> None:
    check_folder(tmp_path)
    check_folder(tmp_path / "new" / "inner")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_written_without_its_parent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[Path] = []
    make = tempfile.TemporaryDirectory

    def noted(dir: Path, prefix: str) -> tempfile.TemporaryDirectory[str]:
        used.append(dir)
        return make(dir=dir, prefix=prefix)

    monkeypatch.setattr("tempfile.TemporaryDirectory", noted)
    with whole_folder(tmp_path) as new:  # such as a mounted disk
        (new / "report").touch()
    assert set(used) == {tmp_path} and [p.name for p in tmp_path.iterdir()] == ["report"]


def whole(folder: Path) -> None:
    with whole_folder(folder):
        pass


def test_a_file_written_by_its_path_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    with whole_file(file) as new:
        assert new.name == file.name and not file.exists()
        new.write_bytes(b"first")
    assert file.read_bytes() == b"first"
    with pytest.raises(RuntimeError, match="full"), whole_file(file) as new:
        new.write_bytes(b"half")
        raise RuntimeError("disk full")
    assert file.read_bytes() == b"first" and [p.name for p in tmp_path.iterdir()] == ["model.onnx"]
