"""DDVLM: Dual-Distillation Vision-Language Model (Applied Sciences 2026, 16, 3103).

`erc train config/systems/ddvlm.yaml --data CORPORA`:

| stage | section | |
|---|---|---|
| `text` | 3.3, 3.4 | RoBERTa that also learns from its moving average |
| `text_plain` | table 4 | the same from the labels alone |
| `descriptions` | 3.3 | a vision-language model says what is seen in a clip; or a file of that |
| `sentences` | 3.3 | a sentence encoder embeds what was said |
| `published` | - | instead of both: the features that a corpus is published as |
| `visual` | table 4 | a student of those embeddings, from the labels alone |
| `visual_kd` | 3.5 | the same taught by the text stage: response, feature and JSD |
| `camera` | - | an encoder of clips taught by that student: what a robot can run |
| `fusion` | 3.6 | residual fusion of the text and the distilled student |

The fusion begins with the text stage's classifier, so that at first it answers as the text does.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from safetensors.torch import load_file

from erc_ros.training.engine.recipe import Recipe
from erc_ros.training.heads.base import FusionModel
from erc_ros.training.heads.ddvlm import Ddvlm
from erc_ros.training.systems.descriptions import (
    DescriptionsStage,
    FeatureStudentStage,
    PublishedStage,
    SentencesStage,
    describe,
    embed_sentences,
    learn_features,
    store_published,
)
from erc_ros.training.systems.encoders import HEAD, TextStage, VideoStage, learn_alone, learn_from
from erc_ros.training.systems.fusion import FusionStage, fuse
from erc_ros.training.systems.stages import Stage, Work, run_stages

USUAL = {"text": ("text", "text_plain"), "visual": ("visual_kd", "camera", "visual")}

SOURCES = ("sentences", "published")


def begin_with_text(head: FusionModel, work: Work, reads: dict[str, str], seed: int) -> None:
    """Give the residual fusion z_t: the classifier that the text encoder was trained with."""
    if isinstance(head, Ddvlm) and "text" in reads:
        trained = load_file(work.read(reads["text"], seed) / HEAD)
        classifier: Any = head.classifier[-1]
        with torch.no_grad():
            classifier.weight.copy_(trained["weight"])
            classifier.bias.copy_(trained["bias"])


STAGES = (
    Stage("text", TextStage, learn_alone),
    Stage("text_plain", TextStage, learn_alone),
    Stage("descriptions", DescriptionsStage, describe, seeded=False),
    Stage("sentences", SentencesStage, embed_sentences, needs=("descriptions",), seeded=False),
    Stage("published", PublishedStage, store_published, seeded=False),
    Stage("visual", FeatureStudentStage, partial(learn_features, sources=SOURCES), reads=SOURCES),
    Stage(
        "visual_kd",
        FeatureStudentStage,
        partial(learn_features, sources=SOURCES, teacher="text"),
        needs=("text",),
        reads=SOURCES,
    ),
    Stage("camera", VideoStage, partial(learn_from, "visual_kd"), needs=("visual_kd",)),
    Stage(
        "fusion",
        FusionStage,
        partial(fuse, usual=USUAL, begin=begin_with_text),
        needs=("text",),
        reads=("text_plain", "visual", "visual_kd", "camera"),
    ),
)


def train(recipe: Recipe) -> None:
    """Run the stages of a recipe of kind ddvlm; see `stages.run_stages`."""
    run_stages(recipe, STAGES)
