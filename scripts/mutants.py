"""Measure which share of small code changes (mutants) the tests of a package detect.

mutmut generates and runs the mutants in a copy of the repository; the working tree is unchanged.
This script draws a random sample, excludes mutants that tests should not detect, and writes the
result as JSON with a 95 % confidence interval.

    make mutants PACKAGE=sensing SAMPLE=80 SEED=1

Not drawn are mutants that only change the wording of a message (tests compare types and codes, not
sentences), and those that `scripts/equivalent_mutants.yaml` lists as equivalent, each with a
reason. mutmut assigns a test to a function when the test calls it, so a function that only a shared
fixture calls has one test. With CONFIRM=1 each survivor is run again with all tests of the package,
which takes long; without it the result is a lower bound.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import json
import math
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
EQUIVALENT = Path(__file__).with_name("equivalent_mutants.yaml")
CONFIRMATION_LIMIT = 900  # s, for one survivor with all tests of its package


@dataclass(frozen=True)
class Package:
    """The mutated files and the tests that should detect the mutants.

    sources: glob patterns. excluded: patterns of files that need ROS 2 discovery to run.
    """

    sources: tuple[str, ...]
    tests: tuple[str, ...]
    excluded: tuple[str, ...] = ()


def folder_of(name: str, *tests: str, excluded: tuple[str, ...] = ()) -> Package:
    """Return a package with the folder of its tests."""
    return Package((f"erc_ros/{name}/*",), (f"test/{name}", *tests), excluded)


PACKAGES = {
    "sensing": folder_of("sensing"),
    "dialogue": folder_of("dialogue"),
    "inference": folder_of("inference", "test/test_languages.py"),
    "metrics": folder_of("metrics"),
    "replay": folder_of(
        "replay",
        "test/media/test_information.py",
        "test/media/test_recognizers.py",
        "test/media/test_sessions.py",
        "test/evaluation/test_consent.py",
        excluded=("erc_ros/replay/via_dds.py",),
    ),
    "evaluation": Package(
        ("erc_ros/evaluation/*", "erc_ros/annotations/*"),
        ("test/annotations", "test/evaluation", "test/media/test_analysis.py"),
    ),
    "pipeline": Package(
        ("erc_ros/pipeline.py",),
        (
            "test/test_pipeline.py",
            "test/test_opt_out.py",
            "test/test_hard_days.py",
            "test/replay/test_offline.py",
            "test/dialogue/test_voice_audio.py",
            "test/nodes/test_parameters.py",
        ),
    ),
}
STATISTICS = Path("mutmut-stats.json")  # in the folder where mutmut runs the tests
DETECTED = {"killed", "timeout", "segfault"}
# The names of mutmut's exit codes (mutmut.stats.status_by_exit_code).
STATUS = {0: "survived", 1: "killed", 3: "killed", 5: "no tests", 33: "no tests", 34: "skipped"}
STATUS |= dict.fromkeys((36, 24, -24, 152, 255), "timeout") | dict.fromkeys((-11, -9), "segfault")


# --- the copy ---


def copied_tree(folder: Path) -> None:
    """Copy the tracked and untracked, not ignored files to `folder`."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        source = ROOT / name
        if source.is_file():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)


def configure(folder: Path, package: Package) -> None:
    """Add the settings of mutmut to the pyproject.toml of the copy."""
    top = sorted(
        path.name
        for path in folder.iterdir()
        if path.is_dir() and path.name not in ("erc_ros", "mutants")
    )
    files = sorted(path.name for path in folder.iterdir() if path.is_file())
    lines = [
        "",
        "[tool.mutmut]",
        'source_paths = ["erc_ros"]',
        f"only_mutate = {json.dumps(package.sources)}",
        f"do_not_mutate = {json.dumps(package.excluded)}",
        f"also_copy = {json.dumps(top + files)}",
        f"pytest_add_cli_args_test_selection = {json.dumps(package.tests)}",
        f"pytest_add_cli_args = {json.dumps(PYTEST)}",
        "timeout_constant = 10.0",
        "timeout_multiplier = 5.0",
    ]
    with (folder / "pyproject.toml").open("a") as file:
        file.write("\n".join(lines) + "\n")


PYTEST = ["-p", "mutants", "-p", "no:cacheprovider", "-p", "no:xdist", "-m", "not dds and not long"]
# It reads calls in the source, which mutmut changes.
PYTEST += ["--ignore", "test/inference/engines/test_tensorrt_signatures.py"]
# It needs Chromium, which many machines lack: the result would differ from one to another.
PYTEST += ["--ignore", "test/evaluation/test_report_browser.py"]


