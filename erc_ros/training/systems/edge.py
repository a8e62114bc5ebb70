"""Fit the late fusion of the robot on simulated trimodal dialogues (`simulation`).

The classifiers are fitted by logistic regression (`fusion.late_fusion`); the failure probabilities
of voice and face are fitted on dev, by the loss with missing or broken modalities
(`fusion.conditions`). Test is evaluated once.

Results: OUT/seed-0/ and its copy OUT/best/ with fusion.onnx, metrics.json, best.safetensors,
logits.npz (of seed-0) and the clips that were drawn.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from torch import nn

from erc_ros.inference.manifest import modality_set
from erc_ros.metrics import classification as metrics
from erc_ros.training.datasets.utterances import LABELS
from erc_ros.training.encoders.text.mixture import ordered
from erc_ros.training.engine.history import record
from erc_ros.training.engine.recipe import Recipe
from erc_ros.training.engine.runs import (
    BEST,
    MEASURED,
    METRICS,
    Predicted,
    choose_best,
    finished,
    plain,
    write_run,
)
from erc_ros.training.engine.trainer import save_weights
from erc_ros.training.fusion.conditions import Result, SimulatedModality, measure_conditions
from erc_ros.training.fusion.dialogues import Dialogues, predict_windows
from erc_ros.training.fusion.late_fusion import ModalityClips, fit_late_fusion
from erc_ros.training.fusion.simulated import (
    EncoderFolders,
    describe,
    modality_clips,
    more_text,
    read_dialogues,
)
from erc_ros.training.fusion.simulation import Matched, Weakness
from erc_ros.training.heads.base import MODALITIES
from erc_ros.training.heads.late_fusion import LateFusion, LateFusionConfig
from erc_ros.training.onnx import export_fusion

CHOSEN_CLIPS = "clips.safetensors"
"""File in OUT/best: the clip of each utterance, "<modality>.<split>" (N,)."""
FILES = ("fusion.onnx", "best.safetensors")
CONTEXT = 1
"""The input of the late fusion is the current utterance only."""


@dataclass(frozen=True, slots=True)
class FusionConfig:
    """Inputs of the fusion; the section `fusion` of a recipe. Paths: from the working directory."""

    text: str = "runs/text/best"
    """Folders of the trained encoders."""
    audio: str = "runs/audio/best"
    visual: str = "runs/face/best"
    text_also: Mapping[str, float] = field(default_factory=dict)
    """Training data of the text classifier in addition to the dialogues: corpus -> share, 0..1, of
    its conversations; single sentences are all used."""

    @property
    def folders(self) -> EncoderFolders:
        return EncoderFolders(self.text, self.audio, self.visual)

    def __post_init__(self) -> None:
        for corpus, share in self.text_also.items():
            if not 0 < share <= 1:
                raise ValueError(f"text_also.{corpus} is {share}: must be a share, 0..1")
        ordered(self.text_also)


@dataclass(frozen=True, eq=False)
class FusionSetup:
    """Inputs of a fit.

    clips: of audio and visual. more_text: embeddings (N, E) and labels (N,) of other corpora.
    """

    config: FusionConfig
    splits: Mapping[str, Dialogues]
    simulated: Mapping[str, Matched]
    clips: Mapping[str, ModalityClips]
    more_text: tuple[NDArray[np.float32], NDArray[np.int64]] | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """Return the settings that determine the result."""
        train = self.splits["train"]
        return plain(
            {
                "text_also": dict(self.config.text_also),
                "simulation": {name: each.mismatch for name, each in self.simulated.items()},
                "embeddings": {m: float(np.abs(getattr(train, m)).sum()) for m in MODALITIES},
            }
        )

    def dev_conditions(self, model: nn.Module) -> list[Result]:
        """Evaluate every condition on dev."""
        drawn = {
            name: SimulatedModality(
                clips.dev.embeddings, clips.dev.labels, self.simulated[name].dev_draws
            )
            for name, clips in self.clips.items()
        }

        def predict(data: Dialogues, seen: Sequence[bool]) -> NDArray[np.float32]:
            return predict_windows(model, data, CONTEXT, seen)

        return measure_conditions(predict, self.splits["dev"], drawn["audio"], drawn["visual"])


def train(recipe: Recipe) -> None:
    """Run `erc train config/training/fusion.yaml`: fit, evaluate and export.

    Raises:
        RecipeError, FileNotFoundError: the recipe or the trained encoders are not usable.
    """
    recipe.refuse_other_sections({"fusion", "simulation"})
    config = recipe.section("fusion", FusionConfig)
    splits, simulated = read_dialogues(config.folders, recipe.section("simulation", Weakness))
    record(
        recipe.out,
        corpora=config.text_also,
        teachers=[config.text, config.audio, config.visual],
    )
    describe(simulated)
    clips = modality_clips(config.folders, simulated)
    also = config.text_also
    text = more_text(Path(config.text), also, recipe.data) if also else None
    fit(FusionSetup(config, splits, simulated, clips, text), recipe.out / "seed-0")
    chosen = choose_best(recipe.out, FILES)
    drawn = {
        f"{name}.{split}": rows
        for name, matched in simulated.items()
        for split, rows in matched.chosen.items()
    }
    save_file(drawn, recipe.out / BEST / CHOSEN_CLIPS)
    print(json.dumps({"dev": chosen["dev"], "test": chosen["test"]}, indent=2))


def fit(setup: FusionSetup, out: Path) -> None:
    """Fit the fusion, test it once and export it, unless this is already done."""
    settings = setup.settings
    if finished(out / METRICS, settings):
        print(f"{out} is finished")
        return
    start, data = time.monotonic(), setup.splits
    model = LateFusion(LateFusionConfig(embeddings=data["train"].sizes, labels=len(LABELS)))
    fit_late_fusion(
        model,
        data["train"],
        data["dev"],
        setup.clips,
        setup.dev_conditions,
        more_text=setup.more_text,
    )
    seconds = time.monotonic() - start
    out.mkdir(parents=True, exist_ok=True)
    save_weights(model, out / "best.safetensors")
    export_fusion(model, out / "fusion.onnx")
    predict = partial(predict_windows, model)
    predicted = {
        split: Predicted(predict(data[split], CONTEXT), data[split].labels, data[split].first)
        for split in MEASURED
    }
    content = {
        "head": "late-fusion",
        "seed": 0,
        "settings": settings,
        "seconds": seconds,
        "dev_conditions": [asdict(each) for each in setup.dev_conditions(model)],
        "parameters": sum(p.numel() for p in model.parameters()),
        "simulation": {
            name: {"mismatch": m.mismatch, "dev_weighted_f1": m.dev_f1}
            for name, m in setup.simulated.items()
        },
        **subsets(predict, data),
    }
    write_run(out, LABELS, predicted, content)


def subsets(predict: Any, splits: Mapping[str, Dialogues]) -> dict[str, Any]:
    """Compute weighted F1 on dev and test from every set of modalities.

    predict: (dialogues, context, modalities) -> logits (N, C). Returns `test` and `dev_subsets`:
    set of modalities -> weighted F1.
    """
    f1: dict[str, dict[str, float]] = {split: {} for split in MEASURED}
    for split, seen in product(MEASURED, product((True, False), repeat=3)):
        if any(seen):
            data = splits[split]
            predicted = predict(data, CONTEXT, seen).argmax(1)
            f1[split][modality_set(seen)] = metrics.weighted_f1(data.labels, predicted, len(LABELS))
    return {"test": f1["test"], "dev_subsets": f1["dev"]}
