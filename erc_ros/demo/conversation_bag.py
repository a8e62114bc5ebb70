"""Synthetic rosbag2 recordings with audio, transcripts and a camera.

`write_demo` creates the conversation of the demo: a written dialogue of three people with synthetic
voices.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from erc_ros.demo.voices import Delivery, Synthesiser, Voice, synthesiser
from erc_ros.replay.bag import BagWriter
from erc_ros.values.files import write_whole
from erc_ros.values.nanoseconds import NS, seconds
from erc_ros.values.utterance import SAMPLE_RATE

START = 1_767_225_600 * NS  # 2026-01-01T00:00:00Z, start of the recordings
FACE = Path(__file__).parent / "assets" / "face.jpg"
WIDTH, HEIGHT = 640, 480

Camera = Callable[[float], NDArray[np.uint8]]
"""Function from the time (s since the start) to an image (HEIGHT, WIDTH, 3), uint8, BGR."""


@dataclass(frozen=True)
class Phrase:
    """Words spoken from `start` to `end` (s since the start of the audio)."""

    start: float
    end: float
    text: str


@dataclass(frozen=True)
class SimulatedRecognizer:
    """A simulated speech recognizer. Durations in s.

    type: hri_msgs/msg/LiveSpeech (with partial texts) or std_msgs/msg/String (finals only).
    delay: minimum and maximum time from the end of a phrase to its final text.
    """

    type: str = "hri_msgs/msg/LiveSpeech"
    delay: tuple[float, float] = (0.3, 0.7)
    partials: float = 0.5
    seed: int = 0


@dataclass(frozen=True)
class _Entry:
    time: int
    topic: str
    type: str
    message: object


def write_conversation(
    path: Path,
    sound: NDArray[np.float32],
    phrases: Sequence[Phrase],
    camera: Camera | None = None,
    *,
    recognizer: SimulatedRecognizer | None = None,
    frames_per_second: float = 15.0,
    storage: str = "mcap",
) -> Path:
    """Write a recording to the new folder `path` and return the path.

    Args:
        sound: (n,) float32 mono at 16 kHz.
        camera: images of the camera; None = no camera.

    Raises:
        BagError: the folder exists already.
    """
    with BagWriter(path, storage) as writer:
        entries = [
            *_sound(writer, sound),
            *_texts(writer, phrases, recognizer or SimulatedRecognizer()),
        ]
        if camera is not None:
            entries += _frames(writer, camera, len(sound) / SAMPLE_RATE, frames_per_second)
        for entry in sorted(entries, key=lambda entry: entry.time):
            writer.write(entry.topic, entry.type, entry.time, entry.message)
    return path


def _sound(writer: BagWriter, sound: NDArray[np.float32]) -> list[_Entry]:
    """Write audio messages of 20 ms, stamped with the first sample and logged after the last."""
    kind = "audio_common_msgs/msg/AudioDataStamped"
    chunk = SAMPLE_RATE // 50
    samples = (np.clip(sound, -1, 1) * 32767).astype("<i2")
    entries = []
    for first in range(0, len(samples), chunk):
        stamp = START + first * NS // SAMPLE_RATE
        data = writer.new(
            "audio_common_msgs/msg/AudioData",
            data=np.frombuffer(samples[first : first + chunk].tobytes(), np.uint8),
        )
        message = writer.new(kind, header=writer.header(stamp, "microphone"), audio=data)
        entries.append(_Entry(stamp + seconds(0.022), "/audio", kind, message))
    info = writer.new(
        "audio_common_msgs/msg/AudioInfo",
        channels=1,
        sample_rate=SAMPLE_RATE,
        sample_format="S16LE",
        bitrate=0,
        coding_format="WAVE",
    )
    for second in range(0, len(sound) // SAMPLE_RATE + 1, 5):
        time = START + second * NS
        entries.append(_Entry(time, "/audio_info", "audio_common_msgs/msg/AudioInfo", info))
    return entries


def _texts(
    writer: BagWriter, phrases: Sequence[Phrase], recognizer: SimulatedRecognizer
) -> list[_Entry]:
    rng = np.random.default_rng(recognizer.seed)
    entries = []
    for phrase in phrases:
        delay = float(rng.uniform(*recognizer.delay))
        entries.append(_text(writer, recognizer.type, phrase.end, phrase.end + delay, phrase.text))
        if recognizer.type == "std_msgs/msg/String":
            continue
        words = phrase.text.split()
        for time in np.arange(phrase.start + recognizer.partials, phrase.end, recognizer.partials):
            share = (time - phrase.start) / (phrase.end - phrase.start)
            partial = " ".join(words[: max(1, int(share * len(words)))])
            entries.append(
                _text(writer, recognizer.type, float(time), float(time) + 0.2, partial, final=False)
            )
    return entries


def _text(
    writer: BagWriter, kind: str, stamp: float, time: float, text: str, final: bool = True
) -> _Entry:
    if kind == "std_msgs/msg/String":
        message = writer.new(kind, data=text)
    else:
        message = writer.new(
            kind,
            header=writer.header(START + seconds(stamp), "microphone"),
            incremental="" if final else text,
            final=text if final else "",
            confidence=0.9 if final else 0.6,
            locale="en_US",
        )
    return _Entry(START + seconds(time), "/speech", kind, message)


def _frames(writer: BagWriter, camera: Camera, duration: float, rate: float) -> list[_Entry]:
    kind = "sensor_msgs/msg/CompressedImage"
    entries = []
    for number in range(int(duration * rate)):
        stamp = START + seconds(number / rate)
        done, jpeg = cv2.imencode(".jpg", camera(number / rate), (cv2.IMWRITE_JPEG_QUALITY, 85))
        if not done:
            raise ValueError("the camera's image cannot be encoded as JPEG")
        header = writer.header(stamp, "camera")
        message = writer.new(kind, header=header, format="jpeg", data=np.asarray(jpeg).reshape(-1))
        entries.append(_Entry(stamp + seconds(0.015), "/image/compressed", kind, message))
    return entries


# The demo.


@dataclass(frozen=True)
class WrittenTurn:
    """One turn of the written dialogue. emotion: emotion intended by the author."""

    speaker: int
    text: str
    delivery: Delivery
    emotion: str = ""


VOICES = (
    Voice("en-us+belinda", pitch=60),
    Voice("en-us+m1", pitch=70),
    Voice("en-us+david"),
)
"""Voice of each speaker, chosen so that networks trained on human voices distinguish them."""

_LIVELY = Delivery(rate=180, pitch=10, range=80)
_CALM = Delivery()
_LOW = Delivery(rate=135, pitch=-10, range=25)
_LOUD = Delivery(rate=190, pitch=12, range=70)
_ANGRY = Delivery(rate=185, pitch=-10, range=0, vibrato=0.23)

DIALOGUE = (
    WrittenTurn(0, "Guess what! I got the job, and I start on Monday!", _LIVELY, "joy"),
    WrittenTurn(1, "Oh my god, really? I did not expect that at all!", _LIVELY, "surprise"),
    WrittenTurn(
        2, "Congratulations! I am so happy for you, let us dance all night!", _LIVELY, "joy"
    ),
    WrittenTurn(
        0, "The office is the one next to the station, above the library.", _CALM, "neutral"
    ),
    WrittenTurn(
        1, "So you are moving away. I will miss you, it makes me really sad.", _LOW, "sadness"
    ),
    WrittenTurn(2, "Does the landlord know?", _CALM, "neutral"),
    WrittenTurn(
        0, "He does, and he wants to keep my money! I am so angry, it is not fair!", _LOUD, "anger"
    ),
    WrittenTurn(1, "That man scares me. Please, do not go there alone.", _LOW, "fear"),
    WrittenTurn(2, "He left rotten fish in our kitchen. Ugh, it was disgusting.", _CALM, "disgust"),
    WrittenTurn(1, "You can stay with me until Monday.", _CALM, "neutral"),
    WrittenTurn(0, "Thank you! That is so kind.", _LIVELY, "joy"),
    WrittenTurn(2, "And then we celebrate. I love this day!", _LIVELY, "joy"),
)
PLAIN_WORDS = (
    WrittenTurn(1, "The train leaves from the second platform.", _CALM, "neutral"),
    WrittenTurn(2, "What time does it leave?", _CALM, "neutral"),
    WrittenTurn(1, "It leaves at twelve, and it takes an hour.", _CALM, "neutral"),
    WrittenTurn(2, "Your bag is still at the office.", _CALM, "neutral"),
    WrittenTurn(1, "What? You are such an idiot, I am so angry!", _ANGRY, "anger"),
    WrittenTurn(2, "I can get it tomorrow.", _CALM, "neutral"),
    WrittenTurn(1, "It is eleven o'clock, and we have to be there at twelve.", _ANGRY, "anger"),
)
"""A scene at whose end the words are neutral and the voice is not."""


def write_demo(
    path: Path,
    storage: str = "mcap",
    speech_type: str = "hri_msgs/msg/LiveSpeech",
    turns: Sequence[WrittenTurn] = DIALOGUE,
) -> Path:
    """Write a recording of the demo to the new folder `path`: DIALOGUE (50 s) or PLAIN_WORDS.

    The camera shows the first speaker while speaking, and no person otherwise.

    Raises:
        BagError: the folder exists already.
        VoiceError: the synthesizer is not installed.
    """
    sound, phrases = perform(turns, synthesiser())
    visible_phrases = [p for p, turn in zip(phrases, turns, strict=True) if turn.speaker == 0]
    recognizer = SimulatedRecognizer(type=speech_type)
    return write_conversation(
        path, sound, phrases, portrait(visible_phrases), recognizer=recognizer, storage=storage
    )


def write_demo_truth(file: Path, turns: Sequence[WrittenTurn] = DIALOGUE) -> Path:
    """Write the reference annotation of a recording of `write_demo` as CSV.

    Raises:
        VoiceError: the synthesizer is not installed.
    """
    _, phrases = perform(turns, synthesiser())
    return write_truth(file, turns, phrases)


def write_truth(file: Path, dialogue: Sequence[WrittenTurn], phrases: Sequence[Phrase]) -> Path:
    """Write the times, speakers, words and intended emotions of a synthesized dialogue as CSV."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(("start", "end", "speaker", "text", "emotion"))
    for phrase, turn in zip(phrases, dialogue, strict=True):
        times = f"{phrase.start:.3f}", f"{phrase.end:.3f}"
        writer.writerow((*times, f"voice {turn.speaker + 1}", turn.text, turn.emotion))
    write_whole(file, table.getvalue())
    return file


