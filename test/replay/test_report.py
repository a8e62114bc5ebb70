"""The exact files of a replay, their provenance, and progress of a command."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("matplotlib", reason="the extra [replay] is not installed")

from erc_ros.parameters import RobotConfig
from erc_ros.replay import provenance
from erc_ros.replay.bag import BagError
from erc_ros.replay.consent import WithheldTimes
from erc_ros.replay.progress import EVERY, ReportingRecording, progress_bar
from erc_ros.replay.report import Result, check_out, quantiles, summary_of_why, write
from erc_ros.replay.rows import BundleName, Row
from erc_ros.replay.timeline import COLOURS, _clock, _color, _ink_on, _labels, _lanes
from erc_ros.values.nanoseconds import NS
from erc_ros.values.why import Why

BUNDLE = BundleName("tiny", "1.0", "abc")
WORDS = Why("joy", 0.75, 1.0, "anger", 0.5)
FACE = Why("anger", 0.5, 0.25, "joy", 0.75, "disagrees")


def row(name: str, start: int, **changes: object) -> Row:
    whole = Row(
        conversation_id="c",
        utterance_id=name,
        speaker_id="0",
        voice_id="",
        face_id="",
        person_id="",
        start=start * NS,
        end=(start + 2) * NS,
        text="Ünïcödé, yes",
        label="joy",
        confidence=0.75,
        valence=0.5,
        arousal=-0.25,
        probabilities={"joy": 0.75, "anger": 0.25},
        modalities={"text": True, "audio": False, "visual": True},
        weights={"text": 0.75, "audio": 0.0, "visual": 0.25},
        is_final=True,
        why={"text": WORDS, "visual": FACE},
    )
    return replace(whole, **changes)


ROWS = [
    row("u1", 10),
    row("u2", 13, label="", speaker_id="1", person_id="Ana", overlap=0.5, latency=7),
    row(
        "u3",
        17,
        modalities={"text": True, "audio": True, "visual": False},
        weights={"text": 0.25, "audio": 0.75, "visual": 0.0},
        why={"text": replace(WORDS, without="joy"), "audio": replace(FACE, reliability=None)},
    ),
]


def read(folder: Path, name: str) -> dict[str, object]:
    content: dict[str, object] = json.loads((folder / name).read_text(encoding="utf-8"))
    return content


def test_the_summary_counts_what_the_rows_have(tmp_path: Path) -> None:
    result = Result(
        ROWS,
        BUNDLE,
        9 * NS,
        Counter(b=1, a=2),
        Counter({"gap": 3}),
        timing={"wall_s": 0.5},
    )
    files = write(result, tmp_path, recording="talk", made_with={"python": "3"})
    assert [file.name for file in files] == [
        "estimates.jsonl",
        "estimates.csv",
        "summary.json",
        "timing.json",
        "timeline.png",
    ]
    assert all(file.parent == tmp_path and file.stat().st_size for file in files)
    assert read(tmp_path, "summary.json") == {
        "recording": "talk",
        "provenance": {"python": "3"},
        "bundle": {"name": "tiny", "version": "1.0", "sha256": "abc"},
        "origin_ns": 9 * NS,
        "utterances": 3,
        "speakers": ["0", "1"],
        "labels": {"joy": 2, "unknown": 1},
        "coverage": 0.666667,
        "modalities": {"text": 3, "audio": 1, "visual": 2},
        "why": {
            "text": {
                "mean_weight": 0.583333,
                "mean_reliability": 1.0,
                "changed_the_label": 2,
                "not_trusted": {},
            },
            "audio": {
                "mean_weight": 0.75,
                "mean_reliability": None,
                "changed_the_label": 0,
                "not_trusted": {"disagrees": 1},
            },
            "visual": {
                "mean_weight": 0.25,
                "mean_reliability": 0.25,
                "changed_the_label": 0,
                "not_trusted": {"disagrees": 2},
            },
        },
        "counts": {"a": 2, "b": 1},
        "warnings": {"gap": 3},
    }
    assert read(tmp_path, "timing.json") == {"wall_s": 0.5}
    text = (tmp_path / "summary.json").read_text(encoding="utf-8")
    assert text.startswith('{\n  "recording"') and text.endswith("}\n")
    assert text.index('"a": 2') < text.index('"b": 1')


def test_what_is_known_of_no_row_is_in_no_summary() -> None:
    assert summary_of_why([replace(ROWS[0], why={})]) == {}
    assert set(summary_of_why([*ROWS, replace(ROWS[0], why={})])) == {"text", "audio", "visual"}


def test_without_rows_there_are_files_with_names_of_columns(tmp_path: Path) -> None:
    write(Result([], BUNDLE, 0), tmp_path)
    summary = read(tmp_path, "summary.json")
    assert (summary["utterances"], summary["coverage"], summary["labels"]) == (0, None, {})
    assert (tmp_path / "estimates.csv").read_text() == "utterance_id\n"
    assert (tmp_path / "estimates.jsonl").read_bytes() == b""


def test_the_table_has_a_line_of_plain_columns_for_each_row(tmp_path: Path) -> None:
    rows = [ROWS[1], replace(ROWS[0], probabilities={"joy": 0.75, "fear": 0.25}, why={})]
    write(Result(rows, BUNDLE, 9 * NS + 400_000), tmp_path)
    header, first, second = (tmp_path / "estimates.csv").read_text(encoding="utf-8").splitlines()
    assert header == (
        "start_s,end_s,speaker,conversation_id,utterance_id,speaker_id,voice_id,face_id,person_id,"
        "start,end,text,label,confidence,valence,arousal,is_final,overlap,text_excluded,"
        "most_probable,p_joy,p_anger,has_text,has_audio,has_visual,"
        "weight_text,weight_audio,weight_visual,"
        "indicates_text,probability_text,reliability_text,without_text,without_probability_text,"
        "distrust_text,indicates_visual,probability_visual,reliability_visual,without_visual,"
        "without_probability_visual,distrust_visual,p_fear"
    )
    assert first == (
        "4.0,6.0,Ana,c,u2,1,,,Ana,13000000000,15000000000,"
        '"Ünïcödé, yes",,0.75,0.5,-0.25,True,0.5,,joy,0.75,0.25,True,False,True,0.75,0.0,0.25,'
        "joy,0.75,1.0,anger,0.5,,anger,0.5,0.25,joy,0.75,disagrees,"
    )
    assert second == (
        "1.0,3.0,speaker 1,c,u1,0,,,,10000000000,12000000000,"
        '"Ünïcödé, yes",joy,0.75,0.5,-0.25,True,,,joy,0.75,,True,False,True,0.75,0.0,0.25,'
        ",,,,,,,,,,,,0.25"
    )
    (entry, _) = map(json.loads, (tmp_path / "estimates.jsonl").read_text("utf-8").splitlines())
    assert entry["most_probable"] == "joy" and "latency" not in entry and entry["overlap"] == 0.5
    assert "Ünïcödé" in (tmp_path / "estimates.jsonl").read_text("utf-8")


def test_times_of_the_table_are_not_negative(tmp_path: Path) -> None:
    origin = 10 * NS + NS // 10  # the first message arrived after its stamp
    files = {file.name: file for file in write(Result(ROWS, BUNDLE, origin), tmp_path)}
    with files["estimates.csv"].open(newline="") as stream:
        assert [row["start_s"] for row in csv.DictReader(stream)] == ["0.0", "2.9", "6.9"]


def test_pages_of_a_longer_recording_do_not_stay(tmp_path: Path) -> None:
    write(Result([row(f"u{n}", n) for n in range(30)], BUNDLE, 0), tmp_path)
    assert (tmp_path / "timeline-2.png").exists()
    (tmp_path / "notes.txt").touch()
    write(Result(ROWS, BUNDLE, 0), tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "estimates.csv",
        "estimates.jsonl",
        "notes.txt",
        "summary.json",
        "timeline.png",
        "timing.json",
    ]


@pytest.mark.parametrize(
    ("before", "span", "is_refused"),
    [
        (None, (10, 20), False),
        ("no JSON", (10, 20), False),
        ("[]", (10, 20), False),
        ('{"recording": "talk"}', (10, 20), False),
        ('{"origin_ns": 10, "recording": "talk"}', (10, 20), False),
        ('{"origin_ns": 20, "recording": "talk"}', (10, 20), False),
        ('{"origin_ns": 20}', (10, 20), False),
        ('{"origin_ns": 9, "recording": "talk"}', (10, 20), True),
        ('{"origin_ns": 21, "recording": "talk"}', (10, 20), True),
        ('{"origin_ns": 9}', (10, 20), True),
        ('{"origin_ns": 15, "recording": "other"}', (10, 20), True),
        ('{"origin_ns": 9, "recording": "other"}', (0, 0), False),  # an empty one
        ('{"origin_ns": 1, "recording": "other"}', (0, 1), True),
    ],
)
def test_the_results_of_another_recording_are_not_replaced(
    tmp_path: Path, before: str | None, span: tuple[int, int], is_refused: bool
) -> None:
    if before is not None:
        (tmp_path / "summary.json").write_text(before)
    bag = SimpleNamespace(span=span, path=Path("talks/talk"))
    if is_refused:
        with pytest.raises(BagError, match="--overwrite"):
            check_out(tmp_path, bag)
    else:
        check_out(tmp_path, bag)


def test_quantiles_are_of_sorted_durations() -> None:
    durations = [n * 1_000_000 for n in range(100, 0, -1)]
    assert quantiles(durations) == {"p50": 51.0, "p95": 96.0, "p99": 100.0, "max": 100.0}
    assert quantiles([1_260_000]) == {"p50": 1.3, "p95": 1.3, "p99": 1.3, "max": 1.3}
    assert quantiles([]) == {}


# --- what it was made with ---


def test_files_and_folders_have_a_digest_of_names_and_content(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "two").write_bytes(b"2" * (2**20 + 1))
    (tmp_path / "a" / "one").write_bytes(b"1")
    one, two = tmp_path / "a" / "one", tmp_path / "a" / "b" / "two"
    assert provenance.digest(one) == hashlib.sha256(b"1").hexdigest()
    both = hashlib.sha256(b"1" + two.read_bytes()).hexdigest()
    assert provenance.digest(one, two) == both
    named = b"\0b/two\0" + two.read_bytes() + b"\0one\0" + b"1"
    assert provenance.digest(tmp_path / "a") == hashlib.sha256(named).hexdigest()
    known = provenance.digests([tmp_path / "missing", one, two])
    assert known == {"one": provenance.digest(one), "two": provenance.digest(two)}


def test_parameters_that_differ_from_the_defaults_are_named() -> None:
    robot = RobotConfig().changed(text_timeout=2.5, bundle="edge-open")
    assert provenance.changed_parameters(RobotConfig()) == {
        "utterance_node": {},
        "emotion_node": {},
    }
    assert provenance.changed_parameters(robot) == {
        "utterance_node": {"text_timeout": 2.5},
        "emotion_node": {"bundle": "edge-open"},
    }


def test_models_and_libraries_are_named() -> None:
    found = provenance.models(RobotConfig().changed(speaker_model="none"))
    assert found["bundle"]["name"] == "edge-small" and len(found["bundle"]["sha256"]) == 64
    assert set(found) == {"bundle", "segmentation_model"}
    assert set(provenance.models(RobotConfig())) == {*found, "speaker_model"}
    assert found["segmentation_model"]["name"] == "segmentation"
    software = provenance.software()
    assert set(software) == {"erc_ros", "commit", "python", "machine", "libraries"}
    assert {"numpy", "onnxruntime", "tokenizers"} <= set(software["libraries"])
    assert all(software.values()) and all(software["libraries"].values())


def test_nested_values_are_lines_of_a_table() -> None:
    nested = {"a": 1, "b": {"c": "x", "d": {"e": None}}}
    assert provenance.lines(nested) == [("a", "1"), ("b c", "x"), ("b d e", "None")]


# --- how far it is ---


class Recorded:
    """A recording of 250 messages on a topic, and 50 on another one."""

    path, span = Path("talk"), (3, 4)

    def __init__(self) -> None:
        self.topics = [SimpleNamespace(name="a", count=250), SimpleNamespace(name="b", count=50)]
        self.warnings = Counter(gap=1)

    def messages(self, topics: set[str]) -> Iterator[int]:
        return iter(range(sum(topic.count for topic in self.topics if topic.name in topics)))


def test_a_recording_reports_the_share_of_its_messages_that_was_read() -> None:
    shares: list[float] = []
    recorded = Recorded()
    recording = ReportingRecording(recorded, shares.append)
    for name in ("path", "span", "topics", "warnings"):
        assert getattr(recording, name) == getattr(recorded, name)
    assert list(recording.messages({"a"})) == list(range(250))
    assert shares == [0.0, EVERY / 250, 2 * EVERY / 250, 1.0]
    shares.clear()
    assert len(list(recording.messages({"a", "b"}))) == 300
    assert shares == [0.0, EVERY / 300, 2 * EVERY / 300, 1.0]
    shares.clear()
    assert list(recording.messages(set())) == [] and shares == [1.0]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("unit", "shown"), [("recordings", "2/4 recordings"), ("", "50%")])
def test_a_bar_shows_how_much_is_done_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, unit: str, shown: str
) -> None:
    pytest.importorskip("tqdm")
    for stream in (Terminal(), io.StringIO()):
        monkeypatch.setattr(sys, "stderr", stream)
        with progress_bar(4, unit) as progress:
            progress(1)
            progress(2)
        assert (shown in stream.getvalue()) == stream.isatty()
        assert ("100%" in stream.getvalue()) is False


def test_without_the_library_there_is_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with progress_bar() as progress:
        assert progress(0.5) is None


def test_a_time_is_withheld_where_it_touches_a_span() -> None:
    times = WithheldTimes(((10, 20), (30, 40)))
    for start, end, expected in (
        (0, 9, False),
        (0, 10, True),  # the end belongs to it
        (19, 25, True),
        (20, 29, False),  # the end of a span does not
        (20, 30, True),
        (12, 13, True),
        (40, 99, False),
        (0, 99, True),
    ):
        assert times.touch(start, end) is expected, (start, end)


# --- words and colors of the timeline ---


def test_times_have_hours_only_where_there_are_some() -> None:
    assert [_clock(s) for s in (0, 59.9, 60, 3599, 3600, 36_061, -5, -3725)] == [
        "0:00",
        "0:59",
        "1:00",
        "59:59",
        "1:00:00",
        "10:01:01",
        "-0:05",
        "-1:02:05",
    ]


def test_letters_are_dark_on_light_colors_and_light_on_dark_ones() -> None:
    assert {label for label in COLOURS if _ink_on(label) == "white"} == {"sadness", "disgust"}
    assert _color("calm") == _color("calm") != _color("happy")


def test_a_speaker_of_a_conversation_has_a_lane_named_for_the_person() -> None:
    rows = [
        row("u1", 1, speaker_id=""),
        row("u2", 2, speaker_id="1"),
        row("u3", 3, speaker_id="0"),
        row("u4", 4, speaker_id="1", person_id="Ana"),
    ]
    assert [(lane.name, lane.rows) for lane in _lanes(rows)] == [
        ("speaker 1", (2,)),
        ("Ana", (1, 3)),
        ("unknown", (0,)),
    ]
    later = [*rows, row("u5", 5, speaker_id="0", conversation_id="a")]
    assert [(lane.name, lane.rows) for lane in _lanes(later)] == [
        ("unknown", (0,)),
        ("Ana", (1, 3)),
        ("speaker 1", (2,)),
        ("speaker 1", (4,)),
    ]
    assert _labels(rows) == ["joy", "anger"]
    assert _labels([*rows, row("u5", 5, label="")]) == ["joy", "anger", ""]