def pytest_configure(config: object) -> None:
    """Exclude processes that tests start from the statistics (this file is a pytest plugin).

    mutmut communicates by an environment variable. A process in another folder has no
    configuration of mutmut and fails while statistics are collected.
    """

    def popen(*args: object, env: Mapping[str, str] | None = None, **kwargs: object) -> None:
        env = dict(os.environ if env is None else env)
        if "__mutmut_" not in env.get("MUTANT_UNDER_TEST", ""):
            env.pop("MUTANT_UNDER_TEST", None)
        original(*args, env=env, **kwargs)  # type: ignore[arg-type]

    original = subprocess.Popen.__init__
    subprocess.Popen.__init__ = popen  # type: ignore[assignment, method-assign]


def pytest_collection_modifyitems(items: list[Any]) -> None:
    """Sort tests by file, the fastest file first (part of the plugin).

    mutmut runs the tests of a mutant in arbitrary order, and each change of the file creates its
    module fixtures again.
    """
    if STATISTICS.is_file():
        seconds: Counter[str] = Counter()
        for test, duration in json.loads(STATISTICS.read_text())["duration_by_test"].items():
            seconds[test.partition("::")[0]] += duration
        items.sort(key=lambda item: (seconds[item.location[0]], item.location))


def environment(folder: Path) -> dict[str, str]:
    """Return the environment of the tests, without corpora for reproducible results."""
    kept = {name: value for name, value in os.environ.items() if name != "ERC_DATA"}
    return {
        **kept,
        "CI": "true",
        "OMP_NUM_THREADS": "1",
        "ORT_DISABLE_TELEMETRY": "1",
        "PYTHONPATH": f"{folder / 'mutants'}{os.pathsep}{Path(__file__).parent}",
    }


# --- the mutants ---


@dataclass(frozen=True)
class Mutant:
    """One change. name: name in mutmut; removed, added: the changed lines."""

    name: str
    file: str
    removed: tuple[str, ...]
    added: tuple[str, ...]

    @property
    def function(self) -> str:
        """Module and function, e.g. erc_ros.sensing.level.listen."""
        module, _, mangled = self.name.rpartition(".")
        plain = mangled.rpartition("__mutmut_")[0]
        plain = plain.removeprefix("xǁ").replace("ǁ", ".") if "ǁ" in plain else plain[2:]
        return f"{module}.{plain}"


class _WithoutWording(ast.NodeTransformer):
    """Removes text for readers: sentences, arguments of exceptions, logs and prints.

    Also removes `strict` of zip, and the case of colors and encoding names.
    """

    LOGS = frozenset(("debug", "info", "warning", "warn", "error", "exception", "print"))

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        if isinstance(node.exc, ast.Call):
            node.exc.args, node.exc.keywords = [], []
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if name in self.LOGS or name.endswith(("Error", "Warning")):
            node.args, node.keywords = [], []
        if name == "zip":
            node.keywords = []
        if name == "check_time":  # the name is part of its message
            node.args = node.args[1:] if len(node.args) > 1 else node.args
        for keyword in node.keywords:
            if keyword.arg == "encoding" and isinstance(keyword.value, ast.Constant):
                keyword.value.value = str(keyword.value.value).lower()
        return self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if isinstance(node.value, str) and " " in node.value.strip():
            node.value = " "
        elif isinstance(node.value, str) and re.fullmatch("#[0-9a-fA-F]{6}", node.value):
            node.value = node.value.lower()
        return node


