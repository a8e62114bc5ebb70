"""Agreement of annotators: Cohen's and Fleiss' kappa, and Krippendorff's alpha, with intervals.

Two kinds of units are compared. By segment: annotations of different annotators are one unit if
they overlap by at least half of their union. By time: one unit each 0.1 s, where at least two
annotators have annotated an emotion.
"""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from erc_ros.annotations.records import Annotations, Segment
from erc_ros.metrics import classification
from erc_ros.metrics.classification import confusion
from erc_ros.metrics.figure import Figure
from erc_ros.values.files import write_whole
from erc_ros.values.nanoseconds import NS

STEP = NS // 10  # time between two units
SAME = 0.5  # minimum intersection over union of two annotations of one segment
BLOCK = 100  # units by time in one block of the bootstrap: 10 s
MIN_UNITS = 10  # below, no interval is stated
RESAMPLES = 1000
MISSING = -1
ADJUDICATED = "adjudicated"
"""Name of the annotator whose labels are final and do not count in the agreement."""

Labels = NDArray[np.int64]
"""(units, annotators): index of a label, or `MISSING`."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A segment that was annotated: its times in ns, its speaker, the label of each annotator.

    labels: "" for an annotator who marked no emotion.
    """

    start: int
    end: int
    speaker: str
    labels: tuple[str, ...]

    @property
    def majority(self) -> str:
        """Return the most frequent label; "" if several labels are equally frequent."""
        (most, count), *others = [*Counter(filter(None, self.labels)).most_common(), ("", 0)]
        return most if not others or count > others[0][1] else ""


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement over one kind of units; `n` of a figure is the number of its units.

    alpha: Krippendorff's, nominal; missing labels are allowed. fleiss: Fleiss' kappa, over the
        units that every annotator has labeled. observed: share of pairs of labels that are equal.
    cohen: (annotator, annotator) -> Cohen's kappa over the units that both have labeled.
    per_label: label -> Krippendorff's alpha of this label against all others.
    """

    units: int
    alpha: Figure
    fleiss: Figure
    observed: Figure
    cohen: Mapping[tuple[str, str], Figure]
    per_label: Mapping[str, Figure]


def segment_units(annotators: Mapping[str, Sequence[Segment]]) -> list[Unit]:
    """Return the annotated segments as units, sorted by time.

    If all annotators name the same speakers, a unit has segments of one speaker only.

    Args:
        annotators: name -> segments with emotions.
    """
    is_by_speaker = _name_the_same_speakers(annotators)
    units: list[tuple[Segment, dict[str, str]]] = []
    for name, segments in annotators.items():
        free = list(range(len(units)))
        for segment in (each for each in segments if each.emotion):
            shares = {
                number: _overlap(units[number][0], segment)
                for number in free
                if not is_by_speaker or units[number][0].speaker == segment.speaker
            }
            best = max(shares, key=lambda number: shares[number], default=None)
            if best is None or shares[best] < SAME:
                units.append((segment, {name: segment.emotion or ""}))
            else:
                units[best][1][name] = segment.emotion or ""
                free.remove(best)
    units.sort(key=lambda unit: (unit[0].start, unit[0].end, unit[0].speaker))
    return [
        Unit(
            first.start,
            first.end,
            first.speaker,
            tuple(labels.get(name, "") for name in annotators),
        )
        for first, labels in units
    ]


def labels_of_segments(
    annotators: Mapping[str, Sequence[Segment]],
) -> dict[tuple[int, int, str], dict[str, str]]:
    """Return (start, end, speaker) of each unit of `segment_units` -> annotator -> label."""
    return {
        (unit.start, unit.end, unit.speaker): {
            name: label for name, label in zip(annotators, unit.labels, strict=True) if label
        }
        for unit in (segment_units(annotators) if annotators else ())
    }


def time_units(annotators: Mapping[str, Sequence[Segment]]) -> list[tuple[str, ...]]:
    """Return the labels of all annotators every 0.1 s at which at least two have one.

    If all annotators name the same speakers, each speaker has separate units.
    """
    is_by_speaker = _name_the_same_speakers(annotators)
    columns: dict[tuple[str, int], dict[str, str]] = {}
    for name, segments in annotators.items():
        for segment in (each for each in segments if each.emotion):
            speaker = segment.speaker if is_by_speaker else ""
            for number in range(-(-segment.start // STEP), -(-segment.end // STEP)):
                columns.setdefault((speaker, number), {}).setdefault(name, segment.emotion or "")
    units = [labels for _, labels in sorted(columns.items()) if len(labels) > 1]
    return [tuple(labels.get(name, "") for name in annotators) for labels in units]


def agreement(
    units: Sequence[Sequence[str]], names: Sequence[str], block: int = 1, seed: int = 0
) -> Agreement:
    """Compute the agreement over units.

    Args:
        units: labels of each annotator in the order of `names`; "" for a missing label.
        block: units that are resampled together for the intervals (95 %, percentile bootstrap).

    Raises:
        ValueError: fewer than two annotators.
    """
    if len(names) < 2:
        raise ValueError(f"agreement requires two annotators or more, not {len(names)}")
    labels = sorted({label for unit in units for label in unit if label})
    index = {label: number for number, label in enumerate(labels)} | {"": MISSING}
    rows = [[index[label] for label in unit] for unit in units]
    data = np.array(rows, np.int64).reshape(len(units), len(names))
    data = data[(data != MISSING).sum(1) >= 2]
    count = len(labels)

    def figure(of: Callable[[Labels], float | None], kept: NDArray[np.bool_]) -> Figure:
        return _figure(of, data[kept], block, seed)

    paired = {
        (names[a], names[b]): figure(
            lambda part, a=a, b=b: cohen_kappa(part[:, a], part[:, b]),  # type: ignore[misc]
            (data[:, [a, b]] != MISSING).all(1),
        )
        for a, b in combinations(range(len(names)), 2)
    }
    everything = np.ones(len(data), np.bool_)
    per_label = {
        label: figure(
            lambda part, n=n: krippendorff_alpha(_one_against_all(part, n), 2),  # type: ignore[misc]
            everything,
        )
        for n, label in enumerate(labels)
    }
    return Agreement(
        len(data),
        figure(lambda part: krippendorff_alpha(part, count), everything),
        figure(lambda part: fleiss_kappa(part, count), (data != MISSING).all(1)),
        figure(lambda part: observed_agreement(part, count), everything),
        paired,
        per_label,
    )


def krippendorff_alpha(data: Labels, labels: int) -> float | None:
    """Krippendorff's alpha for nominal data; None where only one label occurs.

    Source: K. Krippendorff, Computing Krippendorff's Alpha-Reliability (2011).
    """
    import krippendorff

    counts = _counts(data, labels)
    if np.count_nonzero(counts.sum(0)) < 2:
        return None
    return float(krippendorff.alpha(value_counts=counts, level_of_measurement="nominal"))


def fleiss_kappa(data: Labels, labels: int) -> float | None:
    """Fleiss' kappa of units that all annotators have labeled; None where it is undefined.

    Source: J. L. Fleiss, Measuring nominal scale agreement among many raters (1971).
    """
    counts = _counts(data, labels)
    raters = data.shape[1]
    if not len(counts):
        return None
    observed = ((counts**2).sum(1) - raters) / (raters * (raters - 1))
    expected = float(((counts.sum(0) / counts.sum()) ** 2).sum())
    return None if expected == 1 else float((observed.mean() - expected) / (1 - expected))


def cohen_kappa(first: Labels, second: Labels) -> float | None:
    """Cohen's kappa of two annotators; None where it is undefined."""
    if not len(first):
        return None
    kappa = float(classification.cohen_kappa(confusion(first, second, max(*first, *second) + 1)))
    return None if math.isnan(kappa) else kappa


