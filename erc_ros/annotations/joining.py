"""Join the marks of a recording's files into one annotation: one clock, label set and segment list.

Each annotated text of a speaker is a segment; where there is no text, each turn; where there is
neither, each emotion. A segment has the emotion (valence, arousal) of its speaker that covers most
of it, if that is at least half.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from erc_ros.annotations.marks import UNIX_TIME, AnnotationError, Mark, place, read_text
from erc_ros.annotations.records import Annotations, Segment, TierReading
from erc_ros.annotations.suggestion import is_of_emotions
from erc_ros.annotations.vocabulary import UNKNOWN_WORDS, meant_label
from erc_ros.values.nanoseconds import NS

_BASES = ("text", "speech", "emotion")
_ATTRIBUTES = ("emotion", "valence", "arousal")
_KINDS = ("speech", "text", *_ATTRIBUTES)
SAME_TIMES = 0.8  # share of annotations of two files that must be at the same times
_OTHER_TIER = "according to its name, it has neither words, turns nor emotions"
_LEFT_OUT = "excluded by the label map"
UNSURE = "unknown ("  # prefix of an estimate below `min_confidence` that was not corrected


@dataclass(frozen=True, slots=True)
class LabelMap:
    """The meaning of annotated labels and tiers.

    labels: annotated emotion in lower case -> label, "" excludes it.
    tiers: name of a tier -> "KIND@SPEAKER", "" excludes it.
    """

    labels: Mapping[str, str] = field(default_factory=dict)
    tiers: Mapping[str, str] = field(default_factory=dict)


def read_label_map(path: Path, section: str = "labels") -> LabelMap:
    """Read YAML: the sections `labels:` and `tiers:`, or lines of one section (`happy: joy`).

    Args:
        section: the section of lines without a section.

    Raises:
        AnnotationError: not YAML, or no mapping of names to names (`~` excludes a label or tier).
    """
    try:
        content = yaml.safe_load(read_text(path)) or {}
    except yaml.YAMLError as error:
        raise AnnotationError(f"{path.name} is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise AnnotationError(f"{path.name}: must be lines such as `happy: joy`")
    if not {"labels", "tiers"}.isdisjoint(content) or any(
        isinstance(value, dict) for value in content.values()
    ):
        if unknown := set(content) - {"labels", "tiers"}:
            raise AnnotationError(
                f"{path.name}: sections are labels and tiers, not {sorted(unknown)}"
            )
        labels, tiers = content.get("labels") or {}, content.get("tiers") or {}
    else:
        labels, tiers = (content, {}) if section == "labels" else ({}, content)
    for each in (labels, tiers):
        if not isinstance(each, dict):
            raise AnnotationError(f"{path.name}: a section must be lines such as `happy: joy`")
        for key, value in each.items():
            if not isinstance(key, str) or not (value is None or isinstance(value, str)):
                raise AnnotationError(f"{path.name}: {key}: {value} must map a name to a name")
    for tier, value in tiers.items():
        if value and value.partition("@")[0] not in _KINDS:
            raise AnnotationError(
                f"{path.name}: tier {tier!r} is mapped to {value!r}; must be KIND@SPEAKER with "
                f"KIND one of {', '.join(_KINDS)}, or ~"
            )
    return LabelMap(
        {key.strip().casefold(): value or "" for key, value in labels.items()},
        {key: value or "" for key, value in tiers.items()},
    )


def join(
    marks: Iterable[Mark],
    *,
    origin: int,
    duration: int,
    labels: Sequence[str],
    mapping: LabelMap | None = None,
    offset: int = 0,
) -> Annotations:
    """Return the annotation of one recording.

    Args:
        marks: of all its files, and of it alone (see `of_recording`).
        origin, duration: ns, of the recording. Annotations begin at 0 or are in Unix time.
        offset: ns, added to every time of the annotations.
        labels: those that are evaluated.

    Raises:
        AnnotationError: no annotation is within the recording; two contradict each other; files
            have no speaker in common, or annotate the same at other times; a tier cannot be what
            its name says; a mapping to an unknown label; no emotion is a label; a span ends before
            it starts; a valence is not a number in -1..1.
    """
    mapping = mapping or LabelMap()
    repaired: Counter[str] = Counter()
    known, readings = read_tiers(list(marks), mapping, labels, repaired)
    files = tuple(dict.fromkeys(mark.source.file for mark in known))
    placed = _placed(known, origin, duration, offset, repaired)
    segments, unmapped = _segments(placed, mapping, labels, repaired)
    segments.sort(key=lambda each: (each.start, each.end, each.speaker))
    return Annotations(
        tuple(segments),
        dict(sorted(unmapped.items())),
        dict(sorted(repaired.items())),
        files,
        readings,
        tuple(_notices(known, segments, unmapped, labels)),
    )


def read_tiers(
    marks: Sequence[Mark],
    mapping: LabelMap,
    labels: Sequence[str],
    repaired: Counter[str] | None = None,
) -> tuple[list[Mark], tuple[TierReading, ...]]:
    """Return the annotations that are evaluated, and how each tier was read.

    The recording is not needed, so that mistakes are reported before a long run.

    Raises:
        AnnotationError: see `join`.
    """
    _check_mapping(mapping, labels)
    _check_tiers(marks, mapping, labels)
    repaired = Counter() if repaired is None else repaired
    known = [mark for each in marks if (mark := _meant(each, mapping, repaired)) is not None]
    _check_names(known, labels)
    _check_emotions(known, mapping, labels)
    _check_clocks(known)
    return known, _readings(marks, mapping)


def check_times(marks: Sequence[Mark], span: tuple[int, int], offset: int) -> None:
    """Check that some of the annotations are within a recording's first and last message (ns).

    Raises:
        AnnotationError: no annotation is.
    """
    _placed(marks, span[0], span[1] - span[0], offset, Counter())


def _readings(marks: Sequence[Mark], mapping: LabelMap) -> tuple[TierReading, ...]:
    counts: dict[tuple[str, str, str], Counter[str]] = {}
    excluded: dict[tuple[str, str, str], str] = {}
    for mark in marks:
        tier, kind, speaker, reason = mark.source.tier, mark.kind, mark.speaker, ""
        if tier and tier in mapping.tiers:
            kind, _, speaker = mapping.tiers[tier].partition("@")
            reason = "" if kind else _LEFT_OUT
        elif not kind:
            reason = _OTHER_TIER
        key = mark.source.file, tier, speaker
        counts.setdefault(key, Counter())[kind] += 1
        excluded[key] = reason
    return tuple(
        TierReading(
            *(file, tier),
            tuple(kind for kind in _KINDS if kinds[kind]),
            speaker,
            max(kinds.values()),
            excluded[file, tier, speaker],
        )
        for (file, tier, speaker), kinds in counts.items()
    )


def _check_tiers(marks: Sequence[Mark], mapping: LabelMap, labels: Sequence[str]) -> None:
    """Check the tiers that were read as words of a person only because of their name."""
    values: dict[tuple[str, str], list[str]] = defaultdict(list)
    guessed: set[tuple[str, str]] = set()
    named: dict[str, set[str]] = defaultdict(set)  # speakers from mappings and participants
    for mark in marks:
        file, tier = mark.source.file, mark.source.tier
        if tier in mapping.tiers:
            named[file].add(mapping.tiers[tier].partition("@")[2])
            continue
        if mark.is_guess and mark.kind:
            guessed.add((file, tier))
        elif mark.kind and mark.speaker:
            named[file].add(mark.speaker)
        if mark.kind == "text" and tier and mark.value:
            values[file, tier].append(mark.value)
    for (file, tier), texts in values.items():
        if is_of_emotions(texts, labels):
            raise AnnotationError(
                f"{file}: tier {tier!r} was read as the words of {tier!r}, but almost all of its "
                f"{len(texts)} annotations are emotions ({_some(set(texts), 3)}): give --tiers "
                f"FILE with `{tier}: emotion@SPEAKER` (`--suggest-tiers {file}` writes a draft)"
            )
    everybody = {name.casefold() for names in named.values() for name in names if name}
    for file in dict.fromkeys(file for file, _ in guessed):
        if not any(name for name in named[file]):
            continue  # the file names its tiers after people
        unclear = {tier for of, tier in guessed if of == file and tier.casefold() not in everybody}
        if unclear:
            some = sorted(unclear)[0]
            raise AnnotationError(
                f"{file}: it is not clear what {_quoted(unclear)} "
                f"{'annotates' if len(unclear) == 1 else 'annotate'}: the file has other tiers of "
                f"{_some(named[file] - {''})}. Give --tiers FILE with `{some}: text@SPEAKER` or, "
                f"to exclude it, `{some}: ~` (`--suggest-tiers {file}` writes a draft)"
            )


def _quoted(tiers: Collection[str]) -> str:
    return f"tier{'s' if len(tiers) > 1 else ''} " + _some({repr(tier) for tier in tiers})


def _check_emotions(marks: Sequence[Mark], mapping: LabelMap, labels: Sequence[str]) -> None:
    """Check that at least one emotion can be scored."""
    words = Counter(mark.value for mark in marks if mark.kind == "emotion")
    if words and not any(_is_known(word, mapping, labels) for word in words):
        raise AnnotationError(
            f"none of the annotated emotions ({_some(words)}) is a label of the model package "
            f"({', '.join(labels)}): map them in a file for --labels, "
            f"{_suggested_map(words, labels)}; `WORD: ~` excludes one"
        )


def _is_known(word: str, mapping: LabelMap, labels: Sequence[str]) -> bool:
    name = word.casefold()
    return name in mapping.labels or any(label.casefold() == name for label in labels)


def _suggested_map(words: Iterable[str], labels: Sequence[str]) -> str:
    """Return a suggestion such as "`happy: joy`, `bored: ~`"."""
    return ", ".join(
        f"`{word}: {meant_label(word, labels) or '~'}`" for word in sorted(words)[:_SUGGESTED]
    )


_SUGGESTED = 12  # maximum number of words in a suggestion


def _check_clocks(marks: Sequence[Mark]) -> None:
    """Check that two files that annotate the same person have the same clock."""
    spans: dict[tuple[str, str], dict[str, list[Mark]]] = defaultdict(lambda: defaultdict(list))
    for mark in marks:
        spans[mark.kind, mark.speaker][mark.source.file].append(mark)
    for (kind, speaker), files in spans.items():
        names = list(files)
        for number, second in enumerate(names):
            for first in names[:number]:
                _check_clock(kind, speaker, files[first], files[second])


def _check_clock(kind: str, speaker: str, first: Sequence[Mark], second: Sequence[Mark]) -> None:
    start = max(min(mark.start for mark in each) for each in (first, second))
    end = min(max(mark.end for mark in each) for each in (first, second))
    both = [[m for m in each if m.end > start and m.start < end] for each in (first, second)]
    fewer, more = sorted(both, key=len)
    if not fewer:
        return  # one begins where the other ends
    spans = _Spans(more)
    same = sum(_covering(mark, spans) is not None for mark in fewer)
    if same < SAME_TIMES * len(fewer):
        content = {"text": "words", "speech": "turns", "emotion": "emotions"}.get(kind, kind)
        raise AnnotationError(
            f"{first[0].source.file} and {second[0].source.file} both annotate the {content} of "
            f"{speaker or 'the recording'}, and {len(fewer) - same} of {len(fewer)} annotations "
            "are at other times: two annotators, or two clocks. Name the annotators (--truth "
            "RA1=FILE RA2=FILE), each with its own --offset"
        )


def _notices(
    marks: Sequence[Mark],
    segments: Sequence[Segment],
    unmapped: Mapping[str, int],
    labels: Sequence[str],
) -> Iterator[str]:
    """Yield sentences for the user about annotations that are not scored."""
    if not any(mark.kind == "emotion" for mark in marks):
        yield "the annotations have no emotions: only speakers and words can be scored"
    if unmapped:
        count = sum(unmapped.values())
        total = count + sum(segment.emotion is not None for segment in segments)
        words = ", ".join(f"{word} ({number})" for word, number in unmapped.items())
        yield (
            f"{count} of {total} annotated emotions are not labels of the model package and are "
            f"not scored: {words}; map them with --labels, {_suggested_map(unmapped, labels)}"
        )


def of_recording(marks: Sequence[Mark], name: str) -> list[Mark]:
    """Return the marks of the recording `name`; all if the file has at most one name."""
    recordings = {mark.recording for mark in marks} - {""}
    if len(recordings) <= 1:
        return list(marks)
    own = [mark for mark in marks if mark.recording in ("", name)]
    if not any(mark.recording for mark in own):
        raise AnnotationError(
            f"{marks[0].source.file} annotates {_some(recordings)}, not {name}; rename it there"
        )
    return own


def _some(names: Collection[str], most: int = 5) -> str:
    shown = ", ".join(sorted(names)[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


def _check_mapping(mapping: LabelMap, labels: Sequence[str]) -> None:
    for annotated, label in mapping.labels.items():
        if label and label not in labels:
            near = meant_label(label, labels) or meant_label(annotated, labels)
            hint = f"; did you mean {near}?" if near else ""
            raise AnnotationError(
                f"{annotated!r} is mapped to {label!r}, not one of {', '.join(labels)}{hint}"
            )


def _check_names(marks: Sequence[Mark], labels: Sequence[str]) -> None:
    """Check that speakers are not emotions, and have the same names in all files."""
    speakers: dict[str, set[str]] = defaultdict(set)
    for mark in marks:
        if mark.speaker:
            speakers[mark.source.file].add(mark.speaker)
    for file, names in speakers.items():
        if len(names) > 1 and names <= set(labels):
            raise AnnotationError(
                f"{file} names emotions as speakers ({_some(names)}); call it NAME.emotion.rttm"
            )
    files = list(speakers)
    for file in files[1:]:
        if not speakers[file] & speakers[files[0]]:
            raise AnnotationError(
                f"{files[0]} and {file} have no speaker in common ({_some(speakers[files[0]])}; "
                f"{_some(speakers[file])}): give the same names in both"
            )


def _meant(mark: Mark, mapping: LabelMap, repaired: Counter[str]) -> Mark | None:
    if (tier := mark.source.tier) and tier in mapping.tiers:
        kind, _, speaker = mapping.tiers[tier].partition("@")
        mark = replace(mark, kind=kind, speaker=speaker)
    if not mark.kind:
        repaired[f"tier {mark.source.tier!r} of {mark.source.file}: not evaluated"] += 1
        return None
    if mark.end < mark.start:
        raise AnnotationError(
            f"{place(mark.source)}: ends at {mark.end / NS:.3f} s, before it starts at "
            f"{mark.start / NS:.3f} s"
        )
    if mark.end == mark.start:
        repaired["annotations without duration, excluded"] += 1
        return None
    if mark.kind != "speech" and not mark.value:
        repaired["empty annotations"] += 1
        return replace(mark, kind="speech") if mark.kind == "text" else None
    return mark


def _placed(
    marks: Sequence[Mark], origin: int, duration: int, offset: int, repaired: Counter[str]
) -> list[Mark]:
    """Move annotations to the recording's clock; cut or exclude those outside, and count them."""
    if not marks:
        return []
    clock = origin if min(mark.start for mark in marks) >= UNIX_TIME else 0
    placed = []
    for mark in marks:
        start, end = mark.start - clock + offset, mark.end - clock + offset
        if end <= 0 or start >= duration:
            repaired["annotations outside the recording, excluded"] += 1
            continue
        if start < 0 or end > duration:
            repaired["annotations past an end of the recording, cut"] += 1
        placed.append(replace(mark, start=max(0, start), end=min(duration, end)))
    if not placed:
        first = (min(mark.start for mark in marks) - clock + offset) / NS
        last = (max(mark.end for mark in marks) - clock + offset) / NS
        raise AnnotationError(
            f"{_some({mark.source.file for mark in marks})}: annotates {first:.1f} to "
            f"{last:.1f} s, the recording lasts from 0 to {duration / NS:.1f} s: annotations "
            "of another recording, or give --offset"
        )
    return placed


