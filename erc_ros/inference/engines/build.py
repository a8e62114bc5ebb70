"""Build what a machine runs faster: saved ONNX Runtime graphs and TensorRT engines of a bundle."""

from __future__ import annotations

import hashlib
import itertools
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from erc_ros.inference.backend import SAVED_OR_CPU, cpu_key
from erc_ros.inference.bundle import Bundle, load_bundle
from erc_ros.inference.engines import store, tensorrt_engine
from erc_ros.inference.engines.agreement import HALF, SAME, Stored, disagreement, keep
from erc_ros.inference.engines.profiles import Profile, profiles, ranges
from erc_ros.inference.engines.store import EngineError, Key
from erc_ros.inference.engines.tensorrt_engine import BuildStep
from erc_ros.inference.inputs import SHORTEST_SOUND
from erc_ros.inference.recogniser import Recogniser
from erc_ros.networks.gpu import GpuError
from erc_ros.networks.network import CUDA, Network, observed
from erc_ros.networks.session import Run, on_cpu, save_optimized
from erc_ros.values.utterance import SAMPLE_RATE, FaceCrop, Utterance

KEPT_INPUTS = 8  # of each model, for comparison
TIMED = 7  # rounds of them, engine and ONNX Runtime in turn
Say = Callable[[str], None]
Show = Callable[[str, "BuildStep | None"], None]  # a part, and what TensorRT works at


@dataclass(frozen=True, eq=False)
class EnginePart:
    """A model of the bundle, some inputs of it, and what ONNX Runtime answers."""

    name: str
    file: Path
    stored: tuple[Stored, ...]


def build(
    folder: Path | str,
    say: Say = print,
    show: Show | None = None,
    again: bool = True,
    keep_slower: bool = False,
) -> list[str]:
    """Build everything that is possible here; what is there already and fits stays.

    Args:
        show: told what TensorRT works at, and None at the end of a part; default: a line on stderr.
        again: build anew what was refused here before.
        keep_slower: keep engines that are slower than ONNX Runtime as well.

    Returns:
        What could not be built, and the way out.

    Raises:
        BundleError: the bundle is not usable.
        EngineError: the folder of the engines is not, or the disk is full.
        KeyboardInterrupt: broken off; nothing unfinished stays behind.
    """
    bundle = load_bundle(folder)
    target = store.folder_of(bundle.text.file)
    say(f"{bundle.name} {bundle.version} ({bundle.sha256[:12]}) -> {target}")
    with store.building(target, say):
        parts = recorded(bundle)
        for part in parts:
            keep(part.file, part.stored)
            _save_graph(part, say)
    if reason := tensorrt_engine.missing():
        say(f"TensorRT: no engines, there is {reason}")
        return []
    try:
        machine = tensorrt_engine.machine()
        source = for_tensorrt(bundle)
    except (EngineError, GpuError) as error:
        return [f"TensorRT: {error}"]
    failed: list[str] = []
    with store.building(store.folder_of(source.text.file), say):
        todo = [
            name
            for name, part in source.parts.items()
            if again or not _is_refused(name, part.file, machine.key(part.file), say)
        ]
        try:
            parts = recorded(source, for_engines=True) if todo else []
        except EngineError as error:
            return [f"TensorRT: {error}"]
        for part in parts:
            if part.name not in todo:
                continue
            keep(part.file, part.stored)
            other = Network(bundle.parts[part.name].file, (CUDA, SAVED_OR_CPU))
            try:
                _build_engine(
                    part, source, machine, None if keep_slower else other, say, show or _Terminal()
                )
            except EngineError as error:
                failed.append(f"{part.name}: {error}")
    return failed


