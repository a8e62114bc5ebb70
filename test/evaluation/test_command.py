"""`erc evaluate-bag`: recordings and truth in, scores and a report out; every kind of bad input."""

from __future__ import annotations

import contextlib
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
from bundles import write_tiny_bundle, write_tiny_bundle_3
from late_fusion import with_section

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
        evaluate(bag, "--truth", truth, "--cache", tmp_path / f"cache-{name}", out=tmp_path / name)
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
    for name in ("accuracy", "weighted_f1", "teer", "jer"):
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


def test_without_text_nothing_is_cached(bag: Path, evaluate: Evaluate, tmp_path: Path) -> None:
    for options in (["--no-text"], ["--cache", "none"]):
        assert evaluate(bag, "--to", "2", "--export", *options)[0] == 0
    evaluate(bag, "--to", "2", "--export", "--cache", tmp_path / "cache")
    (file,) = (tmp_path / "cache").iterdir()
    assert file.stat().st_mode & 0o077 == 0  # words, audio and faces are in it


def test_without_a_cache_folder_the_command_works(
    bag: Path,
    evaluate: Evaluate,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))  # as a home that is read-only
    assert evaluate(bag, "--to", "2", "--export")[0] == 0
    assert "--cache" in capsys.readouterr().err


def test_a_part_of_a_recording(bag: Path, truth: Path, evaluate: Evaluate) -> None:
    _, scores = evaluate(bag, "--truth", truth, "--from", "1.8", "--to", "4")
    (entry,) = scores["recordings"]
    assert entry["segments"] == 2  # the first is before, the last one cut
    assert entry["repaired"]["segments before --from, excluded"] == 1
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


