"""The estimate of one utterance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from erc_ros.inference.bundle import Bundle
from erc_ros.inference.manifest import Calibration
from erc_ros.values.utterance import MODALITIES, Utterance
from erc_ros.values.why import Why, rounded

UNKNOWN = ""
"""Label of an estimate whose confidence is below `min_confidence`."""

SUREST = 0.99
"""Maximum confidence after multiplication by a factor."""


@dataclass(frozen=True, slots=True, eq=False)
class Influence:
    """Contribution of each modality to an estimate.

    alone: (3, C), probabilities from text, audio and visual only; 0 if missing or not computed.
    without: (3, C), calibrated probabilities without each modality; 0 if there is no other.
    reliability: (3,), estimated probability that each modality works, before this utterance; 1 for
        text, which is the reference; NaN = not estimated.
    distrust: value of a `Distrust` for text, audio and visual; "" = trusted or not known.
    """

    alone: NDArray[np.float32]
    without: NDArray[np.float32]
    reliability: NDArray[np.float32]
    distrust: tuple[str, str, str] = ("", "", "")


@dataclass(frozen=True, slots=True, eq=False)
class Estimate:
    """Emotion estimate of one utterance.

    An utterance without any usable modality has a uniform distribution and weights 0. Its label is
    the first of all and has no meaning; it is not an estimate of "neutral".
    """

    utterance: Utterance
    probabilities: NDArray[np.float32]  # (C,) in the order of the bundle's labels, sum 1
    label: str  # most probable label; UNKNOWN below the pipeline's `min_confidence`
    confidence: float  # probability of the most probable label
    valence: float  # -1..1: mean of the anchors, weighted by the probabilities
    arousal: float  # -1..1, likewise
    modalities: tuple[bool, bool, bool]  # whether text, audio and visual were used
    weights: tuple[float, float, float]  # `leave_one_out_contributions`, sum 1
    latency: dict[str, int]  # ns per stage: text, audio, visual (in parallel), fusion
    latency_total: int  # ns from the arrival of the utterance to this estimate
    is_final: bool
    notes: tuple[str, ...] = ()  # inputs that were excluded or not trusted, with the reason
    influence: Influence | None = None  # None: one modality, whose reliability is not estimated
    text_excluded: str = ""  # `TextExclusion` of a text that was not used


@dataclass(frozen=True, slots=True, eq=False)
class FusionOutput:
    """Output of the fusion for one utterance: logits (C,) and modality weights (3,).

    influence: its `without` is not calibrated yet.
    """

    logits: NDArray[np.float32]
    weights: NDArray[np.float32]
    influence: Influence | None = None


def unestimated_influence(left_out: NDArray[np.float32]) -> Influence:
    """Return the influence of modalities whose reliability is not estimated.

    Args:
        left_out: (3, C), logits without text, audio and visual.
    """
    without = np.where(np.isfinite(left_out), left_out, 0.0).astype(np.float32)
    unknown = np.full(3, np.nan, np.float32)
    return Influence(np.zeros_like(without), softmax(without), unknown)


def uniform_output(labels: int) -> FusionOutput:
    """Return the output for an utterance without any modality: all labels are equally likely."""
    return FusionOutput(np.zeros(labels, np.float32), np.zeros(3, np.float32))


def estimate(
    bundle: Bundle,
    utterance: Utterance,
    answer: FusionOutput,
    modalities: tuple[bool, bool, bool],
    latency: dict[str, int],
    latency_total: int,
    notes: tuple[str, ...] = (),
    text_excluded: str = "",
) -> Estimate:
    """Create an estimate from the output of the fusion, with calibrated probabilities.

    valence, arousal = sum over labels of probability * anchor.
    """
    probabilities = calibrated(answer.logits, bundle.calibration, modalities)
    best = int(probabilities.argmax())
    valence, arousal = probabilities @ bundle.anchors
    text, audio, visual = (float(weight) for weight in answer.weights)
    return Estimate(
        utterance=utterance,
        probabilities=probabilities,
        label=bundle.labels[best],
        confidence=float(probabilities[best]),
        valence=float(valence),
        arousal=float(arousal),
        modalities=modalities,
        weights=(text, audio, visual),
        latency=latency,
        latency_total=latency_total,
        is_final=utterance.is_final,
        notes=notes,
        text_excluded=text_excluded,
        influence=_calibrated_influence(bundle.calibration, answer.influence, modalities),
    )


def why_of(estimate: Estimate, labels: Sequence[str]) -> dict[str, Why]:
    """Return the contribution of each available modality; {} if it is not known."""
    influence = estimate.influence
    if influence is None:
        return {}
    return {
        name: Why(
            *_best(labels, influence.alone[m]),
            rounded(reliability) if np.isfinite(reliability) else None,
            *_best(labels, influence.without[m]),
            influence.distrust[m],
        )
        for m, (name, reliability) in enumerate(zip(MODALITIES, influence.reliability, strict=True))
        if estimate.modalities[m]
    }


def _best(labels: Sequence[str], distribution: NDArray[np.float32]) -> tuple[str, float]:
    """Return the most probable label and its probability; "" and 0 without a distribution."""
    best = int(distribution.argmax())
    return (labels[best] if distribution.any() else "", rounded(distribution[best]))


def _calibrated_influence(
    calibration: Calibration, influence: Influence | None, modalities: tuple[bool, bool, bool]
) -> Influence | None:
    if influence is None or not any(modalities):
        return None
    without = np.zeros_like(influence.without)
    for m in range(3):
        others = [seen and m != other for other, seen in enumerate(modalities)]
        if any(others):
            logits = np.log(np.maximum(influence.without[m], 1e-12))
            without[m] = calibrated(logits, calibration, others)
    return replace(influence, without=without)


def leave_one_out_contributions(
    logits: NDArray[np.float32],
    left_out: NDArray[np.float32],
    modalities: tuple[bool, bool, bool],
    otherwise: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Return the contribution of each modality: the change of the output without it, as shares.

    The change is the total variation distance of the two distributions. (The gates inside fusion
    networks are not used, because they are about equal in practice.)

    Args:
        logits: (C,), output with all modalities.
        left_out: (3, C), outputs without text, audio and visual.
        modalities: whether text, audio and visual are available.
        otherwise: (3,), contributions if no modality changes the output.

    Returns:
        (3,), sum 1; 0 for a missing modality.
    """
    moved = np.abs(softmax(left_out) - softmax(logits)).sum(axis=1) * np.array(modalities)
    total = moved.sum()
    if not (np.isfinite(total) and total > 1e-6):
        return otherwise
    result: NDArray[np.float32] = (moved / total).astype(np.float32)
    return result


