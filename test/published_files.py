"""Feature files of MELD and IEMOCAP in published formats, with synthetic numbers."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

SIZES = {"text": 8, "audio": 5, "visual": 4}
MELD = {"train": [0, 1, 2], "dev": [1039], "test": [1153, 1154]}
IEMOCAP = {
    "train": [f"Ses0{n}{who}_impro01" for n in (1, 2, 3, 4) for who in "FM"],
    "test": ["Ses05F_impro01", "Ses05M_script01"],
}


class Talks:
    """Dialogues of three utterances with features that identify them."""

    def __init__(self, keys: list[Any], seed: int = 0) -> None:
        draw = np.random.default_rng(seed)
        self.ids = {key: [0, 1, 2] for key in keys}
        self.labels = {key: [n % 4, (n + 1) % 4, 2] for n, key in enumerate(keys)}
        self.letters = {key: ["M", "F", "M"] for key in keys}
        self.one_hot = {key: [[0, 1, 0], [1, 0, 0], [0, 1, 0]] for key in keys}
        self.words = {key: [f"{key} says {n}" for n in range(3)] for key in keys}
        self.features = {
            name: {
                key: [draw.normal(size=size).astype(np.float32) for _ in range(3)] for key in keys
            }
            for name, size in SIZES.items()
        }


def flat(splits: dict[str, list[Any]]) -> list[Any]:
    return [key for keys in splits.values() for key in keys]


def dialogue_rnn_iemocap(folder: Path) -> None:
    t = Talks(flat(IEMOCAP))
    f = t.features
    content = (t.ids, t.letters, t.labels, f["text"], f["audio"], f["visual"], t.words,
               set(IEMOCAP["train"]), set(IEMOCAP["test"]))  # fmt: skip
    dump(folder / "IEMOCAP_features_raw.pkl", content)


def sdt_iemocap(folder: Path) -> None:
    t = Talks(flat(IEMOCAP))
    f = t.features
    content = (t.ids, t.letters, t.labels, f["text"], f["text"], f["text"], f["text"], f["audio"],
               f["visual"], t.words, IEMOCAP["train"], IEMOCAP["test"])  # fmt: skip
    dump(folder / "iemocap_multimodal_features.pkl", content)


def cosmic_iemocap(folder: Path) -> None:
    t = Talks(flat(IEMOCAP))
    layers = [t.features["text"]] * 4
    train = IEMOCAP["train"]
    content = (t.letters, t.labels, *layers, t.words, train[2:], IEMOCAP["test"], train[:2])
    dump(folder / "iemocap_features_roberta.pkl", content)


def multi_emo_iemocap(folder: Path) -> None:
    t = Talks(flat(IEMOCAP))
    nothing: dict[Any, Any] = {}
    content = (t.ids, t.letters, t.labels, nothing, nothing, nothing, t.words,
               IEMOCAP["train"], IEMOCAP["test"])  # fmt: skip
    dump(folder / "Speakers.pkl", content)
    for name, features in t.features.items():
        dump(folder / f"{name.title()}Features.pkl", features)


def dialogue_rnn_meld(folder: Path) -> None:
    t = Talks(flat(MELD))
    f = t.features
    content = (t.ids, t.one_hot, t.labels, f["text"], f["audio"], t.words,
               MELD["train"] + MELD["dev"], MELD["test"], t.labels)  # fmt: skip
    dump(folder / "MELD_features_raw.pkl", content)


def mmgcn_meld(folder: Path) -> None:
    t = Talks(flat(MELD))
    f = t.features
    content = (t.ids, t.one_hot, t.labels, f["text"], f["audio"], f["visual"], t.words,
               set(MELD["train"] + MELD["dev"]), set(MELD["test"]), t.labels)  # fmt: skip
    dump(folder / "MELD_features_raw1.pkl", content)


def cosmic_meld(folder: Path) -> None:
    t = Talks(flat(MELD))
    layers = [t.features["text"]] * 4
    content = (
        t.one_hot,
        t.labels,
        t.labels,
        *layers,
        t.words,
        *(MELD[n] for n in ("train", "test", "dev")),
    )
    dump(folder / "meld_features_roberta.pkl", content)


def dump(file: Path, content: Any, protocol: int = 2) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(pickle.dumps(content, protocol))
