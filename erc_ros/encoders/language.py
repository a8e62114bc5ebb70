"""Check whether a text is in a language of the model, from its characters, words and locale.

A text encoder gives wrong estimates with high confidence for texts in other languages. A text is
therefore excluded if its locale is of another language, if its script is not one of the model's
languages, if the tokenizer does not know its letters, or if most of its words are frequent words of
another language. The last check is made for short utterances. It requires two different words of
the other language, and more of them than words of the model's languages; other texts are accepted.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from enum import Enum

from erc_ros.encoders.language_words import LOANWORDS, PARTICLES, WORDS


class TextExclusion(str, Enum):
    """Reason why a text is not used; values of `EmotionEstimate.text_excluded`."""

    LOCALE = "locale"
    SCRIPT = "script"
    LANGUAGE = "language"
    UNREADABLE = "unreadable"
    NON_SPEECH = "non_speech"

    @property
    def explanation(self) -> str:
        """A sentence for a log or report, which does not quote the text."""
        return _EXPLANATIONS[self]


_EXPLANATIONS = {
    TextExclusion.LOCALE: "the text's locale is of a language that the bundle does not read",
    TextExclusion.SCRIPT: "the text is in a script that the bundle does not read",
    TextExclusion.LANGUAGE: "the words of the text are of a language that the bundle does not read",
    TextExclusion.UNREADABLE: "the text has no word that the model knows",
    TextExclusion.NON_SPEECH: "the text names sounds only, such as [MUSIC], and no word",
}

_TAG = re.compile(r"[a-z]{2,8}(-[a-z0-9]{1,8})*")
_UNDETERMINED = frozenset({"c", "posix", "und", "mul", "zxx", "auto", "unknown", "none"})
# ISO 639-2 codes and English names that recognizers use instead of a BCP-47 primary subtag.
_PRIMARY = {
    **{"eng": "en", "english": "en", "deu": "de", "ger": "de", "german": "de", "fra": "fr"},
    **{"fre": "fr", "french": "fr", "spa": "es", "spanish": "es", "ita": "it", "italian": "it"},
    **{"nld": "nl", "dut": "nl", "dutch": "nl", "por": "pt", "portuguese": "pt", "tur": "tr"},
    **{"turkish": "tr", "nb": "no", "nn": "no", "cmn": "zh", "chinese": "zh", "mandarin": "zh"},
}
# Language -> scripts (first word of Unicode character names), for languages not written in Latin.
_SCRIPTS = {
    **dict.fromkeys(("ar", "fa", "ur"), ("ARABIC",)),
    **dict.fromkeys(("ru", "uk", "bg", "sr", "mk", "be"), ("CYRILLIC",)),
    **dict.fromkeys(("hi", "mr", "ne"), ("DEVANAGARI",)),
    "el": ("GREEK",),
    "he": ("HEBREW",),
    "ja": ("HIRAGANA", "KATAKANA", "CJK"),
    "ko": ("HANGUL", "CJK"),
    "th": ("THAI",),
    "zh": ("CJK", "BOPOMOFO"),
}
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")

PARTICLE = 0.5  # weight of a word that is common in names and titles
LEAST = 2.0  # minimum weight of words of the other language; one word may be a quotation or name
MARGIN = 2.0  # minimum ratio to the weight of the words of the model's languages
COVERAGE = 0.4  # minimum share of the words of the text
SHORT, SHORT_COVERAGE = 3, 0.66  # maximum words of a short text, and its minimum share
LETTER = 0.5  # additional weight of a word with letters that the model's languages do not have


def primary_language(tag: str) -> str:
    """Return the primary language subtag of a BCP-47 tag or a POSIX locale; "" without one.

    Example:
        >>> primary_language("de_DE.UTF-8"), primary_language("en-US"), primary_language("C")
        ('de', 'en', '')
    """
    text = tag.strip().lower().partition(".")[0].partition("@")[0].replace("_", "-")
    primary = text.partition("-")[0]
    if not _TAG.fullmatch(text) or primary in _UNDETERMINED:
        return ""
    language = _PRIMARY.get(primary, primary)
    return language if len(language) <= 3 else ""


class LanguageCheck:
    """Check whether a text is in one of the given languages.

    Args:
        languages: BCP-47 tags; empty: every text is accepted.
        unknown_letters: returns the share, 0 to 1, of letters that the tokenizer does not know.
    """

    def __init__(
        self, languages: Sequence[str], unknown_letters: Callable[[str], float] = lambda text: 0.0
    ) -> None:
        self._languages = frozenset(primary_language(tag) or tag.lower() for tag in languages)
        self._unknown_letters = unknown_letters
        self._scripts = {s for name in self._languages for s in _SCRIPTS.get(name, ("LATIN",))}
        # Without data of a language, neither scripts nor words can exclude a text.
        self._knows_scripts = self._languages <= WORDS.keys() | _SCRIPTS.keys()
        self._knows_words = bool(self._languages) and self._languages <= WORDS.keys()
        self._own = frozenset[str]().union(
            *(WORDS[name] for name in self._languages & WORDS.keys())
        )
        self._own_letters = _letters(self._own)
        self._others = {
            name: (words, _letters(words) | {"'"})
            for name, words in WORDS.items()
            if name not in self._languages
        }

    def __call__(self, text: str, locale: str = "") -> TextExclusion | None:
        """Return why `text` with the tag `locale` is excluded, or None."""
        if not self._languages:
            return None
        language = primary_language(locale)
        if language and language not in self._languages:
            return TextExclusion.LOCALE
        letters = [character for character in text if character.isalpha()]
        if self._knows_scripts and letters:
            foreign = sum(not self._is_own_script(character) for character in letters)
            if 2 * foreign > len(letters):
                return TextExclusion.SCRIPT
        if letters and self._unknown_letters(text) > 0.5:
            return TextExclusion.UNREADABLE
        if self._knows_words and self._is_other_language(text):
            return TextExclusion.LANGUAGE
        return None

    def _is_own_script(self, character: str) -> bool:
        name = unicodedata.name(character, "")
        return any(name.startswith(script) for script in self._scripts) or "FULLWIDTH" in name

    def _is_other_language(self, text: str) -> bool:
        words = words_of(text)
        own = sum(word in self._own for word in words)
        least = SHORT_COVERAGE if len(words) <= SHORT else COVERAGE
        for others, letters in self._others.values():
            frequent = [word for word in words if word in others and word not in self._own]
            if not frequent:
                continue
            marked = [
                word
                for word in words
                if word not in others and self._is_marked(word) and letters.issuperset(word)
            ]
            if len({*frequent, *marked}) < 2:
                continue
            weight = sum(map(self._weight, frequent)) + len(marked)
            # Words of both languages are not evidence, but count as words of the text.
            shared = sum(word in others and word in self._own for word in words)
            coverage = (len(frequent) + len(marked) + shared) / len(words)
            if weight >= LEAST and weight > MARGIN * (own - shared) and coverage >= least:
                return True
        return False

    def _is_marked(self, word: str) -> bool:
        """Return whether a word has letters that the languages lack, and is not a loanword."""
        return word not in LOANWORDS and not self._own_letters.issuperset(word)

    def _weight(self, word: str) -> float:
        weight = PARTICLE if word in PARTICLES else 1.0
        return weight + LETTER * self._is_marked(word)


def words_of(text: str) -> list[str]:
    """Return the words of a text in lower case, with ASCII apostrophes."""
    lower = unicodedata.normalize("NFC", text.lower()).replace("i\u0307", "i").replace("’", "'")
    return _WORD.findall(lower)


def _letters(words: frozenset[str]) -> set[str]:
    return {letter for word in words for letter in word}
