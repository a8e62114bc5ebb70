"""What the utterance node gives to the emotion node where both are in one process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from erc_ros.values.events import Event


@dataclass(frozen=True)
class Handover:
    """An event of the dialogue for the emotion recognizer.

    arrived: ns on the monotonic clock, of the input that completed it.
    stages: ns spent until now, by name.
    sequence: of its message, see erc_msgs/Utterance; 0 where it has no message.
    """

    event: Event
    arrived: int
    stages: Mapping[str, int]
    sequence: int = 0
