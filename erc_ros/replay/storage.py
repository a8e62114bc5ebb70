"""Readers of the files of a recording, mcap and sqlite3, with bounded memory.

Unbounded decompression lets the author of a file choose how much memory it needs: 200 kB of
compressed zeros unpack to gigabytes. Here everything is unpacked only up to its bound
(`values/bounds.py`), and SQLite reads only plain tables. Neither rosbags nor mcap has such bounds.

A truncated file (full disk, power off) has no index: its records are read one by one up to the
truncation.
"""

from __future__ import annotations

import heapq
import sqlite3
import struct
import sys
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from erc_ros.values.bounds import (
    DEFINITION,
    MESSAGE_BYTES,
    OVERLAPPING_BYTES,
    RECORD_BYTES,
    TOPIC_NAME,
    TOPICS,
    shown,
)
from erc_ros.values.errors import ErcValueError
from erc_ros.values.nanoseconds import NS

LATENESS = 2 * NS  # maximum disorder of a recording without index


class StorageError(ErcValueError):
    """A file could not be read completely; the message states the reason."""


@dataclass(frozen=True)
class Channel:
    """A topic with its type. text: definition of the type; encoding: ros2msg, ros2idl or ""."""

    topic: str
    type: str
    encoding: str = ""
    text: str = ""


Message = tuple[Channel, int, bytes]  # channel, time of recording (ns), data


@dataclass
class File:
    """One file. start, end: times of its first and last message (ns), 0 if unknown.

    messages: yields the messages of given channels by time. close: closes the file.
    """

    channels: dict[Channel, int]  # with message counts
    start: int
    messages: Callable[[Collection[Channel]], Iterator[Message]]
    close: Callable[[], None]
    end: int = 0


def open_file(file: Path, warnings: Counter[str]) -> File:
    """Open a file by its index.

    Args:
        warnings: counts what is skipped while the file is read.

    Raises:
        StorageError: it has no index, or it is damaged: use `read_without_index`.
        OSError: it could not be read.
    """
    return (_open_mcap if file.suffix == ".mcap" else _open_sqlite)(file, warnings)


def read_without_index(file: Path, warnings: Counter[str]) -> Iterator[Message]:
    """Yield the messages of a truncated file that can be read, by time.

    Raises:
        OSError: it cannot be read.
    """
    return _ordered((_records_of if file.suffix == ".mcap" else _rows_of)(file, warnings))


def _ordered(messages: Iterable[Message]) -> Iterator[Message]:
    """Sort messages by time, assuming that none is more than `LATENESS` late."""
    heap: list[tuple[int, int, Message]] = []
    waiting = 0  # bytes
    for number, message in enumerate(messages):
        heapq.heappush(heap, (message[1], number, message))
        waiting += len(message[2])
        while heap[0][0] < message[1] - LATENESS or waiting > OVERLAPPING_BYTES:
            record = heapq.heappop(heap)[2]
            waiting -= len(record[2])
            yield record
    while heap:
        yield heapq.heappop(heap)[2]


def unpack_zstd(data: bytes, limit: int) -> bytes:
    """Decompress all frames of `data`.

    Raises:
        StorageError: the result exceeds `limit` bytes.
        Exception: the data are damaged.
    """
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd

    parts: list[bytes] = []
    left = limit
    while data:
        frame = zstd.ZstdDecompressor()
        parts.append(frame.decompress(data, max_length=left + 1))
        left -= len(parts[-1])
        if left < 0:
            raise StorageError(f"more than {limit} bytes after decompression")
        if not frame.eof:
            raise StorageError("compressed data are truncated")
        data = frame.unused_data
    return b"".join(parts)


def _unpack_lz4(data: bytes, limit: int) -> bytes:
    from lz4.frame import LZ4FrameDecompressor

    frame = LZ4FrameDecompressor()
    unpacked = bytes(frame.decompress(data, max_length=limit + 1))
    if len(unpacked) > limit or not frame.eof:
        raise StorageError(f"more than {limit} bytes after decompression, or truncated data")
    return unpacked


# --- mcap ---

_MAGIC = b"\x89MCAP0\r\n"
_FOOTER_SIZE = 1 + 8 + 20 + len(_MAGIC)
# Opcodes of the MCAP specification.
_FOOTER, _SCHEMA, _CHANNEL, _MESSAGE, _CHUNK, _CHUNK_INDEX, _STATISTICS = 2, 3, 4, 5, 6, 8, 11


@dataclass(frozen=True)
class _Chunk:
    start: int
    end: int
    offset: int
    size: int  # bytes, unpacked
    channels: frozenset[int]  # channels with messages in the chunk; empty: unknown


