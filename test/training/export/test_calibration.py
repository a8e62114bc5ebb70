"""What `erc calibrate` writes next to the model card, which it leaves as it is."""

from __future__ import annotations

from pathlib import Path

from erc_ros.inference.manifest import MODALITY_SETS, Calibration
from erc_ros.training.export.card import write_measured
from erc_ros.training.fusion.conditions import MISSING, Condition, Result

CARD = "# tiny\n\n## Limits\n\nMany.\n"


def written(folder: Path, calibration: Calibration) -> str:
    errors = {split: dict.fromkeys(MODALITY_SETS, 0.05) for split in ("dev", "test before", "test")}
    results = [Result(Condition(MISSING, MISSING), 60.0, 0.0, 60.0)]
    without_text = {"audio": {0.0: 0.123, 0.5: 0.04, 1.0: 0.1}}
    write_measured(folder, results, errors, without_text, ["joy", "anger"], calibration, {}, {})
    assert (folder / "README.md").read_text(encoding="utf-8") == CARD
    return (folder / "calibration.md").read_text(encoding="utf-8")


def test_the_factors_of_each_label_are_written_and_removed_again(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(CARD, encoding="utf-8")
    temperatures = dict.fromkeys(MODALITY_SETS, 0.9)
    card = written(tmp_path, Calibration(0.9, temperatures, {"audio": (1.21, 0.5)}))
    assert "| modalities seen | joy | anger |" in card and "| audio | 1.21 | 0.50 |" in card
    assert (
        "| modalities seen | 0 | 0.5 | 1 |" in card
        and "| audio | 12.3 % | 4.0 % | 10.0 % |" in card
    )
    plain = written(tmp_path, Calibration(0.9, temperatures))
    assert "multiplied" not in plain and "| audio | 0.90 | 5.0 % | 5.0 % | 5.0 % |" in plain
