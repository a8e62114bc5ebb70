"""`CorpusSpec`: the reader, license, labels, splits and permitted use of a corpus.

`corpora.find(name)` returns the spec of a corpus. A corpus outside this package is a `CorpusSpec`
that recipes and commands name as `module:object`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from erc_ros.training.datasets.scenes import Scene
from erc_ros.training.datasets.utterances import LABELS, Split

if TYPE_CHECKING:  # these readers need the extra [train]
    from erc_ros.training.datasets.images import FerPlus
    from erc_ros.training.datasets.speech import SpeechCorpus

TRAINING, EVALUATION = "training", "evaluation"


@dataclass(frozen=True, kw_only=True, eq=False)
class CorpusSpec:
    """All facts about one corpus.

    A corpus needs at least one reader. `read` is required for `erc encode`, the systems and the
    text encoder; `clips` for the voice encoder; `images` for the face encoder.

    Example:
        TOY = CorpusSpec(name="toy", title="Toy", about="two people who talk about the weather",
                         license="CC0 1.0", is_commercial=True, labels=("neutral", "joy"),
                         read=read_toy)
        # in a recipe: `corpus: my_package.toy:TOY`; `erc encode my_package.toy:TOY train`

    Raises:
        ValueError: a field contradicts another one.
    """

    name: str
    """Unique; letters, digits and hyphens, as it is part of the names of folders."""
    title: str
    """For model cards: the name, and which part of the corpus is used."""
    about: str
    """For model cards: who speaks, in which situation and language."""
    license: str
    """Short name of the license; empty if no license is stated."""
    is_commercial: bool = False
    """Whether the license allows commercial use beyond doubt."""
    source: str = ""
    """Where the license is stated, and the attribution."""
    languages: tuple[str, ...] = ("en",)
    """ISO 639-1 code of the text, or of the speech of a corpus without text."""

    labels: tuple[str, ...] = LABELS
    """Label names, in the order of the label indices that the readers return."""
    meanings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Label -> those of `utterances.LABELS` that it may mean. A label that is missing here means
    the label of the same name."""
    splits: tuple[str, ...] = ("train", "dev", "test")
    """As the reader names them: train, dev or valid, and test; or only "all"."""
    speakers: int | None = None
    """Number of people who speak (images: None)."""
    held_out_speakers: frozenset[str] = frozenset()
    """Names as in `Clip.speaker` of people whose clips no training uses."""
    use: str = TRAINING
    """TRAINING, or EVALUATION for a corpus that no training may read."""

    read: Callable[[Path, str], Split] | None = None
    """(data folder, split) -> conversations. Raises FileNotFoundError if the corpus is not in the
    folder, ValueError for an unknown split or files of another format."""
    clips: Callable[[Path], SpeechCorpus] | None = None
    """data folder -> labeled clips of known speakers. Raises FileNotFoundError."""
    is_trimmed: bool = False
    """Whether silence at both ends of a clip is removed, as `clips` does."""
    max_seconds: float | None = None
    """Maximum duration from the beginning of a clip that is used; None: no limit."""
    images: Callable[[Path], FerPlus] | None = None
    """data folder -> labeled face images. Raises FileNotFoundError."""
    scenes: tuple[str, Callable[[Path], Mapping[str, Iterator[tuple[str, Scene]]]]] | None = None
    """For `erc cut-faces`: the folder below `faces/`, which several specs of one corpus share,
    and data folder -> part -> (utterance, scene)."""
    has_features: bool = False
    """Whether every utterance has published features (`LabelledUtterance.features`)."""
    note: str = ""
    """Remarks on the corpus for tables of results."""
    votes: tuple[str, Callable[[Split, Path], Split]] | None = None
    """Another corpus with votes of raters on the same text, and the function that adds them:
    (train split, data folder) -> the split with votes."""
    text_number: int | None = None
    """Its place among the corpora of the shared text classifier; None for all others."""

    content: str = ""
    """For the table in the documentation: content and publication."""
    media: str = ""
    """Folder of the media files, if the owners of the corpus hand them out only on request."""
    layout: str = ""
    """For the table in the documentation: the files below the data folder."""

    def __post_init__(self) -> None:
        if not self.name or not all(part.isalnum() for part in self.name.split("-")):
            raise ValueError(
                f"corpus name {self.name!r} must consist of letters, digits and hyphens"
            )
        if self.read is None and self.clips is None and self.images is None:
            raise ValueError(f"corpus {self.name} needs a reader: read, clips or images")
        if len(self.labels) < 2 or len(set(self.labels)) != len(self.labels):
            raise ValueError(f"corpus {self.name}: labels must be at least two different names")
        if self.use not in (TRAINING, EVALUATION):
            raise ValueError(
                f"corpus {self.name}: use is {self.use!r}, must be {TRAINING!r} or {EVALUATION!r}"
            )
        if not self.splits:
            raise ValueError(f"corpus {self.name}: splits must not be empty")
        if unknown := set(self.meanings) - set(self.labels):
            raise ValueError(f"corpus {self.name}: meanings of unknown labels {sorted(unknown)}")

    @property
    def dev(self) -> str:
        """The reader's name of the split on which epochs are chosen."""
        return next((name for name in self.splits if name in ("dev", "valid")), "dev")

    def meaning(self, label: str) -> tuple[int, ...]:
        """Return the indices in `utterances.LABELS` of the labels that a label may mean.

        Raises:
            ValueError: it means none of them.
        """
        names = self.meanings.get(label, (label,))
        if unknown := set(names) - set(LABELS):
            raise ValueError(
                f"label {sorted(unknown)[0]!r} of {self.name} means none of {', '.join(LABELS)}:"
                " state it in `meanings` of the corpus"
            )
        return tuple(LABELS.index(name) for name in names)

    @property
    def to_labels(self) -> NDArray[np.int64]:
        """Return the index (C,) in `utterances.LABELS` that each label means.

        Raises:
            ValueError: a label means none or several of them.
        """
        meanings = [self.meaning(label) for label in self.labels]
        if unclear := [n for n, m in zip(self.labels, meanings, strict=True) if len(m) > 1]:
            raise ValueError(f"labels {unclear} of {self.name} mean several of {', '.join(LABELS)}")
        return np.array([index for (index,) in meanings], np.int64)

    @property
    def has_known_meaning(self) -> bool:
        """Whether each label means one or several of `utterances.LABELS`."""
        names = (name for label in self.labels for name in self.meanings.get(label, (label,)))
        return all(name in LABELS for name in names)

    @property
    def summary(self) -> str:
        """Return title and license in one line."""
        return f"{self.title}: {self.license or 'license not known'}"
