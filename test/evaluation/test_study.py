"""Studies: participants and conditions, the long table, and tests between conditions."""

from __future__ import annotations

import csv
import importlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluated_talks import prediction, recording, segment

from erc_ros.annotations import AnnotationError
from erc_ros.cli import main
from erc_ros.evaluation import many
from erc_ros.evaluation.jobs import answered
from erc_ros.evaluation.matching import outcome
from erc_ros.evaluation.study import (
    Study,
    compare_conditions,
    participant_rows,
    read_study,
    utterance_rows,
)

Evaluate = Callable[..., tuple[int, Any]]
EXAMPLE = Path(__file__).parents[2] / "examples" / "study"


def test_an_utterance_has_one_row_with_its_participant_and_outcome() -> None:
    talk = recording(
        [
            segment(0, 4, "Anna", "joy", valence=0.5),
            segment(5, 9, "Ben", "anger"),
            segment(10, 11, "Anna", "neutral"),
        ],
        [
            prediction(0, 4, "0", "joy"),
            prediction(5.5, 11, "0", "joy"),
            prediction(30, 34, "1", "joy"),
        ],
    )
    fields = {"participant": "P7", "session": "2", "condition": "robot", "order": "1"}
    rows = utterance_rows([talk], Study({("talk", "Anna"): fields}))
    assert [row["outcome"] for row in rows] == ["matched", "matched", "merged", "invented"]
    assert [row["participant"] for row in rows] == ["P7", "", "P7", ""]
    assert [row["correct"] for row in rows] == [1, 0, None, None]
    first, *_, last = rows
    assert (first["condition"], first["reference_valence"], first["start"]) == ("robot", 0.5, 0)
    assert first["p_joy"] == pytest.approx(0.8) and last["reference"] is None
    (means,) = participant_rows(rows)
    assert (means["participant"], means["utterances"], means["scored"]) == ("P7", 1, 1)
    assert means["accuracy"] == 1 and means["share_joy"] == 1


def test_an_utterance_that_is_a_part_of_a_segment_is_split() -> None:
    whole, part = segment(0, 10, "Anna", "joy"), prediction(8, 10, "0", "joy")
    assert outcome(None, part, [whole], [part]) == "split"
    assert outcome(whole, None, [whole], [part]) == "missed"


def participant(name: str, condition: str, accuracy: float | None, valence: float = 0.0) -> Any:
    values = {"accuracy": accuracy, "valence": valence, "arousal": 0.0}
    return {"system": "a", "participant": name, "condition": condition, **values}


def test_conditions_are_compared_within_participants() -> None:
    from scipy.stats import wilcoxon

    rng = np.random.default_rng(1)
    first, second = rng.random(12), rng.random(12) + 0.4
    rows = [participant(f"P{n}", "human", float(v), 0.1 * n) for n, v in enumerate(first)]
    rows += [participant(f"P{n}", "robot", float(v), 0.2 * n) for n, v in enumerate(second)]
    rows += [participant("P99", "robot", 0.0)]  # in one condition only
    compared = {each["measure"]: each for each in compare_conditions(rows)["a"]}
    accuracy = compared["accuracy"]
    assert (accuracy["a"], accuracy["b"], accuracy["participants"]) == ("human", "robot", 12)
    assert accuracy["difference"] == pytest.approx(np.mean(first - second))
    assert accuracy["p"] == pytest.approx(wilcoxon(first, second).pvalue)
    assert accuracy["low"] < accuracy["difference"] < accuracy["high"] < 0
    assert compared["arousal"]["p"] == 1  # all are equal
    assert all(each["p"] <= each["p_corrected"] for each in compared.values())
    assert accuracy["p_corrected"] == pytest.approx(
        min(1, accuracy["p"] * (3 if accuracy["p"] < compared["valence"]["p"] else 2))
    )


def test_few_participants_are_not_tested() -> None:
    rows = [participant(f"P{n}", c, 0.5) for n in range(5) for c in ("human", "robot")]
    rows += [participant("P9", c, None) for c in ("human", "robot")]  # without annotations
    accuracy, *_ = compare_conditions(rows)["a"]
    assert accuracy["participants"] == 5 and accuracy["p"] is None and accuracy["low"] is None
    assert compare_conditions(rows[:1]) == {}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "recording,who\ntalk,P1\n",
        "recording,participant\nwalk,P1\n",
        "recording,participant\ntalk,\n",
        "recording,participant\ntalk,P1\ntalk,P2\n",
    ],
)
def test_a_study_file_that_cannot_be_meant_is_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "study.csv"
    file.write_text(text)
    with pytest.raises(AnnotationError) as refused:
        read_study(file, ["talk"])
    assert "study.csv" in str(refused.value)


