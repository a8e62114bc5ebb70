"""Wrap a pretrained encoder as the network of a student, to fine-tune it."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from erc_ros.training.encoders.pretrained import Trainable


class PretrainedNetwork(nn.Module):
    """An encoder as a network: inputs of `collate` -> embeddings (N, dimension)."""

    def __init__(self, make: Callable[[], Trainable]) -> None:
        super().__init__()
        self._encoder = make()
        self.model = self._encoder.model

    def forward(self, **inputs: Tensor) -> Tensor:
        """Return embeddings (N, dimension)."""
        return self._encoder.embed(inputs)
