"""MELD (Poria et al. 2019): dialogues of a television series.

Reads the official `{train,dev,test}_sent_emo.csv` and, optionally, the official clips
`dia{D}_utt{U}.mp4` of the same splits. Speakers become indices within the dialogue; their names are
discarded. EmotionLines (Chen et al. 2018) is the same text with the votes of five raters of the
transcript; `with_votes` adds them to MELD's training dialogues.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from erc_ros.training.datasets.cleaning import CorpusRecord, read_records
from erc_ros.training.datasets.corpus import CorpusSpec
from erc_ros.training.datasets.emotionlines import FOLDER as EMOTIONLINES
from erc_ros.training.datasets.emotionlines import VOTE_ORDER, read_turns
from erc_ros.training.datasets.findings import Fate, Finding, Findings
from erc_ros.training.datasets.scenes import CutFaces, Scene
from erc_ros.training.datasets.turns import with_speakers
from erc_ros.training.datasets.utterances import (
    EMPTY_TEXT,
    IMPOSSIBLE_TIMES,
    LABELS,
    REPAIRED_TEXT,
    UNUSABLE_ROW,
    Conversation,
    LabelledUtterance,
    Split,
    count,
    incomplete,
    possible,
)

MeldSplit = Split
SPLITS = {"train": 9989, "dev": 1109, "test": 2610}  # utterances, as published
CLIPS = {
    "train": "train_splits",
    "dev": "dev_splits_complete",
    "test": "output_repeated_splits_test",
}
FOLDER = "meld_annotations"
RAW = "MELD.Raw"  # folder in the official archive
UNUSABLE_CLIP = "unusable clip"
COLUMNS = (
    "Sr No.", "Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID",
    "StartTime", "EndTime",
)  # fmt: skip
SENTIMENT = "Sentiment"
SENTIMENTS = ("neutral", "positive", "negative")
_TIME = re.compile(r"(\d+):(\d\d):(\d\d)[,.](\d{1,3})")


def read_meld(
    data: Path,
    split: str,
    clips: bool = False,
    open_clips: bool = True,
    faces: bool = False,
    sentiments: bool = False,
) -> Split:
    """Read one split from `data`, the folder that holds meld_annotations or MELD.Raw (or is it).

    Args:
        clips: give every utterance its clip, if it has one.
        open_clips: open each clip (about 10 ms) and exclude unreadable ones; else they cause
            errors when they are used.
        faces: its images are the crops of `erc cut-faces`, not the whole clip.
        sentiments: the three labels of the column Sentiment instead of the seven emotions.

    Raises:
        FileNotFoundError: annotations, clips or crops are missing; names the expected path.
        ValueError: an unknown split, or a file without the columns of MELD.
    """
    if split not in SPLITS:
        raise ValueError(f"MELD has the splits {tuple(SPLITS)}, not {split!r}")
    path = _find(data, split)
    folder = _clip_folder(data, split) if clips else None
    cut = CutFaces.read(data, "meld", split) if faces else None
    dialogues: dict[int, list[tuple[str, LabelledUtterance]]] = defaultdict(list)
    faults: list[Finding] = []
    first: dict[tuple[int, int], int] = {}  # the row of each utterance
    for row in read_records(path, (*COLUMNS, SENTIMENT) if sentiments else COLUMNS):
        try:
            dialogue, speaker, utterance = _utterance(row.fields)
            if sentiments:
                utterance = replace(utterance, label=_sentiment(row.fields))
            before = first.setdefault((dialogue, utterance.index), row.number)
            if before != row.number:
                raise ValueError(f"utterance {dialogue}, {utterance.index} is in row {before}")
        except ValueError as error:
            faults.append(Finding(UNUSABLE_ROW, "skipped", path.name, row.number, str(error)))
            continue
        faults += _faults(path.name, row, utterance)
        if folder is not None:
            clip = folder / f"dia{dialogue}_utt{utterance.index}.mp4"
            if reason := _wrong_with(clip, open_clips):
                detail = f"{clip.name}: {reason}"
                faults.append(Finding(UNUSABLE_CLIP, "masked", path.name, row.number, detail))
            else:
                utterance = replace(utterance, clip=clip, pictures=None if cut else clip)
            if cut is not None:
                crops, said = cut.of(clip.stem)
                utterance = replace(utterance, pictures=crops)
                if said and not reason:
                    fate: Fate = "noted" if crops else "masked"
                    faults.append(Finding(f"faces: {said}", fate, path.name, row.number, clip.name))
        dialogues[dialogue].append((speaker, utterance))
    conversations = tuple(_conversation(split, *item) for item in sorted(dialogues.items()))
    findings = Findings(tuple(faults)) + incomplete(path.name, count(conversations), SPLITS[split])
    return Split(split, conversations, SENTIMENTS if sentiments else LABELS, findings)


def _sentiment(row: dict[str, str | None]) -> int:
    sentiment = (row[SENTIMENT] or "").strip().lower()
    if sentiment not in SENTIMENTS:
        raise ValueError(f"unknown sentiment {sentiment!r}")
    return SENTIMENTS.index(sentiment)


def _faults(file: str, row: CorpusRecord, utterance: LabelledUtterance) -> list[Finding]:
    """Return the faults of a row that is kept."""
    faults = []
    if utterance.start is None:
        times = f"{row.fields['StartTime']} to {row.fields['EndTime']}"
        faults.append(Finding(IMPOSSIBLE_TIMES, "masked", file, row.number, times))
    if row.repaired:
        faults.append(Finding(REPAIRED_TEXT, "repaired", file, row.number))
    if not utterance.text:
        faults.append(Finding(EMPTY_TEXT, "masked", file, row.number))
    return faults


def with_votes(split: MeldSplit, data: Path) -> MeldSplit:
    """Add EmotionLines' votes to utterances of MELD's training split with the same text.

    Matches an utterance by its text and its neighbors', so that each "Yeah." gets its own votes.

    Raises:
        FileNotFoundError: EmotionLines is not in `data`.
        ValueError: not the training split (the votes of dev and test are not for training).
    """
    if split.name != "train":
        raise ValueError(f"votes are for training only, not for {split.name!r}")
    votes = _votes_by_context(read_turns(data / EMOTIONLINES / "train.json"))
    conversations = []
    for conversation in split.conversations:
        keys = _context_keys([utterance.text for utterance in conversation.utterances])
        shares_of = (next((votes[key] for key in options if key in votes), ()) for options in keys)
        utterances = tuple(
            replace(utterance, votes=shares)
            for utterance, shares in zip(conversation.utterances, shares_of, strict=True)
        )
        conversations.append(replace(conversation, utterances=utterances))
    return replace(split, conversations=tuple(conversations))


def _find(data: Path, split: str) -> Path:
    name = f"{split}_sent_emo.csv"
    for folder in (data / FOLDER, data / RAW, data / RAW / split, data, data / split):
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(
        f"no {name} in {data / FOLDER}: get it from https://github.com/declare-lab/MELD (data/MELD)"
        " and set ERC_DATA (or --data) to the folder above meld_annotations"
    )


def _clip_folder(data: Path, split: str) -> Path:
    name = CLIPS[split]
    places = [base / inner for base in (data / RAW, data) for inner in (name, f"{split}/{name}")]
    for folder in places:
        if folder.is_dir():
            return folder
    raise FileNotFoundError(
        f"no {name} in {data / RAW}: unpack {split}.tar.gz of MELD.Raw.tar.gz there (from"
        " https://github.com/declare-lab/MELD), or read MELD without clips"
    )


def scenes(data: Path) -> dict[str, Iterator[tuple[str, Scene]]]:
    """Return the clips of every split, for `erc cut-faces`.

    Raises:
        FileNotFoundError: as `read_meld`.
    """
    return {split: _scenes(read_meld(data, split, True, False)) for split in SPLITS}


def _scenes(split: Split) -> Iterator[tuple[str, Scene]]:
    for conversation in split.conversations:
        for utterance in conversation.utterances:
            if utterance.clip is not None:
                yield utterance.clip.stem, Scene(utterance.clip)


def _wrong_with(clip: Path, opened: bool) -> str:
    """Return why a clip cannot be used; "" if it can."""
    if not opened:
        return "" if clip.is_file() else "missing"
    from erc_ros.training.datasets.media import UnusableClipError, check_pictures

    try:
        check_pictures(clip)
    except UnusableClipError as error:
        return str(error)
    return ""


def _utterance(row: dict[str, str | None]) -> tuple[int, str, LabelledUtterance]:
    """Return dialogue, speaker's name and utterance of a row; ValueError states its fault."""
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
    if not possible(start, end):
        start = end = None
    utterance = LabelledUtterance(values["Utterance"], 0, LABELS.index(emotion), index, start, end)
    return dialogue, values["Speaker"], utterance


