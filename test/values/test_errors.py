from __future__ import annotations

import subprocess
import sys

import pytest

from erc_ros.values.errors import in_words, without_words
from erc_ros.values.settings import check
from erc_ros.values.tables import parse_table

SAID = "zanzibarquux"


def caught(work: object) -> Exception:
    with pytest.raises(Exception) as info:
        work()  # type: ignore[operator]
    return info.value


def test_our_own_messages_are_told_as_they_are() -> None:
    error = caught(lambda: parse_table(b"a: [", "file.yaml"))
    assert in_words(error) == str(error) and "file.yaml" in in_words(error)
    assert in_words(ValueError("never raised")) == "never raised"


def test_what_a_library_says_is_not_told_as_it_may_quote() -> None:
    error = caught(lambda: int(SAID))
    assert SAID in str(error) and in_words(error) == "ValueError"
    error = caught(lambda: {}[SAID])
    assert in_words(error) == "KeyError"


def test_the_place_in_our_code_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    error = caught(lambda: check(SAID))  # type: ignore[arg-type]
    assert SAID not in in_words(error) and "in settings.py, line " in in_words(error)


def test_a_traceback_without_words_has_places_and_the_type() -> None:
    error = caught(lambda: int(SAID))
    text = without_words(error, error.__traceback__)
    assert SAID not in text and "test_errors.py, line " in text and text.endswith("ValueError")


@pytest.mark.parametrize("where", ["main", "thread"])
def test_a_process_that_dies_tells_no_words(where: str) -> None:
    pytest.importorskip("rclpy")
    work = f"int('{SAID}')"
    if where == "thread":
        work = f"import threading; t = threading.Thread(target=lambda: {work}); t.start(); t.join()"
    code = f"from erc_ros.nodes.process import tell_no_words; tell_no_words(); {work}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "ValueError" in done.stderr and SAID not in done.stderr + done.stdout


def test_a_process_that_crashes_tells_no_words() -> None:
    pytest.importorskip("rclpy")
    code = (
        "import os, signal; from erc_ros.nodes.process import tell_no_words; tell_no_words()\n"
        f"def work(said): os.kill(os.getpid(), signal.SIGSEGV)\nwork('{SAID}')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == -11
    assert "Segmentation fault" in done.stderr and "in work" in done.stderr
    assert SAID not in done.stderr
