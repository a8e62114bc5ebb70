"""Find recordings, and assign annotations to them."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from erc_ros.annotations import READERS, read
from erc_ros.annotations.marks import AnnotationError
from erc_ros.replay.recording import is_media, recording_files, recording_name
from erc_ros.replay.session import is_session

STORAGE = (".mcap", ".db3", ".mcap.zstd", ".db3.zstd")


def find_bags(paths: Sequence[Path]) -> dict[str, Path]:
    """Return name -> recording, in the order of the paths; those of a folder sorted by name.

    A path is a recording (a folder with metadata.yaml, or a storage file), or a folder of them.
    Recordings of one name are distinguished by their folders' names.

    Raises:
        FileNotFoundError: a path does not exist.
        ValueError: no recording in a folder.
    """
    recordings: list[Path] = []
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"{path} does not exist; give a rosbag2 or a media file")
        inside = [path] if _is_bag(path) else _recordings_in(path)
        if not inside:
            raise ValueError(f"{path} has no recording: neither a rosbag2 nor a media file")
        recordings += inside
    recordings = list(dict.fromkeys(recordings))
    short = Counter(_name(path) for path in recordings)
    return {
        _name(path)
        if short[_name(path)] == 1
        else f"{path.resolve().parent.name}-{_name(path)}": path
        for path in recordings
    }


def _recordings_in(folder: Path) -> list[Path]:
    """Return the recordings of a folder; files that a session lists belong to the session."""
    recordings = [each for each in sorted(folder.iterdir()) if _is_bag(each)]
    sessions = [each for each in recordings if is_session(each)]
    parts = {file.resolve() for each in sessions for file in recording_files(each)[1:]}
    return [each for each in recordings if each.resolve() not in parts]


def _is_bag(path: Path) -> bool:
    if path.is_file():
        return path.name.endswith(STORAGE) or is_media(path)
    if not path.is_dir():
        return False
    storage = [each for each in path.iterdir() if each.is_file() and each.name.endswith(STORAGE)]
    return (path / "metadata.yaml").is_file() or len(storage) == 1


def _name(path: Path) -> str:
    name = path.resolve().name
    for suffix in STORAGE:
        name = name.removesuffix(suffix)
    return recording_name(path) if is_media(path) else name


def assign_truth(
    names: Sequence[str], files: Sequence[Path]
) -> tuple[dict[str, tuple[Path, ...]], tuple[Path, ...]]:
    """Return recording -> its own files, and the files that cover several recordings.

    A single recording has all files. Of several, the recording NAME has NAME.anything; other
    files must contain names of recordings. A folder is replaced by the annotations in it.

    Raises:
        AnnotationError: a folder without annotations, or a file that belongs to no recording.
        FileNotFoundError: a file does not exist.
    """
    annotations: list[Path] = []
    for path in files:
        if path.is_dir():
            inside = [each for each in sorted(path.iterdir()) if each.suffix.casefold() in READERS]
            if not inside:
                raise AnnotationError(f"{path} has no annotations ({', '.join(sorted(READERS))})")
            annotations += inside
        elif path.exists():
            annotations.append(path)
        else:
            raise FileNotFoundError(f"{path} does not exist; give a file of annotations")
    if len(names) == 1:
        return {names[0]: tuple(annotations)}, ()
    own: dict[str, list[Path]] = {name: [] for name in names}
    shared: list[Path] = []
    for path in annotations:
        fitting = [name for name in names if path.name.startswith(f"{name}.")]
        if fitting:
            own[max(fitting, key=len)].append(path)
        else:
            shared.append(path)
            _check_shared(path, names)
    return {name: tuple(each) for name, each in own.items()}, tuple(shared)


def _check_shared(path: Path, names: Sequence[str]) -> None:
    """Check that a file that is not named after a recording contains the name of one."""
    annotated = {mark.recording for mark in read(path)} - {""}
    if annotated & set(names):
        return
    near = difflib.get_close_matches(path.name.partition(".")[0], names, 1)
    meant = near[0] if near else names[0]
    inside = f"; inside, it names {', '.join(sorted(annotated)[:5])}" if annotated else ""
    raise AnnotationError(
        f"{path.name} belongs to none of the recordings ({', '.join(list(names)[:10])}){inside}: "
        f"call it {meant}{path.suffix} if it annotates {meant}, or name the recordings inside"
    )
