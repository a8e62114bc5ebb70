"""DDVLM: Dual-Distillation Vision-Language Model (Applied Sciences 2026, 16, 3103).

`erc train config/systems/ddvlm.yaml --data CORPORA`:

| stage | section | |
|---|---|---|
| `text` | 3.3, 3.4 | RoBERTa with self-distillation from its moving average |
| `text_plain` | table 4 | the same with the labels only |
| `descriptions` | 3.3 | a vision-language model describes a clip; or a file of descriptions |
| `sentences` | 3.3 | a sentence encoder embeds the descriptions |
| `features` | - | instead of all of these: published features of a corpus |
| `visual` | table 4 | a network on these embeddings, with the labels only |
| `visual_kd` | 3.5 | the same taught by the text stage: response, feature and JSD |
| `visual_kd_plain` | table 4 | the same taught by `text_plain`: without self-distillation |
| `camera` | - | an encoder of clips taught by that student, which a robot can run |
| `fusion` | 3.6 | residual fusion of the text and the distilled student |

The fusion is initialized with the text stage's classifier, so that it starts with its predictions.
"""

from __future__ import annotations

from functools import partial
from typing import Any, cast

import torch
from safetensors.torch import load_file

from erc_ros.training.engine.recipe import Recipe
from erc_ros.training.heads.base import VISUAL, FusionModel
from erc_ros.training.heads.ddvlm import Ddvlm, DdvlmConfig
from erc_ros.training.systems.descriptions import (
    DescriptionsStage,
    FeatureStudentStage,
    SentencesStage,
    describe,
    embed_sentences,
    learn_features,
)
from erc_ros.training.systems.encoders import HEAD, TextStage, VideoStage, learn_alone, learn_from
from erc_ros.training.systems.features import NAME, FeaturesStage, store_features
from erc_ros.training.systems.fusion import FusionStage, fuse
from erc_ros.training.systems.stages import Stage, Work, run_stages

USUAL = {
    "text": ("text", "text_plain", NAME),
    "audio": (NAME,),
    "visual": ("visual_kd", "camera", "visual", NAME),
}
SOURCES = ("sentences", NAME)


def begin_with_text(head: FusionModel, work: Work, reads: dict[str, str], seed: int) -> None:
    """Initialize the residual fusion with the classifiers of its encoders.

    The text's gives z_t; the visual student's gives s_conf if its input is the embedding.
    """
    if not isinstance(head, Ddvlm):
        return
    classifiers: dict[str, Any] = {"text": head.classifier[-1]}
    if cast(DdvlmConfig, head.config).own == "embedding":
        classifiers["visual"] = cast(Any, head.corrections[VISUAL - 1]).own
    for modality, classifier in classifiers.items():
        if modality in reads and reads[modality] != NAME:
            trained = load_file(work.read(reads[modality], seed) / HEAD)
            with torch.no_grad():
                classifier.weight.copy_(trained["weight"])
                classifier.bias.copy_(trained["bias"])


STAGES = (
    Stage(NAME, FeaturesStage, store_features, seeded=False),
    Stage("text", TextStage, learn_alone),
    Stage("text_plain", TextStage, learn_alone),
    Stage("descriptions", DescriptionsStage, describe, seeded=False),
    Stage("sentences", SentencesStage, embed_sentences, needs=("descriptions",), seeded=False),
    Stage("visual", FeatureStudentStage, partial(learn_features, sources=SOURCES), reads=SOURCES),
    Stage(
        "visual_kd",
        FeatureStudentStage,
        partial(learn_features, sources=SOURCES, teacher="text"),
        needs=("text",),
        reads=SOURCES,
    ),
    Stage(
        "visual_kd_plain",
        FeatureStudentStage,
        partial(learn_features, sources=SOURCES, teacher="text_plain"),
        needs=("text_plain",),
        reads=SOURCES,
    ),
    Stage("camera", VideoStage, partial(learn_from, "visual_kd"), needs=("visual_kd",)),
    Stage(
        "fusion",
        FusionStage,
        partial(fuse, usual=USUAL, begin=begin_with_text),
        needs_one=("text", NAME),
        reads=("text_plain", "visual", "visual_kd", "visual_kd_plain", "camera"),
    ),
)


def train(recipe: Recipe) -> None:
    """Run the stages of a recipe of kind ddvlm; see `stages.run_stages`."""
    run_stages(recipe, STAGES)
