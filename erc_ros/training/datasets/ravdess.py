"""RAVDESS speech (Livingstone & Russo 2018): 24 actors say two sentences in eight emotions.

A file's name is modality-channel-emotion-intensity-statement-repetition-actor, two digits each.
Licence of the sound: CC BY-NC-SA 4.0, non-commercial.
"""

from __future__ import annotations

import re
from pathlib import Path

from erc_ros.training.datasets.corpus import CorpusSpec
from erc_ros.training.datasets.speech import ClipLabel, SpeechCorpus, list_corpus, read_corpus
from erc_ros.training.datasets.utterances import LABELS, Split

NAME = "ravdess"
FOLDER = "ravdess_speech_16k"
EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
TO_MELD = {
    "neutral": "neutral",
    "calm": "neutral",  # made by its authors as a second baseline next to neutral
    "happy": "joy",
    "sad": "sadness",
    "angry": "anger",
    "fearful": "fear",
    "disgust": "disgust",
    "surprised": "surprise",
}
_PATTERN = re.compile(r"(01|03)-01-(0[1-8])-0[12]-0[12]-0[12]-(0[1-9]|1\d|2[0-4])")


def parse(stem: str) -> ClipLabel:
    """`03-01-05-01-02-01-16` -> actor 16, angry.

    Raises:
        ValueError: not the name of a RAVDESS speech clip (songs are not).
    """
    match = _PATTERN.fullmatch(stem)
    if match is None:
        raise ValueError(f"{stem!r} is no name of a RAVDESS speech clip, like 03-01-05-01-02-01-16")
    emotion = EMOTIONS[int(match[2]) - 1]
    actor = match[3]
    sex = "male" if int(actor) % 2 else "female"
    return ClipLabel(actor, sex, emotion, LABELS.index(TO_MELD[emotion]))


def load(folder: Path) -> SpeechCorpus:
    """The clips below `folder` (`Actor_NN/*.wav` or .flac).

    Raises:
        FileNotFoundError: no folder or nothing usable in it.
    """
    return read_corpus(folder, NAME, parse)


def read_ravdess(data: Path, split: str) -> Split:
    """The clips of `data`/ravdess_speech_16k as conversations, unread. There is one split, "all".

    Raises:
        FileNotFoundError: no folder or no clip in it.
        ValueError: another split; its folds are by speaker (`training.audio.folds`).
    """
    return list_corpus(data / FOLDER, NAME, parse, split)


CORPORA = (
    CorpusSpec(
        name=NAME,
        title="RAVDESS speech",
        about="acted English sentences of 24 adults",
        license="CC BY-NC-SA 4.0: non-commercial",
        languages=("en",),
        splits=("all",),
        speakers=24,
        read=read_ravdess,
        clips=lambda data: load(data / FOLDER),
        is_trimmed=True,
        content="acted sentences, English",
        layout="`ravdess_speech_16k/Actor_*/`",
    ),
)
