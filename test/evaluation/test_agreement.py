"""Agreement of annotators: equal to reference implementations, and through `erc agreement`."""

from __future__ import annotations

import csv
import html
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from erc_ros.annotations.agreement import (
    agreement,
    cohen_kappa,
    fleiss_kappa,
    krippendorff_alpha,
    observed_agreement,
    segment_units,
    soft_figures,
    time_units,
)
from erc_ros.annotations.records import Segment
from erc_ros.cli import main
from erc_ros.values.nanoseconds import NS

Evaluate = Callable[..., tuple[int, Any]]
# A published example of Fleiss' kappa (0.210): 10 units, 14 raters, 5 categories.
FLEISS = """
0 0 0 0 14
0 2 6 4 2
0 0 3 5 6
0 3 9 2 0
2 2 8 1 1
7 7 0 0 0
3 2 6 3 0
2 5 3 2 2
6 5 2 1 0
0 2 2 3 7
"""
# K. Krippendorff, Computing Krippendorff's Alpha-Reliability, section D: 4 observers, 12 units,
# missing data; nominal alpha 0.743.
KRIPPENDORFF = """
1 2 3 3 2 1 4 1 2 0 0 0
1 2 3 3 2 2 4 1 2 5 0 3
0 3 3 3 2 3 4 2 2 5 1 0
1 2 3 3 2 4 4 1 2 5 1 0
"""


def numbers(table: str) -> np.ndarray:
    return np.array([[int(n) for n in row.split()] for row in table.split("\n") if row])


def test_fleiss_kappa_is_that_of_the_published_example() -> None:
    rows = [np.repeat(np.arange(5), counts) for counts in numbers(FLEISS)]
    assert fleiss_kappa(np.array(rows), 5) == pytest.approx(0.210, abs=5e-4)


def test_alpha_is_that_of_the_published_example() -> None:
    data = numbers(KRIPPENDORFF).T - 1
    assert krippendorff_alpha(data, 5) == pytest.approx(0.743, abs=5e-4)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=40))
def test_cohen_s_kappa_is_scikit_learn_s(pairs: list[tuple[int, int]]) -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="the extra [train] is not installed")
    first, second = np.array(pairs).T
    ours = cohen_kappa(first, second)
    if len({*first, *second}) == 1:
        assert ours is None
    else:
        assert ours == pytest.approx(metrics.cohen_kappa_score(first, second))


def test_observed_agreement_counts_pairs_of_labels() -> None:
    data = np.array([[0, 0, 0], [0, 1, -1], [1, 1, 0]])
    assert observed_agreement(data, 2) == pytest.approx((6 + 0 + 2) / (6 + 2 + 6))


def test_perfect_agreement_is_1_and_agreement_by_chance_is_about_0() -> None:
    random = np.random.default_rng(0)
    labels = random.choice(["joy", "anger", "neutral"], (400, 3))
    chance = agreement(labels.tolist(), ["a", "b", "c"])
    assert chance.alpha.value == pytest.approx(0, abs=0.1)
    assert chance.alpha.low is not None and chance.alpha.high is not None
    assert chance.alpha.low < chance.alpha.value < chance.alpha.high
    perfect = agreement([[each[0]] * 3 for each in labels.tolist()], ["a", "b", "c"])
    assert [perfect.alpha.value, perfect.fleiss.value] == [1, 1]
    assert {figure.value for figure in perfect.cohen.values()} == {1}
    assert set(perfect.per_label) == {"joy", "anger", "neutral"}


def test_few_units_have_no_interval_and_one_label_has_no_kappa() -> None:
    few = agreement([["joy", "joy"], ["joy", "anger"], ["anger", "anger"]], ["a", "b"])
    assert few.alpha.value is not None and few.alpha.low is None and few.alpha.n == 3
    same = agreement([["joy", "joy"]] * 20, ["a", "b"])
    assert (same.alpha.value, same.cohen["a", "b"].value, same.observed.value) == (None, None, 1)


