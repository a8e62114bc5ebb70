from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from erc_ros.training.quantization.measurement import (
    bundle_memory,
    peak_memory,
    side_by_side,
    speeds,
)


def product(file: Path, size: int) -> Path:
    model = parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17]>'
        f"g (float[1, {size}] x) => (float[1, {size}] y) {{ y = MatMul (x, w) }}"
    )
    weight = np.ones((size, size), np.float32)
    model.graph.initializer.append(numpy_helper.from_array(weight, "w"))
    onnx.save(model, str(file))
    return file


def test_memory_is_that_of_the_network_alone(tmp_path: Path) -> None:
    ballast = np.ones((64, 1 << 20), np.uint8)  # of this process; must not count
    small, large = (
        peak_memory(product(tmp_path / f"{n}.onnx", n), {"x": np.ones((1, n), np.float32)})
        for n in (16, 3000)
    )
    assert ballast.nbytes > 60e6 and 0 < small < 40
    assert small + 30 < large < small + 200  # 36 MB of weights, read and laid out anew


def test_a_network_that_fails_is_an_error_with_its_reason(tmp_path: Path) -> None:
    file = product(tmp_path / "n.onnx", 4)
    with pytest.raises(RuntimeError, match=r"n\.onnx"):
        peak_memory(file, {"x": np.ones((1, 5), np.float32)})


def test_a_whole_bundle_has_its_memory_too(bundle_folder: Path) -> None:
    assert bundle_memory(bundle_folder) > 1


def test_networks_take_turns(tmp_path: Path) -> None:
    calls: list[str] = []
    timed = side_by_side([lambda _: calls.append("a"), lambda _: calls.append("b")], [1, 2, 3, 4])
    assert "".join(calls[-8:]) == "abababab" and all(0 <= t.p50 <= t.p95 for t in timed)
    files = [product(tmp_path / f"{n}.onnx", n) for n in (4, 4)]
    assert len(speeds(files, [{"x": np.ones((1, 4), np.float32)}])) == 2
    with pytest.raises(ValueError, match="no inputs"):
        speeds(files, [])
