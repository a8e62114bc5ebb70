"""Checks and conversion of ONNX models for TensorRT, to float16.

TensorRT networks are strongly typed: the graph, not flags, defines which tensors are float16, int8
or float32. Needs the package onnx.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import helper, numpy_helper, shape_inference
from onnxruntime.transformers.float16 import convert_float_to_float16

from erc_ros.inference.engines.operators import (
    CONSTANT_INPUTS,
    DATA_INPUT,
    LARGEST_OPSET,
    TYPES,
)
from erc_ros.inference.engines.profiles import Shape
from erc_ros.values.errors import ErcValueError

KEPT_FLOAT32 = [
    "LayerNormalization",
    "Softmax",
    "ReduceMean",  # part of norms, whose sums of squares overflow float16 (65504)
    "ReduceSum",
    "Pow",
    "Sqrt",
    "CumSum",
    "Range",
    "Exp",  # exp(12) overflows float16
    "Log",  # probabilities below 6e-8 are 0 in float16
]
QUANTIZED_OPSET = 19  # first opset in which QuantizeLinear and DequantizeLinear take float16


def load(file: Path) -> onnx.ModelProto:
    """Load an ONNX file and replace operators that TensorRT does not support.

    Positions are summed as floats, log-sum-exp is decomposed, and int8 for CPUs (embedding tables,
    dynamic quantization, static pairs with zero points) becomes float with the same weights.
    """
    model = _sum_in_float(onnx.load(str(file)))
    _spell_out_log_sum_exp(model)
    _restore_tables(model)
    _restore_products(model)
    _restore_pairs(model)
    return model


def axes(model: onnx.ModelProto) -> dict[str, tuple[int | str | None, ...]]:
    """Return the axes of each input: size, name of a dynamic axis, or None without a name."""
    return {
        port.name: tuple(
            axis.dim_value if axis.HasField("dim_value") else axis.dim_param or None
            for axis in port.type.tensor_type.shape.dim
        )
        for port in model.graph.input
    }


def problems(model: onnx.ModelProto) -> list[str]:
    """Return the reasons why TensorRT does not support the model, with what to do; or []."""
    reasons = []
    opset = _opset(model)
    if opset > LARGEST_OPSET:
        reasons.append(f"opset is {opset}; export it with at most {LARGEST_OPSET}")
    types, constants = _types(model), _constants(model)
    for text, places in {
        **_grouped(_unsupported(model, types)),
        **_grouped(_not_constant(model, constants)),
        **_grouped(_quantization_problems(model, types, constants)),
    }.items():
        more = f" and {len(places) - 1} more" if len(places) > 1 else ""
        reasons.append(f"{text} ({places[0]}{more})")
    return reasons


def _opset(model: onnx.ModelProto) -> int:
    return int(max(e.version for e in model.opset_import if e.domain in ("", "ai.onnx")))


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Group (problem, place) pairs by problem."""
    groups: dict[str, list[str]] = {}
    for text, place in pairs:
        groups.setdefault(text, []).append(place)
    return groups


def _not_constant(
    model: onnx.ModelProto, constants: Mapping[str, NDArray[Any]]
) -> Iterator[tuple[str, str]]:
    for node in model.graph.node:
        for place in CONSTANT_INPUTS.get(node.op_type, ()):
            if place < len(node.input) and node.input[place] not in {"", *constants}:
                yield f"{node.op_type}: input {place} must be a constant", _name(node)