def observed_agreement(data: Labels, labels: int) -> float | None:
    """Return the share of equal pairs of labels within a unit; None without units."""
    counts = _counts(data, labels)
    raters = counts.sum(1)
    pairs = float((raters * (raters - 1)).sum())
    return float((counts * (counts - 1)).sum() / pairs) if pairs else None


def soft_figures(
    labels: Sequence[str],
    raters: Sequence[Sequence[str]],
    probabilities: NDArray[np.float64],
    seed: int = 0,
) -> dict[str, Figure]:
    """Compare estimated probabilities with the distribution of the annotators' labels.

    Args:
        labels: C names. raters: for each of N utterances its annotated labels, at least one.
            probabilities: (N, C), each row with sum 1.

    Returns:
        means over utterances: `cross_entropy` (nats); its lower bound, the `entropy` (nats) of
        the annotators' labels; `jensen_shannon` divergence (bits, 0..1). Empty for N = 0.
    """
    from scipy.spatial.distance import jensenshannon
    from scipy.special import entr

    if not raters:
        return {}
    counts = [[own.count(label) for label in labels] for own in raters]
    given = np.array(counts, np.float64) / np.sum(counts, axis=1, keepdims=True)
    values = {
        "cross_entropy": -(given * np.log(np.maximum(probabilities, 1e-12))).sum(axis=1),
        "entropy": entr(given).sum(axis=1),
        "jensen_shannon": jensenshannon(given, probabilities, base=2, axis=1) ** 2,
    }
    return {
        name: _figure(lambda part: float(part.mean()), each, 1, seed)
        for name, each in values.items()
    }


