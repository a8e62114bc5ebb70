"""Generated reference pages of the site: commands from argparse, messages from erc_msgs/.

The page of parameters is written by `python -m erc_ros.nodes.parameters --write`.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import re
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from erc_ros.cli import _COMMANDS, _GROUPS
from erc_ros.parameter_reference import tuning_page

ROOT = Path(__file__).resolve().parent.parent
MESSAGES = ("EmotionEstimate", "Utterance", "EmotionLabels", "EmotionStates", "EmotionState")
SERVICES = ("Enrol", "ForgetPerson", "GetEmotion", "OptOut", "SetBundle")


class _Parser(BaseException):
    """Passes a parser out of the command that created it."""


def parser_of(command: str) -> argparse.ArgumentParser:
    """Return the argument parser of a command."""

    def stop(parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        raise _Parser(parser)

    with (
        mock.patch.object(argparse.ArgumentParser, "parse_args", stop),
        mock.patch.object(argparse.ArgumentParser, "parse_known_args", stop),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        try:
            _COMMANDS[command][0]([])
        except _Parser as made:
            return made.args[0]  # type: ignore[no-any-return]
    raise RuntimeError(f"erc {command} has no argument parser")


def cell(text: str) -> str:
    """Format a text as a cell of a table."""
    return " ".join(text.split()).replace("|", r"\|").replace("<", "&lt;")


def options(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Yield a row for each argument."""
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction) or action.help == argparse.SUPPRESS:
            continue
        name = ", ".join(action.option_strings) or str(action.metavar or action.dest)
        if action.option_strings and action.nargs != 0:
            values = "{" + ",".join(map(str, action.choices)) + "}" if action.choices else ""
            shown = action.metavar or values or action.dest.upper()
            name += " " + (shown if isinstance(shown, str) else " ".join(shown))
        text = action.help or ""
        default = action.default
        if isinstance(default, (str, int, float)) and not isinstance(default, bool):
            known = re.search(r"default|%\(default\)", text)
            if default not in ("", argparse.SUPPRESS) and not known:
                text += f" (default {default})"
        text = text.replace("%(default)s", str(default)).replace("%%", "%")
        yield f"| `{name}` | {cell(text)} |"


def commands() -> str:
    """Return the page of the commands."""
    lines = [
        "# Commands",
        "",
        "`erc COMMAND --help` prints the same, `erc --version` the versions.",
    ]
    for title, names in _GROUPS.items():
        lines += ["", f"## {title.capitalize()}"]
        for name in names:
            parser = parser_of(name)
            positional = [a for a in parser._actions if not a.option_strings]
            usage = " ".join(["erc", name, *(str(a.metavar or a.dest) for a in positional)])
            lines += ["", f"### erc {name}", "", f"    {usage} [options]", ""]
            lines += [f"{_COMMANDS[name][1][:1].upper()}{_COMMANDS[name][1][1:].rstrip('.')}."]
            rows = list(options(parser))
            lines += ["", "| argument | |", "|---|---|", *rows] if rows else []
    return "\n".join(lines) + "\n"


def interface(text: str) -> list[str]:
    """Return the lines of the page for one message definition."""
    lines: list[str] = []
    intro: list[str] = []
    rows: list[str] = []
    for line in text.splitlines():
        if line.startswith("#"):
            intro.append(line.lstrip("# ").rstrip())
        elif not line.strip():
            intro.append("")
        elif line == "---":
            lines += [*_block(intro, rows), "", "Response:"]
            intro, rows = [], []
        else:
            if rows and any(intro):  # a comment between two fields
                lines += _block([], rows)
                rows = []
            if any(intro):
                lines += _block(intro, [])
            intro = []
            declared, _, comment = line.partition("#")
            kind, name = declared.split(None, 1)
            rows.append(f"| `{name.strip()}` | {kind} | {cell(comment)} |")
    return lines + _block(intro, rows)


def _block(intro: list[str], rows: list[str]) -> list[str]:
    text = "\n".join(intro).strip("\n")
    lines = ["", text] if text else []
    return lines + (["", "| field | type | |", "|---|---|---|", *rows] if rows else [])


def messages() -> str:
    """Return the page of the messages and services."""
    lines = [
        "# Messages",
        "",
        "Package `erc_msgs`.",
    ]
    others = sorted(
        {path.stem for path in (ROOT / "erc_msgs" / "msg").glob("*.msg")} - set(MESSAGES)
    )
    for folder, suffix, names in (
        ("msg", "msg", [*MESSAGES, *others]),
        ("srv", "srv", list(SERVICES)),
    ):
        for name in names:
            text = (ROOT / "erc_msgs" / folder / f"{name}.{suffix}").read_text(encoding="utf-8")
            lines += ["", f"## {name}", *interface(text)]
    return "\n".join(lines) + "\n"


PAGES = {"cli.md": commands, "messages.md": messages, "tuning.md": tuning_page}
