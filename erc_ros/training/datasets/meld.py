"""MELD (Poria et al. 2019): dialogues of a television series, text and labels.

Reads the official `{train,dev,test}_sent_emo.csv`. Speakers become indices local to the dialogue;
who they are is forgotten here. EmotionLines (Chen et al. 2018) is the same text with the votes of
five raters who read it; `with_votes` adds them to MELD's training dialogues.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from erc_ros.encoders.text import speaker_indices
from erc_ros.training.datasets.utterances import LABELS, Conversation, LabelledUtterance

SPLITS = ("train", "dev", "test")
FOLDER = "meld_annotations"
COLUMNS = (
    "Sr No.", "Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID",
    "StartTime", "EndTime",
)  # fmt: skip
LONGEST = 120 * 1_000_000_000  # ns; one utterance in test claims 305 s
_TIME = re.compile(r"(\d+):(\d\d):(\d\d)[,.](\d{1,3})")
# EmotionLines writes five votes as seven digits in this order.
_VOTE_ORDER = ("neutral", "joy", "sadness", "fear", "anger", "surprise", "disgust")


@dataclass(frozen=True, slots=True)
class MeldSplit:
    """One split. Row numbers are lines of records as in a spreadsheet: the first record is 2.

    bad_times: rows whose times are missing or impossible (kept, without times). repaired: rows with
    Windows-1252 leftovers in the text. refused: (row, reason) of rows that were left out.
    """

    name: str
    conversations: tuple[Conversation, ...]
    bad_times: tuple[int, ...] = ()
    repaired: tuple[int, ...] = ()
    refused: tuple[tuple[int, str], ...] = ()


def read_meld(data: Path, split: str) -> MeldSplit:
    """Read one split from `data`, the folder that holds meld_annotations (or is it).

    Raises:
        FileNotFoundError: no such file; says where it was looked for and where to get it.
        ValueError: an unknown split, or a file without the columns of MELD.
    """
    if split not in SPLITS:
        raise ValueError(f"MELD has the splits {SPLITS}, not {split!r}")
    path = _find(data, f"{split}_sent_emo.csv")
    rows = csv.DictReader(io.StringIO(decode(path.read_bytes()), newline=""))
    if missing := set(COLUMNS) - set(rows.fieldnames or ()):
        raise ValueError(f"{path} is not a MELD file: it lacks the columns {sorted(missing)}")
    dialogues: dict[int, list[tuple[str, LabelledUtterance]]] = defaultdict(list)
    bad_times: list[int] = []
    repaired: list[int] = []
    refused: list[tuple[int, str]] = []
    for number, row in enumerate(rows, start=2):
        try:
            dialogue, speaker, utterance = _utterance(row)
        except ValueError as error:
            refused.append((number, str(error)))
            continue
        if utterance.start is None:
            bad_times.append(number)
        if repair(row["Utterance"]) != row["Utterance"]:
            repaired.append(number)
        dialogues[dialogue].append((speaker, utterance))
    conversations = tuple(_conversation(split, *item) for item in sorted(dialogues.items()))
    return MeldSplit(split, conversations, tuple(bad_times), tuple(repaired), tuple(refused))


def decode(content: bytes) -> str:
    """UTF-8 line by line, else Windows-1252: the official files were saved as both."""
    lines = []
    for line in content.removeprefix(b"\xef\xbb\xbf").split(b"\n"):
        try:
            lines.append(line.decode("utf-8"))
        except UnicodeDecodeError:
            lines.append(line.decode("cp1252", "replace"))
    return "\n".join(lines)


def repair(text: str) -> str:
    """Windows-1252 bytes that were read as Latin-1 (U+0080..U+009F) become what was meant."""
    if not any("\x80" <= c <= "\x9f" for c in text):
        return text
    return "".join(
        c.encode("latin-1").decode("cp1252", "replace") if "\x80" <= c <= "\x9f" else c
        for c in text
    ).replace("\ufffd", "")


def with_votes(split: MeldSplit, data: Path) -> MeldSplit:
    """MELD's training split with EmotionLines' votes where the two agree on the text.

    An utterance is found by itself and its neighbours, so that each "Yeah." gets its own votes.

    Raises:
        FileNotFoundError: EmotionLines is not in `data`.
        ValueError: not the training split (the votes of dev and test are not for training).
    """
    if split.name != "train":
        raise ValueError(f"votes are for training only, not for {split.name!r}")
    path = data / "emotionlines_friends" / "train.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing; train without votes (votes: 0) or get EmotionLines"
        )
    votes = _votes_by_context(json.loads(path.read_text(encoding="utf-8")))
    conversations = []
    for conversation in split.conversations:
        keys = _context_keys([utterance.text for utterance in conversation.utterances])
        found = (next((votes[key] for key in options if key in votes), ()) for options in keys)
        utterances = tuple(
            replace(utterance, votes=shares)
            for utterance, shares in zip(conversation.utterances, found, strict=True)
        )
        conversations.append(replace(conversation, utterances=utterances))
    return replace(split, conversations=tuple(conversations))


def _find(data: Path, name: str) -> Path:
    for path in (data / FOLDER / name, data / name):
        if path.is_file():
            return path
    raise FileNotFoundError(
        f"no {name} in {data / FOLDER}: get it from https://github.com/declare-lab/MELD (data/MELD)"
        " and set ERC_DATA (or --data) to the folder above meld_annotations"
    )


def _utterance(row: dict[str, str | None]) -> tuple[int, str, LabelledUtterance]:
    """(dialogue, speaker's name, utterance) of one row; ValueError says what is wrong with it."""
    if any(row.get(column) is None for column in COLUMNS):
        raise ValueError("too few columns")
    if None in row:
        raise ValueError("too many columns")
    values = {key: (value or "").strip() for key, value in row.items()}
    emotion = values["Emotion"].lower()
    if emotion not in LABELS:
        raise ValueError(f"unknown emotion {emotion!r}")
    try:
        dialogue, index = int(values["Dialogue_ID"]), int(values["Utterance_ID"])
    except ValueError:
        raise ValueError("Dialogue_ID and Utterance_ID must be numbers") from None
    start, end = nanoseconds(values["StartTime"]), nanoseconds(values["EndTime"])
    if start is None or end is None or not 0 < end - start <= LONGEST:
        start = end = None
    text = repair(row["Utterance"] or "").strip()  # in this order: strip() takes U+0085 for a space
    utterance = LabelledUtterance(text, 0, LABELS.index(emotion), index, start, end)
    return dialogue, repair(values["Speaker"]), utterance


def nanoseconds(time: str) -> int | None:
    """The time "00:16:16,059" in ns; None for anything else."""
    match = _TIME.fullmatch(time)
    if match is None:
        return None
    hours, minutes, seconds = (int(group) for group in match.groups()[:3])
    if minutes > 59 or seconds > 59:
        return None
    milliseconds = int(match.group(4).ljust(3, "0"))
    return ((hours * 60 + minutes) * 60 + seconds) * 1_000_000_000 + milliseconds * 1_000_000


def _conversation(
    split: str, dialogue: int, rows: Sequence[tuple[str, LabelledUtterance]]
) -> Conversation:
    ordered = sorted(rows, key=lambda row: row[1].index)
    speakers = speaker_indices(name for name, _ in ordered)
    utterances = tuple(
        replace(utterance, speaker=speaker)
        for speaker, (_, utterance) in zip(speakers, ordered, strict=True)
    )
    return Conversation(f"{split}/{dialogue}", utterances)


Key = tuple[str, ...]


def _context_keys(texts: Sequence[str]) -> list[tuple[Key, ...]]:
    """For each text its keys, the most telling first: with both neighbours, with one, alone."""
    plain = ["", *(re.sub(r"[^a-z0-9]", "", text.lower()) for text in texts), ""]
    return [
        (("both", before, text, after), ("before", before, text), ("after", text, after), (text,))
        for before, text, after in zip(plain, plain[1:], plain[2:], strict=False)
    ]


def _votes_by_context(
    dialogues: Iterable[Sequence[dict[str, str]]],
) -> dict[Key, tuple[float, ...]]:
    """Mean vote shares for every key of `_context_keys`."""
    sums: dict[Key, list[float]] = defaultdict(lambda: [0.0] * len(LABELS))
    for dialogue in dialogues:
        for turn, keys in zip(
            dialogue, _context_keys([turn["utterance"] for turn in dialogue]), strict=True
        ):
            for emotion, digit in zip(_VOTE_ORDER, turn["annotation"], strict=True):
                for key in keys:
                    sums[key][LABELS.index(emotion)] += int(digit)
    return {key: tuple(n / sum(votes) for n in votes) for key, votes in sums.items() if sum(votes)}
