"""XED (Öhman et al. 2020): single lines of film subtitles with one of Plutchik's emotions.

People annotated the English lines; the other languages are translations of them, as the cinema had
them, with the labels of the English lines. Lines are not linked to their translations, so that one
language's test line may be in the train split in another language.

Lines with several emotions, and those of anticipation and trust, are not used. Neither are lines in
which a name was replaced ("[PERSON]"), nor the neutral lines of another file: their preprocessing
differs (no placeholders, no commas), so that a model would learn this difference.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from functools import partial
from itertools import chain
from pathlib import Path

from erc_ros.training.datasets.cleaning import decode_lines
from erc_ros.training.datasets.corpus import CorpusSpec
from erc_ros.training.datasets.dailydialog import written
from erc_ros.training.datasets.findings import Findings, joined
from erc_ros.training.datasets.turns import FileFaults
from erc_ros.training.datasets.utterances import Conversation, LabelledUtterance, Split

FILES = {
    "en": "xed/en-annotated.tsv",
    **{name: f"xed/{name}-projections.tsv" for name in ("de", "es", "fr", "it", "pt")},
}
LINES = {"en": 17528}  # as published
LABELS = ("anger", "disgust", "fear", "joy", "sadness", "surprise")
NUMBERS = {"1": "anger", "3": "disgust", "4": "fear", "5": "joy", "6": "sadness", "7": "surprise"}
OTHERS = {"2", "8"}  # anticipation, trust
SPLITS = ("train", "dev", "test")
PARTS = 10  # one of these is dev, one is test
PLACEHOLDER, OTHER_EMOTION = "placeholder", "several emotions, anticipation or trust"
_LIST_MARK = re.compile(r"^[\s.\-*>#♪]+")  # such as of a subtitle's second speaker


def read_xed(data: Path, split: str, languages: Sequence[str] = ("en",)) -> Split:
    """Read one split; a hash of a line's letters selects it, so that repeated lines stay together.

    Raises:
        FileNotFoundError: no such file; says where to get it.
        ValueError: an unknown split.
    """
    if split not in SPLITS:
        raise ValueError(f"XED has the splits {SPLITS} here, not {split!r}")
    conversations, findings = zip(*(_read(data, split, name) for name in languages), strict=True)
    return Split(split, tuple(chain.from_iterable(conversations)), LABELS, joined(findings))


def _read(data: Path, split: str, language: str) -> tuple[list[Conversation], Findings]:
    path = data / FILES[language]
    if not path.is_file():
        place = "AnnotatedData" if language == "en" else "Projections"
        raise FileNotFoundError(
            f"no {path}: get it from https://github.com/Helsinki-NLP/XED ({place})"
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
            name = f"{row}" if language == "en" else f"{language}-{row}"
            conversations.append(Conversation(f"{split}/{name}", (utterance,)))
    return conversations, faults.findings(len(lines), LINES.get(language, len(lines)))


def split_of(text: str) -> str:
    """Return the split of a line."""
    letters = "".join(c for c in text.lower() if c.isalnum())
    return {0: "dev", 1: "test"}.get(zlib.crc32(letters.encode()) % PARTS, "train")


_SOURCE = (
    "Öhman et al. 2020, https://github.com/Helsinki-NLP/XED; the lines are quotations from films"
    " (OPUS, OpenSubtitles)"
)

CORPORA = (
    CorpusSpec(
        name="xed",
        title="XED, English",
        about="single lines of film subtitles, in English",
        license="CC BY 4.0",
        is_commercial=True,
        source=_SOURCE,
        labels=LABELS,
        read=read_xed,
        content="film subtitles with one of six emotions (Öhman et al. 2020;"
        " github.com/Helsinki-NLP/XED, `AnnotatedData/`)",
        layout="`xed/en-annotated.tsv`",
    ),
    CorpusSpec(
        name="xed-6-languages",
        title="XED, six languages",
        about="single lines of film subtitles in six languages, five of them with the labels of the"
        " English lines that they translate",
        license="CC BY 4.0",
        is_commercial=True,
        source=_SOURCE,
        languages=tuple(FILES),
        labels=LABELS,
        read=partial(read_xed, languages=tuple(FILES)),
        note="a test line may be in the train split in another language",
        content="with the translations of `Projections/`",
        layout="also `xed/{de,es,fr,it,pt}-projections.tsv`",
    ),
)
