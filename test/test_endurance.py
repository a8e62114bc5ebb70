"""The endurance run and the fuzzing targets, on a small scale."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from benchmarks import soak
from benchmarks.soak import Watch, core, write
from fuzz import run
from fuzz.targets import Target, targets

pytest.importorskip("espeakng_loader", reason="the extra [demo] is not installed")


def test_every_text_gets_an_estimate_in_constant_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bundles import write_tiny_bundle

    monkeypatch.setattr(soak, "SPEED", 1)  # how busy this machine is must not matter here
    watch = Watch()
    core(0.03, watch, str(write_tiny_bundle(tmp_path / "bundle")), speakers=False)
    assert [what for holds, what in watch.checks if not holds] == []
    write(tmp_path, watch, "python -m benchmarks.soak --core")
    assert "7 checks, 0 failed" in (tmp_path / "report.md").read_text()
    assert (tmp_path / "memory.png").stat().st_size > 1000


def test_a_run_that_is_ended_early_reports_its_duration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bundles import write_tiny_bundle

    monkeypatch.setattr(soak, "memory_of", lambda pid: signal.raise_signal(signal.SIGTERM) or 1.0)
    before = signal.getsignal(signal.SIGTERM)
    watch = Watch()
    core(1000.0, watch, str(write_tiny_bundle(tmp_path / "bundle")), speakers=False)
    assert watch.checks[0] == (False, "0.0 of 1000 hours of conversation")
    assert signal.getsignal(signal.SIGTERM) is before


def test_what_rises_is_noticed() -> None:
    watch = Watch()
    for at in range(100):
        watch.note("flat", at, 100 + at % 3)
        watch.note("rising", at, 100 + at)
    watch.check_flat("flat", 5.0, "MiB")
    watch.check_flat("rising", 5.0, "MiB")
    assert [holds for holds, _ in watch.checks] == [True, False]


@pytest.fixture(scope="module")
def parsers() -> Mapping[str, Target]:
    pytest.importorskip("rosbags", reason="the extra [replay] is not installed")
    pytest.importorskip("defusedxml", reason="the extra [evaluate] is not installed")
    pytest.importorskip("torch", reason="the extra [train] is not installed")
    return targets()


def test_former_findings_are_fixed_and_every_parser_survives_more_inputs(
    parsers: Mapping[str, Target],
) -> None:
    assert {folder.name for folder in run.CORPUS.iterdir()} <= {*parsers, "utterances"}
    for name, target in parsers.items():
        assert run.run(name, target, 30, 0).finds == {}, name


def test_a_parser_has_valid_inputs_and_looks_behind_its_first_check(
    parsers: Mapping[str, Target],
) -> None:
    for name, target in parsers.items():
        outcomes = [run.attempt(target, data) for data in target.seeds]
        assert outcomes.count(None) > len(outcomes) / 2, name
        changed = [run.attempt(target, run.made(target, name, 1, n)) for n in range(60)]
        assert changed.count(None) > 0, name


def target(read: Callable[[bytes], object]) -> Target:
    return Target(read, (ValueError,), (b"seed",))


def odd(data: bytes) -> None:
    if data != b"seed":
        raise KeyError("a find")


def dies(data: bytes) -> None:
    if data != b"seed":
        os.kill(os.getpid(), signal.SIGKILL)


def hangs(data: bytes) -> None:
    while data != b"seed":
        pass


def swells(data: bytes) -> None:
    if data != b"seed":
        bytearray(2**31)


@pytest.mark.parametrize(
    ("read", "told"),
    [
        (odd, "KeyError at test_endurance.py"),
        (dies, "ended by SIGKILL"),
        (hangs, "more than 0.2 s"),
        (swells, "MemoryError at test_endurance.py"),
    ],
)
def test_what_breaks_a_parser_is_kept_and_tried_first(
    read: Callable[[bytes], object], told: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(run, "CORPUS", tmp_path)
    monkeypatch.setattr(run, "LONGEST", 0.2)
    failures = run.run("any", target(read), 3, 0)
    (what,) = failures.finds
    assert what.startswith(told) and failures.inputs == 3
    run.keep("any", failures)
    (kept,) = (tmp_path / "any").iterdir()
    assert run.made(target(read), "any", 0, -2) == kept.read_bytes()
    assert run.run("any", target(read), 0, 0).finds == {what: kept.read_bytes()}


def test_an_input_follows_from_seed_target_and_number(parsers: Mapping[str, Target]) -> None:
    for name, target in parsers.items():
        assert run.made(target, name, 3, 5) == run.made(target, name, 3, 5)
        assert len({run.made(target, name, 3, number) for number in range(40)}) > 20, name


def test_inputs_are_shared_by_speed_and_the_table_is_put_into_its_page(tmp_path: Path) -> None:
    every = {"idle": target(len), "odd": target(odd)}
    counts = dict(run.shares(every, 2000, 0))
    assert set(counts) == set(every) and 1900 < sum(counts.values()) <= 2000
    assert min(counts.values()) >= 50
    page = tmp_path / "page.md"
    page.write_text(f"before\n{run.BEGIN}\nold\n{run.END}\nafter\n")
    lines = run.table({"idle": run.Results(1500, 2.0, 300)})
    run.put(page, "\n".join(lines))
    assert "| `idle` | 1,500 | 20% | 0 |" in page.read_text()
    assert "old" not in page.read_text() and page.read_text().endswith("after\n")
    page.write_text("no marks")
    with pytest.raises(ValueError, match="lines"):
        run.put(page, "")
