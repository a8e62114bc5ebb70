from __future__ import annotations

import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from erc_ros.inference import backend
from erc_ros.inference.backend import open_network
from erc_ros.networks import gpu
from erc_ros.networks import network as network_module
from erc_ros.networks.network import CUDA, Device, observed
from erc_ros.networks.session import Compared, NetworkError, on_cpu

FACES = {"faces": np.full((2, 1, 48, 48), 0.5, np.float32)}


@pytest.fixture()
def face(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ERC_ENGINES", str(tmp_path / "engines"))
    monkeypatch.setattr(network_module, "_said", set())
    return Path(shutil.copytree(tiny_folder, tmp_path / "bundle")) / "face.onnx"


@pytest.fixture()
def cuda_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A computer whose onnxruntime lists CUDA and that seems to have a driver."""
    both = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: both)
    monkeypatch.setattr(gpu, "driver", object)


def test_a_machine_without_a_gpu_runs_on_the_cpu_without_a_word(
    face: Path, caplog: pytest.LogCaptureFixture
) -> None:
    network = open_network(face, "auto")
    assert network.device == "cpu" and caplog.records == []
    assert "tensorrt: no engine was built" in network.note and "cuda: " in network.note
    np.testing.assert_array_equal(
        network(FACES)["embedding"], open_network(face)(FACES)["embedding"]
    )


def test_the_selected_device_needs_no_note(face: Path) -> None:
    assert (open_network(face, "cpu").device, open_network(face, "cpu").note) == ("cpu", "")


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_cuda_that_does_not_start_is_one_warning_for_all_networks(
    face: Path, cuda_listed: None, caplog: pytest.LogCaptureFixture
) -> None:
    networks = [
        open_network(face.with_name(f"{n}.onnx"), "auto") for n in ("face", "audio", "fusion")
    ]
    assert [network.device for network in networks] == ["cpu"] * 3
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "cuda cannot be used" in record.message and "using cpu instead" in record.message
    assert all("did not start" in network.note for network in networks)


def test_models_whose_int8_is_made_for_cpus_stay_there(
    face: Path, cuda_listed: None, caplog: pytest.LogCaptureFixture
) -> None:
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [2]) for n in "xy"]
    model = helper.make_model(
        helper.make_graph(nodes, "g", ports[:1], ports[1:]),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    onnx.save(model, str(face))
    network = open_network(face, "auto")
    assert network.device == "cpu" and "made for CPUs" in network.note and caplog.records == []


class Failing:
    """A session of a device that fails during a call."""

    calls = 0

    def __call__(self, inputs: dict[str, Any]) -> dict[str, Any]:
        self.calls += 1
        raise RuntimeError("CUDA error 700: an illegal\nmemory access")


@pytest.fixture()
def dying(monkeypatch: pytest.MonkeyPatch, cuda_listed: None) -> Failing:
    failing = Failing()
    monkeypatch.setattr(backend, "CUDA", replace(CUDA, open=lambda file: failing))
    return failing


def test_a_device_that_fails_while_it_runs_is_left_for_the_next(
    face: Path, dying: Failing, caplog: pytest.LogCaptureFixture
) -> None:
    network = open_network(face, "auto")
    assert network.device == "cuda"
    outputs = [network(FACES)["embedding"] for _ in range(3)]
    assert network.device == "cpu" and dying.calls == 1 and np.isfinite(outputs).all()
    (record,) = caplog.records
    assert "cuda failed during a call (CUDA error 700: an illegal memory access)" in record.message
    assert "cuda: CUDA error 700" in network.note


def test_two_devices_that_fail_one_after_the_other_leave_the_cpu(
    face: Path, dying: Failing, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = Device("tensorrt", lambda file: "", lambda file: Failing())
    monkeypatch.setattr(backend, "TENSORRT", there)
    network = open_network(face, "auto")
    assert network.device == "tensorrt" and network(FACES)["embedding"].shape == (2, 128)
    assert network.device == "cpu" and dying.calls == 1
    assert [record.message.split()[0] for record in caplog.records] == ["tensorrt", "cuda"]


def test_inputs_that_no_device_takes_change_nothing(
    face: Path, dying: Failing, caplog: pytest.LogCaptureFixture
) -> None:
    network = open_network(face, "auto")
    for _ in range(2):
        with pytest.raises(Exception, match="faces"):
            network({"faces": np.zeros((1, 3, 48, 48), np.float32)})
    assert network.device == "cuda" and caplog.records == []
    assert network(FACES)["embedding"].shape == (2, 128) and network.device == "cpu"


def test_a_selected_device_does_not_fall_back(face: Path, dying: Failing) -> None:
    network = open_network(face, "cuda")
    with pytest.raises(RuntimeError, match="illegal"):
        network(FACES)
    assert network.device == "cuda"


def answering(monkeypatch: pytest.MonkeyPatch, factor: float) -> list[int]:
    """A CUDA session with the CPU's outputs times `factor`, and the number of CPU calls."""
    compared: list[int] = []

    def reference(file: Path) -> Any:
        compared.append(1)
        return on_cpu(file)

    def open_cuda(file: Path) -> Any:
        run = on_cpu(file)
        return Compared(
            lambda inputs: {name: factor * output for name, output in run(inputs).items()},
            lambda: reference(file),
        )

    monkeypatch.setattr(backend, "CUDA", replace(CUDA, open=open_cuda))
    return compared


def test_a_device_that_agrees_with_the_cpu_is_compared_once_and_kept(
    face: Path, cuda_listed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = answering(monkeypatch, 1.001)
    network = open_network(face, "auto")
    for _ in range(3):
        network(FACES)
    assert network.device == "cuda" and compared == [1]


@pytest.mark.parametrize(
    ("factor", "why"), [(1.1, "differ from the CPU's"), (np.nan, "not finite")]
)
def test_a_device_with_other_outputs_than_the_cpu_is_not_used(
    face: Path,
    cuda_listed: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    factor: float,
    why: str,
) -> None:
    answering(monkeypatch, factor)
    network = open_network(face, "auto")
    np.testing.assert_array_equal(
        network(FACES)["embedding"], open_network(face)(FACES)["embedding"]
    )
    assert network.device == "cpu" and why in network.note and len(caplog.records) == 1
    with pytest.raises(NetworkError, match=why):
        open_network(face, "cuda")(FACES)


def test_tensorrt_without_an_engine_says_how_to_build_one(face: Path) -> None:
    with pytest.raises(NetworkError, match=r"face\.onnx.*erc build-engines"):
        open_network(face, "tensorrt")


def test_a_broken_file_is_an_error_on_every_device(face: Path) -> None:
    face.write_bytes(b"no network")
    for device in ("cpu", "auto"):
        with pytest.raises(NetworkError, match=r"face\.onnx"):
            open_network(face, device)


def test_an_observer_sees_every_call_until_it_ends(face: Path) -> None:
    network, seen = open_network(face), []
    with observed(lambda file, inputs: seen.append((file, inputs["faces"].shape))):
        network(FACES)
    network(FACES)
    assert seen == [(face, (2, 1, 48, 48))]


def test_no_driver_here_is_an_error_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "LIBRARY", "libno-such-driver.so")
    gpu.driver.cache_clear()
    with pytest.raises(gpu.GpuError, match=r"libno-such-driver\.so"):
        gpu.Gpu()
    gpu.driver.cache_clear()