def _unsupported(model: onnx.ModelProto, types: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for node in model.graph.node:
        if node.op_type in ("DynamicQuantizeLinear", "MatMulInteger"):
            yield (
                f"{node.op_type}: dynamic quantization is for CPUs only; use the float model, or "
                "one with static symmetric scales",
                _name(node),
            )
        elif node.domain not in ("", "ai.onnx") or node.op_type not in TYPES:
            name = f"{node.domain}:{node.op_type}" if node.domain else node.op_type
            yield f"operator {name} is not supported by TensorRT", _name(node)
        elif node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            place = DATA_INPUT.get(node.op_type, 0)
            element = types.get(node.output[0] if place < 0 else node.input[place], "")
            if element and element not in TYPES[node.op_type]:
                yield f"operator {node.op_type} of TensorRT does not support {element}", _name(node)


def _quantization_problems(
    model: onnx.ModelProto, types: Mapping[str, str], constants: Mapping[str, NDArray[Any]]
) -> Iterator[tuple[str, str]]:
    """Yield the problems of Q/DQ nodes that are not symmetric int8 pairs with constant scales."""
    made = {output: node for node in model.graph.node for output in node.output}
    users: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    for node in model.graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        reasons = []
        scale = constants.get(node.input[1])
        if scale is None:
            reasons.append("its scale is not a constant")
        elif not (np.isfinite(scale).all() and (scale > 0).all()):
            reasons.append("a scale is not above 0")
        dequantizes = node.op_type == "DequantizeLinear"
        element = types.get(node.input[0] if dequantizes else node.output[0], "INT8")
        if element not in TYPES["DequantizeLinear"]:
            reasons.append(f"{element} instead of int8; quantize symmetrically")
        zero = constants.get(node.input[2]) if len(node.input) > 2 else None
        if zero is not None and zero.any():
            reasons.append("its zero point is not 0; quantize symmetrically")
        if dequantizes:
            reasons += _not_a_pair(node, made.get(node.input[0]), constants)
        elif {user.op_type for user in users.get(node.output[0], ())} != {"DequantizeLinear"}:
            reasons.append("its output is used by other nodes than DequantizeLinear")
        for reason in reasons:
            yield f"{node.op_type}: {reason}", _name(node)


def _not_a_pair(
    node: onnx.NodeProto, before: onnx.NodeProto | None, constants: Mapping[str, NDArray[Any]]
) -> list[str]:
    """Return the problems of the input of a DequantizeLinear (weights or a QuantizeLinear)."""
    scale, weights = constants.get(node.input[1]), constants.get(node.input[0])
    if weights is None:
        if before is None or before.op_type != "QuantizeLinear":
            return ["no QuantizeLinear before it"]
        partner = constants.get(before.input[1])
        if scale is not None and partner is not None and not np.array_equal(scale, partner):
            return ["another scale than the QuantizeLinear before it"]
    elif scale is not None and scale.size > 1:
        axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
        if weights.shape[axis] != scale.size:
            return [f"{scale.size} scales for axis {axis} of {weights.shape}"]
    return []


def _name(node: onnx.NodeProto) -> str:
    return str(node.name or node.output[0])


def is_quantized(model: onnx.ModelProto) -> bool:
    """Return whether the graph has Q/DQ nodes."""
    return any(node.op_type == "DequantizeLinear" for node in model.graph.node)


def strongly_typed(model: onnx.ModelProto) -> onnx.ModelProto:
    """Convert a model to float16, except inputs, outputs, LayerNorm, softmax and sums.

    Q/DQ pairs get float16 scales. A model that is already in float16 is not changed.
    """
    if any(t.data_type == onnx.TensorProto.FLOAT16 for t in model.graph.initializer):
        return model
    if is_quantized(model):
        model = onnx.version_converter.convert_version(model, QUANTIZED_OPSET)
    return to_float16(model, KEPT_FLOAT32)


def to_float16(model: onnx.ModelProto, float32: Collection[str]) -> onnx.ModelProto:
    """Convert a model to float16, except inputs, outputs and the operators `float32`."""
    named = copy.deepcopy(model)
    for number, node in enumerate(named.graph.node):
        # onnxruntime 1.23 names casts after the node, so that each node needs a name.
        node.name = node.name or f"{node.op_type}_{number}"
    _give_each_its_own(named.graph, float32)
    typed: onnx.ModelProto = convert_float_to_float16(
        named, keep_io_types=True, op_block_list=[*float32]
    )
    _sort(typed.graph)  # the converter appends casts at the end
    del typed.graph.value_info[:]  # some entries have the old type
    onnx.checker.check_model(typed)
    return typed


def _give_each_its_own(graph: onnx.GraphProto, float32: Collection[str]) -> None:
    """Duplicate constants that are shared by several nodes in float32.

    Exporters write equal constants once, and the conversion names casts after the constant, which
    would not be unique.
    """
    constants = {tensor.name: tensor for tensor in graph.initializer}
    used: set[str] = set()
    for node in graph.node:
        if node.op_type not in float32:
            continue
        for place, name in enumerate(node.input):
            if name in used:
                own = copy.deepcopy(constants[name])
                own.name = f"{name}_{node.name}_{place}"
                graph.initializer.append(own)
                node.input[place] = own.name
            elif name in constants:
                used.add(name)


def _sum_in_float(model: onnx.ModelProto) -> onnx.ModelProto:
    """Compute CumSum of integers (positions) in float32, exact to 2^24, for TensorRT."""
    model = copy.deepcopy(model)
    types = _types(model)
    nodes = []
    for node in model.graph.node:
        if node.op_type != "CumSum" or types.get(node.input[0]) not in ("INT32", "INT64"):
            nodes.append(node)
            continue
        before, after = f"{node.output[0]}_float", f"{node.output[0]}_summed"
        element = getattr(onnx.TensorProto, types[node.input[0]])
        summed = copy.deepcopy(node)
        summed.input[0], summed.output[0] = before, after
        nodes += [
            helper.make_node("Cast", [node.input[0]], [before], to=onnx.TensorProto.FLOAT),
            summed,
            helper.make_node("Cast", [after], [node.output[0]], to=element),
        ]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def _spell_out_log_sum_exp(model: onnx.ModelProto) -> None:
    """Replace ReduceLogSumExp(x) by log(sum(exp(x - m))) + m with m = max(x).

    TensorRT does not support the operator.
    """
    opset = _opset(model)
    constants, nodes = _constants(model), list[onnx.NodeProto]()
    for node in model.graph.node:
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        axes = constants.get(node.input[1]) if len(node.input) > 1 else attributes.get("axes")
        if node.op_type != "ReduceLogSumExp" or axes is None:
            nodes.append(copy.deepcopy(node))
            continue
        x, y = node.input[0], node.output[0]
        most, rest, powers, total, log, wide, over = (
            f"{y}_{name}" for name in ("most", "rest", "powers", "sum", "log", "wide", "axes")
        )
        over_axes = numpy_helper.from_array(np.asarray(axes, np.int64).reshape(-1), over)
        model.graph.initializer.append(over_axes)
        keeps = attributes.get("keepdims", 1)
        last = y if keeps else wide
        largest = helper.make_node("ReduceMax", [x, over], [most], keepdims=1)
        if opset < 18:  # later opsets have the axes as an input
            axes = numpy_helper.to_array(over_axes).tolist()
            largest = helper.make_node("ReduceMax", [x], [most], keepdims=1, axes=axes)
        nodes += [
            largest,
            helper.make_node("Sub", [x, most], [rest]),
            helper.make_node("Exp", [rest], [powers]),
            helper.make_node("ReduceSum", [powers, over], [total], keepdims=1),
            helper.make_node("Log", [total], [log]),
            helper.make_node("Add", [log, most], [last]),
        ]
        if not keeps:
            nodes.append(helper.make_node("Squeeze", [wide, over], [y]))
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _scaled_integers(
    graph: onnx.GraphProto,
) -> Iterator[tuple[onnx.NodeProto, onnx.NodeProto, onnx.NodeProto]]:
    """Yield each product Cast(integers) * scales with the nodes that compute both factors."""
    made = {output: node for node in graph.node for output in node.output}
    nothing = onnx.NodeProto()
    for node in graph.node:
        if node.op_type == "Mul":
            cast, scales = (made.get(name, nothing) for name in node.input)
            if cast.op_type == "Cast":
                yield node, made.get(cast.input[0], nothing), scales


def _restore_tables(model: onnx.ModelProto) -> None:
    """Convert embedding tables of int8 rows with scales to float32 for TensorRT.

    Cast(Gather(rows, ids)) * Gather(scales, ids) becomes Gather(rows * scales, ids).
    """
    graph, constants = model.graph, _constants(model)
    for node, rows, scales in _scaled_integers(graph):
        if not rows.op_type == scales.op_type == "Gather" or rows.input[1] != scales.input[1]:
            continue
        table, scale = constants.get(rows.input[0]), constants.get(scales.input[0])
        if table is None or scale is None or table.dtype != np.int8:
            continue
        name = f"{node.output[0]}_table"
        graph.initializer.append(numpy_helper.from_array(table.astype(np.float32) * scale, name))
        node.op_type = "Gather"
        node.input[:] = [name, rows.input[1]]
    _drop_unused(graph)


def _restore_products(model: onnx.ModelProto) -> None:
    """Convert dynamically quantized int8 products to float32 with the same weights.

    Cast(MatMulInteger(quantized x, w, z, zero)) * (scale of x * scale) becomes
    MatMul(x, (w - zero) * scale), without the rounding of x.
    """
    graph, constants = model.graph, _constants(model)
    made = {output: node for node in graph.node for output in node.output}
    for node, product, scales in _scaled_integers(graph):
        if product.op_type != "MatMulInteger" or scales.op_type != "Mul":
            continue
        quantizer = made.get(product.input[0], onnx.NodeProto())
        weights, scale = constants.get(product.input[1]), constants.get(scales.input[1])
        zero: NDArray[Any] | None = np.zeros((), np.int8)
        if len(product.input) > 3:
            zero = constants.get(product.input[3])
        if quantizer.op_type != "DynamicQuantizeLinear":
            continue
        if weights is None or scale is None or zero is None:
            continue
        name = f"{node.output[0]}_weights"
        floats = (weights.astype(np.float32) - zero.astype(np.float32)) * scale
        graph.initializer.append(numpy_helper.from_array(floats, name))
        node.op_type = "MatMul"
        node.input[:] = [quantizer.input[0], name]
    _drop_unused(graph)


def _restore_pairs(model: onnx.ModelProto) -> None:
    """Convert a graph with unsupported Q/DQ pairs to float32 with the same weights.

    (w - zero) * scale becomes a constant. A pair becomes a Clip with its range, which may contain a
    fused ReLU; the activations are not rounded. Symmetric pairs are kept.
    """
    graph, constants = model.graph, _constants(model)
    if not any(_quantization_problems(model, _types(model), constants)):
        return
    made = {output: node for node in graph.node for output in node.output}
    for node in graph.node:
        scale = constants.get(node.input[1]) if node.op_type == "DequantizeLinear" else None
        if scale is None:
            continue
        zero = constants.get(node.input[2]) if len(node.input) > 2 else np.zeros((), np.uint8)
        integers, quantizer = constants.get(node.input[0]), made.get(node.input[0])
        if integers is not None and zero is not None:
            axis = next((each.i for each in node.attribute if each.name == "axis"), 1)
            over = [-1 if place == axis else 1 for place in range(integers.ndim)]
            if scale.size > 1:
                scale, zero = scale.reshape(over), np.broadcast_to(zero, scale.shape).reshape(over)
            floats = (integers.astype(np.float32) - zero.astype(np.float32)) * scale
            node.op_type = "Identity"
            node.input[:] = [_constant(graph, f"{node.output[0]}_floats", floats)]
        elif (
            quantizer is not None
            and zero is not None
            and quantizer.op_type == "QuantizeLinear"
            and list(quantizer.input[1:]) == list(node.input[1:])
            and scale.size == 1
        ):
            limits = np.iinfo(zero.dtype)
            ends = [(end - np.float32(zero)) * scale for end in (limits.min, limits.max)]
            node.op_type = "Clip"
            node.input[:] = [
                quantizer.input[0],
                *(
                    _constant(graph, f"{node.output[0]}_{name}", np.float32(end).reshape(()))
                    for name, end in zip(("least", "most"), ends, strict=True)
                ),
            ]
        else:
            continue
        del node.attribute[:]
    _drop_unused(graph)


def _constant(graph: onnx.GraphProto, name: str, value: NDArray[Any]) -> str:
    graph.initializer.append(numpy_helper.from_array(value, name))
    return name


def _drop_unused(graph: onnx.GraphProto) -> None:
    """Remove unused nodes and constants."""
    needed = {port.name for port in graph.output}
    for place in reversed(range(len(graph.node))):  # nodes are after those whose outputs they use
        if needed & set(graph.node[place].output):
            needed |= set(graph.node[place].input)
        else:
            del graph.node[place]
    for place in reversed(range(len(graph.initializer))):
        if graph.initializer[place].name not in needed:
            del graph.initializer[place]


def unresolved(model: onnx.ModelProto, shapes: Mapping[str, Shape]) -> list[str]:
    """Return the tensors whose shape is unknown for these input shapes; [] is required.

    ONNX Runtime folds constants. ONNX infers shapes before and after, because ONNX Runtime 1.23
    has no shape inference for some operators, such as GreaterOrEqual.

    Raises:
        ValueError: the shapes contradict the graph.
    """
    fixed = with_shapes(model, shapes).graph
    resolved = {value.name for value in fixed.value_info}
    outputs = (output for node in fixed.node for output in node.output)
    return [output for output in outputs if output and output not in resolved]


def with_shapes(model: onnx.ModelProto, shapes: Mapping[str, Shape]) -> onnx.ModelProto:
    """Return the model for fixed input shapes, with folded constants and inferred shapes.

    Raises:
        ValueError: the shapes contradict the graph.
    """
    fixed = copy.deepcopy(model)
    for port in fixed.graph.input:
        for axis, size in zip(port.type.tensor_type.shape.dim, shapes[port.name], strict=True):
            axis.dim_value = size
    for port in fixed.graph.output:
        port.type.tensor_type.ClearField("shape")
    del fixed.graph.value_info[:]
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 4
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "fixed.onnx"), Path(folder, "folded.onnx")
        options.optimized_model_filepath = str(target)
        try:
            onnx.save(_inferred(fixed), str(source))
            ort.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
            inferred = _inferred(onnx.load(str(target)))
        except Exception as error:  # neither library has a common exception class
            reason = " ".join(str(error).split())
            raise ErcValueError(f"the shapes {dict(shapes)} do not fit: {reason}") from error
    inferred.graph.value_info.extend(inferred.graph.output)
    complete = [value for value in inferred.graph.value_info if _is_complete(value)]
    del inferred.graph.value_info[:]
    inferred.graph.value_info.extend(complete)
    return inferred


