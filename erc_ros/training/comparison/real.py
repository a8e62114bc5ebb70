"""Cross-validation of fusion models on corpora with real pairs of modalities.

- `erc train config/training/meld_dev_sound.yaml`: MELD's dev split with published features of the
  original audio, and its words by an encoder that was trained on the train split. Measures the gain
  from audio and from dialogue context.
- `erc train config/training/ravdess_faces.yaml`: RAVDESS clips, audio and face of the same actor
  at the same time. Measures voice alone, face alone, both, and the dependence of their errors
  (`joint_errors.md`), which a simulation of both should reproduce.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from erc_ros.encoders.text import Turn
from erc_ros.metrics.dependence import joint_error_intervals
from erc_ros.metrics.table import markdown
from erc_ros.resources import model_folder
from erc_ros.training.comparison.folds import Answers, FoldedCorpus, compare_folds
from erc_ros.training.comparison.train import SECTIONS
from erc_ros.training.datasets import corpora
from erc_ros.training.datasets.published import read_action_units, read_meld_dev_sound
from erc_ros.training.datasets.utterances import LABELS, Split
from erc_ros.training.encoders.audio.voice_features import voice_clips
from erc_ros.training.encoders.augmentation import ChannelAugmentation
from erc_ros.training.encoders.sample import Encoder, Sample
from erc_ros.training.engine.recipe import Recipe, RecipeError
from erc_ros.training.features.encode import BundleText
from erc_ros.training.fusion.dialogues import Dialogues

NO_TEXT = 64
"""Size of the zero text embedding: DDVLM projects the other modalities into this space."""
VOICE, JOINT = "voice.safetensors", "joint_errors.md"
NOTE_SOUND = (
    "Original audio: published features of a wav2vec 2.0 that others fine-tuned by an unspecified"
    " method. Text: `{text}`, single utterances; it was trained on MELD's train split, and its"
    " epoch was selected on this dev split, so that only differences between rows are valid."
    " Reference speaker labels."
)
NOTE_FACES = (
    "Acted sentences with neutral content, single clips. Voice: `{network}`, a speaker embedding"
    " without training on emotions. Face: the mean of OpenFace's action units over the video of the"
    " same clip, as published. MELD's labels; calm counts as neutral."
)


@dataclass(frozen=True, slots=True)
class SoundConfig:
    """The section `sound`."""

    text: str = "edge-small"
    """Bundle or training run with the robot's text encoder: a folder, or a name in models/."""
    folds: int = 5


@dataclass(frozen=True, slots=True)
class FacesConfig:
    """The section `faces`."""

    speaker_network: str = "speaker-campplus"
    """Speaker network for the voice features: a folder, or a name in models/."""
    folds: int = 6


def train_sound(recipe: Recipe) -> None:
    """Run a recipe (all seeds or one) on MELD's dev split, and write the table.

    Raises:
        RecipeError, FileNotFoundError: the recipe or the data are not usable.
    """
    recipe.refuse_other_sections(SECTIONS | {"sound"})
    config = recipe.section("sound", SoundConfig)
    try:
        split = corpora.read(corpora.DIALOGUES, recipe.data, "dev")
        data = meld_dialogues(split, BundleText(model_folder(config.text)), recipe.data)
    except ValueError as error:
        raise RecipeError(f"MELD's dev split in {recipe.data}: {error}") from error
    note = NOTE_SOUND.format(text=Path(config.text).name)
    title = "MELD's dev split: real words, real audio"
    corpus = FoldedCorpus(title, note, split.labels, data, data.first, "dialogues")
    compare_folds(recipe, corpus, config.folds)


def meld_dialogues(split: Split, encoder: Encoder, data: Path) -> Dialogues:
    """Return MELD's dev split with published audio features and text embeddings of `encoder`.

    Raises:
        FileNotFoundError, ValueError: the features are missing, or belong to another split.
    """
    sound = read_meld_dev_sound(data)
    utterances = [(c, u) for c in split.conversations for u in c.utterances]
    features = [sound.get((int(c.name.rpartition("/")[2]), u.index)) for c, u in utterances]
    there = np.array([x is not None for x in features])
    if not there.any():
        raise ValueError(f"the features of {data} match no utterance of its {len(utterances)}")
    nothing = np.zeros(next(len(x) for x in features if x is not None), np.float32)
    samples = [Sample(c.key(u), (Turn(u.speaker, u.text),)) for c, u in utterances]
    spoken = [not encoder.refuses(sample) for sample in samples]
    text = np.zeros((len(utterances), encoder.dimension), np.float32)
    text[spoken] = encoder.encode([s for s, known in zip(samples, spoken, strict=True) if known])
    lengths = [len(conversation.utterances) for conversation in split.conversations]
    return Dialogues(
        text,
        np.stack([nothing if x is None else x for x in features]),
        np.zeros((len(utterances), 1), np.float32),
        labels=np.array([-100 if u.label is None else u.label for _, u in utterances], np.int64),
        speakers=np.array([u.speaker for _, u in utterances], np.int64),
        first=np.repeat(np.cumsum([0, *lengths[:-1]]), lengths).astype(np.int64),
        present=np.stack([np.array(spoken), there, np.zeros(len(utterances), bool)], axis=1),
    )


