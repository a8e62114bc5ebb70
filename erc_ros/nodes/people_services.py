"""Services that enroll and forget voices; they run in the node's worker."""

from __future__ import annotations

from collections.abc import Callable

from erc_msgs.srv import Enrol, ForgetPerson

from erc_ros.nodes.consent import TOPIC, RecordingConsent
from erc_ros.nodes.services import Services
from erc_ros.pipeline import Perception
from erc_ros.values.errors import ErcValueError


class PeopleServices:
    """Offers `~/enrol` and `~/forget_person`.

    Args:
        perception: the perception of the active node.
        file: file in which voices are stored; "": none.
        consent: required for enrollment.
    """

    def __init__(
        self,
        services: Services,
        perception: Callable[[], Perception],
        file: Callable[[], str],
        consent: RecordingConsent,
    ) -> None:
        self._perception, self._file, self._consent = perception, file, consent
        services.offer(Enrol, "~/enrol", self._enrol)
        services.offer(ForgetPerson, "~/forget_person", self._forget)

    def _enrol(self, request: Enrol.Request, response: Enrol.Response) -> str:
        if not self._consent.allowed:
            raise ErcValueError(
                f"{TOPIC} is false, so no voice may be stored: publish true on it, then enroll"
            )
        response.heard = self._perception().enrol(
            request.person_id, request.speaker_id, request.conversation_id
        )
        file = self._file()
        where = f"stored in {file}" if file else "kept until this node is cleaned up"
        return f"the voice is {where}, from {response.heard:.0f} s of speech"

    def _forget(self, request: ForgetPerson.Request, response: ForgetPerson.Response) -> str:
        self._perception().forget_person(request.person_id)
        return "the voice was deleted"