def for_tensorrt(bundle: Bundle) -> Bundle:
    """The form of the bundle that engines are built of: in its folder `tensorrt`, or itself.

    Raises:
        EngineError: the folder holds another bundle's form.
        BundleError: the form is not usable.
    """
    folder = bundle.folder / store.FOR_TENSORRT
    if not (folder / store.MANIFEST).is_file():
        return bundle
    form = load_bundle(folder)
    if form.float32_sha256 != bundle.float32_sha256:
        theirs, ours = form.float32_sha256[:12], bundle.float32_sha256[:12]
        raise EngineError(
            f"{folder} was made of another float32 bundle ({theirs}) than {bundle.folder} "
            f"({ours}); make it again by `erc quantize --target tensorrt --out {folder}`, or "
            "remove it"
        )
    return form


def check(folder: Path | str, say: Say = print) -> list[str]:
    """Everything about TensorRT engines that can be known without TensorRT.

    Operators, Q/DQ pairs, the shapes of every profile, and the float16 form on the CPU.

    Returns:
        What stands against an engine, and the way out.

    Raises:
        BundleError: the bundle is not usable.
    """
    bundle = load_bundle(folder)
    failed = []
    try:
        source = for_tensorrt(bundle)
    except EngineError as error:
        return [f"TensorRT: {error}"]
    try:
        parts = recorded(source, for_engines=True)
    except EngineError as error:
        return [f"TensorRT: {error}"]
    for part in parts:
        try:
            model, shapes = _prepared(part, source)
            worst = disagreement(on_cpu(model, as_written=True), part.stored, HALF)
        except EngineError as error:
            failed.append(f"{part.name}: {error}")
            continue
        say(
            f"{part.name}: fit for TensorRT, {tensorrt_engine.precision(part.file)}, "
            f"{len(shapes)} shape profiles; on the CPU it differs by {worst:.2%}"
        )
    return failed


def recorded(bundle: Bundle, for_engines: bool = False) -> list[EnginePart]:
    """What each model gets and answers when a made-up conversation is recognised on the CPU.

    for_engines: the answers are those of the graph that an engine is made of, in float32, with Q/DQ
    pairs as they stand.

    Raises:
        EngineError: `for_engines` needs the package onnx.
    """
    seen: dict[Path, list[dict[str, NDArray[Any]]]] = {}

    def note(file: Path, inputs: Mapping[str, NDArray[Any]]) -> None:
        seen.setdefault(file, []).append({name: np.array(x) for name, x in inputs.items()})

    with Recogniser(bundle) as recogniser, observed(note):
        recogniser.warm_up()
        for utterance in conversation(bundle):
            recogniser.feed(utterance)
    files = {name: part.file for name, part in bundle.parts.items()}
    return [
        EnginePart(name, file, tuple(_answered(file, seen[file], for_engines)))
        for name, file in files.items()
    ]


def conversation(bundle: Bundle) -> Iterator[Utterance]:
    """Utterances of every size: words without sense, noise for sounds and faces."""
    random = np.random.default_rng(0)
    words = ["well", "I", "do", "not", "know", "what", "you", "mean", "it", "sounds", "great"]
    turns = max(16, bundle.fusion.context)
    seconds = 0.5 if bundle.audio is None else bundle.audio.max_seconds
    longest, most = int(seconds * SAMPLE_RATE), 1 if bundle.visual is None else bundle.visual.most
    for number in range(turns):
        samples = SHORTEST_SOUND + number * (longest - SHORTEST_SOUND) // turns
        crops = 1 + number % most
        yield Utterance(
            conversation_id="built",
            utterance_id=str(number),
            start=0,
            end=0,
            text=" ".join(random.choice(words, 1 + 2 * number)),
            speaker_id=str(number % 3),
            audio=random.integers(-9000, 9000, samples, np.int16),
            faces=tuple(
                FaceCrop(0, random.integers(0, 255, (96, 96, 3), np.uint8)) for _ in range(crops)
            ),
        )


