"""Tests that read a corpus are marked, and the summary counts those with and without data."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import pytest
from data_folder import need

{marker}
@pytest.mark.parametrize("folder", ["here", "there"])
def test_it(folder):
    assert need(folder).is_dir()
"""


def run(folder: Path, marker: str, **variables: str) -> tuple[int, str]:
    (folder / "conftest.py").write_text(Path(__file__).with_name("conftest.py").read_text())
    (folder / "test_it.py").write_text(TESTS.format(marker=marker))
    environment = {name: value for name, value in os.environ.items() if name != "ERC_DATA"}
    path = [str(Path(__file__).parent), *filter(None, [environment.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "."],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**environment, "PYTHONPATH": os.pathsep.join(path), **variables},
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize(("has_data", "counts"), [(False, (0, 2)), (True, (1, 1))])
def test_the_summary_counts_what_ran_with_data_and_what_was_skipped_without(
    tmp_path: Path, has_data: bool, counts: tuple[int, int]
) -> None:
    (tmp_path / "data" / "here").mkdir(parents=True)
    variables = {"ERC_DATA": str(tmp_path / "data")} if has_data else {}
    code, output = run(tmp_path, "@pytest.mark.data", **variables)
    assert code == 0, output
    (line,) = [line for line in output.splitlines() if line.startswith("tests with data:")]
    assert f"{counts[0]} run, {counts[1]} skipped" in line


def test_a_test_that_lacks_data_without_the_marker_fails(tmp_path: Path) -> None:
    code, output = run(tmp_path, "")
    assert code == 1 and "2 failed" in output and "mark it `data`" in output
