"""Recordings: rosbag2 folders and files (mcap, sqlite3), message by message in log-time order.

A truncated recording (full disk, power off) has no index: then its records are read one by one up
to the damage, which `Bag.warnings` reports. Types without a definition in the recording are read
with the definitions of `definitions.py`.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

import yaml

from erc_ros.adapters import BOOL, humans_adapter, types_of
from erc_ros.input_reader import CONSENT, tells_consent
from erc_ros.replay.definitions import typestore, with_defaults
from erc_ros.replay.storage import (
    Channel,
    File,
    Message,
    StorageError,
    open_file,
    read_without_index,
    unpack_zstd,
)
from erc_ros.values.bounds import MESSAGE_BYTES, METADATA_BYTES, RECORD_BYTES, UNPACKED_RATIO
from erc_ros.values.errors import ErcValueError
from erc_ros.values.files import check_folder, whole_folder
from erc_ros.values.nanoseconds import NS

if TYPE_CHECKING:
    from rosbags.typesys.store import Typestore

_SUFFIXES = (".mcap", ".db3")
BAG_SUFFIXES = tuple(suffix + end for suffix in _SUFFIXES for end in ("", ".zstd"))


class BagError(ErcValueError):
    """A recording cannot be used; the message states the reason and a remedy."""


@dataclass(frozen=True)
class Topic:
    """One topic of a recording. count: number of messages."""

    name: str
    type: str
    count: int


@dataclass(frozen=True)
class BagRecord:
    """One message. time: time of recording (ns)."""

    time: int
    topic: str
    type: str
    message: Any


@dataclass(frozen=True)
class Raw:
    """One message as serialized bytes (CDR). time: time of recording (ns)."""

    time: int
    topic: str
    type: str
    data: bytes


class Recording(Protocol):
    """The interface of recordings for replay and evaluation; `Bag` implements it.

    topics: its topics. warnings: what could not be read -> count. span: times (ns) of the first
    and last message of any topic; (0, 0) if unknown.
    """

    path: Path
    topics: list[Topic]
    warnings: Counter[str]

    @property
    def span(self) -> tuple[int, int]: ...

    def messages(self, topics: Collection[str]) -> Iterator[BagRecord]:
        """Yield the messages of these topics in the order of time."""


class OpenRecording(Recording, Protocol):
    """A recording that must be closed, for example by a `with` statement."""

    def __enter__(self) -> OpenRecording: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class Bag:
    """A recording that is open for reading.

    Args:
        path: a rosbag2 folder, or one .mcap or .db3 file.

    Raises:
        BagError: it is not a recording, is empty, or nothing could be read.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.warnings: Counter[str] = Counter()
        self._stores: dict[tuple[str, str], Typestore | None] = {}
        self._closing = ExitStack()
        try:
            self._is_packed, self._files = self._open()
        except BaseException:
            self._closing.close()
            raise
        self._channels: Counter[Channel] = Counter()
        for file in self._files:
            self._channels.update(file.channels)
        counts: Counter[tuple[str, str]] = Counter()
        for channel, count in self._channels.items():
            counts[channel.topic, channel.type] += count
        self.topics = [Topic(name, kind, count) for (name, kind), count in sorted(counts.items())]

    @property
    def span(self) -> tuple[int, int]:
        """Times (ns) of the first and the last message of any topic; (0, 0) if unknown."""
        times = [(file.start, file.end) for file in self._files if file.start and file.end]
        return min((t for t, _ in times), default=0), max((t for _, t in times), default=0)

    def raw(self, topics: Collection[str]) -> Iterator[Raw]:
        """Yield the serialized messages of these topics in log-time order."""
        channels = [channel for channel in self._channels if channel.topic in topics]
        for file in self._files if channels else ():
            for channel, time, data in file.messages(channels):
                try:
                    unpacked_data = unpack_zstd(data, MESSAGE_BYTES) if self._is_packed else data
                except Exception as error:  # noqa: BLE001  (many kinds of damage)
                    self.warnings[f"{channel.topic}: message could not be unpacked ({error})"] += 1
                    continue
                yield Raw(time, channel.topic, channel.type, unpacked_data)

    def messages(self, topics: Collection[str]) -> Iterator[BagRecord]:
        """Yield the messages of these topics in log-time order.

        Messages that could not be decoded are skipped and counted in `warnings`.
        """
        for raw in self.raw(topics):
            try:
                message = self.decode(raw)
            except BagError as error:
                self.warnings[str(error)] += 1
                continue
            yield BagRecord(raw.time, raw.topic, raw.type, message)

    def decode(self, raw: Raw) -> Any:
        """Decode a message.

        Raises:
            BagError: the type is unknown, or the bytes are damaged.
        """
        store = self._store(raw.topic, raw.type)
        if store is None:
            raise BagError(f"{raw.topic}: {raw.type} is unknown, messages skipped")
        try:
            return store.deserialize_cdr(raw.data, raw.type)
        except Exception as error:  # a damaged message may contain anything
            raise BagError(
                f"{raw.topic}: messages could not be decoded as {raw.type}, skipped"
            ) from error

    def close(self) -> None:
        self._closing.close()

    def __enter__(self) -> Bag:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _open(self) -> tuple[bool, list[File]]:
        """Return whether each message is compressed, and the files in the order of time."""
        import rosbags.rosbag2  # noqa: F401  (missing, it must not look like damage)

        if not self.path.exists():
            raise BagError(f"{self.path} does not exist; give a rosbag2 folder or file")
        self._look_for_journals()
        packing = _packing(self.path)
        files = _storage_files(self.path, packing)
        if packing == "file":
            folder = Path(self._closing.enter_context(TemporaryDirectory()))
            files = [
                _unpack_file(file, folder) if file.suffix == ".zstd" else file for file in files
            ]
        reasons: list[str] = []
        opened = [self._open_file(file, reasons) for file in files]
        if reasons and not any(file.channels for file in opened):
            raise BagError(
                f"nothing in {self.path} could be read: {reasons[0]}. For a damaged .db3 file, "
                "`sqlite3 FILE .recover` may recover a part"
            )
        return packing == "message", sorted(opened, key=lambda file: file.start)

    def _open_file(self, file: Path, reasons: list[str]) -> File:
        """Open a file by its index; without an intact index, read the undamaged part."""
        try:
            opened = open_file(file, self.warnings)
        except StorageError as error:
            reasons.append(str(error))
        else:
            self._closing.callback(opened.close)
            return opened
        self.warnings[f"the recording is damaged ({reasons[-1]}); reading the undamaged part"] += 1
        counts: Counter[Channel] = Counter()
        start: int | None = None
        end = 0
        for channel, time, _ in read_without_index(file, self.warnings):
            counts[channel] += 1
            start, end = time if start is None else start, max(end, time)

        def messages(channels: Collection[Channel]) -> Iterator[Message]:
            return (m for m in read_without_index(file, Counter()) if m[0] in channels)

        return File(dict(counts), start or 0, messages, lambda: None, end)

    def _look_for_journals(self) -> None:
        """Warn of a second file in which SQLite keeps messages until the recorder closes it."""
        folder = self.path if self.path.is_dir() else self.path.parent
        for journal in folder.glob("*.db3-wal"):
            if journal.stat().st_size:
                database = journal.name.removesuffix("-wal")
                self.warnings[
                    f"{journal.name}: the recorder did not close the file; the messages in it are "
                    f"missing; `sqlite3 {database} 'PRAGMA wal_checkpoint'` adds them"
                ] += 1

    def _store(self, topic: str, kind: str) -> Typestore | None:
        if (topic, kind) not in self._stores:
            channel = next(c for c in self._channels if (c.topic, c.type) == (topic, kind))
            self._stores[topic, kind] = _typestore_of(channel)
        return self._stores[topic, kind]


