"""Accuracy and speed of quantization schemes, as in figures 9 and 10 of the DDVLM paper.

    python -m benchmarks.quantization FLOAT_BUNDLE [--shipped BUNDLE]

(needs the extra [train]).

Measures the fusion only (figure 9) and the whole pipeline (figure 10): float32, weight-only,
dynamic, SmoothQuant, static, and the static schemes of `erc quantize --target tensorrt`, on the
CPU. The table has the weighted F1 on dev. The test split is evaluated once, for float32 and for the
selected scheme (the fastest with a loss on dev of at most 0.3 points). Durations are for whole
utterances of MELD dev (text, with audio and 8 faces of other corpora), alternating between the
variants. `--shipped` adds a bundle that `erc quantize` made of the float32 bundle, with a scheme
per part.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import description
from erc_ros.inference.bundle import load_bundle
from erc_ros.inference.emotion_recognizer import EmotionRecognizer
from erc_ros.training.datasets.folder import data_folder
from erc_ros.training.quantization.command import stage
from erc_ros.training.quantization.gate import TEXT_ALONE, Bench, passes
from erc_ros.training.quantization.measurement import Speed, side_by_side
from erc_ros.training.quantization.selection import Made, by_schemes
from erc_ros.training.quantization.task import PARTS, Task, read_material

COMPARED = {
    "weight-only": "weight-only int8",
    "dynamic": "dynamic int8",
    "smoothquant": "SmoothQuant",
    "static": "static int8",
    "symmetric": "static int8 for TensorRT",
    "symmetric-smooth": "SmoothQuant, static, for TensorRT",
}
MAX_DROP = 0.3  # points


@dataclass(frozen=True)
class Variant:
    """One row: its name, the files of all parts, and a bundle with them."""

    name: str
    files: Mapping[str, Path]
    folder: Path


def variants(bench: Bench, shipped: Path | None, scratch: Path) -> dict[str, list[Variant]]:
    """Return the rows of both figures; float32 is the first of each."""
    source = bench.task.bundle
    candidates = scratch / "candidates"
    candidates.mkdir()
    made = {
        scheme: by_schemes(bench, dict.fromkeys(PARTS, scheme), candidates) for scheme in COMPARED
    }
    figures = {}
    for figure, parts in (("fusion", ("fusion",)), ("pipeline", PARTS)):
        rows = [Variant("float32", bench.floats, source.folder)]
        for scheme, name in COMPARED.items():
            chosen = {part: each for part, each in made[scheme].items() if part in parts}
            rows.append(variant(bench, name, chosen, scratch / f"{figure}-{scheme}"))
        figures[figure] = rows
    if shipped:
        bundle = load_bundle(shipped)
        files = {part: getattr(bundle, part).file for part in PARTS}
        figures["pipeline"].append(Variant("each part its own", files, shipped))
    return figures


def variant(bench: Bench, name: str, made: Mapping[str, Made], folder: Path) -> Variant:
    """Create a bundle with these quantized files; the other parts are float32."""
    stage(bench.task.bundle, made, folder)
    return Variant(name, {**bench.floats, **{p: each.file for p, each in made.items()}}, folder)


def durations(rows: Sequence[Variant], task: Task, count: int) -> list[Speed]:
    """Measure the durations of whole utterances for each row, alternating."""
    with ExitStack() as stack:
        recognizers = [
            stack.enter_context(EmotionRecognizer(load_bundle(row.folder))) for row in rows
        ]
        return side_by_side([r.feed for r in recognizers], task.utterances("dev", count))


def table(bench: Bench, rows: Sequence[Variant], speeds: Sequence[Speed]) -> list[str]:
    """Return a Markdown table of accuracy, size and speed, and the selected scheme."""
    lines = [
        "| | WF1 dev | drop (95 % interval) | text only, drop | text / audio / visual / fusion MB "
        "| whole MB | ms per utterance p50, p95 | utterances/s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    good: list[tuple[float, Variant]] = []
    for row, speed in zip(rows, speeds, strict=True):
        whole, text = bench.compare(row.files, "dev"), bench.compare(row.files, "dev", TEXT_ALONE)
        sizes = [row.files[part].stat().st_size / 1e6 for part in PARTS]
        lines.append(
            f"| {row.name} | {whole.after:.2f} | {whole.drop:.2f} ({whole.low:.2f} .. "
            f"{whole.high:.2f}) | {text.after:.2f}, {text.drop:.2f} "
            f"| {' / '.join(f'{size:.2f}' for size in sizes)} | {sum(sizes):.1f} "
            f"| {speed.p50:.1f}, {speed.p95:.1f} | {1000 / speed.mean:.1f} |"
        )
        if row.name != "float32" and passes(bench, row.files, MAX_DROP):
            good.append((speed.p50, row))
    if not good:
        return [*lines, "", f"No scheme has a loss of at most {MAX_DROP} points on dev."]
    chosen = min(good, key=lambda pair: pair[0])[1]
    test = bench.compare(chosen.files, "test")
    text = bench.compare(chosen.files, "test", TEXT_ALONE)
    return [
        *lines,
        "",
        f"Selected on dev: **{chosen.name}**. Test, once: {test.before:.2f} -> {test.after:.2f} "
        f"(drop {test.drop:.2f}, {test.low:.2f} .. {test.high:.2f}; equal decisions "
        f"{test.agreement:.1%}); text only {text.before:.2f} -> {text.after:.2f}.",
    ]


def main() -> int:
    """Run the benchmark; see the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path, help="a float32 bundle")
    parser.add_argument("--shipped", type=Path, help="one made of it by `erc quantize`")
    parser.add_argument("--utterances", type=int, default=60, help="for the durations")
    parser.add_argument("--data", type=Path, help="folder of the data sets; default $ERC_DATA")
    options = parser.parse_args()
    begin = time.monotonic()
    print(f"Measured on {description()}.\n", flush=True)
    bundle = load_bundle(options.bundle.resolve())
    bench = Bench(Task(bundle, read_material(data_folder(options.data), bundle)))
    with tempfile.TemporaryDirectory() as scratch:
        figures = variants(bench, options.shipped, Path(scratch))
        every = [row for rows in figures.values() for row in rows]
        speeds = iter(durations(every, bench.task, options.utterances))
        for title, rows in (
            ("Fusion only (figure 9)", figures["fusion"]),
            ("Whole pipeline (figure 10)", figures["pipeline"]),
        ):
            lines = table(bench, rows, [next(speeds) for _ in rows])
            print(f"### {title}\n\n" + "\n".join(lines) + "\n", flush=True)
    print(f"{time.monotonic() - begin:.0f} s in all")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
