"""Services of a node in every lifecycle state; only an active node executes requests.

Callbacks only enqueue: the worker executes calls in order with the inputs, and the executor does
not block.
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
INPUT = "service"  # queue of the inbox
MAX_CALLS = 10  # queued requests
MAX_TEXT = 4096  # characters of a text in a request: a path may be long

Work = Callable[[Any, Any], str]
"""Executes a request, fills the response, and returns its message.

Raises:
    Exception: the request failed; the message of the exception is the reason.
"""


@dataclass(frozen=True)
class ServiceCall:
    """A request for the worker, with the response that it fills."""

    work: Callable[[Any], str]
    response: Any
    done: Future[Any]

    def run(self) -> None:
        """Execute the request in the worker, then send the response."""
        try:
            self.response.message = self.work(self.response)
            self.response.success = True
        except Exception as error:  # noqa: BLE001  (the client must get a response)
            refuse(self.response, str(error) or type(error).__name__)
        self.done.set_result(self.response)


def refuse(response: Any, reason: str) -> Any:
    """Return the response of a failed request with its reason."""
    response.success, response.message = False, reason
    return response


class Services:
    """The services of a node.

    Args:
        inbox: inbox of the active node.
    """

    def __init__(self, node: ManagedNode, inbox: Callable[[], Inbox | None]) -> None:
        self._node, self._inbox = node, inbox
        self._is_loading = False
        # A separate group, so that other callbacks run while a response is awaited.
        self._group = ReentrantCallbackGroup()

    def offer(self, kind: Any, name: str, work: Work) -> None:
        """Offer a service; `work` runs in the worker."""

        async def answer(request: Any, response: Any) -> Any:
            if reason := self._refusal(kind, request):
                return refuse(response, reason)
            return await self._do(lambda response: work(request, response), response)

        self._node.create_service(kind, name, answer, callback_group=self._group)

    def offer_loading(
        self,
        kind: Any,
        name: str,
        load: Callable[[Any], Any],
        work: Work,
        describe: Callable[[Any], None],
    ) -> None:
        """Offer a slow service: `load(request)` runs in a separate thread.

        Its result is passed to `work(loaded, response)` in the worker, and closed if `work` fails.
        Only one request is loaded at a time. `describe(response)` fills in what is in use if the
        request fails.
        """

        async def answer(request: Any, response: Any) -> Any:
            describe(response)
            reason = self._refusal(kind, request)
            if self._is_loading:
                reason = reason or f"{kind.__name__}: another request is loading: try again"
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
        """Return why a request is refused; "" if it is not."""
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
            if isinstance(value, str) and len(value) > MAX_TEXT:
                return f"{field} has {len(value)} characters, at most {MAX_TEXT} are allowed"
        if inbox.depth(INPUT) >= MAX_CALLS:
            return f"{MAX_CALLS} requests are already queued: try again"
        return ""


def _load(load: Callable[[Any], Any], request: Any, loaded: Future[Any]) -> None:
    result: tuple[Any, Exception | None]
    try:
        result = load(request), None
    except Exception as error:  # noqa: BLE001  (a thread has no caller)
        result = None, error
    loaded.set_result(result)
