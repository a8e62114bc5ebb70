"""K-fold cross-validation of fusion models on a small corpus.

Whole groups (dialogues, actors) are drawn into K folds. The model that is tested on fold k is
trained on the other folds, with its epoch selected on fold k + 1, so that every utterance is tested
once. All figures and their intervals are computed over the joined test folds, as are the gains from
a further modality, from earlier and from later utterances.

    OUT/fold-K/<row>-<mode>/seed-N/   as `comparison.train` leaves it
    OUT/answers.npz                   predictions of every row for every utterance
    OUT/table.md
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from erc_ros.metrics import classification as metrics
from erc_ros.metrics.significance import Difference, paired_bootstrap
from erc_ros.metrics.table import markdown, percent
from erc_ros.training.comparison.train import (
    MODES,
    ComparisonConfig,
    ComparisonData,
    TableRow,
    finished_run,
    rows,
    setup_of,
    variants,
)
from erc_ros.training.engine.recipe import Recipe, RecipeError
from erc_ros.training.fusion.dialogues import Dialogues
from erc_ros.training.heads.base import MODALITIES

LARGEST = 5.0
"""Features are clipped at this number of standard deviations of the training folds."""
Answers = dict[tuple[TableRow, str], NDArray[np.int64]]
"""(row, mode) -> predicted labels (S, N) of S seeds."""


@dataclass(frozen=True, eq=False)
class FoldedCorpus:
    """The corpus, N utterances. groups (N,): utterances of one group are in the same fold.

    unit: the kind of groups, for the table: dialogues, actors.
    """

    title: str
    note: str
    labels: tuple[str, ...]
    data: Dialogues
    groups: NDArray[np.int64]
    unit: str


def compare_folds(recipe: Recipe, corpus: FoldedCorpus, count: int) -> Answers:
    """Run a recipe (all seeds or one), seed after seed, and write the table.

    Args:
        count: number of folds K.

    Raises:
        RecipeError: the recipe cannot be used, or there are fewer groups than folds.
    """
    setup = setup_of(recipe)
    table_rows = list(variants(rows(recipe), setup.config.modes))
    said: dict[tuple[TableRow, str], list[NDArray[np.int64]]] = {key: [] for key in table_rows}
    for seed in recipe.seeds(setup.config.seeds):
        parts = {key: np.zeros(len(corpus.groups), np.int64) for key in table_rows}
        for number, (test, fold) in enumerate(folds(corpus, count)):
            for row, mode in table_rows:
                out = recipe.out / f"fold-{number}"
                result = finished_run(row, mode, seed, fold, setup, out)
                parts[row, mode][test] = result["predicted"]
                print(f"fold {number}, seed {seed}: {row.title}, {mode}", flush=True)
        for key, answers in parts.items():
            said[key].append(answers)
    predictions = {key: np.stack(answers) for key, answers in said.items()}
    text = table(predictions, corpus, setup.config, count)
    (recipe.out / "table.md").write_text(text, encoding="utf-8")
    arrays: dict[str, Any] = {
        f"{row.title}, {mode}": each for (row, mode), each in predictions.items()
    }
    arrays |= {"labels": corpus.data.labels, "groups": corpus.groups}
    np.savez(recipe.out / "answers.npz", **arrays)
    print(f"\n{text}")
    return predictions


def folds(corpus: FoldedCorpus, count: int) -> Iterator[tuple[NDArray[np.int64], ComparisonData]]:
    """Yield the rows of each of K test folds, and the fold with its train and dev parts.

    Features are standardized with the training folds.

    Raises:
        RecipeError: fewer groups than folds, or fewer than three folds.
    """
    names = np.unique(corpus.groups)
    if not 3 <= count <= len(names):
        raise RecipeError(f"{count} folds of {len(names)} {corpus.unit}: choose at least 3")
    drawn = np.array_split(np.random.default_rng(0).permutation(names), count)
    for number in range(count):
        tested, chosen_on = drawn[number], drawn[(number + 1) % count]
        test, dev = (np.flatnonzero(np.isin(corpus.groups, x)) for x in (tested, chosen_on))
        train = np.setdiff1d(np.arange(len(corpus.groups)), np.concatenate([test, dev]))
        data = _standardised(corpus.data, train)
        parts = {"train": train, "dev": dev, "test": test}
        splits = {name: part(data, chosen) for name, chosen in parts.items()}
        yield test, ComparisonData(corpus.title, corpus.note, corpus.labels, splits)


def part(data: Dialogues, chosen: NDArray[np.int64]) -> Dialogues:
    """Return the rows `chosen` (sorted; whole conversations only) as a separate data set."""
    kept = None if data.present is None else data.present[chosen]
    return Dialogues(
        data.text[chosen],
        data.audio[chosen],
        data.visual[chosen],
        data.labels[chosen],
        data.speakers[chosen],
        np.searchsorted(chosen, data.first[chosen]).astype(np.int64),
        kept,
    )


def _standardised(data: Dialogues, train: NDArray[np.int64]) -> Dialogues:
    scaled = {}
    for m, name in enumerate(MODALITIES):
        values = getattr(data, name)
        known = train if data.present is None else train[data.present[train, m]]
        if len(known):
            mean, deviation = values[known].mean(axis=0), values[known].std(axis=0)
            values = (values - mean) / np.maximum(deviation, 1e-6)
        scaled[name] = np.clip(values, -LARGEST, LARGEST).astype(np.float32)
    return replace(data, **scaled)


def table(predictions: Answers, corpus: FoldedCorpus, config: ComparisonConfig, count: int) -> str:
    """Return Markdown with the figures of every row, and the gains with intervals."""
    seeds = len(next(iter(predictions.values())))
    known = corpus.data.labels >= 0
    units = len(np.unique(corpus.groups))
    lines = [
        f"# {corpus.title}",
        "",
        f"{corpus.note} {known.sum()} utterances of {units} {corpus.unit}, {count} folds of whole"
        f" {corpus.unit}; every utterance is tested once, by a head that has not seen its fold and"
        f" whose epoch another fold chose. {seeds} {'seed' if seeds == 1 else 'seeds'}, percent,"
        f" with the 95 % interval of a bootstrap over {corpus.unit} ({config.resamples} draws; it"
        " knows the choice of them, not that of seeds or folds). Differences: of weighted F1, in"
        f" points, paired, not corrected for their number ({len(list(questions(predictions)))})."
        + metrics.too_few(corpus.groups[known], corpus.unit),
        "",
        *_figures(predictions, corpus, config.resamples),
    ]
    for title, pairs in _by_title(predictions).items():
        cells = [
            [
                _name(*a),
                f"against {_name(*b)}",
                difference(predictions, a, b, corpus, config).text(1),
            ]
            for a, b in pairs
        ]
        lines += ["", f"## {title}", "", *markdown(["", "", "difference"], cells)]
    return "\n".join(lines) + "\n"


Pair = tuple[tuple[TableRow, str], tuple[TableRow, str]]


def questions(predictions: Mapping[tuple[TableRow, str], Any]) -> Iterator[tuple[str, Pair]]:
    """Yield (question, (row with more input, row with less)) for all pairs to compare."""
    for (row, mode), (other, other_mode) in product(predictions, predictions):
        if row.head != other.head:
            continue
        if mode == other_mode and set(other.seen) < set(row.seen):
            yield "Does a further modality help?", ((row, mode), (other, other_mode))
        if row == other and (mode, other_mode) in ((MODES[1], MODES[0]), (MODES[2], MODES[1])):
            context = "earlier utterances" if mode == MODES[1] else "later utterances"
            yield f"Does {context} help?", ((row, mode), (other, other_mode))


def _by_title(predictions: Answers) -> dict[str, list[Pair]]:
    pairs_by_title: dict[str, list[Pair]] = {}
    for title, pair in questions(predictions):
        pairs_by_title.setdefault(title, []).append(pair)
    return pairs_by_title


def difference(
    predictions: Answers,
    a: tuple[TableRow, str],
    b: tuple[TableRow, str],
    corpus: FoldedCorpus,
    config: ComparisonConfig,
) -> Difference:
    """Return the weighted F1 of a minus that of b, with its interval over groups."""
    known = corpus.data.labels >= 0
    return paired_bootstrap(
        corpus.data.labels[known],
        predictions[a][:, known],
        predictions[b][:, known],
        corpus.groups[known],
        len(corpus.labels),
        config.resamples,
    )


def _figures(predictions: Answers, corpus: FoldedCorpus, resamples: int) -> list[str]:
    known = corpus.data.labels >= 0
    truth, groups = corpus.data.labels[known], corpus.groups[known]
    names = ("accuracy", "weighted_f1", "macro_f1")
    cells = []
    for (row, mode), answers in predictions.items():
        certain = np.eye(len(corpus.labels))[answers[:, known]]  # (S, N, C)
        scores = metrics.intervals(truth, certain, corpus.labels, groups, resamples)
        each = [metrics.weighted_f1(truth, a, len(corpus.labels)) for a in answers[:, known]]
        cells.append([_name(row, mode), *(_percent(scores[n]) for n in names), percent(each)])
    head = ["", *(name.replace("_", " ") for name in names), "weighted f1 over seeds"]
    return markdown(head, cells)


def _percent(figure: metrics.Interval) -> str:
    value, low, high = (f"{100 * x:.1f}" for x in (figure.value, figure.low, figure.high))
    return value if np.isnan(figure.low) else f"{value} ({low} to {high})"


def _name(row: TableRow, mode: str) -> str:
    return f"{row.title}, {mode}"
