"""`recording_allowed` in a recording: what was said and seen while it was false is in no file."""

from __future__ import annotations

import csv
import wave
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from erc_ros.cli import main
from erc_ros.demo.conversation_bag import (
    START,
    Phrase,
    WrittenTurn,
    perform,
    portrait,
    write_conversation,
)
from erc_ros.demo.voices import Delivery, synthesiser
from erc_ros.evaluation.exports import write_media
from erc_ros.evaluation.run import LEFT_OUT, EvaluatedSystem, answer
from erc_ros.parameters import RobotConfig
from erc_ros.replay.bag import Bag, BagWriter
from erc_ros.replay.consent import WithheldTimes, withheld_times
from erc_ros.values.nanoseconds import seconds

FACE = b"/9j/"  # how a JPEG begins in base64
Evaluate = Callable[..., tuple[int, Any]]


def told(bag: Path, path: Path, *said: tuple[float, bool]) -> Path:
    """The recording, and what was told of it: (s, is it allowed)."""
    kind = "std_msgs/msg/Bool"
    with Bag(bag) as whole, BagWriter(path) as writer:
        entries: list[tuple[int, str, str, Any]] = [
            (record.time, record.topic, record.type, record.message)
            for record in whole.messages({topic.name for topic in whole.topics})
        ]
        for time, is_allowed in said:
            stamp = START + seconds(time)
            entries.append((stamp, "/recording_allowed", kind, writer.new(kind, data=is_allowed)))
        for time_of, topic, type_name, message in sorted(entries, key=lambda entry: entry[0]):
            writer.write(topic, type_name, time_of, message)
    return path


def files(folder: Path) -> Iterable[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def test_times_are_those_between_no_and_yes(bag: Path, tmp_path: Path) -> None:
    said = [(1.0, True), (2.0, False), (2.5, False), (3.0, True), (5.0, False)]
    with Bag(told(bag, tmp_path / "told", *said)) as opened:
        times = withheld_times(opened)
    assert [since - START for since, _ in times.spans] == [seconds(2.0), seconds(5.0)]
    assert times.spans[0][1] == START + seconds(3.0) < times.spans[1][1]
    inside, end = START + seconds(2.5), START + seconds(3.0)
    assert times.touch(inside, inside) and times.touch(START, inside)
    assert not times.touch(end, end) and not times.touch(START, START + seconds(1.9))
    assert not WithheldTimes().touch(START, inside)


def test_words_and_faces_are_in_no_file(bag: Path, evaluate: Evaluate, tmp_path: Path) -> None:
    evaluate(bag, out=tmp_path / "before")
    assert FACE in (tmp_path / "before" / "report.html").read_bytes()
    recording = told(bag, tmp_path / "talk", (0.2, False), (1.9, True))
    status, scores = evaluate(recording, "--write-media", "--write-bag")
    assert status == 0
    for path in files(tmp_path / "out"):
        assert b"so happy" not in path.read_bytes(), path
        assert path.suffix != ".html" or FACE not in path.read_bytes(), path
    report = (tmp_path / "out" / "report.html").read_text()
    assert "She said yes" in report and LEFT_OUT in report
    (entry,) = scores["recordings"]
    assert entry["warnings"][LEFT_OUT] == 1 and entry["utterances"] == 3
    rows = list(csv.DictReader((tmp_path / "out" / "talk.csv").open()))
    whole = list(csv.DictReader((tmp_path / "before" / "talk.csv").open()))
    # the answers stay: words and faces are withheld from whoever reads, not from the models
    assert [row["emotion"] for row in rows] == [row["emotion"] for row in whole]


def test_a_part_after_it_was_told_knows_of_it(
    bag: Path, evaluate: Evaluate, tmp_path: Path
) -> None:
    recording = told(bag, tmp_path / "talk", (0.1, False))
    evaluate(recording, "--from", "1.8")
    for path in files(tmp_path / "out"):
        assert b"She said yes" not in path.read_bytes(), path


def test_a_suggested_annotation_knows_of_it(bag: Path, bundle: Path, tmp_path: Path) -> None:
    recording = told(bag, tmp_path / "talk", (0.2, False), (1.9, True))
    arguments = ["--bundle", bundle, "--speaker-model", "none", "--out", tmp_path / "out"]
    assert main(["annotate", str(recording), *map(str, arguments), "--no-media"]) == 0
    written = (tmp_path / "out" / "talk.eaf").read_text()
    assert "so happy" not in written and "She said yes" in written


def test_the_sound_of_an_utterance_is_not_kept(bundle: Path, tmp_path: Path) -> None:
    """Two sentences with sound: the second begins while it is not allowed, and ends after."""
    pytest.importorskip("espeakng_loader", reason="the extra [demo] is not installed")
    texts = ("The boats come home when the lights go on.", "We stay there until the evening.")
    dialogue = [WrittenTurn(0, text, Delivery()) for text in texts]
    sound, phrases = perform(dialogue, synthesiser())
    whole = write_conversation(tmp_path / "whole", sound, phrases)
    start, end = phrases[-1].start, phrases[-1].end
    recording = told(whole, tmp_path / "talk", (start - 0.2, False), ((start + end) / 2, True))
    robot = RobotConfig().changed(bundle=str(bundle), speaker_model="none")
    first, *rest = answer(recording, EvaluatedSystem("tiny", robot), {}).predictions
    assert first.text == texts[0] and first.audio is not None and len(first.audio)
    assert rest and all(found.text == "" and found.audio is None for found in rest)


def test_sound_is_silent_and_the_film_black(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    noise = np.random.default_rng(0).standard_normal(6 * 16000).astype(np.float32) * 0.1
    phrases = [Phrase(0.0, 6.0, "Why, what happened?")]
    whole = write_conversation(
        tmp_path / "whole", noise, phrases, portrait(phrases), frames_per_second=10.0
    )
    recording = told(whole, tmp_path / "talk", (2.0, False), (4.0, True))
    wav, mp4 = write_media(recording, {}, START, tmp_path, "a")
    with wave.open(str(wav), "rb") as stream:
        heard = np.frombuffer(stream.readframes(stream.getnframes()), "<i2")
    is_loud = np.abs(heard[: 6 * 16000].reshape(-1, 160).astype(int)).max(axis=1) > 300
    times = np.arange(len(is_loud)) / 100
    assert not is_loud[(times >= 2.0) & (times < 4.0)].any()
    assert is_loud[(times < 1.9) | (times > 4.2)].all()
    with av.open(str(mp4)) as container:
        light = [
            (float(frame.pts * frame.time_base), frame.to_ndarray(format="gray").mean())
            for frame in container.decode(video=0)
        ]
    dark = [time for time, mean in light if mean < 5]
    assert dark[0] == pytest.approx(2.0, abs=0.11) and dark[-1] == pytest.approx(3.9, abs=0.11)
    assert all(2.0 <= time <= 4.0 for time in dark) and len(dark) < len(light) / 2
