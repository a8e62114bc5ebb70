"""Faces of a corpus' clips, cut once; and corpora of which some pictures or sounds are gone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

av = pytest.importorskip("av", reason="needs the extra [train]")

from clips import write_clip  # noqa: E402

from erc_ros.cli import main  # noqa: E402
from erc_ros.training.datasets import corpora, faces  # noqa: E402
from erc_ros.training.datasets.media import UnusableClipError, pictures_of  # noqa: E402
from erc_ros.training.datasets.scenes import NO_FACE, WHOLE, Scene  # noqa: E402
from erc_ros.training.datasets.utterances import INCOMPLETE, Split  # noqa: E402


@pytest.fixture(scope="module")
def meld(generated_meld: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The generated corpus with a few faults; its faces are cut."""
    data = tmp_path_factory.mktemp("meld")
    shutil.copytree(generated_meld / "MELD.Raw", data / "MELD.Raw")
    test = data / "MELD.Raw" / "output_repeated_splits_test"
    write_clip(test / "dia0_utt0.mp4")  # no face in it
    (test / "dia0_utt1.mp4").write_bytes(b"broken")
    (test / "dia0_utt2.mp4").unlink()
    assert main(["cut-faces", "meld", "--data", str(data), "--crops", "4", "--size", "64"]) == 0
    return data


