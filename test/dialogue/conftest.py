"""Fixture of the shipped networks."""

from __future__ import annotations

from pathlib import Path

import pytest

from erc_ros.dialogue.speakers.networks import DiarizationNetworks, load_networks

MODELS = Path(__file__).parents[2] / "erc_ros" / "models"


@pytest.fixture(scope="session")
def networks() -> DiarizationNetworks:
    """The networks of the package, which have no state."""
    return load_networks(MODELS / "segmentation", MODELS / "speaker-campplus")
