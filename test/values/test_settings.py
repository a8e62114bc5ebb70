"""Settings: checks, names and errors from one declaration."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from erc_ros.values.settings import (
    Composed,
    check,
    configured,
    entries,
    parameter,
    section,
    setting,
    values_of,
)


@dataclass(frozen=True, slots=True)
class Inner:
    hop: float = setting(0.4, "how often", "s", (0.05, 1.0), source="benchmarks.diarization")
    speakers: int = setting(6, "at most", range=(1, 50))

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True)
class Outer:
    timeout: float = parameter(1.5, "how long", "s", (0.0, 30.0), name="text_timeout")
    mode: str = setting("auto", "how", choices=("auto", "never"))
    is_on: bool = setting(True, "whether")
    inner: Inner = field(default_factory=Inner)

    def __post_init__(self) -> None:
        check(self)


def test_names_are_paths_unless_a_setting_has_its_own() -> None:
    names = [entry.name for entry in entries(Outer)]
    assert names == ["text_timeout", "mode", "is_on", "inner.hop", "inner.speakers"]


def test_values_reach_the_config_they_belong_to() -> None:
    config = configured(Outer, {"text_timeout": 2, "inner.speakers": 3})
    assert config == Outer(timeout=2.0, inner=Inner(speakers=3))
    assert type(config.timeout) is float


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"text_timeout": 31.0}, r"text_timeout must be in \[0, 30\], got 31.0"),
        ({"text_timeout": float("nan")}, r"text_timeout must be in \[0, 30\], got nan"),
        ({"text_timeout": "1.5"}, "text_timeout must be a float, got '1.5'"),
        ({"text_timeout": True}, "text_timeout must be a float, got True"),
        ({"inner.speakers": 2.0}, "inner.speakers must be an int, got 2.0"),
        ({"inner.hop": 2.0}, r"inner.hop must be in \[0.05, 1\], got 2.0"),
        ({"mode": "often"}, "mode must be one of auto, never, got 'often'"),
        ({"is_on": 1}, "is_on must be a bool, got 1"),
        ({"inner.hopp": 0.1}, "there is no parameter inner.hopp; did you mean inner.hop?"),
        ({"xyz": 0.1}, "there is no parameter xyz$"),
    ],
)
def test_what_is_wrong_is_named_with_what_is_allowed(values: dict, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        configured(Outer, values)


def test_a_config_made_in_python_is_checked_too() -> None:
    with pytest.raises(ValueError, match=r"hop.*\[0.05, 1\].*7.0"):
        Inner(hop=7.0)


@dataclass(frozen=True, init=False)
class Whole(Composed):
    hop: float = setting(0.4, "how often", "s", (0.05, 1.0))
    outer: Outer = section(Outer)
    other: Inner = section(Inner, "renamed")


def test_a_section_may_have_another_name_or_none() -> None:
    names = [entry.name for entry in entries(Whole)]
    assert names[1:] == [*(e.name for e in entries(Outer)), "renamed.hop", "renamed.speakers"]
    assert configured(Whole, {"text_timeout": 2.0, "renamed.hop": 0.5}) == Whole(
        outer=Outer(timeout=2.0), other=Inner(hop=0.5)
    )


def test_a_config_can_be_written_as_parameters_and_read_again() -> None:
    config = Whole(hop=0.1, outer=Outer(mode="never"), other=Inner(speakers=2))
    values = values_of(config)
    assert (values["hop"], values["mode"], values["renamed.speakers"]) == (0.1, "never", 2)
    assert configured(Whole, values) == config


def test_the_constructor_takes_the_fields_of_sections() -> None:
    config = Whole(hop=0.1, mode="never", inner=Inner(speakers=2))
    assert config == Whole(hop=0.1, outer=Outer(mode="never", inner=Inner(speakers=2)))
    assert replace(config, mode="auto").outer == Outer(inner=Inner(speakers=2))
    with pytest.raises(TypeError, match=r"no setting mod.; did you mean mode\?"):
        Whole(modo="never")
    with pytest.raises(ValueError, match="mode must be one of"):
        Whole(mode="often")


def test_a_field_of_a_section_is_readable_under_its_former_place() -> None:
    with pytest.warns(DeprecationWarning, match=r"Whole.mode is now .outer.mode"):
        assert Whole(mode="never").mode == "never"
    with pytest.raises(AttributeError):
        Whole().modo  # noqa: B018


def test_a_parameter_has_one_name_in_every_section() -> None:
    @dataclass(frozen=True)
    class Deep:
        outer: Outer = field(default_factory=Outer)

    assert [e.name for e in entries(Deep)][:2] == ["text_timeout", "outer.mode"]
