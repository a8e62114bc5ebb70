"""Offline replay of recordings is deterministic and robust."""

from __future__ import annotations

import csv
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from erc_ros.demo.conversation_bag import (
    START,
    VOICES,
    Phrase,
    WrittenTurn,
    perform,
    write_conversation,
)
from erc_ros.demo.voices import Delivery, synthesiser
from erc_ros.dialogue.speakers.embedding import SpeakerEmbedding
from erc_ros.dialogue.speakers.enrolment import enrol, save_voices
from erc_ros.parameters import RobotConfig
from erc_ros.pipeline import Pipeline
from erc_ros.replay.bag import Bag, BagError, BagWriter
from erc_ros.replay.definitions import typestore
from erc_ros.replay.offline import (
    AHEAD,
    NO_TEXT,
    WITHOUT_TEXT,
    EstimateCollector,
    ahead,
    replay,
)
from erc_ros.replay.report import Result, write
from erc_ros.replay.rows import BundleName
from erc_ros.resources import model_folder
from erc_ros.values.events import SpeakerCorrected, UtteranceEvent
from erc_ros.values.utterance import Utterance

DETERMINISTIC = ("estimates.jsonl", "estimates.csv", "summary.json", "timeline.png")
TEXTS = ["I am so happy!", "Why, what happened?", 'She said "yes", ünïcödé, 好.']


def run(folder: Path, robot: RobotConfig, **topics: str) -> Result:
    with Bag(folder) as bag:
        return replay(bag, topics, robot)