def calibrated(
    logits: NDArray[np.float32], calibration: Calibration, modalities: Sequence[bool]
) -> NDArray[np.float32]:
    """Convert logits (..., C) with these modalities to calibrated probabilities (..., C).

    The most probable label does not change, except by the offsets of `erc recalibrate`.
    """
    probabilities = softmax(logits / np.float32(calibration.of(modalities)))
    factors = calibration.factors_of(modalities)
    if factors:
        probabilities = scale_confidence(probabilities, factors)
    if calibration.offsets:
        offsets = np.array(calibration.offsets)
        probabilities = recalibrated(probabilities, calibration.sharpness, offsets)
    return probabilities


def recalibrated(
    probabilities: NDArray[Any], sharpness: float, offsets: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Apply sharpness and offsets (C,) to probabilities (..., C); see `Calibration`."""
    logarithms = np.log(np.maximum(probabilities.astype(np.float64), 1e-12))
    return softmax((sharpness * logarithms + offsets).astype(np.float32))


def scale_confidence(
    probabilities: NDArray[np.float32], factors: Sequence[float]
) -> NDArray[np.float32]:
    """Multiply the probability of the most probable label of each row by the label's factor.

    The result is limited so that the most probable label does not change, and to SUREST. The other
    probabilities are scaled to sum 1.

    Args:
        probabilities: (..., C), each row with sum 1.
        factors: (C,), positive.

    Returns:
        (..., C), each row with sum 1 within 1e-5.
    """
    p = probabilities.astype(np.float64)
    best = np.expand_dims(p.argmax(axis=-1), -1)
    confidence = np.take_along_axis(p, best, axis=-1)
    others = np.maximum(p, 1e-30)  # equal shares if all are 0
    np.put_along_axis(others, best, 0.0, axis=-1)
    others /= others.sum(axis=-1, keepdims=True)
    next_best = others.max(axis=-1, keepdims=True)
    least = np.minimum(confidence, 1.0001 * next_best / (1 + next_best))  # a bit above a tie
    most = np.maximum(confidence, SUREST)
    scaled = np.clip(confidence * np.asarray(factors)[best], least, most)
    scaled_all = others * (1 - scaled)
    np.put_along_axis(scaled_all, best, scaled, axis=-1)
    result: NDArray[np.float32] = scaled_all.astype(np.float32)
    # Rounding must not change the most probable label.
    is_kept = (scaled != confidence) & (np.expand_dims(result.argmax(axis=-1), -1) == best)
    return np.where(is_kept, result, probabilities)


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the softmax of each row of logits (..., C)."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    result: NDArray[np.float32] = powers / powers.sum(axis=-1, keepdims=True)
    return result
