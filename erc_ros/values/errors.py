"""Errors in words that may go into a log."""

from __future__ import annotations

import dis
from pathlib import Path
from types import TracebackType

PACKAGE = str(Path(__file__).parents[1])
_RAISE = dis.opmap["RAISE_VARARGS"]


def in_words(error: BaseException) -> str:
    """What an error says, if this package said it; of any other one its type and place only.

    Our messages are written so that they quote nothing that was said or heard. A library's may:
    `int("what somebody said")` does.
    """
    place, is_ours = "", False
    trace = error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        is_ours = file.startswith(PACKAGE)
        if is_ours:
            place = f" in {Path(file).name}, line {trace.tb_lineno}"
            # what a function in C raises has no frame of its own
            is_ours = trace.tb_frame.f_code.co_code[trace.tb_lasti] == _RAISE
        trace = trace.tb_next
    if (is_ours or error.__traceback__ is None) and str(error):
        return str(error)
    return f"{type(error).__name__}{place}"


def without_words(error: BaseException, trace: TracebackType | None) -> str:
    """A traceback that names types and places only."""
    lines = []
    while trace is not None:
        code = trace.tb_frame.f_code
        lines.append(f"  {code.co_filename}, line {trace.tb_lineno}, in {code.co_name}")
        trace = trace.tb_next
    return "\n".join([*lines, type(error).__name__])
