"""MELD's dialogues as the text encoder sees them, with simulated sound and faces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from erc_ros.training.engine.embeddings import FILE, Embedded, load_embeddings
from erc_ros.training.engine.runs import SPLITS
from erc_ros.training.fusion.dialogues import Dialogues
from erc_ros.training.fusion.pooling import fit_sense
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
    """MELD as the text encoder sees it, with simulated audio and visual; and how they were made.

    Raises:
        FileNotFoundError: an encoder is not trained yet; says which.
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


def read_rightly(
    embeddings: Mapping[str, NDArray[np.float32]], labels: Mapping[str, NDArray[np.int64]]
) -> dict[str, NDArray[np.bool_]]:
    """Where the text's own answer is right, (N,) per split: a linear one, fitted on train."""
    answer = fit_sense(embeddings["train"], labels["train"], embeddings["dev"], labels["dev"])
    return {s: answer(e).argmax(axis=1) == labels[s] for s, e in embeddings.items()}


def senses(folders: EncoderFolders) -> dict[str, Embedded]:
    """The clips of sound and faces that dev's utterances get, of people unseen in training."""
    return {name: clips(Path(getattr(folders, name)) / FILE)["dev"] for name in ("audio", "visual")}


def clips(file: Path) -> dict[str, Embedded]:
    """The clips of an encoder for MELD's splits: train, and unseen people for dev and test."""
    found = load_embeddings(file)
    dev = "valid" if "valid" in found else "dev"
    return {"train": found["train"], "dev": found[dev], "test": found["test"]}


def describe(simulated: Mapping[str, Matched]) -> None:
    """What the simulation came to, for the log."""
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
