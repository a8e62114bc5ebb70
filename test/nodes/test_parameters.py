"""config/parameters.yaml is what the nodes declare, check and document."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

pytest.importorskip("rclpy")

from erc_ros.nodes.parameters import Spec, read, table
from erc_ros.resources import config_file

REPOSITORY = Path(__file__).parents[2]
SPECS = read(config_file("parameters.yaml"))


@pytest.mark.parametrize("node", SPECS)
def test_the_documentation_shows_exactly_the_parameters_that_there_are(node: str) -> None:
    assert table(SPECS[node]) in (REPOSITORY / "docs/ros.md").read_text()


@pytest.mark.parametrize(
    ("spec", "value", "word"),
    [
        (Spec("a", "int", 3, "anytime", "", range=(1, 5)), 6, "[1, 5]"),
        (Spec("a", "int", 3, "anytime", ""), 2.5, "int"),
        (Spec("a", "bool", True, "anytime", ""), 1, "bool"),
        (Spec("a", "string", "x", "anytime", "", choices=("x", "y")), "z", "x, y"),
        (Spec("a", "float", 1.0, "anytime", "", range=(0, 1)), float("nan"), "[0, 1]"),
    ],
)
def test_a_wrong_value_is_refused_with_name_value_and_what_is_allowed(
    spec: Spec, value: object, word: str
) -> None:
    complaint = spec.complaint(value)
    assert spec.name in complaint and repr(value) in complaint and word in complaint
    assert spec.complaint(spec.default) == ""


@pytest.mark.parametrize(
    "entry",
    [
        {"type": "int", "default": 9, "range": [1, 5], "changes": "anytime", "description": ""},
        {"type": "int", "default": 3, "rnage": [1, 5], "changes": "anytime", "description": ""},
        {"type": "integer", "default": 3, "changes": "anytime", "description": ""},
    ],
)
def test_a_file_that_contradicts_itself_is_refused(tmp_path: Path, entry: object) -> None:
    file = tmp_path / "parameters.yaml"
    file.write_text(yaml.safe_dump({"node": {"a": entry}}))
    with pytest.raises(ValueError, match=r"node\.a"):
        read(file)


def test_the_example_file_names_only_parameters_that_exist() -> None:
    example = yaml.safe_load(config_file("emotion.yaml").read_text())
    for node, sections in example.items():
        specs = SPECS[node.rpartition("/")[2]]
        for name, value in sections["ros__parameters"].items():
            assert specs[name].complaint(value) == ""
