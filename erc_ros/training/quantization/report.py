"""The report of a quantized bundle: quantization.json, and the same as Markdown."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from erc_ros.inference.bundle import load_bundle
from erc_ros.inference.emotion_recognizer import EmotionRecognizer
from erc_ros.training.quantization.gate import Bench, Verdict
from erc_ros.training.quantization.measurement import (
    Speed,
    bundle_memory,
    peak_memory,
    side_by_side,
    speeds,
)
from erc_ros.training.quantization.selection import TIMED, Made, Tried

JSON, MARKDOWN = "quantization.json", "quantization.md"
_FOR_TARGET = {
    "cpu": (),
    "tensorrt": (
        "",
        "For TensorRT: F1 is that of the graphs that `erc build-engines` gives to TensorRT, every "
        "part with float16, computed by ONNX Runtime. Times and memory are those of the bundle's "
        "files on this CPU, not of a GPU, which was not measured.",
    ),
}


def part_costs(bench: Bench, part: str, file: Path) -> dict[str, Any]:
    """Measure size, speed and memory of a part, float32 and quantized."""
    feeds = bench.task.feeds(part, "dev", TIMED)
    largest = max(feeds, key=lambda feed: sum(array.nbytes for array in feed.values()))
    files = [bench.floats[part], file]
    timed = speeds(files, feeds)
    return {
        when: {
            "bytes": each.stat().st_size,
            **_rounded(speed),
            "peak_memory_mb": round(peak_memory(each, largest), 1),
        }
        for when, each, speed in zip(("float32", "quantized"), files, timed, strict=True)
    }


def bundle_costs(bench: Bench, staged: Path) -> dict[str, Any]:
    """Measure size of all networks, time of an utterance (2 additional threads), and memory."""
    folders = [bench.task.bundle.folder, staged]
    bundles = [load_bundle(folder) for folder in folders]
    utterances = bench.task.utterances("dev", TIMED)
    with EmotionRecognizer(bundles[0]) as one, EmotionRecognizer(bundles[1]) as other:
        timed = side_by_side([one.feed, other.feed], utterances)
    return {
        when: {
            "bytes": sum(part.file.stat().st_size for part in bundle.parts.values()),
            **_rounded(speed),
            "peak_memory_mb": round(bundle_memory(folder), 1),
        }
        for when, bundle, folder, speed in zip(
            ("float32", "quantized"), bundles, folders, timed, strict=True
        )
    }


def describe(
    bench: Bench,
    made: Mapping[str, Made],
    verdict: Verdict,
    max_drop: float,
    tried: Mapping[str, Sequence[Tried]],
    machine: str,
    target: str = "cpu",
) -> dict[str, Any]:
    """Return everything but `costs` of the bundle, ready for JSON. Evaluates test, once."""
    bundle = bench.task.bundle
    everything = {**bench.floats, **{part: each.file for part, each in made.items()}}
    return {
        "float32_bundle": {
            "name": bundle.name,
            "version": bundle.version,
            "sha256": bundle.float32_sha256,
        },
        "machine": machine,
        "target": target,
        "max_drop": max_drop,
        "data": bench.task.material["dev"].told,
        "utterances": {
            split: int((bench.task.material[split].labels >= 0).sum()) for split in ("dev", "test")
        },
        "dev": asdict(verdict.total),
        "dev_text_alone": asdict(verdict.text),
        "test": asdict(bench.compare(everything, "test")),
        "test_text_alone": asdict(bench.compare(everything, "test", (True, False, False))),
        "parts": {
            part: {
                "scheme": each.scheme,
                "dev": asdict(verdict.parts[part]),
                "costs": part_costs(bench, part, each.file),
            }
            for part, each in made.items()
        },
        "tried": {
            part: [asdict(each) for each in candidates] for part, candidates in tried.items()
        },
    }


def write(report: Mapping[str, Any], folder: Path) -> None:
    """Write both files."""
    text = json.dumps(report, indent=2, ensure_ascii=False) + "\n"
    (folder / JSON).write_text(text, encoding="utf-8")
    (folder / MARKDOWN).write_text(markdown(report), encoding="utf-8")


def markdown(report: Mapping[str, Any]) -> str:
    """Return the report as Markdown tables."""
    source, counts = report["float32_bundle"], report["utterances"]
    lines = [
        "# Effect of quantization",
        "",
        f"From the float32 bundle {source['name']} {source['version']} "
        f"(sha256 {source['sha256'][:12]}), by `erc quantize`, on {report['machine']}.",
        f"{report['data'][0].upper()}{report['data'][1:]}.",
        *_FOR_TARGET[report["target"]],
        "",
        "The gate: weighted F1 on dev may fall by at most "
        f"{report['max_drop']:g} points, from all modalities and from text alone. "
        f"{_what_it_cannot_know(report)} "
        "Test was evaluated once, for the selected schemes.",
        "",
        "| weighted F1 | utterances | float32 | quantized | drop | 95 % interval of the drop "
        "| equal predictions | difference of logits: mean, largest |",
        "|---|---|---|---|---|---|---|---|",
        _comparison("dev", counts["dev"], report["dev"]),
        _comparison("dev, text alone", counts["dev"], report["dev_text_alone"]),
        _comparison("**test**", counts["test"], report["test"]),
        _comparison("**test, text alone**", counts["test"], report["test_text_alone"]),
        "",
        "## Parts",
        "",
        "Drop of each part on dev: with only this part quantized; with all other parts quantized "
        "(the smallest of these drops indicates the part with the largest loss); and of its "
        "modality alone.",
        "",
        "| part | scheme | drop, only this part | drop, all other parts | drop, its modality alone "
        "| equal predictions |",
        "|---|---|---|---|---|---|",
    ]
    for name, part in report["parts"].items():
        alone = part["dev"]["alone"]
        only = part["dev"]["only"]
        lines.append(
            f"| {name} | {part['scheme']} | {_drop(only)} | {_drop(part['dev']['without'])} "
            f"| {_drop(alone) if alone else '-'} | {only['agreement']:.1%} |"
        )
    lines += [
        "",
        "## Size, time, memory",
        "",
        "One CPU thread a part, inputs of dev one at a time, float32 and quantized in turn; the "
        "whole utterance as the recognizer runs it. Memory: peak above an idle process.",
        "",
        "| | MB | p50 ms | p95 ms | peak memory MB |",
        "|---|---|---|---|---|",
    ]
    costs = {**{n: p["costs"] for n, p in report["parts"].items()}, "whole bundle": report["costs"]}
    for name, cost in costs.items():
        was, now = cost["float32"], cost["quantized"]
        lines.append(
            f"| {name} | {was['bytes'] / 1e6:.2f} -> {now['bytes'] / 1e6:.2f} "
            + "".join(
                f"| {was[key]:g} -> {now[key]:g} " for key in ("p50_ms", "p95_ms", "peak_memory_mb")
            )
            + "|"
        )
    if report["tried"]:
        lines += ["", "## What was tried", "", "| part | candidates: p50 ms, gate |", "|---|---|"]
    words = {True: "passed", False: "refused", None: "not tested"}
    for name, candidates in report["tried"].items():
        each = (f"{t['scheme']} {t['milliseconds']:.2f} {words[t['passed']]}" for t in candidates)
        lines.append(f"| {name} | {'; '.join(each)} |")
    return "\n".join(lines) + "\n"


def _comparison(name: str, count: int, comparison: Mapping[str, Any]) -> str:
    return (
        f"| {name} | {count} | {comparison['before']:.2f} | {comparison['after']:.2f} "
        f"| {comparison['drop']:.2f} | {comparison['low']:.2f} .. {comparison['high']:.2f} "
        f"| {comparison['agreement']:.1%} "
        f"| {comparison['mean']:.3f}, {comparison['largest']:.2f} |"
    )


def _drop(comparison: Mapping[str, Any]) -> str:
    return f"{comparison['drop']:.2f} ({comparison['low']:.2f} .. {comparison['high']:.2f})"


def _rounded(speed: Speed) -> dict[str, float]:
    return {"p50_ms": round(speed.p50, 2), "p95_ms": round(speed.p95, 2)}


def _what_it_cannot_know(report: Mapping[str, Any]) -> str:
    """State the largest loss that dev cannot exclude."""
    high = max(report[name]["high"] for name in ("dev", "dev_text_alone"))
    if high <= report["max_drop"]:
        return "The 95 % intervals of both drops lie below that."
    return (
        f"It decides on a point: with {report['utterances']['dev']} utterances a drop of up to "
        f"{high:.1f} points cannot be ruled out (95 %)."
    )