def test_a_study_file_of_a_spreadsheet_is_read(tmp_path: Path) -> None:
    file = tmp_path / "study.csv"
    file.write_text("Recording;Participant;Speaker;Condition\ntalk;P1;Anna;robot\n;;;\n")
    study, others = read_study(file, ["talk", "walk"])
    assert study.of("talk", "Anna")["participant"] == "P1"
    assert study.of("talk", "Ben")["participant"] == "" and others == ["walk"]


def test_a_study_of_two_conditions_gives_tables_groups_and_tests(
    bag: Path, truth: Path, evaluate: Evaluate, tmp_path: Path
) -> None:
    recordings, annotations = tmp_path / "recordings", tmp_path / "annotations"
    recordings.mkdir(), annotations.mkdir()
    lines = ["recording,participant,condition,order"]
    for name, condition in (("p1-a", "human"), ("p1-b", "robot")):
        shutil.copytree(bag, recordings / name)
        shutil.copy(truth, annotations / f"{name}.csv")
        lines.append(f"{name},P1,{condition},{len(lines)}")
    study = tmp_path / "study.csv"
    study.write_text("\n".join(lines) + "\n")
    status, scores = evaluate(recordings, "--truth", annotations, "--study", study)
    assert status == 0
    (system,) = scores["systems"]
    assert set(system["groups"]["condition"]) == {"human", "robot"}
    assert system["groups"]["participant"]["P1"]["accuracy"]["n"] == 6
    assert "study.csv" in scores["provenance"]["label_map_sha256"]
    compared = scores["conditions"]["tiny"]
    assert [each["measure"] for each in compared] == ["accuracy", "valence", "arousal"]
    rows = list(csv.DictReader((tmp_path / "out" / "utterances.csv").open()))
    assert len(rows) == 6 and {row["condition"] for row in rows} == {"human", "robot"}
    assert not any("happy" in json.dumps(row) for row in rows)  # no words
    means = list(csv.DictReader((tmp_path / "out" / "participants.csv").open()))
    assert [row["condition"] for row in means] == ["human", "robot"]
    assert "wilcoxon1945" in (tmp_path / "out" / "methods.md").read_text()
    assert "human minus robot" in (tmp_path / "out" / "report.html").read_text()
    study.write_text("recording,participant\np1-c,P1\n")
    assert (
        evaluate(recordings, "--truth", annotations, "--study", study, out=tmp_path / "o")[0] == 1
    )


def test_the_example_study_is_continued_where_it_was_interrupted_and_its_figures_are_drawn(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("espeakng_loader")
    pytest.importorskip("pandas")
    import matplotlib

    monkeypatch.setattr(matplotlib, "rcParams", matplotlib.rcParams.copy())
    matplotlib.use("Agg")
    monkeypatch.syspath_prepend(str(EXAMPLE))
    importlib.import_module("make_study").main([str(tmp_path), "--participants", "2"])
    monkeypatch.chdir(tmp_path)
    begun: list[str] = []

    def interrupted(job: Any, progress: Any = None) -> Any:
        begun.append(job.name)
        if len(begun) == 2:
            raise KeyboardInterrupt
        return answered(job, progress)

    people = ["RA1=RA1", "RA2=RA2", "RA3=RA3"]
    line = ["evaluate", "recordings", "--study", "study.csv", "--truth", *people]
    line += ["--offset", "RA2=-1.5", "--out", "results", "--cache", "kept", "--export"]
    line += ["--bundle", str(bundle), "--speaker-model", "none", "--no-media"]
    monkeypatch.setattr(many, "answered", interrupted)
    assert main(line) == 130 and not Path("results").exists()
    assert main(line) == 1  # one recording is damaged, the others are evaluated
    assert begun.count("P01-robot") == 1 and len(set(begun)) == 4
    scores = json.loads(Path("results/scores.json").read_text())
    errors = [each["name"] for each in scores["recordings"] if each["error"]]
    assert errors == ["P02-robot"]
    agreed = scores["agreement"]["tiny"]["by_segment"]
    assert agreed["units"] == 3 * 8 and agreed["alpha"]["value"] > 0.3
    names: dict[str, Any] = {}
    for cell in json.loads((EXAMPLE / "figures.ipynb").read_text())["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            exec("".join(cell["source"]), names)
    assert all(Path(f"{each}.pdf").is_file() for each in ("agreement", "conditions", "confusion"))
