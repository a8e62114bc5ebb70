"""Read features of MELD and IEMOCAP that other projects publish, in their file formats.

A folder holds the files of one project; pickles are read without running code (`safe_pickle`):

| files | of | content |
|---|---|---|
| one pickle, a tuple of 9, 10 or 12 | DialogueRNN, MMGCN, SDT | all of it, dialogue -> list |
| one pickle, a tuple of 10 or 11 | COSMIC | four RoBERTa layers (their mean is used), no audio |
| Speakers.pkl, {Text,Audio,Visual}Features.pkl | MultiEMO | the first two forms, split in files |
| {text,audio,video}*.pkl | bc-LSTM of MELD | (train, dev, test): "dialogue_utterance" -> vector |
| {text,audio,visual}.npz or .safetensors | yours | train, dev, test (N, d) in the corpus' order |

The last two have no labels: these come from the corpus itself (its annotations suffice). The others
need no further file. Where they have no dev split, MELD's is that of its dialogue numbers, and
IEMOCAP's is chosen as `iemocap` does. Features are standardized with the mean and deviation of
train and clipped at 10 deviations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from erc_ros.training.datasets import iemocap, meld
from erc_ros.training.datasets.corpus import CorpusSpec
from erc_ros.training.datasets.safe_pickle import read_pickle
from erc_ros.training.datasets.utterances import LABELS, Conversation, LabelledUtterance, Split
from erc_ros.values.utterance import MODALITIES

Array = NDArray[np.float32]
SPLITS = ("train", "dev", "test")
NOTHING = np.zeros(0, np.float32)
LIMIT = 10.0
LAST_SPEAKER = 9
MELD_TRAIN, MELD_DEV = 1039, 1153
"""First dialogue numbers of dev and test; dialogues are numbered across train, dev and test."""
FIELDS: Mapping[tuple[int, int], Mapping[str, int]] = {
    # (length of the tuple, position of train's dialogues) -> positions of the other parts
    (9, 7): {"speakers": 1, "labels": 2, "text": 3, "audio": 4, "visual": 5, "words": 6},
    (9, 6): {"speakers": 1, "labels": 2, "text": 3, "audio": 4, "words": 5},
    (10, 7): {"speakers": 1, "labels": 2, "text": 3, "audio": 4, "visual": 5, "words": 6},
    (12, 10): {"speakers": 1, "labels": 2, "text": 3, "audio": 7, "visual": 8, "words": 9},
}
COSMIC: Mapping[int, Mapping[str, int]] = {
    10: {"speakers": 0, "labels": 1, "text": 2, "words": 6, "train": 7},
    11: {"speakers": 0, "labels": 1, "text": 3, "words": 7, "train": 8},
}
LAYERS = 4


@dataclass(frozen=True, eq=False)
class Published:
    """The content of a folder's files, by dialogue.

    features: modality -> dialogue -> (U, d). splits: name -> dialogues.
    """

    labels: Mapping[Any, Sequence[Any]]
    speakers: Mapping[Any, Sequence[Any]]
    words: Mapping[Any, Sequence[str]]
    features: Mapping[str, Mapping[Any, Any]]
    splits: Mapping[str, Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Source:
    """A corpus whose features are published.

    folder: below the data folder. dev: dialogues of train -> those that become dev. read: reads the
    corpus itself, for files without labels. merged: published label -> label, where they differ.
    """

    folder: str
    labels: tuple[str, ...]
    dev: Callable[[Sequence[Any]], set[Any]]
    read: Callable[[Path, str], Split]
    merged: tuple[int | None, ...]


def read_features(data: Path, split: str, source: Source) -> Split:
    """Read one split of a corpus with the features in `source.folder`.

    Raises:
        FileNotFoundError: the folder, or the corpus that its files need, is missing.
        ValueError: an unknown split, or files of another format; names the file.
    """
    if split not in SPLITS:
        raise ValueError(f"published features are read as {', '.join(SPLITS)}, not {split!r}")
    return _splits(data, source)[split]


@lru_cache(maxsize=4)
def _splits(data: Path, source: Source) -> Mapping[str, Split]:
    folder = data / source.folder
    files = sorted(folder.glob("*")) if folder.is_dir() else []
    arrays = [f for f in files if f.suffix in (".npz", ".safetensors")]
    pickles = [f for f in files if f.suffix in (".pkl", ".p", ".pickle")]
    if not arrays and not pickles:
        raise FileNotFoundError(
            f"{folder} has no features (*.pkl, *.npz or *.safetensors): put the published files"
            " there, and set ERC_DATA or --data to the folder above"
        )
    if arrays:
        splits = _with_arrays(arrays, data, source)
    else:
        contents = {file: read_pickle(file) for file in pickles}
        whole = [file for file, content in contents.items() if _is_whole(content)]
        if whole:
            splits = _from_tuple(whole, contents, source)
        else:
            splits = _with_dictionaries(contents, data, source)
    return _standardized(splits)


def _is_whole(content: Any) -> bool:
    return isinstance(content, (tuple, list)) and len(content) in (9, 10, 11, 12)


def _from_tuple(
    whole: Sequence[Path], contents: Mapping[Path, Any], source: Source
) -> dict[str, Split]:
    if len(whole) > 1:
        names = ", ".join(file.name for file in whole)
        raise ValueError(f"{whole[0].parent} holds the features of several projects: {names}")
    published = _published(whole[0], contents[whole[0]], source)
    more = {
        modality: content
        for file, content in contents.items()
        if file != whole[0] and (modality := _modality(file)) and isinstance(content, Mapping)
    }
    published = replace(published, features={**published.features, **more})
    return {
        name: Split(
            name,
            tuple(_conversation(name, key, published, source, whole[0]) for key in keys),
            source.labels,
        )
        for name, keys in published.splits.items()
    }


def _published(file: Path, content: Sequence[Any], source: Source) -> Published:
    groups = [n for n, value in enumerate(content) if _is_group(value)]
    if not groups:
        raise ValueError(f"{file}: its {len(content)} parts have no lists of dialogues")
    first = groups[0]
    if len(groups) == 3 and len(content) in COSMIC and COSMIC[len(content)]["train"] == first:
        places = COSMIC[len(content)]
        layers = [content[places["text"] + n] for n in range(LAYERS)]
        text = {
            key: np.mean([np.asarray(x[key], np.float32) for x in layers], 0) for key in layers[0]
        }
        train, test, dev = (list(content[n]) for n in groups)
        features: dict[str, Any] = {"text": text}
    elif (len(content), first) in FIELDS:
        places = FIELDS[len(content), first]
        features = {m: content[places[m]] for m in MODALITIES if m in places}
        both, test = list(content[first]), list(content[first + 1])
        chosen = source.dev(both)
        train, dev = [k for k in both if k not in chosen], [k for k in both if k in chosen]
    else:
        raise ValueError(
            f"{file}: a tuple of {len(content)} with dialogues at {groups} has an unknown format"
        )
    features = {m: value for m, value in features.items() if isinstance(value, Mapping) and value}
    labels, speakers = content[places["labels"]], content[places["speakers"]]
    words = content[places["words"]]
    if not isinstance(labels, Mapping) or not isinstance(speakers, Mapping):
        raise ValueError(f"{file}: labels and speakers must be tables of dialogues")
    splits = {"train": _sorted(train), "dev": _sorted(dev), "test": _sorted(test)}
    return Published(
        labels, speakers, words if isinstance(words, Mapping) else {}, features, splits
    )


def _is_group(value: Any) -> bool:
    """Whether a value is a list of dialogues, which are names or numbers."""
    if not isinstance(value, (set, frozenset, list, tuple)) or not value:
        return False
    return all(isinstance(each, (str, int, np.integer)) for each in value)


def _sorted(keys: Iterable[Any]) -> list[Any]:
    return sorted(keys, key=lambda key: (isinstance(key, str), key))


def _conversation(
    split: str, key: Any, published: Published, source: Source, file: Path
) -> Conversation:
    try:
        labels = [int(label) for label in published.labels[key]]
        speakers = _numbered(published.speakers[key])
        rows = {
            m: _rows(f"{file}: {m} of dialogue {key}", x[key])
            for m, x in published.features.items()
        }
        words = published.words.get(key, [""] * len(labels))
    except KeyError as error:
        raise ValueError(f"{file}: dialogue {error} is not in all of its parts") from error
    except TypeError as error:
        raise ValueError(f"{file}: dialogue {key} has an unknown format: {error}") from error
    if wrong := [m for m, x in rows.items() if len(x) != len(labels)]:
        raise ValueError(
            f"{file}: dialogue {key} has {len(labels)} labels, but another number of {wrong}"
        )
    if len(speakers) != len(labels) or len(words) != len(labels):
        raise ValueError(
            f"{file}: dialogue {key} has {len(labels)} labels, but another number of speakers"
        )
    if wrong_labels := [n for n in labels if not 0 <= n < len(source.merged)]:
        raise ValueError(f"{file}: dialogue {key} has the unknown label {wrong_labels[0]}")
    utterances = tuple(
        LabelledUtterance(
            str(words[n]),
            speakers[n],
            source.merged[labels[n]],
            n,
            features=tuple(rows[m][n] if m in rows else NOTHING for m in MODALITIES),
        )
        for n in range(len(labels))
    )
    return Conversation(f"{split}/{key}", utterances)


def _rows(where: str, values: Any) -> Array:
    """Convert values to features (U, d).

    Raises:
        ValueError: they are of different lengths, or not finite numbers.
    """
    try:
        rows = np.asarray(list(values), np.float32)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{where} are not vectors of equal length: {error}") from error
    if rows.ndim != 2 or not np.isfinite(rows).all():
        raise ValueError(f"{where} must be vectors of finite numbers, not {rows.shape}")
    return rows


def _numbered(speakers: Iterable[Any]) -> list[int]:
    """Number speakers (names, letters, or one-hot vectors) 1, 2, ... by first appearance."""
    names = [str(np.asarray(each).tolist()) for each in speakers]
    order = {name: min(n, LAST_SPEAKER) for n, name in enumerate(dict.fromkeys(names), 1)}
    return [order[name] for name in names]


def _modality(file: Path) -> str:
    begin = file.stem.lower().replace("video", "visual")
    return next((name for name in MODALITIES if begin.startswith(name)), "")


def _with_dictionaries(
    contents: Mapping[Path, Any], data: Path, source: Source
) -> dict[str, Split]:
    """Return the corpus with features of files (train, dev, test): dialogue_utterance -> vector."""
    features: dict[str, Sequence[Mapping[str, Any]]] = {}
    for file, content in contents.items():
        modality = _modality(file)
        if not modality:
            continue
        if not isinstance(content, (tuple, list)) or [type(x) for x in content] != [dict] * 3:
            raise ValueError(f"{file} must be three tables (train, dev, test), or see its project")
        if modality in features:
            raise ValueError(f"{file.parent} has several files of {modality}; keep one")
        features[modality] = content
    if not features:
        names = ", ".join(file.name for file in contents)
        raise ValueError(f"{next(iter(contents)).parent}: {names} have an unknown format")
    splits = {}
    for number, name in enumerate(SPLITS):
        split = source.read(data, name)

        def of(conversation: Conversation, utterance: LabelledUtterance, n: int = number) -> Any:
            dialogue = conversation.name.rpartition("/")[2]
            key = f"{dialogue}_{utterance.index}"
            return tuple(
                np.asarray(features[m][n][key], np.float32)
                if m in features and key in features[m][n]
                else NOTHING
                for m in MODALITIES
            )

        splits[name] = _joined(split, of)
    return splits


def _with_arrays(files: Sequence[Path], data: Path, source: Source) -> dict[str, Split]:
    """Return the corpus with features of files with an array (N, d) for each split."""
    arrays: dict[str, Mapping[str, Any]] = {}
    for file in files:
        modality = _modality(file)
        if not modality:
            raise ValueError(f"{file} must be named after its modality: {', '.join(MODALITIES)}")
        if file.suffix == ".npz":
            with np.load(file, allow_pickle=False) as content:
                arrays[modality] = {name: content[name] for name in content.files}
        else:
            from safetensors.numpy import load_file

            arrays[modality] = load_file(file)
        if missing := set(SPLITS) - set(arrays[modality]):
            raise ValueError(f"{file} lacks {', '.join(sorted(missing))}")
    splits = {}
    for name in SPLITS:
        split = source.read(data, name)
        count = sum(len(c.utterances) for c in split.conversations)
        rows = {m: _rows(f"{m} of {name}", of_split[name]) for m, of_split in arrays.items()}
        for modality, values in rows.items():
            if len(values) != count:
                raise ValueError(
                    f"{modality} has {len(values)} rows for {name}, which has {count} utterances"
                )
        place = iter(range(count))

        def of(conversation: Conversation, utterance: LabelledUtterance, rows: Any = rows,
               place: Any = place) -> Any:  # fmt: skip
            n = next(place)
            return tuple(rows[m][n] if m in rows else NOTHING for m in MODALITIES)

        splits[name] = _joined(split, of)
    return splits


def _joined(split: Split, features: Callable[[Conversation, LabelledUtterance], Any]) -> Split:
    conversations = tuple(
        replace(c, utterances=tuple(replace(u, features=features(c, u)) for u in c.utterances))
        for c in split.conversations
    )
    return replace(split, conversations=conversations)


def _standardized(splits: Mapping[str, Split]) -> dict[str, Split]:
    scales = []
    for m, name in enumerate(MODALITIES):
        of_train = [u.features[m] for c in splits["train"].conversations for u in c.utterances]
        rows = [row for row in of_train if row.size]
        if rows and len({row.shape for row in rows}) > 1:
            raise ValueError(f"{name} features of train are of different lengths")
        mean = np.mean(rows, axis=0) if rows else NOTHING
        scales.append((mean, np.maximum(np.std(rows, axis=0), 1e-6) if rows else NOTHING))

    def scaled(utterance: LabelledUtterance) -> LabelledUtterance:
        values = []
        for row, (mean, deviation), name in zip(
            utterance.features, scales, MODALITIES, strict=True
        ):
            if row.size and row.shape != mean.shape:
                raise ValueError(f"{name} features are of {row.shape} and, in train, {mean.shape}")
            if not row.size:
                values.append(np.zeros_like(mean) * np.nan if mean.size else NOTHING)
                continue
            values.append(np.clip((row - mean) / deviation, -LIMIT, LIMIT).astype(np.float32))
        return replace(utterance, features=tuple(values))

    return {
        name: replace(
            split,
            conversations=tuple(
                replace(c, utterances=tuple(map(scaled, c.utterances))) for c in split.conversations
            ),
        )
        for name, split in splits.items()
    }


def _meld_dev(keys: Sequence[Any]) -> set[Any]:
    return {key for key in keys if MELD_TRAIN <= int(key) < MELD_DEV}


def _iemocap_dev(keys: Sequence[Any]) -> set[Any]:
    return iemocap.dev_dialogues({str(key) for key in keys})


def _spec(name: str, title: str, spec: CorpusSpec, source: Source) -> CorpusSpec:
    return replace(
        spec,
        name=name,
        title=title,
        read=partial(read_features, source=source),
        scenes=None,
        votes=None,
        text_number=None,
        has_features=True,
        note="Published features of other projects; reference speakers.",
        content="the same as features that other projects publish (`model: features-N`)",
        layout=f"`{source.folder}/`",
    )


def _corpora() -> tuple[CorpusSpec, ...]:
    made = []
    of_meld = next(spec for spec in meld.CORPORA if spec.name == "meld")
    assert of_meld.read is not None
    source = Source("meld_features", LABELS, _meld_dev, of_meld.read, tuple(range(len(LABELS))))
    made.append(_spec("meld-features", "MELD, published features", of_meld, source))
    for spec in iemocap.CORPORA:
        if spec.name in ("iemocap-6", "iemocap-4"):
            assert spec.read is not None
            same = [
                ("happy" if n == "excited" and "excited" not in spec.labels else n)
                for n in iemocap.SIX
            ]
            merged = tuple(spec.labels.index(n) if n in spec.labels else None for n in same)
            source = Source("iemocap_features", spec.labels, _iemocap_dev, spec.read, merged)
            title = spec.title.replace("IEMOCAP", "IEMOCAP, published features")
            made.append(_spec(f"{spec.name}-features", title, spec, source))
    return tuple(made)


CORPORA = _corpora()
