"""Readers of transcript files: SRT, WebVTT, JSON of speech recognizers, CTM, STM, tables.

A cue is one entry: a text with its time span, and speaker and word times if the file has them.
Times count from the start of the recording.
"""

from __future__ import annotations

import csv
import html
import io
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from erc_ros.dialogue.non_speech import spoken_words
from erc_ros.media.files import ORIGIN
from erc_ros.values.bounds import CUES, ID, TEXT, TRANSCRIPT_BYTES, shown
from erc_ros.values.errors import ErcValueError
from erc_ros.values.files import decode
from erc_ros.values.nanoseconds import NS, seconds
from erc_ros.values.transcript import Transcript, Word

DELAY = seconds(0.3)  # of a recognized text after the end of its words
PAUSE = seconds(0.8)  # between words of a CTM file that separates cues
MIN_ROLLING = 3  # subtitles that repeat the last line of the previous one, in rolling captions
_LONGEST = 10**8  # s
_MISFIT = 0.2  # maximum share of cues outside the recording


class TranscriptError(ErcValueError):
    """A transcript cannot be used; the message names file, line and remedy."""


@dataclass(frozen=True, slots=True)
class Cue:
    """One entry of a transcript. start, end: ns from the start of the recording.

    speaker, locale: "" if unknown. confidence: 0..1, None if unknown.
    """

    start: int
    end: int
    text: str
    speaker: str = ""
    words: tuple[Word, ...] = ()
    confidence: float | None = None
    locale: str = ""


def read_cues(path: Path) -> list[Cue]:
    """Read the cues of a transcript file, sorted by time.

    Raises:
        TranscriptError: the file type is unknown, the content malformed or empty.
        OSError: the file could not be read.
    """
    reader = READERS.get(path.suffix.casefold())
    if reader is None:
        kinds = ", ".join(sorted({*READERS, ".eaf", ".TextGrid"}))
        raise TranscriptError(f"{path.name} is not a transcript with times; supported are {kinds}")
    with path.open("rb") as stream:
        content = stream.read(TRANSCRIPT_BYTES + 1)
    if len(content) > TRANSCRIPT_BYTES:
        raise TranscriptError(
            f"{path.name} has more than {TRANSCRIPT_BYTES >> 20} MiB: split the recording"
        )
    try:
        cues = reader(decode(content, path.name))
    except TranscriptError as error:
        raise TranscriptError(f"{path.name}: {error}") from error
    cues = [cue for cue in cues if spoken_words(cue.text)]  # without "[Music]"
    for cue in cues:
        if cue.end < cue.start:
            raise TranscriptError(
                f"{path.name}: an entry ends at {cue.end / NS:.3f} s, before it starts at "
                f"{cue.start / NS:.3f} s"
            )
    if not cues:
        raise TranscriptError(f"{path.name} has no text with times")
    if len(cues) > CUES:
        raise TranscriptError(f"{path.name} has {len(cues)} entries; at most {CUES} are allowed")
    return sorted(cues, key=lambda cue: (cue.start, cue.end))


def check_fit(cues: Sequence[Cue], duration: int, name: str = "the transcript") -> None:
    """Check that the times of a transcript match a recording of `duration` ns.

    Raises:
        TranscriptError: many cues begin after the end of the recording.
    """
    late = sum(cue.start >= duration for cue in cues)
    if not cues or not duration or late <= _MISFIT * len(cues):
        return
    last = max(cue.end for cue in cues)
    remedy = "it seems to belong to another recording"
    if late > 0.5 * len(cues) and 100 * duration < last < 1100 * duration:
        remedy = "its times seem to be milliseconds; this format requires seconds"
    raise TranscriptError(
        f"{name}: {late} of {len(cues)} entries begin after the end of the recording "
        f"({duration / NS:.1f} s; the last entry ends at {last / NS:.1f} s): {remedy}"
    )


