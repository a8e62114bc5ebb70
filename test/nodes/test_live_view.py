"""Annotated images, drawn only for a subscriber; markers at faces of ROS4HRI."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import numpy as np
import pytest
import yaml
from erc_msgs.msg import EmotionEstimate
from node_bench import LATCHED, Bench, image_message
from ros_sources import ros_module
from sensor_msgs.msg import Image

from erc_ros.nodes import live_view
from erc_ros.nodes.live_view import ShownEstimate, draw
from erc_ros.nodes.system import read_system
from erc_ros.resources import config_file
from erc_ros.sensing.faces import Box, FaceObservation
from erc_ros.values.why import Why, message_fields

MakeBench = Callable[..., Bench]
TOPICS = {"/image_emotions", "/emotion_markers", "/emotions", "/emotion_state", "/diagnostics"}


def shown(**fields: object) -> ShownEstimate:
    known = {"who": "Ada", "face_id": "face1", "label": "joy", "confidence": 0.9}
    return ShownEstimate(**{**known, "valence": 1.0, "arrived": 0, **fields})


def test_a_face_box_has_the_color_of_its_estimate() -> None:
    picture = np.zeros((120, 160, 3), np.uint8)
    face = FaceObservation("face1", 0, Box(40, 30, 50, 50), None)
    pleasant, unpleasant = (draw(picture, [face], [shown(valence=v)]) for v in (1.0, -1.0))
    assert tuple(pleasant[30, 60]) == live_view.PLEASANT
    assert tuple(unpleasant[30, 60]) == live_view.UNPLEASANT
    assert tuple(draw(picture, [face], [])[30, 60]) == live_view.GRAY
    assert not picture.any()
    odd = shown(who="é" * 1000, label="", confidence=float("nan"), valence=float("nan"))
    assert draw(picture, [face], [odd]).shape == picture.shape


def test_the_image_shows_what_the_modalities_indicate() -> None:
    picture = np.zeros((480, 640, 3), np.uint8)
    plain = draw(picture, [], [shown()])
    why = {"text": Why("neutral", 0.7, 1.0, "anger", 0.8), "visual": Why("anger", 1, 0.6, "joy", 1)}
    message = EmotionEstimate(label="anger", modality_names=["text", "audio", "visual"])
    message.modalities = [True, False, True]
    for name, values in message_fields(why, message.modality_names).items():
        setattr(message, name, values)
    lines = live_view._why(message)
    assert len(lines) == 2 and "0.60" in lines[0] and "without" in lines[1]
    explained = draw(picture, [], [shown(why=lines)])
    rows = [np.flatnonzero(drawn.any(axis=(1, 2))) for drawn in (plain, explained)]
    assert rows[1].min() < rows[0].min()  # two more lines below the estimate
    assert rows[1].max() < 480
    message.modality_labels = ["x" * 100_000, "", ""]
    assert live_view._why(message) == ()


def test_images_are_drawn_only_with_a_subscriber_and_consent(
    make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []

    def counted(*arguments: object) -> np.ndarray:
        drawn.append(1)
        return draw(*arguments)

    monkeypatch.setattr(live_view, "draw", counted)
    bench = make_bench(parameters={"publish_view": True, "face_rate": 30.0})
    camera = bench.talker(Image, "image", 5)
    node = bench.nodes[0]

    def searched() -> int:
        return int(node._perception.counts["frames_searched"])

    def look(frames: int) -> Callable[[], bool]:
        least = searched() + frames

        def done() -> bool:
            camera.publish(image_message(bench.now(), width=160, height=120))
            return searched() >= least

        return done

    bench.wait(look(3), "three frames")
    assert not drawn
    pictures = bench.listen(Image, "image_emotions", 5)
    bench.wait(lambda: node._view._images.get_subscription_count(), "somebody looks")
    estimate = bench.say("I got the job!")
    bench.wait(look(3), "three more frames")
    bench.wait(lambda: pictures and drawn, "a picture")
    assert (pictures[-1].width, pictures[-1].height, pictures[-1].encoding) == (160, 120, "bgr8")
    assert pictures[-1].header.frame_id == "camera"
    assert [one.label for one in node._view._now()] == [estimate.label]
    node.consent.tell(False)
    bench.wait(look(2), "it is known")
    count = len(drawn)
    bench.wait(look(3), "three more frames")
    assert len(drawn) == count


def test_faces_of_ros4hri_have_boxes_if_it_publishes_their_regions(
    make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    ros_module("message_filters", monkeypatch)
    hri = pytest.importorskip("hri_msgs.msg", reason="hri_msgs is not installed")
    bench = make_bench(parameters={"publish_view": True, "face_rate": 30.0})
    tracked = bench.talker(hri.IdsList, "/humans/faces/tracked", LATCHED)
    tracked.publish(hri.IdsList(ids=["f7"]))
    bench.wait(lambda: bench.nodes[0]._view._faces.ids == ("f7",), "it is tracked")
    assert not bench.probe.count_subscribers("/humans/faces/f7/roi")  # nobody looks
    pictures = bench.listen(Image, "image_emotions", 5)
    region = bench.talker(hri.NormalizedRegionOfInterest2D, "/humans/faces/f7/roi", 5)
    camera = bench.talker(Image, "image", 5)

    def boxed() -> bool:
        for edges in ((0.25, 0.5, 0.75, 2.0), (0.5, 0.5, 0.4, 0.6), (math.nan, 0.0, 1.0, 1.0)):
            names = ("xmin", "ymin", "xmax", "ymax")
            told = hri.NormalizedRegionOfInterest2D(**dict(zip(names, edges, strict=True)))
            told.header.stamp = bench.now_message()
            region.publish(told)
        camera.publish(image_message(bench.now(), width=160, height=120))
        if not pictures:
            return False
        drawn = np.frombuffer(pictures[-1].data, np.uint8).reshape(120, 160, 3)
        return tuple(drawn[60, 80]) == live_view.GRAY and tuple(drawn[90, 40]) == live_view.GRAY

    bench.wait(boxed, "a box from x = 40 to 120, from y = 60 to the edge")
    assert "edges" in bench.nodes[0].complaints.last("faces/roi")
    tracked.publish(hri.IdsList())
    topic = "/humans/faces/f7/roi"
    bench.wait(lambda: not bench.probe.count_subscribers(topic), "it is not listened to any more")


def test_there_are_markers_at_the_frames_of_tracked_faces(make_bench: MakeBench) -> None:
    hri = pytest.importorskip("hri_msgs.msg", reason="hri_msgs is not installed")
    marker = pytest.importorskip("visualization_msgs.msg", reason="not installed")
    bench = make_bench(parameters={"publish_view": True})
    tracked = bench.talker(hri.IdsList, "/humans/faces/tracked", LATCHED)
    tracked.publish(hri.IdsList(ids=["f7"]))
    markers = bench.listen(marker.MarkerArray, "emotion_markers", 10)
    bench.wait(lambda: bench.nodes[0]._view._faces.ids == ("f7",), "it is tracked")
    talker = bench.talker(EmotionEstimate, "emotions")
    for face in ("face1", "x" * 100_000, "f7"):
        talker.publish(EmotionEstimate(face_id=face, label="joy", confidence=0.5))
    bench.wait(lambda: markers, "a marker")
    (only,) = markers[0].markers
    assert only.header.frame_id == "face_f7" and only.text == "f7: joy 50%"


def test_a_mode_shows_all_of_it() -> None:
    system = read_system()
    values = system.values({"mode": "view"})
    assert "publish_view:=true" in system.parameter_options(values)
    assert "publish_view:=true" not in system.parameter_options(system.values({}))


def test_the_layouts_show_topics_that_there_are() -> None:
    rviz = yaml.safe_load(config_file("emotions.rviz").read_text())
    displays = rviz["Visualization Manager"]["Displays"]
    shown = {display["Topic"]["Value"] for display in displays if "Topic" in display}
    assert shown == {"/image_emotions", "/emotion_markers"}
    layout = json.loads(config_file("foxglove/live.json").read_text())
    panels = layout["configById"]
    text = json.dumps(panels)
    named = {word for word in TOPICS if word in text}
    assert named == TOPICS

    def leaves(tree: object) -> list[str]:
        if isinstance(tree, str):
            return [tree]
        assert isinstance(tree, dict)
        return [*leaves(tree["first"]), *leaves(tree["second"])]

    assert set(leaves(layout["layout"])) == set(panels)
