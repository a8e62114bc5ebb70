"""Mutation testing (scripts/mutants.py): selection and counts."""

from __future__ import annotations

import ast
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import yaml

REPOSITORY = Path(__file__).parents[1]
FILE = REPOSITORY / "scripts" / "mutants.py"


@pytest.fixture(scope="module")
def mutants() -> ModuleType:
    if not FILE.is_file():
        pytest.skip("scripts/ is not here: this is no source tree")
    spec = importlib.util.spec_from_file_location("mutants", FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["mutants"] = module  # where its dataclasses look
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("raise ValueError(f'{n} is too large')", "raise ValueError(None)", True),
        ("raise ValueError('x')", "raise TypeError('x')", False),
        ("log.warning('%d were lost', n)", "log.warning('%d were lost', None)", True),
        ("say = 'nothing was heard'", "say = 'XXnothing was heardXX'", True),
        ("kind = 'audio'", "kind = 'AUDIO'", False),
        ("return n < 3", "return n <= 3", False),
        ("zip(a, b, strict=True)", "zip(a, b, strict=False)", True),
        ("zip(a, b, strict=True)", "zip(a, None, strict=True)", False),
        ("check_time('stamp', n)", "check_time(None, n)", True),
        ("check_time('stamp', n)", "check_time('stamp')", False),
        ("f.read(encoding='utf-8')", "f.read(encoding='UTF-8')", True),
        ("f.read(encoding='utf-8')", "f.read(encoding=None)", False),
        ("color = '#e0e0e0'", "color = '#E0E0E0'", True),
        ("color = '#e0e0e0'", "color = 'XX#e0e0e0XX'", False),
    ],
)
def test_changes_of_what_only_people_read_are_not_drawn(
    mutants: ModuleType, before: str, after: str, expected: bool
) -> None:
    one, other = (ast.parse(f"def f(n, a, b):\n    {code}").body[0] for code in (before, after))
    assert mutants.is_wording(one, other) is expected


def test_the_interval_is_wilsons(mutants: ModuleType) -> None:
    assert mutants.interval(8, 10) == (49.0, 94.3)  # as in textbooks
    assert mutants.interval(10, 10) == (72.2, 100.0)
    assert mutants.interval(0, 10) == (0.0, 27.8)


def test_every_equivalent_mutant_has_a_reason_and_is_of_code_that_is_still_there(
    mutants: ModuleType,
) -> None:
    listed = yaml.safe_load((REPOSITORY / "scripts" / "equivalent_mutants.yaml").read_text())
    assert len(mutants.equivalents()) == len(listed)
    for entry in listed:
        module, _, name = entry["function"].rpartition(".")
        file = REPOSITORY / (module.replace(".", "/") + ".py")
        if not file.is_file():  # a method
            file = REPOSITORY / (module.rpartition(".")[0].replace(".", "/") + ".py")
        functions = [
            node
            for node in ast.walk(ast.parse(file.read_text()))
            if isinstance(node, ast.FunctionDef) and node.name == name
        ]
        code = "\n".join(map(ast.unparse, functions)).replace("lambda :", "lambda:")  # of 3.10
        lines = {line.strip() for line in code.splitlines()}
        assert entry["before"] in lines, entry["function"]


def test_packages_and_their_tests_exist(mutants: ModuleType) -> None:
    for package in mutants.PACKAGES.values():
        assert all(list(REPOSITORY.glob(pattern)) for pattern in package.sources)
        assert all((REPOSITORY / test).exists() for test in (*package.tests, *package.excluded))


def test_the_copy_has_every_folder_that_the_tests_read(mutants: ModuleType, tmp_path: Path) -> None:
    for name in ("erc_ros", "docs", "config", "test", "mutants"):
        (tmp_path / name).mkdir()
    (tmp_path / "pyproject.toml").touch()
    mutants.configure(tmp_path, mutants.PACKAGES["pipeline"])
    lines = (tmp_path / "pyproject.toml").read_text().splitlines()
    assert 'also_copy = ["config", "docs", "test", "pyproject.toml"]' in lines


def test_the_tests_of_the_quickest_file_run_first_and_those_of_a_file_together(
    mutants: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    durations = {"slow.py::a": 0.1, "slow.py::b": 9.0, "quick.py::a": 1.0, "quick.py::b": 2.0}
    (tmp_path / "mutmut-stats.json").write_text(json.dumps({"duration_by_test": durations}))
    items = [
        SimpleNamespace(location=(file, line, "test"))
        for file, line in (("slow.py", 1), ("quick.py", 9), ("slow.py", 2), ("quick.py", 3))
    ]
    before = list(items)
    mutants.pytest_collection_modifyitems(items)  # no statistics yet
    assert items == before
    monkeypatch.chdir(tmp_path)
    mutants.pytest_collection_modifyitems(items)
    assert [each.location[:2] for each in items] == [
        ("quick.py", 3),
        ("quick.py", 9),
        ("slow.py", 1),
        ("slow.py", 2),
    ]
