"""Ears for the tests of a dialogue: simple ones that hear tones, and the shipped networks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tones import LoudIsSpeech

from erc_ros.dialogue import assembler as listener
from erc_ros.dialogue.speakers.diarizer import Networks, load_networks

MODELS = Path(__file__).parents[2] / "models"


@pytest.fixture(scope="module")
def simple_ears() -> Iterator[None]:
    """For the listener, loud is speech; who speaks is for `tones.tone_networks`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(listener, "SpeechProbability", LoudIsSpeech)
        yield


@pytest.fixture(scope="session")
def networks() -> Networks:
    """Those that the package brings. They hold no state."""
    return load_networks(MODELS / "segmentation", MODELS / "speaker-campplus")
