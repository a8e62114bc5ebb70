"""The Python interface: one call for a recording, one for an utterance."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from media_clips import write_media
from numpy.typing import NDArray

import erc_ros
from erc_ros.demo.conversation_bag import DIALOGUE, FACE, perform
from erc_ros.demo.voices import synthesiser
from erc_ros.media.transcripts import Cue
from erc_ros.values.nanoseconds import NS

TURNS = DIALOGUE[:2]


def test_a_recording_becomes_segments_tables_and_annotations(tmp_path: Path) -> None:
    audio, phrases = perform(TURNS, synthesiser())
    path = write_media(tmp_path / "talk.wav", [audio], rate=16_000)
    lines = [
        f'{p.start},{p.end},voice {t.speaker},"{p.text}"'
        for p, t in zip(phrases, TURNS, strict=True)
    ]
    (tmp_path / "words.csv").write_text("start,end,speaker,text\n" + "\n".join(lines))
    result = erc_ros.analyze(path, tmp_path / "words.csv", min_confidence=0.2)
    assert [segment.speaker for segment in result] == [f"voice {t.speaker}" for t in TURNS]
    assert result[0].start == pytest.approx(phrases[0].start, abs=0.35)
    assert result.bundle.name == "edge-small"
    table = result.to_pandas()
    assert list(table["emotion"]) == [segment.emotion for segment in result]
    assert table[[c for c in table if c.startswith("p_")]].sum(axis=1).tolist() == pytest.approx(
        [1.0] * len(result), abs=1e-3
    )
    written = json.loads(json.dumps(result.to_dict()))
    assert written["bundle"]["name"] == "edge-small"
    assert [each["speaker"] for each in written["segments"]] == list(table["speaker"])
    emotions = result.to_annotation()
    assert set(emotions.labels()) == {segment.emotion for segment in result}
    speakers = result.to_annotation("speaker")
    assert set(speakers.labels()) == {f"voice {t.speaker}" for t in TURNS}
    with pytest.raises(ValueError):
        result.to_annotation("text")


class Words:
    """A speech recognizer that returns the same text for every segment."""

    def __init__(self, model: str, language: str) -> None:
        self._text = f"{model} {language}"

    def transcribe(self, samples: NDArray[np.int16]) -> list[Cue]:
        return [Cue(0, len(samples) * NS // 16_000, self._text)]


def test_a_recognizer_takes_the_place_of_the_transcript(tmp_path: Path) -> None:
    audio, _ = perform(TURNS[:1], synthesiser())
    path = write_media(tmp_path / "talk.wav", [audio], rate=16_000)
    name = f"{__name__}:Words:Thank you"
    (segment, *_) = erc_ros.analyze(path, recognizer=name, language="en")
    assert segment.text == "Thank you en"
    with pytest.raises(ValueError):
        erc_ros.analyze(path, tmp_path / "words.csv", recognizer=name)


def test_text_alone_and_face_alone_are_estimated() -> None:
    joy = erc_ros.estimate(text="I got the job, I am so happy!")
    assert joy.label == "joy"
    assert joy.modalities == (True, False, False)
    seen = erc_ros.estimate(face=np.asarray(cv2.imread(str(FACE)), np.uint8))
    assert seen.modalities == (False, False, True)


def test_one_utterance_does_not_change_the_next_one() -> None:
    first = erc_ros.estimate(text="I see.")
    erc_ros.estimate(text="I hate you, go away!")
    assert erc_ros.estimate(text="I see.").probabilities.tolist() == first.probabilities.tolist()


def test_audio_arrays_of_every_usual_type_are_the_same_audio() -> None:
    samples = synthesiser().say("I got the job, I am so happy!", _voice())
    estimates = [
        erc_ros.estimate(audio=samples),
        erc_ros.estimate(audio=samples.astype(np.float64)),
        erc_ros.estimate(audio=np.stack([samples, samples], axis=1)),
        erc_ros.estimate(audio=np.rint(samples * 32768).astype(np.int16)),
    ]
    for each in estimates[1:]:
        assert each.probabilities == pytest.approx(estimates[0].probabilities, abs=1e-3)


def _voice() -> object:
    from erc_ros.demo.conversation_bag import VOICES

    return VOICES[0]


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"text": "   "},
        {"audio": np.zeros(16_000, np.int32)},
        {"audio": np.full(16_000, 2.0)},
        {"audio": np.full(16_000, np.nan)},
        {"audio": np.zeros((4, 4, 4), np.int16)},
        {"audio": np.zeros(61 * 16_000, np.int16)},
        {"audio": np.zeros(16_000, np.int16), "rate": 10},
        {"audio": "talk.wav"},
        {"face": "face.jpg"},
        {"face": np.zeros((48, 48), np.uint8)},
        {"face": np.zeros((48, 48, 3), np.float32)},
        {"face": np.zeros((0, 48, 3), np.uint8)},
    ],
)
def test_unusable_input_is_refused(arguments: dict[str, NDArray[np.generic]]) -> None:
    with pytest.raises(ValueError):
        erc_ros.estimate(**arguments)  # type: ignore[arg-type]
