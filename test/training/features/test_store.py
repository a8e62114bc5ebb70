"""Features on disk: what is written comes back, what was cut or is another's does not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from erc_ros.training.features.store import FeatureStore, StoreError, create, write_shard

ENCODER, SIZE = "tiny-0123", 6


def rows(number: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((number, SIZE)).astype(np.float32)


def write(folder: Path, *shards: list[str]) -> Path:
    create(folder, ENCODER, SIZE, len(shards))
    for number, keys in enumerate(shards):
        write_shard(folder, number, "source", keys, rows(len(keys), number), {})
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return write(tmp_path / "store", ["a/0", "a/1", "b/0"], ["c/0"], [], ["d/7", "d/8"])


def test_features_come_back_by_key_in_any_order(store: Path) -> None:
    features = FeatureStore(store, ENCODER)
    assert len(features) == 6 and "d/8" in features and "d/9" not in features
    np.testing.assert_array_equal(features["d/8"], rows(2, 3)[1])
    found, there = features.take(["d/7", "nobody", "a/1", "a/1"])
    assert there.tolist() == [True, False, True, True]
    np.testing.assert_array_equal(found[0], rows(2, 3)[0])
    np.testing.assert_array_equal(found[3], rows(3, 0)[1])
    assert not found[1].any()
    assert [len(shard) for shard in features.shards()] == [3, 1, 0, 2]
    features.verify()


@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_any_division_into_shards_gives_the_same(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    lengths = data.draw(st.lists(st.integers(0, 5), min_size=1, max_size=6))
    keys = [f"k{n}" for n in range(sum(lengths))]
    everything = rows(len(keys))
    folder = tmp_path_factory.mktemp("store")
    create(folder, ENCODER, SIZE, len(lengths))
    ends = np.cumsum(lengths)
    for number, (begin, end) in enumerate(zip(ends - lengths, ends, strict=True)):
        write_shard(folder, number, "", keys[begin:end], everything[begin:end], {})
    wanted = data.draw(st.lists(st.sampled_from([*keys, "nobody"]), max_size=10))
    found, there = FeatureStore(folder).take(wanted)
    assert there.tolist() == [key != "nobody" for key in wanted]
    for key, row, known in zip(wanted, found, there, strict=True):
        if known:
            np.testing.assert_array_equal(row, everything[int(key[1:])])


def test_nothing_asked_for_is_nothing(store: Path) -> None:
    rows, there = FeatureStore(store).take([])
    assert rows.shape == (0, SIZE) and there.shape == (0,)


def test_what_was_read_is_ones_own_and_the_store_cannot_be_changed(store: Path) -> None:
    features = FeatureStore(store)
    features["a/0"][:] = 1
    np.testing.assert_array_equal(features["a/0"], rows(3)[0])
    with pytest.raises(ValueError, match="read-only"):
        next(features.shards())[0, 0] = 1


def test_what_was_left_out_is_told_with_the_reason(tmp_path: Path) -> None:
    create(tmp_path / "store", ENCODER, SIZE, 1)
    write_shard(tmp_path / "store", 0, "", ["a"], rows(1), {"b": "no sound"})
    features = FeatureStore(tmp_path / "store")
    assert features.left_out == {"b": "no sound"}
    with pytest.raises(KeyError, match="'b'"):
        features["b"]
    with pytest.raises(KeyError, match="'z'"):
        features["z"]


@pytest.mark.parametrize("open_again", [False, True])
def test_another_encoders_features_are_refused_naming_both(store: Path, open_again: bool) -> None:
    with pytest.raises(StoreError, match=r"'tiny-0123'.*'other-4567'"):
        if open_again:
            FeatureStore(store, "other-4567")
        else:
            create(store, "other-4567", SIZE, 4)
    with pytest.raises(StoreError, match=r"\(6 numbers\).*\(7\)"):
        create(store, ENCODER, SIZE + 1, 4)


def test_a_cut_file_is_refused_at_once(store: Path) -> None:
    file = store / "00003.npy"
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(StoreError, match=r"00003\.npy.*171.*176.*erc encode"):
        FeatureStore(store)


def test_a_file_that_changes_while_the_store_is_open_is_an_error_and_no_crash(store: Path) -> None:
    features = FeatureStore(store)
    file = store / "00003.npy"
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(StoreError, match=r"00003\.npy"):
        features.take(["d/8"])
    write_shard(store, 0, "source", ["a/0", "a/1", "b/0"], rows(3, 9), {})
    with pytest.raises(StoreError, match=r"00000\.npy"):
        features["a/0"]
    assert features.take(["c/0"])[1].all()


def test_a_changed_file_is_found_by_its_hash(store: Path) -> None:
    content = bytearray((store / "00000.npy").read_bytes())
    content[-1] ^= 1
    (store / "00000.npy").write_bytes(content)
    with pytest.raises(StoreError, match=r"00000\.npy.*sha256"):
        FeatureStore(store).verify()


@pytest.mark.parametrize("name", ["00001.json", "00001.npy"])
def test_a_store_that_is_not_finished_is_refused(store: Path, name: str) -> None:
    (store / name).unlink()
    with pytest.raises(StoreError, match="erc encode"):
        FeatureStore(store)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"keys": 3}'])
@pytest.mark.parametrize("name", ["00001.json", "store.json"])
def test_a_damaged_index_is_refused(store: Path, name: str, content: str) -> None:
    (store / name).write_text(content)
    with pytest.raises(StoreError, match=name.replace(".", r"\.")):
        FeatureStore(store)


def test_a_pickle_in_place_of_numbers_is_not_opened(store: Path) -> None:
    file = store / "00001.npy"
    with file.open("wb") as stream:
        np.save(stream, np.array([{"a": print}], object), allow_pickle=True)
    index = store / "00001.json"
    content = json.loads(index.read_text())
    index.write_text(json.dumps(content | {"bytes": file.stat().st_size}))
    with pytest.raises(StoreError, match=r"00001\.npy"):
        FeatureStore(store)["c/0"]


def test_features_of_another_form_are_refused(tmp_path: Path) -> None:
    create(tmp_path / "store", ENCODER, SIZE, 2)

    def wrong(keys: list[str], features: np.ndarray, message: str) -> None:
        with pytest.raises(StoreError, match=message):
            write_shard(tmp_path / "store", 0, "", keys, features, {})

    wrong(["a"], rows(2), "a row for each key")
    wrong(["a"], rows(1).astype(np.float64), "float64")
    wrong(["a"], rows(1)[:, :2], r"\(1, 2\)")
    wrong(["a", "a"], rows(2), "'a' occurs twice")
    nan = rows(2)
    nan[1, 0] = np.nan
    wrong(["a", "b"], nan, "'b' are not finite")
    assert not list((tmp_path / "store").glob("0*"))


def test_a_key_in_two_shards_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "store", ["a"], ["a"])
    with pytest.raises(StoreError, match=r"shard.*1.*keys"):
        FeatureStore(tmp_path / "store")


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(StoreError, match=r"thesis\.txt"):
        create(tmp_path, ENCODER, SIZE, 1)
    assert (tmp_path / "thesis.txt").read_text() == "precious"
    with pytest.raises(FileNotFoundError, match="erc encode"):
        FeatureStore(tmp_path)


def test_a_run_that_was_killed_before_it_began_does_not_block_the_folder(tmp_path: Path) -> None:
    (tmp_path / ".00001.npy-0123456789abcdef").write_bytes(b"{")
    create(tmp_path, ENCODER, SIZE, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["store.json"]
    assert len(FeatureStore(tmp_path)) == 0


def test_beginning_again_removes_leftovers_and_shards_beyond_the_last(store: Path) -> None:
    (store / ".00001.npy-0123456789abcdef").write_bytes(b"half a shard")
    create(store, ENCODER, SIZE, 2)
    assert sorted(path.name for path in store.iterdir()) == [
        "00000.json",
        "00000.npy",
        "00001.json",
        "00001.npy",
        "store.json",
    ]
    assert len(FeatureStore(store)) == 4


def test_a_store_of_many_shards_takes_no_file_descriptors(tmp_path: Path) -> None:
    keys = [f"k{number}" for number in range(60)]
    features = FeatureStore(write(tmp_path / "store", *([key] for key in keys)))
    before = len(list(Path("/proc/self/fd").iterdir()))
    found, there = features.take(keys[::-1])
    assert there.all() and len(list(Path("/proc/self/fd").iterdir())) == before
    np.testing.assert_array_equal(found[0], rows(1, 59)[0])
