"""Predictions of a classifier for a whole split, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from erc_ros.training.engine.trainer import device_of

Indices = NDArray[np.int64]
Floats = NDArray[np.float32]


@torch.inference_mode()
def predict(
    model: nn.Module,
    forward: Callable[[Mapping[str, Tensor]], tuple[Tensor, Tensor]],
    inputs: Callable[[Indices], Mapping[str, Tensor]],
    order: Indices,
    batch_size: int,
) -> tuple[Floats, Floats]:
    """Return embeddings (N, E) and probabilities (N, C) of N examples, in their order.

    Args:
        model: is set to eval mode; inputs are moved to its device.
        forward: inputs on the device -> embeddings (n, E) and logits (n, C).
        inputs: indices of some examples -> inputs of `forward`.
        order: (N,) order of processing; neighbors of similar length reduce padding.
        batch_size: examples per batch.
    """
    model.eval()
    device = device_of(model)
    embeddings, probabilities = [], []
    for start in range(0, len(order), batch_size):
        batch = inputs(order[start : start + batch_size])
        embedding, logits = forward({name: tensor.to(device) for name, tensor in batch.items()})
        embeddings.append(embedding.float().cpu().numpy())
        probabilities.append(logits.float().softmax(dim=1).cpu().numpy())
    back = np.argsort(order)
    return np.concatenate(embeddings)[back], np.concatenate(probabilities)[back]
