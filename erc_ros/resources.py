"""Where the package's own files lie: in a source tree, or installed by pip or colcon."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from erc_ros.dialogue.speakers.clustering import Voice
from erc_ros.dialogue.speakers.diarizer import Networks, load_networks
from erc_ros.dialogue.speakers.embedding import load_manifest
from erc_ros.dialogue.speakers.enrolment import EnrolmentError, load_voices

_SOURCE = Path(__file__).resolve().parents[1]


def shared(folder: str) -> Path:
    """A folder of the package (config, models, launch): the source tree's, else the installed one.

    Raises:
        FileNotFoundError: neither exists.
    """
    if (_SOURCE / "package.xml").is_file() and (_SOURCE / folder).is_dir():
        return _SOURCE / folder
    from ament_index_python.packages import (
        PackageNotFoundError,
        get_package_share_directory,
    )

    try:
        installed = Path(get_package_share_directory("erc_ros"), folder)
    except PackageNotFoundError:
        installed = _SOURCE / folder  # a source tree that is not finished yet
    if not installed.is_dir():
        raise FileNotFoundError(
            f"erc_ros has no folder {folder} at {installed}: install the package "
            "(pip install . or colcon build), `pip install -e` does not install it"
        )
    return installed


def config_file(name: str) -> Path:
    """A file of the folder config."""
    return shared("config") / name


def defaults(node: str) -> dict[str, Any]:
    """The default of every parameter of a node."""
    content = yaml.safe_load(config_file("parameters.yaml").read_text(encoding="utf-8"))
    return {name: entry["default"] for name, entry in content[node].items()}


def model_folder(name_or_path: str) -> Path:
    """A model's folder: a path as it is, a bare name as a folder of models/.

    Raises:
        FileNotFoundError: it does not exist; the message lists what there is.
    """
    path = Path(name_or_path).expanduser()
    if path.is_dir():
        return path
    if path.name == name_or_path:
        models = shared("models")
        if (models / name_or_path).is_dir():
            return models / name_or_path
        there = sorted(entry.name for entry in models.iterdir() if entry.is_dir())
        raise FileNotFoundError(
            f"there is no model {name_or_path!r}: give a folder, or one of {there}"
        )
    raise FileNotFoundError(f"there is no model folder {path}")


def speaker_networks(parameters: Mapping[str, Any]) -> Networks | None:
    """The networks that the parameters name; None: nobody is told apart.

    Raises:
        SpeakerModelError: a folder's content is missing, changed or does not fit.
    """
    if parameters["speaker_model"] in ("", "none"):
        return None
    names = (parameters["segmentation_model"], parameters["speaker_model"])
    return load_networks(*(model_folder(name) for name in names))


def known_voices(parameters: Mapping[str, Any]) -> dict[str, Voice]:
    """Name -> voice, of the file that the parameters name; empty where they name none.

    Raises:
        EnrolmentError: a file that cannot be used, or nothing that tells voices apart.
    """
    file, model = parameters["known_voices"], parameters["speaker_model"]
    if not file:
        return {}
    if model in ("", "none"):
        raise EnrolmentError(f"known_voices is {file!r}, but no speaker_model knows voices again")
    manifest = load_manifest(model_folder(model))
    return load_voices(Path(file).expanduser(), manifest.sha256, manifest.size)
