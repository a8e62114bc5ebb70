"""What a model card says about each corpus: what it is, and on which terms it may be used."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


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
    "ordinary": Terms(
        "recordings of ordinary speech",
        "people who read, talk and command in rooms and on the telephone, no emotion labels",
        "each source its own; the dialogues of SpokenWOZ are CC BY-NC 4.0: non-commercial",
    ),
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


FILE = "LICENSE"
LICENSE = """{title}

These terms apply to the files of this folder (networks, tokenizer, manifest and model card).

{terms}

Training data and their licenses:

{data}

No recording, image or transcript of these data is part of the folder.

{base}

The files are provided "AS IS", without warranties or conditions of any kind, either express or
implied. This file is a summary by the maintainers of erc_ros and not legal advice.
"""
NON_COMMERCIAL = (
    "Permission is granted, free of charge, to use, copy, modify and redistribute these files for"
    " research and other non-commercial purposes only, provided that this file stays with them"
    " and that the licenses of the training data below are respected. Commercial use is not"
    " permitted: it is excluded or not clearly allowed by the licenses of the training data marked"
    " (*)."
)
OPEN = (
    "Licensed under the Apache License, Version 2.0 (SPDX: Apache-2.0); you may obtain a copy of"
    " it at https://www.apache.org/licenses/LICENSE-2.0. Commercial use is permitted. Keep the"
    " attributions below when you redistribute the files."
)
NOT_RECORDED = (
    "The training data were not recorded. No permission is granted here: ask whoever trained the"
    " networks."
)
MINILM = (
    "The text encoder starts from the published weights all-MiniLM-L6-v2, which are licensed under"
    " Apache-2.0 (sentence-transformers, Nils Reimers and Iryna Gurevych). Their authors trained"
    " them on sentence pairs of many collections with terms of their own; some of these (such as MS"
    " MARCO) are for research."
)
PUBLISHED = "Published weights that the training started from keep their own licenses."


def write_license(folder: Path, name: str, corpora: Sequence[str], base: str = PUBLISHED) -> None:
    """Write the file LICENSE of a bundle.

    Args:
        folder: of the bundle.
        corpora: everything that its networks learned from, by the names of TERMS.
        base: a sentence about the weights that the training started from.
    """
    (folder / FILE).write_text(license_text(name, corpora, base), encoding="utf-8")


def license_text(name: str, corpora: Sequence[str], base: str = PUBLISHED) -> str:
    """The terms on which a bundle that learned from `corpora` may be used; wrapped text."""
    known = [terms(corpus) for corpus in dict.fromkeys(corpora)]
    is_open = all(each.is_commercial for each in known)
    data = [
        f"{each.title}: {each.licence or 'license not known'}"
        + (f" ({each.source})" if each.source else "")
        + ("" if each.is_commercial else " (*)")
        for each in known
    ]
    return LICENSE.format(
        title=f"License of the model bundle {name}",
        terms=textwrap.fill((OPEN if is_open else NON_COMMERCIAL) if known else NOT_RECORDED, 100),
        data=_items(data or ["not recorded"]),
        base=textwrap.fill(base, 100),
    )


def _items(lines: Sequence[str]) -> str:
    return "\n".join(
        textwrap.fill(
            line,
            100,
            initial_indent="- ",
            subsequent_indent="  ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        for line in lines
    )
