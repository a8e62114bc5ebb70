"""Media files yield audio chunks and frames at the times of a player."""

from __future__ import annotations

import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from media_clips import image, tone, write_media
from numpy.typing import NDArray

from erc_ros.media.files import ORIGIN, MediaError, MediaFile
from erc_ros.sensing.audio import decode
from erc_ros.values.nanoseconds import NS


def samples_of(media: MediaFile, track: int = 0) -> tuple[float, int, NDArray[np.float32]]:
    """(s of the first sample, rate, all samples) of a track whose chunks follow each other."""
    chunks = list(media.chunks(track))
    assert chunks[0].format is not None
    assert chunks[0].stamp is not None
    parts = [decode(chunk.data, chunk.format).reshape(-1) for chunk in chunks if chunk.format]
    return (chunks[0].stamp - ORIGIN) / NS, chunks[0].format.rate, np.concatenate(parts)


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3", ".m4a", ".mkv", ".webm", ".ogg"])
def test_audio_keeps_its_length_and_frequency_in_every_container(
    tmp_path: Path, suffix: str
) -> None:
    media = MediaFile(write_media(tmp_path / f"talk{suffix}", [tone(2.0)]))
    start, rate, samples = samples_of(media)
    assert start == pytest.approx(0.0, abs=0.03)
    assert len(samples) / rate == pytest.approx(2.0, abs=0.06)
    spectrum = np.abs(np.fft.rfft(samples))
    assert spectrum.argmax() * rate / len(samples) == pytest.approx(440, abs=2)
    assert media.warnings == {}


@pytest.mark.parametrize("codec", ["pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le"])
def test_every_sample_format_has_the_same_level(tmp_path: Path, codec: str) -> None:
    media = MediaFile(write_media(tmp_path / "talk.wav", [tone(1.0)], codec=codec))
    _, _, samples = samples_of(media)
    assert np.abs(samples).max() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("layout", ["stereo", "5.1"])
def test_channels_are_mixed_to_one_of_the_same_length(tmp_path: Path, layout: str) -> None:
    media = MediaFile(write_media(tmp_path / "talk.flac", [tone(1.0)], layout=layout))
    _, rate, samples = samples_of(media)
    assert len(samples) / rate == pytest.approx(1.0, abs=0.01)
    assert np.abs(samples).max() > 0.2


def test_chunks_are_short_and_arrive_after_their_last_sample(tmp_path: Path) -> None:
    media = MediaFile(write_media(tmp_path / "talk.wav", [tone(1.0)]))
    for chunk in media.chunks():
        assert chunk.stamp is not None
        assert chunk.format is not None
        length = len(chunk.data) // 2 * NS // chunk.format.rate
        assert chunk.arrival == chunk.stamp + length
        assert length <= 0.2 * NS


def test_each_audio_track_can_be_read(tmp_path: Path) -> None:
    path = write_media(tmp_path / "talk.mkv", [tone(1.0), tone(1.0, frequency=880.0)])
    media = MediaFile(path)
    assert len(media.audio) == 2
    for track, frequency in enumerate((440, 880)):
        _, rate, samples = samples_of(media, track)
        peak = np.abs(np.fft.rfft(samples)).argmax() * rate / len(samples)
        assert peak == pytest.approx(frequency, abs=2)
    with pytest.raises(MediaError):
        next(iter(media.chunks(2)))


def test_audio_that_begins_late_keeps_its_time(tmp_path: Path) -> None:
    images = [(n / 10, image(80, 80)) for n in range(30)]
    path = write_media(tmp_path / "talk.mkv", [tone(1.0)], images=images, audio_start=1.5)
    start, _, _ = samples_of(MediaFile(path))
    assert start == pytest.approx(1.5, abs=0.03)


def test_a_pause_inside_the_audio_is_a_jump_of_the_stamps(tmp_path: Path) -> None:
    """A recorder that was paused leaves no samples; they must not be joined."""
    path = tmp_path / "talk.mkv"
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        for first in (0, 5 * 16_000):
            for at in range(0, 16_000, 800):
                frame = av.AudioFrame.from_ndarray(np.ones((1, 800), np.int16), "s16", "mono")
                frame.sample_rate, frame.pts = 16_000, first + at
                container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    stamps = [chunk.stamp - ORIGIN for chunk in MediaFile(path).chunks() if chunk.stamp]
    assert max(np.diff(stamps)) >= 4 * NS


