"""Fuzz the parsers: one target per parser, with random mutations of valid inputs.

    python -m fuzz.run --inputs 1000 --seed 0 [--target mcap]
    python -m fuzz.run --share 1000000 --page docs/results/fuzzing.md     shared by their speed

A parser may refuse an input by the error that it documents. Anything else is a find: another error,
an answer that cannot be (targets.py), a process that dies, takes too long or too much memory. Finds
are printed, kept in fuzz/corpus/TARGET, and tried first from then on.

Every input follows from seed, target and its number alone, and is tried in a process that may die.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import mmap
import os
import resource
import signal
import struct
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from random import Random

from fuzz.targets import Target, targets

CORPUS = Path(__file__).parent / "corpus"
LONGEST = 10.0  # s, maximum time per input
MEMORY = 2**30  # bytes that inputs may allocate in addition to the process
BATCH = 20_000  # inputs per process
BEGIN, END = "<!-- table -->", "<!-- end of the table -->"


@dataclass
class Results:
    """Results of one target. seconds: CPU time. finds: problem -> input."""

    inputs: int = 0
    seconds: float = 0.0
    refused: int = 0
    finds: dict[str, bytes] = field(default_factory=dict)


def made(target: Target, name: str, seed: int, number: int) -> bytes:
    """Return an input by its number; negative numbers are known inputs."""
    if number < 0:
        known = _known(target, name)
        return known[number + len(known)]
    random = Random(f"{seed} {name} {number}")
    if random.randrange(50) == 0:
        return random.randbytes(random.randrange(600))
    return random.choice(target.changes)(random, random.choice(target.seeds))


def _known(target: Target, name: str) -> tuple[bytes, ...]:
    kept = (file.read_bytes() for file in sorted((CORPUS / name).glob("*")))
    return (*kept, *target.seeds)


def attempt(target: Target, data: bytes) -> str | None:
    """Return the problem of an input; "": it was refused, None: it was accepted."""
    try:
        target.read(data)
    except target.refusals:
        return ""
    except Exception as error:  # noqa: BLE001  (unexpected exceptions are the finds)
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        code = trace.tb_frame.f_code.co_filename if trace else "?"
        where = f"{Path(code).name}:{trace.tb_lineno}" if trace else ""
        return f"{type(error).__name__} at {where}: {str(error)[:120]}"
    return None


def run(name: str, target: Target, inputs: int, seed: int) -> Results:
    """Try the known inputs, then `inputs` new ones."""
    failures = Results()
    number = -len(_known(target, name))
    while number < inputs:
        number = _in_child(target, name, seed, range(number, min(number + BATCH, inputs)), failures)
    failures.inputs = inputs
    return failures


def _in_child(target: Target, name: str, seed: int, numbers: range, failures: Results) -> int:
    """Try inputs in a separate process; return the number to continue with."""
    at = mmap.mmap(-1, 8)  # number of the current input, in case the process ends
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _child(target, name, seed, numbers, at, writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        told = stream.read()
    _, status, used = os.wait4(child, 0)
    failures.seconds += used.ru_utime + used.ru_stime
    lines = [json.loads(line) for line in told.splitlines()]
    for line in lines:
        if "find" in line:
            failures.finds.setdefault(line["find"], made(target, name, seed, line["number"]))
        else:
            failures.refused += line["refused"]
    if status == 0:
        return numbers.stop
    (number,) = struct.unpack("<q", at)
    if os.WIFSIGNALED(status):
        ended = signal.Signals(os.WTERMSIG(status))
        why = f"more than {LONGEST:g} s" if ended is signal.SIGALRM else f"ended by {ended.name}"
    else:
        why = f"ended with status {os.waitstatus_to_exitcode(status)}"
    failures.finds.setdefault(why, made(target, name, seed, number))
    return int(number) + 1


def _child(
    target: Target, name: str, seed: int, numbers: range, at: mmap.mmap, writer: int
) -> None:
    """Write a line per new find and a final count; never return."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libjpeg logs every damaged image
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    seen, refused = set[str](), 0
    try:
        for number in numbers:
            struct.pack_into("<q", at, 0, number)
            signal.setitimer(signal.ITIMER_REAL, LONGEST)  # ends the process
            what = attempt(target, made(target, name, seed, number))
            if what:
                place = what.partition(": ")[0]
                if place not in seen:
                    seen.add(place)
                    os.write(writer, _line(find=what, number=number))
            refused += what == ""
        os.write(writer, _line(refused=refused))
        os._exit(0)
    finally:  # also after a BaseException
        os._exit(1)


