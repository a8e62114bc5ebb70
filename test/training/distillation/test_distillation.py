"""Distillation between modalities, on small generated corpora in the layout of the real ones."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra [train]")
pytest.importorskip("sklearn", reason="needs the extra [train]")
soundfile = pytest.importorskip("soundfile", reason="needs the extra [train]")

import tiny_models  # noqa: E402
from torch.nn.functional import cross_entropy  # noqa: E402

from erc_ros.training.distillation.task import (  # noqa: E402
    DistillationConfig,
    DistillationLoss,
    DistillationTask,
    Outputs,
    StoredInputs,
    Student,
    TaskSplit,
    fit_student,
    predict,
)
from erc_ros.training.encoders.audio import model as audio_model  # noqa: E402
from erc_ros.training.encoders.audio.pretrained import SpeechEncoder, SpeechEncoderConfig  # noqa: E402
from erc_ros.training.encoders.clips import PretrainedNetwork  # noqa: E402
from erc_ros.training.encoders.features import ClassifierConfig, FeatureNetwork  # noqa: E402
from erc_ros.training.encoders.sample import Sample  # noqa: E402
from erc_ros.training.encoders.visual import model as face_model  # noqa: E402
from erc_ros.training.engine.trainer import TrainerConfig  # noqa: E402
from erc_ros.training.losses import pearson_relation  # noqa: E402

CLASSES = ("a", "b", "c", "d")
FAST = {"epochs": 2, "batch_size": 16, "learning_rate": 0.003}
ALONE = DistillationLoss(response=0.0, feature=0.0)


def outputs(generator: torch.Generator, labels: int = 4, size: int = 6) -> Outputs:
    return Outputs(
        torch.randn(8, labels, generator=generator), torch.randn(8, size, generator=generator)
    )


def test_without_weights_only_the_labels_count() -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher, labels = outputs(generator), outputs(generator), torch.arange(8) % 4

    assert ALONE(student, teacher, labels) == cross_entropy(student.logits, labels)


def test_who_answers_like_the_teacher_has_nothing_more_to_learn_from_it() -> None:
    generator = torch.Generator().manual_seed(0)
    student, other, labels = outputs(generator), outputs(generator), torch.arange(8) % 4
    plain = float(ALONE(student, other, labels))

    for loss in (DistillationLoss(), DistillationLoss(response_tau=4.0, jensen_shannon=0.2)):
        assert float(loss(student, student, labels)) == pytest.approx(plain, abs=1e-5)
        assert loss(student, other, labels) > plain + 0.1


def test_a_shift_of_all_logits_and_the_length_of_features_do_not_matter() -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher, labels = outputs(generator), outputs(generator), torch.arange(8) % 4
    moved = Outputs(teacher.logits + 3, 5 * teacher.features)

    expected = float(DistillationLoss()(student, teacher, labels))
    assert float(DistillationLoss()(student, moved, labels)) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    "wrong", [{"response": -1.0}, {"jensen_shannon": -0.1}, {"response_tau": 0.0}]
)
def test_wrong_weights_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        DistillationLoss(**wrong)


def split_of(count: int, seed: int) -> TaskSplit:
    """A teacher that sees more than the label; the student's inputs show what it sees, noisily."""
    generator = np.random.default_rng(seed)
    seen = generator.standard_normal((count, 4)).astype(np.float32)
    mixed = seen @ np.random.default_rng(9).standard_normal((4, 10)).astype(np.float32)
    noisy = mixed + 1.0 * generator.standard_normal((count, 10)).astype(np.float32)
    labels = seen.argmax(axis=1)
    flipped = generator.random(count) < 0.4  # labels of raters that are often wrong
    labels = np.where(flipped, generator.integers(0, 4, count), labels)
    return TaskSplit(StoredInputs(noisy), labels, 3 * seen, seen)


def task(train: int = 96) -> DistillationTask:
    splits = {"train": split_of(train, 0), "dev": split_of(300, 1), "test": split_of(300, 2)}
    network = partial(FeatureNetwork, 10, ClassifierConfig(hidden=16, dropout=0.0))
    return DistillationTask("audio", network, 16, CLASSES, splits)


@pytest.mark.parametrize(
    "loss", [DistillationLoss(), DistillationLoss(response_tau=4.0, jensen_shannon=0.2)]
)
def test_a_student_gets_nearer_to_its_teacher(tmp_path: Path, loss: DistillationLoss) -> None:
    config = DistillationConfig(epoch="last")
    trainer = TrainerConfig(epochs=20, batch_size=16, learning_rate=0.01)
    small = task()
    test = small.splits["test"]
    distance = {}
    for name, how in (("plain", ALONE), ("distilled", loss)):
        student, _ = fit_student(small, config, how, trainer, tmp_path / name)
        probabilities = predict(student, test.inputs)[1]
        logits = torch.from_numpy(np.log(probabilities))
        distance[name] = float(pearson_relation(logits, torch.from_numpy(test.logits), 1.0))
        same = probabilities.argmax(axis=1) == test.logits.argmax(axis=1)
        distance[f"{name} agreement"] = float(same.mean())

    assert distance["distilled"] < 0.9 * distance["plain"]
    assert distance["distilled agreement"] > distance["plain agreement"]


