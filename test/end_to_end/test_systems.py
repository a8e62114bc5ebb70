"""Each of the four systems, from a corpus to the robot and its estimates for a recording.

The systems are trained, distilled, exported, quantized and replayed. The corpora are generated
(`erc make-corpus`), and the pretrained models are tiny and random: the test shows that the whole
path works and that training has an effect, not the accuracy on people. Two systems are trained on
each layout; with `-m long`, each of them also on the other one.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the extra [train]")
pytest.importorskip("av", reason="needs the extra [train]")
pytest.importorskip("espeakng_loader", reason="the extra [demo] is not installed")
pytest.importorskip("rosbags", reason="the extra [replay] is not installed")

import tiny_systems

from erc_ros.cli import main
from erc_ros.demo.conversation_bag import START
from erc_ros.demo.generated_corpora import NAMES, SPLITS, write_corpus, write_recording
from erc_ros.inference.bundle import load_bundle
from erc_ros.training.datasets import corpora

LEARN = {"epochs": 30, "batch_size": 2, "learning_rate": 5.0e-3}


@dataclass(frozen=True)
class Case:
    """A system, what it learns from, and which of its parts are quantized how.

    same: truth of the recording -> label of the corpus; "" where the corpus leaves it out.
    """

    layout: str
    corpus: str
    recipe: Callable[..., dict[str, Any]]
    scheme: str
    same: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class System:
    """A case, and the folder of its steps."""

    case: Case
    folder: Path

    @property
    def run(self) -> Path:
        return self.folder / "run"

    @property
    def bundle(self) -> Path:
        return self.folder / "bundle"

    @property
    def small(self) -> Path:
        return self.folder / "small"


CASES = {
    "magtkd": Case("meld", "meld-faces", tiny_systems.magtkd, "text=dynamic,fusion=weight-only"),
    "summer": Case("iemocap", "iemocap-6-faces", tiny_systems.summer, "weight-only"),
    "lpgnet": Case(
        "iemocap", "iemocap-4", tiny_systems.lpgnet, "text=weight-only",
        {"excited": "happy", "frustrated": ""},
    ),
    "ddvlm": Case("meld", "meld-faces", tiny_systems.ddvlm, "text=weight-only,fusion=dynamic"),
}  # fmt: skip
LONG = {
    "magtkd from iemocap": replace(CASES["magtkd"], layout="iemocap", corpus="iemocap-6-faces"),
    "summer from meld": replace(CASES["summer"], layout="meld", corpus="meld-faces"),
    "lpgnet from meld": replace(CASES["lpgnet"], layout="meld", corpus="meld-clips", same={}),
    "ddvlm from iemocap": replace(CASES["ddvlm"], layout="iemocap", corpus="iemocap-6-faces"),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generated data folders of both layouts with faces, and the recordings meld and iemocap."""
    data = tmp_path_factory.mktemp("made")
    for layout in ("meld", "iemocap"):
        write_corpus(layout, data, 12)
        write_recording(layout, data / f"bag-{layout}")
        assert main(["cut-faces", layout, "--data", str(data), "--crops", "8", "--size", "64"]) == 0
    return data


