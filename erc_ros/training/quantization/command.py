"""`erc quantize BUNDLE --scheme S`: write a quantized bundle if it passes the gate."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from erc_ros.inference.bundle import Bundle, load_bundle
from erc_ros.inference.manifest import MANIFEST
from erc_ros.training.datasets.folder import data_folder
from erc_ros.training.manifest import write_manifest
from erc_ros.training.quantization import report
from erc_ros.training.quantization.engine_graphs import EngineGraphs, as_written
from erc_ros.training.quantization.gate import Bench, RefusedError, judge
from erc_ros.training.quantization.schemes import FOR_TENSORRT, SCHEMES, QuantizationError
from erc_ros.training.quantization.selection import Made, Tried, by_schemes, fastest, for_tensorrt
from erc_ros.training.quantization.task import PARTS, AnyMaterial, Task, material_of

AUTO = "auto"
TARGETS = ("cpu", "tensorrt")
REFUSED = 3  # exit status; 1 is an error, 2 wrong use


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return 0, 1 for an error, 2 for wrong arguments, 3 if refused."""
    parser = argparse.ArgumentParser(
        prog="erc quantize",
        description="Write a smaller and faster copy of a float32 bundle, with a report, if it is "
        "as good on dev. Exit status 3: it is not, nothing was written.",
    )
    parser.add_argument("bundle", type=Path, help="folder of a float32 model package")
    parser.add_argument(
        "--scheme",
        default=AUTO,
        type=_scheme,
        help=f"{', '.join(SCHEMES)} or {AUTO} (the default); or by part, such as "
        "text=weight-only,fusion=dynamic: then the others stay as they are",
    )
    parser.add_argument(
        "--target",
        default="cpu",
        choices=TARGETS,
        help="target runtime; tensorrt: only schemes for `erc build-engines`, measured with the "
        "graphs for TensorRT",
    )
    parser.add_argument(
        "--part", action="append", choices=PARTS, help="only this part (repeatable); default: all"
    )
    parser.add_argument(
        "--corpus", default="", help="corpus to measure on; default: that of the training"
    )
    parser.add_argument(
        "--max-drop",
        type=float,
        default=0.3,
        metavar="POINTS",
        help="points points of weighted F1 on dev (0..100) that may be lost; default 0.3",
    )
    parser.add_argument("--out", type=Path, help="folder to write; default BUNDLE-SCHEME")
    parser.add_argument("--data", type=Path, help="folder of the data sets; default $ERC_DATA")
    options = parser.parse_args(argv)
    folder = options.bundle.resolve()
    kind = options.scheme if options.target == "cpu" else options.target
    if "=" in kind:
        kind = "by-part"
    out = options.out or folder.with_name(f"{folder.name}-{kind}")
    try:
        result = quantize_bundle(
            folder,
            options.scheme,
            tuple(options.part or ()),
            out.absolute(),
            lambda bundle: material_of(bundle, data_folder(options.data), options.corpus),
            max_drop=options.max_drop,
            say=partial(print, flush=True),
            target=options.target,
        )
    except RefusedError as error:
        print(f"erc quantize: refused: {error}", file=sys.stderr)
        return REFUSED
    except OSError as error:
        print(f"erc quantize: {error}; nothing was written", file=sys.stderr)
        return 1
    except (ValueError, RuntimeError) as error:
        print(f"erc quantize: {error}", file=sys.stderr)
        return 1
    print(f"\n{report.markdown(result)}\n{out}")
    return 0


def quantize_bundle(
    source: Path,
    scheme: str,
    parts: Sequence[str],
    out: Path,
    material: Callable[[Bundle], Mapping[str, AnyMaterial]],
    max_drop: float = 0.3,
    say: Callable[[str], None] = lambda line: None,
    target: str = "cpu",
) -> dict[str, Any]:
    """Quantize parts of a bundle, measure, and write the result to `out` if it passes the gate.

    `out` is complete or does not exist: it is written under another name and renamed. An existing
    bundle is replaced.

    Args:
        scheme: one of SCHEMES, or "auto"; or by part, "text=weight-only,fusion=dynamic".
        parts: parts to quantize; empty: all parts of the bundle, or those that the scheme names.
        material: reads the data; called after the arguments are checked.
        target: one of TARGETS.

    Returns:
        The report.

    Raises:
        RefusedError: the accuracy on dev is lower, or there is no gain; nothing was written.
        QuantizationError, BundleError: bundle, calibration data or `out` cannot be used.
        OSError: data are missing, or writing failed (such as a full disk); nothing was written.
    """
    bundle = load_bundle(source)
    schemes = by_part(scheme)
    parts = parts or tuple(schemes or bundle.parts)
    check(bundle, scheme, parts, out, max_drop, target)
    out.parent.mkdir(parents=True, exist_ok=True)
    say("reading the data")
    task = Task(bundle, material(bundle))
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
        folder, staged = Path(scratch) / "candidates", Path(scratch) / "bundle"
        folder.mkdir()
        graphs = (EngineGraphs(folder), as_written)
        bench = Bench(task, *graphs) if target == "tensorrt" else Bench(task)
        tried: dict[str, list[Tried]] = {}
        say(f"quantizing {', '.join(parts)}: {scheme}")
        if scheme == AUTO:
            choose = for_tensorrt if target == "tensorrt" else fastest
            made, tried = choose(bench, parts, max_drop, folder, say)
        else:
            made = by_schemes(bench, schemes or dict.fromkeys(parts, scheme), folder)
        if not made:
            raise RefusedError(f"{scheme} improves nothing in {', '.join(parts)}")
        say("comparing on dev")
        verdict = judge(bench, {part: each.file for part, each in made.items()})
        verdict.refuse(max_drop)
        say("measuring what passed, and test once")
        result = report.describe(bench, made, verdict, max_drop, tried, machine(), target)
        stage(bundle, made, staged, _summary(result))
        result["costs"] = report.bundle_costs(bench, staged)
        report.write(result, staged)
        publish(staged, out)
    return result


