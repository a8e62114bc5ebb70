"""Stages: in their order, each once, taken up where a killed run stopped, refused by name."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra [train]")

import tiny_models  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from erc_ros.training.datasets import corpora  # noqa: E402
from erc_ros.training.datasets.utterances import LABELS  # noqa: E402
from erc_ros.training.encoders.audio.pretrained import (  # noqa: E402
    SpeechEncoder,
    SpeechEncoderConfig,
)
from erc_ros.training.encoders.descriptions import DescriberConfig  # noqa: E402
from erc_ros.training.encoders.sample import Sample  # noqa: E402
from erc_ros.training.encoders.visual.pretrained import (  # noqa: E402
    VideoEncoder,
    VideoEncoderConfig,
)
from erc_ros.training.engine.recipe import Recipe, RecipeError, TooLargeError  # noqa: E402
from erc_ros.training.engine.runs import read_json, write_json  # noqa: E402
from erc_ros.training.engine.trainer import TrainerConfig  # noqa: E402
from erc_ros.training.systems import descriptions  # noqa: E402
from erc_ros.training.systems.encoders import (  # noqa: E402
    EncoderInputs,
    saved_encoder,
    usable_rows,
)
from erc_ros.training.systems.material import Material, read_material  # noqa: E402
from erc_ros.training.systems.stages import Stage, Work, read_record, run_stages  # noqa: E402

HEADER = (
    "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,"
    "Season,Episode,StartTime,EndTime\n"
)


def write_texts(data: Path, words: str = "Hi") -> Path:
    """MELD's tables: a dialogue of seven utterances and all labels in each split."""
    (data / "meld_annotations").mkdir(parents=True, exist_ok=True)
    for split in ("train", "dev", "test"):
        rows = "".join(
            f'1,"{words} {n}",A,{label},positive,0,{n},1,1,"0:0:1,0","0:0:2,0"\n'
            for n, label in enumerate(LABELS)
        )
        (data / "meld_annotations" / f"{split}_sent_emo.csv").write_text(HEADER + rows)
    return data


@dataclass(frozen=True, slots=True)
class Settings:
    value: int = 1
    trainer: TrainerConfig | None = None
    device: str = "cpu"


def write(name: str, settings: Settings, work: Work) -> None:
    """Adds its value to what the stage `text` found, for every seed; counts its runs."""
    for seed in work.seeds:
        folder = work.folder / f"seed-{seed}"
        folder.mkdir(exist_ok=True)
        runs = int((folder / "runs").read_text()) if (folder / "runs").exists() else 0
        (folder / "runs").write_text(str(runs + 1))
        before = int((work.read("text", seed) / "sum").read_text()) if "text" in work.inputs else 0
        (folder / "sum").write_text(str(before + settings.value))


def stages(**others: Callable[[Settings, Work], None]) -> tuple[Stage, ...]:
    run = {name: others.get(name, partial(write, name)) for name in ("text", "audio", "fusion")}
    return (
        Stage("text", Settings, run["text"]),
        Stage("audio", Settings, run["audio"], needs=("text",)),
        Stage("fusion", Settings, run["fusion"], needs=("text",), reads=("audio",)),
    )


def recipe(tmp_path: Path, stages: Any, **more: Any) -> Recipe:
    until = more.pop("until", None)
    sections = {"system": {"corpus": "meld", "seeds": [0, 1], **more}, "stages": stages}
    data = tmp_path / "data"
    if not data.exists():
        write_texts(data)
    return Recipe("magtkd", sections, tmp_path / "out", data, until=until)


def sums(tmp_path: Path) -> dict[str, str]:
    out = tmp_path / "out" / "stages"
    return {str(f.parent.relative_to(out)): f.read_text() for f in sorted(out.rglob("sum"))}


def runs(tmp_path: Path, stage: str) -> str:
    return (tmp_path / "out" / "stages" / stage / "seed-0" / "runs").read_text()


def test_stages_run_in_order_and_read_what_the_earlier_ones_left(tmp_path: Path) -> None:
    run_stages(recipe(tmp_path, {"text": {"value": 3}, "audio": {}, "fusion": {}}), stages())

    expected = {"audio": "4", "fusion": "4", "text": "3"}
    assert sums(tmp_path) == {f"{n}/seed-{s}": v for n, v in expected.items() for s in (0, 1)}
    record = read_record(tmp_path / "out" / "stages" / "fusion")
    assert record is not None and record.finished and record.seeds == (0, 1)
    assert set(record.inputs) == {"text", "audio"}


