"""Published features of MELD's dev audio."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from erc_ros.training.datasets.published import read_meld_dev_sound


@pytest.mark.parametrize(
    "arrays, message",
    [
        ({"audio": np.zeros((2, 3))}, "lacks"),
        ({"dialogue": [0], "utterance": [0], "audio": np.zeros((2, 3))}, "for 1 utterances"),
        ({"dialogue": [0], "utterance": [0], "audio": np.full((1, 3), np.nan)}, "not finite"),
    ],
)
def test_sound_of_another_form_is_refused(
    tmp_path: Path, arrays: dict[str, object], message: str
) -> None:
    with pytest.raises(FileNotFoundError, match="ERC_DATA"):
        read_meld_dev_sound(tmp_path)
    (tmp_path / "meld_dev_real_audio").mkdir()
    np.savez(tmp_path / "meld_dev_real_audio" / "meld_dev.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        read_meld_dev_sound(tmp_path)
