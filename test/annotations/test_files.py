"""Annotations of every format, whole and broken, and how they are joined."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

pytest.importorskip("pympi")
pytest.importorskip("praatio")

from praatio import textgrid
from praatio.data_classes.interval_tier import IntervalTier
from praatio.data_classes.point_tier import PointTier
from pympi import Eaf

from erc_ros.annotations import AnnotationError, marks, read
from erc_ros.annotations.joining import LabelMap, join, of_recording, read_label_map
from erc_ros.annotations.records import Annotations, Segment
from erc_ros.values.nanoseconds import NS

LABELS = ("anger", "joy", "neutral", "sadness")


def joined(*paths: Path, duration: float = 60.0, **options: object) -> Annotations:
    marks = [mark for path in paths for mark in read(path)]
    return join(marks, origin=0, duration=round(duration * NS), labels=LABELS, **options)  # type: ignore[arg-type]


def seconds(segment: Segment) -> tuple[float, float, str]:
    return segment.start / NS, segment.end / NS, segment.speaker


def write_eaf(path: Path) -> Path:
    """Anna says two things (the second without emotion), Ben one; one type per kind of tier."""
    document = Eaf()
    document.add_linguistic_type("words")
    document.add_linguistic_type("mood", constraints="Symbolic_Association")
    document.add_language("und")
    document.add_controlled_vocabulary("emotions")
    document.add_cv_entry("emotions", "e1", [("joy", "und", "")])
    document.linguistic_types["mood"]["CONTROLLED_VOCABULARY_REF"] = "emotions"
    document.add_tier("text@Anna", "words")
    document.add_tier("how Anna feels", "mood", parent="text@Anna", part="Anna")
    document.add_tier("Ben", "words")
    document.add_tier("Ben emotion", "default-lt")
    document.add_tier("gaze@Ben", "default-lt")
    document.add_annotation("text@Anna", 1000, 2500, "guess what")
    document.add_annotation("text@Anna", 4000, 5000, "well")
    document.add_ref_annotation("how Anna feels", "text@Anna", 1000, "joy")
    document.add_annotation("Ben", 2600, 3900, "no")
    document.add_annotation("Ben emotion", 2500, 4000, "Angry")
    document.add_annotation("gaze@Ben", 0, 500, "door")
    document.remove_tier("default")
    document.to_file(str(path))
    return path


def test_elan_tells_who_said_what_and_how_it_felt(tmp_path: Path) -> None:
    truth = joined(write_eaf(tmp_path / "a.eaf"), mapping=LabelMap({"angry": "anger"}))
    assert [seconds(each) for each in truth.segments] == [
        (1.0, 2.5, "Anna"),
        (2.6, 3.9, "Ben"),
        (4.0, 5.0, "Anna"),
    ]
    assert [each.text for each in truth.segments] == ["guess what", "no", "well"]
    assert [each.emotion for each in truth.segments] == ["joy", "anger", None]
    assert truth.repaired == {"tier 'gaze@Ben' of a.eaf: not evaluated": 1}
    assert truth.segments[1].source.tier == "Ben"


def test_what_is_not_mapped_is_counted(tmp_path: Path) -> None:
    truth = joined(write_eaf(tmp_path / "a.eaf"))
    assert truth.unmapped == {"Angry": 1}
    assert truth.segments[1].emotion is None


def test_broken_xml_names_the_file_and_the_place(tmp_path: Path) -> None:
    path = tmp_path / "broken.eaf"
    path.write_text('<ANNOTATION_DOCUMENT VERSION="3.0">\n<TIER>')
    with pytest.raises(AnnotationError, match=r"broken\.eaf.*XML.*2"):
        read(path)


@pytest.mark.parametrize(
    "declared",
    [
        '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]>',
        '<!DOCTYPE a [<!ENTITY a "aaaa"><!ENTITY x "&a;&a;&a;">]>',
        '<!DOCTYPE a SYSTEM "http://example.org/a.dtd">',
    ],
)
def test_entities_and_document_types_are_refused(tmp_path: Path, declared: str) -> None:
    path = tmp_path / "evil.eaf"
    content = write_eaf(tmp_path / "a.eaf").read_text()
    begin = content.index("<ANNOTATION_DOCUMENT")
    path.write_text(content[:begin] + declared + content[begin:].replace("guess what", "&x;"))
    with pytest.raises(AnnotationError, match=r"evil\.eaf"):
        read(path)


def test_another_xml_document_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.eaf"
    path.write_text("<html/>")
    with pytest.raises(AnnotationError, match="<html>"):
        read(path)


def test_an_elan_annotation_without_time_is_named(tmp_path: Path) -> None:
    path = write_eaf(tmp_path / "a.eaf")
    path.write_text(path.read_text().replace(' TIME_VALUE="2500"', ""))
    with pytest.raises(AnnotationError, match=r"a\.eaf.*'text@Anna'.*\(a\d\)"):
        read(path)


def test_textgrid_intervals_are_read_and_points_counted(tmp_path: Path) -> None:
    grid = textgrid.Textgrid()
    grid.addTier(IntervalTier("text@Anna", [(1.0, 2.0, "hello")], 0, 10))
    grid.addTier(IntervalTier("emotion@Anna", [(0.9, 2.1, "joy")], 0, 10))
    grid.addTier(PointTier("clicks", [(3.0, "x")], 0, 10))
    path = tmp_path / "a.TextGrid"
    grid.save(str(path), format="long_textgrid", includeBlankSpaces=True)
    truth = joined(path)
    assert [seconds(each) for each in truth.segments] == [(1.0, 2.0, "Anna")]
    assert (truth.segments[0].text, truth.segments[0].emotion) == ("hello", "joy")
    assert truth.repaired == {"tier 'clicks' of a.TextGrid: not evaluated": 1}


def test_a_broken_textgrid_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.TextGrid"
    path.write_text("not a grid")
    with pytest.raises(AnnotationError, match=r"a\.TextGrid.*TextGrid"):
        read(path)


def rttm(*lines: tuple[float, float, str]) -> str:
    return "".join(
        f"SPEAKER talk 1 {start} {duration} <NA> <NA> {name} <NA> <NA>\n"
        for start, duration, name in lines
    )


def test_rttm_tells_speakers_emotions_or_both(tmp_path: Path) -> None:
    speakers, emotions, both = (
        tmp_path / name for name in ("a.rttm", "a.emotion.rttm", "b.speaker-emotion.rttm")
    )
    speakers.write_text(rttm((1, 2, "Anna"), (4, 1, "Ben")))
    emotions.write_text(rttm((1, 2.1, "joy"), (4, 1, "anger")))
    both.write_text(rttm((1, 2, "Anna/joy"), (4, 1, "Ben/anger")))
    expected = [((1.0, 3.0, "Anna"), "joy"), ((4.0, 5.0, "Ben"), "anger")]
    for truth in (joined(speakers, emotions), joined(both)):
        assert [(seconds(each), each.emotion) for each in truth.segments] == expected
    alone = joined(emotions)
    assert [(each.speaker, each.emotion) for each in alone.segments] == [
        ("", "joy"),
        ("", "anger"),
    ]


def test_emotions_called_speakers_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.rttm"
    path.write_text(rttm((1, 2, "joy"), (4, 1, "anger")))
    with pytest.raises(AnnotationError, match=r"NAME\.emotion\.rttm"):
        joined(path)


@pytest.mark.parametrize("line", ["SPEAKER talk 1 x 2 <NA> <NA> A", "SPEAKER talk 1 0 2 <NA>"])
def test_a_bad_line_of_rttm_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "a.rttm"
    path.write_text(rttm((1, 2, "Anna")) + line + "\n")
    with pytest.raises(AnnotationError, match=r"a\.rttm.*2"):
        read(path)


def test_csv_rows_and_their_errors(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(
        "\ufeffstart;end;speaker;text;emotion;valence;arousal\n"
        '1;2;Anna;"hello; you";joy;0.5;-0.25\n'
        "3;4;Ben;;;;\n",
        encoding="utf-8",
    )
    first, second = joined(path).segments
    assert (first.text, first.emotion, first.valence, first.arousal) == (
        "hello; you",
        "joy",
        0.5,
        -0.25,
    )
    assert (second.text, second.emotion, second.valence) == (None, None, None)
    path.write_text("start,end,speaker\n1,2,Anna\n3,nan,Ben\n")
    with pytest.raises(AnnotationError, match=r"a\.csv.*3.*'nan'"):
        read(path)
    path.write_text("begin,finish\n1,2\n")
    with pytest.raises(AnnotationError, match=r"a\.csv.*1.*begin.*finish"):
        read(path)
    path.write_text("start,end,valence,speaker\n1,2,3.5,Anna\n")
    with pytest.raises(AnnotationError, match=r"a\.csv.*2.*'3.5'"):
        joined(path)


def test_rosannotators_axes_are_tiers(tmp_path: Path) -> None:
    path = tmp_path / "annotation.csv"
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["id", "axisType", "axisName", "axisBooklistName", "start", "end", "text"])
        writer.writerow([0, "type-in", "Anna", "", 1.5, 2.5, "hello"])
        writer.writerow([1, "selected", "mood@Anna", "Emotions", 1.5, 2.5, "joy"])
    (segment,) = joined(path).segments
    assert seconds(segment) == (1.5, 2.5, "Anna")
    assert (segment.text, segment.emotion) == ("hello", "joy")


def test_stm_and_seglst_have_words(tmp_path: Path) -> None:
    stm = tmp_path / "a.stm"
    stm.write_text(
        ";; a comment\n"
        "talk 1 Anna 1.0 2.0 <o,f0> hello there\n"
        "talk 1 Ben 3.0 4.0 IGNORE_TIME_SEGMENT_IN_SCORING\n"
    )
    seglst = tmp_path / "a.json"
    entry = {"session_id": "talk", "speaker": "Anna", "start_time": "1.0", "end_time": 2.0}
    seglst.write_text(json.dumps([{**entry, "words": "hello there", "emotion": "joy"}]))
    assert [(seconds(s), s.text) for s in joined(stm).segments] == [
        ((1.0, 2.0, "Anna"), "hello there")
    ]
    (both,) = joined(stm, seglst).segments
    assert (both.text, both.emotion) == ("hello there", "joy")
    seglst.write_text(json.dumps([{"speaker": "Anna"}]))
    with pytest.raises(AnnotationError, match=r"a\.json.*'segments'.*1"):
        read(seglst)
    seglst.write_text("[")
    with pytest.raises(AnnotationError, match=r"a\.json.*JSON"):
        read(seglst)


def test_two_files_that_contradict_each_other_are_both_named(tmp_path: Path) -> None:
    first, second = tmp_path / "a.csv", tmp_path / "b.csv"
    first.write_text("start,end,speaker,emotion\n1,2,Anna,joy\n")
    second.write_text("start,end,speaker,emotion\n1,2,Anna,sadness\n")
    with pytest.raises(AnnotationError, match=r"a\.csv.*2.*b\.csv.*2.*A='a\.csv' B='b\.csv'"):
        joined(first, second)
    second.write_text("start,end,speaker,emotion\n1,2,Anna,Joy\n")
    truth = joined(first, second)
    assert len(truth.segments) == 1 and "annotations that say the same again" in truth.repaired
    second.write_text("start,end,speaker,emotion\n1,2,Eve,joy\n")
    with pytest.raises(AnnotationError, match="no speaker in common"):
        joined(first, second)


def test_overlapping_annotations_of_one_speaker(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("start,end,speaker,text\n1,2,Anna,one\n1.9,3,Anna,two\n1.5,2.5,Ben,three\n")
    truth = joined(path)  # people talk at once: Ben's is fine; Anna's overlaps a little
    assert [each.text for each in truth.segments] == ["one", "three", "two"]
    assert truth.repaired["annotations of one speaker that overlap a little"] >= 1
    path.write_text("start,end,speaker,text\n1,2,Anna,one\n1.2,2,Anna,two\n")
    with pytest.raises(AnnotationError, match=r"line 2 and .* line 3 contradict"):
        joined(path)


def test_times_outside_the_recording(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("start,end,speaker,text\n1,2,Anna,one\n9,12,Anna,two\n30,31,Ben,three\n")
    truth = joined(path, duration=10.0)
    assert [seconds(each) for each in truth.segments] == [(1, 2, "Anna"), (9, 10, "Anna")]
    assert truth.repaired["annotations past an end of the recording, cut"] == 2  # turn and text
    assert truth.repaired["annotations outside the recording, excluded"] == 2
    with pytest.raises(AnnotationError, match=r"a\.csv.*101\.0.*131\.0.*--offset"):
        joined(path, duration=10.0, offset=100 * NS)


def test_offset_and_unix_time(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("start,end,speaker\n1,2,Anna\n")
    assert seconds(joined(path, offset=3 * NS).segments[0]) == (4, 5, "Anna")
    path.write_text("start,end,speaker\n1767225601,1767225602,Anna\n")
    marks = read(path)
    origin = 1_767_225_600 * NS
    truth = join(marks, origin=origin, duration=10 * NS, labels=LABELS)
    assert seconds(truth.segments[0]) == (1, 2, "Anna")


def test_empty_backward_and_timeless_annotations(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("start,end,speaker\n1,1,Anna\n2,3,Anna\n")
    assert joined(path).repaired == {"annotations without duration, excluded": 1}
    path.write_text("start,end,speaker\n2,1,Anna\n")
    with pytest.raises(AnnotationError, match=r"a\.csv.*2.*1\.000"):
        joined(path)
    document = Eaf()
    document.add_tier("text@Anna")
    document.add_annotation("text@Anna", 0, 1000, "")
    document.remove_tier("default")
    document.to_file(str(tmp_path / "a.eaf"))
    truth = joined(tmp_path / "a.eaf")
    assert truth.segments[0].text is None and truth.repaired == {"empty annotations": 1}


def test_an_unknown_suffix_and_sizes_out_of_bounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AnnotationError, match=r"a\.docx.*\.eaf"):
        read(tmp_path / "a.docx")
    with pytest.raises(AnnotationError, match="read"):
        read(tmp_path / "absent.csv")
    path = tmp_path / "a.csv"
    path.write_text("start,end,speaker\n" + "1,2,A\n" * 10)
    monkeypatch.setattr(marks, "MAX_BYTES", 32)
    with pytest.raises(AnnotationError, match="smaller"):
        read(path)
    assert marks.MAX_MARKS >= 100_000
    path.write_bytes(b"start\0,end")
    with pytest.raises(AnnotationError, match=r"line 1: not a text file"):
        read(path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_tables_of_every_usual_encoding_are_read(
    encoding: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As a German Excel saves them."""
    path = tmp_path / f"{encoding}.csv"
    path.write_bytes("start;end;speaker;emotion\r\n1,5;2,0;Jürgen;joy\r\n".encode(encoding))
    for _ in range(2):
        assert {mark.speaker for mark in read(path)} == {"Jürgen"}
    assert len(caplog.records) == (encoding == "cp1252")


