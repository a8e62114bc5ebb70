from __future__ import annotations

import json
import wave
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import made_up_recordings as made_up
import numpy as np
import pytest
from made_up_recordings import LABELS

pytest.importorskip("pympi")
pytest.importorskip("praatio")
pytest.importorskip("rosbags")
pytest.importorskip("defusedxml")

from erc_ros.annotations import read
from erc_ros.annotations.joining import join
from erc_ros.annotations.records import Annotations, Segment
from erc_ros.evaluation.exports import FORMATS, elan, texts, write_bag, write_exports
from erc_ros.evaluation.exports.bag import EMOTIONS, LAYOUT, SOUND
from erc_ros.evaluation.exports.lines import Line, lines_of_predictions, lines_of_truth
from erc_ros.evaluation.records import Recording
from erc_ros.parameters import RobotConfig
from erc_ros.replay.bag import Bag
from erc_ros.replay.consent import WithheldTimes
from erc_ros.replay.offline import heard_topics
from erc_ros.values.nanoseconds import NS

NASTY = "<b>&\"' --> \x00\ud800 \u2028 {$x}"


def segment(start: float, end: float, speaker: str, *rest: str | None) -> Segment:
    return Segment(round(start * NS), round(end * NS), speaker, *rest)


SEGMENTS = (
    segment(0.5, 1.25, "anna", "Guess what!", "joy"),
    segment(1.25, 2.5, "ben lee", "Grüße — 你好", "neutral"),
    segment(2.25, 3.0, "anna", "Über <b>&amp;", None),  # talks over ben
    segment(3.0, 3.001, "chloé", "oh", "surprise"),
    segment(4.0, 5.5, "anna", "Angry", "anger"),
)


def talk(segments: tuple[Segment, ...] = SEGMENTS) -> Recording:
    return Recording("kitchen", "edge-small", made_up.START, 8 * NS, LABELS, Annotations(segments))


def truth_in(*files: Path) -> Annotations:
    marks = [mark for file in files for mark in read(file)]
    return join(marks, origin=made_up.START, duration=8 * NS, labels=LABELS)


def bare(truth: Annotations) -> list[Segment]:
    """Without where it was read from."""
    from erc_ros.annotations.records import Source

    return [replace(each, source=Source("")) for each in truth.segments]


def test_elan_gives_the_same_truth_again_after_pympi_saved_it(tmp_path: Path) -> None:
    from pympi import Eaf

    segments = tuple(replace(s, valence=-0.25, arousal=0.5) for s in SEGMENTS)
    write_exports(talk(segments), tmp_path, "a", formats=["eaf"])
    written = tmp_path / "a.truth.eaf"
    assert bare(truth_in(written)) == list(segments)
    Eaf(str(written)).to_file(str(tmp_path / "saved.eaf"))
    saved = truth_in(tmp_path / "saved.eaf")
    assert bare(saved) == list(segments) and not saved.unmapped


def test_elan_has_tiers_by_speaker_a_vocabulary_and_the_media(tmp_path: Path) -> None:
    from pympi import Eaf

    recorded = made_up.recording(6)
    media = (tmp_path / "a.wav", tmp_path / "a.mp4")
    write_exports(recorded, tmp_path, "a", formats=["eaf"], media=media)
    document = Eaf(str(tmp_path / "a.eaf"))
    names = {"text", "emotion", "confidence", "valence", "arousal"}
    assert set(document.get_tier_names()) == {
        f"{kind}@speaker {number}" for kind in names for number in (1, 2, 3)
    }
    tier = document.get_parameters_for_tier("emotion@speaker 1")
    assert tier["PARENT_REF"] == "text@speaker 1" and tier["PARTICIPANT"] == "speaker 1"
    entries = document.get_cv_entries("emotion")
    assert [values[0][0] for values, _ in entries.values()] == list(LABELS)
    linked = document.get_linked_files()
    assert [each["RELATIVE_MEDIA_URL"] for each in linked] == ["./a.wav", "./a.mp4"]
    said = document.get_annotation_data_for_tier("text@speaker 1")
    assert len(said) == sum(a.speaker == "0" for a in recorded.predictions)


