"""Both nodes in one process; utterances are handed over in memory."""

from __future__ import annotations

from typing import Any

from erc_ros.nodes.emotion_node import EmotionNode
from erc_ros.nodes.process import run_nodes
from erc_ros.nodes.stage import Stage
from erc_ros.nodes.utterance_node import UtteranceNode


def both(**options: Any) -> list[Stage]:
    """The two nodes, the one that feeds the other first: it is also the first to be closed."""
    recogniser = EmotionNode(subscribes=False, **options)
    return [UtteranceNode(hand_over=recogniser.receive, **options), recogniser]


def main(args: list[str] | None = None) -> int:
    """The executable `emotion`."""
    return run_nodes(both, args)


if __name__ == "__main__":
    raise SystemExit(main())
