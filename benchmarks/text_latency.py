"""Latency of the text network and of the fusion, with different session options.

    python -m benchmarks.text_latency [--bundle edge-small] [--repeats 15]

The calls of the text network and of the fusion in a conversation of text are recorded, and repeated
by each variant, alternating, so that other load affects all variants. Results are means over the
calls of the minimum time of each call, which is least affected by other load. Ratios are more
reproducible than times.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from benchmarks.machine import description
from erc_ros.demo.conversation_bag import DIALOGUE
from erc_ros.encoders.text import Turn
from erc_ros.inference.bundle import Bundle, load_bundle, text_prompt
from erc_ros.inference.emotion_recognizer import EmotionRecognizer
from erc_ros.inference.history import leave_one_out_inputs
from erc_ros.inference.text_encoders import CachedTextEncoder
from erc_ros.networks.network import Network, observed
from erc_ros.networks.session import session_options
from erc_ros.resources import model_folder
from erc_ros.values.utterance import Utterance

ROUNDS = 4  # repetitions of the dialogue, in which the window of the encoder fills and slides
Inputs = dict[str, np.ndarray]
Call = Callable[[], object]


def recorded(bundle: Bundle) -> dict[str, list[Inputs]]:
    """Return part -> its inputs during the dialogue, without the first round."""
    files = {part.file: name for name, part in bundle.parts.items()}
    calls: dict[str, list[Inputs]] = {name: [] for name in files.values()}
    with EmotionRecognizer(bundle) as recognizer:
        feed(recognizer, 0)

        def note(file: Path, inputs: Mapping[str, Any]) -> None:
            calls[files[file]].append({name: np.array(x) for name, x in inputs.items()})

        with observed(note):
            for number in range(1, ROUNDS):
                feed(recognizer, number)
    return calls


def feed(recognizer: EmotionRecognizer, number: int) -> None:
    """Process the dialogue once."""
    for place, turn in enumerate(DIALOGUE):
        recognizer.feed(
            Utterance("bench", f"{number}.{place}", 0, 0, turn.text, speaker_id=str(turn.speaker))
        )


def sessions(file: Path, folder: Path) -> dict[str, Callable[[Inputs], object]]:
    """Open the same file with different options."""

    def opened(path: Path, **settings: Any) -> Callable[[Inputs], object]:
        options = session_options()
        for name, value in settings.items():
            if name == "spinning":
                options = ort.SessionOptions()
                options.intra_op_num_threads = settings["intra_op_num_threads"]
            else:
                setattr(options, name, value)
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return lambda inputs: session.run(None, inputs)

    levels = ort.GraphOptimizationLevel
    return {
        "one thread, no spinning (as shipped)": opened(file),
        "two threads, no spinning": opened(file, intra_op_num_threads=2),
        "two threads, spinning": opened(file, spinning=True, intra_op_num_threads=2),
        "extended optimizations only": opened(
            file, graph_optimization_level=levels.ORT_ENABLE_EXTENDED
        ),
        "no memory pattern": opened(file, enable_mem_pattern=False),
        "no arena": opened(file, enable_cpu_mem_arena=False),
    }


def table(title: str, variants: Mapping[str, Sequence[Call]], repeats: int) -> str:
    """Run the calls of every variant, alternating, and return a table of the ms."""
    wall = {name: np.full((repeats, len(calls)), np.inf) for name, calls in variants.items()}
    worked = {name: array.copy() for name, array in wall.items()}
    for repeat in range(repeats):
        for name, calls in variants.items():
            for place, call in enumerate(calls):
                begin, begin_work = time.perf_counter(), time.thread_time()
                call()
                worked[name][repeat, place] = time.thread_time() - begin_work
                wall[name][repeat, place] = time.perf_counter() - begin
    first = next(iter(variants))
    lines = [
        f"| {title} | ms, minimum | ratio | ms, median | CPU ms of the caller, minimum |",
        "|---|---|---|---|---|",
    ]
    for name in variants:
        least = wall[name].min(axis=0).mean()
        ratio = least / wall[first].min(axis=0).mean()
        lines.append(
            f"| {name} | {1e3 * least:.2f} | {ratio:.2f} | {1e3 * np.median(wall[name]):.2f} "
            f"| {1e3 * worked[name].min(axis=0).mean():.2f} |"
        )
    return "\n".join(lines)


def joining(bundle: Bundle, repeats: int) -> str:
    """Return a table of the time of `catch_up`, which is done after the estimate."""
    prompt = text_prompt(bundle.text)
    encoder = CachedTextEncoder(Network(bundle.text.file), prompt, bundle.text.attention)
    windows: list[Any] = [()]
    for turn in DIALOGUE * 2:
        windows.append(prompt.slide(windows[-1], Turn(turn.speaker + 1, turn.text)))
    taken = np.full((2, repeats, len(windows) - 1), np.inf)
    for repeat in range(repeats):
        encoder.forget()
        for place, window in enumerate(windows[1:]):
            begin = time.perf_counter()
            encoder(window)
            answered = time.perf_counter()
            encoder.catch_up()
            taken[:, repeat, place] = answered - begin, time.perf_counter() - answered
    answer, join = 1e3 * taken.min(axis=1).mean(axis=1)
    return (
        "| text encoder | ms, minimum |\n|---|---|\n"
        f"| embedding | {answer:.2f} |\n| appending keys and values, after it | {join:.2f} |"
    )


def main() -> int:
    """Run the benchmark; see the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", default="edge-small")
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    bundle = load_bundle(model_folder(options.bundle))
    print(description(), flush=True)
    calls = recorded(bundle)
    with tempfile.TemporaryDirectory() as folder:
        ways = sessions(bundle.text.file, Path(folder))
        text = {
            name: [lambda run=run, x=x: run(x) for x in calls["text"]] for name, run in ways.items()
        }
        print(f"\n{table('text network', text, options.repeats)}", flush=True)
    fusion = Network(bundle.fusion.file)
    if "modalities" not in calls["fusion"][0]:
        return  # a bundle of text only
    whole = [leave_one_out_inputs(inputs) for inputs in calls["fusion"]]
    without = [{name: x[1:] for name, x in inputs.items()} for inputs in whole]
    pairs = list(zip(calls["fusion"], without, strict=True))
    passes = {
        "two passes: all modalities, then without each of the three": [
            lambda one=one, three=three: (fusion(one), fusion(three)) for one, three in pairs
        ],
        "one pass of four": [lambda x=x: fusion(x) for x in whole],
    }
    print(f"\n{table('fusion', passes, options.repeats)}", flush=True)
    print(f"\n{joining(bundle, options.repeats)}", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
