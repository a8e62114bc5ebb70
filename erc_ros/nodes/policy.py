"""`erc security-policy`: print the SROS2 policy of the nodes with remapped topics.

erc security-policy namespace:=robot1 image:=/camera/image_raw humans:=/humans > policy.xml
ros2 security create_permission keys /erc_ros policy.xml
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from xml.etree import ElementTree

from erc_ros.nodes.run import given_arguments
from erc_ros.nodes.system import NONE, NodeProcesses, read_system
from erc_ros.resources import config_file

HUMANS = "humans"


def main(argv: Sequence[str] | None = None) -> int:
    """Print the policy.

    Raises:
        ValueError: an argument that `erc run` does not have.
    """
    parser = argparse.ArgumentParser(
        prog="erc security-policy",
        description="Print the SROS2 policy of the nodes for these start arguments.",
    )
    parser.add_argument(
        "arguments", nargs="*", metavar="NAME:=VALUE", help="start arguments of `erc run`"
    )
    system = read_system()
    values = system.values(given_arguments(parser.parse_args(argv).arguments))
    print(policy(system, values))
    return 0


def policy(system: NodeProcesses, values: Mapping[str, str]) -> str:
    """Return config/security/policy.xml for these start arguments as text."""
    parser = ElementTree.XMLParser(target=ElementTree.TreeBuilder(insert_comments=True))
    root = ElementTree.parse(config_file("security/policy.xml"), parser).getroot()
    names = dict(system.remaps(values))
    humans = values[HUMANS] or HUMANS
    for profile in root.iter("profile"):
        profile.set("ns", "/" + values["namespace"].strip("/"))
        for group in list(profile):
            for entry in list(group):
                name = entry.text or ""
                if name.startswith(f"{HUMANS}/"):
                    if humans == NONE:
                        group.remove(entry)
                        continue
                    name = humans.rstrip("/") + name.removeprefix(HUMANS)
                entry.text = names.get(name, name)
    ElementTree.indent(root)
    return ElementTree.tostring(root, "unicode", xml_declaration=True)
