"""The commands of docs/tutorials/fusion_model.md, in their order, on the files that it shows."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the extra [train]")
pytest.importorskip("av", reason="needs the extra [train]")
pytest.importorskip("espeakng_loader", reason="the extra [demo] is not installed")

from erc_ros.inference.bundle import load_bundle

REPOSITORY = Path(__file__).parents[2]
PAGE = REPOSITORY / "docs" / "tutorials" / "fusion_model.md"
SAVED = re.compile(r"Save this as `([\w.]+)`:\n\n```\w+\n(.*?)```", re.DOTALL)
COMMANDS = re.compile(r"```bash\n(.*?)```", re.DOTALL)


def test_every_command_of_the_tutorial_works(tmp_path: Path) -> None:
    if not PAGE.is_file():
        pytest.skip("not a source tree")
    page = PAGE.read_text(encoding="utf-8")
    for name, content in SAVED.findall(page):
        (tmp_path / name).write_text(content, encoding="utf-8")
    commands = tmp_path / "bin"
    commands.mkdir()
    for name, module in (("erc", "erc_ros.cli"), ("pytest", "pytest")):
        script = commands / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {module} "$@"\n')
        script.chmod(0o755)
    environment = dict(os.environ)
    environment.pop("ERC_DATA", None)
    environment["PATH"] = os.pathsep.join([str(commands), environment["PATH"]])
    paths = [str(REPOSITORY), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    script = "set -ex\n" + "\n".join(COMMANDS.findall(page))
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]

    table = (tmp_path / "runs" / "table" / "table.md").read_text(encoding="utf-8")
    for row in ("Dialogue mean", "MAGTKD", "SUMMER", "LPGNet", "DDVLM"):
        assert f"{row}, " in table
    bundle = load_bundle(tmp_path / "models" / "dialogue-mean")
    assert bundle.fusion.context == 16 and bundle.audio is None
    card = (bundle.folder / "README.md").read_text(encoding="utf-8")
    assert "DialogueMean" in card and "edge-small" in card and "my_fusion.py" not in card
    assert "edge-small" in (bundle.folder / "LICENSE").read_text(encoding="utf-8")
    lines = (tmp_path / "out" / "talk" / "estimates.jsonl").read_text("utf-8").splitlines()
    assert len(lines) >= 4
    assert all(json.loads(line)["label"] in ("", *bundle.labels) for line in lines)