def train_faces(recipe: Recipe) -> None:
    """Run a recipe (all seeds or one) on RAVDESS; write the table and the joint errors.

    Raises:
        RecipeError, FileNotFoundError: the recipe or the data are not usable.
    """
    recipe.refuse_other_sections(SECTIONS | {"faces"})
    config = recipe.section("faces", FacesConfig)
    try:
        data, actors = ravdess_clips(recipe.data, config.speaker_network, recipe.out / VOICE)
    except ValueError as error:
        raise RecipeError(f"RAVDESS in {recipe.data}: {error}") from error
    note = NOTE_FACES.format(network=Path(config.speaker_network).name)
    title = "RAVDESS: real voice and face of the same clip"
    corpus = FoldedCorpus(title, note, LABELS, data, actors, "actors")
    predictions = compare_folds(recipe, corpus, config.folds)
    if text := joint_errors(predictions, corpus):
        (recipe.out / JOINT).write_text(text, encoding="utf-8")
        print(f"\n{text}")


def ravdess_clips(
    data: Path, speaker_network: str, kept: Path
) -> tuple[Dialogues, NDArray[np.int64]]:
    """Return every clip with a face as a separate conversation, and its actor (N,).

    Args:
        kept: file that caches the voice features.

    Raises:
        FileNotFoundError, ValueError: clips or action units are missing, or do not belong together.
    """
    units = read_action_units(data)
    clips = corpora.clips(corpora.ACTED[:1], data).clips
    both = [clip for clip in clips if _fields(clip.name) in units]
    if not both:
        raise ValueError(f"the action units match no clip of the {len(clips)}")
    voices = voice_clips(both, ChannelAugmentation(versions=1), speaker_network, kept)
    count = len(both)
    voice = voices.features[:, 0]
    present = np.zeros((count, 3), bool)
    present[:, 1], present[:, 2] = voice.any(axis=1), True
    faces = np.stack([units[_fields(clip.name)] for clip in both])
    nothing = np.zeros((count, NO_TEXT), np.float32)
    rows = np.arange(count)
    ones = np.ones(count, np.int64)
    dialogues = Dialogues(nothing, voice, faces, voices.labels, ones, rows, present)
    return dialogues, np.unique(voices.speakers, return_inverse=True)[1].astype(np.int64)


def _fields(name: str) -> str:
    """Return the last six fields of a clip's name, which audio and video have in common."""
    return Path(name).stem.split("-", 1)[-1]


def joint_errors(predictions: Answers, corpus: FoldedCorpus) -> str:
    """Return Markdown: joint errors of voice and face, for each model with a row on either."""
    heads: dict[tuple[str, str], dict[str, NDArray[np.int64]]] = {}
    for (row, mode), labels in predictions.items():
        if row.seen in (("audio",), ("visual",)):
            heads.setdefault((row.head, mode), {})[row.seen[0]] = labels
    pairs = {key: both for key, both in heads.items() if len(both) == 2}
    truth, groups = corpus.data.labels, corpus.groups
    known = truth >= 0
    columns: dict[str, Any] = {
        f"{head}, {mode}": joint_error_intervals(
            truth[known],
            both["audio"][:, known],
            both["visual"][:, known],
            len(corpus.labels),
            groups[known],
        )
        for (head, mode), both in pairs.items()
    }
    if not columns:
        return ""
    names = list(next(iter(columns.values())))
    rows = [
        [
            name.replace("a right", "voice right").replace("b right", "face right"),
            *(
                f"{c[name].value:.3f} ({c[name].low:.3f} to {c[name].high:.3f})"
                for c in columns.values()
            ),
        ]
        for name in names
    ]
    lines = [
        "# Dependence of the errors of voice and face",
        "",
        "Each answers alone. Shares of all clips; phi: correlation of being right, over all clips"
        " and with each emotion's own share taken off; `if independent`: what voices and faces that"
        " were drawn for each other by the label alone would give. 95 % intervals of a bootstrap"
        " over actors.",
        "",
        *markdown(["", *columns], rows),
    ]
    return "\n".join(lines) + "\n"
