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
from std_srvs.srv import Trigger

from erc_ros.nodes.matching_qos import LATCHED_QOS
from erc_ros.nodes.spinning import BoundedExecutor
from erc_ros.values.errors import ErcValueError
from erc_ros.values.opt_outs import speaker_key

NODES = ("utterance_node", "emotion_node")
PATIENCE = 10.0  # s to wait for a node, and for its response

# action -> nodes, service, type and request (of an id and a speaker). Success in one node suffices,
# as both may be one process (opt_out), or the other one may have no data of this person
# (forget_person).
_ACTIONS: dict[str, tuple[tuple[str, ...], str, Any, Callable[[str, str], Any]]] = {
    "enrol": (
        NODES[:1],
        "enrol",
        Enrol,
        lambda name, speaker: Enrol.Request(
            person_id=name,
            conversation_id=speaker.rpartition("/")[0],
            speaker_id=speaker.rpartition("/")[2],
        ),
    ),
    "forget": (
        NODES,
        "forget_person",
        ForgetPerson,
        lambda name, _: ForgetPerson.Request(person_id=name),
    ),
    "opt-out": (NODES, "opt_out", OptOut, lambda id, _: OptOut.Request(id=id, opted_out=True)),
    "opt-in": (NODES, "opt_out", OptOut, lambda id, _: OptOut.Request(id=id, opted_out=False)),
}
ACTIONS = tuple(_ACTIONS)


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
            sensing = _sensing(node, executor)
            service = f"{NODES[0]}/list_opt_outs"
            opt_outs = _call(node, executor, Trigger, service, Trigger.Request()).message
            print("\n".join(_lines(sensing, opt_outs.splitlines())))
            return 0
        speaker = getattr(options, "speaker", None) or ""
        is_done, lines = change(node, executor, options.action, options.id, speaker)
        print("\n".join(lines), file=sys.stdout if is_done else sys.stderr)
        return 0 if is_done else 1
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


def change(
    node: Node, executor: BoundedExecutor, action: str, id: str, speaker: str = ""
) -> tuple[bool, list[str]]:
    """Do one of ACTIONS; return whether a node did it, and what the nodes reply.

    Args:
        id: of the person, or the name to enroll. speaker: to enroll, CONVERSATION/SPEAKER.

    Raises:
        ErcValueError: no node responds.
    """
    nodes, service, kind, request = _ACTIONS[action]
    responses = {
        name: _call(node, executor, kind, f"{name}/{service}", request(id, speaker))
        for name in nodes
    }
    is_done = any(response.success for response in responses.values())
    lines = [f"{n}: {r.message}" for n, r in responses.items() if r.success == is_done]
    return is_done, lines


def _call(node: Node, executor: BoundedExecutor, kind: Any, service: str, request: Any) -> Any:
    client, name = node.create_client(kind, service), node.resolve_service_name(service)
    try:
        if not client.wait_for_service(PATIENCE):
            raise ErcValueError(f"there is no service {name}: {_HINT}")
        future = client.call_async(request)
        executor.spin_until_future_complete(future, PATIENCE)
        if not future.done():
            raise ErcValueError(f"{name} did not respond within {PATIENCE:.0f} s")
        return future.result()
    finally:
        node.destroy_client(client)


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


def _lines(sensing: Sensing, opt_outs: Sequence[str]) -> list[str]:
    people = [
        f"{id_of(person) or 'unknown speaker'}: {', '.join(person.modalities)}"
        for person in sensing.persons
    ]
    ids = f" ({', '.join(opt_outs)})" if opt_outs else ""
    return [*(people or ["no person is sensed"]), f"opted out: {len(opt_outs)}{ids}"]


def id_of(person: SensedPerson) -> str:
    """The id of a person for opt-out and forgetting; "" without any."""
    ids = (person.person_id, speaker_of(person), person.voice_id, person.face_id)
    return next((name for name in ids if name), "")


def speaker_of(person: SensedPerson) -> str:
    """CONVERSATION/SPEAKER; "" if they have not spoken, or it is unknown who spoke."""
    return speaker_key(person.conversation_id, person.speaker_id)
