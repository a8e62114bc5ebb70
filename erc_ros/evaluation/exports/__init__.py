"""What others open: ELAN, Praat, RTTM, SegLST, subtitles, tables, and a bag for Foxglove."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from erc_ros.evaluation.exports import bag, elan, film, rttm, seglst, table, textgrid, webvtt
from erc_ros.evaluation.exports.lines import Line, lines_of_answers, lines_of_truth
from erc_ros.evaluation.records import Recording

FORMATS = ("eaf", "textgrid", "rttm", "seglst", "vtt", "csv")
write_bag = bag.write_bag
write_media = film.write_media

__all__ = ["FORMATS", "write_bag", "write_exports", "write_lines", "write_media"]


def write_exports(
    recording: Recording,
    folder: Path,
    name: str,
    *,
    media: Sequence[Path] = (),
    formats: Sequence[str] = FORMATS,
    with_text: bool = True,
) -> list[Path]:
    """Write the answers as NAME.eaf and so on, and a truth that there is as NAME.truth.eaf.

    The same recording gives the same bytes. With `with_text` False no file has a word in it.

    Args:
        name: of the files, usually the recording's.
        media: WAV and MP4 in `folder`, which ELAN plays.
        formats: of `FORMATS`.

    Raises:
        ValueError: an unknown format.
        OSError: the folder cannot be written to; a file that was there before is then whole.
    """
    kinds = {name: lines_of_answers(recording, with_text)}
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
    if unknown := set(formats) - set(FORMATS):
        raise ValueError(f"unknown export {min(unknown)!r}; known are {', '.join(FORMATS)}")
    folder.mkdir(parents=True, exist_ok=True)
    writers = _writers(recording, lines, folder, stem, media)
    return [file for chosen in FORMATS if chosen in formats for file in writers[chosen]()]


def _writers(
    recording: Recording, lines: list[Line], folder: Path, stem: str, media: Sequence[Path]
) -> dict[str, Callable[[], list[Path]]]:
    def at(suffix: str) -> Path:
        return folder / f"{stem}{suffix}"

    return {
        "eaf": lambda: [elan.write(lines, at(".eaf"), recording.labels, recording.origin, media)],
        "textgrid": lambda: [textgrid.write(lines, at(".TextGrid"), recording.duration)],
        "rttm": lambda: rttm.write(lines, folder, stem),
        "seglst": lambda: [seglst.write(lines, at(".seglst.json"), recording.name)],
        "vtt": lambda: [webvtt.write(lines, at(".vtt"))],
        "csv": lambda: [table.write(lines, at(".csv"), recording.name)],
    }
