"""Weights become int8 and stay what they were, whatever the graph looks like."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from onnx import numpy_helper, parser

from erc_ros.networks.network import Network
from erc_ros.training.quantization.graph import (
    quantize_channels,
    quantize_rows,
    quantize_tables,
    quantize_weights,
    settle,
    weights,
)

HEAD = '<ir_version: 8, opset_import: ["": 17]>'


def model(graph: str, **constants: np.ndarray) -> onnx.ModelProto:
    made = parser.parse_model(HEAD + graph)
    made.graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in constants.items())
    onnx.checker.check_model(made)
    return made


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def run(made: onnx.ModelProto, folder: Path, **feed: np.ndarray) -> np.ndarray:
    onnx.save(made, str(folder / "made.onnx"))
    return Network(folder / "made.onnx")(feed)["y"]


@settings(max_examples=50, deadline=None)
@given(arrays(np.float32, (5, 7), elements=st.floats(-1e4, 1e4, width=32)), st.integers(0, 1))
def test_a_weight_is_off_by_half_a_step_at_most(array: np.ndarray, axis: int) -> None:
    small, scales = quantize_channels(array, axis)
    assert small.dtype == np.int8 and scales.shape == (array.shape[axis],)
    assert (np.abs(small.astype(int)) <= 127).all()
    scale = scales[:, None] if axis == 0 else scales
    assert (np.abs(small * scale - array) <= scale * 0.501 + 1e-6).all()
    largest = np.abs(array).max(axis=1 - axis)
    np.testing.assert_allclose(scales[largest > 1e-30], largest[largest > 1e-30] / 127, rtol=1e-6)


def test_a_channel_of_zeros_stays_zero() -> None:
    rows, scales = quantize_rows(np.zeros((2, 3), np.float32))
    assert not rows.any() and np.isfinite(scales).all() and scales.shape == (2, 1)


@pytest.mark.parametrize("form", ["multiply", "dequantize"])
@pytest.mark.parametrize(
    ("graph", "shape", "axis"),
    [
        ("g (float[2, 3, 16] x) => (float[2, 3, 8] y) { y = MatMul (x, w) }", (16, 8), 1),
        ("g (float[4, 2, 16] x) => (float[4, 2, 8] y) { y = MatMul (x, w) }", (4, 16, 8), 2),
        ("g (float[2, 16] x) => (float[2, 8] y) { y = Gemm (x, w) }", (16, 8), 1),
        ("g (float[2, 16] x) => (float[2, 8] y) { y = Gemm <transB = 1> (x, w) }", (8, 16), 0),
        ("g (float[1, 3, 8, 8] x) => (float[1, 4, 6, 6] y) { y = Conv (x, w) }", (4, 3, 3, 3), 0),
    ],
)
def test_every_output_channel_has_its_scale(
    graph: str, shape: tuple[int, ...], axis: int, form: str, tmp_path: Path
) -> None:
    weight = random(*shape) * (1 + np.arange(shape[axis])).reshape(
        [-1 if n == axis else 1 for n in range(len(shape))]
    ).astype(np.float32)
    made = model(graph, w=weight)
    small, scales = quantize_channels(weight, axis)
    rounded = small * scales.reshape([-1 if n == axis else 1 for n in range(len(shape))])
    ports = [d.dim_value for d in made.graph.input[0].type.tensor_type.shape.dim]
    x = random(*ports)
    expected = run(model(graph, w=rounded.astype(np.float32)), tmp_path, x=x)
    assert quantize_weights(made, form) == 1
    got = run(made, tmp_path, x=x)
    # Multiplied out by ONNX Runtime or computed with int8 activations, as it likes.
    tolerance = 1e-5 if form == "multiply" else 2e-2
    np.testing.assert_allclose(got, expected, atol=tolerance * np.abs(expected).max())
    stored = {t.name: t.data_type for t in made.graph.initializer}
    assert stored["w_int8"] == onnx.TensorProto.INT8 and "w" not in stored


def test_a_recurrent_network_is_quantized_gate_by_gate(tmp_path: Path) -> None:
    graph = """g (float[5, 1, 6] x) => (float[5, 1, 1, 4] y) {
        y = GRU <hidden_size = 4> (x, w, r) }"""
    made = model(graph, w=random(1, 12, 6), r=random(1, 12, 4))
    x = random(5, 1, 6)
    before = run(made, tmp_path, x=x)
    assert quantize_weights(made, "multiply") == 2
    np.testing.assert_allclose(run(made, tmp_path, x=x), before, atol=0.03)


def test_only_large_tables_become_rows_with_a_scale(tmp_path: Path) -> None:
    graph = """g (int64[3] ids) => (float[3, 16] y) {
        word = Gather <axis = 0> (words, ids)
        place = Gather <axis = 0> (places, ids)
        y = Add (word, place) }"""
    made = model(graph, words=random(1500, 16), places=random(20, 16))
    ids = np.array([0, 7, 19])
    before = run(made, tmp_path, ids=ids)
    assert quantize_tables(made) == 1
    np.testing.assert_allclose(run(made, tmp_path, ids=ids), before, atol=0.02)
    assert {t.name for t in made.graph.initializer} == {"words_rows", "words_scales", "places"}


def test_weights_behind_constants_and_identities_are_found(tmp_path: Path) -> None:
    weight = random(16, 8)
    made = model(
        """g (float[2, 16] x) => (float[2, 8] y) {
            other = Identity (w)
            a = MatMul (x, other)
            b = MatMul (x, c)
            y = Add (a, b) }""",
        w=weight,
        c=random(16, 8),
    )
    hidden = made.graph.initializer.pop(1)  # c, as a node
    node = onnx.helper.make_node("Constant", [], ["c"], value=hidden)
    made.graph.node.insert(0, node)
    x = random(2, 16)
    before = run(made, tmp_path, x=x)
    settle(made)
    assert set(weights(made)) == {"w", "c"}
    np.testing.assert_array_equal(run(made, tmp_path, x=x), before)


def test_another_form_is_refused() -> None:
    with pytest.raises(ValueError, match="'cast'"):
        quantize_weights(onnx.ModelProto(), "cast")
