from __future__ import annotations

import html
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pympi")
pytest.importorskip("av")
pytest.importorskip("rosbags")

from pympi import Eaf

from erc_ros.annotations import read
from erc_ros.cli import main


@pytest.fixture
def annotate(bag: Path, bundle: Path, tmp_path: Path) -> Callable[..., tuple[int, Path]]:
    """Call `erc annotate` on the bag: the exit status and the folder."""

    def call(*arguments: str, out: Path = tmp_path / "out") -> tuple[int, Path]:
        usual = ["--bundle", str(bundle), "--speaker-model", "none", "--out", str(out)]
        return main(["annotate", str(bag), *usual, *arguments]), out

    return call


Annotate = Callable[..., tuple[int, Path]]
Evaluate = Callable[..., tuple[int, Any]]
Capture = pytest.CaptureFixture[str]


def tiers_of(file: Path) -> dict[str, list[Any]]:
    document = Eaf(str(file))
    return {t: document.get_annotation_data_for_tier(t) for t in document.get_tier_names()}


def values_of(file: Path, kind: str) -> list[str]:
    tiers = tiers_of(file).items()
    return sorted(mark[2] for name, marks in tiers if name.startswith(f"{kind}@") for mark in marks)


def test_a_recording_becomes_an_eaf_with_sound_and_film(annotate: Annotate) -> None:
    status, out = annotate()
    assert status == 0
    assert sorted(file.name for file in out.iterdir()) == ["talk.eaf", "talk.mp4", "talk.wav"]
    tiers = tiers_of(out / "talk.eaf")
    assert {name.partition("@")[0] for name in tiers} == {"text", "emotion", "confidence"}
    said = [
        value for name, marks in tiers.items() if name.startswith("text@") for *_, value in marks
    ]
    assert sorted(said) == ["I am so happy!", "She said yes.", "Why, what happened?"]
    linked = [each["RELATIVE_MEDIA_URL"] for each in Eaf(str(out / "talk.eaf")).get_linked_files()]
    assert linked == ["./talk.wav", "./talk.mp4"]


def test_what_was_corrected_is_never_overwritten(
    annotate: Annotate,
) -> None:
    _, out = annotate("--no-media")
    (out / "talk.eaf").write_text("corrected")
    status, _ = annotate("--no-media")
    assert status == 1
    assert (out / "talk.eaf").read_text() == "corrected"
    status, _ = annotate("--no-media", "--overwrite")
    assert status == 0 and tiers_of(out / "talk.eaf")


def test_a_correction_in_elan_is_the_truth_of_an_evaluation(
    annotate: Annotate, bag: Path, bundle: Path, tmp_path: Path
) -> None:
    import json

    _, out = annotate("--no-media")
    file = out / "talk.eaf"
    document = Eaf(str(file))
    document.rename_tier("text@unknown speaker", "text@Anna")
    for name, (_, references, attributes, _) in document.tiers.items():
        attributes["PARTICIPANT"] = "Anna"
        if name.startswith("emotion@"):
            for mark, (owner, _, previous, drawing) in references.items():
                references[mark] = owner, "joy", previous, drawing
    document.to_file(str(file))
    arguments = ["--bundle", str(bundle), "--speaker-model", "none", "--out", str(tmp_path / "e")]
    assert main(["evaluate-bag", str(bag), "--truth", str(file), *arguments]) == 0
    scores = json.loads((tmp_path / "e" / "scores.json").read_text())
    figures = scores["systems"][0]["figures"]
    assert figures["cpwer"]["value"] == 0 and figures["missed"]["value"] == 0
    assert "joy" in (tmp_path / "e" / "report.html").read_text(encoding="utf-8")
    assert "Anna" in (tmp_path / "e" / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", ["eaf", "textgrid", "csv"])
def test_a_draft_that_was_not_edited_is_reported(
    annotate: Annotate, evaluate: Evaluate, bag: Path, tmp_path: Path, kind: str, capsys: Capture
) -> None:
    _, out = annotate("--no-media", "--format", kind)
    (file,) = out.iterdir()
    status, scores = evaluate(bag, "--truth", file, "--export", out=tmp_path / "e")
    assert status == 0 and scores["systems"][0]["figures"]["accuracy"]["value"] in (1.0, None)
    (notice,) = [text for text in scores["recordings"][0]["notices"] if "all 3" in text]
    assert notice in capsys.readouterr().err
    page = html.unescape((tmp_path / "e" / "report.html").read_text(encoding="utf-8"))
    assert page.index(notice) < page.index(">Scores<")


def test_emotions_can_be_left_to_be_filled_in(annotate: Annotate) -> None:
    _, out = annotate("--no-media", "--no-emotions")
    tiers = tiers_of(out / "talk.eaf")
    assert {name.partition("@")[0] for name in tiers} == {"text", "emotion"}
    felt = [
        mark[2] for name, marks in tiers.items() if name.startswith("emotion@") for mark in marks
    ]
    assert felt == ["", "", ""]
    assert not [m for m in read(out / "talk.eaf") if m.kind == "emotion" and m.value]


def test_words_can_be_left_out(annotate: Annotate) -> None:
    _, out = annotate("--no-media", "--no-text")
    assert b"happy" not in (out / "talk.eaf").read_bytes()


def test_the_same_recording_gives_the_same_annotation(annotate: Annotate, tmp_path: Path) -> None:
    annotations = []
    for name in "ab":
        annotate(out=tmp_path / name)
        annotations.append([file.read_bytes() for file in sorted((tmp_path / name).iterdir())])
    assert annotations[0] == annotations[1]


def test_what_is_no_recording_is_explained(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = main(["annotate", str(tmp_path / "none"), "--bundle", str(bundle)])
    assert status == 1
    assert "does not exist" in capsys.readouterr().err


def test_a_template_has_empty_tiers_and_the_labels_of_the_model(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "emotions.etf"
    line = ["annotate", "--template", str(file), "--bundle", str(bundle), "--speakers", "Anna"]
    assert main(line) == 0
    document = Eaf(str(file))
    wanted = {f"{kind}@Anna" for kind in ("text", "emotion", "valence", "arousal")}
    assert set(document.get_tier_names()) == wanted
    assert not any(document.get_annotation_data_for_tier(tier) for tier in wanted)
    assert document.tiers["emotion@Anna"][2]["PARENT_REF"] == "text@Anna"
    vocabulary = document.controlled_vocabularies["emotion"]
    assert "joy" in {values[0][0] for values, _ in vocabulary[1].values()}
    assert main([*line, "Anna"]) == 1  # twice
    assert main(["annotate", "--bundle", str(bundle)]) == 1