class _Names:
    """Schemas and channels that were read from a file."""

    def __init__(self) -> None:
        self.channels: dict[int, Channel] = {}
        self._schemas: dict[int, tuple[str, str, str]] = {}  # id -> name, encoding, text

    def note(self, opcode: int, body: bytes) -> None:
        if opcode == _SCHEMA:
            (number,) = struct.unpack_from("<H", body)
            name, encoding, text = _strings(body, 2, 3)
            if len(text) > DEFINITION:
                encoding = text = ""  # ignored
            self._schemas[number] = (name, encoding, text)
        elif opcode == _CHANNEL:
            number, schema = struct.unpack_from("<HH", body)
            name, encoding, text = self._schemas.get(schema, ("", "", ""))
            (topic,) = _strings(body, 4, 1)
            _check_topic(topic, name, len(self.channels))
            self.channels[number] = Channel(topic, name, encoding, text)


def _check_topic(name: object, kind: object, count: int) -> None:
    if not (isinstance(name, str) and isinstance(kind, str)):
        raise StorageError("topic name and type must be strings")
    if max(len(name), len(kind)) > TOPIC_NAME:
        raise StorageError(f"the topic {shown(name)} has a name or type that is too long")
    if count >= TOPICS:
        raise StorageError(f"more than {TOPICS} topics")


def _open_mcap(file: Path, warnings: Counter[str]) -> File:
    stream = file.open("rb")
    try:
        names, chunks, counts = _summary(stream)
    except StorageError:
        stream.close()
        raise
    except Exception as error:
        stream.close()
        raise StorageError(f"the index is damaged ({error or type(error).__name__})") from error
    chunks.sort(key=lambda chunk: (chunk.start, chunk.offset))

    def messages(wanted: Collection[Channel]) -> Iterator[Message]:
        numbers = {number for number, channel in names.channels.items() if channel in wanted}
        heap: list[tuple[int, int, int, Message]] = []
        waiting = 0
        for chunk in chunks:
            if chunk.channels and not chunk.channels & numbers:
                continue
            while heap and heap[0][0] < chunk.start:
                message = heapq.heappop(heap)[-1]
                waiting -= len(message[2])
                yield message
            try:
                if waiting + chunk.size > OVERLAPPING_BYTES:
                    raise StorageError(f"chunks of more than {OVERLAPPING_BYTES} bytes overlap")
                records = _unpacked(_chunk_at(stream, chunk.offset))
                for place, (opcode, body) in enumerate(records):
                    if opcode != _MESSAGE:
                        continue
                    number, _, time = struct.unpack_from("<HIQ", body)
                    if number in numbers:
                        message = (names.channels[number], time, body[22:])
                        heapq.heappush(heap, (time, chunk.offset, place, message))
                        waiting += len(message[2])
            except Exception as error:  # noqa: BLE001  (many kinds of decompressors)
                warnings[
                    f"the recording is damaged ({file.name}: {_reason(error)}); "
                    "a part of it is missing"
                ] += 1
        while heap:
            yield heapq.heappop(heap)[-1]

    channels: Counter[Channel] = Counter()
    for number, channel in names.channels.items():
        channels[channel] += counts.get(number, 0)
    start, end = (chunks[0].start, max(chunk.end for chunk in chunks)) if chunks else (0, 0)
    return File(dict(channels), start, messages, stream.close, end)


def _summary(stream: BinaryIO) -> tuple[_Names, list[_Chunk], dict[int, int]]:
    """Read the summary section: channels, chunks, and message counts of channels."""
    if stream.read(len(_MAGIC)) != _MAGIC:
        raise StorageError("it is not an MCAP file")
    size = stream.seek(0, 2)
    stream.seek(max(0, size - _FOOTER_SIZE))
    footer = stream.read()
    if not footer.endswith(_MAGIC) or footer[0] != _FOOTER:
        raise StorageError("the end of the file is missing")
    (start,) = struct.unpack_from("<Q", footer, 9)
    if not 0 < start <= size - _FOOTER_SIZE:
        raise StorageError("it has no index")
    stream.seek(start)
    names, chunks = _Names(), list[_Chunk]()
    counts: dict[int, int] | None = None
    for opcode, body in _file_records(stream):
        names.note(opcode, body)
        if opcode == _CHUNK_INDEX:
            first, last, offset, _, length = struct.unpack_from("<QQQQI", body)
            indexes = struct.iter_unpack("<HQ", body[36 : 36 + length])
            at = 36 + length + 8
            (packing,) = _strings(body, at, 1)
            (unpacked,) = struct.unpack_from("<Q", body, at + 4 + len(packing.encode()) + 8)
            numbers = frozenset(number for number, _ in indexes)
            chunks.append(_Chunk(first, last, offset, unpacked, numbers))
        elif opcode == _STATISTICS:
            (length,) = struct.unpack_from("<I", body, 42)
            counts = dict(struct.iter_unpack("<HQ", body[46 : 46 + length]))
        elif opcode == _FOOTER:
            break
    if counts is None or (any(counts.values()) and not (chunks and names.channels)):
        raise StorageError("the index is incomplete")
    return names, chunks, counts


