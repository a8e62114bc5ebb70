"""`.ci/run`: the commands of the README in an empty environment, and a complete report."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / ".ci" / "run"
pytestmark = pytest.mark.skipif(not SCRIPT.is_file(), reason="not a source tree")

# Records arguments and environment; its tests end as pytest's do, and fail if requested.
MAKE = """#!/bin/sh
{{ echo "make $*"; env; echo end; }} >> "{log}"
case "$1" in
  test*|lowest|jazzy)
    echo "tests with data: 0 run, 0 skipped"; echo "7 passed, 2 skipped in 1.50s" ;;
esac
[ "$1" != "{failing}" ] || {{ echo "1 failed in 2.00s"; exit 2; }}
"""


def ci(
    folder: Path, failing: str = "", **variables: str
) -> tuple[subprocess.CompletedProcess[str], dict[str, dict[str, str]]]:
    """Run the script with a stand-in for make and for the benchmarks.

    Returns:
        The process, and the environment of each `make` by its first argument.
    """
    (folder / ".ci").mkdir()
    shutil.copy(SCRIPT, folder / ".ci" / "run")
    for file, text in {
        "bin/make": MAKE.format(log=folder / "log", failing=failing),
        ".venv/bin/python": '#!/bin/sh\necho benchmark "$@"\n',
    }.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(text)
        (folder / file).chmod(0o755)
    path = f"{folder / 'bin'}{os.pathsep}/usr/bin{os.pathsep}/bin"
    done = subprocess.run(
        [str(folder / ".ci" / "run")],
        env={"PATH": path, "HOME": str(folder), **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    calls: dict[str, dict[str, str]] = {}
    for part in (folder / "log").read_text().split("\nend\n"):
        line, _, environment = part.strip().partition("\n")
        if line:
            pairs = (each.partition("=") for each in environment.splitlines())
            calls[line.split()[1]] = {name: value for name, _, value in pairs}
    return done, calls


def test_the_readmes_commands_get_nothing_of_the_callers_environment(tmp_path: Path) -> None:
    done, calls = ci(tmp_path, ERC_DATA=str(tmp_path), CI="true", PYTHONPATH="/nowhere")
    assert done.returncode == 0, done.stderr
    for command in ("demo", "test", "test-fresh"):
        assert not {"ERC_DATA", "CI", "PYTHONPATH"} & set(calls[command]), command
        assert {"HOME", "PATH"} <= set(calls[command])
    assert calls["test-data"]["ERC_DATA"] == str(tmp_path)


def test_the_closing_report_has_the_summary_of_every_run_of_tests(tmp_path: Path) -> None:
    done, _ = ci(tmp_path, ERC_DATA=str(tmp_path))
    closing = done.stdout[done.stdout.index("== results") :]
    assert closing.count("7 passed, 2 skipped") == closing.count("tests with data") == 5
    assert closing.rstrip().endswith("all steps passed")


@pytest.mark.parametrize("failing", ["lint", "test", "test-data", "test-fresh", "jazzy"])
def test_a_step_that_fails_fails_the_script(tmp_path: Path, failing: str) -> None:
    done, calls = ci(tmp_path, failing, ERC_DATA=str(tmp_path))
    assert done.returncode != 0
    closing = done.stdout[done.stdout.index("== results") :]
    assert "FAILED" in closing and "all steps passed" not in closing
    assert ("1 failed in 2.00s" in closing) == (failing != "lint")
    assert list(calls)[-1] == failing


def test_without_data_it_says_what_was_not_run(tmp_path: Path) -> None:
    done, calls = ci(tmp_path)
    assert done.returncode == 0 and "test-data" not in calls
    assert "not run: the tests that read a corpus" in done.stdout[done.stdout.index("== results") :]
