"""Systems with tiny random pretrained models: recipes and how to run them in a test."""

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
    """Folders of tiny models by their class."""
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
    """`erc train` of a recipe; the exit status."""
    out.parent.mkdir(parents=True, exist_ok=True)
    file = out.with_name(f"{out.name}.yaml")
    file.write_text(yaml.safe_dump(recipe, sort_keys=False))
    return main(["train", str(file), "--data", str(data), "--out", str(out), *options])


def magtkd(tiny: dict[str, str], corpus: str = "meld-clips") -> dict[str, Any]:
    """T + A_KD + V, and Concat beside MAGT."""
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
