"""The last stage of a system: train a fusion model on the features of the encoders' stages.

Every row of the stage is a separate training (`comparison.train`): a model, its objective, its
removed parts, and the stages of its modalities. The first row is the system as published, the
others are its ablations.

    <row>-<mode>/seed-N/   best.safetensors, result.json, metrics.json, logits.npz
                           and, if causal, fusion.onnx
    best/                  best seed on dev of the first row, causal
    table.md               comparison of the rows
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Protocol

from erc_ros.training.comparison.stored import FeaturesConfig, dialogues
from erc_ros.training.comparison.train import (
    MODES,
    RIDGE,
    ComparisonConfig,
    ComparisonData,
    Results,
    Setup,
    TableRow,
    check_models,
    check_rows,
    finished_run,
    new_head,
    run_folder,
    spread_out,
    table,
    variants,
)
from erc_ros.training.engine.recipe import build
from erc_ros.training.engine.runs import choose_best, copy_files, read_metrics, write_metrics
from erc_ros.training.engine.trainer import WEIGHTS, TrainerConfig, load_weights
from erc_ros.training.fusion.simulation import ModalityDropout
from erc_ros.training.fusion.train import HeadSizes
from erc_ros.training.heads.base import MODALITIES, FusionModel
from erc_ros.training.onnx import export_fusion
from erc_ros.training.systems.stages import Work

NETWORK = "fusion.onnx"
NONE_MISSING = ModalityDropout((0.0, 0.0, 0.0), (0.0, 0.0, 0.0))


@dataclass(frozen=True, slots=True)
class FusionStage:
    """The section of the stage `fusion`: fusion models on stored features.

    Raises:
        ValueError: a row is invalid.
    """

    rows: tuple[Mapping[str, Any], ...]
    """Each as in a comparison (`comparison.train.TableRow`), and `reads`: modality -> stage, if
    it is not the default one; "" omits the modality."""
    trainer: TrainerConfig
    modes: tuple[str, ...] = ("causal",)
    """causal, offline or both; the papers' models are offline, those of a robot causal."""
    network: HeadSizes = field(default_factory=HeadSizes)
    dropout: ModalityDropout = NONE_MISSING
    """Rates of missing modalities in training, as on a robot; the papers have no such dropout."""
    epoch: str = "dev"
    resamples: int = 2000

    def __post_init__(self) -> None:
        if not self.rows:
            raise ValueError("rows is empty; the first one is the system, such as {head: magtkd}")
        if MODES[0] in self.modes:
            raise ValueError(f"modes is {self.modes}; a system has {' and '.join(MODES[1:])}")
        check_rows(self.table_rows, self.trainer)
        check_models(self.table_rows, self.network)
        self.comparison((0,))

    @property
    def all_rows(self) -> list[Mapping[str, Any]]:
        """The rows, with one for each combination of a grid."""
        return spread_out(self.rows)

    @property
    def table_rows(self) -> list[TableRow]:
        """The rows without `reads`."""
        plain = [{k: v for k, v in row.items() if k != "reads"} for row in self.all_rows]
        return [build(TableRow, row, f"rows[{number}]") for number, row in enumerate(plain)]

    def comparison(self, seeds: tuple[int, ...]) -> ComparisonConfig:
        """Return the settings for `comparison.train`."""
        return ComparisonConfig(seeds, self.modes, self.epoch, self.resamples)


class Begin(Protocol):
    """Initializes a new model before training, such as with weights of a stage."""

    def __call__(
        self, head: FusionModel, work: Work, reads: dict[str, str], seed: int, /
    ) -> None: ...


def fuse(
    stage: FusionStage,
    work: Work,
    usual: Mapping[str, tuple[str, ...]],
    teacher: str = "",
    begin: Begin | None = None,
) -> None:
    """Train every row for every seed and select the best seed of the first one.

    Args:
        usual: modality -> its default stages, of which the first one in the recipe is used.
        teacher: the stage with the frozen teacher of objectives that need one.
        begin: see `Begin`.

    Raises:
        ValueError: a row uses a stage that is not in the recipe.
    """
    setup = Setup(stage.comparison(work.seeds), stage.network, stage.dropout, stage.trainer)
    rows = stage.table_rows
    given = zip(rows, stage.all_rows, strict=True)
    reads = {row: _reads(values, work, usual) for row, values in given}

    @lru_cache(maxsize=2)
    def data_of(read: tuple[tuple[str, str], ...], seed: int) -> ComparisonData:
        return fusion_data(work, dict(read), seed)

    results: Results = {}
    for seed in work.seeds:
        for row, mode in variants(rows, stage.modes):
            corpus = data_of(tuple(reads[row].items()), seed)
            frozen = None
            fits = dict(row.options) == dict(
                rows[0].options
            )  # else the row trains a teacher of its own size
            if teacher and fits and row.head != RIDGE and row.objective_config.TEACHER:
                frozen = read_teacher(work.inputs[teacher], row, mode, seed, corpus, setup)
            of_row = setup
            if begin is not None:
                of_row = replace(setup, begin=partial(_begin, begin, work, reads[row], seed))
            result = finished_run(row, mode, seed, corpus, of_row, work.folder, frozen)
            results.setdefault((row, mode), []).append(result)
            if row.head != RIDGE:
                _finish(row, mode, seed, corpus, setup, work.folder, reads[row])
    (work.folder / "table.md").write_text(table(results, corpus, setup.config), encoding="utf-8")
    _choose(rows[0], stage, work.folder)