def test_one_annotator_is_refused() -> None:
    with pytest.raises(ValueError):
        agreement([["joy"]], ["a"])


def segment(start: float, end: float, emotion: str, speaker: str = "") -> Segment:
    return Segment(round(start * NS), round(end * NS), speaker, emotion=emotion)


def test_segments_that_mostly_overlap_are_one_unit() -> None:
    annotators = {
        "a": [segment(0, 2, "joy"), segment(3, 4, "anger")],
        "b": [segment(0.3, 2.1, "neutral"), segment(3.8, 6, "anger")],
    }
    units = segment_units(annotators)
    assert [unit.labels for unit in units] == [("joy", "neutral"), ("anger", ""), ("", "anger")]


def test_people_who_speak_at_once_are_not_mixed_where_all_annotators_name_them() -> None:
    annotators = {
        "a": [segment(0, 2, "joy", "Anna"), segment(0, 2, "anger", "Ben")],
        "b": [segment(0, 2, "anger", "Ben"), segment(0, 2, "joy", "Anna")],
    }
    assert {unit.labels for unit in segment_units(annotators)} == {
        ("joy", "joy"),
        ("anger", "anger"),
    }
    assert set(time_units(annotators)) == {("joy", "joy"), ("anger", "anger")}


def test_time_counts_where_two_annotators_have_a_label() -> None:
    annotators = {"a": [segment(0, 1, "joy")], "b": [segment(0.5, 2, "anger")]}
    assert time_units(annotators) == [("joy", "anger")] * 5


def write(path: Path, rows: list[tuple[float, float, str]]) -> Path:
    lines = [f"{start},{end},Anna,{emotion}" for start, end, emotion in rows]
    path.write_text("\n".join(["start,end,speaker,emotion", *lines]) + "\n")
    return path


ROWS = [(n * 2.0, n * 2.0 + 1.5, ("joy", "anger", "neutral")[n % 3]) for n in range(12)]


