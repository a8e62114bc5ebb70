"""QoS of subscriptions that matches what the publishers offer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import copy
from typing import TYPE_CHECKING, Any

from rclpy.qos import QoSDurabilityPolicy, QoSProfile, QoSReliabilityPolicy

if TYPE_CHECKING:
    from erc_ros.nodes.managed_node import ManagedNode

RELIABLE, BEST_EFFORT = QoSReliabilityPolicy.RELIABLE, QoSReliabilityPolicy.BEST_EFFORT
LATCHED_QOS = QoSProfile(
    depth=1,
    reliability=QoSReliabilityPolicy.RELIABLE,
    durability=QoSDurabilityPolicy.TRANSIENT_LOCAL,
)
LATCHED, VOLATILE = QoSDurabilityPolicy.TRANSIENT_LOCAL, QoSDurabilityPolicy.VOLATILE


def matching(wanted: QoSProfile, publishers: Iterable[Any]) -> QoSProfile:
    """Return `wanted`, reliable and transient local only as far as all publishers offer it.

    publishers: result of `get_publishers_info_by_topic`; if empty, any publisher is compatible.
    """
    offered = [info.qos_profile for info in publishers]
    qos_profile = copy(wanted)
    if not offered or any(qos.reliability != RELIABLE for qos in offered):
        qos_profile.reliability = BEST_EFFORT
    all_latched = bool(offered) and all(qos.durability == LATCHED for qos in offered)
    qos_profile.durability = LATCHED if all_latched else VOLATILE
    return qos_profile


class MatchingSubscription:
    """A subscription with the QoS of its publishers; call `look` periodically.

    It is created when there is a publisher, as the QoS is unknown before.
    """

    def __init__(
        self,
        node: ManagedNode,
        message_type: type,
        topic: str,
        receive: Callable[[Any], None],
        wanted: QoSProfile,
    ) -> None:
        self._node, self._type, self._topic = node, message_type, topic
        self._receive, self._wanted = receive, wanted
        self._current: QoSProfile | None = None
        self._subscription: Any = None

    def look(self) -> bool:
        """Subscribe, again if the QoS changed; return whether there is a publisher."""
        publishers = self._node.get_publishers_info_by_topic(
            self._node.resolve_topic_name(self._topic)
        )
        if not publishers:
            return False
        qos = matching(self._wanted, publishers)
        if qos != self._current:
            self.close()
            self._subscription = self._node.subscribe_to(
                self._type, self._topic, self._receive, qos, matched=True
            )
            self._current = qos
        return True

    def close(self) -> None:
        """Destroy the subscription."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
        self._subscription = self._current = None
