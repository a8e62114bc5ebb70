"""`erc figure RECIPE NUMBER`: reproduce a figure of a recipe's paper from runs on this machine.

config/systems/figures/commands.yaml lists all tables and figures of the papers with results, and
their commands. A function of this module draws each figure from the folder of a run.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from erc_ros.training.engine.recipe import Recipe, RecipeError, read_recipe
from erc_ros.training.engine.runs import METRICS, read_metrics
from erc_ros.training.features.store import FeatureStore
from erc_ros.training.systems.material import read_material
from erc_ros.training.systems.stages import SystemConfig

POINTS = 1500
"""Maximum number of utterances in a t-SNE, the first ones of test."""

Draw = Callable[[Recipe, Any], None]
"""(recipe, matplotlib figure); raises FileNotFoundError if runs are missing."""


def features(recipe: Recipe, figure: Any) -> None:
    """Draw a t-SNE of each encoder's test features, colored by label (MAGTKD, figure 4)."""
    names = [name for name in recipe.sections["stages"] if _store(recipe, name) is not None]
    _embeddings(recipe, figure, {name: _store(recipe, name) for name in names})


def fused(recipe: Recipe, figure: Any) -> None:
    """Draw a t-SNE of the outputs of teacher and student before the softmax (SUMMER, figure 4)."""
    runs = {"teacher": "teacher/text-teacher-offline", "student": "fusion/summer-offline"}
    outputs = {}
    for name, place in runs.items():
        files = sorted((recipe.out / "stages" / place).glob("seed-*/logits.npz"))
        if not files:
            raise FileNotFoundError(f"{recipe.out}/stages/{place} has no finished seed")
        with np.load(files[0], allow_pickle=False) as content:
            outputs[name] = (content["test"][:POINTS], content["test_labels"][:POINTS])
    _scatter(figure, outputs, list(read_metrics(files[0].parent)["test_report"]["f1"]))


def grid(recipe: Recipe, figure: Any) -> None:
    """Draw weighted F1 by alpha and beta, offline, mean over the seeds (MAGTKD, figure 5)."""
    scores: dict[tuple[float, float], list[float]] = {}
    for file in sorted((recipe.out / "stages" / "grid").glob(f"*offline/seed-*/{METRICS}")):
        metrics = read_metrics(file.parent)
        weights = metrics["settings"]["row"]["weights"]
        place = (float(weights["alpha"]), float(weights["beta"]))
        scores.setdefault(place, []).append(100 * metrics["test_report"]["weighted_f1"])
    if not scores:
        raise FileNotFoundError(f"{recipe.out}/stages/grid has no finished row")
    alphas, betas = (sorted({place[n] for place in scores}) for n in (0, 1))
    values = np.full((len(betas), len(alphas)), np.nan)
    for (alpha, beta), each in scores.items():
        values[betas.index(beta), alphas.index(alpha)] = np.mean(each)
    axes = figure.subplots()
    figure.colorbar(axes.imshow(values, origin="lower"), label="weighted F1 (%)")
    axes.set(xlabel="alpha", ylabel="beta", xticks=range(len(alphas)), yticks=range(len(betas)))
    axes.set_xticklabels(alphas)
    axes.set_yticklabels(betas)


def losses(recipe: Recipe, figure: Any) -> None:
    """Draw train loss and dev F1 by epoch of the distilled stages (MAGTKD, part of figure 6)."""
    axes = figure.subplots(1, 2)
    drawn = False
    for name in ("audio_kd", "visual_kd"):
        for file in sorted((recipe.out / "stages" / name).glob("seed-*/training.json"))[:1]:
            history = json.loads(file.read_text(encoding="utf-8"))["history"]
            epochs = range(1, len(history) + 1)
            for place, key in enumerate(("loss", "weighted_f1")):
                axes[place].plot(epochs, [epoch[key] for epoch in history], label=name)
                axes[place].set(xlabel="epoch", ylabel=("loss, train", "weighted F1, dev")[place])
            drawn = True
    if not drawn:
        raise FileNotFoundError(f"{recipe.out} has no finished stage audio_kd or visual_kd")
    axes[0].legend()


def single(recipe: Recipe, figure: Any) -> None:
    """Draw the weighted F1 of text and visual alone (DDVLM, part of figure 1)."""
    bars = {}
    for name in ("text", "visual"):
        for file in sorted((recipe.out / "stages" / name).glob(f"seed-*/{METRICS}"))[:1]:
            bars[name] = 100 * read_metrics(file.parent)["test_report"]["weighted_f1"]
    if not bars:
        raise FileNotFoundError(f"{recipe.out} has no finished stage text or visual")
    axes = figure.subplots()
    axes.bar(list(bars), list(bars.values()))
    axes.set(ylabel="weighted F1 (%)")


