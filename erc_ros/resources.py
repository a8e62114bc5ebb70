"""Data files of the package, and message definitions."""

from __future__ import annotations

import json
import os
import site
import subprocess
import sys
import sysconfig
from difflib import get_close_matches
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from xml.etree import ElementTree

_PACKAGE = Path(__file__).resolve().parent
_SOURCE = _PACKAGE.parent
_INTERFACES = ("audio_common_msgs", "erc_msgs", "hri_msgs")


def installed(package: str) -> Path | None:
    """Return the share folder of an installed ROS package; None if it is not installed.

    The prefixes in AMENT_PREFIX_PATH are searched first, then the share/ folder of the Python
    environment, which is not in the variable for ros-* wheels and virtual environments.
    """
    prefixes = [
        prefix for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if prefix
    ]
    own = [sys.prefix, sysconfig.get_path("data"), site.getuserbase()]
    for prefix in map(Path, [*filter(None, prefixes), *own]):
        marker = prefix / "share" / "ament_index" / "resource_index" / "packages" / package
        if marker.is_file() and (prefix / "share" / package).is_dir():
            return prefix / "share" / package
    return None


def shared(folder: str) -> Path:
    """Return a data folder of this package: config, corpora, launch or models.

    Raises:
        FileNotFoundError: the folder does not exist.
    """
    if not (_PACKAGE / folder).is_dir():
        raise FileNotFoundError(f"{_PACKAGE} has no folder {folder}: install erc_ros again")
    return _PACKAGE / folder


def definitions() -> dict[str, Path]:
    """Return the folders with .msg files of the packages whose messages the nodes use.

    Folders of the repository or this installation precede those of an installed package, which may
    be another package with the same name. Packages without definitions are omitted.
    """
    is_source = (_SOURCE / "pyproject.toml").is_file()
    sources = [_SOURCE, _SOURCE / "interfaces"] if is_source else []
    share = installed("erc_ros")
    folders: dict[str, Path] = {}
    for package in _INTERFACES:
        candidates = [source / package / "msg" for source in sources]
        if share is not None:
            candidates.append(share / "interfaces" / package)
        if other := installed(package):
            candidates.append(other / "msg")
        for folder in candidates:
            if any(folder.glob("*.msg")):
                folders[package] = folder
                break
    return folders


def config_file(name: str) -> Path:
    """Return a file in the folder config of the package."""
    return shared("config") / name


def recipe_file(path: str | Path) -> Path:
    """Resolve a path of a user: an existing path, or a file in the folder config of the package.

    `config/` and `.yaml` are optional: `config/systems/magtkd.yaml` and `systems/magtkd` are the
    same recipe. A path that does not exist is returned unchanged.
    """
    path = Path(path).expanduser()
    inside = None if path.exists() else _inside("config", path)
    if inside is not None:
        for file in (inside, inside.with_name(f"{inside.name}.yaml")):
            if file.is_file():
                return file
    return path


def model_folder(name_or_path: str, manifest: str = "*.yaml") -> Path:
    """Return the folder of a model: an existing path, or a name in the package, as `edge-small`.

    manifest: file (pattern) in the folders that the error message lists.

    Raises:
        FileNotFoundError: the model does not exist; the message lists the names.
    """
    path = Path(name_or_path).expanduser()
    if path.is_dir():
        return path
    inside = _inside("models", path)
    if inside is not None and inside.is_dir() and inside != shared("models"):
        return inside
    if len(path.parts) > 1:
        raise FileNotFoundError(f"there is no model folder {path}")
    names = sorted(file.parent.name for file in shared("models").glob(f"*/{manifest}"))
    near = get_close_matches(name_or_path, names, 1)
    meant = f" (did you mean {near[0]}?)" if near else ""
    raise FileNotFoundError(
        f"there is no model {name_or_path!r}{meant}: give a folder, or one of {', '.join(names)}"
    )


def _inside(folder: str, path: Path) -> Path | None:
    """Return `path` in a folder of this package, or None if it is outside of it."""
    if path.is_absolute() or ".." in path.parts:
        return None
    parts = path.parts[1:] if path.parts[:1] == (folder,) else path.parts
    return shared(folder).joinpath(*parts)


def package_version() -> str:
    """Return the version of this package, as package.xml states it."""
    return ElementTree.parse(_PACKAGE / "package.xml").findtext("version", "")


def commit() -> str:
    """Return the commit of this package, or "" if it is not known.

    It is read from git in a source tree, with "+changes" if files differ, or from the metadata of
    a package that pip installed from a repository.
    """
    if (_SOURCE / ".git").exists():
        line = ["git", "-C", str(_SOURCE), "describe", "--always", "--abbrev=12", "--exclude=*"]
        try:
            done = subprocess.run(
                [*line, "--dirty=+changes"], capture_output=True, text=True, timeout=10, check=True
            )
        except (OSError, subprocess.SubprocessError):
            return ""
        return done.stdout.strip()
    try:
        origin = distribution("erc_ros").read_text("direct_url.json")
        return str(json.loads(origin or "{}").get("vcs_info", {}).get("commit_id", ""))[:12]
    except (PackageNotFoundError, ValueError):
        return ""
