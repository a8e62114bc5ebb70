"""Which topic and type an input subscribes to."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy")

from erc_ros.nodes.inputs import Decision, Offer, decide

RAW, PACKED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
IMAGE = ("image", RAW)
GOOD = Offer("image", RAW)
PACKED_OFFER = Offer("image/compressed", PACKED)
UNKNOWN = Offer("image", "other_msgs/msg/Image", readable=False)
FOREIGN = Offer("image", RAW, conflict="RIHS01_a there, RIHS01_b here")


@pytest.mark.parametrize(
    ("fixed", "offers", "usable", "foreign", "has_problem"),
    [
        (None, [], (), set(), False),
        (None, [GOOD, PACKED_OFFER], (IMAGE, ("image/compressed", PACKED)), set(), False),
        (None, [UNKNOWN], (), set(), True),
        (None, [UNKNOWN, PACKED_OFFER], (("image/compressed", PACKED),), set(), False),
        (None, [FOREIGN], (), {IMAGE}, True),
        (None, [FOREIGN, PACKED_OFFER], (("image/compressed", PACKED),), {IMAGE}, True),
        (IMAGE, [], (IMAGE,), set(), False),
        (IMAGE, [GOOD], (IMAGE,), set(), False),
        (IMAGE, [PACKED_OFFER], (IMAGE,), set(), True),
        (IMAGE, [GOOD, PACKED_OFFER], (IMAGE,), set(), False),
        (IMAGE, [FOREIGN], (), {IMAGE}, True),
    ],
)
def test_an_input_subscribes_to_what_it_can_read(
    fixed: tuple[str, str] | None,
    offers: list[Offer],
    usable: tuple[tuple[str, str], ...],
    foreign: set[tuple[str, str]],
    has_problem: bool,
) -> None:
    decision = decide("image", fixed, offers)
    assert decision == Decision(usable, frozenset(foreign), decision.problem)
    assert bool(decision.problem) == has_problem
