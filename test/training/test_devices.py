"""Every training on a device that is not the CPU: nothing may be left behind.

There is no GPU where these run; `elsewhere` stands in for one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra [train]")
pytest.importorskip("sklearn", reason="needs the extra [train]")

import tiny_models  # noqa: E402
from elsewhere import elsewhere, place  # noqa: E402
from torch import nn  # noqa: E402

from erc_ros.encoders.text import Turn  # noqa: E402
from erc_ros.training.comparison import train as comparison  # noqa: E402
from erc_ros.training.datasets.ferplus import Faces, FerPlus  # noqa: E402
from erc_ros.training.distillation import task as distillation  # noqa: E402
from erc_ros.training.ema import SelfDistillationConfig  # noqa: E402
from erc_ros.training.encoders.audio.pretrained import SpeechEncoderConfig  # noqa: E402
from erc_ros.training.encoders.augmentation import FaceAugmentation  # noqa: E402
from erc_ros.training.encoders.features import ClassifierConfig, FeatureNetwork  # noqa: E402
from erc_ros.training.encoders.sample import Sample  # noqa: E402
from erc_ros.training.encoders.text.pretrained import TextEncoderConfig  # noqa: E402
from erc_ros.training.encoders.trainable import make_encoder  # noqa: E402
from erc_ros.training.encoders.visual import train as face  # noqa: E402
from erc_ros.training.encoders.visual.model import FaceNetworkConfig  # noqa: E402
from erc_ros.training.encoders.visual.pretrained import VideoEncoderConfig  # noqa: E402
from erc_ros.training.engine.trainer import Fit, TrainerConfig, _to, device_of  # noqa: E402
from erc_ros.training.features.store import FeatureStore  # noqa: E402
from erc_ros.training.fusion import train as fusion  # noqa: E402
from erc_ros.training.fusion.dialogues import (  # noqa: E402
    Dialogues,
    predict_conversations,
    predict_windows,
    shuffled,
)
from erc_ros.training.fusion.objectives import (  # noqa: E402
    OBJECTIVES,
    Objective,
    SummerObjective,
)
from erc_ros.training.fusion.simulation import ModalityDropout  # noqa: E402
from erc_ros.training.heads.registry import HEADS, make_head  # noqa: E402
from erc_ros.training.systems import frames  # noqa: E402
from erc_ros.training.systems.stages import Work  # noqa: E402

TRAINER = TrainerConfig(epochs=1, batch_size=4, learning_rate=0.01)
ON_GPU = replace(TRAINER, device="cuda")


class DoneError(Exception):
    """Two steps and an evaluation went through."""


def two_steps(
    model: nn.Module,
    config: TrainerConfig,
    *,
    batches: Callable[[int], Any],
    loss: Callable[..., Any],
    evaluate: Callable[..., Any],
    after_step: Any = None,
    **_: Any,
) -> None:
    """What `trainer.fit` does with its parts, on another device."""
    with elsewhere() as device:
        place(model)
        for epoch in (0, 1):  # teachers teach from the second one on
            batch = _to(batches(epoch)[0], device)
            model.train()
            loss(model, batch).backward()
            if after_step is not None:
                after_step(model, epoch + 1.0)
        model.eval()
        with torch.inference_mode():
            assert all(np.isfinite(value) for value in evaluate(model).values())
    raise DoneError


@pytest.fixture(autouse=True)
def on_another_device(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for module in (fusion, distillation, face):
        monkeypatch.setattr(module, "fit", two_steps)
    yield


@pytest.fixture
def moves(monkeypatch: pytest.MonkeyPatch) -> None:
    """`module.to("cuda")` moves to the other device."""
    move = nn.Module.to

    def to(module: nn.Module, *args: Any, **kwargs: Any) -> nn.Module:
        if str(args[0]) not in ("cuda", "meta"):
            return move(module, *args, **kwargs)
        place(module)
        return module

    monkeypatch.setattr(nn.Module, "to", to)


def test_what_is_left_behind_is_found() -> None:
    layer = nn.Linear(3, 2)
    with elsewhere() as device:
        place(layer)
        x = torch.randn(4, 3)
        assert layer(x.to(device)).cpu().shape == (4, 2)
        with pytest.raises(RuntimeError, match=r"CPU.*\[\(4, 3\)\]"):
            layer(x)


def dialogues() -> Dialogues:
    rng = np.random.default_rng(0)
    lengths = (3, 5, 1, 4)
    text, audio, visual = (rng.normal(size=(13, d)).astype(np.float32) for d in (6, 4, 5))
    first = np.repeat(np.cumsum((0, *lengths[:-1])), lengths)
    present = rng.random((13, 3)) < 0.8
    return Dialogues(text, audio, visual, np.arange(13) % 3, np.ones(13, np.int64), first, present)


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("causal", [True, False])
def test_fusion_heads_with_their_teachers(name: str, causal: bool, tmp_path: Path) -> None:
    import random

    data, head = dialogues(), name if name in HEADS else "concat"
    values = {"width": 8, "embeddings": data.sizes, "labels": 3, "causal": causal}
    model, config = make_head(head, values), OBJECTIVES[name]()
    teacher = make_head(head, values) if config.TEACHER else None

    def evaluate(model: nn.Module) -> dict[str, float]:
        predicted = predict_windows(model, data, 4), predict_conversations(model, data)
        return {"sum": float(sum(np.abs(logits).sum() for logits in predicted))}

    with pytest.raises(DoneError):
        fusion.train_head(
            model,
            Objective(config, model, teacher),
            data,
            TRAINER,
            ModalityDropout(),
            batches=lambda epoch: shuffled(data, 4, random.Random(epoch)),
            evaluate=evaluate,
            choose="sum",
            out=tmp_path,
            settings={},
        )


def test_a_fusion_model_is_tested_on_the_device_of_its_training(
    moves: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices = []
    predict = comparison.predict_conversations

    def seen(model: nn.Module, *rest: Any) -> Any:
        devices.append(device_of(model).type)
        return predict(model, *rest)

    def train(*_: Any, **__: Any) -> Fit:
        far.enter_context(elsewhere())
        return Fit(1, {"weighted_f1": 0.5}, (), 0.0, tmp_path)

    monkeypatch.setattr(comparison, "train_head", train)
    monkeypatch.setattr(comparison, "predict_conversations", seen)
    setup = comparison.Setup(
        comparison.ComparisonConfig(), fusion.HeadSizes(8), ModalityDropout(), ON_GPU
    )
    data = {name: dialogues() for name in ("train", "dev", "test")}
    corpus = comparison.ComparisonData("Generated", "", ("a", "b", "c"), data)
    row = comparison.TableRow("magtkd")
    with ExitStack() as far:
        result = comparison.run(row, "causal", corpus, setup, tmp_path, None, {})
    assert set(devices) == {"meta"}
    assert set(result["test"]) == set(comparison.CONDITIONS)


def tokens(modality: str) -> Any:
    """An encoder of three tokens per utterance."""
    encoder = Mock(modality=modality, dimension=5, model=nn.Linear(2, 5))
    encoder.refuses.return_value = ""
    encoder.collate = lambda samples: {"x": torch.ones(len(samples), 3, 2)}
    encoder.sequence = lambda inputs: (encoder.model(inputs["x"]), inputs["x"][..., 0].bool())
    return encoder


def test_frames_and_their_encoders(
    moves: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = {name: tokens(name) for name in ("text", "audio")}
    rows, keys = np.arange(4), tuple("abcd")
    split = SimpleNamespace(
        keys=keys,
        labels=rows % 2,
        sample=lambda row, modality: Sample(keys[row]),
    )
    material: Any = SimpleNamespace(
        labels=("bad", "good"), splits={name: split for name in ("train", "dev", "test")}
    )

    def fit(*args: Any, **kwargs: Any) -> Fit:
        assert {device_of(encoder.model).type for encoder in made.values()} == {"cpu"}
        with suppress(DoneError):
            two_steps(*args, **kwargs)
        far.enter_context(elsewhere())
        return Fit(1, {}, (), 0.0, tmp_path)

    usable = {name: rows for name in material.splits}
    monkeypatch.setattr(frames, "fit", fit)
    monkeypatch.setattr(frames, "saved_encoder", lambda folder: made[folder.name])
    monkeypatch.setattr(frames, "usable_rows", lambda *_: usable)
    monkeypatch.setattr(frames, "keep_results", lambda *_: None)
    work = Work(tmp_path / "out", (0,), material, {name: tmp_path / name for name in made})
    with ExitStack() as far:
        frames.learn_from_frames(frames.FrameStage(ON_GPU, fusion.HeadSizes(8)), work)
    assert {device_of(encoder.model).type for encoder in made.values()} == {"meta"}
    assert len(FeatureStore(tmp_path / "out" / "seed-0" / "answers" / "test")) == 4


def test_summer_by_the_teachers_classifier(tmp_path: Path) -> None:
    data = dialogues()
    values = {"width": 8, "embeddings": data.sizes, "labels": 3}
    model, teacher = make_head("summer", values), make_head("summer", values)
    objective = Objective(SummerObjective(align="teacher"), model, teacher)
    with pytest.raises(DoneError):
        fusion.train_head(
            model,
            objective,
            data,
            TRAINER,
            ModalityDropout(),
            batches=lambda _: [np.arange(4)[None]],
            evaluate=lambda model: {"none": 0.0},
            choose="none",
            out=tmp_path,
            settings={},
        )


def test_students(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(12, 5)).astype(np.float32)
    said = rng.normal(size=(12, 3)).astype(np.float32)
    labels = np.arange(12) % 3
    part = distillation.TaskSplit(distillation.StoredInputs(features), labels, said, features)
    network = partial(FeatureNetwork, 5, ClassifierConfig(hidden=6))
    task = distillation.DistillationTask(
        "audio", network, 6, ("a", "b", "c"), {"train": part, "dev": part}
    )
    config, loss = distillation.DistillationConfig(), distillation.DistillationLoss()
    with pytest.raises(DoneError):
        distillation.fit_student(task, config, loss, TRAINER, tmp_path)


def test_students_with_their_own_average(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(12, 5)).astype(np.float32)
    labels = np.arange(12) % 3
    part = distillation.TaskSplit(
        distillation.StoredInputs(features), labels, features[:, :3], features
    )
    network = partial(FeatureNetwork, 5, ClassifierConfig(hidden=5))
    task = distillation.DistillationTask(
        "text", network, 5, ("a", "b", "c"), {"train": part, "dev": part}
    )
    config, loss = distillation.DistillationConfig(), distillation.DistillationLoss()
    with pytest.raises(DoneError):
        distillation.fit_student(
            task, config, loss, TRAINER, tmp_path, 0.1, SelfDistillationConfig(warm_epochs=0.5)
        )


@pytest.mark.parametrize("kind", ["roberta", "speech", "video", "log-mel", "faces"])
def test_encoders_that_stages_train(kind: str, tmp_path: Path) -> None:
    makers: dict[str, Callable[[], Any]] = {
        "roberta": lambda: TextEncoderConfig(str(tiny_models.roberta(tmp_path))),
        "speech": lambda: SpeechEncoderConfig(str(tiny_models.speech(tmp_path, "Data2VecAudio"))),
        "video": lambda: VideoEncoderConfig(str(tiny_models.video(tmp_path, "Timesformer"))),
        "log-mel": lambda: SpeechEncoderConfig("log-mel"),
        "faces": lambda: VideoEncoderConfig("faces"),
    }
    encoder = make_encoder(makers[kind]())
    rng = np.random.default_rng(0)
    samples = [
        Sample(
            str(length),
            (Turn(1, "good day"),) * length,
            rng.normal(size=4000 * length).astype(np.float32) / 10,
            frames=rng.integers(0, 255, (3 + length, 40, 40, 3), np.uint8),
        )
        for length in (1, 2)
    ]
    with elsewhere() as device:
        place(encoder.model)
        encoder.model.train()
        embedding = encoder.embed(_to(encoder.collate(samples), device))
        embedding.square().sum().backward()
        assert embedding.device == device and embedding.shape == (2, encoder.dimension)


def test_the_face_network(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    faces = Faces(
        rng.integers(0, 255, (4, 48, 48), np.uint8), np.eye(8, dtype=np.float32)[:4], np.arange(4)
    )
    network = FaceNetworkConfig(stem=4, widths=(4, 8), blocks=(1, 1))
    with pytest.raises(DoneError):
        face.fit_faces(
            FerPlus(faces, faces, faces),
            TRAINER,
            network,
            FaceAugmentation(),
            face.FaceSampling(balance=0.5, mixup=0.2, negatives=0.25),
            tmp_path,
        )
