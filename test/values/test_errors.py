from __future__ import annotations

import pickle
import subprocess
import sys

import pytest

from erc_ros.adapters import UnusableMessageError
from erc_ros.inference.manifest import BundleError
from erc_ros.values.errors import ErcValueError, redacted_traceback, safe_message
from erc_ros.values.settings import check
from erc_ros.values.tables import parse_table

SAID = "zanzibarquux"


def caught(work: object) -> Exception:
    with pytest.raises(Exception) as info:
        work()  # type: ignore[operator]
    return info.value


def test_the_text_of_an_error_of_this_package_is_logged() -> None:
    error = caught(lambda: parse_table(b"a: [", "file.yaml"))
    assert safe_message(error) == str(error) and "file.yaml" in safe_message(error)


def test_only_the_class_of_an_error_decides_not_where_it_was_raised() -> None:
    class CameraError(ErcValueError):
        """An error of a plug-in, not raised in a file of this package."""

    def fail() -> None:
        raise CameraError("camera 3 is missing")

    assert safe_message(caught(fail)) == "camera 3 is missing"
    assert safe_message(ValueError(SAID)) == "ValueError"


def test_errors_have_stable_codes_and_can_be_sent_between_processes() -> None:
    assert (
        BundleError("x").code == "bundle" and UnusableMessageError("x").code == "unusable_message"
    )
    error = pickle.loads(pickle.dumps(BundleError("a file is missing", code="missing")))
    assert (type(error), str(error), error.code) == (BundleError, "a file is missing", "missing")
    assert BundleError("x").code == "bundle"


def test_what_a_library_says_is_not_logged_as_it_may_quote() -> None:
    error = caught(lambda: int(SAID))
    assert SAID in str(error) and safe_message(error) == "ValueError"
    error = caught(lambda: {}[SAID])
    assert safe_message(error) == "KeyError"


def test_the_place_in_our_code_is_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    error = caught(lambda: check(SAID))  # type: ignore[arg-type]
    assert SAID not in safe_message(error) and "in settings.py, line " in safe_message(error)


def test_a_traceback_without_words_has_places_and_the_type() -> None:
    error = caught(lambda: int(SAID))
    text = redacted_traceback(error, error.__traceback__)
    assert SAID not in text and "test_errors.py, line " in text and text.endswith("ValueError")


@pytest.mark.parametrize("where", ["main", "thread"])
def test_a_process_that_dies_logs_no_words(where: str) -> None:
    pytest.importorskip("rclpy")
    work = f"int('{SAID}')"
    if where == "thread":
        work = f"import threading; t = threading.Thread(target=lambda: {work}); t.start(); t.join()"
    code = f"from erc_ros.nodes.process import redact_errors; redact_errors(); {work}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "ValueError" in done.stderr and SAID not in done.stderr + done.stdout


def test_a_process_that_crashes_logs_no_words() -> None:
    pytest.importorskip("rclpy")
    code = (
        "import os, signal; from erc_ros.nodes.process import redact_errors; redact_errors()\n"
        f"def work(said): os.kill(os.getpid(), signal.SIGSEGV)\nwork('{SAID}')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == -11
    assert "Segmentation fault" in done.stderr and "in work" in done.stderr
    assert SAID not in done.stderr
