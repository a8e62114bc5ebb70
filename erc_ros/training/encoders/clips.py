"""Encoders that are trained further, as the network of a student."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from erc_ros.training.encoders.pretrained import Trainable


class PretrainedNetwork(nn.Module):
    """An encoder as a network: what its `collate` makes -> (N, dimension)."""

    def __init__(self, make: Callable[[], Trainable]) -> None:
        super().__init__()
        self._encoder = make()
        self.model = self._encoder.model

    def forward(self, **inputs: Tensor) -> Tensor:
        """-> (N, dimension)."""
        return self._encoder.embed(inputs)
