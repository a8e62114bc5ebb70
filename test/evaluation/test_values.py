"""The values of the report, of scores.json and of scores.csv, compared with stored ones.

After a change that is meant, ERC_WRITE_REFERENCE=1 writes them: read what git shows of it.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import made_up_recordings as made_up
import numpy as np
import pytest

pytest.importorskip("jinja2")
pytest.importorskip("av")

from erc_ros.annotations.records import Annotations, Segment, TierReading
from erc_ros.evaluation.kept import KeptError, from_bytes, to_bytes
from erc_ros.evaluation.media import Media
from erc_ros.evaluation.names import (
    clean,
    clock,
    confidence_of,
    moment,
    shown_label,
    speaker_names,
)
from erc_ros.evaluation.page import View, css_of, emotions_of, figures, groups, labels_of
from erc_ros.evaluation.records import AnswerMatch, Recording, Scores, SystemScores
from erc_ros.evaluation.results import headline, notices, reading_in_words, summary, write_scores
from erc_ros.evaluation.run import LEFT_OUT
from erc_ros.metrics.figure import Figure
from erc_ros.replay.offline import NO_AUDIO, NO_TEXT
from erc_ros.values.nanoseconds import NS

ASSETS = Path(__file__).parents[1] / "assets"


def assert_is_as_before(values: dict[str, Any], name: str) -> None:
    """One line of the file for each value, and for each item of a list."""
    lines = []
    for key, value in json.loads(json.dumps(values)).items():
        for item in value if isinstance(value, list) else [value]:
            lines.append(json.dumps({key: item}, ensure_ascii=False))
    file = ASSETS / name
    if os.environ.get("ERC_WRITE_REFERENCE"):
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert lines == file.read_text(encoding="utf-8").splitlines()


def talk() -> Recording:
    """Five segments: right, wrong, unknown, without an emotion, missed; one is invented."""
    recorded = made_up.recording(5)
    assert recorded.truth is not None
    segments = list(recorded.truth.segments)
    segments[3] = replace(segments[3], emotion=None, text=None, speaker="", arousal=0.5)
    predictions = list(recorded.predictions)
    predictions[2] = replace(predictions[2], is_unknown=True, confidence=0.21)
    predictions[3] = replace(
        predictions[3], is_final=False, latency=None, overlap=None, signal_to_noise=None, why={}
    )
    predictions[4] = replace(
        predictions[4],
        modalities=(False, False, False),
        conversation_id="c1",
        speaker="",
        speaker_confidence=None,
    )
    readings = (
        TierReading("a.eaf", "anna", ("text", "emotion"), "anna", 3),
        TierReading("a.eaf", "notes", (), "", 2, "of an unknown kind"),
    )
    truth = replace(recorded.truth, segments=tuple(segments), readings=readings, notices=("odd",))
    return replace(recorded, truth=truth, predictions=tuple(predictions))


def page_of(*recordings: Recording, with_text: bool = True) -> dict[str, Any]:
    view = View(recordings, with_text, Media(False), None)
    emotions = emotions_of(dict.fromkeys(label for each in recordings for label in labels_of(each)))
    content = view.page(emotions)
    assert content["data"].pop("rows") == content["rows"]
    return {name: value for name, value in content.items() if name != "arcs"}


def test_the_values_of_a_page_are_as_before() -> None:
    other = made_up.recording(5, system="other", seed=3)
    assert_is_as_before(page_of(talk()), "report_of_one.jsonl")
    assert_is_as_before(page_of(talk(), other), "report_of_two.jsonl")
    without = page_of(made_up.without_truth(talk()), with_text=False)
    assert not without["has_truth"] and without["statuses"] == []
    assert {row["text"] for row in without["rows"]} == {""}
    assert {row["status"] for row in without["rows"]} == {""}


def test_the_tables_of_figures_and_groups_are_as_before() -> None:
    one = made_up.recording(5)
    scored = made_up.scores(one, made_up.recording(5, system="other", seed=3))
    more = {"latency_p95_ms": Figure(123.456, 9.9999, 10.0, 5), "der missed": Figure(0.5, n=2.5)}
    first = replace(scored.systems[0], figures={**scored.systems[0].figures, **more})
    scored = replace(scored, systems=(first, scored.systems[1]))
    human = {"edge-small": {"human": {"accuracy": 0.5}}}
    emotions = emotions_of((*made_up.LABELS, "joyful", "jo", "j"))
    assert_is_as_before(
        {
            "figures": figures(scored),
            "alone": figures(Scores(scored.systems[:1]), human),
            "groups": groups(scored),
            "styles": css_of(emotions).splitlines(),
            "short": [emotion.short for emotion in emotions.values()],
        },
        "report_tables.jsonl",
    )


def test_the_files_of_scores_are_as_before(tmp_path: Path) -> None:
    recorded = talk()
    scored = made_up.scores(made_up.recording(5), made_up.recording(5, system="other", seed=3))
    files = write_scores(
        scored,
        [summary(recorded), summary(made_up.without_truth(recorded))],
        tmp_path / "new" / "folder",
        {"python": "3", "odd": (float("nan"), 1.5)},
        {"edge-small": {"human": {}}},
        {"edge-small": "a sentence"},
        {"edge-small": {"noise": 1}},
    )
    assert [file.name for file in files] == ["scores.json", "scores.csv"]
    texts = [file.read_text(encoding="utf-8") for file in files]
    assert_is_as_before(
        {**json.loads(texts[0]), "csv": texts[1].splitlines()}, "report_scores.jsonl"
    )
    assert texts[0].startswith('{\n  "systems"') and texts[0].endswith("}\n")
    assert "latencies" not in texts[0] and "anna" in texts[0]
    few = write_scores(Scores(()), [], tmp_path)[0].read_text(encoding="utf-8")
    assert set(json.loads(few)) == {
        "systems",
        "comparisons",
        "settings",
        "recordings",
        "provenance",
    }


def test_the_headline_says_what_was_scored() -> None:
    recorded = talk()
    values = {"accuracy": Figure(0.5, n=4), "majority_accuracy": Figure(0.75)}
    scored = SystemScores("edge-small", made_up.LABELS, values)
    agreement = {"by_segment": {"observed": {"value": 0.625}, "alpha": {"value": 0.5}}}
    assert headline(scored, [recorded], agreement) == (
        "4 of 6 annotated emotions scored, 2 correct; by chance 0.6, always the most frequent "
        "label 3; annotators agree in 62% of comparisons (Krippendorff's alpha 0.50); "
        "2 are not labels of the model"
    )
    others = [replace(recorded, system="other"), replace(recorded, error="broken")]
    assert headline(scored, [recorded, *others], None) == headline(scored, [recorded], None)
    plain = replace(scored, figures={})
    mapped = replace(recorded, truth=replace(recorded.truth, unmapped={}))
    unmatched = "0 of 4 annotated emotions scored (0%, 4 have no matching utterance)"
    assert headline(plain, [mapped], None) == unmatched
    agreement["by_segment"]["alpha"]["value"] = None
    assert headline(plain, [mapped], agreement).endswith("agree in 62% of comparisons")
    agreement["by_segment"]["observed"]["value"] = None
    assert headline(plain, [mapped], agreement) == unmatched
    bare = made_up.without_truth(recorded)
    assert headline(scored, [bare, others[0], others[1]], None).startswith("5 utterances;")


def test_notices_name_what_was_missing_first() -> None:
    recorded = replace(talk(), warnings={LEFT_OUT: 1, NO_TEXT: 1, NO_AUDIO: 2, "other": 3})
    assert notices(recorded) == [NO_TEXT, NO_AUDIO, LEFT_OUT, "odd"]
    nothing = Recording("a", "b", 0, 0, ())
    assert len(notices(nothing)) == 1 and notices(replace(nothing, error="broken")) == []


@pytest.mark.parametrize(
    ("kinds", "speaker", "excluded", "expected"),
    [
        (("speech", "text"), "Anna", "", "turns and words of Anna"),
        (("emotion",), "", "", "emotions of an unnamed speaker"),
        (("valence", "arousal"), "B\x00", "", "valence and arousal of B "),
        ((), "Anna", "empty", "excluded: empty"),
    ],
)
def test_a_reading_in_words(
    kinds: tuple[str, ...], speaker: str, excluded: str, expected: str
) -> None:
    assert reading_in_words(TierReading("f", "t", kinds, speaker, 1, excluded)) == expected


def test_names_of_speakers_times_and_labels() -> None:
    answers = talk().predictions
    named = [
        replace(answers[0], conversation_id=conversation, speaker=speaker)
        for conversation, speaker in (("a", "0"), ("b", "0"), ("a", "ann\x00"), ("b", ""))
    ]
    assert speaker_names(named) == {
        ("a", "0"): "speaker 1",
        ("b", "0"): "2: speaker 1",
        ("a", "ann\x00"): "ann ",
        ("b", ""): "2: unknown speaker",
    }
    people = [replace(named[1], person=person) for person in ("", "Jürgen")]
    assert speaker_names([named[0], *people]) == {("a", "0"): "speaker 1", ("b", "0"): "Jürgen"}
    times = (0, 59 * NS, 60 * NS, 3599 * NS, 3600 * NS, 36_061 * NS)
    assert [clock(t) for t in times] == ["0:00", "0:59", "1:00", "59:59", "1:00:00", "10:01:01"]
    assert moment(86_400 * NS + NS - 1) == datetime(1970, 1, 2, tzinfo=timezone.utc)
    assert clean("a\x00b\ud800c\u200bd é") == "a b c d é"
    unsure = replace(answers[0], label="joy", is_unknown=True, confidence=0.1)
    assert (shown_label(unsure), confidence_of(unsure)) == ("unknown (joy)", 0.1)
    sure = replace(unsure, is_unknown=False, confidence=None, probabilities=np.array([0.2, 0.8]))
    assert (shown_label(sure), confidence_of(sure)) == ("joy", 0.8)


def test_a_kept_result_is_the_one_that_was_kept_without_annotations() -> None:
    recorded = replace(talk(), annotators={"a": (Segment(0, 1, "x"),)})
    content = to_bytes(recorded)
    assert to_bytes(recorded) == content
    again = from_bytes(content)
    assert (again.truth, again.matches, again.annotators) == (None, (), {})
    for name in ("name", "system", "origin", "duration", "labels", "warnings", "counts", "error"):
        assert getattr(again, name) == getattr(recorded, name), name
    for one, other in zip(again.predictions, recorded.predictions, strict=True):
        for name in type(one).__slots__:
            np.testing.assert_equal(getattr(one, name), getattr(other, name))
        assert type(one.face) is type(other.face)
    for damaged in (b"", content[: len(content) // 2], b"PK\x03\x04" + bytes(100)):
        with pytest.raises(KeptError):
            from_bytes(damaged)


def test_two_who_say_the_same_at_once_are_one_row_only_with_the_same_ids() -> None:
    recorded = made_up.recording(1)
    invented = recorded.predictions[1]
    twice = replace(invented, utterance_id="another")
    assert recorded.truth is not None
    several = replace(
        recorded,
        predictions=(*recorded.predictions, twice),
        matches=(*recorded.matches, AnswerMatch(None, 2)),
        truth=Annotations(recorded.truth.segments),
    )
    assert [row["status"] for row in page_of(several)["rows"]].count("invented") == 2
    both = page_of(recorded, replace(recorded, system="other"))
    assert len(both["rows"]) == 2
