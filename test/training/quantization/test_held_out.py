"""The gate of the quantization and the fusion trial use unseen speakers."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import pytest

soundfile = pytest.importorskip("soundfile", reason="needs the extra [train]")

import yaml  # noqa: E402
from bundles import Kinds, write_tiny_bundle_3  # noqa: E402

from erc_ros.cli import main  # noqa: E402
from erc_ros.inference.bundle import Bundle, load_bundle  # noqa: E402
from erc_ros.resources import model_folder  # noqa: E402
from erc_ros.training.datasets.held_out import (  # noqa: E402
    acted_speech,
    new_speakers,
    recorded_speakers,
)
from erc_ros.training.fusion.bundle_trial import unseen_clips  # noqa: E402
from erc_ros.training.manifest import write_manifest  # noqa: E402
from erc_ros.training.quantization.task import Material, material_of  # noqa: E402
from erc_ros.values.utterance import SAMPLE_RATE  # noqa: E402

RAVDESS_CODES = {"neutral": "01", "anger": "05"}
EMODB_CODES = {"neutral": "N", "anger": "W"}
ACTORS = [f"{number:02d}" for number in range(1, 9)]
SPEAKERS = ["03", "08", "09", "10"]
HELD_OUT = {"dev": ["ravdess-04", "emodb-09"], "test": ["ravdess-07", "emodb-10"]}
"""Other speakers than `new_speakers` chooses."""
HEADER = (
    "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,"
    "StartTime,EndTime"
)


def write_data(folder: Path) -> None:
    """MELD's tables, RAVDESS, EmoDB and FER+ in their layouts: two labels, noise for speech."""
    for split in ("train", "dev", "test"):
        rows = [HEADER]
        for number in range(8):
            emotion, sentiment = (("neutral", "neutral"), ("anger", "negative"))[number % 2]
            rows.append(
                f"{number + 1},Line {number},A,{emotion},{sentiment},{number // 4},{number % 4},"
                "1,1,"
                f'"00:00:{number:02d},000","00:00:{number + 1:02d},000"'
            )
        file = folder / "meld_annotations" / f"{split}_sent_emo.csv"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(rows) + "\n", encoding="utf-8")
    names = [
        f"ravdess_speech_16k/Actor_{actor}/03-01-{code}-01-0{take}-01-{actor}.wav"
        for actor in ACTORS
        for code in RAVDESS_CODES.values()
        for take in (1, 2)
    ]
    names += [
        f"emodb/wav/{speaker}a0{take}{code}a.wav"
        for speaker in SPEAKERS
        for code in EMODB_CODES.values()
        for take in (1, 2)
    ]
    generator = np.random.default_rng(0)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        noise = generator.uniform(-0.5, 0.5, SAMPLE_RATE // 2)
        soundfile.write(folder / name, noise, SAMPLE_RATE, subtype="PCM_16")
    write_faces(folder / "fer2013plus")


def write_faces(folder: Path) -> None:
    (folder / "mosaic").mkdir(parents=True)
    images = np.random.default_rng(1).integers(0, 256, (60, 48, 48))
    votes = np.zeros((60, 10), np.uint8)
    votes[np.arange(60), np.where(np.arange(60) % 2, 4, 0)] = 10  # anger, neutral
    split = np.repeat([0, 1, 2], 20).astype(np.uint8)
    np.savez(folder / "labels.npz", votes10=votes, split=split)
    tiles = np.zeros((1000, 48, 48), np.uint8)
    tiles[:60] = images
    mosaic = tiles.reshape(25, 40, 48, 48).swapaxes(1, 2).reshape(1200, 1920)
    cv2.imwrite(str(folder / "mosaic" / "fer_00.webp"), mosaic, [cv2.IMWRITE_WEBP_QUALITY, 101])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_data(folder)
    return folder


THREE = Kinds()


def bundle_with(folder: Path, training: dict[str, object], kinds: Kinds = THREE) -> Bundle:
    """A tiny bundle whose manifest has these entries under `training`."""
    write_tiny_bundle_3(folder, kinds)
    manifest = yaml.safe_load((folder / "bundle.yaml").read_text(encoding="utf-8"))
    manifest["training"] |= training
    del manifest["files"]
    write_manifest(folder, manifest)
    return load_bundle(folder)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundle") / "tiny"
    return bundle_with(folder, {"held_out": {"audio": HELD_OUT}})


def speakers_in(sounds: Iterable[np.ndarray], data: Path) -> set[str]:
    """Whose clips these samples are."""
    owners = {
        np.rint(clip.samples * 32767).astype(np.int16).tobytes(): clip.speaker
        for clip in acted_speech(data).clips
    }
    return {owners[np.asarray(sound, np.int16).tobytes()] for sound in sounds}


def test_the_gate_uses_only_speakers_that_the_manifest_holds_out(
    bundle: Bundle, data: Path
) -> None:
    material = material_of(bundle, data)
    found = {}
    for split in ("calibration", "dev", "test"):
        each = material[split]
        assert isinstance(each, Material)
        found[split] = speakers_in(each.sounds, data)
    assert found["dev"] == set(HELD_OUT["dev"])
    assert found["test"] == set(HELD_OUT["test"])
    assert found["calibration"] and not found["calibration"] & (found["dev"] | found["test"])


def test_the_fusion_trial_uses_the_same_speakers(bundle: Bundle, data: Path) -> None:
    for split in ("dev", "test"):
        clips = unseen_clips(bundle, data, split)
        assert {clip.speaker for clip in clips} == set(HELD_OUT[split])


def test_an_audio_part_of_unknown_training_speakers_is_refused(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unknown = bundle_with(tmp_path / "tiny", {})
    with pytest.raises(ValueError, match="held_out"):
        unseen_clips(unknown, data, "dev")
    assert main(["quantize", str(unknown.folder), "--data", str(data)]) == 1
    assert "held_out" in capsys.readouterr().err


def test_text_alone_needs_no_held_out_speakers(data: Path, tmp_path: Path) -> None:
    kinds = Kinds(text="magtkd", audio="", visual="", tokens="roberta")
    material = material_of(bundle_with(tmp_path / "text", {}, kinds), data)
    assert set(material) == {"calibration", "dev", "test"}


def test_a_training_splits_by_speaker(data: Path) -> None:
    clips = acted_speech(data).clips
    speakers = new_speakers(clips)
    rows = {split: speakers.rows(clips, split) for split in ("train", "dev", "test")}
    assert sorted(np.concatenate(list(rows.values())).tolist()) == list(range(len(clips)))
    owners = {split: {clips[row].speaker for row in chosen} for split, chosen in rows.items()}
    assert owners["dev"] == speakers.dev and owners["test"] == speakers.test
    assert owners["train"] and not owners["train"] & (speakers.dev | speakers.test)
    with pytest.raises(ValueError, match="'tset'"):
        speakers.rows(clips, "tset")


@pytest.mark.parametrize(
    "record",
    [None, "all", {"dev": ["a"]}, {"dev": ["a"], "test": []}, {"dev": ["a"], "test": ["a", "b"]}],
)
def test_an_unusable_record_is_refused_with_its_file(record: object) -> None:
    with pytest.raises(ValueError, match=r"bundle\.yaml"):
        recorded_speakers(record, "bundle.yaml")


def test_the_shipped_bundle_names_disjoint_speakers() -> None:
    training = load_bundle(model_folder("edge-small")).training
    speakers = recorded_speakers(training["held_out"]["audio"], "edge-small")
    assert any(name.startswith("ravdess-") for name in speakers.test)
