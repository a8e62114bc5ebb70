"""Files for other programs: ELAN, Praat, RTTM, SegLST, subtitles, CSV, and a rosbag2."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from erc_ros import plugins
from erc_ros.evaluation.exports import bag, elan, film, textgrid, texts
from erc_ros.evaluation.exports.lines import Line, lines_of_predictions, lines_of_truth
from erc_ros.evaluation.records import Recording
from erc_ros.values.files import whole_file

FORMATS = ("eaf", "textgrid", "rttm", "seglst", "vtt", "csv")
write_bag = bag.write_bag
write_media = film.write_media

__all__ = [
    "FORMATS",
    "Exporter",
    "check_formats",
    "write_bag",
    "write_exports",
    "write_lines",
    "write_media",
]


class Exporter(Protocol):
    """A writer of utterances and their emotions in the file format of another program.

    Contract:

    - The class is called without arguments. `suffix` is the end of the file's name, such as
      ".tsv"; it begins with a point and is not that of another format.
    - `write` makes the file and nothing else. The same lines give the same bytes: no clock, no
      random numbers, no names of this machine.
    - It accepts an empty list, lines that overlap, and fields that are None (not known): with
      `--no-text`, `text` is None in every line and no file may hold a word.
    """

    suffix: str

    def write(self, lines: Sequence[Line], file: Path, name: str, duration: int) -> None:
        """Write the file.

        Args:
            lines: sorted by start; times in ns since the recording's first message.
            file: the file to make, with `suffix`; its folder exists.
            name: of the recording.
            duration: of the recording, ns.

        Raises:
            OSError: the file cannot be written.
        """


def check_formats(formats: Sequence[str]) -> dict[str, Exporter]:
    """Return the exporters of other packages among these formats.

    Raises:
        PluginError: a name is neither in FORMATS nor the name of an exporter class.
    """
    exporters: dict[str, Exporter] = {}
    available = [*FORMATS, *plugins.names(plugins.EXPORTERS)]
    for name in formats:
        if name not in available and not plugins.is_reference(name):
            near = difflib.get_close_matches(name, available, 1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise plugins.PluginError(
                f"unknown export {name!r}{hint}; use {', '.join(available)}, or give a class of "
                "yours as module:Class"
            )
        if name not in FORMATS:
            exporter: Exporter = plugins.make(plugins.EXPORTERS, name)
            if not exporter.suffix.startswith(".") or "/" in exporter.suffix:
                raise plugins.PluginError(
                    f"export format {name!r} has the suffix {exporter.suffix!r}; it must begin "
                    "with a point and hold no slash"
                )
            exporters[name] = exporter
    return exporters


def write_exports(
    recording: Recording,
    folder: Path,
    name: str,
    *,
    media: Sequence[Path] = (),
    formats: Sequence[str] = FORMATS,
    with_text: bool = True,
) -> list[Path]:
    """Write the estimates as NAME.eaf and so on, and an annotation as NAME.truth.eaf.

    The same recording gives the same bytes. With `with_text` False, no file contains words.

    Args:
        name: of the files, usually the recording's.
        media: WAV and MP4 in `folder`, which ELAN plays.
        formats: of `FORMATS`, or classes of other packages (`Exporter`).

    Raises:
        PluginError: an unknown format.
        OSError: the folder cannot be written to; an earlier file is then unchanged.
    """
    kinds = {name: lines_of_predictions(recording, with_text)}
    if recording.truth is not None:
        kinds[f"{name}.truth"] = lines_of_truth(recording.truth, with_text)
    return [
        file
        for stem, lines in kinds.items()
        for file in write_lines(recording, lines, folder, stem, media=media, formats=formats)
    ]


def write_lines(
    recording: Recording,
    lines: list[Line],
    folder: Path,
    stem: str,
    *,
    media: Sequence[Path] = (),
    formats: Sequence[str] = FORMATS,
) -> list[Path]:
    """Write these lines of the recording as STEM.eaf and so on; otherwise as `write_exports`."""
    others = check_formats(formats)
    folder.mkdir(parents=True, exist_ok=True)
    writers = _writers(recording, lines, folder, stem, media)
    files = [file for chosen in FORMATS if chosen in formats for file in writers[chosen]()]
    for exporter in others.values():
        file = folder / f"{stem}{exporter.suffix}"
        with whole_file(file) as part:
            exporter.write(lines, part, recording.name, recording.duration)
        files.append(file)
    return files


def _writers(
    recording: Recording, lines: list[Line], folder: Path, stem: str, media: Sequence[Path]
) -> dict[str, Callable[[], list[Path]]]:
    def at(suffix: str) -> Path:
        return folder / f"{stem}{suffix}"

    return {
        "eaf": lambda: [elan.write(lines, at(".eaf"), recording.labels, recording.origin, media)],
        "textgrid": lambda: [textgrid.write(lines, at(".TextGrid"), recording.duration)],
        "rttm": lambda: texts.write_rttm(lines, folder, stem),
        "seglst": lambda: [texts.write_seglst(lines, at(".seglst.json"), recording.name)],
        "vtt": lambda: [texts.write_webvtt(lines, at(".vtt"))],
        "csv": lambda: [texts.write_table(lines, at(".csv"), recording.name)],
    }
