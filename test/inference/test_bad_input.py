"""Estimates of the shipped bundle for input without emotional speech: no confident rare emotion.

Audio and images are generated, or made from test/assets/astronaut.png.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from erc_ros.encoders.language import TextExclusion
from erc_ros.inference.bundle import load_bundle
from erc_ros.inference.emotion_recognizer import EmotionRecognizer
from erc_ros.resources import model_folder
from erc_ros.values.utterance import FaceCrop, Utterance

RARE = ("fear", "disgust", "sadness", "surprise")
MOST = 0.6
RATE, SECONDS = 16_000, 3
TIME = np.arange(RATE * SECONDS) / RATE


@pytest.fixture(scope="module")
def recognizer() -> Iterator[EmotionRecognizer]:
    with EmotionRecognizer(load_bundle(model_folder("edge-small"))) as opened:
        yield opened


# --- audio, (n,) in [-1, 1] ---


def noise(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(len(TIME))


def silence() -> np.ndarray:
    return np.zeros(len(TIME))


def hum() -> np.ndarray:
    return 0.02 * np.sin(2 * np.pi * 50 * TIME)


def music() -> np.ndarray:
    """Return four chords with overtones."""
    audio = np.zeros(len(TIME))
    for number, root in enumerate((220.0, 174.6, 261.6, 196.0)):
        inside = (number * 0.75 <= TIME) & ((number + 1) * 0.75 > TIME)
        for third in (1.0, 1.26, 1.5):
            for overtone in range(1, 6):
                audio += inside * np.sin(2 * np.pi * root * third * overtone * TIME) / overtone
    return 0.1 * audio


def cough() -> np.ndarray:
    """Return noise bursts that decay within 0.15 s."""
    since = TIME % 0.7
    return 0.5 * noise(1) * np.exp(-since / 0.05) * (since < 0.3)


def whisper() -> np.ndarray:
    """Return syllables of noise, without a voice."""
    return 0.03 * np.convolve(noise(2), np.ones(3) / 3, "same") * (1 + np.sin(2 * np.pi * 4 * TIME))


def voiced(pitch: np.ndarray, syllables: np.ndarray) -> np.ndarray:
    """Return pulses at a pitch (Hz) through two resonances, with the envelope `syllables`."""
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    source = sum(np.sin(k * phase) / k for k in range(1, 15))
    formants = sum(
        np.exp(-TIME[:400] * 600) * np.cos(2 * np.pi * f * TIME[:400]) for f in (700, 1200)
    )
    return 0.05 * np.convolve(source, formants, "same") / 5 * syllables


def laughter() -> np.ndarray:
    return voiced(300 - 40 * TIME, np.clip(np.sin(2 * np.pi * 5 * TIME), 0, None))


def child() -> np.ndarray:
    return voiced(380 + 30 * np.sin(2 * np.pi * 0.7 * TIME), 1 + np.sin(2 * np.pi * 3 * TIME))


def monotone() -> np.ndarray:
    return voiced(np.full(len(TIME), 110.0), 1 + np.sin(2 * np.pi * 3 * TIME))


def hiss() -> np.ndarray:
    return 0.2 * noise(3)


# --- faces, (96, 96, 3) uint8 ---


def person() -> np.ndarray:
    picture = cv2.imread(str(Path(__file__).parents[1] / "assets" / "astronaut.png"))
    return cv2.resize(picture[60:200, 150:290], (96, 96))


def gray_noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)


def nothing() -> np.ndarray:
    return np.full((96, 96, 3), 127, np.uint8)


def dark() -> np.ndarray:
    return (person() * 0.08).astype(np.uint8)


def masked() -> np.ndarray:
    face = person()
    face[52:] = (200, 190, 180)
    return face


def from_the_side() -> np.ndarray:
    """Return a face in profile: one half is compressed."""
    face = person()
    return np.hstack([cv2.resize(face[:, :48], (78, 96)), cv2.resize(face[:, 48:], (18, 96))])


def photo() -> np.ndarray:
    """Return a printed and filmed photograph: pale, slanted, blurred."""
    slanted = cv2.warpAffine(person(), np.float32([[1, 0.2, -8], [0.05, 1, 0]]), (96, 96))
    return cv2.GaussianBlur((slanted * 0.4 + 130).astype(np.uint8), (5, 5), 0)


def wall() -> np.ndarray:
    return np.tile(np.linspace(60, 200, 96).astype(np.uint8)[:, None, None], (1, 96, 3))


TEXTS = {
    "German": "Ich weiß nicht, wo der Bahnhof ist, aber wir können fragen.",
    "Polish": "Czy możesz mi powiedzieć, która jest godzina?",
    "Japanese": "明日の会議は三時からです。",
    "emoji": "🙂🙂 🚲 🏠",
    "punctuation": "... -- ;",
    "excited punctuation": "... ?! --",
    "Arabic": "كيف حالك اليوم",
    "Chinese": "明天下雨",
    "unknown script": "คุณสบายดีไหม",
    "crying emoji": "😢",
    "emoji and punctuation": "??? 😡",
    "numbers": "4 8 15 16 23 42",
    "letters": "asdf qwer zxcv",
    "backchannel": "Mm-hm.",
    "address": "It is the second door on the left, number 14.",
    "sarcasm": "Oh great, another Monday. Just what I needed.",
    "300 words": "and then we walked to the other side of the street to look at it " * 20,
}
SOUNDS = (silence, hum, music, cough, whisper, laughter, child, monotone, hiss)
FACES = (gray_noise, nothing, dark, masked, from_the_side, photo, wall)


def probabilities(recognizer: EmotionRecognizer, **senses: object) -> dict[str, float]:
    said = Utterance("bad input", "", 0, SECONDS * 10**9, is_final=False, **senses)  # type: ignore[arg-type]
    return dict(zip(recognizer.bundle.labels, recognizer.feed(said).probabilities, strict=True))


def sound(make: Callable[[], np.ndarray]) -> np.ndarray:
    return np.rint(make() * 32767).clip(-32768, 32767).astype(np.int16)


def check(probabilities: dict[str, float]) -> None:
    assert max(probabilities[label] for label in RARE) <= MOST, probabilities


@pytest.mark.parametrize("name", TEXTS)
def test_odd_words_are_no_rare_emotion(recognizer: EmotionRecognizer, name: str) -> None:
    check(probabilities(recognizer, text=TEXTS[name]))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        *((text, TextExclusion.UNREADABLE) for text in ("... ?! --", "?!", "。。。", "😢")),
        *((text, TextExclusion.SCRIPT) for text in ("คุณสบายดีไหม", "Привет, как дела?")),
        *((text, TextExclusion.SCRIPT) for text in ("كيف حالك اليوم", "明天下雨", "नमस्ते")),
    ],
)
def test_what_cannot_be_read_is_no_text(
    recognizer: EmotionRecognizer, text: str, reason: TextExclusion
) -> None:
    said = Utterance("bad input", "", 0, SECONDS * 10**9, text=text, is_final=False)
    estimate = recognizer.feed(said)
    assert estimate.notes == (reason.explanation,) and estimate.text_excluded == reason
    assert max(estimate.probabilities) == pytest.approx(1 / len(estimate.probabilities))


def test_an_emoticon_is_text(recognizer: EmotionRecognizer) -> None:
    said = Utterance("bad input", "", 0, SECONDS * 10**9, text=":(", is_final=False)
    estimate = recognizer.feed(said)
    assert not estimate.notes and max(estimate.probabilities) > 0.3


@pytest.mark.parametrize("make", SOUNDS, ids=lambda make: make.__name__)
def test_non_speech_audio_is_no_rare_emotion(
    recognizer: EmotionRecognizer, make: Callable[[], np.ndarray]
) -> None:
    check(probabilities(recognizer, audio=sound(make)))
    check(probabilities(recognizer, text="The door is over there.", audio=sound(make)))


@pytest.mark.parametrize("make", FACES, ids=lambda make: make.__name__)
def test_images_that_show_little_are_no_rare_emotion(
    recognizer: EmotionRecognizer, make: Callable[[], np.ndarray]
) -> None:
    face = (FaceCrop(0, make()),)
    check(probabilities(recognizer, faces=face))
    check(probabilities(recognizer, text="The door is over there.", faces=face))
    check(probabilities(recognizer, faces=face, audio=sound(hiss)))