def test_what_is_finished_is_not_run_again(tmp_path: Path) -> None:
    for _ in range(2):
        run_stages(recipe(tmp_path, {"text": {}, "fusion": {}}), stages())
    assert (runs(tmp_path, "text"), runs(tmp_path, "fusion")) == ("1", "1")


def test_until_stops_and_the_next_run_goes_on(tmp_path: Path) -> None:
    both = {"text": {}, "audio": {}, "fusion": {}}
    run_stages(recipe(tmp_path, both, until="audio"), stages())
    assert {path.name for path in (tmp_path / "out" / "stages").iterdir()} == {"text", "audio"}

    run_stages(recipe(tmp_path, both), stages())
    assert runs(tmp_path, "text") == "1" and (tmp_path / "out/stages/fusion").is_dir()


def test_further_seeds_are_added_and_the_others_stay(tmp_path: Path) -> None:
    run_stages(recipe(tmp_path, {"text": {}, "audio": {}}, seeds=[0]), stages())
    run_stages(recipe(tmp_path, {"text": {}, "audio": {}}, seeds=[0, 1]), stages())

    record = read_record(tmp_path / "out" / "stages" / "audio")
    assert record is not None and record.seeds == (0, 1)
    assert sums(tmp_path)["audio/seed-1"] == "2"


def test_a_stage_that_was_stopped_goes_on_in_its_folder(tmp_path: Path) -> None:
    def stop_at_the_second(settings: Settings, work: Work) -> None:
        write("audio", settings, Work(work.folder, work.seeds[:1], work.material, work.inputs))
        raise KeyboardInterrupt

    both = {"text": {}, "audio": {}}
    with pytest.raises(KeyboardInterrupt):
        run_stages(recipe(tmp_path, both), stages(audio=stop_at_the_second))
    assert not (tmp_path / "out" / "stages" / "audio").exists(), "nothing half-written"

    run_stages(recipe(tmp_path, both), stages())
    assert runs(tmp_path, "text") == "1" and runs(tmp_path, "audio") == "2"
    assert sums(tmp_path)["audio/seed-1"] == "2"


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    run_stages(recipe(tmp_path, {"text": {"value": 1}}), stages())
    with pytest.raises(RecipeError, match=r"stage\.value.*1.*2"):
        run_stages(recipe(tmp_path, {"text": {"value": 2}}), stages())
    write_texts(tmp_path / "data", "Bye")
    with pytest.raises(RecipeError, match=r"corpus\.digest"):
        run_stages(recipe(tmp_path, {"text": {"value": 1}}), stages())


def test_a_stage_is_made_anew_when_what_it_read_was(tmp_path: Path) -> None:
    run_stages(recipe(tmp_path, {"text": {"value": 1}, "audio": {}}), stages())
    import shutil

    shutil.rmtree(tmp_path / "out" / "stages" / "text")
    run_stages(recipe(tmp_path, {"text": {"value": 5}, "audio": {}}), stages())
    assert sums(tmp_path)["audio/seed-0"] == "6"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"audio": {}, "text": {}}, r"order audio, text; magtkd trains them in the order text, au"),
        ({"text": {}, "smell": {}}, r"magtkd has no smell; it has text, audio, fusion"),
        ({"audio": {}}, r"stages\.audio needs stages\.text"),
        ({}, "must be a table of some of text, audio, fusion"),
        (["text"], "must be a table of some of text, audio, fusion"),
        ({"text": {"valeu": 2}}, r"stages\.text has no \['valeu'\]"),
        ({"text": {"value": "two"}}, r"stages\.text\.value must be an int"),
    ],
)
def test_wrong_stages_are_refused_before_anything_runs(
    wrong: Any, message: str, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=message):
        run_stages(recipe(tmp_path, wrong), stages())
    assert not (tmp_path / "out").exists()


def test_until_names_a_stage_of_the_recipe(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="--until fusion: the recipe has text"):
        run_stages(recipe(tmp_path, {"text": {}}, until="fusion"), stages())


