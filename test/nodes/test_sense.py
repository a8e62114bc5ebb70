"""`erc sense` with a video file as microphone and camera, and the real nodes over DDS."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av", reason="the extra [media] is not installed")

from media_clips import tone, write_media
from node_bench import Bench

from erc_ros.cli import main
from erc_ros.demo.conversation_bag import DIALOGUE, perform, portrait
from erc_ros.demo.voices import synthesiser
from erc_ros.resources import model_folder

TEXT = DIALOGUE[0].text
QUIET = 4.0  # s before the speech, in which DDS connects
RECOGNIZER = f"""
class Words:
    def __init__(self, model, language):
        pass
    def transcribe(self, samples):
        from erc_ros.media.transcripts import Cue
        return [Cue(0, len(samples) * 1_000_000_000 // 16_000, {TEXT!r})]
"""


@pytest.fixture
def bench() -> Iterator[Bench]:
    parameters = {"expect_text": "auto"}
    bench = Bench(model_folder("edge-small"), parameters=parameters)
    yield bench
    bench.close()


@pytest.mark.dds
def test_the_nodes_estimate_what_a_laptop_sends(bench: Bench, tmp_path: Path) -> None:
    audio, phrases = perform(DIALOGUE[:1], synthesiser())
    audio = np.concatenate([np.zeros(round(QUIET * 16_000), np.float32), audio])
    face = portrait(phrases)(phrases[0].start + 0.5)
    images = [(n / 10, face) for n in range(len(audio) // 1600)]
    film = write_media(tmp_path / "talk.mp4", [audio], rate=16_000, images=images)
    (tmp_path / "own_words.py").write_text(RECOGNIZER)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    devices = ["--microphone", str(film), "--camera", str(film)]
    command = [sys.executable, "-m", "erc_ros.cli", "sense", *devices]
    sense = subprocess.Popen(
        [*command, "--recognizer", "own_words:Words"],
        env={**os.environ, "PYTHONPATH": path},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        estimate = bench.wait(
            lambda: next((e for e in bench.estimates if e.is_final and e.text), None),
            "an estimate of the film",
            60.0,
        )
        _, error = sense.communicate(timeout=60)
    finally:
        sense.kill()
    assert sense.returncode == 0, error
    assert "Traceback" not in error
    assert estimate.text == TEXT
    assert list(estimate.modalities) == [True, True, True]
    length = estimate.end.sec - estimate.start.sec
    assert length == pytest.approx(phrases[0].end - phrases[0].start, abs=1.5)


def test_a_missing_camera_is_reported_and_the_microphone_is_published(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write_media(tmp_path / "tone.wav", [tone(0.5)])
    assert main(["sense", "--microphone", str(path), "--camera", "/dev/video987"]) == 0
    assert "the microphone continues" in capfd.readouterr().err
    assert main(["sense", "--microphone", "none", "--camera", "/dev/video987"]) == 1
    assert main(["sense", "--microphone", "none", "--camera", "none"]) == 1
