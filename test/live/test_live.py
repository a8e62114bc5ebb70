"""`erc live` with files in place of the devices: the same threads, pipeline and outputs."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from ctypes.util import find_library
from pathlib import Path
from urllib.parse import urlparse

import numpy as np
import pytest
from media_clips import image, tone, write_media
from numpy.typing import NDArray

from erc_ros.cli import main
from erc_ros.demo.conversation_bag import DIALOGUE, Phrase, perform, portrait
from erc_ros.demo.voices import synthesiser
from erc_ros.live.inlet import Inlet
from erc_ros.live.page import LivePage
from erc_ros.live.session import LiveSession, Observer
from erc_ros.media.devices import (
    Camera,
    Clock,
    DeviceError,
    FileCamera,
    FileMicrophone,
    Source,
)
from erc_ros.media.files import MediaFile
from erc_ros.media.transcripts import Cue
from erc_ros.pipeline import Pipeline, PipelineConfig
from erc_ros.replay.rows import Row
from erc_ros.sensing.faces import FaceObservation
from erc_ros.sensing.frames import Frame
from erc_ros.sensing.microphone import AudioChunk
from erc_ros.values.nanoseconds import NS

TURNS = DIALOGUE[:2]
NO_CAMERA = "/dev/video987"
SPEED = 3.0
PATIENCE = 60.0  # s


class Words:
    """A speech recognizer that knows the texts of the dialogue by their order."""

    def __init__(self, model: str = "", language: str = "") -> None:
        self._texts = iter([turn.text for turn in TURNS])

    def transcribe(self, samples: NDArray[np.int16]) -> list[Cue]:
        text = next(self._texts, "")
        return [Cue(0, len(samples) * NS // 16_000, text)] if text else []


class Broken:
    """A speech recognizer that fails."""

    def __init__(self, model: str = "", language: str = "") -> None:
        pass

    def transcribe(self, samples: NDArray[np.int16]) -> list[Cue]:
        raise RuntimeError("out of memory")


class Seen(Observer):
    """Keeps what a session reports."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.notes: list[str] = []
        self.chunks = self.frames = 0
        self.heard = 0.0  # s
        self.faces = 0

    def on_audio(self, chunk: AudioChunk) -> None:
        assert chunk.format is not None
        self.chunks += 1
        self.heard += len(chunk.data) / 2 / chunk.format.rate

    def on_image(self, frame: Frame, faces: Sequence[FaceObservation]) -> None:
        self.frames += 1
        self.faces += bool(faces)

    def estimate(self, row: Row, rows: Sequence[Row]) -> None:
        self.rows.append(row)

    def note(self, text: str) -> None:
        self.notes.append(text)


class Unplugged:
    """A device that works for some values, and then fails."""

    can_wait = False

    def __init__(self, source: Source, values: int) -> None:
        self.kind, self.name = source.kind, source.name
        self._source, self._values = source, values

    def values(self, clock: Clock, stop: threading.Event) -> Iterator[AudioChunk | Frame]:
        for number, value in enumerate(self._source.values(clock, stop)):
            if number == self._values:
                raise DeviceError("it was unplugged")
            yield value


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Phrase]]:
    audio, phrases = perform(TURNS, synthesiser())
    camera = portrait(phrases[:1])
    images = [(n / 10, camera(n / 10)) for n in range(round(len(audio) / 1600))]
    path = tmp_path_factory.mktemp("talk") / "talk.mp4"
    return write_media(path, [audio], rate=16_000, images=images), phrases


@pytest.fixture(scope="module")
def pipeline() -> Iterator[Pipeline]:
    with Pipeline(PipelineConfig()) as pipeline:
        yield pipeline


def watch(
    pipeline: Pipeline, sources: Sequence[Source], recognizer: object = None, speed: float = SPEED
) -> tuple[Seen, LiveSession]:
    seen = Seen()
    session = LiveSession(pipeline, sources, recognizer, 5.0, [seen])  # type: ignore[arg-type]
    session.run(Clock(speed), threading.Event())
    return seen, session