@pytest.fixture(
    scope="module", params=[*CASES, *(pytest.param(name, marks=pytest.mark.long) for name in LONG)]
)
def system(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> System:
    name = str(request.param)
    return System({**CASES, **LONG}[name], tmp_path_factory.mktemp(name.replace(" ", "-")))


# One test for each step, in this order: each goes on with what the one before made.


def test_its_text_encoder_learns_from_a_corpus(
    system: System, made: Path, tiny: dict[str, str]
) -> None:
    recipe = thorough(system.case, tiny, made, system.folder)
    assert tiny_systems.train(recipe, made, system.run, "--until", "text") == 0
    assert not (system.run / "stages" / "fusion").exists()


def test_the_rest_of_it_goes_on_from_there(
    system: System, made: Path, tiny: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = thorough(system.case, tiny, made, system.folder)
    assert tiny_systems.train(recipe, made, system.run) == 0
    assert "text: is finished" in capsys.readouterr().out


def test_what_it_learned_becomes_a_bundle(system: System, made: Path) -> None:
    assert main(["export", str(system.run), "--bundle", str(system.bundle), *data(made)]) == 0
    bundle = load_bundle(system.bundle)
    assert bundle.labels == corpora.read(system.case.corpus, made, "test").labels
    assert bundle.text.precision == "float32"


def test_the_bundle_becomes_smaller_and_stays_as_good(system: System, made: Path) -> None:
    command = ["quantize", str(system.bundle), "--scheme", system.case.scheme, *data(made)]
    assert main([*command, "--out", str(system.small), "--max-drop", "15"]) == 0
    assert load_bundle(system.small).text.precision != "float32"


def test_a_recording_is_recognised_better_than_by_the_majority_class(
    system: System, made: Path
) -> None:
    bag, out = made / f"bag-{system.case.layout}", system.run.with_name("out")
    command = ["replay", str(bag), "--bundle", str(system.small), "--out", str(out)]
    assert main([*command, "--speaker-model", ""]) == 0
    right, truths = recognised(out, bag, system.case)
    print(f"{right} of {len(truths)} right")
    assert right > Counter(truths).most_common(1)[0][1], f"{right} of {len(truths)} right"


@pytest.fixture(scope="module")
def messy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both layouts as corpora arrive: strange names, short dialogues, missing and broken media."""
    data = tmp_path_factory.mktemp("messy")
    spoil_meld(write_corpus("meld", data, 12))
    spoil_iemocap(write_corpus("iemocap", data, 8))
    for layout in ("meld", "iemocap"):
        write_recording(layout, data / f"bag-{layout}", dialogues=1)
        assert main(["cut-faces", layout, "--data", str(data), "--crops", "4", "--size", "64"]) == 0
    return data


def spoil_meld(root: Path) -> None:
    for table, clips in SPLITS.values():
        with (root / table).open(newline="") as file:
            head, *rows = csv.reader(file)
        names = dict(zip(NAMES, ("李小龍", '"Doc" O\'Neil 😀'), strict=False))
        for row in rows:
            row[2] = names.get(row[2], row[2])
        alone = [row for row in rows if row[5] == "0"][1:]
        rows = [row for row in rows if row not in alone]
        rows[-1][1] = ""
        with (root / table).open("w", newline="") as file:
            csv.writer(file).writerows([head, *rows, rows[0]])
        broken = sorted((root / clips).glob("dia*_utt[1-3].mp4"))[-3:]
        broken[0].unlink()
        broken[1].write_bytes(broken[1].read_bytes()[:500])
        broken[2].write_bytes(b"")
        (root / clips / "._dia0_utt0.mp4").write_bytes(b"Mac")


def spoil_iemocap(root: Path) -> None:
    for session in root.glob("Session*"):
        file = min((session / "dialog" / "EmoEvaluation").glob("*.txt"))
        turns = [line for line in file.read_text().splitlines() if line.startswith("[")]
        file.write_text("\r\n".join([*turns, turns[0], "[nonsense]"]))
        sounds = sorted((session / "sentences" / "wav" / file.stem).glob("*.wav"))
        sounds[0].unlink()
        sounds[1].write_bytes(b"")
        sounds[2].write_bytes(sounds[2].read_bytes()[:60])
    lonely = min((root / "Session1" / "dialog" / "EmoEvaluation").glob("*.txt"))
    lonely.write_text(lonely.read_text().splitlines()[0])
    min((root / "Session2" / "dialog" / "transcriptions").glob("*.txt")).unlink()
    min((root / "Session3" / "dialog" / "avi" / "DivX").glob("*.avi")).unlink()


REPEATED = {"meld": "utterance 0, 0 is in row 2", "iemocap": "is in line"}


@pytest.mark.long
@pytest.mark.parametrize("name", CASES)
def test_what_a_messy_corpus_has_reaches_the_robot(
    name: str, messy: Path, tiny: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Trained for an epoch, exported, and played: its accuracy is not tested."""
    system = System(CASES[name], tmp_path)
    recipe = thorough(system.case, tiny, messy, tmp_path)
    for stage in recipe["stages"].values():
        if "trainer" in stage:  # a published encoder is taken as it is
            stage["trainer"] = {**stage["trainer"], "epochs": 1}
    assert tiny_systems.train(recipe, messy, system.run) == 0
    said = capsys.readouterr().out
    assert REPEATED[system.case.layout] in said
    assert main(["export", str(system.run), "--bundle", str(system.bundle), *data(messy)]) == 0
    bag, out = messy / f"bag-{system.case.layout}", tmp_path / "out"
    command = ["replay", str(bag), "--bundle", str(system.bundle), "--out", str(out)]
    assert main([*command, "--speaker-model", ""]) == 0
    assert (out / "estimates.jsonl").read_text().count('"label"') >= 4


def data(made: Path) -> list[str]:
    return ["--data", str(made)]


def thorough(case: Case, tiny: dict[str, str], data: Path, scratch: Path) -> dict[str, Any]:
    """Return the tiny recipe of the system for this corpus, with enough epochs to learn."""
    given = []
    if case.recipe is tiny_systems.ddvlm:
        given = [describe(case, data, scratch / "descriptions.jsonl")]
    recipe = case.recipe(tiny, *map(str, given), corpus=case.corpus)
    stages = recipe["stages"]
    for name in ("teacher", "fusion"):
        if name in stages:
            stages[name] |= {"modes": ["causal"], "trainer": LEARN}
    if "rows" in stages["fusion"]:  # the others are for tables
        robot = [row for row in stages["fusion"]["rows"] if row.get("name") == "robot"]
        stages["fusion"]["rows"] = robot or stages["fusion"]["rows"][:1]
    return recipe


def describe(case: Case, data: Path, file: Path) -> Path:
    """Return a description of the video clips of a generated corpus."""
    looks = {"joy": "smiles in green light", "anger": "frowns in red light"}
    with file.open("w") as stream:
        for split in ("train", "dev", "test"):
            read = corpora.read(case.corpus, data, split)
            for conversation in read.conversations:
                for said in conversation.utterances:
                    look = looks.get(read.labels[said.label], f"has look {said.label}")
                    seen = {"text": f"Somebody {look}.", "tries": 1, "named": [], "model": "me"}
                    line = {"key": conversation.key(said), **seen}
                    stream.write(json.dumps(line) + "\n")
    return file


def recognised(out: Path, bag: Path, case: Case) -> tuple[int, list[str]]:
    """How many of the recording's utterances got their label, and the labels.

    An utterance's estimate is the one that overlaps it most.
    """
    with bag.with_name(f"{bag.name}.truth.csv").open(newline="") as file:
        truths = list(csv.DictReader(file))
    estimates = [json.loads(line) for line in (out / "estimates.jsonl").read_text().splitlines()]
    right, labels = 0, []
    for truth in truths:
        label = case.same.get(truth["emotion"], truth["emotion"])
        if not label:
            continue
        labels.append(label)
        begin, end = (START + round(float(truth[name]) * 1e9) for name in ("start", "end"))
        overlaps = [(min(end, e["end"]) - max(begin, e["start"]), e["label"]) for e in estimates]
        overlap, answer = max(overlaps)
        right += overlap > 0 and answer == label
    return right, labels
