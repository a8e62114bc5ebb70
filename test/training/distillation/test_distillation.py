"""Distillation between modalities, on small generated corpora in the layout of the real ones."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import yaml

torch = pytest.importorskip("torch", reason="needs the extra [train]")
pytest.importorskip("sklearn", reason="needs the extra [train]")
soundfile = pytest.importorskip("soundfile", reason="needs the extra [train]")

import tiny_models  # noqa: E402
from safetensors.numpy import load_file, save_file  # noqa: E402
from torch.nn.functional import cross_entropy  # noqa: E402

from erc_ros.cli import main  # noqa: E402
from erc_ros.training.distillation.sources import StoredInputs  # noqa: E402
from erc_ros.training.distillation.task import (  # noqa: E402
    DistillationConfig,
    DistillationLoss,
    DistillationTask,
    Outputs,
    Student,
    TaskSplit,
    predict,
    train_student,
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
    return DistillationTask("audio", network, 16, CLASSES, splits, splits["train"].labels, {})


@pytest.mark.parametrize(
    "loss", [DistillationLoss(), DistillationLoss(response_tau=4.0, jensen_shannon=0.2)]
)
def test_a_student_gets_nearer_to_its_teacher(tmp_path: Path, loss: DistillationLoss) -> None:
    config = DistillationConfig(seeds=(0,), epoch="last")
    trainer = TrainerConfig(epochs=20, batch_size=16, learning_rate=0.01)
    small = task()
    test = small.splits["test"]
    distance = {}
    for name, how in (("plain", ALONE), ("distilled", loss)):
        student = train_student(small, config, how, trainer, tmp_path / name)
        probabilities = predict(student, test.inputs)[1]
        logits = torch.from_numpy(np.log(probabilities))
        distance[name] = float(pearson_relation(logits, torch.from_numpy(test.logits), 1.0))
        found = json.loads((tmp_path / name / "metrics.json").read_text())
        distance[f"{name} agreement"] = found["agreement"]

    assert distance["distilled"] < 0.9 * distance["plain"]
    assert distance["distilled agreement"] > distance["plain agreement"]


def test_what_it_says_about_every_split_is_stored(tmp_path: Path) -> None:
    config = DistillationConfig(seeds=(0,))
    small = task()
    student = train_student(small, config, DistillationLoss(), TrainerConfig(**FAST), tmp_path)
    stored = load_file(tmp_path / "embeddings.safetensors")

    for split, part in small.splits.items():
        embeddings, probabilities = predict(student, part.inputs)
        np.testing.assert_allclose(stored[f"{split}.embeddings"], embeddings, atol=1e-6)
        np.testing.assert_allclose(np.exp(stored[f"{split}.logits"]), probabilities, atol=1e-5)
        np.testing.assert_array_equal(stored[f"{split}.labels"], part.labels)


def test_the_last_epoch_is_taken_where_dev_cannot_choose(tmp_path: Path) -> None:
    trainer = TrainerConfig(epochs=6, batch_size=16, learning_rate=0.9)  # ever worse
    for epoch in ("last", "dev"):
        config = DistillationConfig(seeds=(0,), epoch=epoch)
        train_student(task(), config, ALONE, trainer, tmp_path / epoch)
    best = {e: json.loads((tmp_path / e / "training.json").read_text()) for e in ("last", "dev")}

    assert best["last"]["best_epoch"] == 6
    history = [epoch["weighted_f1"] for epoch in best["dev"]["history"]]
    assert best["dev"]["best_epoch"] == int(np.argmax(history)) + 1


def test_a_finished_run_is_not_repeated(tmp_path: Path) -> None:
    config = DistillationConfig(seeds=(0,))
    trainer = TrainerConfig(**FAST)
    train_student(task(), config, DistillationLoss(), trainer, tmp_path)
    record = (tmp_path / "training.json").stat().st_mtime_ns
    again = train_student(task(), config, DistillationLoss(), trainer, tmp_path)

    assert (tmp_path / "training.json").stat().st_mtime_ns == record
    assert predict(again, task().splits["dev"].inputs)[0].shape == (300, 16)
    with pytest.raises(ValueError, match=r"response_tau is 2\.0 there and 3\.0 here"):
        train_student(task(), config, DistillationLoss(response_tau=3.0), trainer, tmp_path)


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


def test_simulated_pairs_share_the_label_and_real_ones_are_the_utterance_itself() -> None:
    real = split_of(40, 0)
    rows = np.array([3, 9, 20])
    generator = np.random.default_rng(0)
    texts = np.arange(100) % 4
    simulated = TaskSplit(
        real.inputs, real.labels, np.zeros((100, 4)), np.zeros((100, 2)), simulated=True
    )

    np.testing.assert_array_equal(real.partners(rows, texts, generator), rows)
    drawn = simulated.partners(rows, texts, generator)
    np.testing.assert_array_equal(texts[drawn], real.labels[rows])


def test_answers_that_do_not_fit_are_refused() -> None:
    good = split_of(10, 0)
    with pytest.raises(ValueError, match="10 utterances, but 9 answers"):
        TaskSplit(good.inputs, good.labels, good.logits[:9], good.features[:9])
    with pytest.raises(ValueError, match="10 inputs for 9 labels"):
        TaskSplit(good.inputs, good.labels[:9], good.logits, good.features)
    broken = good.logits.copy()
    broken[4, 1] = np.nan
    with pytest.raises(ValueError, match="logits of row 4 are not finite"):
        TaskSplit(good.inputs, good.labels, broken, good.features)


# ---- the sources ----


def recipe(tmp_path: Path, **sections: object) -> Path:
    content = {
        "kind": "distillation",
        "distillation": {"seeds": [0, 1]},
        "trainer": FAST,
        **sections,
    }
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


def distill(tmp_path: Path, file: Path) -> int:
    return main(["distill", str(file), "--data", str(tmp_path), "--out", str(tmp_path / "out")])


def results(tmp_path: Path) -> dict[str, dict[str, object]]:
    return json.loads((tmp_path / "out" / "results.json").read_text())


SIZES = {"train": 21, "dev": 7, "test": 7}


def write_mosi(data: Path) -> None:
    generator = np.random.default_rng(0)
    folder = data / "mosi_bclstm_features"
    folder.mkdir()
    arrays, meta = {}, {}
    for split, videos in {"train": 6, "test": 3}.items():
        meta[split] = [
            {"id": f"{split}{v}_{u}", "video": f"{split}{v}", "utt": u, "text": "words"}
            for v in range(videos)
            for u in range(6)
        ]
        labels = np.arange(6 * videos) % 2
        arrays[f"{split}_label"] = labels.astype(np.int8)
        for name, size in (("text", 100), ("audio", 73), ("video", 100)):
            noise = generator.standard_normal((len(labels), size))
            arrays[f"{split}_{name}"] = (noise + labels[:, None]).astype(np.float32)
    np.savez(folder / "mosi.npz", **arrays)
    (folder / "meta.json").write_text(json.dumps(meta))


def test_mosi_teaches_both_modalities(tmp_path: Path) -> None:
    write_mosi(tmp_path)

    assert distill(tmp_path, recipe(tmp_path, mosi={"dev_videos": 2})) == 0

    found = results(tmp_path)
    assert set(found) == {"audio", "visual"}
    assert 0 <= found["audio"]["teacher"] <= 1
    assert found["audio"]["difference"]["deviation"] >= 0


def write_faces(data: Path, count: int = 40) -> None:
    import cv2

    generator = np.random.default_rng(0)
    folder = data / "fer2013plus"
    (folder / "mosaic").mkdir(parents=True)
    votes = np.zeros((count, 10), np.uint8)
    votes[np.arange(count), np.arange(count) % 2] = 10
    split = np.repeat([0, 1, 2], [count // 2, count // 4, count // 4]).astype(np.uint8)
    np.savez(folder / "labels.npz", votes10=votes, split=split)
    tiles = np.zeros((1000, 48, 48), np.uint8)
    tiles[:count] = generator.integers(0, 256, (count, 48, 48))
    mosaic = tiles.reshape(25, 40, 48, 48).swapaxes(1, 2).reshape(1200, 1920)
    cv2.imwrite(str(folder / "mosaic" / "fer_00.webp"), mosaic, [cv2.IMWRITE_WEBP_QUALITY, 101])


SMALL_FACE = {"stem": 4, "widths": [4, 8], "blocks": [1, 1], "dropout": 0.0}


def test_descriptions_by_a_vision_language_model_teach_the_face_network(tmp_path: Path) -> None:
    write_faces(tmp_path)
    describe = tmp_path / "descriptions.yaml"
    describe.write_text(
        yaml.safe_dump(
            {
                "kind": "descriptions",
                "descriptions": {"sentences": str(tiny_models.bert(tmp_path / "bert"))},
                "describer": {
                    "model": str(tiny_models.vision_language(tmp_path / "llava")),
                    "frames": 1,
                    "longest": 6,
                },
            }
        )
    )
    out = tmp_path / "described"
    asked = ["train", str(describe), "--data", str(tmp_path), "--out", str(out)]
    assert main(asked) == 0
    assert len((out / "descriptions.jsonl").read_text().splitlines()) == 40
    assert main(asked) == 0, "again: everything is there"

    file = recipe(
        tmp_path,
        faces={"teacher": str(out / "store")},
        network=SMALL_FACE,
        loss={"response_tau": 4.0, "jensen_shannon": 0.2},
        distillation={"seeds": [0], "metric": "accuracy"},
    )
    assert distill(tmp_path, file) == 0
    assert results(tmp_path)["visual"]["utterances"]["train"] == 20
    assert (tmp_path / "out" / "visual" / "distilled" / "seed-0" / "face.onnx").is_file()


def write_speech(data: Path) -> None:
    """Two actors for every fold and sex; each says every emotion."""
    folder = data / "ravdess_speech_16k"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for actor in range(1, 21):
        for emotion in (1, 3, 4, 5, 6, 7, 8):
            sound = 0.3 * generator.standard_normal(6400)
            name = f"03-01-{emotion:02d}-01-01-01-{actor:02d}.wav"
            soundfile.write(folder / name, sound, 16_000)
    emodb = data / "emodb"
    emodb.mkdir()
    for speaker in (3, 8):
        sound = 0.3 * generator.standard_normal(6400)
        soundfile.write(emodb / f"{speaker:02d}a01Fa.wav", sound, 16_000)


def text_answers() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    said = {}
    for split, size in SIZES.items():
        said[f"{split}.label"] = np.arange(size) % 7
        said[f"{split}.logits"] = generator.standard_normal((size, 7)).astype(np.float32)
        said[f"{split}.embedding"] = generator.standard_normal((size, 12)).astype(np.float32)
    return said


def test_simulated_pairs_are_called_simulated(tmp_path: Path) -> None:
    write_speech(tmp_path)
    save_file(text_answers(), tmp_path / "text.safetensors")
    file = recipe(
        tmp_path,
        simulated={
            "teacher": str(tmp_path / "text.safetensors"),
            "students": ["audio"],
            "audio_versions": 1,
        },
        distillation={"seeds": [0]},
        trainer={**FAST, "epochs": 1, "batch_size": 32},
    )

    assert distill(tmp_path, file) == 0

    found = results(tmp_path)["audio"]
    assert found["simulated"] and "agreement" not in found["distilled"]
    assert "audio (simulated pairs)" in (tmp_path / "out" / "table.md").read_text()
    assert (tmp_path / "out" / "audio" / "distilled" / "seed-0" / "audio.onnx").is_file()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda said: said.pop("dev.logits"), "lacks ['dev.logits']"),
        (lambda said: said["train.label"].fill(0), "no utterance of"),
        (None, "no safetensors file"),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: object, complaint: str
) -> None:
    write_speech(tmp_path)
    teacher = tmp_path / "text.safetensors"
    said = text_answers()
    if change is None:
        teacher.write_bytes(b"cut")
    else:
        change(said)  # type: ignore[operator]
        save_file(said, teacher)
    simulated = {"teacher": str(teacher), "students": ["audio"], "audio_versions": 1}

    assert distill(tmp_path, recipe(tmp_path, simulated=simulated)) == 2
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize(
    ("sections", "complaint"),
    [
        ({}, "needs one of the sections"),
        ({"mosi": {}, "faces": {}}, "needs one of the sections"),
        ({"stored": {"corpus": "meld"}}, "no section ['stored']"),
        ({"mosi": {"videos": 3}}, "no ['videos']"),
        ({"mosi": {}}, "mosi.npz is missing"),
        ({"mosi": {}, "loss": {"response": -1.0}}, "must not be negative"),
        ({"simulated": {"teacher": "gone.safetensors"}}, "train the teacher first"),
        ({"simulated": {"students": ["smell"]}}, "smell"),
        ({"mosi": {}, "distillation": {"metric": "luck"}}, "metric is 'luck'"),
        ({"surprise": {}}, "no section ['surprise']"),
    ],
)
def test_what_is_wrong_with_a_recipe_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], sections: dict[str, object], complaint: str
) -> None:
    assert distill(tmp_path, recipe(tmp_path, **sections)) == 2
    assert complaint in capsys.readouterr().err


def test_distill_takes_distillations_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text("kind: face\n")

    assert distill(tmp_path, file) == 2
    assert "erc distill: " in capsys.readouterr().err
