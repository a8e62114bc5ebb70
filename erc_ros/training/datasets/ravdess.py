"""RAVDESS speech (Livingstone & Russo 2018): 24 actors say two sentences in eight emotions.

File names: modality-channel-emotion-intensity-statement-repetition-actor, two digits each.
"""

from __future__ import annotations

import re

from erc_ros.training.datasets.acted import acted_corpus
from erc_ros.training.datasets.speech import ClipLabel
from erc_ros.training.datasets.utterances import LABELS

NAME = "ravdess"
FOLDER = "ravdess_speech_16k"
EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
TO_MELD = {
    "neutral": "neutral",
    "calm": "neutral",  # recorded as a second baseline
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
        raise ValueError(
            f"{stem!r} is not the name of a RAVDESS speech clip such as 03-01-05-01-02-01-16"
        )
    emotion = EMOTIONS[int(match[2]) - 1]
    actor = match[3]
    sex = "male" if int(actor) % 2 else "female"
    return ClipLabel(actor, sex, emotion, LABELS.index(TO_MELD[emotion]))


CORPORA = (
    acted_corpus(
        NAME,
        FOLDER,
        parse,
        title="RAVDESS speech",
        about="acted English sentences of 24 adults",
        license="CC BY-NC-SA 4.0: non-commercial",
        languages=("en",),
        speakers=24,
        content="acted sentences, English",
        layout="`ravdess_speech_16k/Actor_*/`",
    ),
)
