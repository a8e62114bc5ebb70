"""Errors whose text may be logged, and how other errors are logged.

An error of this package is an `ErcError`: its text names settings, files, topics and numbers, and
never quotes the words of a person. The text of a library's error may quote them, as that of
`int("a spoken word")` does. Programs and tests compare the type of an error or its `code`, not its
text.
"""

from __future__ import annotations

import re
from pathlib import Path
from types import TracebackType

PACKAGE = str(Path(__file__).parents[1])


class ErcError(Exception):
    """Base class of errors whose text may be logged.

    code: stable identifier of the kind of error; by default the class name without "Error".

    Example:
        >>> class BundleError(ErcValueError): ...
        >>> BundleError("a file is missing").code
        'bundle'
    """

    code = "erc"

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "code" not in vars(cls):
            words = re.findall("[A-Z][a-z0-9]*", cls.__name__.removesuffix("Error"))
            cls.code = "_".join(words).lower()

    def __init__(self, message: str = "", code: str = "") -> None:
        super().__init__(message)
        if code:
            self.code = code


class ErcValueError(ErcError, ValueError):
    """A value, message or file is wrong."""

    code = "value"


class ErcTypeError(ErcError, TypeError):
    """A value has the wrong type."""

    code = "type"


class ErcRuntimeError(ErcError, RuntimeError):
    """A device, library or process failed."""

    code = "runtime"


def safe_message(error: BaseException) -> str:
    """Return the text of an `ErcError`, or the type and source line of any other error."""
    if isinstance(error, ErcError) and str(error):
        return str(error)
    place, trace = "", error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if file.startswith(PACKAGE):
            place = f" in {Path(file).name}, line {trace.tb_lineno}"
        trace = trace.tb_next
    return f"{type(error).__name__}{place}"


def redacted_traceback(error: BaseException, trace: TracebackType | None) -> str:
    """Return a traceback with source lines and the type of the error, without its text."""
    lines = []
    while trace is not None:
        code = trace.tb_frame.f_code
        lines.append(f"  {code.co_filename}, line {trace.tb_lineno}, in {code.co_name}")
        trace = trace.tb_next
    return "\n".join([*lines, type(error).__name__])
