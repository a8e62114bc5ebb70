"""SUMMER: sparse dynamic mixture of experts, hierarchical cross-modal fusion, a frozen teacher.

`erc train config/systems/summer.yaml --data CORPORA`:

| stage | paper | |
|---|---|---|
| `text` | III-C | RoBERTa, fine-tuned |
| `acoustic` | III-C | openSMILE's functionals |
| `audio` | - | instead of it: a fine-tuned waveform encoder, or the robot's own |
| `faces` | III-C | an encoder of faces or clips, fine-tuned |
| `features` | - | instead of all of these: published features of a corpus |
| `teacher` | III-F | the same network trained on text only, then frozen |
| `fusion` | III-D to III-F, eq. 1-10 | SDMoE, HCMF and the interactive distillation |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from erc_ros.training.engine.recipe import Recipe
from erc_ros.training.engine.trainer import TrainerConfig
from erc_ros.training.fusion.train import HeadSizes
from erc_ros.training.systems.acoustics import OpenSmileStage, measure_sound
from erc_ros.training.systems.encoders import SpeechStage, TextStage, VideoStage, learn_alone
from erc_ros.training.systems.features import NAME, FeaturesStage, store_features
from erc_ros.training.systems.fusion import FusionStage, fuse
from erc_ros.training.systems.stages import Stage, Work, run_stages

USUAL = {
    "text": ("text", NAME),
    "audio": ("acoustic", "audio", NAME),
    "visual": ("faces", NAME),
}


@dataclass(frozen=True, slots=True)
class TeacherStage:
    """The teacher: the fusion's network and options, text and labels only."""

    trainer: TrainerConfig
    network: HeadSizes = field(default_factory=HeadSizes)
    options: Mapping[str, Any] = field(default_factory=dict)
    modes: tuple[str, ...] = ("causal",)

    def __post_init__(self) -> None:
        _ = self.fusion

    @property
    def fusion(self) -> FusionStage:
        """The stage as a fusion stage with one row."""
        row = {"head": "summer", "name": "text teacher", "seen": ["text"], "options": self.options}
        alone = {**row, "objective": "cross_entropy"}
        return FusionStage((alone,), self.trainer, self.modes, self.network)


def train_teacher(stage: TeacherStage, work: Work) -> None:
    """Train the teacher; `fusion` reads its weights."""
    fuse(stage.fusion, work, USUAL)


STAGES = (
    Stage(NAME, FeaturesStage, store_features, seeded=False),
    Stage("text", TextStage, learn_alone),
    Stage("acoustic", OpenSmileStage, measure_sound, seeded=False),
    Stage("audio", SpeechStage, learn_alone),
    Stage("faces", VideoStage, learn_alone),
    Stage(
        "teacher",
        TeacherStage,
        train_teacher,
        needs_one=("text", NAME),
        reads=("acoustic", "audio", "faces"),
    ),
    Stage(
        "fusion",
        FusionStage,
        partial(fuse, usual=USUAL, teacher="teacher"),
        needs=("teacher",),
        needs_one=("text", NAME),
        reads=("acoustic", "audio", "faces"),
    ),
)


def train(recipe: Recipe) -> None:
    """Run the stages of a recipe of kind summer; see `stages.run_stages`."""
    run_stages(recipe, STAGES)
