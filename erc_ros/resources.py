"""Where files lie that are no code: in a source tree, or installed by pip or colcon."""

from __future__ import annotations

import json
import os
import site
import subprocess
import sys
import sysconfig
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from xml.etree import ElementTree

_SOURCE = Path(__file__).resolve().parents[1]


def installed(package: str) -> Path | None:
    """The share folder of an installed ROS package; None where it is not installed.

    A sourced ROS installation tells its prefixes in AMENT_PREFIX_PATH. What pip puts into an
    environment's share/ is found without: the ros-* wheels do not set the variable, and a virtual
    environment on top of a ROS installation is not in it.
    """
    told = [
        prefix for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if prefix
    ]
    own = [sys.prefix, sysconfig.get_path("data"), site.getuserbase()]
    for prefix in map(Path, [*filter(None, told), *own]):
        marker = prefix / "share" / "ament_index" / "resource_index" / "packages" / package
        if marker.is_file() and (prefix / "share" / package).is_dir():
            return prefix / "share" / package
    return None


def shared(folder: str) -> Path:
    """A folder of this package (config, models, launch): the source tree's, else the installed one.

    Raises:
        FileNotFoundError: neither exists.
    """
    if (_SOURCE / "package.xml").is_file() and (_SOURCE / folder).is_dir():
        return _SOURCE / folder
    share = installed("erc_ros")
    if share is None or not (share / folder).is_dir():
        raise FileNotFoundError(
            f"erc_ros has no folder {folder} in {share or f'{sys.prefix}/share/erc_ros'}: install "
            "the package (pip install . or colcon build), `pip install -e` does not install it"
        )
    return share / folder


def config_file(name: str) -> Path:
    """A file of the folder config."""
    return shared("config") / name


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


def package_version() -> str:
    """Return the version of this package, as package.xml states it."""
    return ElementTree.parse(shared("config").parent / "package.xml").findtext("version", "")


def commit() -> str:
    """Return the commit that this package is of, "" where it is not known.

    In a source tree git knows it, with "+changes" if files differ; of a package that pip installed
    from a repository, pip does.
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