def distribution(recipe: Recipe, figure: Any) -> None:
    """Draw the number of utterances by label and split (DDVLM, figure 6)."""
    material = read_material(recipe.section("system", SystemConfig).corpus, recipe.data)
    axes = figure.subplots()
    places = np.arange(len(material.labels))
    for number, (name, split) in enumerate(material.splits.items()):
        counts = [int((split.labels == label).sum()) for label in places]
        axes.bar(places + 0.25 * (number - 1), counts, 0.25, label=name)
    axes.set(ylabel="utterances", xticks=places)
    axes.set_xticklabels(material.labels, rotation=30)
    axes.legend()


def confusion(recipe: Recipe, figure: Any) -> None:
    """Draw the confusion matrix of the first seed of the system (DDVLM, figure 8)."""
    files = sorted((recipe.out / "stages" / "fusion").glob(f"{recipe.kind}-*/seed-*/{METRICS}"))
    if not files:
        raise FileNotFoundError(f"{recipe.out}/stages/fusion has no finished row {recipe.kind}")
    metrics = read_metrics(files[0].parent)
    counts = np.array(metrics["test_report"]["confusion"])
    labels = list(metrics["test_report"]["f1"])
    axes = figure.subplots()
    shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure.colorbar(axes.imshow(shares, vmin=0, vmax=100), label="% of the label")
    places = range(len(labels))
    axes.set(xlabel="predicted", ylabel="label", xticks=places, yticks=places)
    axes.set_xticklabels(labels, rotation=30)
    axes.set_yticklabels(labels)


FIGURES: Mapping[str, Mapping[str, Draw]] = {
    "magtkd": {"4": features, "5": grid, "6": losses},
    "summer": {"4": fused},
    "lpgnet": {},
    "ddvlm": {"1": single, "6": distribution, "8": confusion},
}
"""Kind of recipe -> number of the figure in its paper -> drawing function."""


def _store(recipe: Recipe, stage: str) -> Path | None:
    folders = sorted((recipe.out / "stages" / stage).glob("**/features/test"))
    return folders[0] if folders else None


def _embeddings(recipe: Recipe, figure: Any, stores: Mapping[str, Path | None]) -> None:
    if not stores:
        raise FileNotFoundError(f"{recipe.out} has no finished stage with features")
    material = read_material(recipe.section("system", SystemConfig).corpus, recipe.data)
    test = material.splits["test"]
    embeddings = {}
    for name, folder in stores.items():
        assert folder is not None
        rows, there = FeatureStore(folder).take(test.keys[:POINTS])
        known = there & (test.labels[:POINTS] >= 0)
        embeddings[name] = (rows[known], test.labels[:POINTS][known])
    _scatter(figure, embeddings, material.labels)


def _scatter(
    figure: Any,
    embeddings: Mapping[str, tuple[NDArray[np.float32], NDArray[np.int64]]],
    labels: Sequence[str],
) -> None:
    from sklearn.manifold import TSNE

    axes = figure.subplots(1, len(embeddings), squeeze=False)[0]
    for (name, (rows, truth)), each in zip(embeddings.items(), axes, strict=True):
        places = TSNE(perplexity=min(30.0, (len(rows) - 1) / 3), random_state=0).fit_transform(rows)
        for number, label in enumerate(labels):
            each.scatter(*places[truth == number].T, s=4, label=label)
        each.set(title=name, xticks=[], yticks=[])
    axes[-1].legend(fontsize="small")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return 0, or 1 if the recipe, its runs or the figure are missing."""
    parser = argparse.ArgumentParser(prog="erc figure", description="A figure of a recipe's paper.")
    parser.add_argument("recipe", type=Path)
    parser.add_argument("number", help="as in the paper")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the runs")
    parser.add_argument("--data", type=Path, help="folder of the data sets; default $ERC_DATA")
    parser.add_argument("--out", type=Path, help="default RECIPE-figure-NUMBER.png")
    options = parser.parse_args(argv)
    try:
        recipe = read_recipe(options.recipe, options.runs / options.recipe.stem, options.data)
        draw = FIGURES.get(recipe.kind, {}).get(options.number)
        if draw is None:
            known = ", ".join(FIGURES.get(recipe.kind, {})) or "none"
            raise RecipeError(
                f"figure {options.number} of {recipe.kind} is not available; known are {known}"
            )
        import matplotlib.figure

        figure = matplotlib.figure.Figure(figsize=(10, 4), layout="constrained")
        draw(recipe, figure)
    except (ValueError, FileNotFoundError) as error:
        print(f"erc figure: {error}", file=sys.stderr)
        return 1
    out = options.out or Path(f"{options.recipe.stem}-figure-{options.number}.png")
    figure.savefig(out, dpi=150)
    print(out)
    return 0
