"""Recordings: rosbag2 folders and files (mcap, sqlite3), message by message in log-time order.

A recording that was cut short (full disk, power off) has no index: then its records are read one by
one up to the cut, and that is said in `Bag.warnings`. Types that a recording does not describe
itself are read by the definitions of `definitions.py`.
"""

from __future__ import annotations

import heapq
import sqlite3
import struct
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from erc_ros.adapters import humans_adapter, types_of
from erc_ros.replay.definitions import typestore
from erc_ros.values.nanoseconds import NS

if TYPE_CHECKING:
    from rosbags.typesys.store import Typestore

_SUFFIXES = (".mcap", ".db3")
_LATENESS = 2 * NS  # a recording without index may be this much out of order


class BagError(ValueError):
    """A recording cannot be used; the message says why and what can be done."""


@dataclass(frozen=True)
class Topic:
    """One topic of a recording. count: its messages."""

    name: str
    type: str
    count: int


@dataclass(frozen=True)
class Record:
    """One message. time: ns, when it was recorded."""

    time: int
    topic: str
    type: str
    message: Any


@dataclass(frozen=True)
class Raw:
    """One message as its serialized bytes (CDR). time: ns, when it was recorded."""

    time: int
    topic: str
    type: str
    data: bytes


@dataclass(frozen=True)
class _Channel:
    """A topic with what its bytes mean. text: definition, encoding: ros2msg, ros2idl or ""."""

    topic: str
    type: str
    encoding: str = ""
    text: str = ""


_Message = tuple[_Channel, int, bytes]


@dataclass
class _Source:
    """The content of a recording behind one face, whole or cut."""

    channels: dict[_Channel, int]  # with their message counts
    messages: Callable[[Collection[_Channel]], Iterator[_Message]]
    close: Callable[[], None] = field(default=lambda: None)


