"""Only tests that need DDS discovery may fail once, and only one of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("pytest_rerunfailures", reason="the extra [test] is not installed")

FAILS_ONCE = """
import pytest
seen = set()
{marker}
@pytest.mark.parametrize("number", range({count}))
def test_it(number):
    first = number not in seen
    seen.add(number)
    assert not first, "nobody came"
"""


def run(folder: Path, marker: str, count: int) -> tuple[int, str]:
    (folder / "conftest.py").write_text(Path(__file__).with_name("conftest.py").read_text())
    (folder / "test_it.py").write_text(FAILS_ONCE.format(marker=marker, count=count))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "."],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},  # what conftest.py imports
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("marker", "count", "code", "said"),
    [
        ("@pytest.mark.dds", 1, 0, "tests run a second time: 1"),
        ("@pytest.mark.dds", 2, 1, "tests run a second time: 2"),
        ("", 1, 1, "tests run a second time: 0"),
        ("@pytest.mark.flaky(reruns=3)", 1, 4, "mark it so, or mend it"),
    ],
)
def test_a_test_that_fails_once(
    tmp_path: Path, marker: str, count: int, code: int, said: str
) -> None:
    found, output = run(tmp_path, marker, count)
    assert (found, said in output) == (code, True), output
    if marker == "@pytest.mark.dds":
        assert "nobody came" in output
