"""What the markers `dds` and `data` mean, which examples hypothesis tries, and the closing summary.

Tests that need discovery between ROS 2 participants (the marker `dds`) depend on the machine:
docs/explanation/known_issues.md has what is known about that. They alone may fail once. Which
did is printed at the end, and more than three (one percent of them) fail the run, so that an error
cannot hide behind the repetition.

Tests that read a corpus (the marker `data`) are skipped without $ERC_DATA. The summary counts them.

hypothesis tries the same examples in every run, but with ERC_EXAMPLES=fresh (`make test-fresh`)
new ones, and prints how to repeat one that fails.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Generator

import pytest
from generated import generated_iemocap, generated_meld  # noqa: F401  fixtures for every room
from hypothesis import HealthCheck, settings

import erc_ros  # noqa: F401  before any test imports onnxruntime: it disables its telemetry

# A busy machine must not fail a property: time limits of examples measure the machine.
settings.register_profile(
    "fresh",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
    derandomize=False,  # also where the variable CI is set
)
settings.register_profile("same", settings.get_profile("fresh"), derandomize=True, database=None)
settings.load_profile("fresh" if os.environ.get("ERC_EXAMPLES") == "fresh" else "same")

# Tests with one of these use nodes that communicate.
FIXTURES = {"make_bench", "both_ways", "erc_run"}
REPETITIONS_ALLOWED = 3


def pytest_configure(config: pytest.Config) -> None:
    # A shell without job control lets its background jobs ignore Ctrl-C, and their children, too:
    # tests of what Ctrl-C does would wait for ever.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.dds)
        if item.get_closest_marker("flaky"):
            raise pytest.UsageError(
                f"{item.nodeid}: only tests marked `dds` are repeated; mark it so, or mend it"
            )
        if item.get_closest_marker("dds"):
            item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, object]:
    """Check that tests skipped for lack of data are marked, so that `make test-data` runs them."""
    report = yield
    if report.skipped and lacks_data(report) and not item.get_closest_marker("data"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} needs ERC_DATA: mark it `data`"
    return report


def lacks_data(report: pytest.TestReport) -> bool:
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
    return "ERC_DATA" in reason


def marked_data(report: pytest.TestReport) -> bool:
    return getattr(report, "when", "") == "call" and "data" in report.keywords


def repeated(config: pytest.Config) -> list[pytest.TestReport]:
    """Return the failures after which a test was repeated."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    return list(reporter.stats.get("rerun", [])) if reporter else []


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    too_many = len(repeated(session.config)) > REPETITIONS_ALLOWED
    if too_many and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    stats = terminalreporter.stats
    with_data = [r for r in stats.get("passed", []) + stats.get("failed", []) if marked_data(r)]
    without = [report for report in stats.get("skipped", []) if lacks_data(report)]
    terminalreporter.line(
        f"tests with data: {len(with_data)} run, {len(without)} skipped for lack of it"
        + (
            " (ERC_DATA names the folder of the corpora: docs/reference/datasets.md)"
            if without
            else ""
        )
    )
    failures = repeated(config)
    count = f"tests run a second time: {len(failures)}"
    terminalreporter.line(f"{count} (more than {REPETITIONS_ALLOWED} fails the run)")
    for report in failures:
        crash = getattr(report.longrepr, "reprcrash", None)
        reason = crash.message.splitlines()[0] if crash else "?"
        terminalreporter.line(f"  run again: {report.nodeid}: {reason}")
