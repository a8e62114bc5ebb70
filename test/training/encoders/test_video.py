"""Video by Hugging Face encoders, on tiny models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra [train]")

import tiny_models  # noqa: E402

from erc_ros.training.encoders.sample import Sample  # noqa: E402
from erc_ros.training.encoders.visual.pretrained import (  # noqa: E402
    VideoEncoder,
    VideoEncoderConfig,
    evenly,
)


def encoder(folder: Path, **settings: object) -> VideoEncoder:
    return VideoEncoder(VideoEncoderConfig(str(folder), **settings))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def timesformer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.video(tmp_path_factory.mktemp("timesformer"), "Timesformer")


def clip(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 40, 60, 3)).astype(np.uint8)


@pytest.mark.parametrize(("kind", "reading"), [("Timesformer", "first"), ("VideoMAE", "mean")])
def test_an_embedding_does_not_depend_on_the_batch(tmp_path: Path, kind: str, reading: str) -> None:
    model = encoder(tiny_models.video(tmp_path, kind), reading=reading, batch_size=2)
    samples = [Sample(str(n), frames=clip(n, seed=n)) for n in (30, 8, 1)]

    together = model.encode(samples)

    assert together.shape == (3, 32)
    for row, sample in zip(together, samples, strict=True):
        np.testing.assert_allclose(row, model.encode([sample])[0], atol=1e-5)


def test_eight_frames_are_spread_over_the_utterance(timesformer: Path) -> None:
    frames = clip(16)
    seen = frames.copy()
    seen[::2] = 0  # the middles of eight equal parts of 16 are the odd ones
    model = encoder(timesformer)

    assert model.frames == 8 and evenly(16, 8) == [1, 3, 5, 7, 9, 11, 13, 15]
    np.testing.assert_array_equal(
        model.encode([Sample("a", frames=frames)]), model.encode([Sample("a", frames=seen)])
    )


def test_of_a_short_utterance_frames_count_twice() -> None:
    assert evenly(3, 8) == [0, 0, 0, 1, 1, 2, 2, 2]
    assert evenly(1, 4) == [0, 0, 0, 0]


def test_it_can_be_trained_further(timesformer: Path) -> None:
    model = encoder(timesformer, reading="mean")
    model.embed(model.collate([Sample("a", frames=clip(8))])).square().sum().backward()

    assert all(p.grad is not None for p in model.model.parameters())


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        (None, "no frames"),
        (np.zeros((0, 4, 4, 3), np.uint8), "no frames"),
        (np.zeros((2, 4, 4), np.uint8), "shape"),
        (np.zeros((2, 4, 4, 3), np.float32), "float32"),
        (np.zeros((2, 0, 4, 3), np.uint8), "shape"),
    ],
)
def test_what_is_no_video_is_refused_by_name(
    timesformer: Path, frames: np.ndarray | None, reason: str
) -> None:
    sample = Sample("dia1_utt2", frames=frames)

    assert reason in encoder(timesformer).refuses(sample)
    with pytest.raises(ValueError, match=f"dia1_utt2.*{reason}"):
        encoder(timesformer).encode([sample])


@pytest.mark.parametrize(
    ("kind", "settings", "width"),
    [
        ("ViT", {}, 32),
        ("ViT", {"reading": "mean", "size": 6}, 6),
        ("ViT", {"reading": "classes"}, 10),
        ("ResNet", {"reading": "mean"}, 24),
        ("ResNet", {"reading": "classes", "size": 6}, 6),
    ],
)
def test_an_image_model_averages_the_frames_of_an_utterance(
    tmp_path: Path, kind: str, settings: dict[str, object], width: int
) -> None:
    model = encoder(tiny_models.image(tmp_path / "model", kind), frames=2, **settings)
    frames = clip(2)
    first, second = (Sample("a", frames=frames[[n]]) for n in (0, 1))

    both = model.encode([Sample("a", frames=frames)])

    assert both.shape == (1, width) == (1, model.dimension)
    np.testing.assert_allclose(
        both, (model.encode([first]) + model.encode([second])) / 2, atol=1e-5
    )
    model.save(tmp_path / "saved")
    again = encoder(tmp_path / "saved", frames=2, **settings)
    np.testing.assert_allclose(again.encode([first]), model.encode([first]), atol=1e-5)


@pytest.mark.parametrize("kind", ["Timesformer", "VideoMAE", "ViT", "ResNet"])
def test_of_a_clip_only_the_frames_that_are_used_need_be_kept(tmp_path: Path, kind: str) -> None:
    make = tiny_models.image if kind in ("ViT", "ResNet") else tiny_models.video
    model = encoder(make(tmp_path, kind), reading="mean")
    whole = Sample("a", frames=clip(30))

    kept = model.reduced(whole)

    assert model.can_reduce and kept.frames is not None
    assert kept.frames.shape == (model.frames, 32, 32, 3) and kept.frames.dtype == np.uint8
    np.testing.assert_array_equal(model.encode([kept]), model.encode([whole]))


@pytest.mark.parametrize("reading", ["mean", "classes"])
def test_an_image_model_can_be_trained_further(tmp_path: Path, reading: str) -> None:
    model = encoder(tiny_models.image(tmp_path, "ResNet"), reading=reading, size=3)
    model.embed(model.collate([Sample("a", frames=clip(8))])).square().sum().backward()

    assert all(p.grad is not None for p in model.model.parameters())


def test_a_convolutional_model_has_no_first_token(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="reading"):
        encoder(tiny_models.image(tmp_path, "ResNet"))


def test_a_video_model_has_no_classes_of_images(timesformer: Path) -> None:
    with pytest.raises(ValueError, match="ImageClassification"):
        encoder(timesformer, reading="classes")


def test_a_model_of_texts_is_refused(tmp_path: Path, timesformer: Path) -> None:
    folder = tiny_models.bert(tmp_path)
    for file in timesformer.glob("*processor*"):
        (folder / file.name).write_text(file.read_text())

    with pytest.raises(ValueError, match="BertModel"):
        encoder(folder)
