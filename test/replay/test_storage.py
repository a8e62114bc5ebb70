"""Hostile recordings: decompression bombs, computed rows, special files."""

from __future__ import annotations

import os
import random
import sqlite3
import struct
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

pytest.importorskip("rosbags", reason="the extra [replay] is not installed")

from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from erc_ros.replay import storage
from erc_ros.replay.bag import Bag, BagError, _typestore_of
from erc_ros.replay.definitions import typestore
from erc_ros.values import bounds
from erc_ros.values.bounds import RECORD_BYTES, TOPIC_NAME

TEXT = "std_msgs/msg/String"
MIB = 2**20


@contextmanager
def at_most(size: int) -> Iterator[None]:
    """No more memory than `size` bytes at a time."""
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < size, f"{peak / MIB:.0f} MiB"


def zstd(parts: list[bytes]) -> bytes:
    backports = pytest.importorskip("backports.zstd")
    packer = backports.ZstdCompressor()
    return b"".join([packer.compress(part) for part in parts] + [packer.flush()])


def record(opcode: int, body: bytes) -> bytes:
    return struct.pack("<BQ", opcode, len(body)) + body


def text(value: str) -> bytes:
    return struct.pack("<I", len(value)) + value.encode()


def mcap(
    file: Path,
    packed: bytes,
    declared: int,
    packing: str = "zstd",
    indexed: bool = True,
    copies: int = 1,
) -> Path:
    """One chunk, of whatever size it claims to be; copies: how often the index names it."""
    start = b"\x89MCAP0\r\n" + record(1, text("ros2") + text("test"))
    names = record(3, struct.pack("<H", 1) + text(TEXT) + text("ros2msg") + text("string data"))
    names += record(4, struct.pack("<HH", 1, 1) + text("/speech") + text("cdr") + bytes(4))
    chunk = record(
        6,
        struct.pack("<QQQI", 1, 2, declared, 0)
        + text(packing)
        + struct.pack("<Q", len(packed))
        + packed,
    )
    index = struct.pack("<QQQQIHQQ", 1, 2, len(start), len(chunk), 10, 1, 0, 0)
    index += text(packing) + struct.pack("<QQ", len(packed), declared)
    counts = struct.pack("<QHIIIIQQ", 1, 1, 1, 0, 0, 1, 1, 2) + struct.pack("<IHQ", 10, 1, 1)
    data = start + chunk + record(15, bytes(4))
    summary = names + record(8, index) * copies + record(11, counts)
    footer = record(2, struct.pack("<QQI", len(data) if indexed else 0, 0, 0))
    file.write_bytes(data + (summary if indexed else b"") + footer + b"\x89MCAP0\r\n")
    return file


