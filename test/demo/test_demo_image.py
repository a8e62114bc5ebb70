"""The image at the top of the README shows what the shipped model package estimates."""

from __future__ import annotations

import json
import re
from hashlib import sha256
from pathlib import Path

import pytest

from benchmarks.demo import IMAGE, replayed
from benchmarks.record import RESULTS, ROOT

CLEAR = 0.1  # distance of the two highest probabilities that no processor changes
FIGURES = json.loads((RESULTS / "demo.json").read_text())["figures"]


def test_the_image_is_the_one_whose_labels_are_recorded() -> None:
    assert sha256(IMAGE.read_bytes()).hexdigest() == FIGURES["image_sha256"]


def test_the_caption_names_the_errors_of_the_image() -> None:
    caption = re.search(
        r"\n\*The demo[^*]*; (?:all labels are as meant|utterances? (\d+(?:(?:, | and )\d+)*)"
        r" (?:is|are) wrong \(meant: ([\w, ]+)\))",
        (ROOT / "README.md").read_text(),
    )
    assert caption is not None
    numbers, meant = re.findall(r"\d+", caption[1] or ""), (caption[2] or "").split(", ")
    stated = dict(zip(numbers, meant, strict=True)) if numbers else {}
    assert stated == {
        number: each["intended"]
        for number, each in FIGURES["utterances"].items()
        if each["label"] != each["intended"]
    }


def test_the_model_package_still_gives_the_labels_of_the_image(tmp_path: Path) -> None:
    """Otherwise run `python -m benchmarks.demo` and correct the caption."""
    pytest.importorskip("espeakng_loader", reason="the extra [demo] is not installed")
    pytest.importorskip("rosbags", reason="the extra [replay] is not installed")
    labels = {str(number): row["label"] for number, row in enumerate(replayed(tmp_path), 1)}
    clear = {
        number: each["label"]
        for number, each in FIGURES["utterances"].items()
        if each["confidence"] - each["second"] > CLEAR
    }
    assert len(clear) > 8
    assert {number: labels[number] for number in clear} == clear