def transcripts_of(
    cues: Iterable[Cue], voices: Mapping[str, str] = MappingProxyType({})
) -> list[Transcript]:
    """Return the transcripts that a speech recognizer would publish, in the order of arrival.

    A named speaker sets `voice_id` and `person_id`, which determine the speaker.

    Args:
        voices: speaker -> synonyms `voice_id`.
    """
    names = dict(voices)
    transcripts = []
    for cue in cues:
        voice = names.setdefault(cue.speaker, f"speaker_{len(names)}") if cue.speaker else ""
        words = tuple(Word(w.text, ORIGIN + w.start, ORIGIN + w.end) for w in cue.words)
        transcripts.append(
            Transcript(
                text=cue.text[:TEXT],
                arrival=ORIGIN + cue.end + DELAY,
                start=ORIGIN + cue.start,
                end=ORIGIN + cue.end,
                words=words,
                confidence=cue.confidence,
                locale=cue.locale,
                voice_id=voice,
                person_id=cue.speaker[:ID],
            )
        )
    return sorted(transcripts, key=lambda each: each.arrival)


# --- subtitles ---

_CLOCK = r"(?:(\d+):)?(\d{1,2}):(\d{1,2})[.,](\d{1,3})"
_TIMES = re.compile(rf"^\s*{_CLOCK}\s*-->\s*{_CLOCK}(?:\s.*)?$")
_INLINE = re.compile(rf"<{_CLOCK}>")
_VOICE = re.compile(r"<v(?:\.[^\s>]*)?\s+([^>]+)>")
_TAG = re.compile(r"<[^>\n]{0,200}>|\{\\[^}\n]{0,200}\}")
# "Anna: ...", and "[SPEAKER_00]: ..." of WhisperX
_NAME = re.compile(r"^(?:\[([^\]\n]{1,40})\]|([^\W\d_][\w .'-]{0,30})):\s+(?=\S)")


def _subtitles(text: str) -> list[Cue]:
    """Read SRT and WebVTT: times, markup and `<v Anna>` or `ANNA:` speakers.

    Not pysubs2, which drops WebVTT's speakers, or webvtt-py, which reads "02,5" of SRT as 2.005 s.
    """
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    heads = [n for n, line in enumerate(lines) if _TIMES.match(line)]
    named = [_speaker(_TAG.sub("", lines[n + 1])) for n in heads if n + 1 < len(lines)]
    names = [name for name, _ in named if name]
    # A single "WARNING: ..." is text; names are repeated, or most subtitles have one.
    speakers = {name for name in names if names.count(name) > 1 or len(names) > len(heads) / 2}
    bodies = [
        _body(lines[head + 1 : end])
        for head, end in zip(heads, [*heads[1:], len(lines)], strict=False)
    ]
    cues = []
    for head, body in zip(heads, _unrolled(bodies), strict=True):
        match = _TIMES.match(lines[head])
        assert match is not None
        start, stop = _clock(match.groups()[:4]), _clock(match.groups()[4:])
        cues += _cues_of(" ".join(body), start, stop, speakers)
    return cues


def _body(lines: Sequence[str]) -> list[str]:
    """Return the lines of a subtitle, up to an empty line; a line of spaces is a part of it."""
    body = list(lines[: lines.index("")] if "" in lines else lines)
    if len(body) > 1 and body[-1].strip().isdecimal() and not body[-2].strip():
        del body[-1]  # the number of the next subtitle, after a separator of spaces
    return [line for line in body if line.strip()]


