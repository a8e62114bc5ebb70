"""Devices for the networks of a bundle: TensorRT, or ONNX Runtime with CUDA or on the CPU."""

from __future__ import annotations

from pathlib import Path

from erc_ros.inference.engines import store
from erc_ros.inference.engines.store import EngineError
from erc_ros.networks import gpu
from erc_ros.networks.network import CPU, CUDA, Device, Network, choose
from erc_ros.networks.session import NetworkError, Run

DEVICES = ("cpu", "cuda", "tensorrt", "auto")


def open_network(file: Path, device: str | Device = "cpu") -> Network:
    """Open a network of a bundle.

    Args:
        file: the ONNX file.
        device: name in DEVICES, or a `Device`. "auto": the best one that works, also if a device
            fails during a call.

    Raises:
        NetworkError: the file cannot be read, or the device is not available (except for "auto").
    """
    if isinstance(device, Device):
        return Network(file, [device])
    return Network(file, choose(device, (TENSORRT, CUDA, CPU)))


def _no_tensorrt(file: Path) -> str:
    source = store.source_of(file)
    if not store.engine_file(source).exists():
        return store.refusal(source) or "no engine was built (erc build-engines)"
    from erc_ros.inference.engines import tensorrt_engine

    return tensorrt_engine.missing()


def _open_tensorrt(file: Path) -> Run:
    from erc_ros.inference.engines import tensorrt_engine

    try:
        network = tensorrt_engine.usable(store.source_of(file))
    except (EngineError, gpu.GpuError) as error:
        raise NetworkError(str(error)) from error
    if network is None:
        raise NetworkError(
            f"device 'tensorrt': no engine of {file} was built; run `erc build-engines "
            f"{file.parent}` on this machine, or set device to 'auto'"
        )
    return network


TENSORRT = Device("tensorrt", _no_tensorrt, _open_tensorrt)
