"""A tiny bundle, and a small recording with texts, audio and a camera."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bundles import write_tiny_bundle

pytest.importorskip("rosbags", reason="the extra [replay] is not installed")

from erc_ros.demo.conversation_bag import Phrase, portrait, write_conversation
from erc_ros.parameters import RobotConfig

PHRASES = [
    Phrase(0.5, 1.5, "I am so happy!"),
    Phrase(2.0, 3.0, "Why, what happened?"),
    Phrase(3.5, 4.5, 'She said "yes", ünïcödé, 好.'),
]


@pytest.fixture(scope="session")
def robot(tmp_path_factory: pytest.TempPathFactory) -> RobotConfig:
    """Random weights, without speaker diarization."""
    bundle = write_tiny_bundle(tmp_path_factory.mktemp("models") / "tiny")
    return RobotConfig().changed(bundle=str(bundle), speaker_model="none", min_confidence=0.0)


@pytest.fixture(scope="session")
def noise() -> np.ndarray:
    """6 s of a quiet room."""
    return np.random.default_rng(0).standard_normal(6 * 16000).astype(np.float32) * 1e-3


@pytest.fixture(scope="session", params=["mcap", "sqlite3"])
def recording(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, noise: np.ndarray
) -> Path:
    """6 s without speech, with a face and three texts, in both storage formats."""
    folder = tmp_path_factory.mktemp("recording") / "bag"
    camera = portrait(PHRASES[:1])
    return write_conversation(
        folder, noise, PHRASES, camera, frames_per_second=5, storage=request.param
    )