class _Spans:
    """Marks of one speaker, searched by time."""

    def __init__(self, marks: Iterable[Mark]) -> None:
        self.marks = sorted(marks, key=lambda mark: (mark.start, mark.end))
        self._starts = [mark.start for mark in self.marks]
        self._longest = max((mark.end - mark.start for mark in self.marks), default=0)

    def overlapping(self, start: int, end: int) -> list[Mark]:
        first = bisect_left(self._starts, start - self._longest)
        last = bisect_left(self._starts, end)
        return [mark for mark in self.marks[first:last] if mark.end > start]


def _shared(a: Mark, b: Mark) -> int:
    return min(a.end, b.end) - max(a.start, b.start)


def _once(marks: Iterable[Mark], repaired: Counter[str]) -> list[Mark]:
    """Return marks of one kind and speaker, without duplicates.

    Raises:
        AnnotationError: two marks differ that overlap by at least half of the shorter one.
    """
    kept: list[Mark] = []
    for mark in sorted(marks, key=lambda mark: (mark.start, mark.end)):
        same = None
        for place_, other in list(enumerate(kept))[-8:]:  # earlier ones have ended
            shared = _shared(mark, other)
            shorter = min(mark.end - mark.start, other.end - other.start)
            if shared <= 0:
                continue
            if 2 * shared < shorter:
                repaired["annotations of one speaker that overlap a little"] += 1
            elif _value(mark) == _value(other):
                same = place_
            else:
                first, second = other.source.file, mark.source.file
                remedy = f": if these are two annotators, give --truth A='{first}' B='{second}'"
                raise AnnotationError(
                    f"{place(other.source)} and {place(mark.source)} contradict each other from "
                    f"{mark.start / NS:.3f} s on: {_shown(other)} and {_shown(mark)}"
                    + (remedy if first != second else "")
                )
        if same is None:
            kept.append(mark)
        else:
            kept[same] = replace(kept[same], end=max(kept[same].end, mark.end))
            repaired["annotations that say the same again"] += 1
    return kept


