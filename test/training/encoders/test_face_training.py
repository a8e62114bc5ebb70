"""The face training on tiny mosaics in the layout of FER+."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra [train]")

from erc_ros.networks.network import Network  # noqa: E402
from erc_ros.training.datasets import ferplus  # noqa: E402
from erc_ros.training.datasets.utterances import LABELS  # noqa: E402
from erc_ros.training.encoders.augmentation import (  # noqa: E402
    FaceAugmentation,
    augment_faces,
    no_faces,
)
from erc_ros.training.encoders.visual.model import FaceNetwork, FaceNetworkConfig  # noqa: E402
from erc_ros.training.encoders.visual.train import (  # noqa: E402
    as_input,
    class_bias,
    correct_prior,
    shown,
    to_label_probabilities,
    to_labels,
    train,
)
from erc_ros.training.engine.embeddings import NEGATIVE_SPLIT, load_embeddings  # noqa: E402
from erc_ros.training.engine.evaluation import read_run  # noqa: E402
from erc_ros.training.engine.recipe import Recipe, RecipeError  # noqa: E402

NEUTRAL, HAPPY, CONTEMPT, UNKNOWN = 0, 1, 7, 8
TINY = FaceNetworkConfig(stem=4, widths=(4, 8), blocks=(1, 1), dropout=0.0)


def votes(*pairs: tuple[int, int]) -> np.ndarray:
    row = np.zeros(10, np.uint8)
    for column, count in pairs:
        row[column] = count
    return row


def picture(kind: int, seed: int) -> np.ndarray:
    """Stripes of one of two directions, so that there is something to learn."""
    stripes = np.indices((48, 48))[kind] // 6 % 2 * 120 + 60
    return (stripes + np.random.default_rng(seed).integers(0, 60, (48, 48))).astype(np.uint8)


def write_corpus(folder: Path, pictures: np.ndarray, rows: np.ndarray, split: np.ndarray) -> None:
    (folder / "mosaic").mkdir(parents=True)
    np.savez(folder / "labels.npz", votes10=rows, split=split)
    for number in range(-(-len(pictures) // 1000)):
        tiles = np.zeros((1000, 48, 48), np.uint8)
        some = pictures[number * 1000 : (number + 1) * 1000]
        tiles[: len(some)] = some
        mosaic = tiles.reshape(25, 40, 48, 48).swapaxes(1, 2).reshape(1200, 1920)
        file = folder / "mosaic" / f"fer_{number:02d}.webp"
        cv2.imwrite(str(file), mosaic, [cv2.IMWRITE_WEBP_QUALITY, 101])


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    kinds = np.arange(60) % 2
    pictures = np.stack([picture(kind, seed) for seed, kind in enumerate(kinds)])
    rows = np.stack([votes((HAPPY if kind else NEUTRAL, 9), (3, 1)) for kind in kinds])
    split = np.repeat([0, 1, 2], 20).astype(np.uint8)
    folder = tmp_path / "fer2013plus"
    write_corpus(folder, pictures, rows, split)
    return folder


def test_pictures_come_out_of_the_mosaic_unchanged(corpus: Path) -> None:
    data = ferplus.load(corpus)
    np.testing.assert_array_equal(data.train.pictures[7], picture(1, 7))
    np.testing.assert_array_equal(data.test.pictures[0], picture(0, 40))
    assert not data.skipped


@pytest.mark.parametrize(
    ("row", "label"),
    [
        (votes((HAPPY, 10)), HAPPY),
        (votes((HAPPY, 6), (NEUTRAL, 4)), HAPPY),
        (votes((HAPPY, 5), (NEUTRAL, 5)), -1),  # no more than half
        (votes((HAPPY, 4), (NEUTRAL, 3), (2, 3)), -1),
        (votes((HAPPY, 4), (0, 1), (2, 1), (3, 1), (4, 1), (5, 1), (6, 1)), HAPPY),  # single votes
        (votes((UNKNOWN, 8), (HAPPY, 2)), -1),
        (votes((9, 10)), -1),
        (votes(), -1),
    ],
)
def test_the_majority_rule(row: np.ndarray, label: int) -> None:
    assert ferplus.majority(row[None])[0] == label


def test_targets_are_shares_of_the_votes_for_emotions() -> None:
    rows = np.stack([votes((HAPPY, 6), (NEUTRAL, 2), (3, 1), (UNKNOWN, 1)), votes((9, 10))])
    targets = ferplus.distribution(rows)
    np.testing.assert_allclose(targets[0], [0.25, 0.75, 0, 0, 0, 0, 0, 0])
    assert not targets[1].any()


def test_pictures_seen_before_are_dropped_and_the_training_part_comes_first(tmp_path: Path) -> None:
    pictures = np.stack([picture(0, seed) for seed in (1, 2, 1, 3, 3, 2, 4)])
    split = np.array([2, 0, 0, 0, 0, 1, 1], np.uint8)  # 1 in test and train, 2 in train and valid
    rows = np.stack([votes((HAPPY, 10))] * 7)
    rows[[6]] = votes((NEUTRAL, 10))
    more = picture(0, 9)[None]
    write_corpus(
        tmp_path / "fer",
        np.concatenate([pictures, more]),
        np.concatenate([rows, rows[:1]]),
        np.append(split, np.uint8(2)),
    )
    data = ferplus.load(tmp_path / "fer")
    assert [len(part.labels) for part in (data.train, data.valid, data.test)] == [3, 1, 1]
    assert data.skipped == {"train: repeated": 1, "valid: repeated": 1, "test: repeated": 1}


def test_a_broken_mosaic_costs_its_pictures_and_is_counted(tmp_path: Path) -> None:
    # Flat pictures, each another: random ones would take long to compress.
    pictures = np.zeros((1003, 48, 48), np.uint8)
    pictures[:, 0, 0], pictures[:, 0, 1] = np.divmod(np.arange(1003), 250)
    split = (np.arange(1003) % 3).astype(np.uint8)
    write_corpus(tmp_path / "fer", pictures, np.stack([votes((HAPPY, 10))] * 1003), split)
    broken = tmp_path / "fer" / "mosaic" / "fer_00.webp"
    broken.write_bytes(broken.read_bytes()[:50])
    data = ferplus.load(tmp_path / "fer")
    assert len(data.train.labels) + len(data.valid.labels) + len(data.test.labels) == 3
    assert sum(data.skipped.values()) == 1000
    assert all(reason.endswith("unreadable") for reason in data.skipped)


def test_a_folder_without_labels_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"labels\.npz"):
        ferplus.load(tmp_path)


def test_labels_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "labels.npz", votes10=np.zeros((3, 7), np.uint8), split=np.zeros(3, np.uint8)
    )
    with pytest.raises(ValueError, match=r"\(3, 7\)"):
        ferplus.load(tmp_path)


def test_contempt_counts_as_disgust() -> None:
    probabilities = np.eye(8, dtype=np.float32)
    seven = to_label_probabilities(probabilities)
    np.testing.assert_array_equal(seven.sum(axis=1), 1)
    np.testing.assert_array_equal(seven.argmax(axis=1), to_labels(np.arange(8)))
    assert LABELS[to_labels(np.array([CONTEMPT]))[0]] == "disgust"


def test_augmented_faces_stay_pictures() -> None:
    generator = torch.Generator().manual_seed(0)
    faces = torch.rand(16, 1, 48, 48, generator=generator)
    how = FaceAugmentation(rotation=90, scale=0.5, shift=0.5, gamma=1.0, erase=1.0, erase_side=0.9)
    changed = augment_faces(faces, how, generator)
    assert changed.shape == faces.shape
    assert changed.isfinite().all() and changed.min() >= 0 and changed.max() <= 1


def test_light_blur_and_grain_leave_pictures_and_what_they_show() -> None:
    generator = torch.Generator().manual_seed(0)
    faces = torch.from_numpy(np.stack([picture(0, seed) for seed in range(16)]))[:, None] / 255
    none = {"rotation": 0.0, "scale": 0.0, "shift": 0.0, "gamma": 0.0, "erase": 0.0}
    how = FaceAugmentation(**none, aspect=0.05, blur=1.0, side_light=0.5, grain=0.05)
    changed = augment_faces(faces, how, generator)
    assert changed.isfinite().all() and changed.min() >= 0 and changed.max() <= 1
    for one, other in zip(faces, changed, strict=True):
        pair = np.corrcoef(one.mean(2).flatten(), other.mean(2).flatten())[0, 1]
        assert pair > 0.5 and not torch.allclose(one, other, atol=0.02)


def test_pictures_of_nobody_are_pictures_and_differ() -> None:
    generator = torch.Generator().manual_seed(0)
    pictures = no_faces(9, 32, generator)
    assert pictures.shape == (9, 1, 32, 32)
    assert pictures.min() >= 0 and pictures.max() <= 1
    assert len({float(p.mean()) for p in pictures}) == 9


def test_balance_shows_every_class_alike_and_none_as_often_as_it_comes() -> None:
    targets = np.eye(8, dtype=np.float32)[[0] * 90 + [5] * 10]
    np.testing.assert_allclose(shown(targets, 0.0), 0.01)
    balanced = shown(targets, 1.0)
    assert balanced[:90].sum() == pytest.approx(0.5) == balanced[90:].sum()
    half = shown(targets, 0.5)
    assert half[90:].sum() == pytest.approx(0.25)  # 10 ** 0.5 of 90 ** 0.5 + 10 ** 0.5


def test_a_class_that_is_never_recalled_moves_the_prior(corpus: Path) -> None:
    data = ferplus.load(corpus)
    many = np.flatnonzero(data.train.labels == NEUTRAL)
    few = np.flatnonzero(data.train.labels == HAPPY)[:1]
    rows = np.concatenate([many, few])
    rare = ferplus.Faces(
        data.train.pictures[rows], data.train.targets[rows], data.train.labels[rows]
    )
    model = FaceNetwork(TINY).eval()
    with torch.no_grad():  # sees nothing but believes a little more in the frequent class
        model.head[1].weight.zero_()
        model.head[1].bias[:] = -20
        model.head[1].bias[NEUTRAL], model.head[1].bias[HAPPY] = 0.4, 0.0
    happy = ferplus.Faces(
        data.valid.pictures[data.valid.labels == HAPPY],
        data.valid.targets[data.valid.labels == HAPPY],
        data.valid.labels[data.valid.labels == HAPPY],
    )
    biases = correct_prior(model, ferplus.FerPlus(rare, happy, data.test))
    assert biases[HAPPY] > biases[NEUTRAL]
    with torch.no_grad():
        faces = as_input(torch.from_numpy(happy.pictures))
        assert (model.head(model(faces)).argmax(1) == HAPPY).all()


def test_biases_recall_every_class_half_of_the_time_and_cost_little() -> None:
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), (300, 200, 60, 20))
    logits = generator.normal(size=(len(labels), 4)).astype(np.float32)
    logits[np.arange(len(labels)), labels] += 1.5
    logits += np.array([1.0, 0.3, -0.5, -2.0], np.float32)  # rare ones are hardly ever said

    def recalls(bias: object) -> list[float]:
        said = (logits + bias).argmax(axis=1)
        return [float((said[labels == c] == c).mean()) for c in range(4)]

    frequency = np.bincount(labels) / np.float32(len(labels))
    biases = class_bias(logits, labels, frequency)
    assert min(recalls(np.zeros(4))) < 0.2
    assert min(recalls(biases)) >= 0.5
    said = (logits + biases).argmax(axis=1)
    assert (said == labels).mean() > ((logits - np.log(frequency)).argmax(axis=1) == labels).mean()
    assert class_bias(logits, labels, frequency) == biases


def test_without_strength_only_mirroring_is_left() -> None:
    generator = torch.Generator().manual_seed(0)
    faces = torch.rand(16, 1, 48, 48, generator=generator)
    how = FaceAugmentation(0, 0, 0, 0, 0, 0)
    changed = augment_faces(faces, how, generator)
    same = torch.isclose(changed, faces, atol=1e-3).flatten(1).all(dim=1)
    mirrored = torch.isclose(changed, faces.flip(3), atol=1e-3).flatten(1).all(dim=1)
    assert (same | mirrored).all() and same.any() and mirrored.any()


def test_light_and_contrast_have_no_influence() -> None:
    torch.manual_seed(0)
    model = FaceNetwork(TINY).eval()
    faces = torch.rand(4, 1, 48, 48)
    torch.testing.assert_close(model(faces), model(0.5 * faces + 0.2), atol=0.01, rtol=0)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_blank_picture_gives_a_finite_embedding(value: float) -> None:
    assert FaceNetwork(TINY).eval()(torch.full((1, 1, 48, 48), value)).isfinite().all()


def test_the_network_can_learn_a_batch_by_heart() -> None:
    torch.manual_seed(0)
    model = FaceNetwork(TINY)
    faces, truth = torch.rand(16, 1, 48, 48), torch.arange(16) % 8
    optimizer = torch.optim.AdamW(model.parameters(), 0.01)
    for _ in range(60):
        loss = torch.nn.functional.cross_entropy(model.head(model(faces)), truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1


@pytest.fixture
def recipe(corpus: Path, tmp_path: Path) -> Recipe:
    sections = {
        "trainer": {"epochs": 3, "batch_size": 10, "learning_rate": 0.01, "precision": "bf16"},
        "network": {"stem": 4, "widths": [4, 8], "blocks": [1, 1]},
        "sampling": {"balance": 0.5, "mixup": 0.2, "negatives": 0.1},
    }
    return Recipe("face", sections, tmp_path / "runs", corpus.parent, seed=3)


def test_training_leaves_a_part_that_equals_torch(recipe: Recipe, corpus: Path) -> None:
    train(recipe)
    best = recipe.out / "best"
    figures = json.loads((best / "metrics.json").read_text())
    assert figures["seed"] == 3 and figures["onnx_difference"] < 1e-4
    assert set(figures["all_seeds"]["mean"]) == set(figures["test"])
    data = ferplus.load(corpus)
    embedded = load_embeddings(best / "embeddings.safetensors")
    assert {name: len(part.labels) for name, part in embedded.items()} == {
        "train": 20,
        "valid": 20,
        "test": 20,
        NEGATIVE_SPLIT: 1000,
    }
    assert (embedded[NEGATIVE_SPLIT].labels == -1).all()
    faces = as_input(torch.from_numpy(data.test.pictures)).numpy()
    got = Network(best / "face.onnx")({"faces": faces})["embedding"]
    np.testing.assert_allclose(got, embedded["test"].embeddings, atol=1e-4)
    expected = [LABELS.index("joy"), LABELS.index("neutral")]
    assert sorted(set(embedded["test"].labels.tolist())) == sorted(expected)
    run = read_run(recipe.out)  # as `erc evaluate` does
    predicted = run.splits["test"].probabilities[0].argmax(axis=1)
    right = (predicted == run.splits["test"].labels).mean()
    assert right == pytest.approx(figures["test"]["accuracy_8"])


def test_the_same_seed_gives_the_same_weights(recipe: Recipe) -> None:
    train(recipe)
    first = (recipe.out / "seed-3" / "best.safetensors").read_bytes()
    train(recipe)
    assert (recipe.out / "seed-3" / "best.safetensors").read_bytes() == first


def test_a_section_nobody_reads_is_refused(recipe: Recipe) -> None:
    wrong = Recipe("face", {**recipe.sections, "augmentaton": {}}, recipe.out, recipe.data)
    with pytest.raises(RecipeError, match="augmentaton"):
        train(wrong)


@pytest.mark.parametrize(("widths", "blocks"), [((4,), (1, 1)), ((), ()), ((4, 0), (1, 1))])
def test_impossible_sizes_are_refused(widths: tuple[int, ...], blocks: tuple[int, ...]) -> None:
    with pytest.raises(ValueError):
        FaceNetworkConfig(widths=widths, blocks=blocks)
