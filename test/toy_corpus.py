"""A corpus that is not part of the package: two people, two labels, words and tones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

from erc_ros.training.datasets.corpus import EVALUATION, CorpusSpec
from erc_ros.training.datasets.speech import Clip, SpeechCorpus
from erc_ros.training.datasets.utterances import Conversation, LabelledUtterance, Split

WORDS = ("the bus is late again", "what a lovely day this is")
LABELS = ("angry", "happy")
RATE = 16_000


def write(data: Path) -> Path:
    """Write one tone per label to `data`/toy."""
    (data / "toy").mkdir(parents=True)
    for label, pitch in enumerate((110.0, 440.0)):
        tone = 0.3 * np.sin(2 * np.pi * pitch * np.arange(RATE) / RATE)
        soundfile.write(data / "toy" / f"{label}.wav", tone, RATE)
    return data


def read(data: Path, split: str) -> Split:
    """Read four conversations of four utterances."""
    if split not in ("train", "dev", "test"):
        raise ValueError(f"the toy corpus has train, dev and test, not {split!r}")
    if not (data / "toy").is_dir():
        raise FileNotFoundError(f"{data / 'toy'} is missing")
    conversations = []
    for number in range(4):
        labels = [(number + place) % 2 for place in range(4)]
        utterances = tuple(
            LabelledUtterance(
                WORDS[label], place % 2 + 1, label, place, clip=data / "toy" / f"{label}.wav"
            )
            for place, label in enumerate(labels)
        )
        conversations.append(Conversation(f"{split}/{number}", utterances))
    return Split(split, tuple(conversations), LABELS)


def clips(data: Path) -> SpeechCorpus:
    """Return one clip of each of two speakers."""
    samples = np.zeros(RATE, np.float32)
    return SpeechCorpus(
        tuple(Clip("toy", f"toy-{n}", "female", 0, f"clip{n}", samples) for n in range(2))
    )


TOY = CorpusSpec(
    name="toy",
    title="Toy corpus",
    about="two people at a bus stop",
    license="CC0 1.0",
    is_commercial=True,
    labels=LABELS,
    meanings={"angry": ("anger",), "happy": ("joy",)},
    read=read,
    clips=clips,
    speakers=2,
    held_out_speakers=frozenset({"toy-1"}),
)
MEASURED = CorpusSpec(
    name="toy-test", title="Toy", about="", license="", labels=LABELS, use=EVALUATION, read=read
)
