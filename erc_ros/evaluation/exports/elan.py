"""ELAN's .eaf: for each speaker the words, and dependent tiers with emotion, confidence and others.

Moving the borders of the words moves their dependent annotations, and the emotion is chosen from a
list. `annotations.elan` reads it back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from erc_ros.evaluation.exports.lines import Line, by_speaker, without_overlap
from erc_ros.evaluation.names import moment
from erc_ros.values.files import whole_file

EMOTIONS = "emotion"  # the controlled vocabulary
_BELOW = ("emotion", "confidence", "valence", "arousal")
_MILLISECOND = 1_000_000  # ns
_MIMES = {".wav": "audio/x-wav", ".mp4": "video/mp4"}


def write(
    lines: Iterable[Line],
    file: Path,
    labels: Sequence[str],
    origin: int = 0,
    media: Sequence[Path] = (),
) -> Path:
    """Write an .eaf.

    Args:
        labels: the list that emotions are chosen from.
        origin: ns, when the recording began: the document's date.
        media: files in the same folder as `file`; time 0 of each is the recording's.

    Raises:
        OSError: the folder cannot be written to.
    """
    document = _document(origin)
    _declare(document, labels)
    for each in media:
        url = f"./{each.name}"
        document.add_linked_file(url, relpath=url, mimetype=_MIMES[each.suffix])
    for speaker, own in by_speaker(_in_milliseconds(lines)).items():
        for number, spoken in enumerate(without_overlap(own), start=1):
            name = speaker if number == 1 else f"{speaker} ({number})"
            _add(document, spoken, name, speaker)
    _sort_times(document)
    with whole_file(file) as part:
        document.to_file(str(part))
    return file


def write_template(file: Path, labels: Sequence[str], speakers: Sequence[str]) -> Path:
    """Write an .etf: empty tiers of words, emotion, valence and arousal for each speaker.

    Raises:
        ValueError: no speaker, or one twice. OSError: the folder cannot be written to.
    """
    if not speakers or len(set(speakers)) < len(speakers):
        raise ValueError(f"speakers are {', '.join(speakers) or 'missing'}; name each once")
    document = _document(0)
    _declare(document, labels)
    for speaker in speakers:
        document.add_tier(f"text@{speaker}", "text", part=speaker)
        for below in ("emotion", "valence", "arousal"):
            parent = f"text@{speaker}"
            document.add_tier(f"{below}@{speaker}", below, parent=parent, part=speaker)
    with whole_file(file) as part:
        document.to_file(str(part))
    return file


def _in_milliseconds(lines: Iterable[Line]) -> Iterator[Line]:
    """Round the times to ms, as in ELAN; each line lasts at least 1 ms."""
    for line in lines:
        start = round(line.start / _MILLISECOND)
        yield replace(line, start=start, end=max(start + 1, round(line.end / _MILLISECOND)))


def _document(origin: int) -> Any:
    """Return a document without tiers and types, dated `origin` (ns)."""
    from pympi import Eaf

    document = Eaf(author="erc_ros")
    document.adocument["DATE"] = f"{moment(origin):%Y-%m-%dT%H:%M:%S+00:00}"
    document.remove_tier("default")
    document.remove_linguistic_type("default-lt")
    return document


def _declare(document: Any, labels: Sequence[str]) -> None:
    """Add the types of tiers, and the vocabulary of the emotions."""
    below = "Symbolic_Association"
    for name in ("text", "speech"):
        document.add_linguistic_type(name)
    for name in _BELOW:
        document.add_linguistic_type(name, below, timealignable=False)
    document.linguistic_types["emotion"]["CONTROLLED_VOCABULARY_REF"] = EMOTIONS
    document.add_language("und", "http://cdb.iso.org/lg/CDB-00130975-001", "undetermined (und)")
    document.add_controlled_vocabulary(EMOTIONS)
    document.add_cv_description(EMOTIONS, "und")
    for number, name in enumerate(labels):
        document.add_cv_entry(EMOTIONS, f"cveid{number}", [(name, "und", None)])


def _add(document: Any, lines: Sequence[Line], name: str, speaker: str) -> None:
    """Add a set of tiers with `lines` (ms), which do not overlap."""
    # An empty tier "text" would mean that no words were spoken.
    kind = "text" if any(line.text for line in lines) else "speech"
    top = f"{kind}@{name}"
    document.add_tier(top, kind, part=speaker)
    for below in _BELOW:
        if any(getattr(line, below) is not None for line in lines):
            document.add_tier(f"{below}@{name}", below, parent=top, part=speaker)
    for line in lines:
        document.add_annotation(top, line.start, line.end, line.text or "")
        owner = f"a{document.maxaid}"
        for below in _BELOW:
            value = getattr(line, below)
            if value is not None:
                _add_dependent(document, f"{below}@{name}", owner, str(value))


def _add_dependent(document: Any, tier: str, owner: str, value: str) -> None:
    """Add a dependent annotation.

    pympi's add_ref_annotation searches the whole tier for the owner by its time.
    """
    name = document.generate_annotation_id()
    document.annotations[name] = tier
    document.tiers[tier][1][name] = (owner, value, None, None)


def _sort_times(document: Any) -> None:
    """Number the time slots by their time: ELAN expects them in this order."""
    ordered = sorted(document.timeslots.items(), key=lambda slot: (slot[1], int(slot[0][2:])))
    new = {old: f"ts{number}" for number, (old, _) in enumerate(ordered, start=1)}
    document.timeslots = {new[old]: time for old, time in ordered}
    for aligned, *_ in document.tiers.values():
        for name, (first, last, value, drawing) in aligned.items():
            aligned[name] = new[first], new[last], value, drawing
