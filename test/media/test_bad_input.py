"""Unusable, damaged and hostile recordings and transcripts, with the commands of users."""

from __future__ import annotations

import json
import re
import struct
import subprocess
import sys
import zlib
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from media_clips import image, tone, write_media
from numpy.typing import NDArray

from erc_ros.cli import main
from erc_ros.demo.conversation_bag import DIALOGUE, Phrase, WrittenTurn, perform, portrait
from erc_ros.demo.voices import Delivery, synthesiser
from erc_ros.media.files import ORIGIN, MediaFile
from erc_ros.media.transcripts import Cue, read_cues
from erc_ros.parameters import RobotConfig
from erc_ros.replay.offline import FILE_ADVICE, MISFIT, WORDLESS, replay
from erc_ros.replay.recording import open_recording
from erc_ros.sensing.microphone import ADVICE
from erc_ros.values.nanoseconds import NS, seconds

TURNS = DIALOGUE[:2]


@pytest.fixture(scope="module")
def speech() -> tuple[NDArray[np.float32], list[Phrase]]:
    return perform(TURNS, synthesiser())


def estimates(folder: Path) -> list[dict[str, object]]:
    rows = [json.loads(line) for line in (folder / "estimates.jsonl").read_text().splitlines()]
    return [row for row in rows if row["is_final"]]


def run_limited(arguments: Sequence[str]) -> tuple[int, str, int]:
    """(exit status, output, peak memory in MB) of a command in a process of its own."""
    code = (
        "import re, sys; from erc_ros.cli import main; status = main(sys.argv[1:]); "
        "print('peak', re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]); "
        "raise SystemExit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60
    )
    peak = next((int(x.split()[1]) for x in done.stdout.splitlines() if x.startswith("peak")), 0)
    return done.returncode, done.stdout + done.stderr, peak // 1024


# --- more than it seems: pixels, frames, channels, rates, length ---


def png(side: int) -> bytes:
    """A black image of side x side pixels: 770 MB from 3 MB at a side of 16,000."""
    packer = zlib.compressobj(1)
    rows = [packer.compress(bytes(1 + 3 * side)) for _ in range(side)]
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)),
        (b"IDAT", b"".join(rows) + packer.flush()),
        (b"IEND", b""),
    ]
    chunks = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize("suffix", [".mov", ".avi"])
def test_an_image_of_256_megapixels_is_not_decoded(tmp_path: Path, suffix: str) -> None:
    path, content = tmp_path / f"bomb{suffix}", png(16_000)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "rgb24"
        for number in range(2):
            packet = av.Packet(content)
            packet.stream, packet.time_base = stream, Fraction(1, 1)
            packet.pts = packet.dts = number
            container.mux(packet)
    status, output, peak = run_limited(["info", str(path)])
    assert status == 1
    assert "pixels" in output
    assert peak < 400  # MB


def test_frames_without_end_are_cut(tmp_path: Path) -> None:
    """100,000 frames in the first second of a file of one second."""
    path = tmp_path / "bomb.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=1000)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        packets = [*stream.encode(av.VideoFrame(16, 16, "yuv420p")), *stream.encode(None)]
        content = bytes(packets[0])
        for number in range(100_000):
            packet = av.Packet(content)
            packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1, 1000), True
            packet.pts = packet.dts = number // 100
            container.mux(packet)
    media = MediaFile(path)
    assert len(list(media.frames(5.0))) <= 6
    assert sum(media.warnings.values()) < 30_000  # of which nearly all are one frame each
    assert any("packets per second" in text for text in media.warnings)


def wav(path: Path, channels: int, rate: int, frames: int = 4000) -> Path:
    data = bytes(frames * channels * 2)
    bytes_per_second = min(2**32 - 1, rate * channels * 2)
    head = struct.pack("<HHIIHH", 1, channels, rate, bytes_per_second, channels * 2, 16)
    path.write_bytes(
        b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVEfmt " + struct.pack("<I", 16) + head
        + b"data" + struct.pack("<I", len(data)) + data
    )  # fmt: skip
    return path


