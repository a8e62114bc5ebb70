"""Add written dialogues to erc_ros/corpora/robot_dialogues, and count them.

    python scripts/dialogues.py add FOLDER... [--data CORPORA]   # part_*.yaml -> part_NN.yaml
    python scripts/dialogues.py count                            # the table of the README there

`add` skips a dialogue, and all of its group, if one of its turns has the same or nearly the same
words as the contrast set or as a dev or test split of a corpus that a bundle is measured on
(five words or more; nearly: 80 % of the words in the same order), if its last turn is the last of a
contrast pair, if its last turn of four words or more already ends a dialogue of another split, or
if a turn is not valid. Prints how many it skipped and why.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.contrast import read_pairs
from erc_ros.training.datasets import corpora
from erc_ros.training.datasets.folder import data_folder
from erc_ros.training.datasets.robot_dialogues import ROBOT, fault, split_of
from erc_ros.training.datasets.utterances import LABELS

FOLDER = Path(__file__).resolve().parents[1] / "erc_ros" / "corpora" / "robot_dialogues"
MEASURED = (
    ("meld", "dev"), ("meld", "test"), ("emorynlp", "dev"), ("emorynlp", "test"),
    ("dailydialog", "dev"), ("dailydialog", "test"), ("reccon-iemocap", "test"),
    ("emocontext", "test"), ("goemotions", "test"),
)  # fmt: skip
LONG, NEAR, SHINGLE, LAST = 5, 0.8, 3, 4
PER_FILE = 100


def words(text: str) -> tuple[str, ...]:
    """Return the words of a text without case and punctuation."""
    return tuple(re.findall(r"[a-z0-9]+", text.lower().replace("'", "").replace("’", "")))


class Texts:
    """Find texts of at least LONG words that are the same or nearly the same."""

    def __init__(self, texts: Iterable[str]) -> None:
        self.by_shingle: defaultdict[tuple[str, ...], set[tuple[str, ...]]] = defaultdict(set)
        for text in texts:
            if len(each := words(text)) >= LONG:
                for shingle in shingles(each):
                    self.by_shingle[shingle].add(each)

    def match(self, text: str) -> str:
        """Return "same", "near" or ""."""
        own = words(text)
        if len(own) < LONG:
            return ""
        others = {other for each in shingles(own) for other in self.by_shingle.get(each, ())}
        if own in others:
            return "same"
        is_near = any(SequenceMatcher(None, own, each).ratio() >= NEAR for each in others)
        return "near" if is_near else ""


def shingles(text: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Yield SHINGLE words in a row."""
    for start in range(len(text) - SHINGLE + 1):
        yield text[start : start + SHINGLE]


def blocks(file: Path) -> tuple[list[str], list[tuple[str, Any]]]:
    """Return the comment lines of a file, and each dialogue as source text and parsed."""
    content = file.read_text(encoding="utf-8")
    comments = [line for line in content.splitlines() if line.startswith("#")]
    written = re.split(r"^(?=- )", "".join(
        line for line in content.splitlines(keepends=True) if not line.startswith("#")
    ), flags=re.MULTILINE)  # fmt: skip
    return comments, [(text, yaml.safe_load(text)[0]) for text in written if text.strip()]


def last_of(entry: dict[str, Any]) -> tuple[str, ...]:
    """Return the words of a dialogue's last turn."""
    return words(entry["turns"][-1][1])


def reason_to_skip(
    entry: Any, measured: Texts, contrast: set[tuple[str, ...]], splits: dict[Any, str]
) -> str:
    """Return why a dialogue is not added; "" if it is. splits: last turn -> split."""
    if reason := fault(entry):
        return f"not valid: {reason}"
    if last_of(entry) in contrast:
        return "last sentence of a contrast pair"
    for _, text, _ in entry["turns"]:
        if match := measured.match(text):
            return f"{match} words as a measured text"
    last = last_of(entry)
    if len(last) >= LAST and splits.get(last, split_of(entry)) != split_of(entry):
        return "last sentence of another split"
    return ""


