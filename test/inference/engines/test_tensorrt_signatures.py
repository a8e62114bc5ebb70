"""Calls of TensorRT's API in the code and its stand-in, compared with three real versions."""

from __future__ import annotations

import ast
import inspect
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import tensorrt_signatures

VERSIONS = json.loads(tensorrt_signatures.FOUND.read_text(encoding="utf-8"))
CODE = Path(__file__).parents[3] / "erc_ros" / "inference" / "engines" / "tensorrt_engine.py"
KINDS = {
    "builder": "Builder",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "config": "IBuilderConfig",
    "made": "IOptimizationProfile",
    "engine": "ICudaEngine",
    "self._engine": "ICudaEngine",
    "context": "IExecutionContext",
    "self._runtime": "Runtime",
    "parser.get_error(i)": "ParserError",
}
"""What the names in our code stand for."""
STAND_INS = {
    "_Profile": "IOptimizationProfile",
    "_Config": "IBuilderConfig",
    "_Network": "INetworkDefinition",
    "_Engine": "ICudaEngine",
    "_Context": "IExecutionContext",
}
OURS = {"serialize", "session", "inputs", "outputs", "model", "shapes", "profiles"}
version = pytest.mark.parametrize("version", VERSIONS)


@dataclass(frozen=True)
class Use:
    """A member that the code uses. count: positional arguments of a call; None: no call."""

    kind: str
    member: str
    count: int | None
    keywords: tuple[str, ...] = ()


def uses(source: str) -> set[Use]:
    tree = ast.parse(source)
    calls = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    return {use for node in ast.walk(tree) for use in _used(node, calls.get(id(node)))}


def _used(node: ast.AST, call: ast.Call | None) -> Iterator[Use]:
    if not isinstance(node, ast.Attribute):
        return
    owner, count, keywords = ast.unparse(node.value), None, ()
    if call is not None:
        starred = any(isinstance(argument, ast.Starred) for argument in call.args)
        count = -1 if starred else len(call.args)
        keywords = tuple(str(keyword.arg) for keyword in call.keywords)
    if owner in KINDS:
        yield Use(KINDS[owner], node.attr, count, keywords)
    elif owner == "trt" and node.attr in tensorrt_signatures.CLASSES:
        if count is not None:
            yield Use(node.attr, "__init__", count, keywords)
    elif owner.startswith("trt."):
        if node.attr == "__init__" and count is not None:
            count -= 1  # self
        yield Use(owner.removeprefix("trt."), node.attr, count, keywords)
    elif owner == "trt":
        assert node.attr == "__version__", f"{node.attr} is in no list of tensorrt_signatures.py"


def fits(use: Use, api: dict[str, Any]) -> str:
    """Return what is wrong with a use; "" if it is valid."""
    member: Any = api
    for name in (*use.kind.split("."), use.member):
        if name not in member:
            return f"{use.kind} has no {use.member}"
        member = member[name]
    if use.count is None or use.count < 0:
        return ""
    if not isinstance(member, list):
        return f"{use.kind}.{use.member} is no method"
    for overload in member:
        needed = [name for name in overload if not name.endswith("=")]
        names = [name.rstrip("=") for name in overload]
        given = {*names[: use.count], *use.keywords}
        if len(given) == use.count + len(use.keywords) <= len(names) and given >= set(needed):
            return ""
    return f"{use.kind}.{use.member} takes {member}, not {use.count} and {use.keywords}"


USED = uses(CODE.read_text(encoding="utf-8"))


@version
def test_every_member_and_argument_that_we_use_is_in(version: str) -> None:
    assert [wrong for use in sorted(USED, key=str) if (wrong := fits(use, VERSIONS[version]))] == []


def test_the_code_was_really_read() -> None:
    assert Use("IExecutionContext", "set_input_shape", 2) in USED
    assert Use("IBuilderConfig", "add_optimization_profile", 1) in USED
    assert Use("OnnxParser", "__init__", 2) in USED
    assert Use("ILogger.Severity", "ERROR", None) in USED
    assert len(USED) > 30


@pytest.mark.parametrize(
    "line, wrong",
    [
        ("context.set_input_form(name, shape)", "has no set_input_form"),
        ("context.set_input_shape(name)", "not 1"),
        ("context.set_input_shape(name, shape, 3)", "not 3"),
        ("config.add_optimization_profile(made, wrong=False)", "wrong"),
        ("trt.ILogger.Severity.FATAL", "has no FATAL"),
        ("engine.num_io_tensors()", "is no method"),
    ],
)
@version
def test_a_wrong_use_is_found(version: str, line: str, wrong: str) -> None:
    (use,) = (use for use in uses(line) if fits(use, VERSIONS[version]))
    assert wrong in fits(use, VERSIONS[version])


@version
def test_what_tensorrt_calls_of_ours_has_its_arguments(version: str) -> None:
    tree = ast.parse(CODE.read_text(encoding="utf-8"))
    seen = 0
    for kind in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
        for base in (each for each in kind.bases if ast.unparse(each).startswith("trt.")):
            for method in (each for each in kind.body if isinstance(each, ast.FunctionDef)):
                if method.name.startswith("_"):
                    continue
                names = [argument.arg for argument in method.args.args[1:]]
                real = VERSIONS[version][ast.unparse(base).removeprefix("trt.")][method.name]
                assert names in real, f"{kind.name}.{method.name}: {names}, {version} has {real}"
                seen += 1
    assert seen == 1  # log


@version
def test_the_stand_in_has_no_member_or_argument_that_is_not_there(version: str) -> None:
    api = VERSIONS[version]
    for name, kind in inspect.getmembers(stand_in(), inspect.isclass):
        real = api.get(STAND_INS.get(name, name))
        if real is None:
            assert name in ("_SlowSession", "_Session", "InferenceSession")
            continue
        for member, what in vars(kind).items():
            if (member.startswith("_") and member != "__init__") or member in OURS:
                continue
            if inspect.isfunction(what) and (member != "__init__" or not name.startswith("_")):
                names = list(inspect.signature(what).parameters)[1:]
                overloads = [[each.rstrip("=") for each in one] for one in real[member]]
                assert any(one[: len(names)] == names for one in overloads), (name, member, names)
            elif member != "__init__":
                assert member in real, (name, member)


@version
def test_the_stand_in_s_enumerations_have_the_real_values(version: str) -> None:
    for kind in ("DataType", "ILogger.Severity"):
        ours: Any = stand_in()
        real: Any = VERSIONS[version]
        for name in kind.split("."):
            ours, real = getattr(ours, name), real[name]
        assert {each.name: each.value for each in ours}.items() <= real.items()


@version
def test_the_element_types_that_we_know_are_there(version: str) -> None:
    from erc_ros.inference.engines.tensorrt_engine import _ELEMENTS

    assert _ELEMENTS.keys() <= VERSIONS[version]["DataType"].keys()


def stand_in() -> ModuleType:
    file = Path(__file__).with_name("stand_in") / "tensorrt" / "__init__.py"
    spec = spec_from_file_location("stand_in_for_tensorrt", file)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_oldest_and_the_newest_version_were_looked_at() -> None:
    versions = " ".join(VERSIONS)
    assert "-10.3." in versions and "-10.16." in versions and "-11.4." in versions