@pytest.mark.parametrize(
    ("system", "message"),
    [
        ({"corpus": "melt"}, "corpus 'melt' is unknown"),
        ({"seeds": []}, "seeds must be some numbers"),
        ({"limit": -1}, "limit must not be negative"),
    ],
)
def test_a_wrong_corpus_is_refused(system: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=message):
        run_stages(recipe(tmp_path, {"text": {}}, **system), stages())


def test_half_a_corpus_is_told(tmp_path: Path) -> None:
    whole = recipe(tmp_path, {"text": {}})
    (tmp_path / "data" / "meld_annotations" / "dev_sent_emo.csv").unlink()
    with pytest.raises(RecipeError, match=r"dev_sent_emo\.csv"):
        run_stages(whole, stages())


@pytest.mark.parametrize(
    "save",
    [
        torch.save,
        lambda x, file: save_file({"x": x}, file),
        lambda x, file: np.savez(file, x=x.numpy()),
    ],
    ids=["torch", "safetensors", "numpy"],
)
def test_a_full_disk_is_told_and_the_run_goes_on_after_it(
    save: Callable[[Any, Path], Any], tmp_path: Path
) -> None:
    def write_much(settings: Settings, work: Work) -> None:
        save(torch.zeros(1 << 18), work.folder / "weights")
        write("audio", settings, work)

    both = recipe(tmp_path, {"text": {}, "audio": {}})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 18, hard))  # no file may be larger
    try:
        with pytest.raises(RecipeError, match=r"audio.*room"):
            run_stages(both, stages(audio=write_much))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    run_stages(both, stages(audio=write_much))
    assert runs(tmp_path, "text") == "1" and sums(tmp_path)["audio/seed-0"] == "2"


@pytest.mark.parametrize(("batch", "way_out"), [(8, "which is 8"), (1, "smaller model in stages")])
def test_too_little_memory_names_the_key_to_lower(batch: int, way_out: str, tmp_path: Path) -> None:
    def need_much(settings: Settings, work: Work) -> None:
        torch.zeros(1 << 50)

    trainer = {"epochs": 1, "batch_size": batch, "learning_rate": 0.1}
    with pytest.raises(RecipeError, match=f"stage text ran out of memory: .*{way_out}"):
        run_stages(recipe(tmp_path, {"text": {"trainer": trainer}}), stages(text=need_much))


@pytest.mark.parametrize(
    ("error", "way_out"),
    [
        (TooLargeError("a batch of 8"), r"a batch of 8: lower stages\.text\.trainer\.batch_size"),
        (TooLargeError("a single example", single=True), r"single example.*stages\.text"),
        (torch.OutOfMemoryError("CUDA out of memory"), r"lower stages\.text\.trainer\.batch_size"),
        (RuntimeError("TooLargeError: of a process"), r"lower stages\.text\.trainer\.batch_size"),
    ],
    ids=["batch", "single", "elsewhere", "process"],
)
def test_a_gpu_that_is_too_small_names_the_key_to_lower(
    error: Exception, way_out: str, tmp_path: Path
) -> None:
    def need_much(settings: Settings, work: Work) -> None:
        raise error

    trainer = {"epochs": 1, "batch_size": 8, "learning_rate": 0.1}
    with pytest.raises(RecipeError, match=f"stage text.*{way_out}"):
        run_stages(recipe(tmp_path, {"text": {"trainer": trainer}}), stages(text=need_much))


