"""The quantization schemes: a configuration each, whose `write` applies it.

All work on any ONNX graph of float32 and write plain ONNX operators of the same opset (17 here:
onnxruntime 1.23.2 loads them). Inputs and outputs keep their names, types and shapes.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime import quantization
from onnxruntime.quantization.calibrate import create_calibrator
from onnxruntime.quantization.onnx_model import ONNXModel
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers import float16

from erc_ros.inference.engines.graph import to_float16
from erc_ros.networks.session import signature
from erc_ros.training.quantization.graph import quantize_tables, quantize_weights, settle
from erc_ros.training.quantization.smoothing import smooth

Feed = Mapping[str, NDArray[Any]]
"""Inputs of one run, by name."""

# The quantizer warns about models without shapes, which are prepared here.
logging.getLogger("onnxruntime.quantization").setLevel(logging.ERROR)

_PRODUCTS = ["Conv", "MatMul"]
_RANGES = {
    "minmax": quantization.CalibrationMethod.MinMax,
    "percentile": quantization.CalibrationMethod.Percentile,
}
_DTYPES = {"float": np.float32, "int64": np.int64, "int32": np.int32, "bool": np.bool_}


def _check_alphas(alphas: Sequence[float], min_count: int) -> None:
    if len(alphas) < min_count or not all(0 <= alpha <= 1 for alpha in alphas):
        raise ValueError(f"alphas are {alphas}; give at least {min_count}, all in [0, 1]")


class QuantizationError(ValueError):
    """A network cannot be quantized; the message states the reason and the remedy."""


@dataclass(frozen=True, slots=True)
class WeightOnly:
    """int8 weights, one symmetric scale per output channel; embeddings per row (DDVLM, 3.7).

    Computes in float32. Saves space, and time only where memory bandwidth is the limit.
    """

    precision: ClassVar[str] = "int8-weights"
    calibrated: ClassVar[bool] = False
    form: str = "multiply"
    """Operators of the float weight: "multiply" or "dequantize", see `quantize_weights`."""

    def write(self, source: Path, target: Path, _: Sequence[Feed]) -> None:
        """Write `source` as `target`."""
        model = _settled(source)
        quantize_tables(model)
        quantize_weights(model, self.form)
        onnx.checker.check_model(model)
        onnx.save(model, str(target))


@dataclass(frozen=True, slots=True)
class Dynamic:
    """Matrix products in int8; the range of activations is determined in each run.

    Convolutions and recurrences stay float32: int8 is slower there (9 times, MobileNetV3).
    """

    precision: ClassVar[str] = "int8-dynamic"
    calibrated: ClassVar[bool] = False

    def write(self, source: Path, target: Path, _: Sequence[Feed]) -> None:
        """Write `source` as `target`."""
        _dynamic(source, target)


@dataclass(frozen=True, slots=True)
class SmoothQuant:
    """Dynamic int8 after moving the activations' outliers into the weights (Xiao et al. 2023).

    alphas: shares to move; the best one on the calibration data is used.
    """

    precision: ClassVar[str] = "int8-dynamic"
    calibrated: ClassVar[bool] = True
    alphas: tuple[float, ...] = (0.3, 0.45, 0.6, 0.75, 0.9)

    def __post_init__(self) -> None:
        _check_alphas(self.alphas, min_count=1)

    def write(self, source: Path, target: Path, calibration: Sequence[Feed]) -> None:
        """Write `source` as `target`."""
        _smoothed(self.alphas, source, target, calibration, _dynamic)


@dataclass(frozen=True, slots=True)
class Static:
    """Convolutions and matrix products in int8 between Q/DQ, with ranges from calibration data.

    ranges: of the activations, "minmax" (all values) or "percentile" (99.999 % of the values).
    keep: parts of names; nodes whose names contain one remain float32.
    """

    precision: ClassVar[str] = "int8-static"
    calibrated: ClassVar[bool] = True
    ranges: str = "minmax"
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.ranges not in _RANGES:
            raise ValueError(f"ranges is {self.ranges!r}, must be one of {', '.join(_RANGES)}")

    def write(self, source: Path, target: Path, calibration: Sequence[Feed]) -> None:
        """Write `source` as `target`."""
        unsigned = onnx.TensorProto.UINT8
        _static(source, target, calibration, unsigned, {}, self.ranges, self.keep)


@dataclass(frozen=True, slots=True)
class Symmetric:
    """int8 for TensorRT: pairs of Q/DQ with zero point 0 before the products.

    As `Static`, but activations are symmetric, and outputs and biases are not quantized: TensorRT
    fuses operators after a product, and adds biases in float. Embedding tables and everything but
    products become float16 when the engine is built.

    alphas: if not empty, outliers are moved into the weights first, see `SmoothQuant`.
    """

    precision: ClassVar[str] = "int8-static"
    calibrated: ClassVar[bool] = True
    alphas: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        _check_alphas(self.alphas, min_count=0)

    def write(self, source: Path, target: Path, calibration: Sequence[Feed]) -> None:
        """Write `source` as `target`."""
        options = {
            "ActivationSymmetric": True,
            "WeightSymmetric": True,
            "QuantizeBias": False,
            "OpTypesToExcludeOutputQuantization": _PRODUCTS,
        }

        def int8(source: Path, target: Path) -> None:
            _static(source, target, calibration, onnx.TensorProto.INT8, options)

        if self.alphas:
            _smoothed(self.alphas, source, target, calibration, int8)
        else:
            int8(source, target)


@dataclass(frozen=True, slots=True)
class Half:
    """float16 except LayerNorm and softmax. For GPUs; on a CPU only the file becomes smaller."""

    precision: ClassVar[str] = "float16"
    calibrated: ClassVar[bool] = False

    def write(self, source: Path, target: Path, _: Sequence[Feed]) -> None:
        """Write `source` as `target`."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about weights too small for float16, which become 0
            model = to_float16(
                _settled(source), [*float16.DEFAULT_OP_BLOCK_LIST, "LayerNormalization", "Softmax"]
            )
        onnx.save(model, str(target))


