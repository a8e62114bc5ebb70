"""What `erc evaluate-bag` reports of its inputs: how tiers were read, and what it refuses."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

pytest.importorskip("pympi")

from pympi import Eaf

from erc_ros.annotations import AnnotationError, read, vocabulary
from erc_ros.annotations.joining import LabelMap, join
from erc_ros.annotations.marks import meaning
from erc_ros.annotations.vocabulary import EMOTION_WORDS, meant_label
from erc_ros.cli import main
from erc_ros.demo.conversation_bag import Phrase, write_conversation
from erc_ros.replay.bag import Bag, BagWriter
from erc_ros.resources import package_version
from erc_ros.values.nanoseconds import NS

LABELS = ("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise")
SAID = ((0.5, 1.5, "I am so happy!", "joy"), (2.0, 3.0, "Why, what happened?", "surprise"))
SAID += ((3.5, 4.5, "She said yes.", "neutral"),)
Evaluate = Callable[..., tuple[int, Any]]
Capture = pytest.CaptureFixture[str]


def write_tiers(path: Path, tiers: dict[str, list[tuple[float, float, str]]]) -> Path:
    document = Eaf()
    for name, marks in tiers.items():
        document.add_tier(name)
        for start, end, value in marks:
            document.add_annotation(name, round(start * 1000), round(end * 1000), value)
    document.remove_tier("default")
    document.to_file(str(path))
    return path


def words(offset: float = 0.0) -> list[tuple[float, float, str]]:
    return [(start + offset, end + offset, text) for start, end, text, _ in SAID]


def emotions(*others: str) -> list[tuple[float, float, str]]:
    labels = others or tuple(emotion for *_, emotion in SAID)
    return [(s, e, label) for (s, e, *_), label in zip(SAID, labels, strict=True)]


def test_tiers_of_a_laboratory_are_read_and_reported(
    bag: Path, evaluate: Evaluate, tmp_path: Path, capsys: Capture
) -> None:
    tiers = {"P1": words(), "P1-Emo": emotions(), "gaze": [(0, 5, "door")], "notes": [(0, 1, "x")]}
    status, scores = evaluate(bag, "--truth", write_tiers(tmp_path / "RA1.eaf", tiers))
    assert status == 0
    (entry,) = scores["recordings"]
    readings = {each["tier"]: each for each in entry["readings"]}
    assert (readings["P1"]["kinds"], readings["P1"]["speaker"]) == (["text"], "P1")
    assert (readings["P1-Emo"]["kinds"], readings["P1-Emo"]["speaker"]) == (["emotion"], "P1")
    assert readings["gaze"]["excluded"] and readings["notes"]["excluded"]
    assert entry["segments"] == 3
    assert scores["systems"][0]["figures"]["accuracy"]["n"] == 3
    out = capsys.readouterr().out
    assert "tier 'P1-Emo': 3 annotations -> emotions of P1" in out
    assert "tier 'gaze': 1 annotations -> excluded" in out
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.index("What was read") < page.index(">Scores<")
    assert "emotions of P1" in page


@pytest.mark.parametrize(
    "tier", ["P1-Emo", "P1.emotion", "P1_emotion", "P1 affect", "emo_P1", "P1Emo", "emotion@P1"]
)
def test_usual_names_of_emotion_tiers(tier: str) -> None:
    assert meaning(tier) == ("emotion", "P1", False)


def test_a_tier_that_cannot_be_words_stops_the_command(
    bag: Path, evaluate: Evaluate, tmp_path: Path, capsys: Capture
) -> None:
    path = write_tiers(
        tmp_path / "a.eaf", {"P1": words(), "coder2": emotions("happy", "sad", "fear")}
    )
    status, scores = evaluate(bag, "--truth", path)
    assert (status, scores) == (1, None)
    error = capsys.readouterr().err
    assert "'coder2'" in error and "--suggest-tiers" in error


def test_a_draft_of_the_tiers_is_checked_and_used(
    bag: Path, evaluate: Evaluate, tmp_path: Path, capsys: Capture
) -> None:
    felt = emotions("happy", "surprised", "Neutral")
    tiers = {"P1": words(), "coder2": felt, "stance": [(0, 1, "leans"), (2, 3, "far")]}
    path = write_tiers(tmp_path / "a.eaf", tiers)
    draft = tmp_path / "tiers.yaml"
    capsys.readouterr()
    assert main(["evaluate", "--suggest-tiers", str(path)]) == 0
    text = capsys.readouterr().out
    assert main(["evaluate", "--suggest-tiers", str(path), "--tiers", str(draft)]) == 0
    assert draft.read_text() == text
    assert main(["evaluate", "--suggest-tiers", str(path), "--tiers", str(draft)]) == 1  # kept
    content = yaml.safe_load(text)
    assert content["tiers"]["P1"] == "text@P1" and "stance" in content["tiers"]
    assert content["tiers"]["coder2"].startswith("emotion@")
    assert content["labels"] == {"happy": "joy", "surprised": "surprise"}
    assert "I am so happy" not in text  # what people said stays in the annotation
    content["tiers"] |= {"coder2": "emotion@P1", "stance": None}
    draft.write_text(yaml.safe_dump(content))
    status, scores = evaluate(bag, "--truth", path, "--tiers", draft)
    assert status == 0 and scores["systems"][0]["figures"]["accuracy"]["n"] == 3
    assert list(scores["provenance"]["label_map_sha256"]) == ["tiers.yaml"]
    draft.write_text("coder2: emotion@P1\nstance: ~\n")  # tiers alone, labels in their own file
    labels = tmp_path / "labels.yaml"
    labels.write_text("happy: joy\nsurprised: surprise\n")
    again = evaluate(bag, "--truth", path, "--tiers", draft, "--labels", labels)[1]
    assert again["systems"] == scores["systems"]


def test_a_replay_s_own_table_is_an_annotation(
    bag: Path, bundle: Path, evaluate: Evaluate, tmp_path: Path
) -> None:
    usual = ["--bundle", str(bundle), "--speaker-model", "none", "--out", str(tmp_path / "rep")]
    assert main(["replay", str(bag), *usual]) == 0
    status, scores = evaluate(bag, "--truth", tmp_path / "rep" / "estimates.csv")
    assert status == 0
    figures = scores["systems"][0]["figures"]
    assert figures["accuracy"]["value"] == 1 and figures["accuracy"]["n"] == 3
    assert figures["missed"]["value"] == 0 and figures["teer"]["value"] == 0
    table = tmp_path / "rep" / "estimates.csv"
    head, first, *_ = table.read_text().splitlines()
    fields = first.split(",")
    fields[head.split(",").index("start")] = "soon"
    table.write_text("\n".join([head, ",".join(fields)]) + "\n")
    assert evaluate(bag, "--truth", table)[0] == 1


def test_a_tier_that_may_be_anything_stops_the_command(
    bag: Path, evaluate: Evaluate, tmp_path: Path, capsys: Capture
) -> None:
    tiers = {"P1": words(), "P1-Emo": emotions(), "stance": [(0, 1, "leans"), (2, 3, "far")]}
    path = write_tiers(tmp_path / "a.eaf", tiers)
    assert evaluate(bag, "--truth", path) == (1, None)
    assert "tier 'stance'" in capsys.readouterr().err
    labels = tmp_path / "labels.yaml"
    labels.write_text("tiers: {stance: ~}\n")
    status, scores = evaluate(bag, "--truth", path, "--labels", labels)
    assert status == 0 and scores["recordings"][0]["segments"] == 3


def test_two_annotators_with_different_clocks_are_refused(
    bag: Path, evaluate: Evaluate, tmp_path: Path, capsys: Capture
) -> None:
    tiers = {"P1": words(), "P1-Emo": emotions()}
    first = write_tiers(tmp_path / "RA1.eaf", tiers)
    later = {name: [(s + 0.8, e + 0.8, v) for s, e, v in each] for name, each in tiers.items()}
    second = write_tiers(tmp_path / "RA2.eaf", later)
    assert evaluate(bag, "--truth", first, second) == (1, None)
    error = capsys.readouterr().err
    assert "RA1.eaf" in error and "RA2.eaf" in error
    assert "two annotators, or two clocks" in error
    same = write_tiers(tmp_path / "RA3.eaf", tiers)
    assert evaluate(bag, "--truth", first, same)[0] == 0


def test_one_file_may_go_on_where_another_ends(tmp_path: Path) -> None:
    first = write_tiers(tmp_path / "a.eaf", {"text@Anna": [(0, 1, "one"), (2, 3, "two")]})
    second = write_tiers(tmp_path / "b.eaf", {"text@Anna": [(4, 5, "three"), (6, 7, "four")]})
    marks = [*read(first), *read(second)]
    assert len(join(marks, origin=0, duration=10 * NS, labels=LABELS).segments) == 4


def test_annotations_of_no_recording_stop_the_command(
    bag: Path, truth: Path, evaluate: Evaluate, tmp_path: Path, capsys: Capture
) -> None:
    for name in ("s1", "s2"):
        shutil.copytree(bag, tmp_path / "study" / name)
    own = tmp_path / "s1_good.csv"
    own.write_text(truth.read_text())
    assert evaluate(tmp_path / "study", "--truth", own) == (1, None)
    error = capsys.readouterr().err
    assert "s1_good.csv belongs to none of the recordings" in error and "s1.csv" in error


def test_annotations_are_checked_before_the_pipeline_runs(
    bag: Path, evaluate: Evaluate, tmp_path: Path
) -> None:
    labels = tmp_path / "labels.yaml"
    labels.write_text("good: happiness\n")
    table = tmp_path / "other.csv"
    for content, options in (
        ("500,510,Anna,joy", []),
        ("0.5,1.5,Anna,good", ["--labels", labels]),
        ("0.5,1.5,Anna,cheeky", []),
    ):
        table.write_text(f"start,end,speaker,emotion\n{content}\n")
        given = ["--truth", table, "--cache", tmp_path / "cache"]
        assert evaluate(bag, *given, *options)[0] == 1
    cache = ["--cache", tmp_path / "cache"]
    assert evaluate(bag, "--from", "90", *cache)[0] == 1
    assert evaluate(bag, "--from", "3", "--to", "2", *cache)[0] == 1
    assert not (tmp_path / "cache").exists()


def test_emotion_words_are_suggested_by_their_meaning(
    bag: Path, evaluate: Evaluate, tmp_path: Path, capsys: Capture
) -> None:
    wanted = {"happiness": "joy", "happy": "joy", "Angry": "anger", "scared": "fear"}
    wanted |= {"afraid": "fear", "sad": "sadness", "surprised": "surprise", "joyy": "joy"}
    assert {word: meant_label(word, LABELS) for word in wanted} == wanted
    assert meant_label("bored", LABELS) == "" and meant_label("door", LABELS) == ""
    assert meant_label("happy", ("anger", "neutral")) == ""  # an emotion, but of no label
    labels = tmp_path / "labels.yaml"
    labels.write_text("good: happiness\n")
    table = tmp_path / "a.csv"
    table.write_text("start,end,speaker,emotion\n0.5,1.5,Anna,good\n")
    assert evaluate(bag, "--truth", table, "--labels", labels)[0] == 1
    assert "did you mean joy?" in capsys.readouterr().err
    table.write_text("start,end,speaker,emotion\n0.5,1.5,Anna,joy\n2,3,Anna,scared\n")
    status, scores = evaluate(bag, "--truth", table)
    assert status == 0
    assert any("`scared: fear`" in text for text in scores["recordings"][0]["notices"])
    assert "`scared: fear`" in capsys.readouterr().err


def test_what_the_label_map_or_the_annotator_excludes_is_not_unmapped(tmp_path: Path) -> None:
    table = tmp_path / "a.csv"
    rows = ("1,2,Anna,bored", "3,4,Anna,unknown (joy)", "5,6,Anna,joy")
    table.write_text("\n".join(["start,end,speaker,emotion", *rows]) + "\n")
    mapping = LabelMap({"bored": ""})
    truth = join(read(table), origin=0, duration=9 * NS, labels=LABELS, mapping=mapping)
    assert truth.unmapped == {}
    assert truth.repaired == {"emotions that the label map or the annotator excludes": 2}
    table.write_text("start,end,speaker,emotion\n1,2,Anna,cheeky\n")
    with pytest.raises(AnnotationError, match="emotions"):
        join(read(table), origin=0, duration=9 * NS, labels=LABELS)


def test_the_console_has_the_figures_and_the_report(
    bag: Path, truth: Path, evaluate: Evaluate, tmp_path: Path, capsys: Capture
) -> None:
    status, scores = evaluate(bag, "--truth", truth)
    assert status == 0
    out = capsys.readouterr().out
    (system,) = scores["systems"]
    assert system["headline"].startswith("3 of 3 annotated emotions scored, ")
    assert system["headline"] in out
    page = (tmp_path / "out" / "report.html").read_text()
    assert 0 < page.index(system["headline"]) < page.index(">Scores<")
    figures = system["figures"]
    for name in ("accuracy", "teer", "der"):
        assert f"{figures[name]['value']:.3f}" in out
    assert out.splitlines()[-1] == f"report: {tmp_path / 'out' / 'report.html'}"


def copied(bag: Path, path: Path, *topics: str) -> Path:
    with Bag(bag) as whole, BagWriter(path) as part:
        for record in whole.messages(set(topics)):
            part.write(record.topic, record.type, record.time, record.message)
    return path


def test_recordings_without_words_or_without_sound_are_reported(
    bag: Path, bundle: Path, evaluate: Evaluate, tmp_path: Path, capsys: Capture
) -> None:
    without_text = copied(bag, tmp_path / "without_text", "/audio", "/audio_info", "/image")
    _, scores = evaluate(without_text, "--export", "--no-media")
    assert capsys.readouterr().err.count("no recognized speech") == 1
    assert any("no recognized speech" in each for each in scores["recordings"][0]["notices"])
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.index("no recognized speech") < page.index(">Scores<")
    assert page.count("no recognized speech") == 1
    usual = ["--bundle", str(bundle), "--speaker-model", "none", "--out"]
    assert main(["replay", str(without_text), *usual, str(tmp_path / "replayed")]) == 0
    assert "no recognized speech" in capsys.readouterr().err
    summary = json.loads((tmp_path / "replayed" / "summary.json").read_text())
    assert any("no recognized speech" in each for each in summary["warnings"])
    without_sound = copied(bag, tmp_path / "without_sound", "/speech")
    assert main(["replay", str(without_sound), *usual, str(tmp_path / "silent")]) == 0
    assert "no audio in this recording" in capsys.readouterr().err
    blind = copied(bag, tmp_path / "pictures", *(t for t in topics_of(bag) if "image" in t))
    assert main(["replay", str(blind), *usual, str(tmp_path / "blind")]) == 1
    assert "neither audio nor recognized speech" in capsys.readouterr().err


def topics_of(bag: Path) -> list[str]:
    with Bag(bag) as opened:
        return [topic.name for topic in opened.topics]


def test_results_of_another_recording_are_not_overwritten(
    bag: Path, bundle: Path, tmp_path: Path, capsys: Capture
) -> None:
    noise = np.zeros(2 * 16_000, np.float32)
    other = write_conversation(tmp_path / "other", noise, [Phrase(0.2, 1.0, "Hello.")])
    out = tmp_path / "rep1"
    usual = ["--bundle", str(bundle), "--speaker-model", "none", "--out", str(out)]
    assert main(["replay", str(bag), *usual]) == 0
    before = (out / "estimates.jsonl").read_bytes()
    assert main(["replay", str(other), *usual]) == 1
    assert "talk" in capsys.readouterr().err
    assert (out / "estimates.jsonl").read_bytes() == before
    assert main(["replay", str(bag), *usual]) == 0  # the same recording again
    assert main(["replay", str(other), *usual, "--overwrite"]) == 0
    assert json.loads((out / "summary.json").read_text())["recording"] == "other"


def test_below_min_confidence_a_label_is_unknown_everywhere(
    bag: Path, truth: Path, bundle: Path, evaluate: Evaluate, tmp_path: Path
) -> None:
    """Random weights are never sure: with `min_confidence` 1 everything is unknown."""
    scores = {}
    for name, least in (("sure", 0.0), ("unsure", 1.0)):
        file = tmp_path / f"{name}.yaml"
        file.write_text(
            f"/**:\n  ros__parameters:\n    bundle: {bundle}\n    min_confidence: {least}\n"
        )
        arguments = ["--params-file", file, "--truth", truth, "--export", "csv"]
        scores[name] = evaluate(bag, *arguments, out=tmp_path / name)[1]["systems"][0]["figures"]
    assert scores["sure"]["coverage"]["value"] == 1 and scores["unsure"]["coverage"]["value"] == 0
    assert scores["sure"]["accuracy_covered"] == scores["sure"]["accuracy"]
    assert scores["unsure"]["accuracy_covered"]["value"] is None
    assert scores["unsure"]["accuracy"] == scores["sure"]["accuracy"]  # of the most probable label
    unsure = ["--params-file", str(tmp_path / "unsure.yaml"), "--speaker-model", "none"]
    assert main(["replay", str(bag), *unsure, "--out", str(tmp_path / "replayed")]) == 0
    rows = [json.loads(line) for line in (tmp_path / "replayed" / "estimates.jsonl").open()]
    exported = (tmp_path / "unsure" / "talk.csv").read_text()
    page = (tmp_path / "unsure" / "report.html").read_text()
    for row in rows:
        assert row["label"] == "" and row["most_probable"] in row["probabilities"]
        assert f"unknown ({row['most_probable']})" in exported
        assert f"unknown ({row['most_probable']})" in page
    arguments = [*unsure, "--no-media", "--out", str(tmp_path / "annotated"), "--format", "csv"]
    assert main(["annotate", str(bag), *arguments]) == 0
    assert (tmp_path / "annotated" / "talk.csv").read_text().count("unknown (") == len(rows)
    summary = json.loads((tmp_path / "replayed" / "summary.json").read_text())
    assert summary["labels"] == {"unknown": len(rows)} and summary["coverage"] == 0


def test_results_say_what_they_were_made_with(
    bag: Path, truth: Path, bundle: Path, evaluate: Evaluate, tmp_path: Path
) -> None:
    parameters = tmp_path / "robot.yaml"
    parameters.write_text(
        f"/**:\n  ros__parameters:\n    bundle: {bundle}\n    text_timeout: 2.5\n"
    )
    status, scores = evaluate(bag, "--truth", truth, "--params-file", parameters, "--export")
    assert status == 0
    made_with = scores["provenance"]
    assert made_with["erc_ros"] == package_version() and made_with["libraries"]["onnxruntime"]
    (system,) = made_with["systems"].values()
    assert system["bundle"]["sha256"] and system["bundle"]["name"] == "tiny"
    assert system["changed_parameters"]["utterance_node"]["text_timeout"] == 2.5
    assert made_with["annotations_sha256"] == {
        truth.name: hashlib.sha256(truth.read_bytes()).hexdigest()
    }
    assert list(made_with["recordings_sha256"]) == ["talk"]
    page = (tmp_path / "out" / "report.html").read_text()
    assert system["bundle"]["sha256"] in page
    timing = json.loads((tmp_path / "out" / "timing.json").read_text())
    assert timing["date"] and "erc evaluate " in timing["command"]
    usual = ["--params-file", str(parameters), "--speaker-model", "none"]
    assert main(["replay", str(bag), *usual, "--out", str(tmp_path / "replayed")]) == 0
    summary = json.loads((tmp_path / "replayed" / "summary.json").read_text())
    assert summary["provenance"]["bundle"] == system["bundle"]
    assert summary["provenance"]["recording_sha256"] == made_with["recordings_sha256"]["talk"]
    figures = scores["systems"][0]["figures"]
    assert figures["majority_accuracy"]["value"] == pytest.approx(1 / 3)  # three labels, each once
    labels = scores["systems"][0]["labels"]
    assert figures["chance_accuracy"]["value"] == pytest.approx(1 / len(labels))
    # each annotated label occurs once, so that the mean of their recalls is the accuracy
    assert figures["unweighted_recall"]["value"] == figures["accuracy"]["value"]


def test_a_part_of_a_recording_is_annotated(bag: Path, bundle: Path, tmp_path: Path) -> None:
    usual = ["--bundle", str(bundle), "--speaker-model", "none", "--no-media", "--format", "csv"]
    arguments = ["annotate", str(bag), *usual, "--out", str(tmp_path / "part")]
    assert main([*arguments, "--from", "2.4", "--to", "4"]) == 0
    table = (tmp_path / "part" / "talk.csv").read_text()
    assert "what happened" in table and "so happy" not in table and "She said" not in table
    assert main([*arguments, "--overwrite", "--from", "60"]) == 1


@pytest.mark.parametrize(
    ("words", "label"),
    [
        ("happiness Freude bonheur alegría gioia felicidade contentment happy-for", "joy"),
        ("Trauer tristesse tristeza tristezza triste disappointment despair grief", "sadness"),
        ("Wut colère enojo rabbia raiva irritation annoyance resentment", "anger"),
        ("Angst peur miedo paura medo apprehension fears-confirmed worried", "fear"),
        ("überrascht étonné sorprendido sorpreso surpreso amazement", "surprise"),
        ("Ekel dégoût asco disgustato nojo loathing contempt Verachtung", "disgust"),
        ("ruhig neutre neutro relaxed", "neutral"),
    ],
)
def test_words_of_six_languages_and_of_published_vocabularies_are_understood(
    words: str, label: str
) -> None:
    assert {word: meant_label(word, LABELS) for word in words.split()} == dict.fromkeys(
        words.split(), label
    )
    assert meant_label("sensory pleasure", LABELS) == "joy"
    assert meant_label("guilt", LABELS) == "sadness" and meant_label("guilt", ("shame",)) == "shame"


def test_no_word_names_two_emotions() -> None:
    content = (Path(vocabulary.__file__).parent / "emotion_words.yaml").read_text(encoding="utf-8")
    words = yaml.safe_load(content)["words"]
    for emotion, own in words.items():
        for word in own.split(", "):
            assert EMOTION_WORDS[word] == emotion, word
            assert word == word.casefold().strip(" ,")
