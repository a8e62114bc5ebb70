"""Fields of `erc_msgs` messages as plain values, with the names of the .msg files.

Nodes convert them to messages, replay to table rows. Add a new field to its .msg file and here.
Times are in ns.
"""

from __future__ import annotations

import math
from typing import Any

from erc_ros.inference.bundle import Bundle
from erc_ros.inference.estimate import Estimate, why_of
from erc_ros.values.utterance import MODALITIES, Utterance
from erc_ros.values.why import message_fields


def utterance_fields(utterance: Utterance, with_text: bool = True) -> dict[str, Any]:
    """Return the common fields of `Utterance` and `EmotionEstimate`.

    Args:
        with_text: whether to include the words of the utterance.
    """
    return {
        "conversation_id": utterance.conversation_id,
        "utterance_id": utterance.utterance_id,
        "speaker_id": utterance.speaker_id,
        "speaker_confidence": utterance.speaker_confidence,
        "overlap": utterance.overlap,
        "voice_id": utterance.voice_id,
        "face_id": utterance.face_id,
        "person_id": utterance.person_id,
        "start": utterance.start,
        "end": utterance.end,
        "text": utterance.text if with_text else "",
        "locale": utterance.locale if with_text else "",
        "text_confidence": utterance.text_confidence if with_text else math.nan,
        "is_final": utterance.is_final,
    }


def estimate_fields(estimate: Estimate, bundle: Bundle, with_text: bool = True) -> dict[str, Any]:
    """Return the fields of an `EmotionEstimate` except header, sequence and latency."""
    return {
        **utterance_fields(estimate.utterance, with_text),
        "labels": list(bundle.labels),
        "probabilities": [float(p) for p in estimate.probabilities],
        "label": estimate.label,
        "confidence": float(estimate.confidence),
        "valence": float(estimate.valence),
        "arousal": float(estimate.arousal),
        "modality_names": list(MODALITIES),
        "modalities": [bool(seen) for seen in estimate.modalities],
        "modality_weights": [float(weight) for weight in estimate.weights],
        "text_excluded": estimate.text_excluded,
        **message_fields(why_of(estimate, bundle.labels), MODALITIES),
        "is_final": estimate.is_final,
        **bundle_fields(bundle),
    }


def bundle_fields(bundle: Bundle) -> dict[str, str]:
    """Return the fields with the name, version and hash of a bundle."""
    return {
        "bundle_name": bundle.name,
        "bundle_version": bundle.version,
        "bundle_sha256": bundle.sha256,
    }
