"""methods.md and references.bib: a methods section with the figures and versions of a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from erc_ros.evaluation.records import Scores, SystemScores
from erc_ros.evaluation.study import condition_lines
from erc_ros.metrics.figure import Figure
from erc_ros.values.files import write_whole

SHOWN = (
    *("accuracy", "unweighted_recall", "weighted_f1", "macro_f1", "kappa"),
    *("majority_accuracy", "chance_accuracy", "teer", "steer", "der", "jer"),
    *("eder", "cpwer"),
    "calibration_error",
)
MODELS = ("bundle", "speaker_model", "segmentation_model")  # named with their hashes


def write_methods(
    scores: Scores,
    recordings: Sequence[Mapping[str, Any]],
    made_with: Mapping[str, Any],
    folder: Path,
    agreement: Mapping[str, Any] | None = None,
    conditions: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Write both files into `folder` and return them; no files if nothing was scored.

    Args:
        recordings: as in scores.json. made_with: its `provenance`. agreement,
            conditions: its `agreement` and `conditions`.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    systems = [each for each in scores.systems if _figure(each, "accuracy").n]
    if not systems:
        return []
    environment = Environment(
        loader=PackageLoader("erc_ros.evaluation"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # Markdown and BibTeX: read by people, never by a browser
    )
    first = systems[0].system
    own = [each for each in recordings if each["system"] == first]
    used = [each for each in own if not each["error"] and each["segments"]]
    scored = _figure(systems[0], "accuracy").n
    labeled = sum(each["labeled"] for each in used)
    text = environment.get_template("methods.md").render(
        systems={each.system: made_with["systems"][each.system] for each in systems},
        labels={each.system: each.labels for each in systems},
        changed={
            each.system: _changed(made_with["systems"][each.system]["changed_parameters"])
            for each in systems
        },
        made_with=made_with,
        recordings=len(used),
        minutes=f"{sum(each['duration_s'] for each in used) / 60:.1f}",
        segments=sum(each["segments"] for each in used),
        scored=f"{scored:g}",
        unmatched=f"{labeled - scored:g}" if labeled > scored else "",
        undecided=sum(each["undecided"] for each in used),
        adjudicated=sum(each["adjudicated"] for each in used),
        unmapped=sum(sum(each["unmapped"].values()) for each in used),
        errors=sum(bool(each["error"]) for each in own),
        notices=any(each["notices"] for each in used),
        figures=[
            {"name": each.system, **{name: _shown(_figure(each, name)) for name in SHOWN}}
            for each in systems
        ],
        agreement=_alpha(agreement.get(first) if agreement else None),
        soft={n: _shown(Figure(**f)) for n, f in agreement[first]["soft"].items()}
        if agreement and first in agreement
        else {},
        conditions={name: condition_lines(each) for name, each in (conditions or {}).items()},
        interval=next((i for each in systems if (i := _figure(each, "accuracy").interval)), ""),
    )
    package = resources.files("erc_ros.evaluation")
    references = (package / "templates" / "references.bib").read_text(encoding="utf-8")
    files = {
        folder / "methods.md": text,
        folder / "references.bib": references.replace("VERSION", str(made_with["erc_ros"])),
    }
    for file, content in files.items():
        write_whole(file, content.rstrip() + "\n")
    return list(files)


def _figure(system: SystemScores, name: str) -> Figure:
    return system.figures.get(name, Figure(None))


def _alpha(agreed: Mapping[str, Any] | None) -> str:
    return "" if agreed is None else _shown(Figure(**agreed["by_segment"]["alpha"]))


def _changed(parameters: Mapping[str, Mapping[str, Any]]) -> list[str]:
    changed = {name: value for node in parameters.values() for name, value in node.items()}
    return [f"{name} = {value}" for name, value in changed.items() if name not in MODELS]


def _shown(figure: Figure) -> str:
    if figure.value is None:
        return "not available"
    interval = "" if figure.low is None else f" ({figure.low:.3f} to {figure.high:.3f})"
    return f"{figure.value:.3f}{interval}"