def _storage_files(path: Path, packing: str) -> list[Path]:
    """Return the regular files that contain the messages.

    Raises:
        BagError: there are none, or they are empty.
    """
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    suffixes = tuple(s + end for s in _SUFFIXES for end in ("", ".zstd")[: 1 + (packing == "file")])
    files = [file for file in files if file.name.endswith(suffixes) and file.is_file()]
    if not files:
        raise BagError(
            f"{path} is not a recording: it contains no .mcap or .db3 file; "
            "record with `ros2 bag record` and give its folder"
        )
    if not any(file.stat().st_size for file in files):
        raise BagError(f"{path} is empty: nothing was recorded")
    return files


def _typestore_of(channel: Channel) -> Typestore | None:
    """Return the types of a channel, from the recording or else from `definitions`."""
    from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore

    if channel.encoding == "ros2msg" and channel.text:
        try:
            store = get_typestore(Stores.EMPTY)
            store.register(get_types_from_msg(channel.text, channel.type))
            return store
        except Exception:  # noqa: BLE001  (an invalid definition is ignored)
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
    store = typestore(channel.type)
    return store if channel.type in store.types else None


# Compressed files and messages.


def _packing(folder: Path) -> str:
    """Return the compression mode in metadata.yaml of a folder: "file", "message" or ""."""
    file = folder / "metadata.yaml"
    if not file.is_file() or file.stat().st_size > METADATA_BYTES:
        return ""
    try:
        content = yaml.safe_load(file.read_text("utf-8"))
        mode = str(content["rosbag2_bagfile_information"].get("compression_mode") or "").lower()
    except (
        yaml.YAMLError,
        UnicodeDecodeError,
        LookupError,
        TypeError,
        AttributeError,
        RecursionError,
    ):
        return ""
    return mode if mode in ("file", "message") else ""


