"""Speaker segmentation network: frames, files, and detection of speakers."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from data_folder import ROOT, need
from numpy.typing import NDArray

from erc_ros.dialogue.speakers.model import SpeakerModelError
from erc_ros.dialogue.speakers.segmentation import Segmentation

MODEL = ROOT / "erc_ros" / "models" / "segmentation"


@pytest.fixture(scope="module")
def network() -> Segmentation:
    return Segmentation(MODEL)


def noise(count: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 0.1, count).astype(np.float32)


@pytest.mark.parametrize(
    ("count", "frames"),
    [(0, 0), (990, 0), (991, 1), (1_260, 1), (1_261, 2), (32_000, 115), (160_000, 589)],
)
def test_a_frame_each_270_samples(network: Segmentation, count: int, frames: int) -> None:
    activity = network.run(noise(count))
    assert activity.shape == (frames, 3) and activity.dtype == np.float32
    assert network.hop == 270 and network.field == 991 and network.voices == 3
    assert ((activity >= 0) & (activity <= 1 + 1e-6)).all()


def test_longer_audio_than_in_training_is_refused(network: Segmentation) -> None:
    with pytest.raises(ValueError, match="160000"):
        network.run(noise(160_001))


def test_silence_has_no_speaker_and_nan_is_silence(network: Segmentation) -> None:
    silence = network.run(np.zeros(32_000, np.float32))
    assert silence.max() < 0.5
    for value in (np.nan, np.inf, -np.inf):
        np.testing.assert_array_equal(network.run(np.full(32_000, value, np.float32)), silence)


def clip(actor: int, emotion: str = "01") -> NDArray[np.float32]:
    """Return a clip of one actor, about 1.5 s, at a fixed level."""
    import soundfile

    folder = need("ravdess_speech_16k") / "ravdess_speech_16k"
    name = f"03-01-{emotion}-01-01-01-{actor:02d}.flac"
    samples, _ = soundfile.read(folder / f"Actor_{actor:02d}" / name, dtype="float32")
    spoken = np.asarray(samples[14_000:38_000], np.float32)
    return spoken * np.float32(0.05 / np.sqrt(np.mean(spoken**2)))


def frames_of(network: Segmentation, first: int, last: int) -> slice:
    """Return the frames whose center is within samples first to last."""
    return slice(*(max(0, round((n - network.field / 2) / network.hop)) for n in (first, last)))


@pytest.mark.data
def test_two_people_in_turn_are_two_voices_at_their_times(network: Segmentation) -> None:
    activity = network.run(np.concatenate([clip(1), clip(2), clip(1, "03"), clip(2, "03")]))
    heard = [
        int(activity[frames_of(network, k * 24_000, (k + 1) * 24_000)].mean(axis=0).argmax())
        for k in range(4)
    ]
    assert heard[0] == heard[2] != heard[1] == heard[3]


@pytest.mark.data
def test_two_people_at_once_are_two_voices_at_once(network: Segmentation) -> None:
    alone = network.run(np.concatenate([clip(1), clip(1, "03"), clip(2), clip(2, "03")]))
    both = network.run(
        np.concatenate([clip(1), clip(1, "03") + clip(2), clip(2, "03")]).astype(np.float32)
    )
    overlap = both[frames_of(network, 24_000, 48_000)]
    assert np.sort(overlap, axis=1)[:, -2].mean() > 0.5 > np.sort(alone, axis=1)[:, -2].mean() * 5


def changed(tmp_path: Path, **fields: object) -> Path:
    shutil.copytree(MODEL, tmp_path / "model")
    path = tmp_path / "model" / "segmentation.yaml"
    content = yaml.safe_load(path.read_text("utf-8")) | fields
    kept = {name: value for name, value in content.items() if value is not None}
    path.write_text(yaml.safe_dump(kept), "utf-8")
    return tmp_path / "model"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"format": 2}, "format 2"),
        ({"sha256": "0" * 64}, "sha256"),
        ({"file": "other.onnx"}, r"other\.onnx"),
        ({"rate": 8_000}, "8000"),
        ({"hop": 0}, "hop"),
        ({"duration": -1.0}, "duration"),
        ({"field": None}, "field"),
        ({"classes": [[], [0]]}, "output"),
        ({"classes": "three"}, "classes"),
        ({"classes": [[], [0], [2]]}, "classes"),
        ({"classes": [0, 1, 2]}, "classes"),
        ({"classes": [["a"], [0]]}, "classes"),
        ({"classes": [[[0]], [0]]}, "classes"),
        ({"colour": "blue"}, "colour"),
    ],
)
def test_a_model_that_does_not_fit_is_refused_with_the_reason(
    tmp_path: Path, fields: dict[str, object], message: str
) -> None:
    with pytest.raises(SpeakerModelError, match=message):
        Segmentation(changed(tmp_path, **fields))


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpeakerModelError, match=r"segmentation\.yaml"):
        Segmentation(tmp_path)


def test_without_a_gpu_auto_is_the_cpu_and_an_unknown_device_is_refused() -> None:
    sound = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    np.testing.assert_array_equal(
        Segmentation(MODEL, "auto").run(sound), Segmentation(MODEL).run(sound)
    )
    with pytest.raises(SpeakerModelError, match="'tpu'"):
        Segmentation(MODEL, "tpu")