def test_the_last_epoch_is_taken_where_dev_cannot_choose(tmp_path: Path) -> None:
    trainer = TrainerConfig(epochs=6, batch_size=16, learning_rate=0.9)  # ever worse
    for epoch in ("last", "dev"):
        config = DistillationConfig(epoch=epoch)
        fit_student(task(), config, ALONE, trainer, tmp_path / epoch)
    best = {e: json.loads((tmp_path / e / "training.json").read_text()) for e in ("last", "dev")}

    assert best["last"]["best_epoch"] == 6
    history = [epoch["weighted_f1"] for epoch in best["dev"]["history"]]
    assert best["dev"]["best_epoch"] == int(np.argmax(history)) + 1


def test_a_finished_run_is_not_repeated(tmp_path: Path) -> None:
    config = DistillationConfig()
    trainer = TrainerConfig(**FAST)
    fit_student(task(), config, DistillationLoss(), trainer, tmp_path)
    record = (tmp_path / "training.json").stat().st_mtime_ns
    again, _ = fit_student(task(), config, DistillationLoss(), trainer, tmp_path)

    assert (tmp_path / "training.json").stat().st_mtime_ns == record
    assert predict(again, task().splits["dev"].inputs)[0].shape == (300, 16)
    with pytest.raises(ValueError, match=r"response_tau.*2\.0.*3\.0"):
        fit_student(task(), config, DistillationLoss(response_tau=3.0), trainer, tmp_path)


def audio_student() -> tuple[Student, dict[str, torch.Tensor], set[str]]:
    network = audio_model.AudioNetwork(audio_model.AudioNetworkConfig())
    features = torch.randn(8, 40, 64)
    return (
        Student(network, 128, 6, 4),
        {"features": features, "frames": torch.full((8,), 40)},
        {
            # its own classifier, which the student does not use
            "encoder.head.1.weight",
            "encoder.head.1.bias",
        },
    )


def face_student() -> tuple[Student, dict[str, torch.Tensor], set[str]]:
    network = face_model.FaceNetwork(face_model.FaceNetworkConfig())
    return (
        Student(network, 128, 6, 4),
        {"faces": torch.rand(8, 1, 48, 48)},
        {
            "encoder.head.1.weight",
            "encoder.head.1.bias",
        },
    )


@pytest.mark.parametrize("make", [audio_student, face_student])
def test_the_gradient_reaches_every_parameter(make: object) -> None:
    torch.manual_seed(0)
    student, inputs, unused = make()  # type: ignore[operator]
    for parameter in student.parameters():  # blocks that begin as the identity pass nothing on
        parameter.data += 0.01 * torch.randn_like(parameter)
    teacher = outputs(torch.Generator().manual_seed(0))
    loss = replace(DistillationLoss(), response=1.0)
    loss(student.train().outputs(inputs), teacher, torch.arange(8) % 4).backward()

    without = {n for n, p in student.named_parameters() if p.grad is None or not p.grad.any()}
    assert without == unused


def test_a_pretrained_encoder_learns_whole(tmp_path: Path) -> None:
    folder = tiny_models.speech(tmp_path, "Wav2Vec2")
    made = partial(SpeechEncoder, SpeechEncoderConfig(str(folder)))
    network = PretrainedNetwork(made)
    sounds = np.random.default_rng(0).standard_normal((8, 3000)).astype(np.float32)
    inputs = made().collate([Sample(str(n), sound=sound) for n, sound in enumerate(sounds)])
    student = Student(network, 32, 6, 4)
    loss = DistillationLoss()(
        student.outputs(inputs), outputs(torch.Generator().manual_seed(0)), torch.arange(8) % 4
    )
    loss.backward()

    without = {n for n, p in student.named_parameters() if p.grad is None}
    assert without == {"encoder.model.masked_spec_embed"}, "used for masked pretraining only"
    assert set(student.state_dict()) >= {"encoder.model.encoder.layer_norm.weight"}


def test_answers_that_do_not_fit_are_refused() -> None:
    good = split_of(10, 0)
    with pytest.raises(ValueError, match=r"10.*9"):
        TaskSplit(good.inputs, good.labels, good.logits[:9], good.features[:9])
    with pytest.raises(ValueError, match=r"10 inputs.*9"):
        TaskSplit(good.inputs, good.labels[:9], good.logits, good.features)
    broken = good.logits.copy()
    broken[4, 1] = np.nan
    with pytest.raises(ValueError, match=r"row.*4.*finite"):
        TaskSplit(good.inputs, good.labels, broken, good.features)