def _chunk_at(stream: BinaryIO, offset: int) -> Iterator[tuple[int, bytes]]:
    stream.seek(offset)
    for opcode, body in _file_records(stream):
        if opcode != _CHUNK:
            raise StorageError("a chunk is missing")
        yield opcode, body
        return
    raise StorageError("a chunk is missing")


def _records_of(file: Path, warnings: Counter[str]) -> Iterator[Message]:
    """Yield the messages of an MCAP file up to the first damaged record."""
    names = _Names()
    with file.open("rb") as stream:
        if stream.read(len(_MAGIC)) != _MAGIC:
            warnings[f"{file.name} is not an MCAP file"] += 1
            return
        try:
            for opcode, body in _unpacked(_file_records(stream)):
                names.note(opcode, body)
                if opcode == _MESSAGE:
                    number, _, time = struct.unpack_from("<HIQ", body)
                    if number in names.channels:
                        yield names.channels[number], time, body[22:]
        except Exception as error:  # noqa: BLE001  (many kinds of decompressors)
            warnings[f"{file.name}: stopped at a damaged record ({_reason(error)})"] += 1


def _file_records(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    while len(head := stream.read(9)) == 9:
        opcode, size = struct.unpack("<BQ", head)
        if size > RECORD_BYTES:
            raise StorageError(f"a record of {size} bytes, at most {RECORD_BYTES} are allowed")
        body = stream.read(size)
        if len(body) < size:
            return
        yield opcode, body


def _unpacked(records: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    """Yield the records, with chunks replaced by their contents."""
    for opcode, body in records:
        if opcode != _CHUNK:
            yield opcode, body
            continue
        inner = _content(body)
        position = 0
        while position + 9 <= len(inner):
            opcode, length = struct.unpack_from("<BQ", inner, position)
            position += 9
            if position + length > len(inner):
                raise StorageError("a record is longer than its chunk")
            yield opcode, bytes(inner[position : position + length])
            position += length


def _content(body: bytes) -> memoryview:
    """Return the decompressed content of a chunk."""
    size, check = struct.unpack_from("<QI", body, 16)
    (packing,) = _strings(body, 28, 1)
    at = 28 + 4 + len(packing.encode())
    (length,) = struct.unpack_from("<Q", body, at)
    packed = body[at + 8 : at + 8 + length]
    if size > RECORD_BYTES:
        raise StorageError(f"a chunk of {size} bytes, at most {RECORD_BYTES} are allowed")
    unpack = {"": lambda data, limit: data, "zstd": unpack_zstd, "lz4": _unpack_lz4}.get(packing)
    if unpack is None:
        raise StorageError(f"a chunk is compressed as {shown(packing)}; supported are zstd and lz4")
    content = unpack(packed, size)
    if len(content) != size:
        raise StorageError(f"a chunk of {size} bytes has {len(content)}")
    if check and check != _crc32(content):
        raise StorageError("a chunk's checksum is wrong")
    return memoryview(content)


def _crc32(data: bytes) -> int:
    from zlib import crc32

    return crc32(data)


def _strings(body: bytes, position: int, count: int) -> list[str]:
    texts = []
    for _ in range(count):
        (size,) = struct.unpack_from("<I", body, position)
        texts.append(body[position + 4 : position + 4 + size].decode())
        position += 4 + size
    return texts


# --- sqlite3 ---

# sqlite3 also fails to decode error messages of SQLite about a damaged file.
_DAMAGED = (sqlite3.DatabaseError, UnicodeDecodeError)
_TABLES = ("topics", "messages", "message_definitions")


def _connect(file: Path) -> sqlite3.Connection:
    """Open for reading, without running code in the schema of the file."""
    uri = f"{file.resolve().as_uri()}?mode=ro&immutable=1"
    connection = sqlite3.connect(uri, uri=True)
    limits: Any = sqlite3
    if hasattr(connection, "setlimit"):  # Python 3.11 and later
        connection.setlimit(limits.SQLITE_LIMIT_LENGTH, MESSAGE_BYTES + 2**16)
    connection.execute("PRAGMA trusted_schema=OFF")
    return connection


def _check_tables(connection: sqlite3.Connection) -> set[str]:
    """Return the names of the tables.

    Raises:
        StorageError: a required table is a view or has computed columns.
    """
    tables = dict(connection.execute("SELECT name, type FROM sqlite_master").fetchmany(1000))
    for name in _TABLES:
        columns = connection.execute(f"PRAGMA table_xinfo({name})").fetchall()
        if name in tables and (tables[name] != "table" or any(column[6] for column in columns)):
            raise StorageError(f"{name} is not a plain table")
    if not {"topics", "messages"} <= set(tables):
        raise StorageError("it has no tables of topics and messages")
    return set(tables)


def _channels_of(connection: sqlite3.Connection) -> dict[int, Channel]:
    """Return topic id -> channel."""
    tables = _check_tables(connection)
    definitions: dict[str, tuple[str, str]] = {}
    if "message_definitions" in tables:
        rows = connection.execute(
            "SELECT topic_type, encoding, encoded_message_definition FROM message_definitions "
            "WHERE length(encoded_message_definition) <= ?",
            (DEFINITION,),
        )
        for kind, encoding, text in rows.fetchmany(TOPICS):
            definitions.setdefault(kind, (encoding, text))
    channels: dict[int, Channel] = {}
    for number, name, kind in connection.execute("SELECT id, name, type FROM topics"):
        _check_topic(name, kind, len(channels))
        channels[number] = Channel(name, kind, *definitions.get(kind, ("", "")))
    return channels


_MESSAGES = (
    "SELECT topic_id, timestamp, length(data), "
    f"CASE WHEN length(data) <= {MESSAGE_BYTES} THEN data END FROM messages"
)


def _row(
    row: tuple[Any, ...], channels: dict[int, Channel], file: Path, warnings: Counter[str]
) -> Message | None:
    number, time, size, data = row
    if number not in channels:
        return None
    if not (isinstance(time, int) and isinstance(data, bytes)):
        why = f"has more than {MESSAGE_BYTES} bytes" if data is None and size else "has no message"
        warnings[f"{file.name}: a row {why}, skipped"] += 1
        return None
    return channels[number], time, data


def _open_sqlite(file: Path, warnings: Counter[str]) -> File:
    connection = _connect(file)
    try:
        channels = _channels_of(connection)
        counts = dict(
            connection.execute("SELECT topic_id, count(*) FROM messages GROUP BY topic_id")
        )
        (times,) = connection.execute("SELECT min(timestamp), max(timestamp) FROM messages")
    except _DAMAGED as error:
        connection.close()
        raise StorageError(_reason(error)) from error
    except BaseException:
        connection.close()
        raise

    def messages(wanted: Collection[Channel]) -> Iterator[Message]:
        numbers = [number for number, channel in channels.items() if channel in wanted]
        marks = ",".join("?" * len(numbers))
        try:
            # Only ids are sorted: sorting the messages would need memory for all of them.
            order = connection.execute(
                f"SELECT rowid FROM messages WHERE topic_id IN ({marks}) ORDER BY timestamp, rowid",
                numbers,
            )
            for (rowid,) in order:
                row = connection.execute(f"{_MESSAGES} WHERE rowid = ?", (rowid,)).fetchone()
                message = None if row is None else _row(row, channels, file, warnings)
                if message is not None:
                    yield message
        except _DAMAGED as error:
            warnings[f"the recording is damaged ({_reason(error)}); the remainder is missing"] += 1

    by_channel: Counter[Channel] = Counter()
    for number, channel in channels.items():
        by_channel[channel] += counts.get(number, 0)
    first, last = (time if isinstance(time, int) else 0 for time in times)
    return File(dict(by_channel), first, messages, connection.close, last)


def _rows_of(file: Path, warnings: Counter[str]) -> Iterator[Message]:
    """Yield the messages of an SQLite file in the order of its pages, up to a missing page.

    If the file ends within a page, SQLite reads the missing part as zeros. The last rows, as many
    as may be in that page, are skipped.
    """
    connection = _connect(file)
    held: deque[tuple[Message, int]] = deque()
    bytes_held, is_truncated = 0, False
    try:
        (page,) = connection.execute("PRAGMA page_size").fetchone()
        is_truncated = file.stat().st_size % page != 0
        # Otherwise SQLite refuses a file that is shorter than its header states.
        connection.execute("PRAGMA writable_schema=ON")
        channels = _channels_of(connection)
        for row in connection.execute(f"{_MESSAGES} ORDER BY rowid"):
            message = _row(row, channels, file, warnings)
            if message is None:
                continue
            held.append((message, len(message[2])))
            bytes_held += held[-1][1]
            while held and (not is_truncated or bytes_held - held[0][1] >= page):
                bytes_held -= held[0][1]
                yield held.popleft()[0]
    except (*_DAMAGED, StorageError) as error:
        warnings[f"{file.name}: stopped at a damaged page ({_reason(error)})"] += 1
    finally:
        if is_truncated:
            warnings[f"{file.name}: the file ends within a page, whose messages are skipped"] += 1
        connection.close()


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()).rstrip(".")[:300] or type(error).__name__
