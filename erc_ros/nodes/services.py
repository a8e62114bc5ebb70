"""Services that are there in every lifecycle state: an active node's worker answers, else why not.

Callbacks only enqueue: a call waits for its turn among the inputs, and the executor carries on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from erc_msgs.srv import Enrol, ForgetPerson, SetBundle
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.task import Future

from erc_ros.nodes.inbox import Inbox

if TYPE_CHECKING:
    from erc_ros.nodes.managed_node import ManagedNode

CHANGING = (Enrol, ForgetPerson, SetBundle)
INPUT = "service"  # of the inbox
MOST_CALLS = 10  # that may wait
MOST_TEXT = 4096  # characters of a text in a request: a path may be long

Work = Callable[[Any, Any], str]
"""Does what a request wants, fills the response, and returns its message.

Raises:
    Exception: nothing was done; says why.
"""


@dataclass(frozen=True)
class ServiceCall:
    """Something for the worker to do; what became of it goes into the response."""

    work: Callable[[Any], str]
    response: Any
    done: Future[Any]

    def run(self) -> None:
        """In the worker: do it, then send the response."""
        try:
            self.response.message = self.work(self.response)
            self.response.success = True
        except Exception as error:  # noqa: BLE001  (the client must get an answer)
            refuse(self.response, str(error) or type(error).__name__)
        self.done.set_result(self.response)


def refuse(response: Any, reason: str) -> Any:
    """The response, with why nothing was done."""
    response.success, response.message = False, reason
    return response


class Services:
    """The services of a node.

    Args:
        inbox: of the active node.
    """

    def __init__(self, node: ManagedNode, inbox: Callable[[], Inbox | None]) -> None:
        self._node, self._inbox = node, inbox
        self._is_loading = False
        # A group of their own: while an answer is awaited, the node's other callbacks go on.
        self._group = ReentrantCallbackGroup()

    def offer(self, kind: Any, name: str, work: Work) -> None:
        """A service; `work` runs in the worker."""

        async def answer(request: Any, response: Any) -> Any:
            if reason := self._refusal(kind, request):
                return refuse(response, reason)
            return await self._do(lambda response: work(request, response), response)

        self._node.create_service(kind, name, answer, callback_group=self._group)

    def offer_loading(self, kind: Any, name: str, load: Callable[[Any], Any], work: Work) -> None:
        """A service that takes long: `load(request)` runs in a thread of its own.

        What it returns goes to `work(loaded, response)` in the worker; it is closed where that
        refuses it. One at a time.
        """

        async def answer(request: Any, response: Any) -> Any:
            reason = self._refusal(kind, request)
            if self._is_loading:
                reason = reason or "something is being loaded already: try again"
            if reason:
                return refuse(response, reason)
            loaded: Future[Any] = Future(executor=self._node.executor)
            self._is_loading = True
            threading.Thread(
                target=_load, args=(load, request, loaded), name="loading", daemon=True
            ).start()
            try:
                result, error = await loaded
            finally:
                self._is_loading = False
            if error is not None:
                return refuse(response, str(error) or type(error).__name__)
            response = await self._do(lambda response: work(result, response), response)
            if not response.success:
                result.close()
            return response

        self._node.create_service(kind, name, answer, callback_group=self._group)

    async def _do(self, work: Callable[[Any], str], response: Any) -> Any:
        done: Future[Any] = Future(executor=self._node.executor)
        call = ServiceCall(work, response, done)
        inbox = self._inbox() if self._node.active else None
        if inbox is None or not inbox.put(INPUT, call):
            return refuse(response, f"{self._node.get_fully_qualified_name()} has been stopped")
        return await done

    def _refusal(self, kind: Any, request: Any) -> str:
        """Why nothing can be done now, "" if it can."""
        if kind in CHANGING and not self._node.parameters["allow_changes"]:
            return (
                f"{kind.__name__} changes models or persons: the parameter allow_changes is false"
            )
        inbox = self._inbox() if self._node.active else None
        if inbox is None:
            state = "inactive" if self._node.configured else "not configured"
            return f"{self._node.get_fully_qualified_name()} is {state}: activate it first"
        for field in request.get_fields_and_field_types():
            value = getattr(request, field)
            if isinstance(value, str) and len(value) > MOST_TEXT:
                return f"{field} has {len(value)} characters, at most {MOST_TEXT} are read"
        if inbox.depth(INPUT) >= MOST_CALLS:
            return f"{MOST_CALLS} requests wait already: try again"
        return ""


def _load(load: Callable[[Any], Any], request: Any, loaded: Future[Any]) -> None:
    result: tuple[Any, Exception | None]
    try:
        result = load(request), None
    except Exception as error:  # noqa: BLE001  (a thread has no caller)
        result = None, error
    loaded.set_result(result)