def test_words_voice_and_face_become_estimates(
    talk: tuple[Path, list[Phrase]], capfd: pytest.CaptureFixture[str]
) -> None:
    path, _ = talk
    arguments = ["--microphone", str(path), "--camera", str(path), "--speed", str(SPEED)]
    assert main(["live", *arguments, "--recognizer", f"{__name__}:Words"]) == 0
    lines = capfd.readouterr().out.splitlines()
    for turn in TURNS:
        assert any(turn.text in line for line in lines), lines
    assert any("face" in line for line in lines), lines


def test_the_times_are_those_of_the_file(
    talk: tuple[Path, list[Phrase]], pipeline: Pipeline
) -> None:
    path, phrases = talk
    clock, seen = Clock(SPEED), Seen()
    session = LiveSession(pipeline, [FileMicrophone(path)], Words(), 5.0, [seen])
    session.run(clock, threading.Event())
    finals = {row.text: row for row in seen.rows if row.is_final and row.text}
    for phrase in phrases:
        start = (finals[phrase.text].start - clock.start) / NS
        assert start == pytest.approx(phrase.start, abs=0.5)


def test_without_a_recognizer_the_console_warns(
    talk: tuple[Path, list[Phrase]], capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--microphone", str(talk[0]), "--camera", "none", "--speed", "10"]
    assert main(["live", *arguments]) == 0
    captured = capfd.readouterr()
    assert "--recognizer" in captured.err
    assert captured.out  # estimates from the voice


@pytest.mark.parametrize("lost", ["camera", "microphone"])
def test_an_unplugged_device_is_reported_and_the_other_one_continues(
    talk: tuple[Path, list[Phrase]], pipeline: Pipeline, lost: str
) -> None:
    sources: list[Source] = [FileMicrophone(talk[0]), FileCamera(talk[0])]
    sources = [Unplugged(s, 15) if s.kind == lost else s for s in sources]
    seen, session = watch(pipeline, sources)
    assert session.failed == {lost}
    assert [lost in note and "unplugged" in note and "continues" in note for note in seen.notes]
    length = MediaFile(talk[0]).duration / NS
    if lost == "camera":
        assert seen.frames == 15
        assert seen.heard == pytest.approx(length, rel=0.05)
        assert any(row.is_final for row in seen.rows)
    else:
        assert seen.chunks == 15
        assert seen.frames == pytest.approx(10 * length, rel=0.2)


def test_a_camera_that_is_missing_does_not_end_the_session(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write_media(tmp_path / "tone.wav", [tone(1.0)])
    assert main(["live", "--microphone", str(path), "--camera", NO_CAMERA]) == 0
    error = capfd.readouterr().err
    assert f"there is no camera {NO_CAMERA}" in error
    assert "the microphone continues" in error


@pytest.mark.skipif(sys.platform != "linux", reason="device files")
def test_no_permission_for_the_camera_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = tmp_path / "video0"
    device.touch(0o000)
    camera = Camera("0")
    camera.name = str(device)
    monkeypatch.setattr(os, "access", lambda *_: False)  # tests may run as root
    with pytest.raises(DeviceError, match="video"):
        next(camera.values(Clock(), threading.Event()))


def test_without_any_device_the_status_is_1(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["live", "--microphone", "none", "--camera", NO_CAMERA]) == 1
    assert NO_CAMERA in capfd.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--microphone", "none", "--camera", "none"],
        ["--microphone", "missing.wav"],
        ["--camera", "no/such/camera"],
        ["--speed", "2"],
        ["--microphone", "none", "--camera", NO_CAMERA, "--record", "talk.mp3"],
        ["--microphone", "none", "--camera", NO_CAMERA, "--recognizer", "nonsense"],
    ],
)
def test_unusable_options_are_refused(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["live", *arguments]) == 1
    assert not list(tmp_path.iterdir())


def test_a_failing_recognizer_is_reported_and_the_session_continues(
    talk: tuple[Path, list[Phrase]], pipeline: Pipeline
) -> None:
    seen, _ = watch(pipeline, [FileMicrophone(talk[0])], Broken())
    assert any("recognizer failed" in note for note in seen.notes)
    assert any(row.is_final and row.modalities["audio"] for row in seen.rows)


