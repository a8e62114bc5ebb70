"""Transcripts of many programs yield the same cues."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from erc_ros.media.files import ORIGIN
from erc_ros.media.transcripts import (
    DELAY,
    Cue,
    TranscriptError,
    check_fit,
    read_cues,
    transcripts_of,
)
from erc_ros.values.nanoseconds import NS, seconds

SEGMENTS = [
    {"start": 1.0, "end": 2.5, "text": " I am so happy!", "speaker": "Ana"},
    {"start": 3.0, "end": 4.25, "text": " No way.", "speaker": "Ben"},
]
SRT = """1
00:00:01,000 --> 00:00:02,500
<i>I am</i> so happy!

2
00:00:03,000 --> 00:00:04,250
No way.
"""
FILES = {
    "talk.srt": SRT,
    "windows.srt": "\ufeff" + SRT.replace("\n", "\r\n"),
    "short.srt": SRT.replace("02,500", "02,5").replace("04,250", "04,25"),
    "talk.vtt": "WEBVTT\n\nNOTE a comment\n\nSTYLE\n::cue { color: red }\n\n"
    "00:01.000 --> 00:02.500 align:start position:0%\n<c.yellow>I am so</c> happy!\n\n"
    "intro\n00:00:03.000 --> 00:00:04.250\nNo way.\n",
    "inline.vtt": "WEBVTT\n\n00:01.000 --> 00:02.500\nI <00:01.200>am <00:01.400>so happy!\n\n"
    "00:03.000 --> 00:04.250\nNo way.\n",
    "whisper.json": json.dumps({"text": "...", "segments": SEGMENTS, "language": "en"}),
    "cpp.json": json.dumps(
        {
            "result": {"language": "en"},
            "transcription": [
                {"offsets": {"from": 1000, "to": 2500}, "text": " I am so happy!"},
                {"offsets": {"from": 3000, "to": 4250}, "text": " No way."},
            ],
        }
    ),
    "seglst.json": json.dumps(
        [
            {"session_id": "s", "speaker": "Ana", "start_time": "1.0", "end_time": "2.5",
             "words": "I am so happy!"},
            {"session_id": "s", "speaker": "Ben", "start_time": 3.0, "end_time": 4.25,
             "words": "No way."},
        ]
    ),
    "talk.stm": ";; comment\ntalk 1 Ana 1.0 2.5 <o,f0,female> I am so happy!\n"
    "talk 1 Ben 3.0 4.25 No way.\ntalk 1 x 5 6 IGNORE_TIME_SEGMENT_IN_SCORING\n",
    "talk.csv": "start,end,speaker,text\n1.0,2.5,Ana,I am so happy!\n3,4.25,Ben,No way.\n",
    "excel.csv": "Start;End;Speaker;Text\n1,0;2,5;Ana;I am so happy!\n3;4,25;Ben;No way.\n",
    "whisper.tsv": "start\tend\ttext\n1000\t2500\tI am so happy!\n3000\t4250\tNo way.\n",
    "clock.csv": "Start,End,Transcript\n0:00:01.0,00:02.5,I am so happy!\n0:03,0:04.25,No way.\n",
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_every_format_gives_the_same_texts_and_times(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(FILES[name].encode())
    cues = read_cues(path)
    assert [(cue.text, cue.start, cue.end) for cue in cues] == [
        ("I am so happy!", seconds(1.0), seconds(2.5)),
        ("No way.", seconds(3.0), seconds(4.25)),
    ]
    has_speakers = name in ("whisper.json", "seglst.json", "talk.stm", "talk.csv", "excel.csv")
    assert [cue.speaker for cue in cues] == (["Ana", "Ben"] if has_speakers else ["", ""])


def read(tmp_path: Path, name: str, content: str) -> list[Cue]:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    return read_cues(path)


def test_word_times_of_whisperx_are_kept_and_incomplete_ones_are_not(tmp_path: Path) -> None:
    words = [{"word": "No", "start": 3.0, "end": 3.2}, {"word": "way.", "start": 3.3, "end": 3.6}]
    untimed = [{"word": "£5"}, *words]
    content = {
        "segments": [
            {**SEGMENTS[0], "words": untimed},
            {**SEGMENTS[1], "words": words, "avg_logprob": -0.5},
        ]
    }
    first, second = read(tmp_path, "talk.json", json.dumps(content))
    assert first.words == ()
    assert [(w.text, w.start, w.end) for w in second.words] == [
        ("No", seconds(3.0), seconds(3.2)),
        ("way.", seconds(3.3), seconds(3.6)),
    ]
    assert first.confidence is None
    assert second.confidence == pytest.approx(math.exp(-0.5))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (
            "vosk.json",
            json.dumps(
                {
                    "result": [
                        {"word": "no", "start": 3.0, "end": 3.2, "conf": 1.0},
                        {"word": "way", "start": 3.3, "end": 3.6, "conf": 0.9},
                        {"word": "really", "start": 5.0, "end": 5.5, "conf": 0.9},
                    ],
                    "text": "no way really",
                }
            ),
        ),
        ("talk.ctm", "talk 1 3.0 0.2 no 0.9\ntalk 1 3.3 0.3 way\ntalk 1 5.0 0.5 really\n"),
    ],
)
def test_timed_words_are_joined_until_a_pause(tmp_path: Path, name: str, content: str) -> None:
    cues = read(tmp_path, name, content)
    assert [(cue.text, cue.start, cue.end) for cue in cues] == [
        ("no way", seconds(3.0), seconds(3.6)),
        ("really", seconds(5.0), seconds(5.5)),
    ]
    assert [word.text for word in cues[0].words] == ["no", "way"]


def test_speakers_of_subtitles(tmp_path: Path) -> None:
    vtt = "WEBVTT\n\n00:01.000 --> 00:02.000\n<v Ana>Hi.</v> <v.loud Ben Smith>Hello &amp; bye.\n"
    assert [(c.speaker, c.text) for c in read(tmp_path, "a.vtt", vtt)] == [
        ("Ana", "Hi."),
        ("Ben Smith", "Hello & bye."),
    ]
    times = [f"00:00:0{n},000 --> 00:00:0{n},900" for n in range(1, 5)]
    texts = ["ANA: Hi.", "BEN: Hello.", "ANA: Warning: it is hot.", "BEN: Ouch."]
    srt = "\n\n".join(f"{n}\n{t}\n{x}" for n, (t, x) in enumerate(zip(times, texts, strict=True)))
    assert [(c.speaker, c.text) for c in read(tmp_path, "a.srt", srt)] == [
        ("ANA", "Hi."),
        ("BEN", "Hello."),
        ("ANA", "Warning: it is hot."),
        ("BEN", "Ouch."),
    ]
    texts = ["Çağla: Hi.", "[SPEAKER_01]: Hello.", "会議: Hi.", "and: no name"]
    srt = "\n\n".join(f"{n}\n{t}\n{x}" for n, (t, x) in enumerate(zip(times, texts, strict=True)))
    assert [(c.speaker, c.text) for c in read(tmp_path, "c.srt", srt)] == [
        ("Çağla", "Hi."),
        ("SPEAKER_01", "Hello."),
        ("会議", "Hi."),
        ("", "and: no name"),
    ]
    once = f"1\n{times[0]}\nWarning: it is hot.\n\n2\n{times[1]}\nOuch.\n"
    assert [c.speaker for c in read(tmp_path, "b.srt", once)] == ["", ""]


def test_tokens_of_whisper_cpp_become_words(tmp_path: Path) -> None:
    tokens = [
        {"text": text, "offsets": {"from": start, "to": end}}
        for text, start, end in (
            ("[_BEG_]", 0, 0),
            (" No", 3000, 3100),
            (" way", 3200, 3400),
            (".", 3400, 3450),
        )
    ]
    entry = {"offsets": {"from": 3000, "to": 3500}, "text": " No way.", "tokens": tokens}
    (cue,) = read(tmp_path, "cpp.json", json.dumps({"transcription": [entry]}))
    assert [(word.text, word.start, word.end) for word in cue.words] == [
        ("No", seconds(3.0), seconds(3.1)),
        ("way.", seconds(3.2), seconds(3.45)),
    ]
    entry["tokens"] = tokens[:2]
    (cue,) = read(tmp_path, "cut.json", json.dumps({"transcription": [entry]}))
    assert cue.words == ()


def test_overlapping_and_unsorted_cues_are_sorted(tmp_path: Path) -> None:
    content = "start,end,text\n3,4,second\n1,3.5,first\n"
    assert [c.text for c in read(tmp_path, "a.csv", content)] == ["first", "second"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", "hello"),
        ("a.srt", "no times at all"),
        ("a.srt", ""),
        ("a.srt", "1\n00:00:05,000 --> 00:00:04,000\nbackwards\n"),
        ("a.srt", f"1\n00:00:01,0 --> {'9' * 20}:00:00,0\nendless\n"),
        ("a.vtt", f"WEBVTT\n\n00:01.0 --> {'9' * 5000}:00:00.0\nendless\n"),
        ("a.json", "{"),
        ("a.json", "[" * 100_000),
        ("a.json", '{"segments": [{"text": "no times"}]}'),
        ("a.json", '{"segments": [{"start": "soon", "end": 2, "text": "x"}]}'),
        ("a.json", '{"segments": [1]}'),
        ("a.json", '{"segments": [{"start": -1, "end": 2, "text": "x"}]}'),
        ("a.json", '{"segments": [{"start": NaN, "end": 2, "text": "x"}]}'),
        ("a.json", '"a string"'),
        ("a.ctm", "talk 1 3.0"),
        ("a.stm", "talk 1 Ana one two words"),
        ("a.csv", "a,b,c\n1,2,3\n"),
        ("a.csv", "start,end,text\nx,2,hello\n"),
    ],
)
def test_malformed_files_are_refused(tmp_path: Path, name: str, content: str) -> None:
    with pytest.raises(TranscriptError):
        read(tmp_path, name, content)


def test_a_latin_1_subtitle_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.srt"
    path.write_bytes("1\n00:00:01,000 --> 00:00:02,000\nCafé\n".encode("cp1252"))
    assert read_cues(path)[0].text == "Café"


@given(st.binary(max_size=400), st.sampled_from([".srt", ".vtt", ".json", ".ctm", ".stm", ".csv"]))
def test_any_bytes_give_cues_or_a_transcript_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, suffix: str
) -> None:
    path = tmp_path_factory.getbasetemp() / f"any{suffix}"
    path.write_bytes(content)
    try:
        cues = read_cues(path)
    except TranscriptError:
        return
    assert all(cue.start >= 0 and cue.text for cue in cues)


def test_the_transcript_of_another_recording_is_refused() -> None:
    cues = [Cue(seconds(n), seconds(n + 0.5), "x") for n in range(100)]
    check_fit(cues, seconds(99.0))
    with pytest.raises(TranscriptError):
        check_fit(cues, seconds(30.0))
    check_fit(cues, 0)  # a file that does not state its length


def test_transcripts_arrive_after_their_words_and_name_their_speakers() -> None:
    cues = [
        Cue(seconds(1), seconds(4), "long", "Ana"),
        Cue(seconds(2), seconds(3), "short", "Ben"),
        Cue(seconds(5), seconds(6), "again", "Ana"),
        Cue(seconds(7), seconds(8), "unknown"),
    ]
    texts = transcripts_of(cues)
    assert [t.text for t in texts] == ["short", "long", "again", "unknown"]
    assert texts[0].arrival == ORIGIN + seconds(3) + DELAY
    assert (texts[0].start, texts[0].end) == (ORIGIN + 2 * NS, ORIGIN + 3 * NS)
    short, long, again, unknown = texts
    assert long.voice_id == again.voice_id != short.voice_id
    assert (long.person_id, short.person_id, unknown.person_id) == ("Ana", "Ben", "")
    assert unknown.voice_id == ""
