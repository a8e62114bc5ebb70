"""Corpora of `erc make-corpus`, generated once for all tests, which do not change them."""

from __future__ import annotations

from pathlib import Path

import pytest

DIALOGUES = 8


@pytest.fixture(scope="session")
def generated_meld(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with MELD.Raw."""
    return _made("meld", tmp_path_factory)


@pytest.fixture(scope="session")
def generated_iemocap(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with IEMOCAP_full_release."""
    return _made("iemocap", tmp_path_factory)


def _made(layout: str, factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("av", reason="needs the extra [train]")
    pytest.importorskip("espeakng_loader", reason="the extra [demo] is not installed")
    from erc_ros.demo.generated_corpora import write_corpus

    return write_corpus(layout, factory.mktemp(layout), DIALOGUES).parent
