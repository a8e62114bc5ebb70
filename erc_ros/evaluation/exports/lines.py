"""Annotations and estimates as lines, the input of every exporter."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from erc_ros.annotations.records import Annotations
from erc_ros.evaluation.names import clean, confidence_of, key, shown_label, speaker_names
from erc_ros.evaluation.records import Prediction, Recording


@dataclass(frozen=True, slots=True)
class Line:
    """A segment of one speaker. Times in ns since the recording's first message.

    None: unknown, or not annotated. confidence: 0..1. probabilities: (label, 0..1), or ().
    """

    start: int
    end: int
    speaker: str
    text: str | None = None
    emotion: str | None = None
    confidence: float | None = None
    valence: float | None = None
    arousal: float | None = None
    probabilities: tuple[tuple[str, float], ...] = ()


def lines_of_truth(truth: Annotations, with_text: bool = True) -> list[Line]:
    """Return the annotated segments."""
    return [
        Line(
            segment.start,
            segment.end,
            clean(segment.speaker),
            clean(segment.text) if with_text and segment.text is not None else None,
            segment.emotion,
            valence=segment.valence,
            arousal=segment.arousal,
        )
        for segment in truth.segments
    ]


def lines_of_predictions(recording: Recording, with_text: bool = True) -> list[Line]:
    """Return the estimates, sorted by start; speakers have their names, or "speaker 1"."""
    names = speaker_names(recording.predictions)
    answers = sorted(recording.predictions, key=lambda each: (each.start, each.end))
    return [_of_answer(each, recording.labels, names[key(each)], with_text) for each in answers]


def _of_answer(answer: Prediction, labels: Sequence[str], name: str, with_text: bool) -> Line:
    return Line(
        answer.start,
        answer.end,
        name,
        clean(answer.text) if with_text else None,
        shown_label(answer),
        round(confidence_of(answer), 3),
        round(answer.valence, 3),
        round(answer.arousal, 3),
        tuple(
            (label, round(float(p), 4))
            for label, p in zip(labels, answer.probabilities, strict=True)
        ),
    )


def by_speaker(lines: Iterable[Line]) -> dict[str, list[Line]]:
    """Return the lines of each speaker, in the order of their first line."""
    result: dict[str, list[Line]] = {}
    for line in sorted(lines, key=lambda line: (line.start, line.end)):
        result.setdefault(line.speaker, []).append(line)
    return result


def without_overlap(lines: Iterable[Line]) -> list[list[Line]]:
    """Return as few lists without overlap as possible: a tier cannot hold overlaps."""
    result: list[list[Line]] = []
    for line in sorted(lines, key=lambda line: (line.start, line.end)):
        free = next((each for each in result if each[-1].end <= line.start), None)
        if free is None:
            result.append([line])
        else:
            free.append(line)
    return result
