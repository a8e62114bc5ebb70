"""The gate of the quantization and the fusion trial use unseen speakers."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("soundfile", reason="needs the extra [train]")

import yaml
from acted_corpora import HELD_OUT, write_data
from bundles import Kinds, write_tiny_bundle_3

from erc_ros.cli import main
from erc_ros.inference.bundle import Bundle, load_bundle
from erc_ros.resources import model_folder
from erc_ros.training.datasets.held_out import (
    acted_speech,
    new_speakers,
    recorded_speakers,
)
from erc_ros.training.fusion.bundle_trial import unseen_clips
from erc_ros.training.manifest import write_manifest
from erc_ros.training.quantization.task import Material, material_of


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
