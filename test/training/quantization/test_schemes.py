"""Every scheme on a transformer-like and on a convolutional network, and bad calibration data."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from erc_ros.inference.manifest import PRECISIONS
from erc_ros.networks.network import Network
from erc_ros.networks.session import signature
from erc_ros.training.quantization.engine_graphs import EngineGraphs
from erc_ros.training.quantization.schemes import (
    FOR_TENSORRT,
    SCHEMES,
    Dynamic,
    QuantizationError,
    SmoothQuant,
    Static,
    Symmetric,
    WeightOnly,
    quantize,
)
from erc_ros.training.quantization.smoothing import smoothing_scale


class Words(nn.Module):
    """A table of 2000 words, a table of 8 places, and two layers around a norm with outliers."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words, self.places = nn.Embedding(2000, 64), nn.Embedding(8, 64)
        self.norm = nn.LayerNorm(64)
        self.layers = nn.Sequential(nn.Linear(64, 128), nn.GELU(), nn.Linear(128, 64))
        with torch.no_grad():  # a few channels much larger than the others, as in real encoders
            self.norm.weight[:3] = 40.0

    def forward(self, ids: Tensor) -> Tensor:
        return self.layers(self.norm(self.words(ids) + self.places(ids % 8)))


class Picture(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 16, 3, 2, 1), nn.ReLU()
        )
        self.project = nn.Linear(16, 8)

    def forward(self, faces: Tensor) -> Tensor:
        return self.project(self.layers(faces).mean(dim=(2, 3)))


def export(model: nn.Module, name: str, example: Tensor, file: Path, axes: dict[int, str]) -> Path:
    torch.onnx.export(
        model.eval(),
        (example,),
        str(file),
        input_names=[name],
        output_names=["embedding"],
        dynamic_axes={name: axes, "embedding": axes},
        opset_version=17,
        dynamo=False,
    )
    return file


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("words") / "float.onnx"
    return export(Words(), "ids", torch.zeros(1, 4, dtype=torch.long), file, {0: "B", 1: "L"})


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("picture") / "float.onnx"
    return export(Picture(), "faces", torch.zeros(1, 1, 48, 48), file, {0: "N"})


def sentences(count: int, seed: int = 0) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    return [{"ids": rng.integers(0, 2000, (1, rng.integers(2, 20)))} for _ in range(count)]


def faces(count: int, seed: int = 0) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    return [{"faces": rng.random((1, 1, 48, 48), np.float32)} for _ in range(count)]


def error(before: Path, after: Path, feeds: list[dict[str, np.ndarray]]) -> float:
    """Of the outputs, relative to their size."""
    one, two = (
        np.concatenate([Network(file)(feed)["embedding"].ravel() for feed in feeds])
        for file in (before, after)
    )
    return float(np.linalg.norm(one - two) / np.linalg.norm(one))


@pytest.mark.parametrize("name", ["dynamic", "smoothquant"])
def test_weights_of_dynamic_schemes_use_seven_bits(name: str, words: Path, tmp_path: Path) -> None:
    """CPUs without VNNI add pairs of products in 16 bits, which overflow with eight bits."""
    small = tmp_path / "small.onnx"
    quantize(SCHEMES[name], words, small, sentences(16))
    graph = onnx.load(str(small)).graph
    multiplied = {node.input[1] for node in graph.node if node.op_type == "MatMulInteger"}
    weights = [
        onnx.numpy_helper.to_array(t).astype(int) for t in graph.initializer if t.name in multiplied
    ]
    assert len(weights) == 2  # the linear layers
    for weight in weights:
        assert 48 < abs(weight).max() <= 64


def test_weights_of_the_static_scheme_use_seven_bits(words: Path, tmp_path: Path) -> None:
    small = tmp_path / "small.onnx"
    quantize(SCHEMES["static"], words, small, sentences(16))
    weights = [
        onnx.numpy_helper.to_array(tensor).astype(int)
        for tensor in onnx.load(str(small)).graph.initializer
        if tensor.data_type == onnx.TensorProto.INT8 and len(tensor.dims) == 2
    ]
    largest = sorted(abs(weight).max() for weight in weights)
    assert largest[:2] == [64, 64], largest  # the linear layers; tables may use eight bits


