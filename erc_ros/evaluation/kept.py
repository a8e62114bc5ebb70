"""A Recording as one file, so that a finished one need not be answered again.

A NumPy archive without pickle: `record` is JSON, sound and faces are arrays beside it.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from erc_ros.evaluation.records import (
    AnswerMatch,
    Prediction,
    Recording,
    Segment,
    Source,
    TierReading,
    Truth,
)
from erc_ros.values.why import Why


class KeptError(ValueError):
    """A kept result cannot be read: it is damaged, or of another version."""


def to_bytes(recording: Recording) -> bytes:
    """The same recording gives the same bytes."""
    arrays: dict[str, Any] = {}
    predictions = []
    for number, prediction in enumerate(recording.predictions):
        entry = {name: getattr(prediction, name) for name in Prediction.__slots__}
        entry["why"] = {name: asdict(why) for name, why in prediction.why.items()}
        entry["probabilities"] = prediction.probabilities.tolist()
        if (audio := entry.pop("audio")) is not None:
            arrays[f"audio{number}"] = audio
        if (face := entry.pop("face")) is not None:
            arrays[f"face{number}"] = np.frombuffer(face, np.uint8)
        predictions.append(entry)
    record = {name: getattr(recording, name) for name in Recording.__slots__}
    record["predictions"] = predictions
    record["matches"] = [(match.truth, match.prediction) for match in recording.matches]
    record["truth"] = None if recording.truth is None else asdict(recording.truth)
    record |= {name: dict(record[name]) for name in ("warnings", "counts")}
    del record["annotators"]  # joined like the truth, when it is read
    text = json.dumps(record, ensure_ascii=False).encode()
    stream = io.BytesIO()
    np.savez_compressed(stream, record=np.frombuffer(text, np.uint8), **arrays)
    return stream.getvalue()


def from_bytes(content: bytes) -> Recording:
    """The recording of these bytes.

    Raises:
        KeptError: damaged.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            record = json.loads(bytes(arrays["record"]))
            predictions = tuple(
                _prediction(entry, number, arrays)
                for number, entry in enumerate(record.pop("predictions"))
            )
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise KeptError(f"a kept result is damaged ({error})") from error
    truth = record.pop("truth")
    if truth is not None:
        segments = tuple(
            Segment(**{**each, "source": Source(**each["source"])}) for each in truth["segments"]
        )
        readings = tuple(
            TierReading(**{**each, "kinds": tuple(each["kinds"])}) for each in truth["readings"]
        )
        lists = {name: tuple(truth[name]) for name in ("files", "notices")}
        truth = Truth(**{**truth, **lists, "segments": segments, "readings": readings})
    matches = tuple(AnswerMatch(*pair) for pair in record.pop("matches"))
    labels = tuple(record.pop("labels"))
    return Recording(**record, labels=labels, truth=truth, predictions=predictions, matches=matches)


def _prediction(entry: dict[str, Any], number: int, arrays: Mapping[str, Any]) -> Prediction:
    audio, face = f"audio{number}", f"face{number}"
    entry |= {name: tuple(entry[name]) for name in ("modalities", "weights")}
    entry["why"] = {name: Why(**why) for name, why in entry["why"].items()}
    entry["probabilities"] = np.array(entry["probabilities"], np.float64)
    return Prediction(
        **entry,
        audio=arrays.get(audio),
        face=bytes(arrays[face]) if face in arrays else None,
    )