def _value(mark: Mark) -> str:
    return " ".join(mark.value.casefold().split())


def _shown(mark: Mark) -> str:
    return f"two {mark.kind}s" if mark.kind == "text" else f"{mark.kind} {mark.value!r}"


def _segments(
    marks: Sequence[Mark], mapping: LabelMap, labels: Sequence[str], repaired: Counter[str]
) -> tuple[list[Segment], Counter[str]]:
    grouped: dict[tuple[str, str], list[Mark]] = defaultdict(list)
    for mark in marks:
        grouped[mark.kind, mark.speaker].append(mark)
    once = {key: _once(each, repaired) for key, each in grouped.items()}
    bases = _bases(once)
    anybody = {kind: _Spans(once.get((kind, ""), ())) for kind in _ATTRIBUTES}
    unmapped: Counter[str] = Counter()
    used: set[Mark] = set()
    segments = []
    for speaker, own in bases.items():
        spans = {kind: _Spans(once.get((kind, speaker), ())) for kind in _ATTRIBUTES}
        for base in own:
            values: dict[str, Any] = {}
            for kind in _ATTRIBUTES:
                best = _covering(base, spans[kind]) or _covering(base, anybody[kind])
                if best is not None:
                    used.add(best)
                    values[kind] = best
            emotion = None
            if "emotion" in values:
                emotion = _label(values["emotion"].value, mapping, labels)
                if not emotion and _is_excluded(values["emotion"].value, mapping):
                    repaired["emotions that the label map or the annotator excludes"] += 1
                elif not emotion:
                    unmapped[values["emotion"].value] += 1
            segments.append(
                Segment(
                    base.start,
                    base.end,
                    speaker,
                    base.value if base.kind == "text" else None,
                    emotion or None,
                    _number(values.get("valence")),
                    _number(values.get("arousal")),
                    base.source,
                )
            )
    left = sum(
        mark not in used for key, each in once.items() if key[0] in _ATTRIBUTES for mark in each
    )
    if left:
        repaired["emotions, valences and arousals that cover half of no segment"] += left
    return segments, unmapped