def is_wording(original: ast.AST, mutated: ast.AST) -> bool:
    """Whether two functions differ only in text for readers."""
    first, second = (
        ast.dump(_WithoutWording().visit(ast.parse(ast.unparse(each))))
        for each in (original, mutated)
    )
    return first == second


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef]:
    """Yield every function that mutmut wrote: originals and mutants."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and "__mutmut_" in node.name:
            yield node


def mutants_of(folder: Path) -> tuple[list[Mutant], int]:
    """Return the generated mutants, and the number of those that only change wording.

    Args:
        folder: the copy, after mutmut has generated its mutants there.
    """
    kept, wording = [], 0
    for meta in sorted((folder / "mutants").rglob("*.meta")):
        names = json.loads(meta.read_text())["exit_code_by_key"]
        file = meta.with_suffix("")
        by_name = {each.name: each for each in functions(ast.parse(file.read_text()))}
        for name in names:
            mangled = name.rpartition(".")[2]
            original = by_name[mangled.rpartition("__mutmut_")[0] + "__mutmut_orig"]
            mutated = by_name[mangled]
            mutated.name = original.name
            if is_wording(original, mutated):
                wording += 1
                continue
            before, after = (ast.unparse(each).splitlines() for each in (original, mutated))
            lines = [line for line in difflib.ndiff(before, after) if line[0] in "+-"]
            kept.append(
                Mutant(
                    name,
                    str(file.relative_to(folder / "mutants")),
                    tuple(line[2:].strip() for line in lines if line[0] == "-"),
                    tuple(line[2:].strip() for line in lines if line[0] == "+"),
                )
            )
    return kept, wording


def equivalents() -> set[tuple[str, str, str]]:
    """Return (function, line before, line after) of each equivalent mutant."""
    listed = yaml.safe_load(EQUIVALENT.read_text()) or []
    for entry in listed:
        if not entry["reason"].strip():
            raise ValueError(f"{EQUIVALENT.name}: {entry['function']} gives no reason")
    return {(entry["function"], entry["before"], entry["after"]) for entry in listed}


# --- running ---


def generate(folder: Path) -> None:
    """Let mutmut generate the mutants and record which test calls which function.

    It has no command for this, so a mutant that does not exist is requested.
    """
    done = mutmut(folder, ["no-such-mutant"])
    if not list((folder / "mutants").rglob("*.meta")) or "nothing matches" not in done:
        raise SystemExit(f"mutmut could not run the tests:\n{done[-4000:]}")


def mutmut(folder: Path, names: Iterable[str]) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "mutmut", "run", "--max-children", "1", *names],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def statuses(folder: Path) -> dict[str, str]:
    results = {}
    for meta in (folder / "mutants").rglob("*.meta"):
        for name, code in json.loads(meta.read_text())["exit_code_by_key"].items():
            results[name] = STATUS.get(code, f"exit code {code}")
    return results


def confirmed(folder: Path, mutant: Mutant, package: Package) -> str:
    """Return the status of a survivor after all tests of the package."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-x", "-q", "--tb=line", *PYTEST, *package.tests],
            cwd=folder / "mutants",
            env={**environment(folder), "MUTANT_UNDER_TEST": mutant.name},
            capture_output=True,
            timeout=CONFIRMATION_LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "timeout"
    return "survived" if done.returncode == 0 else "killed"


def interval(killed: int, drawn: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share, in percent."""
    z, p = 1.96, killed / drawn
    middle = (p + z * z / (2 * drawn)) / (1 + z * z / drawn)
    half = z / (1 + z * z / drawn) * math.sqrt(p * (1 - p) / drawn + (z / (2 * drawn)) ** 2)
    return round(100 * (middle - half), 1), round(100 * (middle + half), 1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("package", choices=PACKAGES)
    parser.add_argument("--sample", type=int, default=80, help="number of drawn mutants")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--confirm", action="store_true", help="run survivors with all tests of the package"
    )
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "mutants")
    args = parser.parse_args()
    package, begun = PACKAGES[args.package], time.monotonic()
    os.nice(10)

    folder = args.folder / args.package
    shutil.rmtree(folder, ignore_errors=True)
    copied_tree(folder)
    configure(folder, package)
    (folder / "mutants").mkdir()  # Python ignores entries of PYTHONPATH that are created later
    generate(folder)

    known = equivalents()
    made, wording = mutants_of(folder)
    candidates = [
        mutant
        for mutant in sorted(made, key=lambda each: each.name)
        if (mutant.function, " ".join(mutant.removed), " ".join(mutant.added)) not in known
    ]
    drawn = random.Random(args.seed).sample(candidates, min(args.sample, len(candidates)))
    output = mutmut(folder, [mutant.name for mutant in drawn])
    status = statuses(folder)
    if any(status[mutant.name].startswith("exit code None") for mutant in drawn):
        raise SystemExit(f"mutmut did not finish:\n{output[-4000:]}")
    for mutant in drawn if args.confirm else ():
        if status[mutant.name] not in DETECTED:
            status[mutant.name] = confirmed(folder, mutant, package)
            print(status[mutant.name], mutant.function, mutant.removed, "->", mutant.added)

    killed = sum(status[mutant.name] in DETECTED for mutant in drawn)
    result = {
        "package": args.package,
        "commit": commit(),
        "seed": args.seed,
        "mutants": len(made) + wording,
        "wording": wording,
        "equivalent": len(made) - len(candidates),
        "confirmed": args.confirm,
        "drawn": len(drawn),
        "killed": killed,
        "percent": round(100 * killed / len(drawn), 1),
        "interval": interval(killed, len(drawn)),
        "seconds": round(time.monotonic() - begun),
        "survivors": [
            {**asdict(mutant), "function": mutant.function}
            for mutant in drawn
            if status[mutant.name] not in DETECTED
        ],
    }
    file = args.folder / f"{args.package}-{args.seed}.json"
    file.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    low, high = result["interval"]
    print(
        f"{args.package}: {killed} of {len(drawn)} killed, {result['percent']} % "
        f"(95 % CI {low} to {high}); {file}"
    )
    return 0


def commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True
    )
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
