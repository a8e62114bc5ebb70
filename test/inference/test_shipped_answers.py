"""Estimates of the shipped bundle for a fixed conversation, compared with stored ones.

Optimizations must not change the numbers. Processors and versions of ONNX Runtime round int8
differently (0.015 in a probability between 1.23 and 1.31), so the tolerance is larger on other
computers than the one that wrote them. To write them again after an intended change: `PYTHONPATH=.
python test/inference/test_shipped_answers.py`.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from erc_ros.inference.bundle import load_bundle
from erc_ros.inference.emotion_recognizer import EmotionRecognizer
from erc_ros.values.events import SpeakerCorrected
from erc_ros.values.utterance import SAMPLE_RATE, FaceCrop, Utterance

BUNDLE = Path(__file__).parents[2] / "erc_ros" / "models" / "edge-small"
ANSWERS = Path(__file__).parents[1] / "assets" / "edge_small_answers.json"

CONVERSATIONS = """
Did you hear? They gave the job to somebody else.
Oh no. I am so sorry.
It's fine. Really.
It doesn't sound fine.
I worked four years for this, and he walks in from nowhere!

Guess who just got engaged!
What? You're kidding!
I said yes before he even finished the question.
Oh my God, that is wonderful! Show me the ring!
Ow. Not so hard, I need that hand.

There's something moving behind the fridge.
What do you mean, something?
I don't know, it was small and fast and it had a tail.
Get it out of here. Get it out!
You are standing on the table.
Yes.

Where were you last night?
At work. I told you.
I called your office. Nobody was there.
Well, I went out for a minute.
A minute. Four hours is not a minute!
Why are you yelling at me?
Because you are lying to me.

So, the meeting is at nine on Thursday.
Okay.
And bring the report, please.
Which one, the short or the long one? The long one?
Sure.

Who put a fish in my bag?
Ew! That smells like death.
I think I'm going to be sick.
It was supposed to be a surprise.
It is.
Ha ha, very funny.

Grandma's house was sold today.
Already? I thought we had until the summer.
I used to hide under those stairs.
Me too. We all did.
I miss her so much.
Come here.

Hey! Hi! How was the trip?
Long. Wonderful, but long. The train stood still for three hours in the middle of nowhere.
And the hotel?
Let's just say I have seen bigger closets, and cleaner ones, and none of them had a goat in it.
A goat?!
A goat. Her name is Matilda, and I love her.

Hm.
What?
Nothing. You said hm.
I always say hm.
"""


def conversation() -> Iterator[Utterance]:
    """Return 50 utterances in 9 conversations, with and without audio and faces."""
    noise = np.random.default_rng(0)
    number = 0
    for group, lines in enumerate(CONVERSATIONS.strip().split("\n\n")):
        for turn, text in enumerate(lines.splitlines()):
            seconds = 0.5 + number % 7
            time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
            voice = np.sin(2 * np.pi * (110 + 20 * (turn % 3)) * time) * np.sin(3 * time) ** 2
            hiss = noise.normal(0, 0.02, len(time))
            faces = [
                FaceCrop(at, noise.integers(0, 255, (60 + at, 60 + at, 3), np.uint8))
                for at in range(number % 11)
            ]
            yield Utterance(
                conversation_id=f"c{group}",
                utterance_id=f"u{number}",
                start=0,
                end=0,
                text="" if number % 13 == 12 else text,
                speaker_id=f"s{turn % (2 + group % 2)}",
                audio=(9000 * (voice + hiss)).clip(-32768, 32767).astype(np.int16)
                if number % 5 != 4
                else np.zeros(0, np.int16),
                faces=tuple(faces),
            )
            number += 1


def answers() -> list[dict[str, Any]]:
    """Return the probabilities and weights of every utterance, with drafts and corrections."""
    rows = []
    with EmotionRecognizer(load_bundle(BUNDLE)) as recognizer:
        for number, utterance in enumerate(conversation()):
            if number % 4 == 1:
                recognizer.prepare(utterance)
            if number % 9 == 5:
                recognizer.correct(
                    SpeakerCorrected(
                        utterance.conversation_id, (f"u{number - 1}",), 0, 0, "s0", "s2"
                    )
                )
            estimate = recognizer.feed(utterance)
            rows.append(
                {
                    "label": estimate.label,
                    "modalities": list(estimate.modalities),
                    "probabilities": [float(p) for p in estimate.probabilities],
                    "weights": [float(weight) for weight in estimate.weights],
                }
            )
    return rows


def machine() -> list[str]:
    """Return the processor with its features, and the version of ONNX Runtime."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if sys.platform == "linux" else []
    first: dict[str, str] = {}
    for line in lines:
        name, _, value = (part.strip() for part in line.partition(":"))
        first.setdefault(name, value)
    name = first.get("model name", first.get("CPU part", ""))
    features = " ".join(sorted(first.get("flags", first.get("Features", "")).split()))
    digest = hashlib.sha256(features.encode()).hexdigest()[:12]
    return [f"{os.uname().machine} {name} {digest}", f"onnxruntime {onnxruntime.__version__}"]


def test_the_shipped_bundle_gives_the_stored_estimates() -> None:
    stored = json.loads(ANSWERS.read_text())
    here = stored["machine"] == machine()
    within, actual = (1e-6 if here else 0.03), answers()
    assert len(actual) == len(stored["answers"]) == 50
    for row, expected in zip(actual, stored["answers"], strict=True):
        assert row["modalities"] == expected["modalities"]
        assert not here or row["label"] == expected["label"]
        np.testing.assert_allclose(row["probabilities"], expected["probabilities"], 0, within)
        np.testing.assert_allclose(row["weights"], expected["weights"], 0, 10 * within)


if __name__ == "__main__":
    content = {"machine": machine(), "answers": answers()}
    ANSWERS.write_text(json.dumps(content, separators=(",", ":")) + "\n")