def test_files_of_many_recordings(tmp_path: Path) -> None:
    path = tmp_path / "all.rttm"
    path.write_text(rttm((1, 2, "Anna")) + rttm((5, 1, "Ben")).replace("talk", "other"))
    marks = read(path)
    assert [mark.speaker for mark in of_recording(marks, "other")] == ["Ben"]
    with pytest.raises(AnnotationError, match=r"other.*talk.*third"):
        of_recording(marks, "third")
    assert len(of_recording(marks[:1], "third")) == 1  # one recording needs no name


def test_label_maps(tmp_path: Path) -> None:
    path = tmp_path / "labels.yaml"
    path.write_text("Happy: joy\nbored: ~\n")
    assert read_label_map(path).labels == {"happy": "joy", "bored": ""}
    path.write_text("labels: {happy: joy}\ntiers: {gaze: ~, P1: emotion@Anna}\n")
    assert read_label_map(path).tiers == {"gaze": "", "P1": "emotion@Anna"}
    for content, reason in (
        ("[", "not YAML"),
        ("- a", "must be lines"),
        ("1: joy", "1: joy"),
        ("labels: {a: joy}\nfoo: {}", "sections are"),
        ("tiers: {a: mood@Anna}", "must be KIND@SPEAKER"),
    ):
        path.write_text(content)
        with pytest.raises(AnnotationError, match=reason):
            read_label_map(path)
    table = tmp_path / "a.csv"
    table.write_text("start,end,speaker,emotion\n1,2,Anna,happy\n")
    with pytest.raises(AnnotationError, match="joy"):
        joined(table, mapping=LabelMap({"happy": "joyy"}))


