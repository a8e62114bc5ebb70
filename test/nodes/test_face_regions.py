"""`faces/<id>/roi` with camera images: real message_filters, installed or from its sources."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from node_bench import LATCHED, Bench, image_message
from ros_sources import ros_module, without
from sensor_msgs.msg import Image

from erc_ros.nodes.face_regions import APART, KEPT, FaceRegions
from erc_ros.nodes.messages import to_time
from erc_ros.sensing.faces import Box
from erc_ros.sensing.frames import Frame
from erc_ros.values.nanoseconds import NS

hri = pytest.importorskip("hri_msgs.msg", reason="hri_msgs is not installed")
MakeBench = Callable[..., Bench]


class Node:
    """What FaceRegions asks of a node, without DDS."""

    def __init__(self) -> None:
        self.complaints: list[str] = []
        self.receive: Any = None

    def complain(self, subject: str, text: str) -> None:
        self.complaints.append(text)

    def resolve_topic_name(self, topic: str) -> str:
        return topic

    def get_publishers_info_by_topic(self, topic: str) -> list[Any]:
        return [SimpleNamespace(qos_profile=hri_qos())]

    def subscribe_to(self, kind: type, topic: str, receive: Any, *more: Any, **named: Any) -> Any:
        self.receive = receive
        return object()

    def destroy_subscription(self, subscription: Any) -> None:
        self.receive = None


def hri_qos() -> Any:
    from rclpy.qos import qos_profile_sensor_data

    return qos_profile_sensor_data


def region(stamp: int, *edges: float) -> Any:
    names = ("xmin", "ymin", "xmax", "ymax")
    message = hri.NormalizedRegionOfInterest2D(**dict(zip(names, edges, strict=True)))
    message.header.stamp = to_time(stamp)
    return message


@pytest.fixture
def node() -> Node:
    return Node()


@pytest.fixture
def regions(node: Node, monkeypatch: pytest.MonkeyPatch) -> FaceRegions:
    ros_module("message_filters", monkeypatch)
    made = FaceRegions(node, "/humans")  # type: ignore[arg-type]
    made.look(["f7"])
    return made


def test_an_image_takes_the_region_nearest_to_its_stamp(node: Node, regions: FaceRegions) -> None:
    for number in range(5):
        node.receive(region((100 + number) * NS, 0.1 * number, 0.0, 0.1 * number + 0.5, 1.0))
    (face,) = regions.near(102 * NS + NS // 4, NS, 100, 50)
    assert (face.stamp, face.box) == (102 * NS, Box(20, 0, 50, 50))
    (face,) = regions.near(102 * NS + 3 * NS // 4, NS, 100, 50)
    assert face.stamp == 103 * NS
    assert regions.near(200 * NS, NS, 100, 50) == []
    assert regions.near(98 * NS, NS, 100, 50) == []


def test_invalid_regions_are_skipped_and_old_ones_forgotten(
    node: Node, regions: FaceRegions
) -> None:
    node.receive(region(NS, 0.6, 0.0, 0.4, 1.0))
    node.receive(region(NS, float("nan"), 0.0, 0.4, 1.0))
    assert len(node.complaints) == 2 and regions.near(NS, NS, 100, 50) == []
    for number in range(KEPT + 1):
        node.receive(region((10 + number) * NS, 0.0, 0.0, 1.0, 1.0))
    assert regions.near(10 * NS, NS // 2, 100, 50) == []
    regions.look([])
    assert node.receive is None and regions.near(20 * NS, NS, 100, 50) == []


def test_a_face_is_cropped_by_its_region(node: Node, regions: FaceRegions) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 40, 3), np.uint8)
    frame = Frame(50 * NS, "bgr8", 40, 20, 0, pixels.tobytes(), "camera")
    assert regions.crops(frame) == []
    node.receive(region(50 * NS + APART // 2, 0.25, 0.5, 0.75, 2.0))
    (face,) = regions.crops(frame)
    assert (face.face_id, face.frame.width, face.frame.height) == ("f7", 20, 10)
    assert face.frame.frame_id == "camera" and face.frame.stamp == frame.stamp
    assert face.frame.data == pixels[10:20, 10:30].tobytes()
    later = Frame(52 * NS, "bgr8", 40, 20, 0, pixels.tobytes())
    assert regions.crops(later) == []
    node.receive(region(52 * NS, 1.5, 0.0, 1.6, 1.0))  # outside of the image
    assert regions.crops(later) == []


def test_without_message_filters_the_missing_package_is_named(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    without("message_filters", monkeypatch)
    regions = FaceRegions(node, "/humans")  # type: ignore[arg-type]
    regions.look(["f7"])
    assert "message_filters" in node.complaints[0] and node.receive is None
    assert regions.near(NS, NS, 10, 10) == []


def test_faces_of_a_detector_that_publishes_regions_only_are_used(
    make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over DDS: they are cropped until the detector publishes images of them itself."""
    ros_module("message_filters", monkeypatch)
    bench = make_bench(parameters={"face_rate": 30.0})
    tracked = bench.talker(hri.IdsList, "/humans/faces/tracked", LATCHED)
    tracked.publish(hri.IdsList(ids=["f7"]))
    where = bench.talker(hri.NormalizedRegionOfInterest2D, "/humans/faces/f7/roi", 5)
    camera = bench.talker(Image, "image", 5)
    counts = bench.nodes[0]._perception.counts

    def cropped() -> bool:
        stamp = bench.now()
        where.publish(region(stamp, 0.25, 0.25, 0.75, 0.75))
        camera.publish(image_message(stamp, width=160, height=120))
        return counts["tracked_faces"] >= 3

    bench.wait(cropped, "crops")
    image = bench.talker(Image, "/humans/faces/f7/cropped", 5)
    topic = "/humans/faces/f7/roi"
    bench.wait(lambda: not bench.probe.count_subscribers(topic), "the detector's own images")
    before = counts["tracked_faces"]

    def received() -> bool:
        image.publish(image_message(bench.now(), width=64, height=64))
        return counts["tracked_faces"] > before

    bench.wait(received, "they are used")
