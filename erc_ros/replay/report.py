"""What a replay leaves behind: estimates as JSON lines and CSV, counts, and a picture.

estimates.jsonl, estimates.csv and summary.json depend on the recording, the models and the settings
only; how long everything took stands in timing.json.
"""

from __future__ import annotations

import csv
import json
import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from erc_ros.values.nanoseconds import NS

if TYPE_CHECKING:
    from erc_ros.inference.bundle import Bundle
    from erc_ros.inference.estimate import Estimate

DIGITS = 6  # of every float that is written
MODALITIES = ("text", "audio", "visual")


@dataclass(frozen=True)
class BundleName:
    """Which models answered."""

    name: str
    version: str
    sha256: str


@dataclass(frozen=True)
class Row:
    """One estimate, as it is written. Times in ns on the clock of the recording."""

    conversation_id: str
    utterance_id: str
    speaker_id: str
    voice_id: str
    face_id: str
    person_id: str
    start: int
    end: int
    text: str
    label: str
    confidence: float
    valence: float
    arousal: float
    probabilities: dict[str, float]  # label -> probability
    modalities: dict[str, bool]  # "text", "audio", "visual" -> whether it counted
    weights: dict[str, float]  # likewise, how much
    is_final: bool
    overlap: float | None = None  # share of the time in which two or more speak; None = unknown
    latency: int | None = None  # ns from the last input to the estimate; None = not measured

    def moved(self, offset: int) -> Row:
        """The same, `offset` ns later."""
        return replace(self, start=self.start + offset, end=self.end + offset)


def with_row(rows: Sequence[Row], row: Row) -> list[Row]:
    """The rows with one more; a final one that came before with the same ids is replaced."""
    ids = row.conversation_id, row.utterance_id
    for place, other in enumerate(rows):
        if (other.conversation_id, other.utterance_id) == ids and other.is_final and row.is_final:
            return [*rows[:place], row, *rows[place + 1 :]]
    return [*rows, row]


def relabelled(
    rows: Sequence[Row], conversation_id: str, utterance_ids: Collection[str], speaker_id: str
) -> list[Row]:
    """The rows with another speaker in some of a conversation's utterances."""
    return [
        replace(row, speaker_id=speaker_id)
        if row.conversation_id == conversation_id and row.utterance_id in utterance_ids
        else row
        for row in rows
    ]


def row_of_estimate(estimate: Estimate, bundle: Bundle) -> Row:
    """From the core."""
    said = estimate.utterance
    return Row(
        conversation_id=said.conversation_id,
        utterance_id=said.utterance_id,
        speaker_id=said.speaker_id,
        voice_id=said.voice_id,
        face_id=said.face_id,
        person_id=said.person_id,
        start=said.start,
        end=said.end,
        text=said.text,
        label=estimate.label,
        confidence=_rounded(estimate.confidence),
        valence=_rounded(estimate.valence),
        arousal=_rounded(estimate.arousal),
        probabilities=_named(bundle.labels, estimate.probabilities),
        modalities=dict(zip(MODALITIES, map(bool, estimate.modalities), strict=True)),
        weights=_named(MODALITIES, estimate.weights),
        is_final=estimate.is_final,
        overlap=overlap_or_none(said.overlap),
    )


def row_of_message(message: Any, latency: int | None = None) -> Row:
    """From an erc_msgs/EmotionEstimate, which does not tell the overlap; the Utterance does."""
    return Row(
        conversation_id=message.conversation_id,
        utterance_id=message.utterance_id,
        speaker_id=message.speaker_id,
        voice_id=message.voice_id,
        face_id=message.face_id,
        person_id=message.person_id,
        start=message.start.sec * NS + message.start.nanosec,
        end=message.end.sec * NS + message.end.nanosec,
        text=message.text,
        label=message.label,
        confidence=_rounded(message.confidence),
        valence=_rounded(message.valence),
        arousal=_rounded(message.arousal),
        probabilities=_named(message.labels, message.probabilities),
        modalities=dict(zip(MODALITIES, map(bool, message.modalities), strict=True)),
        weights=_named(MODALITIES, message.modality_weights),
        is_final=message.is_final,
        latency=latency,
    )


def overlap_or_none(value: float) -> float | None:
    """An utterance's overlap as it is written; NaN is None, which JSON can say."""
    return None if math.isnan(value) else _rounded(value)


def _rounded(value: float) -> float:
    return round(float(value), DIGITS)


def _named(names: Sequence[str], values: Any) -> dict[str, float]:
    return {name: _rounded(value) for name, value in zip(names, values, strict=True)}


def write_report(
    folder: Path,
    rows: Sequence[Row],
    *,
    bundle: BundleName,
    origin: int,
    counts: Mapping[str, int],
    warnings: Counter[str],
    timing: Mapping[str, Any],
    with_text: bool = True,
) -> list[Path]:
    """Write everything into `folder` (made if need be) and return the files.

    Args:
        origin: time 0 of the picture, ns.
        timing: goes to timing.json as it is.
        with_text: False keeps what was said out of every file.
    """
    from erc_ros.replay.timeline import draw

    rows = [row if with_text else replace(row, text="") for row in rows]
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("timeline*.png"):
        old.unlink()
    files = [folder / name for name in ("estimates.jsonl", "estimates.csv", "summary.json")]
    files[0].write_text("".join(_json(_entry(row)) + "\n" for row in rows), encoding="utf-8")
    _write_csv(files[1], rows)
    summary = {
        "bundle": asdict(bundle),
        "origin_ns": origin,
        "utterances": len(rows),
        "speakers": sorted({row.speaker_id for row in rows}),
        "labels": dict(sorted(Counter(row.label for row in rows).items())),
        "modalities": {name: sum(row.modalities[name] for row in rows) for name in MODALITIES},
        "counts": dict(sorted(counts.items())),
        "warnings": dict(sorted(warnings.items())),
    }
    files[2].write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    files.append(folder / "timing.json")
    files[3].write_text(json.dumps(dict(timing), indent=2) + "\n")
    return files + draw(rows, folder / "timeline.png", origin)


def _entry(row: Row) -> dict[str, Any]:
    entry = asdict(row)
    del entry["latency"]  # differs from run to run
    return entry


def _json(entry: Mapping[str, Any]) -> str:
    return json.dumps(entry, ensure_ascii=False)


def _write_csv(file: Path, rows: Sequence[Row]) -> None:
    """One line per estimate, nested values as columns such as `p_joy` and `weight_text`."""
    lines = [_flat(row) for row in rows]
    names = list(dict.fromkeys(name for line in lines for name in line)) or ["utterance_id"]
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, names, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)


def _flat(row: Row) -> dict[str, Any]:
    entry = _entry(row)
    probabilities, modalities = entry.pop("probabilities"), entry.pop("modalities")
    weights = entry.pop("weights")
    entry.update({f"p_{name}": value for name, value in probabilities.items()})
    entry.update({f"has_{name}": value for name, value in modalities.items()})
    entry.update({f"weight_{name}": value for name, value in weights.items()})
    return entry


def quantiles(durations: Sequence[int]) -> dict[str, float]:
    """p50, p95, p99 and greatest of durations (ns), in ms; empty where there are none."""
    ordered = sorted(durations)
    if not ordered:
        return {}
    result = {
        f"p{percent}": round(ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] / 1e6, 1)
        for percent in (50, 95, 99)
    }
    return {**result, "max": round(ordered[-1] / 1e6, 1)}
