"""Sound and pictures out of real, tiny MP4 files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av", reason="needs the extra [train]")
pytest.importorskip("soundfile", reason="needs the extra [train]")

from clips import write_clip

from erc_ros.training.datasets.media import (
    UnusableClipError,
    check_pictures,
    pictures_of,
    sound_of,
)
from erc_ros.training.datasets.speech import UnusableSoundError, read_sound
from erc_ros.values.utterance import SAMPLE_RATE


def test_the_sound_of_a_clip_comes_out_at_its_true_rate(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", 1.0)
    samples, rate = sound_of(clip)
    assert rate == 44_100 and len(samples) == pytest.approx(44_100, abs=2 * 1024)
    at_16_khz = read_sound(clip)
    loudest = np.abs(np.fft.rfft(at_16_khz)).argmax() * SAMPLE_RATE / len(at_16_khz)
    assert loudest == pytest.approx(440, abs=2)
    assert at_16_khz[1000:-1000].max() == pytest.approx(0.5, abs=0.05)


def test_pictures_are_evenly_over_the_clip_and_no_more_than_asked_for(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", 2.0)
    pictures = pictures_of(clip, 8)
    assert pictures.shape == (8, 24, 32, 3) and pictures.dtype == np.uint8
    brightness = pictures.mean(axis=(1, 2, 3))
    np.testing.assert_allclose(np.diff(brightness), 250 / 8, atol=8)
    assert len(pictures_of(clip, 1)) == 1
    assert len(pictures_of(clip, 500)) == 48  # all there are


def test_a_video_of_one_frame_is_one(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", 1 / 24)
    check_pictures(clip)
    assert pictures_of(clip, 8).shape == (1, 24, 32, 3)


def test_a_good_clip_passes_the_check(tmp_path: Path) -> None:
    check_pictures(write_clip(tmp_path / "a.mp4"))


def test_clips_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    cut = write_clip(tmp_path / "cut.mp4")
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    empty = tmp_path / "empty.mp4"
    empty.write_bytes(b"")
    for clip, reason in [
        (tmp_path / "none.mp4", "missing"),
        (cut, "unreadable"),
        (empty, "unreadable"),
        (write_clip(tmp_path / "sound.mp4", pictures=False), "no pictures"),
        (write_clip(tmp_path / "long.mp4", 121, sound=False), "121 s long"),
    ]:
        with pytest.raises(UnusableClipError, match=reason):
            check_pictures(clip)
    with pytest.raises(UnusableClipError, match="pictures"):
        pictures_of(tmp_path / "sound.mp4", 8)
    with pytest.raises(UnusableSoundError, match="sound"):
        read_sound(write_clip(tmp_path / "silent.mp4", sound=False))
    with pytest.raises(UnusableSoundError, match="unreadable"):
        read_sound(cut)
