"""Engines are built beside the networks that answer meanwhile, in a process of its own.

    python -m erc_ros.inference.engines.background BUNDLE LIBRARY NICE      what that process runs

A process, since TensorRT may end the one that it is in. It has the lowest priority, and ends with
the one that started it. What it builds is compared and timed there (`build`); what ONNX Runtime
outruns, and what TensorRT refuses or crashes on, is remembered for this GPU, driver and version of
TensorRT, and not tried again. A build that was broken off (the power failed, the disk was full)
begins again at the next start.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from erc_ros.inference.bundle import Bundle
from erc_ros.inference.engines import store, tensorrt_engine
from erc_ros.inference.engines.build import build, for_tensorrt
from erc_ros.inference.engines.store import EngineError
from erc_ros.inference.engines.tensorrt_engine import BuildStep
from erc_ros.inference.manifest import BundleError
from erc_ros.networks import gpu

BUILDING, DONE, FAILED = "building", "done", "failed"
PRIORITY = 15  # "nice": whoever answers goes first
KNOWN = 0.02  # of the work must be done before the time left is told


@dataclass(frozen=True, slots=True)
class BuildState:
    """How far a build is.

    part, phase: of the bundle and of TensorRT, at work. share: of the work that is done, 0 .. 1.
    seconds_left: an estimate; None while there is no ground for one.
    results: part -> what became of it, in words. problem: why there is no more, or "".
    """

    state: str = BUILDING
    part: str = ""
    phase: str = ""
    share: float = 0.0
    seconds_left: float | None = None
    results: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""


def step(
    state: BuildState, event: Mapping[str, Any], sizes: Mapping[str, int], elapsed: float
) -> BuildState:
    """What a line of the building process changes.

    Args:
        sizes: bytes of each part's network, in the order of the build: what its engine costs.
        elapsed: s since the build began.
    """
    if "said" in event:
        part, _, text = str(event["said"]).partition(": ")
        return replace(state, results={**state.results, part: text}) if part in sizes else state
    if "failed" in event:
        named = dict(text.split(": ", 1) for text in event["failed"])
        return replace(
            state,
            state=DONE,
            phase="",
            part="",
            share=1.0,
            seconds_left=0.0,
            results={**state.results, **{p: text for p, text in named.items() if p in sizes}},
        )
    part = str(event["part"])
    if part not in sizes:
        return state
    state = replace(state, part=part, phase=str(event["phase"]))
    if not event["outermost"]:
        return state
    before = sum(list(sizes.values())[: list(sizes).index(part)])
    done = before + sizes[part] * event["step"] / max(1, event["steps"])
    share = min(1.0, done / max(1, sum(sizes.values())))
    left = elapsed * (1 - share) / share if share >= KNOWN else None
    return replace(state, share=share, seconds_left=left)


class EngineBuild:
    """Builds a bundle's engines. Close it.

    Args:
        bundle: whose engines.
        ready: called from a thread when there are engines that were not there before.
    """

    def __init__(self, bundle: Bundle, ready: Callable[[], None]) -> None:
        self.state = BuildState()
        self._bundle, self._ready = bundle, ready
        self._stopped = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._starting = threading.Lock()
        self._thread = threading.Thread(target=self._work, name="engines", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Break it off, if it is still at work; the next start begins again."""
        self._stopped.set()
        with self._starting:
            if self._process is not None:
                self._process.kill()
        self._thread.join()

    def _work(self) -> None:
        try:
            source = for_tensorrt(self._bundle)
            self._build(source)
        except (EngineError, BundleError, OSError) as error:
            self.state = replace(self.state, state=FAILED, problem=str(error))
        if self._stopped.is_set() or self.state.state == FAILED:
            return
        tensorrt_engine.probe.cache_clear()
        if _engines(source):
            self._ready()

    def _build(self, source: Bundle) -> None:
        """Let the process build; a part on which it crashes is refused, the others go on."""
        machine = self._machine(source)
        files = {name: part.file for name, part in source.parts.items()}
        sizes = {name: file.stat().st_size for name, file in files.items()}
        begin = time.monotonic()
        for _ in files:
            self.state = BuildState(results=self.state.results)
            status, complaint = self._run(sizes, begin)
            part = self.state.part
            if self._stopped.is_set() or self.state.state == DONE:
                break
            if status >= 0 or not part:
                raise EngineError(f"the building process ended with status {status} ({complaint})")
            reason = f"TensorRT ended the building process with signal {-status}"
            store.refuse(
                store.engine_file(files[part], "tensorrt"), machine.key(files[part]), reason
            )
            self.state = replace(self.state, results={**self.state.results, part: reason})
        else:
            self.state = replace(self.state, state=DONE, part="", phase="", share=1.0)
        unexplained = [
            f"{name}: {text}"
            for name, text in self.state.results.items()
            if not store.engine_file(files[name], "tensorrt").exists()
            and not store.refusal(files[name], "tensorrt")
        ]
        self.state = replace(self.state, problem="; ".join(unexplained))

    def _machine(self, source: Bundle) -> tensorrt_engine.Machine:
        """Raises EngineError where TensorRT does not work, even without the engines there are."""
        found = tensorrt_engine.probe(source.folder)
        if found.machine is None and (engines := _engines(source)):
            for file in engines:  # a new driver may crash on them
                store.remove(file)
            tensorrt_engine.probe.cache_clear()
            found = tensorrt_engine.probe(source.folder)
        if found.machine is None:
            raise EngineError(found.failure)
        return found.machine

    def _run(self, sizes: Mapping[str, int], begin: float) -> tuple[int, str]:
        """The process's exit status, and the last line of what it complained of."""
        command = [sys.executable, "-m", __name__, str(self._bundle.folder), gpu.LIBRARY]
        command.append(str(PRIORITY))
        pipe = subprocess.PIPE
        with self._starting:
            if self._stopped.is_set():
                return 0, ""
            self._process = subprocess.Popen(
                command, stdin=pipe, stdout=pipe, stderr=pipe, text=True
            )
        process, errors = self._process, _LastLine(self._process.stderr)
        assert process.stdout is not None
        for line in process.stdout:
            try:
                event = json.loads(line)
                self.state = step(self.state, event, sizes, time.monotonic() - begin)
            except (ValueError, KeyError, TypeError):
                continue  # TensorRT and its libraries may print as well
        status = process.wait()
        return status, errors.close()


class _LastLine:
    """Reads a stream to its end, so that nobody blocks on it, and keeps the last line."""

    def __init__(self, stream: Any) -> None:
        self._stream, self._last = stream, ""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        for line in self._stream:
            self._last = line.strip()[:300] or self._last

    def close(self) -> str:
        self._thread.join()
        return self._last


def _engines(bundle: Bundle) -> list[Path]:
    files = [store.engine_file(part.file, "tensorrt") for part in bundle.parts.values()]
    return [file for file in files if file.exists()]


def _tell(event: Mapping[str, Any]) -> None:
    print(json.dumps(event), flush=True)


def _show(part: str, now: BuildStep | None) -> None:
    if now is not None:
        _tell({"part": part, **asdict(now)})


def _end_with_the_parent() -> None:
    """Its end closes our standard input; nothing ever comes from there."""
    sys.stdin.read()
    os._exit(1)


def main(folder: str, library: str, priority: str) -> None:
    """What the building process runs."""
    gpu.LIBRARY = library
    os.nice(int(priority))
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    failed = build(folder, say=lambda text: _tell({"said": text}), show=_show, again=False)
    _tell({"failed": failed})


if __name__ == "__main__":
    main(*sys.argv[1:])