def zeros(size: int) -> bytes:
    return zstd([bytes(MIB)] * (size // MIB))


@pytest.mark.parametrize("indexed", [True, False], ids=["indexed", "cut"])
@pytest.mark.parametrize("declared", [2**30, 1000, 2**63], ids=["honest", "lying", "absurd"])
def test_a_chunk_that_unpacks_to_a_gigabyte_is_skipped(
    tmp_path: Path, declared: int, indexed: bool
) -> None:
    file = mcap(tmp_path / "bag.mcap", zeros(2**30), declared, indexed=indexed)
    assert file.stat().st_size < 200_000
    with at_most(64 * MIB):
        try:
            with Bag(file) as bag:
                assert list(bag.messages({"/speech"})) == [] and bag.warnings
        except BagError as error:
            assert not indexed and str(tmp_path) in str(error)


def test_a_record_that_claims_to_be_huge_is_not_waited_for(tmp_path: Path) -> None:
    file = tmp_path / "bag.mcap"
    file.write_bytes(b"\x89MCAP0\r\n" + struct.pack("<BQ", 6, 2**62) + bytes(1000))
    with at_most(64 * MIB), pytest.raises(BagError, match="read"):
        Bag(file)


def test_truncated_and_unknown_compression_is_refused() -> None:
    one = zstd([b"a" * 100])
    assert storage.unpack_zstd(one + one, 200) == b"a" * 200
    with pytest.raises(storage.StorageError, match="199"):
        storage.unpack_zstd(one + one, 199)
    with pytest.raises(storage.StorageError):
        storage.unpack_zstd(one[:-3], 200)


def test_an_index_that_names_a_chunk_a_thousand_times_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "OVERLAPPING_BYTES", 16 * MIB)
    inner = record(5, struct.pack("<HIQQ", 1, 0, 1, 1) + bytes(4 * MIB))
    file = mcap(tmp_path / "bag.mcap", zstd([inner]), len(inner), copies=1000)
    with at_most(80 * MIB), Bag(file) as bag:
        assert len(list(bag.raw({"/speech"}))) <= 4
        assert any("overlap" in warning for warning in bag.warnings)


def database(file: Path, schema: str) -> Path:
    with sqlite3.connect(file) as connection:
        connection.executescript(schema)
    connection.close()
    return file


TOPICS = (
    "CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT, type TEXT);"
    f"INSERT INTO topics VALUES (1, '/speech', '{TEXT}');"
)


@pytest.mark.parametrize(
    "schema",
    [
        "CREATE VIEW messages AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
        "SELECT i AS id, 1 AS topic_id, i AS timestamp, zeroblob(900000000) AS data FROM n;",
        "CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INT, timestamp INT, "
        "data BLOB GENERATED ALWAYS AS (zeroblob(900000000)) VIRTUAL);"
        "INSERT INTO messages(topic_id, timestamp) VALUES (1, 1);",
        "CREATE VIRTUAL TABLE messages USING fts5(topic_id, timestamp, data);",
    ],
    ids=["view", "generated", "virtual"],
)
def test_a_database_that_computes_its_rows_is_refused(tmp_path: Path, schema: str) -> None:
    try:
        file = database(tmp_path / "bag.db3", TOPICS + schema)
    except sqlite3.OperationalError as error:
        pytest.skip(f"this SQLite cannot make it: {error}")
    begin = time.perf_counter()
    with at_most(64 * MIB), pytest.raises(BagError, match="read"):
        Bag(file)
    assert time.perf_counter() - begin < 5


def test_invalid_rows_and_rows_that_are_too_large_are_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        storage, "_MESSAGES", storage._MESSAGES.replace(str(storage.MESSAGE_BYTES), "1000")
    )
    schema = (
        "CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INT, timestamp INT, data BLOB);"
        "INSERT INTO messages VALUES (1, 1, 5, zeroblob(2000)), (2, 1, 'soon', x'00'), "
        "(3, 1, 6, 'text'), (4, 1, NULL, NULL), (5, 9, 7, x'00'), "
        "(6, 1, -8, x'0001000006000000'), (7, 1, 3, x'00');"
    )
    with Bag(database(tmp_path / "bag.db3", TOPICS + schema)) as bag:
        assert [raw.time for raw in bag.raw({"/speech"})] == [-8, 3]
        assert sum(bag.warnings.values()) == 4
    schema = schema.replace("name TEXT", "name")
    topics = TOPICS.replace("'/speech'", "x'ff'")
    with pytest.raises(BagError, match="read"):
        Bag(database(tmp_path / "odd.db3", topics + schema))


@pytest.mark.parametrize("name", ["bag.mcap", "bag.db3"])
def test_only_regular_files_are_opened(tmp_path: Path, name: str) -> None:
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / name)  # opening it would wait for ever
    (tmp_path / "zero").mkdir()
    (tmp_path / "zero" / name).symlink_to("/dev/zero")
    (tmp_path / "loop").mkdir()
    (tmp_path / "loop" / name).symlink_to(tmp_path / "loop" / name)
    for folder in ("pipe", "zero", "loop"):
        for path in (tmp_path / folder, tmp_path / folder / name):
            with pytest.raises(BagError):
                Bag(path)


