"""Speech with a face and a text, on a simulated clock: the whole path, in one process and two."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
import soxr
from audio_common_msgs.msg import AudioDataStamped
from bundles import CLIP, Kinds, write_tiny_bundle_3
from data_folder import need
from erc_msgs.msg import EmotionEstimate, Utterance
from node_bench import RATE, Bench, image_message, sound_message
from rclpy.qos import QoSProfile
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image
from std_msgs.msg import String

from erc_ros.nodes.messages import from_time, to_time
from erc_ros.values.nanoseconds import NS

TEST = Path(__file__).parents[1]
START = 1_000 * NS  # of the simulated clock
CHUNK = RATE // 4
TEXT = "And so, my fellow Americans"
MakeBench = Callable[..., Bench]


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    """Two seconds of speech and a pause, int16 at 16 kHz."""
    clip = need("asr_clips/jfk.flac") / "asr_clips/jfk.flac"
    soundfile = pytest.importorskip("soundfile")
    recorded, rate = soundfile.read(clip, dtype="float32", always_2d=True)
    samples = (soxr.resample(recorded.mean(axis=1), rate, RATE) * 32767).astype(np.int16)
    noise = np.random.default_rng(0).normal(0, 5, RATE).astype(np.int16)
    return np.concatenate([noise, samples[: 2 * RATE + RATE // 2], noise])


def face_picture(stamp: int) -> Image:
    picture = cv2.resize(cv2.imread(str(TEST / "assets/astronaut.png")), (320, 320))
    message = image_message(stamp, "bgr8", 320, 320)
    message.data = array("B", picture.tobytes())
    return message


@dataclass
class Play:
    """A bench whose clock and inputs are played."""

    bench: Bench

    def __post_init__(self) -> None:
        self._clock = self.bench.talker(Clock, "/clock", QoSProfile(depth=1))
        self._microphone = self.bench.talker(AudioDataStamped, "audio", QoSProfile(depth=100))
        self._camera = self.bench.talker(Image, "image", QoSProfile(depth=100))
        self._recogniser = self.bench.talker(String, "speech", QoSProfile(depth=100))
        self.set_clock(START)

    def set_clock(self, now: int) -> None:
        """And wait until everything that came before was worked on."""
        listener = self.bench.nodes[0]
        self._clock.publish(Clock(clock=to_time(now)))
        for node in self.bench.nodes:
            self.bench.wait(
                lambda node=node: node.get_clock().now().nanoseconds == now, "the clock moved on"
            )
        self.bench.wait(
            lambda: not any(map(listener._inbox.depth, ("audio", "image", "speech", "tick"))),
            "the worker is idle",
        )

    def sound(self, samples: np.ndarray) -> int:
        """Sound with a face on the camera; returns the time after it."""
        sources = self.bench.nodes[0]._inputs
        for number in range(len(samples) // CHUNK):
            stamp = START + number * NS // 4
            self._camera.publish(face_picture(stamp))
            self._microphone.publish(
                sound_message(samples[number * CHUNK : (number + 1) * CHUNK], stamp)
            )
            self.bench.wait(
                lambda n=number: (
                    sources["audio"]._meter.count == n + 1
                    and sources["image"]._meter.count == n + 1
                ),
                "sound and picture came",
            )
            self.set_clock(stamp + NS // 4)
        return START + len(samples) * NS // RATE

    def say(self, text: str) -> None:
        self._recogniser.publish(String(data=text))


Heard = tuple[EmotionEstimate, list[Utterance]]


def heard(bench: Bench, speech: np.ndarray) -> Heard:
    play = Play(bench)
    play.sound(speech)
    bench.wait(lambda: bench.utterances, "a draft, while the text is still awaited")
    assert not bench.utterances[0].is_final and not bench.estimates
    play.say(TEXT)
    bench.wait(lambda: bench.estimates, "the estimate")
    bench.wait(lambda: bench.utterances[-1].is_final, "the final utterance")
    return bench.estimates[0], bench.utterances


def said_both_ways(bundle: Path, speech: np.ndarray, crops: int = 96) -> dict[bool, Heard]:
    """split -> estimates of the same speech, with face crops of a given size."""
    by_mode = {}
    for split in (False, True):
        parameters = {"use_sim_time": True, "face_crop_size": crops}
        bench = Bench(bundle, split=split, parameters=parameters)
        try:
            by_mode[split] = heard(bench, speech)
        finally:
            bench.close()
    return by_mode


@pytest.fixture(scope="module")
def both_ways(bundle: Path, speech: np.ndarray) -> dict[bool, Heard]:
    return said_both_ways(bundle, speech)


@pytest.mark.data
@pytest.mark.parametrize("split", [False, True])
def test_speech_with_face_and_text_becomes_one_estimate(
    both_ways: dict[bool, Heard], split: bool
) -> None:
    estimate, utterances = both_ways[split]
    assert list(estimate.modalities) == [True, True, True]
    assert sum(estimate.modality_weights) == pytest.approx(1, abs=1e-5)
    assert estimate.text == TEXT and estimate.face_id
    assert estimate.header.frame_id == "microphone"
    assert START + NS // 2 < from_time(estimate.start) < START + 2 * NS
    assert START + 2 * NS < from_time(estimate.end) < START + 4 * NS
    assert {u.utterance_id for u in utterances} == {estimate.utterance_id}
    assert all(bool(len(u.audio)) == bool(u.faces) == split for u in utterances)


@pytest.mark.data
def test_two_processes_give_exactly_the_estimates_of_one(both_ways: dict[bool, Heard]) -> None:
    one, two = (both_ways[split][0] for split in (False, True))
    for name in EmotionEstimate.get_fields_and_field_types():
        if not name.startswith("latency"):
            mine, theirs = (
                list(value) if isinstance(value, array) else value
                for value in (getattr(one, name), getattr(two, name))
            )
            np.testing.assert_equal(mine, theirs, name)  # NaN is NaN


@pytest.mark.data
def test_a_bundle_of_waveform_clip_and_whole_prompt_runs_in_one_process_and_in_two(
    tmp_path: Path, speech: np.ndarray
) -> None:
    kinds = Kinds("magtkd", "waveform", "clip", "roberta")
    by_mode = said_both_ways(write_tiny_bundle_3(tmp_path / "other", kinds), speech, 112)
    one, two = (by_mode[split][0] for split in (False, True))
    assert list(one.modalities) == [True, True, True]
    assert list(one.probabilities) == list(two.probabilities)
    final = by_mode[True][1][-1]
    faces = [cv2.imdecode(np.frombuffer(f.data, np.uint8), cv2.IMREAD_COLOR) for f in final.faces]
    assert faces and {face.shape for face in faces} == {(CLIP, CLIP, 3)}


@pytest.mark.data
def test_drafts_are_published_during_speech(make_bench: MakeBench, speech: np.ndarray) -> None:
    bench = make_bench(parameters={"use_sim_time": True, "provisional_period": 0.5})
    Play(bench).sound(speech[: 3 * RATE])  # the sentence goes on
    bench.wait(lambda: len(bench.utterances) >= 2, "drafts")
    drafts = bench.utterances
    assert not any(utterance.is_final for utterance in drafts)
    assert len({(u.conversation_id, u.utterance_id) for u in drafts}) == 1
    ends = [from_time(utterance.end) for utterance in drafts]
    assert ends == sorted(set(ends)) and all(u.speaker_id == "" for u in drafts)


@pytest.mark.data
def test_a_microphone_that_dies_in_mid_sentence_closes_it(
    make_bench: MakeBench, speech: np.ndarray
) -> None:
    bench = make_bench(parameters={"use_sim_time": True, "expect_text": "never"})
    play = Play(bench)
    end = play.sound(speech[: 2 * RATE])  # the sentence has begun and goes on
    assert not bench.estimates
    play.set_clock(end + 4 * NS)
    bench.wait(lambda: bench.estimates, "what was heard before the microphone died")
    assert list(bench.estimates[0].modalities) == [False, True, True]
    play.say("the speech recognizer lives")
    bench.wait(lambda: len(bench.estimates) == 2, "the text goes on alone")