def perform(
    dialogue: Sequence[WrittenTurn], engine: Synthesiser, seed: int = 0
) -> tuple[NDArray[np.float32], list[Phrase]]:
    """Synthesize a dialogue as audio (n,) at 16 kHz with low noise, and return the turn times."""
    rng = np.random.default_rng(seed)
    pieces: list[NDArray[np.float32]] = [np.zeros(SAMPLE_RATE, np.float32)]
    phrases = []
    time = 1.0
    for turn in dialogue:
        clip = engine.say(turn.text, VOICES[turn.speaker], turn.delivery)
        clip = _trimmed(clip)
        phrases.append(Phrase(time, time + len(clip) / SAMPLE_RATE, turn.text))
        pause = np.zeros(int(rng.uniform(0.7, 1.1) * SAMPLE_RATE), np.float32)
        pieces += [clip, pause]
        time += (len(clip) + len(pause)) / SAMPLE_RATE
    pieces.append(np.zeros(2 * SAMPLE_RATE, np.float32))
    sound = np.concatenate(pieces) * 0.6
    noise = rng.standard_normal(len(sound)).astype(np.float32) * 1e-3  # -60 dB, a quiet room
    return np.asarray(sound + noise, np.float32), phrases


def _trimmed(sound: NDArray[np.float32]) -> NDArray[np.float32]:
    loud = np.flatnonzero(np.abs(sound) > 0.01)
    return sound[loud[0] : loud[-1] + 1]


def portrait(seen: Sequence[Phrase], picture: Path = FACE) -> Camera:
    """Return a camera that shows the face of an image, swaying slightly, during these phrases."""
    face = cv2.imread(str(picture), cv2.IMREAD_COLOR)
    if face is None:
        raise FileNotFoundError(f"{picture} is missing or not an image: reinstall erc_ros")
    scale = HEIGHT / face.shape[0]
    wall = np.full((HEIGHT, WIDTH, 3), (150, 160, 165), np.uint8)
    wall[HEIGHT * 2 // 3 :] = (90, 105, 120)

    def view(time: float) -> NDArray[np.uint8]:
        if not any(phrase.start - 0.2 <= time <= phrase.end + 0.2 for phrase in seen):
            return wall
        sway = 10.0 * np.sin(time * 1.3)
        left = (WIDTH - face.shape[1] * scale) / 2 + sway
        matrix = np.array([[scale, 0, left], [0, scale, 0]], np.float32)
        frame = cv2.warpAffine(
            face, matrix, (WIDTH, HEIGHT), dst=wall.copy(), borderMode=cv2.BORDER_TRANSPARENT
        )
        return np.asarray(frame, np.uint8)

    return view
