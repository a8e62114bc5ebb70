"""Results files: figures with their command, date, commit and bundle.

`benchmarks/results/NAME.json` is written by the command that it names. Markdown pages refer to its
figures (`benchmarks.figures`), and test/test_figures.py compares them.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import yaml

from erc_ros.inference.bundle import Bundle

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
MEASURED, RECORDED = "measured", "recorded"
"""Whether a file was written by its command, or copied from a page with its date and commit."""
DECISIVE = (
    "labels", "text", "audio", "visual", "fusion", "calibration", "reliability", "files"
)  # fmt: skip
"""Sections of a manifest on which the estimates depend."""


def write_results(
    name: str, command: str, bundle: Bundle | None, figures: Mapping[str, Any], conditions: str
) -> Path:
    """Write `RESULTS/NAME.json`.

    Args:
        name: name of the file without extension.
        command: command to reproduce the results.
        bundle: the measured bundle, of which a digest is stored; None: the results do not depend
            on a bundle.
        figures: numbers, nested by name; percentages in percent.
        conditions: data and conditions, in one or two sentences.
    """
    content: dict[str, Any] = {
        "status": MEASURED,
        "command": command,
        "date": datetime.now(timezone.utc).date().isoformat(),
        "commit": commit(),
        "conditions": conditions,
        "figures": rounded(figures),
    }
    if bundle is not None:
        content["bundle"] = {
            "name": bundle.name,
            "version": bundle.version,
            "sha256": fingerprint(bundle.folder),
        }
    file = RESULTS / f"{name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return file


def fingerprint(folder: Path) -> str:
    """Return the SHA-256 of the networks, tokens and calibration of a bundle."""
    manifest = yaml.safe_load((folder / "bundle.yaml").read_text(encoding="utf-8"))
    decisive = {name: manifest.get(name) for name in DECISIVE}
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def commit() -> str:
    """Return the short hash of HEAD; "unknown" outside a git clone."""
    command = ["git", "-C", str(ROOT), "rev-parse", "--short=10", "HEAD"]
    try:
        completed = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return completed.stdout.strip()


def rounded(value: Any) -> Any:
    """Round all numbers in a nested value to four decimals."""
    if isinstance(value, Mapping):
        return {name: rounded(each) for name, each in value.items()}
    return value if isinstance(value, (str, bool, int)) else round(float(value), 4)
