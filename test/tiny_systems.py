"""Systems with tiny random pretrained models: recipes, and how to run them in a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny_models
import yaml

from erc_ros.cli import main

QUICK = {"epochs": 2, "batch_size": 8, "learning_rate": 5.0e-3}
THOROUGH = {"epochs": 14, "batch_size": 4, "learning_rate": 1.0e-2}
"""For texts, which a tiny random network does not learn at once."""
SMALL_HEAD = {"width": 16, "dropout": 0.1, "input_dropout": 0.0}


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the folders of tiny models by class."""
    folder = tmp_path_factory.mktemp("tiny")
    return {
        "roberta": str(tiny_models.roberta(folder / "roberta")),
        "bert": str(tiny_models.bert(folder / "bert")),
        "data2vec": str(tiny_models.speech(folder / "data2vec", "Data2VecAudio")),
        "wavlm": str(tiny_models.speech(folder / "wavlm", "WavLM")),
        "timesformer": str(tiny_models.video(folder / "timesformer", "Timesformer")),
        "videomae": str(tiny_models.video(folder / "videomae", "VideoMAE", 16)),
    }


def train(recipe: dict[str, Any], data: Path, out: Path, *options: str) -> int:
    """Run `erc train` with a recipe and return the exit status."""
    out.parent.mkdir(parents=True, exist_ok=True)
    file = out.with_name(f"{out.name}.yaml")
    file.write_text(yaml.safe_dump(recipe, sort_keys=False))
    return main(["train", str(file), "--data", str(data), "--out", str(out), *options])


def magtkd(tiny: dict[str, str], corpus: str = "meld-clips") -> dict[str, Any]:
    """Return a recipe of T + A_KD + V, with Concat and MAGT."""
    return {
        "kind": "magtkd",
        "system": {"corpus": corpus, "seeds": [0]},
        "stages": {
            "text": {
                "encoder": {"model": tiny["roberta"], "prompt": "magtkd"},
                "trainer": THOROUGH,
            },
            "audio_kd": {
                "encoder": {"model": tiny["data2vec"], "max_seconds": 1.0},
                "trainer": QUICK,
            },
            "visual": {
                "encoder": {"model": tiny["timesformer"]},
                "trainer": {**QUICK, "epochs": 4, "batch_size": 4},
            },
            "fusion": {
                "rows": [{"head": "magtkd", "name": "MAGT"}, {"head": "concat", "name": "Concat"}],
                "modes": ["causal", "offline"],
                "network": SMALL_HEAD,
                "trainer": {**QUICK, "epochs": 3},
            },
        },
    }


def lpgnet(tiny: dict[str, str], corpus: str = "iemocap-4") -> dict[str, Any]:
    """Return a recipe with text and audio only."""
    return {
        "kind": "lpgnet",
        "system": {"corpus": corpus, "seeds": [0]},
        "stages": {
            "text": {
                "encoder": {
                    "model": tiny["bert"],
                    "prompt": "plain",
                    "reading": "first",
                    "history": 0,
                    "speakers": False,
                },
                "trainer": THOROUGH,
            },
            "audio": {"encoder": {"model": tiny["wavlm"], "max_seconds": 1.0}},
            "fusion": {
                "rows": [
                    {
                        "head": "lpgnet",
                        "name": "LPGNet",
                        "seen": ["text", "audio"],
                        "options": {"modalities": ["text", "audio"]},
                    }
                ],
                "modes": ["causal", "offline"],
                "network": SMALL_HEAD,
                "trainer": {**QUICK, "epochs": 3},
            },
        },
    }


def summer(tiny: dict[str, str], corpus: str = "meld-faces") -> dict[str, Any]:
    """Return a recipe with the robot's own networks for audio and faces."""
    same: dict[str, Any] = {"modes": ["causal"], "network": SMALL_HEAD, "trainer": QUICK}
    options = {"layers": 2, "alpha": 2.0}
    return {
        "kind": "summer",
        "system": {"corpus": corpus, "seeds": [0]},
        "stages": {
            "text": {"encoder": {"model": tiny["roberta"]}, "trainer": THOROUGH},
            "audio": {"encoder": {"model": "log-mel", "max_seconds": 2.0}, "trainer": QUICK},
            "faces": {
                "encoder": {"model": "faces"},
                "trainer": {**QUICK, "epochs": 4, "batch_size": 4},
            },
            "teacher": {**same, "options": options},
            "fusion": {
                **same,
                "rows": [{"head": "summer", "name": "SUMMER", "options": options}],
            },
        },
    }


def ddvlm(tiny: dict[str, str], descriptions: str, corpus: str = "meld-clips") -> dict[str, Any]:
    """Return a recipe with descriptions from a file, and a distilled camera encoder."""
    staged = {"objective": "ddvlm", "weights": {"hard": 1.0, "cross_modal": [0.0, 0.0]}}
    return {
        "kind": "ddvlm",
        "system": {"corpus": corpus, "seeds": [0]},
        "stages": {
            "text": {
                "encoder": {"model": tiny["roberta"], "prompt": "ddvlm"},
                "trainer": THOROUGH,
                "dropout": 0.2,
                "self_distillation": {"decay": 0.9},
            },
            "descriptions": {"file": descriptions},
            "sentences": {"model": tiny["bert"]},
            "visual_kd": {"network": {"hidden": 16}, "trainer": {**THOROUGH, "epochs": 30}},
            "camera": {"encoder": {"model": tiny["videomae"], "reading": "mean"}, "trainer": QUICK},
            "fusion": {
                "rows": [
                    {"head": "ddvlm", "name": "DDVLM", **staged},
                    {"head": "ddvlm", "name": "robot", "reads": {"visual": "camera"}, **staged},
                ],
                "network": SMALL_HEAD,
                "trainer": QUICK,
            },
        },
    }
