"""Renaming and merging of the labels of a model package.

    label_map: "happy=joy, excited=joy, frustrated=anger"

Labels with the same new name are merged: their probabilities are added. A label that is not in the
map keeps its name.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from erc_ros.inference.bundle import Bundle
from erc_ros.inference.estimate import Estimate
from erc_ros.values.errors import ErcValueError


class LabelMapError(ErcValueError):
    """A label map is invalid."""


@dataclass(frozen=True, eq=False)
class LabelMap:
    """Mapping of the labels of a model package to published labels.

    labels: (K,), published labels, in the order of the first label of the package with each name.
    shares: (C, K), 1 if a label of the package has this name.
    """

    labels: tuple[str, ...]
    shares: NDArray[np.float32]

    def bundle(self, bundle: Bundle) -> Bundle:
        """Return the package with published labels; merged labels have the mean of the anchors."""
        anchors = self.shares.T @ bundle.anchors / self.shares.sum(axis=0)[:, None]
        return replace(bundle, labels=self.labels, anchors=anchors.astype(np.float32))

    def estimate(self, estimate: Estimate) -> Estimate:
        """Return an estimate with the published labels; valence and arousal do not change."""
        probabilities = estimate.probabilities @ self.shares
        best = int(probabilities.argmax())
        influence = estimate.influence
        if influence is not None:
            influence = replace(
                influence,
                alone=influence.alone @ self.shares,
                without=influence.without @ self.shares,
            )
        return replace(
            estimate,
            probabilities=probabilities,
            label=self.labels[best],
            confidence=float(probabilities[best]),
            influence=influence,
        )


def read_label_map(text: str, labels: tuple[str, ...]) -> LabelMap | None:
    """Parse a `label_map` parameter; None if it is empty.

    Args:
        text: for example "happy=joy, excited=joy".
        labels: labels of the model package.

    Raises:
        LabelMapError: an entry lacks `=` or a name, a label is unknown or repeated, or fewer than
            two labels are left.
    """
    if not text.strip():
        return None
    names = {label: label for label in labels}
    mapped: set[str] = set()
    for entry in text.split(","):
        label, equals, name = (part.strip() for part in entry.partition("="))
        if not (label and equals and name):
            raise LabelMapError(
                f"label_map has the entry {entry.strip()!r}; write label=name, separated by commas"
            )
        if label not in names:
            near = difflib.get_close_matches(label, labels, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise LabelMapError(
                f"label_map names {label!r}; the labels of the model package are "
                f"{', '.join(labels)}{hint}"
            )
        if label in mapped:
            raise LabelMapError(f"label_map has {label!r} twice")
        mapped.add(label)
        names[label] = name
    published = tuple(dict.fromkeys(names.values()))
    if len(published) < 2:
        raise LabelMapError(f"label_map leaves the single label {published[0]!r}; keep two or more")
    columns = [published.index(names[label]) for label in labels]
    return LabelMap(published, np.eye(len(published), dtype=np.float32)[columns])
