"""Convert recordings and scores to plain values for the template of the report."""

from __future__ import annotations

import math
import wave
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import yaml
from numpy.typing import NDArray

from erc_ros.annotations.records import Segment
from erc_ros.evaluation import pictures
from erc_ros.evaluation.matching import outcome
from erc_ros.evaluation.media import Media
from erc_ros.evaluation.names import (
    clean,
    clock,
    confidence_of,
    key,
    moment,
    shown_label,
    speaker_names,
)
from erc_ros.evaluation.records import Prediction, Recording, Scores
from erc_ros.evaluation.results import notices, reading_in_words
from erc_ros.metrics.figure import Figure
from erc_ros.metrics.timelines import Span, speaker_mapping
from erc_ros.replay.timeline import COLOURS
from erc_ros.values.nanoseconds import NS
from erc_ros.values.utterance import MODALITIES, SAMPLE_RATE
from erc_ros.values.why import Distrust, explain, name_of, or_nan

MAIN_FIGURES = (
    *("accuracy", "majority_accuracy", "chance_accuracy", "unweighted_recall", "weighted_f1"),
    "kappa",
    *("coverage", "accuracy_covered", "calibration_error"),
    *("teer", "steer", "der", "jer", "eder", "cpwer"),
    *("missed", "invented", "latency_p95_ms"),
)  # the others are collapsed
_OTHERS = ("#8c6bb1", "#c7a76c", "#1b9e77", "#e7298a", "#8d8d8d")  # colors of other label sets
# How labels differ in black and white, in addition to their letters.
_PATTERNS = (
    "none",
    "repeating-linear-gradient(45deg, #0004 0 2px, #0000 2px 7px)",
    "repeating-linear-gradient(-45deg, #0004 0 2px, #0000 2px 7px)",
    "repeating-linear-gradient(0deg, #0004 0 2px, #0000 2px 7px)",
    "repeating-linear-gradient(90deg, #0004 0 2px, #0000 2px 7px)",
    "radial-gradient(#0006 1.2px, #0000 1.6px) 0 0/6px 6px",
    "repeating-linear-gradient(45deg, #0005 0 4px, #0000 4px 12px)",
    "repeating-linear-gradient(90deg, #0004 0 4px, #0000 4px 12px)",
)
RIGHT, WRONG, UNKNOWN = "right", "wrong", "unknown"
MISSED, MERGED, INVENTED, SPLIT = "missed", "merged", "invented", "split"  # see `outcome`
UNLABELED = "no emotion annotated"
DIFFER = "systems differ"
_MARKS = {WRONG: "✗ ", MISSED: "! ", MERGED: "& ", INVENTED: "+ ", SPLIT: "/ ", UNKNOWN: "? "}
_STYLES = {WRONG: "wrong", MISSED: "missed", MERGED: "missed", INVENTED: "invented"}
_STYLES |= {SPLIT: "invented"}
WAVE_POINTS = 2000  # maximum number of points of a waveform


@dataclass(frozen=True)
class Emotion:
    """A label, its style class, and its shortest unique prefix of two letters or more."""

    name: str
    style: str
    short: str


def emotions_of(labels: Iterable[str]) -> dict[str, Emotion]:
    names = {label: clean(label) for label in labels}
    short: dict[str, str] = {}
    for name in sorted(set(names.values()), key=lambda name: (len(name), name)):
        beginnings = (name[:n] for n in range(2, len(name)))
        short[name] = next((each for each in beginnings if each not in short.values()), name)
    return {
        label: Emotion(name, f"e{number}", short[name])
        for number, (label, name) in enumerate(names.items())
    }


def labels_of(recording: Recording) -> Iterator[str]:
    yield from recording.labels
    if recording.truth is not None:
        yield from (s.emotion for s in recording.truth.segments if s.emotion is not None)


def css_of(emotions: Mapping[str, Emotion]) -> str:
    """Return CSS with color and pattern of each emotion; it contains no user input."""
    lines = []
    for number, (label, emotion) in enumerate(emotions.items()):
        color = _paler(COLOURS.get(label, _OTHERS[number % len(_OTHERS)]))
        pattern = _PATTERNS[number % len(_PATTERNS)]
        lines.append(f".{emotion.style} {{ background: {pattern}; background-color: {color}; }}")
    return "\n".join(lines)


def _paler(color: str) -> str:
    """Mix a color with white, so that black letters are legible."""
    return "#" + "".join(f"{(int(color[i : i + 2], 16) + 255) // 2:02x}" for i in (1, 3, 5))


