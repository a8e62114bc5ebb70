"""Corpora of acted clips, each labeled by its file name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from erc_ros.training.datasets.corpus import CorpusSpec
from erc_ros.training.datasets.speech import ClipLabel, list_corpus, read_corpus


def acted_corpus(
    name: str, folder: str, parse: Callable[[str], ClipLabel], **fields: Any
) -> CorpusSpec:
    """Return the spec of a corpus of acted clips that are labeled by their file names.

    Args:
        folder: below the data folder.
        parse: as of `read_corpus`.
        fields: others of `CorpusSpec`; max_seconds also limits the clips.
    """
    return CorpusSpec(
        name=name,
        splits=("all",),
        is_trimmed=True,
        read=lambda data, split: list_corpus(data / folder, name, parse, split),
        clips=lambda data: read_corpus(data / folder, name, parse, fields.get("max_seconds")),
        **fields,
    )
