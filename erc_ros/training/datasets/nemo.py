"""nEMO (Christop 2024): nine actors say 90 Polish sentences in six emotions.

A file's name is speaker_emotion_sentence. Licence: CC BY-NC-SA 4.0, non-commercial. As published by
its authors (github.com/amu-cai/nEMO): `samples/*.wav`, 24 kHz.
"""

from __future__ import annotations

import re
from pathlib import Path

from erc_ros.training.datasets.corpus import CorpusSpec
from erc_ros.training.datasets.speech import ClipLabel, SpeechCorpus, list_corpus, read_corpus
from erc_ros.training.datasets.utterances import LABELS, Split

NAME = "nemo"
FOLDER = "nemo"
TO_MELD = {
    "anger": "anger",
    "fear": "fear",
    "happiness": "joy",
    "neutral": "neutral",
    "sadness": "sadness",
    "surprised": "surprise",
}
SEX = {
    "EB0": "female",
    "IC0": "female",
    "KD0": "female",
    "KS0": "male",
    "MK0": "female",
    "MP0": "male",
    "SM0": "male",
    "TP0": "male",
    "WR0": "male",
}
_PATTERN = re.compile(r"([A-Z]{2}0)_([a-z]+)_(\d+)")


def parse(stem: str) -> ClipLabel:
    """`EB0_anger_10` -> speaker EB0, anger.

    Raises:
        ValueError: not the name of an nEMO clip.
    """
    match = _PATTERN.fullmatch(stem)
    if match is None or match[1] not in SEX or match[2] not in TO_MELD:
        raise ValueError(f"{stem!r} is no name of an nEMO clip, like EB0_anger_10")
    return ClipLabel(match[1], SEX[match[1]], match[2], LABELS.index(TO_MELD[match[2]]))


def load(folder: Path) -> SpeechCorpus:
    """The clips below `folder`.

    Raises:
        FileNotFoundError: no folder or nothing usable in it.
    """
    return read_corpus(folder, NAME, parse)


def read_nemo(data: Path, split: str) -> Split:
    """The clips of `data`/nemo as conversations, unread. There is one split, "all".

    Raises:
        FileNotFoundError: no folder or no clip in it.
        ValueError: another split.
    """
    return list_corpus(data / FOLDER, NAME, parse, split)


CORPORA = (
    CorpusSpec(
        name=NAME,
        title="nEMO",
        about="acted Polish sentences of nine adults",
        license="CC BY-NC-SA 4.0: non-commercial",
        languages=("pl",),
        splits=("all",),
        speakers=9,
        read=read_nemo,
        clips=lambda data: load(data / FOLDER),
        is_trimmed=True,
        content="acted sentences, Polish; no disgust (Christop 2024; github.com/amu-cai/nEMO)",
        layout="`nemo/samples/*.wav`",
    ),
)
