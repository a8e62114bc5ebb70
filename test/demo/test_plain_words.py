"""The demo's scene with neutral words, through `erc replay` with the default model package."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("espeakng_loader", reason="the extra [demo] is not installed")
pytest.importorskip("rosbags", reason="the extra [replay] is not installed")

from erc_ros.cli import main
from erc_ros.demo.conversation_bag import PLAIN_WORDS


def test_an_angry_voice_overrules_neutral_words(tmp_path: Path) -> None:
    bag, out = tmp_path / "bag", tmp_path / "out"
    assert main(["make-bag", str(bag), "--plain-words"]) == 0
    assert (tmp_path / "bag.truth.csv").read_text().count("\n") == len(PLAIN_WORDS) + 1
    assert main(["replay", str(bag), "--out", str(out)]) == 0
    rows = [json.loads(line) for line in (out / "estimates.jsonl").read_text().splitlines()]
    assert [row["label"] for row in rows] == [turn.emotion for turn in PLAIN_WORDS]
    last = rows[-1]
    assert last["why"]["text"]["indicates"] == last["why"]["audio"]["without"] == "neutral"
    assert last["why"]["audio"]["indicates"] == last["label"] == "anger"
    assert last["why"]["audio"]["distrust"] == "" and last["weights"]["audio"] > 0.3
