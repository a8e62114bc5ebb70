"""Building of the TensorRT engines of a bundle, and checks whether they can be built."""

from __future__ import annotations

import itertools
import signal
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from erc_ros.inference.bundle import Bundle, load_bundle
from erc_ros.inference.emotion_recognizer import EmotionRecognizer
from erc_ros.inference.engines import store, tensorrt_engine
from erc_ros.inference.engines.agreement import Stored, disagreement, keep
from erc_ros.inference.engines.profiles import Profile, profiles, ranges
from erc_ros.inference.engines.store import EngineError, Key
from erc_ros.inference.inputs import SHORTEST_SOUND
from erc_ros.networks.gpu import GpuError
from erc_ros.networks.network import CPU, CUDA, Network, observed
from erc_ros.networks.session import Run, on_cpu
from erc_ros.values.utterance import SAMPLE_RATE, FaceCrop, Utterance

KEPT_INPUTS = 8  # number of stored inputs of each model, for comparison
TIMED = 7  # repetitions of a time measurement
Say = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class EnginePart:
    """A model of the bundle with example inputs and the outputs of ONNX Runtime."""

    name: str
    file: Path
    stored: tuple[Stored, ...]


def build(
    folder: Path | str,
    say: Say = print,
    begin: Say = lambda part: None,
    again: bool = True,
    keep_slower: bool = False,
) -> list[str]:
    """Build all engines that can be built here; valid existing ones are kept.

    Args:
        folder: folder of the bundle.
        say: called with the result of each part.
        begin: called with the name of a part before its engine is built.
        again: whether to repeat builds that failed on this computer before.
        keep_slower: whether to keep engines that are slower than ONNX Runtime.

    Returns:
        Error texts of the engines that could not be built.

    Raises:
        BundleError: the bundle is invalid.
        EngineError: the folder of the engines cannot be written.
    """
    bundle = load_bundle(folder)
    if reason := tensorrt_engine.missing():
        say(f"TensorRT: no engines, there is {reason}")
        return []
    try:
        machine = tensorrt_engine.machine()
        source = for_tensorrt(bundle)
    except (EngineError, GpuError) as error:
        return [f"TensorRT: {error}"]
    target = store.folder_of(source.text.file)
    say(f"{bundle.name} {bundle.version} ({bundle.sha256[:12]}) -> {target}")
    failed: list[str] = []
    with store.building(target, say):
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
            begin(part.name)
            keep(part.file, part.stored)
            other = Network(bundle.parts[part.name].file, (CUDA, CPU))
            try:
                _build_engine(part, source, machine, None if keep_slower else other, say)
            except EngineError as error:
                failed.append(f"{part.name}: {error}")
    return failed


def for_tensorrt(bundle: Bundle) -> Bundle:
    """Return the bundle from which engines are built: in the folder `tensorrt`, or itself.

    Raises:
        EngineError: the folder contains a variant of another bundle.
        BundleError: the variant is invalid.
    """
    folder = bundle.folder / store.FOR_TENSORRT
    if not (folder / store.MANIFEST).is_file():
        return bundle
    variant = load_bundle(folder)
    if variant.float32_sha256 != bundle.float32_sha256:
        theirs, ours = variant.float32_sha256[:12], bundle.float32_sha256[:12]
        raise EngineError(
            f"{folder} was made of another float32 bundle ({theirs}) than {bundle.folder} "
            f"({ours}); make it again by `erc quantize --target tensorrt --out {folder}`, or "
            "remove it"
        )
    return variant


def check(folder: Path | str, say: Say = print) -> list[str]:
    """Check, without TensorRT, whether the engines can be built.

    Checks operators, Q/DQ pairs, the shapes of every profile, and the float16 graph on the CPU.

    Returns:
        Error texts of the engines that cannot be built.

    Raises:
        BundleError: the bundle is invalid.
    """
    bundle = load_bundle(folder)
    failed = []
    try:
        source = for_tensorrt(bundle)
        parts = recorded(source, for_engines=True)
    except EngineError as error:
        return [f"TensorRT: {error}"]
    for part in parts:
        try:
            model, shapes = _prepared(part, source)
            worst = disagreement(on_cpu(model, as_written=True), part.stored)
        except EngineError as error:
            failed.append(f"{part.name}: {error}")
            continue
        say(
            f"{part.name}: fit for TensorRT, {tensorrt_engine.precision(part.file)}, "
            f"{len(shapes)} shape profiles; on the CPU it differs by {worst:.2%}"
        )
    return failed


def recorded(bundle: Bundle, for_engines: bool = False) -> list[EnginePart]:
    """Return inputs and outputs of each model for a synthetic conversation on the CPU.

    for_engines: whether the outputs are those of the graph from which an engine is built: float32,
        with Q/DQ pairs.

    Raises:
        EngineError: the package onnx, required for `for_engines`, is missing.
    """
    calls: dict[Path, list[dict[str, NDArray[Any]]]] = {}

    def note(file: Path, inputs: Mapping[str, NDArray[Any]]) -> None:
        calls.setdefault(file, []).append({name: np.array(x) for name, x in inputs.items()})

    with EmotionRecognizer(bundle) as recognizer, observed(note):
        recognizer.warm_up()
        for utterance in conversation(bundle):
            recognizer.feed(utterance)
    files = {name: part.file for name, part in bundle.parts.items()}
    return [
        EnginePart(name, file, tuple(_computed(file, calls[file], for_engines)))
        for name, file in files.items()
    ]


