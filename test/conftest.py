"""Which tests may be run a second time, and what that says about the run.

Tests that need discovery between ROS 2 participants (the marker `dds`) depend on the machine:
docs/known_issues.md has what is known about that. They alone may fail once; how many did is told at
the end, and more than one fails the run, so that a fault of ours cannot hide behind the repetition.
"""

from __future__ import annotations

import signal

import pytest
from generated import generated_iemocap, generated_meld  # noqa: F401  fixtures for every room
from hypothesis import HealthCheck, settings

import erc_ros  # noqa: F401  before any test imports onnxruntime: it disables its telemetry

# A busy machine must not fail a property: time limits of examples measure the machine.
settings.register_profile(
    "erc_ros", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("erc_ros")

# Whoever uses one of these has nodes that talk.
FIXTURES = {"make_bench", "both_ways", "erc_run"}
REPETITIONS_ALLOWED = 1


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


def repeated(config: pytest.Config) -> list[pytest.TestReport]:
    """The failures after which a test was run again."""
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
    failures = repeated(config)
    count = f"tests run a second time: {len(failures)}"
    terminalreporter.line(f"{count} (more than {REPETITIONS_ALLOWED} fails the run)")
    for report in failures:
        crash = getattr(report.longrepr, "reprcrash", None)
        reason = crash.message.splitlines()[0] if crash else "?"
        terminalreporter.line(f"  {report.nodeid}: {reason}")
