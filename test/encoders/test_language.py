"""Exclusion of texts by language: none in English, most in other languages."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
import yaml
from data_folder import need
from tokenizers import Tokenizer

from erc_ros.encoders.language import LanguageCheck, TextExclusion, primary_language
from erc_ros.encoders.text import Vocabulary
from erc_ros.resources import model_folder

SENTENCES = yaml.safe_load(
    (Path(__file__).parents[1] / "assets" / "other_languages.yaml").read_text(encoding="utf-8")
)
ENGLISH = LanguageCheck(["en"])


def as_recognised(text: str) -> str:
    """Convert to lower case without punctuation, as many speech recognizers do."""
    return " ".join(re.sub(r"[^\w\s'’]", " ", text).lower().split())


@pytest.mark.parametrize(
    ("tag", "language"),
    [
        ("en", "en"),
        ("en-US", "en"),
        ("en_GB.UTF-8", "en"),
        ("DE_de", "de"),
        ("zh-Hant-TW", "zh"),
        ("german", "de"),
        ("eng", "en"),
        ("", ""),
        ("C", ""),
        ("und", ""),
        ("auto", ""),
        ("??", ""),
        ("a language", ""),
    ],
)
def test_the_primary_language_of_a_tag(tag: str, language: str) -> None:
    assert primary_language(tag) == language


@pytest.mark.parametrize(
    ("locale", "excluded"),
    [("de-DE", True), ("en-US", False), ("en_GB", False), ("", False), ("und", False)],
)
def test_a_locale_of_another_language_excludes_a_text(locale: str, excluded: bool) -> None:
    assert (ENGLISH("I am so happy for you.", locale) == TextExclusion.LOCALE) == excluded


@pytest.mark.parametrize(
    "text",
    [
        "أنا غاضب جدا",
        "我今天很难过",
        "Я очень злюсь на тебя",
        "私はとても悲しい",
        "너무 슬퍼요",
        "ok, 我很好谢谢",
    ],
)
def test_another_script_is_excluded(text: str) -> None:
    assert ENGLISH(text) == TextExclusion.SCRIPT


@pytest.mark.parametrize("form", [str, as_recognised])
@pytest.mark.parametrize("language", list(SENTENCES))
def test_most_sentences_of_other_languages_are_excluded(language: str, form: object) -> None:
    texts = [form(text) for text in SENTENCES[language]]  # type: ignore[operator]
    excluded = [text for text in texts if ENGLISH(text) == TextExclusion.LANGUAGE]
    assert len(texts) >= 20 and len(excluded) >= 0.8 * len(texts)


@pytest.mark.parametrize("language", list(SENTENCES))
def test_a_sentence_is_read_where_its_language_is(language: str) -> None:
    check = LanguageCheck(["en", language])
    assert not [text for text in SENTENCES[language] if check(text)]


@pytest.mark.parametrize(
    "text",
    [
        *("Bonjour!", "Ciao, bella.", "Hasta la vista, baby.", "C'est la vie.", "Mamma mia!"),
        *("Vincent van Gogh", "Oscar de la Renta", "Leonardo da Vinci", "ludwig van beethoven"),
        *("my name is juan carlos de la cruz", "i met jürgen klopp in köln", "José Müller"),
        *("Los Angeles", "naïve café résumé", "la la la la", "no no no", "Die Hard", "ja ja"),
        *("Hm.", "Oh!", "OK", "Hi", "Wow", "123", "?!", "😂😂", "Chandler Muriel Bing", "Ross"),
        "is that a piñata",
    ],
)
def test_names_loanwords_and_short_texts_are_not_excluded(text: str) -> None:
    assert ENGLISH(text) is None and ENGLISH(as_recognised(text)) is None


@pytest.mark.data
def test_no_utterance_of_english_television_is_excluded() -> None:
    vocabulary = Vocabulary(Tokenizer.from_file(str(model_folder("edge-small") / "tokenizer.json")))
    check = LanguageCheck(["en"], vocabulary.unknown_letters)
    for split in ("dev", "test"):
        file = need("meld_annotations") / "meld_annotations" / f"{split}_sent_emo.csv"
        with file.open(encoding="utf-8") as stream:
            texts = [row["Utterance"] for row in csv.DictReader(stream)]
        assert len(texts) > 1000
        for form in (str, as_recognised):
            excluded = [text for text in texts if check(form(text))]
            assert len(excluded) <= 0.002 * len(texts), excluded


def test_without_languages_or_a_list_of_words_nothing_is_decided_by_words() -> None:
    german = SENTENCES["de"][0]
    assert LanguageCheck([])(german, "de") is None
    assert LanguageCheck(["sw"])(german) is None  # no list of words of Swahili
    assert LanguageCheck(["sw"])(german, "de") == TextExclusion.LOCALE
    assert LanguageCheck(["de"])("I am so happy for you.") == TextExclusion.LANGUAGE
    assert LanguageCheck(["ja"])("私はとても悲しい") is None


def test_a_text_that_the_tokenizer_mostly_cannot_read_is_excluded() -> None:
    check = LanguageCheck(["en"], lambda text: 0.6)
    assert check("hello there") == TextExclusion.UNREADABLE
    vocabulary = Vocabulary(Tokenizer.from_file(str(model_folder("edge-small") / "tokenizer.json")))
    assert vocabulary.unknown_letters("hello 😂") == 0.0
    assert vocabulary.unknown_letters("ᏣᎳᎩ ᎦᏬᏂᎯᏍᏗ") == 1.0
    assert vocabulary.unknown_letters("") == 0.0
