"""CMU-MOSI as features: 93 videos of one person each, 2199 utterances, negative or positive.

The features are those of bc-LSTM (Poria et al., ACL 2017): text 100 (CNN), audio 73 (openSMILE),
visual 100 (3D-CNN). Their text and video networks were trained on the official train split with its
labels. Our dev videos are part of that split, so that predictions on dev are nearly always right:
dev does not estimate test and is not suitable for model selection. Folder layout:

    mosi_bclstm_features/mosi.npz     {train,test}_{text,audio,video,label}
    mosi_bclstm_features/meta.json    {train,test}: [{id, video, utt, text}, ...], one per row
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from erc_ros.training.datasets.corpus import CorpusSpec
from erc_ros.training.datasets.utterances import Conversation, LabelledUtterance, Split, incomplete

FOLDER = "mosi_bclstm_features"
SIZES = (100, 73, 100)
LABELS = ("negative", "positive")
UTTERANCES = {"train": 1447, "test": 752}  # as published
DEV_VIDEOS = 12
NOTE = (
    "Sentiment (negative or positive), not emotion; one speaker per video. The features are those"
    " of bc-LSTM; its text and video networks were trained on the official train split with its"
    f" labels. Dev ({DEV_VIDEOS} videos) is part of that split, so dev is nearly always right and"
    " cannot choose anything unless it is degraded (`epoch: degraded`)."
)
LIMIT = 5.0
"""Features are clipped at this number of standard deviations; openSMILE has outliers of 20."""


@dataclass(frozen=True, eq=False)
class Videos:
    """One split, N utterances; those of a video are consecutive.

    features: text, audio, visual, (N, d_m) float32, standardised with the train split's mean and
    deviation and clipped. labels (N,) int64. first (N,) int64: the row with which the video begins.
    names: the videos, in order.
    """

    features: tuple[NDArray[np.float32], ...]
    labels: NDArray[np.int64]
    first: NDArray[np.int64]
    names: tuple[str, ...]


def read_mosi(data: Path, dev_videos: int = DEV_VIDEOS, seed: int = 0) -> dict[str, Videos]:
    """Read train, dev and test. There is no official dev split: it is drawn from train's videos.

    Raises:
        FileNotFoundError: the folder or a file of it is missing.
        ValueError: the files do not match, a feature is not finite, a label is unknown,
            a video is in train and in test, or train has too few videos for dev_videos.
    """
    rows, dev = _checked(data, dev_videos, seed)
    features, _, names = rows["train"]
    in_dev = np.array([name in dev for name in names])
    mean = [x[~in_dev].mean(axis=0) for x in features]
    deviation = [np.maximum(x[~in_dev].std(axis=0), 1e-6) for x in features]

    def part(split: str, kept: NDArray[np.bool_]) -> Videos:
        features, labels, names = rows[split]
        scaled = [(x[kept] - m) / s for x, m, s in zip(features, mean, deviation, strict=True)]
        clipped = tuple(np.clip(x, -LIMIT, LIMIT).astype(np.float32) for x in scaled)
        here = [name for name, keep in zip(names, kept, strict=True) if keep]
        starts = {name: i for i, name in reversed(list(enumerate(here)))}
        first = np.array([starts[name] for name in here], np.int64)
        if not (np.diff(first) >= 0).all():
            raise ValueError(f"{split}: the utterances of a video must follow one another")
        return Videos(clipped, labels[kept], first, tuple(dict.fromkeys(here)))

    return {
        "train": part("train", ~in_dev),
        "dev": part("train", in_dev),
        "test": part("test", np.ones(len(rows["test"][1]), bool)),
    }


def read_mosi_words(data: Path, split: str) -> Split:
    """Read the utterances of a split as conversations, one per video with one speaker.

    The text is in upper case. The files do not contain the times of utterances.

    Raises:
        FileNotFoundError, ValueError: as `read_mosi`, or an unknown split.
    """
    if split not in ("train", "dev", "test"):
        raise ValueError(f"CMU-MOSI is read as train, dev and test, not {split!r}")
    rows, dev = _checked(data, DEV_VIDEOS, 0)
    official = "test" if split == "test" else "train"
    _, labels, names = rows[official]
    words = _meta(data)[official]
    videos: dict[str, list[LabelledUtterance]] = {}
    for name, label, row in zip(names, labels, words, strict=True):
        if split == "test" or (name in dev) == (split == "dev"):
            utterance = LabelledUtterance(str(row["text"]), 1, int(label), int(row["utt"]))
            videos.setdefault(name, []).append(utterance)
    conversations = (Conversation(f"{split}/{name}", tuple(u)) for name, u in videos.items())
    findings = incomplete(f"CMU-MOSI {official}", len(names), UTTERANCES[official])
    return Split(split, tuple(conversations), LABELS, findings)


def read_mosi_features(data: Path, split: str) -> Split:
    """Read the same conversations with features, standardized as in `read_mosi`.

    Raises:
        FileNotFoundError, ValueError: as `read_mosi_words`.
    """
    words = read_mosi_words(data, split)
    videos = read_mosi(data)[split]
    if tuple(f"{split}/{name}" for name in videos.names) != tuple(
        conversation.name for conversation in words.conversations
    ):
        raise ValueError(f"{split}: the utterances of a video must follow one another")
    rows = iter(zip(*videos.features, strict=True))
    conversations = tuple(
        replace(c, utterances=tuple(replace(u, features=next(rows)) for u in c.utterances))
        for c in words.conversations
    )
    return replace(words, conversations=conversations)


_Rows = tuple[list[NDArray[np.float32]], NDArray[np.int64], list[str]]


def _checked(data: Path, dev_videos: int, seed: int) -> tuple[dict[str, _Rows], set[str]]:
    """Return the rows of the official splits, and the videos of train that become dev."""
    meta = _meta(data)
    with np.load(data / FOLDER / "mosi.npz", allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    rows = {split: _rows(arrays, meta, split) for split in ("train", "test")}
    videos = {split: list(dict.fromkeys(rows[split][2])) for split in rows}
    if both := set(videos["train"]) & set(videos["test"]):
        raise ValueError(f"videos in train and in test: {sorted(both)[:4]}")
    if not 0 < dev_videos < len(videos["train"]):
        raise ValueError(f"dev_videos is {dev_videos}, train has {len(videos['train'])} videos")
    chosen = np.random.default_rng(seed).permutation(len(videos["train"]))[:dev_videos]
    return rows, {videos["train"][i] for i in chosen}


def _meta(data: Path) -> dict[str, list[dict[str, str]]]:
    """Read meta.json and check that both files exist."""
    for name in ("mosi.npz", "meta.json"):
        if not (data / FOLDER / name).is_file():
            raise FileNotFoundError(
                f"{data / FOLDER / name} is missing; set ERC_DATA or --data to the folder that has"
                f" {FOLDER}"
            )
    meta: dict[str, list[dict[str, str]]] = json.loads(
        (data / FOLDER / "meta.json").read_text(encoding="utf-8")
    )
    return meta


def _rows(
    arrays: dict[str, NDArray[np.float32]], meta: dict[str, list[dict[str, str]]], split: str
) -> tuple[list[NDArray[np.float32]], NDArray[np.int64], list[str]]:
    """Return features, labels and video names of an official split after checks."""
    names = [str(row["video"]) for row in meta.get(split, [])]
    features = []
    for modality, size in zip(("text", "audio", "video"), SIZES, strict=True):
        x = arrays.get(f"{split}_{modality}", np.zeros((0, 0), np.float32))
        if x.shape != (len(names), size) or not names:
            raise ValueError(
                f"{split}_{modality} is {x.shape}; meta.json has {len(names)} rows, the size is"
                f" {size}: mosi.npz and meta.json must be from one conversion"
            )
        if bad := int((~np.isfinite(x)).any(axis=1).sum()):
            raise ValueError(f"{split}_{modality}: {bad} rows are not finite; convert them again")
        features.append(x)
    labels = arrays.get(f"{split}_label", np.zeros(0)).astype(np.int64)
    if labels.shape != (len(names),) or not np.isin(labels, (0, 1)).all():
        raise ValueError(f"{split}_label must be {len(names)} labels 0 or 1")
    return features, labels, names


CORPORA = tuple(
    CorpusSpec(
        name=name,
        title=title,
        about="English video monologues",
        license="research use",
        labels=LABELS,
        read=read,
        content=content,
        layout=f"`{FOLDER}/`",
        has_features=read is read_mosi_features,
        note=NOTE if read is read_mosi_features else "",
    )
    for name, title, read, content in (
        ("mosi", "CMU-MOSI", read_mosi_words, "monologues, as words"),
        (
            "mosi-features",
            "CMU-MOSI, published features",
            read_mosi_features,
            "the same as published features of words, audio and images (`model: features-N`)",
        ),
    )
)
