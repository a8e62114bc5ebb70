"""One small configuration for each way to make a network smaller, and one function that applies it.

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

from erc_ros.networks.session import signature
from erc_ros.training.quantization.graph import quantize_tables, quantize_weights, settle
from erc_ros.training.quantization.smoothing import FORMS, smooth

Feed = Mapping[str, NDArray[Any]]
"""One run's inputs, by name."""

# The quantizer advises at level INFO and warning about models without shapes; we prepare them.
logging.getLogger("onnxruntime.quantization").setLevel(logging.ERROR)


class QuantizationError(ValueError):
    """A network cannot be quantized so; the message says which, why, and the way out."""


@dataclass(frozen=True, slots=True)
class WeightOnly:
    """int8 weights, one symmetric scale per output channel; embeddings per row (DDVLM, 3.7).

    Everything is computed in float32. Saves space, and time only where reading memory is slow.
    """

    precision: ClassVar[str] = "int8-weights"
    form: str = "multiply"
    """How a float weight is made of them: "multiply" or "dequantize", see `quantize_weights`."""


@dataclass(frozen=True, slots=True)
class Dynamic:
    """Matrix products in int8, activations with the range that they have in each run.

    Convolutions and recurrences stay float32: there it is slower (9 times, MobileNetV3).
    """

    precision: ClassVar[str] = "int8-dynamic"


@dataclass(frozen=True, slots=True)
class SmoothQuant:
    """Dynamic int8 after moving the activations' outliers into the weights (Xiao et al. 2023).

    alphas: how much of them is moved; the best of these on the calibration data is taken.
    form: of the factor, "xiao" or DDVLM's "ratio", see `smoothing`.
    """

    precision: ClassVar[str] = "int8-dynamic"
    alphas: tuple[float, ...] = (0.3, 0.45, 0.6, 0.75, 0.9)
    form: str = "xiao"

    def __post_init__(self) -> None:
        if not self.alphas or not all(0 <= alpha <= 1 for alpha in self.alphas):
            raise ValueError(f"alphas are {self.alphas}; give at least one, all in [0, 1]")
        if self.form not in FORMS:
            raise ValueError(f"form is {self.form!r}, must be one of {FORMS}")


@dataclass(frozen=True, slots=True)
class Static:
    """Convolutions and matrix products in int8 between Q/DQ, with ranges from calibration data.

    ranges: "minmax" (all values seen), "entropy" (least information lost) or "percentile"
    (99.999 % of the values).
    keep: parts of names; nodes whose names contain one stay float32.
    """

    precision: ClassVar[str] = "int8-static"
    ranges: str = "minmax"
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.ranges not in _RANGES:
            raise ValueError(f"ranges is {self.ranges!r}, must be one of {', '.join(_RANGES)}")


@dataclass(frozen=True, slots=True)
class Symmetric:
    """The int8 that TensorRT takes: pairs of Q/DQ with zero point 0 before the products.

    As `Static`, but activations are symmetric, and outputs and biases stay as they are: TensorRT
    fuses what follows a product, and adds biases in float. So embedding tables and whatever else is
    not a product become float16 when the engine is built.

    ranges: as of `Static`.
    alphas: with some, outliers are moved into the weights first, see `SmoothQuant`.
    """

    precision: ClassVar[str] = "int8-static"
    ranges: str = "minmax"
    alphas: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.ranges not in _RANGES:
            raise ValueError(f"ranges is {self.ranges!r}, must be one of {', '.join(_RANGES)}")
        if not all(0 <= alpha <= 1 for alpha in self.alphas):
            raise ValueError(f"alphas are {self.alphas}; all must be in [0, 1]")


@dataclass(frozen=True, slots=True)
class Half:
    """float16 but for LayerNorm and softmax. For GPUs; on a CPU only the file becomes smaller."""

    precision: ClassVar[str] = "float16"


Scheme = WeightOnly | Dynamic | SmoothQuant | Static | Symmetric | Half

