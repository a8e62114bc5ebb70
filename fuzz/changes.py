"""Random mutations of valid inputs: bytes, words, values of a table, chunks of a PNG."""

from __future__ import annotations

import copy
import json
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

Change = Callable[[Random, bytes], bytes]

_POWERS = (7, 8, 15, 16, 31, 32, 63, 64)
_NUMBERS = (0, 1, *(2**power - 1 for power in _POWERS), *(2**power for power in _POWERS))
_WORDS = (
    *(b"", b"0", b"-1", b"1e400", b"-1e-400", b"nan", b"inf", b"9" * 20, b"0x7f", b"1_0"),
    *(b"null", b"~", b"true", b'"', b"'", b"\\", b"{", b"}", b"[" * 50, b"]", b":", b",", b"#"),
    *(b"&a", b"*a", b"<", b">", b"</", b"&lt;", b"&amp;", b"\n", b"\r", b"\t", b"\0", b"%s"),
    *(b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", "\u2028".encode(), "\u0131".encode()),
    *("\U0001f600".encode(), b"a" * 300, b"../.."),
)
_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 0.5, 2**31, 2**63, 2**70, -(2**64), 1e308, -1e308, 5e-324),
    *(float("inf"), float("nan"), "", "0", "1e400", "a" * 300, "../../etc/passwd", "\0"),
    *("\ud800", "\u00e9\u2028\n", [], {}, [[]], [None], {"": None}, [1, [2, [3]]]),
)


def of_bytes(random: Random, data: bytes) -> bytes:
    """Mutate one to six places: change, delete, repeat or insert bytes, or write a number."""
    made = bytearray(data)
    for _ in range(random.randrange(1, 7)):
        at = random.randrange(len(made) + 1)
        what = random.randrange(7)
        if what == 0 and at < len(made):
            made[at] = random.randrange(256)
        elif what == 1 and at < len(made):
            made[at] ^= 1 << random.randrange(8)
        elif what == 2:
            del made[at : at + random.randrange(1, 65)]
        elif what == 3:
            made[at:at] = made[at : at + random.randrange(1, 201)]
        elif what == 4:
            made[at:at] = random.randbytes(random.randrange(1, 17))
        elif what == 5:
            _put_number(random, made, at)
        elif random.randrange(4) == 0:
            del made[at:]
    return bytes(made)


def in_place(random: Random, data: bytes) -> bytes:
    """Overwrite one or two places by a byte or a number, without moving other bytes."""
    made = bytearray(data)
    for _ in range(random.randrange(1, 3)):
        at = random.randrange(len(made))
        if random.randrange(2):
            made[at] = random.randrange(256)
        else:
            _put_number(random, made, at)
    return bytes(made)


def _put_number(random: Random, made: bytearray, at: int) -> None:
    """Write a number of 1, 2, 4 or 8 bytes: an extreme one, or one near the old one."""
    size, is_little = random.choice((1, 2, 4, 4, 8)), random.randrange(3) > 0
    if random.randrange(2):
        number = random.choice((*_NUMBERS, len(made), len(made) - at))
    else:
        number = int.from_bytes(made[at : at + size], "little") + random.choice((-8, -1, 1, 8))
    little = (number % 256**size).to_bytes(size, "little")
    made[at : at + size] = little if is_little else little[::-1]


_TOKENS = re.compile(rb"[A-Za-z_]+|[-+]?[0-9.]+|[ \t]+|\n|.", re.DOTALL)


def of_words(random: Random, data: bytes) -> bytes:
    """Mutate one to six words of a text: replace, delete, repeat, swap, or insert odd ones."""
    words = _TOKENS.findall(data)
    for _ in range(random.randrange(1, 7)):
        if not words:
            break
        at, other = random.randrange(len(words)), random.randrange(len(words))
        what = random.randrange(6)
        if what == 0:
            words[at] = random.choice(_WORDS)
        elif what == 1:
            words.insert(at, random.choice(_WORDS))
        elif what == 2:
            del words[at : at + random.randrange(1, 9)]
        elif what == 3:
            words[at:at] = words[at : at + random.randrange(1, 40)] * random.randrange(1, 4)
        elif what == 4:
            words[at], words[other] = words[other], words[at]
        else:
            words[at] = b"%g" % random.choice((-1, 1e-9, 1e9, 1e18, 2**53 + 1.0, -0.0))
    return b"".join(words)


_VALUE = re.compile(rb"[A-Za-z0-9_.+-]+")


def one_word(random: Random, data: bytes) -> bytes:
    """Replace one word or number of a text by another of it or an odd one."""
    words = list(_VALUE.finditer(data))
    old = random.choice(words)
    new = random.choice(words)[0] if random.randrange(3) else random.choice(_WORDS)
    if random.randrange(3) == 0:
        new = b"%g" % random.choice((-1, -0.0, 1e-9, 0.5, 100, 1e5, 1e9, 1e18, 2**53 + 1))
    return data[: old.start()] + new + data[old.end() :]


def of_table(random: Random, data: bytes) -> bytes:
    """Mutate one to four values of a JSON text: replace, delete or rename them."""
    table = json.loads(data)
    for _ in range(random.randrange(1, 5)):
        places = list(_places(table))
        if not places:
            break
        holder, key = random.choice(places)
        what = random.randrange(8)
        if what < 4:
            holder[key] = copy.deepcopy(random.choice(_VALUES))
        elif what == 4:
            del holder[key]
        elif what == 5:
            there, name = random.choice(places)
            holder[key] = copy.deepcopy(there[name])
        elif what == 6 and isinstance(holder, dict):
            holder[str(random.choice(_VALUES))[:40]] = holder.pop(key)
        elif what == 7:
            for _ in range(random.randrange(100)):
                holder[key] = [holder[key]] if random.randrange(2) else {"a": holder[key]}
            break  # further changes would be inside this one
    return json.dumps(table).encode()


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the container and key of each nested value."""
    if not isinstance(value, (dict, list)):
        return
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        yield value, key
        yield from _places(value[key])


def of_png(random: Random, data: bytes) -> bytes:
    """Mutate bytes of a PNG and correct the checksums, without which no parser reads on."""
    made = bytearray(of_bytes(random, data))
    at = 8
    while at + 12 <= len(made):
        (size,) = struct.unpack_from(">I", made, at)
        if at + 12 + size > len(made):
            break
        struct.pack_into(">I", made, at + 8 + size, zlib.crc32(made[at + 4 : at + 8 + size]))
        at += 12 + size
    return bytes(made)
