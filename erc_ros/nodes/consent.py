"""Consent to publish texts, audio and images, received on a topic (preferably latched)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSDurabilityPolicy, QoSProfile, QoSReliabilityPolicy
from std_msgs.msg import Bool

TOPIC = "recording_allowed"
LOOK = 0.25  # s between two queries of the graph
DISCOVERY = 3.0  # s from the node's creation until all publishers of the topic are discovered
# Number of graph queries after which no message is expected any more. A latched publisher has
# almost always published a message, which a busy machine may deliver seconds late.
ANSWER = 8
LATCHED_ANSWER = 80

_Offer = tuple[QoSDurabilityPolicy, QoSReliabilityPolicy]


class RecordingConsent:
    """Whether texts, audio and images may be published; one object per process.

    It lives as long as its node, so the last message stays valid in every lifecycle state, even
    after its publisher has ended. Nothing is allowed before the first query of the graph: the
    workers block in `wait`. The default applies if no publisher is discovered or if it publishes
    nothing. The message of a publisher that is discovered later is awaited as well.

    Args:
        node: subscribes and queries the graph, in every lifecycle state.
        default: the value until a message is received.
        changed: called with each new value.
    """

    def __init__(
        self, node: Node, default: bool, changed: Callable[[bool], None] = lambda allowed: None
    ) -> None:
        self._node, self._value, self._changed = node, default, changed
        self._topic = node.resolve_topic_name(TOPIC)
        self._decided = threading.Event()
        self._is_received = False  # by a message or by `tell`
        self._discovered_by = time.monotonic() + DISCOVERY
        self._queries = 0
        self._subscriptions: dict[_Offer, object] = {}
        node.create_timer(LOOK, self.look, clock=Clock(clock_type=ClockType.STEADY_TIME))

    @property
    def allowed(self) -> bool:
        """Whether content may be published now; False before it is decided. Thread-safe.

        If nothing was received, each access queries the graph: a text that arrives from a process
        shows that earlier publishers of that process are discovered, too.
        """
        if not self._decided.is_set():
            return False
        is_new = not self._is_received and not self._subscriptions
        return self._value and not (is_new and self._node.count_publishers(self._topic))

    def wait(self, seconds: float) -> bool:
        """Wait at most `seconds` for the decision; return whether there is one.

        Call it in a worker, because the executor has to receive the message at the same time.
        """
        return self._decided.wait(seconds)

    def look(self) -> None:
        """Subscribe to discovered publishers, and decide when no message is expected any more."""
        publishers = self._node.get_publishers_info_by_topic(self._topic)
        if publishers and not self._subscriptions and not self._is_received:
            self._queries = 0
            self._decided.clear()
        for qos in (info.qos_profile for info in publishers):
            offer = qos.durability, qos.reliability
            # One subscription per kind of publisher: a latched subscription receives nothing from
            # volatile publishers, a volatile one receives no earlier messages.
            if offer not in self._subscriptions:
                wanted = QoSProfile(depth=1, durability=offer[0], reliability=offer[1])
                self._subscriptions[offer] = self._node.create_subscription(
                    Bool, TOPIC, self._receive, wanted
                )
        if self._decided.is_set():
            return
        # Queries are counted in addition to seconds: while a node loads its models, the executor
        # is busy and does not take a message that has arrived.
        self._queries += 1
        if self._subscriptions:
            latched = any(
                durability == QoSDurabilityPolicy.TRANSIENT_LOCAL
                for durability, _ in self._subscriptions
            )
            is_overdue = self._queries > (LATCHED_ANSWER if latched else ANSWER)
        else:
            is_overdue = time.monotonic() > self._discovered_by
        if is_overdue:
            self._decided.set()

    def tell(self, allowed: bool) -> None:
        """Set the value as a message does."""
        changed = allowed != self._value
        self._value, self._is_received = allowed, True
        self._decided.set()
        if changed:
            self._changed(allowed)
            effect = "may be published again" if allowed else "are no longer published"
            self._node.get_logger().info(f"{TOPIC}: texts, audio and images {effect}")

    def _receive(self, message: Bool) -> None:
        # In the callback, not in the worker, so that it also applies to queued content.
        self.tell(bool(message.data))