_RANGES = {
    "minmax": quantization.CalibrationMethod.MinMax,
    "entropy": quantization.CalibrationMethod.Entropy,
    "percentile": quantization.CalibrationMethod.Percentile,
}
SCHEMES: dict[str, Scheme] = {
    "weight-only": WeightOnly(),
    "weight-only-dq": WeightOnly("dequantize"),
    "dynamic": Dynamic(),
    "smoothquant": SmoothQuant(),
    "smoothquant-ratio": SmoothQuant(form="ratio"),
    "static": Static("minmax"),
    "static-entropy": Static("entropy"),
    "static-percentile": Static("percentile"),
    "symmetric": Symmetric(),
    "symmetric-entropy": Symmetric("entropy"),
    "symmetric-smooth": Symmetric(alphas=(0.3, 0.5, 0.7)),
    "fp16": Half(),
}
"""By the name that `erc quantize --scheme` takes."""
FOR_TENSORRT = ("symmetric", "symmetric-entropy", "symmetric-smooth", "weight-only-dq")
"""What TensorRT takes; the activations of all but the last are int8."""
FOR_CPU = tuple(
    name for name in SCHEMES if name != "smoothquant-ratio" and not name.startswith("symmetric")
)
"""What `auto` tries. Not a paper's form of another scheme, nor what only an engine makes use of."""
CALIBRATED = (SmoothQuant, Static, Symmetric)


def quantize(scheme: Scheme, source: Path, target: Path, calibration: Sequence[Feed] = ()) -> int:
    """Write the float32 network `source` as `target`, smaller.

    Args:
        calibration: inputs as the network will get them, some dozen to a hundred, of training data
            only. SmoothQuant and Static need them.

    Returns:
        How many constants became smaller; 0 if there is nothing that the scheme applies to. The
        target is then as the source.

    Raises:
        QuantizationError: calibration data are missing, or are none for this network.
    """
    if isinstance(scheme, CALIBRATED):
        check_calibration(source, calibration)
    _APPLY[type(scheme)](scheme, source, target, calibration)
    return small_constants(target)


def check_calibration(network: Path, calibration: Sequence[Feed]) -> None:
    """Refuse calibration data that are none for this network.

    Raises:
        QuantizationError: none, or with other names, types or sizes, or with NaN; says which.
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
                size not in (None, found) for size, found in zip(shape, array.shape, strict=True)
            ):
                expected = ", ".join("any" if size is None else str(size) for size in shape)
                raise QuantizationError(f"{where}: {name} is {array.shape}, expected ({expected})")
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise QuantizationError(f"{where}: {name} is not finite; leave such inputs out")


def small_constants(file: Path) -> int:
    """How many constants with at least two dimensions are not float32 (nor integers by nature)."""
    small = {onnx.TensorProto.INT8, onnx.TensorProto.UINT8, onnx.TensorProto.FLOAT16}
    graph = onnx.load(str(file)).graph
    return sum(t.data_type in small and len(t.dims) >= 2 for t in graph.initializer)


def _weight_only(scheme: WeightOnly, source: Path, target: Path, _: Sequence[Feed]) -> None:
    model = _settled(source)
    quantize_tables(model)
    quantize_weights(model, scheme.form)
    onnx.checker.check_model(model)
    onnx.save(model, str(target))


def _dynamic(_: Scheme, source: Path, target: Path, __: Sequence[Feed]) -> None:
    """7 of the 8 bits are used.

    CPUs without VNNI add pairs of products in 16 bits, which would overflow with 8.
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


def _smoothquant(scheme: SmoothQuant, source: Path, target: Path, data: Sequence[Feed]) -> None:
    def int8(source: Path, target: Path) -> None:
        _dynamic(scheme, source, target, ())

    _smoothed(scheme.alphas, scheme.form, source, target, data, int8)


def _smoothed(
    alphas: Sequence[float],
    form: str,
    source: Path,
    target: Path,
    data: Sequence[Feed],
    int8: Callable[[Path, Path], None],
) -> None:
    """Smooth by the best of `alphas`, then quantize by `int8`."""
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".smooth-") as folder:
        settled = Path(folder) / "settled.onnx"
        onnx.save(_settled(source), str(settled))
        smooth(settled, alphas, data, int8, form).rename(target)


def _static(scheme: Static, source: Path, target: Path, calibration: Sequence[Feed]) -> None:
    unsigned = onnx.TensorProto.UINT8
    _pairs(scheme.ranges, scheme.keep, unsigned, {}, source, target, calibration)


def _symmetric(scheme: Symmetric, source: Path, target: Path, data: Sequence[Feed]) -> None:
    options = {
        "ActivationSymmetric": True,
        "WeightSymmetric": True,
        "QuantizeBias": False,
        "OpTypesToExcludeOutputQuantization": _PRODUCTS,
    }

    def int8(source: Path, target: Path) -> None:
        _pairs(scheme.ranges, (), onnx.TensorProto.INT8, options, source, target, data)

    if scheme.alphas:
        _smoothed(scheme.alphas, "xiao", source, target, data, int8)
    else:
        int8(source, target)


