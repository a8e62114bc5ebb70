"""DailyDialog (Li et al. 2017): written everyday dialogues of two, for learners of English.

For evaluation only (`unseen`). The published text has spaces around punctuation and inside
contractions; they are removed as far as possible.
"""

from __future__ import annotations

import re
from pathlib import Path

from erc_ros.training.datasets.cleaning import decode_lines
from erc_ros.training.datasets.corpus import EVALUATION, CorpusSpec
from erc_ros.training.datasets.turns import FileFaults
from erc_ros.training.datasets.utterances import (
    EMPTY_TEXT,
    LABELS,
    Conversation,
    LabelledUtterance,
    Split,
)

FOLDER = "dailydialog"
SPLITS = {"dev": "validation", "test": "test"}  # as the publisher calls them
DIALOGUES = 1000  # in each, as published
TURN_END = "__eou__"
EMOTIONS = ("neutral", "anger", "disgust", "fear", "joy", "sadness", "surprise")  # 0 to 6 there

_QUOTES = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "。": "."})
_TYPOGRAPHY = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\s+", " "),
        (r"(\w) ?' ?(s|t|m|d|ll|re|ve)\b", r"\1'\2"),
        (r"(\w) ' Ve\b", r"\1've"),
        (r"(?i)\b(o) ' (clock)\b", r"\1'\2"),
        (r" ([.,!?;:%)]+)", r"\1"),
        (r"([($£¥#]) ", r"\1"),
        (r'" ?([^"]*?) ?"', r'"\1"'),
        (r"([a-z][.!?,;])([A-Z])", r"\1 \2"),
    )
)


def read_dailydialog(data: Path, split: str) -> Split:
    """Read one split. Rows are dialogues, by their line.

    Raises:
        FileNotFoundError: the files are missing.
        ValueError: an unknown split, or files with different numbers of dialogues.
    """
    if split not in SPLITS:
        raise ValueError(f"DailyDialog has the splits {tuple(SPLITS)} here, not {split!r}")
    theirs = SPLITS[split]
    file = data / FOLDER / theirs / f"dialogues_{theirs}.txt"
    dialogues, windows = _lines(file)
    emotions, _ = _lines(file.with_name(f"dialogues_emotion_{theirs}.txt"))
    if len(dialogues) != len(emotions):
        raise ValueError(
            f"{file} has {len(dialogues)} lines and its emotions have {len(emotions)}: download"
            " both again, from one archive"
        )
    faults = FileFaults(file.name)
    conversations: list[Conversation] = []
    for row, (line, digits) in enumerate(zip(dialogues, emotions, strict=True), start=1):
        raw = line.strip().removesuffix(TURN_END).split(TURN_END)
        if reason := _fault(raw, digits.split()):
            faults.skip(row, reason)
            continue
        line = faults.text(line, row, row in windows)
        texts = [written(text) for text in line.removesuffix(TURN_END).split(TURN_END)]
        if not all(texts):
            faults.mask(row, EMPTY_TEXT)
        utterances = tuple(
            LabelledUtterance(text, index % 2 + 1, LABELS.index(EMOTIONS[int(digit)]), index)
            for index, (text, digit) in enumerate(zip(texts, digits.split(), strict=True))
        )
        conversations.append(Conversation(f"{split}/{row}", utterances))
    return Split(split, tuple(conversations), LABELS, faults.findings(len(dialogues), DIALOGUES))


def written(text: str) -> str:
    """Return tokens with spaces between them as people write them.

    >>> written("No , thanks . I ’ ll take it for $ 5 .Bye !")
    "No, thanks. I'll take it for $5. Bye!"
    """
    text = text.translate(_QUOTES)
    for pattern, replacement in _TYPOGRAPHY:
        text = pattern.sub(replacement, text)
    return text.strip()


def _lines(file: Path) -> tuple[list[str], set[int]]:
    if not file.is_file():
        raise FileNotFoundError(
            f"no {file}: get DailyDialog's archive from http://yanran.li/dailydialog and unpack it"
            f" as {FOLDER}"
        )
    lines, windows = decode_lines(file.read_bytes())
    return lines, windows


def _fault(turns: list[str], digits: list[str]) -> str:
    if len(turns) != len(digits):
        return f"{len(turns)} turns, {len(digits)} labels"
    digits_used = {str(number) for number in range(len(EMOTIONS))}
    unknown = [digit for digit in digits if digit not in digits_used]
    return f"unknown label {unknown[0]!r}" if unknown else ""


CORPORA = (
    CorpusSpec(
        name="dailydialog",
        title="DailyDialog",
        about="written everyday dialogues of two people, in English",
        license="CC BY-NC-SA 4.0: non-commercial",
        splits=("dev", "test"),
        use=EVALUATION,
        read=read_dailydialog,
        content="written everyday dialogues of two (Li et al. 2017; yanran.li/dailydialog);"
        " four fifths are neutral",
        layout="`dailydialog/{validation,test}/dialogues_{...}.txt`, `dialogues_emotion_{...}.txt`",
    ),
)
