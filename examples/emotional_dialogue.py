"""A dialogue with a language model that receives speaker and emotion of each text.

    python3 emotional_dialogue.py                                        # answers by rules
    python3 emotional_dialogue.py --ros-args -p llm:=my_module:complete  # your model

`my_module.complete(messages)` takes the messages of a chat (`[{"role": ..., "content": ...}]`) and
returns the answer. With any client compatible with OpenAI's, also for a local server:

    client = openai.OpenAI(base_url="http://localhost:8000/v1", api_key="none")
    def complete(messages):
        answer = client.chat.completions.create(model="my-model", messages=messages)
        return answer.choices[0].message.content

It subscribes to `emotion_node/annotated_speech` and publishes on `say` (std_msgs/String). The text
to speech should publish `robot_speaking`, so that the robot does not answer itself.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable

import rclpy
from rclpy.node import Node
from std_msgs.msg import String

Messages = list[dict[str, str]]
INSTRUCTION = (
    "You speak through a robot, in one or two sentences. Each text begins with its speaker and "
    "the emotion that voice, face and words express, with a probability: [anna, anger 0.81]. It "
    "is an estimate: adapt your tone to it, ask back when it is strong, and do not tell people "
    "how they feel."
)
KEPT = 20  # messages of history
KIND = {
    "sadness": "That sounds hard. Do you want to tell me more?",
    "anger": "I see that this matters to you. What would help?",
    "fear": "We can take our time. What worries you?",
    "joy": "That is good to hear!",
}


def by_rules(messages: Messages) -> str:
    """Return an answer by rules, in place of a language model."""
    match = re.match(r"\[[^\]]*?(\w+) 0\.\d+\]", messages[-1]["content"])
    return KIND.get(match[1] if match else "", "I am listening.")


class Dialogue(Node):
    """Answers each annotated text."""

    def __init__(self) -> None:
        super().__init__("dialogue")
        name = self.declare_parameter("llm", "").value
        self._complete: Callable[[Messages], str] = by_rules
        if name:
            module, _, function = name.partition(":")
            self._complete = getattr(importlib.import_module(module), function)
        self._messages: Messages = []
        self._say = self.create_publisher(String, "say", 10)
        self.create_subscription(String, "emotion_node/annotated_speech", self._answer, 50)

    def _answer(self, message: String) -> None:
        self._messages.append({"role": "user", "content": message.data})
        answer = self._complete([{"role": "system", "content": INSTRUCTION}, *self._messages])
        self._messages.append({"role": "assistant", "content": answer})
        self._messages = self._messages[-KEPT:]
        self._say.publish(String(data=answer))


def main() -> None:
    rclpy.init()
    rclpy.spin(Dialogue())


if __name__ == "__main__":
    main()
