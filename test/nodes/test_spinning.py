"""A spinning thread always ends, whenever it is stopped."""

from __future__ import annotations

import threading

from rclpy.context import Context
from rclpy.node import Node

from erc_ros.nodes.spinning import Spinning


def test_it_ends_if_stopped_between_check_and_wait() -> None:
    context = Context()
    context.init()
    node = Node("spun", context=context)  # without timers: nothing wakes the executor by itself
    spinning = Spinning([node], context)
    executor, looks, goes_on = spinning._executor, threading.Event(), threading.Event()
    nodes_of = executor.get_nodes

    def slow_look() -> list[Node]:
        nodes = nodes_of()
        looks.set()
        goes_on.wait(10)
        return nodes

    executor.get_nodes = slow_look
    executor.wake()
    assert looks.wait(10)
    threading.Thread(target=spinning._stop.set_result, args=(None,)).start()
    goes_on.set()
    assert spinning.stop(10.0)
    node.destroy_node()
    context.try_shutdown()


def test_a_callback_that_does_not_return_is_reported_and_an_error_kept() -> None:
    context = Context()
    context.init()
    node = Node("spun", context=context)
    runs, goes_on, over = threading.Event(), threading.Event(), threading.Event()

    def hang() -> None:
        timer.cancel()
        runs.set()
        goes_on.wait(30)
        raise ValueError("too late")

    timer = node.create_timer(0.0, hang)
    spinning = Spinning([node], context, ended=over.set)
    assert runs.wait(10)
    assert not spinning.stop(0.05)
    goes_on.set()
    assert over.wait(10) and isinstance(spinning.failure, ValueError)
    node.destroy_node()
    context.try_shutdown()
