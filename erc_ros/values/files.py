"""Atomic writing of files and folders: completely or not at all; encodings of text files."""

from __future__ import annotations

import codecs
import contextlib
import errno
import logging
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

_logger = logging.getLogger(__name__)
_WAYS_OUT = {
    errno.ENOSPC: "make room, or choose another disk",
    errno.EDQUOT: "make room, or choose another disk",
    errno.EROFS: "choose a folder that can be written",
    errno.EACCES: "choose another path, or ask its owner for permission",
    errno.EPERM: "choose another path, or ask its owner for permission",
    errno.ENOTDIR: "a file is where a folder should be: choose another name",
    errno.EISDIR: "a folder is where a file should be: choose another name",
    errno.EEXIST: "choose another name, or remove it",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EMFILE: "close programs, or raise the limit of open files (ulimit -n)",
}


def explain(error: OSError) -> str:
    """Return a message for an operating system error: file, reason and what to do."""
    reason = error.strerror or str(error) or type(error).__name__
    place = f"{error.filename}: " if error.filename else ""
    way_out = _WAYS_OUT.get(error.errno or 0, "")
    return f"{place}{reason}" + (f"; {way_out}" if way_out else "")


def decode(content: bytes, name: str) -> str:
    """Decode a text file: UTF-8, UTF-16 with a byte order mark, else Windows-1252, with a note."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", errors="replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        _note_encoding(name)
        return content.decode("cp1252", errors="replace")


@cache  # a file may be read several times
def _note_encoding(name: str) -> None:
    _logger.warning("warning: %s is not UTF-8: read as Windows-1252; check its names", name)


def write_whole(file: Path, content: str | bytes, is_private: bool = False) -> None:
    """Write a file atomically: at every moment it has the old or the new content, never a part.

    Args:
        is_private: whether only the owner may read the file; otherwise the umask decides.

    Raises:
        OSError: the file cannot be written; the old one is unchanged.
    """
    target = Path(os.path.realpath(file))  # keeps a symbolic link
    data = content.encode() if isinstance(content, str) else content
    name = target.parent / f".{target.name[:100]}-{secrets.token_hex(8)}"
    number = os.open(
        name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600 if is_private else 0o666
    )
    try:
        with os.fdopen(number, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(name, target)
    except BaseException:
        name.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def whole_file(file: Path) -> Iterator[Path]:
    """Context manager that yields a temporary path and moves its file to `file` at the end.

    After an exception the temporary file is removed and `file` is unchanged.

    Raises:
        OSError: the file cannot be written.
    """
    target = Path(os.path.realpath(file))
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name[:100]}-") as scratch:
        new = Path(scratch, target.name)
        yield new
        os.replace(new, target)


def check_folder(folder: Path) -> None:
    """Check that `folder` can be written or created, before long work that writes to it.

    Raises:
        NotADirectoryError: `folder` or one of its parents is a file.
        PermissionError: `folder`, or the parent in which it would be created, cannot be written.
    """
    places = (folder, *folder.absolute().parents)
    for place in places:
        if place.exists() and not place.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(place))
    existing = next(place for place in places if place.exists())
    try:  # os.access does not know of file systems such as /proc
        with tempfile.TemporaryDirectory(dir=existing, prefix=".erc-"):
            pass
    except OSError as error:
        code = errno.EROFS if error.errno == errno.EROFS else errno.EACCES
        raise PermissionError(code, f"cannot be written ({error.strerror})", str(folder)) from error


@contextlib.contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Context manager that yields a temporary folder and moves it to `folder` at the end.

    If `folder` exists, each file is moved into it atomically. After an exception the temporary
    folder is removed and `folder` is unchanged.

    Raises:
        OSError: the folder cannot be written.
    """
    check_folder(folder)
    target = Path(os.path.realpath(folder))
    target.parent.mkdir(parents=True, exist_ok=True)
    near = target if target.exists() else target.parent  # the same file system
    with tempfile.TemporaryDirectory(dir=near, prefix=f".{target.name[:100]}-") as scratch:
        new = Path(scratch, target.name)
        new.mkdir()
        yield new
        if not target.exists():
            new.rename(target)
            return
        for path in sorted(new.iterdir()):
            if path.is_dir() and (target / path.name).is_dir():
                shutil.rmtree(target / path.name)
            os.replace(path, target / path.name)
