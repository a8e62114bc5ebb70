"""Predictions of the fusion network from single modalities, and their fusion by reliability."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from erc_ros.inference.bundle import MODALITY_LOGITS
from erc_ros.inference.estimate import (
    FusionOutput,
    Influence,
    leave_one_out_contributions,
    softmax,
)
from erc_ros.inference.reliability import (
    LEAST,
    Reading,
    ReliabilityConfig,
    State,
    distrust,
    step,
)
from erc_ros.networks.session import Run

SUBSETS = tuple(subset for subset in itertools.product((False, True), repeat=3) if any(subset))


def read(
    network: Run,
    config: ReliabilityConfig,
    inputs: dict[str, NDArray[Any]],
    modalities: Sequence[bool],
    has_modality_logits: bool,
) -> Reading | None:
    """Return the predictions from single modalities for the last utterance.

    A network with the output `modality_logits` runs once. Any other network runs with each subset
    of the available modalities.

    Args:
        inputs: input of one conversation, see `history.fusion_input`.
        modalities: whether text, audio and visual are available; at least one.

    Returns:
        None if the output of the network is not finite.
    """
    present = np.array(modalities)
    prior = np.array(config.prior)
    alone = np.tile(prior, (3, 1))
    if has_modality_logits:
        logits = network(inputs)[MODALITY_LOGITS][0, -1]  # (3, C)
        alone[present] = softmax(logits[present])
        return Reading(alone, present) if np.isfinite(alone).all() else None
    subsets = [subset for subset in SUBSETS if not any(np.array(subset) & ~present)]
    repeated = {name: np.repeat(array, len(subsets), axis=0) for name, array in inputs.items()}
    repeated["modalities"][:, -1] = subsets
    rows = softmax(network(repeated)["logits"][:, -1])  # (subsets, C)
    if not np.isfinite(rows).all():
        return None
    joint = np.tile(prior, (2, 2, 2, 1))
    for subset, row in zip(subsets, rows, strict=True):
        joint[tuple(map(int, subset))] = row
        if sum(subset) == 1:
            alone[subset.index(True)] = row
    return Reading(alone, present, joint)


def fuse(config: ReliabilityConfig, state: State, reading: Reading) -> tuple[State, FusionOutput]:
    """Return the state after an utterance, and its fused output with the modality weights.

    A weight is the total variation distance of the results with and without a modality, as a share
    of the sum. If no modality changes the result, text has all the weight, or without text the
    available modalities.
    """
    reasons = distrust(config, state)
    state, outcome = step(config, state, reading)
    present = reading.present
    logits = np.log(np.maximum(outcome.probabilities, LEAST)).astype(np.float32)
    without = np.log(np.maximum(outcome.without, LEAST)).astype(np.float32)
    otherwise = np.array([1.0, 0.0, 0.0]) if present[0] else present / present.sum()
    weights = leave_one_out_contributions(
        logits,
        without,
        (bool(present[0]), bool(present[1]), bool(present[2])),
        otherwise.astype(np.float32),
    )
    influence = Influence(
        alone=np.where(present[:, None], reading.alone, 0.0).astype(np.float32),
        without=outcome.without.astype(np.float32),
        reliability=np.concatenate([[1.0], outcome.reliability]).astype(np.float32),
        distrust=("", reasons.get("audio", ""), reasons.get("visual", "")),
    )
    return state, FusionOutput(logits, weights, influence)
