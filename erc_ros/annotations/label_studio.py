"""Label Studio: its JSON export of audio and video annotations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from erc_ros.annotations.marks import AnnotationError, Mark, meaning, place, time_of
from erc_ros.annotations.records import Source

_VALUES = ("labels", "choices", "text")
_MEDIA = ("audio", "video", "media")


def is_export(content: Any) -> bool:
    """Whether JSON is a list of Label Studio's tasks."""
    return isinstance(content, list) and any(
        isinstance(task, dict) and "annotations" in task and "data" in task for task in content
    )


def marks_of(tasks: list[Any], file: str) -> list[Mark]:
    """Return the annotations of each task's regions.

    `from_name`, the control's name in the labeling interface, is read as a tier's name is. A choice
    or text for a region has the region's times. Of several annotations of one task (several
    annotators) each is read: export one annotator at a time. Canceled ones are excluded.

    Raises:
        AnnotationError: a task or a result is not in the format of Label Studio.
    """
    marks: list[Mark] = []
    for number, task in enumerate(tasks, start=1):
        source = Source(file, "task", number)
        if not isinstance(task, dict) or not isinstance(task.get("annotations"), list):
            raise AnnotationError(
                f"{place(source)}: needs `annotations`, as in the export format JSON"
            )
        recording = _recording(task.get("data"))
        for annotation in task["annotations"]:
            if not isinstance(annotation, dict) or not isinstance(annotation.get("result"), list):
                raise AnnotationError(f"{place(source)}: an annotation has no `result`")
            if annotation.get("was_cancelled"):
                continue
            for result in annotation["result"]:
                marks += _of_result(result, recording, source)
    return marks


def _of_result(result: Any, recording: str, source: Source) -> Iterator[Mark]:
    value = result.get("value") if isinstance(result, dict) else None
    if not isinstance(value, dict):
        raise AnnotationError(f"{place(source)}: a result has no `value`")
    if not {"start", "end"} <= set(value):
        return  # it concerns the whole task, such as a rating
    start, end = (time_of(str(value[name]), source) for name in ("start", "end"))
    tier = str(result.get("from_name", ""))
    kind, speaker, is_guess = meaning(tier)
    for name in _VALUES:
        chosen = value.get(name)
        for each in (
            chosen if isinstance(chosen, list) else [chosen] if isinstance(chosen, str) else []
        ):
            place_of = Source(source.file, tier, source.line)
            yield Mark(kind, start, end, speaker, str(each).strip(), place_of, recording, is_guess)


def _recording(data: Any) -> str:
    """Return the name of the media file; "" if there is not exactly one."""
    if not isinstance(data, Mapping):
        return ""
    files = {str(data[name]) for name in _MEDIA if isinstance(data.get(name), str)}
    if len(files) != 1:
        return ""
    name = PurePosixPath(files.pop().partition("?")[0]).name
    return PurePosixPath(name).stem
