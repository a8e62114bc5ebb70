"""The timeline image: valid for every recording, without overlapping text."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="the extra [replay] is not installed")

from reference_pictures import ASSETS, assert_looks_as_before

from erc_ros.replay.report import quantiles
from erc_ros.replay.rows import Row
from erc_ros.replay.timeline import _LABEL, _MARGIN, _TEXT, COLOURS, PER_PAGE, _Page, draw
from erc_ros.values.why import Why

LABELS = list(COLOURS)
NS = 1_000_000_000


def row(number: int, label: str = "joy", text: str = "Hello.", **changes: object) -> Row:
    whole = Row(
        conversation_id="c1",
        utterance_id=f"u{number}",
        speaker_id=str(number % 2),
        voice_id="",
        face_id="",
        person_id="",
        start=number * 4 * NS,
        end=(number * 4 + 3) * NS,
        text=text,
        label=label,
        confidence=0.5,
        valence=0.0,
        arousal=0.0,
        probabilities={name: 1 / 7 for name in LABELS},
        modalities={"text": True, "audio": True, "visual": False},
        weights={"text": 0.6, "audio": 0.4, "visual": 0.0},
        is_final=True,
    )
    return replace(whole, **changes)


def colours_in(file: Path) -> set[tuple[int, int, int]]:
    picture = cv2.imread(str(file))
    return {tuple(map(int, c[::-1])) for c in np.unique(picture.reshape(-1, 3), axis=0)}


def test_each_emotion_has_its_color_in_the_image(tmp_path: Path) -> None:
    draw([row(n, label) for n, label in enumerate(LABELS)], tmp_path / "t.png", 0)
    seen = colours_in(tmp_path / "t.png")
    for colour in COLOURS.values():
        assert tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5)) in seen


def test_a_recording_without_utterances_has_an_image(tmp_path: Path) -> None:
    (file,) = draw([], tmp_path / "t.png", 0)
    empty = cv2.imread(str(file))
    assert empty is not None and empty.shape[1] == 1600
    assert (empty != 255).any(axis=2).sum() > 500  # it says so
    seen = colours_in(file)
    colours = {label: tuple(bytes.fromhex(colour[1:])) for label, colour in COLOURS.items()}
    shown = {label for label, colour in colours.items() if colour in seen}
    assert shown <= {"neutral"}  # no emotion; gray is in the letters, too


def test_a_long_recording_has_several_images(tmp_path: Path) -> None:
    files = draw([row(n) for n in range(2 * PER_PAGE + 1)], tmp_path / "t.png", 0)
    assert [file.name for file in files] == ["t.png", "t-2.png", "t-3.png"]


@pytest.mark.parametrize(
    "text", ["", "$x^2$ \\frac{", "word " * 500, "W" * 5000, "你好，世界", "a\nb\tc\x00d", "🙂"]
)
def test_any_text_can_be_drawn(tmp_path: Path, text: str) -> None:
    """Texts change only the column of texts."""
    pictures = []
    for said in ("Hello.", text):
        draw([row(0, text=said)], tmp_path / "t.png", 0)
        pictures.append(cv2.imread(str(tmp_path / "t.png")))
    plain, drawn = pictures
    assert drawn.shape == plain.shape
    changed = np.flatnonzero((drawn != plain).any(axis=(0, 2))) / 160  # inches from the left
    assert len(changed) and changed.min() >= _TEXT - 0.05 and changed.max() < _LABEL


def test_odd_rows_can_be_drawn(tmp_path: Path) -> None:
    rows = [
        row(0, start=5 * NS, end=5 * NS),
        row(1, speaker_id="", label="boredom", latency=12_000_000),
        row(2, conversation_id="c2", start=10**18, end=10**18 + NS),
        row(3, is_final=False),
    ]
    draw(rows, tmp_path / "t.svg", 10 * NS)
    assert (tmp_path / "t.svg").read_text().count("<svg") == 1


def test_an_overlapped_utterance_is_marked(tmp_path: Path) -> None:
    pictures = []
    for overlap in (None, 0.19, 0.2):
        draw([row(0, text="word " * 50, overlap=overlap)], tmp_path / "t.png", 0)
        pictures.append((tmp_path / "t.png").read_bytes())
    unknown, hardly, much = pictures
    assert unknown == hardly != much


def test_the_page_looks_as_it_did(tmp_path: Path) -> None:
    rows = [
        row(n, label, weights={"text": 0.5, "audio": 0.1 * n, "visual": 0.4 - 0.05 * n})
        for n, label in enumerate(LABELS)
    ]
    rows[1] = replace(rows[1], overlap=0.5, text="many words " * 20, latency=12_000_000)
    rows[2] = replace(rows[2], text="", speaker_id="", modalities={"visual": True})
    rows[3] = replace(rows[3], end=rows[3].start + NS // 10, confidence=0.9, latency=1_000_000_000)
    surprise = {name: float(name == "surprise") for name in rows[4].probabilities}
    rows[4] = replace(
        rows[4], label="", probabilities=surprise, conversation_id="c2", speaker_id="anna"
    )
    draw(rows, tmp_path / "t.png", 0)
    assert_looks_as_before(tmp_path / "t.png", "timeline.png")


def test_lines_and_boxes_are_at_their_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those that are too faint for a comparison of images. In inches from the top left."""
    shapes: list[str] = []
    for kind in ("_line", "_box"):
        monkeypatch.setattr(
            _Page, kind, lambda page, *a, kind=kind: shapes.append(f"{kind[1:]} {shape(*a)}")
        )

    def shape(*numbers: float) -> str:
        *places, color = numbers
        return " ".join(f"{place:.3f}" for place in places) + f" {color}"

    why = {
        "text": Why("joy", 0.7, 1.0, "fear", 0.5),
        "audio": Why("sadness", 0.8, 0.04, "joy", 0.6, "disagrees"),
    }
    rows = [
        row(0, why=why, latency=5_000_000),
        row(7, "anger", start=40 * NS, end=41 * NS, confidence=0.25),
        row(8, "", speaker_id="", start=42 * NS, end=42 * NS + 1),
    ]
    for origin in (0, -100 * NS):
        draw(rows, tmp_path / "t.png", origin)
    file = ASSETS / "timeline_shapes.txt"
    if os.environ.get("ERC_WRITE_REFERENCE"):
        file.write_text("\n".join(shapes) + "\n", encoding="utf-8")
    # The boxes of the legend are placed by the width of its words, which depends on the font.
    legend = f" {_MARGIN + 0.03:.3f} 0.160 0.160 "
    expected = file.read_text(encoding="utf-8").splitlines()
    assert [s for s in shapes if legend not in s] == [s for s in expected if legend not in s]


def test_the_name_of_a_person_is_drawn(tmp_path: Path) -> None:
    pictures = []
    for name in ("", "Ana", "Ana with a name that is much too long for its column", "会議"):
        draw([row(0), row(1, person_id=name)], tmp_path / "t.png", 0)
        pictures.append(cv2.imread(str(tmp_path / "t.png")))
    for other in pictures[1:]:
        changed = np.flatnonzero((pictures[0] != other).any(axis=(0, 2))) / 160  # inches
        assert len(changed) and changed.max() < _TEXT


def test_an_unknown_estimate_is_in_the_legend(tmp_path: Path) -> None:
    for rows, count in (([row(0)], 0), ([row(0), row(1, label="")], 1)):
        draw(rows, tmp_path / "t.svg", 0)
        texts = (tmp_path / "t.svg").read_text().count("<!-- unknown -->")
        assert texts == count


def test_quantiles_are_in_milliseconds() -> None:
    values = quantiles([n * 1_000_000 for n in range(1, 101)])
    assert values == {"p50": 51.0, "p95": 96.0, "p99": 100.0, "max": 100.0}
    assert quantiles([]) == {}
