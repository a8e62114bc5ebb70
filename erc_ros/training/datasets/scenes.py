"""Scenes of utterances in videos, and their face crops."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

FACES = "faces"
"""Folder below the data sets with the crops of `erc cut-faces`."""
INDEX = "index.json"
NO_FACE = "no face"
WHOLE = "whole picture"


@dataclass(frozen=True, slots=True)
class Scene:
    """A part of a video. start, end: ns, None: all. left, right: shares of its width, 0 to 1.

    is_one_person: the part shows one person only, the speaker.
    """

    file: Path
    start: int | None = None
    end: int | None = None
    left: float = 0.0
    right: float = 1.0
    is_one_person: bool = False


@dataclass(frozen=True, slots=True)
class CutFaces:
    """The crops of one folder. outcomes: name of an utterance -> "face", WHOLE, or a reason."""

    folder: Path
    outcomes: dict[str, str]

    @classmethod
    def read(cls, data: Path, corpus: str, part: str) -> CutFaces:
        """Read the index of the crops of a part of a corpus.

        Raises:
            FileNotFoundError: there are no crops: run `erc cut-faces`.
            ValueError: the index is damaged.
        """
        folder = data / FACES / corpus / part
        file = folder / INDEX
        if not file.is_file():
            raise FileNotFoundError(
                f"no {file}: cut the faces once, with erc cut-faces {corpus} --data {data}"
            )
        try:
            return cls(folder, dict(json.loads(file.read_text("utf-8"))["utterances"]))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{file} is damaged: remove it and run erc cut-faces again") from error

    def of(self, name: str) -> tuple[Path | None, str]:
        """Return the crops of an utterance (or None), and WHOLE, a reason, or ""."""
        outcome = self.outcomes.get(name, "not cut")
        if outcome not in ("face", WHOLE):
            return None, outcome
        file = self.folder / f"{name}.jpg"
        if not file.is_file():
            return None, "not cut"
        return file, WHOLE if outcome == WHOLE else ""