def nanoseconds(time: str) -> int | None:
    """Convert a time such as "00:16:16,059" to ns; None for anything else."""
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
    return Conversation(f"{split}/{dialogue}", with_speakers(ordered))


Key = tuple[str, ...]


def _context_keys(texts: Sequence[str]) -> list[tuple[Key, ...]]:
    """Return the keys of each text, the most specific first: with both neighbors, one, none."""
    plain = ["", *(re.sub(r"[^a-z0-9]", "", text.lower()) for text in texts), ""]
    return [
        (("both", before, text, after), ("before", before, text), ("after", text, after), (text,))
        for before, text, after in zip(plain, plain[1:], plain[2:], strict=False)
    ]


def _votes_by_context(
    dialogues: Iterable[Sequence[dict[str, str]]],
) -> dict[Key, tuple[float, ...]]:
    """Return key of `_context_keys` -> mean vote shares."""
    sums: dict[Key, list[float]] = defaultdict(lambda: [0.0] * len(LABELS))
    for dialogue in dialogues:
        for turn, keys in zip(
            dialogue, _context_keys([turn["utterance"] for turn in dialogue]), strict=True
        ):
            for emotion, digit in zip(VOTE_ORDER, turn["annotation"], strict=True):
                for key in keys:
                    sums[key][LABELS.index(emotion)] += int(digit)
    return {key: tuple(n / sum(votes) for n in votes) for key, votes in sums.items() if sum(votes)}


