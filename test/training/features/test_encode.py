"""Encoding a corpus: every utterance once, whatever happens in between."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("soundfile", reason="needs the extra [train]")
pytest.importorskip("torch", reason="needs the extra [train]")

import soundfile
from bundles import write_tiny_bundle

from erc_ros.training.datasets import corpora
from erc_ros.training.datasets.utterances import Conversation, LabelledUtterance
from erc_ros.training.encoders.sample import Sample
from erc_ros.training.features import encode as module
from erc_ros.training.features.encode import EncodingJob, encode, main, plan, throughput
from erc_ros.training.features.store import FeatureStore, StoreError

LENGTHS = (3, 1, 5, 2, 4, 6, 1, 2)  # utterances of each dialogue
COUNT = sum(LENGTHS)


def write_meld(data: Path, texts: dict[str, str] | None = None) -> Path:
    """Dialogues whose words are their places; `texts` says otherwise for some keys."""
    lines = [
        "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,"
        "StartTime,EndTime"
    ]
    for dialogue, length in enumerate(LENGTHS):
        for index in range(length):
            text = (texts or {}).get(f"dev/{dialogue}/{index}", f"words {dialogue} {index}")
            times = '"00:00:01,000","00:00:02,000"'
            lines.append(f'1,"{text}",P{index % 2},joy,positive,{dialogue},{index},1,1,{times}')
    (data / "meld_annotations").mkdir(parents=True, exist_ok=True)
    (data / "meld_annotations" / "dev_sent_emo.csv").write_text("\n".join(lines) + "\n")
    return data


class Counting:
    """Features from the words. Stops the run at the word "stop", and cannot do the word "nan"."""

    modality = "text"
    dimension = 4

    def __init__(self, model: str, options: dict[str, Any]) -> None:
        self.name = f"counting-{model}"
        self.seen: list[str] = []

    def refuses(self, sample: Sample) -> str:
        return "" if sample.turns[-1].text else "empty text"

    def encode(self, samples: Sequence[Sample]) -> np.ndarray:
        if any("stop" in sample.turns[-1].text for sample in samples):
            raise KeyboardInterrupt
        self.seen += [sample.key for sample in samples]
        return np.stack([self.features(sample.turns[-1].text) for sample in samples])

    @staticmethod
    def features(text: str) -> np.ndarray:
        digest = hashlib.sha256(text.encode()).digest()
        return np.frombuffer(digest[:4], np.uint8).astype(np.float32) * (
            np.nan if "nan" in text else 1
        )


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Counting]:
    """The encoders that were loaded, each with what it has encoded."""
    loaded: list[Counting] = []

    def load(model: str, options: dict[str, Any]) -> Counting:
        loaded.append(Counting(model, options))
        return loaded[-1]

    monkeypatch.setitem(module.ENCODERS, "counting", load)
    return loaded


def job(tmp_path: Path, shard: int = 4, model: str = "a") -> EncodingJob:
    out = tmp_path / "features"
    return EncodingJob("meld", "dev", tmp_path / "data", out, "counting", model, (), shard)


def test_every_utterance_is_encoded_once_and_found_by_its_key(
    tmp_path: Path, made: list[Counting]
) -> None:
    write_meld(tmp_path / "data")
    done = encode(job(tmp_path))
    assert sum(shard.utterances for shard in done) == COUNT == len(set(made[0].seen))
    assert throughput(done) > 0
    store = FeatureStore(tmp_path / "features", "counting-a")
    assert len(store) == COUNT
    np.testing.assert_array_equal(store["dev/5/3"], Counting.features("words 5 3"))


def test_a_second_run_makes_nothing_again(tmp_path: Path, made: list[Counting]) -> None:
    write_meld(tmp_path / "data")
    encode(job(tmp_path))
    assert encode(job(tmp_path)) == [] and made[1].seen == []
    assert np.isnan(throughput([]))


def test_a_stopped_run_goes_on_where_it_was(tmp_path: Path, made: list[Counting]) -> None:
    write_meld(tmp_path / "data", {"dev/4/1": "stop"})
    with pytest.raises(KeyboardInterrupt):
        encode(job(tmp_path))
    with pytest.raises(StoreError, match="missing"):
        FeatureStore(tmp_path / "features")
    write_meld(tmp_path / "data")
    encode(job(tmp_path))
    assert sorted(made[0].seen + made[1].seen) == sorted(FeatureStore(tmp_path / "features").keys())
    assert made[0].seen and made[1].seen
    assert not set(made[0].seen) & set(made[1].seen)


def test_a_killed_run_loses_only_its_last_shard(tmp_path: Path, made: list[Counting]) -> None:
    write_meld(tmp_path / "data")
    script = (
        "import os, signal, sys\n"
        "sys.path[:0] = sys.argv[3:]\n"
        "from pathlib import Path\n"
        "from erc_ros.training.features import encode as module\n"
        "import test_encode\n"
        "class Killed(test_encode.Counting):\n"
        "    def encode(self, samples):\n"
        "        if len(self.seen) >= 12:\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n"
        "        return super().encode(samples)\n"
        "module.ENCODERS['counting'] = Killed\n"
        "module.encode(test_encode.job(Path(sys.argv[1]), int(sys.argv[2])))\n"
    )
    here = Path(__file__)
    paths = [str(here.parents[3]), str(here.parents[2]), str(here.parent)]
    run = subprocess.run([sys.executable, "-c", script, str(tmp_path), "4", *paths], check=False)
    assert run.returncode == -signal.SIGKILL
    finished = len(list((tmp_path / "features").glob("[0-9]*.json")))
    assert finished >= 2
    done = encode(job(tmp_path))
    assert (
        len(done)
        == len(plan(corpora.read("meld", tmp_path / "data", "dev").conversations, 4)) - finished
    )
    assert len(FeatureStore(tmp_path / "features")) == COUNT


def test_only_what_changed_is_made_again(tmp_path: Path, made: list[Counting]) -> None:
    write_meld(tmp_path / "data")
    encode(job(tmp_path, shard=1))
    write_meld(tmp_path / "data", {"dev/2/4": "other words"})
    encode(job(tmp_path, shard=1))
    assert made[1].seen == [f"dev/2/{index}" for index in range(5)]
    store = FeatureStore(tmp_path / "features")
    np.testing.assert_array_equal(store["dev/2/4"], Counting.features("other words"))


@pytest.mark.parametrize("damaged", ["00001.npy", "00001.json"])
def test_a_damaged_shard_is_made_again(tmp_path: Path, made: list[Counting], damaged: str) -> None:
    write_meld(tmp_path / "data")
    encode(job(tmp_path))
    file = tmp_path / "features" / damaged
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    assert [shard.shard for shard in encode(job(tmp_path))] == [1]
    FeatureStore(tmp_path / "features").verify()


def test_other_shards_replace_the_old_ones(tmp_path: Path, made: list[Counting]) -> None:
    write_meld(tmp_path / "data")
    encode(job(tmp_path, shard=1))
    encode(job(tmp_path, shard=100))
    store = FeatureStore(tmp_path / "features")
    assert len(store) == COUNT and len(list(store.shards())) == 1


def test_another_encoder_does_not_mix_into_a_store(tmp_path: Path, made: list[Counting]) -> None:
    write_meld(tmp_path / "data")
    encode(job(tmp_path))
    with pytest.raises(StoreError, match=r"'counting-a'.*'counting-b'"):
        encode(job(tmp_path, model="b"))


def test_what_cannot_be_encoded_is_left_out_and_counted(
    tmp_path: Path, made: list[Counting]
) -> None:
    write_meld(tmp_path / "data", {"dev/0/1": " ", "dev/3/0": "nan"})
    said: list[str] = []
    encode(job(tmp_path), say=said.append)
    store = FeatureStore(tmp_path / "features")
    assert store.left_out == {
        "dev/0/1": "empty text",
        "dev/3/0": "the features are not finite",
    }
    assert len(store) == COUNT - 2
    assert any(line.startswith("meld dev: empty text: 1 masked") for line in said)


@given(st.lists(st.integers(1, 400), max_size=30), st.integers(1, 600))
def test_shards_are_whole_conversations(lengths: list[int], size: int) -> None:
    utterance = LabelledUtterance("", 1, 0, 0)
    conversations = [Conversation(str(n), (utterance,) * u) for n, u in enumerate(lengths)]
    shards = plan(conversations, size)
    assert [c for shard in shards for c in shard] == conversations
    for shard in shards[:-1]:
        utterances = [len(c.utterances) for c in shard]
        assert sum(utterances[:-1]) < size <= sum(utterances)


@pytest.fixture
def tiny(tmp_path: Path) -> EncodingJob:
    write_tiny_bundle(tmp_path / "bundle")
    write_meld(tmp_path / "data")
    bundle = str(tmp_path / "bundle")
    return EncodingJob(
        "meld", "dev", tmp_path / "data", tmp_path / "real", "bundle-text", bundle, (), 1
    )


def test_the_robots_text_encoder_sees_the_history_and_not_the_shards(
    tmp_path: Path, tiny: EncodingJob
) -> None:
    encode(tiny)
    whole = EncodingJob(
        "meld", "dev", tiny.data, tmp_path / "whole", "bundle-text", tiny.model, (), 100
    )
    encode(whole)
    store, other = FeatureStore(tiny.out), FeatureStore(whole.out)
    keys = [f"dev/{d}/{u}" for d, length in enumerate(LENGTHS) for u in range(length)]
    assert store.encoder == other.encoder
    np.testing.assert_array_equal(store.take(keys)[0], other.take(keys)[0])
    write_meld(tiny.data, {"dev/5/0": "something else"})
    encode(tiny)
    changed = FeatureStore(tiny.out)
    assert not np.array_equal(changed["dev/5/4"], other["dev/5/4"])
    np.testing.assert_array_equal(changed["dev/4/3"], other["dev/4/3"])


def test_a_conversation_of_400_utterances_and_one_of_one_are_encoded(tiny: EncodingJob) -> None:
    encoder = tiny.load_encoder()
    turns = tuple(module.Turn(1 + n % 2, f"words {n}") for n in range(400))
    samples = [Sample(str(n), turns[: n + 1]) for n in (0, 1, 250, 399)]
    assert np.isfinite(encoder.encode(samples)).all()
    alone = encoder.encode([Sample("again", turns[:1])])[0]
    np.testing.assert_array_equal(alone, encoder.encode(samples[:1])[0])
    assert encoder.refuses(Sample("x", (module.Turn(1, " "),))) == "empty text"


def test_audio_is_encoded_and_broken_clips_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Lengths(Counting):
        modality = "audio"
        dimension = 1

        def refuses(self, sample: Sample) -> str:
            return ""

        def encode(self, samples: Sequence[Sample]) -> np.ndarray:
            return np.array([[len(sample.sound)] for sample in samples], np.float32)

    monkeypatch.setitem(module.ENCODERS, "lengths", Lengths)
    folder = tmp_path / "ravdess_speech_16k" / "Actor_01"
    folder.mkdir(parents=True)
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 16_000)
    for name, audio in (("01-01-01-01-01", noise), ("02-01-01-01-01", noise[:3000])):
        soundfile.write(folder / f"03-01-{name}.wav", audio, 16_000)
    (folder / "03-01-03-01-01-01-01.wav").write_bytes(b"no sound")
    encode(EncodingJob("ravdess", "all", tmp_path, tmp_path / "out", "lengths"))
    store = FeatureStore(tmp_path / "out")
    assert len(store) == 1
    assert sorted(store.left_out.values()) == ["too short", "unreadable"]
    assert store["ravdess/ravdess-01/03-01-01-01-01-01-01/0"] == [16_000]


def test_images_are_read_from_the_official_clips(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("av", reason="needs the extra [train]")
    from clips import write_clip

    class Seeing(Counting):
        modality = "visual"

        def refuses(self, sample: Sample) -> str:
            return ""

        def encode(self, samples: Sequence[Sample]) -> np.ndarray:
            shapes = [sample.frames.shape for sample in samples if sample.frames is not None]
            return np.array(shapes, np.float32)

    monkeypatch.setitem(module.ENCODERS, "seeing", Seeing)
    data = write_meld(tmp_path / "data")
    clips = data / "MELD.Raw" / "dev_splits_complete"
    write_clip(clips / "dia0_utt0.mp4")
    write_clip(clips / "dia2_utt4.mp4")
    (clips / "dia3_utt0.mp4").write_bytes(b"broken")
    encode(EncodingJob("meld-clips", "dev", data, tmp_path / "out", "seeing"))
    store = FeatureStore(tmp_path / "out")
    assert len(store) == 2 and len(store.left_out) == COUNT - 2
    assert store["dev/2/4"].tolist() == [12, 24, 32, 3]
    assert store.left_out["dev/3/0"] == "unreadable"
    assert list(store.left_out.values()).count("no clip") == COUNT - 3


def test_the_command_says_what_it_did(
    tiny: EncodingJob, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["meld", "dev", "--data", str(tiny.data), "--out", str(tiny.out)]
    words += ["--model", tiny.model]
    assert main(words) == 0
    told = capsys.readouterr().out
    assert f"{COUNT} utterances by bundle-text-" in told and "utterances/s" in told
    assert "incomplete corpus: 1 noted (dev_sent_emo.csv: 24 of 1109 published)" in told


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data", "/nowhere"], r"no dev_sent_emo.csv in /nowhere"),
        (["--model", "/nowhere"], r"there is no model folder /nowhere"),
        (["--option", "depth=3"], "encoder bundle-text: .*depth"),
        (["--option", "depth"], "NAME=VALUE"),
        (["--shard", "0"], "at least 1 utterance"),
        (["--workers", "0"], "workers is 0"),
    ],
)
def test_what_cannot_work_is_explained(
    tiny: EncodingJob, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    import re

    usual = ["meld", "dev", "--data", str(tiny.data), "--out", str(tiny.out)]
    assert main([*usual, "--model", tiny.model, *words]) == 2
    assert re.search(message, capsys.readouterr().err)


def test_an_unknown_encoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'elmo'"):
        EncodingJob("meld", "dev", tmp_path, tmp_path, "elmo")


FRAGILE = """
import os, signal
from pathlib import Path
import numpy as np

