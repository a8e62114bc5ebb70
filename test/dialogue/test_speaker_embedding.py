"""Speaker embedding network: spectrum, files, and discrimination of speakers."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml
from data_folder import DATA, ROOT, need
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from erc_ros.dialogue.speakers.embedding import (
    FLOOR,
    SHORTEST,
    SpeakerEmbedding,
    SpeakerModelError,
)

MODEL = ROOT / "erc_ros" / "models" / "speaker-campplus"
# Of kaldi_native_fbank 1.23.0: bands 0, 1, 20, 40 and 79 of the first and the twelfth frame
BANDS = [0, 1, 20, 40, 79]
FIRST = [-7.1450973, -8.041223, -2.021898, -1.1754785, 4.3596287]
TWELFTH = [-6.441457, -5.389532, -2.8049753, 0.9861662, 4.2177796]
MEAN = -0.18530807


@pytest.fixture(scope="module")
def network() -> SpeakerEmbedding:
    return SpeakerEmbedding(MODEL)


def noise(count: int, seed: int = 0, level: float = 0.1) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, level, count).astype(np.float32)


def test_features_are_kaldis(network: SpeakerEmbedding) -> None:
    features = network.features(noise(4_001) + np.float32(0.05))
    assert features.shape == (23, 80) and features.dtype == np.float32
    np.testing.assert_allclose(features[[0, 11]][:, BANDS], [FIRST, TWELFTH], atol=1e-3)
    assert features.mean() == pytest.approx(MEAN, abs=1e-5)


@settings(deadline=None)
@given(st.integers(0, 20), st.integers(0, 3_000))
def test_features_of_a_part_are_a_part_of_the_features(
    network: SpeakerEmbedding, first: int, count: int
) -> None:
    sound = noise(20 * 160 + 3_000)
    whole, part = network.features(sound), network.features(sound[first * 160 :][:count])
    assert len(part) == (0 if count < 400 else 1 + (count - 400) // 160)
    np.testing.assert_allclose(part, whole[first : first + len(part)], atol=1e-5)


def test_an_embedding_has_length_one_and_does_not_depend_on_the_level(
    network: SpeakerEmbedding,
) -> None:
    sound = noise(16_000)
    loud = network.embed(network.features(sound))
    soft = network.embed(network.features(sound * np.float32(0.1)))
    assert loud.shape == (192,) and np.linalg.norm(loud) == pytest.approx(1.0, abs=1e-5)
    assert loud @ soft > 0.98  # int8: rounding differs


@pytest.mark.parametrize("length", [0, 1, 399, 400, 1_100, 40_000])
def test_any_length_and_any_rubbish_can_be_embedded(network: SpeakerEmbedding, length: int) -> None:
    for value in (0.0, np.nan, np.inf, 1.0, 1e30):
        out = network.embed(network.features(np.full(length, value, np.float32)))
        assert out.shape == (192,) and not out.any()  # no voice
    features = network.features(noise(length))
    size = np.linalg.norm(network.embed(features))
    assert size == pytest.approx(1.0 if len(features) >= SHORTEST else 0.0, abs=1e-5)


def test_what_is_not_a_number_counts_as_silence(network: SpeakerEmbedding) -> None:
    sound, broken = noise(16_000), noise(16_000)
    sound[4_000:8_000], broken[4_000:8_000] = 0, np.nan
    np.testing.assert_array_equal(network.features(broken), network.features(sound))
    features = network.features(noise(16_000))
    holes, quiet = features.copy(), features.copy()
    holes[10:20], quiet[10:20] = np.nan, FLOOR
    np.testing.assert_allclose(network.embed(holes), network.embed(quiet), atol=1e-6)


def test_a_batch_of_segments_is_embedded_as_one_by_one(network: SpeakerEmbedding) -> None:
    lengths = (16_000, 24_000, 16_000, 100)
    stretches = [network.features(noise(n, seed)) for seed, n in enumerate(lengths)]
    stretches.insert(1, network.features(np.zeros(16_000, np.float32)))
    together = network.embed_all(stretches)
    assert together.shape == (5, 192) and not together[[1, 4]].any()
    np.testing.assert_allclose(together, [network.embed(s) for s in stretches], atol=1e-4)
    assert network.embed_all([]).shape == (0, 192)


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
        ({"format": 1}, "format 1"),
        ({"sha256": "0" * 64}, "sha256"),
        ({"file": "other.onnx"}, r"other\.onnx"),
        ({"file": ""}, "must be the name of a file"),
        ({"file": "../speaker.onnx"}, "must be the name of a file"),
        ({"file": "\0"}, "cannot be read"),
        ({"size": 128}, "128"),
        ({"mel_bands": 40}, "40"),
        ({"rate": 8_000}, "8000"),
        ({"hop": "160"}, "hop"),
        ({"window": None}, "window"),
        ({"new_voice": "far"}, "new_voice"),
        ({"same_voice": -0.1}, "same_voice"),
        ({"colour": "blue"}, "colour"),
    ],
)
def test_a_model_that_does_not_fit_is_refused_with_the_reason(
    tmp_path: Path, fields: dict[str, object], message: str
) -> None:
    with pytest.raises(SpeakerModelError, match=message):
        SpeakerEmbedding(changed(tmp_path, **fields))


def test_inputs_and_outputs_may_have_other_names(network: SpeakerEmbedding, tmp_path: Path) -> None:
    """The published files of WeSpeaker have other names."""
    folder = changed(tmp_path)
    file = folder / network.manifest.file
    model = onnx.load(str(file))
    names = {"features": "feats", "embedding": "embs"}
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for port in (*model.graph.input, *model.graph.output):
        port.name = names[port.name]
    onnx.save(model, str(file))
    manifest = yaml.safe_load((folder / "speaker.yaml").read_text("utf-8"))
    manifest["sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
    (folder / "speaker.yaml").write_text(yaml.safe_dump(manifest), "utf-8")
    features = network.features(noise(16_000))
    np.testing.assert_array_equal(SpeakerEmbedding(folder).embed(features), network.embed(features))


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpeakerModelError, match=r"speaker\.yaml"):
        SpeakerEmbedding(tmp_path)
    (tmp_path / "speaker.yaml").write_text("- a list", "utf-8")
    with pytest.raises(SpeakerModelError, match="mapping"):
        SpeakerEmbedding(tmp_path)


@pytest.mark.data
def test_clips_of_one_speaker_are_more_alike_than_clips_of_two(network: SpeakerEmbedding) -> None:
    need("ravdess_speech_16k")
    import soundfile

    vectors: list[NDArray[np.float32]] = []
    speakers = []
    for actor in range(1, 13):
        for emotion in ("01", "03", "04"):  # neutral, happy, sad
            name = f"03-01-{emotion}-01-01-01-{actor:02d}.flac"
            path = DATA / "ravdess_speech_16k" / f"Actor_{actor:02d}" / name
            samples, _ = soundfile.read(path, dtype="float32")
            vectors.append(network.embed(network.features(samples[12_000:38_000])))
            speakers.append(actor)
    embeddings = np.array(vectors)
    likeness = embeddings @ embeddings.T
    same = np.equal.outer(speakers, speakers)
    own, other = likeness[same & ~np.eye(len(vectors), dtype=bool)], likeness[~same]
    # area under the ROC curve: how often a pair of one speaker is more alike than one of two
    assert (own[:, None] > other[None]).mean() > 0.95