def _unrolled(bodies: Sequence[list[str]]) -> list[list[str]]:
    """Remove the lines that automatic captions repeat while they scroll."""
    plain = [[" ".join(_TAG.sub("", line).split()) for line in body] for body in bodies]
    repeats = [
        int(bool(one and other) and one[-1] == other[0])
        for one, other in zip([[], *plain], plain, strict=False)
    ]
    if sum(repeats) < max(MIN_ROLLING, len(bodies) // 2):  # a person may repeat a text
        return list(bodies)
    return [body[repeated:] for body, repeated in zip(bodies, repeats, strict=True)]


def _cues_of(body: str, start: int, end: int, speakers: set[str]) -> list[Cue]:
    """Return one cue per `<v Name>` span of a subtitle."""
    spans = [(m.start(), m[1].strip()) for m in _VOICE.finditer(body)] or [(0, "")]
    cues = []
    for number, (begin, speaker) in enumerate(spans):
        stop = spans[number + 1][0] if number + 1 < len(spans) else len(body)
        text = " ".join(html.unescape(_TAG.sub("", _INLINE.sub("", body[begin:stop]))).split())
        name, words = _speaker(text)
        if not speaker and name in speakers:
            speaker, text = name, words
        if text:
            cues.append(Cue(start, end, text, speaker))
    return cues


def _speaker(text: str) -> tuple[str, str]:
    """Split a text into the capitalized name before it, or "", and its words."""
    match = _NAME.match(text)
    name = (match[1] or match[2]).strip() if match else ""
    if match is None or name[:1].islower():
        return "", text
    return name, text[match.end() :]


def _clock(parts: Sequence[str | None]) -> int:
    hours, minutes, whole, fraction = (part or "0" for part in parts)
    if len(hours) > 5:
        raise TranscriptError(f"{shown(hours)} hours are not a time of a recording")
    milliseconds = int(fraction.ljust(3, "0"))
    return ((int(hours) * 60 + int(minutes)) * 60 + int(whole)) * NS + milliseconds * 1_000_000


# --- speech recognizers ---


def _json(text: str) -> list[Cue]:
    """Read JSON of Whisper, WhisperX, faster-whisper, whisper.cpp, Vosk, and SegLST."""
    try:
        content = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise TranscriptError(f"not JSON ({type(error).__name__})") from error
    try:
        if isinstance(content, Mapping) and isinstance(content.get("segments"), list):
            locale = str(content.get("language") or "")
            return [_segment(each, locale) for each in content["segments"]]
        if isinstance(content, Mapping) and isinstance(content.get("transcription"), list):
            result = content.get("result")
            locale = str(result.get("language") or "") if isinstance(result, Mapping) else ""
            return [_whisper_cpp(each, locale) for each in content["transcription"]]
        entries = content if isinstance(content, list) else [content]
        if entries and all(isinstance(e, Mapping) and "start_time" in e for e in entries):
            return [_seglst(each) for each in entries]
        return [
            cue
            for each in entries
            if isinstance(each, Mapping) and each.get("result")
            for cue in _grouped([(_word(w), "") for w in each["result"]])
        ]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, TranscriptError):
            raise
        raise TranscriptError(
            f"a field is missing or malformed ({type(error).__name__}); supported are the JSON of "
            "Whisper, WhisperX, whisper.cpp, Vosk and SegLST"
        ) from error


def _segment(each: Mapping[str, Any], locale: str) -> Cue:
    # WhisperX omits the times of words that it could not align.
    words = [w for w in each.get("words") or () if "start" in w and "end" in w]
    return Cue(
        _seconds(each["start"]),
        _seconds(each["end"]),
        str(each["text"]).strip(),
        str(each.get("speaker") or ""),
        tuple(_word(w) for w in words) if len(words) == len(each.get("words") or ()) else (),
        _probability(each.get("avg_logprob")),
        locale,
    )


def _probability(logarithm: Any) -> float | None:
    if not isinstance(logarithm, (int, float)) or not logarithm <= 0:
        return None
    return math.exp(logarithm)


def _word(each: Mapping[str, Any]) -> Word:
    text = str(each.get("word", each.get("text", ""))).strip()
    return Word(text, _seconds(each["start"]), _seconds(each["end"]))


def _whisper_cpp(each: Mapping[str, Any], locale: str) -> Cue:
    start, end = _offsets(each)
    text = str(each["text"]).strip()
    words: list[Word] = []
    for token in each.get("tokens") or ():  # parts of words; a space starts the next one
        part = str(token["text"])
        if part.startswith("[_"):  # a special token, such as a time
            continue
        first, last = _offsets(token)
        if words and not part.startswith(" "):
            words[-1] = Word(words[-1].text + part, words[-1].start, max(first, last))
        else:
            words.append(Word(part.strip(), first, max(first, last)))
    if " ".join(word.text for word in words) != " ".join(text.split()):
        words = []  # characters are split between tokens
    return Cue(start, end, text, str(each.get("speaker") or ""), tuple(words), locale=locale)


def _offsets(each: Mapping[str, Any]) -> tuple[int, int]:
    """Return start and end (ns)."""
    offsets = each["offsets"]
    return _seconds(float(offsets["from"]) / 1000), _seconds(float(offsets["to"]) / 1000)


def _seglst(each: Mapping[str, Any]) -> Cue:
    return Cue(
        _seconds(each["start_time"]),
        _seconds(each["end_time"]),
        str(each["words"]).strip(),
        str(each.get("speaker") or ""),
    )