def _bases(once: Mapping[tuple[str, str], Sequence[Mark]]) -> dict[str, list[Mark]]:
    """Return speaker -> the marks that become segments."""
    bases: dict[str, list[Mark]] = defaultdict(list)
    for kind in _BASES:
        for (of, speaker), marks in once.items():
            if of != kind:
                continue
            others = [*bases.values()] if kind == "emotion" and not speaker else [bases[speaker]]
            taken = _Spans(mark for each in others for mark in each)
            bases[speaker] = bases[speaker] + [
                mark for mark in marks if not _is_covered(mark, taken)
            ]
    return bases


def _is_covered(mark: Mark, taken: _Spans) -> bool:
    """Whether half of it, or of one within it, is already taken."""
    overlapping = taken.overlapping(mark.start, mark.end)
    return any(
        2 * _shared(mark, other) >= other.end - other.start for other in overlapping
    ) or 2 * sum(_shared(mark, other) for other in overlapping) >= (mark.end - mark.start)


def _covering(base: Mark, spans: _Spans) -> Mark | None:
    overlapping = spans.overlapping(base.start, base.end)
    best = max(overlapping, key=lambda mark: _shared(base, mark), default=None)
    if best is None or 2 * _shared(base, best) < base.end - base.start:
        return None
    return best


def _is_excluded(annotated: str, mapping: LabelMap) -> bool:
    """Whether the label map or the annotator excludes this emotion."""
    name = annotated.casefold()
    if name in mapping.labels:
        return not mapping.labels[name]
    return name in UNKNOWN_WORDS or name.startswith(UNSURE)


def _label(annotated: str, mapping: LabelMap, labels: Sequence[str]) -> str:
    name = annotated.casefold()
    if name in mapping.labels:
        return mapping.labels[name]
    return next((label for label in labels if label.casefold() == name), "")


def _number(mark: Mark | None) -> float | None:
    if mark is None:
        return None
    try:
        value = float(mark.value)
    except ValueError:
        value = float("nan")
    if not -1 <= value <= 1:
        raise AnnotationError(
            f"{place(mark.source)}: {mark.kind} {mark.value!r} is not a number in -1..1"
        )
    return value
