"""The data files of the package are found next to its code in every kind of installation."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import erc_ros
from erc_ros.resources import config_file, definitions, model_folder, recipe_file, shared

PACKAGE = Path(erc_ros.__file__).parent


def test_the_data_is_in_the_package() -> None:
    for folder in ("config", "corpora", "launch", "models"):
        assert shared(folder) == PACKAGE / folder
    with pytest.raises(FileNotFoundError):
        shared("nothing")


def test_nothing_of_ros_is_needed_to_find_the_files(tmp_path: Path) -> None:
    """A copy of the package without source tree, ament_index_python and AMENT_PREFIX_PATH."""
    site, package = tmp_path / "site", tmp_path / "site" / "erc_ros"
    (package / "config").mkdir(parents=True)
    for name in ("__init__.py", "resources.py"):
        (package / name).write_bytes((PACKAGE / name).read_bytes())
    definition = tmp_path / "share" / "erc_ros" / "interfaces" / "erc_msgs" / "A.msg"
    definition.parent.mkdir(parents=True)
    definition.touch()
    index = tmp_path / "share" / "ament_index" / "resource_index" / "packages"
    index.mkdir(parents=True)
    (index / "erc_ros").touch()
    code = (
        f"import sys; sys.path.insert(0, {str(site)!r}); sys.prefix = {str(tmp_path)!r}; "
        "sys.modules['ament_index_python'] = None; from erc_ros import resources; "
        "print(resources.shared('config')); print(resources.definitions()['erc_msgs'])"
    )
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("AMENT_PREFIX_PATH", "PYTHONPATH")
    }
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=tmp_path
    )
    assert run.stdout.splitlines() == [str(package / "config"), str(definition.parent)], run.stderr


@pytest.mark.parametrize(
    "name",
    [
        "systems/magtkd",
        "systems/magtkd.yaml",
        "config/systems/magtkd",
        "config/systems/magtkd.yaml",
    ],
)
def test_a_recipe_is_found_by_name_from_every_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert recipe_file(name) == config_file("systems/magtkd.yaml")


def test_the_users_own_recipe_precedes_that_of_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    own = Path("config/systems/magtkd.yaml")
    own.parent.mkdir(parents=True)
    own.touch()
    assert recipe_file(own) == own
    for absent in ("systems/nothing", "../config/edge.yaml", str(tmp_path / "edge.yaml")):
        assert recipe_file(absent) == Path(absent)


@pytest.mark.parametrize("name", ["edge-small", "models/edge-small"])
def test_a_model_is_found_by_name_from_every_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert model_folder(name) == shared("models") / "edge-small"
    for absent in ("nothing", "models/nothing", "models", ".", "../models", ""):
        if not Path(absent).is_dir():
            with pytest.raises(FileNotFoundError):
                model_folder(absent)


def test_an_unknown_model_package_is_refused_with_the_names_of_packages_only() -> None:
    with pytest.raises(FileNotFoundError) as refused:
        model_folder("nope", "bundle.yaml")
    named = {
        folder.name for folder in shared("models").iterdir() if folder.name in str(refused.value)
    }
    assert named == {file.parent.name for file in shared("models").glob("*/bundle.yaml")}


def test_the_definitions_of_the_messages_are_those_of_this_repository() -> None:
    folders = definitions()
    assert {"audio_common_msgs", "erc_msgs"} <= set(folders)
    assert (folders["erc_msgs"] / "Utterance.msg").is_file()
