"""Check the language of the repository's text against a list of words.

`python scripts/language.py` prints each word of scripts/words.yaml that a document uses, each
abbreviation that docs/glossary.md does not define, and each word that Python files use more often
than scripts/words_in_python.yaml allows. `--list WORD` prints where, `--write` lowers the counts.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import subprocess
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
WORDS = Path("scripts/words.yaml")
COUNTS = Path("scripts/words_in_python.yaml")
DOCUMENTS = (
    "*.md",
    ".github/*.md",
    "docs/**/*.md",
    "erc_ros/models/*/README.md",
    "erc_ros/corpora/**/*.md",
)
DEFINITIONS = (
    "erc_msgs/*/*.msg",
    "erc_msgs/*/*.srv",
    "erc_ros/config/**/*.yaml",
    "erc_ros/launch/*.py",
)
CODE = re.compile(
    r"^ {0,3}(`{3,}|~{3,}).*?^ {0,3}\1[^\n]*$|(?<=\n\n)(?: {4}[^\n]*\n)+|`+[^`\n]+`+"
    r"|<!--.*?-->|\]\([^)]*\)|<[a-z/][^>]*>|https?://\S+",
    re.MULTILINE | re.DOTALL,
)
ABBREVIATION = re.compile(r"(?<![\w-])[A-Z]{2,6}(?![\w+])")


@cache
def settings(root: Path = ROOT) -> dict[str, dict[str, str]]:
    """Return the list of words."""
    return yaml.safe_load((root / WORDS).read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def pattern(word: str) -> re.Pattern[str]:
    """Return the regular expression for whole words; a line break counts as a blank."""
    blank = " " if "(?<" in word else r"\s+"  # lookbehind needs a fixed width
    return re.compile(rf"(?<![\w-])(?:{word.replace(' ', blank)})(?![\w-])", re.IGNORECASE)


def prose(text: str) -> str:
    """Blank code, link targets and comments in a document, keeping its lines."""
    return CODE.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)


def unreleased(text: str) -> str:
    """Return only the section of the next release, as history is not rewritten."""
    start = text.find("\n## Unreleased")
    end = text.find("\n## ", start + 1)
    return text if start < 0 else "\n" * text.count("\n", 0, start) + text[start:end]


def files(patterns: tuple[str, ...], root: Path = ROOT) -> Iterator[Path]:
    """Yield the files of the repository that match the patterns."""
    for each in patterns:
        yield from sorted(path for path in root.glob(each) if path.is_file())


def hits(text: str, words: dict[str, str], where: str) -> Iterator[str]:
    """Yield a message for each use of a word."""
    for word, instead in words.items():
        for match in pattern(word).finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            yield f"{where}:{line}: {' '.join(match[0].split())!r}: write {instead}"


def in_documents(root: Path = ROOT) -> Iterator[str]:
    """Yield a message for each word in documents and definitions."""
    words = settings(root)
    skipped = {path for each in words.get("skip", {}) for path in root.glob(each)}
    for path in files(DOCUMENTS, root):
        if path in skipped:
            continue
        text = path.read_text(encoding="utf-8")
        if path.name == "CHANGELOG.md":
            text = unreleased(text)
        name = path.relative_to(root).as_posix()
        yield from hits(prose(text), {**words["words"], **words["documents"]}, name)
    for path in files(DEFINITIONS, root):
        if path in skipped:
            continue
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".yaml":  # keys are names
            text = re.sub(r"(?m)^[ -]*[\w-]+:", "", text)
        yield from hits(text, words["words"], path.relative_to(root).as_posix())


def undefined(root: Path = ROOT) -> Iterator[str]:
    """Yield a message for each abbreviation in the guides that is not defined."""
    known = set(str(settings(root)["abbreviations"]).split())
    glossary = root / "docs" / "glossary.md"
    known |= set(re.findall(r"\w+", glossary.read_text(encoding="utf-8")))
    for path in files(("docs/tutorials/*.md", "docs/how-to/*.md", "docs/explanation/*.md"), root):
        text = prose(path.read_text(encoding="utf-8"))
        for match in ABBREVIATION.finditer(text):
            if match[0] not in known:
                line = text.count("\n", 0, match.start()) + 1
                yield f"{path.relative_to(root)}:{line}: {match[0]} is not in docs/glossary.md"


def texts(source: str) -> Iterator[tuple[int, str]]:
    """Yield comments, docstrings and strings of a Python file with their lines."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.lineno, node.value


def in_code(root: Path = ROOT) -> dict[str, str]:
    """Return the words that Python files should not use."""
    words = settings(root)
    return {**words["words"], **words.get("python", {})}


def in_python(root: Path = ROOT) -> Iterator[tuple[str, str]]:
    """Yield each use of a word in Python files as (word, place)."""
    listed = subprocess.run(
        ["git", "ls-files", "*.py"], cwd=root, capture_output=True, text=True, check=True
    )
    patterns = {word: pattern(word) for word in in_code(root)}
    anything = pattern("|".join(patterns))
    for name in listed.stdout.splitlines():
        path = root / name
        if not path.is_file() or name == "scripts/language.py":
            continue
        for line, text in texts(path.read_text(encoding="utf-8")):
            if not anything.search(text):
                continue
            for word, expression in patterns.items():
                for _ in expression.finditer(text):
                    yield word, f"{name}:{line}"


def counts(root: Path = ROOT) -> dict[str, int]:
    """Return how often Python files use each word."""
    occurrences = Counter(word for word, _ in in_python(root))
    return {word: occurrences[word] for word in in_code(root)}


def allowed(root: Path = ROOT) -> dict[str, int]:
    """Return how often Python files may use each word."""
    file = root / COUNTS
    return yaml.safe_load(file.read_text(encoding="utf-8")) if file.is_file() else {}


def exceeded(root: Path = ROOT) -> Iterator[str]:
    """Yield a message for each word that Python files use more often than allowed."""
    limits = allowed(root)
    for word, count in counts(root).items():
        if count > limits.get(word, 0):
            yield (
                f"Python files: {word!r} {count} times, {limits.get(word, 0)} allowed: write"
                f" {in_code(root)[word]} (python scripts/language.py --list {word!r})"
            )


def main() -> int:
    """Print the messages; return status 1 if there are any."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--list", metavar="WORD", help="list its uses in Python files")
    parser.add_argument(
        "--write", action="store_true", help="lower the allowed counts of Python files"
    )
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join(place for word, place in in_python() if arguments.list in word.split("|")))
        return 0
    if arguments.write:
        limits = allowed()
        new = {word: min(count, limits.get(word, count)) for word, count in counts().items()}
        head = "# Generated by `python scripts/language.py --write`: the counts may only fall.\n"
        (ROOT / COUNTS).write_text(head + yaml.safe_dump(new, sort_keys=False), encoding="utf-8")
    lines = [*in_documents(), *undefined(), *exceeded()]
    print("\n".join(lines) or "no problem found")
    return min(len(lines), 1)


if __name__ == "__main__":
    sys.exit(main())
