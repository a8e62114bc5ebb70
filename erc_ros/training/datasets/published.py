"""Published features of the audio of MELD's dev split, by dialogue and utterance.

meld_dev_real_audio/meld_dev.npz: wav2vec 2.0, 768 numbers an utterance. dialogue, utterance (N,);
audio (N, 768).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

MELD_DEV = "meld_dev_real_audio"


def read_meld_dev_sound(data: Path) -> dict[tuple[int, int], NDArray[np.float32]]:
    """(dialogue, utterance) as MELD numbers them -> (768,).

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: it has another form, or numbers that are not finite.
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


def _there(file: Path) -> Path:
    if not file.is_file():
        raise FileNotFoundError(
            f"{file} is missing; set ERC_DATA or --data to the folder that has {file.parent.name}"
        )
    return file