def _pairs(
    ranges: str,
    keep: Sequence[str],
    activations: int,
    options: Mapping[str, Any],
    source: Path,
    target: Path,
    calibration: Sequence[Feed],
) -> None:
    """Q/DQ pairs around convolutions and products, with ranges from calibration data."""
    with _prepared(source, target) as prepared:
        found = _ranges(ranges, prepared, _PRODUCTS, calibration)
        model = onnx.load(str(prepared))
        kept = [n.name for n in model.graph.node if any(part in n.name for part in keep)]
        quantizer = QDQQuantizer(
            model,
            per_channel=True,
            reduce_range=True,
            weight_qType=onnx.TensorProto.INT8,
            activation_qType=activations,
            tensors_range=found,
            nodes_to_quantize=[],
            nodes_to_exclude=kept,
            op_types_to_quantize=_PRODUCTS,
            # The products inside attention have no weights; they and softmax stay float32.
            extra_options={"MatMulConstBOnly": True, **options},
        )
        quantizer.quantize_model()
        quantizer.model.save_model_to_file(str(target))


def _ranges(how: str, network: Path, kinds: list[str], feeds: Sequence[Feed]) -> Any:
    """What ONNX Runtime's calibrators make of the activations.

    Input by input: they keep every activation of all inputs they are given at once, and histograms
    want them all of one shape.
    """
    options: dict[str, dict[str, Any]] = {
        "minmax": {},
        "entropy": {"num_bins": 512, "num_quantized_bins": 128},
        "percentile": {"num_bins": 2048, "percentile": 99.999},
    }
    calibrator = create_calibrator(
        network,
        kinds,
        augmented_model_path=str(network.with_name("watched.onnx")),
        calibrate_method=_RANGES[how],
        extra_options=options[how],
    )
    with contextlib.redirect_stdout(io.StringIO()):  # a line for every tensor
        for feed in feeds:
            calibrator.collect_data(_Reader([feed]))
        return calibrator.compute_data()


def _half(_: Half, source: Path, target: Path, __: Sequence[Feed]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about weights too small for float16, which become 0
        model = float16.convert_float_to_float16(
            onnx.shape_inference.infer_shapes(_settled(source)),
            keep_io_types=True,
            op_block_list=[*float16.DEFAULT_OP_BLOCK_LIST, "LayerNormalization", "Softmax"],
        )
    whole = ONNXModel(model)
    whole.topological_sort()  # the casts come in at the end
    onnx.checker.check_model(whole.model)
    onnx.save(whole.model, str(target))


_APPLY: dict[type, Callable[[Any, Path, Path, Sequence[Feed]], None]] = {
    WeightOnly: _weight_only,
    Dynamic: _dynamic,
    SmoothQuant: _smoothquant,
    Static: _static,
    Symmetric: _symmetric,
    Half: _half,
}
_PRODUCTS = ["Conv", "MatMul"]
_DTYPES = {"float": np.float32, "int64": np.int64, "int32": np.int32, "bool": np.bool_}


def _settled(source: Path) -> onnx.ModelProto:
    """The network with plain matrix products: a Gemm is MatMul and Add."""
    model = onnx.load(str(source))
    settle(model)
    whole = ONNXModel(model)
    whole.replace_gemm_with_matmul()
    settled: onnx.ModelProto = whole.model
    return settled


@contextlib.contextmanager
def _prepared(source: Path, target: Path) -> Iterator[Path]:
    """The network as the quantizer wants it, tables small and shapes known; beside the target."""
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".prepared-") as folder:
        settled, prepared = (Path(folder) / f"{name}.onnx" for name in ("settled", "prepared"))
        model = _settled(source)
        quantize_tables(model)
        onnx.save(model, str(settled))
        # ONNX Runtime's optimizations are left to the robot's.
        quant_pre_process(
            str(settled), str(prepared), skip_optimization=True, skip_symbolic_shape=True
        )
        yield prepared


class _Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
    """Calibration inputs in the form that ONNX Runtime asks for."""

    def __init__(self, inputs: Sequence[Feed]) -> None:
        self._inputs: Iterator[Feed] = iter(inputs)

    def get_next(self) -> Feed | None:
        return next(self._inputs, None)
