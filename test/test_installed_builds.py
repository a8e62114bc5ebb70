"""Two overwriting builds of ONNX Runtime are reported with the remedy."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from erc_ros.networks.installed import BUILDS

CODE = """
import pathlib
import warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    from erc_ros.networks import network, session
for each in caught:
    if issubclass(each.category, RuntimeWarning):
        print("warning:", each.message)
print("auto:", network.CUDA.absent(pathlib.Path("none.onnx")))
try:
    session.on_cuda(pathlib.Path("none.onnx"))
except session.NetworkError as error:
    print("cuda:", error)
"""


def reported(folder: Path, *builds: str) -> str:
    """Return the report in a process in which these distributions are installed as well."""
    for build in builds:
        metadata = folder / f"{build.replace('-', '_')}-1.31.1.dist-info"
        metadata.mkdir()
        text = f"Metadata-Version: 2.1\nName: {build}\nVersion: 1.31.1\n"
        (metadata / "METADATA").write_text(text)
    path = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    line = [sys.executable, "-c", CODE]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("second", [name for name in BUILDS if name != "onnxruntime"])
def test_two_builds_are_reported_with_the_commands_that_help(tmp_path: Path, second: str) -> None:
    report = reported(tmp_path, "onnxruntime", second)
    for line in ("warning: ", "auto: ", "cuda: "):
        (said,) = [each for each in report.splitlines() if each.startswith(line)]
        assert f"pip uninstall -y onnxruntime {second}" in said or second < "onnxruntime"
        assert f"pip install {second}" in said


def test_one_build_is_not_reported(tmp_path: Path) -> None:
    report = reported(tmp_path)
    assert "uninstall" not in report and "warning: " not in report
    assert "docs/how-to/gpu.md" in report
