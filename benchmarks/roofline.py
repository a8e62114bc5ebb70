"""How far is every part of a bundle from what this machine could do at best?

    python -m benchmarks.roofline [--bundle edge-small] [--out out/roofline.md]

A made-up conversation is recognised, one utterance after the other; for each model the calls are
kept. Work is counted from the graph for the shapes of each call: two operations per multiplication
and addition of matrix products and convolutions; bytes are the weights that a call touches (of an
embedding table only the rows), its inputs and its outputs. The peaks are measured, not looked up:
matrix products of ONNX Runtime (1024 x 1024 x 1024, int8 and float32) and copies in memory, all
with one thread, as the models run. Calls follow each other closely, so weights that fit stay in
the caches: the copy has the size of what a call touches. The bound of a call is the longer of the
two times, work at peak and bytes at peak. Where the time goes comes from ONNX Runtime's profiler,
in a separate run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper

from benchmarks.machine import description
from erc_ros.dialogue.speakers.embedding import load_manifest
from erc_ros.inference.bundle import Bundle, load_bundle, speaker_network
from erc_ros.inference.engines import graph
from erc_ros.inference.engines.build import conversation
from erc_ros.inference.manifest import VoiceAudio
from erc_ros.inference.recogniser import Recogniser
from erc_ros.networks.network import observed
from erc_ros.networks.session import on_cpu, session_options
from erc_ros.pipeline import PipelineConfig
from erc_ros.resources import model_folder

PRODUCTS = ("MatMul", "Gemm", "Conv", "MatMulInteger", "ConvInteger")
SIDE = 1024
REPEATS = 15
Inputs = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Peaks:
    """What one thread reaches at best. Operations and bytes per second."""

    float32: float
    int8: float
    memory: float  # far from the caches


@dataclass
class Work:
    """What one call has to do at least."""

    float32: float = 0.0  # operations
    int8: float = 0.0
    weights: float = 0.0  # bytes
    others: float = 0.0  # bytes of inputs and outputs

    @property
    def bytes(self) -> float:
        return self.weights + self.others

    def computing(self, peaks: Peaks) -> float:
        """Seconds at the peak of computing."""
        return self.float32 / peaks.float32 + self.int8 / peaks.int8


@dataclass
class Row:
    """A part: its calls in a conversation, and what they cost per utterance."""

    name: str
    utterances: int
    work: Work = field(default_factory=Work)
    moving: float = 0.0  # bytes per second, for what a call touches
    bound: float = 0.0  # s per utterance
    measured: float = 0.0  # s per utterance
    calls: int = 0
    memory_bound: int = 0
    shares: dict[str, float] = field(default_factory=dict)  # of the time, by kind of node


def measured_peaks() -> Peaks:
    """The best of some runs each; a peak is what is possible, not what is usual."""
    rng = np.random.default_rng(0)
    products = 2.0 * SIDE**3
    a, b = (rng.random((SIDE, SIDE), np.float32) for _ in range(2))
    wide = _session("MatMul", TensorProto.FLOAT, TensorProto.FLOAT, TensorProto.FLOAT, b)
    small = rng.integers(-127, 127, (SIDE, SIDE)).astype(np.int8)
    narrow = _session(
        "MatMulInteger", TensorProto.UINT8, TensorProto.INT8, TensorProto.INT32, small
    )
    codes = rng.integers(0, 255, (SIDE, SIDE)).astype(np.uint8)
    return Peaks(
        float32=products / _best(lambda: wide.run(None, {"a": a})),
        int8=products / _best(lambda: narrow.run(None, {"a": codes})),
        memory=copying(512 * 2**20, 5),
    )


def copying(size: float, repeats: int = 50) -> float:
    """Bytes per second, read and written, of a copy that touches `size` bytes."""
    source = np.ones(max(1, int(size) // 2), np.uint8)
    target = np.zeros_like(source)
    return 2 * source.nbytes / _best(lambda: np.copyto(target, source), repeats)


def _session(operator: str, left: int, right: int, out: int, weights: np.ndarray) -> Any:
    shape = [SIDE, SIDE]
    made = helper.make_graph(
        [helper.make_node(operator, ["a", "b"], ["c"])],
        "product",
        [helper.make_tensor_value_info("a", left, shape)],
        [helper.make_tensor_value_info("c", out, shape)],
        [onnx.numpy_helper.from_array(weights, "b")],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return ort.InferenceSession(
        model.SerializeToString(), session_options(), providers=["CPUExecutionProvider"]
    )


def _best(work: Callable[[], object], repeats: int = REPEATS) -> float:
    return min(_times(work, repeats))


def _times(work: Callable[[], object], repeats: int) -> list[float]:
    """Seconds of this thread; what other programs take of its core does not count."""
    times = []
    for _ in range(repeats):
        begin = time.thread_time()
        work()
        times.append(time.thread_time() - begin)
    return times


def counted(model: onnx.ModelProto, inputs: Inputs) -> Work:
    """The work of a call with these inputs."""
    shapes = {name: array.shape for name, array in inputs.items()}
    fixed = graph.with_shapes(model, shapes).graph
    sizes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in fixed.value_info}
    sizes |= {name: list(shape) for name, shape in shapes.items()}
    weights = {t.name: t for t in fixed.initializer}
    sizes |= {name: list(tensor.dims) for name, tensor in weights.items()}
    made = {output: node for node in fixed.node for output in node.output}
    work = Work()
    touched = dict.fromkeys(weights, 0.0)
    for node in fixed.node:
        if node.op_type in PRODUCTS:
            operations = _operations(node, sizes)
            if _is_int8(node, made):
                work.int8 += operations
            else:
                work.float32 += operations
        for place, name in enumerate(node.input):
            if name in weights:
                bytes_ = _bytes(weights[name])
                if node.op_type == "Gather" and place == 0 and weights[name].dims:
                    rows = float(np.prod(sizes[node.input[1]]))
                    bytes_ *= min(1.0, rows / weights[name].dims[0])
                touched[name] = max(touched[name], bytes_)
    work.weights = sum(touched.values())
    work.others = sum(array.nbytes for array in inputs.values())
    work.others += sum(4.0 * np.prod(sizes[port.name]) for port in fixed.output)
    return work


def _operations(node: onnx.NodeProto, sizes: Mapping[str, list[int]]) -> float:
    result = float(np.prod(sizes[node.output[0]]))
    weights = sizes[node.input[1]]
    if node.op_type.startswith("Conv"):
        return 2 * result * float(np.prod(weights[1:]))
    inner = sizes[node.input[0]][-1]
    if node.op_type == "Gemm" and any(a.name == "transA" and a.i for a in node.attribute):
        inner = sizes[node.input[0]][0]
    return 2 * result * inner


def _is_int8(node: onnx.NodeProto, made: Mapping[str, onnx.NodeProto]) -> bool:
    """Whether both sides of a product are int8 (int8 weights alone are computed in float32)."""
    if node.op_type.endswith("Integer"):
        return True
    sides = [made.get(name) for name in node.input[:2]]
    return all(side is not None and side.op_type == "DequantizeLinear" for side in sides)


def _bytes(tensor: onnx.TensorProto) -> float:
    return float(np.prod(tensor.dims) * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)


def shares(file: Path, calls: list[Inputs]) -> dict[str, float]:
    """Parts of the time: matrix products, and the other kinds of nodes that cost most."""
    with tempfile.TemporaryDirectory() as folder:
        options = session_options()
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder, "profile"))
        session = ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        for inputs in calls * 3:
            session.run(None, dict(inputs))
        events = json.loads(Path(session.end_profiling()).read_text())
    spent: dict[str, float] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            kind = event["args"]["op_name"]
            kind = "products" if any(p in kind for p in ("MatMul", "Gemm", "Conv")) else kind
            spent[kind] = spent.get(kind, 0.0) + event["dur"]
    total = sum(spent.values()) or 1.0
    return {k: v / total for k, v in sorted(spent.items(), key=lambda kv: -kv[1])}


def files(bundle: Bundle) -> dict[str, Path]:
    """The network of each part, and the speaker network where the voice is read with it."""
    found = {name: part.file for name, part in bundle.parts.items()}
    if isinstance(bundle.audio, VoiceAudio):
        folder = speaker_network(bundle)
        found["speaker network"] = folder / load_manifest(folder).file
    return found


def recorded_calls(bundle: Bundle) -> tuple[dict[str, list[Inputs]], int]:
    """The inputs of every call of each part in a conversation, and its number of utterances."""
    named = {file: name for name, file in files(bundle).items()}
    calls: dict[str, list[Inputs]] = {name: [] for name in named.values()}

    def note(file: Path, inputs: Inputs) -> None:
        calls[named[file]].append({name: np.array(array) for name, array in inputs.items()})

    utterances = list(conversation(bundle))
    with Recogniser(bundle) as recogniser:
        recogniser.warm_up()
        with observed(note):
            for utterance in utterances:
                recogniser.feed(utterance)
    return calls, len(utterances)


def measure(bundle: Bundle) -> tuple[Peaks, list[Row]]:
    """Peaks of this machine, and a row for each part."""
    calls, utterances = recorded_calls(bundle)
    peaks = measured_peaks()
    rows = []
    for name, file in files(bundle).items():
        row = Row(name, utterances, calls=len(calls[name]))
        run, model = on_cpu(file), onnx.load(str(file))
        works = [counted(model, inputs) for inputs in calls[name]]
        row.moving = copying(statistics.mean(work.bytes for work in works))
        for inputs, work in zip(calls[name], works, strict=True):
            for kind in ("float32", "int8", "weights", "others"):
                added = getattr(work, kind) / utterances
                setattr(row.work, kind, getattr(row.work, kind) + added)
            computing, moving = work.computing(peaks), work.bytes / row.moving
            row.memory_bound += moving > computing
            row.bound += max(computing, moving) / utterances
            times = _times(partial(run, dict(inputs)), 1 + REPEATS)[1:]
            row.measured += statistics.median(times) / utterances
        row.shares = shares(file, calls[name])
        rows.append(row)
    return peaks, rows


def report(bundle: str, peaks: Peaks, rows: list[Row], machine: str) -> str:
    """Markdown."""
    lines = [
        "# Roofline",
        "",
        f"`python -m benchmarks.roofline`: {bundle} on {machine}. One thread, its own "
        f"time; means over {rows[0].utterances} made-up utterances of growing length, each the "
        f"median of {REPEATS} runs.",
        "",
        f"Measured peaks: {peaks.float32 / 1e9:.0f} GFLOP/s float32, {peaks.int8 / 1e9:.0f} GOP/s "
        f"int8 (products of {SIDE} x {SIDE} matrices by ONNX Runtime), {peaks.memory / 1e9:.1f} "
        "GB/s read and written far from the caches; GB/s at the size of a call in the table.",
        "",
        "| part | calls | Mop float32 | Mop int8 | MB weights | MB in, out | GB/s | bound ms "
        "| limited by | measured ms | of the peak |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        w = row.work
        limit = "memory" if 2 * row.memory_bound > row.calls else "computing"
        lines.append(
            f"| {row.name} | {row.calls / row.utterances:.1f} | {w.float32 / 1e6:.1f} "
            f"| {w.int8 / 1e6:.1f} | {w.weights / 1e6:.2f} | {w.others / 1e6:.3f} "
            f"| {row.moving / 1e9:.0f} | {row.bound * 1e3:.3f} | {limit} "
            f"| {row.measured * 1e3:.3f} | {row.bound / row.measured:.0%} |"
        )
    bound, measured = (sum(getattr(row, k) for row in rows) for k in ("bound", "measured"))
    lines += [
        f"| together | | | | | | | {bound * 1e3:.3f} | | {measured * 1e3:.3f} "
        f"| {bound / measured:.0%} |",
        "",
        "Where the time goes (ONNX Runtime's profiler; products: MatMul, Gemm, Conv in any type):",
        "",
        "| part | share of the time |",
        "|---|---|",
    ]
    for row in rows:
        told = [f"{kind} {share:.0%}" for kind, share in row.shares.items() if share >= 0.03]
        lines.append(f"| {row.name} | {', '.join(told)} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", default=PipelineConfig().recognition.bundle)
    parser.add_argument("--out", type=Path, help="Markdown file to write as well")
    options = parser.parse_args()
    machine = description()
    bundle = load_bundle(model_folder(options.bundle))
    text = report(f"{bundle.name} {bundle.version}", *measure(bundle), machine)
    print(text)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
