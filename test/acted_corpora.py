"""Small MELD, RAVDESS, EmoDB and FER+ data folders, with noise as audio and faces."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from erc_ros.values.utterance import SAMPLE_RATE

RAVDESS_CODES = {
    "neutral": "01",
    "joy": "03",
    "sadness": "04",
    "anger": "05",
    "fear": "06",
    "disgust": "07",
    "surprise": "08",
}
EMODB_CODES = {
    "neutral": "N",
    "joy": "F",
    "sadness": "T",
    "anger": "W",
    "fear": "A",
    "disgust": "E",
}
VOTES = {
    "neutral": 0,
    "joy": 1,
    "surprise": 2,
    "sadness": 3,
    "anger": 4,
    "disgust": 5,
    "fear": 6,
}
SENTIMENTS = {"neutral": "neutral", "joy": "positive", "surprise": "positive"}
ACTORS = [f"{number:02d}" for number in range(1, 9)]
SPEAKERS = ["03", "08", "09", "10"]
HELD_OUT = {"dev": ["ravdess-04", "emodb-09"], "test": ["ravdess-07", "emodb-10"]}
"""Other speakers than `new_speakers` chooses."""
HEADER = (
    "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,"
    "StartTime,EndTime"
)


def write_data(folder: Path, labels: Sequence[str] = ("neutral", "anger"), rows: int = 8) -> None:
    """Write a data folder with these labels in order; `rows` utterances of each split of MELD."""
    for split in ("train", "dev", "test"):
        lines = [HEADER]
        for number in range(rows):
            emotion = labels[number % len(labels)]
            start, end = (
                f"00:{second // 60:02d}:{second % 60:02d},000" for second in (number, number + 1)
            )
            lines.append(
                f"{number + 1},Line {number},A,{emotion},{SENTIMENTS.get(emotion, 'negative')},"
                f'{number // 4},{number % 4},1,1,"{start}","{end}"'
            )
        file = folder / "meld_annotations" / f"{split}_sent_emo.csv"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    names = [
        f"ravdess_speech_16k/Actor_{actor}/03-01-{RAVDESS_CODES[label]}-01-0{take}-01-{actor}.wav"
        for actor in ACTORS
        for label in labels
        for take in (1, 2)
    ]
    names += [
        f"emodb/wav/{speaker}a0{take}{EMODB_CODES[label]}a.wav"
        for speaker in SPEAKERS
        for label in labels
        if label in EMODB_CODES
        for take in (1, 2)
    ]
    generator = np.random.default_rng(0)
    import soundfile

    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        noise = generator.uniform(-0.5, 0.5, SAMPLE_RATE // 2)
        soundfile.write(folder / name, noise, SAMPLE_RATE, subtype="PCM_16")
    _write_faces(folder / "fer2013plus", labels)


def _write_faces(folder: Path, labels: Sequence[str]) -> None:
    (folder / "mosaic").mkdir(parents=True)
    images = np.random.default_rng(1).integers(0, 256, (60, 48, 48))
    votes = np.zeros((60, 10), np.uint8)
    votes[np.arange(60), [VOTES[labels[number % len(labels)]] for number in range(60)]] = 10
    split = np.repeat([0, 1, 2], 20).astype(np.uint8)
    np.savez(folder / "labels.npz", votes10=votes, split=split)
    tiles = np.zeros((1000, 48, 48), np.uint8)
    tiles[:60] = images
    mosaic = tiles.reshape(25, 40, 48, 48).swapaxes(1, 2).reshape(1200, 1920)
    cv2.imwrite(str(folder / "mosaic" / "fer_00.webp"), mosaic, [cv2.IMWRITE_WEBP_QUALITY, 101])
