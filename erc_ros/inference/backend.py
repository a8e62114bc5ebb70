"""The devices that run a bundle's networks: TensorRT, or ONNX Runtime with CUDA or on the CPU."""

from __future__ import annotations

from pathlib import Path

import onnxruntime as ort

from erc_ros.inference.engines import store
from erc_ros.inference.engines.store import EngineError, Key
from erc_ros.networks import gpu
from erc_ros.networks.network import CUDA, Device, Network, choose, warn_once
from erc_ros.networks.session import NetworkError, Run, on_cpu

DEVICES = ("cpu", "cuda", "tensorrt", "auto")


def open_network(file: Path, device: str | Device = "cpu") -> Network:
    """A network of a bundle.

    Args:
        file: the ONNX file.
        device: one of DEVICES, or a device of another kind. "auto": the best that works, also when
            one fails while it runs.

    Raises:
        NetworkError: the file cannot be read; or not for "auto": the device is not there.
    """
    if isinstance(device, Device):
        return Network(file, [device])
    return Network(file, choose(device, (TENSORRT, CUDA, SAVED_OR_CPU)))


def _no_tensorrt(file: Path) -> str:
    source = store.source_of(file)
    if not store.engine_file(source, "tensorrt").exists():
        return store.refusal(source, "tensorrt") or "no engine was built (erc build-engines)"
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


def _open_cpu(file: Path) -> Run:
    try:
        saved = store.find(file, "onnxruntime", cpu_key(file))
    except EngineError as error:
        warn_once(str(error))
        saved = None
    return on_cpu(file) if saved is None else on_cpu(saved.file, optimized=True)


TENSORRT = Device("tensorrt", _no_tensorrt, _open_tensorrt)
SAVED_OR_CPU = Device("cpu", lambda _: "", _open_cpu)  # the graph of `erc build-engines` if any


def cpu_key(file: Path) -> Key:
    """What a saved graph of `file` has to be made for."""
    builder = f"onnxruntime {ort.__version__}"
    return Key(store.bundle_hash(file), store.processor(), builder, "as in the model")
