"""Extension classes, selected by the name of an entry point or as `module:Class`.

A kind of extension is a `Kind`: the entry point group that other packages use, the classes of this
package by name, and what every class must offer. A name is looked up among this package's classes,
then among the entry points of installed packages; `module:Class` names a class that can be
imported, and `path/to/file.py:Class` one in a file (recipes and commands only).

    [project.entry-points."erc_ros.face_detectors"]
    my-detector = "my_package.faces:MyDetector"

Other packages are imported only when their name is given. docs/reference/extensions.md lists the
kinds with their parameter, option or recipe key. The docstring of each protocol is its contract,
and `pytest --pyargs erc_ros.contracts` tests a class against it.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module, metadata
from pathlib import Path
from types import ModuleType
from typing import Any

from erc_ros.values.errors import ErcValueError

_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_FILE = re.compile(r"(?P<file>.+\.py):(?P<name>[A-Za-z_]\w*)")


class PluginError(ErcValueError):
    """An extension class cannot be found or used."""


@dataclass(frozen=True)
class Kind:
    """A kind of extension.

    group: entry point group. noun: name in errors. own: name -> "module:Class" of this package.
    offers: required attributes of a class. files: whether `file.py:Class` is accepted; not for ROS
    parameters, because any node of the graph can set a parameter.
    """

    group: str
    noun: str
    offers: tuple[str, ...]
    own: Mapping[str, str] = field(default_factory=dict)
    files: bool = False


FACE_DETECTORS = Kind(
    "erc_ros.face_detectors",
    "face detector",
    ("detect",),
    {
        "yunet": "erc_ros.encoders.face_detector:YuNetDetector",
        "haar": "erc_ros.sensing.faces:HaarDetector",
    },
)
VOICE_ACTIVITY = Kind(
    "erc_ros.voice_activity",
    "voice activity detector",
    ("frame", "feed", "reset"),
    {"silero": "erc_ros.dialogue.voice_activity:SileroVoiceActivity"},
)
SPEECH_MESSAGES = Kind("erc_ros.speech_messages", "speech message", ("message_type", "read"))
SPEECH_RECOGNIZERS = Kind(
    "erc_ros.speech_recognizers",
    "speech recognizer",
    ("transcribe",),
    {
        "faster-whisper": "erc_ros.media.recognizers:FasterWhisper",
        "whisper.cpp": "erc_ros.media.recognizers:WhisperCpp",
        "vosk": "erc_ros.media.recognizers:Vosk",
        "pocketsphinx": "erc_ros.media.recognizers:PocketSphinx",
    },
    files=True,
)


FUSION_MODELS = Kind(
    "erc_ros.fusion_models",
    "fusion model",
    ("fuse", "CONFIG"),
    {
        "concat": "erc_ros.training.heads.concat:Concat",
        "bclstm": "erc_ros.training.heads.bclstm:BcLstm",
        "magtkd": "erc_ros.training.heads.magtkd:Magtkd",
        "summer": "erc_ros.training.heads.summer:Summer",
        "lpgnet": "erc_ros.training.heads.lpgnet:Lpgnet",
        "ddvlm": "erc_ros.training.heads.ddvlm:Ddvlm",
        "late-fusion": "erc_ros.training.heads.late_fusion:LateFusion",
    },
    files=True,
)
ENCODERS = Kind("erc_ros.encoders", "encoder", ("refuses", "encode"), files=True)
METRICS = Kind("erc_ros.metrics", "metric", ("name", "compute"), files=True)
CORPORA = Kind("erc_ros.corpora", "corpus", ("name", "labels", "splits"), files=True)
EXPORTERS = Kind("erc_ros.exporters", "export format", ("suffix", "write"), files=True)
KINDS = (
    FACE_DETECTORS,
    VOICE_ACTIVITY,
    SPEECH_MESSAGES,
    SPEECH_RECOGNIZERS,
    FUSION_MODELS,
    ENCODERS,
    CORPORA,
    METRICS,
    EXPORTERS,
)


def names(kind: Kind) -> list[str]:
    """Return the available names: those of this package, then those of installed packages."""
    return [
        *kind.own,
        *(name for name in sorted(_entry_points(kind.group)) if name not in kind.own),
    ]


def find(kind: Kind, name: str) -> Any:
    """Return the class with a name.

    Args:
        kind: the kind of extension.
        name: one of `names`, `module:Class`, or `file.py:Class` if the kind accepts files.

    Raises:
        PluginError: the class does not exist, its import failed, or it lacks an attribute.

    Example:
        >>> find(FACE_DETECTORS, "haar")
        <class 'erc_ros.sensing.faces.HaarDetector'>
    """
    if name in kind.own:
        return _load(kind, name, kind.own[name])
    if references := _entry_points(kind.group).get(name):
        if len(set(references)) > 1:
            raise PluginError(
                f"{kind.noun} {name!r} is in several packages ({', '.join(references)}): "
                "give one of these instead of the name, or uninstall the others"
            )
        return _load(kind, name, references[0])
    if ":" in name:
        return _load(kind, name, name)
    known = names(kind)
    near = difflib.get_close_matches(name, known, 1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    raise PluginError(
        f"there is no {kind.noun} {name!r}{hint}; there are {', '.join(known) or 'none'}; install "
        f"the package that offers it (entry point group {kind.group}), or give your own class as "
        f"module:Class{' or file.py:Class' if kind.files else ''}"
    )


def make(kind: Kind, name: str, *arguments: Any, **options: Any) -> Any:
    """Create an object of the class with a name.

    Raises:
        PluginError: see `find`; or a class of another package raised an error that is not in its
            contract.
        ValueError, OSError: raised by the class.
    """
    cls = find(kind, name)
    if name in kind.own:
        return cls(*arguments, **options)
    try:
        return cls(*arguments, **options)
    except (ValueError, OSError, ModuleNotFoundError):
        raise
    except Exception as error:
        raise PluginError(
            f"{kind.noun} {name!r} could not be created: {type(error).__name__}: {error} "
            "(see docs/reference/extensions.md for its arguments)"
        ) from error


def is_reference(name: str) -> bool:
    """Return whether a name has the form `module:Class` or `file.py:Class`."""
    module, colon, attribute = name.rpartition(":")
    return bool(colon and attribute.isidentifier() and (_MODULE.fullmatch(module) or ".py" in name))


@lru_cache(maxsize=32)
def _entry_points(group: str) -> dict[str, tuple[str, ...]]:
    """Return name -> the entry points of installed packages, as module:Class."""
    offered: dict[str, tuple[str, ...]] = {}
    for entry in metadata.entry_points(group=group):
        offered[entry.name] = (*offered.get(entry.name, ()), entry.value.replace(" ", ""))
    return offered


def _load(kind: Kind, name: str, reference: str) -> Any:
    module_name, _, attribute = reference.rpartition(":")
    if in_file := _FILE.fullmatch(reference):
        if not kind.files:
            raise PluginError(
                f"{kind.noun} {name!r}: a ROS parameter takes no file; put the class into a module "
                "that Python can import, and give module:Class"
            )
        module = _module_of(kind, name, Path(in_file["file"]).expanduser())
    elif _MODULE.fullmatch(module_name):
        module = _imported(kind, name, module_name)
    else:
        raise PluginError(
            f"{kind.noun} {name!r} is neither a known name ({', '.join(names(kind))}) nor "
            "module:Class"
        )
    if not hasattr(module, attribute):
        near = difflib.get_close_matches(attribute, dir(module), 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise PluginError(f"{kind.noun} {name!r}: {module_name} has no {attribute}{hint}")
    cls = getattr(module, attribute)
    if missing := [each for each in kind.offers if not _has(cls, each)]:
        raise PluginError(
            f"{kind.noun} {name!r} has no {', '.join(missing)}: a {kind.noun} needs "
            f"{', '.join(kind.offers)} (docs/reference/extensions.md)"
        )
    return cls


def _has(cls: Any, name: str) -> bool:
    return hasattr(cls, name) or name in getattr(cls, "__annotations__", {})


def _imported(kind: Kind, name: str, module: str) -> ModuleType:
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or module
        if module == missing or module.startswith(f"{missing}."):
            raise PluginError(
                f"{kind.noun} {name!r}: there is no module {missing}; install its package into "
                f"this Python ({sys.executable}), or correct the name"
            ) from error
        raise PluginError(
            f"{kind.noun} {name!r} needs the module {missing}, which is not installed"
        ) from error
    except Exception as error:
        raise PluginError(
            f"{kind.noun} {name!r}: importing {module} failed with {type(error).__name__}"
        ) from error


def _module_of(kind: Kind, name: str, file: Path) -> ModuleType:
    """Load the module in a file; later calls return the same module."""
    path = file.resolve()
    key = f"erc_ros_plugin_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    if key in sys.modules:
        return sys.modules[key]
    spec = importlib.util.spec_from_file_location(key, path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise PluginError(f"{kind.noun} {name!r}: there is no file {file}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[key] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[key]
        raise PluginError(
            f"{kind.noun} {name!r}: {file} cannot be imported ({type(error).__name__}: {error})"
        ) from error
    return module
