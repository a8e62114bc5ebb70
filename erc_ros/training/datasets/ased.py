"""ASED, the Amharic Speech Emotional Dataset (Retta et al. 2022): 65 people, five emotions.

A file's name is emotion, sentence, repetition, sex, speaker. Recordings stay where five of eight
judges heard the emotion. No licence is stated; its authors ask to be cited. As they published it
(github.com/Ethio2021/ASED_V1): a folder for each emotion, 16 kHz.
"""

from __future__ import annotations

import re
from pathlib import Path

from erc_ros.training.datasets.corpus import CorpusSpec
from erc_ros.training.datasets.speech import ClipLabel, SpeechCorpus, list_corpus, read_corpus
from erc_ros.training.datasets.utterances import LABELS, Split

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

    A few numbers stand for a man and for a woman: both together are the speaker.

    Raises:
        ValueError: not the name of an ASED clip.
    """
    match = _PATTERN.fullmatch(stem)
    if match is None:
        raise ValueError(f"{stem!r} is no name of an ASED clip, like a5-07-02-01-05")
    emotion = EMOTIONS[match[1].lower()]
    speaker = f"{match[2]}-{match[3]}"
    return ClipLabel(speaker, SEX[match[2]], emotion, LABELS.index(TO_MELD[emotion]))


def load(folder: Path) -> SpeechCorpus:
    """The clips below `folder`.

    Raises:
        FileNotFoundError: no folder or nothing usable in it.
    """
    return read_corpus(folder, NAME, parse)


def read_ased(data: Path, split: str) -> Split:
    """The clips of `data`/ased as conversations, unread. There is one split, "all".

    Raises:
        FileNotFoundError: no folder or no clip in it.
        ValueError: another split.
    """
    return list_corpus(data / FOLDER, NAME, parse, split)


CORPORA = (
    CorpusSpec(
        name=NAME,
        title="ASED",
        about="acted Amharic sentences of 65 adults",
        license="",
        languages=("am",),
        splits=("all",),
        speakers=65,
        read=read_ased,
        clips=lambda data: load(data / FOLDER),
        is_trimmed=True,
        content="acted sentences, Amharic; no surprise, no disgust (Retta et al. 2022;"
        " github.com/Ethio2021/ASED_V1)",
        layout="`ased/0*/*.wav`",
    ),
)
