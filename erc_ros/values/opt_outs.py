"""People who opted out of emotion recognition."""

from __future__ import annotations

from collections.abc import Iterable

from erc_ros.values.bounds import ID, OPTED_OUT, shown
from erc_ros.values.errors import ErcValueError
from erc_ros.values.utterance import Utterance


class OptOutError(ErcValueError):
    """An id cannot be added to or removed from the opt-outs."""


class OptOuts:
    """Thread-safe set of the ids that opted out; one object per process.

    An id is the id of a ROS4HRI person, face or voice, of a face track, the name of an enrolled
    voice, or `<conversation_id>/<speaker_id>`.
    """

    def __init__(self, ids: Iterable[str] = ()) -> None:
        self.version = 0
        """Number of changes so far."""
        self._ids: frozenset[str] = frozenset()
        self.concerned: frozenset[str] = frozenset()
        """The ids that opted out, and others that were found to belong to the same people."""
        self.absent: frozenset[str] = frozenset()
        """Ids that no sensed person had when they opted out."""
        for name in ids:
            self.change(name, True)

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, name: str) -> bool:
        return bool(name) and name in self._ids

    @property
    def ids(self) -> frozenset[str]:
        """All ids that opted out."""
        return self._ids

    def change(self, name: str, opted_out: bool, is_absent: bool = False) -> bool:
        """Add an opt-out, or withdraw it if `opted_out` is False.

        Args:
            is_absent: no sensed person has this id.

        Returns:
            False: this id had opted out before, so that nothing changed.

        Raises:
            OptOutError: an id is invalid (see `checked_id`), there are too many ids, or an id to
                withdraw had not opted out.
        """
        name = checked_id(name)
        if opted_out and name in self._ids:
            return False
        if not opted_out and name not in self._ids:
            raise OptOutError("this id has not opted out")
        if opted_out and len(self._ids | {name}) > OPTED_OUT:
            raise OptOutError(f"{OPTED_OUT} ids have opted out, no more are kept: deactivate")
        self.absent = self.absent | {name} if is_absent else self.absent - {name}
        self._ids = self._ids | {name} if opted_out else self._ids - {name}
        self.concerned = self._ids
        self.version += 1
        return True

    def link(self, utterance: Utterance) -> None:
        """Record that all ids of an utterance belong to a person who opted out."""
        if others := ids_of(utterance) - self.concerned:
            kept = self.concerned if len(self.concerned) < 2 * OPTED_OUT else self._ids
            self.concerned = kept | others

    def covers(self, utterance: Utterance) -> bool:
        """Whether any id of the utterance belongs to a person who opted out."""
        return not self._ids.isdisjoint(ids_of(utterance))


def ids_of(utterance: Utterance) -> frozenset[str]:
    """Return all ids of the person who speaks: person, face, voice and speaker."""
    speaker = speaker_key(utterance.conversation_id, utterance.speaker_id)
    ids = (utterance.person_id, utterance.face_id, utterance.voice_id, speaker)
    return frozenset(name for name in ids if name)


def checked_id(name: str) -> str:
    """Return an id without spaces around it.

    Raises:
        OptOutError: the id, or a part of `<conversation_id>/<speaker_id>`, is empty or too long, or
            a character cannot be printed.
    """
    name = name.strip()
    conversation, slash, speaker = name.rpartition("/")
    for part in (conversation, speaker) if slash else (speaker,):
        if not 0 < len(part) <= ID:
            raise OptOutError(
                f"{shown(name)}: an id, and each part of <conversation_id>/<speaker_id>, has 1 to "
                f"{ID} characters, got {len(part)}"
            )
    if not name.isprintable():
        raise OptOutError(f"{shown(name)} has characters that cannot be printed")
    return name


def speaker_key(conversation_id: str, speaker_id: str) -> str:
    """Return the opt-out id of a speaker; "" if the speaker is unknown."""
    return f"{conversation_id}/{speaker_id}" if speaker_id else ""


def listed(text: str) -> list[str]:
    """Split a comma-separated list of ids."""
    return [name.strip() for name in text.split(",") if name.strip()]
