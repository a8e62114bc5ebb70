"""A behaviour tree that asks, before the robot speaks: how is she now?

    pip install py_trees        # or apt install ros-<distribution>-py-trees
    python3 how_is_she_now.py anna [--ros-args -r emotion_state:=/robot/emotion_state]

It publishes what the robot should say on `say` (std_msgs/String), when that changes.
`emotion_state` is latched: who starts late knows at once.
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
TOO_UNCERTAIN = 0.6  # from here on the state says too little: it has faded, or never was clear
TICK = 0.1  # s


class SheIs(py_trees.behaviour.Behaviour):
    """SUCCESS where her state is known well enough and `true` of it, else FAILURE."""

    def __init__(
        self,
        name: str,
        state: Callable[[], EmotionState | None],
        true: Callable[[EmotionState], bool],
    ) -> None:
        super().__init__(name)
        self._state, self._true = state, true

    def update(self) -> Status:
        state = self._state()
        if state is None or state.uncertainty > TOO_UNCERTAIN:
            self.feedback_message = "nothing is known"
            return Status.FAILURE
        self.feedback_message = f"{state.label}, valence {state.valence:.2f}"
        return Status.SUCCESS if self._true(state) else Status.FAILURE


class Say(py_trees.behaviour.Behaviour):
    """Says a text, once as long as it is the one to be said."""

    def __init__(self, text: str, say: Callable[[str], None]) -> None:
        super().__init__(f"say {text!r}")
        self._text, self._say = text, say

    def update(self) -> Status:
        self._say(self._text)
        return Status.SUCCESS


class Companion(Node):
    """Knows how one person (or, without a name, whoever spoke last) is, and what to say."""

    def __init__(self, person: str) -> None:
        super().__init__("companion")
        self._person, self._states = person, EmotionStates()
        self._said = ""
        self._voice = self.create_publisher(String, "say", LATCHED)
        self.create_subscription(EmotionStates, "emotion_state", self._hear, LATCHED)
        self.tree = self._make_tree()
        self.create_timer(TICK, self.tree.tick)

    def how_is_she_now(self) -> EmotionState | None:
        """The state; None where nothing is known of her."""
        states = [s for s in self._states.states if self._person in ("", s.person_id)]
        return states[-1] if states else None

    def _hear(self, message: EmotionStates) -> None:
        self._states = message

    def _make_tree(self) -> py_trees.trees.BehaviourTree:
        def when(
            name: str, true: Callable[[EmotionState], bool], text: str
        ) -> py_trees.behaviour.Behaviour:
            she_is = SheIs(name, self.how_is_she_now, true)
            children = [she_is, Say(text, self._say)]
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
        if text != self._said:
            self._said = text
            self._voice.publish(String(data=text))


def main() -> None:
    rclpy.init()
    arguments = rclpy.utilities.remove_ros_args(sys.argv)
    rclpy.spin(Companion(arguments[1] if len(arguments) > 1 else ""))


if __name__ == "__main__":
    main()
