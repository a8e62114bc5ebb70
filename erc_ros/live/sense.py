"""`erc sense`: publish microphone, camera and recognized speech of this machine on ROS 2 topics.

The nodes subscribe to these topics, so that `ros2 launch erc_ros emotion.launch.py` works on a
laptop without drivers.
"""

from __future__ import annotations

import argparse
import sys
import time
from array import array
from typing import Any

import cv2
import rclpy
from audio_common_msgs.msg import AudioDataStamped, AudioInfo
from builtin_interfaces.msg import Time
from rclpy.context import Context
from rclpy.node import Node
from rclpy.qos import QoSDurabilityPolicy, QoSProfile, QoSReliabilityPolicy
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import String

from erc_ros.adapters import message_class
from erc_ros.live.command import NO_RECOGNIZER, sources_of, stopped_by_signals
from erc_ros.live.feeds import Feeds, Value
from erc_ros.media.devices import Clock, devices
from erc_ros.media.recognizers import load_recognizer
from erc_ros.sensing.audio import AudioFormat
from erc_ros.sensing.frames import Frame
from erc_ros.sensing.images import to_bgr
from erc_ros.sensing.microphone import AudioChunk
from erc_ros.values.nanoseconds import NS
from erc_ros.values.transcript import Transcript

LIVE_SPEECH = "hri_msgs/msg/LiveSpeech"
MICROPHONE_FRAME, CAMERA_FRAME = "microphone", "camera"
_INFO_PERIOD = 5 * NS  # the period of audio_capture
_QUALITY = 90  # of JPEG
_AUDIO_QOS = QoSProfile(depth=100, reliability=QoSReliabilityPolicy.RELIABLE)
_IMAGE_QOS = QoSProfile(depth=2, reliability=QoSReliabilityPolicy.RELIABLE)
_INFO_QOS = QoSProfile(
    depth=1,
    reliability=QoSReliabilityPolicy.RELIABLE,
    durability=QoSDurabilityPolicy.TRANSIENT_LOCAL,
)


class Publishers:
    """Publishes values on `audio`, `audio_info`, `image/compressed` and `speech` of a node.

    Args:
        kinds: kinds of the used sources; only their topics are advertised.
        has_text: whether there is a speech recognizer.
    """

    def __init__(self, node: Node, kinds: set[str], has_text: bool) -> None:
        self._audio = self._info = self._image = self._speech = None
        if "microphone" in kinds:
            self._info = node.create_publisher(AudioInfo, "audio_info", _INFO_QOS)
            self._audio = node.create_publisher(AudioDataStamped, "audio", _AUDIO_QOS)
        if "camera" in kinds:
            self._image = node.create_publisher(CompressedImage, "image/compressed", _IMAGE_QOS)
        self._live_speech: Any = message_class(LIVE_SPEECH)
        if has_text:
            self._speech = node.create_publisher(self._live_speech or String, "speech", 50)
        self._format: AudioFormat | None = None
        self._informed = 0  # ns

    def publish(self, value: Value) -> None:
        """Publish a value on its topic; lines for the user go to stderr."""
        if isinstance(value, AudioChunk):
            self._publish_audio(value)
        elif isinstance(value, Frame):
            self._publish_image(value)
        elif isinstance(value, Transcript):
            self._publish_text(value)
        elif value is not None:
            print(value, file=sys.stderr, flush=True)

    def _publish_audio(self, chunk: AudioChunk) -> None:
        format = chunk.format
        if self._audio is None or self._info is None or format is None:
            return
        if format != self._format or chunk.arrival - self._informed >= _INFO_PERIOD:
            self._format, self._informed = format, chunk.arrival
            info = AudioInfo(channels=format.channels, sample_rate=format.rate)
            info.sample_format, info.coding_format = format.sample_format, "WAVE"
            self._info.publish(info)
        message = AudioDataStamped()
        message.header.stamp = _time(chunk.stamp or chunk.arrival)
        message.header.frame_id = MICROPHONE_FRAME
        message.audio.data = array("B", chunk.data)
        self._audio.publish(message)

    def _publish_image(self, frame: Frame) -> None:
        if self._image is None:
            return
        _, data = cv2.imencode(".jpg", to_bgr(frame), (cv2.IMWRITE_JPEG_QUALITY, _QUALITY))
        message = CompressedImage(format="jpeg")
        message.header.stamp = _time(frame.stamp)
        message.header.frame_id = CAMERA_FRAME
        message.data = array("B", data.tobytes())
        self._image.publish(message)

    def _publish_text(self, text: Transcript) -> None:
        if self._speech is None:
            return
        if self._live_speech is None:
            self._speech.publish(String(data=text.text))
            return
        message = self._live_speech(final=text.text, locale=text.locale)
        message.header.stamp = _time(text.time)
        if text.confidence == text.confidence:
            message.confidence = text.confidence
        self._speech.publish(message)


def _time(moment: int) -> Time:
    return Time(sec=moment // NS, nanosec=moment % NS)


def run(options: argparse.Namespace) -> int:
    """Publish until the sources end or a signal arrives.

    Args:
        options: parsed options of `source_options`, and `namespace`.

    Returns:
        0, or 1 if all sources failed without data.

    Raises:
        ValueError, OSError, DeviceError: an option is invalid.
    """
    if options.list_devices:
        print("\n".join(devices()))
        return 0
    sources = sources_of(options)
    recognizer = None
    if options.recognizer:
        recognizer = load_recognizer(options.recognizer, options.language)
    else:
        print(f"warning: {NO_RECOGNIZER}", file=sys.stderr, flush=True)
    context = Context()
    # Signals stop the sources first; the handlers of rclpy would shut the context down before.
    rclpy.init(context=context, signal_handler_options=rclpy.signals.SignalHandlerOptions.NO)
    node = Node("erc_sense", context=context, namespace=options.namespace or None)
    try:
        feeds = Feeds(sources, recognizer)
        publishers = Publishers(node, {source.kind for source in sources}, recognizer is not None)
        for source in sources:
            print(f"{source.kind}: {source.name}", file=sys.stderr)
        print("publishing; stop with Ctrl-C", file=sys.stderr, flush=True)
        with stopped_by_signals() as stop:
            # ROS nodes compare stamps with the system clock.
            for value in feeds.values(Clock(read=time.time_ns), stop):
                publishers.publish(value)
    finally:
        node.destroy_node()
        context.try_shutdown()
    return 0 if feeds.received or not feeds.failed else 1
