"""Every corpus of conversations by name, and what its clips sound and look like."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from erc_ros.training.datasets import (
    ased,
    emocontext,
    emodb,
    emotionlines,
    goemotions,
    iemocap,
    meld,
    mosi,
    nemo,
    ravdess,
    robot_dialogues,
)
from erc_ros.training.datasets.speech import UnusableSoundError, read_sound, trim
from erc_ros.training.datasets.utterances import Split

CORPORA: dict[str, Callable[[Path, str], Split]] = {
    "meld": meld.read_meld,
    "meld-clips": partial(meld.read_meld, clips=True, open_clips=False),
    "meld-faces": partial(meld.read_meld, clips=True, open_clips=False, faces=True),
    "meld-3": partial(meld.read_meld, sentiments=True),
    "meld-3-clips": partial(meld.read_meld, clips=True, open_clips=False, sentiments=True),
    "meld-3-faces": partial(
        meld.read_meld, clips=True, open_clips=False, faces=True, sentiments=True
    ),
    "iemocap-6": partial(iemocap.read_iemocap, classes=6),
    "iemocap-4": partial(iemocap.read_iemocap, classes=4),
    "iemocap-6-faces": partial(iemocap.read_iemocap, classes=6, faces=True),
    "iemocap-4-faces": partial(iemocap.read_iemocap, classes=4, faces=True),
    "emotionlines": emotionlines.read_emotionlines,
    "emocontext": emocontext.read_emocontext,
    "goemotions": goemotions.read_goemotions,
    "robot-dialogues": robot_dialogues.read_robot_dialogues,
    "mosi": mosi.read_mosi_words,
    "mosi-features": mosi.read_mosi_features,
    "ravdess": ravdess.read_ravdess,
    "emodb": emodb.read_emodb,
    "nemo": nemo.read_nemo,
    "ased": ased.read_ased,
}
"""(data folder, split) -> the split. Pictures without words (FER+) are no conversations."""

ACTED = {"ravdess": None, "emodb": emodb.SECONDS, "nemo": None, "ased": None}
"""Clips of a sentence with silence around it, and how many seconds of each may be used."""


class UnusableMediaError(ValueError):
    """A clip whose sound or pictures cannot be used; the message is the reason."""


def sound(corpus: str, clip: Path) -> NDArray[np.float32]:
    """The sound of an utterance (n,) at SAMPLE_RATE, as `speech.read_corpus` would give it.

    Raises:
        UnusableMediaError: unreadable, cut, empty, silent or not finite.
    """
    try:
        samples = read_sound(clip, ACTED.get(corpus))
        return trim(samples) if corpus in ACTED else samples
    except UnusableSoundError as error:
        raise UnusableMediaError(str(error)) from error


def frames(pictures: Path, most: int) -> NDArray[np.uint8]:
    """Pictures (T, H, W, 3) RGB evenly over an utterance, T at most `most`.

    Args:
        pictures: a clip, or the crops of `erc cut-faces`.

    Raises:
        UnusableMediaError: unreadable or without pictures.
    """
    from erc_ros.training.datasets.media import UnusableClipError, crops_of, pictures_of

    try:
        return (crops_of if pictures.suffix == ".jpg" else pictures_of)(pictures, most)
    except UnusableClipError as error:
        raise UnusableMediaError(str(error)) from error


def read(corpus: str, data: Path, split: str) -> Split:
    """Read one split of a corpus.

    Raises:
        FileNotFoundError: it is not in `data`.
        ValueError: an unknown corpus or split, or files of another form.
    """
    if corpus not in CORPORA:
        raise ValueError(f"corpus {corpus!r} is unknown; known are {', '.join(CORPORA)}")
    return CORPORA[corpus](data, split)
