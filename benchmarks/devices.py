"""Latency of model packages on every device of this computer.

    python -m benchmarks.devices [--bundle edge-small]                 a table on the screen
    python -m benchmarks.devices --all --out FOLDER [--minutes 55]     everything, as files

Devices: the CPU, ONNX Runtime with CUDA, ONNX Runtime with its own TensorRT provider, and the
engines of `erc build-engines` (`--all` builds missing ones, also if they are slower). The emotion
recognizer processes a generated conversation (16 turns of increasing length, audio, faces) without
drafts, so that everything is computed at the end of an utterance. Times are wall-clock times.

`--all` measures both shipped model packages and every `--bundle`, and writes FOLDER/devices.json
and devices.md after each row. The same command continues an interrupted measurement; a row in which
the process crashed is not repeated. No row starts after `--minutes`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from benchmarks.machine import description
from benchmarks.record import commit, rounded
from erc_ros.inference.bundle import Bundle, load_bundle
from erc_ros.inference.emotion_recognizer import EmotionRecognizer
from erc_ros.inference.engines import tensorrt_engine
from erc_ros.inference.engines.build import build, conversation
from erc_ros.inference.estimate import Estimate
from erc_ros.metrics.table import markdown
from erc_ros.networks import gpu
from erc_ros.networks.network import Device
from erc_ros.networks.session import NetworkError, Run, session_options
from erc_ros.pipeline import PipelineConfig
from erc_ros.resources import model_folder

PARTS = ("text", "audio", "visual", "fusion")
SHIPPED = ("edge-small", "edge-open")
MEASURED, NOT_MEASURED = "measured", "not measured"
PROVIDER = "TensorrtExecutionProvider"
HEADER = (
    "bundle", "device", "status", *(f"{part}, ms" for part in PARTS), "utterance p50, ms",
    "utterance p95, ms", "start, s", "largest difference of a probability", "equal labels, %",
)  # fmt: skip


def _no_provider(_: Path) -> str:
    if PROVIDER not in ort.get_available_providers():
        return f"this onnxruntime has no {PROVIDER}"
    return "" if gpu.driver() is not None else f"no NVIDIA driver ({gpu.LIBRARY})"


def _with_provider(file: Path) -> Run:
    """Open a network with ONNX Runtime's TensorRT provider in float16, with CUDA as fallback."""
    if reason := _no_provider(file):
        raise NetworkError(reason)
    providers = [
        (PROVIDER, {"trt_fp16_enable": True}),
        "CUDAExecutionProvider",
        "CPUExecutionProvider",
    ]
    session = ort.InferenceSession(str(file), session_options(), providers=providers)
    if PROVIDER not in session.get_providers():
        raise NetworkError(f"{PROVIDER} did not start: {', '.join(session.get_providers())}")
    names = [output.name for output in session.get_outputs()]
    return lambda inputs: dict(zip(names, session.run(None, inputs), strict=True))


DEVICES: dict[str, str | Device] = {
    "cpu": "cpu",
    "cuda": "cuda",
    "onnxruntime-tensorrt": Device("onnxruntime-tensorrt", _no_provider, _with_provider),
    "tensorrt": "tensorrt",
}


@dataclass(frozen=True)
class Row:
    """Result of one bundle on one device.

    Durations are in ms, `start` in s. largest_difference: of a probability to that on the CPU.
    equal_labels: percent of the utterances with the same label as on the CPU. devices: part ->
    device in use.
    """

    bundle: str
    device: str
    status: str = NOT_MEASURED
    reason: str = ""
    parts: Mapping[str, float] = field(default_factory=dict)
    p50: float = 0.0
    p95: float = 0.0
    start: float = 0.0
    largest_difference: float = 0.0
    equal_labels: float = 0.0
    devices: Mapping[str, str] = field(default_factory=dict)

    def cells(self) -> list[str]:
        """Return the cells of the table."""
        if self.status != MEASURED:
            return [self.bundle, self.device, f"{self.status}: {self.reason}"] + [""] * 9
        return [
            self.bundle,
            self.device,
            self.status,
            *(f"{self.parts[part]:.2f}" if part in self.parts else "-" for part in PARTS),
            *(f"{value:.2f}" for value in (self.p50, self.p95)),
            f"{self.start:.1f}",
            f"{self.largest_difference:.4f}",
            f"{self.equal_labels:.0f}",
        ]


