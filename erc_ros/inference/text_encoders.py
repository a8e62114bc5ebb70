"""Text encoders: the utterances of a window in, the embedding of the last one out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from erc_ros.encoders.text import Block, TextPrompt, Turn, WholePrompt
from erc_ros.inference.history import Embedding
from erc_ros.inference.manifest import CachedText, TextPart
from erc_ros.networks.session import Run


class TextEncoder(ABC):
    """Embeds the last utterance of a window. Not thread-safe."""

    def __init__(self, prompt: TextPrompt | WholePrompt) -> None:
        self._slide = prompt.slide

    @abstractmethod
    def forget(self) -> None:
        """Forget what was read; the next call encodes everything."""

    @abstractmethod
    def __call__(self, window: Sequence[Block]) -> Embedding:
        """The embedding (d,) of the last utterance of `window`, which must not be empty."""

    @abstractmethod
    def catch_up(self) -> None:
        """Do what the next call needs, in the time between two utterances."""

    def conversation(self, turns: Iterable[Turn]) -> NDArray[np.float32]:
        """The embeddings (n, d) of a conversation's utterances, each after those before it."""
        window: tuple[Block, ...] = ()
        embeddings = []
        for turn in turns:
            window = self._slide(window, turn)
            embeddings.append(self(window))
        return np.array(embeddings, np.float32)


class CachedTextEncoder(TextEncoder):
    """A text encoder that keeps the keys and values of what it has read. Not thread-safe.

    The answer depends on the window alone, but for rounding: what the window has in common with the
    one before is taken from the cache, the rest is encoded. So an utterance costs what its own
    tokens cost, however long the conversation is; a text that was already read (as a partial one)
    costs nothing; and a text that turned out otherwise is read again.

    Args:
        network: text.onnx as a function, see `training.text_model.TextEncoder.forward`.
        layers, heads, width: of one head; the shape of the keys and values.
    """

    def __init__(
        self,
        network: Run,
        prompt: TextPrompt,
        shape: tuple[int, int, int],
    ) -> None:
        super().__init__(prompt)
        self._network, self._prompt, self._shape = network, prompt, shape
        layers, heads, width = shape
        room = layers * 2 * heads * prompt.max_tokens * width
        # Two, as the new keys and values are copied together with the old ones.
        self._memory, self._spare = np.empty(room, np.float32), np.empty(room, np.float32)
        self.forget()

    def forget(self) -> None:
        """Forget what was read; the next call encodes everything."""
        self._window: tuple[Block, ...] = ()
        self._past = self._view(self._memory, 0)
        self._new = self._past  # keys and values that `catch_up` puts behind the past
        self._embedding: Embedding | None = None

    def __call__(self, window: Sequence[Block]) -> Embedding:
        """The embedding (d,) of the last utterance of `window`, which must not be empty."""
        window = tuple(window)
        if window == self._window and self._embedding is not None:
            return self._embedding
        self.catch_up()
        known = min(_common(window, self._window), len(window) - 1)
        tokens = 1 + sum(map(len, window[:known])) if known else 0
        past = np.ascontiguousarray(self._past[..., :tokens, :])
        layout = self._prompt.arrange(window, [len(window) - 1], known)
        outputs = self._network(
            {
                "input_ids": layout.input_ids[None],
                "positions": layout.positions[None],
                "visible": layout.visible[None],
                "mask_index": layout.mask_index[None],
                "past": past,
            }
        )
        self._past, self._new = past, outputs["present"][..., : layout.kept, :]
        self._window, self._embedding = window, outputs["embedding"][0, 0]
        return self._embedding

    def catch_up(self) -> None:
        """Put the last utterance's keys and values behind the others.

        The next call needs it and does it if it was not called; called before, it saves time.
        """
        if self._new.shape[4] == 0:
            return
        whole = self._view(self._spare, self._past.shape[4] + self._new.shape[4])
        np.concatenate([self._past, self._new], axis=4, out=whole)
        self._memory, self._spare = self._spare, self._memory
        self._past, self._new = whole, whole[..., :0, :]

    def _view(self, memory: NDArray[np.float32], tokens: int) -> NDArray[np.float32]:
        """The beginning of `memory` as keys and values (layers, 2, 1, heads, tokens, width)."""
        layers, heads, width = self._shape
        size = layers * 2 * heads * tokens * width
        return memory[:size].reshape(layers, 2, 1, heads, tokens, width)


class PromptTextEncoder(TextEncoder):
    """A text encoder that reads the whole prompt for every utterance. Not thread-safe.

    Only the last window is remembered, so a text that was already read as a draft costs nothing.
    """

    def __init__(self, network: Run, prompt: WholePrompt) -> None:
        super().__init__(prompt)
        self._network, self._prompt = network, prompt
        self.forget()

    def forget(self) -> None:
        """Forget what was read; the next call encodes everything."""
        self._window: tuple[Block, ...] = ()
        self._embedding: Embedding | None = None

    def __call__(self, window: Sequence[Block]) -> Embedding:
        """The embedding (d,) of the last utterance of `window`, which must not be empty."""
        window = tuple(window)
        if window == self._window and self._embedding is not None:
            return self._embedding
        ids, mask = self._prompt.assemble(window)
        inputs = {"input_ids": np.array([ids], np.int64)}
        inputs["attention_mask"] = np.ones_like(inputs["input_ids"])
        if self._prompt.is_read_at_mask:
            inputs["mask_index"] = np.array([mask], np.int64)
        self._window, self._embedding = window, self._network(inputs)["embedding"][0]
        return self._embedding

    def catch_up(self) -> None:
        """Nothing is left to do after an answer."""


def open_text_encoder(
    network: Run, part: TextPart, prompt: TextPrompt | WholePrompt
) -> TextEncoder:
    """The encoder of the part's kind."""
    if isinstance(part, CachedText) and isinstance(prompt, TextPrompt):
        return CachedTextEncoder(network, prompt, part.attention)
    assert isinstance(prompt, WholePrompt)
    return PromptTextEncoder(network, prompt)


def _common(one: Sequence[Block], other: Sequence[Block]) -> int:
    """How many blocks are the same at the beginning."""
    count = 0
    for mine, its in zip(one, other):  # noqa: B905 - up to the shorter one
        if mine != its:
            break
        count += 1
    return count