@dataclass
class _Row:
    """An annotated segment and the prediction of each system, or None."""

    truth: Segment | None
    answers: list[Prediction | None]
    outcomes: list[str] = field(default_factory=list)
    number: int = 0
    sound: str | None = None
    faces: list[str | None] = field(default_factory=list)

    @property
    def spans(self) -> list[tuple[int, int]]:
        parts = [self.truth, *self.answers]
        return [(part.start, part.end) for part in parts if part is not None]

    @property
    def start(self) -> int:
        return self.truth.start if self.truth else min(start for start, _ in self.spans)

    def status_of(self, place: int) -> str:
        """Return the status of one system's estimate; "" if there is nothing to compare."""
        answer = self.answers[place]
        if self.truth is None or answer is None or not self.outcomes[place]:
            return self.outcomes[place]
        if self.truth.emotion is None:
            return UNLABELED
        if answer.is_unknown:
            return UNKNOWN
        return RIGHT if self.truth.emotion == answer.label else WRONG

    def status(self) -> str:
        statuses = {self.status_of(place) for place in range(len(self.answers))}
        return statuses.pop() if len(statuses) == 1 else DIFFER


class View:
    """One recording of the page, with the predictions of all systems."""

    def __init__(
        self, recordings: Sequence[Recording], with_text: bool, media: Media, sound: Path | None
    ) -> None:
        self._recordings = recordings
        self._whole = [r for r in recordings if not r.error]
        self._with_text = with_text
        self._truth = next((r.truth for r in self._whole if r.truth is not None), None)
        self._names = [_names_of(r) for r in self._whole]
        self._rows = sorted(_rows(self._whole), key=lambda row: (row.start, row.spans))
        reader = None if sound is None else _Wav(sound)
        for number, row in enumerate(self._rows):
            row.number = number
            row.sound = media.sound(_samples(row, reader))
            row.faces = [media.face(answer.face) if answer else None for answer in row.answers]
        self._sound = sound
        self._wave = self._envelope(reader) if media.is_wanted else ""

    def page(self, emotions: Mapping[str, Emotion]) -> dict[str, Any]:
        """Return what the template needs, and in `data` what the page's script needs."""
        lengths = [end - start for row in self._rows for start, end in row.spans]
        usual = float(np.median(lengths)) / NS if lengths else 1.0
        rows = [self._content(row, emotions) for row in self._rows]
        first = self._recordings[0]
        errors = dict.fromkeys(clean(r.error) for r in self._recordings if r.error)
        people = list(self._people())
        return {
            "name": clean(first.name),
            "error": "" if self._whole else "; ".join(errors),
            "duration": clock(first.duration),
            "seconds": self._seconds,
            "began": f"{moment(first.origin):%Y-%m-%d %H:%M:%S} UTC",
            "has_truth": self._truth is not None,
            "systems": [clean(r.system) for r in self._whole],
            "wave": self._wave,
            "wave_points": self._wave.count(",") // 2 - 1,
            "player": self._player(),
            "robot": list(self._robot()),
            "lanes": list(self._lanes(emotions)),
            "rows": rows,
            "speakers": sorted({name for row in rows for name in row["who"]}),
            "statuses": sorted({row["status"] for row in rows} - {""}),
            "data": {
                "seconds": self._seconds,
                "scale": round(45 / max(usual, 0.1), 3),  # shows the label of a usual utterance
                "systems": [clean(r.system) for r in self._whole],
                "labels": [[clean(label) for label in r.labels] for r in self._whole],
                "rows": rows,
            },
            "arcs": pictures.arcs(people, self._seconds) if people else "",
            "arcs_alt": "Valence and arousal over time. " + "; ".join(map(_arc_in_words, people)),
            "missing": list(self._missing()),
            "notices": list(dict.fromkeys(clean(n) for r in self._whole for n in notices(r))),
            "readings": [
                (clean(r.file), clean(r.tier), clean(reading_in_words(r)), r.annotations)
                for r in (self._truth.readings if self._truth else ())
            ],
        }

    @property
    def _seconds(self) -> float:
        return max(1.0, round(max((r.duration for r in self._whole), default=0) / NS, 3))

    def _robot(self) -> Iterator[dict[str, Any]]:
        for start, end in self._whole[0].robot if self._whole else ():
            yield {**self._place(start, end), "spoken": f"{clock(start)} to {clock(end)}"}

    def _place(self, start: int, end: int) -> dict[str, float]:
        """Return position and width in the timeline, %."""
        scale = 100 / NS / self._seconds
        return {"left": round(start * scale, 4), "width": round((end - start) * scale, 4)}

    def _player(self) -> dict[str, str]:
        """Return the files with the recording's audio and, if available, video."""
        if self._sound is None:
            return {}
        video = self._sound.with_suffix(".mp4")
        names = {"audio": self._sound.name, "video": video.name if video.is_file() else ""}
        return {kind: quote(name) for kind, name in names.items()}

    def _envelope(self, sound: _Wav | None) -> str:
        """Return the SVG path of the peak level in each of `WAVE_POINTS` parts, 0..100 high."""
        count = int(min(WAVE_POINTS, 20 * self._seconds))
        part = self._seconds * NS / count
        peaks = np.zeros(count)
        clips = [(a.start, a.audio) for r in self._whole for a in r.predictions]
        for number in range(count if sound is not None else 0):
            assert sound is not None
            samples = sound.between(int(number * part), int((number + 1) * part))
            peaks[number] = np.abs(samples.astype(np.int32)).max(initial=0)
        for start, audio in clips if sound is None else ():
            if audio is not None:
                times = start + np.arange(len(audio)) * (NS // SAMPLE_RATE)
                places = np.minimum(times // int(part), count - 1).astype(np.int64)
                np.maximum.at(peaks, places, np.abs(audio.astype(np.int32)))
        if not peaks.any():
            return ""
        heights = np.rint(49 * peaks / peaks.max()).astype(int)
        above = (f"{n},{50 - height}" for n, height in enumerate(heights))
        below = (f"{n},{50 + height}" for n, height in reversed(list(enumerate(heights))))
        return f"M0,50 L{' '.join(above)} {' '.join(below)}Z"

    def _content(self, row: _Row, emotions: Mapping[str, Emotion]) -> dict[str, Any]:
        """Return a row of the table, with the details that the page's script shows."""
        predictions = [answer for answer in row.answers if answer is not None]
        texts = [each.text for each in (row.truth, *predictions) if each is not None and each.text]
        labels = [row.truth.emotion] if row.truth and row.truth.emotion is not None else []
        segment = row.truth
        truth = segment and {
            "who": _truth_name(segment),
            "text": self._text(segment.text),
            "valence": segment.valence,
            "arousal": segment.arousal,
            **_shown(segment.emotion, emotions),
        }
        is_used = predictions and any(predictions[0].modalities)
        return {
            "number": row.number,
            "time": clock(row.start),
            "status": row.status(),
            "start": round(row.start / NS, 3),
            "sound": row.sound,
            "truth": truth,
            "answers": [self._answer(row, n, emotions) for n in range(len(self._whole))],
            "who": self._speakers(row),
            "emotions": [clean(label) for label in (*labels, *(p.label for p in predictions))],
            "text": self._text(" / ".join(dict.fromkeys(texts))),
            "seen": ", ".join(_modalities(predictions[0])) if is_used else "–",
        }

    def _answer(
        self, row: _Row, place: int, emotions: Mapping[str, Emotion]
    ) -> dict[str, Any] | None:
        answer = row.answers[place]
        if answer is None:
            return None
        return {
            **_shown(answer.label, emotions),
            "who": self._names[place][key(answer)],
            "emotion": clean(shown_label(answer)),
            "confidence": f"{confidence_of(answer):.0%}",
            "text": self._text(answer.text),
            "probabilities": [_number(value, 4) for value in answer.probabilities],
            "why": [_modality(answer, name, place) for place, name in enumerate(MODALITIES)],
            "sentences": [clean(line) for line in explain(answer.label, answer.why)],
            "face": row.faces[place],
            "facts": list(_facts(answer)),
        }

    def _text(self, text: str | None) -> str:
        return clean(text or "") if self._with_text else ""

    def _speakers(self, row: _Row) -> list[str]:
        annotated = [_truth_name(row.truth)] if row.truth else []
        answers = zip(row.answers, self._names, strict=True)
        return [*annotated, *(names[key(answer)] for answer, names in answers if answer)]

    def _lanes(self, emotions: Mapping[str, Emotion]) -> Iterator[dict[str, Any]]:
        """Yield the lanes: annotation, then each system; one per speaker by first appearance."""
        lanes: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for row in self._rows:
            if row.truth is not None:
                status = row.status()
                status = status if status in (MISSED, MERGED) else ""
                lane = lanes.setdefault(("annotation", _truth_name(row.truth)), [])
                lane.append(self._bar(row, row.truth, row.truth.emotion, status, emotions))
        for place, recording in enumerate(self._whole):
            # Sorted by start, as the arrow keys move from one to the next.
            answers = [(row.answers[place], row) for row in self._rows]
            spoken = sorted(
                ((a, row) for a, row in answers if a is not None), key=lambda e: e[0].start
            )
            for answer, row in spoken:
                name = self._names[place][key(answer)]
                lane = lanes.setdefault((clean(recording.system), name), [])
                status = row.status_of(place)
                lane.append(self._bar(row, answer, answer.label, status, emotions))
        before = ""
        for (heading, name), bars in lanes.items():
            shown = heading if heading != before else ""
            yield {"heading": shown, "heading_of": heading, "name": name, "bars": bars}
            before = heading

    def _bar(
        self,
        row: _Row,
        part: Segment | Prediction,
        label: str | None,
        status: str,
        emotions: Mapping[str, Emotion],
    ) -> dict[str, Any]:
        emotion = emotions.get(label) if label is not None else None
        name = emotion.name if emotion else "no emotion"
        description = [clock(part.start), name, status, self._text(part.text)]
        return {
            "row": row.number,
            **self._place(part.start, part.end),
            "style": f"{emotion.style if emotion else ''} {_STYLES.get(status, '')}".strip(),
            "mark": _MARKS.get(status, ""),
            "label": emotion.name if emotion else "?",
            "spoken": ", ".join(filter(None, description)),
        }

    def _people(self) -> Iterator[pictures.Arc]:
        several = len(self._whole) > 1
        for place, recording in enumerate(self._whole):
            names = self._names[place]
            spoken: dict[str, list[tuple[Prediction, Segment | None]]] = {}
            for row in self._rows:
                answer = row.answers[place]
                if answer is not None:
                    spoken.setdefault(names[key(answer)], []).append((answer, row.truth))
            for name, entries in spoken.items():
                entries.sort(key=lambda entry: entry[0].start)
                times = [(answer.start + answer.end) / 2 / NS for answer, _ in entries]
                truth = [
                    (time, or_nan(segment.valence), or_nan(segment.arousal))
                    for time, (_, segment) in zip(times, entries, strict=True)
                    if segment is not None
                ]
                yield pictures.Arc(
                    f"{name} ({clean(recording.system)})" if several else name,
                    np.array(times),
                    np.array([answer.valence for answer, _ in entries]),
                    np.array([answer.arousal for answer, _ in entries]),
                    np.array(truth, dtype=float).reshape(-1, 3),
                )

    def _missing(self) -> Iterator[tuple[str, list[tuple[str, int | None]]]]:
        """Yield warnings, counters, and annotations that were not used."""
        for recording in self._recordings:
            if recording.error:
                heading = f"Could not be evaluated by {clean(recording.system)}"
                yield heading, [(clean(recording.error), None)]
        yield from self._by_system("Warnings", [_other_warnings(r) for r in self._whole])
        yield from self._by_system("Missing modalities", [_missing_inputs(r) for r in self._whole])
        if self._truth is not None:
            yield from _entries("Annotated emotions that are not evaluated", self._truth.unmapped)
            yield from _entries("Repaired in the annotation", self._truth.repaired)

    def _by_system(
        self, heading: str, counts: Sequence[Mapping[str, int]]
    ) -> Iterator[tuple[str, list[tuple[str, int | None]]]]:
        """Yield one entry if all systems have the same counts, else one for each system."""
        if all(dict(each) == dict(counts[0]) for each in counts):
            yield from _entries(heading, counts[0] if counts else {})
            return
        for recording, each in zip(self._whole, counts, strict=True):
            yield from _entries(f"{heading}, {clean(recording.system)}", each)


def _other_warnings(recording: Recording) -> dict[str, int]:
    """The warnings that are not at the top of the report."""
    shown = notices(recording)
    return {text: count for text, count in recording.warnings.items() if text not in shown}


def _missing_inputs(recording: Recording) -> dict[str, int]:
    """Return missing input -> number of predictions without it."""
    predictions = recording.predictions
    missing = {
        f"utterances without {name}": sum(not each.modalities[place] for each in predictions)
        for place, name in enumerate(("words", "voice", "a face"))
    }
    missing["utterances without a final estimate"] = sum(not each.is_final for each in predictions)
    return {name: count for name, count in missing.items() if count}


def _entries(
    heading: str, counts: Mapping[str, int]
) -> Iterator[tuple[str, list[tuple[str, int | None]]]]:
    if counts:
        yield heading, [(clean(name), count) for name, count in sorted(counts.items())]


def _rows(recordings: Sequence[Recording]) -> Iterator[_Row]:
    """Yield one row per annotated segment, then one per utterance without a segment.

    Utterances of several systems share a row if their ids and times are equal.
    """
    truth = next((r.truth for r in recordings if r.truth is not None), None)
    rows = [_Row(s, [None] * len(recordings)) for s in truth.segments] if truth else []
    others: dict[tuple[int, int, str, str], _Row] = {}
    for place, recording in enumerate(recordings):
        of = {m.prediction: m.truth for m in recording.matches if m.prediction is not None}
        for index, prediction in enumerate(recording.predictions):
            segment = of.get(index)
            if segment is not None:
                rows[segment].answers[place] = prediction
                continue
            span = prediction.start, prediction.end
            same = (*span, prediction.conversation_id, prediction.utterance_id)
            row = others.setdefault(same, _Row(None, [None] * len(recordings)))
            row.answers[place] = prediction
    for row in (*rows, *others.values()):
        for recording, answer in zip(recordings, row.answers, strict=True):
            is_empty = truth is None or (row.truth is None and answer is None)
            segments = truth.segments if truth else ()
            row.outcomes.append(
                "" if is_empty else outcome(row.truth, answer, segments, recording.predictions)
            )
        yield row


def _names_of(recording: Recording) -> dict[tuple[str, str], str]:
    """Return names of estimated speakers, each with the annotated speaker of greatest overlap."""
    names = speaker_names(recording.predictions)
    segments = recording.truth.segments if recording.truth is not None else ()
    if not segments or not all(segment.speaker for segment in segments):
        return names
    reference = [Span(s.start, s.end, s.speaker, s.speaker) for s in segments]
    extent = [(min(s.start for s in segments), max(s.end for s in segments))]
    for conversation in {conversation for conversation, _ in names}:
        own = [p for p in recording.predictions if p.conversation_id == conversation]
        estimated = [Span(p.start, p.end, p.speaker, p.speaker) for p in own]
        for speaker, person in speaker_mapping(reference, estimated, extent).items():
            key_ = conversation, str(speaker)
            if names[key_] != (name := clean(str(person))):
                names[key_] += f" = {name}"
    return names


class _Wav:
    """The audio of a whole recording, read part by part.

    Raises:
        ValueError: it is not mono, 16 bit, 16 kHz.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        with wave.open(str(file), "rb") as stream:
            channels, width, rate = stream.getparams()[:3]
        if (channels, width, rate) != (1, 2, SAMPLE_RATE):
            raise ValueError(
                f"{file}: {channels} channels of {8 * width} bit at {rate} Hz; the report needs "
                f"mono, 16 bit, {SAMPLE_RATE} Hz"
            )

    def between(self, start: int, end: int) -> NDArray[np.int16]:
        """Return (n,) int16 from `start` to `end` (ns), clipped to the file."""
        with wave.open(str(self._file), "rb") as stream:
            first = min(max(0, start * SAMPLE_RATE // NS), stream.getnframes())
            stream.setpos(first)
            data = stream.readframes(max(0, end * SAMPLE_RATE // NS - first))
        return np.frombuffer(data, "<i2").astype(np.int16)


def _modalities(answer: Prediction) -> Iterator[str]:
    """Yield the modalities that were used, for the table."""
    for modality, had in zip(MODALITIES, answer.modalities, strict=True):
        why = answer.why.get(modality)
        if had:
            yield name_of(modality) + (" (not trusted)" if why and why.distrust else "")


def _modality(answer: Prediction, name: str, place: int) -> dict[str, Any]:
    """Return one modality's row: its own estimate, its reliability, its effect on the result.

    Numbers are null where they are not known; `weight` is null where the modality was missing.
    """
    why = answer.why.get(name)
    return {
        "name": name_of(name),
        "weight": _number(answer.weights[place], 4) if answer.modalities[place] else None,
        "indicates": clean(why.indicates) if why else "",
        "probability": _number(why.probability, 4) if why and why.indicates else None,
        "reliability": None if why is None or name == "text" else why.reliability,
        "distrust": Distrust(why.distrust).explanation if why and why.distrust else "",
    }


def _samples(row: _Row, sound: _Wav | None) -> NDArray[np.int16] | None:
    if sound is not None:
        return sound.between(min(s for s, _ in row.spans), max(e for _, e in row.spans))
    return next((a.audio for a in row.answers if a is not None and a.audio is not None), None)


def _truth_name(segment: Segment) -> str:
    return clean(segment.speaker) or "unnamed speaker"


def _shown(label: str | None, emotions: Mapping[str, Emotion]) -> dict[str, str]:
    if label is None:
        return {"emotion": "not annotated", "style": "", "short": "?"}
    emotion = emotions[label]
    return {"emotion": emotion.name, "style": emotion.style, "short": emotion.short}


def _facts(answer: Prediction) -> Iterator[str]:
    yield f"valence {answer.valence:+.2f}, arousal {answer.arousal:+.2f}"
    if answer.latency is not None:
        yield f"estimated after {answer.latency / 1e6:.0f} ms"
    if answer.signal_to_noise is not None:
        yield f"{answer.signal_to_noise:.0f} dB above the noise"
    if answer.overlap:
        yield f"two or more speakers in {answer.overlap:.0%} of the time"
    if answer.speaker_confidence is not None:
        yield f"speaker confidence {answer.speaker_confidence:.0%}"
    if not answer.is_final:
        yield "draft: there is no final estimate"


def _arc_in_words(person: pictures.Arc) -> str:
    return (
        f"{person.name}: mean valence {person.valence.mean():+.2f}, "
        f"mean arousal {person.arousal.mean():+.2f} in {len(person.times)} utterances"
    )


def figures(
    scores: Scores, agreement: Mapping[str, Mapping[str, Any]] | None = None
) -> list[dict[str, Any]]:
    """Return the rows of the table of scores; `human`: the same between the annotators."""
    names = list(dict.fromkeys(name for system in scores.systems for name in system.figures))
    compared = {each.figure: each for each in scores.comparisons}
    human = next(iter(agreement.values()))["human"] if agreement else {}
    content = (resources.files(__package__) / "templates" / "figures.yaml").read_text("utf-8")
    words = yaml.safe_load(content)
    rows = []
    for name in names:
        shown, meaning, unit, better = words.get(name) or _part(name, words)
        cells: list[str] = []
        for system in scores.systems:
            figure = system.figures.get(name, Figure(None))
            n = f"{figure.n:g} {unit}".strip()
            cells += [_value(figure.value), _interval(figure.low, figure.high), n]
        if scores.comparisons:
            difference = compared.get(name)
            if difference is None:
                cells += ["", "", "", ""]
            else:
                p = [
                    "" if e is None else f"{e:.3f}" for e in (difference.p, difference.p_corrected)
                ]
                interval = _interval(difference.low, difference.high)
                cells += [f"{difference.value:+.3f}", interval, *p]
        is_main = name in MAIN_FIGURES or len(names) <= len(MAIN_FIGURES)
        row = {"name": shown, "meaning": meaning, "better": better, "key": clean(name)}
        row |= {
            "cells": cells,
            "is_main": is_main,
            "human": _value(human.get(name)) if human else "",
        }
        rows.append(row)
    return rows


def _part(name: str, words: Mapping[str, Sequence[str]]) -> Sequence[str]:
    """Return name, meaning, unit and direction of "f1 LABEL", part of an error, or a plugin."""
    whole, _, part = clean(name).partition(" ")
    if whole in words and part:
        of, _, unit, better = words[whole]
        return f"{of}: {part.replace('_', ' ')}", "", unit, better
    return clean(name).replace("_", " "), "", "", "higher" if whole == "f1" else ""


def groups(scores: Scores) -> list[dict[str, Any]]:
    kinds = dict.fromkeys(kind for system in scores.systems for kind in system.groups)
    result = []
    for kind in kinds:
        parts = [(s, name, f) for s in scores.systems for name, f in s.groups.get(kind, {}).items()]
        columns = list(dict.fromkeys(name for _, _, figures in parts for name in figures))
        rows = [
            {
                "name": clean(name),
                "system": clean(system.system),
                "cells": [_value(figures.get(column, Figure(None)).value) for column in columns],
            }
            for system, name, figures in parts
        ]
        shown = [clean(column).replace("_", " ") for column in columns]
        result.append({"name": clean(kind).replace("_", " "), "figures": shown, "rows": rows})
    return result


def _value(value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{_value(low)} to {_value(high)}"


def _number(value: float, digits: int) -> float | None:
    return round(float(value), digits) if math.isfinite(value) else None