def measure(bundle: Bundle, name: str, device: str, repeats: int) -> Row:
    """Measure one row; it is NOT_MEASURED with the reason if the device fails."""
    row, begin = Row(name, device), time.perf_counter()
    try:
        with EmotionRecognizer(bundle, DEVICES[device]) as recognizer:
            recognizer.warm_up()
            start = time.perf_counter() - begin
            estimates = [each for _ in range(repeats) for each in _estimates(recognizer)]
            devices = {part: network.device for part, network in recognizer.networks.items()}
    except Exception as error:  # noqa: BLE001  (the other rows are measured after a failure)
        return replace(row, reason=str(error).partition(";")[0].partition("\n")[0])
    with EmotionRecognizer(bundle) as recognizer:
        expected = _estimates(recognizer)
    pairs = list(zip(estimates, expected * repeats, strict=True))
    totals = [estimate.latency_total / 1e6 for estimate in estimates]
    return replace(
        row,
        status=MEASURED,
        parts={
            part: statistics.median(estimate.latency[part] / 1e6 for estimate in estimates)
            for part in PARTS
            if all(part in estimate.latency for estimate in estimates)
        },
        p50=float(np.percentile(totals, 50)),
        p95=float(np.percentile(totals, 95)),
        start=start,
        largest_difference=max(
            float(np.abs(one.probabilities - other.probabilities).max()) for one, other in pairs
        ),
        equal_labels=100 * statistics.fmean(one.label == other.label for one, other in pairs),
        devices=devices,
    )


def _estimates(recognizer: EmotionRecognizer) -> list[Estimate]:
    estimates = [recognizer.feed(utterance) for utterance in conversation(recognizer.bundle)]
    recognizer.reset("built")
    return estimates


def measure_all(names: Sequence[str], folder: Path, repeats: int, minutes: float) -> list[Row]:
    """Measure every bundle on every device, and write the files in `folder` after each row."""
    begin, file = time.monotonic(), folder / "devices.json"
    folder.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("ERC_ENGINES", str(folder / "engines"))
    before = json.loads(file.read_text("utf-8")) if file.is_file() else {"rows": [], "engines": {}}
    rows = {(row["bundle"], row["device"]): Row(**row) for row in before["rows"]}
    engines: dict[str, Any] = before["engines"]
    for name in names:
        bundle = load_bundle(model_folder(name))
        for device in DEVICES:
            if (name, device) in rows:
                continue
            if time.monotonic() - begin > 60 * minutes:
                reason = f"no time was left after {minutes:g} minutes"
                rows[name, device] = Row(name, device, reason=reason)
                continue
            rows[name, device] = Row(name, device, reason="the process ended during this row")
            _write(folder, list(rows.values()), engines)
            if device == "tensorrt" and not tensorrt_engine.missing():
                since = time.monotonic()
                failed = build(bundle.folder, print, keep_slower=True)
                seconds = round(time.monotonic() - since, 1)
                engines[name] = {"build_seconds": seconds, "failed": failed}
            rows[name, device] = measure(bundle, name, device, repeats)
            _write(folder, list(rows.values()), engines)
            print(" | ".join(rows[name, device].cells()), flush=True)
    _write(folder, list(rows.values()), engines)
    return list(rows.values())


def _write(folder: Path, rows: Sequence[Row], engines: Mapping[str, Any]) -> None:
    content = {
        "status": MEASURED,
        "command": "python -m benchmarks.devices --all --out FOLDER",
        "date": datetime.now(timezone.utc).date().isoformat(),
        "commit": commit(),
        "machine": description(),
        "gpu": _gpu(),
        "rows": [{**asdict(row), **rounded(_numbers(row))} for row in rows],
        "engines": engines,
    }
    (folder / "devices.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    lines = [f"{content['machine']}; GPU: {content['gpu']}", "", *_table(rows)]
    (folder / "devices.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _numbers(row: Row) -> dict[str, Any]:
    return {name: value for name, value in asdict(row).items() if isinstance(value, float)} | {
        "parts": dict(row.parts)
    }


def _gpu() -> str:
    """Return a description of the driver and TensorRT."""
    if gpu.driver() is None:
        return f"none ({gpu.LIBRARY} is missing)"
    if reason := tensorrt_engine.missing():
        return f"driver present, no TensorRT: {reason}"
    try:
        return str(tensorrt_engine.machine())
    except Exception as error:  # noqa: BLE001  (only a description)
        return f"driver present ({error})"


def _table(rows: Sequence[Row]) -> list[str]:
    return markdown(list(HEADER), [row.cells() for row in rows])


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; see the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", action="append", default=[], help="repeatable")
    parser.add_argument("--repeats", type=int, default=3, help="of the conversation")
    parser.add_argument("--all", action="store_true", help="also build engines, and write files")
    parser.add_argument("--out", type=Path, help="folder for devices.json, devices.md and engines")
    parser.add_argument("--minutes", type=float, default=55.0, help="no row starts after these")
    options = parser.parse_args(argv)
    if options.all != (options.out is not None):
        parser.error("--all and --out FOLDER belong together")
    if options.all:
        names = list(dict.fromkeys((*SHIPPED, *options.bundle)))
        rows = measure_all(names, options.out, options.repeats, options.minutes)
    else:
        names = options.bundle or [PipelineConfig().recognition.bundle]
        bundles = {name: load_bundle(model_folder(name)) for name in names}
        rows = [
            measure(bundle, name, device, options.repeats)
            for name, bundle in bundles.items()
            for device in DEVICES
        ]
    print("\n".join(["", description(), "", *_table(rows)]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
