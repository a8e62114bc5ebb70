"""`erc agreement`: agreement of annotators of the same recordings."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from erc_ros.annotations import READERS, read
from erc_ros.annotations.agreement import (
    BLOCK,
    Agreement,
    Unit,
    agreement,
    labels_of_segments,
    segment_units,
    soft_figures,
    time_units,
    write_adjudication,
)
from erc_ros.annotations.joining import LabelMap, join, read_label_map
from erc_ros.annotations.marks import UNIX_TIME, AnnotationError, Mark
from erc_ros.annotations.records import Annotations, Segment
from erc_ros.annotations.vocabulary import meant_label
from erc_ros.evaluation.matching import match
from erc_ros.evaluation.records import Prediction, Recording
from erc_ros.evaluation.run import parse_time
from erc_ros.evaluation.scores import values
from erc_ros.evaluation.tally import conversations
from erc_ros.metrics.figure import Figure
from erc_ros.values.files import write_whole
from erc_ros.values.nanoseconds import NS

MAX_ANNOTATORS = 50
BETWEEN = {"accuracy", "unweighted_recall", "kappa", "weighted_f1", "macro_f1", "f1", "teer"}
BETWEEN |= {"steer", "der", "jer", "eder", "valence", "arousal"}
"""First words of the figures that are computed between two annotators."""
Recordings = dict[str, dict[str, tuple[Segment, ...]]]
"""Recording -> annotator -> segments."""


def main(argv: Sequence[str]) -> int:
    """Run the command and return the exit status 0.

    Raises:
        ValueError, OSError: annotations that cannot be used or written.
    """
    options = _parser().parse_args(argv)
    files = _named(options.annotators, Path)
    offsets = {
        name: parse_time(f"--offset {name}", text)
        for name, text in _named(options.offset, str).items()
    }
    if len(files) < 2:
        raise ValueError("agreement requires two annotators or more: NAME=FILE NAME=FILE")
    if len(files) > MAX_ANNOTATORS:
        raise ValueError(f"{len(files)} annotators; at most {MAX_ANNOTATORS} are compared")
    if unknown := set(offsets) - set(files):
        raise ValueError(f"--offset {min(unknown)}: annotators are {', '.join(files)}")
    mapping = read_label_map(options.labels) if options.labels else LabelMap()
    recordings, origins = _read(files, mapping, offsets)
    names = list(files)
    if same := _synonyms(recordings, names):
        lines = ", ".join(f"`{label}: {other}`" for label, other in same.items())
        text = "labels that seem to mean the same count as different; map them with --labels"
        print(f"warning: {text}, {lines}", file=sys.stderr)
    units = {name: segment_units(each) for name, each in recordings.items()}
    by_segment = agreement([u.labels for each in units.values() for u in each], names)
    in_time = [labels for each in recordings.values() for labels in time_units(each)]
    by_time = agreement(in_time, names, BLOCK)
    print(_table(names, units, by_segment, by_time))
    if options.out:
        result = {
            "annotators": {name: str(file) for name, file in files.items()},
            "recordings": sorted(recordings),
            "by_segment": _json(by_segment),
            "by_time": _json(by_time),
        }
        write_whole(options.out, json.dumps(result, indent=1) + "\n")
        print(f"figures: {options.out}")
    if options.adjudicate:
        own = {name: (origins[name], each) for name, each in units.items()}
        count = write_adjudication(options.adjudicate, own, names)
        print(f"{count} segments to be decided: {options.adjudicate}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="erc agreement",
        description="Agreement of annotators: Krippendorff's alpha, Fleiss' and Cohen's kappa, by "
        "segment and by time.",
    )
    parser.add_argument(
        "annotators",
        nargs="+",
        metavar="NAME=FILE",
        help="an annotator's file (.eaf .TextGrid .csv .json ...), or a folder with a file for "
        "each recording; the model may be one of them: model=out/talk/talk.csv",
    )
    parser.add_argument(
        "--labels",
        type=Path,
        metavar="YAML",
        help="file that maps annotated labels and tiers (happy: joy)",
    )
    parser.add_argument(
        "--offset",
        nargs="+",
        default=[],
        metavar="NAME=S",
        help="added to the times of an annotator (s)",
    )
    parser.add_argument("--out", type=Path, metavar="JSON", help="write the figures here")
    parser.add_argument(
        "--adjudicate", type=Path, metavar="CSV", help="write the segments with different labels"
    )
    return parser


def _named(arguments: Sequence[str], kind: type[Any]) -> dict[str, Any]:
    named: dict[str, Any] = {}
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if not (name and equals and value):
            raise ValueError(f"{argument!r}: must be NAME=VALUE, such as RA1=talk.eaf")
        if name in named:
            raise ValueError(f"annotator {name} is named twice")
        named[name] = kind(value)
    return named


def _read(
    files: Mapping[str, Path], mapping: LabelMap, offsets: Mapping[str, int]
) -> tuple[Recordings, dict[str, int]]:
    """Return segments and origin of each recording that at least two annotators annotated.

    The origin (ns) is time 0 of the segments. It is not 0 for annotations in Unix time.
    """
    marks: dict[str, dict[str, list[Mark]]] = {}
    for name, path in files.items():
        for recording, file in _files(path).items():
            marks.setdefault(recording, {})[name] = read(file)
    if not any(
        path.is_dir() for path in files.values()
    ):  # one recording, whatever its files' names
        merged = {name: each for recording in marks.values() for name, each in recording.items()}
        marks = {next(iter(marks)): merged}
    recordings: Recordings = {}
    origins: dict[str, int] = {}
    for recording, annotated in marks.items():
        annotated = {name: each for name, each in annotated.items() if each}
        if len(annotated) < 2:
            continue
        labels = _labels(annotated, mapping)
        begin = min(mark.start for each in annotated.values() for mark in each)
        origins[recording] = origin = begin if begin > UNIX_TIME else 0
        recordings[recording] = {
            name: _segments(annotated.get(name, []), labels, mapping, origin, offsets.get(name, 0))
            for name in files
        }
    if not recordings:
        raise AnnotationError(
            "no recording has annotations of two annotators: compare the files' names"
        )
    return recordings, origins


def _files(path: Path) -> dict[str, Path]:
    """Recording -> file."""
    if not path.is_dir():
        return {path.name.partition(".")[0]: path}
    files: dict[str, Path] = {}
    for file in sorted(path.iterdir()):
        if file.suffix.casefold() not in READERS:
            continue
        recording = file.name.partition(".")[0]
        if recording in files:
            raise AnnotationError(
                f"{path}: {files[recording].name} and {file.name} are of one recording"
            )
        files[recording] = file
    if not files:
        raise AnnotationError(f"{path}: has no annotations ({', '.join(sorted(READERS))})")
    return files


def _labels(annotated: Mapping[str, Sequence[Mark]], mapping: LabelMap) -> list[str]:
    """Return every annotated emotion; agreement is computed for the annotators' own labels."""
    values = {
        mark.value.casefold()
        for marks in annotated.values()
        for mark in marks
        if mark.kind == "emotion" or mapping.tiers.get(mark.source.tier, "").startswith("emotion")
    }
    return sorted({mapping.labels.get(value, value) for value in values} - {""})


