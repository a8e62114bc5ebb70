"""`erc people`: list, enroll, opt out and forget people in the running nodes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

import rclpy
from erc_msgs.msg import SensedPerson, Sensing
from erc_msgs.srv import Enrol, ForgetPerson, OptOut
from rclpy.context import Context
from rclpy.node import Node
from rclpy.utilities import remove_ros_args

from erc_ros.nodes.matching_qos import LATCHED_QOS
from erc_ros.nodes.spinning import BoundedExecutor
from erc_ros.values.errors import ErcValueError
from erc_ros.values.opt_outs import speaker_key

NODES = ("utterance_node", "emotion_node")
PATIENCE = 10.0  # s to wait for a node, and for its response

# action -> nodes, service, type and request. Success in one node suffices, as both may be one
# process (opt_out), or the other one may have no data of this person (forget_person).
_ACTIONS: dict[str, tuple[tuple[str, ...], str, Any, Callable[[argparse.Namespace], Any]]] = {
    "enrol": (
        NODES[:1],
        "enrol",
        Enrol,
        lambda o: Enrol.Request(
            person_id=o.id,
            conversation_id=(o.speaker or "").rpartition("/")[0],
            speaker_id=(o.speaker or "").rpartition("/")[2],
        ),
    ),
    "forget": (
        NODES,
        "forget_person",
        ForgetPerson,
        lambda o: ForgetPerson.Request(person_id=o.id),
    ),
    "opt-out": (NODES, "opt_out", OptOut, lambda o: OptOut.Request(id=o.id, opted_out=True)),
    "opt-in": (NODES, "opt_out", OptOut, lambda o: OptOut.Request(id=o.id, opted_out=False)),
}


def main(argv: Sequence[str]) -> int:
    """List people, or change what the nodes store of a person.

    Returns:
        0, or 1 if no node succeeded.

    Raises:
        ErcValueError: no node responds.
    """
    options = _parser().parse_args(remove_ros_args(list(argv)))
    context = Context()
    rclpy.init(args=list(argv), context=context)
    node = Node("erc_people", context=context, namespace=options.namespace or None)
    executor = BoundedExecutor(context=context)
    executor.add_node(node)
    try:
        if options.action == "list":
            print("\n".join(_lines(_sensing(node, executor))))
            return 0
        return _change(node, executor, options)
    finally:
        executor.shutdown()
        node.destroy_node()
        context.try_shutdown()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="erc people",
        description="List, enroll, opt out and forget people in the running nodes.",
        epilog="With SROS2, add `--ros-args --enclave /erc_ros_operator`.",
    )
    parser.add_argument("--namespace", default="", help="namespace of the nodes")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("list", help="list sensed people, with the ids for the other actions")
    enrol = actions.add_parser("enrol", help="store a speaker's voice: ask for consent first")
    enrol.add_argument("--speaker", metavar="CONVERSATION/SPEAKER", help="default: the last one")
    for action, text in (
        ("opt-out", "estimate nothing about a person until the nodes end"),
        ("opt-in", "withdraw an opt-out"),
        ("forget", "delete a stored voice and the state of a person"),
    ):
        actions.add_parser(action, help=text).add_argument("id", help="id from `erc people list`")
    enrol.add_argument("id", metavar="NAME", help="person_id of the speaker from now on")
    return parser


def _change(node: Node, executor: BoundedExecutor, options: argparse.Namespace) -> int:
    nodes, service, kind, request = _ACTIONS[options.action]
    responses = {
        name: _call(node, executor, kind, f"{name}/{service}", request(options)) for name in nodes
    }
    is_done = any(response.success for response in responses.values())
    for name, response in responses.items():
        if response.success == is_done:
            print(f"{name}: {response.message}", file=sys.stdout if is_done else sys.stderr)
    return 0 if is_done else 1


def _call(node: Node, executor: BoundedExecutor, kind: Any, service: str, request: Any) -> Any:
    client = node.create_client(kind, service)
    if not client.wait_for_service(PATIENCE):
        raise ErcValueError(f"there is no service {node.resolve_service_name(service)}: {_HINT}")
    future = client.call_async(request)
    executor.spin_until_future_complete(future, PATIENCE)
    if not future.done():
        raise ErcValueError(
            f"{node.resolve_service_name(service)} did not respond within {PATIENCE:.0f} s"
        )
    return future.result()


def _sensing(node: Node, executor: BoundedExecutor) -> Sensing:
    future: Any = rclpy.task.Future(executor=executor)
    node.create_subscription(Sensing, f"{NODES[0]}/sensing", future.set_result, LATCHED_QOS)
    executor.spin_until_future_complete(future, PATIENCE)
    if not future.done():
        topic = node.resolve_topic_name(f"{NODES[0]}/sensing")
        raise ErcValueError(f"no message on {topic}: {_HINT}")
    sensing: Sensing = future.result()
    return sensing


_HINT = "check that the nodes are running and that --namespace matches"


def _lines(sensing: Sensing) -> list[str]:
    people = [f"{_id(person)}: {', '.join(person.modalities)}" for person in sensing.persons]
    return [*(people or ["no person is sensed"]), f"opted out: {sensing.opted_out}"]


def _id(person: SensedPerson) -> str:
    speaker = speaker_key(person.conversation_id, person.speaker_id) if person.speaker_id else ""
    ids = (person.person_id, speaker, person.voice_id, person.face_id)
    return next((name for name in ids if name), "unknown speaker")