@pytest.mark.parametrize("name", SCHEMES)
def test_text_becomes_smaller_and_says_the_same(name: str, words: Path, tmp_path: Path) -> None:
    small = tmp_path / "small.onnx"
    assert quantize(SCHEMES[name], words, small, sentences(16)) > 0
    assert small.stat().st_size < (0.55 if name == "fp16" else 0.35) * words.stat().st_size
    fixed = isinstance(SCHEMES[name], Static | Symmetric)  # ranges, whatever comes
    assert error(words, small, sentences(20, seed=1)) < (0.12 if fixed else 0.07)
    assert signature(small) == signature(words)
    model = onnx.load(str(small))
    assert model.ir_version <= 9 and model.opset_import[0].version == 17
    assert {node.domain for node in model.graph.node} == {""}  # plain ONNX
    assert [file.name for file in tmp_path.iterdir()] == ["small.onnx"]


@pytest.mark.parametrize("name", ["weight-only", "static", "symmetric"])
def test_convolutions_become_smaller_and_say_the_same(
    name: str, picture: Path, tmp_path: Path
) -> None:
    small = tmp_path / "small.onnx"
    assert quantize(SCHEMES[name], picture, small, faces(16)) >= 3
    assert error(picture, small, faces(20, seed=1)) < 0.1


def test_static_leaves_the_nodes_that_are_named_in_float(picture: Path, tmp_path: Path) -> None:
    names = [node.name for node in onnx.load(str(picture)).graph.node if node.op_type == "Conv"]
    target = tmp_path / "small.onnx"
    quantize(Static("percentile", keep=(names[0],)), picture, target, faces(4))
    graph = onnx.load(str(target)).graph
    made_of = {name: node.op_type for node in graph.node for name in node.output}
    first, second = (node.input[1] for node in graph.node if node.op_type == "Conv")
    assert first not in made_of and made_of[second] == "DequantizeLinear"


@pytest.mark.parametrize("name", FOR_TENSORRT)
@pytest.mark.parametrize("kind", ["words", "picture"])
def test_what_is_for_tensorrt_is_fit_for_it_and_its_engine_graph_says_the_same(
    name: str, kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    source: Path = request.getfixturevalue(kind)
    feeds = sentences if kind == "words" else faces
    small = tmp_path / "small.onnx"
    assert quantize(SCHEMES[name], source, small, feeds(16)) > 0
    typed = EngineGraphs(tmp_path)(small)  # raises where TensorRT would not take it
    assert error(source, typed, feeds(20, seed=1)) < 0.12
    graph = onnx.load(str(typed)).graph
    types = {tensor.data_type for tensor in graph.initializer if len(tensor.dims) >= 2}
    assert onnx.TensorProto.INT8 in types and onnx.TensorProto.FLOAT not in types
    quantized = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    products = [node for node in graph.node if node.op_type in ("Conv", "MatMul")]
    taken = [set(node.input[: 2 - (name == "weight-only-dq")]) for node in products]
    assert name == "weight-only-dq" or all(inputs <= quantized for inputs in taken)
    assert any(node.input[1] in quantized for node in products)
    assert not any(node.output[0].endswith("bias_DequantizeLinear") for node in graph.node)


def test_the_engine_graph_of_static_int8_for_cpus_is_float_with_the_same_weights(
    picture: Path, tmp_path: Path
) -> None:
    quantize(SCHEMES["static"], picture, tmp_path / "small.onnx", faces(16))
    typed = EngineGraphs(tmp_path)(tmp_path / "small.onnx")
    assert not any("Quantize" in node.op_type for node in onnx.load(str(typed)).graph.node)
    for feed in faces(4):
        one, two = (Network(file)(feed)["embedding"] for file in (picture, typed))
        assert np.abs(one - two).max() < 0.1 * np.abs(one).max()


def test_what_tensorrt_does_not_take_has_no_engine_graph(picture: Path, tmp_path: Path) -> None:
    model = onnx.load(str(picture))
    model.graph.node[0].domain = "com.example"
    model.opset_import.append(onnx.helper.make_opsetid("com.example", 1))
    onnx.save(model, str(tmp_path / "small.onnx"))
    with pytest.raises(QuantizationError, match=r"small\.onnx.*com\.example"):
        EngineGraphs(tmp_path)(tmp_path / "small.onnx")


def test_dynamic_leaves_convolutions_in_float(picture: Path, tmp_path: Path) -> None:
    quantize(Dynamic(), picture, tmp_path / "small.onnx")
    kinds = [node.op_type for node in onnx.load(str(tmp_path / "small.onnx")).graph.node]
    assert kinds.count("Conv") == 2 and kinds.count("MatMulInteger") == 1


def test_weight_only_computes_in_float32(words: Path, tmp_path: Path) -> None:
    """ONNX Runtime must not make the activations int8 behind our back (trap: MatMulNBits)."""
    small, multiplied = tmp_path / "small.onnx", tmp_path / "multiplied.onnx"
    quantize(WeightOnly(), words, small)
    model = onnx.load(str(small))
    stored = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    for tensor in list(model.graph.initializer):
        if tensor.name.endswith("_int8"):
            base = tensor.name.removesuffix("_int8")
            wide = stored[tensor.name].astype(np.float32) * stored[f"{base}_scales"]
            model.graph.initializer.append(onnx.numpy_helper.from_array(wide, base))
            made = [n for n in model.graph.node if n.output[0] in (f"{base}_wide", base)]
            for node in made:
                model.graph.node.remove(node)
    onnx.save(model, str(multiplied))
    for feed in sentences(5):
        one, two = (Network(file)(feed)["embedding"] for file in (small, multiplied))
        np.testing.assert_allclose(one, two, atol=1e-5)


def test_the_smoothing_factor() -> None:
    """Xiao's x^a / w^(1 - a); a channel that is never active keeps 1."""
    x, w = np.array([8.0, 2.0, 0.0], np.float32), np.array([2.0, 4.0, 1.0], np.float32)
    expected = [8**0.75 / 2**0.25, 2**0.75 / 4**0.25, 1]
    np.testing.assert_allclose(smoothing_scale(x, w, 0.75), expected, rtol=1e-6)


def test_smoothing_helps_where_activations_have_outliers(words: Path, tmp_path: Path) -> None:
    plain, smooth = tmp_path / "plain.onnx", tmp_path / "smooth.onnx"
    quantize(Dynamic(), words, plain)
    quantize(SmoothQuant(), words, smooth, sentences(32))
    unseen = sentences(30, seed=2)
    assert error(words, smooth, unseen) < 0.7 * error(words, plain, unseen)


def test_a_network_without_weights_says_that_nothing_became_smaller(tmp_path: Path) -> None:
    graph = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17]> g (float[N] x) => (float[N] y) { y = Relu (x) }'
    )
    onnx.save(graph, str(tmp_path / "float.onnx"))
    for scheme in (WeightOnly(), Dynamic()):
        assert quantize(scheme, tmp_path / "float.onnx", tmp_path / "small.onnx") == 0


