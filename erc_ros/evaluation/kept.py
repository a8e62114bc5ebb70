"""Cache file with the predictions of a recording.

A NumPy archive without pickle: `record` is JSON, audio and faces are arrays.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from erc_ros.evaluation.records import Prediction, Recording
from erc_ros.values.why import Why

_JOINED = ("truth", "matches", "annotators")  # added with the annotations when the file is read


class KeptError(ValueError):
    """A cached result cannot be read: it is damaged, or of another version."""


def to_bytes(recording: Recording) -> bytes:
    """Return the recording without annotations; the same recording gives the same bytes."""
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
    record = {name: getattr(recording, name) for name in Recording.__slots__ if name not in _JOINED}
    record |= {"predictions": predictions}
    record |= {name: dict(record[name]) for name in ("warnings", "counts")}
    text = json.dumps(record, ensure_ascii=False).encode()
    stream = io.BytesIO()
    np.savez_compressed(stream, record=np.frombuffer(text, np.uint8), **arrays)
    return stream.getvalue()


def from_bytes(content: bytes) -> Recording:
    """Decode a recording.

    Raises:
        KeptError: the bytes are damaged.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            record = json.loads(bytes(arrays["record"]))
            predictions = tuple(
                _prediction(entry, number, arrays)
                for number, entry in enumerate(record.pop("predictions"))
            )
        record["labels"] = tuple(record["labels"])
        record["robot"] = tuple((start, end) for start, end in record["robot"])
        return Recording(**record | {"predictions": predictions})
    except (ValueError, KeyError, TypeError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise KeptError(f"a cached result is damaged ({error})") from error


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
