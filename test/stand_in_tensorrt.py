"""Fixtures: a computer with stand-ins for NVIDIA's driver and for TensorRT."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import onnxruntime
import pytest

from erc_ros.inference.engines import background, build, tensorrt_engine
from erc_ros.networks import gpu, network

STAND_IN = Path(__file__).parent / "inference" / "engines" / "stand_in"


@pytest.fixture()
def engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of the engines of this test."""
    monkeypatch.setenv("ERC_ENGINES", str(tmp_path / "engines"))
    monkeypatch.setattr(network, "_said", set())
    return tmp_path / "engines"


@pytest.fixture(scope="session")
def stand_in_driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler for the stand-in of NVIDIA's driver")
    library = tmp_path_factory.mktemp("driver") / "libcuda-stand-in.so"
    source = STAND_IN / "driver.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    return library


@pytest.fixture()
def tensorrt(stand_in_driver: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A computer with stand-ins for a GPU and for TensorRT (see stand_in/tensorrt)."""
    monkeypatch.syspath_prepend(str(STAND_IN))
    path = os.pathsep.join(filter(None, (str(STAND_IN), os.environ.get("PYTHONPATH", ""))))
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.setattr(gpu, "LIBRARY", str(stand_in_driver))
    monkeypatch.setenv("STAND_IN_CPU_MS", "1000")
    monkeypatch.setattr(build, "TIMED", 2)
    monkeypatch.setattr(background, "PRIORITY", 0)  # a busy machine would never let it build
    for module, name in ((onnxruntime, "InferenceSession"), (time, "perf_counter")):
        monkeypatch.setattr(module, name, getattr(module, name))  # changed by the stand-in
    probe = tensorrt_engine.probe  # the test may put another one in its place
    _forget(probe.cache_clear)
    yield
    _forget(probe.cache_clear)


def _forget(forget_probe: Callable[[], None]) -> None:
    sys.modules.pop("tensorrt", None)
    gpu.driver.cache_clear()
    forget_probe()