def test_files_name_the_person_who_speaks(tmp_path: Path) -> None:
    recording = made_up.recording()
    answers = tuple(replace(each, person="Jürgen") for each in recording.predictions)
    write_exports(replace(recording, predictions=answers), tmp_path, "a", formats=["csv", "eaf"])
    for file in (tmp_path / "a.csv", tmp_path / "a.eaf"):
        assert {mark.speaker for mark in read(file)} == {"Jürgen"}


def test_elan_finds_the_times_in_their_order(tmp_path: Path) -> None:
    from pympi import Eaf

    write_exports(made_up.recording(9), tmp_path, "a", formats=["eaf"])
    slots = Eaf(str(tmp_path / "a.eaf")).timeslots
    assert list(slots) == [f"ts{number}" for number in range(1, len(slots) + 1)]
    assert list(slots.values()) == sorted(slots.values())


def test_elan_puts_what_one_person_says_at_once_on_a_second_tier(tmp_path: Path) -> None:
    lines = [Line(0, 2 * NS, "anna", "one", "joy"), Line(NS, 3 * NS, "anna", "two", "fear")]
    elan.write(lines, tmp_path / "a.eaf", LABELS)
    marks = [mark for mark in read(tmp_path / "a.eaf") if mark.kind == "text"]
    assert [(mark.speaker, mark.value, mark.start) for mark in marks] == [
        ("anna", "one", 0),
        ("anna", "two", NS),
    ]


def test_segments_without_words_stay_without(tmp_path: Path) -> None:
    segments = (segment(0.5, 1.5, "anna", None, "joy"), segment(2, 3, "anna", None, None))
    write_exports(talk(segments), tmp_path, "a")
    for file in ("a.truth.eaf", "a.truth.TextGrid", "a.truth.csv", "a.truth.seglst.json"):
        assert bare(truth_in(tmp_path / file)) == list(segments), file


@pytest.mark.parametrize("file", ["a.truth.TextGrid", "a.truth.csv", "a.truth.seglst.json"])
def test_others_give_the_same_truth_again(tmp_path: Path, file: str) -> None:
    write_exports(talk(), tmp_path, "a")
    assert bare(truth_in(tmp_path / file)) == list(SEGMENTS)


def test_rttm_tells_speakers_emotions_and_both(tmp_path: Path) -> None:
    write_exports(talk(), tmp_path, "a", formats=["rttm"])
    both = bare(truth_in(tmp_path / "a.truth.speaker-emotion.rttm"))
    felt = [s for s in SEGMENTS if s.emotion is not None]
    assert [(s.start, s.end, s.emotion) for s in both] == [
        (s.start, s.end, s.emotion) for s in felt
    ]
    assert {s.speaker for s in both} == {"anna", "ben_lee", "chloé"}
    speakers = bare(truth_in(tmp_path / "a.truth.rttm"))
    assert [(s.start, s.end) for s in speakers] == [(s.start, s.end) for s in SEGMENTS]
    emotions = read(tmp_path / "a.truth.emotion.rttm")
    assert [mark.value for mark in emotions] == [s.emotion for s in felt]


def test_meeteval_reads_seglst_and_rttm(tmp_path: Path) -> None:
    meeteval = pytest.importorskip("meeteval")
    write_exports(talk(), tmp_path, "a", formats=["seglst", "rttm"])
    text = (tmp_path / "a.truth.seglst.json").read_text(encoding="utf-8")
    segments = meeteval.io.SegLST(json.loads(text))
    assert [s["words"] for s in segments] == [s.text for s in SEGMENTS]
    assert {s["session_id"] for s in segments} == {"kitchen"}
    lines = meeteval.io.load(str(tmp_path / "a.truth.rttm")).to_seglst()
    assert [float(s["start_time"]) for s in lines] == [s.start / NS for s in SEGMENTS]