def a_bag(folder: Path, storage_plugin: StoragePlugin, mode: CompressionMode | None = None) -> Path:
    store = typestore()
    writer = Writer(folder, version=9, storage_plugin=storage_plugin)
    if mode is not None:
        writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        connection = writer.add_connection("/speech", TEXT, typestore=store)
        for number in range(300):
            message = store.types[TEXT](data=f"{number} " + "x" * 500)
            writer.write(connection, number * 10**6, store.serialize_cdr(message, TEXT))
    return folder


def texts(path: Path) -> list[str]:
    with Bag(path) as bag:
        return [found.message.data for found in bag.messages({"/speech"})]


@pytest.mark.parametrize("plugin", list(StoragePlugin))
@pytest.mark.parametrize("mode", [CompressionMode.FILE, CompressionMode.MESSAGE])
def test_packed_recordings_are_read_and_bounded(
    tmp_path: Path, plugin: StoragePlugin, mode: CompressionMode
) -> None:
    folder = a_bag(tmp_path / "bag", plugin, mode=mode)
    assert [text.split()[0] for text in texts(folder)] == [str(n) for n in range(300)]


def test_a_file_that_unpacks_to_far_more_than_it_has_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("erc_ros.replay.bag.RECORD_BYTES", 16 * MIB)
    (tmp_path / "bag.mcap.zstd").write_bytes(zeros(64 * MIB))
    (tmp_path / "metadata.yaml").write_text(
        "rosbag2_bagfile_information: {compression_mode: file, compression_format: zstd}"
    )
    with pytest.raises(BagError, match="zstd -d"):
        Bag(tmp_path)


@pytest.mark.parametrize("plugin", list(StoragePlugin))
def test_a_recording_truncated_anywhere_yields_its_intact_part_or_an_error(
    tmp_path: Path, plugin: StoragePlugin
) -> None:
    folder = a_bag(tmp_path / "bag", plugin)
    (folder / "metadata.yaml").unlink()
    (file,) = folder.iterdir()
    whole = file.read_bytes()
    rng = random.Random(0)
    for size in sorted(rng.randrange(len(whole)) for _ in range(20)):
        file.write_bytes(whole[:size])
        try:
            with Bag(folder) as bag:
                records = list(bag.messages({"/speech"}))
                assert bag.warnings and len(records) <= 300
                assert all(a.time <= b.time for a, b in pairwise(records))
        except BagError:
            assert size < len(whole) * 0.99


@pytest.mark.parametrize("plugin", list(StoragePlugin))
def test_a_hundred_thousand_messages_are_read_in_order(
    tmp_path: Path, plugin: StoragePlugin
) -> None:
    store = typestore()
    data = store.serialize_cdr(store.types[TEXT](data="hi"), TEXT)
    with Writer(tmp_path / "bag", version=9, storage_plugin=plugin) as writer:
        connection = writer.add_connection("/speech", TEXT, typestore=store)
        for number in range(100_000):
            writer.write(connection, number, data)
    with Bag(tmp_path / "bag") as bag:
        times = [raw.time for raw in bag.raw({"/speech"})]
    assert times == list(range(100_000)) and not bag.warnings


def test_a_symlinked_recording_is_read(tmp_path: Path) -> None:
    folder = a_bag(tmp_path / "bag", StoragePlugin.MCAP)
    (tmp_path / "link").symlink_to(folder)
    (tmp_path / "file.mcap").symlink_to(next(folder.glob("*.mcap")))
    assert len(texts(tmp_path / "link")) == len(texts(tmp_path / "file.mcap")) == 300


