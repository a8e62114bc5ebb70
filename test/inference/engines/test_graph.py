from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

from erc_ros.inference.bundle import load_bundle
from erc_ros.inference.engines import graph
from erc_ros.inference.engines.operators import CONSTANT_INPUTS, TYPES
from erc_ros.inference.engines.profiles import profiles, ranges
from erc_ros.networks.session import on_cpu

MODELS = sorted((Path(__file__).parents[3] / "erc_ros/models/edge-small").glob("*.onnx"))
FLOAT, INT8 = TensorProto.FLOAT, TensorProto.INT8


def small(text: str, opset: int = 17, **initializers: Any) -> onnx.ModelProto:
    head = f'<ir_version: 8, opset_import: ["": {opset}, "com.other": 1]>'
    model = parser.parse_model(f"{head}\n{text}")
    arrays = {name: np.asarray(array) for name, array in initializers.items()}
    model.graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in arrays.items())
    return model


def quantized(**changes: Any) -> onnx.ModelProto:
    """Return x -> Q -> DQ -> MatMul with int8 weights, one scale per output channel; valid."""
    parts: dict[str, Any] = {
        "s": np.float32(0.05),
        "z": np.int8(0),
        "w": np.random.default_rng(0).integers(-127, 127, (16, 8)).astype(np.int8),
        "ws": np.linspace(0.01, 0.02, 8, dtype=np.float32),
        "wz": np.zeros(8, np.int8),
    }
    return small(
        """g (float[B, 16] x) => (float[B, 8] y) {
        q = QuantizeLinear (x, s, z)
        d = DequantizeLinear (q, s, z)
        dw = DequantizeLinear <axis = 1> (w, ws, wz)
        y = MatMul (d, dw)
        }""",
        **{**parts, **changes},
    )


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return text, face, audio and fusion networks as exported by the training."""
    torch = pytest.importorskip("torch")
    from erc_ros.training.encoders.audio.model import AudioNetwork, AudioNetworkConfig
    from erc_ros.training.encoders.text.export import export
    from erc_ros.training.encoders.text.model import CachingTextModule, TextModelConfig
    from erc_ros.training.encoders.visual.model import FaceNetwork, FaceNetworkConfig
    from erc_ros.training.heads.magtkd import Magtkd, MagtkdConfig
    from erc_ros.training.onnx import export_audio, export_face, export_fusion

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("exported")
    size = TextModelConfig(vocabulary=200, width=96, layers=2, heads=3, hidden=192, positions=128)
    export(CachingTextModule(size), folder / "text.onnx")
    export_face(FaceNetwork(FaceNetworkConfig()), folder / "face.onnx", 48)
    export_audio(AudioNetwork(AudioNetworkConfig()), folder / "audio.onnx", 64)
    export_fusion(Magtkd(MagtkdConfig(embeddings=(384, 128, 128))), folder / "fusion.onnx")
    return {file.stem: file for file in folder.glob("*.onnx")}


def shapes_of(model: onnx.ModelProto, bundle_folder: Path) -> list[dict[str, tuple[int, ...]]]:
    """Return the minimum, typical and maximum shapes of every profile."""
    shapes = profiles(graph.axes(model), ranges(load_bundle(bundle_folder)), "model")
    return [{name: s[which] for name, s in p.items()} for p in shapes for which in range(3)]


def random_inputs(model: onnx.ModelProto, shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    inputs: dict[str, Any] = {}
    for port in model.graph.input:
        shape, element = shapes[port.name], port.type.tensor_type.elem_type
        if element == TensorProto.BOOL:
            inputs[port.name] = np.ones(shape, bool)
        elif element == TensorProto.INT64:
            least = shapes["features"][1] if port.name == "frames" else 0
            inputs[port.name] = np.full(shape, least) + rng.integers(0, 1, shape)
        else:
            inputs[port.name] = rng.random(shape, np.float32)
    return inputs


@pytest.mark.parametrize("name", ["text", "audio", "face", "fusion"])
def test_what_training_exports_is_fit_for_tensorrt(
    exported: dict[str, Path], tiny_folder: Path, name: str
) -> None:
    model = graph.load(exported[name])
    assert graph.problems(model) == []
    typed = graph.strongly_typed(model)
    assert graph.problems(typed) == []
    run, run_typed = (on_cpu(m.SerializeToString()) for m in (model, typed))
    for shapes in shapes_of(model, tiny_folder):
        assert graph.unresolved(model, shapes) == []
        inputs = random_inputs(model, shapes)
        expected, outputs = run(inputs), run_typed(inputs)
        for output, array in expected.items():
            assert outputs[output].dtype == np.float32 and outputs[output].shape == array.shape
            if array.size:
                assert np.abs(outputs[output] - array).max() < 0.01 * np.abs(array).max()


@pytest.mark.parametrize("name", ["text", "audio", "face", "fusion"])
def test_norms_and_softmax_stay_float32_and_products_become_float16(
    exported: dict[str, Path], name: str
) -> None:
    typed = graph.strongly_typed(graph.load(exported[name]))
    types = graph._types(typed)
    seen = {"kept": 0, "half": 0}
    for node in typed.graph.node:
        elements = {types[n] for n in node.input if types.get(n) in ("FLOAT", "FLOAT16")}
        if node.op_type in graph.KEPT_FLOAT32:
            assert elements <= {"FLOAT"}, node.name
            seen["kept"] += 1
        if node.op_type in ("MatMul", "Gemm", "Conv"):
            assert elements == {"FLOAT16"}, node.name
            seen["half"] += 1
    assert seen["kept"] > 0 and seen["half"] > 0


@pytest.mark.parametrize("file", MODELS, ids=lambda file: file.stem)
def test_every_shape_of_the_default_bundle_is_known_for_every_profile(
    file: Path, tiny_folder: Path
) -> None:
    model = graph.load(file)
    for shapes in shapes_of(model, tiny_folder)[:2]:
        assert graph.unresolved(model, shapes) == []


def test_shapes_that_contradict_the_graph_are_an_error(exported: dict[str, Path]) -> None:
    model = graph.load(exported["fusion"])
    shapes = {p.name: (1, 4, 384) for p in model.graph.input}
    shapes |= {"speakers": (1, 4), "valid": (1, 5), "modalities": (1, 4, 3)}
    with pytest.raises(ValueError, match="fit"):
        graph.unresolved(model, shapes)


def test_symmetric_pairs_are_well_formed_and_survive_float16() -> None:
    model = quantized()
    assert graph.problems(model) == [] and graph.is_quantized(model)
    typed = graph.strongly_typed(model)
    assert graph.problems(typed) == []
    kinds = [node.op_type for node in typed.graph.node if node.op_type.endswith("Linear")]
    assert sorted(kinds) == ["DequantizeLinear", "DequantizeLinear", "QuantizeLinear"]
    types = graph._types(typed)
    (quantize,) = [n for n in typed.graph.node if n.op_type == "QuantizeLinear"]
    assert {types[name] for name in quantize.input[:2]} == {"FLOAT16"}  # no casts in between
    x = np.random.default_rng(1).standard_normal((3, 16)).astype(np.float32)
    expected, actual = (on_cpu(m.SerializeToString())({"x": x})["y"] for m in (model, typed))
    # The two forms are 5 % apart in onnxruntime 1.23.2, and 1.31 has them equal.
    within = 0.01 if onnxruntime.__version__ >= "1.31" else 0.1
    assert np.abs(actual - expected).max() < within * np.abs(expected).max()


def test_norms_may_share_their_constants() -> None:
    model = small(
        """g (float[B, 4] x) => (float[B, 4] y) {
        one = LayerNormalization (x, same, same)
        two = MatMul (one, weight)
        three = LayerNormalization (two, same, same)
        y = Add (three, same)
        }""",
        same=np.array([0.5, 1.0, 1.5, 2.0], np.float32),
        weight=np.random.default_rng(0).standard_normal((4, 4)).astype(np.float32),
    )
    typed = graph.strongly_typed(model)
    x = np.random.default_rng(1).standard_normal((3, 4)).astype(np.float32)
    expected, actual = (on_cpu(m.SerializeToString())({"x": x})["y"] for m in (model, typed))
    assert np.abs(actual - expected).max() < 0.01 * np.abs(expected).max()


def test_a_model_in_float16_stays_as_it_is() -> None:
    once = graph.strongly_typed(quantized())
    assert graph.strongly_typed(once) == once


def test_a_table_of_int8_rows_becomes_a_float_table_with_the_same_values(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    model = small(
        """g (int64[B, L] ids) => (float[B, L, 4] y) {
        rows = Gather (table, ids)
        wide = Cast <to = 1> (rows)
        scales = Gather (scale, ids)
        y = Mul (wide, scales)
        }""",
        table=rng.integers(-127, 127, (9, 4)).astype(np.int8),
        scale=rng.random((9, 1), np.float32),
    )
    assert graph.problems(model)
    onnx.save(model, str(tmp_path / "table.onnx"))
    loaded = graph.load(tmp_path / "table.onnx")
    assert graph.problems(loaded) == [] and [n.op_type for n in loaded.graph.node] == ["Gather"]
    assert len(loaded.graph.initializer) == 1
    ids = np.array([[0, 3, 8]])
    actual, expected = (on_cpu(m.SerializeToString())({"ids": ids})["y"] for m in (loaded, model))
    assert (actual == expected).all()


@pytest.mark.parametrize("scheme", ["weight-only-dq", "fp16"])
@pytest.mark.parametrize("name", ["text", "audio", "face", "fusion"])
def test_what_quantize_makes_for_gpus_is_fit_for_tensorrt(
    exported: dict[str, Path], tmp_path: Path, name: str, scheme: str
) -> None:
    schemes = pytest.importorskip("erc_ros.training.quantization.schemes")
    file = tmp_path / f"{name}.onnx"
    schemes.quantize(schemes.SCHEMES[scheme], exported[name], file)
    model = graph.load(file)
    assert graph.problems(model) == []
    typed = graph.strongly_typed(model)
    assert graph.problems(typed) == []
    assert on_cpu(typed.SerializeToString())


@pytest.mark.parametrize(
    "change, said",
    [
        ({"z": np.int8(3)}, "zero point is not 0; quantize symmetrically"),
        ({"s": np.float32(0)}, "a scale is not above 0"),
        ({"s": np.float32(np.nan)}, "a scale is not above 0"),
        ({"ws": np.ones(7, np.float32)}, r"7 scales for axis 1 of \(16, 8\)"),
    ],
)
def test_a_pair_that_tensorrt_would_not_take(change: dict[str, Any], said: str) -> None:
    (problem, *_) = graph.problems(quantized(**change))
    assert re.search(said, problem)


def test_unsigned_activations_are_refused() -> None:
    model = small(
        """g (float[B] x) => (float[B] y) {
        q = QuantizeLinear (x, s, z)
        y = DequantizeLinear (q, s, z)
        }""",
        s=np.float32(0.1),
        z=np.uint8(0),
    )
    assert "UINT8 instead of int8" in graph.problems(model)[0]


@pytest.mark.parametrize(
    "nodes, said",
    [
        ("q = QuantizeLinear (x, s, z)\n y = Cast <to = 1> (q)", "used by other nodes"),
        ("i = Cast <to = 3> (x)\n y = DequantizeLinear (i, s, z)", "no QuantizeLinear before"),
        ("q = QuantizeLinear (x, s, z)\n y = DequantizeLinear (q, s2, z)", "another scale"),
        ("s3 = Abs (s)\n q = QuantizeLinear (x, s3, z)\n y = DequantizeLinear (q, s, z)", "scale"),
    ],
)
def test_half_a_pair_is_refused(nodes: str, said: str) -> None:
    scales = {"s": np.float32(0.1), "s2": np.float32(0.2), "z": np.int8(0)}
    model = small(f"g (float[B] x) => (float[B] y) {{ {nodes} }}", **scales)
    assert any(said in text for text in graph.problems(model))


@pytest.mark.parametrize(
    "text, said",
    [
        ("g (float[B] x) => (float[B] y) { y = Det (x) }", "operator Det is not supported"),
        ("g (float[B] x) => (float[B] y) { y = com.other.New (x) }", "com.other:New is not"),
        (
            "g (int64[B] x) => (int64[B] y) { y = Clip (x) }",
            "Clip of TensorRT does not support INT64",
        ),
        (
            "g (float[B, 2] x, int64[1] a) => (float[B] y) { y = ReduceSum (x, a) }",
            "ReduceSum: input 1 must be a constant",
        ),
        (
            "g (float[B] x) => (uint8[B] q, float s, uint8 z) "
            "{ q, s, z = DynamicQuantizeLinear (x) }",
            "dynamic quantization is for CPUs only; use the float model",
        ),
    ],
)
def test_what_tensorrt_does_not_take_is_named(text: str, said: str) -> None:
    assert any(said in problem for problem in graph.problems(small(text)))


def test_a_newer_opset_than_tensorrt_reads_is_named() -> None:
    model = small("g (float[B] x) => (float[B] y) { y = Abs (x) }")
    model.opset_import[0].version = 22
    assert graph.problems(model) == ["opset is 22; export it with at most 20"]


def test_the_same_problem_at_many_places_is_reported_once() -> None:
    nodes = "a = Det (x)\n b = Det (a)\n y = Det (b)"
    (problem,) = graph.problems(small(f"g (float[B] x) => (float[B] y) {{ {nodes} }}"))
    assert problem.endswith("(a and 2 more)")


def test_positions_are_summed_as_floats_with_the_same_result(tmp_path: Path) -> None:
    model = small("g (int64[B, U] x) => (int64[B, U] y) { y = CumSum (x, axis) }", axis=np.array(1))
    onnx.save(model, str(tmp_path / "sums.onnx"))
    loaded = graph.load(tmp_path / "sums.onnx")
    assert graph.problems(model) and graph.problems(loaded) == []
    x = np.array([[1, 0, 1, 1], [5, 5, 5, 100_000]])
    output = on_cpu(loaded.SerializeToString())({"x": x})["y"]
    np.testing.assert_array_equal(output, x.cumsum(axis=1))


@pytest.mark.parametrize("keeps", [0, 1])
@pytest.mark.parametrize("opset", [17, 18])
def test_a_log_sum_exp_is_spelled_out_and_overflows_nowhere(
    opset: int, keeps: int, tmp_path: Path
) -> None:
    given = f"<axes = [1], keepdims = {keeps}> (x)"
    if opset >= 18:
        given = f"<keepdims = {keeps}> (x, axis)"
    model = small(
        f"g (float[B, U] x) => (float[B{', 1' * keeps}] y) {{ y = ReduceLogSumExp {given} }}",
        opset,
        axis=np.array([1]),
    )
    onnx.save(model, str(tmp_path / "sums.onnx"))
    loaded = graph.load(tmp_path / "sums.onnx")
    assert graph.problems(model) and graph.problems(loaded) == []
    x = np.array([[1.0, 2.0, -3.0], [80.0, 79.0, 0.0], [-80.0, -80.0, -80.0]], np.float32)
    expected = np.logaddexp.reduce(x.astype(np.float64), axis=1, keepdims=bool(keeps))
    for form in (loaded, graph.strongly_typed(loaded)):
        output = on_cpu(form.SerializeToString())({"x": x})["y"]
        np.testing.assert_allclose(output, expected, rtol=2e-3)


@pytest.mark.parametrize("symmetric", [True, False], ids=["symmetric", "with zero points"])
def test_a_product_of_dynamic_int8_becomes_float_with_the_same_weights(
    tmp_path: Path, symmetric: bool
) -> None:
    quantization = pytest.importorskip("onnxruntime.quantization")
    rng = np.random.default_rng(0)
    weights = rng.normal(0.3, 1, (64, 32)).astype(np.float32)
    model = small("g (float[B, 64] x) => (float[B, 32] y) { y = MatMul (x, w) }", w=weights)
    onnx.save(model, str(tmp_path / "float.onnx"))
    quantization.quantize_dynamic(
        str(tmp_path / "float.onnx"),
        str(tmp_path / "int8.onnx"),
        per_channel=symmetric,
        weight_type=quantization.QuantType.QInt8 if symmetric else quantization.QuantType.QUInt8,
    )
    loaded = graph.load(tmp_path / "int8.onnx")
    assert graph.problems(onnx.load(str(tmp_path / "int8.onnx")))
    assert graph.problems(loaded) == [] and [n.op_type for n in loaded.graph.node] == ["MatMul"]
    x = rng.normal(0, 1, (8, 64)).astype(np.float32)
    x[:, 0] = 300  # int8 activations remove the other values
    output = on_cpu(loaded.SerializeToString())({"x": x})["y"]
    step = np.ptp(weights) / 254
    np.testing.assert_allclose(output, x @ weights, atol=np.abs(x).sum(axis=1).max() * step)
    (table,) = (numpy_helper.to_array(tensor) for tensor in loaded.graph.initializer)
    np.testing.assert_allclose(output, x @ table, rtol=1e-4, atol=1e-3)


def test_a_product_whose_zero_point_is_computed_is_left_and_named(tmp_path: Path) -> None:
    model = small(
        "g (float[B, 4] x, int8 wz) => (float[B, 2] y) { q, s, z = DynamicQuantizeLinear (x)"
        " p = MatMulInteger (q, w, z, wz) f = Cast <to = 1> (p) t = Mul (s, ws) y = Mul (f, t) }",
        w=np.ones((4, 2), np.int8),
        ws=np.float32(0.1),
    )
    onnx.save(model, str(tmp_path / "model.onnx"))
    assert any("MatMulInteger" in problem for problem in graph.problems(
        graph.load(tmp_path / "model.onnx")
    ))  # fmt: skip


@pytest.mark.parametrize("per_channel", [True, False], ids=["by channel", "one scale"])
def test_static_int8_for_cpus_becomes_float_with_the_same_weights(
    tmp_path: Path, per_channel: bool
) -> None:
    quantization = pytest.importorskip("onnxruntime.quantization")
    rng = np.random.default_rng(0)
    weights = rng.normal(0.3, 1, (16, 3, 3, 3)).astype(np.float32)
    bias = rng.normal(0, 1, 16).astype(np.float32)
    model = small(
        "g (float[B, 3, 8, 8] x) => (float[B, 16, 6, 6] y) { c = Conv (x, w, b) y = Relu (c) }",
        w=weights,
        b=bias,
    )
    onnx.save(model, str(tmp_path / "float.onnx"))
    x = rng.normal(0.5, 1, (4, 3, 8, 8)).astype(np.float32)

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc, name-defined]
        left = 1

        def get_next(self) -> dict[str, np.ndarray] | None:
            self.left -= 1
            return {"x": x} if self.left >= 0 else None

    quantization.quantize_static(
        str(tmp_path / "float.onnx"),
        str(tmp_path / "int8.onnx"),
        Reader(),
        per_channel=per_channel,
    )
    assert graph.problems(onnx.load(str(tmp_path / "int8.onnx")))
    loaded = graph.load(tmp_path / "int8.onnx")
    assert graph.problems(loaded) == []
    expected = on_cpu(model.SerializeToString())({"x": x})["y"]
    output = on_cpu(loaded.SerializeToString())({"x": x})["y"]
    assert 0 < np.abs(output - expected).max() < 0.3  # 27 products of weights rounded to 2 / 127
    assert (expected == 0).any() and np.abs(output[expected == 0]).max() < 0.3


def test_weight_only_int8_uses_float_activations() -> None:
    rng = np.random.default_rng(0)
    weights = rng.integers(-127, 128, (64, 32)).astype(np.int8)
    scales = rng.uniform(0.01, 0.02, 32).astype(np.float32)
    model = small(
        "g (float[B, 64] x) => (float[B, 32] y)"
        " { f = DequantizeLinear <axis = 1> (w, s) y = MatMul (x, f) }",
        21,
        w=weights,
        s=scales,
    )
    x = rng.normal(0, 1, (8, 64)).astype(np.float32)
    x[:, 0] = 300  # int8 activations would remove the other values
    output = on_cpu(model.SerializeToString(), as_written=True)({"x": x})["y"]
    np.testing.assert_allclose(output, x @ (weights * scales), rtol=1e-4, atol=1e-3)


def test_axes_are_sizes_names_or_unknown() -> None:
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node("Identity", ["x"], ["y"])],
            "g",
            [helper.make_tensor_value_info("x", FLOAT, ["B", 3, None])],
            [helper.make_tensor_value_info("y", FLOAT, None)],
        )
    )
    assert graph.axes(model) == {"x": ("B", 3, None)}


def test_the_table_of_operators_names_real_ones() -> None:
    known = {schema.name for schema in onnx.defs.get_all_schemas_with_history()}
    assert set(TYPES) <= known and set(CONSTANT_INPUTS) <= set(TYPES)
