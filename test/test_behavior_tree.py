"""The example for BehaviorTree.CPP: its tree fits the nodes that its C++ code registers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

EXAMPLE = Path(__file__).parents[1] / "examples" / "behavior_tree_cpp"
TREE = EXAMPLE / "how_is_she_now.xml"
BUILT_IN = {"Fallback": set(), "Sequence": set(), "ScriptCondition": {"code"}}
REGISTERED = re.compile(
    r'registerSimpleAction\(\s*"(\w+)",(.*?)\{((?:BT::\w+Port[^{}]*)+)\}\)', re.S
)

pytestmark = pytest.mark.skipif(not TREE.is_file(), reason="not a source tree")


def registered() -> dict[str, set[str]]:
    """Nodes of the C++ code -> their ports."""
    code = (EXAMPLE / "how_is_she_now.cpp").read_text(encoding="utf-8")
    nodes = {
        name: set(re.findall(r'Port<[^(]*>\("(\w+)"', p)) for name, _, p in REGISTERED.findall(code)
    }
    assert len(nodes) == code.count("registerSimpleAction(")
    return nodes


def root() -> Any:
    return ElementTree.parse(TREE).getroot()


def test_every_node_of_the_tree_is_registered_with_its_ports() -> None:
    nodes, tree = registered() | BUILT_IN, root().find("BehaviorTree")
    assert root().get("main_tree_to_execute") == tree.get("ID")
    used = [element for element in tree.iter() if element is not tree]
    assert {element.tag for element in used} == set(nodes)
    assert not [element.tag for element in used if set(element.attrib) != nodes[element.tag]]


def test_the_editor_knows_the_same_nodes_and_ports() -> None:
    model = {
        action.get("ID"): {port.get("name") for port in action}
        for action in root().find("TreeNodesModel")
    }
    assert model == registered()


def test_the_package_declares_what_its_code_includes() -> None:
    names = [each.text for each in ElementTree.parse(EXAMPLE / "package.xml").findall("depend")]
    cmake = (EXAMPLE / "CMakeLists.txt").read_text(encoding="utf-8")
    found = re.findall(r"find_package\((\w+) REQUIRED\)", cmake)
    included = re.findall(r"#include <(\w+)/", (EXAMPLE / "how_is_she_now.cpp").read_text())
    assert sorted(names) == sorted(set(included)) == sorted(set(found) - {"ament_cmake"})


def test_the_tree_says_what_fits_the_valence() -> None:
    """In BehaviorTree.CPP itself. Its Python binding has no ports: names stand for them."""
    library = pytest.importorskip("behaviortreepy", reason="pip install behaviortreepy")
    tree, said, valences = root(), [], [None, -0.5, 0.0, 0.5]
    tree.remove(tree.find("TreeNodesModel"))
    for element in tree.iter("GetEmotion"):
        element.attrib.clear()
    for element in tree.iter("Say"):
        element.set("name", element.attrib.pop("text"))
    factory, blackboard = library.BehaviorTreeFactory(), library.Blackboard.create()

    def get_emotion(node: Any) -> Any:
        if (valence := valences.pop(0)) is None:
            return library.NodeStatus.FAILURE
        blackboard.set_double("valence", valence)
        return library.NodeStatus.SUCCESS

    def say(node: Any) -> Any:
        said.append(node.name())
        return library.NodeStatus.SUCCESS

    factory.register_simple_action("GetEmotion", get_emotion)
    factory.register_simple_action("Say", say)
    factory.register_behavior_tree_from_text(ElementTree.tostring(tree, "unicode"))
    running = factory.create_tree("Greet", blackboard)
    while valences:
        running.tick_once()
    assert said == [
        "Hello, how are you?",
        "I am sorry. Can I help?",
        "Hello again.",
        "It is good to see you happy!",
    ]
