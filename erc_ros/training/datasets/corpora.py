"""Lookup of corpora by name, and the audio and images of their clips.

A name is that of a built-in corpus, that of an entry point of the group `erc_ros.corpora`, or
`module:object` (or `file.py:object`) of a `CorpusSpec` outside this package.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from erc_ros import plugins
from erc_ros.training.datasets import (
    ased,
    dailydialog,
    emocontext,
    emodb,
    emorynlp,
    emotionlines,
    feature_files,
    ferplus,
    goemotions,
    iemocap,
    meld,
    mosi,
    nemo,
    ordinary_speech,
    ravdess,
    reccon,
    robot_dialogues,
    xed,
)
from erc_ros.training.datasets.corpus import TRAINING, CorpusSpec
from erc_ros.training.datasets.images import FerPlus
from erc_ros.training.datasets.speech import (
    SpeechCorpus,
    UnusableSoundError,
    read_sound,
    together,
    trim,
)
from erc_ros.training.datasets.utterances import Split

BUILT_IN: Mapping[str, CorpusSpec] = {
    spec.name: spec
    for module in (
        meld,
        iemocap,
        emotionlines,
        emocontext,
        goemotions,
        robot_dialogues,
        xed,
        mosi,
        feature_files,
        ravdess,
        emodb,
        nemo,
        ased,
        ordinary_speech,
        ferplus,
        dailydialog,
        emorynlp,
        reccon,
    )
    for spec in module.CORPORA
}

DIALOGUES = "meld"
"""The conversations for fusion and measurements of the default bundle."""
VOTES = "emotionlines"
ACTED = ("ravdess", "emodb")
"""Clips that replace the audio of DIALOGUES where only its text is available."""
VOICES = ("ravdess", "emodb", "nemo", "ased")
"""Training corpora of the voice encoder of the default bundle."""
ORDINARY = "ordinary"
FACES = "ferplus"
"""Images that replace the faces of DIALOGUES; also the training data of the face encoder."""
CHATS = "emocontext"
"""Calibration corpus in addition to DIALOGUES."""
COMMENTS = "goemotions"
"""Pretraining corpora of the text encoder."""


def find(name: str) -> CorpusSpec:
    """Return the corpus of a name; the only function that resolves names of corpora.

    Args:
        name: of a built-in corpus or an entry point, or `module:object` of a `CorpusSpec`.

    Raises:
        ValueError: there is no such corpus, or the object is not a `CorpusSpec`.
    """
    if spec := BUILT_IN.get(name):
        return spec
    if not plugins.is_reference(name) and name not in plugins.names(plugins.CORPORA):
        raise ValueError(
            f"corpus {name!r} is unknown; known are"
            f" {', '.join([*BUILT_IN, *plugins.names(plugins.CORPORA)])}, or module:object"
        )
    other = plugins.find(plugins.CORPORA, name)
    if not isinstance(other, CorpusSpec):
        raise ValueError(f"corpus {name!r} is {type(other).__name__}, must be a CorpusSpec")
    return other


def find_for_training(name: str) -> CorpusSpec:
    """Return a corpus that may be used for training.

    Raises:
        ValueError: as `find`, or its use is evaluation only.
    """
    spec = find(name)
    if spec.use != TRAINING:
        raise ValueError(f"corpus {name!r} is for evaluation only, not for training")
    return spec


def read(corpus: str, data: Path, split: str) -> Split:
    """Read one split of a corpus for training.

    Raises:
        FileNotFoundError: it is not in `data`.
        ValueError: an unknown corpus or split, a corpus for evaluation only or without
            conversations, or files of another format.
    """
    return read_split(find_for_training(corpus), data, split)


def read_split(spec: CorpusSpec, data: Path, split: str) -> Split:
    """Read one split of a corpus, also of one for evaluation only.

    Raises:
        FileNotFoundError, ValueError: as `read`.
    """
    if spec.read is None:
        raise ValueError(f"corpus {spec.name!r} has no conversations")
    return spec.read(data, split)


def clips(corpora: Iterable[str], data: Path) -> SpeechCorpus:
    """Return the labeled clips of these corpora for training.

    Clips of the corpora's held-out speakers are excluded.

    Raises:
        ValueError: an unknown corpus, or one without such clips.
        FileNotFoundError: one is not in `data`.
    """
    specs = [find_for_training(name) for name in corpora]
    if unknown := [spec.name for spec in specs if spec.clips is None]:
        raise ValueError(f"corpora {unknown} have no labeled clips")
    return together(_allowed(spec, spec.clips(data)) for spec in specs if spec.clips)


def _allowed(spec: CorpusSpec, corpus: SpeechCorpus) -> SpeechCorpus:
    if not spec.held_out_speakers:
        return corpus
    kept = tuple(c for c in corpus.clips if c.speaker not in spec.held_out_speakers)
    return SpeechCorpus(kept, corpus.findings)


def images(corpus: str, data: Path) -> FerPlus:
    """Return the labeled face images of a corpus.

    Raises:
        ValueError: an unknown corpus, or one without such images.
        FileNotFoundError: it is not in `data`.
    """
    spec = find_for_training(corpus)
    if spec.images is None:
        raise ValueError(f"corpus {corpus!r} has no labeled face images")
    return spec.images(data)


class UnusableMediaError(ValueError):
    """A clip whose audio or images cannot be used; the message is the reason."""


def sound(corpus: str, clip: Path) -> NDArray[np.float32]:
    """Return the audio of an utterance (n,) at SAMPLE_RATE, trimmed as in `speech.read_corpus`.

    Raises:
        UnusableMediaError: unreadable, truncated, empty, silent or not finite.
    """
    try:
        spec = find(corpus)
        samples = read_sound(clip, spec.max_seconds)
        return trim(samples) if spec.is_trimmed else samples
    except UnusableSoundError as error:
        raise UnusableMediaError(str(error)) from error


def frames(pictures: Path, most: int) -> NDArray[np.uint8]:
    """Return images (T, H, W, 3) RGB evenly over an utterance, T at most `most`.

    Args:
        images: a clip, or the crops of `erc cut-faces`.

    Raises:
        UnusableMediaError: unreadable or without images.
    """
    from erc_ros.training.datasets.media import UnusableClipError, crops_of, pictures_of

    try:
        return (crops_of if pictures.suffix == ".jpg" else pictures_of)(pictures, most)
    except UnusableClipError as error:
        raise UnusableMediaError(str(error)) from error
