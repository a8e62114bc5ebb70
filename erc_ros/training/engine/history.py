"""Provenance of a trained model: RUN/history.json, which the trainings write.

    {"commands": ["erc train config/training/audio.yaml --seed 0", ...],
     "corpora": ["ravdess", "emodb"],
     "teachers": ["runs/text_teacher"]}

The model card is generated from it, so that it describes this run.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from erc_ros.training.engine.recipe import KEPT, read_recipe
from erc_ros.training.engine.runs import BEST, read_json, write_json
from erc_ros.values.tables import build

FILE = "history.json"


@dataclass(frozen=True, slots=True)
class RunHistory:
    """commands: command lines. corpora: names. teachers: folders of the runs of its teachers."""

    commands: tuple[str, ...] = ()
    corpora: tuple[str, ...] = ()
    teachers: tuple[str, ...] = ()


def record(
    run: Path,
    *,
    commands: Iterable[str] = (),
    corpora: Iterable[str] = (),
    teachers: Iterable[str] = (),
) -> None:
    """Add new entries to a run's history."""
    known = read_history(run)
    history = RunHistory(
        tuple(dict.fromkeys((*known.commands, *commands))),
        tuple(dict.fromkeys((*known.corpora, *corpora))),
        tuple(dict.fromkeys((*known.teachers, *teachers))),
    )
    run.mkdir(parents=True, exist_ok=True)
    write_json(run / FILE, asdict(history))


def read_history(run: Path) -> RunHistory:
    """Read the history of a run, or of its folder best/; empty if nothing was recorded.

    Raises:
        RunError, ValueError: the file is damaged.
    """
    file = folder_of(run) / FILE
    return build(RunHistory, read_json(file), str(file)) if file.is_file() else RunHistory()


def folder_of(run: Path) -> Path:
    """Return the run of a folder best/, or the run itself."""
    has_own = (run / FILE).is_file() or (run / KEPT).is_file()
    return run.parent if run.name == BEST and not has_own else run


def kind_of(run: Path) -> str:
    """Return the kind of a run's recipe; "" if the recipe was not stored."""
    file = folder_of(run) / KEPT
    return read_recipe(file, file.parent).kind if file.is_file() else ""


def whole_history(run: Path) -> RunHistory:
    """Return the histories of all direct and indirect teachers, followed by the run's own."""
    seen: list[Path] = []

    def below(run: Path) -> RunHistory:
        folder = folder_of(run)
        if folder in seen:
            return RunHistory()
        seen.append(folder)
        own = read_history(folder)
        all_of = [*(below(Path(teacher)) for teacher in own.teachers), own]
        return RunHistory(
            tuple(dict.fromkeys(c for each in all_of for c in each.commands)),
            tuple(dict.fromkeys(c for each in all_of for c in each.corpora)),
            tuple(dict.fromkeys(t for each in all_of for t in each.teachers)),
        )

    return below(run)