def _answered(
    file: Path, calls: list[dict[str, NDArray[Any]]], for_engines: bool
) -> Iterator[Stored]:
    """A few calls of different shapes, from the smallest to the largest, with their answers."""
    shapes = {tuple(x.shape for x in inputs.values()): inputs for inputs in calls}
    ordered = sorted(shapes.values(), key=lambda inputs: sum(x.size for x in inputs.values()))
    places = np.linspace(0, len(ordered) - 1, min(KEPT_INPUTS, len(ordered)))
    network = on_cpu(file)
    if for_engines:
        network = on_cpu(_graphs().load(file).SerializeToString(), as_written=True)
    for place in places.round().astype(int):
        yield ordered[place], network(ordered[place])


def _is_refused(name: str, file: Path, key: Key, say: Say) -> bool:
    try:
        store.find(file, "tensorrt", key)
    except store.RefusedEngine as reason:
        say(f"{name}: not built again: {reason}")
        return True
    except EngineError:
        pass
    return False


def _is_there(part: EnginePart, kind: str, key: Key, say: Say) -> bool:
    """Whether an engine that fits is there; one that does not is named, with the reason."""
    try:
        found = store.find(part.file, kind, key)
    except EngineError as error:
        say(f"{part.name}: {error}")
        return False
    if found is not None:
        say(f"{part.name}: {kind} is there and fits")
    return found is not None


def _save_graph(part: EnginePart, say: Say) -> None:
    kind, key = "onnxruntime", cpu_key(part.file)
    if _is_there(part, kind, key, say):
        return
    file = store.engine_file(part.file, kind)

    def make(target: Path) -> float:
        save_optimized(part.file, target)
        return disagreement(on_cpu(target, optimized=True), part.stored, SAME)

    store.save(file, make, key, SAME)
    before = _milliseconds(partial(on_cpu, part.file))
    after = _milliseconds(partial(on_cpu, file, optimized=True))
    say(f"{part.name}: graph saved, opens in {after:.0f} ms instead of {before:.0f} ms")


def _milliseconds(work: Callable[[], object]) -> float:
    return _side_by_side([work], repeats=3)[0]


def _side_by_side(works: Sequence[Callable[[], object]], repeats: int) -> list[float]:
    """Median ms of each, in turn, so that other load hits all alike."""
    times: list[list[float]] = [[] for _ in works]
    for _, (work, taken) in itertools.product(range(repeats), zip(works, times, strict=True)):
        begin = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begin)
    return [1e3 * statistics.median(taken) for taken in times]


def _graphs() -> ModuleType:
    """What makes graphs fit for TensorRT; raises EngineError where the package onnx is not."""
    try:
        return import_module("erc_ros.inference.engines.graph")
    except ImportError as error:
        raise EngineError(f"building engines needs onnx ({error}): pip install onnx") from error


def _prepared(part: EnginePart, bundle: Bundle) -> tuple[bytes, list[Profile]]:
    """The model as TensorRT takes it, and its profiles.

    Raises:
        EngineError: it does not; says why, and the way out.
    """
    graph = _graphs()
    model = graph.load(part.file)
    if found := graph.problems(model):
        more = f"; and {len(found) - 2} other problems" if len(found) > 2 else ""
        raise EngineError(
            f"TensorRT does not take {part.file.name}: {'; '.join(found[:2])}{more}. Give a bundle "
            f"whose {part.name} is float32, or make a form for TensorRT of its float32 bundle: "
            "`erc quantize FLOAT32_BUNDLE --target tensorrt --out BUNDLE/tensorrt`"
        )
    shapes = profiles(graph.axes(model), ranges(bundle), part.file.name)
    for profile in shapes:
        for which in range(3):
            try:
                left = graph.unresolved(model, {name: s[which] for name, s in profile.items()})
            except ValueError as error:
                raise EngineError(f"{part.file.name}: {error}") from error
            if left:
                raise EngineError(f"{part.file.name}: the shape of {left[0]} stays unknown")
    typed: bytes = graph.strongly_typed(model).SerializeToString()
    return typed, shapes


