"""May texts, audio and images be published? A topic says so, best a latched one."""

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
# Queries, each with time for a message to arrive, after which no answer is expected. A latched
# publisher has almost always said something, and a busy machine may deliver it seconds late.
ANSWER = 8
LATCHED_ANSWER = 80

_Offer = tuple[QoSDurabilityPolicy, QoSReliabilityPolicy]


class RecordingConsent:
    """Whether texts, audio and images may be published; one object per process.

    It lives as long as its node, so the last message holds through every lifecycle transition, also
    when its publisher is gone. Until the graph was queried nothing is decided and nothing allowed:
    the workers wait for `wait`. Where no publisher is discovered, or it stays silent, the default
    holds. A publisher that is discovered later is waited for as well.

    Args:
        node: subscribes and queries the graph, in every lifecycle state.
        default: the answer until a message comes.
        changed: called with each other answer.
    """

    def __init__(
        self, node: Node, default: bool, changed: Callable[[bool], None] = lambda allowed: None
    ) -> None:
        self._node, self._value, self._changed = node, default, changed
        self._topic = node.resolve_topic_name(TOPIC)
        self._decided = threading.Event()
        self._is_told = False  # by a message, or by `tell`
        self._discovered_by = time.monotonic() + DISCOVERY
        self._queries = 0
        self._subscriptions: dict[_Offer, object] = {}
        node.create_timer(LOOK, self.look, clock=Clock(clock_type=ClockType.STEADY_TIME))

    @property
    def allowed(self) -> bool:
        """Whether content may be published now; False before it is decided. Any thread may ask.

        Where nothing was received, the graph is queried each time: a text that arrives from a
        process shows that the publishers which that process made before are discovered, too.
        """
        if not self._decided.is_set():
            return False
        is_new = not self._is_told and not self._subscriptions
        return self._value and not (is_new and self._node.count_publishers(self._topic))

    def wait(self, seconds: float) -> bool:
        """Wait until it is decided, for at most `seconds`; return whether it is.

        Call it in a worker: the executor has to take the message in meanwhile.
        """
        return self._decided.wait(seconds)

    def look(self) -> None:
        """Subscribe to the publishers that the graph has, and decide when no answer is to come."""
        publishers = self._node.get_publishers_info_by_topic(self._topic)
        if publishers and not self._subscriptions and not self._is_told:
            self._queries = 0
            self._decided.clear()
        for qos in (info.qos_profile for info in publishers):
            offer = qos.durability, qos.reliability
            # One for each kind of publisher: a latched subscription receives nothing from volatile
            # publishers, a volatile one nothing that was sent before it.
            if offer not in self._subscriptions:
                wanted = QoSProfile(depth=1, durability=offer[0], reliability=offer[1])
                self._subscriptions[offer] = self._node.create_subscription(
                    Bool, TOPIC, self._receive, wanted
                )
        if self._decided.is_set():
            return
        # Queries are counted as well as seconds: while a node loads its models, the executor is
        # busy, and a message that has arrived is not taken in.
        self._queries += 1
        if self._subscriptions:
            latched = any(
                durability == QoSDurabilityPolicy.TRANSIENT_LOCAL
                for durability, _ in self._subscriptions
            )
            no_answer = self._queries > (LATCHED_ANSWER if latched else ANSWER)
        else:
            no_answer = time.monotonic() > self._discovered_by
        if no_answer:
            self._decided.set()

    def tell(self, allowed: bool) -> None:
        """Decide, as a message does."""
        changed = allowed != self._value
        self._value, self._is_told = allowed, True
        self._decided.set()
        if changed:
            self._changed(allowed)
            told = "may be published again" if allowed else "are held back from now on"
            self._node.get_logger().info(f"{TOPIC}: texts, audio and images {told}")

    def _receive(self, message: Bool) -> None:
        # In the callback, not in the worker's turn: what waits in its queue is held back as well.
        self.tell(bool(message.data))
