"""Events that the utterance node passes to the emotion node in the same process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from erc_ros.values.events import Event


@dataclass(frozen=True)
class Handover:
    """An event of the dialogue for the emotion recognizer.

    arrived: ns on the monotonic clock, arrival of the input that completed the event.
    stages: time spent until now (ns), by name of the stage.
    sequence: number of its message, see erc_msgs/Utterance; 0 without a message.
    """

    event: Event
    arrived: int
    stages: Mapping[str, int]
    sequence: int = 0
