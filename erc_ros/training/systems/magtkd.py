"""MAGTKD: Multi-modal Anchor Gated Transformer with Knowledge Distillation (arXiv 2506.18716).

`erc train config/systems/magtkd.yaml --data CORPORA` trains the complete system:

| stage | paper | |
|---|---|---|
| `text` | 3.2, eq. 1-5 | RoBERTa, prompt `Now <si> feels <mask>`, embedding at the mask |
| `audio`, `visual` | table 3, A and V | data2vec and TimeSformer on the labels only |
| `audio_kd`, `visual_kd` | 3.3, eq. 6-14 | the same, taught by the text's features and logits |
| `features` | - | instead of all of these: published features of a corpus |
| `fusion` | 3.4-3.6, eq. 15-25 | MAGT on the features of the earlier stages |
| `grid` | figure 5 | the same for several weights alpha and beta; `--until fusion` skips it |

The paper's best row is T + A_KD + V: the system needs `text`, `audio_kd`, `visual` and `fusion`;
the other two stages are for its table 3, with ablations of the first stage.
"""

from __future__ import annotations

from functools import partial

from erc_ros.training.engine.recipe import Recipe
from erc_ros.training.systems.encoders import (
    SpeechStage,
    TextStage,
    VideoStage,
    learn_alone,
    learn_from,
)
from erc_ros.training.systems.features import NAME, FeaturesStage, store_features
from erc_ros.training.systems.fusion import FusionStage, fuse
from erc_ros.training.systems.stages import Stage, run_stages

USUAL = {
    "text": ("text", NAME),
    "audio": ("audio_kd", "audio", NAME),
    "visual": ("visual", "visual_kd", NAME),
}
"""Default stages: T + A_KD + V, if available."""

GRID = "grid"
STAGES = (
    Stage(NAME, FeaturesStage, store_features, seeded=False),
    Stage("text", TextStage, learn_alone),
    Stage("audio", SpeechStage, learn_alone),
    Stage("audio_kd", SpeechStage, partial(learn_from, "text"), needs=("text",)),
    Stage("visual", VideoStage, learn_alone),
    Stage("visual_kd", VideoStage, partial(learn_from, "text"), needs=("text",)),
    Stage(
        "fusion",
        FusionStage,
        partial(fuse, usual=USUAL),
        needs_one=("text", NAME),
        reads=("audio", "visual", "audio_kd", "visual_kd"),
    ),
    Stage(
        GRID,
        FusionStage,
        partial(fuse, usual=USUAL),
        needs_one=("text", NAME),
        reads=("audio", "visual", "audio_kd", "visual_kd"),
    ),
)


def train(recipe: Recipe) -> None:
    """Run the stages of a recipe of kind magtkd; see `stages.run_stages`."""
    run_stages(recipe, STAGES)
