"""A text of another language over DDS is excluded, counted and reported in /diagnostics."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from bundles import write_tiny_bundle_3
from node_bench import Bench

from erc_ros.nodes.diagnostics import WARN


@pytest.mark.parametrize("split", [False, True])
def test_a_text_with_another_locale_is_excluded_and_counted(
    make_bench: Callable[..., Bench], tmp_path: Path, split: bool
) -> None:
    hri = pytest.importorskip("hri_msgs.msg", reason="hri_msgs is not installed")
    write_tiny_bundle_3(tmp_path)
    manifest = yaml.safe_load((tmp_path / "bundle.yaml").read_text())
    (tmp_path / "bundle.yaml").write_text(yaml.safe_dump(manifest | {"languages": ["en"]}))
    bench = make_bench(split=split, parameters={"bundle": str(tmp_path)})
    speech = bench.talker(hri.LiveSpeech, "speech")
    for number, (text, locale, reason) in enumerate(
        [
            ("Alles ist gut.", "de_DE", "locale"),
            ("Ich weiß nicht, was ich machen soll.", "", "language"),
            ("All is well.", "en_US", ""),
        ],
        1,
    ):
        speech.publish(hri.LiveSpeech(final=text, locale=locale))
        bench.wait(lambda n=number: len(bench.estimates) == n, "an estimate")
        estimate = bench.estimates[-1]
        assert estimate.text_excluded == reason and estimate.modalities[0] == (not reason)
        assert estimate.text == text
    status = "emotion_node: recognizer"
    bench.wait(lambda: bench.value(status, "texts_excluded") == "2", "both are counted")
    assert bench.value(status, "texts_excluded_locale") == "1"
    assert bench.value(status, "texts_excluded_language") == "1"


def test_an_excluded_text_is_a_warning_that_names_what_the_bundle_reads(
    make_bench: Callable[..., Bench], tmp_path: Path
) -> None:
    write_tiny_bundle_3(tmp_path)
    manifest = yaml.safe_load((tmp_path / "bundle.yaml").read_text())
    (tmp_path / "bundle.yaml").write_text(yaml.safe_dump(manifest | {"languages": ["en"]}))
    bench = make_bench(parameters={"bundle": str(tmp_path)})
    bench.say("我今天很难过")
    status = bench.wait_for_diagnosis("emotion_node: recognizer", "script 1")
    assert status.level == WARN and " en:" in status.message