def _inferred(model: onnx.ModelProto) -> onnx.ModelProto:
    inferred: onnx.ModelProto = shape_inference.infer_shapes(
        model, check_type=True, strict_mode=True, data_prop=True
    )
    return inferred


def _is_complete(value: onnx.ValueInfoProto) -> bool:
    tensor = value.type.tensor_type
    return tensor.HasField("shape") and all(d.HasField("dim_value") for d in tensor.shape.dim)


def _types(model: onnx.ModelProto) -> dict[str, str]:
    """Return the element type of every tensor whose type is known."""
    inferred = shape_inference.infer_shapes(model)
    graph = inferred.graph
    types = {
        value.name: value.type.tensor_type.elem_type
        for value in (*graph.value_info, *graph.input, *graph.output)
    }
    types |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    return {name: onnx.TensorProto.DataType.Name(number) for name, number in types.items()}


def _constants(model: onnx.ModelProto) -> dict[str, NDArray[Any]]:
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            value = helper.get_attribute_value(node.attribute[0])
            tensor = isinstance(value, onnx.TensorProto)
            constants[node.output[0]] = (
                numpy_helper.to_array(value) if tensor else np.asarray(value)
            )
    return constants


def _sort(graph: onnx.GraphProto) -> None:
    """Sort the nodes topologically.

    The function of onnxruntime 1.23 imports its quantization, which needs sympy.
    """
    makers = {output: number for number, node in enumerate(graph.node) for output in node.output}
    before = {
        number: {makers[name] for name in node.input if name in makers}
        for number, node in enumerate(graph.node)
    }
    nodes = [
        copy.deepcopy(graph.node[number]) for number in TopologicalSorter(before).static_order()
    ]
    del graph.node[:]
    graph.node.extend(nodes)
