"""May what is said and seen be kept? A latched topic says so, and both nodes heed it at once."""

from __future__ import annotations

from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from std_msgs.msg import Bool

from erc_ros.nodes.managed_node import ManagedNode
from erc_ros.nodes.matching_qos import MatchingSubscription

TOPIC = "recording_allowed"
QOS = QoSProfile(depth=1, reliability=QoSReliabilityPolicy.RELIABLE)


class RecordingConsent:
    """Whether texts, sound and pictures may go out. Call `look` now and then.

    allowed: as was told last, also if whoever told it is gone; True before. Read by any thread.
    """

    def __init__(self, node: ManagedNode) -> None:
        self.allowed = True
        self._node = node
        self._subscription = MatchingSubscription(node, Bool, TOPIC, self._hear, QOS)

    def look(self) -> None:
        """Listen to who publishes it."""
        self._subscription.look()

    def close(self) -> None:
        """Stop listening."""
        self._subscription.close()

    def _hear(self, message: Bool) -> None:
        # In the callback, not in the worker's turn: what waits in its queue is held back as well.
        if message.data != self.allowed:
            self.allowed = bool(message.data)
            told = "may go out again" if self.allowed else "are held back from now on"
            self._node.get_logger().info(f"{TOPIC}: texts, sound and pictures {told}")
