"""Recordings: intact, truncated, unusual, empty."""

from __future__ import annotations

import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="the extra [replay] is not installed")

from erc_ros import resources
from erc_ros.replay import definitions
from erc_ros.replay.bag import Bag, BagError, BagWriter, choose_topics
from erc_ros.replay.definitions import typestore
from erc_ros.replay.rows import row_of_message

STORAGES = ("mcap", "sqlite3")
SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND
SOUND = "audio_common_msgs/msg/AudioDataStamped"
SPEECH = "hri_msgs/msg/LiveSpeech"
TEXT = "std_msgs/msg/String"


def write(folder: Path, storage: str, chunks: int = 2000) -> Path:
    rng = np.random.default_rng(0)
    with BagWriter(folder, storage) as writer:
        for number in range(chunks):
            time = START + number * SECOND // 50
            data = writer.new(
                "audio_common_msgs/msg/AudioData", data=rng.integers(0, 255, 640, np.uint8)
            )
            message = writer.new(SOUND, header=writer.header(time), audio=data)
            writer.write("/audio", SOUND, time, message)
            if number % 10 == 0:
                said = writer.new(
                    SPEECH,
                    header=writer.header(time),
                    incremental="",
                    final=f"text {number}",
                    confidence=0.5,
                    locale="en",
                )
                writer.write("/speech", SPEECH, time, said)
    return folder


def storage_file(folder: Path) -> Path:
    (file,) = (file for file in folder.iterdir() if file.suffix in (".mcap", ".db3"))
    return file


def read(folder: Path) -> tuple[Bag, list[object]]:
    with Bag(folder) as bag:
        return bag, list(bag.messages({"/audio", "/speech"}))


@pytest.mark.parametrize("storage", STORAGES)
def test_what_was_written_is_read_in_its_order(tmp_path: Path, storage: str) -> None:
    bag, records = read(write(tmp_path / "bag", storage))
    assert len(records) == 2200
    assert all(a.time <= b.time for a, b in pairwise(records))
    assert [r.message.final for r in records if r.type == SPEECH][:2] == ["text 0", "text 10"]
    assert {(t.name, t.count) for t in bag.topics} == {("/audio", 2000), ("/speech", 200)}
    assert not bag.warnings


@pytest.mark.parametrize(
    ("storage", "share"),
    [("mcap", 0.4), ("mcap", 0.999), ("sqlite3", 0.8), ("sqlite3", 0.999)],
)
def test_a_truncated_bag_yields_its_intact_part_with_a_warning(
    tmp_path: Path, storage: str, share: float
) -> None:
    folder = write(tmp_path / "bag", storage, chunks=4000)
    whole = storage_file(folder).read_bytes()
    storage_file(folder).write_bytes(whole[: int(len(whole) * share)])
    bag, records = read(folder)
    assert 4400 * (share - 0.4) <= len(records) <= 4400
    assert all(a.time <= b.time for a, b in pairwise(records))
    assert bag.warnings