class Fragile:
    modality, name, dimension = "text", "fragile", 1

    def __init__(self, model):
        self.kills = Path(model)

    def refuses(self, sample):
        return ""

    def encode(self, samples):
        if self.kills.exists() and samples[0].key == "dev/4/0":
            os.kill(os.getpid(), signal.SIGKILL)
        return np.array([[len(sample.turns)] for sample in samples], np.float32)
"""


@pytest.fixture
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Worker processes import the package that this process tests."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))


@pytest.mark.usefixtures("importable")
def test_worker_processes_make_the_same_features(tmp_path: Path, tiny: EncodingJob) -> None:
    alone = replace(tiny, out=tmp_path / "alone")
    encode(alone)
    made = encode(tiny, workers=2)
    assert sorted(done.shard for done in made) == list(range(len(LENGTHS)))
    keys = [f"dev/{d}/{u}" for d, length in enumerate(LENGTHS) for u in range(length)]
    ours, theirs = FeatureStore(alone.out), FeatureStore(tiny.out)
    theirs.verify()
    np.testing.assert_array_equal(ours.take(keys)[0], theirs.take(keys)[0])
    assert encode(tiny, workers=2) == []  # without starting a process


@pytest.mark.usefixtures("importable")
def test_a_killed_worker_is_reported_and_finished_shards_are_kept(tmp_path: Path) -> None:
    (tmp_path / "fragile.py").write_text(FRAGILE)
    kills = tmp_path / "kills"
    kills.touch()
    data, encoder = write_meld(tmp_path / "data"), f"{tmp_path}/fragile.py:Fragile"
    own = EncodingJob("meld", "dev", data, tmp_path / "out", encoder, str(kills), (), 1)
    with pytest.raises(RuntimeError):
        encode(own, workers=2)
    finished = {int(file.stem) for file in own.out.glob("[0-9]*.json")}
    assert 4 not in finished
    kills.unlink()
    made = {done.shard for done in encode(own, workers=2)}
    assert made == set(range(len(LENGTHS))) - finished
    assert len(FeatureStore(own.out)) == COUNT
