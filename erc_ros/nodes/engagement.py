"""Engagement of persons, from ROS4HRI's engagement_status: not every text addresses the robot."""

from __future__ import annotations

import re
from typing import Any

from rclpy.qos import QoSProfile, QoSReliabilityPolicy

from erc_ros.adapters import HUMAN_ID, message_class
from erc_ros.nodes.managed_node import ManagedNode
from erc_ros.nodes.matching_qos import MatchingSubscription
from erc_ros.values.errors import ErcValueError

LEVEL = "hri_msgs/msg/EngagementLevel"
QOS = QoSProfile(depth=1, reliability=QoSReliabilityPolicy.RELIABLE)
MAX_PERSONS = 64
DISENGAGED = 1  # constant of the message


class Engagement:
    """Subscribes to `persons/<id>/engagement_status`. Call `look` periodically in the executor.

    Args:
        namespace: namespace of ROS4HRI.

    Raises:
        ValueError: hri_msgs is not installed.
    """

    def __init__(self, node: ManagedNode, namespace: str) -> None:
        kind = message_class(LEVEL)
        if kind is None:
            raise ErcValueError("omit_disengaged needs hri_msgs/EngagementLevel: install hri_msgs")
        self._node, self._kind = node, kind
        self._topic = re.compile(
            rf"{re.escape(node.resolve_topic_name(namespace).rstrip('/'))}"
            rf"/persons/({HUMAN_ID})/engagement_status"
        )
        self._subscriptions: dict[str, MatchingSubscription] = {}
        self._disengaged: dict[str, bool] = {}

    def is_disengaged(self, person_id: str) -> bool:
        """Whether the last status of a person is "disengaged"; False without a status."""
        return self._disengaged.get(person_id, False)

    def look(self) -> None:
        """Update the subscriptions to the persons who have a status."""
        published = {
            match[1]: topic
            for topic, _ in self._node.get_topic_names_and_types()
            if (match := self._topic.fullmatch(topic))
        }
        for person in [person for person in self._subscriptions if person not in published]:
            self._forget(person)
        for person, topic in published.items():
            if person not in self._subscriptions and len(self._subscriptions) < MAX_PERSONS:
                self._subscriptions[person] = self._subscription(person, topic)
            if person in self._subscriptions and not self._subscriptions[person].look():
                self._forget(person)

    def _subscription(self, person: str, topic: str) -> MatchingSubscription:
        def receive(message: Any) -> None:
            self._disengaged[person] = message.level == DISENGAGED

        return MatchingSubscription(self._node, self._kind, topic, receive, QOS)

    def _forget(self, person: str) -> None:
        self._subscriptions.pop(person).close()
        self._disengaged.pop(person, None)

    def close(self) -> None:
        """Destroy the subscriptions."""
        for person in list(self._subscriptions):
            self._forget(person)