Scheme = WeightOnly | Dynamic | SmoothQuant | Static | Symmetric | Half
SCHEMES: dict[str, Scheme] = {
    "weight-only": WeightOnly(),
    "weight-only-dq": WeightOnly("dequantize"),
    "dynamic": Dynamic(),
    "smoothquant": SmoothQuant(),
    "static": Static(),
    "symmetric": Symmetric(),
    "symmetric-smooth": Symmetric(alphas=(0.3, 0.5, 0.7)),
    "fp16": Half(),
}
"""Name for `erc quantize --scheme` -> scheme."""
FOR_TENSORRT = ("symmetric", "symmetric-smooth", "weight-only-dq")
"""Schemes for TensorRT; the activations of all but the last are int8."""
FOR_CPU = tuple(name for name in SCHEMES if not name.startswith("symmetric"))
"""Schemes that `auto` tries: all that are not for engines only."""


def quantize(scheme: Scheme, source: Path, target: Path, calibration: Sequence[Feed] = ()) -> int:
    """Quantize the float32 network `source` and write it as `target`.

    Args:
        calibration: typical inputs of the network, some dozen to a hundred, from training data
            only; required by schemes with `calibrated`.

    Returns:
        the number of smaller constants; 0 if the scheme applies to none, and the target is then
            equal to the source.

    Raises:
        QuantizationError: calibration data are missing, or do not match the network.
    """
    if scheme.calibrated:
        check_calibration(source, calibration)
    scheme.write(source, target, calibration)
    return small_constants(target)


def check_calibration(network: Path, calibration: Sequence[Feed]) -> None:
    """Check that calibration data match the inputs of this network.

    Raises:
        QuantizationError: data are missing, have NaN or other names, types or sizes; names them.
    """
    if not calibration:
        raise QuantizationError(
            f"{network.name}: calibration data are missing; give some dozen inputs of training data"
        )
    ports = signature(network).inputs
    for number, feed in enumerate(calibration):
        where = f"{network.name}: calibration input {number}"
        if set(feed) != set(ports):
            raise QuantizationError(
                f"{where} has {', '.join(feed) or 'nothing'}; the network takes {', '.join(ports)}"
            )
        for name, (element, shape) in ports.items():
            array = feed[name]
            if array.dtype != _DTYPES.get(element, array.dtype):
                raise QuantizationError(f"{where}: {name} is {array.dtype}, expected {element}")
            if array.ndim != len(shape) or any(
                size not in (None, actual) for size, actual in zip(shape, array.shape, strict=True)
            ):
                expected = ", ".join("any" if size is None else str(size) for size in shape)
                raise QuantizationError(f"{where}: {name} is {array.shape}, expected ({expected})")
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise QuantizationError(f"{where}: {name} is not finite; skip such inputs")