@pytest.fixture(scope="module")
def iemocap(generated_iemocap: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The generated corpus; one dialogue has a video without faces, one none at all."""
    data = tmp_path_factory.mktemp("iemocap")
    shutil.copytree(generated_iemocap / "IEMOCAP_full_release", data / "IEMOCAP_full_release")
    root = data / "IEMOCAP_full_release"
    write_clip(root / "Session5/dialog/avi/DivX/Ses05F_impro01.avi", 60, sound=False)
    (root / "Session4/dialog/avi/DivX/Ses04F_impro01.avi").unlink()
    assert main(["cut-faces", "iemocap", "--data", str(data), "--crops", "3", "--size", "48"]) == 0
    return data


def faults(split: Split) -> dict[str, int]:
    return {kind: n for kind, n in split.findings.counts().items() if kind != INCOMPLETE}


def redness(pictures: np.ndarray) -> float:
    red, _, blue = pictures.mean(axis=(0, 1, 2))
    return float(red / blue)


def test_utterances_of_meld_have_the_crops_of_their_faces(meld: Path) -> None:
    split = corpora.read("meld-faces", meld, "dev")
    assert not faults(split)
    seen = {}
    for utterance in split.conversations[0].utterances:
        assert utterance.clip is not None and utterance.pictures is not None
        crops = corpora.frames(utterance.pictures, 32)
        assert crops.shape == (4, 64, 64, 3) and crops.dtype == np.uint8
        seen[split.labels[utterance.label]] = redness(crops)
    assert seen["anger"] > 2 * seen["sadness"]


def test_what_has_no_face_has_no_pictures_and_is_counted(meld: Path) -> None:
    split = corpora.read("meld-faces", meld, "test")
    first, second, third, fourth = split.conversations[0].utterances[:4]
    assert first.pictures is None and first.clip is not None
    assert second.pictures is None and third.pictures is None and third.clip is None
    assert fourth.pictures is not None
    assert faults(split) == {f"faces: {NO_FACE}": 1, "faces: unreadable": 1, "unusable clip": 1}


def test_iemocap_shows_the_half_of_who_speaks(iemocap: Path) -> None:
    split = corpora.read("iemocap-6-faces", iemocap, "train")
    seen: dict[str, list[float]] = {}
    for conversation in split.conversations:
        for utterance in conversation.utterances:
            if utterance.pictures is not None:
                crops = corpora.frames(utterance.pictures, 8)
                assert crops.shape == (3, 48, 48, 3)
                seen.setdefault(split.labels[utterance.label], []).append(redness(crops))
    # Whoever listens looks neutral: of the wrong half nothing would be to be told.
    assert min(seen["angry"]) > 1.5 * max(seen["neutral"]) > 2 * max(seen["sad"])


def test_without_a_face_the_whole_half_is_taken_and_counted(iemocap: Path) -> None:
    split = corpora.read("iemocap-6-faces", iemocap, "test")
    (conversation,) = split.conversations
    assert faults(split) == {f"faces: {WHOLE}": 8}
    pictures = conversation.utterances[0].pictures
    assert pictures is not None and corpora.frames(pictures, 2).shape == (2, 48, 48, 3)


def test_a_dialogue_without_a_video_keeps_its_sound_and_words(iemocap: Path) -> None:
    splits = [corpora.read("iemocap-4-faces", iemocap, name) for name in ("train", "dev")]
    lost = [c for split in splits for c in split.conversations if "Ses04" in c.name]
    assert len(lost) == 1
    for utterance in lost[0].utterances:
        assert utterance.pictures is None and utterance.clip is not None and utterance.text
    counts = [faults(split).get("faces: missing", 0) for split in splits]
    assert sum(counts) == len(lost[0].utterances)


def test_cutting_again_cuts_only_what_is_missing(meld: Path, capsys: pytest.CaptureFixture) -> None:
    folder = meld / "faces" / "meld" / "dev"
    before = {file.name: file.stat().st_mtime_ns for file in folder.glob("*.jpg")}
    index = json.loads((folder / "index.json").read_text())
    lost = index["utterances"].popitem()[0]
    (folder / "index.json").write_text(json.dumps(index))
    again = ["cut-faces", "meld", "--data", str(meld), "--crops", "4", "--size", "64"]
    assert main(again) == 0
    after = {file.name: file.stat().st_mtime_ns for file in folder.glob("*.jpg")}
    assert {name for name in before if before[name] != after[name]} == {f"{lost}.jpg"}
    assert main([*again[:-1], "32"]) == 2
    assert "has other crops than" in capsys.readouterr().err


def test_faces_that_were_not_cut_are_asked_for(generated_meld: Path) -> None:
    with pytest.raises(FileNotFoundError, match="erc cut-faces meld --data"):
        corpora.read("meld-faces", generated_meld, "dev")


def test_half_a_corpus_is_refused_naming_what_is_missing(
    generated_meld: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(generated_meld / "MELD.Raw" / "train", tmp_path / "MELD.Raw" / "train")
    assert corpora.read("meld-clips", tmp_path, "train").conversations
    with pytest.raises(FileNotFoundError, match=r"test_sent_emo\.csv"):
        corpora.read("meld-clips", tmp_path, "test")
    assert main(["cut-faces", "meld", "--data", str(tmp_path)]) == 2
    assert "no dev_sent_emo.csv" in capsys.readouterr().err


def test_a_damaged_index_and_damaged_crops_are_refused(meld: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(meld, data)
    split = corpora.read("meld-faces", data, "dev")
    pictures = split.conversations[0].utterances[0].pictures
    assert pictures is not None
    pictures.write_bytes(pictures.read_bytes()[:50])
    with pytest.raises(corpora.UnusableMediaError, match="unreadable"):
        corpora.frames(pictures, 4)
    (data / "faces/meld/dev/index.json").write_text("{}")
    with pytest.raises(ValueError, match=r"index\.json"):
        corpora.read("meld-faces", data, "dev")


def test_a_video_of_one_frame_has_one_picture(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", 1 / 24, sound=False)
    assert pictures_of(clip, 8).shape == (1, 24, 32, 3)


def test_a_part_of_a_long_video_is_read_and_nothing_after_it(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.avi", 125, sound=False)  # becomes brighter
    part = pictures_of(clip, 4, 60_000_000_000, 62_000_000_000)
    assert part.shape == (4, 24, 32, 3)
    assert np.abs(part.mean(axis=(1, 2, 3)) - 250 * 61 / 125).max() < 6
    with pytest.raises(UnusableClipError, match="pictures"):
        pictures_of(clip, 4, 126_000_000_000, 127_000_000_000)
    with pytest.raises(UnusableClipError, match="125 s long"):
        pictures_of(clip, 4)


def test_the_face_is_the_one_that_is_largest_over_the_utterance(meld: Path) -> None:
    clip = meld / "MELD.Raw" / "dev_splits_complete" / "dia0_utt0.mp4"
    crops = faces.cut(Scene(clip), 6, 40)
    assert crops.is_face and crops.crops.shape[1:] == (40, 40, 3) and 4 <= len(crops.crops) <= 6
