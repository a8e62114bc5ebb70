"""Valence and arousal of words against EmoBank's readers (benchmarks/emobank.py)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import record
from benchmarks.emobank import correlation, main, read_sentences

SENTENCES = (
    (4.5, 4.0, "I got the job, and I am so happy!"),
    (1.5, 4.0, "I hate you, get out, you liar!"),
    (1.8, 2.0, "She died, and I cry all day."),
    (3.0, 2.5, "The table has four legs."),
)
DOCUMENTS = ("doc_a", "doc_b", "NYT_1")
TABLE = "id,split,V,A,D,text\ndoc_a_0_10,train,1.0,5.0,3.0,Of another split.\n" + "".join(
    f'{document}_{place}_{place + 9},test,{valence},{arousal},3.0,"{text}"\n'
    for document in DOCUMENTS
    for place, (valence, arousal, text) in enumerate(SENTENCES)
)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    file = tmp_path / "emobank.csv"
    file.write_text(TABLE, encoding="utf-8")
    return file


def test_only_the_test_split_is_read_with_the_document_of_each_sentence(table: Path) -> None:
    sentences = read_sentences(table)
    documents = [sentence.document for sentence in sentences]
    assert documents == [name for name in DOCUMENTS for _ in SENTENCES]
    assert sentences[0].rated == (4.5, 4.0)


def test_a_headline_is_a_document(tmp_path: Path) -> None:
    file = tmp_path / "emobank.csv"
    file.write_text("id,split,V,A,D,text\nSemEval_7,test,2,3,3,Flood\n", encoding="utf-8")
    assert read_sentences(file)[0].document == "SemEval_7"


@pytest.mark.parametrize(
    "text", ["", "id,text\n1,Oh\n", "id,split,V,A,text\na_0_1,train,3,3,Oh\n"], ids=len
)
def test_a_table_that_is_not_emobank_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "other.csv"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"other\.csv"):
        read_sentences(file)


def test_correlation_has_an_interval_over_documents() -> None:
    rated = np.linspace(1.0, 5.0, 40)
    noise = np.random.default_rng(1).normal(size=40)
    figures = correlation(rated + noise, rated, [f"d{n % 8}" for n in range(40)])
    assert figures["r"] == pytest.approx(np.corrcoef(rated + noise, rated)[0, 1])
    assert figures["r_low"] < figures["r"] < figures["r_high"]
    assert correlation(-rated, rated, [f"d{n % 8}" for n in range(40)])["r"] == pytest.approx(-1.0)


def test_pleasant_sentences_have_higher_valence_and_the_result_is_written(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    main([str(table)])
    figures = json.loads((tmp_path / "emobank.json").read_text())["figures"]
    assert figures["sentences"] == 12 and figures["documents"] == 3
    assert figures["valence"]["r"] > 0.5
