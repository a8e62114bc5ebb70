"""Explanations in `erc replay`: rows, summary, image and console."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from bundles import write_tiny_bundle, write_tiny_bundle_3

pytest.importorskip("rosbags", reason="the extra [replay] is not installed")
pytest.importorskip("matplotlib", reason="the extra [replay] is not installed")


from erc_ros.cli import main
from erc_ros.demo.conversation_bag import Phrase, portrait, write_conversation
from erc_ros.inference.manifest import MANIFEST
from erc_ros.replay.rows import Row
from erc_ros.replay.timeline import COLOURS, draw
from erc_ros.values.nanoseconds import NS
from erc_ros.values.why import Why

PHRASES = [Phrase(0.5, 1.5, "I am so happy!"), Phrase(2.0, 3.0, "What happened?")]
SECTION = {
    "prior": [0.4, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1],
    "initial": {"audio": 0.15, "visual": 0.25},
    "mismatch": {"audio": 0.4, "visual": 0.6},
    "unexpressed": 0.15,
    "change_rate": 0.002,
}


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts and a face, no voice."""
    noise = np.random.default_rng(0).standard_normal(4 * 16000).astype(np.float32) * 1e-3
    folder = tmp_path_factory.mktemp("recording") / "talk"
    return write_conversation(folder, noise, PHRASES, portrait(PHRASES[:1]), frames_per_second=5)


def replayed(bag: Path, bundle: Path, out: Path) -> list[dict[str, object]]:
    arguments = ["--bundle", str(bundle), "--speaker-model", "none", "--out", str(out)]
    assert main(["replay", str(bag), *arguments]) == 0
    return [json.loads(line) for line in (out / "estimates.jsonl").read_text().splitlines()]


def test_a_replay_shows_why(bag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = write_tiny_bundle_3(tmp_path / "tiny")
    manifest = yaml.safe_load((bundle / MANIFEST).read_text())
    (bundle / MANIFEST).write_text(yaml.safe_dump({**manifest, "reliability": SECTION}))
    rows = replayed(bag, bundle, tmp_path / "out")
    with_face = [each["why"] for each in rows if each["modalities"]["visual"]]
    assert with_face
    for why in with_face:
        assert set(why) == {"text", "visual"}
        assert why["visual"]["reliability"] == 0.25 and why["visual"]["indicates"]
        assert why["visual"]["without"] and why["text"]["without"]
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())["why"]
    assert set(summary) == {"text", "visual"}
    assert summary["visual"]["mean_reliability"] == 0.25 and summary["visual"]["not_trusted"] == {}
    changed = sum(
        why["visual"]["without"] != each["most_probable"]
        for each in rows
        if (why := each["why"]).get("visual")
    )
    assert summary["visual"]["changed_the_label"] == changed
    printed = capsys.readouterr().out
    assert "words:" in printed and "face:" in printed and "0.25" in printed
    with (tmp_path / "out" / "estimates.csv").open() as stream:
        columns = next(csv.reader(stream))
    assert {"indicates_visual", "reliability_visual", "without_text", "distrust_visual"} <= set(
        columns
    )


def test_a_bundle_without_reliability_has_the_result_without_each(
    bag: Path, tmp_path: Path
) -> None:
    rows = replayed(bag, write_tiny_bundle(tmp_path / "tiny"), tmp_path / "out")
    (why,) = (each["why"] for each in rows if each["modalities"]["visual"])
    assert set(why) == {"text", "visual"}
    for each in why.values():
        assert each["reliability"] is None and each["indicates"] == "" and each["without"]
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())["why"]
    assert summary["text"]["mean_reliability"] is None


def row(why: dict[str, Why]) -> Row:
    return Row(
        conversation_id="c",
        utterance_id="u",
        speaker_id="0",
        voice_id="",
        face_id="",
        person_id="",
        start=0,
        end=NS,
        text="Hello.",
        label="joy",
        confidence=0.5,
        valence=0.0,
        arousal=0.0,
        probabilities={"joy": 0.5, "anger": 0.3, "fear": 0.2},
        modalities={"text": True, "audio": True, "visual": False},
        weights={"text": 0.6, "audio": 0.4, "visual": 0.0},
        is_final=True,
        why=why,
    )


def test_the_image_shows_what_each_modality_indicates_and_which_decided(tmp_path: Path) -> None:
    words = Why("joy", 0.5, 1.0, "fear", 0.4)
    voice = Why("anger", 0.8, 0.02, "joy", 0.5, "disagrees")
    draw([row({})], tmp_path / "plain.png", 0)
    draw([row({"text": words, "audio": voice})], tmp_path / "why.png", 0)
    before, after = (cv2.imread(str(tmp_path / name)) for name in ("plain.png", "why.png"))
    table = after[after.shape[0] // 2 :]  # below the legend
    anger = np.array(tuple(bytes.fromhex(COLOURS["anger"][1:])))[::-1]
    assert (table == anger).all(axis=2).any()  # what the voice indicates
    assert after.shape[1] > before.shape[1]
    assert (table[:, before.shape[1] :] < 128).any()  # what decided, in one more column