def _unpack_file(file: Path, folder: Path) -> Path:
    """Decompress a `.zstd` file into `folder`.

    Raises:
        BagError: the result exceeds its bound.
    """
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd

    target = folder / file.stem
    remaining = UNPACKED_RATIO * file.stat().st_size + RECORD_BYTES
    with zstd.open(file, "rb") as packed, target.open("xb") as unpacked:
        while part := packed.read(2**20):
            remaining -= len(part)
            if remaining < 0:
                raise BagError(
                    f"{file} unpacks to more than {UNPACKED_RATIO} times its size; if this is "
                    "correct, unpack it with `zstd -d` and give the folder"
                )
            unpacked.write(part)
    return target


# Selection of topics.

ROLES = (
    "image",
    "audio",
    "audio_info",
    "speech",
    "robot_speaking",
    "robot_moving",
)  # the inputs of the nodes
HUMANS = "humans"  # and the topics of ROS4HRI, each under its own name
LIVE_SPEECH = "hri_msgs/msg/LiveSpeech"
VALUES = {"audio": "AudioChunk", "image": "Frame", "speech": "Transcript"}
"""Role -> type of a `BagRecord` whose message is already a value of the pipeline (media files)."""
_CHOSEN = ("image", "audio", "speech")  # the user can name these; at least one is required
# General types: selected automatically only if the name of the topic contains one of these words.
_VAGUE = {
    "std_msgs/msg/String": ("speech", "asr", "transcript", "recognized_text"),
    "std_msgs/msg/Bool": ("robot_speaking", "robot_moving"),
    "sensor_msgs/msg/JointState": ("robot_moving",),
}


def choose_topics(
    bag: Recording,
    chosen: Mapping[str, str],
    warnings: Counter[str] | None = None,
    humans: str = "/humans",
) -> dict[str, list[Topic]]:
    """Return role ("image", "audio", ..., "humans", "recording_allowed") -> its topics.

    If ROS4HRI publishes texts per voice, a topic of all texts is excluded, unless it is named.

    Args:
        chosen: role -> topic name from the user; other roles are selected by type.
        warnings: counts the choices that the user should know.
        humans: namespace of ROS4HRI; "": ROS4HRI is not used.

    Raises:
        BagError: a named topic is missing or has an unusable type, or no topic is usable.
    """
    warnings = Counter() if warnings is None else warnings
    people = [t for t in bag.topics if humans and humans_adapter(t.name, t.type, humans)]
    result = {
        role: [_named(bag, role, chosen[role])]
        if role in chosen
        else _by_type(bag, role, people, humans, warnings)
        for role in ROLES
    }
    result[HUMANS] = [topic for topic in people if topic.count]
    result[CONSENT] = [topic for topic in bag.topics if tells_consent(topic.name, topic.type)]
    if "speech" not in chosen and any(t.type == LIVE_SPEECH for t in result[HUMANS]):
        result["speech"] = []
    if not any(result[role] for role in (*_CHOSEN, HUMANS)):
        names = ", ".join(f"{t.name} ({t.type})" for t in bag.topics) or "none"
        raise BagError(
            f"{bag.path} has no usable topic; it has: {names}. One of these types is required: "
            + ", ".join(kind for role in _CHOSEN for kind in types_of(role))
        )
    return {role: topics for role, topics in result.items() if topics}


