"""`~/sensing`: sensed people with modalities and start times, and a notice for them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import yaml
from erc_msgs.msg import SensedPerson as SensedPersonMessage
from erc_msgs.msg import Sensing

from erc_ros.dialogue.speaking_face import Kind
from erc_ros.nodes.matching_qos import LATCHED_QOS
from erc_ros.nodes.messages import to_time
from erc_ros.resources import config_file
from erc_ros.values.nanoseconds import seconds
from erc_ros.values.opt_outs import speaker_key
from erc_ros.values.utterance import MODALITIES, Utterance

if TYPE_CHECKING:
    from erc_ros.nodes.managed_node import ManagedNode

MAX_PERSONS = 256  # beyond it, the person whose last observation is oldest is removed
FACE_GONE = seconds(10.0)  # after which an unseen face is removed


Matched = Callable[[Kind, str], Collection[str]]
"""Returns an id and the ids that ROS4HRI matched with it."""


@dataclass(frozen=True, slots=True)
class SensedPerson:
    """A sensed person. since, seen: first and last observation (ns)."""

    since: int
    seen: int
    modalities: frozenset[str]
    person_id: str = ""
    conversation_id: str = ""
    speaker_id: str = ""
    voice_id: str = ""
    face_id: str = ""

    @property
    def has_spoken(self) -> bool:
        """Whether the person has spoken in a conversation."""
        return bool(self.conversation_id)

    def has(self, name: str, matched: Matched) -> bool:
        """Whether this id, or an id that ROS4HRI matched with it, is of this person."""
        ids: tuple[tuple[Kind, str], ...] = (
            ("person", self.person_id),
            ("voice", self.voice_id),
            ("face", self.face_id),
        )
        speaker = speaker_key(self.conversation_id, self.speaker_id)
        return name == speaker or any(own and name in matched(kind, own) for kind, own in ids)

    def is_same(self, other: SensedPerson) -> bool:
        """Whether both share an id."""
        pairs = (
            (self.person_id, other.person_id),
            (self.voice_id, other.voice_id),
            (self.face_id, other.face_id),
            (self.speaker_id, other.speaker_id),
        )
        return any(one and one == two for one, two in pairs)

    def merged(self, other: SensedPerson) -> SensedPerson:
        """Return the person, updated with a later observation."""
        return replace(
            other,
            since=min(self.since, other.since),
            seen=max(self.seen, other.seen),
            modalities=self.modalities | other.modalities,
            person_id=other.person_id or self.person_id,
            conversation_id=other.conversation_id or self.conversation_id,
            speaker_id=other.speaker_id or self.speaker_id,
            voice_id=other.voice_id or self.voice_id,
            face_id=other.face_id or self.face_id,
        )


def with_person(persons: Sequence[SensedPerson], sensed: SensedPerson) -> tuple[SensedPerson, ...]:
    """Add an observation of a known or new person; return the persons, oldest first."""
    same = [person for person in persons if person.is_same(sensed)]
    for person in same:
        sensed = person.merged(sensed)
    others = [person for person in persons if person not in same]
    if len(others) >= MAX_PERSONS:
        others.remove(min(others, key=lambda person: person.seen))
    return tuple(sorted((*others, sensed), key=lambda person: person.since))


class SensingNotice:
    """Publishes `~/sensing` when it changes.

    Args:
        context: value of the parameter `deployment_context`.
        modalities: the modalities that are used.
    """

    def __init__(self, node: ManagedNode, context: str, modalities: Sequence[str]) -> None:
        self._node, self._context, self._modalities = node, context, tuple(modalities)
        self._publisher = node.publish_on(Sensing, "~/sensing", LATCHED_QOS)
        self._notices = notices(modalities)
        self._persons: tuple[SensedPerson, ...] = ()
        self._published: tuple[object, ...] = ()

    def note_utterance(self, utterance: Utterance) -> None:
        """Record the speaker of an utterance."""
        content = (bool(utterance.text), bool(len(utterance.audio)), bool(utterance.faces))
        sensed = {n for n, has in zip(MODALITIES, content, strict=True) if has}
        if not sensed & set(self._modalities):
            return
        self._note(
            SensedPerson(
                utterance.start,
                utterance.end,
                frozenset(sensed & set(self._modalities)),
                utterance.person_id,
                utterance.conversation_id,
                utterance.speaker_id,
                utterance.voice_id,
                utterance.face_id,
            )
        )

    def note_face(self, face_id: str, stamp: int) -> None:
        """Record a detected face."""
        self._note(SensedPerson(stamp, stamp, frozenset({"visual"}), face_id=face_id))

    def end_conversation(self) -> None:
        """Remove the speakers of the conversation."""
        self._persons = tuple(person for person in self._persons if not person.has_spoken)

    def has(self, name: str, matched: Matched) -> bool:
        """Whether a person has this id, or an id that ROS4HRI matched with it."""
        return any(person.has(name, matched) for person in self._persons)

    def remove(self, name: str, matched: Matched) -> None:
        """Remove the persons with this id (see `has`)."""
        self._persons = tuple(each for each in self._persons if not each.has(name, matched))

    def publish(self, now: int, allowed: bool, opted_out: int, active: bool = True) -> None:
        """Publish changes. now: ns. active: False if sensing has stopped."""
        self._persons = tuple(
            person
            for person in self._persons
            if active and (person.has_spoken or now - person.seen < FACE_GONE)
        )
        used = self._modalities if active else ()
        shown = tuple(replace(person, seen=0) for person in self._persons)
        state = (shown, used, allowed, opted_out)
        if state == self._published:
            return
        self._published = state
        message = Sensing(
            deployment_context="" if self._context == "unset" else self._context,
            modalities=list(used),
            recording_allowed=allowed,
            opted_out=opted_out,
            persons=[_message(person) for person in self._persons],
            notice_languages=list(self._notices) if active else [],
            notices=list(self._notices.values()) if active else [],
        )
        message.header.stamp = to_time(now)
        self._publisher.publish(message)

    def _note(self, sensed: SensedPerson) -> None:
        self._persons = with_person(self._persons, sensed)

    def close(self) -> None:
        """Destroy the publisher."""
        self._node.destroy_lifecycle_publisher(self._publisher)


def _message(person: SensedPerson) -> SensedPersonMessage:
    return SensedPersonMessage(
        person_id=person.person_id,
        conversation_id=person.conversation_id,
        speaker_id=person.speaker_id,
        voice_id=person.voice_id,
        face_id=person.face_id,
        modalities=[name for name in MODALITIES if name in person.modalities],
        since=to_time(person.since),
    )


def notices(modalities: Sequence[str]) -> Mapping[str, str]:
    """Return language -> notice for people sensed with these modalities (config/notices.yaml)."""
    content = yaml.safe_load(config_file("notices.yaml").read_text(encoding="utf-8"))
    return {
        language: entry["notice"].format(
            modalities=_joined([entry[name] for name in modalities], entry["and"])
        )
        for language, entry in content.items()
    }


def _joined(words: Sequence[str], conjunction: str) -> str:
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {conjunction} {words[-1]}"
