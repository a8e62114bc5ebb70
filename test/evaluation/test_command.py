"""`erc evaluate-bag`: recordings and truth in, scores and a report out; every kind of bad input."""

from __future__ import annotations

import io
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bundles import write_tiny_bundle

from erc_ros.cli import main

FACE, SOUND = b"/9j/", b"T2dnUw"  # how a JPEG and an Ogg stream begin in base64
Evaluate = Callable[..., tuple[int, Any]]


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "timing.json" and not path.name.startswith(".")
    }


def test_recordings_and_truth_give_scores_and_a_report(
    bag: Path, truth: Path, evaluate: Evaluate, tmp_path: Path
) -> None:
    status, scores = evaluate(bag, "--truth", truth)
    assert status == 0
    (system,) = scores["systems"]
    assert system["system"] == "tiny"
    assert system["figures"]["accuracy"]["n"] == 3
    assert system["figures"]["missed"]["value"] == 0
    assert system["figures"]["cpwer"]["value"] == 0  # nobody is told apart, and there is one
    assert sum(map(sum, system["confusion"])) == 3
    assert scores["recordings"][0]["truth_files"] == ["truth.csv"]
    report = (tmp_path / "out" / "report.html").read_text()
    assert "I am so happy" in report
    header, *rows = (tmp_path / "out" / "scores.csv").read_text().splitlines()
    assert header == "system,group,member,figure,value,low,high,n"
    assert any(row.startswith("tiny,all,,weighted_f1,") for row in rows)


