"""EmoDB, the Berlin Database of Emotional Speech (Burkhardt et al. 2005): ten speakers, German.

A file's name is speaker (2 digits), text (letter and 2 digits), emotion (a German letter), version.
Copies in circulation have some emotions whole and others cut to two seconds: the length would then
give the emotion away. So every clip is cut to its first two seconds, and the silence that filled up
the short ones is cut off. Copies that were resampled also lack the highest frequencies: the
features end at 7.4 kHz (`encoders.audio`).
"""

from __future__ import annotations

import re
from pathlib import Path

from erc_ros.training.datasets.corpus import CorpusSpec
from erc_ros.training.datasets.speech import ClipLabel, SpeechCorpus, list_corpus, read_corpus
from erc_ros.training.datasets.utterances import LABELS, Split

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
}  # boredom has no counterpart there and is left out
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
        raise ValueError(f"{stem!r} is no name of an EmoDB clip, like 03a01Wa")
    emotion = EMOTIONS[match[2]]
    meld = TO_MELD.get(emotion)
    label = None if meld is None else LABELS.index(meld)
    return ClipLabel(match[1], SEX[match[1]], emotion, label)


def load(folder: Path) -> SpeechCorpus:
    """The clips below `folder`, at most two seconds of each.

    Raises:
        FileNotFoundError: no folder or nothing usable in it.
    """
    return read_corpus(folder, NAME, parse, longest=SECONDS)


def read_emodb(data: Path, split: str) -> Split:
    """The clips of `data`/emodb as conversations, unread. There is one split, "all".

    Raises:
        FileNotFoundError: no folder or no clip in it.
        ValueError: another split; its folds are by speaker (`training.audio.folds`).
    """
    return list_corpus(data / FOLDER, NAME, parse, split)


CORPORA = (
    CorpusSpec(
        name=NAME,
        title="EmoDB",
        about="acted German sentences of ten adults",
        license="free for research",
        languages=("de",),
        splits=("all",),
        speakers=10,
        read=read_emodb,
        clips=lambda data: load(data / FOLDER),
        is_trimmed=True,
        max_seconds=SECONDS,
        content="acted sentences, German; no surprise",
        layout="`emodb/`",
    ),
)
