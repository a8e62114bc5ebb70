"""Read a row of a comparison on stored features (`kind: stored`) for `export_bundle`.

The fusion model is that of the row's best seed on dev; the encoders are those with which
`erc encode` made the features, which the feature stores name: parts of a bundle
(`bundle-text`) or published models (`text`, `speech`, `video`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfile
from typing import Any

import numpy as np

from erc_ros import plugins
from erc_ros.inference.bundle import Bundle, load_bundle
from erc_ros.inference.manifest import FORMAT, MANIFEST
from erc_ros.resources import model_folder
from erc_ros.training.comparison.stored import FeaturesConfig
from erc_ros.training.comparison.train import MODES, TableRow
from erc_ros.training.encoders.pretrained import Trainable
from erc_ros.training.engine.history import RunHistory
from erc_ros.training.engine.recipe import RecipeError, build, read_kept
from erc_ros.training.engine.runs import ANSWERS, METRICS, read_metrics, write_metrics
from erc_ros.training.engine.trainer import WEIGHTS, load_weights
from erc_ros.training.export.assembler import FILES
from erc_ros.training.export.card import CardPart
from erc_ros.training.export.system_bundle import Reading, TrainedSystem
from erc_ros.training.features.encode import ENCODERS
from erc_ros.training.features.store import FeatureStore
from erc_ros.training.heads.base import MODALITIES
from erc_ros.training.heads.registry import make_head
from erc_ros.training.onnx import export_fusion
from erc_ros.values.tables import read_table

PARTS = {"bundle-text": "text"}
"""Encoders of `erc encode` that are parts of a bundle -> the part."""


@dataclass(frozen=True, eq=False)
class StoredReading(Reading):
    """The encoder of a feature store. folder: the store, with `{split}` in its name."""

    made_by: Mapping[str, Any]

    @property
    def features(self) -> str:
        """The folder of its features, with `{split}`."""
        return str(self.folder)

    @property
    def source(self) -> Bundle | None:
        """The bundle from which the encoder is copied, if any."""
        if self.made_by["encoder"] not in PARTS:
            return None
        folder = model_folder(str(self.made_by["model"]))
        if not (folder / MANIFEST).is_file():
            raise RecipeError(
                f"the {self.modality} features were made with {folder}, not a bundle: "
                "assemble one first, and encode with it"
            )
        return load_bundle(folder)

    def load(self) -> Trainable:
        """Load the published encoder, as in `erc encode`."""
        made: Any = ENCODERS[self.made_by["encoder"]](
            str(self.made_by["model"]), dict(self.made_by["options"])
        )
        encoder: Trainable = made
        return encoder

    def write(self, staged: Path) -> tuple[dict[str, Any], float]:
        """Copy a bundle's part, or export a published encoder; see `Reading.write`."""
        source = self.source
        if source is None:
            return super().write(staged)
        manifest = read_table(source.folder / MANIFEST)
        if manifest.get("format") != FORMAT:
            raise RecipeError(
                f"{source.folder} has the format {manifest.get('format')}, not {FORMAT}: make it "
                "again with this version"
            )
        part = dict(manifest[self.modality])
        copyfile(source.folder / part["file"], staged / FILES[self.modality])
        if "tokenizer" in part:
            file = part["tokenizer"]["file"]
            copyfile(source.folder / file, staged / file)
        return {**part, "file": FILES[self.modality]}, 0.0

    def card(self, history: RunHistory) -> CardPart:
        """Return its part of the model card."""
        source, model = self.source, str(self.made_by["model"])
        network = (
            f"the {self.modality} encoder of the bundle {source.name} {source.version}"
            if source is not None
            else f"{Path(model).name}, as published"
        )
        return CardPart(history, {}, network)


def read_stored(run: Path, without: Sequence[str] = (), row: str = "") -> TrainedSystem:
    """Read a row of a comparison for export; writes the row's fusion.onnx.

    Args:
        without: modalities to omit.
        row: its name in the table; "": the only row that a robot can run.

    Raises:
        RecipeError: no such row, several and none named, or features that do not say how they
            were made.
        FileNotFoundError: a store or a file of the run is missing.
    """
    recipe = read_kept(run)
    config = recipe.section("features", FeaturesConfig)
    folder, chosen = _best(run, row)
    metrics = read_metrics(folder)
    labels = tuple(map(str, np.load(folder / ANSWERS)["names"]))
    readings, sizes = {}, []
    for modality, is_read in zip(MODALITIES, chosen.tested_on, strict=True):
        place = getattr(config, modality)
        sizes.append(1)
        if not place:
            continue
        store = FeatureStore(Path(place.format(split="train")))
        sizes[-1] = store.dimension
        if is_read and modality not in without:
            made_by = store.made_by
            if plugins.is_reference(str(made_by.get("encoder"))):
                raise RecipeError(
                    f"{store.folder} was made by {made_by['encoder']}, which a robot cannot run: "
                    f"give --without {modality}"
                )
            if made_by.get("encoder") not in ENCODERS:
                raise RecipeError(
                    f"{store.folder} does not say which encoder made it: encode it again with this "
                    f"version of erc encode, or give --without {modality}"
                )
            readings[modality] = StoredReading("erc encode", Path(place), modality, labels, made_by)
    if "text" not in readings:
        raise RecipeError(
            f"{chosen.title} in {run} reads no text: a bundle needs it, as its speakers are named "
            "there"
        )
    settings = metrics["settings"]
    values = {
        **settings["network"],
        "causal": True,
        "embeddings": sizes,
        "labels": len(labels),
        **chosen.options,
    }
    head = make_head(chosen.head, values, f"options of {chosen.title}")
    load_weights(head, folder / WEIGHTS)
    metrics["onnx_difference"] = export_fusion(head, folder / FILES["fusion"])
    write_metrics(metrics, folder)
    return TrainedSystem(recipe, folder, metrics, readings, chosen.title)


def _best(run: Path, name: str) -> tuple[Path, TableRow]:
    """Return the folder of the row's best seed on dev, and the row."""
    rows: dict[str, list[tuple[float, Path, TableRow]]] = {}
    for file in sorted(run.glob(f"*/seed-*/{METRICS}")):
        metrics = read_metrics(file.parent)
        settings = metrics.get("settings")
        if not isinstance(settings, Mapping) or settings.get("mode") not in MODES[:2]:
            continue  # offline: uses later utterances
        row = build(TableRow, settings["row"], f"{file}: row")
        rows.setdefault(row.title, []).append((float(metrics["dev"]), file.parent, row))
    if not rows:
        raise RecipeError(
            f"{run} has no row that a robot can run: finish it with erc train, with causal among "
            "the modes of `comparison`"
        )
    if name not in rows and (name or len(rows) > 1):
        raise RecipeError(
            f"{run} has no row {name!r} that a robot can run; give --row with one of: "
            f"{', '.join(rows)}"
        )
    _, folder, row = max(rows[name or next(iter(rows))], key=lambda each: each[0])
    return folder, row
