"""Figures in README, model cards and pages equal those in the results files."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from benchmarks import figures
from benchmarks.record import MEASURED, RECORDED, RESULTS, ROOT, write_results
from erc_ros.inference.bundle import load_bundle
from erc_ros.resources import model_folder

DEVELOPMENT = re.compile(r"nobody trained on|\bunseen\b|(?<!no )held[- ]out", re.IGNORECASE)


@pytest.mark.parametrize("page", figures.pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_the_figures_of_a_page_are_those_of_the_results_files(page: Path) -> None:
    """`python -m benchmarks.figures --write` updates the page."""
    assert [each for each in figures.figures(page) if each.written != each.expected] == []


@pytest.mark.parametrize(
    ("page", "title", "first"),
    [
        ("README.md", "## Accuracy and limits", 2),
        ("USE.md", "## Accuracy and limits", 1),
        ("docs/results/accuracy.md", "# How accurate is it?", 2),
        ("erc_ros/models/edge-open/README.md", "## Test splits", 0),
        ("erc_ros/models/edge-small/README.md", "Expected calibration error, 15 bins; the", 2),
    ],
)
def test_every_number_of_an_accuracy_table_has_a_results_file(
    page: str, title: str, first: int
) -> None:
    """Of the first table after `title`, from column `first` on."""
    text = (ROOT / page).read_text(encoding="utf-8")
    table = text.split(title)[1].split("\n|", 1)[1].split("\n\n")[0]
    rows = table.splitlines()[2:]
    assert len(rows) >= 4
    assert page != "README.md" or len(rows) <= 8
    for row in rows:
        for value in row.strip("| ").split("|")[first:]:
            left = figures.FIGURE.sub("", value)
            assert figures.MARKER in value and not re.search(r"\d", left), row


def test_the_cards_and_the_page_of_the_bundle_have_figures_of_the_results_files() -> None:
    for name in ("erc_ros/models/edge-small/README.md", "docs/results/trust.md"):
        assert list(figures.figures(ROOT / name)), name


def test_measured_results_are_of_the_bundle_that_ships() -> None:
    """The message has the command to repeat the measurement."""
    assert figures.stale() == []


@pytest.mark.parametrize("file", sorted(RESULTS.glob("*.json")), ids=lambda file: file.stem)
def test_a_results_file_says_where_its_figures_come_from(file: Path) -> None:
    content = json.loads(file.read_text(encoding="utf-8"))
    assert content["status"] in (MEASURED, RECORDED) and content["conditions"]
    if content["status"] == MEASURED:
        sources = [content]
        if "bundle" in content:
            assert content["bundle"].keys() == {"name", "version", "sha256"}
    else:
        assert content["sources"].keys() == content["figures"].keys()
        sources = list(content["sources"].values())
    for source in sources:
        assert source["command"] and re.fullmatch(r"\d{4}-\d\d-\d\d", source["date"])
        assert re.fullmatch(r"[0-9a-f]{7,40}", source["commit"])


def test_development_sets_are_called_so() -> None:
    """In README, no line with such a corpus claims that it is held out or was not used."""
    pages = ("README.md", "docs/results/accuracy.md")
    text = "\n".join((ROOT / page).read_text(encoding="utf-8") for page in pages)
    lines = [line for line in text.splitlines() if re.search(r"CK\+|DailyDialog|RECCON", line)]
    assert lines
    for line in lines:
        assert "development set" in line and not DEVELOPMENT.search(line), line


def write(root: Path, page: str, **values: float) -> Path:
    results = root / "benchmarks" / "results"
    results.mkdir(parents=True, exist_ok=True)
    (results / "made.json").write_text(json.dumps({"status": "recorded", "figures": values}))
    file = root / "README.md"
    file.write_text(page, encoding="utf-8")
    return file


def test_a_figure_that_differs_is_found_and_written(tmp_path: Path) -> None:
    page = write(
        tmp_path,
        "F1 61.0<!-- figure: made.json#f1 -->, gain **+0.6**<!-- figure: made.json#gain -->,"
        " 1,500 %<!-- figure: made.json#share*100 -->",
        f1=60.96, gain=-0.41, share=12.345,
    )  # fmt: skip
    page_figures = list(figures.figures(page, tmp_path))
    assert [(each.written, each.expected) for each in page_figures] == [
        ("61.0", "61.0"),
        ("+0.6", "-0.4"),
        ("1,500", "1,234"),
    ]
    assert figures.update(page, tmp_path) and not figures.update(page, tmp_path)
    text = page.read_text(encoding="utf-8")
    assert "**-0.4**<!-- figure: made.json#gain -->" in text and "1,234 %<!--" in text


@pytest.mark.parametrize(
    "page",
    [
        "61.0<!-- figure: made.json#other -->",
        "61.0<!-- figure: other.json#f1 -->",
        "about<!-- figure: made.json#f1 -->",
    ],
)
def test_a_marker_without_a_figure_is_an_error(page: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"README\.md"):
        list(figures.figures(write(tmp_path, page, f1=1.0), tmp_path))


def test_a_results_file_names_the_bundle_and_becomes_stale_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.record.RESULTS", tmp_path / "benchmarks" / "results")
    bundle = load_bundle(model_folder("edge-open"))
    file = write_results("made", "python -m made", bundle, {"a": {"b": 1 / 3}}, "on nothing")
    content = json.loads(file.read_text(encoding="utf-8"))
    assert content["figures"] == {"a": {"b": 0.3333}} and content["status"] == MEASURED
    model = tmp_path / "erc_ros" / "models" / "edge-open"
    model.mkdir(parents=True)
    manifest = (bundle.folder / "bundle.yaml").read_text(encoding="utf-8")
    (model / "bundle.yaml").write_text(manifest, encoding="utf-8")
    assert figures.stale(tmp_path) == []
    (model / "bundle.yaml").write_text(manifest.replace("temperature: 1", "temperature: 2"))
    (line,) = figures.stale(tmp_path)
    assert "made.json" in line and "python -m made" in line
