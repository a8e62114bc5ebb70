"""What a model card says about each corpus: what it is, and on which terms it may be used."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Terms:
    """A corpus in words.

    title: its name, and what is used of it. about: who speaks, how. licence: in short; empty where
    nobody knows it. is_commercial: whether commercial use is allowed beyond doubt. source: where
    that is said, and whom to name.
    """

    title: str
    about: str
    licence: str
    is_commercial: bool = False
    source: str = ""


TERMS = {
    **{
        f"{name}{form}": Terms(
            f"{title}{content}",
            "English dialogue of a television comedy",
            f"annotations GPL-3.0, {owned}: research use",
        )
        for name, title in (("meld", "MELD"), ("meld-3", "MELD of 3 labels"))
        for form, content, owned in (
            ("", ", text and labels", "the dialogue is television text"),
            ("-clips", " with its clips", "sound and pictures are television"),
            ("-faces", " with the faces of its clips", "sound and pictures are television"),
        )
    },
    "emotionlines": Terms(
        "EmotionLines' votes", "English dialogue of a television comedy", "research use"
    ),
    "emocontext": Terms(
        "EmoContext (SemEval 2019)", "English chats of three turns", "research use"
    ),
    "goemotions": Terms(
        "GoEmotions",
        "comments on Reddit, in English",
        "CC BY 4.0",
        True,
        "Demszky et al. 2020, by Google Research, whose repository says that all its data sets are"
        " released under it: https://github.com/google-research/google-research",
    ),
    "robot-dialogues": Terms(
        "the project's robot dialogues",
        "written dialogues between people and a robot, in English",
        "CC0 1.0",
        True,
        "corpora/robot_dialogues/README.md: written for this project by a language model",
    ),
    "iemocap-4": Terms(
        "IEMOCAP, 4 labels", "ten actors, scripted and improvised", "on request, research use"
    ),
    "iemocap-6": Terms(
        "IEMOCAP, 6 labels", "ten actors, scripted and improvised", "on request, research use"
    ),
    **{
        f"iemocap-{number}-faces": Terms(
            f"IEMOCAP with faces, {number} labels",
            "ten actors, scripted and improvised",
            "on request, research use",
        )
        for number in (4, 6)
    },
    "mosi": Terms("CMU-MOSI", "English video monologues", "research use"),
    "mosi-features": Terms(
        "CMU-MOSI, published features", "English video monologues", "research use"
    ),
    "ravdess": Terms(
        "RAVDESS speech", "acted English sentences of 24 adults", "CC BY-NC-SA 4.0: non-commercial"
    ),
    "emodb": Terms("EmoDB", "acted German sentences of ten adults", "free for research"),
    "nemo": Terms(
        "nEMO", "acted Polish sentences of nine adults", "CC BY-NC-SA 4.0: non-commercial"
    ),
    "ased": Terms("ASED", "acted Amharic sentences of 65 adults", ""),
    "ferplus": Terms(
        "FER2013 pictures with FER+ votes",
        "faces found by web search",
        "votes MIT; the pictures have no clear licence: research use",
    ),
}
"""By the names in `corpora` (and ferplus)."""


def terms(corpus: str) -> Terms:
    """Of a corpus; one that nobody described here has no known licence."""
    return TERMS.get(corpus, Terms(corpus, "", ""))


def together(corpora: list[str]) -> str:
    """On which terms a model that learned from all of them may be used."""
    limiting = [terms(name) for name in corpora if not terms(name).is_commercial]
    if not corpora:
        return "not recorded: ask whoever trained it"
    if not limiting:
        return "as the licences of the data say"
    reasons = "; ".join(f"{t.title}: {t.licence or 'licence not known'}" for t in limiting)
    return f"research and other non-commercial use only ({reasons})"