def test_a_file_that_cannot_be_played_is_reported(tmp_path: Path, pipeline: Pipeline) -> None:
    path = tmp_path / "broken.mp4"
    path.write_bytes(b"not a media file")
    seen, session = watch(pipeline, [FileMicrophone(path), FileCamera(path)])
    assert session.failed == {"microphone", "camera"}
    assert len(seen.notes) == 2


# --- recording ---


def test_a_recording_holds_audio_video_and_words(
    talk: tuple[Path, list[Phrase]], tmp_path: Path
) -> None:
    path, phrases = talk
    record = tmp_path / "my session.mkv"
    arguments = ["--microphone", str(path), "--camera", str(path), "--speed", str(SPEED)]
    arguments += ["--recognizer", f"{__name__}:Words", "--record", str(record)]
    assert main(["live", *arguments]) == 0
    recorded, original = MediaFile(record), MediaFile(path)
    assert recorded.duration == pytest.approx(original.duration, rel=0.05)
    sizes = [sum(len(chunk.data) for chunk in media.chunks()) for media in (recorded, original)]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.03)
    assert len(list(recorded.frames(30.0))) == pytest.approx(
        len(list(original.frames(15.0))), rel=0.1
    )
    assert stat.S_IMODE(record.stat().st_mode) == 0o600
    assert main(["replay", str(record), "--out", str(tmp_path / "out")]) == 0
    rows = [json.loads(line) for line in (tmp_path / "out/estimates.jsonl").open()]
    assert [row["text"] for row in rows if row["is_final"] and row["text"]] == [
        phrase.text for phrase in phrases
    ]
    assert main(["live", *arguments]) == 1  # nothing is overwritten