class Bag:
    """A recording that is open for reading.

    Args:
        path: a rosbag2 folder, or one .mcap or .db3 file.

    Raises:
        BagError: not a recording, empty, or nothing of it readable.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.warnings: Counter[str] = Counter()
        self._source = self._open()
        self._stores: dict[tuple[str, str], Typestore | None] = {}
        self.topics = [
            Topic(channel.topic, channel.type, count)
            for channel, count in sorted(
                self._source.channels.items(), key=lambda item: item[0].topic
            )
        ]

    def raw(self, topics: Collection[str]) -> Iterator[Raw]:
        """The messages of these topics as they were recorded, in log-time order."""
        wanted = [c for c in self._source.channels if c.topic in topics]
        for channel, time, data in self._readable(wanted):
            yield Raw(time, channel.topic, channel.type, data)

    def messages(self, topics: Collection[str]) -> Iterator[Record]:
        """The messages of these topics, in log-time order.

        What cannot be read is left out and counted in `warnings`.
        """
        for raw in self.raw(topics):
            try:
                message = self.decode(raw)
            except BagError as error:
                self.warnings[str(error)] += 1
                continue
            yield Record(raw.time, raw.topic, raw.type, message)

    def decode(self, raw: Raw) -> Any:
        """The message of its bytes.

        Raises:
            BagError: an unknown type, or damaged bytes.
        """
        store = self._store(raw.topic, raw.type)
        if store is None:
            raise BagError(f"{raw.topic}: {raw.type} is unknown, messages left out")
        try:
            return store.deserialize_cdr(raw.data, raw.type)
        except Exception as error:  # anything can stand in a damaged message
            raise BagError(
                f"{raw.topic}: messages cannot be read as {raw.type}, left out"
            ) from error

    def close(self) -> None:
        self._source.close()

    def __enter__(self) -> Bag:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _open(self) -> _Source:
        import rosbags.rosbag2  # noqa: F401  (missing, it must not look like a damaged recording)

        if not self.path.exists():
            raise BagError(f"{self.path} does not exist; give a rosbag2 folder or file")
        self._look_for_journals()
        try:
            return _indexed(self.path)
        except Exception as error:  # noqa: BLE001  (rosbags raises many kinds)
            files = _storage_files(self.path)
            reason = _reason(error)
        self.warnings[f"the recording is damaged ({reason}); reading what is whole"] += 1
        source = _cut(files, self.warnings)
        if not source.channels:
            raise BagError(
                f"nothing in {self.path} can be read: {reason}. Of a damaged .db3 file, "
                "`sqlite3 FILE .recover` may still save something"
            )
        return source

    def _look_for_journals(self) -> None:
        """SQLite keeps the last messages beside the file until the recorder closes it."""
        folder = self.path if self.path.is_dir() else self.path.parent
        for journal in folder.glob("*.db3-wal"):
            if journal.stat().st_size:
                database = journal.name.removesuffix("-wal")
                self.warnings[
                    f"{journal.name}: the recorder did not close the file, the messages in it are "
                    f"missing; `sqlite3 {database} 'PRAGMA wal_checkpoint'` brings them in"
                ] += 1

    def _readable(self, wanted: Sequence[_Channel]) -> Iterator[_Message]:
        if not wanted:
            return
        try:
            yield from self._source.messages(wanted)
        except Exception as error:  # noqa: BLE001  (index whole, a chunk not)
            self.warnings[f"the recording is damaged ({_reason(error)}); the rest is missing"] += 1

    def _store(self, topic: str, kind: str) -> Typestore | None:
        if (topic, kind) not in self._stores:
            channel = next(c for c in self._source.channels if (c.topic, c.type) == (topic, kind))
            self._stores[topic, kind] = _typestore_of(channel)
        return self._stores[topic, kind]


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def _storage_files(path: Path) -> list[Path]:
    """The files that hold the messages.

    Raises:
        BagError: there are none.
    """
    files = sorted(p for p in path.iterdir() if p.suffix in _SUFFIXES) if path.is_dir() else [path]
    files = [file for file in files if file.suffix in _SUFFIXES]
    if not files:
        raise BagError(
            f"{path} is no recording: no .mcap or .db3 file is in it; "
            "record with `ros2 bag record` and give its folder"
        )
    if not any(file.stat().st_size for file in files):
        raise BagError(f"{path} is empty: nothing was recorded")
    return files


def _typestore_of(channel: _Channel) -> Typestore | None:
    """Types that read this channel: as the recording describes them, else as we know them."""
    from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore

    if channel.encoding == "ros2msg" and channel.text:
        try:
            store = get_typestore(Stores.EMPTY)
            store.register(get_types_from_msg(channel.text, channel.type))
            return store
        except Exception:  # noqa: BLE001  (one that does not parse is as good as none)
            pass
    if channel.encoding == "ros2idl" and channel.text:
        try:
            store = get_typestore(Stores.EMPTY)
            for part in channel.text.split("=" * 80 + "\n"):
                if part.strip():
                    store.register(get_types_from_idl(part.removeprefix("IDL: ").split("\n", 1)[1]))
            return store
        except Exception:  # noqa: BLE001
            pass
    known = typestore(channel.type)
    return known if channel.type in known.types else None


# A whole recording: rosbags reads it.


def _indexed(path: Path) -> _Source:
    from rosbags.interfaces import Connection, MessageDefinitionFormat
    from rosbags.rosbag2 import Reader

    encodings = {MessageDefinitionFormat.MSG: "ros2msg", MessageDefinitionFormat.IDL: "ros2idl"}
    reader = Reader(path)
    reader.open()
    try:
        channels: dict[_Channel, list[Connection]] = {}
        for connection in reader.connections:
            channel = _Channel(
                connection.topic,
                connection.msgtype,
                encodings.get(connection.msgdef.format, ""),
                connection.msgdef.data,
            )
            channels.setdefault(channel, []).append(connection)
        of_connection = {
            (c.topic, c.msgtype): channel for channel, cs in channels.items() for c in cs
        }
    except Exception:
        reader.close()
        raise

    def messages(wanted: Collection[_Channel]) -> Iterator[_Message]:
        connections = [c for channel in wanted for c in channels[channel]]
        for connection, time, data in reader.messages(connections):
            yield of_connection[connection.topic, connection.msgtype], time, data

    counts = {channel: sum(c.msgcount for c in cs) for channel, cs in channels.items()}
    return _Source(counts, messages, reader.close)


# A recording that was cut: record by record.


def _cut(files: Sequence[Path], warnings: Counter[str]) -> _Source:
    """What can be read of these files without an index."""

    def read(count: Counter[str]) -> Iterator[_Message]:
        for file in files:
            records = _mcap_records(file, count) if file.suffix == ".mcap" else _rows(file, count)
            yield from _ordered(records)

    counts = Counter(channel for channel, _, _ in read(warnings))

    def messages(wanted: Collection[_Channel]) -> Iterator[_Message]:
        return (raw for raw in read(Counter()) if raw[0] in wanted)

    return _Source(dict(counts), messages)


def _ordered(messages: Iterable[_Message]) -> Iterator[_Message]:
    """By time, where no message is more than `_LATENESS` late."""
    heap: list[tuple[int, int, _Message]] = []
    for number, raw in enumerate(messages):
        heapq.heappush(heap, (raw[1], number, raw))
        while heap[0][0] < raw[1] - _LATENESS:
            yield heapq.heappop(heap)[2]
    while heap:
        yield heapq.heappop(heap)[2]


_MAGIC = b"\x89MCAP0\r\n"
_SCHEMA, _CHANNEL, _MESSAGE, _CHUNK = 3, 4, 5, 6  # opcodes of the MCAP specification


def _mcap_records(file: Path, warnings: Counter[str]) -> Iterator[_Message]:
    """Messages of an MCAP file from its start to where it breaks off."""
    schemas: dict[int, tuple[str, str, str]] = {}  # id -> name, encoding, text
    channels: dict[int, _Channel] = {}
    with file.open("rb") as stream:
        if stream.read(8) != _MAGIC:
            warnings[f"{file.name} is no MCAP file"] += 1
            return
        try:
            for opcode, body in _unpacked(_file_records(stream)):
                if opcode == _SCHEMA:
                    number, texts = struct.unpack_from("<H", body)[0], _strings(body, 2, 3)
                    schemas[number] = (texts[0], texts[1], texts[2])
                elif opcode == _CHANNEL:
                    number, schema = struct.unpack_from("<HH", body)
                    name, encoding, text = schemas.get(schema, ("", "", ""))
                    channels[number] = _Channel(_strings(body, 4, 1)[0], name, encoding, text)
                elif opcode == _MESSAGE:
                    number, _, time = struct.unpack_from("<HIQ", body)
                    if number in channels:
                        yield channels[number], time, body[22:]
        except Exception as error:  # noqa: BLE001  (many kinds of decompressors)
            warnings[f"{file.name}: stopped at a damaged record ({_reason(error)})"] += 1


def _file_records(stream: Any) -> Iterator[tuple[int, bytes]]:
    while len(head := stream.read(9)) == 9:
        opcode, size = struct.unpack("<BQ", head)
        body = stream.read(size)
        if len(body) < size:
            return
        yield opcode, body


def _unpacked(records: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    """The records with chunks replaced by what is in them."""
    from rosbags.rosbag2.storage_mcap import decompress

    for opcode, body in records:
        if opcode != _CHUNK:
            yield opcode, body
            continue
        size, check = struct.unpack_from("<QI", body, 16)
        compression = _strings(body, 28, 1)[0]
        start = 28 + 4 + len(compression) + 8
        inner = memoryview(decompress(body[start:], compression, size, check))
        position = 0
        while position + 9 <= len(inner):
            opcode, length = struct.unpack_from("<BQ", inner, position)
            yield opcode, bytes(inner[position + 9 : position + 9 + length])
            position += 9 + length


def _strings(body: bytes, position: int, count: int) -> list[str]:
    texts = []
    for _ in range(count):
        (size,) = struct.unpack_from("<I", body, position)
        texts.append(body[position + 4 : position + 4 + size].decode())
        position += 4 + size
    return texts


def _rows(file: Path, warnings: Counter[str]) -> Iterator[_Message]:
    """Messages of an SQLite file in the order of its pages, up to the first missing page."""
    connection = sqlite3.connect(f"file:{file}?mode=ro&immutable=1", uri=True)
    try:
        # Otherwise SQLite refuses a file that is shorter than its header says.
        connection.execute("PRAGMA writable_schema=ON")
        topics = connection.execute("SELECT id, name, type FROM topics").fetchall()
        channels = {number: _Channel(name, kind) for number, name, kind in topics}
        for number, time, data in connection.execute(
            "SELECT topic_id, timestamp, data FROM messages ORDER BY rowid"
        ):
            if number in channels:
                yield channels[number], time, data
    except sqlite3.DatabaseError as error:
        warnings[f"{file.name}: stopped at a damaged page ({_reason(error)})"] += 1
    finally:
        connection.close()


# Which topic is what.

ROLES = ("image", "audio", "audio_info", "speech", "robot_speaking")  # the inputs of the nodes
HUMANS = "humans"  # and what ROS4HRI publishes, each topic under its own name
LIVE_SPEECH = "hri_msgs/msg/LiveSpeech"
_CHOSEN = ("image", "audio", "speech")  # the user can name these, and one of them is needed
# Types that carry anything: taken by themselves only where the topic's name says what it is.
_VAGUE = {
    "std_msgs/msg/String": ("speech", "asr", "transcript", "recognized_text"),
    "std_msgs/msg/Bool": ("robot_speaking",),
}


def choose_topics(
    bag: Bag, chosen: dict[str, str], warnings: Counter[str] | None = None
) -> dict[str, list[Topic]]:
    """Role ("image", "audio", ..., "humans") -> the topics that play it.

    Where ROS4HRI publishes texts per voice, a topic of all texts is left out, unless it is named.

    Args:
        chosen: role -> topic name, where the user named one; the rest goes by type.
        warnings: counts the choices that the user should know of.

    Raises:
        BagError: a named topic is missing or has an unusable type, or no topic is usable at all.
    """
    warnings = Counter() if warnings is None else warnings
    result = {
        role: [_named(bag, role, chosen[role])] if role in chosen else _by_type(bag, role, warnings)
        for role in ROLES
    }
    result[HUMANS] = [t for t in bag.topics if t.count and humans_adapter(t.name, t.type)]
    if "speech" not in chosen and any(t.type == LIVE_SPEECH for t in result[HUMANS]):
        result["speech"] = []
    if not any(result[role] for role in (*_CHOSEN, HUMANS)):
        found = ", ".join(f"{t.name} ({t.type})" for t in bag.topics) or "none"
        raise BagError(
            f"{bag.path} has no topic that can be used; it has: {found}. One of these is needed: "
            + ", ".join(kind for role in _CHOSEN for kind in types_of(role))
        )
    return {role: topics for role, topics in result.items() if topics}


def _named(bag: Bag, role: str, name: str) -> Topic:
    for topic in bag.topics:
        if topic.name == name:
            if topic.type not in types_of(role):
                raise BagError(
                    f"{name} is of type {topic.type}; as {role} can be used: "
                    f"{', '.join(types_of(role))}"
                )
            return topic
    names = ", ".join(topic.name for topic in bag.topics) or "none"
    raise BagError(f"{bag.path} has no topic {name}; it has: {names}")


def _by_type(bag: Bag, role: str, warnings: Counter[str]) -> list[Topic]:
    kinds = types_of(role)
    found = [t for t in bag.topics if t.type in kinds and t.count and _speaks(t)]
    found = [t for t in found if not humans_adapter(t.name, t.type)]
    for kind in types_of(role):
        same = [t for t in found if t.type == kind]
        if not same:
            continue
        same.sort(key=lambda t: -t.count)
        others = [t.name for t in found if t is not same[0]]
        if others:
            option = f"; --{role} TOPIC takes another" if role in _CHOSEN else ""
            warnings[f"{role}: took {same[0].name}, not {', '.join(others)}{option}"] += 1
        return same[:1]
    return []


def _speaks(topic: Topic) -> bool:
    words = _VAGUE.get(topic.type)
    return words is None or any(word in topic.name.lower() for word in words)


# Writing.


class BagWriter:
    """Writes a recording.

    Args:
        path: the folder to make; it must not exist.
        storage: "mcap" or "sqlite3".

    Raises:
        BagError: the folder exists already.
    """

    def __init__(self, path: Path, storage: str = "mcap") -> None:
        from rosbags.rosbag2 import StoragePlugin, Writer

        if path.exists():
            raise BagError(f"{path} exists already: remove it or choose another name")
        plugin = {"mcap": StoragePlugin.MCAP, "sqlite3": StoragePlugin.SQLITE3}[storage]
        self._writer = Writer(path, version=9, storage_plugin=plugin)
        self._writer.open()
        self._connections: dict[str, Any] = {}

    def new(self, kind: str, **fields: Any) -> Any:
        """A message of this type, every field given."""
        return typestore(kind).types[kind](**fields)

    def header(self, stamp: int, frame: str = "") -> Any:
        """A std_msgs/Header with `stamp` in ns."""
        time = self.new("builtin_interfaces/msg/Time", sec=stamp // NS, nanosec=stamp % NS)
        return self.new("std_msgs/msg/Header", stamp=time, frame_id=frame)

    def write(self, topic: str, kind: str, time: int, message: Any) -> None:
        """Add a message that was recorded at `time` (ns)."""
        store = typestore(kind)
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(topic, kind, typestore=store)
        data = store.serialize_cdr(message, kind)
        self._writer.write(self._connections[topic], time, data)

    def close(self) -> None:
        self._writer.close()

    def __enter__(self) -> BagWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