def test_the_same_inputs_give_the_same_bytes(
    bag: Path, truth: Path, evaluate: Evaluate, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        evaluate(bag, "--truth", truth, out=tmp_path / name)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert "report.html" in files(tmp_path / "a")


def test_a_methods_section_states_the_figures_and_cites_what_is_in_the_bibliography(
    bag: Path, truth: Path, evaluate: Evaluate, tmp_path: Path
) -> None:
    evaluate(bag, "--truth", truth)
    out = tmp_path / "out"
    methods, references = ((out / name).read_text() for name in ("methods.md", "references.bib"))
    content = json.loads((out / "scores.json").read_text())
    (system,) = content["systems"]
    made_with = content["provenance"]["systems"][system["system"]]["bundle"]
    assert f"{made_with['name']} {made_with['version']}" in methods
    assert made_with["sha256"][:16] in methods
    for name in ("accuracy", "weighted_f1", "teer"):
        assert f"{system['figures'][name]['value']:.3f}" in methods
    cited = set(re.findall(r"@(\w+)", methods))
    assert cited and cited <= set(re.findall(r"@\w+\{(\w+)", references))
    assert content["provenance"]["erc_ros"] in references


def test_text_and_media_are_kept_out(
    bag: Path, truth: Path, evaluate: Evaluate, tmp_path: Path
) -> None:
    _, full = evaluate(bag, "--truth", truth, out=tmp_path / "full")
    _, scores = evaluate(bag, "--truth", truth, "--no-text", "--no-media")
    assert scores["systems"] == full["systems"]
    for name, content in files(tmp_path / "out").items():
        assert b"so happy" not in content, name
        assert FACE not in content and SOUND not in content, name
    assert FACE in files(tmp_path / "full")["report.html"]
    assert not (tmp_path / "out" / "kept").exists()


def test_a_part_of_a_recording(bag: Path, truth: Path, evaluate: Evaluate) -> None:
    _, scores = evaluate(bag, "--truth", truth, "--from", "1.8", "--to", "4")
    (entry,) = scores["recordings"]
    assert entry["segments"] == 2  # the first is before, the last one cut
    assert entry["repaired"]["segments before --from, left out"] == 1
    assert entry["repaired"]["annotations past an end of the recording, cut"] > 0


def test_offset_and_labels(bag: Path, truth: Path, evaluate: Evaluate, tmp_path: Path) -> None:
    shifted = tmp_path / "shifted.csv"
    lines = ["start,end,speaker,emotion", "100.5,101.5,Anna,Happy", "102,103,Anna,bored"]
    shifted.write_text("\n".join(lines) + "\n")
    labels = tmp_path / "labels.yaml"
    labels.write_text("happy: joy\n")
    status, scores = evaluate(bag, "--truth", shifted, "--offset", "-100", "--labels", labels)
    assert status == 0
    assert scores["recordings"][0]["unmapped"] == {"bored": 1}
    assert scores["systems"][0]["figures"]["accuracy"]["n"] == 1


def test_truth_of_another_recording(
    bag: Path, evaluate: Evaluate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.csv"
    other.write_text("start,end,speaker\n500,510,Anna\n")
    status, scores = evaluate(bag, "--truth", other)
    assert (status, scores) == (1, None)
    assert "other.csv: annotates 500.0 to 510.0 s" in capsys.readouterr().err


def test_files_that_contradict_each_other(
    bag: Path, truth: Path, evaluate: Evaluate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.csv"
    other.write_text("start,end,speaker,emotion\n0.5,1.5,Anna,anger\n")
    assert evaluate(bag, "--truth", truth, other)[0] == 1
    assert "contradict each other" in capsys.readouterr().err


def test_two_bundles_are_compared(
    bag: Path, truth: Path, bundle: Path, evaluate: Evaluate, tmp_path: Path
) -> None:
    other = write_tiny_bundle(tmp_path / "other")
    status, scores = evaluate(bag, "--truth", truth, "--bundle", bundle, "--bundle", other)
    assert status == 0
    assert [each["system"] for each in scores["systems"]] == ["tiny", "other"]
    compared = {each["figure"]: each["value"] for each in scores["comparisons"]}
    assert compared["weighted_f1"] == 0  # the same weights
    assert scores["comparisons"][0]["p"] is None  # one conversation


def test_two_parameter_files_are_compared(
    bag: Path, truth: Path, bundle: Path, evaluate: Evaluate, tmp_path: Path
) -> None:
    for name, types in (("all", "auto"), ("blind", "none")):
        (tmp_path / f"{name}.yaml").write_text(
            f"/**:\n  ros__parameters:\n    bundle: {bundle}\n    image_type: {types}\n"
        )
    arguments = [
        each for name in ("all", "blind") for each in ("--params-file", tmp_path / f"{name}.yaml")
    ]
    status, scores = evaluate(bag, "--truth", truth, *arguments)
    assert status == 0
    groups = [set(each["groups"]["modalities"]) for each in scores["systems"]]
    assert "text + visual" in groups[0] and groups[1] == {"text"}
    assert evaluate(bag, *arguments, *arguments)[0] == 1


def test_without_truth_there_is_a_report_without_scores(bag: Path, evaluate: Evaluate) -> None:
    status, scores = evaluate(bag)
    assert status == 0
    assert set(scores["systems"][0]["figures"]) == {"latency_p50_ms", "latency_p95_ms"}


def test_a_recording_without_sound(
    bag: Path, evaluate: Evaluate, truth: Path, tmp_path: Path
) -> None:
    from erc_ros.replay.bag import Bag, BagWriter

    with Bag(bag) as whole, BagWriter(tmp_path / "silent") as silent:
        for record in whole.messages({"/speech"}):
            silent.write(record.topic, record.type, record.time, record.message)
    status, scores = evaluate(tmp_path / "silent", "--truth", truth)
    assert status == 0
    assert set(scores["systems"][0]["groups"]["signal_to_noise"]) == {"no sound"}


def bags_of(bag: Path, folder: Path, names: str) -> Path:
    for name in names:
        shutil.copytree(bag, folder / name)
    return folder


def test_one_broken_recording_among_twenty(
    bag: Path, evaluate: Evaluate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = bags_of(bag, tmp_path / "study", "abcdefghijklmnopqrst")
    for file in (folder / "c").glob("*.mcap"):
        file.write_bytes(b"nonsense")
    (tmp_path / "truth").mkdir()
    for name in "ab":
        (tmp_path / "truth" / f"{name}.csv").write_text(
            "start,end,speaker,emotion\n0.5,1.5,Anna,joy\n"
        )
    status, scores = evaluate(folder, "--truth", tmp_path / "truth", "--to", "3", "--export")
    assert status == 1
    assert "erc evaluate: c: " in capsys.readouterr().err
    errors = {each["name"]: each["error"] for each in scores["recordings"]}
    assert len(errors) == 20 and [name for name, error in errors.items() if error] == ["c"]
    assert scores["systems"][0]["figures"]["accuracy"]["n"] == 2
    assert scores["systems"][0]["figures"]["accuracy"]["low"] is not None
    assert (tmp_path / "out" / "a" / "report.html").is_file()
    assert not (tmp_path / "out" / "c").exists()


def test_a_finished_recording_is_not_answered_again(
    bag: Path, truth: Path, evaluate: Evaluate, tmp_path: Path
) -> None:
    folder = bags_of(bag, tmp_path / "study", "ab")
    first = evaluate(folder)[1]
    (one, two) = sorted((tmp_path / "out" / "kept").iterdir())
    before = [path.stat().st_mtime_ns for path in (one, two)]
    two.write_bytes(two.read_bytes()[:100])  # killed while it was written by somebody else
    assert evaluate(folder)[1] == first
    after = [path.stat().st_mtime_ns for path in (one, two)]
    assert after[0] == before[0] and after[1] > before[1]
    evaluate(folder, "--offset", "1")  # of the truth alone
    assert len(list((tmp_path / "out" / "kept").iterdir())) == 2
    evaluate(folder, "--to", "4")  # another question is answered anew
    assert len(list((tmp_path / "out" / "kept").iterdir())) == 4


def test_killed_and_started_again_it_goes_on(
    bag: Path, bundle: Path, truth: Path, tmp_path: Path
) -> None:
    folder = bags_of(bag, tmp_path / "study", "abcde")

    def start(out: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "erc_ros.cli", "evaluate-bag", folder, "--no-media"),
                *("--bundle", bundle, "--speaker-model", "none", "--out", out, "--export"),
            ],
            stdout=subprocess.DEVNULL,
        )

    killed, whole = tmp_path / "killed", tmp_path / "whole"

    def finished() -> dict[str, int]:
        return {path.name: path.stat().st_mtime_ns for path in killed.glob("kept/*.npz")}

    with start(killed) as process:
        deadline = time.monotonic() + 100
        while not finished() and process.poll() is None and time.monotonic() < deadline:
            os.sched_yield()
        process.kill()
    before = finished()
    assert 0 < len(before) < 5 and process.returncode == -signal.SIGKILL
    for out in (killed, whole):
        with start(out) as process:
            assert process.wait(100) == 0
    after = finished()
    assert len(after) == 5
    assert {name: after[name] for name in before} == before  # not answered again
    assert files(killed) == files(whole)


def test_what_is_asked_for_wrongly(
    bag: Path, evaluate: Evaluate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, reason in (
        ([tmp_path / "absent"], "does not exist"),
        ([tmp_path], "has no recording"),
        ([bag, "--truth", tmp_path / "absent.csv"], "does not exist"),
        ([bag, "--truth", tmp_path], "has no annotations"),
        ([bag, "--bundle", tmp_path / "absent"], "absent"),
        ([bag, "--bundle", "a", "--bundle", "b", "--bundle", "c"], "two bundles"),
        ([bag, "--from", "nan"], "no time"),
        ([bag, "--workers", "0"], "at least 1"),
        ([bag, "--labels", tmp_path / "absent.yaml"], "absent.yaml"),
    ):
        assert evaluate(*arguments)[0] == 1
        assert reason in capsys.readouterr().err, arguments


def test_a_full_disk_leaves_no_half_file(
    bag: Path, bundle: Path, truth: Path, tmp_path: Path
) -> None:
    """No file may grow beyond 4 KiB: as on a disk that is full, writing fails in the middle."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    out = tmp_path / "out"
    found = subprocess.run(
        [
            *(sys.executable, "-m", "erc_ros.cli", "evaluate-bag", bag, "--truth", truth),
            *("--bundle", bundle, "--speaker-model", "none", "--out", out),
        ],
        preexec_fn=limit,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "MPLCONFIGDIR": str(tmp_path)},
        timeout=100,
    )
    assert found.returncode == 1
    assert "File too large" in found.stderr and "Traceback" not in found.stderr
    assert [path for path in out.rglob("*") if path.is_file()] == []


def test_ray_changes_no_result(bag: Path, truth: Path, evaluate: Evaluate, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    folder = bags_of(bag, tmp_path / "study", "ab")
    own = tmp_path / "a.csv"
    own.write_text(truth.read_text())
    evaluate(folder, "--truth", own, out=tmp_path / "alone")
    status, _ = evaluate(folder, "--truth", own, "--workers", "2", out=tmp_path / "ray")
    assert status == 0
    assert files(tmp_path / "alone") == files(tmp_path / "ray")


def test_exports_are_truth_again(
    bag: Path, truth: Path, evaluate: Evaluate, tmp_path: Path
) -> None:
    _, scores = evaluate(bag, "--truth", truth, "--write-media", "--write-bag")
    out = tmp_path / "out"
    assert {"talk.wav", "talk.mp4", "talk.eaf", "talk.bag"} <= {path.name for path in out.iterdir()}
    again = evaluate(bag, "--truth", out / "talk.truth.eaf", "--export", out=tmp_path / "again")[1]
    assert again["systems"] == scores["systems"]


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_bar_tells_the_time_that_is_left_on_a_terminal_alone(
    is_terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from erc_ros.replay.progress import progress_bar

    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: is_terminal)
    monkeypatch.setattr(sys, "stderr", stream)
    with progress_bar(2, "recordings") as progress:
        for done in (0.5, 1.0, 2.0):
            progress(done)
    shown = stream.getvalue()
    assert ("2/2 recordings" in shown and "left" in shown) if is_terminal else shown == ""


def test_help_names_the_formats(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["evaluate-bag", "--help"])
    assert ".eaf .TextGrid .rttm" in capsys.readouterr().out