@pytest.mark.parametrize(
    ("channels", "rate"), [(255, 16_000), (2000, 16_000), (1, 1), (1, 2_000_000_000), (1, 0)]
)
def test_impossible_channels_and_rates_are_refused(
    tmp_path: Path, channels: int, rate: int, capsys: pytest.CaptureFixture[str]
) -> None:
    path = wav(tmp_path / "bomb.wav", channels, rate)
    assert main(["replay", str(path), "--out", str(tmp_path / "out")]) == 1
    assert "Traceback" not in capsys.readouterr().err
    assert not (tmp_path / "out" / "estimates.jsonl").exists()


def far_apart(path: Path, hours: float) -> Path:
    """Two moments of audio, the second one after so many hours."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        for first in (0, round(hours * 3600 * 8000)):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), "s16", "mono")
            frame.sample_rate, frame.pts = 8000, first
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_more_than_a_day_is_refused_and_cut_where_the_file_hides_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = far_apart(tmp_path / "days.mkv", 30)
    assert main(["info", str(path)]) == 1
    assert "24 h" in capsys.readouterr().err
    content = bytearray(path.read_bytes())
    place = content.index(b"\x44\x89\x88") + 3  # Duration in ms
    struct.pack_into(">d", content, place, 1000.0)
    path.write_bytes(content.replace(b"30:00:01", b"00:00:01"))
    assert main(["replay", str(path), "--out", str(tmp_path / "out")]) == 0
    assert "longer than allowed" in capsys.readouterr().err


def test_a_cut_file_is_reported(
    speech: tuple[NDArray[np.float32], list[Phrase]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = write_media(tmp_path / "talk.mkv", [speech[0]], rate=16_000)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert main(["replay", str(path), "--out", str(tmp_path / "out")]) == 0
    assert "truncated" in capsys.readouterr().err


def test_a_film_whose_index_is_missing_is_refused(tmp_path: Path) -> None:
    path = write_media(tmp_path / "talk.mp4", [tone(2.0)])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert main(["replay", str(path), "--out", str(tmp_path / "out")]) == 1


# --- tracks that differ ---


def test_a_video_much_shorter_than_its_audio_is_reported_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = [(n / 10, image(9, 9)) for n in range(20)]
    path = write_media(tmp_path / "talk.mkv", [tone(60.0, rate=16_000)], rate=16_000, images=images)
    assert main(["info", str(path)]) == 0
    assert "video ends at 1.9 s of 60.0 s" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("codec", "layout"), [("pcm_u8", "mono"), ("pcm_s24le", "stereo"), ("pcm_s24le", "5.1")]
)
def test_words_and_voices_of_every_sample_format_are_analyzed(
    speech: tuple[NDArray[np.float32], list[Phrase]], tmp_path: Path, codec: str, layout: str
) -> None:
    samples, phrases = speech
    path = tmp_path / "Gespräch 1: émotion 対話.wav"
    write_media(path, [samples], rate=16_000, codec=codec, layout=layout)
    assert main(["replay", str(path), "--out", str(tmp_path / "out")]) == 0
    rows = estimates(tmp_path / "out")
    assert [start_of(row) for row in rows] == pytest.approx([p.start for p in phrases], abs=0.35)


def start_of(row: dict[str, object]) -> float:
    return (int(str(row["start"])) - ORIGIN) / NS


def boxes(content: bytes | bytearray, name: bytes) -> list[int]:
    """Where the contents of the MP4 boxes of a name begin."""
    places, place = [], content.find(name)
    while place >= 0:
        places.append(place + 4)
        place = content.find(name, place + 4)
    return places


def test_a_turned_phone_video_of_varying_rate_with_late_audio(
    speech: tuple[NDArray[np.float32], list[Phrase]], tmp_path: Path
) -> None:
    """The sensor is turned by 90 degrees: without the display matrix there is no face in it."""
    samples, phrases = speech
    camera, late = portrait(phrases[:1]), 0.7
    times = [n / 10 + (0.03 if n % 3 else 0.0) for n in range(60)]
    images = [(time, np.rot90(camera(time))) for time in times]
    path = write_media(
        tmp_path / "phone.mp4", [samples], rate=16_000, images=images, audio_start=late
    )
    content = bytearray(path.read_bytes())
    height, width = images[0][1].shape[:2]
    quarter = [0, 65536, 0, -65536, 0, 0, height * 65536, 0, 0x40000000]
    for header in boxes(content, b"tkhd"):
        if content[header + 76 : header + 80] == struct.pack(">I", width << 16):
            struct.pack_into(">9i", content, header + 40, *quarter)
    path.write_bytes(content)
    assert main(["replay", str(path), "--out", str(tmp_path / "out")]) == 0
    rows = estimates(tmp_path / "out")
    assert [start_of(r) - late for r in rows] == pytest.approx([p.start for p in phrases], abs=0.35)
    assert rows[0]["modalities"]["visual"]  # type: ignore[index]


def test_a_pause_of_the_recorder_is_not_blamed_on_network_or_driver(
    speech: tuple[NDArray[np.float32], list[Phrase]], tmp_path: Path
) -> None:
    samples = (speech[0] * 32767).astype(np.int16)
    half = len(samples) // 2
    path = tmp_path / "paused.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        for part, since in ((samples[:half], 0), (samples[half:], half + 40_000)):
            for at in range(0, len(part), 1600):
                frame = av.AudioFrame.from_ndarray(part[None, at : at + 1600], "s16", "mono")
                frame.sample_rate, frame.pts = 16_000, since + at
                container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with open_recording(path) as opened:
        warnings = replay(opened, {}).warnings
    assert warnings[f"audio: {FILE_ADVICE['Gap']}"] == 1
    assert f"audio: {ADVICE['Gap']}" not in warnings


def test_an_edit_list_moves_the_audio(
    speech: tuple[NDArray[np.float32], list[Phrase]], tmp_path: Path
) -> None:
    """A phone cuts the beginning by an entry of the edit list; the samples stay in the file."""
    samples, phrases = speech
    path = write_media(tmp_path / "talk.mov", [samples], rate=16_000, codec="pcm_s16le")
    content = bytearray(path.read_bytes())
    cut = phrases[1].start - 0.5
    (edits,) = boxes(content, b"elst")
    assert content[edits : edits + 8] == struct.pack(">II", 0, 1)
    (length,) = struct.unpack_from(">I", content, edits + 8)
    struct.pack_into(">Ii", content, edits + 8, length - round(cut * 1000), round(cut * 16_000))
    path.write_bytes(content)
    assert main(["replay", str(path), "--out", str(tmp_path / "out")]) == 0
    assert [start_of(row) for row in estimates(tmp_path / "out")] == pytest.approx([0.5], abs=0.35)


# --- transcripts ---


def clock(seconds: float) -> str:
    return f"{int(seconds // 60):02}:{seconds % 60:06.3f}"


def test_markup_decimal_commas_and_overlaps_leave_clean_words(
    speech: tuple[NDArray[np.float32], list[Phrase]], tmp_path: Path
) -> None:
    samples, phrases = speech
    path = write_media(tmp_path / "talk.flac", [samples], rate=16_000)
    one, two = phrases
    cues = [
        f"1\n00:{clock(one.start)} --> 00:{clock(two.start + 0.4)}\n"
        f"{{\\an8}}<i>{one.text}</i>\n \n2",
        f'00:{clock(two.start)} --> 00:{clock(two.end)}\n<font color="red">{two.text}</font>\n',
        f"\n3\n00:{clock(two.end)} --> 00:{clock(two.end + 0.2)}\n[Music]\n",
    ]
    path.with_suffix(".srt").write_text("\n".join(cues), encoding="utf-8")
    assert main(["replay", str(path), "--out", str(tmp_path / "out")]) == 0
    texts = [row["text"] for row in estimates(tmp_path / "out") if row["text"]]
    assert texts == [phrase.text for phrase in phrases]


ROLLING = """WEBVTT
Kind: captions

