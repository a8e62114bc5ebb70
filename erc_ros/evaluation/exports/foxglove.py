"""A layout for Foxglove: emotions as state bars, above camera, audio, valence and arousal.

`config/foxglove/emotions.json` is the layout for the topics of a robot; here its topics are
replaced. Panels and settings are those of foxglove-sdk 0.30 (`foxglove.layouts`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from erc_ros.resources import config_file
from erc_ros.values.files import write_whole


def write_layout(
    file: Path, states: Mapping[str, str], emotions: str, image: str, sound: str
) -> Path:
    """Write a layout for "Import from file".

    Args:
        states: name of a row -> topic of std_msgs/String, as `write_bag` writes them.

    Raises:
        OSError: the folder cannot be written to.
    """
    shipped = config_file("foxglove/emotions.json")
    layout = json.loads(shipped.read_text(encoding="utf-8"))
    panels = layout["configById"]
    panels["Audio!sound"]["topic"] = sound
    panels["Image!camera"]["imageMode"]["imageTopic"] = image
    for path in panels["Plot!affect"]["paths"]:
        path["value"] = f"{emotions}.{path['label']}"
    bars = panels["StateTransitions!emotions"]
    bars["paths"] = [
        {**bars["paths"][0], "label": name, "value": f"{topic}.data"}
        for name, topic in states.items()
    ]
    write_whole(file, json.dumps(layout, indent=2, ensure_ascii=False) + "\n")
    return file