def test_the_command_compares_files_and_writes_what_is_to_be_decided(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = write(tmp_path / "first.csv", ROWS)
    second = write(tmp_path / "second.csv", [*ROWS[:-1], (*ROWS[-1][:2], "surprise")])
    out, decide = tmp_path / "agreement.json", tmp_path / "decide.csv"
    line = ["agreement", f"RA1={first}", f"RA2={second}", "--out", str(out)]
    assert main([*line, "--adjudicate", str(decide)]) == 0
    figures = json.loads(out.read_text())
    assert figures["by_segment"]["observed"]["value"] == pytest.approx(11 / 12)
    assert figures["by_segment"]["units"] == 12 and figures["by_time"]["units"] == 180
    assert "RA1 and RA2" in figures["by_segment"]["cohen"]
    (row,) = csv.DictReader(decide.open())
    assert (row["emotion"], row["RA1"], row["RA2"]) == ("", "neutral", "surprise")
    assert (row["start"], row["end"]) == ("22.000", "23.500")
    assert "11 segments" not in capsys.readouterr().out


def test_labels_of_another_language_are_reported_with_their_mapping(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    german = {"joy": "Freude", "anger": "Wut", "neutral": "neutral"}
    people = {"A": ROWS, "B": ROWS, "C": [(*row[:2], german[row[2]]) for row in ROWS]}
    line = [f"{name}={write(tmp_path / f'{name}.csv', rows)}" for name, rows in people.items()]
    assert main(["agreement", *line]) == 0
    suggested = dict(re.findall(r"`(\w+): (\w+)`", capsys.readouterr().err))
    assert suggested == {"freude": "joy", "wut": "anger"}
    labels, out = tmp_path / "labels.yaml", tmp_path / "out.json"
    labels.write_text("".join(f"{own}: {meant}\n" for own, meant in suggested.items()))
    assert main(["agreement", *line, "--labels", str(labels), "--out", str(out)]) == 0
    assert capsys.readouterr().err == ""
    assert json.loads(out.read_text())["by_segment"]["alpha"]["value"] == 1


def test_folders_have_a_file_for_each_recording(tmp_path: Path) -> None:
    for name in ("RA1", "RA2", "RA3"):
        (tmp_path / name).mkdir()
        for recording in ("p01", "p02"):
            write(tmp_path / name / f"{recording}.csv", ROWS)
    write(tmp_path / "RA3" / "p03.csv", ROWS)  # which nobody else annotated
    out = tmp_path / "agreement.json"
    people = [f"{name}={tmp_path / name}" for name in ("RA1", "RA2", "RA3")]
    assert main(["agreement", *people, "--out", str(out)]) == 0
    figures = json.loads(out.read_text())
    assert figures["recordings"] == ["p01", "p02"]
    assert figures["by_segment"]["fleiss"]["value"] == 1 and figures["by_segment"]["units"] == 24


def annotation(path: Path, emotions: tuple[str, ...], shift: float = 0.0) -> Path:
    """Of the three phrases of the recording `bag`."""
    begins = [0.5 + shift, 2.0 + shift, 3.5 + shift]
    return write(path, [(b, b + 1, each) for b, each in zip(begins, emotions, strict=True)])


def test_the_reference_of_an_evaluation_is_the_majority_of_the_annotators(
    bag: Path, evaluate: Evaluate, tmp_path: Path
) -> None:
    files = {
        "RA1": annotation(tmp_path / "1.csv", ("joy", "anger", "joy")),
        "RA2": annotation(tmp_path / "2.csv", ("joy", "anger", "anger")),
        "RA3": annotation(tmp_path / "3.csv", ("joy", "fear", "surprise"), shift=20.0),
    }
    people = [f"{name}={file}" for name, file in files.items()]
    status, scores = evaluate(bag, "--truth", *people, "--offset", "RA3=-20")
    assert status == 0
    (system,) = scores["systems"]
    assert system["figures"]["accuracy"]["n"] == 2  # of the third, each says something else
    rows = dict(zip(system["labels"], map(sum, system["confusion"]), strict=True))
    assert (rows["joy"], rows["anger"]) == (1, 1)
    agreed = scores["agreement"][system["system"]]
    assert agreed["by_segment"]["observed"]["value"] == pytest.approx((6 + 2 + 0) / 18)
    assert set(agreed["model"]) == {"RA1", "RA2", "RA3"}
    assert len(scores["provenance"]["annotations_sha256"]) == 3
    page = html.unescape((tmp_path / "out" / "report.html").read_text())
    assert f"annotators agree in {8 / 18:.0%} of comparisons" in system["headline"]
    assert 0 < page.index(system["headline"]) < page.index(">Scores<")
    assert f'<td class="human">{8 / 18:.3f}</td>' in page  # in the row of the accuracy
    human = agreed["human"]
    assert human["accuracy"] == pytest.approx((2 / 3 + 1 / 3 + 1 / 3) / 3)
    assert human["teer"] == pytest.approx(1 - human["accuracy"])  # three segments of equal length
    assert human["f1 joy"] > 0 and human["der"] == human["jer"] == 0
    methods = (tmp_path / "out" / "methods.md").read_text()
    assert f"{agreed['by_segment']['alpha']['value']:.3f}" in methods
    (recording,) = scores["recordings"]
    assert (recording["undecided"], recording["labeled"], recording["adjudicated"]) == (1, 2, 0)
    assert system["headline"].startswith("2 of 3 ")  # the tie is counted
    assert "1 segments had no majority" in methods and "adjudicated" not in methods


def test_labels_of_one_annotator_that_are_not_of_the_model_are_no_segments(
    bag: Path, evaluate: Evaluate, tmp_path: Path
) -> None:
    people = [
        f"RA1={annotation(tmp_path / '1.csv', ('joy', 'anger', 'joy'))}",
        f"RA2={annotation(tmp_path / '2.csv', ('joy', 'fear', 'joy'))}",
        f"RA3={annotation(tmp_path / '3.csv', ('Freude', 'neutral', 'Freude'))}",
    ]
    _, scores = evaluate(bag, "--truth", *people)
    (system,), (recording,) = scores["systems"], scores["recordings"]
    assert (recording["labeled"], recording["undecided"]) == (2, 1)
    assert recording["unmapped"] == {"Freude": 2}
    assert "2 labels of annotators are" in (tmp_path / "out" / "methods.md").read_text()
    assert system["headline"].startswith("2 of 3 ")


def test_segments_without_a_matching_utterance_are_in_the_headline(
    bag: Path, evaluate: Evaluate, tmp_path: Path
) -> None:
    file = annotation(tmp_path / "1.csv", ("joy", "anger", "joy"), shift=1.5)
    _, scores = evaluate(bag, "--truth", file, "--export")
    headline = scores["systems"][0]["headline"]
    matched = scores["systems"][0]["figures"]["accuracy"]["n"]
    assert 0 < matched < 3
    assert headline.startswith(f"{matched:g} of 3 ") and f"({matched / 3:.0%}, " in headline
    assert f"{3 - matched:g} segments with" in (tmp_path / "out" / "methods.md").read_text()


@pytest.mark.parametrize(
    "arguments",
    [
        ["RA1={file}"],
        ["RA1={file}", "{file}"],
        ["RA1={file}", "RA2={missing}"],
        ["RA1={file}", "RA2={file}", "--offset", "RA3=1"],
        ["RA1={file}", "RA2={file}", "--offset", "RA2=soon"],
    ],
)
def test_annotators_that_cannot_be_told_from_each_other_are_refused(
    arguments: list[str], bag: Path, tmp_path: Path
) -> None:
    file = annotation(tmp_path / "1.csv", ("joy", "anger", "joy"))
    given = [each.format(file=file, missing=tmp_path / "missing.csv") for each in arguments]
    assert main(["evaluate-bag", str(bag), "--truth", *given, "--out", str(tmp_path / "o")]) == 1
    assert not (tmp_path / "o" / "scores.json").exists()


def test_an_annotator_s_clock_is_corrected(tmp_path: Path) -> None:
    first = write(tmp_path / "first.csv", ROWS)
    late = write(tmp_path / "late.csv", [(start + 30, end + 30, each) for start, end, each in ROWS])
    out = tmp_path / "agreement.json"
    line = ["agreement", f"a={first}", f"b={late}", "--out", str(out), "--offset", "b=-30"]
    assert main(line) == 0
    assert json.loads(out.read_text())["by_segment"]["alpha"]["value"] == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["a={first}"],
        ["a={first}", "{first}"],
        ["a={first}", "a={first}"],
        ["a={first}", "b={missing}"],
        ["a={first}", "b={first}", "--offset", "c=1"],
        ["a={first}", "b={first}", "--offset", "b=soon"],
        ["a={first}", "b={empty}"],
    ],
)
def test_what_cannot_be_compared_is_refused_in_a_line(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = write(tmp_path / "first.csv", ROWS)
    empty = write(tmp_path / "empty.csv", [])
    values = {"first": first, "missing": tmp_path / "missing.csv", "empty": empty}
    assert main(["agreement", *(each.format(**values) for each in arguments)]) == 1
    errors = capsys.readouterr().err
    assert errors.startswith("erc: ") and errors.count("\n") == 1


def test_soft_labels_are_compared_as_scipy_and_scikit_learn_do() -> None:
    from scipy.spatial.distance import jensenshannon
    from scipy.stats import entropy
    from sklearn.metrics import log_loss

    labels, rng = ("anger", "joy", "neutral"), np.random.default_rng(0)
    raters = [[labels[n] for n in rng.integers(3, size=rng.integers(1, 5))] for _ in range(30)]
    estimated = rng.dirichlet(np.ones(3), 30)
    figures = soft_figures(labels, raters, estimated)
    given = [np.array([own.count(label) / len(own) for label in labels]) for own in raters]
    pairs = list(zip(given, estimated, strict=True))
    wanted = np.mean([entropy(q) + entropy(q, p) for q, p in pairs])
    assert figures["cross_entropy"].value == pytest.approx(wanted)
    assert figures["entropy"].value == pytest.approx(np.mean([entropy(q) for q in given]))
    wanted = np.mean([jensenshannon(q, p, 2) ** 2 for q, p in pairs])
    assert figures["jensen_shannon"].value == pytest.approx(wanted)
    assert figures["cross_entropy"].low < figures["cross_entropy"].value
    one = soft_figures(labels, [[own[0]] for own in raters], estimated)
    assert one["cross_entropy"].value == pytest.approx(
        log_loss([own[0] for own in raters], estimated, labels=labels)
    )
    assert one["entropy"].value == 0
    assert soft_figures(labels, [], np.zeros((0, 3))) == {}


def test_the_model_is_compared_with_the_distribution_of_labels(
    bag: Path, evaluate: Evaluate, tmp_path: Path
) -> None:
    people = [
        f"RA1={annotation(tmp_path / '1.csv', ('joy', 'anger', 'joy'))}",
        f"RA2={annotation(tmp_path / '2.csv', ('joy', 'fear', 'anger'))}",
    ]
    _, scores = evaluate(bag, "--truth", *people)
    soft = scores["agreement"]["tiny"]["soft"]
    assert soft["cross_entropy"]["n"] == 3  # also where there is no majority
    assert soft["entropy"]["value"] == pytest.approx(2 / 3 * np.log(2))
    assert soft["cross_entropy"]["value"] >= soft["entropy"]["value"]
    methods = (tmp_path / "out" / "methods.md").read_text()
    assert f"{soft['cross_entropy']['value']:.3f}" in methods


def test_adjudicated_labels_replace_the_majority_and_do_not_count_as_an_annotator(
    bag: Path, evaluate: Evaluate, tmp_path: Path
) -> None:
    people = [
        f"RA1={annotation(tmp_path / '1.csv', ('joy', 'anger', 'joy'))}",
        f"RA2={annotation(tmp_path / '2.csv', ('joy', 'fear', 'anger'))}",
    ]
    decide = tmp_path / "decide.csv"
    assert main(["agreement", *people, "--adjudicate", str(decide)]) == 0
    lines = decide.read_text().splitlines()
    assert len(lines) == 3 and lines[1].startswith("1,2.000,3.000,")
    decided = [line.replace(",,anger", ",sadness,anger") for line in lines]  # the first only
    decide.write_text("\n".join(line.replace("1,", "talk,", 1) for line in decided) + "\n")
    status, scores = evaluate(bag, "--truth", *people, f"adjudicated={decide}")
    assert status == 0
    (system,) = scores["systems"]
    rows = dict(zip(system["labels"], map(sum, system["confusion"]), strict=True))
    assert (rows["joy"], rows["sadness"], sum(rows.values())) == (1, 1, 2)
    (recording,) = scores["recordings"]
    assert (recording["undecided"], recording["adjudicated"]) == (1, 1)
    assert "adjudicated labels of 1 segments" in (tmp_path / "out" / "methods.md").read_text()
    assert set(scores["agreement"]["tiny"]["model"]) == {"RA1", "RA2"}
    decide.write_text("recording,start,end,speaker,emotion\ntalk,4.1,4.4,,joy\n")
    _, scores = evaluate(bag, "--truth", *people, f"adjudicated={decide}")
    assert any("not annotated" in text for text in scores["recordings"][0]["notices"])
    assert main(["evaluate-bag", str(bag), "--truth", people[0], f"adjudicated={decide}"]) == 1
