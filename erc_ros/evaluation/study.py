"""Studies: participants and conditions; a table of all utterances; conditions compared."""

from __future__ import annotations

import csv
import difflib
import io
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from erc_ros.annotations.agreement import labels_of_segments
from erc_ros.annotations.marks import AnnotationError, read_text
from erc_ros.evaluation.matching import outcome
from erc_ros.evaluation.names import confidence_of, key, speaker_names
from erc_ros.evaluation.records import Recording
from erc_ros.evaluation.tally import ScoredConversation
from erc_ros.metrics.classification import draws
from erc_ros.metrics.significance import holm
from erc_ros.values.files import write_whole
from erc_ros.values.nanoseconds import NS

REQUIRED = ("recording", "participant")
FIELDS = ("participant", "session", "condition", "order")
MEASURES = ("accuracy", "valence", "arousal")
MIN_PARTICIPANTS = 6  # with fewer, the signed-rank test cannot reach p = 0.05
RESAMPLES = 1000

Row = dict[str, Any]
"""A line of a table; None is an empty cell."""


@dataclass(frozen=True, slots=True)
class Study:
    """(recording, annotated speaker) -> `FIELDS`; "" is every other speaker of a recording."""

    rows: Mapping[tuple[str, str], Mapping[str, str]]

    def of(self, recording: str, speaker: str) -> Mapping[str, str]:
        """Return the fields of a speaker, all "" for a person who is not a participant."""
        row = self.rows.get((recording, speaker)) or self.rows.get((recording, ""))
        return row or dict.fromkeys(FIELDS, "")

    def groups(self) -> dict[str, Callable[[ScoredConversation], list[str]]]:
        """Return grouping -> function that gives each scored utterance's group ("": no group)."""

        def grouping(field: str) -> Callable[[ScoredConversation], list[str]]:
            return lambda c: [self.of(c.recording, who)[field] for who in c.answered.speaker]

        return {
            field: grouping(field)
            for field in ("participant", "condition")
            if any(row[field] for row in self.rows.values())
        }


