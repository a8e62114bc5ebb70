"""People who opted out of emotion recognition."""

from __future__ import annotations

from collections.abc import Iterable

from erc_ros.values.bounds import ID, OPTED_OUT
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

    def change(self, name: str, opted_out: bool) -> None:
        """Add an opt-out, or withdraw it if `opted_out` is False.

        Raises:
            OptOutError: an id is empty or too long, there are too many ids, or an id to withdraw
                had not opted out.
        """
        name = name.strip()
        if not 0 < len(name) <= 2 * ID:
            raise OptOutError(f"an id has 1 to {2 * ID} characters, got {len(name)}")
        if not opted_out and name not in self._ids:
            raise OptOutError("this id has not opted out")
        if opted_out and len(self._ids | {name}) > OPTED_OUT:
            raise OptOutError(f"{OPTED_OUT} ids have opted out, no more are kept: deactivate")
        self._ids = self._ids | {name} if opted_out else self._ids - {name}
        self.version += 1

    def covers(self, utterance: Utterance) -> bool:
        """Whether any id of the utterance belongs to a person who opted out."""
        speaker = speaker_key(utterance.conversation_id, utterance.speaker_id)
        ids = (utterance.person_id, utterance.face_id, utterance.voice_id, speaker)
        return any(name in self for name in ids)


def speaker_key(conversation_id: str, speaker_id: str) -> str:
    """Return the opt-out id of a speaker; "" if the speaker is unknown."""
    return f"{conversation_id}/{speaker_id}" if speaker_id else ""


def listed(text: str) -> list[str]:
    """Split a comma-separated list of ids."""
    return [name.strip() for name in text.split(",") if name.strip()]