def test_audio_whose_packets_have_no_time_is_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of several packets in one block of Matroska or page of Ogg, the first one has a time."""
    decoded = MediaFile._decoded

    def first_of_eight(media: MediaFile, container: object, stream: object) -> Iterator[Any]:
        for number, frame in enumerate(decoded(media, container, stream)):
            if number % 8:
                frame.pts = None
            yield frame

    media = MediaFile(write_media(tmp_path / "talk.mkv", [tone(2.0)]))
    complete = samples_of(media)
    monkeypatch.setattr(MediaFile, "_decoded", first_of_eight)
    start, rate, samples = samples_of(media)
    assert (start, rate) == complete[:2] and np.array_equal(samples, complete[2])
    assert media.warnings == {}


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm", ".avi"])
def test_frames_are_yielded_at_the_requested_rate(tmp_path: Path, suffix: str) -> None:
    images = [(n / 30, image(50, 200)) for n in range(60)]
    media = MediaFile(write_media(tmp_path / f"talk{suffix}", images=images))
    frames = list(media.frames(5.0))
    assert 9 <= len(frames) <= 11
    assert [frame.stamp for frame in frames] == sorted(frame.stamp for frame in frames)
    pixels = np.frombuffer(frames[3].data, np.uint8).reshape(frames[3].height, frames[3].width, 3)
    assert pixels[:, :24].mean() == pytest.approx(50, abs=8)
    assert pixels[:, 40:].mean() == pytest.approx(200, abs=8)


def test_variable_frame_rate_keeps_the_times_of_the_frames(tmp_path: Path) -> None:
    times = (0.0, 0.1, 1.7, 1.8, 4.0)
    path = write_media(tmp_path / "talk.mkv", images=[(t, image(90, 90)) for t in times])
    stamps = [(frame.stamp - ORIGIN) / NS for frame in MediaFile(path).frames(30.0)]
    assert stamps == pytest.approx(times, abs=0.002)


def test_a_rotated_phone_video_is_upright(tmp_path: Path) -> None:
    """A phone stores the sensor's image and a display matrix; a player turns it."""
    plain = write_media(
        tmp_path / "plain.mp4", images=[(n / 30, image(30, 220, 64, 96)) for n in range(30)]
    )
    content = bytearray(plain.read_bytes())
    track = content.index(b"tkhd")
    matrix = track + 4 + 4 + 20 + 8 + 8  # version and flags, times and ids, reserved, layer...
    quarter = [0, 65536, 0, -65536, 0, 0, 96 * 65536, 0, 0x40000000]
    content[matrix : matrix + 36] = b"".join(n.to_bytes(4, "big", signed=True) for n in quarter)
    turned = tmp_path / "turned.mp4"
    turned.write_bytes(bytes(content))
    frame = next(iter(MediaFile(turned).frames(5.0)))
    assert (frame.width, frame.height) == (64, 96)
    pixels = np.frombuffer(frame.data, np.uint8).reshape(96, 64, 3)
    assert pixels[:40].mean() < 60  # the left half of the sensor's image is on top: 90 clockwise
    assert pixels[56:].mean() > 190


def test_large_frames_are_scaled_down(tmp_path: Path) -> None:
    path = write_media(tmp_path / "talk.mp4", images=[(0.0, image(10, 10, 1080, 1920))])
    frame = next(iter(MediaFile(path).frames(5.0)))
    assert (frame.width, frame.height) == (1280, 720)


def test_a_cover_image_is_not_a_video(tmp_path: Path) -> None:
    import av

    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as container:
        audio = container.add_stream("aac", rate=48_000, layout="mono")
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 48, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        frame = av.VideoFrame.from_ndarray(image(9, 9), format="bgr24")
        frame.pts = 0
        container.mux(cover.encode(frame.reformat(format="yuvj420p")))
        container.mux(cover.encode(None))
        for at in range(0, 48_000, 1024):
            block = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            block.sample_rate, block.pts = 48_000, at
            container.mux(audio.encode(block))
        container.mux(audio.encode(None))
    assert MediaFile(path).video is None


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".wav"])
def test_a_truncated_file_is_read_up_to_the_cut_or_refused(tmp_path: Path, suffix: str) -> None:
    images = [] if suffix == ".wav" else [(n / 30, image(50, 200)) for n in range(90)]
    path = write_media(tmp_path / f"talk{suffix}", [tone(3.0)], images=images)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    try:
        media = MediaFile(path)
    except MediaError:
        assert suffix == ".mp4"  # the index is at the end
        return
    chunks = list(media.chunks())
    assert 0 < len(chunks) < 30
    list(media.frames(5.0))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a media file, whatever its name says",
        b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n/etc/passwd\n#EXT-X-ENDLIST\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"\x1a\x45\xdf\xa3" + bytes(100),
        b"RIFF\x24\x00\x00\x00WAVE" + bytes(100),
        b"\x00\x00\x00\x18ftypisom" + bytes(100),
    ],
)
def test_what_is_not_a_media_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "talk.mp4"
    path.write_bytes(content)
    with pytest.raises(MediaError):
        MediaFile(path)


def test_a_wav_that_claims_days_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "talk.wav"
    with wave.open(str(path), "wb") as writer:
        writer.setparams((1, 1, 8000, 0, "NONE", ""))
        writer.writeframes(bytes(8000))
    content = bytearray(path.read_bytes())
    content[40:44] = (2_000_000_000).to_bytes(4, "little")  # 69 hours
    path.write_bytes(bytes(content) + bytes(1000))
    media_or_error: MediaFile | MediaError
    try:
        media_or_error = MediaFile(path)
    except MediaError as error:
        media_or_error = error
    if isinstance(media_or_error, MediaFile):  # FFmpeg goes by the size of the file
        assert media_or_error.duration < 10 * NS


def test_names_with_spaces_and_other_scripts_are_opened(tmp_path: Path) -> None:
    folder = tmp_path / "zwei Personen"
    folder.mkdir()
    path = write_media(folder / "Gespräch 1: émotion 対話.wav", [tone(0.5)])
    assert MediaFile(path).duration == pytest.approx(0.5 * NS, rel=0.01)
