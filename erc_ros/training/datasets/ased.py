"""ASED, the Amharic Speech Emotional Dataset (Retta et al. 2022): 65 people, five emotions.

File names: emotion, sentence, repetition, sex, speaker. The corpus keeps recordings whose emotion
five of eight judges recognized. As published (github.com/Ethio2021/ASED_V1): 16 kHz.
"""

from __future__ import annotations

import re

from erc_ros.training.datasets.acted import acted_corpus
from erc_ros.training.datasets.speech import ClipLabel
from erc_ros.training.datasets.utterances import LABELS

NAME = "ased"
FOLDER = "ased"
EMOTIONS = {"n": "neutral", "f": "fear", "h": "happiness", "s": "sadness", "a": "anger"}
TO_MELD = {
    "neutral": "neutral",
    "fear": "fear",
    "happiness": "joy",
    "sadness": "sadness",
    "anger": "anger",
}
SEX = {"01": "female", "02": "male"}
_PATTERN = re.compile(r"([nfhsa])[1-5]-0[1-7]-0[12]-(0[12])-(\d\d)", re.IGNORECASE)


def parse(stem: str) -> ClipLabel:
    """`a5-07-02-01-05` -> the woman 05, anger.

    Some numbers are used for a man and a woman, so sex and number identify the speaker.

    Raises:
        ValueError: not the name of an ASED clip.
    """
    match = _PATTERN.fullmatch(stem)
    if match is None:
        raise ValueError(f"{stem!r} is not the name of an ASED clip, such as a5-07-02-01-05")
    emotion = EMOTIONS[match[1].lower()]
    speaker = f"{match[2]}-{match[3]}"
    return ClipLabel(speaker, SEX[match[2]], emotion, LABELS.index(TO_MELD[emotion]))


CORPORA = (
    acted_corpus(
        NAME,
        FOLDER,
        parse,
        title="ASED",
        about="acted Amharic sentences of 65 adults",
        license="",
        languages=("am",),
        speakers=65,
        content="acted sentences, Amharic; no surprise, no disgust (Retta et al. 2022;"
        " github.com/Ethio2021/ASED_V1)",
        layout="`ased/0*/*.wav`",
    ),
)
