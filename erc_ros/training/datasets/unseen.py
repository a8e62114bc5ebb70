"""Corpora of text to measure with and never to train on: what a model knows outside its own.

They are not in `corpora.CORPORA`, so no training, recipe or feature store knows their names.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from erc_ros.training.datasets.dailydialog import read_dailydialog
from erc_ros.training.datasets.emorynlp import read_emorynlp
from erc_ros.training.datasets.reccon import read_reccon_iemocap
from erc_ros.training.datasets.utterances import Split

UNSEEN: dict[str, Callable[[Path, str], Split]] = {
    "dailydialog": read_dailydialog,
    "emorynlp": read_emorynlp,
    "reccon-iemocap": read_reccon_iemocap,
}
"""(data folder, split) -> the split. All have test; some have dev."""
