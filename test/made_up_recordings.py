"""Synthetic recordings with annotations and estimates, for tests of the exports and reports."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from erc_ros.annotations.records import Annotations, Segment
from erc_ros.evaluation.records import (
    AnswerMatch,
    Comparison,
    Prediction,
    Recording,
    ReliabilityBin,
    Scores,
    SystemScores,
)
from erc_ros.metrics.figure import Figure
from erc_ros.values.nanoseconds import NS, seconds
from erc_ros.values.utterance import SAMPLE_RATE
from erc_ros.values.why import Distrust, Why

LABELS = ("neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger")
START = 1_767_225_600 * NS
WORDS = (
    "Guess what, I got the job!",
    "Really? I did not expect that.",
    "Does the landlord know?",
    "He wants to keep my money, it is not fair.",
    "Please do not go there alone.",
    "Thank you, that is so kind.",
    "Grüße — 你好, مرحبا!",
)
WORD = "Xylophonmarke"  # in every text, and nowhere else


def recording(
    utterances: int = 3,
    *,
    system: str = "edge-small",
    name: str = "kitchen",
    seed: int = 0,
    with_media: bool = True,
    length: float = 1.2,
) -> Recording:
    """Return a conversation of three people with wrong, missed and additional utterances.

    length: s of an utterance; they begin 2 s apart.
    """
    rng = np.random.default_rng(seed)
    truth_of = np.random.default_rng(99).integers(0, len(LABELS), utterances)
    segments, answers, matches = [], [], []
    for number in range(utterances):
        start = seconds(0.5 + 2 * number)
        end = start + seconds(length)
        text = f"{WORDS[number % len(WORDS)]} {WORD}"
        emotion = LABELS[truth_of[number]]
        who = ("anna", "ben", "chloé")[number % 3]
        segments.append(
            Segment(start, end, who, text, emotion, valence=round(rng.uniform(-1, 1), 2))
        )
        if number % 9 == 4:
            matches.append(AnswerMatch(number, None))
            continue
        matches.append(AnswerMatch(number, len(answers)))
        answers.append(answer(number, start, end, text, int(truth_of[number]), rng, with_media))
    begin = seconds(0.5 + 2 * utterances)
    matches.append(AnswerMatch(None, len(answers)))
    answers.append(answer(utterances, begin, begin + seconds(0.8), WORD, 0, rng, with_media))
    return Recording(
        name=name,
        system=system,
        origin=START,
        duration=begin + seconds(2),
        labels=LABELS,
        truth=Annotations(tuple(segments), {"confused": 2}, {"annotations past the end, cut": 1}),
        predictions=tuple(answers),
        matches=tuple(matches),
        warnings={"image: uses /a, not /b; --image TOPIC selects another": 1},
        counts={"frames": 120, "final texts": utterances},
    )


def answer(
    number: int,
    start: int,
    end: int,
    text: str,
    best: int,
    rng: np.random.Generator,
    with_media: bool = True,
) -> Prediction:
    """Return one utterance; in three of four cases `best` is its most probable label."""
    probabilities = rng.dirichlet(np.full(len(LABELS), 0.4))
    if rng.random() < 0.75:
        probabilities[best] = 2 * probabilities.max() + 0.3
        probabilities /= probabilities.sum()
    seen = number % 3 == 0
    return Prediction(
        utterance_id=f"u{number}",
        conversation_id="c0",
        start=start + seconds(0.05),
        end=end - seconds(0.05),
        speaker=str(number % 3),
        text=text,
        label=LABELS[int(probabilities.argmax())],
        probabilities=probabilities,
        valence=float(rng.uniform(-0.8, 0.8)),
        arousal=float(rng.uniform(-0.8, 0.8)),
        modalities=(True, True, seen),
        weights=(0.5, 0.3, 0.2) if seen else (0.7, 0.3, 0.0),
        speaker_confidence=0.8,
        overlap=0.25 if number % 5 == 0 else 0.0,
        latency=int(rng.uniform(40, 120) * 1e6),
        signal_to_noise=18.0,
        audio=tone(200 + 10 * (number % 40), (end - start) / NS) if with_media else None,
        face=face(number) if with_media and seen else None,
        why=why(LABELS[int(probabilities.argmax())], seen),
    )


def why(label: str, has_face: bool) -> dict[str, Why]:
    """Return an explanation: the words decide, the voice is not trusted, the face agrees."""
    voice = Why("sadness", 0.8, 0.04, label, 0.6, Distrust.DISAGREES.value)
    reasons = {"text": Why(label, 0.7, 1.0, "fear", 0.5), "audio": voice}
    return {**reasons, "visual": Why(label, 0.5, 0.62, label, 0.55)} if has_face else reasons


def tone(frequency: float, duration: float) -> NDArray[np.int16]:
    time = np.arange(int(duration * SAMPLE_RATE)) / SAMPLE_RATE
    return np.asarray(8000 * np.sin(2 * np.pi * frequency * time), np.int16)


def face(number: int) -> bytes:
    """Return a PNG of eyes and a mouth on a gray level that encodes the number."""
    image = np.full((96, 96, 3), 120 + number % 100, np.uint8)
    for x in (32, 64):
        cv2.circle(image, (x, 38), 6, (20, 20, 20), -1)
    cv2.ellipse(image, (48, 62), (20, 10), 0, 0, 180, (20, 20, 60), 3)
    return bytes(cv2.imencode(".png", image)[1])


def scores(*recordings: Recording) -> Scores:
    """Return synthetic scores, to test how they are displayed."""
    systems = tuple(_scored(each) for each in recordings)
    compared = ()
    if len(systems) > 1:
        compared = (
            Comparison(
                "weighted_f1", systems[0].system, systems[1].system, 0.031, -0.01, 0.07, 0.14
            ),
        )
    return Scores(systems, compared, {"collar": "0.25 s a side"})


def _scored(recorded: Recording) -> SystemScores:
    assert recorded.truth is not None
    counts = np.zeros((len(LABELS), len(LABELS)), int)
    right = []
    for match in recorded.matches:
        if match.truth is None or match.prediction is None:
            continue
        prediction = recorded.predictions[match.prediction]
        wanted = recorded.truth.segments[match.truth].emotion
        assert wanted is not None
        counts[LABELS.index(wanted), LABELS.index(prediction.label)] += 1
        right.append((float(prediction.probabilities.max()), wanted == prediction.label))
    right.sort(reverse=True)
    wrong = np.cumsum([not is_right for _, is_right in right])
    bins = []
    for low in np.arange(0, 1, 0.2):
        inside = [(c, r) for c, r in right if low < c <= low + 0.2]
        if inside:
            confidence, accuracy = np.mean(inside, axis=0)
            bins.append(ReliabilityBin(float(confidence), float(accuracy), len(inside)))
    share = float(np.trace(counts) / max(1, counts.sum()))
    figure = Figure(share, max(0.0, share - 0.1), min(1.0, share + 0.1), float(counts.sum()))
    names = ("accuracy", "weighted_f1", "macro_f1", "teer", "steer", "der", "cpwer")
    return SystemScores(
        recorded.system,
        LABELS,
        {name: figure for name in names} | {"f1 fear": Figure(None)},
        {"speaker": {who: {"weighted_f1": figure} for who in ("anna", "ben", "chloé")}},
        tuple(map(tuple, counts.tolist())),
        tuple(bins),
        tuple((float(n / len(right)), float(w / n)) for n, w in enumerate(wrong, 1)),
        tuple(sorted(a.latency for a in recorded.predictions if a.latency is not None)),
    )


def without_truth(recorded: Recording) -> Recording:
    return replace(recorded, truth=None, matches=())
