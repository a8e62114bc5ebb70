"""Description of the computer of a measurement, and formatting of figures."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib.metadata import version


@dataclass(frozen=True)
class Figure:
    """A measured figure. aim: maximum (with `more`, minimum) target value; None: no target."""

    name: str
    value: float
    unit: str
    aim: float | None = None
    more: bool = False

    @property
    def reached(self) -> bool:
        """Whether the target is reached, or there is none."""
        if self.aim is None:
            return True
        return self.value >= self.aim if self.more else self.value <= self.aim

    def line(self) -> str:
        """Return the line of the table."""
        aim = ""
        if self.aim is not None:
            sign = "at least" if self.more else "at most"
            aim = f"{sign} {self.aim:g}" + ("" if self.reached else "   NOT REACHED")
        return f"{self.name:<62}{self.value:>9.4g} {self.unit:<16}{aim}"


def description() -> str:
    """Return processor, cores, load average and versions."""
    cores = len(os.sched_getaffinity(0))
    libraries = ", ".join(f"{name} {version(name)}" for name in ("onnxruntime", "numpy"))
    return (
        f"{_processor()}, {cores} cores, load {os.getloadavg()[0]:.1f} at the start, "
        f"{platform.system()} {platform.machine()}, Python {platform.python_version()}, {libraries}"
    )


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as stream:
            for line in stream:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown processor"
