"""Published features of MELD and IEMOCAP in the forms of their projects, with made-up numbers."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import acted_corpora
import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the extra [train]")

from published_files import (
    IEMOCAP,
    MELD,
    SIZES,
    cosmic_iemocap,
    cosmic_meld,
    dialogue_rnn_iemocap,
    dialogue_rnn_meld,
    dump,
    mmgcn_meld,
    multi_emo_iemocap,
    sdt_iemocap,
)
from safetensors.numpy import save_file

from erc_ros.training.datasets.corpora import find, read
from erc_ros.training.datasets.safe_pickle import read_pickle

LAYOUTS: dict[str, tuple[Callable[[Path], None], str, tuple[str, ...]]] = {
    "DialogueRNN, IEMOCAP": (dialogue_rnn_iemocap, "iemocap-6-features", tuple(SIZES)),
    "SDT, IEMOCAP": (sdt_iemocap, "iemocap-6-features", tuple(SIZES)),
    "COSMIC, IEMOCAP": (cosmic_iemocap, "iemocap-6-features", ("text",)),
    "MultiEMO, IEMOCAP": (multi_emo_iemocap, "iemocap-6-features", tuple(SIZES)),
    "four labels": (dialogue_rnn_iemocap, "iemocap-4-features", tuple(SIZES)),
    "DialogueRNN, MELD": (dialogue_rnn_meld, "meld-features", ("text", "audio")),
    "MMGCN, MELD": (mmgcn_meld, "meld-features", tuple(SIZES)),
    "COSMIC, MELD": (cosmic_meld, "meld-features", ("text",)),
}


def folder_of(corpus: str, data: Path) -> Path:
    return data / f"{corpus.partition('-')[0]}_features"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_projects_files_are_read_as_they_are(layout: str, tmp_path: Path) -> None:
    write, corpus, modalities = LAYOUTS[layout]
    write(folder_of(corpus, tmp_path))
    splits = {name: read(corpus, tmp_path, name) for name in ("train", "dev", "test")}
    assert splits["train"].labels == find(corpus).labels
    named = {name: {c.name for c in split.conversations} for name, split in splits.items()}
    keys = MELD if corpus == "meld-features" else IEMOCAP
    assert named["test"] == {f"test/{key}" for key in keys["test"]}
    both = {name.partition("/")[2] for name in named["train"] | named["dev"]}
    assert both == {str(key) for key in (*keys["train"], *keys.get("dev", ()))}
    assert named["dev"] and not named["train"] & named["dev"]
    if corpus == "meld-features":
        assert named["dev"] == {"dev/1039"}
    for split in splits.values():
        for conversation in split.conversations:
            assert [u.speaker for u in conversation.utterances] == [1, 2, 1]
            for utterance in conversation.utterances:
                sizes = [x.size for x in utterance.features]
                assert sizes == [SIZES[m] if m in modalities else 0 for m in SIZES]
                assert (
                    utterance.text
                    == f"{conversation.name.partition('/')[2]} says {utterance.index}"
                )
    rows = np.stack([u.features[0] for c in splits["train"].conversations for u in c.utterances])
    np.testing.assert_allclose(rows.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(rows.std(axis=0), 1, atol=1e-4)


def meld_annotations(data: Path) -> dict[str, int]:
    acted_corpora.write_data(data)
    return {
        name: sum(len(c.utterances) for c in read("meld", data, name).conversations)
        for name in ("train", "dev", "test")
    }


@pytest.mark.parametrize("ending", [".npz", ".safetensors"])
def test_arrays_follow_the_corpus(ending: str, tmp_path: Path) -> None:
    counts = meld_annotations(tmp_path)
    folder = tmp_path / "meld_features"
    folder.mkdir()
    draw = np.random.default_rng(0)
    for modality in ("text", "visual"):
        rows = {n: draw.normal(size=(c, 3)).astype(np.float32) for n, c in counts.items()}
        if ending == ".npz":
            np.savez(folder / f"{modality}.npz", **rows)
        else:
            save_file(rows, folder / f"{modality}.safetensors")
    test = read("meld-features", tmp_path, "test")
    sizes = {tuple(x.size for x in u.features) for c in test.conversations for u in c.utterances}
    assert sizes == {(3, 0, 3)}
    assert [c.name for c in test.conversations] == [
        c.name for c in read("meld", tmp_path, "test").conversations
    ]


def test_arrays_of_another_length_are_refused(tmp_path: Path) -> None:
    counts = meld_annotations(tmp_path)
    (tmp_path / "meld_features").mkdir()
    rows = {n: np.zeros((c + (n == "dev"), 3), np.float32) for n, c in counts.items()}
    np.savez(tmp_path / "meld_features" / "text.npz", **rows)
    with pytest.raises(ValueError, match=str(counts["dev"] + 1)):
        read("meld-features", tmp_path, "train")


def test_melds_own_features_are_joined_by_dialogue_and_utterance(tmp_path: Path) -> None:
    """bc-LSTM of MELD: text_*.pkl, audio_*.pkl, (train, dev, test) of "0_0" -> vector."""
    meld_annotations(tmp_path)
    tables = []
    for name in ("train", "dev", "test"):
        talks = read("meld", tmp_path, name).conversations
        keys = [f"{c.name.rpartition('/')[2]}_{u.index}" for c in talks for u in c.utterances]
        tables.append({key: np.full(3, n, np.float64) for n, key in enumerate(keys)})
    del tables[2][next(iter(tables[2]))]  # one utterance without
    dump(tmp_path / "meld_features" / "text_glove_average_emotion.pkl", tuple(tables))
    said = [u for c in read("meld-features", tmp_path, "test").conversations for u in c.utterances]
    assert np.isnan(said[0].features[0]).all()
    order = [float(u.features[0][0]) for u in said[1:]]
    assert order == sorted(order) and np.isfinite(order).all()


class Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return os.mkdir, ("harm",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_runs_no_code(
    protocol: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    dump(tmp_path / "a.pkl", {"a": [Harmful()]}, protocol)
    with pytest.raises(ValueError, match="mkdir"):
        read_pickle(tmp_path / "a.pkl")
    assert not (tmp_path / "harm").exists()
    content = {"x": np.arange(3), "y": np.float32(2), "z": {1, "b"}, b"k": ("é", None, 1.5, True)}
    dump(tmp_path / "b.pkl", content, protocol)
    assert str(read_pickle(tmp_path / "b.pkl")) == str(content)


def test_objects_codecs_and_damaged_files_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.pkl"
    for content in (Path("a"), print, np.array([Harmful()], object)):
        dump(file, content)
        with pytest.raises(ValueError, match=str(file)):
            read_pickle(file)
    file.write_bytes(pickle.dumps({"a": [1.0] * 100})[:-20])
    with pytest.raises(ValueError, match=str(file)):
        read_pickle(file)
    with pytest.raises(FileNotFoundError):
        read_pickle(tmp_path / "none.pkl")


def changed(change: Callable[[list[Any]], None]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        mmgcn_meld(folder)
        content = list(read_pickle(folder / "MELD_features_raw1.pkl"))
        change(content)
        dump(folder / "MELD_features_raw1.pkl", tuple(content))

    return write


def set_row(content: list[Any], place: int, value: Any) -> None:
    content[place][1][2] = value


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (changed(lambda c: set_row(c, 3, np.full(8, np.nan))), "finite"),
        (changed(lambda c: set_row(c, 4, np.zeros(2))), "length"),
        (changed(lambda c: set_row(c, 2, 9)), "label 9"),
        (changed(lambda c: c[3].pop(1)), "dialogue 1"),
        (changed(lambda c: c[1][1].pop()), "dialogue 1"),
        (changed(lambda c: c.pop(0)), "unknown format"),
        (lambda folder: (mmgcn_meld(folder), cosmic_meld(folder)), "several projects"),
    ],
)
def test_files_that_do_not_fit_are_refused(
    write: Callable[[Path], Any], reason: str, tmp_path: Path
) -> None:
    write(tmp_path / "meld_features")
    with pytest.raises(ValueError, match=reason):
        read("meld-features", tmp_path, "train")


def test_a_folder_without_features_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="meld_features"):
        read("meld-features", tmp_path, "train")
