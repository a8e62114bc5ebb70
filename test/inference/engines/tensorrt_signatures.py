"""TensorRT's Python API in every version: members, their arguments, values of enumerations.

    python test/inference/engines/tensorrt_signatures.py FOLDER     (x86-64, a C compiler)

FOLDER holds wheels of the bindings for the Python that runs this (`pip download --no-deps
tensorrt-cu12-bindings==10.3.0`, and so on). The bindings load without TensorRT if
libraries with the few functions that they ask for are there; these are made here, empty. Nothing of
TensorRT runs; but every class, method and argument is there to be asked. What is found goes to
tensorrt_signatures.json, which the tests read.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

FOUND = Path(__file__).with_name("tensorrt_signatures.json")
CLASSES = (
    "Builder",
    "DataType",
    "IBuilderConfig",
    "ICudaEngine",
    "IExecutionContext",
    "IHostMemory",
    "ILogger",
    "INetworkDefinition",
    "IOptimizationProfile",
    "IProgressMonitor",
    "ITimingCache",
    "NetworkDefinitionCreationFlag",
    "OnnxParser",
    "ParserError",
    "Runtime",
    "TensorIOMode",
)
LIBRARIES = ("libnvinfer", "libnvonnxparser", "libnvinfer_plugin")
FUNCTIONS = (
    "createInferBuilder_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "getBuilderPluginRegistry",
    "getNvOnnxParserVersion",
    "getPluginRegistry",
    "initLibNvInferPlugins",
)
ASK = """
import importlib.machinery, importlib.util, json, sys
loader = importlib.machinery.ExtensionFileLoader("tensorrt", sys.argv[1])
module = importlib.util.module_from_spec(importlib.util.spec_from_loader("tensorrt", loader))
loader.exec_module(module)

def members(kind):
    found = {}
    for name in dir(kind):
        member = getattr(kind, name)
        if isinstance(member, kind):
            found[name] = int(member)
        elif isinstance(member, type) and name != "__class__":
            found[name] = members(member)
        elif name == "__init__" or not name.startswith("_"):
            found[name] = "property" if isinstance(member, property) else member.__doc__ or ""
    return found

print(json.dumps({name: members(getattr(module, name)) for name in json.loads(sys.argv[2])}))
"""


def arguments(name: str, documentation: str) -> list[list[str]]:
    """The arguments of each overload, without self, as pybind11 writes them into the docstring.

    One that has a default ends with "=".
    """
    names = []
    for signature in re.findall(
        rf"^(?:\d+\. )?{name}\((self\b.*)\) -> ", documentation, re.MULTILINE
    ):
        starts = list(re.finditer(r"(?:^|, )(\w+): ", signature))
        ends = [start.start() for start in starts[1:]] + [len(signature)]
        named = [
            start[1] + "=" * (" = " in signature[start.end() : end])
            for start, end in zip(starts, ends, strict=True)
        ]
        names.append([each for each in named if each != "self"])
    return names


def described(members: dict[str, object]) -> dict[str, object]:
    """Methods as their overloads, everything else as it is."""
    signatures: dict[str, object] = {}
    for name, what in members.items():
        if isinstance(what, dict):
            signatures[name] = described(what)
        elif isinstance(what, str) and what != "property":
            signatures[name] = arguments(name, what)
        else:
            signatures[name] = what
    return signatures


def main(folder: str) -> None:
    """Ask every wheel of the folder."""
    signatures = {}
    for wheel in sorted(Path(folder).glob("tensorrt*bindings-*.whl")):
        with tempfile.TemporaryDirectory() as scratch, zipfile.ZipFile(wheel) as archive:
            (member,) = (name for name in archive.namelist() if name.endswith("tensorrt.so"))
            library = archive.extract(member, scratch)
            source = Path(scratch, "empty.c")
            source.write_text(
                "".join(f"void *{name}(void) {{ return 0; }}\n" for name in FUNCTIONS)
            )
            compiler = shutil.which("cc") or "gcc"
            major = re.findall(r"bindings-(\d+)", wheel.name)[0]
            for name in LIBRARIES:
                file = f"{name}.so.{major}"
                line = [
                    compiler,
                    "-shared",
                    "-fPIC",
                    f"-Wl,-soname,{file}",
                    "-o",
                    file,
                    str(source),
                ]
                subprocess.run(line, cwd=scratch, check=True)
            answer = subprocess.run(
                [sys.executable, "-c", ASK, library, json.dumps(CLASSES)],
                env={**os.environ, "LD_LIBRARY_PATH": scratch},
                capture_output=True,
                text=True,
                check=True,
            )
        version = "-".join(wheel.name.split("-")[:2])
        signatures[version] = {name: described(c) for name, c in json.loads(answer.stdout).items()}
    FOUND.write_text(json.dumps(signatures, separators=(",", ":")).replace("},", "},\n") + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