def test_two_runs_give_identical_bytes(recording: Path, robot: RobotConfig, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(run(recording, robot), tmp_path / name)
    for file in DETERMINISTIC:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file


def test_records_that_are_read_ahead_are_the_same_in_the_same_order() -> None:
    taken: list[int] = []

    def records(count: int, error: Exception | None = None) -> Iterator[Any]:
        for number in range(count):
            taken.append(number)
            yield number
        if error is not None:
            raise error

    assert list(ahead(records(0))) == [] and list(ahead(records(100))) == list(range(100))
    damaged = ahead(records(3, BagError("damaged")))
    assert [next(damaged) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(BagError):
        next(damaged)
    taken.clear()
    endless = ahead(records(10**6))
    assert next(endless) == 0
    endless.close()  # type: ignore[attr-defined]
    assert len(taken) <= AHEAD + 1
    assert not [each for each in threading.enumerate() if each.name.startswith("records")]


def test_every_text_gets_an_estimate_in_its_order(recording: Path, robot: RobotConfig) -> None:
    result = run(recording, robot)
    assert [row.text for row in result.rows] == TEXTS
    assert all(abs(sum(row.probabilities.values()) - 1) < 1e-5 for row in result.rows)
    assert all(row.modalities["text"] and row.is_final for row in result.rows)
    assert result.counts["frames"] == 30
    assert not result.warnings
    assert result.timing["times_real_time"] > 0


def test_the_bundle_for_companies_answers_from_the_words_alone(
    recording: Path, robot: RobotConfig
) -> None:
    """edge-open has no audio and visual parts, but the recording shows a face."""
    result = run(recording, robot.changed(bundle="edge-open"))
    assert result.bundle.name == "edge-open"
    assert [row.text for row in result.rows] == TEXTS
    assert [row.label for row in result.rows[:1]] == ["joy"]
    for row in result.rows:
        assert row.modalities == {"text": True, "audio": False, "visual": False}
        assert sum(row.probabilities.values()) == pytest.approx(1, abs=1e-5)
    assert not result.warnings


def test_the_files_say_the_same_and_can_be_read(
    recording: Path, robot: RobotConfig, tmp_path: Path
) -> None:
    result = run(recording, robot)
    write(result, tmp_path)
    lines = (tmp_path / "estimates.jsonl").read_text(encoding="utf-8").splitlines()
    entries = [json.loads(line) for line in lines]
    assert [entry["text"] for entry in entries] == TEXTS
    with (tmp_path / "estimates.csv").open(newline="", encoding="utf-8") as stream:
        table = list(csv.DictReader(stream))
    assert [line["text"] for line in table] == TEXTS
    for entry, line in zip(entries, table, strict=True):
        assert float(line[f"p_{entry['label']}"]) == entry["confidence"]
        assert int(line["start"]) == entry["start"] >= START
        assert float(line["start_s"]) == round((entry["start"] - result.origin) / 1e9, 3)
        assert line["speaker"] == ""  # no audio, no speaker
    summary = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert set(summary) == {
        "bundle",
        "recording",
        "provenance",
        "origin_ns",
        "utterances",
        "speakers",
        "labels",
        "coverage",
        "modalities",
        "counts",
        "warnings",
        "why",
    }
    assert summary["utterances"] == sum(summary["labels"].values()) == 3
    assert summary["modalities"]["text"] == 3 and summary["modalities"]["visual"] <= 3
    assert TEXTS[2].split(", ", 1)[1] in (tmp_path / "estimates.jsonl").read_text("utf-8")  # 好
    assert summary["bundle"]["name"] == "tiny"
    assert "latency" not in json.dumps(summary)
    assert (tmp_path / "timeline.png").read_bytes().startswith(b"\x89PNG")
    assert "wall_s" in json.loads((tmp_path / "timing.json").read_text())


def test_text_can_be_kept_out_of_every_file(
    recording: Path, robot: RobotConfig, tmp_path: Path
) -> None:
    write(run(recording, robot), tmp_path, with_text=False)
    for file in tmp_path.iterdir():
        assert b"happy" not in file.read_bytes(), file


def test_without_camera_or_microphone_the_rest_carries_on(
    tmp_path: Path, robot: RobotConfig, noise: np.ndarray
) -> None:
    write_conversation(tmp_path / "bag", noise, [Phrase(1, 2, "Hello.")])
    assert [row.text for row in run(tmp_path / "bag", robot).rows] == ["Hello."]
    with BagWriter(tmp_path / "texts") as writer:
        kind = "std_msgs/msg/String"
        writer.write("/speech", kind, START, writer.new(kind, data="Hello."))
    (row,) = run(tmp_path / "texts", robot).rows
    assert (row.text, row.modalities) == ("Hello.", {"text": True, "audio": False, "visual": False})


def test_audio_without_speech_gives_no_estimate(
    tmp_path: Path, robot: RobotConfig, noise: np.ndarray
) -> None:
    write_conversation(tmp_path / "bag", noise, [])
    result = run(tmp_path / "bag", robot)
    assert result.rows == []
    write(result, tmp_path / "out")
    assert (tmp_path / "out" / "estimates.jsonl").read_text() == ""


def test_the_next_frame_replaces_one_that_cannot_be_decoded_as_in_the_node(
    tmp_path: Path, robot: RobotConfig
) -> None:
    image, text = "sensor_msgs/msg/CompressedImage", "std_msgs/msg/String"
    black = cv2.imencode(".jpg", np.zeros((48, 64, 3), np.uint8))[1].ravel()
    broken = np.frombuffer(black.tobytes()[:200], np.uint8)
    with BagWriter(tmp_path / "bag") as writer:
        for number in range(9):
            time = START + number * 50_000_000
            data = black if number else broken
            frame = writer.new(image, header=writer.header(time), format="jpeg", data=data)
            writer.write("/image", image, time, frame)
        writer.write("/speech", text, time, writer.new(text, data="Hello."))
    result = run(tmp_path / "bag", robot.changed(face_rate=0.5, face_detector="yunet"))
    assert result.warnings and result.counts["frames_searched"] == 2


def test_unusable_messages_are_counted_with_their_reason(
    tmp_path: Path, robot: RobotConfig
) -> None:
    image, sound = "sensor_msgs/msg/CompressedImage", "audio_common_msgs/msg/AudioData"
    text = "std_msgs/msg/String"
    with BagWriter(tmp_path / "bag") as writer:
        for number in range(3):
            time = START + number * 10**9
            broken = np.frombuffer(b"\xff\xd8 this is no JPEG", np.uint8)
            header = writer.header(time)
            picture = writer.new(image, header=header, format="jpeg", data=broken)
            writer.write("/image", image, time, picture)
            odd = writer.new(sound, data=np.zeros(3, np.uint8))
            writer.write("/audio", sound, time, odd)
        writer.write("/speech", text, time, writer.new(text, data="Hello."))
    result = run(tmp_path / "bag", robot)
    assert [row.text for row in result.rows] == ["Hello."]
    counted = {name.partition(":")[0]: count for name, count in result.warnings.items()}
    assert counted == {"/image": 3, "/audio": 3}


def test_mp3_is_refused_with_the_way_out(tmp_path: Path, robot: RobotConfig) -> None:
    sound, info = "audio_common_msgs/msg/AudioData", "audio_common_msgs/msg/AudioInfo"
    with BagWriter(tmp_path / "bag") as writer:
        fields = {"channels": 1, "sample_rate": 16000, "sample_format": "S16LE", "bitrate": 128}
        told = writer.new(info, **fields, coding_format="MP3")
        writer.write("/audio_info", info, START, told)
        message = writer.new(sound, data=np.zeros(640, np.uint8))
        writer.write("/audio", sound, START + 1, message)
    result = run(tmp_path / "bag", robot)
    assert any("MP3" in warning and "wave" in warning for warning in result.warnings)
    assert any(warning.startswith("/audio:") for warning in result.warnings)


def test_a_recording_cut_short_is_replayed_as_far_as_it_goes(
    tmp_path: Path, robot: RobotConfig, noise: np.ndarray
) -> None:
    phrases = [Phrase(n, n + 0.5, f"Text {n}.") for n in range(1, 50)]
    folder = write_conversation(tmp_path / "bag", np.tile(noise, 10), phrases)
    (file,) = folder.glob("*.mcap")
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3])
    result = run(folder, robot)
    assert 10 < len(result.rows) < 49
    assert any("damaged" in warning for warning in result.warnings)


