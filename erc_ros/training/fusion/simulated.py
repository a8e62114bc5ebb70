"""MELD's dialogues as text embeddings, with simulated audio and faces."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from erc_ros.training.datasets.utterances import Conversation
from erc_ros.training.encoders.text.evaluation import predict
from erc_ros.training.encoders.text.examples import TextConfig
from erc_ros.training.encoders.text.mixture import portion, read_corpus, repeated
from erc_ros.training.encoders.text.model import load_tokenizer, make_model
from erc_ros.training.engine.embeddings import FILE, NEGATIVE_SPLIT, Embedded, load_embeddings
from erc_ros.training.engine.history import folder_of
from erc_ros.training.engine.recipe import KEPT, read_recipe
from erc_ros.training.engine.runs import SPLITS
from erc_ros.training.engine.trainer import load_weights
from erc_ros.training.fusion.dialogues import Dialogues
from erc_ros.training.fusion.late_fusion import ModalityClips, fit_classifier
from erc_ros.training.fusion.simulation import Matched, Weakness, match


@dataclass(frozen=True, slots=True)
class EncoderFolders:
    """Folders of the trained encoders, relative to where `erc` runs."""

    text: str = "runs/text/best"
    audio: str = "runs/audio/best"
    visual: str = "runs/face/best"


def read_dialogues(
    folders: EncoderFolders, weakness: Weakness
) -> tuple[dict[str, Dialogues], dict[str, Matched]]:
    """Return MELD with text embeddings and simulated audio and visual, and their simulation.

    Raises:
        FileNotFoundError: an encoder is not trained yet; names it.
    """
    text = load_file(_trained(Path(folders.text), "text"))
    audio = _trained(Path(folders.audio), "audio")
    visual = _trained(Path(folders.visual), "face")
    labels = {split: text[f"{split}.label"] for split in SPLITS}
    is_right = read_rightly({split: text[f"{split}.embedding"] for split in SPLITS}, labels)
    simulated = {
        name: match(labels, clips(file), target, seed, is_right, weakness.coupling)
        for name, file, target, seed in (
            ("audio", audio, weakness.audio, weakness.draws),
            ("visual", visual, weakness.visual, weakness.draws + 1),
        )
    }
    splits = {
        split: Dialogues(
            text=text[f"{split}.embedding"],
            audio=simulated["audio"].embeddings[split],
            visual=simulated["visual"].embeddings[split],
            labels=labels[split],
            speakers=text[f"{split}.speaker"],
            first=np.arange(len(labels[split])) - text[f"{split}.index"],
        )
        for split in SPLITS
    }
    return splits, simulated


def more_text(
    folder: Path, shares: Mapping[str, float], data: Path
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return text embeddings (N, E) and labels (N,) of other corpora.

    Single sentences are all used, and a second time repeated two to six times, as repetition does
    not change the label of a plain sentence.

    Args:
        shares: corpus -> share of the conversations of its train split.

    Raises:
        FileNotFoundError: the encoder is not trained yet, or a corpus is missing.
    """
    weights = _trained(folder, "text").with_name("best.safetensors")
    recipe = read_recipe(folder_of(folder) / KEPT, folder)
    config = recipe.section("text", TextConfig)
    model = make_model(0.0, config.reading, config.corpora_of_classifier)
    load_weights(model, weights)
    rng = random.Random(0)
    chosen: list[Conversation] = []
    for name, share in shares.items():
        conversations = read_corpus(name, data, "train").conversations
        single = [c for c in conversations if len(c.utterances) == 1]
        several = [c for c in conversations if len(c.utterances) > 1]
        chosen += [*single, *(repeated(c, rng) for c in single), *portion(several, share, 0, 0)]
    prompt = config.prompt(load_tokenizer())
    embeddings, labels = predict(model, chosen, prompt, config, ask=model.embed)
    is_known = labels >= 0
    return embeddings[is_known], labels[is_known]


def read_rightly(
    embeddings: Mapping[str, NDArray[np.float32]], labels: Mapping[str, NDArray[np.int64]]
) -> dict[str, NDArray[np.bool_]]:
    """Return (N,) per split: where a linear classifier on text, fitted on train, is correct."""
    answer = fit_classifier(embeddings["train"], labels["train"], embeddings["dev"], labels["dev"])
    return {s: answer(e).argmax(axis=1) == labels[s] for s, e in embeddings.items()}


def modality_clips(
    folders: EncoderFolders, simulated: Mapping[str, Matched]
) -> dict[str, ModalityClips]:
    """Return the clips of audio and faces."""
    result = {}
    for name, matched in simulated.items():
        file = Path(getattr(folders, name)) / FILE
        of, negatives = clips(file), load_embeddings(file).get(NEGATIVE_SPLIT)
        between = of["dev"].embeddings[matched.dev_between.ravel()]
        nothing = None if negatives is None else negatives.embeddings
        result[name] = ModalityClips(of["train"], of["dev"], between, nothing)
    return result


def clips(file: Path) -> dict[str, Embedded]:
    """Return an encoder's clips for MELD's splits: train, and held-out people for dev and test."""
    splits = load_embeddings(file)
    dev = "valid" if "valid" in splits else "dev"
    return {"train": splits["train"], "dev": splits[dev], "test": splits["test"]}


def describe(simulated: Mapping[str, Matched]) -> None:
    """Log the result of the simulation."""
    for name, matched in simulated.items():
        print(
            f"simulated {name}: {matched.mismatch:.1%} of the clips mismatched,"
            f" alone weighted F1 {matched.dev_f1:.4f} on dev (linear probe)"
        )


def _trained(folder: Path, recipe: str) -> Path:
    file = folder / FILE
    if not file.is_file():
        raise FileNotFoundError(
            f"{file} is missing: train that encoder first (erc train config/training/{recipe}.yaml)"
        )
    return file