def consensus(truths: Mapping[str, Annotations], final: Annotations | None = None) -> Annotations:
    """Return the majority annotation of several annotators.

    Times, words and speakers are those of the first annotator who marked a segment. Its emotion is
    the most frequent label, if at least half of the annotators gave a label; a segment with equally
    frequent labels has no emotion.

    Args:
        truths: annotator -> truth, at least one.
        final: adjudicated segments; their emotions replace the majority's.
    """
    units = segment_units({name: truth.segments for name, truth in truths.items()})
    decided = {
        (unit.start, unit.end, unit.speaker): unit.majority
        for unit in units
        if 2 * sum(map(bool, unit.labels)) >= len(truths)
    }
    first, *others = truths.values()
    segments = list(first.segments)
    own = {(each.start, each.end, each.speaker) for each in segments}
    of_units = {(unit.start, unit.end, unit.speaker) for unit in units}
    for truth in others:
        for each in truth.segments:
            place = each.start, each.end, each.speaker
            if each.emotion and place in of_units and place not in own:
                own.add(place)
                segments.append(each)
    segments = [
        replace(each, emotion=decided.get((each.start, each.end, each.speaker)) or None)
        for each in sorted(segments, key=lambda each: (each.start, each.end, each.speaker))
    ]
    notices = [notice for truth in truths.values() for notice in truth.notices]
    adjudicated = {_written(each): each.emotion for each in (final.segments if final else ())}
    if unknown := set(adjudicated) - set(map(_written, segments)):
        notices.append(f"{len(unknown)} adjudicated segments were not annotated and are not used")
    segments = [
        replace(each, emotion=adjudicated.get(_written(each)) or each.emotion) for each in segments
    ]
    undecided = sum(
        not each.emotion and (each.start, each.end, each.speaker) in of_units for each in segments
    )
    if undecided:
        notices.append(f"{undecided} segments have no majority label and are not scored")
    truths = truths if final is None else {**truths, ADJUDICATED: final}
    counts = (truth.unmapped for truth in truths.values())
    repairs = (truth.repaired for truth in truths.values())
    return Annotations(
        tuple(segments),
        dict(sum(map(Counter, counts), Counter())),
        dict(sum(map(Counter, repairs), Counter())),
        tuple(dict.fromkeys(file for truth in truths.values() for file in truth.files)),
        tuple(reading for truth in truths.values() for reading in truth.readings),
        tuple(dict.fromkeys(notices)),
        undecided,
        sum(bool(adjudicated.get(_written(each))) for each in segments),
    )


def write_adjudication(
    path: Path, recordings: Mapping[str, tuple[int, Sequence[Unit]]], names: Sequence[str]
) -> int:
    """Write the segments with different labels and return their number.

    The column `emotion` has the majority's label or is empty, to be filled in; the file is read as
    annotations by `--truth adjudicated=FILE`.

    Args:
        recordings: name -> (offset in ns that is added to the times, units).
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["recording", "start", "end", "speaker", "emotion", *names])
    count = 0
    for recording, (origin, units) in recordings.items():
        for unit in (unit for unit in units if len(set(filter(None, unit.labels))) > 1):
            times = [f"{(time + origin) / NS:.3f}" for time in (unit.start, unit.end)]
            writer.writerow([recording, *times, unit.speaker, unit.majority, *unit.labels])
            count += 1
    write_whole(path, text.getvalue())
    return count


def _written(part: Unit | Segment) -> tuple[str, str, str]:
    """Format times and speaker of a segment as in the file of `write_adjudication`."""
    return f"{part.start / NS:.3f}", f"{part.end / NS:.3f}", part.speaker


def _name_the_same_speakers(annotators: Mapping[str, Sequence[Segment]]) -> bool:
    first, *others = [{each.speaker for each in segments} for segments in annotators.values()]
    return all(each == first for each in others)


def _overlap(a: Segment, b: Segment) -> float:
    """Return the intersection over union of the times of two segments."""
    shared = min(a.end, b.end) - max(a.start, b.start)
    return max(0, shared) / (max(a.end, b.end) - min(a.start, b.start))


def _counts(data: Labels, labels: int) -> NDArray[np.int64]:
    """Return (units, labels): the number of annotators who gave each label."""
    return np.stack([(data == label).sum(1) for label in range(labels)], 1).astype(np.int64)


def _one_against_all(data: Labels, label: int) -> Labels:
    return np.where(data == MISSING, MISSING, (data == label).astype(np.int64))


def _figure(
    of: Callable[[NDArray[Any]], float | None], data: NDArray[Any], block: int, seed: int
) -> Figure:
    value = of(data) if len(data) else None
    blocks = [data[first : first + block] for first in range(0, len(data), block)]
    if value is None or len(data) < MIN_UNITS or len(blocks) < MIN_UNITS:
        return Figure(value, n=len(data))
    random = np.random.default_rng(seed)
    values = []
    for _ in range(RESAMPLES):
        chosen = random.integers(len(blocks), size=len(blocks))
        again = of(np.concatenate([blocks[number] for number in chosen]))
        values.append(math.nan if again is None else again)
    low, high = np.nanpercentile(values, (2.5, 97.5))
    return Figure(value, float(low), float(high), len(data))