def _spec(
    name: str,
    title: str,
    content: str,
    layout: str,
    clips: bool = False,
    faces: bool = False,
    sentiments: bool = False,
) -> CorpusSpec:
    owned = "audio and video are television" if clips else "the dialogue is television text"
    return CorpusSpec(
        name=name,
        title=title,
        about="English dialogue of a television comedy",
        license=f"annotations GPL-3.0, {owned}: research use",
        labels=SENTIMENTS if sentiments else LABELS,
        read=partial(
            read_meld, clips=clips, open_clips=not clips, faces=faces, sentiments=sentiments
        ),
        scenes=("meld", scenes) if name == "meld" else None,
        votes=("emotionlines", with_votes) if name == "meld" else None,
        text_number=0 if name == "meld" else None,
        content=content,
        media="MELD.Raw" if clips or faces else "",
        layout=layout,
    )


_TEXT, _THREE = "`meld_annotations/{split}_sent_emo.csv`, or `MELD.Raw/`", "with MELD's sentiments"
_CLIPS = (
    "also `MELD.Raw/{train_splits,dev_splits_complete,output_repeated_splits_test}/"
    "dia{D}_utt{U}.mp4`, as the official archives unpack"
)
_FACES = "also `faces/meld/`, made by `erc cut-faces meld`"
CORPORA = (
    _spec("meld", "MELD, text and labels", "Friends, text (Poria et al. 2019)", _TEXT),
    _spec("meld-clips", "MELD with its clips", "with its clips", _CLIPS, clips=True),
    _spec(
        "meld-faces",
        "MELD with the faces of its clips",
        "with the face of each clip",
        _FACES,
        clips=True,
        faces=True,
    ),
    _spec("meld-3", "MELD of 3 labels, text and labels", _THREE, _TEXT, sentiments=True),
    _spec(
        "meld-3-clips",
        "MELD of 3 labels with its clips",
        f"{_THREE}, with its clips",
        _CLIPS,
        clips=True,
        sentiments=True,
    ),
    _spec(
        "meld-3-faces",
        "MELD of 3 labels with the faces of its clips",
        f"{_THREE}, with the face of each clip",
        _FACES,
        clips=True,
        faces=True,
        sentiments=True,
    ),
)