def read_study(path: Path, recordings: Sequence[str]) -> tuple[Study, list[str]]:
    """Read a CSV file with a line for each participant of each recording.

    Columns: `recording`, `participant`, and any of `session`, `condition`, `order` and `speaker`
    (the annotated speaker who is the participant; all speakers without it).

    Returns:
        the study, and the names of recordings that are not in the file.

    Raises:
        AnnotationError: a column, a name or a recording is missing, or a line contradicts another.
    """
    text = read_text(path)
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, restval="")
    columns = {name.strip().casefold(): name for name in reader.fieldnames or ()}
    if missing := [name for name in REQUIRED if name not in columns]:
        raise AnnotationError(
            f"{path.name}, line 1: no column {missing[0]!r}; the columns are "
            f"{', '.join(columns) or 'missing'}, of which {', '.join(REQUIRED)} are required"
        )
    rows: dict[tuple[str, str], Mapping[str, str]] = {}
    for line in reader:
        fields = {name: (line[column] or "").strip() for name, column in columns.items()}
        place, recording = f"{path.name}, line {reader.line_num}", fields["recording"]
        if not any(fields.values()):
            continue
        if recording not in recordings:
            near = difflib.get_close_matches(recording, recordings, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise AnnotationError(f"{place}: recording {recording!r} is not evaluated{hint}")
        if not fields["participant"]:
            raise AnnotationError(f"{place}: no participant; remove lines of other people")
        where = recording, fields.get("speaker", "")
        if where in rows:
            raise AnnotationError(f"{place}: {' '.join(where).strip()} has more than one line")
        rows[where] = {name: fields.get(name, "") for name in FIELDS}
    named = {recording for recording, _ in rows}
    return Study(rows), [name for name in recordings if name not in named]


def utterance_rows(recordings: Iterable[Recording], study: Study | None) -> list[Row]:
    """Return a row for each annotated segment, and for each utterance without a segment."""
    return [row for each in recordings if not each.error for row in _rows(each, study)]


def _rows(recording: Recording, study: Study | None) -> Iterable[Row]:
    segments = recording.truth.segments if recording.truth is not None else ()
    names = speaker_names(recording.predictions)
    raters = labels_of_segments(recording.annotators)
    pairs = [(m.truth, m.prediction) for m in recording.matches]
    pairs = pairs if recording.truth else [(None, n) for n in range(len(recording.predictions))]
    for of_truth, of_prediction in pairs:
        segment = None if of_truth is None else segments[of_truth]
        answer = None if of_prediction is None else recording.predictions[of_prediction]
        part = segment or answer
        assert part is not None
        speaker = segment.speaker if segment else names[key(answer)] if answer else ""
        emotion = segment.emotion if segment else None
        own = raters.get((part.start, part.end, speaker), {})
        yield {
            "system": recording.system,
            "recording": recording.name,
            **(study.of(recording.name, speaker) if study else dict.fromkeys(FIELDS, "")),
            "speaker": speaker,
            "start": part.start / NS,
            "end": part.end / NS,
            "outcome": outcome(segment, answer, segments, recording.predictions),
            "reference": emotion,
            "estimate": answer and answer.label,
            "correct": int(answer.label == emotion) if answer and emotion else None,
            "confidence": answer and round(confidence_of(answer), 6),
            "unknown": answer and int(answer.is_unknown),
            "valence": answer and round(answer.valence, 6),
            "arousal": answer and round(answer.arousal, 6),
            "reference_valence": segment and segment.valence,
            "reference_arousal": segment and segment.arousal,
            **{f"rater_{name}": own.get(name, "") for name in recording.annotators},
            **{
                f"p_{label}": answer and round(float(answer.probabilities[n]), 6)
                for n, label in enumerate(recording.labels)
            },
        }


def participant_rows(rows: Sequence[Row]) -> list[Row]:
    """Return the means of each participant in each condition, over rows of `utterance_rows`."""
    grouped: dict[tuple[str, str, str], list[Row]] = defaultdict(list)
    for row in rows:
        if row["participant"]:
            grouped[row["system"], row["participant"], row["condition"]].append(row)
    result = []
    for (system, participant, condition), own in sorted(grouped.items()):
        estimated = [row for row in own if row["estimate"]]
        scored = [row for row in own if row["correct"] is not None]
        counts = Counter(row["estimate"] for row in estimated)
        labels = [name.removeprefix("p_") for name in own[0] if name.startswith("p_")]
        result.append(
            {
                "system": system,
                "participant": participant,
                "condition": condition,
                "recordings": len({row["recording"] for row in own}),
                "utterances": len(estimated),
                "scored": len(scored),
                "accuracy": _mean(scored, "correct"),
                "valence": _mean(estimated, "valence"),
                "arousal": _mean(estimated, "arousal"),
                **{f"share_{each}": counts[each] / max(1, len(estimated)) for each in labels},
            }
        )
    return result


def _mean(rows: Sequence[Row], name: str) -> float | None:
    return float(np.mean([row[name] for row in rows])) if rows else None


def compare_conditions(rows: Sequence[Row], seed: int = 0) -> dict[str, list[Row]]:
    """Compare each pair of conditions within participants, over rows of `participant_rows`.

    Two-sided Wilcoxon signed-rank tests; p values of a system are corrected together (Holm 1979).
    The interval of the mean difference is a bootstrap over participants.

    Returns:
        system -> comparisons: measure, a, b, participants, difference (a - b), low, high, p,
        p_corrected; p is None below `MIN_PARTICIPANTS`.
    """
    from scipy.stats import wilcoxon

    result: dict[str, list[Row]] = {}
    for system in dict.fromkeys(row["system"] for row in rows):
        means = {(r["participant"], r["condition"]): r for r in rows if r["system"] == system}
        conditions = sorted({condition for _, condition in means if condition})
        comparisons: list[Row] = []
        for (a, b), measure in ((p, m) for p in combinations(conditions, 2) for m in MEASURES):
            pairs = [
                (row[measure], means[who, b][measure])
                for (who, condition), row in means.items()
                if condition == a and (who, b) in means
            ]
            pairs = [pair for pair in pairs if None not in pair]
            if not pairs:
                continue
            differences = np.array([first - second for first, second in pairs])
            entry: Row = {"measure": measure, "a": a, "b": b, "participants": len(pairs)}
            entry |= {"difference": float(differences.mean()), "low": None, "high": None, "p": None}
            if len(pairs) >= MIN_PARTICIPANTS:
                means_of = draws(len(pairs), RESAMPLES, seed) @ differences / len(pairs)
                entry["low"], entry["high"] = map(float, np.quantile(means_of, (0.025, 0.975)))
                entry["p"] = float(wilcoxon(differences).pvalue) if differences.any() else 1.0
            comparisons.append(entry)
        tested = [each for each in comparisons if each["p"] is not None]
        for each, p in zip(tested, holm([each["p"] for each in tested]), strict=True):
            each["p_corrected"] = p
        result[system] = comparisons
    return {system: each for system, each in result.items() if each}


def condition_lines(comparisons: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a sentence for each comparison, for console, report and methods.md."""
    lines = []
    for each in comparisons:
        text = f"{each['measure']}, {each['a']} minus {each['b']}: {each['difference']:+.3f}"
        if each["p"] is not None:
            text += f" (95 % CI {each['low']:+.3f} to {each['high']:+.3f})"
            text += f", p = {each['p']:.3f}, corrected {each['p_corrected']:.3f}"
        lines.append(f"{text}, {each['participants']} participants")
    return lines


def write_rows(rows: Sequence[Row], file: Path) -> Path:
    """Write a table as CSV; the columns are those of any row."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: "" if v is None else v for k, v in row.items()} for row in rows)
    write_whole(file, text.getvalue())
    return file
