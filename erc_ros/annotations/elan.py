"""ELAN's .eaf: tiers by speaker, dependent tiers, controlled vocabularies.

Read with pympi, after the XML was read once without document types, entities and references to
other files: pympi's own parser expands what it is given.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from erc_ros.annotations.marks import MAX_SECONDS, AnnotationError, Mark, meaning, place, read_bytes
from erc_ros.annotations.records import Source

_MILLISECOND = 1_000_000  # ns


def read(path: Path) -> list[Mark]:
    """Read every annotation of an .eaf.

    Raises:
        AnnotationError: broken XML, a document type or an entity in it, or not an ELAN document.
    """
    document = _parsed(path)
    return [mark for tier in document.get_tier_names() for mark in _tier(path, document, tier)]


def _parsed(path: Path) -> Any:
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import ParseError, fromstring
    from pympi import Eaf

    content = read_bytes(path)
    try:
        root = fromstring(content, forbid_dtd=True)
    except DefusedXmlException as error:
        raise AnnotationError(
            f"{path.name}: refused, as it declares a document type or an entity; ELAN never does"
        ) from error
    except (ParseError, ValueError, LookupError) as error:
        raise AnnotationError(f"{path.name}: broken XML ({error}); does ELAN open it?") from error
    if root.tag != "ANNOTATION_DOCUMENT":
        raise AnnotationError(f"{path.name}: not an ELAN document, its root is <{root.tag}>")
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of versions that pympi does not know
        checked = Path(folder) / "checked.eaf"  # the checked bytes, even if `path` changes
        checked.write_bytes(content)
        try:
            return Eaf(str(checked))
        except Exception as error:
            raise AnnotationError(
                f"{path.name}: not readable as an ELAN document ({type(error).__name__}: {error})"
            ) from error


def _tier(path: Path, document: Any, tier: str) -> Iterator[Mark]:
    aligned, references, attributes, _ = document.tiers[tier]
    kind, speaker, is_guess = meaning(
        tier,
        attributes.get("PARTICIPANT", "").strip(),
        _hints(document, attributes.get("LINGUISTIC_TYPE_REF", "")),
    )
    spans = [(name, (first, last), value) for name, (first, last, value, _) in aligned.items()]
    for name, (_, value, _, _) in references.items():
        spans.append((name, _slots(path, document, tier, name), value))
    for number, (name, (first, last), value) in enumerate(spans, start=1):
        source = Source(path.name, tier, number)
        times = document.timeslots.get(first), document.timeslots.get(last)
        if times[0] is None or times[1] is None:
            raise AnnotationError(
                f"{place(source)} ({name}): has no time of its own; give it one in ELAN"
            )
        if max(map(abs, times)) > MAX_SECONDS * 1000:
            raise AnnotationError(f"{place(source)} ({name}): {max(times)} ms is out of range")
        start, end = times[0] * _MILLISECOND, times[1] * _MILLISECOND
        yield Mark(kind, start, end, speaker, value.strip(), source, is_guess=is_guess)


def _hints(document: Any, type_name: str) -> tuple[str, ...]:
    """Return the names of a tier's type and of its controlled vocabulary."""
    known = document.linguistic_types.get(type_name, {})
    return type_name, known.get("CONTROLLED_VOCABULARY_REF") or ""


def _slots(path: Path, document: Any, tier: str, name: str) -> tuple[str, str]:
    """Return the time slots of the aligned annotation to which a dependent one refers."""
    seen: set[str] = set()
    while name not in seen:
        seen.add(name)
        owner = document.annotations.get(name)
        if owner is None:
            break
        aligned, references, *_ = document.tiers[owner]
        if name in aligned:
            first, last, *_ = aligned[name]
            return first, last
        name = references[name][0]
    raise AnnotationError(
        f"{path.name}, tier {tier!r}: annotation {name} refers to none with a time"
    )
