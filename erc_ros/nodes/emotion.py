"""Both nodes in one process; utterances are handed over in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from erc_ros.nodes.emotion_node import EmotionNode
from erc_ros.nodes.managed_node import ManagedNode
from erc_ros.nodes.utterance_node import UtteranceNode, not_recorded


def both(record: Callable[..., None] = not_recorded, **options: Any) -> list[ManagedNode]:
    """Return the utterance node and the emotion node, in the order in which they are closed.

    record: see `UtteranceNode`.
    """
    emotion_node = EmotionNode(subscribes=False, **options)
    utterance_node = UtteranceNode(
        emotion_node.receive,
        record,
        emotion_node.crop_size,
        consent=emotion_node.consent,
        opt_outs=emotion_node.opt_outs,
        **options,
    )
    emotion_node.is_sensed = utterance_node.has_person
    return [utterance_node, emotion_node]
