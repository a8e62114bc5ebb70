"""The speaker network: its spectrum, its files, and whether it tells people apart."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from erc_ros.dialogue.speaker_embedding import SpeakerEmbedding, SpeakerModelError, mel_filters

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "models" / "speaker-ge2e"
DATA = Path(os.environ.get("ERC_DATA", ROOT.parent / "shared" / "data"))
REFERENCE = [0.04765655, 0.01461953, 0.1107406, 0.03060554]
REFERENCE_SUM = 222.4604


@pytest.fixture(scope="module")
def network() -> SpeakerEmbedding:
    return SpeakerEmbedding(MODEL)


def test_filters_are_slaneys() -> None:
    filters = mel_filters(40, 400, 16_000)
    assert filters.shape == (40, 201)
    # 40 Hz bins: a triangle of area 1 sums to about 1 / 40; narrow ones at the bottom less exactly
    np.testing.assert_allclose(filters[10:].sum(axis=1), 1 / 40, rtol=0.05)
    peaks = filters.argmax(axis=1) * 40
    assert abs(int(peaks[-1]) - 7_420) < 40 and abs(int(peaks[0]) - 74) < 40


def test_spectrum_equals_the_one_that_the_network_was_trained_on(network: SpeakerEmbedding) -> None:
    """Values of librosa 0.11 (power spectrum, n_fft 400, hop 160, 40 bands) for the same sound."""
    sound = np.random.default_rng(0).normal(0, 0.1, 24_001).astype(np.float32)
    mel = network.mel(sound)
    assert mel.shape == (151, 40)
    np.testing.assert_allclose(mel[75, [0, 10, 20, 39]], REFERENCE, rtol=1e-4)
    assert mel.sum() == pytest.approx(REFERENCE_SUM, rel=1e-4)


def test_an_embedding_does_not_depend_on_the_level(
    network: SpeakerEmbedding,
) -> None:
    sound = np.random.default_rng(1).normal(0, 0.01, 16_000).astype(np.float32)
    loud, soft = network.embed(sound), network.embed(sound * np.float32(0.1))
    assert loud.shape == (256,)
    assert np.linalg.norm(loud) > 0.1
    np.testing.assert_allclose(loud, soft, atol=1e-3)


@pytest.mark.parametrize("length", [0, 1, 100, 400, 40_000])
def test_any_length_and_any_rubbish_can_be_embedded(network: SpeakerEmbedding, length: int) -> None:
    for value in (0.0, np.nan, np.inf, 1.0):
        out = network.embed(np.full(length, value, np.float32))
        assert out.shape == (256,) and np.isfinite(out).all()


def test_many_stretches_at_once_are_embedded_as_one_by_one(network: SpeakerEmbedding) -> None:
    random = np.random.default_rng(2)
    stretches = [random.normal(0, 0.1, 16_000).astype(np.float32) for _ in range(3)]
    stretches.insert(1, np.zeros(16_000, np.float32))
    together = network.embed_all(stretches)
    assert not together[1].any()
    np.testing.assert_allclose(together, [network.embed(s) for s in stretches], atol=1e-5)


def changed(tmp_path: Path, **fields: object) -> Path:
    shutil.copytree(MODEL, tmp_path / "model")
    path = tmp_path / "model" / "speaker.yaml"
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
        ({"size": 128}, "128"),
        ({"mel_bands": 80}, "80"),
        ({"rate": 8_000}, "8000"),
        ({"hop": "160"}, "hop"),
        ({"window": None}, "window"),
        ({"new_voice": "far"}, "new_voice"),
        ({"colour": "blue"}, "colour"),
    ],
)
def test_a_model_that_does_not_fit_is_refused_with_the_reason(
    tmp_path: Path, fields: dict[str, object], message: str
) -> None:
    with pytest.raises(SpeakerModelError, match=message):
        SpeakerEmbedding(changed(tmp_path, **fields))


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpeakerModelError, match=r"speaker\.yaml"):
        SpeakerEmbedding(tmp_path)
    (tmp_path / "speaker.yaml").write_text("- a list", "utf-8")
    with pytest.raises(SpeakerModelError, match="mapping"):
        SpeakerEmbedding(tmp_path)


def test_clips_of_one_speaker_are_more_alike_than_clips_of_two(network: SpeakerEmbedding) -> None:
    if not (DATA / "ravdess_speech_16k").is_dir():
        pytest.skip(f"no recordings in {DATA} (set ERC_DATA)")
    import soundfile

    vectors: list[NDArray[np.float32]] = []
    speakers = []
    for actor in range(1, 13):
        for emotion in ("01", "03", "04"):  # neutral, happy, sad
            name = f"03-01-{emotion}-01-01-01-{actor:02d}.flac"
            path = DATA / "ravdess_speech_16k" / f"Actor_{actor:02d}" / name
            samples, _ = soundfile.read(path, dtype="float32")
            vectors.append(network.embed(samples[12_000:38_000]))
            speakers.append(actor)
    found = np.array(vectors)
    likeness = -np.linalg.norm(found[:, None] - found[None], axis=2)
    same = np.equal.outer(speakers, speakers)
    own, other = likeness[same & ~np.eye(len(vectors), dtype=bool)], likeness[~same]
    # area under the ROC curve: how often a pair of one speaker is more alike than one of two
    assert (own[:, None] > other[None]).mean() > 0.85
