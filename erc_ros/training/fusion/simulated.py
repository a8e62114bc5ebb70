"""MELD's dialogues as the text encoder sees them, with simulated sound and faces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from erc_ros.training.engine.embeddings import FILE, Embedded, load_embeddings
from erc_ros.training.engine.runs import SPLITS
from erc_ros.training.fusion.dialogues import Dialogues
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
    simulated = {
        "audio": match(labels, clips(audio), weakness.audio, weakness.draws),
        "visual": match(labels, clips(visual), weakness.visual, weakness.draws + 1),
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
