"""The example package of `examples/plugin`, installed as a user installs it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "examples" / "plugin"


def install(folder: Path) -> Path:
    """Install the example in `folder` without a network; return the folder for PYTHONPATH."""
    source, target = folder / "source", folder / "site"
    shutil.copytree(SOURCE, source)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    command += ["--no-build-isolation", "--target", str(target), str(source)]
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    return target


def write_talks(data: Path, conversations: int = 6) -> None:
    """Write the files of the corpus `talks` to a data folder."""
    (data / "talks").mkdir()
    turns = (
        ("anna", "Tell me more about your robot!", "engaged"),
        ("ben", "It is fine, I guess.", "not engaged"),
        ("anna", "And what can it do?", "engaged"),
        ("ben", "I do not know.", ""),
        ("ben", "Can we talk about something else?", "not engaged"),
    )
    for split in ("train", "dev", "test"):
        lines = ["conversation,speaker,text,label"]
        for number in range(conversations):
            rows = turns[number % 2 :]
            lines += [f'{number},{who},"{text}",{label}' for who, text, label in rows]
        (data / "talks" / f"{split}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def environment(site: Path) -> dict[str, str]:
    """Return the environment of a process with the installed package."""
    paths = [str(site), os.environ.get("PYTHONPATH", ""), str(SOURCE.parents[1])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}


def erc(site: Path, *arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run `erc ARGUMENTS` in a process with the installed package."""
    return subprocess.run(
        [sys.executable, "-m", "erc_ros.cli", *map(str, arguments)],
        env=environment(site),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=600,
    )
