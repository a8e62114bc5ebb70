"""Speech by Hugging Face encoders, on tiny models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra [train]")

import tiny_models  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

from erc_ros.training.encoders.audio.pretrained import (  # noqa: E402
    SpeechEncoder,
    SpeechEncoderConfig,
    frame_count,
    receptive_field,
    waveform,
)
from erc_ros.training.encoders.pretrained import SequenceEncoder  # noqa: E402
from erc_ros.training.encoders.sample import Sample  # noqa: E402

KINDS = [("Wav2Vec2", "layer"), ("Wav2Vec2", "group"), ("WavLM", "layer"), ("Data2VecAudio", "-")]


def encoder(folder: Path, **settings: object) -> SpeechEncoder:
    return SpeechEncoder(SpeechEncoderConfig(str(folder), **settings))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def wav2vec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.speech(tmp_path_factory.mktemp("wav2vec"), "Wav2Vec2")


@pytest.mark.parametrize("kind", ["Wav2Vec2", "WavLM", "Data2VecAudio"])
def test_a_checkpoint_without_the_vector_of_spec_augment_is_read(tmp_path: Path, kind: str) -> None:
    """As wav2vec2-base-960h is published; nothing here uses that vector."""
    folder = tiny_models.speech(tmp_path, kind)
    sound = Sample("k", sound=tone(200, 0.5, 16_000))
    expected = encoder(folder).encode([sound])
    weights = load_file(folder / "model.safetensors")
    del weights["masked_spec_embed"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    np.testing.assert_allclose(encoder(folder).encode([sound]), expected)


def tone(hertz: float, seconds: float, rate: int) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate).astype(np.float32)


@pytest.mark.parametrize(("kind", "norm"), KINDS)
@pytest.mark.parametrize("reading", ["mean", "first"])
def test_no_embedding_depends_on_the_batch(
    tmp_path: Path, kind: str, norm: str, reading: str
) -> None:
    model = encoder(tiny_models.speech(tmp_path, kind, norm), reading=reading, batch_size=4)
    generator = np.random.default_rng(1)
    samples = [
        Sample(str(n), sound=0.1 * generator.standard_normal(n).astype(np.float32))
        for n in (9000, 211, 4000)
    ]

    together = model.encode(samples)

    assert together.shape == (3, 32) and together.dtype == np.float32
    for row, sample in zip(together, samples, strict=True):
        np.testing.assert_allclose(row, model.encode([sample])[0], atol=2e-5)


def test_models_that_hear_the_padding_get_one_clip_at_a_time(tmp_path: Path) -> None:
    for kind, norm in KINDS:
        model = encoder(tiny_models.speech(tmp_path / (kind + norm), kind, norm), batch_size=4)

        assert model.batch_size == (4 if norm == "layer" else 1), (kind, norm)


@pytest.mark.parametrize(("kind", "norm"), KINDS)
def test_a_batch_of_a_training_hears_no_padding_either(
    tmp_path: Path, kind: str, norm: str
) -> None:
    """A fine-tuning collates as many clips as its batch has."""
    model = encoder(tiny_models.speech(tmp_path, kind, norm))
    model.model.eval()
    generator = np.random.default_rng(1)
    samples = [
        Sample(str(n), sound=0.1 * generator.standard_normal(n).astype(np.float32))
        for n in (9000, 411, 4000)
    ]
    together = model.embed(model.collate(samples))
    alone = [model.embed(model.collate([sample]))[0] for sample in samples]
    np.testing.assert_allclose(
        together.detach().numpy(), torch.stack(alone).detach().numpy(), atol=2e-5
    )
    assert together.requires_grad
    states, there = model.sequence(model.collate(samples))
    assert isinstance(model, SequenceEncoder) and there.sum(dim=1).argmin() == 1
    means = [states[row, there[row]].mean(dim=0) for row in range(3)]
    np.testing.assert_allclose(
        torch.stack(means).detach().numpy(), together.detach().numpy(), atol=2e-5
    )


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
def test_sound_of_another_rate_is_resampled(wav2vec: Path, rate: int) -> None:
    model = encoder(wav2vec)
    there = model.encode([Sample("a", sound=tone(440, 1, 16_000))])[0]
    here = model.encode([Sample("a", sound=tone(440, 1, rate), sample_rate=rate)])[0]
    passed_off = model.encode([Sample("a", sound=tone(440, 1, rate))])[0]

    assert np.linalg.norm(here - there) < 0.2 * np.linalg.norm(passed_off - there)


def test_resampling_keeps_pitch_and_length() -> None:
    sound = waveform(Sample("a", sound=tone(1000, 2, 22_050), sample_rate=22_050), 16_000)

    assert len(sound) == 32_000
    spectrum = np.abs(np.fft.rfft(sound))
    assert np.argmax(spectrum) * 16_000 / len(sound) == pytest.approx(1000, abs=1)


def test_whole_numbers_and_channels_become_one_float_channel() -> None:
    stereo = np.array([[32767, -32768], [0, 16384]], np.int16)

    np.testing.assert_allclose(
        waveform(Sample("a", sound=stereo), 16_000), [-0.5 / 32768, 0.25], atol=1e-6
    )


def test_of_a_long_utterance_its_end_is_heard(wav2vec: Path) -> None:
    model = encoder(wav2vec, max_seconds=0.5)
    sound = np.random.default_rng(0).standard_normal(32_000).astype(np.float32)

    np.testing.assert_allclose(
        model.encode([Sample("a", sound=sound)]),
        model.encode([Sample("b", sound=sound[-8000:])]),
        atol=1e-6,
    )


def test_it_can_be_trained_further(wav2vec: Path) -> None:
    model = encoder(wav2vec)
    inputs = model.collate([Sample("a", sound=tone(200, 0.3, 16_000))])
    model.embed(inputs).square().sum().backward()

    without = [n for n, p in model.model.named_parameters() if p.grad is None]
    assert without == ["masked_spec_embed"], "used for masked pretraining only"


@pytest.mark.parametrize(
    ("sample", "reason"),
    [
        (Sample("u7"), "no sound"),
        (Sample("u7", sound=np.zeros(100, np.float32)), "shorter than a frame"),
        (Sample("u7", sound=np.zeros(0, np.int16)), "shorter than a frame"),
        (Sample("u7", sound=np.full(9000, np.nan, np.float32)), "not finite"),
        (Sample("u7", sound=np.zeros((9, 9, 9), np.float32)), "shape"),
        (Sample("u7", sound=np.zeros(9000, np.float32), sample_rate=0), "0 Hz"),
    ],
)
def test_what_is_no_speech_is_refused_by_name(wav2vec: Path, sample: Sample, reason: str) -> None:
    model = encoder(wav2vec)

    assert reason in model.refuses(sample)
    with pytest.raises(ValueError, match=f"u7.*{reason}"):
        model.encode([sample])


def test_silence_is_speech_without_news(wav2vec: Path) -> None:
    assert np.isfinite(
        encoder(wav2vec).encode([Sample("a", sound=np.zeros(16_000, np.int16))])
    ).all()


def test_a_text_model_is_no_speech_model(tmp_path: Path) -> None:
    folder = tiny_models.bert(tmp_path)
    tiny_models.speech(tmp_path / "speech", "Wav2Vec2")
    (folder / "preprocessor_config.json").write_text(
        (tmp_path / "speech" / "preprocessor_config.json").read_text()
    )

    with pytest.raises(ValueError, match="input_ids"):
        encoder(folder)


def test_a_model_without_its_feature_extractor_is_refused(tmp_path: Path) -> None:
    folder = tiny_models.speech(tmp_path, "Wav2Vec2")
    (folder / "preprocessor_config.json").unlink()

    with pytest.raises(FileNotFoundError, match="FeatureExtractor"):
        encoder(folder)


def test_frames_are_counted_as_the_convolutions_make_them() -> None:
    data2vec = [(10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2)]

    assert receptive_field(data2vec) == 400
    assert [frame_count(n, data2vec) for n in (399, 400, 719, 720, 16_000)] == [0, 1, 1, 2, 49]
