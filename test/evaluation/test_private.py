"""`--private`: who may read the results."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import wave
from pathlib import Path

import pytest


@pytest.mark.parametrize(("options", "others"), [([], 0o044), (["--private"], 0)])
def test_results_follow_the_umask_or_are_for_their_owner(
    options: list[str], others: int, bundle: Path, tmp_path: Path
) -> None:
    with wave.open(str(tmp_path / "silence.wav"), "wb") as audio:
        audio.setparams((1, 2, 16_000, 0, "NONE", ""))
        audio.writeframes(bytes(32_000))
    out = tmp_path / "out"
    line = [sys.executable, "-m", "erc_ros.cli", "replay", str(tmp_path / "silence.wav")]
    line += ["--bundle", str(bundle), "--speaker-model", "", "--out", str(out), *options]
    subprocess.run(line, check=True, timeout=120, umask=0o022, env=dict(os.environ))
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (out, *out.iterdir())}
    assert len(modes) > 3
    assert {mode & 0o044 for mode in modes.values()} == {others}, modes
