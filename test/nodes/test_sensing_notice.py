"""Sensed persons: observations of one person are merged, and their number is bounded."""

from __future__ import annotations

import pytest

from erc_ros.nodes.sensing_notice import MAX_PERSONS, SensedPerson, notices, with_person
from erc_ros.values.utterance import MODALITIES

VISUAL, TEXT = frozenset({"visual"}), frozenset({"text"})


def face(name: str, at: int) -> SensedPerson:
    return SensedPerson(at, at, VISUAL, face_id=name)


def test_a_face_a_voice_and_a_speaker_become_one_person() -> None:
    persons = with_person((), face("f1", 5))
    persons = with_person(persons, SensedPerson(7, 8, TEXT, "", "c", "0", "v1", ""))
    assert len(persons) == 2  # nothing says that they are one
    both = SensedPerson(9, 10, TEXT, "anna", "c", "0", "", "f1")
    (person,) = with_person(persons, both)
    assert (person.since, person.seen, person.modalities) == (5, 10, VISUAL | TEXT)
    assert (person.person_id, person.voice_id, person.face_id) == ("anna", "v1", "f1")


def test_there_are_never_more_than_so_many() -> None:
    persons: tuple[SensedPerson, ...] = ()
    for number in range(MAX_PERSONS + 50):
        persons = with_person(persons, face(f"f{number}", number))
    assert len(persons) == MAX_PERSONS and persons[0].face_id == "f50"


@pytest.mark.parametrize("modalities", [MODALITIES, ("text",), ("audio", "visual")])
def test_notices_name_the_modalities_that_are_used(modalities: tuple[str, ...]) -> None:
    texts = notices(modalities)
    assert list(texts) == ["en", "de", "fr", "es", "it", "pt"]
    assert ("your face" in texts["en"]) == ("visual" in modalities)
    assert ("Stimme" in texts["de"]) == ("audio" in modalities)
    assert not any("{" in text for text in texts.values())
