"""From a video file to estimates, annotations and scores, with the commands of users."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from media_clips import tone, write_media

from erc_ros.cli import main
from erc_ros.demo.conversation_bag import DIALOGUE, Phrase, perform, portrait
from erc_ros.demo.voices import synthesiser
from erc_ros.replay.bag import BagError
from erc_ros.replay.offline import replay
from erc_ros.replay.recording import open_recording

TURNS = DIALOGUE[:4]
NAMES = ("Ana", "Ben", "Cem")


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Phrase]]:
    """A film of synthetic voices, with subtitles of its name that name the speakers."""
    folder = tmp_path_factory.mktemp("film")
    audio, phrases = perform(TURNS, synthesiser())
    camera = portrait(phrases[:1])
    images = [(n / 10, camera(n / 10)) for n in range(round(len(audio) / 1600))]
    path = write_media(folder / "my talk.mp4", [audio], rate=16_000, images=images)
    cues = [
        f"{_clock(p.start)} --> {_clock(p.end)}\n<v {NAMES[t.speaker]}>{p.text}\n"
        for p, t in zip(phrases, TURNS, strict=True)
    ]
    path.with_suffix(".vtt").write_text("WEBVTT\n\n" + "\n".join(cues))
    return path, phrases


def _clock(seconds: float) -> str:
    return f"{int(seconds // 60):02}:{seconds % 60:06.3f}"


def rows(folder: Path) -> Iterator[dict[str, object]]:
    for line in (folder / "estimates.jsonl").read_text().splitlines():
        row = json.loads(line)
        if row["is_final"]:
            yield row


def test_a_film_with_subtitles_becomes_estimates_of_named_speakers(
    talk: tuple[Path, list[Phrase]], tmp_path: Path
) -> None:
    path, phrases = talk
    assert main(["replay", str(path), "--out", str(tmp_path / "out")]) == 0
    finals = [row for row in rows(tmp_path / "out") if row["text"]]
    assert [row["text"] for row in finals] == [turn.text for turn in TURNS]
    assert [row["person_id"] for row in finals] == [NAMES[turn.speaker] for turn in TURNS]
    for row, phrase in zip(finals, phrases, strict=True):
        start, end = (float(str(row[key])) / 1e9 - 1.0 for key in ("start", "end"))
        assert start == pytest.approx(phrase.start, abs=0.35)
        assert end == pytest.approx(phrase.end, abs=0.35)
    with (tmp_path / "out" / "estimates.csv").open(encoding="utf-8", newline="") as stream:
        table = [line for line in csv.DictReader(stream) if line["text"]]
    assert [line["speaker"] for line in table] == [NAMES[turn.speaker] for turn in TURNS]
    for line, phrase in zip(table, phrases, strict=True):
        assert float(line["start_s"]) == pytest.approx(phrase.start, abs=0.35)
        assert float(line["end_s"]) == pytest.approx(phrase.end, abs=0.35)
    modalities = finals[0]["modalities"]
    assert modalities == {"text": True, "audio": True, "visual": True}


def test_the_same_film_gives_the_same_rows_every_time(
    talk: tuple[Path, list[Phrase]],
) -> None:
    path, _ = talk
    results = []
    for _ in range(2):
        with open_recording(path) as recording:
            results.append(replay(recording, {}).rows)
    assert results[0] == results[1]
    assert results[0]


def test_without_a_transcript_the_console_warns(
    talk: tuple[Path, list[Phrase]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "silent.mp4"
    copy.write_bytes(talk[0].read_bytes())
    assert main(["replay", str(copy), "--out", str(tmp_path / "out")]) == 0
    warnings = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert sum("accurate" in line for line in warnings) == 1
    assert "--transcript" in warnings[0]
    assert not any(row["text"] for row in rows(tmp_path / "out"))


def test_annotate_writes_elan_with_the_speakers_and_words(
    talk: tuple[Path, list[Phrase]], tmp_path: Path
) -> None:
    path, _ = talk
    assert main(["annotate", str(path), "--out", str(tmp_path), "--format", "csv"]) == 0
    with (tmp_path / "my talk.csv").open(newline="") as stream:
        table = list(csv.DictReader(stream))
    assert [row["text"] for row in table if row["text"]] == [turn.text for turn in TURNS]
    speakers = [row["speaker"] for row in table if row["text"]]
    assert speakers == [NAMES[turn.speaker] for turn in TURNS]
    assert (tmp_path / "my talk.mp4").is_file()
    assert (tmp_path / "my talk.wav").is_file()


def test_evaluate_scores_a_film_against_annotations(
    talk: tuple[Path, list[Phrase]], tmp_path: Path
) -> None:
    path, phrases = talk
    lines = ["start,end,speaker,text,emotion"]
    for phrase, turn in zip(phrases, TURNS, strict=True):
        lines.append(f'{phrase.start},{phrase.end},{turn.speaker},"{turn.text}",{turn.emotion}')
    truth = tmp_path / "my talk.csv"
    truth.write_text("\n".join(lines) + "\n")
    out = tmp_path / "out"
    assert main(["evaluate", str(path), "--truth", str(truth), "--out", str(out)]) == 0
    scores = json.loads((out / "scores.json").read_text())
    assert scores["recordings"]
    assert (out / "report.html").is_file()
    with (out / "my talk.csv").open(newline="") as stream:
        assert {row["speaker"] for row in csv.DictReader(stream) if row["text"]} <= set(NAMES)


@pytest.mark.parametrize("command", ["replay", "annotate", "evaluate", "evaluate-bag"])
def test_the_transcript_of_another_recording_is_refused_before_anything_is_computed(
    talk: tuple[Path, list[Phrase]], tmp_path: Path, command: str
) -> None:
    other = tmp_path / "other.srt"
    other.write_text(
        "\n\n".join(f"{n}\n01:{n:02}:00,000 --> 01:{n:02}:05,000\nx" for n in range(1, 30))
    )
    out = tmp_path / "out"
    arguments = [str(talk[0]), "--transcript", str(other), "--out", str(out)]
    assert main([command, *arguments]) == 1
    assert not (out / "estimates.jsonl").exists()
    assert not list(out.glob("*.eaf")) if out.exists() else True


def test_audio_alone_is_a_recording_and_video_alone_is_refused(
    talk: tuple[Path, list[Phrase]], tmp_path: Path
) -> None:
    audio, phrases = perform(TURNS[:1], synthesiser())
    path = write_media(tmp_path / "talk.wav", [audio], rate=16_000)
    with open_recording(path) as recording:
        assert [row.modalities["audio"] for row in replay(recording, {}).rows] == [True]
    camera = portrait(phrases)
    images = [(n / 10, camera(n / 10)) for n in range(20)]
    path = write_media(tmp_path / "film.mp4", images=images)
    # video alone has no utterance: an empty result would look like an answer
    with open_recording(path) as recording, pytest.raises(BagError, match="audio"):
        replay(recording, {})


def test_ten_seconds_of_video_in_a_longer_audio_are_read_in_bounded_memory(
    tmp_path: Path,
) -> None:
    """The records of both tracks are merged while they are decoded."""
    images = [(n / 10, np.zeros((48, 64, 3), np.uint8)) for n in range(20)]
    path = write_media(tmp_path / "talk.mkv", [tone(60.0)], images=images)
    with open_recording(path) as recording:
        records = recording.messages({"/audio", "/image"})
        first = [next(records) for _ in range(30)]
    assert {record.topic for record in first if record.message is not None} == {"/audio", "/image"}
    times = [record.time for record in first]
    assert times == sorted(times)


def test_another_audio_track_is_chosen_by_its_topic(
    talk: tuple[Path, list[Phrase]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    audio, _ = perform(TURNS[:1], synthesiser())
    silence = np.zeros_like(audio)
    path = write_media(tmp_path / "two.mkv", [silence, audio], rate=16_000)
    assert main(["replay", str(path), "--out", str(tmp_path / "a")]) == 0
    assert "/audio1" in capsys.readouterr().err
    assert not list(rows(tmp_path / "a"))
    arguments = ["--audio", "/audio1", "--out", str(tmp_path / "b")]
    assert main(["replay", str(path), *arguments]) == 0
    assert len(list(rows(tmp_path / "b"))) == 1


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert main(["replay", str(tmp_path / "missing.mp4")]) == 1
    assert main(["replay", str(tmp_path / "x"), "--transcript", str(tmp_path / "y.srt")]) == 1


def test_the_python_example_of_the_readme_runs(
    talk: tuple[Path, list[Phrase]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    path, phrases = talk
    (tmp_path / "talk.mp4").write_bytes(path.read_bytes())
    (tmp_path / "talk.srt").write_text(
        "\n\n".join(
            f"{n}\n{_clock(p.start)} --> {_clock(p.end)}\n{p.text}"
            for n, p in enumerate(phrases, start=1)
        )
    )
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    *segments, single = capsys.readouterr().out.splitlines()
    assert len(segments) >= len(phrases)
    assert single == "joy"