def test_a_gpu_is_used_in_separate_processes_if_a_training_has_several(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that has used a GPU cannot fork the processes of the next training."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)

    def tell(name: str, settings: Settings, work: Work) -> None:
        write(name, settings, work)
        (tmp_path / name).write_text(str(os.getpid()))

    def fail(settings: Settings, work: Work) -> None:
        raise TooLargeError("a single example", single=True)

    trainer = {"epochs": 1, "batch_size": 8, "learning_rate": 0.1, "device": "cuda"}
    several = {"trainer": {**trainer, "processes": 2}}
    given = {"text": several, "audio": {"device": "cuda"}, "fusion": {"trainer": trainer}}
    telling = {name: partial(tell, name) for name in given}
    run_stages(recipe(tmp_path, given), stages(**telling))
    here = str(os.getpid())
    assert [(tmp_path / name).read_text() == here for name in given] == [True, False, False]
    with pytest.raises(RecipeError, match=r"stages\.fusion"):
        changed = {**given, "fusion": {"trainer": trainer, "value": 2}}
        (tmp_path / "out" / "stages" / "fusion").rename(tmp_path / "earlier")
        run_stages(recipe(tmp_path, changed), stages(**{**telling, "fusion": fail}))

    (tmp_path / "out").rename(tmp_path / "several")
    run_stages(recipe(tmp_path, {**given, "text": {"trainer": trainer}}), stages(**telling))
    assert {(tmp_path / name).read_text() for name in given} == {here}


def test_a_killed_process_leaves_whole_stages_only(tmp_path: Path) -> None:
    recipe(tmp_path, {})
    program = (
        "import os, signal, sys\n"
        f"sys.path[:0] = [{os.path.dirname(__file__)!r}, {str(Path(__file__).parents[2])!r}]\n"
        "from pathlib import Path\n"
        "from test_stages import recipe, run_stages, stages, write\n"
        "def killed(settings, work):\n"
        "    write('audio', settings, work)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        f"run_stages(recipe(Path({str(tmp_path)!r}), {{'text': {{}}, 'audio': {{}}}}),"
        " stages(audio=killed))\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], check=False, timeout=120)
    assert ended.returncode == -signal.SIGKILL
    there = tmp_path / "out" / "stages"
    assert {path.name for path in there.iterdir()} == {"text", "audio.unfinished"}
    assert json.loads((there / "audio.unfinished/stage.json").read_text())["finished"] is False

    run_stages(recipe(tmp_path, {"text": {}, "audio": {}}), stages())
    assert (runs(tmp_path, "text"), runs(tmp_path, "audio")) == ("1", "2")


def test_a_trial_takes_the_first_conversations(tmp_path: Path) -> None:
    seen: list[int] = []

    def look(settings: Settings, work: Work) -> None:
        seen.append(len(np.unique(work.material.splits["train"].conversations)))

    run_stages(recipe(tmp_path, {"text": {}}, limit=1), stages(text=look))
    assert seen == [1]


def test_the_last_epoch_can_be_asked_for_where_dev_cannot_choose(tmp_path: Path) -> None:
    seen: list[str] = []

    def look(settings: Settings, work: Work) -> None:
        seen.append(work.epoch)

    run_stages(recipe(tmp_path, {"text": {}}), stages(text=look))
    with pytest.raises(RecipeError, match=r"epoch.*last"):
        run_stages(recipe(tmp_path, {"text": {}}, epoch="last"), stages(text=look))
    again = replace(recipe(tmp_path, {"text": {}}, epoch="last"), out=tmp_path / "again")
    run_stages(again, stages(text=look))
    assert seen == ["dev", "last"]


def test_a_part_of_the_train_split_leaves_dev_and_test_whole(tmp_path: Path) -> None:
    seen: list[dict[str, int]] = []

    def look(settings: Settings, work: Work) -> None:
        parts = work.material.splits.items()
        seen.append({name: len(np.unique(part.conversations)) for name, part in parts})

    recipe(tmp_path, {"text": {}})
    for split in ("train", "dev"):
        with (tmp_path / "data" / "meld_annotations" / f"{split}_sent_emo.csv").open("a") as file:
            file.write('1,"Again",A,joy,positive,1,0,1,1,"0:0:1,0","0:0:2,0"\n')
    for number, most in enumerate((0, 1)):
        run = recipe(tmp_path, {"text": {}}, train_limit=most)
        run_stages(replace(run, out=tmp_path / str(number)), stages(text=look))
    whole, part = seen
    assert whole == {"train": 2, "dev": 2, "test": 1} and part == {**whole, "train": 1}


class Neutral:
    """A describer that names an emotion for some utterances."""

    name = "neutral"

    def __init__(self, config: object) -> None:
        self.model = torch.nn.Linear(1, 1)

    def describe(self, sample: Sample, attempt: int) -> str:
        names = sample.key.endswith(("/0", "/2"))
        return "The person is calm." if names else "The person is nodding."


def test_dropped_descriptions_are_counted_by_label(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    material = read_material("meld", write_texts(tmp_path))
    keys = [key for split in material.splits.values() for key in split.keys]
    monkeypatch.setattr(descriptions, "Describer", Neutral)
    monkeypatch.setattr(descriptions, "_pictures", lambda _: map(Sample, keys))
    stage = descriptions.DescriptionsStage(describer=DescriberConfig("any"))
    (tmp_path / "first").mkdir()
    (tmp_path / "again").mkdir()
    descriptions.describe(stage, Work(tmp_path / "first", (), material, {}))
    file = tmp_path / "first" / descriptions.DESCRIPTIONS
    stage = descriptions.DescriptionsStage(file=str(file))
    descriptions.describe(stage, Work(tmp_path / "again", (), material, {}))
    for line in capsys.readouterr().out.splitlines():
        counts = json.loads(line)
        assert counts["described"] == 15 and counts["dropped"] == {LABELS[0]: 3, LABELS[2]: 3}


# --- clips of a real corpus: those that can be used are, the others are counted ---------------

FOLDERS = ("train_splits", "dev_splits_complete", "output_repeated_splits_test")


@pytest.fixture
def material(tmp_path: Path) -> Material:
    """Of each split's seven utterances: a good clip, a silent one, a single frame, a broken one."""
    pytest.importorskip("av", reason="needs the extra [train]")
    from clips import write_clip

    data = write_texts(tmp_path / "data")
    for name in FOLDERS:
        folder = data / "MELD.Raw" / name
        write_clip(folder / "dia0_utt0.mp4")
        write_clip(folder / "dia0_utt1.mp4", sound=False)
        write_clip(folder / "dia0_utt2.mp4", 1 / 24)
        (folder / "dia0_utt3.mp4").write_bytes(b"broken")
    return read_material("meld-clips", data)


def test_a_clip_without_sound_is_seen_and_a_video_of_one_frame_too(
    material: Material, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = VideoEncoderConfig(str(tiny_models.video(tmp_path / "video", "Timesformer")))
    encoder = VideoEncoder(config)
    rows = usable_rows(material, encoder, tmp_path / "unusable.json")
    assert {name: chosen.tolist() for name, chosen in rows.items()} == {
        name: [0, 1, 2] for name in ("train", "dev", "test")
    }
    assert "dev: 3 utterances excluded: no clip" in capsys.readouterr().out
    single = material.splits["train"].sample(2, "visual")
    assert single.frames is not None and len(single.frames) == 1
    assert np.isfinite(encoder.encode([single])).all()


def test_an_encoder_trained_with_the_former_prompt_keeps_it(tmp_path: Path) -> None:
    tiny_models.roberta(tmp_path / "encoder")
    content = {"modality": "text", "options": {"prompt": "magtkd"}}
    for recorded, prompt in (({}, "question"), ({"prompt_version": 2}, "magtkd")):
        write_json(tmp_path / "reading.json", {**content, **recorded})
        assert saved_encoder(tmp_path).config.prompt == prompt  # type: ignore[attr-defined]


def test_a_clip_is_decoded_once(
    material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[Path] = []
    read = corpora.frames
    monkeypatch.setattr(
        corpora, "frames", lambda file, most: decoded.append(file) or read(file, most)
    )
    config = VideoEncoderConfig(str(tiny_models.video(tmp_path / "video", "Timesformer")))
    encoder, kept = VideoEncoder(config), tmp_path / "decoded"
    rows = usable_rows(material, encoder, tmp_path / "unusable.json", kept)["train"]
    assert sorted(file.name for file in decoded) == sorted(
        3 * [f"dia0_utt{n}.mp4" for n in range(4)]
    )
    split = material.splits["train"]
    inputs = EncoderInputs(split, rows, encoder, kept)(np.arange(3), None)
    assert len(decoded) == 12
    expected = encoder.collate([split.sample(row, "visual") for row in rows.tolist()])
    torch.testing.assert_close(inputs, expected)


def test_of_a_clip_without_sound_nothing_is_heard(
    material: Material, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = SpeechEncoderConfig(str(tiny_models.speech(tmp_path / "speech", "Data2VecAudio")))
    file = tmp_path / "unusable.json"
    rows = usable_rows(material, SpeechEncoder(config), file)
    assert all(chosen.tolist() == [0, 2] for chosen in rows.values())
    assert "train: 1 utterances excluded: no sound" in capsys.readouterr().out
    assert read_json(file)["dev/0/1"] == "no sound"
