"""Results files: figures with the command, date, commit and bundle that they come from.

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
"""Written by its command; or copied from a page, with the date and commit of that measurement."""
DECISIVE = (
    "labels", "text", "audio", "visual", "fusion", "calibration", "reliability", "files"
)  # fmt: skip
"""Sections of a manifest that decide the estimates."""


def write_results(
    name: str, command: str, bundle: Bundle | None, figures: Mapping[str, Any], conditions: str
) -> Path:
    """Write `RESULTS/NAME.json`.

    Args:
        name: of the file, without its ending.
        command: what a reader runs to get the same.
        bundle: that was measured; the digest of its networks and settings is stored. None: the
            figures do not depend on a bundle.
        figures: numbers, nested by name; percentages as percent.
        conditions: what was measured on, in one or two sentences.
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
    """SHA-256 of what decides the estimates of a bundle: its networks, tokens and calibration."""
    manifest = yaml.safe_load((folder / "bundle.yaml").read_text(encoding="utf-8"))
    decisive = {name: manifest.get(name) for name in DECISIVE}
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def commit() -> str:
    """The short hash of HEAD; "unknown" outside a clone."""
    command = ["git", "-C", str(ROOT), "rev-parse", "--short=10", "HEAD"]
    try:
        completed = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return completed.stdout.strip()


def rounded(value: Any) -> Any:
    """The same with numbers of at most four decimals."""
    if isinstance(value, Mapping):
        return {name: rounded(each) for name, each in value.items()}
    return value if isinstance(value, (str, bool, int)) else round(float(value), 4)