def test_an_sqlite_bag_without_its_inner_pages_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "bag", "sqlite3", chunks=4000)
    whole = storage_file(folder).read_bytes()
    storage_file(folder).write_bytes(whole[: len(whole) // 3])
    with pytest.raises(BagError, match=r"malformed.*recover"):
        Bag(folder)


@pytest.mark.parametrize("storage", STORAGES)
def test_a_bag_without_metadata_or_a_single_file_is_read(tmp_path: Path, storage: str) -> None:
    folder = write(tmp_path / "bag", storage)
    (folder / "metadata.yaml").unlink()
    assert len(read(folder)[1]) == len(read(storage_file(folder))[1]) == 2200


@pytest.mark.parametrize("storage", STORAGES)
def test_garbage_in_the_middle_of_a_bag_loses_only_the_rest(tmp_path: Path, storage: str) -> None:
    folder = write(tmp_path / "bag", storage, chunks=4000)
    data = bytearray(storage_file(folder).read_bytes())
    middle = len(data) // 2
    data[middle : middle + 200_000] = np.random.default_rng(0).bytes(200_000)
    storage_file(folder).write_bytes(bytes(data))
    bag, records = read(folder)
    assert len(records) < 4400
    assert bag.warnings


@pytest.mark.parametrize("storage", STORAGES)
def test_an_empty_bag_names_the_missing_types(tmp_path: Path, storage: str) -> None:
    with BagWriter(tmp_path / "bag", storage):
        pass
    with Bag(tmp_path / "bag") as bag, pytest.raises(BagError, match="topic"):
        choose_topics(bag, {})


def test_messages_that_still_wait_in_a_journal_are_missed_aloud(tmp_path: Path) -> None:
    folder = write(tmp_path / "bag", "sqlite3", chunks=10)
    (folder / "bag.db3-wal").write_bytes(b"x")
    bag, records = read(folder)
    assert len(records) == 11
    assert "wal_checkpoint" in next(iter(bag.warnings))


def test_a_path_that_is_not_a_bag_is_refused_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(BagError, match="exist"):
        Bag(tmp_path / "nowhere")
    with pytest.raises(BagError, match=r"\.mcap.*\.db3"):
        Bag(tmp_path)
    for name in ("bag.mcap", "bag.db3"):
        (tmp_path / name).touch()
        with pytest.raises(BagError, match="empty"):
            Bag(tmp_path / name)
        (tmp_path / name).write_bytes(b"this is no recording at all" * 10)
        with pytest.raises(BagError, match="read"):
            Bag(tmp_path / name)
    (tmp_path / "bag.txt").write_text("hello")
    with pytest.raises(BagError, match="recording"):
        Bag(tmp_path / "bag.txt")


def write_topics(folder: Path, topics: list[tuple[str, str]]) -> Bag:
    with BagWriter(folder) as writer:
        for name, kind in topics:
            writer.write(name, kind, START, example(writer, kind))
    return Bag(folder)


def example(writer: BagWriter, kind: str) -> object:
    if kind == TEXT:
        return writer.new(kind, data="hello")
    if kind == "std_msgs/msg/Bool":
        return writer.new(kind, data=True)
    if kind == "sensor_msgs/msg/CompressedImage":
        header = writer.header(START)
        return writer.new(kind, header=header, format="jpeg", data=np.zeros(3, np.uint8))
    if kind == "audio_common_msgs/msg/AudioData":
        return writer.new(kind, data=np.zeros(4, np.uint8))
    assert kind == SPEECH
    header = writer.header(START)
    return writer.new(kind, header=header, incremental="", final="a", confidence=1.0, locale="")


IMAGE = "sensor_msgs/msg/CompressedImage"


def test_topics_are_chosen_by_type(tmp_path: Path) -> None:
    bag = write_topics(
        tmp_path / "bag",
        [
            ("/camera/color/compressed", IMAGE),
            ("/asr/result", TEXT),
            ("/robot_description", TEXT),
            ("/robot_speaking", "std_msgs/msg/Bool"),
            ("/estop", "std_msgs/msg/Bool"),
        ],
    )
    chosen = {role: [t.name for t in topics] for role, topics in choose_topics(bag, {}).items()}
    assert chosen == {
        "image": ["/camera/color/compressed"],
        "speech": ["/asr/result"],
        "robot_speaking": ["/robot_speaking"],
    }


def test_a_choice_between_several_topics_is_reported(tmp_path: Path) -> None:
    bag = write_topics(tmp_path / "bag", [("/left", IMAGE), ("/right", IMAGE)])
    from collections import Counter

    warnings: Counter[str] = Counter()
    assert len(choose_topics(bag, {}, warnings)["image"]) == 1
    assert "--image" in next(iter(warnings))
    assert choose_topics(bag, {"image": "/right"})["image"][0].name == "/right"


def test_texts_per_voice_are_preferred_to_one_topic_of_all_texts(tmp_path: Path) -> None:
    voices = ["/humans/voices/a/speech", "/humans/voices/b/speech"]
    bag = write_topics(tmp_path / "bag", [(name, SPEECH) for name in ("/speech", *voices)])
    topics = choose_topics(bag, {})
    assert [topic.name for topic in topics["humans"]] == voices and "speech" not in topics
    assert choose_topics(bag, {"speech": "/speech"})["speech"][0].name == "/speech"


def test_own_outputs_for_ros4hri_are_not_used_as_input(tmp_path: Path) -> None:
    own = "/humans/voices/erc_c1_0"
    sound = "audio_common_msgs/msg/AudioData"
    topics = [("/asr/result", TEXT), (f"{own}/speech", SPEECH), (f"{own}/audio", sound)]
    bag = write_topics(tmp_path / "bag", [*topics, ("/humans/voices/v1/audio", sound)])
    chosen = {role: [t.name for t in found] for role, found in choose_topics(bag, {}).items()}
    assert chosen == {"speech": ["/asr/result"], "humans": ["/humans/voices/v1/audio"]}


def test_a_named_topic_must_be_there_and_fit(tmp_path: Path) -> None:
    bag = write_topics(tmp_path / "bag", [("/camera", IMAGE), ("/words", TEXT)])
    with pytest.raises(BagError, match=r"/nothing.*/camera.*/words"):
        choose_topics(bag, {"audio": "/nothing"})
    with pytest.raises(BagError, match="audio_common_msgs"):
        choose_topics(bag, {"audio": "/words"})
    assert choose_topics(bag, {"speech": "/words"})["speech"][0].name == "/words"


def test_only_unusable_topics_are_an_error_that_lists_them(tmp_path: Path) -> None:
    bag = write_topics(tmp_path / "bag", [("/robot_description", TEXT)])
    with pytest.raises(BagError, match=r"/robot_description \(std_msgs/msg/String\)"):
        choose_topics(bag, {})


def test_an_unknown_type_is_counted_and_skipped(tmp_path: Path) -> None:
    from rosbags.rosbag2 import StoragePlugin, Writer

    store = typestore()
    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.SQLITE3) as writer:
        known = writer.add_connection("/speech", TEXT, typestore=store)
        odd = writer.add_connection(
            "/odd", "odd_msgs/msg/Odd", msgdef="lost_msgs/Lost lost", rihs01="RIHS01_0"
        )
        message = store.types[TEXT](data="hello")
        writer.write(known, START, store.serialize_cdr(message, TEXT))
        writer.write(odd, START, b"\x00\x01\x00\x00\x05\x00\x00\x00")
    with Bag(tmp_path / "bag") as bag:
        records = list(bag.messages({"/speech", "/odd"}))
        assert [r.message.data for r in records] == ["hello"]
        ((text, count),) = bag.warnings.items()
        assert count == 1 and "/odd" in text and "odd_msgs/msg/Odd" in text


def test_the_older_live_speech_is_read_by_the_bags_own_definition(tmp_path: Path) -> None:
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    store = get_typestore(Stores.ROS2_HUMBLE)
    older = definitions.definitions()[SPEECH].replace("locale", "language")
    store.register(get_types_from_msg(older, SPEECH))
    header = store.types["std_msgs/msg/Header"](
        stamp=store.types["builtin_interfaces/msg/Time"](sec=5, nanosec=0), frame_id=""
    )
    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection("/speech", SPEECH, typestore=store)
        message = store.types[SPEECH](
            header=header, incremental="", final="hallo", confidence=1.0, language="de_DE"
        )
        writer.write(connection, START, store.serialize_cdr(message, SPEECH))
    with Bag(tmp_path / "bag") as bag:
        (record,) = bag.messages({"/speech"})
    assert record.message.language == "de_DE"


def test_damaged_messages_are_counted_and_skipped(tmp_path: Path) -> None:
    from rosbags.rosbag2 import StoragePlugin, Writer

    store = typestore()
    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection("/speech", TEXT, typestore=store)
        writer.write(connection, START, b"\x00\x01\x00\x00\xff\x00\x00\x00abc")
        good = store.serialize_cdr(store.types[TEXT](data="hello"), TEXT)
        writer.write(connection, START + 1, good)
    with Bag(tmp_path / "bag") as bag:
        assert [r.message.data for r in bag.messages({"/speech"})] == ["hello"]
        ((text, count),) = bag.warnings.items()
        assert count == 1 and "/speech" in text and "std_msgs/msg/String" in text


def test_a_field_that_is_added_to_a_msg_file_is_written_and_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing else names the fields: not the definitions, the writer, the exports or the rows."""
    kind = "erc_msgs/msg/EmotionEstimate"
    folders = resources.definitions()
    shutil.copytree(folders["erc_msgs"], tmp_path / "msg")
    with (tmp_path / "msg" / "EmotionEstimate.msg").open("a") as stream:
        stream.write("\nfloat32 added\nstring[] added_names\n")
    changed = {**folders, "erc_msgs": tmp_path / "msg"}
    monkeypatch.setattr(resources, "definitions", lambda: changed)
    caches = (definitions.definitions, definitions._typestore)
    for cache in caches:
        cache.cache_clear()
    try:
        with BagWriter(tmp_path / "bag") as writer:
            for number, fields in enumerate(({}, {"added": 0.5, "added_names": ["a"]})):
                writer.write("/emotions", kind, START + number, writer.new(kind, **fields))
        with Bag(tmp_path / "bag") as bag:
            first, second = (record.message for record in bag.messages({"/emotions"}))
    finally:
        monkeypatch.undo()
        for cache in caches:
            cache.cache_clear()
    assert (first.added, list(first.added_names)) == (0.0, [])
    assert (second.added, list(second.added_names)) == (0.5, ["a"])
    assert row_of_message(second).utterance_id == ""
