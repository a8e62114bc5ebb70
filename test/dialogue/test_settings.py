"""Every tuning constant of the dialogue is a setting with a description and a range."""

from __future__ import annotations

import pytest

from erc_ros.dialogue.assembler import AssemblerConfig
from erc_ros.values.settings import configured, entries

SETTINGS = list(entries(AssemblerConfig))


def test_names_are_unique_and_those_of_the_robots_owner_are_short() -> None:
    names = [entry.name for entry in SETTINGS]
    assert len(names) == len(set(names)) > 90
    for name in ("expect_text", "text_timeout", "conversation_gap", "robot_tail"):
        assert name in names
    assert {"provisional_period", "diarization.clustering.prior", "alignment.snap"} <= set(names)


def test_a_setting_says_what_it_is_and_its_default_is_allowed() -> None:
    for entry in SETTINGS:
        known = entry.setting
        assert known.description and known.source and (known.range or known.choices), entry.name
        assert known.checked(entry.name, entry.default, entry.kind) == entry.default


def test_a_value_out_of_range_is_refused_by_its_full_name() -> None:
    for entry in SETTINGS:
        if entry.setting.range is not None:
            above = entry.kind(entry.setting.range[1] + 1)
            with pytest.raises(ValueError, match=entry.name):
                configured(AssemblerConfig, {entry.name: above})


def test_values_that_do_not_fit_each_other_are_refused() -> None:
    wrong: list[dict[str, float]] = [
        {"diarization.hop": 1.3},
        {"diarization.min_evidence": 0.2},
        {"voice_activity.offset": 0.5},
        {"voice_activity.padding": 0.5},
        {"provisional_period": 0.05},
    ]
    for values in wrong:
        with pytest.raises(ValueError, match=next(iter(values))):
            configured(AssemblerConfig, values)
