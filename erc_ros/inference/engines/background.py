"""Building of TensorRT engines in a separate process while ONNX Runtime runs the networks.

    python -m erc_ros.inference.engines.background BUNDLE LIBRARY NICE

TensorRT may crash its process. The building process has low priority and ends with its parent.
Engines that are slower than ONNX Runtime, and models that TensorRT rejects or crashes on, are
recorded for the GPU, driver and TensorRT version, and are not built again. An interrupted build is
repeated at the next start.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from erc_ros.inference.bundle import Bundle
from erc_ros.inference.engines import store, tensorrt_engine
from erc_ros.inference.engines.build import build, for_tensorrt
from erc_ros.inference.engines.store import EngineError
from erc_ros.inference.manifest import BundleError
from erc_ros.networks import gpu

BUILDING, DONE, FAILED = "building", "done", "failed"
PRIORITY = 15  # nice value


@dataclass(frozen=True, slots=True)
class BuildState:
    """Progress of a build.

    part: name of the part of the bundle that is being built. results: part -> result as text.
    problem: reason for missing engines that is not recorded, or "".
    """

    state: str = BUILDING
    part: str = ""
    results: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""


def step(state: BuildState, event: Mapping[str, Any], parts: Collection[str]) -> BuildState:
    """Return the state after an output line of the building process."""
    if "begun" in event:
        return replace(state, part=str(event["begun"])) if event["begun"] in parts else state
    if "result" in event:
        part, _, text = str(event["result"]).partition(": ")
        return replace(state, results={**state.results, part: text}) if part in parts else state
    failed = dict(text.split(": ", 1) for text in event["failed"])
    failed = {part: text for part, text in failed.items() if part in parts}
    return replace(state, state=DONE, part="", results={**state.results, **failed})


class EngineBuild:
    """Builds the engines of a bundle in the background; must be closed.

    Args:
        bundle: the bundle.
        ready: called on another thread when new engines exist.
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
        """Interrupt an unfinished build, which is repeated at the next start."""
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
        """Run the building process; after a crash, record the part and continue with the others."""
        machine = self._machine(source)
        files = {name: part.file for name, part in source.parts.items()}
        for _ in files:
            self.state = BuildState(results=self.state.results)
            status, last_line = self._run(files)
            part = self.state.part
            if self._stopped.is_set() or self.state.state == DONE:
                break
            if status >= 0 or not part:
                raise EngineError(f"the building process ended with status {status} ({last_line})")
            reason = f"TensorRT ended the building process with signal {-status}"
            store.refuse(store.engine_file(files[part]), machine.key(files[part]), reason)
            self.state = replace(self.state, results={**self.state.results, part: reason})
        else:
            self.state = replace(self.state, state=DONE, part="")
        unexplained = [
            f"{name}: {text}"
            for name, text in self.state.results.items()
            if not store.engine_file(files[name]).exists() and not store.refusal(files[name])
        ]
        self.state = replace(self.state, problem="; ".join(unexplained))

    def _machine(self, source: Bundle) -> tensorrt_engine.Machine:
        """Return this computer; raise EngineError if TensorRT does not work without engines."""
        probed = tensorrt_engine.probe(source.folder)
        if probed.machine is None and (engines := _engines(source)):
            for file in engines:  # a new driver may crash on old engines
                store.remove(file)
            tensorrt_engine.probe.cache_clear()
            probed = tensorrt_engine.probe(source.folder)
        if probed.machine is None:
            raise EngineError(probed.failure)
        return probed.machine

    def _run(self, parts: Collection[str]) -> tuple[int, str]:
        """Run the process and return its exit status and the last line of its stderr."""
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
                self.state = step(self.state, json.loads(line), parts)
            except (ValueError, KeyError, TypeError):
                continue  # output of TensorRT or another library
        status = process.wait()
        return status, errors.close()


class _LastLine:
    """Reads a stream to its end, so that the writer is not blocked, and keeps the last line."""

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
    files = [store.engine_file(part.file) for part in bundle.parts.values()]
    return [file for file in files if file.exists()]


def _tell(name: str, content: object) -> None:
    print(json.dumps({name: content}), flush=True)


def _end_with_the_parent() -> None:
    """Exit when stdin is closed, which happens when the parent process ends."""
    sys.stdin.read()
    os._exit(1)


def main(folder: str, library: str, priority: str) -> None:
    """Run the building process."""
    gpu.LIBRARY = library
    os.nice(int(priority))
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    failed = build(
        folder,
        say=lambda text: _tell("result", text),
        begin=lambda part: _tell("begun", part),
        again=False,
    )
    _tell("failed", failed)


if __name__ == "__main__":
    main(*sys.argv[1:])