ELAN_LINES = [
    ("emotion@Anna", "Anna", 0.5, 1.5, "joy"),
    ("emotion@Anna", "Anna", 2.0, 3.0, "anger"),
    ("text@Anna", "Anna", 0.5, 1.5, "I am so happy!"),
]


@pytest.mark.parametrize("form", ["seconds", "clock", "both", "header", "no participant"])
def test_elan_s_tab_delimited_export_is_read(form: str, tmp_path: Path) -> None:
    lines = []
    for tier, participant, start, end, value in ELAN_LINES:
        fields = [tier] if form == "no participant" else [tier, participant]
        for time in (start, end, end - start):
            clock = [f"00:00:{time:06.3f}"] if form in ("clock", "both", "header") else []
            fields += clock + ([] if form == "clock" else [f"{time:.3f}"])
        lines.append("\t".join([*fields, value]))
    if form == "header":
        lines.insert(0, "Tier\tParticipant\tBegin Time - hh:mm:ss.ms\tBegin Time - ss.msec\t...")
    path = tmp_path / "talk.txt"
    path.write_text("\n".join(lines) + "\n")
    marks = read(path)
    assert [(m.kind, m.speaker, m.start, m.end, m.value) for m in marks] == [
        (tier.split("@")[0], "Anna", round(start * NS), round(end * NS), value)
        for tier, _, start, end, value in ELAN_LINES
    ]


