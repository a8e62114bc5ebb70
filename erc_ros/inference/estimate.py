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
"""The label of an estimate that is not confident enough to be named."""

SUREST = 0.99
"""A confidence that a factor raises ends here."""


@dataclass(frozen=True, slots=True, eq=False)
class Influence:
    """Why an estimate is as it is: what each modality contributed.

    alone: (3, C), what text, audio and visual indicate separately; 0 where missing or not computed.
    without: (3, C), calibrated probabilities without each modality; 0 where it was the only one.
    reliability: (3,), estimated probability that each modality works, before this utterance; text
        is the reference, 1; NaN = not estimated.
    distrust: of text, audio and visual, the value of a `Distrust`; "" = trusted or not known.
    """

    alone: NDArray[np.float32]
    without: NDArray[np.float32]
    reliability: NDArray[np.float32]
    distrust: tuple[str, str, str] = ("", "", "")


@dataclass(frozen=True, slots=True, eq=False)
class Estimate:
    """What a person expressed during one utterance.

    An utterance of which nothing could be seen, heard or read has the uniform distribution, weights
    0 and no modality: "no idea", not "neutral" (its label is then only the first of equals).
    """

    utterance: Utterance
    probabilities: NDArray[np.float32]  # (C,) in the order of the bundle's labels, sum 1
    label: str  # the most probable one; UNKNOWN below the pipeline's `min_confidence`
    confidence: float  # the greatest probability
    valence: float  # -1..1: the anchors' mean, weighted by the probabilities
    arousal: float  # -1..1, likewise
    modalities: tuple[bool, bool, bool]  # text, audio, visual: which ones counted
    weights: tuple[float, float, float]  # `leave_one_out_contributions`, sum 1
    latency: dict[str, int]  # ns per stage: text, audio, visual (each in its worker), fusion
    latency_total: int  # ns from the utterance's arrival to this estimate
    is_final: bool
    notes: tuple[str, ...] = ()  # what of the input was excluded or not trusted, and why
    influence: Influence | None = None  # None: one modality, and no estimate of its reliability
    text_excluded: str = ""  # a `TextExclusion` where there was a text that was not used


@dataclass(frozen=True, slots=True, eq=False)
class FusionOutput:
    """The output of the fusion for one utterance: logits (C,) and modality weights (3,).

    influence: with `without` not calibrated yet.
    """

    logits: NDArray[np.float32]
    weights: NDArray[np.float32]
    influence: Influence | None = None


def unestimated_influence(left_out: NDArray[np.float32]) -> Influence:
    """Of a fusion whose modalities' reliability is not estimated: the results without each.

    Args:
        left_out: the logits without text, audio, visual, (3, C).
    """
    without = np.where(np.isfinite(left_out), left_out, 0.0).astype(np.float32)
    unknown = np.full(3, np.nan, np.float32)
    return Influence(np.zeros_like(without), softmax(without), unknown)


def uniform_output(labels: int) -> FusionOutput:
    """The output for an utterance without any modality: every label equally likely."""
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
    """Turn logits into calibrated probabilities and what follows from them.

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
    """Modality -> what it contributed, for those that were there; {} where that is not known."""
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
    """The most probable label and its probability; "" and 0 for no distribution."""
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
    """How much each modality counted: how far the output moves when it is excluded, as shares.

    The distance is the total variation between the two distributions. (The gates inside a fusion
    say little: in practice they are all about equally far open.)

    Args:
        logits: the answer, (C,). left_out: the answer without text, audio, visual, (3, C).
        otherwise: taken when leaving out changes nothing, (3,).

    Returns:
        (3,) sum 1, 0 for a modality that is missing.
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
    """Logits (..., C) of utterances of which these were seen -> probabilities (..., C), sum 1.

    The most probable label is that of the logits, unless `erc recalibrate` added offsets.
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
    """Sharpen (..., C) probabilities and prefer labels by their offsets (C,); see `Calibration`."""
    logarithms = np.log(np.maximum(probabilities.astype(np.float64), 1e-12))
    return softmax((sharpness * logarithms + offsets).astype(np.float32))


def scale_confidence(
    probabilities: NDArray[np.float32], factors: Sequence[float]
) -> NDArray[np.float32]:
    """Multiply the probability of each row's label by the factor of its label.

    The answer stays: its probability ends where the next one would reach it, and at SUREST. The
    others share what is left as before.

    Args:
        probabilities: (..., C), each row with sum 1; the greatest is the answer.
        factors: (C,) above 0.

    Returns:
        (..., C), each row with sum 1 within 1e-5.
    """
    p = probabilities.astype(np.float64)
    best = np.expand_dims(p.argmax(axis=-1), -1)
    confidence = np.take_along_axis(p, best, axis=-1)
    others = np.maximum(p, 1e-30)  # where all is 0 they share evenly
    np.put_along_axis(others, best, 0.0, axis=-1)
    others /= others.sum(axis=-1, keepdims=True)
    next_best = others.max(axis=-1, keepdims=True)
    least = np.minimum(confidence, 1.0001 * next_best / (1 + next_best))  # a bit above a tie
    most = np.maximum(confidence, SUREST)
    scaled = np.clip(confidence * np.asarray(factors)[best], least, most)
    scaled_all = others * (1 - scaled)
    np.put_along_axis(scaled_all, best, scaled, axis=-1)
    result: NDArray[np.float32] = scaled_all.astype(np.float32)
    # Rounding must not decide between two that are all but equal.
    is_kept = (scaled != confidence) & (np.expand_dims(result.argmax(axis=-1), -1) == best)
    return np.where(is_kept, result, probabilities)


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """(..., C) -> (..., C), each row with sum 1."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    result: NDArray[np.float32] = powers / powers.sum(axis=-1, keepdims=True)
    return result
