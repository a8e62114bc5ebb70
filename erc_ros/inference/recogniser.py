"""Former name of `erc_ros.inference.emotion_recognizer`; accepted for one release."""

from __future__ import annotations

import warnings
from typing import Any

from erc_ros.inference import emotion_recognizer

_FORMER = {"Recogniser": "EmotionRecognizer"}


def __getattr__(name: str) -> Any:
    new = _FORMER.get(name, name)
    if not name.startswith("__"):
        message = f"{__name__}.{name} is now {emotion_recognizer.__name__}.{new}"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
    return getattr(emotion_recognizer, new)