00:00:00.000 --> 00:00:02.000 align:start position:0%
 
I<00:00:00.500><c> got</c><00:00:00.900><c> it</c>

00:00:02.000 --> 00:00:02.010 align:start position:0%
I got it
 

00:00:02.010 --> 00:00:04.000 align:start position:0%
I got it
who<00:00:02.500><c> told</c><00:00:02.900><c> you</c>

00:00:04.000 --> 00:00:04.010 align:start position:0%
who told you
 

00:00:04.010 --> 00:00:06.000 align:start position:0%
who told you
they<00:00:04.500><c> did</c>
"""  # noqa: W293


def test_captions_that_roll_say_every_line_once(tmp_path: Path) -> None:
    path = tmp_path / "talk.vtt"
    path.write_text(ROLLING, encoding="utf-8")
    cues = read_cues(path)
    assert [cue.text for cue in cues] == ["I got it", "who told you", "they did"]
    assert [cue.start / NS for cue in cues] == pytest.approx([0, 2.01, 4.01])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("ms.csv", "start,end,text\n" + "".join(f"{n}000,{n}900,x\n" for n in range(9))),
        (
            "other.srt",
            "\n".join(f"{n}\n0{n}:00:00,0 --> 0{n}:00:01,0\nx{n}\n" for n in range(1, 9)),
        ),
    ],
)
@pytest.mark.parametrize("command", ["replay", "annotate", "evaluate", "import"])
def test_times_that_cannot_be_those_of_the_recording_are_refused_before_anything_is_computed(
    tmp_path: Path, command: str, name: str, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_media(tmp_path / "talk.wav", [tone(10.0, 8000)], rate=8000)
    (tmp_path / name).write_text(content)
    out = tmp_path / "out"
    assert main([command, str(path), "--transcript", str(tmp_path / name), "--out", str(out)]) == 1
    assert ("milliseconds" in capsys.readouterr().err) == (name == "ms.csv")
    assert not list(out.rglob("*.jsonl")) + list(out.rglob("*.mcap")) + list(out.rglob("*.eaf"))


def test_a_transcript_of_other_speech_of_the_same_length_is_reported(
    speech: tuple[NDArray[np.float32], list[Phrase]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    samples, _ = speech
    silence = np.zeros(30 * 16_000, np.float32)
    path = write_media(tmp_path / "talk.wav", [np.concatenate([samples, silence])], rate=16_000)
    begin = len(samples) / 16_000 + 1
    lines = [f"{begin + 3 * n},{begin + 3 * n + 1.5},How nice to see you {n}" for n in range(9)]
    (tmp_path / "other.csv").write_text("start,end,text\n" + "\n".join(lines))
    arguments = ["--transcript", str(tmp_path / "other.csv"), "--out", str(tmp_path / "out")]
    assert main(["replay", str(path), *arguments]) == 0
    assert MISFIT in capsys.readouterr().err


def test_the_shift_of_a_transcript_is_named(tmp_path: Path) -> None:
    samples, phrases = perform(DIALOGUE, synthesiser())
    path = write_media(tmp_path / "talk.wav", [samples], rate=16_000)
    cues = [Cue(seconds(each.start + 4), seconds(each.end + 4), each.text) for each in phrases]
    with open_recording(path, cues) as recording:
        robot = RobotConfig().changed(speaker_model="none")
        warnings = "".join(replay(recording, {}, robot).warnings)
    (moved,) = re.findall(r"moved by (\S+) s", warnings)
    assert float(moved) == pytest.approx(-4, abs=0.5)


def test_speech_without_words_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    turns = [WrittenTurn(0, "I see what you mean.", Delivery())] * 7
    audio, phrases = perform(turns, synthesiser())
    path = write_media(tmp_path / "talk.wav", [audio], rate=16_000)
    for count, is_reported in ((7, False), (1, True)):
        lines = [f"{each.start},{each.end},{each.text}" for each in phrases[:count]]
        (tmp_path / "words.csv").write_text("start,end,text\n" + "\n".join(lines))
        arguments = ["--transcript", str(tmp_path / "words.csv"), "--out", str(tmp_path / "out")]
        assert main(["replay", str(path), *arguments]) == 0
        assert (WORDLESS in capsys.readouterr().err) == is_reported
