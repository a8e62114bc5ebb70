"""IEMOCAP (Busso et al. 2008): ten actors, two at a time, in five sessions.

Reads the official release: below `Session{1..5}`, `dialog/EmoEvaluation/<dialogue>.txt` (times and
labels), `dialog/transcriptions/<dialogue>.txt` (words), `sentences/wav/<dialogue>/<turn>.wav` and,
for `erc cut-faces`, `dialog/avi/DivX/<dialogue>.avi`. In the videos the actors sit side by side: on
the left the one with markers, after whom the dialogue is named (Ses01F_...: the woman). Other
projects assume this; the release is not available here to verify it.

Labels: six (happy, sad, neutral, angry, excited, frustrated; MAGTKD, SUMMER) or four (excited
counts as happy; LPGNet). Turns with other labels (`oth`, no majority `xxx`, fear, surprise,
disgust) are excluded, as in the papers, and counted by label. The release has 5531 turns of the
four classes, as in LPGNet, and 7380 of the six; MAGTKD's 7433 are those of a preprocessed copy with
53 more happy turns.

Split: session 5 is test. A tenth of the dialogues of sessions 1 to 4 is dev (MAGTKD): dialogues
are whole, but their speakers are in train too.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from erc_ros.encoders.text import speaker_indices
from erc_ros.training.datasets.cleaning import decode_lines, repair
from erc_ros.training.datasets.corpus import CorpusSpec
from erc_ros.training.datasets.findings import Fate, Finding, Findings
from erc_ros.training.datasets.scenes import CutFaces, Scene
from erc_ros.training.datasets.utterances import (
    EMPTY_TEXT,
    IMPOSSIBLE_TIMES,
    REPAIRED_TEXT,
    UNUSABLE_ROW,
    Conversation,
    LabelledUtterance,
    Split,
    count,
    incomplete,
    possible,
)

FOLDERS = ("IEMOCAP_full_release", "iemocap")
SIX = ("happy", "sad", "neutral", "angry", "excited", "frustrated")
FOUR = ("happy", "sad", "neutral", "angry")
EMOTIONS = {
    "hap": "happy",
    "sad": "sad",
    "neu": "neutral",
    "ang": "angry",
    "exc": "excited",
    "fru": "frustrated",
}
OTHERS = ("oth", "xxx", "fea", "sur", "dis")
SESSIONS = {"train": (1, 2, 3, 4), "dev": (1, 2, 3, 4), "test": (5,)}
UTTERANCES = {6: {"train and dev": 5758, "test": 1622}, 4: {"train and dev": 4290, "test": 1241}}
DEV_SHARE, DEV_SEED = 0.1, 0
NO_CLIP = "no clip"
NO_WORDS = "no transcript"
# [6.2901 - 8.2357]	Ses01F_impro01_F000	neu	[2.5000, 2.5000, 2.5000]
_LABEL = re.compile(r"\[\s*(\S+)\s*-\s*(\S+)\s*\]\s+(Ses\S+_([FM])\d+)\s+(\w+)\s+\[.*\]\s*")
# Ses01F_impro01_F000 [006.2901-008.2357]: Excuse me.
_WORDS = re.compile(r"(Ses\S+)\s+\[[^\]]*\]\s*:(.*)")
_Turn = tuple[str, str, int, int, int | None, int | None]
"""Turn, F or M, label, line, start, end."""


def read_iemocap(data: Path, split: str, classes: int = 6, faces: bool = False) -> Split:
    """Read one split from `data`, the folder that holds IEMOCAP_full_release (or is it).

    Args:
        classes: 6 or 4.
        faces: with the crops of `erc cut-faces` as images.

    Raises:
        FileNotFoundError: IEMOCAP, a session or the crops of the split are missing.
        ValueError: an unknown split or another number of classes.
    """
    if split not in SESSIONS:
        raise ValueError(f"IEMOCAP has the splits {tuple(SESSIONS)}, not {split!r}")
    if classes not in UTTERANCES:
        raise ValueError(f"IEMOCAP is read with 4 or 6 classes, not {classes}")
    root = _root(data, SESSIONS[split])
    labels = SIX if classes == 6 else FOUR
    faults: list[Finding] = []
    cut = {
        number: CutFaces.read(data, "iemocap", f"Session{number}") if faces else None
        for number in SESSIONS[split]
    }
    conversations = [
        _conversation(file, labels, faults, cut[session])
        for session in SESSIONS[split]
        for file in _dialogues(root / f"Session{session}")
    ]
    whole = "test" if split == "test" else "train and dev"
    official = incomplete(f"IEMOCAP {whole}", count(conversations), UTTERANCES[classes][whole])
    dev = dev_dialogues({c.name for c in conversations}) if split != "test" else set()
    kept = tuple(
        replace(conversation, name=f"{split}/{conversation.name}")
        for conversation in conversations
        if conversation.utterances and (conversation.name in dev) == (split == "dev")
    )
    dropped = {c.name for c in conversations if (c.name in dev) != (split == "dev")}
    own = (finding for finding in faults if Path(finding.source).stem not in dropped)
    return Split(split, kept, labels, Findings(tuple(own)) + official)


def _root(data: Path, sessions: tuple[int, ...]) -> Path:
    for root in (*(data / folder for folder in FOLDERS), data):
        if any((root / f"Session{number}").is_dir() for number in range(1, 6)):
            break
    else:
        raise FileNotFoundError(
            f"no Session1 to Session5 in {data / FOLDERS[0]}: get IEMOCAP from"
            " https://sail.usc.edu/iemocap and set ERC_DATA (or --data) to the folder above it"
        )
    missing = [n for n in sessions if not (root / f"Session{n}/dialog/EmoEvaluation").is_dir()]
    if missing:
        raise FileNotFoundError(
            f"{root} lacks dialog/EmoEvaluation of session {', '.join(map(str, missing))}: results"
            " without it would not be comparable; unpack the whole release"
        )
    return root


def _dialogues(session: Path) -> list[Path]:
    """Return the label files, one per dialogue, without the ._ files of macOS."""
    files = (session / "dialog" / "EmoEvaluation").glob("Ses*.txt")
    return sorted(files)


def dev_dialogues(names: set[str]) -> set[str]:
    """Return a tenth of the dialogues, at least one, independent of their order."""
    ordered = sorted(names)
    count = max(round(DEV_SHARE * len(ordered)), min(1, len(ordered)))
    return set(random.Random(DEV_SEED).sample(ordered, count))


def scenes(data: Path) -> dict[str, Iterator[tuple[str, Scene]]]:
    """Return the scene of every turn that has one of the six labels, for `erc cut-faces`.

    Raises:
        FileNotFoundError: as `read_iemocap`.
    """
    sessions = range(1, 6)
    root = _root(data, tuple(sessions))
    return {f"Session{number}": _scenes(root / f"Session{number}") for number in sessions}


def _scenes(session: Path) -> Iterator[tuple[str, Scene]]:
    for file in _dialogues(session):
        video = session / "dialog" / "avi" / "DivX" / f"{file.stem}.avi"
        wears_markers = file.stem[5]  # F or M
        for turn, person, _, _, start, end in _turns(file, SIX, []):
            if end is not None:
                left = 0.0 if person == wears_markers else 0.5
                yield turn, Scene(video, start, end, left, left + 0.5, is_one_person=True)


def _conversation(
    file: Path, labels: tuple[str, ...], faults: list[Finding], cut: CutFaces | None
) -> Conversation:
    session, name = file.parents[2], file.stem
    words = _words(session / "dialog" / "transcriptions" / file.name, faults)
    turns = sorted(_turns(file, labels, faults), key=lambda turn: (turn[4] or 0, turn[3]))
    speakers = speaker_indices(turn[1] for turn in turns)
    utterances = []
    for index, ((turn, _, label, line, start, end), speaker) in enumerate(
        zip(turns, speakers, strict=True)
    ):
        text = words.get(turn, "")
        if not text:
            faults.append(Finding(EMPTY_TEXT, "masked", file.name, line, turn))
        clip: Path | None = session / "sentences" / "wav" / name / f"{turn}.wav"
        if clip is not None and not clip.is_file():
            faults.append(Finding(NO_CLIP, "masked", file.name, line, f"{turn}.wav"))
            clip = None
        crops: Path | None = None
        if cut is not None:
            crops, reason = cut.of(turn)
            if reason:
                fate: Fate = "noted" if crops else "masked"
                faults.append(Finding(f"faces: {reason}", fate, file.name, line, turn))
        utterances.append(
            LabelledUtterance(text, speaker, label, index, start, end, clip=clip, pictures=crops)
        )
    return Conversation(name, tuple(utterances))


def _turns(file: Path, labels: tuple[str, ...], faults: list[Finding]) -> list[_Turn]:
    """Return the turns of a label file that have one of the labels."""
    turns: list[_Turn] = []
    rows: dict[str, int] = {}
    for number, line in enumerate(decode_lines(file.read_bytes())[0], start=1):
        if not line.startswith("["):
            continue  # lines of single raters, empty lines, the heading
        match = _LABEL.fullmatch(line)
        if match is None:
            faults.append(Finding(UNUSABLE_ROW, "skipped", file.name, number, "not a turn"))
            continue
        if (first := rows.setdefault(match[3], number)) != number:
            detail = f"turn {match[3]} is in line {first}"
            faults.append(Finding(UNUSABLE_ROW, "skipped", file.name, number, detail))
            continue
        start, end = _nanoseconds(match[1]), _nanoseconds(match[2])
        emotion = EMOTIONS.get(match[5])
        if emotion == "excited" and "excited" not in labels:
            emotion = "happy"
        if match[5] not in (*EMOTIONS, *OTHERS):
            detail = f"unknown label {match[5]!r}"
            faults.append(Finding(UNUSABLE_ROW, "skipped", file.name, number, detail))
        elif emotion is None or emotion not in labels:
            faults.append(Finding(f"label {match[5]} excluded", "skipped", file.name, number))
        else:
            if not possible(start, end):
                times = f"{match[1]} to {match[2]}"
                faults.append(Finding(IMPOSSIBLE_TIMES, "masked", file.name, number, times))
                start = end = None
            turns.append((match[3], match[4], labels.index(emotion), number, start, end))
    return turns


def _words(file: Path, faults: list[Finding]) -> dict[str, str]:
    """Return the transcript of each turn; breaths and words of others are on other lines."""
    if not file.is_file():
        faults.append(Finding(NO_WORDS, "masked", file.name))
        return {}
    words = {}
    lines, windows = decode_lines(file.read_bytes())
    for number, line in enumerate(lines, start=1):
        if match := _WORDS.fullmatch(line.rstrip("\r\n")):
            if number in windows or repair(match[2]) != match[2]:
                faults.append(Finding(REPAIRED_TEXT, "repaired", file.name, number))
            words[match[1]] = repair(match[2]).strip()
    return words


def _nanoseconds(seconds: str) -> int | None:
    """Convert seconds such as "6.2901" to ns; None for anything else."""
    if not re.fullmatch(r"\d{1,6}(\.\d{1,9})?", seconds):
        return None
    whole, _, part = seconds.partition(".")
    return int(whole) * 1_000_000_000 + int(part.ljust(9, "0"))


def _spec(classes: int, faces: bool) -> CorpusSpec:
    return CorpusSpec(
        name=f"iemocap-{classes}{'-faces' if faces else ''}",
        title=f"IEMOCAP{' with faces' if faces else ''}, {classes} labels",
        about="ten actors, scripted and improvised",
        license="on request, research use",
        labels=SIX if classes == 6 else FOUR,
        meanings={"happy": ("joy",), "sad": ("sadness",), "angry": ("anger",)},
        speakers=10,
        read=partial(read_iemocap, classes=classes, faces=faces),
        scenes=("iemocap", scenes),
        content="ten actors (Busso et al. 2008), text, audio"
        + (" and faces" if faces else "")
        + ("" if classes == 6 else "; excited counts as happy"),
        media="IEMOCAP_full_release",
        layout="also `dialog/avi/DivX/*.avi` and `faces/iemocap/`, made by `erc cut-faces iemocap`"
        if faces
        else "`IEMOCAP_full_release/Session{1..5}/{dialog,sentences}`",
    )


CORPORA = tuple(_spec(classes, faces) for faces in (False, True) for classes in (6, 4))
