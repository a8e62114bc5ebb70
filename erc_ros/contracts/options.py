"""Plugin for pytest with one option per kind of extension, for the classes to check."""

from __future__ import annotations

import pytest

from erc_ros import plugins

# Test fixture -> kind of its class
FIXTURES = {
    "face_detector": plugins.FACE_DETECTORS,
    "voice_activity": plugins.VOICE_ACTIVITY,
    "speech_message": plugins.SPEECH_MESSAGES,
    "speech_recognizer": plugins.SPEECH_RECOGNIZERS,
    "fusion_model": plugins.FUSION_MODELS,
    "encoder": plugins.ENCODERS,
    "corpus": plugins.CORPORA,
    "metric": plugins.METRICS,
    "exporter": plugins.EXPORTERS,
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add one option per kind, such as --erc-face-detector."""
    group = parser.getgroup("erc_ros", "classes that are checked against their contract")
    for fixture, kind in FIXTURES.items():
        group.addoption(
            f"--erc-{fixture.replace('_', '-')}",
            action="append",
            default=[],
            metavar="NAME",
            help=f"a {kind.noun}: the name of an entry point, or module:Class",
        )
    group.addoption("--erc-data", default="", help="folder of the data sets, for --erc-corpus")
