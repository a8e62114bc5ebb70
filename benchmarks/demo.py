"""The image of the README: the demo's recording through `erc replay`, with the labels it shows.

    python -m benchmarks.demo

Writes docs/images/timeline.png, and benchmarks/results/demo.json with the label of each utterance,
its confidence, and the emotion that the written dialogue intends.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import Any

from benchmarks.record import ROOT, write_results
from erc_ros.cli import main as erc
from erc_ros.demo.conversation_bag import DIALOGUE
from erc_ros.inference.bundle import load_bundle
from erc_ros.resources import model_folder

COMMAND = "python -m benchmarks.demo"
IMAGE = ROOT / "docs" / "images" / "timeline.png"


def replayed(folder: Path) -> list[dict[str, Any]]:
    """Replay the demo's recording in an empty folder; return its estimates.

    Raises:
        RuntimeError: a command failed, or utterances are missing.
    """
    bag, out = str(folder / "bag"), folder / "out"
    if erc(["make-bag", bag]) or erc(["replay", bag, "--out", str(out)]):
        raise RuntimeError("the demo's recording could not be made or replayed")
    rows = [json.loads(line) for line in (out / "estimates.jsonl").read_text().splitlines()]
    if len(rows) != len(DIALOGUE):
        raise RuntimeError(f"{len(rows)} estimates for {len(DIALOGUE)} turns")
    return rows


def main() -> None:
    """Write the image and the results."""
    with tempfile.TemporaryDirectory() as name:
        rows = replayed(Path(name))
        shutil.copyfile(Path(name) / "out" / "timeline.png", IMAGE)
    utterances = {
        str(number): {
            "label": row["label"],
            "intended": turn.emotion,
            "confidence": row["confidence"],
            "second": sorted(row["probabilities"].values())[-2],
        }
        for number, (row, turn) in enumerate(zip(rows, DIALOGUE, strict=True), 1)
    }
    write_results(
        "demo",
        COMMAND,
        load_bundle(model_folder("edge-small")),
        {"utterances": utterances, "image_sha256": sha256(IMAGE.read_bytes()).hexdigest()},
        "A written dialogue in synthetic voices, with reference transcripts, through `erc replay`; "
        "`second` is the second highest probability.",
    )


if __name__ == "__main__":
    main()