def _synonyms(recordings: Recordings, names: Sequence[str]) -> dict[str, str]:
    """Return label -> label of an earlier annotator that probably means the same."""
    used: list[str] = []
    synonyms: dict[str, str] = {}
    for name in names:
        own = {each.emotion or "" for of in recordings.values() for each in of.get(name, ())}
        for label in sorted(own - {"", *used}):
            if meant := meant_label(label, used):
                synonyms[label] = meant
        used += sorted(own - {"", *used, *synonyms})
    return synonyms


def _segments(
    marks: Sequence[Mark], labels: Sequence[str], mapping: LabelMap, origin: int, offset: int
) -> tuple[Segment, ...]:
    if not marks:
        return ()
    duration = max(mark.end for mark in marks) - origin + abs(offset) + NS
    truth = join(
        marks, origin=origin, duration=duration, labels=labels, mapping=mapping, offset=offset
    )
    return truth.segments


def with_model(recordings: Sequence[Recording]) -> dict[str, Any]:
    """Agreement of the annotators, and of each of them with the model, over recordings.

    Args:
        recordings: of one system, with `annotators`.

    Returns:
        `by_segment` and `by_time` of the annotators; `model`: annotator -> Cohen's kappa of the
        annotator and the model, by segment. Utterances without a label count as missing. `soft`:
        see `soft_figures`, over matched segments that at least two annotators have labeled.
        `human`: figure -> mean over pairs of annotators, one scored against the other.
    """
    names = list(dict.fromkeys(name for each in recordings for name in each.annotators))
    segments: list[tuple[str, ...]] = []
    instants: list[tuple[str, ...]] = []
    pairs: dict[str, list[tuple[str, ...]]] = {name: [] for name in names}
    raters: list[list[str]] = []
    probabilities: list[NDArray[np.float64]] = []
    for each in recordings:
        annotators = {name: each.annotators.get(name, ()) for name in names}
        segments += [unit.labels for unit in segment_units(annotators)]
        instants += time_units(annotators)
        model = [
            Segment(answer.start, answer.end, "", emotion=answer.label)
            for answer in each.predictions
            if not answer.is_unknown
        ]
        for name, own in annotators.items():
            pairs[name] += [unit.labels for unit in segment_units({name: own, "": model})]
        given = labels_of_segments(each.annotators)
        for pair in each.matches:
            if each.truth is None or pair.truth is None or pair.prediction is None:
                continue
            segment = each.truth.segments[pair.truth]
            labels = given.get((segment.start, segment.end, segment.speaker), {})
            if len(labels) > 1:
                raters.append(list(labels.values()))
                probabilities.append(each.predictions[pair.prediction].probabilities)
    return {
        "by_segment": _json(agreement(segments, names)),
        "by_time": _json(agreement(instants, names, BLOCK)),
        "model": {
            name: asdict(agreement(units, [name, ""]).cohen[name, ""])
            for name, units in pairs.items()
        },
        "human": _between(recordings, names),
        "soft": {
            name: asdict(figure)
            for name, figure in soft_figures(
                recordings[0].labels, raters, np.array(probabilities)
            ).items()
        },
    }


