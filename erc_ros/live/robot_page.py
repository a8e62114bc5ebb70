"""`erc web`: a local page of the running nodes: live view, enrollment, opt-out."""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import rclpy
from erc_msgs.msg import EmotionEstimate, Sensing
from rclpy.context import Context
from rclpy.node import Node
from rclpy.utilities import remove_ros_args
from sensor_msgs.msg import Image

from erc_ros.adapters import adapter_for, check_id
from erc_ros.live.command import stopped_by_signals
from erc_ros.live.page import SHOWN_ROWS, Action, Page
from erc_ros.nodes import people
from erc_ros.nodes.matching_qos import LATCHED_QOS
from erc_ros.nodes.spinning import BoundedExecutor, Spinning
from erc_ros.replay.rows import Row, row_of_message, with_row
from erc_ros.sensing.frames import Frame
from erc_ros.values.bounds import TEXT
from erc_ros.values.errors import ErcValueError
from erc_ros.values.nanoseconds import NS

_DEPTH = 50  # of the subscription to estimates
_IMAGE = adapter_for("sensor_msgs/msg/Image")


class RobotPage(Page):
    """Shows what the nodes publish, and calls their services. Close it.

    Withdrawn consent (`recording_allowed`) and every change of the opt-outs remove the image and
    the estimates that were shown before.

    Args:
        context: initialized.
        namespace: of the nodes.
        port: see `Page`.
    """

    ACTIONS = people.ACTIONS

    def __init__(self, context: Context, namespace: str = "", port: int = 0) -> None:
        self._sensing = Sensing()
        self._node = Node("erc_web", context=context, namespace=namespace or None)
        # Requests wait in the server's threads, one at a time, with an executor of their own.
        self._caller = Node("erc_web_caller", context=context, namespace=namespace or None)
        self._executor = BoundedExecutor(context=context)
        self._executor.add_node(self._caller)
        self._calling = threading.Lock()
        super().__init__(port)
        for kind, topic, receive, qos in (
            (Sensing, f"{people.NODES[0]}/sensing", self._receive_sensing, LATCHED_QOS),
            (EmotionEstimate, "emotions", self._receive_estimate, _DEPTH),
            (Image, "image_emotions", self._receive_image, 1),
        ):
            self._node.create_subscription(kind, topic, receive, qos)
        self._spinning = Spinning([self._node], context)

    def close(self) -> None:
        """See `Page`."""
        super().close()
        self._spinning.stop()
        with self._calling:
            self._executor.shutdown()
            self._caller.destroy_node()
        self._node.destroy_node()

    def act(self, action: Action) -> tuple[bool, str]:
        """See `Page`."""
        with self._calling:
            if self.is_over:
                return False, "the page is closed"
            try:
                is_done, lines = people.change(
                    self._caller, self._executor, action.name, action.id, action.speaker
                )
            except ErcValueError as error:
                return False, str(error)
        if is_done and action.name != "enrol":
            with self._changed:
                self._clear()
        return is_done, "\n".join(lines)

    # --- from the nodes ---

    def _receive_sensing(self, message: Sensing) -> None:
        with self._changed:
            if not message.recording_allowed or message.opted_out != self._sensing.opted_out:
                self._clear()
            self._sensing = message
            self._change()

    def _receive_estimate(self, message: EmotionEstimate) -> None:
        try:
            for name in ("conversation_id", "utterance_id", "speaker_id", "person_id", "label"):
                check_id(name, getattr(message, name))
            row = row_of_message(message)
        except ValueError:
            return  # not of our nodes
        if row.is_final:
            with self._changed:
                self._rows = with_row(self._rows, replace(row, text=row.text[:TEXT]))[-SHOWN_ROWS:]
                self._change()

    def _receive_image(self, message: Image) -> None:
        try:
            frame = _IMAGE.read(message, time.time_ns())
        except ValueError:
            return
        with self._changed:
            if self._sensing.recording_allowed and isinstance(frame, Frame):
                self._frame, self._number = frame, self._number + 1
                self._change()

    def _clear(self) -> None:
        self._frame, self._rows = None, []
        self._change()

    # --- to the page ---

    def _more(self) -> dict[str, Any]:
        sensing = self._sensing
        is_running = self._node.count_publishers(f"{people.NODES[0]}/sensing") > 0
        status = "" if sensing.recording_allowed else "recording is not allowed"
        return {
            "speaking": status if is_running else "the nodes are not running",
            "notes": list(sensing.notices[:1]),
            "faces": [],
            "opted_out": sensing.opted_out,
            "people": [
                {
                    "id": people.id_of(person),
                    "speaker": people.speaker_of(person),
                    "modalities": list(person.modalities),
                    "since": _clock(person.since.sec),
                }
                for person in (sensing.persons if is_running else ())
            ],
        }

    def _time(self, row: Row) -> str:
        return _clock(row.start // NS)


def _clock(sec: int) -> str:
    return time.strftime("%H:%M:%S", time.localtime(sec))


def main(argv: Sequence[str]) -> int:
    """Serve the page until a signal arrives.

    Raises:
        OSError: the port is not free.
    """
    parser = argparse.ArgumentParser(
        prog="erc web",
        description="A page of the running nodes on 127.0.0.1: estimates, the image of "
        "`mode:=view`, who is sensed; enroll, opt out and forget people.",
        epilog="`--ros-args` remaps topics; `--enclave /erc_ros_operator` is for SROS2.",
    )
    parser.add_argument("--namespace", default="", help="namespace of the nodes")
    parser.add_argument("--port", type=int, default=0, help="of the page; default: any free one")
    options = parser.parse_args(remove_ros_args(list(argv)))
    context = Context()
    # Signals close the page first; rclpy's own handlers would shut the context down before.
    no_handlers = rclpy.signals.SignalHandlerOptions.NO
    rclpy.init(args=list(argv), context=context, signal_handler_options=no_handlers)
    try:
        page = RobotPage(context, options.namespace, options.port)
        try:
            print(f"open {page.url}", flush=True)
            print("keep the address secret: it allows changes; stop with Ctrl-C", file=sys.stderr)
            with stopped_by_signals() as stop:
                stop.wait()
        finally:
            page.close()
    finally:
        context.try_shutdown()
    return 0
