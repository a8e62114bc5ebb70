"""Discovery time of ROS 2 participants, and loss of the first messages.

    python -m benchmarks.discovery --repeats 200
    python -m benchmarks.discovery --services --repeats 200

Every repetition creates a publisher and a subscription (or a lifecycle node and its client) in new
contexts of this process, as tests do. The command prints the times and the number of failures. It
reproduces an issue in docs/explanation/known_issues.md.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")

import rclpy
from lifecycle_msgs.srv import ChangeState
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode
from rclpy.node import Node
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from std_msgs.msg import String

PATIENCE = 10.0  # s


@dataclass(frozen=True)
class Meeting:
    """Times in s after both participants were created; None: not within `PATIENCE`."""

    publisher_knows: float | None
    arrived: float | None


def serve(collect: bool) -> float | None:
    """Return the s until a service of a lifecycle node is found; None: not within `PATIENCE`."""
    context = Context()
    rclpy.init(context=context)
    server, probe = LifecycleNode("server", context=context), Node("probe", context=context)
    client = probe.create_client(ChangeState, "server/change_state")
    start = time.monotonic()
    is_there = client.wait_for_service(PATIENCE)
    taken = time.monotonic() - start
    for node in (probe, server):
        node.destroy_node()
    context.try_shutdown()
    del server, probe, client, context, node
    if collect:
        gc.collect()
    return taken if is_there else None


def until(true: Callable[[], object], executor: SingleThreadedExecutor) -> float | None:
    start = time.monotonic()
    while not true():
        if time.monotonic() - start > PATIENCE:
            return None
        executor.spin_once(timeout_sec=0.002)
    return time.monotonic() - start


def meet(number: int, reliable: bool, one_context: bool) -> Meeting:
    first = Context()
    contexts = [first, first if one_context else Context()]
    for context in set(contexts):
        rclpy.init(context=context)
    talker, listener = (Node(f"node_{i}", context=c) for i, c in enumerate(contexts))
    executor = SingleThreadedExecutor(context=contexts[1])
    executor.add_node(listener)
    policy = QoSReliabilityPolicy.RELIABLE if reliable else QoSReliabilityPolicy.BEST_EFFORT
    qos = QoSProfile(depth=10, reliability=policy)
    heard: list[String] = []
    topic = f"discovery_{number}"
    listener.create_subscription(String, topic, heard.append, qos)
    publisher = talker.create_publisher(String, topic, qos)
    is_there = until(publisher.get_subscription_count, executor)
    publisher.publish(String(data="once"))
    arrived = until(lambda: heard, executor) if is_there is not None else None
    executor.shutdown()
    for node, context in zip((talker, listener), contexts, strict=True):
        node.destroy_node()
        context.try_shutdown()
    return Meeting(is_there, arrived)


def describe(name: str, times: list[float | None]) -> str:
    came = sorted(t for t in times if t is not None)
    slow = sum(t > 1.0 for t in came)
    never = len(times) - len(came)
    if not came:
        return f"{name}: never, {never} times"
    middle = statistics.median(came)
    return (
        f"{name}: median {1e3 * middle:.0f} ms, longest {1e3 * came[-1]:.0f} ms, "
        f"over 1 s {slow} of {len(times)}, never {never}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--best-effort", action="store_true", help="instead of reliable")
    parser.add_argument("--one-context", action="store_true", help="one participant for both")
    parser.add_argument("--services", action="store_true", help="a lifecycle node's, not topics")
    parser.add_argument("--collect", action="store_true", help="garbage after every repetition")
    options = parser.parse_args()
    if options.services:
        print(describe("service", [serve(options.collect) for _ in range(options.repeats)]))
        return
    meetings = [
        meet(number, not options.best_effort, options.one_context)
        for number in range(options.repeats)
    ]
    print(describe("publisher knows of the subscription", [m.publisher_knows for m in meetings]))
    print(describe("a message sent then arrives", [m.arrived for m in meetings]))


if __name__ == "__main__":
    main()
