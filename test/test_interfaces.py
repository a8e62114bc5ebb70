"""The interfaces of this repository are compatible with those of the same name."""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path

import pytest

packages = pytest.importorskip("ament_index_python.packages", reason="no ROS 2 here")

# Type hashes (REP-2011) of the packages' own releases.
UPSTREAM = {
    "audio_common_msgs/AudioDataStamped": (
        "6fc679d5a868ed68e4d301f1ef42abecc86140afb57d255656ff2d9e476ea9e3"
    ),
    "hri_msgs/LiveSpeech": "2cfdf359eed836b1d32ac2d62e1476f2048212e7ed79a17c0a594b04c33f8783",
    "hri_msgs/Expression": "411b88e0604397d44775d8ec6a4bc69398fb0dfbfe864c33a40fa99ee85f1b00",
    "hri_msgs/EngagementLevel": "275391f46d2e6cc0d21085f8e02dce6a8150baa57539ec99bd9f4e0321443788",
    "hri_msgs/IdsList": "7e0812d1ac945c98fd3e393568d581ad0ab567f37b24eff633eab778c1bfe62d",
    "hri_msgs/IdsMatch": "1c649d4a87ca2d4fe5f606395e83a863640e411c9192dfda6d399a68019966f0",
}


@pytest.fixture(autouse=True)
def index_of_the_wheels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Environment in which the prefix is not in a variable, as with the wheels."""
    known = os.environ.get("AMENT_PREFIX_PATH", "")
    monkeypatch.setenv("AMENT_PREFIX_PATH", os.pathsep.join(filter(None, [known, sys.prefix])))


def description(package: str, name: str) -> Path:
    try:
        share = packages.get_package_share_directory(package)
    except packages.PackageNotFoundError:
        pytest.skip(f"{package} is not installed")
    return Path(share, "msg", f"{name}.json")


@pytest.mark.parametrize("type_name", UPSTREAM)
def test_the_type_hash_is_that_of_the_upstream_package(type_name: str) -> None:
    file = description(*type_name.split("/"))
    if not file.is_file():
        pytest.skip("this distribution has no type descriptions (before Iron)")
    hashes = json.loads(file.read_text(encoding="utf-8"))["type_hashes"]
    assert hashes[0]["hash_string"] == f"RIHS01_{UPSTREAM[type_name]}"


@pytest.mark.parametrize(
    "name",
    [
        "Utterance",
        "EmotionChange",
        "EmotionEstimate",
        "EmotionLabels",
        "EmotionState",
        "EmotionStates",
        "SensedPerson",
        "Sensing",
        "SpeakerCorrection",
    ],
)
def test_our_messages_can_be_imported_and_serialized(name: str) -> None:
    serialization = pytest.importorskip("rclpy.serialization", reason="no rclpy here")
    pytest.importorskip("erc_msgs.msg._utterance", reason="erc_msgs is not built")
    messages = importlib.import_module("erc_msgs.msg")
    kind = getattr(messages, name)
    assert (
        serialization.deserialize_message(serialization.serialize_message(kind()), kind) == kind()
    )


@pytest.mark.parametrize("name", ["Enrol", "ForgetPerson", "GetEmotion", "OptOut", "SetBundle"])
def test_our_services_say_what_was_done(name: str) -> None:
    pytest.importorskip("erc_msgs.srv._enrol", reason="erc_msgs is not built")
    services = importlib.import_module("erc_msgs.srv")
    fields = getattr(services, name).Response.get_fields_and_field_types()
    assert fields["success"] == "boolean" and fields["message"] == "string"
