"""Serialized size of the messages.

    python -m benchmarks.message_sizes

The messages are an utterance of 3 s with 60 characters of text and 8 face crops (from the
photograph of the demo), and its estimate by the shipped bundle.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rclpy.serialization import serialize_message

from erc_ros import demo
from erc_ros.inference.emotion_state import EmotionStateConfig, EmotionStateTracker
from erc_ros.nodes.messages import (
    add_latency,
    estimate_message,
    labels_message,
    states_message,
    utterance_message,
)
from erc_ros.pipeline import Recognition, RecognitionConfig
from erc_ros.sensing.faces import CROP_SIZE
from erc_ros.values.events import UtteranceEvent
from erc_ros.values.nanoseconds import NS
from erc_ros.values.utterance import SAMPLE_RATE, FaceCrop, Utterance

SECONDS, CROPS, START = 3, 8, 1_700_000_000 * NS
STAGES = ("waiting", "dialogue", "handover", "text", "audio", "visual", "fusion")


def said() -> Utterance:
    """Return an utterance of typical length."""
    photograph = cv2.imread(str(Path(demo.__file__).parent / "assets" / "face.jpg"))
    face = np.asarray(cv2.resize(photograph, (CROP_SIZE, CROP_SIZE)), np.uint8)
    noise = np.random.default_rng(0).normal(0, 1000, SECONDS * SAMPLE_RATE)
    return Utterance(
        conversation_id=f"c{START}",
        utterance_id="u17",
        start=START,
        end=START + SECONDS * NS,
        text="I did not think that we would see each other again so soon!!",
        locale="en_GB",
        speaker_id="1",
        face_id="face1",
        frame_id="microphone",
        audio=noise.astype(np.int16),
        faces=tuple(FaceCrop(START + n * NS // 5, face, "camera") for n in range(CROPS)),
    )


def messages() -> dict[str, Any]:
    """Return name -> message."""
    utterance = said()
    recognition = Recognition(RecognitionConfig(device="cpu"))
    (answer,) = recognition.feed(UtteranceEvent(utterance))
    estimate = estimate_message(answer.estimate, recognition.bundle, True, 17)
    add_latency(estimate, dict.fromkeys(STAGES, 10**6), 10**7)
    tracker = EmotionStateTracker(EmotionStateConfig(), recognition.bundle.anchors)
    for speaker in range(3):
        one = replace(utterance, speaker_id=str(speaker), utterance_id=f"u{speaker}")
        tracker.feed(replace(answer.estimate, utterance=one))
    states = [tracker.of(person, utterance.end) for person in tracker.persons()]
    labels = labels_message(recognition.bundle)
    recognition.close()
    return {
        "Utterance": utterance_message(utterance, True, False, 17),
        f"Utterance with {SECONDS} s of audio": utterance_message(
            replace(utterance, faces=()), True, True, 17
        ),
        f"Utterance with audio and {CROPS} faces": utterance_message(utterance, True, True, 17),
        "EmotionEstimate": estimate,
        "EmotionStates of 3 people": states_message(states, recognition.bundle, utterance.end),
        "EmotionLabels": labels,
    }


def main() -> None:
    """Print a table."""
    print("| message | bytes |\n|---|---|")
    for name, message in messages().items():
        print(f"| {name} | {len(serialize_message(message)):,} |")


if __name__ == "__main__":
    main()
