"""The contract of `erc_ros.training.datasets.corpus.CorpusSpec`.

The fields are checked when the spec is created. With `--erc-data FOLDER`, the data folder that
contains the corpus, its splits are read as well.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="corpora need the extra [train]", exc_type=ImportError)

from erc_ros.training.datasets import corpora
from erc_ros.training.datasets.corpus import CorpusSpec
from erc_ros.training.datasets.utterances import Split


@pytest.fixture
def spec(corpus: str) -> CorpusSpec:
    """The corpus, loaded as in `erc encode`."""
    corpus_spec = corpora.find(corpus)
    assert isinstance(corpus_spec, CorpusSpec)
    if corpus_spec.read is None:
        pytest.skip("it has no conversations")
    return corpus_spec


@pytest.fixture
def splits(spec: CorpusSpec, request: pytest.FixtureRequest) -> dict[str, Split]:
    """All splits of the corpus in `--erc-data`."""
    folder = request.config.getoption("erc_data", default="")
    if not folder:
        pytest.skip("--erc-data names the folder of the data sets")
    return {name: corpora.read_split(spec, Path(folder), name) for name in spec.splits}


def test_a_folder_without_the_corpus_is_an_error_of_its_kind(
    spec: CorpusSpec, tmp_path: Path
) -> None:
    """It raises FileNotFoundError for every split, unless the package contains the data."""
    for split in spec.splits:
        with contextlib.suppress(FileNotFoundError):
            assert isinstance(corpora.read_split(spec, tmp_path, split), Split)


def test_an_unknown_split_is_refused(spec: CorpusSpec, tmp_path: Path) -> None:
    """It raises ValueError, or FileNotFoundError as for a missing corpus."""
    with pytest.raises((ValueError, FileNotFoundError)):
        corpora.read_split(spec, tmp_path, "no-such-split")


def test_labels_are_indices_of_the_spec_s_labels(
    spec: CorpusSpec, splits: dict[str, Split]
) -> None:
    """All splits have the same labels, and at least one utterance with a label."""
    for split in splits.values():
        assert split.labels == spec.labels
        labels = [u.label for c in split.conversations for u in c.utterances]
        assert any(label is not None for label in labels)
        assert all(label is None or 0 <= label < len(spec.labels) for label in labels)


def test_utterances_have_keys_of_their_own_and_speakers_from_0_to_9(
    splits: dict[str, Split],
) -> None:
    """Keys are unique in the whole corpus, because features are stored by key."""
    keys = [c.key(u) for s in splits.values() for c in s.conversations for u in c.utterances]
    assert len(set(keys)) == len(keys)
    speakers = {u.speaker for s in splits.values() for c in s.conversations for u in c.utterances}
    assert speakers <= set(range(10))


def test_reading_again_gives_the_same(
    spec: CorpusSpec, splits: dict[str, Split], request: pytest.FixtureRequest
) -> None:
    """The order is the same as well, so that a seed determines a training."""
    folder = Path(str(request.config.getoption("erc_data")))
    for name, split in splits.items():
        assert corpora.read_split(spec, folder, name).conversations == split.conversations
