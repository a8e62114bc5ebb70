"""The endurance run and the fuzzing targets do what they say, on a small scale."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from benchmarks import soak
from benchmarks.soak import Watch, core, write

pytest.importorskip("espeakng_loader", reason="the extra [demo] is not installed")


def test_all_of_a_conversation_through_the_core_is_answered_in_flat_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bundles import write_tiny_bundle

    monkeypatch.setattr(soak, "SPEED", 1)  # how busy this machine is must not matter here
    watch = Watch()
    core(0.03, watch, str(write_tiny_bundle(tmp_path / "bundle")), speakers=False)
    assert [what for holds, what in watch.checks if not holds] == []
    write(tmp_path, watch, "python -m benchmarks.soak --core")
    assert "7 checks, 0 failed" in (tmp_path / "report.md").read_text()
    page = tmp_path / "docs" / "results" / "soak.md"
    page.parent.mkdir(parents=True)
    soak.publish(tmp_path, page)
    assert "](../images/soak-memory.png)" in page.read_text()
    assert (tmp_path / "docs" / "images" / "soak-memory.png").stat().st_size > 1000
    assert (tmp_path / "memory.png").stat().st_size > 1000


def test_a_run_that_is_ended_early_tells_how_long_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bundles import write_tiny_bundle

    monkeypatch.setattr(soak, "memory_of", lambda pid: signal.raise_signal(signal.SIGTERM) or 1.0)
    before = signal.getsignal(signal.SIGTERM)
    watch = Watch()
    core(1000.0, watch, str(write_tiny_bundle(tmp_path / "bundle")), speakers=False)
    assert watch.checks[0] == (False, "0.0 hours of conversation, 1000 were asked for")
    assert signal.getsignal(signal.SIGTERM) is before


def test_what_rises_is_noticed() -> None:
    watch = Watch()
    for at in range(100):
        watch.note("flat", at, 100 + at % 3)
        watch.note("rising", at, 100 + at)
    watch.check_flat("flat", 5.0, "MiB")
    watch.check_flat("rising", 5.0, "MiB")
    assert [holds for holds, _ in watch.checks] == [True, False]


@pytest.mark.parametrize(
    "name", ["messages", "raw_pictures", "sound", "wave_files", "voices", "bundles"]
)
def test_a_parser_refuses_what_it_cannot_read_and_nothing_else_happens(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("rosbags", reason="the extra [replay] is not installed")
    pytest.importorskip("torch", reason="the extra [train] is not installed")
    from fuzz import run

    monkeypatch.setattr(run, "CORPUS", tmp_path)
    assert run.run(name, run.targets()[name], 50, 0) == 0


def test_a_find_is_kept_and_tried_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from fuzz import run

    monkeypatch.setattr(run, "CORPUS", tmp_path)
    tried: list[bytes] = []

    def read(data: bytes) -> None:
        tried.append(data)
        if len(data) > 3:
            raise KeyError("a find")

    target = run.Target(read, (ValueError,), (b"seed",))
    assert run.run("any", target, 20, 0) == 1
    (kept,) = (tmp_path / "any").iterdir()
    tried.clear()
    run.run("any", target, 1, 0)
    assert tried[0] == kept.read_bytes()
