"""Dataclasses from mappings: wrong values are rejected with their name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from erc_ros.values.tables import LARGEST, build, parse_table, read_table


@dataclass(frozen=True, slots=True)
class Part:
    file: str
    size: int = 8

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"size is {self.size}, must be at least 1")


@dataclass(frozen=True, slots=True)
class Whole:
    epochs: int
    rate: float = 0.1
    is_on: bool = False
    seeds: tuple[int, ...] = (0,)
    pair: tuple[float, str] = (1.0, "s")
    classes: list[list[int]] = field(default_factory=list)
    part: Part = field(default_factory=lambda: Part("a"))
    by_name: Mapping[str, Part] = field(default_factory=dict)
    anything: Mapping[str, Any] = field(default_factory=dict)
    limit: float | None = None


def test_a_table_becomes_a_dataclass() -> None:
    table = {
        "epochs": 3,
        "rate": 1,
        "seeds": [1, 2],
        "pair": [2, "Hz"],
        "classes": [[], [0]],
        "part": {"file": "b"},
        "by_name": {"audio": {"file": "c", "size": 2}},
        "anything": {"x": [None]},
        "limit": 2,
    }
    whole = build(Whole, table, "top")
    assert whole == Whole(
        3, 1.0, False, (1, 2), (2.0, "Hz"), [[], [0]], Part("b"), {"audio": Part("c", 2)},
        {"x": [None]}, 2.0,
    )  # fmt: skip
    assert type(whole.rate) is float
    assert build(Whole, {"epochs": 1, "limit": None}, "").limit is None


def test_a_number_that_yaml_takes_for_text_is_a_number() -> None:
    """YAML 1.1 requires a decimal point, as in 1.0e-4, but 1e-4 is meant as a number."""
    assert build(Whole, parse_table(b"{epochs: 1, rate: 1e-4}", "r"), "").rate == 1e-4


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"epochs": "three"}, r"^top\.epochs must be an int, got 'three'$"),
        ({"epochs": True}, r"^top\.epochs must be an int, got True$"),
        ({"epochs": 1.0}, r"^top\.epochs must be an int, got 1.0$"),
        ({"epochs": 1, "rate": "0.1"}, r"^top\.rate must be a float, got '0.1'$"),
        ({"epochs": 1, "rate": True}, r"^top\.rate must be a float, got True$"),
        ({"epochs": 1, "rate": 10**400}, r"^top\.rate is too large for a float: 1000"),
        ({"epochs": 1, "is_on": 1}, r"^top\.is_on must be a bool, got 1$"),
        ({"epochs": 1, "epoch": 2, 3: 4}, r"^top has no \['3', 'epoch'\]; it has \['anything'"),
        ({"rate": 0.1}, r"^top lacks \['epochs'\]$"),
        ({"epochs": 1, "seeds": 3}, r"^top\.seeds must be a list, got 3$"),
        ({"epochs": 1, "seeds": "12"}, r"^top\.seeds must be a list, got '12'$"),
        ({"epochs": 1, "seeds": [1, "a"]}, r"^top\.seeds\[1\] must be an int, got 'a'$"),
        ({"epochs": 1, "pair": [1.0]}, r"^top\.pair must have 2 values, got \[1.0\]$"),
        ({"epochs": 1, "classes": [0]}, r"^top\.classes\[0\] must be a list, got 0$"),
        ({"epochs": 1, "part": {}}, r"^top\.part lacks \['file'\]$"),
        ({"epochs": 1, "part": "a"}, r"^top\.part must be a mapping, got 'a'$"),
        ({"epochs": 1, "part": {"file": 3}}, r"^top\.part\.file must be a string, got 3$"),
        ({"epochs": 1, "part": {"file": "a", "size": 0}}, r"^top\.part: size is 0, must be at le"),
        ({"epochs": 1, "by_name": {"x": {}}}, r"^top\.by_name\.x lacks \['file'\]$"),
        ({"epochs": 1, "by_name": {1: {}}}, r"^top\.by_name: names must be text, got 1$"),
        ({"epochs": 1, "limit": "x"}, r"^top\.limit must be a float, got 'x'$"),
    ],
)
def test_what_is_wrong_is_named_with_what_is_right(table: dict[Any, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(Whole, table, "top")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
)


@given(st.dictionaries(st.sampled_from(list(Whole.__dataclass_fields__)), values))
def test_no_table_does_more_than_fit_or_be_refused(table: dict[str, Any]) -> None:
    try:
        whole = build(Whole, table, "top")
    except ValueError as error:
        assert "top" in str(error)
        assert "\n" not in str(error)
    else:
        assert type(whole.epochs) is int


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"- a", "must be a mapping, got \\['a'\\]"),
        (b"", "must be a mapping, got None"),
        (b"a: [", "is not YAML"),
        (b"\xff\xfe\xfa", "is not YAML"),
        (b"3: a", "names must be text, got 3"),
        (b"a: !!python/object/apply:os.getcwd []", "is not YAML"),
        (b"[" * 5000, "is not YAML"),
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "r.yaml"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=rf"r\.yaml.*{message}"):
        read_table(file)


def test_a_table_that_repeats_itself_a_billion_times_is_refused_in_a_line() -> None:
    lines = ["a0: &a0 [x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    table = parse_table("\n".join(lines).encode(), "bomb")
    with pytest.raises(ValueError, match="int") as raised:
        build(Whole, {"epochs": table["a11"]}, "top")
    assert len(str(raised.value)) < 500


def test_a_file_that_is_too_large_or_not_there_is_refused(tmp_path: Path) -> None:
    large = tmp_path / "large.yaml"
    large.write_bytes(b"#" * (LARGEST + 1))
    with pytest.raises(ValueError, match=r"large\.yaml.*4194305.*4194304"):
        read_table(large)
    with pytest.raises(FileNotFoundError, match=r"none\.yaml"):
        read_table(tmp_path / "none.yaml")
    with pytest.raises(ValueError, match="read"):
        read_table(tmp_path)