def test_praat_intervals_fill_the_whole_recording(tmp_path: Path) -> None:
    from praatio import textgrid

    write_exports(talk(), tmp_path, "a", formats=["textgrid"])
    grid = textgrid.openTextgrid(str(tmp_path / "a.truth.TextGrid"), includeEmptyIntervals=True)
    assert (grid.minTimestamp, grid.maxTimestamp) == (0, 8)
    for tier in grid.tiers:
        assert (tier.entries[0][0], tier.entries[-1][1]) == (0, 8)
        assert all(a[1] == b[0] for a, b in pairwise(tier.entries))


def test_players_read_the_subtitles(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    write_exports(talk(), tmp_path, "a", formats=["vtt"])
    file = tmp_path / "a.truth.vtt"
    with av.open(str(file)) as container:
        packets = [p for p in container.demux() if p.size]
        times = [(p.pts * p.time_base, p.duration * p.time_base) for p in packets]
    assert [float(start) for start, _ in times] == [s.start / NS for s in SEGMENTS]
    text = file.read_text(encoding="utf-8")
    assert "<v ben lee>Grüße — 你好 (neutral)</v>" in text
    assert "<v anna>Über &lt;b&gt;&amp;amp;</v>" in text


def test_the_table_has_every_probability(tmp_path: Path) -> None:
    import csv

    recorded = made_up.recording(4)
    write_exports(recorded, tmp_path, "a", formats=["csv"])
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == len(recorded.predictions)
    for row in rows:
        values = {label: float(row[f"p_{label}"]) for label in LABELS}
        assert max(values, key=values.__getitem__) == row["emotion"]
        assert sum(values.values()) == pytest.approx(1, abs=1e-3)


def test_the_same_recording_gives_the_same_bytes(tmp_path: Path) -> None:
    contents = []
    for name in ("one", "two"):
        files = write_exports(made_up.recording(9), tmp_path / name, "a")
        contents.append({file.name: file.read_bytes() for file in files})
    assert contents[0] == contents[1] and len(contents[0]) == 2 * (len(FORMATS) + 2)


def test_text_is_kept_out_of_every_file(tmp_path: Path) -> None:
    files = write_exports(made_up.recording(9), tmp_path, "a", with_text=False)
    bag = write_bag(made_up.recording(9), tmp_path / "bag", with_text=False)
    marker = made_up.WORD.encode()
    everything = [*files, *(file for file in bag.iterdir())]
    assert len(everything) > 10
    assert not [file for file in everything if marker in file.read_bytes()]
    shown = write_exports(made_up.recording(9), tmp_path / "shown", "a", formats=["eaf"])
    assert all(marker in file.read_bytes() for file in shown)


def test_what_is_no_text_breaks_no_file(tmp_path: Path) -> None:
    recorded = talk((Segment(0, NS, NASTY, NASTY, "joy"), Segment(NS, 2 * NS, "", "", "joy")))
    write_exports(recorded, tmp_path, "a")
    for file in ("a.truth.eaf", "a.truth.TextGrid", "a.truth.csv", "a.truth.seglst.json"):
        first, second = bare(truth_in(tmp_path / file))
        assert first.emotion == second.emotion == "joy", file
        assert second.speaker == "", file


def test_nothing_was_said(tmp_path: Path) -> None:
    files = write_exports(talk(()), tmp_path, "a")
    assert all(file.exists() for file in files)
    assert read(tmp_path / "a.truth.eaf") == []
    assert read(tmp_path / "a.truth.TextGrid") == []
    assert texts.write_webvtt([], tmp_path / "b.vtt").read_text().startswith("WEBVTT")


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'doc'"):
        write_exports(talk(), tmp_path, "a", formats=["doc"])


@pytest.mark.parametrize("kind", FORMATS)
def test_an_earlier_file_survives_an_error(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = write_exports(talk(), tmp_path, "a", formats=[kind])
    before = {file: file.read_bytes() for file in files}

    def full(*paths: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="No space"):
        write_exports(made_up.recording(5), tmp_path, "a", formats=[kind])
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


# The bag.


def test_the_bag_holds_the_estimates_at_their_times(tmp_path: Path) -> None:
    recorded = made_up.recording(6)
    with Bag(write_bag(recorded, tmp_path / "bag")) as bag:
        records = list(bag.messages([EMOTIONS]))
    assert len(records) == len(recorded.predictions)
    for record, answer in zip(records, recorded.predictions, strict=True):
        message = record.message
        assert record.type == "erc_msgs/msg/EmotionEstimate"
        assert record.time == recorded.origin + answer.end + (answer.latency or 0)
        assert message.start.sec * NS + message.start.nanosec == recorded.origin + answer.start
        assert message.label == answer.label and message.text == answer.text
        assert message.labels == list(LABELS)
        np.testing.assert_allclose(message.probabilities, answer.probabilities, rtol=1e-6)
        assert tuple(message.modalities) == answer.modalities


def test_ros_reads_the_bags_estimates(tmp_path: Path) -> None:
    serialization = pytest.importorskip("rclpy.serialization")
    messages = pytest.importorskip("erc_msgs.msg._emotion_estimate")
    recorded = made_up.recording(3)
    with Bag(write_bag(recorded, tmp_path / "bag")) as bag:
        data = next(iter(bag.raw([EMOTIONS]))).data
    message = serialization.deserialize_message(bytes(data), messages.EmotionEstimate)
    assert message.label == recorded.predictions[0].label
    assert message.bundle_name == "edge-small"


def test_states_begin_and_end_with_the_utterances(tmp_path: Path) -> None:
    recorded = made_up.recording(6)
    assert recorded.truth is not None
    with Bag(write_bag(recorded, tmp_path / "bag", prefix="/evaluation")) as bag:
        names = {topic.name for topic in bag.topics}
        anna = list(bag.messages(["/truth/emotion_states/anna"]))
    assert {"/truth/emotion_states/chlo", "/evaluation/emotion_states/speaker_1"} <= names
    assert "/evaluation/emotions" in names
    own = [s for s in recorded.truth.segments if s.speaker == "anna"]
    wanted = [x for s in own for x in ((s.start, s.emotion), (s.end, ""))]
    assert [(r.time - recorded.origin, r.message.data) for r in anna] == wanted


def test_the_bag_merges_with_the_recording(tmp_path: Path, conversation: Path) -> None:
    from rosbags.convert import convert

    recorded = replace(made_up.recording(2), name="conversation")
    ours = write_bag(recorded, tmp_path / "ours")
    convert(
        srcs=[conversation, ours],
        dst=tmp_path / "both",
        dst_storage="mcap",
        dst_version=9,
        compress=None,
        compress_mode="none",
        default_typestore=None,
        typestore=None,
        exclude_topics=[],
        include_topics=[],
        exclude_msgtypes=[],
        include_msgtypes=[],
    )
    with Bag(tmp_path / "both") as bag:
        names = {topic.name for topic in bag.topics}
        times = [raw.time for raw in bag.raw(names)]
    assert {"/audio", "/speech", EMOTIONS} <= names
    assert times == sorted(times)


def test_the_same_recording_gives_the_same_bag(tmp_path: Path) -> None:
    contents = []
    for name in ("one", "two"):
        bag = write_bag(made_up.recording(3), tmp_path / name / "bag")
        contents.append({file.name: file.read_bytes() for file in bag.iterdir()})
    assert contents[0] == contents[1]


def test_an_earlier_bag_is_replaced(tmp_path: Path) -> None:
    write_bag(made_up.recording(3), tmp_path / "bag")
    write_bag(made_up.recording(5), tmp_path / "bag")
    with Bag(tmp_path / "bag") as bag:
        assert sum(1 for _ in bag.raw([EMOTIONS])) == len(made_up.recording(5).predictions)
    assert [path.name for path in tmp_path.iterdir()] == ["bag"]


def test_sound_becomes_chunks_for_foxglove(tmp_path: Path) -> None:
    sound = made_up.tone(300, 1.05)
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(sound.astype("<i2").tobytes())
    bag_folder = write_bag(made_up.recording(1), tmp_path / "bag", sound=tmp_path / "a.wav")
    with Bag(bag_folder) as bag:
        records = list(bag.messages([SOUND]))
    assert [record.time - made_up.START for record in records[:2]] == [0, NS // 10]
    data = np.concatenate([record.message.data for record in records]).view("<i2")
    np.testing.assert_array_equal(data, sound)
    assert records[0].message.format == "pcm-s16" and records[0].message.sample_rate == 16000


def test_the_layout_shows_topics_that_the_bag_has(tmp_path: Path) -> None:
    folder = write_bag(made_up.recording(6), tmp_path / "bag")
    layout = json.loads((folder / LAYOUT).read_text(encoding="utf-8"))
    with Bag(folder) as bag:
        names = {topic.name for topic in bag.topics}
    paths = layout["configById"]["StateTransitions!emotions"]["paths"]
    assert [p["label"] for p in paths][:3] == ["truth/anna", "truth/ben", "truth/chlo"]
    assert all(p["value"].removesuffix(".data") in names for p in paths)

    def panels(node: object) -> list[str]:
        if isinstance(node, dict):
            return panels(node["first"]) + panels(node["second"])
        return [str(node)]

    assert sorted(panels(layout["layout"])) == sorted(layout["configById"])


# Sound and pictures.


@pytest.fixture(scope="module")
def sound() -> np.ndarray:
    """6 s: silence, and a tone from 2 s to 3 s."""
    samples = np.zeros(6 * 16000, np.float32)
    samples[2 * 16000 : 3 * 16000] = made_up.tone(500, 1.0) / 32768
    return samples


@pytest.fixture(scope="module")
def conversation(tmp_path_factory: pytest.TempPathFactory, sound: np.ndarray) -> Path:
    from erc_ros.demo.conversation_bag import Phrase, portrait, write_conversation

    phrases = [Phrase(2.0, 3.0, "Why, what happened?")]
    path = tmp_path_factory.mktemp("conversation") / "bag"
    return write_conversation(path, sound, phrases, portrait(phrases), frames_per_second=10.0)


def test_wav_and_mp4_run_on_the_recordings_clock(tmp_path: Path, conversation: Path) -> None:
    av = pytest.importorskip("av")
    from erc_ros.evaluation.exports import write_media

    files = write_media(conversation, {}, made_up.START, tmp_path, "a")
    assert [file.name for file in files] == ["a.wav", "a.mp4"]
    with wave.open(str(files[0]), "rb") as stream:
        assert (stream.getnchannels(), stream.getframerate()) == (1, 16000)
        heard = np.frombuffer(stream.readframes(stream.getnframes()), "<i2")
    assert abs(len(heard) - 6 * 16000) < 320
    loud = np.flatnonzero(np.abs(heard.astype(float)) > 2000)
    assert loud[0] / 16000 == pytest.approx(2.0, abs=0.01)
    assert loud[-1] / 16000 == pytest.approx(3.0, abs=0.01)
    with av.open(str(files[1])) as container:
        frames = [
            (float(f.pts * f.time_base), f.to_ndarray(format="bgr24"))
            for f in container.decode(video=0)
        ]
    assert frames[0][0] == 0
    assert frames[0][1].shape == (480, 640, 3)
    wall = frames[1][1]
    changed = [time for time, image in frames if np.abs(image.astype(int) - wall).mean() > 10]
    assert changed[0] == pytest.approx(1.8, abs=0.11) and changed[-1] == pytest.approx(
        3.2, abs=0.11
    )


def write_sound(bag: Path, sound: np.ndarray, ahead: int = 0) -> None:
    """A recording of chunks of 20 ms, none from 1 to 1.5 s; stamps `ahead` (ns) of the clock."""
    from erc_ros.replay.bag import BagWriter

    kind = "audio_common_msgs/msg/AudioDataStamped"
    data = np.rint(sound * 32767).astype("<i2")
    with BagWriter(bag) as writer:
        for first in range(0, len(data), 320):
            time = made_up.START + first * NS // 16000
            if not NS <= time - made_up.START < 1.5 * NS:
                chunk = np.frombuffer(data[first : first + 320].tobytes(), np.uint8)
                audio = writer.new("audio_common_msgs/msg/AudioData", data=chunk)
                message = writer.new(kind, header=writer.header(time + ahead, "mic"), audio=audio)
                writer.write("/audio", kind, time, message)


def test_a_gap_in_the_sound_is_silence(tmp_path: Path, sound: np.ndarray) -> None:
    """Sound that begins late, or stops for a while, stays where it was heard."""
    from erc_ros.evaluation.exports import write_media

    write_sound(tmp_path / "bag", sound)
    origin = made_up.START - NS  # something else came a second before
    (file,) = write_media(tmp_path / "bag", {}, origin, tmp_path, "a")
    with wave.open(str(file), "rb") as stream:
        heard = np.frombuffer(stream.readframes(stream.getnframes()), "<i2").astype(float)
    loud = np.flatnonzero(np.abs(heard) > 2000)
    assert loud[0] / 16000 == pytest.approx(3.0, abs=0.02)
    assert loud[-1] / 16000 == pytest.approx(4.0, abs=0.02)
    assert len(heard) / 16000 == pytest.approx(7.0, abs=0.03)


def test_the_samples_of_withheld_times_are_silent_and_no_other_sample(tmp_path: Path) -> None:
    from erc_ros.evaluation.exports import film

    write_sound(tmp_path / "bag", np.full(6 * 16000, 0.5, np.float32))
    node = RobotConfig().utterance_node
    span = (made_up.START + 2 * NS, made_up.START + 4 * NS)
    with Bag(tmp_path / "bag") as bag:
        topics = heard_topics(bag, {}, node, Counter())
        file = film.write_wav(
            bag, topics, made_up.START, tmp_path / "a.wav", node.perception, WithheldTimes((span,))
        )
    with wave.open(str(file), "rb") as stream:
        heard = np.frombuffer(stream.readframes(stream.getnframes()), "<i2")
    silent = np.flatnonzero(heard[int(1.5 * 16000) :] == 0) / 16000 + 1.5  # a gap is before
    assert len(silent) == 2 * 16000 + 1 and (silent[0], silent[-1]) == (2.0, 4.0)


def test_stamps_of_another_clock_do_not_fill_the_disk_with_silence(
    tmp_path: Path, sound: np.ndarray
) -> None:
    from erc_ros.evaluation.exports import write_media

    write_sound(tmp_path / "bag", sound, ahead=86_400 * NS)
    assert write_media(tmp_path / "bag", {}, made_up.START, tmp_path, "a") == []
    assert not (tmp_path / "a.wav").exists()


@pytest.mark.parametrize("lines_of", [lines_of_truth, lines_of_predictions])
def test_lines_know_nothing_of_words_without_text(lines_of: Callable[..., list[Line]]) -> None:
    recorded = made_up.recording(3)
    given = recorded.truth if lines_of is lines_of_truth else recorded
    assert {line.text for line in lines_of(given, False)} == {None}
