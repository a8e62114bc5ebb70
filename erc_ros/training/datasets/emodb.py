"""EmoDB, the Berlin Database of Emotional Speech (Burkhardt et al. 2005): ten speakers, German.

A file's name is speaker (2 digits), text (letter and 2 digits), emotion (a German letter), version.
In some copies the clips of some emotions are cut to two seconds, so that the duration of a clip
would reveal its emotion. Only the first two seconds of each clip are used, without padding.
"""

from __future__ import annotations

import re

from erc_ros.training.datasets.acted import acted_corpus
from erc_ros.training.datasets.speech import ClipLabel
from erc_ros.training.datasets.utterances import LABELS

NAME = "emodb"
FOLDER = "emodb"
SECONDS = 2.0
EMOTIONS = {
    "W": "anger",
    "L": "boredom",
    "E": "disgust",
    "A": "fear",
    "F": "happiness",
    "T": "sadness",
    "N": "neutral",
}
TO_MELD = {
    "anger": "anger",
    "disgust": "disgust",
    "fear": "fear",
    "happiness": "joy",
    "sadness": "sadness",
    "neutral": "neutral",
}  # boredom is excluded
SEX = {
    "03": "male",
    "08": "female",
    "09": "female",
    "10": "male",
    "11": "male",
    "12": "male",
    "13": "female",
    "14": "female",
    "15": "male",
    "16": "female",
}
_PATTERN = re.compile(r"(\d\d)[ab]\d\d([WLEAFTN])[a-z]?")


def parse(stem: str) -> ClipLabel:
    """`03a01Wa` -> speaker 03, anger ("Wut").

    Raises:
        ValueError: not the name of an EmoDB clip.
    """
    match = _PATTERN.fullmatch(stem)
    if match is None or match[1] not in SEX:
        raise ValueError(f"{stem!r} is not the name of an EmoDB clip, such as 03a01Wa")
    emotion = EMOTIONS[match[2]]
    meld = TO_MELD.get(emotion)
    label = None if meld is None else LABELS.index(meld)
    return ClipLabel(match[1], SEX[match[1]], emotion, label)


CORPORA = (
    acted_corpus(
        NAME,
        FOLDER,
        parse,
        title="EmoDB",
        about="acted German sentences of ten adults",
        license="free for research",
        languages=("de",),
        speakers=10,
        max_seconds=SECONDS,
        content="acted sentences, German; no surprise",
        layout="`emodb/`",
    ),
)
