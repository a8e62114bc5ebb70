"""A layout for Foxglove: who felt what as bars of states, above camera, sound and the two curves.

The names of panels and of their settings are those of foxglove-sdk 0.30 (`foxglove.layouts`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from erc_ros.values.files import write_whole

SPEAKERS = {f"speaker {n}": f"/emotion_states/speaker_{n}" for n in (1, 2, 3, 4)}


def write_layout(
    file: Path,
    states: Mapping[str, str] = SPEAKERS,
    emotions: str = "/emotions",
    image: str = "/image/compressed",
    sound: str = "/sound",
) -> Path:
    """Write a layout for "Import from file".

    Args:
        states: name of a row -> topic of std_msgs/String, as `write_bag` writes them.

    Raises:
        OSError: the folder cannot be written to.
    """
    rows = [{"label": name, "value": f"{topic}.data"} for name, topic in states.items()]
    curves = [
        {"label": name, "value": f"{emotions}.{name}", "enabled": True, "showLine": True}
        for name in ("valence", "arousal")
    ]
    layout = {
        "configById": {
            "Audio!sound": {"topic": sound},
            "Image!camera": {"imageMode": {"imageTopic": image}},
            "Plot!affect": {
                "paths": [_received(each) for each in curves],
                "minYValue": -1,
                "maxYValue": 1,
                "isSynced": True,
            },
            "StateTransitions!emotions": {
                "paths": [_received(each) for each in rows],
                "isSynced": True,
            },
        },
        "globalVariables": {},
        "userNodes": {},
        "playbackConfig": {"speed": 1},
        "layout": {
            "direction": "column",
            "first": "StateTransitions!emotions",
            "second": {
                "direction": "row",
                "first": "Image!camera",
                "second": {
                    "direction": "column",
                    "first": "Audio!sound",
                    "second": "Plot!affect",
                    "splitPercentage": 40,
                },
                "splitPercentage": 45,
            },
            "splitPercentage": 45,
        },
    }
    write_whole(file, json.dumps(layout, indent=2, ensure_ascii=False) + "\n")
    return file


def _received(path: dict[str, Any]) -> dict[str, Any]:
    return {**path, "timestampMethod": "receiveTime"}