@pytest.mark.parametrize("scheme", [Static(), SmoothQuant()])
@pytest.mark.parametrize(
    ("calibration", "message"),
    [
        ([], "calibration data are missing"),
        ([{"faces": np.zeros((1, 1, 48, 48), np.float32)}], "has faces; the network takes ids"),
        ([{"ids": np.zeros((1, 4), np.float32)}], "ids is float32, expected int64"),
        ([{"ids": np.zeros(4, np.int64)}], r"ids is \(4,\), expected \(any, any\)"),
    ],
)
def test_calibration_data_of_the_wrong_kind_are_refused(
    scheme: Static, calibration: list, message: str, words: Path, tmp_path: Path
) -> None:
    with pytest.raises(QuantizationError, match=message):
        quantize(scheme, words, tmp_path / "small.onnx", calibration)
    assert not list(tmp_path.iterdir())


def test_calibration_data_with_nan_are_refused(picture: Path, tmp_path: Path) -> None:
    feeds = faces(3)
    feeds[2]["faces"][0, 0, 5, 5] = np.nan
    with pytest.raises(QuantizationError, match=r"2.*faces.*finite"):
        quantize(Static(), picture, tmp_path / "small.onnx", feeds)


def test_configurations_refuse_nonsense() -> None:
    for alphas in ((), (1.5,)):
        with pytest.raises(ValueError, match="alphas"):
            SmoothQuant(alphas)


def test_bundles_know_the_precision_of_every_scheme() -> None:
    assert {scheme.precision for scheme in SCHEMES.values()} < set(PRECISIONS)


def test_quantizing_needs_no_torch() -> None:
    """ONNX Runtime 1.23 imports torch where it is installed."""
    module = "erc_ros.training.quantization.schemes"
    command = f"import sys; sys.modules['torch'] = None; import {module}"
    root = Path(__file__).resolve().parents[3]
    assert subprocess.run([sys.executable, "-c", command], cwd=root, check=False).returncode == 0
