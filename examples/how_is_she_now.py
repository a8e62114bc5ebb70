"""A behavior tree that checks the state of a person before the robot speaks.

    pip install py_trees        # or apt install ros-<distribution>-py-trees
    python3 how_is_she_now.py anna [--ros-args -r emotion_state:=/robot/emotion_state]

It publishes the robot's text on `say` (std_msgs/String) when the text changes. `emotion_state` is
latched, so that late subscribers receive it at once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import py_trees
import rclpy
import rclpy.utilities
from erc_msgs.msg import EmotionState, EmotionStates
from py_trees.common import Status
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from std_msgs.msg import String

LATCHED = QoSProfile(
    depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)
MAX_UNCERTAINTY = 0.6  # of a usable state; later estimates lower it, time raises it
TICK = 0.1  # s


class StateIs(py_trees.behaviour.Behaviour):
    """SUCCESS if the state is certain enough and fulfills `condition`, else FAILURE."""

    def __init__(
        self,
        name: str,
        state: Callable[[], EmotionState | None],
        condition: Callable[[EmotionState], bool],
    ) -> None:
        super().__init__(name)
        self._state, self._condition = state, condition

    def update(self) -> Status:
        state = self._state()
        if state is None or state.uncertainty > MAX_UNCERTAINTY:
            self.feedback_message = "unknown"
            return Status.FAILURE
        self.feedback_message = f"{state.label}, valence {state.valence:.2f}"
        return Status.SUCCESS if self._condition(state) else Status.FAILURE


class Say(py_trees.behaviour.Behaviour):
    """Publishes a text, once until the text changes."""

    def __init__(self, text: str, say: Callable[[str], None]) -> None:
        super().__init__(f"say {text!r}")
        self._text, self._say = text, say

    def update(self) -> Status:
        self._say(self._text)
        return Status.SUCCESS


class Companion(Node):
    """Follows the state of a person (without a name: the last speaker) and publishes texts."""

    def __init__(self, person: str) -> None:
        super().__init__("companion")
        self._person, self._states = person, EmotionStates()
        self._last_text = ""
        self._voice = self.create_publisher(String, "say", LATCHED)
        self.create_subscription(EmotionStates, "emotion_state", self._receive, LATCHED)
        self.tree = self._make_tree()
        self.create_timer(TICK, self.tree.tick)

    def how_is_she_now(self) -> EmotionState | None:
        """Return the state of the person; None if unknown."""
        states = [s for s in self._states.states if self._person in ("", s.person_id)]
        return states[-1] if states else None

    def _receive(self, message: EmotionStates) -> None:
        self._states = message

    def _make_tree(self) -> py_trees.trees.BehaviourTree:
        def when(
            name: str, condition: Callable[[EmotionState], bool], text: str
        ) -> py_trees.behaviour.Behaviour:
            state_is = StateIs(name, self.how_is_she_now, condition)
            children = [state_is, Say(text, self._say)]
            return py_trees.composites.Sequence(name, memory=False, children=children)

        root = py_trees.composites.Selector(
            "greet",
            memory=False,
            children=[
                when("she feels bad", lambda s: s.valence < -0.2, "I am sorry. Can I help?"),
                when("she feels good", lambda s: s.valence > 0.2, "It is good to see you happy!"),
                when("she is calm", lambda s: True, "Hello again."),
                Say("Hello, how are you?", self._say),
            ],
        )
        return py_trees.trees.BehaviourTree(root)

    def _say(self, text: str) -> None:
        if text != self._last_text:
            self._last_text = text
            self._voice.publish(String(data=text))


def main() -> None:
    rclpy.init()
    arguments = rclpy.utilities.remove_ros_args(sys.argv)
    rclpy.spin(Companion(arguments[1] if len(arguments) > 1 else ""))


if __name__ == "__main__":
    main()