def _begin(begin: Begin, work: Work, reads: dict[str, str], seed: int, head: FusionModel) -> None:
    begin(head, work, reads, seed)


def fusion_data(work: Work, reads: Mapping[str, str], seed: int) -> ComparisonData:
    """Read the features of these stages, modality -> stage, for a seed."""
    material = work.material
    folders = {
        modality: f"{work.features(name, modality, seed)}/{{split}}"
        for modality, name in reads.items()
    }
    config = FeaturesConfig(material.corpus, **folders)
    splits = {name: dialogues(split.split, config) for name, split in material.splits.items()}
    note = "Reference speakers and text; features of the earlier stages."
    return ComparisonData(material.corpus, note, material.labels, splits)


def read_teacher(
    stage: Path, row: TableRow, mode: str, seed: int, corpus: ComparisonData, setup: Setup
) -> FusionModel:
    """Load the model of the teacher's stage for this mode and seed.

    Raises:
        ValueError: there is no such model, or its size differs from the row's.
    """
    files = sorted(stage.glob(f"*{mode.replace(' ', '-')}/seed-{seed}/{WEIGHTS}"))
    if not files:
        raise ValueError(
            f"{stage} has no teacher for {mode} and seed {seed}: give it the same modes"
        )
    teacher = new_head(row, mode, corpus, setup.network)
    try:
        load_weights(teacher, files[0])
    except RuntimeError as error:
        raise ValueError(
            f"{files[0]} is of another size than {row.title}: give both the same network and"
            f" options ({str(error).splitlines()[-1].strip()})"
        ) from error
    return teacher


def _reads(
    values: Mapping[str, Any], work: Work, usual: Mapping[str, tuple[str, ...]]
) -> dict[str, str]:
    chosen = values.get("reads", {})
    if not isinstance(chosen, Mapping) or set(chosen) - set(MODALITIES):
        raise ValueError(f"reads must be a table of {', '.join(MODALITIES)}, not {chosen!r}")
    stages = {}
    for modality in MODALITIES:
        options = (chosen[modality],) if modality in chosen else usual.get(modality, ())
        there = [n for n in options if work.features(n, modality, work.seeds[0]) is not None]
        if there:
            stages[modality] = there[0]
        elif chosen.get(modality):
            raise ValueError(
                f"a row reads the stage {chosen[modality]!r}, which is not in the recipe"
            )
    return stages


def _finish(
    row: TableRow,
    mode: str,
    seed: int,
    corpus: ComparisonData,
    setup: Setup,
    out: Path,
    reads: Mapping[str, str],
) -> None:
    """Record the stages of a run, and export the network if it is causal."""
    folder = run_folder(row, mode, seed, out)
    metrics = read_metrics(folder)
    if metrics.get("reads") == dict(reads):
        return
    if mode != "offline":
        head = new_head(row, mode, corpus, setup.network)
        load_weights(head, folder / WEIGHTS)
        metrics["onnx_difference"] = export_fusion(head, folder / NETWORK)
    write_metrics({**metrics, "row": row.title, "mode": mode, "reads": dict(reads)}, folder)


def _choose(row: TableRow, stage: FusionStage, out: Path) -> None:
    modes = [mode for _, mode in variants([row], stage.modes) if mode != "offline"]
    if row.head == RIDGE or not modes:
        return
    run = run_folder(row, modes[0], 0, out).parent
    chosen = choose_best(run, (WEIGHTS, NETWORK))
    best = out / "best"
    best.mkdir(exist_ok=True)
    copy_files(run / "best", best, (WEIGHTS, NETWORK))
    write_metrics(chosen, best)