def test_nothing_is_stored_without_record(
    talk: tuple[Path, list[Phrase]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    arguments = ["--microphone", str(talk[0]), "--camera", "none", "--speed", "10", "--browser"]
    assert main(["live", *arguments, "--recognizer", f"{__name__}:Words"]) == 0
    assert not list(tmp_path.iterdir())


# --- the page ---


def get(url: str, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    address = urlparse(url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=PATIENCE)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    streamed = answer.headers.get_content_type() == "text/event-stream"
    content = answer.fp.readline() if streamed else answer.read()
    connection.close()
    return answer.status, dict(answer.headers), content


def test_the_page_shows_image_faces_words_and_reasons(
    talk: tuple[Path, list[Phrase]], pipeline: Pipeline
) -> None:
    page = LivePage(pipeline)
    path = urlparse(page.url).path
    try:
        sources = [FileMicrophone(talk[0]), FileCamera(talk[0])]
        session = LiveSession(pipeline, sources, Words(), 5.0, [page])
        session.run(Clock(SPEED), threading.Event())
        status, headers, html = get(page.url, path)
        assert (status, headers["Cache-Control"]) == (200, "no-store")
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert b"NONCE" not in html
        assert get(page.url, f"{path}image.jpg?3")[2].startswith(b"\xff\xd8")
        _, _, line = get(page.url, f"{path}events")
        state = json.loads(line.removeprefix(b"data: "))
        assert state["width"] > 0
        texts = {row["text"] for row in state["rows"]}
        assert {turn.text for turn in TURNS} <= texts
        first = next(row for row in state["rows"] if row["text"] == TURNS[0].text)
        assert first["speaker"] == "speaker 1"
        assert any(reason.startswith("words") for reason in first["reasons"])
    finally:
        page.close()


def test_the_page_requires_its_address(pipeline: Pipeline) -> None:
    page = LivePage(pipeline)
    try:
        address = urlparse(page.url)
        assert address.hostname == "127.0.0.1"
        assert len(address.path) > 30
        for path in ("/", "/events", "/x/", f"{address.path[:-2]}/"):
            assert get(page.url, path)[0] == 403
        assert get(page.url, address.path, Host=f"evil.example:{address.port}")[0] == 403
        assert get(page.url, f"{address.path}../../etc/passwd")[0] == 404
        assert get(page.url, f"{address.path}image.jpg")[0] == 404  # there is no image yet
        with pytest.raises(OSError), socket.create_connection((_own_address(), address.port), 2):
            pass
    finally:
        page.close()


def _own_address() -> str:
    """An address of this machine that other machines can reach."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            pytest.skip("this machine has no network")
        return str(probe.getsockname()[0])


# --- devices and queues ---


def test_ctrl_c_ends_the_session_with_its_last_estimates(talk: tuple[Path, list[Phrase]]) -> None:
    command = [sys.executable, "-m", "erc_ros.cli", "live", "--camera", "none"]
    process = subprocess.Popen(
        [*command, "--microphone", str(talk[0])],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert process.stdout is not None
    for line in process.stderr:
        if "Ctrl-C" in line:
            break
    first = process.stdout.readline()  # the session is running
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    assert first


ALSA = """
pcm.null { type null }
pcm.looped { type file slave.pcm "null" file "/dev/null" infile "SAMPLES" format "raw" }
pcm.!default { type plug slave.pcm "looped" }
"""
LISTEN = """
import os
import threading
import numpy as np
from erc_ros.media.devices import Clock, DeviceError, Microphone
chunks = Microphone("default").values(Clock(), threading.Event())
for _ in range(5):
    chunk = next(chunks)
    print(chunk.format.rate, np.abs(np.frombuffer(chunk.data, "<i2")).max())
try:
    next(Microphone("no such device").values(Clock(), threading.Event()))
except DeviceError as error:
    print(error, flush=True)
os._exit(0)  # the null device of ALSA makes PortAudio abort when it is closed
"""


@pytest.mark.skipif(find_library("asound") is None, reason="ALSA is missing")
@pytest.mark.skipif(find_library("portaudio") is None, reason="PortAudio is missing")
def test_a_microphone_is_read_by_portaudio(tmp_path: Path) -> None:
    """A virtual device of ALSA, which needs no hardware."""
    pytest.importorskip("sounddevice")
    samples = (tone(5.0) * 32767).astype("<i2")
    (tmp_path / "samples.raw").write_bytes(samples.tobytes())
    configuration = tmp_path / "asound.conf"
    configuration.write_text(ALSA.replace("SAMPLES", str(tmp_path / "samples.raw")))
    variables = {**os.environ, "ALSA_CONFIG_PATH": str(configuration)}
    result = subprocess.run(
        [sys.executable, "-c", LISTEN],
        env=variables,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    *chunks, error = result.stdout.splitlines()
    assert len(chunks) == 5
    for line in chunks:
        rate, level = map(int, line.split())
        assert rate in (44_100, 48_000)
        assert level == pytest.approx(16_383, rel=0.1)
    assert "no such device" in error


def test_a_full_queue_drops_images_before_audio() -> None:
    inlet = Inlet(capacity=100)
    frame = Frame(1, "bgr8", 1, 1, 3, bytes(3))
    inlet.put("audio 1", 40)
    inlet.put(frame, 40)
    inlet.put("audio 2", 40)
    assert inlet.dropped == 1
    assert [inlet.take(0), inlet.take(0), inlet.take(0)] == ["audio 1", "audio 2", None]


def test_a_file_waits_for_room_instead_of_dropping() -> None:
    inlet = Inlet(capacity=100)
    inlet.put("first", 80)
    thread = threading.Thread(target=inlet.put, args=("second", 80, True))
    thread.start()
    assert inlet.take(PATIENCE) == "first"
    assert inlet.take(PATIENCE) == "second"
    thread.join()
    assert inlet.dropped == 0


def test_a_video_without_audio_shows_faces(tmp_path: Path, pipeline: Pipeline) -> None:
    path = write_media(tmp_path / "film.mp4", images=[(n / 10, image(50, 90)) for n in range(20)])
    seen, session = watch(pipeline, [FileCamera(path)], speed=10.0)
    assert session.received == {"camera"}
    assert seen.frames >= 15
    quiet = write_media(tmp_path / "tone.wav", [tone(1.0)])
    seen, _ = watch(pipeline, [FileMicrophone(quiet)], speed=10.0)
    assert seen.heard == pytest.approx(1.0, rel=0.05)
