"""One input of a node: its topic, message type, subscription and diagnostics."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription

from erc_ros.adapters import (
    TWO_PACKAGES,
    adapter_for,
    message_class,
    size_of,
    type_hash,
    types_of,
)
from erc_ros.input_reader import InputReader
from erc_ros.nodes import diagnostics
from erc_ros.nodes.diagnostics import Losses, Lossiness, Meter
from erc_ros.nodes.inbox import Inbox
from erc_ros.nodes.managed_node import ManagedNode
from erc_ros.nodes.matching_qos import matching
from erc_ros.nodes.memory import trim_heap
from erc_ros.values.errors import ErcValueError
from erc_ros.values.nanoseconds import NS

# Before Iron, rclpy passes only the message to a callback.
HAS_MESSAGE_INFO = hasattr(Subscription, "CallbackType")
AUTO, NONE = "auto", "none"
HUGE = 2**20  # bytes; a larger text message is far too large
CALM = 5 * NS  # after the last of them, before the subscription is renewed


@dataclass(frozen=True)
class Offer:
    """A publisher of the ROS graph.

    readable: its type is installed here and has an adapter. conflict: how its fields differ from
    the installed type of the same name; "": they do not.
    """

    topic: str
    type: str
    readable: bool = True
    conflict: str = ""


@dataclass(frozen=True)
class Decision:
    """The topics and types that an input may subscribe to.

    usable: (topic, type) pairs, the preferred one first.
    foreign: pairs whose publishers use other fields. problem: why an offer is not used, or "".
    """

    usable: tuple[tuple[str, str], ...] = ()
    foreign: frozenset[tuple[str, str]] = frozenset()
    problem: str = ""


def decide(name: str, fixed: tuple[str, str] | None, offers: Sequence[Offer]) -> Decision:
    """Decide which topic and type an input subscribes to.

    A type whose fields differ from those of the installed type is never subscribed to: its messages
    would be decoded incorrectly.

    Args:
        name: name of the input.
        fixed: topic and type that the parameter names; None: "auto".
        offers: the publishers of the input's topics.
    """
    foreign = [offer for offer in offers if offer.conflict]
    known = [(offer.topic, offer.type) for offer in offers if not offer.conflict]
    readable = tuple((o.topic, o.type) for o in offers if o.readable and not o.conflict)
    usable = readable if fixed is None else () if foreign else (fixed,)
    problem = ""
    if foreign:
        first = foreign[0]
        problem = (
            f"{first.topic} is published as a {first.type} with other fields than the type "
            f"installed here ({first.conflict}): install the same package on both sides"
            f"{_hint(first.type)}"
        )
    elif fixed is not None and known and fixed not in known:
        remedy = f"publish it as {fixed[1]}"
        if name in ("audio", "image", "speech"):
            remedy += f", or set {name}_type to auto"
        problem = (
            f"{known[0][0]} is published as {known[0][1]}, but {fixed[1]} is expected, so no "
            f"message is received: {remedy}"
        )
    elif known and not readable:
        problem = (
            f"{known[0][0]} is published as {known[0][1]}, which is unsupported or not installed: "
            f"publish one of {types_of(name)}, with its package installed{_hint(known[0][1])}"
        )
    keys = frozenset((offer.topic, offer.type) for offer in foreign)
    return Decision(usable, keys, problem)


def _offer(name: str, topic: str, info: Any) -> Offer:
    kind = info.topic_type
    is_readable = message_class(kind) is not None and kind in types_of(name)
    return Offer(topic, kind, is_readable, _conflict(info))


class Input:
    """Subscribes to the published topic of an input and puts its messages into the inbox.

    Args:
        reader: selects the images to process.
        name: name of the input, as in the table of adapters and in the inbox.
        topics: possible topics, the preferred one first.
        type_name: "auto" (the publisher's type), "none" (switched off) or a message type.
        continuous: messages are expected continuously; silence means that the driver failed.
        matched: request only what all publishers offer of `qos`, see `matching`.
        wanted: whether a message is queued.
        replaced: called when other publishers have replaced all former ones.
        lost: called when the last publisher has ended.
    """

    def __init__(
        self,
        node: ManagedNode,
        inbox: Inbox,
        reader: InputReader,
        name: str,
        topics: Sequence[str],
        type_name: str,
        qos: QoSProfile,
        continuous: bool,
        matched: bool = False,
        wanted: Callable[[Any], bool] = lambda message: True,
        replaced: Callable[[], object] = lambda: None,
        lost: Callable[[], object] = lambda: None,
    ) -> None:
        self.name = name
        self.bad = 0
        self._node = node
        self._inbox = inbox
        self._reader = reader
        self._topics = topics
        self._type_name = type_name
        self._qos = self._requested = qos  # preferred; of the current subscription
        self._matched = matched
        self._continuous = continuous
        self._wanted = wanted
        self._replaced, self._lost = replaced, lost
        self._was_published = False
        self._publishers: frozenset[bytes] = frozenset()  # the last known ones
        self._sole = b""  # the publisher, if all topics have only one
        self._meter, self._losses, self._lossiness = Meter(), Losses(), Lossiness()
        self._published_since: int | None = None  # ns on the monotonic clock, while it is published
        self._bad_before = 0
        self._had_publisher = False
        self._unusable = ""
        self._largest = 0  # bytes of a message, since the last publisher appeared
        self._huge_at = 0  # ns on the monotonic clock, last message that is far too large
        self._subscription: Any = None
        self._current: tuple[str, str] | None = None  # topic, type
        if type_name not in (AUTO, NONE):
            if message_class(type_name) is None:
                raise ErcValueError(
                    f"{name}: message type {type_name} is not installed: install its package, "
                    f"or set {name}_type to another of {types_of(name)}{_hint(type_name)}"
                )
            self._subscribe(self._fixed_topic(), type_name)

    def topics(self) -> list[str]:
        """Return the resolved topics that the input may subscribe to; [] if it is switched off."""
        names = [] if self._type_name == NONE else self._topics
        return [self._node.resolve_topic_name(name) for name in names]

    def look(self) -> None:
        """Subscribe to the published topic; with "auto" again if its type changes."""
        if self._type_name == NONE:
            return
        endpoints = self._endpoints()
        self._watch(endpoints)
        self._renew_subscription()
        offers = [_offer(self.name, topic, info) for topic, info in endpoints]
        decision = decide(self.name, self._wanted_offer(), offers)
        self._unusable = decision.problem
        if decision.problem:
            self._node.complain(f"{self.name} type", decision.problem)
        if self._current in decision.foreign:
            self.close()
        if self._current and self._fitting(self._current[0]) != self._requested:
            self._subscribe(*self._current)
        if decision.usable and self._current not in decision.usable:
            try:
                self._subscribe(*decision.usable[0])
            except RuntimeError as error:  # the former type of the topic still exists: try again
                self._node.complain(f"{self.name} type", f"{self.name}: {error}")

    def _wanted_offer(self) -> tuple[str, str] | None:
        """Return the topic and type that the parameter names; None for "auto"."""
        return None if self._type_name == AUTO else (self._fixed_topic(), self._type_name)

    def _renew_subscription(self) -> None:
        """Subscribe again after messages that are far too large.

        DDS keeps buffers of the largest received size, which can be gigabytes.
        """
        if self._huge_at and time.monotonic_ns() - self._huge_at > CALM and self._current:
            self._huge_at = 0
            self._subscribe(*self._current)
            trim_heap()

    def _release_buffers(self) -> None:
        """Unsubscribe after the last publisher of large messages: DDS keeps 40 to 60 MB with 4K.

        `look` subscribes again.
        """
        if self._largest > HUGE and self._current:
            self._largest = 0
            self.close()
            trim_heap()

    def _fitting(self, topic: str) -> QoSProfile:
        if not self._matched:
            return self._qos
        resolved = self._node.resolve_topic_name(topic)
        return matching(self._qos, self._node.get_publishers_info_by_topic(resolved))

    def _fixed_topic(self) -> str:
        return self._topics[-1] if "Compressed" in self._type_name else self._topics[0]

    def _endpoints(self) -> list[tuple[str, Any]]:
        return [
            (topic, info)
            for topic in self._topics
            for info in self._node.get_publishers_info_by_topic(topic)
        ]

    def _watch(self, endpoints: Sequence[tuple[str, Any]]) -> None:
        """Call `replaced` or `lost` if the publishers have changed."""
        publishers = frozenset(bytes(info.endpoint_gid) for _, info in endpoints)
        if publishers and self._publishers and not publishers & self._publishers:
            self._replaced()
        if self._was_published and not publishers:
            self._lost()
            self._release_buffers()
        self._was_published = bool(publishers)
        if not publishers:
            self._published_since = None
        elif self._published_since is None:
            self._published_since = time.monotonic_ns()
        self._sole = next(iter(publishers)) if len(publishers) == 1 else b""
        self._publishers = publishers or self._publishers

    def _subscribe(self, topic: str, type_name: str) -> None:
        self.close()
        message_type = message_class(type_name)
        assert message_type is not None
        clock, put, meter = self._node.get_clock(), self._inbox.put, self._meter
        losses, is_small = self._losses, not self._continuous
        wanted, reader, adapter = self._wanted, self._reader, adapter_for(type_name, self.name)

        def receive(message: Any, info: Any) -> None:
            now = time.monotonic_ns()
            meter.tick(now)
            losses.note(info, self._sole)
            size = size_of(message)
            self._largest = max(self._largest, size)
            if is_small and size > HUGE:
                self._huge_at = now
            arrival = clock.now().nanoseconds
            if wanted(message) and reader.wants(adapter, topic, message, arrival):
                put(self.name, (adapter, message, arrival), now, size)

        self._requested = self._fitting(topic)
        self._subscription = self._node.subscribe_to(
            message_type,
            topic,
            receive if HAS_MESSAGE_INFO else lambda m: receive(m, {}),
            self._requested,
            self._matched,
            informed=HAS_MESSAGE_INFO,
        )
        self._current = (topic, type_name)  # only now, so that a failed subscription is tried again

    def close(self) -> None:
        """Destroy the subscription."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
        self._subscription = self._current = None

    def status(self, now: int) -> DiagnosticStatus:
        """Return rate, queue and drops; warn of a silent driver and of unusable messages."""
        topic = self._node.resolve_topic_name(
            self._current[0] if self._current else self._topics[0]
        )
        silence, rate = self._meter.silence(now), self._meter.hertz(now)
        publishers = self._node.count_publishers(topic)
        problems: list[diagnostics.Problem] = []
        if self._unusable:
            problems.append(diagnostics.error(self._unusable))
        dead_after = self._node.parameters["dead_after"]
        if self._continuous and silence is not None and silence > dead_after:
            text = f"no message on {topic} for {silence:.0f} s (rate 0): is its driver running? "
            problems.append(diagnostics.warning(text + "The other inputs still work"))
        elif self._continuous and silence is None and (waited := self._waited(now)) > dead_after:
            text = (
                f"{topic} has a publisher, but no message was received for {waited:.0f} s: is the "
                "device switched on, and does its driver run as the same user? "
                "(docs/how-to/no_estimates.md) The other inputs still work"
            )
            problems.append(diagnostics.warning(text))
        elif not self._continuous and self._had_publisher and not publishers:
            problems.append(diagnostics.warning(f"the publisher of {topic} has ended"))
        self._had_publisher = self._had_publisher or publishers > 0
        if new := self.bad - self._bad_before:
            problems.append(diagnostics.warning(f"{new} unusable messages; see the log"))
        self._bad_before = self.bad
        received, dropped = self._meter.count, self._inbox.dropped(self.name)
        lost = max(0, self._losses.count - self._node.undecodable[topic])  # they count as gaps
        problems += self._lossiness.problems(received, dropped, lost, now)
        values = {
            "topic": topic,
            "type": self._current[1] if self._current else self._type_name,
            "publishers": publishers,
            "rate_hz": rate,
            "received": received,
            "queued": self._inbox.depth(self.name),
            "queued_bytes": self._inbox.bytes(self.name),
            "dropped": dropped,
            "lost_by_dds": lost,
            "unusable": self.bad + self._node.undecodable[topic],
        }
        fine = "switched off" if self._type_name == NONE else "ok"
        if fine == "ok" and not publishers and self._meter.count == 0:
            fine = f"no publisher of {topic}"
        return diagnostics.status(self.name, values, problems, fine)

    def _waited(self, now: int) -> float:
        """Return the time since there is a publisher (s)."""
        return 0.0 if self._published_since is None else (now - self._published_since) / NS


def _conflict(info: Any) -> str:
    """Describe how the fields of a publisher's type differ from the installed type; "": equal."""
    theirs = str(getattr(info, "topic_type_hash", ""))  # unknown before Iron
    ours = type_hash(info.topic_type)
    differs = theirs.startswith("RIHS01_") and bool(ours) and theirs != ours
    return f"{theirs} there, {ours} here" if differs else ""


def _hint(type_name: str) -> str:
    return f" ({TWO_PACKAGES})" if type_name.startswith("audio_common_msgs/") else ""
