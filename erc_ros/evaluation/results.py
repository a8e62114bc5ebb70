"""scores.json and scores.csv: the same scores give the same bytes."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from erc_ros.annotations.records import TierReading
from erc_ros.evaluation.names import clean
from erc_ros.evaluation.records import Recording, Scores, SystemScores
from erc_ros.evaluation.run import LEFT_OUT
from erc_ros.metrics.figure import Figure
from erc_ros.replay.offline import NO_AUDIO, NO_TEXT
from erc_ros.values.files import write_whole

COLUMNS = ("system", "group", "member", "figure", "value", "low", "high", "n")


def write_scores(
    scores: Scores,
    recordings: Sequence[Mapping[str, Any]],
    folder: Path,
    provenance: Mapping[str, Any] | None = None,
    agreement: Mapping[str, Any] | None = None,
    headlines: Mapping[str, str] | None = None,
    conditions: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Write both files into `folder` and return them.

    Args:
        recordings: see `summary`.
        provenance: what the scores were made with; stored as it is.
        agreement: system -> agreement of several annotators with each other and with it.
        headlines: system -> the result in a sentence.
        conditions: system -> comparisons of conditions (see `compare_conditions`).
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        **asdict(scores),
        "recordings": list(recordings),
        "provenance": dict(provenance or {}),
        **({"agreement": dict(agreement)} if agreement else {}),
        **({"conditions": dict(conditions)} if conditions else {}),
    }
    for system in content["systems"]:
        del system["latencies"]  # `figures` has their quantiles
        system["headline"] = (headlines or {}).get(system["system"], "")
    text = json.dumps(_plain(content), indent=2, ensure_ascii=False, allow_nan=False)
    write_whole(folder / "scores.json", text + "\n")
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(_rows(scores))
    write_whole(folder / "scores.csv", table.getvalue())
    return [folder / "scores.json", folder / "scores.csv"]


def summary(recording: Recording) -> dict[str, Any]:
    """Return what scores.json holds of a recording, in addition to its figures."""
    truth = recording.truth
    return {
        "name": recording.name,
        "system": recording.system,
        "error": recording.error,
        "origin_ns": recording.origin,
        "duration_s": recording.duration / 1e9,
        "utterances": len(recording.predictions),
        "segments": None if truth is None else len(truth.segments),
        "truth_files": [] if truth is None else list(truth.files),
        "labeled": 0 if truth is None else sum(s.emotion is not None for s in truth.segments),
        "undecided": 0 if truth is None else truth.undecided,
        "adjudicated": 0 if truth is None else truth.adjudicated,
        "unmapped": {} if truth is None else dict(truth.unmapped),
        "repaired": {} if truth is None else dict(truth.repaired),
        "readings": [] if truth is None else [asdict(each) for each in truth.readings],
        "notices": notices(recording),
        "warnings": dict(recording.warnings),
        "counts": dict(recording.counts),
    }


def headline(
    scores: SystemScores, recordings: Sequence[Recording], agreement: Mapping[str, Any] | None
) -> str:
    """Return the result in a sentence: "11 of 13 annotated emotions scored, 8 correct; ...".

    Args:
        recordings: of all systems. agreement: of several annotators (see `with_model`).
    """
    own = [r for r in recordings if r.system == scores.system and not r.error]
    truths = [r.truth for r in own if r.truth is not None]
    if not truths:
        utterances = sum(len(r.predictions) for r in own)
        return f"{utterances} utterances; without annotations nothing is scored"
    excluded = sum(sum(truth.unmapped.values()) for truth in truths)
    labels = sum(s.emotion is not None for truth in truths for s in truth.segments)
    undecided = sum(truth.undecided for truth in truths)
    is_of_several = any(r.annotators for r in own)  # `excluded` then counts the labels of each
    accuracy = scores.figures.get("accuracy", Figure(None))
    total = labels + undecided + (0 if is_of_several else excluded)
    missing = {"no matching utterance": labels - accuracy.n, "no majority label": undecided}
    reasons = "".join(f", {count:g} have {name}" for name, count in missing.items() if count)
    parts = [f"{accuracy.n:g} of {total} annotated emotions scored"]
    if reasons:
        parts[0] += f" ({accuracy.n / total:.0%}{reasons})"
    if accuracy.value is not None:
        parts[0] += f", {accuracy.value * accuracy.n:.0f} correct"
        majority = scores.figures.get("majority_accuracy", Figure(None)).value or 0.0
        parts.append(
            f"by chance {accuracy.n / len(scores.labels):.1f}, always the most frequent label "
            f"{accuracy.n * majority:.0f}"
        )
    if agreement is not None:
        observed, alpha = (agreement["by_segment"][name]["value"] for name in ("observed", "alpha"))
        if observed is not None:
            parts.append(
                f"annotators agree in {observed:.0%} of comparisons"
                + ("" if alpha is None else f" (Krippendorff's alpha {alpha:.2f})")
            )
    if excluded and is_of_several:
        parts.append(f"{excluded} labels of annotators are not labels of the model")
    elif excluded:
        parts.append(f"{excluded} are not labels of the model")
    return "; ".join(parts)


def notices(recording: Recording) -> list[str]:
    """Return the notices for readers of the scores."""
    truth = recording.truth
    inputs = [text for text in (NO_TEXT, NO_AUDIO, LEFT_OUT) if text in recording.warnings]
    if not recording.error and not recording.predictions:
        inputs.append("no utterance was found in this recording")
    return [*inputs, *(() if truth is None else truth.notices)]


def reading_in_words(reading: TierReading) -> str:
    """Return a description such as "words and emotions of Anna"."""
    if reading.excluded:
        return f"excluded: {reading.excluded}"
    names = {"speech": "turns", "text": "words", "emotion": "emotions"}
    kinds = " and ".join(names.get(kind, kind) for kind in reading.kinds)
    return f"{kinds} of {clean(reading.speaker) or 'an unnamed speaker'}"


def _rows(scores: Scores) -> Iterator[tuple[Any, ...]]:
    for system in scores.systems:
        yield from _figures((system.system, "all", ""), system.figures)
        for group, members in system.groups.items():
            for member, figures in members.items():
                yield from _figures((system.system, group, member), figures)
    for each in scores.comparisons:
        who = f"{each.a} - {each.b}"
        yield (who, "comparison", "", each.figure, each.value, each.low, each.high, "")


def _figures(
    where: tuple[str, str, str], figures: Mapping[str, Figure]
) -> Iterator[tuple[Any, ...]]:
    for name, figure in figures.items():
        yield (*where, name, figure.value, figure.low, figure.high, f"{figure.n:g}")


def _plain(value: Any) -> Any:
    """Convert a value to JSON types: lists, dictionaries, and None for NaN."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
