"""Unusual recordings: truncated anywhere, linked, with other times and schemas."""

from __future__ import annotations

import shutil
import sqlite3
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="the extra [replay] is not installed")

from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from erc_ros.cli import main
from erc_ros.parameters import RobotConfig
from erc_ros.replay.bag import Bag, BagError, BagWriter
from erc_ros.replay.offline import replay

STORAGES = ("mcap", "sqlite3")
SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND
TEXT, SOUND = "std_msgs/msg/String", "audio_common_msgs/msg/AudioDataStamped"


def texts(folder: Path, storage: str, count: int, start: int = START) -> Path:
    with BagWriter(folder, storage) as writer:
        for number in range(count):
            said = writer.new(TEXT, data=f"text {number}")
            writer.write("/speech", TEXT, start + number * SECOND // 100, said)
    return folder


def storage_file(folder: Path) -> Path:
    (file,) = (file for file in folder.iterdir() if file.suffix in (".mcap", ".db3"))
    return file


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("point", range(20))
def test_a_bag_cut_anywhere_is_read_as_far_as_it_goes_or_refused_with_a_reason(
    tmp_path: Path, storage: str, point: int
) -> None:
    folder = texts(tmp_path / "bag", storage, 500)
    whole = storage_file(folder).read_bytes()
    random = np.random.default_rng(point)
    end = int(len(whole) * (point + random.random()) / 20)
    storage_file(folder).write_bytes(whole[:end])
    try:
        with Bag(folder) as bag:
            records = list(bag.messages({"/speech"}))
    except BagError as error:
        assert str(folder) in str(error)
        return
    assert all(a.time <= b.time for a, b in pairwise(records))
    found = [record.message.data for record in records]
    assert found == [f"text {number}" for number in range(len(found))] or storage == "sqlite3"
    assert set(found) <= {f"text {number}" for number in range(500)}
    assert len(found) == 500 or bag.warnings


@pytest.mark.parametrize("storage", STORAGES)
def test_a_hundred_thousand_messages_are_read_in_their_order(tmp_path: Path, storage: str) -> None:
    folder = texts(tmp_path / "bag", storage, 100_000)
    with Bag(folder) as bag:
        count, last = 0, 0
        for record in bag.messages({"/speech"}):
            assert record.time >= last and record.message.data == f"text {count}"
            count, last = count + 1, record.time
    assert count == 100_000 and not bag.warnings


@pytest.mark.parametrize(
    "definition", ["int32 data", "string text", "string data\nfloat64[4] more"]
)
def test_a_type_that_is_another_one_in_the_bag_costs_itself(
    tmp_path: Path, definition: str, robot: RobotConfig
) -> None:
    store = get_typestore(Stores.EMPTY)
    store.register(get_types_from_msg(definition, TEXT))
    (first, *rest) = store.types[TEXT].__dataclass_fields__
    value = 7 if "int32" in definition else "hello"
    message = store.types[TEXT](
        **{first: value, **({rest[0]: np.zeros(4)} if "more" in rest else {})}
    )
    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        other = writer.add_connection("/other", TEXT, typestore=store)
        writer.write(other, START, store.serialize_cdr(message, TEXT))
    with Bag(tmp_path / "bag") as bag:
        try:
            result = replay(bag, {"speech": "/other"}, robot)
        except BagError as error:
            assert "/other" in str(error)
            return
    assert result.warnings or [row.text for row in result.rows] == ["hello"]


def test_stamps_before_1970_are_times_like_any_other_or_refused(
    tmp_path: Path, robot: RobotConfig
) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        for number in range(100):
            header = writer.header(START)
            header.stamp.sec = -1000 + number // 50
            data = writer.new("audio_common_msgs/msg/AudioData", data=np.zeros(640, np.uint8))
            message = writer.new(SOUND, header=header, audio=data)
            writer.write("/audio", SOUND, START + number * SECOND // 50, message)
        writer.write("/speech", TEXT, START + SECOND, writer.new(TEXT, data="hello"))
    with Bag(tmp_path / "bag") as bag:
        result = replay(bag, {}, robot)
    assert [row.text for row in result.rows] == ["hello"]
    assert all(np.isfinite(list(row.probabilities.values())).all() for row in result.rows)


def test_records_of_a_time_below_zero_are_read_or_refused(
    tmp_path: Path, robot: RobotConfig
) -> None:
    folder = texts(tmp_path / "bag", "sqlite3", 3)
    with sqlite3.connect(storage_file(folder)) as base:
        base.execute("UPDATE messages SET timestamp = -timestamp WHERE id = 1")
    base.close()
    try:
        with Bag(folder) as bag:
            result = replay(bag, {}, robot)
    except BagError as error:
        assert "time" in str(error)
        return
    assert {row.text for row in result.rows} <= {"text 0", "text 1", "text 2"}
    assert len(result.rows) >= 2


@pytest.mark.parametrize("storage", STORAGES)
def test_a_linked_bag_is_read_as_the_one_that_it_links_to(tmp_path: Path, storage: str) -> None:
    folder = texts(tmp_path / "bag", storage, 10)
    (tmp_path / "link").symlink_to(folder)
    with Bag(tmp_path / "link") as bag:
        assert len(list(bag.messages({"/speech"}))) == 10


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("target", ["another bag", "nothing", "itself", "a folder", "/dev/zero"])
def test_a_link_in_a_bag_does_not_block(tmp_path: Path, storage: str, target: str) -> None:
    folder = texts(tmp_path / "bag", storage, 10)
    file = storage_file(folder)
    other = Path(shutil.copytree(folder, tmp_path / "other")) / file.name
    file.unlink()
    targets = {
        "another bag": other,
        "nothing": tmp_path / "missing",
        "itself": file,
        "a folder": tmp_path,
        "/dev/zero": Path("/dev/zero"),
    }
    file.symlink_to(targets[target])
    try:
        with Bag(folder) as bag:
            assert len(list(bag.messages({"/speech"}))) in (0, 10)
    except BagError as error:
        assert str(folder) in str(error)
    else:
        assert target == "another bag"


def test_the_command_explains_a_cut_bag_and_writes_no_half_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], robot: RobotConfig
) -> None:
    folder = texts(tmp_path / "bag", "mcap", 50)
    file = storage_file(folder)
    file.write_bytes(file.read_bytes()[:40])
    out = tmp_path / "out"
    bundle = robot.emotion_node.recognition.bundle
    line = ["replay", str(folder), "--out", str(out), "--bundle", bundle]
    assert main([*line, "--speaker-model", ""]) == 1
    assert "Traceback" not in capsys.readouterr().err and not out.exists()
