"""Assemble a model package (bundle) from exported networks.

Shared by the default bundle, the bundles of systems and comparisons, and text-only bundles:
calibrate the fusion on dev, evaluate it on dev and test, write manifest, model card and LICENSE,
check that the bundle loads, and publish it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from erc_ros.inference.bundle import Bundle, load_bundle
from erc_ros.inference.manifest import FORMAT, MODALITY_SETS
from erc_ros.metrics import classification as metrics
from erc_ros.metrics.calibration import fit_temperature
from erc_ros.networks.network import Network
from erc_ros.networks.session import signature
from erc_ros.training.datasets import licences
from erc_ros.training.datasets.corpora import find
from erc_ros.training.engine.runs import MEASURED, read_metrics
from erc_ros.training.export.card import CardPart, corpora, fusion_head, write_card
from erc_ros.training.fusion.bundle_trial import answers
from erc_ros.training.fusion.dialogues import Dialogues
from erc_ros.training.heads.base import MODALITIES
from erc_ros.training.heads.registry import reads_context
from erc_ros.training.manifest import write_manifest

ANCHORS = {
    "neutral": (0.0, 0.0),
    "surprise": (0.2, 0.8),
    "fear": (-0.6, 0.7),
    "sadness": (-0.7, -0.4),
    "joy": (0.8, 0.5),
    "disgust": (-0.7, 0.3),
    "anger": (-0.6, 0.8),
    "happy": (0.8, 0.5),
    "sad": (-0.7, -0.4),
    "angry": (-0.6, 0.8),
    "excited": (0.7, 0.8),
    "frustrated": (-0.6, 0.4),
    "positive": (0.7, 0.3),
    "negative": (-0.7, 0.3),
}
"""Valence and arousal of each label, set by hand after the circumplex of affect (Russell 1980)."""
FILES = {"text": "text.onnx", "audio": "audio.onnx", "visual": "face.onnx", "fusion": "fusion.onnx"}
CARD = "README.md"
MIN_TO_CALIBRATE = 50
"""Minimum number of dev utterances for a separate temperature of a set of modalities."""


@dataclass(frozen=True, eq=False)
class BundleSpec:
    """Content of a bundle whose networks and tokenizer are already in the folder.

    encoders: modality -> its entry in the manifest. context: number of utterances of the fusion's
    input, including the current one. splits: dev and test, embedded by the bundle's own encoders.
    parts: for the card, by modality and "fusion". scores: each encoder alone, modality -> metric,
    dev, test. anchors: label -> (valence, arousal), in addition to ANCHORS or replacing it.
    sources: bundles of copied encoders. training, metrics: further entries of these sections.
    weights: the license of published initial weights. card_sections: makes further sections of the
    card from the finished bundle.
    """

    name: str
    version: str
    labels: tuple[str, ...]
    encoders: Mapping[str, Mapping[str, Any]]
    context: int
    splits: Mapping[str, Dialogues]
    parts: Mapping[str, CardPart]
    scores: Mapping[str, Mapping[str, Any]]
    anchors: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    sources: Sequence[Bundle] = ()
    training: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    weights: str = licences.PUBLISHED
    note: str = ""
    card_sections: Callable[[Bundle], str] = lambda bundle: ""

    @property
    def corpora(self) -> list[str]:
        """Names of the training corpora of all networks."""
        return corpora(self.parts)

    @property
    def languages(self) -> list[str]:
        """Of the corpora of its text encoder, or of the bundle from which that was taken."""
        text = {name: part for name, part in self.parts.items() if name == "text"}
        tags = [tag for name in corpora(text) for tag in _languages_of(name)]
        tags += [tag for source in self.sources if source.text for tag in source.languages]
        return list(dict.fromkeys(tags))


def _languages_of(corpus: str) -> tuple[str, ...]:
    """Languages of a corpus; empty: it is not installed here."""
    try:
        return find(corpus).languages
    except ValueError:
        return ()


def assemble(staged: Path, spec: BundleSpec) -> Bundle:
    """Calibrate, measure and describe the networks in `staged`, and check that they load.

    Raises:
        ValueError: a label without valence and arousal; see `anchors_of`.
        BundleError: the result is not a bundle.
    """
    anchors = anchors_of(spec.labels, spec.anchors)
    summary = measure(staged / FILES["fusion"], spec.splits, spec.context, spec.labels)
    summary["parts"] = spec.scores
    manifest = {
        "format": FORMAT,
        "name": spec.name,
        "version": spec.version,
        "labels": list(spec.labels),
        "languages": spec.languages,
        "anchors": {label: list(pair) for label, pair in anchors.items()},
        **{name: dict(spec.encoders[name]) for name in MODALITIES if name in spec.encoders},
        "fusion": {
            "file": FILES["fusion"],
            "context": spec.context,
            "causal": True,
            "precision": "float32",
        },
        "calibration": {name: summary[name] for name in ("temperature", "temperatures")},
        "training": {
            **spec.training,
            "data": _titles(spec),
            "licence": _terms(spec),
            "card": CARD,
        },
        "metrics": {
            **spec.metrics,
            "dev_weighted_f1": summary["fusion"]["dev_subsets"],
            "test_weighted_f1": summary["fusion"]["test"],
            "calibration_error": summary["calibration_error"],
            "parts": {name: dict(scores) for name, scores in spec.scores.items()},
        },
    }
    (staged / CARD).touch()
    write_manifest(staged, manifest)
    bundle = load_bundle(staged)
    further = spec.card_sections(bundle)
    write_card(staged / CARD, manifest, spec.parts, summary, spec.note, further)
    _write_license(spec, staged)
    return bundle


def fused_utterances(run: Path, context: int) -> int:
    """Return `context`, or 1 if the fusion model of this run does not use context."""
    metrics = read_metrics(run)
    head = fusion_head(metrics)
    if not head:
        return context
    row = {} if "head" in metrics else metrics["settings"]["row"]
    return context if reads_context(head, row.get("options", {})) else 1


def anchors_of(
    labels: Sequence[str], given: Mapping[str, tuple[float, float]]
) -> dict[str, tuple[float, float]]:
    """Return valence and arousal of each label.

    Raises:
        ValueError: values of a label are missing or outside [-1, 1], or `given` has another label.
    """
    if foreign := set(given) - set(labels):
        raise ValueError(
            f"--anchor names {', '.join(sorted(foreign))}; the labels are {', '.join(labels)}"
        )
    if unknown := [label for label in labels if label not in {**ANCHORS, **given}]:
        raise ValueError(
            f"valence and arousal of {', '.join(unknown)} are not known: give for each"
            f" --anchor {unknown[0]}=VALENCE,AROUSAL, both from -1 to 1 (joy: 0.8,0.5)"
        )
    for label, pair in given.items():
        if not all(abs(value) <= 1 for value in pair):
            raise ValueError(f"--anchor {label} is {pair}; both numbers must be from -1 to 1")
    return {label: {**ANCHORS, **given}[label] for label in labels}


def measure(
    file: Path, splits: Mapping[str, Dialogues], context: int, labels: Sequence[str]
) -> dict[str, Any]:
    """Fit the temperatures on dev; compute weighted F1 of dev and test by set of modalities.

    Each set is measured on the labeled utterances that have all of its modalities. Returns
    `temperature`, `temperatures`, `calibration_error` (split -> set -> before, after) and `fusion`
    (`test`, `dev_subsets`: set -> weighted F1; `test_report`).
    """
    network, inputs = Network(file), set(signature(file).inputs)
    splits = {split: _of_size(data, file) for split, data in splits.items()}

    def fuse(feed: dict[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        return network({name: array for name, array in feed.items() if name in inputs})

    logits: dict[tuple[str, str], NDArray[np.float32]] = {}
    ground_truth: dict[tuple[str, str], NDArray[np.int64]] = {}
    f1: dict[str, dict[str, float]] = {split: {} for split in MEASURED}
    for split, data in splits.items():
        present = np.ones((len(data.labels), 3), bool) if data.present is None else data.present
        for name in MODALITY_SETS:
            seen = tuple(modality in name.split("+") for modality in MODALITIES)
            rows = present[:, np.array(seen)].all(axis=1) & (data.labels >= 0)
            if not rows.any():
                continue
            logits[split, name] = answers(fuse, data, context, seen)[rows]
            ground_truth[split, name] = data.labels[rows]
            predicted = logits[split, name].argmax(axis=1)
            score = metrics.weighted_f1(ground_truth[split, name], predicted, len(labels))
            f1[split][name] = round(score, 4)
    every = {split: next(name for name in MODALITY_SETS if name in f1[split]) for split in MEASURED}
    temperature = fit_temperature(logits["dev", every["dev"]], ground_truth["dev", every["dev"]])
    temperatures = {
        name: round(fit_temperature(logits["dev", name], ground_truth["dev", name]), 4)
        if len(ground_truth["dev", name]) >= MIN_TO_CALIBRATE
        else round(temperature, 4)
        for name in f1["dev"]
        if name in f1["test"]
    }
    errors: dict[str, dict[str, dict[str, float]]] = {split: {} for split in MEASURED}
    for split, name in product(MEASURED, temperatures):
        errors[split][name] = {
            when: round(
                metrics.calibration_error(
                    ground_truth[split, name], metrics.softmax(logits[split, name] / divisor)
                ),
                4,
            )
            for when, divisor in (("before", 1.0), ("after", temperatures[name]))
        }
    whole = every["test"]
    report = metrics.report(
        ground_truth["test", whole], metrics.softmax(logits["test", whole]), labels
    )
    return {
        "temperature": round(temperature, 4),
        "temperatures": temperatures,
        "calibration_error": errors,
        "fusion": {"test": f1["test"], "dev_subsets": f1["dev"], "test_report": report},
    }


def _of_size(data: Dialogues, file: Path) -> Dialogues:
    """Return the data with zeros of the fusion's input size for missing modalities."""
    missing: dict[str, Any] = {}
    inputs = signature(file).inputs
    for modality in MODALITIES:
        if modality not in inputs:
            continue
        wanted = inputs[modality][1][-1] or getattr(data, modality).shape[1]
        features = getattr(data, modality)
        if features.shape[1] != wanted:
            if np.any(features):
                raise ValueError(
                    f"{file.name} takes {wanted} numbers of {modality}, the stage has "
                    f"{features.shape[1]}: train the fusion again"
                )
            missing[modality] = np.zeros((len(features), wanted), np.float32)
    return replace(data, **missing)


def _titles(spec: BundleSpec) -> list[str]:
    titles = [licences.terms(name).title for name in spec.corpora]
    for source in spec.sources:
        titles += map(str, source.training.get("data", []))
    return list(dict.fromkeys(titles))


def _terms(spec: BundleSpec) -> str:
    terms = [licences.together(spec.corpora)]
    terms += [
        f"encoders of {source.name}: {source.training.get('licence', 'license not known')}"
        for source in spec.sources
    ]
    return "; ".join(terms)


def _write_license(spec: BundleSpec, staged: Path) -> None:
    licences.write_license(staged, spec.name, spec.corpora, spec.weights)
    for source in spec.sources:
        file, own = source.folder / licences.FILE, staged / licences.FILE
        terms = file.read_text("utf-8") if file.is_file() else "No license is stored with it."
        whole = f"{own.read_text('utf-8')}\nEncoders of the bundle {source.name}:\n\n{terms}"
        own.write_text(whole, encoding="utf-8")


def megabytes(bundle: Bundle) -> float:
    """Return the size of all files in the bundle's folder, MB."""
    return sum(file.stat().st_size for file in bundle.folder.iterdir() if file.is_file()) / 1e6