def _build_engine(
    part: EnginePart,
    bundle: Bundle,
    machine: tensorrt_engine.Machine,
    other: Network | None,
    say: Say,
    show: Show,
) -> None:
    """other: what answers without an engine, to be outrun.

    Raises:
        EngineError: there is no engine for this part; says why.
    """
    key, file = machine.key(part.file), store.engine_file(part.file, "tensorrt")
    if _is_there(part, "tensorrt", key, say) and _agrees(part, file, say):
        return
    model, shapes = _prepared(part, bundle)
    learned = hashlib.sha256(f"{key.machine} {key.builder}".encode()).hexdigest()[:12]
    timing = file.with_name(f"timing-{learned}.cache")
    known = timing.read_bytes() if timing.exists() else b""
    begin = time.monotonic()
    try:
        plan, learned_now = _interruptible(
            lambda cancelled: tensorrt_engine.build(
                model, shapes, known, partial(show, part.name), cancelled
            )
        )
        network = tensorrt_engine.TensorRtNetwork(plan)
        difference = disagreement(network, part.stored, HALF)
        compared = "" if other is None else _outruns(network, other, part.stored)
    except EngineError as error:
        store.refuse(file, key, str(error))
        raise
    finally:
        show(part.name, None)

    def make(target: Path) -> float:
        target.write_bytes(plan)
        return difference

    store.save_file(timing, learned_now)
    store.save(file, make, key, HALF)
    say(
        f"{part.name}: engine for {key.machine} ({key.precision}), {len(shapes)} shape profiles, "
        f"{len(plan) / 1e6:.1f} MB, built in {time.monotonic() - begin:.0f} s{compared}"
    )


def _agrees(part: EnginePart, file: Path, say: Say) -> bool:
    """Whether an engine that is there still answers as it has to: the driver may be another one."""
    try:
        disagreement(tensorrt_engine.TensorRtNetwork(file.read_bytes()), part.stored, HALF)
    except (OSError, EngineError, GpuError) as error:
        say(f"{part.name}: {error}; it is built again")
        return False
    return True


def _outruns(network: Run, other: Network, stored: Sequence[Stored]) -> str:
    """How fast both answer, in words.

    Raises:
        EngineError: the engine is the slower one.
    """
    runs = [partial(_answer_all, run, stored) for run in (network, other)]
    for run in runs:
        run()
    ours, theirs = (taken / len(stored) for taken in _side_by_side(runs, TIMED))
    if ours >= theirs:
        raise EngineError(
            f"ONNX Runtime ({other.device}) is faster here: {theirs:.2f} ms against {ours:.2f} ms"
        )
    return f", {ours:.2f} ms against {theirs:.2f} ms of ONNX Runtime ({other.device})"


def _answer_all(run: Run, stored: Sequence[Stored]) -> None:
    for inputs, _ in stored:
        run(inputs)


def _interruptible(
    work: Callable[[threading.Event], tuple[bytes, bytes]],
) -> tuple[bytes, bytes]:
    """Let another thread work, so that Ctrl-C is heard here; then ask it to end, and wait."""
    cancelled = threading.Event()
    with ThreadPoolExecutor(1) as worker:
        coming = worker.submit(work, cancelled)
        try:
            return coming.result()
        except KeyboardInterrupt:
            cancelled.set()
            raise


class _Terminal:
    """One line on stderr that tells the phase or layer at work; called from any thread."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()

    def __call__(self, part: str, now: BuildStep | None) -> None:
        if now is None:
            sys.stderr.write("\n" * self._is_terminal)
        elif self._is_terminal:
            line = f"{part}: {now.phase}, {now.step} of {now.steps}"
            sys.stderr.write(f"\r{line[:99]:<99}")
        elif now.step == 0:
            sys.stderr.write(f"{part}: {now.phase}, {now.steps} steps\n")
        sys.stderr.flush()