def check(
    bundle: Bundle,
    scheme: str,
    parts: Sequence[str],
    out: Path,
    max_drop: float,
    target: str = "cpu",
) -> None:
    """Check the arguments, and that `out` may be overwritten.

    Raises:
        QuantizationError: states the fault and the remedy.
    """
    if unknown := [part for part in parts if part not in PARTS]:
        raise QuantizationError(f"unknown part {', '.join(unknown)}; known are {', '.join(PARTS)}")
    if lacking := [part for part in parts if part not in bundle.parts]:
        raise QuantizationError(
            f"{bundle.folder} has no {', '.join(lacking)}; it has {', '.join(bundle.parts)}"
        )
    schemes = by_part(scheme)
    if schemes and set(parts) != set(schemes):
        raise QuantizationError(
            f"{scheme!r} names the parts {', '.join(schemes)}, --part {', '.join(parts)}: give one"
        )
    named = tuple(schemes.values()) or (scheme,)
    for each in named:
        if each not in SCHEMES and (schemes or each != AUTO):
            known = ", ".join((*SCHEMES, AUTO))
            raise QuantizationError(f"unknown scheme {each!r}; known are {known}")
    if target not in TARGETS:
        raise QuantizationError(f"unknown target {target!r}; known are {', '.join(TARGETS)}")
    for each in named:
        if target == "tensorrt" and each not in (*FOR_TENSORRT, AUTO):
            known = ", ".join((*FOR_TENSORRT, AUTO))
            raise QuantizationError(f"TensorRT does not take scheme {each}; it takes {known}")
    if not max_drop >= 0:
        raise QuantizationError(f"max_drop is {max_drop}; it must be 0 or more points")
    done = {part: getattr(bundle, part).precision for part in parts}
    if done := {part: precision for part, precision in done.items() if precision != "float32"}:
        words = ", ".join(f"{part} is {precision}" for part, precision in done.items())
        raise QuantizationError(
            f"{bundle.folder} is already quantized ({words}); start from its float32 bundle"
        )
    if out.resolve() == bundle.folder.resolve():
        raise QuantizationError(f"{out} is the float32 bundle itself; give another --out")
    if out.exists() and not (out / MANIFEST).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise QuantizationError(f"{out} exists and is not a bundle; give another --out")


def by_part(scheme: str) -> dict[str, str]:
    """Return part -> scheme; empty for one scheme for all parts.

    Args:
        scheme: such as "text=weight-only,fusion=dynamic", or "dynamic".

    Raises:
        QuantizationError: another format, or a part is named twice.
    """
    if "=" not in scheme:
        return {}
    pairs = [item.partition("=") for item in scheme.split(",")]
    schemes = {part.strip(): name.strip() for part, _, name in pairs}
    if len(schemes) < len(pairs) or not all(part and name for part, name in schemes.items()):
        raise QuantizationError(
            f"scheme {scheme!r} must be one scheme, or PART=SCHEME,PART=SCHEME with each part once"
        )
    return schemes


def _scheme(text: str) -> str:
    """Check a scheme of the command line; the error lists the known ones."""
    try:
        schemes = by_part(text)
    except QuantizationError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    for part, name in (schemes or {PARTS[0]: text}).items():
        if part not in PARTS or (name not in SCHEMES and (schemes or name != AUTO)):
            raise argparse.ArgumentTypeError(
                f"{text!r}: parts are {', '.join(PARTS)}; schemes are {', '.join(SCHEMES)}"
                f" or, for all parts, {AUTO}"
            )
    return text


def stage(
    bundle: Bundle,
    made: Mapping[str, Made],
    folder: Path,
    summary: Mapping[str, Any] | None = None,
) -> None:
    """Write a bundle with the quantized files and everything else of the float32 bundle.

    summary: summary of the report, for the manifest's metrics.
    """
    folder.mkdir()
    for file in bundle.folder.iterdir():
        if file.is_file() and file.name not in (report.JSON, report.MARKDOWN):
            shutil.copyfile(file, folder / file.name)
    manifest = yaml.safe_load((folder / MANIFEST).read_text(encoding="utf-8"))
    del manifest["files"]
    for part, each in made.items():
        shutil.copyfile(each.file, folder / manifest[part]["file"])
        manifest[part]["precision"] = SCHEMES[each.scheme].precision
    if summary is not None:
        manifest["metrics"]["quantization"] = dict(summary)
    write_manifest(folder, manifest)
    load_bundle(folder)


def publish(staged: Path, out: Path) -> None:
    """Rename `staged` to `out`; an existing bundle is moved first, and restored on failure."""
    if not out.exists():
        staged.rename(out)
        return
    old = staged.with_name("replaced")  # deleted with the temporary folder
    out.rename(old)
    try:
        staged.rename(out)
    except OSError:
        old.rename(out)
        raise


def machine() -> str:
    """Describe the machine on which the durations were measured."""
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores of {platform.machine()}, {platform.system()}"


def _summary(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return schemes and losses for the manifest."""
    return {
        "float32_sha256": result["float32_bundle"]["sha256"],
        "schemes": {name: part["scheme"] for name, part in result["parts"].items()},
        **{
            f"{split}_weighted_f1": {
                "float32": round(result[split]["before"], 2),
                "quantized": round(result[split]["after"], 2),
            }
            for split in ("dev", "dev_text_alone", "test", "test_text_alone")
        },
        "report": report.MARKDOWN,
    }


if __name__ == "__main__":
    raise SystemExit(main())
