from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from erc_ros.inference.history import ConversationHistory, UtteranceEmbeddings, fusion_input, step
from erc_ros.networks.network import Network
from erc_ros.training.datasets.utterances import LABELS
from erc_ros.training.engine import evaluation
from erc_ros.training.engine.embeddings import Embedded, save_embeddings
from erc_ros.training.engine.recipe import Recipe
from erc_ros.training.fusion.dialogues import (
    Dialogues,
    head_inputs,
    predict_windows,
    windows,
)
from erc_ros.training.systems import edge

LENGTHS = (1, 5, 16, 17, 40)
FIRST = np.repeat(np.cumsum((0, *LENGTHS[:-1])), LENGTHS)


def test_a_window_is_what_the_recogniser_would_remember() -> None:
    rows = windows(FIRST, 4)
    assert rows.shape == (sum(LENGTHS), 4) and (rows[:, -1] == np.arange(sum(LENGTHS))).all()
    assert rows[0].tolist() == [-1, -1, -1, 0]
    assert rows[3].tolist() == [-1, 1, 2, 3]
    assert rows[30].tolist() == [27, 28, 29, 30]


def encoders(folder: Path, labels: int = 7) -> None:
    """What the three encoders leave behind, with clouds that can be told apart."""
    rng = np.random.default_rng(0)

    def cloud(classes: np.ndarray, size: int, noise: float) -> np.ndarray:
        points = np.eye(size)[classes] * 3 + rng.normal(size=(len(classes), size)) * noise
        return points.astype(np.float32)

    text = {}
    for split, dialogues in (("train", 24), ("dev", 10), ("test", 4)):
        lengths = rng.integers(3, 20, dialogues)
        label = rng.choice(labels, lengths.sum(), p=[0.4, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1])
        text |= {
            f"{split}.embedding": cloud(label, 384, 1.0),
            f"{split}.label": label,
            f"{split}.index": np.concatenate([np.arange(n) for n in lengths]),
            f"{split}.speaker": rng.integers(1, 4, len(label)),
            f"{split}.dialogue": np.repeat(np.arange(dialogues), lengths),
        }
    for name in ("text", "audio", "face"):
        (folder / name).mkdir()
    save_file(text, folder / "text" / "embeddings.safetensors")
    for name in ("audio", "face"):
        clips = np.arange(350) % labels
        splits = {s: Embedded(cloud(clips, 128, 0.5), clips) for s in ("train", "valid", "test")}
        save_embeddings(splits, folder / name / "embeddings.safetensors")


def recipe(folder: Path) -> Recipe:
    """A fit on what `encoders` left in `folder`."""
    sections = {
        "fusion": {
            "text": str(folder / "text"),
            "audio": str(folder / "audio"),
            "visual": str(folder / "face"),
        },
    }
    return Recipe("fusion", sections, folder / "out", folder)


def test_a_fusion_is_fitted_from_encoders_to_onnx(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    encoders(tmp_path)
    edge.train(recipe(tmp_path))
    best = tmp_path / "out" / "best"
    report = json.loads((best / "metrics.json").read_text())
    assert report["head"] == "late-fusion" and len(report["dev_conditions"]) > 30
    assert len(report["test"]) == 7 and 0 < report["test"]["text+audio+visual"] <= 1
    assert 0.3 < report["simulation"]["audio"]["mismatch"] < 0.9
    assert report["simulation"]["audio"]["dev_weighted_f1"] == pytest.approx(0.448, abs=0.05)
    assert set(load_file(best / edge.CHOSEN_CLIPS)) >= {"audio.dev", "visual.test"}
    assert evaluation.main([str(tmp_path / "out"), "--resamples", "20"]) == 0
    evaluated = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert set(evaluated["dev"]["f1"]) == set(LABELS)
    assert evaluated["dev"]["resampled"] == "conversations"
    network = Network(best / "fusion.onnx")
    history = ConversationHistory("c")
    for number in range(20):
        embedding = np.full(384, number, np.float32)
        embeddings = UtteranceEmbeddings(str(number), 1, embedding, None, None)
        history = step(history, embeddings, 16)
    sizes = {"text": 384, "audio": 128, "visual": 128}
    others = dict.fromkeys(("modalities", "speakers", "valid"), 0)
    answer = network(fusion_input(history.utterances, sizes | others))
    assert answer["logits"].shape == (1, 16, 7)
    np.testing.assert_allclose(answer["weights"][0, -1], [1, 0, 0], atol=1e-5)
    capsys.readouterr()
    edge.train(recipe(tmp_path))
    assert "is finished" in capsys.readouterr().out
    file = tmp_path / "text" / "embeddings.safetensors"
    text = load_file(file)
    save_file({**text, "train.embedding": 2 * text["train.embedding"]}, file)
    edge.train(recipe(tmp_path))
    assert "is finished" not in capsys.readouterr().out, "other embeddings: fitted again"


def test_encoders_that_are_not_trained_yet_are_named(tmp_path: Path) -> None:
    sections = {"fusion": {"text": str(tmp_path)}}
    with pytest.raises(FileNotFoundError, match=r"erc train config/training/text\.yaml"):
        edge.train(Recipe("fusion", sections, tmp_path / "out", tmp_path))


@pytest.mark.parametrize("share", [0, -0.5, 1.5, float("nan")])
def test_a_share_of_a_corpus_is_more_than_nothing_and_at_most_all_of_it(share: float) -> None:
    edge.FusionConfig(text_also={"robot-dialogues": 1})
    with pytest.raises(ValueError, match="robot-dialogues"):
        edge.FusionConfig(text_also={"robot-dialogues": share})


def test_the_windows_answer_as_the_stretches(tmp_path: Path) -> None:
    """Evaluation by windows equals the causal model on a whole short dialogue."""
    import torch

    from erc_ros.training.heads.magtkd import Magtkd, MagtkdConfig

    rng = np.random.default_rng(0)
    count = 9
    data = Dialogues(
        *(rng.normal(size=(count, size)).astype(np.float32) for size in (12, 8, 6)),
        labels=np.zeros(count, np.int64),
        speakers=rng.integers(0, 4, count),
        first=np.zeros(count, np.int64),
    )
    torch.manual_seed(0)
    model = Magtkd(MagtkdConfig(width=16, heads=2, embeddings=(12, 8, 6)))
    by_windows = predict_windows(model, data, 16)
    rows = np.arange(count)[None]
    inputs = head_inputs(data, rows, np.ones((1, count, 3), bool))
    with torch.no_grad():
        at_once = model(**inputs)[0][0].numpy()
    np.testing.assert_allclose(by_windows, at_once, atol=1e-5)
