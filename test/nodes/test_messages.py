"""Utterances are unchanged by conversion to a message and back."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from bundles import write_tiny_bundle_3

pytest.importorskip("erc_msgs.msg._utterance")

from erc_msgs.msg import EmotionEstimate
from erc_msgs.msg import Utterance as UtteranceMessage
from hypothesis import given
from hypothesis import strategies as st
from rclpy.serialization import deserialize_message, serialize_message

from erc_ros.adapters import UnusableMessageError
from erc_ros.inference.bundle import load_bundle
from erc_ros.inference.emotion_recognizer import EmotionRecognizer
from erc_ros.inference.emotion_state import EmotionState, Person
from erc_ros.inference.estimate import estimate, uniform_output
from erc_ros.inference.manifest import MANIFEST
from erc_ros.inference.message_fields import estimate_fields, utterance_fields
from erc_ros.nodes.messages import (
    estimate_message,
    from_time,
    states_message,
    to_time,
    utterance_message,
    utterance_value,
)
from erc_ros.replay.rows import row_of_estimate, row_of_message
from erc_ros.resources import model_folder
from erc_ros.values.nanoseconds import NS
from erc_ros.values.utterance import FaceCrop, Utterance


def test_an_estimates_message_says_why_as_a_replays_row_does(tmp_path: Path) -> None:
    folder = write_tiny_bundle_3(tmp_path / "tiny")
    manifest = yaml.safe_load((folder / MANIFEST).read_text())
    section = {"prior": [0.4, *[0.1] * 6], "initial": {"audio": 0.15, "visual": 0.25}}
    section |= {"mismatch": {"audio": 0.4, "visual": 0.6}, "unexpressed": 0.15}
    manifest["reliability"] = section | {"change_rate": 0.002}
    (folder / MANIFEST).write_text(yaml.safe_dump(manifest))
    bundle = load_bundle(folder)
    with EmotionRecognizer(bundle) as recognizer:
        for number in range(30):
            said = an_utterance(text=f"number {number}", utterance_id=f"u{number}")
            said = replace(said, audio=np.tile(said.audio, 16), faces=said.faces * (number % 2))
            estimate = recognizer.feed(said)
            message = estimate_message(estimate, bundle, True)
            came = deserialize_message(serialize_message(message), type(message))
            row = row_of_message(came)
            assert row == row_of_estimate(estimate, bundle)
            assert set(row.why) == {"text", "audio", *(["visual"] if number % 2 else [])}
            assert len(came.modality_labels) == len(came.labels_without) == 3
    assert row.why["text"].reliability == 1.0 and 0 < row.why["visual"].reliability < 1


def an_utterance(**fields: object) -> Utterance:
    random = np.random.default_rng(0)
    known = {
        "conversation_id": "c1",
        "utterance_id": "u1",
        "start": 5 * NS + 1,
        "end": 7 * NS + 2,
        "text": "héllo 你好",
        "locale": "en",
        "text_confidence": 0.5,
        "speaker_id": "1",
        "speaker_confidence": 0.25,
        "overlap": 0.125,
        "voice_id": "v",
        "face_id": "f",
        "person_id": "p",
        "frame_id": "head",
        "audio": random.integers(-32768, 32768, 1000).astype(np.int16),
        "faces": (
            FaceCrop(6 * NS, random.integers(0, 256, (96, 96, 3)).astype(np.uint8), "camera"),
        ),
    }
    return Utterance(**{**known, **fields})


def through_a_message(utterance: Utterance, text: bool = True, media: bool = True) -> Utterance:
    message = utterance_message(utterance, text, media)
    return utterance_value(deserialize_message(serialize_message(message), type(message)))


def test_nothing_is_lost_not_even_a_pixel() -> None:
    before = an_utterance()
    after = through_a_message(before)
    for name in Utterance.__dataclass_fields__:
        if name not in ("audio", "faces"):
            assert getattr(after, name) == getattr(before, name), name
    np.testing.assert_array_equal(after.audio, before.audio)
    assert after.faces[0].stamp == before.faces[0].stamp
    assert (after.frame_id, after.faces[0].frame_id) == ("head", "camera")
    np.testing.assert_array_equal(after.faces[0].pixels, before.faces[0].pixels)


def test_an_overlap_that_is_unknown_stays_unknown() -> None:
    assert math.isnan(through_a_message(an_utterance(overlap=math.nan)).overlap)


@pytest.mark.parametrize("value", [-0.1, 1.1, math.inf, -math.inf])
def test_a_share_that_is_none_is_unknown(value: float) -> None:
    names = ("text_confidence", "speaker_confidence", "overlap")
    after = through_a_message(an_utterance(**dict.fromkeys(names, value)))
    assert all(math.isnan(getattr(after, name)) for name in names)


def test_text_and_media_stay_out_when_they_shall() -> None:
    after = through_a_message(an_utterance(), text=False, media=False)
    assert (after.text, after.locale, len(after.audio), after.faces) == ("", "", 0, ())
    assert math.isnan(after.text_confidence)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda m: setattr(m, "conversation_id", ""), "id"),
        (lambda m: setattr(m, "sample_rate", 8000), "8000"),
        (lambda m: setattr(m.end, "sec", 1), "before"),
        (lambda m: setattr(m.faces[0], "data", b"\x89PNG but not really"), "decoded"),
        (lambda m: setattr(m.faces[0], "data", b""), "decoded"),
    ],
)
def test_a_message_that_makes_no_sense_is_refused(change, word: str) -> None:
    message = utterance_message(an_utterance(), True, True)
    change(message)
    with pytest.raises(UnusableMessageError, match=word):
        utterance_value(message)


@given(st.integers(0, (2**31 - 1) * NS))
def test_times_are_exact(stamp: int) -> None:
    assert from_time(to_time(stamp)) == stamp


@pytest.mark.parametrize(("last", "age"), [(7 * NS, 3.0), (10 * NS, 0.0), (12 * NS, 0.0)])
def test_the_age_of_a_state_is_never_negative(bundle: Path, last: int, age: float) -> None:
    models = load_bundle(bundle)
    even = np.full(len(models.labels), 1 / len(models.labels))
    state = EmotionState(Person(person_id="anna"), 10 * NS, even, 0.0, 0.0, 1.0, last, 1)
    (message,) = states_message([state], models, now=10 * NS).states
    assert message.age == age
    assert from_time(message.last) == last


def test_every_field_of_the_msg_files_is_filled() -> None:
    """A new field of a .msg file needs `message_fields` and nothing else."""
    utterance = Utterance("c", "u", 0, 1)
    shared_fields = set(utterance_fields(utterance))
    names = set(UtteranceMessage.get_fields_and_field_types())
    assert names - shared_fields == {"header", "sequence", "sample_rate", "audio", "faces"}
    assert shared_fields <= names
    bundle = load_bundle(model_folder("edge-small"))
    made = estimate(
        bundle, utterance, uniform_output(len(bundle.labels)), (True, False, False), {}, 0
    )
    fields = set(estimate_fields(made, bundle))
    names = set(EmotionEstimate.get_fields_and_field_types())
    assert fields <= names
    latency = {"latency_stages", "latency_ns", "latency_total_ns"}
    assert names - fields == {"header", "sequence", *latency}