def test_a_topic_can_be_chosen(recording: Path, robot: RobotConfig) -> None:
    assert run(recording, robot, speech="/speech").rows
    with pytest.raises(BagError, match="/other"):
        run(recording, robot, speech="/other")


def test_audio_of_the_other_audio_package_is_read(tmp_path: Path, robot: RobotConfig) -> None:
    kind = "audio_common_msgs/msg/AudioStamped"
    types = typestore(kind).types
    nothing = np.zeros(0, np.float32)
    with BagWriter(tmp_path / "bag") as writer:
        for number in range(20):
            time = START + number * 10**8
            data = types["audio_common_msgs/msg/AudioData"](
                float32_data=nothing,
                int32_data=nothing.astype(np.int32),
                int16_data=np.full(2 * 4410, 3, np.int16),
                int8_data=nothing.astype(np.int8),
                uint8_data=nothing.astype(np.uint8),
            )
            info = types["audio_common_msgs/msg/AudioInfo"](
                format=8, channels=2, rate=44100, chunk=4410
            )
            audio = types["audio_common_msgs/msg/Audio"](audio_data=data, info=info)
            header = types["std_msgs/msg/Header"](
                stamp=types["builtin_interfaces/msg/Time"](sec=time // 10**9, nanosec=time % 10**9),
                frame_id="mic",
            )
            writer.write("/audio", kind, time, types[kind](header=header, audio=audio))
    result = run(tmp_path / "bag", robot)
    assert result.counts["samples"] == pytest.approx(32_000, abs=2)
    assert list(result.warnings) == [NO_TEXT]


def live_speech(writer: BagWriter, topic: str, time: int, stamp: int, text: str) -> None:
    kind = "hri_msgs/msg/LiveSpeech"
    fields = {"incremental": "", "final": text, "confidence": 0.9, "locale": "en"}
    writer.write(topic, kind, time, writer.new(kind, header=writer.header(stamp), **fields))


def test_faces_and_voices_of_ros4hri_are_used(tmp_path: Path, robot: RobotConfig) -> None:
    image, match = "sensor_msgs/msg/Image", "hri_msgs/msg/IdsMatch"
    with BagWriter(tmp_path / "bag") as writer:
        fields = {"id1": "v1", "id1_type": 4, "id2": "f2", "id2_type": 2, "confidence": 0.9}
        writer.write("/humans/candidate_matches", match, START, writer.new(match, **fields))
        for number in range(30):
            time = START + number * 10**8
            for name, gray in (("f1", 90), ("f2", 160)):
                picture = writer.new(
                    image,
                    header=writer.header(time),
                    height=60,
                    width=50,
                    encoding="mono8",
                    is_bigendian=0,
                    step=50,
                    data=np.full(3000, gray, np.uint8),
                )
                writer.write(f"/humans/faces/{name}/cropped", image, time, picture)
        end = START + 3 * 10**9
        live_speech(writer, "/speech", end, end, "Here I am.")
        live_speech(writer, "/humans/voices/v1/speech", end, end, "Here I am.")
    result = run(tmp_path / "bag", robot)
    (row,) = result.rows
    assert (row.text, row.voice_id, row.face_id) == ("Here I am.", "v1", "f2")
    assert row.modalities["visual"] and result.counts["tracked_faces"] == 30  # 5 of 10 a second
    for chosen in ({"modalities": "text"}, {"modalities": "text", "deployment_context": "care"}):
        result = run(tmp_path / "bag", robot.changed(**chosen))
        assert result.rows[0].modalities == {"text": True, "audio": False, "visual": False}
        assert not result.counts["tracked_faces"]
    result = run(tmp_path / "bag", robot.changed(opted_out="f1, v1"))
    assert result.rows == [] and not result.counts["tracked_faces"]  # f2 is matched with v1
    assert result.counts["opted_out"] == 1


def test_a_text_that_is_corrected_is_one_row_with_the_last_text(
    tmp_path: Path, robot: RobotConfig
) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        for number, text in enumerate(("I scream.", "Ice cream.")):
            live_speech(writer, "/speech", START + number * 10**9, START, text)
    result = run(tmp_path / "bag", robot)
    assert [row.text for row in result.rows] == ["Ice cream."]
    assert result.counts["corrected_texts"] == 1


def answers(robot: RobotConfig, *said: Utterance | SpeakerCorrected) -> EstimateCollector:
    """What the speech recognizer answers to a dialogue that was understood so."""
    with Pipeline(robot.pipeline) as pipeline:
        replayed = EstimateCollector(pipeline, {})
        for what in said:
            event = UtteranceEvent(what) if isinstance(what, Utterance) else what
            replayed.keep([event, *pipeline.recognition.feed(event)])
    return replayed


def test_a_speaker_that_is_corrected_counts_in_the_next_estimates(robot: RobotConfig) -> None:
    said = [
        Utterance("c", f"u{number}", number, number + 1, f"{number}", speaker_id=speaker)
        for number, speaker in enumerate("0101")
    ]
    wrong = replace(said[1], speaker_id="0")
    correction = SpeakerCorrected("c", ("u1",), 1, 2, "0", "1")
    talks = (said, [said[0], wrong, correction, *said[2:]], [said[0], wrong, *said[2:]])
    known, corrected, uncorrected = (answers(robot, *talk) for talk in talks)
    assert corrected.rows[2:] == known.rows[2:] != uncorrected.rows[2:]
    assert [row.speaker_id for row in corrected.rows] == ["0", "1", "0", "1"]
    assert corrected.rows[1].probabilities != known.rows[1].probabilities  # it is not sent again
    assert corrected.counts()["utterances relabelled"] == 1


def test_a_text_that_is_not_used_is_reported_with_the_consequence(robot: RobotConfig) -> None:
    said = Utterance("c", "u1", 0, 10**9, "Das ist ja wunderbar!", locale="xx-YY")
    english = robot.changed(bundle="edge-open")
    collected = answers(english, said, replace(said, utterance_id="u2", text="Fine.", locale=""))
    ((text, count),) = collected.warnings.items()
    assert count == 1 and text.endswith(WITHOUT_TEXT)


def test_overlap_is_in_the_files_and_null_where_it_is_unknown(
    robot: RobotConfig, tmp_path: Path
) -> None:
    rows = answers(
        robot, Utterance("c", "u1", 0, 2, "Yes."), Utterance("c", "u2", 2, 4, "No.", overlap=0.25)
    ).rows
    assert [row.overlap for row in rows] == [None, 0.25]
    write(Result(rows, BundleName("", "", ""), 0), tmp_path)
    lines = (tmp_path / "estimates.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["overlap"] for line in lines] == [None, 0.25]
    with (tmp_path / "estimates.csv").open(newline="", encoding="utf-8") as stream:
        assert [line["overlap"] for line in csv.DictReader(stream)] == ["", "0.25"]


def test_known_voices_are_named(tmp_path: Path, robot: RobotConfig) -> None:
    pytest.importorskip("espeakng_loader", reason="the extra [demo] is not installed")
    texts = (  # the second long enough to know the voice, wherever eSpeak pauses in it
        "The boats come home when the lights go on.",
        "We stay there until the evening, and then we all walk back along the river to the harbor.",
    )
    dialogue = [WrittenTurn(speaker, text, Delivery()) for speaker, text in enumerate(texts)]
    sound, phrases = perform(dialogue, synthesiser())
    bag = write_conversation(tmp_path / "bag", sound, phrases)
    known = tmp_path / "voices.json"
    said = synthesiser().say("I know the owner of the little shop at the corner. " * 3, VOICES[1])
    network = SpeakerEmbedding(model_folder("speaker-campplus"))
    save_voices(known, network.manifest.sha256, {"Ada": enrol(network, said)})
    ears = robot.changed(speaker_model="speaker-campplus", known_voices=str(known))
    rows = run(bag, ears).rows
    # eSpeak pauses now and then within the second sentence, which makes two rows of it
    assert rows[0].person_id == "" and {row.person_id for row in rows[1:]} == {"Ada"}


def test_audio_waits_for_the_audio_info_as_in_the_nodes(tmp_path: Path, robot: RobotConfig) -> None:
    sound, info = "audio_common_msgs/msg/AudioData", "audio_common_msgs/msg/AudioInfo"
    with BagWriter(tmp_path / "bag") as writer:
        for number in range(40):
            time = START + number * 10**8
            data = np.zeros(4800 * 4, np.uint8)  # 0.1 s in stereo at 48 kHz
            writer.write("/audio", sound, time, writer.new(sound, data=data))
            if number == 30:
                told = {"channels": 2, "sample_rate": 48000, "sample_format": "S16LE"}
                message = writer.new(info, **told, bitrate=0, coding_format="WAVE")
                writer.write("/audio_info", info, time + 1, message)
    result = run(tmp_path / "bag", robot)
    assert result.counts["samples"] == pytest.approx(64_000, abs=4)


def test_what_may_not_be_recorded_is_in_no_row(tmp_path: Path, robot: RobotConfig) -> None:
    text, allowed = "std_msgs/msg/String", "std_msgs/msg/Bool"
    told = [True, False, False, True]
    with BagWriter(tmp_path / "bag") as writer:
        for number, may in enumerate(told):
            time = START + number * 10**9
            message = writer.new(allowed, data=may)
            writer.write("/robot/recording_allowed", allowed, time, message)
            said = writer.new(text, data=f"Text {number}.")
            writer.write("/speech", text, time + 10**8, said)
    result = run(tmp_path / "bag", robot)
    assert [row.text for row in result.rows] == ["Text 0.", "", "", "Text 3."]
    assert all(row.modalities["text"] for row in result.rows)
    write(result, tmp_path / "out")
    for file in (tmp_path / "out").iterdir():
        assert b"Text 1" not in file.read_bytes() and b"Text 2" not in file.read_bytes()
