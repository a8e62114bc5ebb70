"""Descriptions and terms of use of the corpora, for model cards and LICENSE files."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from erc_ros.training.datasets.corpora import find


@dataclass(frozen=True, slots=True)
class Terms:
    """A corpus in words; the fields are those of `CorpusSpec`."""

    title: str
    about: str
    licence: str
    is_commercial: bool = False
    source: str = ""


def terms(corpus: str) -> Terms:
    """Return the terms of a corpus; without a license if its package is not installed."""
    try:
        spec = find(corpus)
    except ValueError:
        return Terms(corpus, "", "")
    return Terms(spec.title, spec.about, spec.license, spec.is_commercial, spec.source)


def together(corpora: list[str]) -> str:
    """Return the terms of use of a model that was trained on these corpora."""
    limiting = [terms(name) for name in corpora if not terms(name).is_commercial]
    if not corpora:
        return "not recorded: contact the authors of the training"
    if not limiting:
        return "as stated in the licenses of the data"
    reasons = "; ".join(f"{t.title}: {t.licence or 'license not known'}" for t in limiting)
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
    "The training data were not recorded. No permission is granted here: contact the authors of the"
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
        corpora: names of all training corpora of its networks.
        base: a sentence about the weights that the training started from.
    """
    (folder / FILE).write_text(license_text(name, corpora, base), encoding="utf-8")


def license_text(name: str, corpora: Sequence[str], base: str = PUBLISHED) -> str:
    """Return the license text of a bundle that was trained on `corpora`, wrapped."""
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