def test_split_recordings_are_read_in_the_order_of_time(tmp_path: Path) -> None:
    folder = tmp_path / "bag"
    folder.mkdir()
    for number, name in enumerate(("bag_9", "bag_10")):
        store = typestore()
        with Writer(tmp_path / name, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
            connection = writer.add_connection("/speech", TEXT, typestore=store)
            message = store.serialize_cdr(store.types[TEXT](data=name), TEXT)
            writer.write(connection, 10 + number, message)
        next((tmp_path / name).glob("*.mcap")).rename(folder / f"{name}.mcap")
    assert texts(folder) == ["bag_9", "bag_10"]


def test_what_cannot_be_overtaken_any_more_is_handed_on_while_the_rest_is_read() -> None:
    channel, read = storage.Channel("/speech", TEXT), []

    def arriving(times: list[int], size: int = 0) -> Iterator[storage.Message]:
        for time_of in times:
            read.append(time_of)
            yield channel, time_of, bytes(size)

    late = storage.LATENESS
    ordered = storage._ordered(arriving([5, 3, 4, late + 4, late + 9, late + 8]))
    assert next(ordered)[1] == 3
    assert len(read) == 4  # the fourth is so late that no later one can be before the first
    assert [message[1] for message in ordered] == [4, 5, late + 4, late + 8, late + 9]
    read.clear()
    large = storage.OVERLAPPING_BYTES // 2 + 1
    assert next(storage._ordered(arriving([2, 1, 0], large)))[1] == 1
    assert len(read) == 2  # no more may wait


def test_a_packed_chunk_may_have_as_many_bytes_as_it_claims_and_no_more() -> None:
    frame = pytest.importorskip("lz4.frame")
    packed = frame.compress(bytes(range(200)))
    for unpack, data in ((storage._unpack_lz4, packed), (storage.unpack_zstd, zstd([bytes(200)]))):
        assert len(unpack(data, 200)) == 200
        with pytest.raises(storage.StorageError):
            unpack(data, 199)


def test_a_recording_has_at_most_so_many_topics() -> None:
    storage._check_topic("/speech", TEXT, bounds.TOPICS - 1)
    with pytest.raises(storage.StorageError, match="topics"):
        storage._check_topic("/speech", TEXT, bounds.TOPICS)
    storage._check_topic("t" * TOPIC_NAME, "t" * TOPIC_NAME, 0)
    for name, kind in (("t" * (TOPIC_NAME + 1), "t"), ("t", "t" * (TOPIC_NAME + 1)), (b"t", "t")):
        with pytest.raises(storage.StorageError):
            storage._check_topic(name, kind, 0)


def test_types_that_a_recording_describes_in_idl_are_read() -> None:
    idl = """IDL: somebody_msgs/msg/Said
module somebody_msgs { module msg { struct Said {
    string words; double loudness; somebody_msgs::msg::Mood mood;
}; }; };
"""
    mood = """IDL: somebody_msgs/msg/Mood
module somebody_msgs { module msg { struct Mood { octet kind; }; }; };
"""
    text = ("=" * 80 + "\n").join(("", idl, mood))
    store = _typestore_of(storage.Channel("/said", "somebody_msgs/msg/Said", "ros2idl", text))
    assert store is not None
    types = store.types
    said = types["somebody_msgs/msg/Said"]("Hello.", 0.5, types["somebody_msgs/msg/Mood"](3))
    data = store.serialize_cdr(said, "somebody_msgs/msg/Said")
    read = store.deserialize_cdr(data, "somebody_msgs/msg/Said")
    assert (read.words, read.loudness, read.mood.kind) == ("Hello.", 0.5, 3)
    broken = storage.Channel("/said", "somebody_msgs/msg/Said", "ros2idl", "IDL: no\nmodule {")
    assert _typestore_of(broken) is None  # nor is it one that we know
    known = storage.Channel("/speech", TEXT, "ros2idl", "IDL: no\nmodule {")
    assert _typestore_of(known) is not None


@pytest.mark.parametrize("storage", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_an_empty_file_next_to_others_is_ignored(tmp_path: Path, storage: StoragePlugin) -> None:
    folder = a_bag(tmp_path / "bag", storage)
    (file,) = (file for file in folder.iterdir() if file.suffix in (".mcap", ".db3"))
    file.with_name(f"bag_9{file.suffix}").touch()  # the recorder was ended before it wrote to it
    with Bag(folder) as bag:
        assert len(list(bag.messages({"/speech"}))) == 300 and bag.warnings


def test_the_bound_of_a_record_permits_an_8k_image() -> None:
    assert RECORD_BYTES > 7680 * 4320 * 3