def _between(recordings: Sequence[Recording], names: Sequence[str]) -> dict[str, float]:
    """Return figure -> mean over pairs of annotators, one scored against the other."""
    labels = recordings[0].labels
    drawn: dict[str, list[float]] = {}
    for first, second in permutations(names, 2):
        talks = [c for each in recordings for c in conversations(_scored(each, first, second))]
        for name, value in values(talks, labels).items():
            if value is not None and name.partition(" ")[0] in BETWEEN:
                drawn.setdefault(name, []).append(value)
    return {name: float(np.mean(each)) for name, each in drawn.items()}


def _scored(recording: Recording, reference: str, estimated: str) -> Recording:
    """Return a recording with one annotator's emotions as estimates, another's as reference."""
    segments = recording.annotators.get(reference, ())
    predictions = tuple(
        Prediction(
            *(str(number), "", each.start, each.end, each.speaker, "", each.emotion),
            probabilities=np.array([float(label == each.emotion) for label in recording.labels]),
            valence=np.nan if each.valence is None else each.valence,
            arousal=np.nan if each.arousal is None else each.arousal,
            modalities=(False, False, False),
            weights=(0.0, 0.0, 0.0),
        )
        for number, each in enumerate(recording.annotators.get(estimated, ()))
        if each.emotion
    )
    matches = match(segments, predictions)
    return replace(recording, truth=Annotations(segments), predictions=predictions, matches=matches)


def in_words(system: str, agreed: Mapping[str, Any]) -> str:
    """Return a line such as "agreement of the annotators: Krippendorff's alpha 0.61 (...); ..."."""
    alpha = _shown(Figure(**agreed["by_segment"]["alpha"]))
    between = [
        f"{pair} {_shown(Figure(**each))}" for pair, each in agreed["by_segment"]["cohen"].items()
    ]
    own = [f"{name} and {system} {_shown(Figure(**e))}" for name, e in agreed["model"].items()]
    text = f"agreement of the annotators: Krippendorff's alpha {alpha}; Cohen's kappa: "
    text += "; ".join(between + own)
    if soft := {name: _shown(Figure(**each)) for name, each in agreed["soft"].items()}:
        text += (
            f"; {system} against the distribution of their labels: cross-entropy "
            f"{soft['cross_entropy']} nats (at least {soft['entropy']}), Jensen-Shannon divergence "
            f"{soft['jensen_shannon']} bits"
        )
    return text


def _json(result: Agreement) -> dict[str, Any]:
    cohen = {f"{a} and {b}": asdict(each) for (a, b), each in result.cohen.items()}
    return {**asdict(result), "cohen": cohen}


def _table(
    names: Sequence[str],
    units: Mapping[str, Sequence[Unit]],
    by_segment: Agreement,
    by_time: Agreement,
) -> str:
    segments = sum(map(len, units.values()))
    lines = [
        f"{len(names)} annotators, {len(units)} recordings, {segments} segments, of which "
        f"{by_segment.units} have labels of two annotators or more",
        f"{'':<34}{'by segment':>22}{'by time':>24}",
    ]

    def line(text: str, first: Figure | None, second: Figure | None) -> str:
        return f"{text:<34}{_shown(first):>22}{_shown(second):>24}"

    lines.append(line("Krippendorff's alpha", by_segment.alpha, by_time.alpha))
    lines.append(line("Fleiss' kappa", by_segment.fleiss, by_time.fleiss))
    lines.append(line("equal labels", by_segment.observed, by_time.observed))
    for a, b in by_segment.cohen:
        kappa = by_segment.cohen[a, b], by_time.cohen[a, b]
        lines.append(line(f"Cohen's kappa, {a} and {b}"[:33], *kappa))
    for label in sorted({*by_segment.per_label, *by_time.per_label}):
        alpha = by_segment.per_label.get(label), by_time.per_label.get(label)
        lines.append(line(f"alpha of {label}"[:33], *alpha))
    lines.append(
        "Brackets: 95 % bootstrap intervals, over segments and over blocks of 10 s; none below 10."
    )
    return "\n".join(lines)


def _shown(figure: Figure | None) -> str:
    if figure is None or figure.value is None:
        return "-"
    if figure.low is None:
        return f"{figure.value:.2f}"
    return f"{figure.value:.2f} ({figure.low:.2f} to {figure.high:.2f})"