def conversation(bundle: Bundle) -> Iterator[Utterance]:
    """Yield utterances of different sizes, with random words, and noise as audio and images."""
    random = np.random.default_rng(0)
    words = ["well", "I", "do", "not", "know", "what", "you", "mean", "it", "sounds", "great"]
    turns = max(16, bundle.fusion.context)
    seconds = 0.5 if bundle.audio is None else bundle.audio.max_seconds
    longest = int(seconds * SAMPLE_RATE)
    max_images = 1 if bundle.visual is None else bundle.visual.max_images
    for number in range(turns):
        samples = SHORTEST_SOUND + number * (longest - SHORTEST_SOUND) // turns
        crops = 1 + number % max_images
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


def _computed(
    file: Path, calls: list[dict[str, NDArray[Any]]], for_engines: bool
) -> Iterator[Stored]:
    """Yield calls of different shapes, from the smallest to the largest, with their outputs."""
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
        store.find(file, key)
    except store.RefusedEngine as reason:
        say(f"{name}: not built again: {reason}")
        return True
    except EngineError:
        pass
    return False


def _graphs() -> ModuleType:
    """Return the module `graph`; raise EngineError if the package onnx is missing."""
    try:
        return import_module("erc_ros.inference.engines.graph")
    except ImportError as error:
        raise EngineError(f"building engines needs onnx ({error}): pip install onnx") from error


def _prepared(part: EnginePart, bundle: Bundle) -> tuple[bytes, list[Profile]]:
    """Return the model for TensorRT and its profiles.

    Raises:
        EngineError: TensorRT does not support the model.
    """
    graph = _graphs()
    model = graph.load(part.file)
    if problems := graph.problems(model):
        more = f"; and {len(problems) - 2} other problems" if len(problems) > 2 else ""
        raise EngineError(
            f"TensorRT does not support {part.file.name}: {'; '.join(problems[:2])}{more}. Use a "
            f"bundle whose {part.name} is float32, or make a variant for TensorRT of its float32 "
            "bundle: `erc quantize FLOAT32_BUNDLE --target tensorrt --out BUNDLE/tensorrt`"
        )
    shapes = profiles(graph.axes(model), ranges(bundle), part.file.name)
    for profile in shapes:
        for which in range(3):
            try:
                left = graph.unresolved(model, {name: s[which] for name, s in profile.items()})
            except ValueError as error:
                raise EngineError(f"{part.file.name}: {error}") from error
            if left:
                raise EngineError(f"{part.file.name}: the shape of {left[0]} is unknown")
    typed: bytes = graph.strongly_typed(model).SerializeToString()
    return typed, shapes


def _build_engine(
    part: EnginePart,
    bundle: Bundle,
    machine: tensorrt_engine.Machine,
    other: Network | None,
    say: Say,
) -> None:
    """Build one engine. other: the network in ONNX Runtime, which must be slower; None: any.

    Raises:
        EngineError: the engine could not be built, or is slower.
    """
    key, file = machine.key(part.file), store.engine_file(part.file)
    if _is_usable(part, key, say):
        return
    model, shapes = _prepared(part, bundle)
    begin = time.monotonic()
    try:
        with _interruptible():
            plan = tensorrt_engine.build(model, shapes)
        network = tensorrt_engine.TensorRtNetwork(plan)
        disagreement(network, part.stored)
        compared = "" if other is None else _outruns(network, other, part.stored)
    except EngineError as error:
        store.refuse(file, key, str(error))
        raise
    store.save(file, plan, key)
    say(
        f"{part.name}: engine for {key.machine} ({key.precision}), {len(shapes)} shape profiles, "
        f"{len(plan) / 1e6:.1f} MB, built in {time.monotonic() - begin:.0f} s{compared}"
    )


def _is_usable(part: EnginePart, key: Key, say: Say) -> bool:
    """Return whether a valid engine exists whose outputs still agree with ONNX Runtime."""
    try:
        file = store.find(part.file, key)
        if file is None:
            return False
        disagreement(tensorrt_engine.TensorRtNetwork(file.read_bytes()), part.stored)
    except (OSError, EngineError, GpuError) as error:
        say(f"{part.name}: {error}")
        return False
    say(f"{part.name}: a valid engine exists")
    return True


def _outruns(network: Run, other: Network, stored: Sequence[Stored]) -> str:
    """Compare the run times, and return them as text.

    Raises:
        EngineError: the engine is slower.
    """
    runs = [partial(_run_all, run, stored) for run in (network, other)]
    for run in runs:
        run()
    times: list[list[float]] = [[], []]
    for _, (run, taken) in itertools.product(range(TIMED), zip(runs, times, strict=True)):
        begin = time.perf_counter()  # alternating, so that other load affects both
        run()
        taken.append(time.perf_counter() - begin)
    ours, theirs = (1e3 * statistics.median(taken) / len(stored) for taken in times)
    if ours >= theirs:
        raise EngineError(
            f"ONNX Runtime ({other.device}) is faster here: {theirs:.2f} ms against {ours:.2f} ms"
        )
    return f", {ours:.2f} ms against {theirs:.2f} ms of ONNX Runtime ({other.device})"


def _run_all(run: Run, stored: Sequence[Stored]) -> None:
    for inputs, _ in stored:
        run(inputs)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C end the process at once while TensorRT builds, before any file is written.

    Python's handler would wait for TensorRT, which does not return to Python for minutes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