def add(folders: Sequence[Path], data: Path | None, out: Path = FOLDER) -> Counter[str]:
    """Write the dialogues of all files after those of `out`; return what was skipped by reason."""
    pairs = read_pairs()
    texts = [text for p in pairs for turns in p.histories.values() for text in (*turns, p.last)]
    for corpus, split in MEASURED if data else ():
        read = corpora.read_split(corpora.find(corpus), data_folder(data), split)
        texts += [u.text for c in read.conversations for u in c.utterances]
    measured, contrast = Texts(texts), {words(pair.last) for pair in pairs}
    existing = sorted(out.glob("part_*.yaml"))
    splits = {last_of(e): split_of(e) for file in existing for _, e in blocks(file)[1]}
    files = [(f, *blocks(f)) for each in folders for f in sorted(each.glob("part_*.yaml"))]
    reasons: Counter[str] = Counter()
    skipped_groups = set()
    kept: list[tuple[list[str], list[tuple[str, Any]]]] = []
    for file, comments, entries in files:
        valid = []
        for text, entry in entries:
            reason = reason_to_skip(entry, measured, contrast, splits)
            if not reason:
                splits.setdefault(last_of(entry), split_of(entry))
                valid.append((text, entry))
                continue
            print(f"{file.name}: {reason}: {entry['turns'][-1] if 'turns' in entry else entry}")
            reasons[reason] += 1
            if entry.get("group"):
                skipped_groups.add(entry["group"])
        kept.append((comments, valid))
    number = len(existing)
    lines: list[str] = []
    count = 0
    for place, (comments, entries) in enumerate(kept, start=1):
        remaining = [text for text, entry in entries if entry.get("group") not in skipped_groups]
        reasons["twin of a skipped dialogue"] += len(entries) - len(remaining)
        lines += [*(f"{comment}\n" for comment in comments), *remaining]
        count += len(remaining)
        if count >= PER_FILE or (lines and place == len(kept)):
            number += 1
            (out / f"part_{number:02}.yaml").write_text("".join(lines), encoding="utf-8")
            lines, count = [], 0
    return reasons


def table(folder: Path = FOLDER) -> str:
    """Return counts of entries and of turns by emotion, as Markdown."""
    entries = [e for file in sorted(folder.glob("part_*.yaml")) for _, e in blocks(file)[1]]
    people, robot = (
        Counter(t[2] for e in entries for t in e["turns"] if (t[0] == ROBOT) == is_robot)
        for is_robot in (False, True)
    )
    single = sum(len(e["turns"]) == 1 for e in entries)
    groups = Counter(e["group"] for e in entries if e.get("group"))
    rows = [
        f"| {label} | {people[label]} | {100 * people[label] / people.total():.1f} % "
        f"| {robot[label]} | {people[label] + robot[label]} |"
        for label in sorted(LABELS, key=lambda label: -people[label])
    ]
    return "\n".join(
        [
            f"{len(entries)} entries: {len(entries) - single} dialogues, {single} single sentences;"
            f" {groups.total()} twins in {len(groups)} groups;"
            f" {sum(len(e['turns']) >= 12 for e in entries)} dialogues of 12 turns or more\n",
            "| emotion | people | share | robot | all |\n|---|---|---|---|---|",
            *rows,
            f"| all | {people.total()} | 100 % | {robot.total()} | {(people + robot).total()} |",
        ]
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one of the two commands."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("command", choices=("add", "count"))
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--data", type=Path, help="also compare with corpora in this folder")
    parser.add_argument("--out", type=Path, default=FOLDER)
    options = parser.parse_args(arguments)
    if options.command == "add":
        for reason, count in add(options.folders, options.data, options.out).items():
            print(f"{count} skipped: {reason}")
    print(table(options.out))


if __name__ == "__main__":
    main()
