"""Text encoders, which embed the last utterance of a window."""

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
    """Base class: embeds the last utterance of a window. Not thread-safe."""

    def __init__(self, prompt: TextPrompt | WholePrompt) -> None:
        self._slide = prompt.slide

    @abstractmethod
    def forget(self) -> None:
        """Clear the cache."""

    @abstractmethod
    def __call__(self, window: Sequence[Block]) -> Embedding:
        """Return the embedding (d,) of the last utterance of `window`, which must not be empty."""

    @abstractmethod
    def catch_up(self) -> None:
        """Prepare the next call, in the time between two utterances."""

    def conversation(self, turns: Iterable[Turn]) -> NDArray[np.float32]:
        """Return the embeddings (n, d) of the utterances of a conversation, in order."""
        window: tuple[Block, ...] = ()
        embeddings = []
        for turn in turns:
            window = self._slide(window, turn)
            embeddings.append(self(window))
        return np.array(embeddings, np.float32)


class CachedTextEncoder(TextEncoder):
    """Text encoder that caches the keys and values of encoded utterances. Not thread-safe.

    Except for rounding, the result depends only on the window. The common beginning of the window
    and the previous one is cached, the rest is encoded. The cost of an utterance is therefore that
    of its own tokens; a text that was already encoded (as a partial one) is free, and a changed
    text is encoded again.

    Args:
        network: text.onnx as a function, see `training.text_model.TextEncoder.forward`.
        prompt: the prompt builder.
        shape: number of layers, number of heads, width of a head.
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
        # Two buffers, because the new keys and values are copied together with the old ones.
        self._memory, self._spare = np.empty(room, np.float32), np.empty(room, np.float32)
        self.forget()

    def forget(self) -> None:
        """Clear the cache."""
        self._window: tuple[Block, ...] = ()
        self._past = self._view(self._memory, 0)
        self._new = self._past  # keys and values that `catch_up` appends to the past
        self._embedding: Embedding | None = None

    def __call__(self, window: Sequence[Block]) -> Embedding:
        """Return the embedding (d,) of the last utterance of `window`, which must not be empty."""
        window = tuple(window)
        if window == self._window and self._embedding is not None:
            return self._embedding
        self.catch_up()
        cached = min(_common(window, self._window), len(window) - 1)
        tokens = 1 + sum(map(len, window[:cached])) if cached else 0
        past = np.ascontiguousarray(self._past[..., :tokens, :])
        layout = self._prompt.arrange(window, [len(window) - 1], cached)
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
        """Append the keys and values of the last utterance to the cache.

        The next call does this if it was not done before.
        """
        if self._new.shape[4] == 0:
            return
        whole = self._view(self._spare, self._past.shape[4] + self._new.shape[4])
        np.concatenate([self._past, self._new], axis=4, out=whole)
        self._memory, self._spare = self._spare, self._memory
        self._past, self._new = whole, whole[..., :0, :]

    def _view(self, memory: NDArray[np.float32], tokens: int) -> NDArray[np.float32]:
        """Return a view of `memory` as keys and values (layers, 2, 1, heads, tokens, width)."""
        layers, heads, width = self._shape
        size = layers * 2 * heads * tokens * width
        return memory[:size].reshape(layers, 2, 1, heads, tokens, width)


class PromptTextEncoder(TextEncoder):
    """Text encoder that encodes the whole prompt for every utterance. Not thread-safe.

    The result for the last window is cached, so that a text already encoded as a draft is free.
    """

    def __init__(self, network: Run, prompt: WholePrompt) -> None:
        super().__init__(prompt)
        self._network, self._prompt = network, prompt
        self.forget()

    def forget(self) -> None:
        """Clear the cache."""
        self._window: tuple[Block, ...] = ()
        self._embedding: Embedding | None = None

    def __call__(self, window: Sequence[Block]) -> Embedding:
        """Return the embedding (d,) of the last utterance of `window`, which must not be empty."""
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
        """Do nothing: there is no cache to update."""


def open_text_encoder(
    network: Run, part: TextPart, prompt: TextPrompt | WholePrompt
) -> TextEncoder:
    """Return the encoder for the kind of the part."""
    if isinstance(part, CachedText) and isinstance(prompt, TextPrompt):
        return CachedTextEncoder(network, prompt, part.attention)
    assert isinstance(prompt, WholePrompt)
    return PromptTextEncoder(network, prompt)


def _common(one: Sequence[Block], other: Sequence[Block]) -> int:
    """Return the number of equal blocks at the beginning."""
    count = 0
    for mine, its in zip(one, other):  # noqa: B905 - up to the shorter one
        if mine != its:
            break
        count += 1
    return count