def _grouped(words: Sequence[tuple[Word, str]]) -> list[Cue]:
    """Group timed words into cues, split at pauses and speaker changes."""
    groups: list[list[tuple[Word, str]]] = []
    for word, speaker in words:
        if groups and groups[-1][-1][1] == speaker and word.start - groups[-1][-1][0].end < PAUSE:
            groups[-1].append((word, speaker))
        else:
            groups.append([(word, speaker)])
    return [
        Cue(
            group[0][0].start,
            group[-1][0].end,
            " ".join(word.text for word, _ in group),
            group[0][1],
            tuple(word for word, _ in group),
        )
        for group in groups
    ]


# --- NIST formats and tables ---


def _ctm(text: str) -> list[Cue]:
    """Read CTM: `recording channel start duration word [confidence]`, in seconds."""
    words: dict[str, list[tuple[Word, str]]] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        fields = line.split()
        if not fields or fields[0].startswith(";;"):
            continue
        if len(fields) < 5:
            raise TranscriptError(f"line {number}: needs recording channel start duration word")
        start = _seconds(fields[2], number)
        word = Word(fields[4], start, start + _seconds(fields[3], number))
        words.setdefault(fields[1], []).append((word, ""))
    return [cue for each in words.values() for cue in _grouped(each)]


def _stm(text: str) -> list[Cue]:
    """Read STM: `recording channel speaker start end [<labels>] words...`, in seconds."""
    cues = []
    for number, line in enumerate(text.splitlines(), start=1):
        fields = line.split(maxsplit=5)
        if not fields or fields[0].startswith(";;"):
            continue
        if len(fields) < 5:
            raise TranscriptError(f"line {number}: needs recording channel speaker start end words")
        words = re.sub(r"^<[^>]*>\s*", "", fields[5] if len(fields) > 5 else "")
        if words.strip().casefold() != "ignore_time_segment_in_scoring":
            times = _seconds(fields[3], number), _seconds(fields[4], number)
            cues.append(Cue(*times, words, fields[2]))
    return cues


_COLUMNS = {
    "start": ("start", "start_time", "begin", "begin time - ss.msec", "from", "onset"),
    "end": ("end", "end_time", "end time - ss.msec", "to", "offset"),
    "text": ("text", "transcript", "words", "transcription", "utterance", "content"),
    "speaker": ("speaker", "participant", "who", "name", "tier"),
}


def _table(text: str) -> list[Cue]:
    """Read CSV or TSV with columns start, end, text, optionally speaker; allow decimal commas."""
    head = text.partition("\n")[0]
    delimiter = max(";\t,", key=head.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, restval="")
    names = {str(name).strip().casefold(): name for name in reader.fieldnames or ()}
    columns = {
        key: next((names[name] for name in synonyms if name in names), None)
        for key, synonyms in _COLUMNS.items()
    }
    if None in (columns["start"], columns["end"], columns["text"]):
        raise TranscriptError(
            f"the columns are {shown(', '.join(names))}; needs start, end and text (and speaker)"
        )
    # The .tsv of Whisper has exactly these columns, in milliseconds.
    unit = 1000.0 if delimiter == "\t" and list(names) == ["start", "end", "text"] else 1.0
    cues = []
    try:
        for row in reader:
            fields = {key: str(row[name] or "").strip() for key, name in columns.items() if name}
            start, end = (
                round(_seconds(fields[key], reader.line_num) / unit) for key in ("start", "end")
            )
            cues.append(Cue(start, end, fields["text"], fields.get("speaker", "")))
    except csv.Error as error:
        raise TranscriptError(f"line {reader.line_num}: {error}") from error
    return cues


def _seconds(value: Any, line: int = 0) -> int:
    """Convert a number of seconds or a clock time (H:MM:SS.mmm) to ns."""
    place = f"line {line}: " if line else ""
    text = str(value).strip().replace(",", ".")
    hours, minutes, second = ("0:0:" + text).split(":")[-3:]
    try:
        time = float(second) + 60 * int(minutes) + 3600 * int(hours)
    except ValueError:
        time = math.nan
    if not 0 <= time <= _LONGEST:
        raise TranscriptError(f"{place}{shown(value)} is not a time in seconds")
    return round(time * NS)


READERS: Mapping[str, Callable[[str], list[Cue]]] = MappingProxyType(
    {
        ".srt": _subtitles,
        ".vtt": _subtitles,
        ".json": _json,
        ".ctm": _ctm,
        ".stm": _stm,
        ".csv": _table,
        ".tsv": _table,
    }
)
"""Suffix in lower case -> reader of the file's text."""
