"""The contract tests pass for valid classes and fail for classes that violate a clause."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import plugin_package
import pytest

TESTS = Path(__file__).parent

BROKEN = {
    "fusion-model": {
        "Recurrent": "padding",
        "LooksAhead": "future",
        "Mixes": "other_conversations",
        "NotANumber": "finite",
        "Weightless": "shapes",
        "Random": "deterministic",
        "Deaf": "learns",
        "Branches": "onnx",
    },
    "face-detector": {
        "SmallestFirst": "two_faces",
        "Outside": "frontal_face",
        "Remembers": "depends_on_the_frame_alone",
        "Blind": "frontal_face",
    },
    "voice-activity": {
        "Percent": "numbers_from_0_to_1",
        "Forgets": "after_reset",
        "Inverted": "likelier",
        "Long": "length_in_bounds",
        "Scales": "not_changed",
    },
    "speech-message": {
        "Endless": "too_long",
        "Counts": "twice",
        "NoType": "type_is_that",
    },
    "speech-recognizer": {
        "Untimed": "within_the_segment",
        "NeedsNoise": "silence",
        "Counting": "samples_alone",
    },
    "metric": {
        "Ordered": "order_of_the_utterances",
        "Infinite": "is_a_number",
        "Rounds": "arguments_alone",
        "Named": "is_a_number",
    },
    "exporter": {
        "Dated": "same_bytes",
        "NeedsText": "without_text",
        "NeedsLines": "without_an_utterance",
    },
    "corpus": {
        "UNCHECKED": "folder_without_the_corpus",
        "TWICE": "keys_of_their_own",
        "OTHER": "labels_are_indices",
        "SHUFFLED": "reading_again",
    },
    "encoder": {
        "Batched": "rest_of_the_batch",
        "Accepts": "refuses",
        "Empty": "finite",
    },
}
GOOD = {
    "fusion-model": ("erc_example.fusion:ConversationMean", "conversation-mean"),
    "face-detector": ("erc_example.faces:ProfileDetector", "profile"),
    "voice-activity": ("erc_example.voice:EnergyVoiceActivity", "energy"),
    "speech-message": ("broken_plugins:Good",),
    "speech-recognizer": ("broken_plugins:Quiet",),
    "metric": ("broken_plugins:ErrorRate",),
    "exporter": ("broken_plugins:Tsv",),
    "encoder": ("broken_plugins:Length",),
    "corpus": ("erc_example.corpus:TALKS", "talks"),
}


def run(*arguments: str, site: Path | None = None, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command of the documentation outside of this repository."""
    environment = dict(os.environ) if site is None else plugin_package.environment(site)
    paths = [str(TESTS), environment.get("PYTHONPATH", ""), str(TESTS.parent)]
    environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider"]
    command += ["-p", "erc_ros.contracts.options", "--pyargs", "erc_ros.contracts", *arguments]
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=600
    )


def failures(output: str) -> dict[str, set[str]]:
    """Return class -> the tests and clauses that failed for it."""
    lines_of: dict[str, set[str]] = {}
    for line in re.findall(r"^(?:FAILED|ERROR) (\S+)", output, re.MULTILINE):
        for name in re.findall(r"broken_plugins:(\w+)", line):
            lines_of.setdefault(name, set()).add(line)
    return lines_of


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """The failures of all broken classes, from one run, because imports take most of the time."""
    folder = tmp_path_factory.mktemp("broken")
    names = [f"--erc-{kind}=broken_plugins:{name}" for kind in BROKEN for name in BROKEN[kind]]
    done = run(*names, "--erc-data", str(folder), cwd=folder)
    assert done.returncode == 1, done.stdout[-3000:] + done.stderr[-3000:]
    return failures(done.stdout)


@pytest.mark.parametrize(
    ("name", "clause"), [pair for classes in BROKEN.values() for pair in classes.items()]
)
def test_a_class_that_breaks_a_clause_fails_the_test_of_that_clause(
    name: str, clause: str, failed: dict[str, set[str]]
) -> None:
    assert any(clause in line for line in failed.get(name, ())), failed.get(name)


def test_the_classes_of_the_example_package_pass(tmp_path: Path) -> None:
    site = plugin_package.install(tmp_path)
    names = [f"--erc-{kind}={name}" for kind, all_of in GOOD.items() for name in all_of]
    plugin_package.write_talks(tmp_path)
    done = run(*names, "--erc-data", str(tmp_path), site=site, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def test_every_class_of_this_package_passes(tmp_path: Path) -> None:
    done = run(cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    for name in ("late-fusion", "yunet", "haar", "silero"):
        assert f"[{name}" in done.stdout or f"-{name}]" in done.stdout