@pytest.mark.parametrize(
    "line", ["emotion@Anna\t12\t34\tjoy", "emotion@Anna\t1.0\tjoy", "1.0\t2.0\tjoy", "a\t1.0\t2.0"]
)
def test_a_line_of_elan_s_export_without_usable_times_is_refused(line: str, tmp_path: Path) -> None:
    path = tmp_path / "talk.txt"
    path.write_text(f"emotion@Anna\t1.000\t2.000\tjoy\n{line}\n")
    with pytest.raises(AnnotationError):
        read(path)


def label_studio(**changes: object) -> list[dict[str, object]]:
    region = {"start": 0.5, "end": 1.5, "labels": ["joy"]}
    words = {"start": 0.5, "end": 1.5, "text": ["I am so happy!"]}
    result = [
        {"from_name": "emotion_Anna", "type": "labels", "value": region},
        {"from_name": "text_Anna", "type": "textarea", "value": words},
        {"from_name": "rating", "type": "rating", "value": {"rating": 4}},
    ]
    task = {"data": {"audio": "/data/upload/1/talk.wav?d=x"}, "annotations": [{"result": result}]}
    return [{**task, **changes}]


def test_label_studio_s_export_is_read(tmp_path: Path) -> None:
    path = tmp_path / "export.json"
    path.write_text(json.dumps(label_studio()))
    emotion, text = read(path)
    assert (emotion.kind, emotion.speaker, emotion.value) == ("emotion", "Anna", "joy")
    assert (emotion.start, emotion.end, emotion.recording) == (NS // 2, 3 * NS // 2, "talk")
    assert (text.kind, text.value) == ("text", "I am so happy!")


@pytest.mark.parametrize(
    "annotations",
    [
        "none",
        [{"result": "none"}],
        [3],
        [{"result": [{"value": 3}]}],
        [{"result": [{"value": {"start": "soon", "end": 2}}]}],
    ],
)
def test_a_damaged_export_of_label_studio_is_refused(annotations: object, tmp_path: Path) -> None:
    path = tmp_path / "export.json"
    path.write_text(json.dumps(label_studio(annotations=annotations)))
    with pytest.raises(AnnotationError):
        read(path)


def test_a_canceled_annotation_is_excluded(tmp_path: Path) -> None:
    path = tmp_path / "export.json"
    (task,) = label_studio()
    annotations = [{**task["annotations"][0], "was_cancelled": True}]  # type: ignore[index]
    path.write_text(json.dumps(label_studio(annotations=annotations)))
    assert read(path) == []


def test_a_spreadsheet_s_csv_with_decimal_commas_is_read(tmp_path: Path) -> None:
    path = tmp_path / "talk.csv"
    path.write_text("Start;End;Speaker;Emotion;Text\n0,5;1,5;Anna;joy;Yes, really, 3,5\n")
    speech, text, emotion = read(path)
    assert (speech.start, speech.end, speech.speaker) == (NS // 2, 3 * NS // 2, "Anna")
    assert (emotion.value, text.value) == ("joy", "Yes, really, 3,5")
