"""A tiny bundle, a short recording of texts and sound, and a way to call the command."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import write_tiny_bundle

from erc_ros.cli import main
from erc_ros.demo.conversation_bag import Phrase, portrait, write_conversation

PHRASES = [
    Phrase(0.5, 1.5, "I am so happy!"),
    Phrase(2.0, 3.0, "Why, what happened?"),
    Phrase(3.5, 4.5, "She said yes."),
]


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights."""
    return write_tiny_bundle(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """6 s: nobody is heard, somebody is seen, three texts come."""
    noise = np.random.default_rng(0).standard_normal(6 * 16000).astype(np.float32) * 1e-3
    folder = tmp_path_factory.mktemp("recording") / "talk"
    return write_conversation(folder, noise, PHRASES, portrait(PHRASES[:1]), frames_per_second=5)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Predictions are cached here and shared by the tests, never in the user's own folder."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder / "erc_ros"


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    """What happened in it."""
    lines = ["start,end,speaker,text,emotion"]
    for phrase, emotion in zip(PHRASES, ("joy", "surprise", "neutral"), strict=True):
        lines.append(f'{phrase.start},{phrase.end},Anna,"{phrase.text}",{emotion}')
    path = tmp_path / "truth.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


Evaluate = Callable[..., tuple[int, Any]]


@pytest.fixture
def evaluate(bundle: Path, tmp_path: Path) -> Evaluate:
    """Call `erc evaluate-bag`: its exit status, and scores.json of the folder `out`."""

    def call(*arguments: Any, out: Path = tmp_path / "out") -> tuple[int, Any]:
        usual = ["--bundle", bundle, "--speaker-model", "none", "--out", out]
        if "--bundle" in arguments or "--params-file" in arguments:
            usual = usual[2:]
        status = main(["evaluate-bag", *map(str, arguments), *map(str, usual)])
        scores = out / "scores.json"
        return status, json.loads(scores.read_text()) if scores.is_file() else None

    return call
