"""XED, English (Öhman et al. 2020): single lines of film subtitles with one of Plutchik's emotions.

Lines with several emotions, and those of anticipation and trust, are not used. Neither are lines in
which a name was replaced ("[PERSON]"), nor the neutral lines of another file: their preprocessing
differs (no placeholders, no commas), so that a model would learn this difference.
"""

from __future__ import annotations

import re
import zlib
from pathlib import Path

from erc_ros.training.datasets.cleaning import decode_lines
from erc_ros.training.datasets.corpus import CorpusSpec
from erc_ros.training.datasets.dailydialog import written
from erc_ros.training.datasets.turns import FileFaults
from erc_ros.training.datasets.utterances import Conversation, LabelledUtterance, Split

FILE = "xed/en-annotated.tsv"
LINES = 17528  # as published
LABELS = ("anger", "disgust", "fear", "joy", "sadness", "surprise")
NUMBERS = {"1": "anger", "3": "disgust", "4": "fear", "5": "joy", "6": "sadness", "7": "surprise"}
OTHERS = {"2", "8"}  # anticipation, trust
SPLITS = ("train", "dev", "test")
PARTS = 10  # one of these is dev, one is test
PLACEHOLDER, OTHER_EMOTION = "placeholder", "several emotions, anticipation or trust"
_LIST_MARK = re.compile(r"^[\s.\-*>#♪]+")  # such as of a subtitle's second speaker


def read_xed(data: Path, split: str) -> Split:
    """Read one split; a hash of a line's letters selects it, so that repeated lines stay together.

    Raises:
        FileNotFoundError: no such file; says where to get it.
        ValueError: an unknown split.
    """
    if split not in SPLITS:
        raise ValueError(f"XED has the splits {SPLITS} here, not {split!r}")
    path = data / FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"no {path}: get it from https://github.com/Helsinki-NLP/XED (AnnotatedData)"
        )
    lines, windows = decode_lines(path.read_bytes())
    faults = FileFaults(path.name)
    conversations: list[Conversation] = []
    for row, line in enumerate(lines, start=1):
        raw, tab, labels = line.rstrip("\r\n").partition("\t")
        numbers = {number.strip() for number in labels.split(",")}
        text = written(_LIST_MARK.sub("", raw))
        if not tab or not numbers <= set(NUMBERS) | OTHERS:
            faults.skip(row, f"must be a text, a tab and numbers from 1 to 8, not {line[:80]!r}")
        elif len(numbers) > 1 or numbers & OTHERS:
            faults.skip(row, labels, OTHER_EMOTION)
        elif "[" in raw or not any(c.isalpha() for c in text):
            faults.skip(row, text, PLACEHOLDER)
        elif split_of(text) == split:
            text = faults.text(text, row, row in windows)
            label = LABELS.index(NUMBERS[numbers.pop()])
            utterance = LabelledUtterance(text, 1, label, 0)
            conversations.append(Conversation(f"{split}/{row}", (utterance,)))
    return Split(split, tuple(conversations), LABELS, faults.findings(len(lines), LINES))


def split_of(text: str) -> str:
    """Return the split of a line."""
    letters = "".join(c for c in text.lower() if c.isalnum())
    return {0: "dev", 1: "test"}.get(zlib.crc32(letters.encode()) % PARTS, "train")


CORPORA = (
    CorpusSpec(
        name="xed",
        title="XED, English",
        about="single lines of film subtitles, in English",
        license="CC BY 4.0",
        is_commercial=True,
        source="Öhman et al. 2020, https://github.com/Helsinki-NLP/XED; the lines are quotations"
        " from films (OPUS, OpenSubtitles)",
        labels=LABELS,
        read=read_xed,
        content="film subtitles with one of six emotions (Öhman et al. 2020;"
        " github.com/Helsinki-NLP/XED, `AnnotatedData/`)",
        layout="`xed/en-annotated.tsv`",
    ),
)
