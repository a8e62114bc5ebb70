"""The text encoder with a memory: what was read once is not read again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from erc_ros.encoders.text import Block, TextPrompt, Turn
from erc_ros.inference.history import Embedding


class TextReader:
    """Embeds the last utterance of a window, and remembers keys and values of all of them.

    The answer depends on the window alone, but for rounding: what the window has in common with the
    one before is taken from memory, the rest is encoded. So an utterance costs what its own
    tokens cost, however long the conversation is; a text that was already read (as a partial one)
    costs nothing; and a text that turned out otherwise is read again.

    Args:
        network: text.onnx as a function, see `training.text_model.TextEncoder.forward`.
        layers, heads, width: of one head; the shape of the keys and values.
    """

    def __init__(
        self,
        network: Callable[[dict[str, NDArray[Any]]], dict[str, NDArray[np.float32]]],
        prompt: TextPrompt,
        shape: tuple[int, int, int],
    ) -> None:
        layers, heads, width = shape
        self._network, self._prompt = network, prompt
        self._nothing = np.zeros((layers, 2, 1, heads, 0, width), np.float32)
        self.forget()

    def forget(self) -> None:
        """Read everything anew next time."""
        self._window: tuple[Block, ...] = ()
        self._past = self._nothing
        self._embedding: Embedding | None = None

    def __call__(self, window: Sequence[Block]) -> Embedding:
        """The embedding (d,) of the last utterance of `window`, which must not be empty."""
        window = tuple(window)
        if window == self._window and self._embedding is not None:
            return self._embedding
        known = min(_common(window, self._window), len(window) - 1)
        tokens = 1 + sum(map(len, window[:known])) if known else 0
        past = self._past[..., :tokens, :]
        layout = self._prompt.arrange(window, [len(window) - 1], known)
        outputs = self._network(
            {
                "input_ids": layout.input_ids[None],
                "positions": layout.positions[None],
                "visible": layout.visible[None],
                "mask_index": layout.mask_index[None],
                "past": np.ascontiguousarray(past),
            }
        )
        new = outputs["present"][..., : layout.kept, :]
        self._window, self._past = window, np.concatenate([past, new], axis=4)
        self._embedding = outputs["embedding"][0, 0]
        return self._embedding

    def conversation(self, turns: Iterable[Turn]) -> NDArray[np.float32]:
        """The embeddings (n, d) of a conversation's utterances, each after those before it."""
        window: tuple[Block, ...] = ()
        embeddings = []
        for turn in turns:
            window = self._prompt.slide(window, turn)
            embeddings.append(self(window))
        return np.array(embeddings, np.float32)


def _common(one: Sequence[Block], other: Sequence[Block]) -> int:
    """How many blocks are the same at the beginning."""
    count = 0
    for mine, its in zip(one, other):  # noqa: B905 - up to the shorter one
        if mine != its:
            break
        count += 1
    return count
