"""nEMO (Christop 2024): nine actors say 90 Polish sentences in six emotions.

File names: speaker_emotion_sentence. As published (github.com/amu-cai/nEMO): 24 kHz.
"""

from __future__ import annotations

import re

from erc_ros.training.datasets.acted import acted_corpus
from erc_ros.training.datasets.speech import ClipLabel
from erc_ros.training.datasets.utterances import LABELS

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
        raise ValueError(f"{stem!r} is not the name of an nEMO clip, such as EB0_anger_10")
    return ClipLabel(match[1], SEX[match[1]], match[2], LABELS.index(TO_MELD[match[2]]))


CORPORA = (
    acted_corpus(
        NAME,
        FOLDER,
        parse,
        title="nEMO",
        about="acted Polish sentences of nine adults",
        license="CC BY-NC-SA 4.0: non-commercial",
        languages=("pl",),
        speakers=9,
        content="acted sentences, Polish; no disgust (Christop 2024; github.com/amu-cai/nEMO)",
        layout="`nemo/samples/*.wav`",
    ),
)
