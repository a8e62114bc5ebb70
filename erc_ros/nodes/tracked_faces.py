"""The faces that ROS4HRI tracks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from rclpy.qos import QoSProfile, QoSReliabilityPolicy

from erc_ros.adapters import HUMAN_ID, message_class
from erc_ros.nodes.managed_node import ManagedNode
from erc_ros.nodes.matching_qos import MatchingSubscription
from erc_ros.values.bounds import ID

IDS = "hri_msgs/msg/IdsList"
IDS_QOS = QoSProfile(depth=1, reliability=QoSReliabilityPolicy.RELIABLE)


def is_name(text: str) -> bool:
    """Whether a text is a valid id of ROS4HRI, and so a part of topic names (REP-155)."""
    return len(text) <= ID and re.fullmatch(HUMAN_ID, text) is not None


def usable(ids: Sequence[str]) -> list[str]:
    """Return the valid ids of a tracked list (REP-155) without duplicates."""
    return list(dict.fromkeys(i for i in ids if is_name(i)))


class TrackedFaces:
    """The faces in `faces/tracked`. Call `look` regularly.

    ids: the ids in the order of the list; () if unknown.
    """

    def __init__(self, node: ManagedNode, namespace: str) -> None:
        self.ids: tuple[str, ...] = ()
        self._node = node
        self._subscription: MatchingSubscription | None = None
        kind = message_class(IDS)
        if kind is not None and namespace:
            topic = f"{namespace}/faces/tracked"
            self._subscription = MatchingSubscription(node, kind, topic, self._receive, IDS_QOS)

    def look(self) -> None:
        """Subscribe to the list; without a publisher, `ids` is empty."""
        if self._subscription is not None and not self._subscription.look():
            self.ids = ()

    def close(self) -> None:
        """Destroy the subscription."""
        if self._subscription is not None:
            self._subscription.close()

    def _receive(self, message: Any) -> None:
        self.ids = tuple(usable(message.ids))
        if bad := len(set(message.ids)) - len(self.ids):
            self._node.complain(
                "faces/tracked", f"{bad} ids of tracked faces are invalid (REP-155)"
            )