def test_one_broken_recording_among_four(
    bag: Path, evaluate: Evaluate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = bags_of(bag, tmp_path / "study", "abcd")
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
    assert len(errors) == 4 and [name for name, error in errors.items() if error] == ["c"]
    assert scores["systems"][0]["figures"]["accuracy"]["n"] == 2
    assert (tmp_path / "out" / "a" / "report.html").is_file()
    assert not (tmp_path / "out" / "c").exists()


def test_a_finished_recording_is_not_answered_again(
    bag: Path, truth: Path, evaluate: Evaluate, tmp_path: Path
) -> None:
    folder, cache = bags_of(bag, tmp_path / "study", "ab"), tmp_path / "cache"

    def again(*options: str, out: Path = tmp_path / "out") -> Any:
        usual = ["--no-media", "--export", "--cache", cache]
        return evaluate(folder, *usual, *options, out=out)[1]

    first = again()
    (one, two) = sorted(cache.iterdir())
    two.write_bytes(two.read_bytes()[:100])  # damaged
    numbers = one.stat().st_ino, two.stat().st_ino
    assert again(out=tmp_path / "elsewhere") == first
    assert one.stat().st_ino == numbers[0] and two.stat().st_ino != numbers[1]
    again("--offset", "1")  # changes the annotations alone
    assert len(list(cache.iterdir())) == 2
    os.utime(one, (0, 0))  # not used for a month
    again("--to", "4")
    assert len(list(cache.iterdir())) == 3 and not one.exists()


def test_results_of_another_recording_stay(
    bag: Path, truth: Path, evaluate: Evaluate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = bags_of(bag, tmp_path / "study", "b") / "b"
    assert evaluate(bag, "--truth", truth)[0] == 0
    before = files(tmp_path / "out")
    assert evaluate(other)[0] == 1
    error = capsys.readouterr().err
    assert "talk" in error and "--overwrite" in error
    assert files(tmp_path / "out") == before
    assert evaluate(bag, "--truth", truth, "--export")[0] == 0  # the same recording again
    status, scores = evaluate(other, "--overwrite")
    assert status == 0 and [each["name"] for each in scores["recordings"]] == ["b"]
    renamed = bags_of(bag, tmp_path / "renamed", "b") / "b"
    (renamed / "metadata.yaml").write_text((renamed / "metadata.yaml").read_text() + "\n")
    assert evaluate(renamed)[0] == 1  # of the same name, and another one


def test_files_of_a_former_run_are_deleted_unless_a_user_changed_them(
    bag: Path, truth: Path, evaluate: Evaluate, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    evaluate(bag, "--truth", truth)
    assert {"methods.md", "figures/confusion-tiny.svg", "talk.truth.csv"} <= set(files(out))
    (out / "talk.eaf").write_text("corrected")
    (out / "notes.txt").write_text("my own")
    os.utime(out / "talk.eaf", (time.time() + 10,) * 2)
    evaluate(bag, "--export", "csv")
    evaluate(bag, "--export", "csv", out=tmp_path / "new")
    assert set(files(out)) == {*files(tmp_path / "new"), "talk.eaf", "notes.txt"}


@pytest.mark.parametrize("content", ["[]", '{"files": ["../other.txt", [], 3]}', '{"files": 1}'])
def test_files_outside_the_folder_of_the_results_are_never_deleted(
    content: str, bag: Path, evaluate: Evaluate, tmp_path: Path
) -> None:
    (tmp_path / "other.txt").write_text("my own")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "timing.json").write_text(content)
    assert evaluate(bag, "--export")[0] == 0
    assert (tmp_path / "other.txt").is_file()


def test_killed_and_started_again_it_continues(
    bag: Path, bundle: Path, evaluate: Evaluate, tmp_path: Path
) -> None:
    folder, cache = bags_of(bag, tmp_path / "study", "abc"), tmp_path / "cache"
    line = [sys.executable, "-m", "erc_ros.cli", "evaluate", folder, "--no-media", "--export"]
    line += ["--bundle", bundle, "--speaker-model", "none", "--cache", cache]

    def finished() -> dict[str, int]:
        return {path.name: path.stat().st_ino for path in cache.glob("*.npz")}

    with subprocess.Popen(
        [*line, "--out", tmp_path / "killed"], stdout=subprocess.DEVNULL
    ) as process:
        deadline = time.monotonic() + 200
        while not finished() and process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.05)
        process.kill()
    before = finished()
    assert 0 < len(before) < 3 and process.returncode == -signal.SIGKILL
    options = ["--no-media", "--export", "--cache"]
    assert evaluate(folder, *options, cache, out=tmp_path / "continued")[0] == 0
    after = finished()
    assert len(after) == 3
    assert {name: after[name] for name in before} == before  # not computed again
    assert evaluate(folder, *options, "none", out=tmp_path / "whole")[0] == 0
    assert files(tmp_path / "continued") == files(tmp_path / "whole")


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
        ([bag, "--from", "nan"], "nan"),
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
    completed = subprocess.run(
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
    assert completed.returncode == 1
    assert "File too large" in completed.stderr and "Traceback" not in completed.stderr
    assert [path for path in out.rglob("*") if path.is_file()] == []


def test_processes_change_no_result(
    bag: Path, truth: Path, evaluate: Evaluate, tmp_path: Path
) -> None:
    folder = bags_of(bag, tmp_path / "study", "ab")
    own = tmp_path / "a.csv"
    own.write_text(truth.read_text())
    for workers in "12":
        options = ["--workers", workers, "--no-media", "--cache", "none"]
        assert evaluate(folder, "--truth", own, *options, out=tmp_path / workers)[0] == 0
    assert files(tmp_path / "1") == files(tmp_path / "2")


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


def test_the_report_of_a_run_says_why_an_estimate_is_as_it_is(
    bag: Path, truth: Path, evaluate: Evaluate, tmp_path: Path
) -> None:
    bundle = with_section(write_tiny_bundle_3(tmp_path / "reliable"))
    options = ["--bundle", bundle, "--speaker-model", "none", "--out", tmp_path / "out"]
    status, _ = evaluate(bag, "--truth", truth, *options)
    assert status == 0
    report = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    embedded = re.search(r'<script type="application/json"[^>]*>(.*?)</script>', report, re.DOTALL)
    assert embedded
    (recording,) = json.loads(embedded[1])["recordings"]
    shown = {row["answers"][0]["text"]: row["answers"][0] for row in recording["rows"]}
    replay = ["--bundle", str(bundle), "--speaker-model", "none", "--out", str(tmp_path / "rows")]
    assert main(["replay", str(bag), *replay]) == 0
    lines = (tmp_path / "rows" / "estimates.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert any(row["modalities"]["visual"] for row in rows)
    for row in rows:
        answer = shown[row["text"]]
        reasons = dict(zip(("text", "audio", "visual"), answer["why"], strict=True))
        for modality, reason in reasons.items():
            is_there = row["modalities"][modality]
            assert (reason["weight"] is not None) == is_there
            if is_there:
                assert reason["weight"] == pytest.approx(row["weights"][modality], abs=1e-3)
                assert reason["indicates"] == row["why"][modality]["indicates"]
        if row["modalities"]["visual"]:
            assert reasons["visual"]["reliability"] == row["why"]["visual"]["reliability"] == 0.25
            without = row["why"]["visual"]["without"]
            assert any(
                "Without the face" in line and without in line for line in answer["sentences"]
            )
        else:
            assert len(answer["sentences"]) == 1  # only words