def small_constants(file: Path) -> int:
    """Return the number of constants of two or more dimensions that were quantized."""
    small = {onnx.TensorProto.INT8, onnx.TensorProto.UINT8, onnx.TensorProto.FLOAT16}
    graph = onnx.load(str(file)).graph
    return sum(t.data_type in small and len(t.dims) >= 2 for t in graph.initializer)


def _dynamic(source: Path, target: Path) -> None:
    """Quantize dynamically with 7 of the 8 bits.

    CPUs without VNNI add pairs of products in 16 bits, which would overflow with 8 bits.
    """
    with _prepared(source, target) as prepared:
        quantization.quantize_dynamic(
            str(prepared),
            str(target),
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            reduce_range=True,
            weight_type=quantization.QuantType.QInt8,
            extra_options={"MatMulConstBOnly": True},
        )


def _smoothed(
    alphas: Sequence[float],
    source: Path,
    target: Path,
    calibration: Sequence[Feed],
    int8: Callable[[Path, Path], None],
) -> None:
    """Smooth with the best of `alphas`, then quantize with `int8`."""
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".smooth-") as folder:
        settled = Path(folder) / "settled.onnx"
        onnx.save(_settled(source), str(settled))
        smooth(settled, alphas, calibration, int8).rename(target)


def _static(
    source: Path,
    target: Path,
    calibration: Sequence[Feed],
    activations: int,
    options: Mapping[str, Any],
    ranges: str = "minmax",
    keep: Sequence[str] = (),
) -> None:
    """Insert Q/DQ pairs around convolutions and products, with ranges from calibration data."""
    with _prepared(source, target) as prepared:
        model = onnx.load(str(prepared))
        quantizer = QDQQuantizer(
            model,
            per_channel=True,
            reduce_range=True,
            weight_qType=onnx.TensorProto.INT8,
            activation_qType=activations,
            tensors_range=_ranges(ranges, prepared, calibration),
            nodes_to_quantize=[],
            nodes_to_exclude=[
                node.name for node in model.graph.node if any(part in node.name for part in keep)
            ],
            op_types_to_quantize=_PRODUCTS,
            # Attention scores and softmax remain float32, as these products have no weights.
            extra_options={"MatMulConstBOnly": True, **options},
        )
        quantizer.quantize_model()
        quantizer.model.save_model_to_file(str(target))


def _ranges(how: str, network: Path, feeds: Sequence[Feed]) -> Any:
    """Return the range of each activation.

    Processes inputs one by one, as the calibrators store all activations of a batch of inputs.
    """
    calibrator = create_calibrator(
        network,
        _PRODUCTS,
        augmented_model_path=str(network.with_name("watched.onnx")),
        calibrate_method=_RANGES[how],
        extra_options={} if how == "minmax" else {"num_bins": 2048, "percentile": 99.999},
    )
    with contextlib.redirect_stdout(io.StringIO()):  # it prints a line for every tensor
        for feed in feeds:
            calibrator.collect_data(_Reader([feed]))
        return calibrator.compute_data()


def _settled(source: Path) -> onnx.ModelProto:
    """Return the network with every Gemm replaced by MatMul and Add."""
    model = onnx.load(str(source))
    settle(model)
    whole = ONNXModel(model)
    whole.replace_gemm_with_matmul()
    settled: onnx.ModelProto = whole.model
    return settled


@contextlib.contextmanager
def _prepared(source: Path, target: Path) -> Iterator[Path]:
    """Yield the network prepared for the quantizer: quantized tables, inferred shapes."""
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".prepared-") as folder:
        settled, prepared = (Path(folder) / f"{name}.onnx" for name in ("settled", "prepared"))
        model = _settled(source)
        quantize_tables(model)
        onnx.save(model, str(settled))
        # Graph optimizations are done when the robot loads the network.
        quant_pre_process(
            str(settled), str(prepared), skip_optimization=True, skip_symbolic_shape=True
        )
        yield prepared


class _Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
    """Calibration inputs in the interface of ONNX Runtime."""

    def __init__(self, inputs: Sequence[Feed]) -> None:
        self._inputs: Iterator[Feed] = iter(inputs)

    def get_next(self) -> Feed | None:
        return next(self._inputs, None)
