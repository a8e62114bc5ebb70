"""The output files of a replay: estimates as JSON lines and CSV, counts, and an image.

estimates.jsonl, estimates.csv and summary.json depend only on the recording, the models and the
settings; timing.json contains the run time.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from erc_ros.replay.bag import BagError, Recording
from erc_ros.replay.recording import recording_name
from erc_ros.replay.rows import BundleName, Row
from erc_ros.replay.timeline import draw
from erc_ros.values.files import whole_folder
from erc_ros.values.nanoseconds import NS
from erc_ros.values.utterance import MODALITIES, speaker_name
from erc_ros.values.why import changes

UNKNOWN = "unknown"  # label in summary.json of estimates below `min_confidence`


@dataclass
class Result:
    """The results of a replay.

    origin: time of the first message (ns). traces: ns by stage of each estimate; only over DDS.
    """

    rows: list[Row]
    bundle: BundleName
    origin: int
    counts: Counter[str] = field(default_factory=Counter)
    warnings: Counter[str] = field(default_factory=Counter)
    timing: dict[str, Any] = field(default_factory=dict)
    traces: list[dict[str, int]] = field(default_factory=list)


def check_out(folder: Path, bag: Recording) -> None:
    """Check that `folder` does not contain the results of another recording.

    Raises:
        BagError: it does.
    """
    try:
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        origin = int(summary["origin_ns"])
    except (OSError, ValueError, KeyError, TypeError):
        return  # empty, or results of another program
    first, last = bag.span
    name = summary.get("recording") or "a recording"
    if not last or (first <= origin <= last and name in ("a recording", name_of(bag))):
        return
    start = datetime.fromtimestamp(origin // NS, timezone.utc)
    raise BagError(
        f"{folder} has the results of {name}, which starts at {start:%Y-%m-%d %H:%M:%S} UTC and "
        f"is not {bag.path}: choose another folder with --out, or use --overwrite"
    )


def name_of(bag: Recording) -> str:
    """Return the name of a recording in results."""
    return recording_name(bag.path)


def write(
    result: Result,
    folder: Path,
    with_text: bool = True,
    recording: str = "",
    made_with: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Write all results into `folder` (created if needed), or none on an error; return the files.

    Args:
        with_text: False excludes the texts from all files.
        recording: name of the recording; "": none.
        made_with: versions, hashes and parameters, stored unchanged.

    Raises:
        OSError: it could not be written; former results are unchanged.
    """
    rows = [row if with_text else replace(row, text="") for row in result.rows]
    with whole_folder(folder) as new:
        about = {"recording": recording, "provenance": dict(made_with or {})}
        names = [file.name for file in _write(result, rows, new, about)]
    for old in folder.glob("timeline*.png"):
        if old.name not in names:
            old.unlink()
    return [folder / name for name in names]


def _write(result: Result, rows: list[Row], folder: Path, about: Mapping[str, Any]) -> list[Path]:
    files = [folder / name for name in ("estimates.jsonl", "estimates.csv", "summary.json")]
    files[0].write_text("".join(_json(_entry(row)) + "\n" for row in rows), encoding="utf-8")
    _write_csv(files[1], rows, result.origin)
    summary = {
        **about,
        "bundle": asdict(result.bundle),
        "origin_ns": result.origin,
        "utterances": len(rows),
        "speakers": sorted({row.speaker_id for row in rows}),
        "labels": dict(sorted(Counter(row.label or UNKNOWN for row in rows).items())),
        "coverage": round(sum(bool(row.label) for row in rows) / len(rows), 6) if rows else None,
        "modalities": {name: sum(row.modalities[name] for row in rows) for name in MODALITIES},
        "why": summary_of_why(rows),
        "counts": dict(sorted(result.counts.items())),
        "warnings": dict(sorted(result.warnings.items())),
    }
    files[2].write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    files.append(folder / "timing.json")
    files[3].write_text(json.dumps(result.timing, indent=2) + "\n")
    return files + draw(rows, folder / "timeline.png", result.origin)


def summary_of_why(rows: Sequence[Row]) -> dict[str, Any]:
    """Return the mean weight and reliability of each modality, and how often it decided."""
    summary = {}
    for name in MODALITIES:
        explained = [(row, row.why[name]) for row in rows if name in row.why]
        if not explained:
            continue
        reliability = [why.reliability for _, why in explained if why.reliability is not None]
        mean = round(sum(reliability) / len(reliability), 6) if reliability else None
        distrust = Counter(why.distrust for _, why in explained if why.distrust)
        summary[name] = {
            "mean_weight": round(
                sum(row.weights[name] for row, _ in explained) / len(explained), 6
            ),
            "mean_reliability": mean,
            "changed_the_label": sum(name in changes(r.most_probable, r.why) for r, _ in explained),
            "not_trusted": dict(sorted(distrust.items())),
        }
    return summary


def _entry(row: Row) -> dict[str, Any]:
    entry = asdict(row)
    del entry["latency"]  # differs from run to run
    return {**entry, "most_probable": row.most_probable}


def _json(entry: dict[str, Any]) -> str:
    return json.dumps(entry, ensure_ascii=False)


def _write_csv(file: Path, rows: Sequence[Row], origin: int) -> None:
    """Write one line per estimate, nested values as columns such as `p_joy` and `weight_text`.

    The first columns are for readers: s from `origin` (ns), and the speaker's name.
    """
    lines = [
        {
            "start_s": round(max(0, row.start - origin) / NS, 3),
            "end_s": round(max(0, row.end - origin) / NS, 3),
            "speaker": speaker_name(row.speaker_id, row.person_id),
            **_flat(row),
        }
        for row in rows
    ]
    names = list(dict.fromkeys(name for line in lines for name in line)) or ["utterance_id"]
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, names, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)


def _flat(row: Row) -> dict[str, Any]:
    entry = _entry(row)
    probabilities, modalities = entry.pop("probabilities"), entry.pop("modalities")
    weights = entry.pop("weights")
    why = entry.pop("why")
    entry.update({f"p_{name}": value for name, value in probabilities.items()})
    entry.update({f"has_{name}": value for name, value in modalities.items()})
    entry.update({f"weight_{name}": value for name, value in weights.items()})
    for name, parts in why.items():
        entry.update({f"{part}_{name}": value for part, value in parts.items()})
    return entry


def quantiles(durations: Sequence[int]) -> dict[str, float]:
    """Return p50, p95, p99 and maximum of durations (ns) in ms; empty without durations."""
    ordered = sorted(durations)
    if not ordered:
        return {}
    result = {
        f"p{percent}": round(ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] / 1e6, 1)
        for percent in (50, 95, 99)
    }
    return {**result, "max": round(ordered[-1] / 1e6, 1)}