def _line(**values: object) -> bytes:
    return json.dumps(values).encode() + b"\n"


def keep(name: str, failures: Results) -> None:
    """Print the finds and add their inputs to the corpus."""
    for what, data in failures.finds.items():
        print(f"  {name}: {what}")
        (CORPUS / name).mkdir(parents=True, exist_ok=True)
        (CORPUS / name / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)


def shares(every: Mapping[str, Target], inputs: int, seed: int) -> Iterator[tuple[str, int]]:
    """Yield the inputs per target: 5 % in equal parts, the remainder for equal run times."""
    least = max(1, inputs // 20 // len(every))
    tried = max(1, min(200, least))
    speeds = {n: tried / max(1e-3, run(n, t, tried, seed + 1).seconds) for n, t in every.items()}
    left = inputs - least * len(every)
    yield from ((name, least + int(left * s / sum(speeds.values()))) for name, s in speeds.items())


def table(results: Mapping[str, Results]) -> list[str]:
    """Return the results as a Markdown table."""
    lines = ["| target | inputs | refused | finds |", "|---|---|---|---|"]
    for name, each in results.items():
        share = each.refused / max(1, each.inputs)
        lines.append(f"| `{name}` | {each.inputs:,} | {share:.0%} | {len(each.finds)} |")
    total = sum(each.inputs for each in results.values())
    finds = sum(len(each.finds) for each in results.values())
    return [*lines, f"| **all** | **{total:,}** | | {finds} |"]


def put(page: Path, text: str) -> None:
    """Write a text between the two marks of a page."""
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"{page} has no lines {BEGIN} and {END}")
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")


def main(argv: list[str] | None = None) -> int:
    """Run the targets; return 1 if there were finds."""
    parser = argparse.ArgumentParser(prog="fuzz.run", description="Inputs made to break parsers.")
    parser.add_argument("--inputs", type=int, default=1000, help="number per target")
    parser.add_argument("--share", type=int, help="number over all targets, more for fast ones")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--target", help="run only this target")
    parser.add_argument("--page", type=Path, help="write the table into docs/results/fuzzing.md")
    options = parser.parse_args(argv)
    every = targets()
    if options.target and options.target not in every:
        parser.error(f"--target is one of {', '.join(every)}")
    if options.target:
        every = {options.target: every[options.target]}
    counts = dict.fromkeys(every, options.inputs)
    if options.share:
        counts = dict(shares(every, options.share, options.seed))
    results: dict[str, Results] = {}
    for name, target in every.items():
        failures = results[name] = run(name, target, counts[name], options.seed)
        print(
            f"{name:22} {failures.inputs:8} inputs {len(failures.finds):3} finds "
            f"{failures.seconds:7.1f} s "
            f"{failures.refused / max(1, failures.inputs):4.0%} refused",
            flush=True,
        )
        keep(name, failures)
    if options.page is not None:
        line = " ".join(argv if argv is not None else sys.argv[1:])
        put(
            options.page,
            f"`python -m fuzz.run {line}` on {date.today():%Y-%m-%d}, Python "
            f"{sys.version.split()[0]}:\n\n" + "\n".join(table(results)),
        )
    return 1 if any(failures.finds for failures in results.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
