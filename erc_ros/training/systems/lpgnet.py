"""LPGNet: lightweight parallel interaction attention and gated fusion of text and audio.

`erc train config/systems/lpgnet.yaml --data CORPORA`:

| stage | paper | |
|---|---|---|
| `text` | 4.2 | BERT on single utterances, first token, fine-tuned |
| `audio` | 4.2 | emotion2vec as published: the mean of its frames |
| `audio_tuned` | - | instead of it: a fine-tuned waveform encoder, or the robot's own |
| `features` | - | instead of all of these: published features of a corpus |
| `fusion` | 3.3-3.6 | LPIA, dual gates, self-distillation: two modalities, four attentions |
| `frames` | 4.4 | LPGNet (Frame): the same over tokens and frames, both encoders frozen |

The paper's text calls its figures one-vs-all; its numbers are multi-class. `erc table` has both.
"""

from __future__ import annotations

from functools import partial

from erc_ros.training.engine.recipe import Recipe
from erc_ros.training.systems.encoders import (
    FrozenSpeechStage,
    SpeechStage,
    TextStage,
    embed_only,
    learn_alone,
)
from erc_ros.training.systems.features import NAME, FeaturesStage, store_features
from erc_ros.training.systems.frames import SOUND, TEXT, FrameStage, learn_from_frames
from erc_ros.training.systems.fusion import FusionStage, fuse
from erc_ros.training.systems.stages import Stage, run_stages

USUAL = {"text": (TEXT, NAME), "audio": (*SOUND, NAME), "visual": (NAME,)}

STAGES = (
    Stage(NAME, FeaturesStage, store_features, seeded=False),
    Stage(TEXT, TextStage, learn_alone),
    Stage("audio", FrozenSpeechStage, embed_only, seeded=False),
    Stage("audio_tuned", SpeechStage, learn_alone),
    Stage(
        "fusion",
        FusionStage,
        partial(fuse, usual=USUAL),
        needs_one=(TEXT, NAME),
        reads=SOUND,
    ),
    Stage("frames", FrameStage, learn_from_frames, needs=(TEXT,), reads=SOUND),
)


def train(recipe: Recipe) -> None:
    """Run the stages of a recipe of kind lpgnet; see `stages.run_stages`."""
    run_stages(recipe, STAGES)