def _named(bag: Recording, role: str, name: str) -> Topic:
    for topic in bag.topics:
        if topic.name == name:
            if topic.type not in _types_of(role):
                raise BagError(
                    f"{name} is of type {topic.type}; supported types for {role}: "
                    f"{', '.join(types_of(role))}"
                )
            return topic
    names = ", ".join(topic.name for topic in bag.topics) or "none"
    raise BagError(f"{bag.path} has no topic {name}; it has: {names}")


def _types_of(role: str) -> list[str]:
    return types_of(role) + [kind for name, kind in VALUES.items() if name == role]


def _of_humans(topic: Topic, humans: str) -> bool:
    return bool(humans) and topic.name.startswith(f"/{humans.strip('/')}/")


def _by_type(
    bag: Recording, role: str, people: Sequence[Topic], humans: str, warnings: Counter[str]
) -> list[Topic]:
    kinds = _types_of(role)
    topics = [t for t in bag.topics if t.type in kinds and t.count and carries_its_role(t)]
    # topics per person, including recorded outputs of this package, do not concern all people
    topics = [t for t in topics if t not in people and not _of_humans(t, humans)]
    topics = [t for t in topics if t.type != BOOL or role in t.name.lower()]
    for kind in kinds:
        same = [t for t in topics if t.type == kind]
        if not same:
            continue
        same.sort(key=lambda t: -t.count)
        others = [t.name for t in topics if t is not same[0]]
        if others:
            option = f"; --{role} TOPIC selects another" if role in _CHOSEN else ""
            warnings[f"{role}: uses {same[0].name}, not {', '.join(others)}{option}"] += 1
        return same[:1]
    return []


def carries_its_role(topic: Topic) -> bool:
    """Return False for a topic of a general type whose name does not indicate its role."""
    words = _VAGUE.get(topic.type)
    return words is None or any(word in topic.name.lower() for word in words)


# Writing.


def check_new(path: Path) -> None:
    """Check that a recording can be made at `path`.

    Raises:
        BagError: it exists already. OSError: it cannot be written.
    """
    if path.exists():
        raise BagError(f"{path} exists already: remove it or choose another name")
    check_folder(path)


class BagWriter:
    """Writes a recording; after an error, no incomplete recording remains.

    Args:
        path: the folder to create; it must not exist.
        storage: "mcap" or "sqlite3".

    Raises:
        BagError: the folder exists already.
        OSError: it could not be written.
    """

    def __init__(self, path: Path, storage: str = "mcap") -> None:
        from rosbags.rosbag2 import StoragePlugin, Writer

        check_new(path)
        plugin = {"mcap": StoragePlugin.MCAP, "sqlite3": StoragePlugin.SQLITE3}[storage]
        self._folder = ExitStack()
        folder = self._folder.enter_context(whole_folder(path))
        folder.rmdir()  # rosbags creates it
        self._writer = Writer(folder, version=9, storage_plugin=plugin)
        self._writer.open()
        self._connections: dict[str, Any] = {}

    def new(self, kind: str, **fields: Any) -> Any:
        """Return a message of this type; missing fields are empty or 0."""
        return with_defaults(typestore(kind), kind, fields)

    def header(self, stamp: int, frame: str = "") -> Any:
        """Return a std_msgs/Header with `stamp` in ns."""
        time = self.new("builtin_interfaces/msg/Time", sec=stamp // NS, nanosec=stamp % NS)
        return self.new("std_msgs/msg/Header", stamp=time, frame_id=frame)

    def write(self, topic: str, kind: str, time: int, message: Any) -> None:
        """Add a message with the time of recording `time` (ns)."""
        store = typestore(kind)
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(topic, kind, typestore=store)
        data = store.serialize_cdr(message, kind)
        self._writer.write(self._connections[topic], time, data)

    def close(self) -> None:
        """Finish the recording and move it to its path."""
        try:
            self._writer.close()
        except BaseException as error:
            self._folder.__exit__(type(error), error, error.__traceback__)
            raise
        self._folder.close()

    def __enter__(self) -> BagWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
            return
        with suppress(Exception):
            self._writer.close()
        self._folder.__exit__(kind, error, trace)
