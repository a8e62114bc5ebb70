"""Read published features of clips that are not available themselves.

- meld_dev_real_audio/meld_dev.npz: the audio of MELD's dev split (wav2vec 2.0, 768 numbers an
  utterance). dialogue, utterance (N,); audio (N, 768).
- ravdess_action_units/action_units.csv: the mean of OpenFace's 35 action units over the video of
  each speech clip of RAVDESS; semicolons between.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

MELD_DEV, ACTION_UNITS = "meld_dev_real_audio", "ravdess_action_units"


def read_meld_dev_sound(data: Path) -> dict[tuple[int, int], NDArray[np.float32]]:
    """Return (dialogue, utterance), numbered as in MELD, -> features (768,).

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: it has another format, or numbers that are not finite.
    """
    file = _there(data / MELD_DEV / "meld_dev.npz")
    with np.load(file, allow_pickle=False) as content:
        if missing := {"dialogue", "utterance", "audio"} - set(content.files):
            raise ValueError(f"{file} lacks {sorted(missing)}")
        dialogue, utterance, audio = (content[n] for n in ("dialogue", "utterance", "audio"))
    if audio.ndim != 2 or not len(audio) == len(dialogue) == len(utterance):
        raise ValueError(f"{file}: audio is {audio.shape} for {len(dialogue)} utterances")
    if bad := int((~np.isfinite(audio)).any(axis=1).sum()):
        raise ValueError(f"{file}: {bad} rows of audio are not finite")
    names = zip(dialogue.tolist(), utterance.tolist(), strict=True)
    return dict(zip(names, audio.astype(np.float32), strict=True))


def read_action_units(data: Path) -> dict[str, NDArray[np.float32]]:
    """Return the last six fields of a clip's name ("01-05-01-02-01-16") -> features (35,).

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: a column is missing, or a value is not a finite number.
    """
    file = _there(data / ACTION_UNITS / "action_units.csv")
    units_of = {}
    with file.open(newline="", encoding="utf-8") as lines:
        reader = csv.DictReader(lines, delimiter=";")
        units = [name for name in reader.fieldnames or () if name.startswith("AU")]
        if not units or "name" not in (reader.fieldnames or ()):
            raise ValueError(f"{file} has no columns AU... and name: {reader.fieldnames}")
        for number, row in enumerate(reader, 2):
            try:
                values = np.array([float(row[unit]) for unit in units], np.float32)
            except (TypeError, ValueError) as error:
                raise ValueError(f"{file}, line {number}: {error}") from error
            if not np.isfinite(values).all():
                raise ValueError(f"{file}, line {number}: a value is not finite")
            units_of[Path(row["name"]).stem.split("-", 1)[-1]] = values
    return units_of


def _there(file: Path) -> Path:
    if not file.is_file():
        raise FileNotFoundError(
            f"{file} is missing; set ERC_DATA or --data to the folder that has {file.parent.name}"
        )
    return file
