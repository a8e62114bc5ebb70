"""Selection of the classes for each contract test."""

from __future__ import annotations

import pytest

from erc_ros import plugins
from erc_ros.contracts.options import FIXTURES
from erc_ros.plugins import Kind, find, names


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test for each class of its kind."""
    given = {each: metafunc.config.getoption(f"erc_{each}", default=[]) for each in FIXTURES}
    for fixture, kind in FIXTURES.items():
        if fixture in metafunc.fixturenames:
            chosen = given[fixture] if any(given.values()) else available(kind)
            metafunc.parametrize(fixture, chosen)


def available(kind: Kind) -> list[str]:
    """Return the names of a kind whose classes can be loaded."""
    if kind in (plugins.FUSION_MODELS, plugins.ENCODERS, plugins.CORPORA):
        pytest.importorskip("torch", reason=f"a {kind.noun} needs the extra [train]")
    if kind is plugins.CORPORA:
        from erc_ros.training.datasets.corpora import BUILT_IN

        return [*BUILT_IN, *names(kind)]
    for name in names(kind):
        find(kind, name)
    return names(kind)
