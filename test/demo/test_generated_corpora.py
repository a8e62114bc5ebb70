"""Generated corpora: content of the files, and the same files for the same seed."""

from __future__ import annotations

import csv
import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

av = pytest.importorskip("av", reason="needs the extra [train]")
pytest.importorskip("espeakng_loader", reason="the extra [demo] is not installed")

from erc_ros.cli import main  # noqa: E402
from erc_ros.demo.generated_corpora import (  # noqa: E402
    LABELS,
    MANNERS,
    MELD_COLUMNS,
    write_corpus,
)
from erc_ros.replay.bag import Bag  # noqa: E402


def words_and_sounds(folder: Path) -> dict[str, str]:
    """Return the content of all files except images, whose encoder may differ between computers."""
    files = (file for file in folder.rglob("*") if file.suffix in (".csv", ".txt", ".wav"))
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
    }


def decoded(file: Path) -> tuple[list[np.ndarray], np.ndarray]:
    """Decode the images and audio of a clip."""
    with av.open(str(file)) as container:
        pictures = [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]
    with av.open(str(file)) as container:
        sound = [frame.to_ndarray().astype(np.float64) for frame in container.decode(audio=0)]
    return pictures, np.concatenate(sound, axis=1)[0]


def test_meld_has_a_clip_for_each_row_with_its_image_and_audio(generated_meld: Path) -> None:
    root = generated_meld / "MELD.Raw"
    clips = {
        "train/train_sent_emo.csv": "train/train_splits",
        "dev_sent_emo.csv": "dev_splits_complete",
        "test_sent_emo.csv": "output_repeated_splits_test",
    }
    for table, folder in clips.items():
        with (root / table).open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert tuple(rows[0]) == MELD_COLUMNS
        assert {row["Emotion"] for row in rows} == set(LABELS["meld"])
        assert len(rows) == len(list((root / folder).iterdir()))
        row = rows[-1]
        clip = root / folder / f"dia{row['Dialogue_ID']}_utt{row['Utterance_ID']}.mp4"
        pictures, sound = decoded(clip)
        assert len(pictures) >= 6 and pictures[0].shape == (144, 192, 3)
        assert np.abs(sound).max() > 0.05


def test_emotions_are_expressed_in_voice_and_face(generated_meld: Path) -> None:
    root = generated_meld / "MELD.Raw"
    tint, loud = {}, {}
    with (root / "test_sent_emo.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            name = f"dia{row['Dialogue_ID']}_utt{row['Utterance_ID']}.mp4"
            pictures, sound = decoded(root / "output_repeated_splits_test" / name)
            blue, _, red = pictures[0].mean(axis=(0, 1))
            tint[row["Emotion"]], loud[row["Emotion"]] = red / blue, np.abs(sound).max()
    assert tint["anger"] > 1.5 * tint["neutral"] > 3 * tint["sadness"]
    assert loud["anger"] > 2 * loud["fear"]


def test_iemocap_has_dialogues_sentences_and_both_halves(generated_iemocap: Path) -> None:
    root = generated_iemocap / "IEMOCAP_full_release"
    labels = sorted(root.glob("Session*/dialog/EmoEvaluation/*.txt"))
    assert [file.stem for file in labels] == [
        "Ses01F_impro01", "Ses01M_impro01", "Ses02F_impro01", "Ses02M_impro01", "Ses03F_impro01",
        "Ses03M_impro01", "Ses04F_impro01", "Ses05F_impro01",
    ]  # fmt: skip
    for file in labels:
        session, name = file.parents[2], file.stem
        assert (session / "dialog" / "transcriptions" / file.name).is_file()
        assert (session / "dialog" / "wav" / f"{name}.wav").is_file()
        assert len(list((session / "sentences" / "wav" / name).iterdir())) == 8
    session, name = labels[0].parents[2], labels[0].stem
    turns = [line for line in labels[0].read_text().splitlines() if line.startswith("[")]
    assert {line.split()[4] for line in turns} == {"hap", "sad", "neu", "ang", "exc", "fru"}
    pictures, _ = decoded(session / "dialog" / "avi" / "DivX" / f"{name}.avi")
    assert pictures[0].shape == (144, 384, 3)
    angry = next(line.split() for line in turns if "\tang\t" in line)
    picture = pictures[round(12 * (float(angry[0][1:]) + 0.5))]
    halves = picture[:, :192], picture[:, 192:]
    speaks, listens = halves if "_F0" in angry[3] else halves[::-1]  # SesNNF: F is on the left
    redness = [half[..., 2].mean() / half[..., 0].mean() for half in (speaks, listens)]
    assert redness[0] > 1.5 * redness[1]


def test_the_same_command_makes_the_same_and_another_seed_another(tmp_path: Path) -> None:
    made = []
    for number, seed in enumerate((3, 3, 4)):
        folder = str(tmp_path / str(number))
        command = ["make-corpus", "iemocap", folder, "--dialogues", "8", "--seed", str(seed)]
        subprocess.run([sys.executable, "-m", "erc_ros.cli", *command], check=True)
        made.append(words_and_sounds(Path(folder)))
    first, again, other = made
    assert first and first == again and first != other


def test_a_recording_in_the_same_style_has_an_annotation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = tmp_path / "bag"
    arguments = ["make-corpus", "iemocap", str(tmp_path), "--dialogues", "8", "--bag", str(bag)]
    assert main(arguments) == 0
    assert str(bag) in capsys.readouterr().out
    with (tmp_path / "bag.truth.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 16 and {row["emotion"] for row in rows} == set(LABELS["iemocap"])
    with Bag(bag) as opened:
        wanted = {"/audio", "/speech", "/image/compressed"}
        assert {record.topic for record in opened.messages(wanted)} == wanted
    assert main(arguments) == 1
    assert "exists already" in capsys.readouterr().err


def test_every_label_has_a_manner_of_its_own() -> None:
    used = {manner for labels in LABELS.values() for manner in labels.values()}
    assert used == set(MANNERS)
    assert len({manner.delivery for manner in MANNERS.values()}) == len(MANNERS)
    assert len({manner.tint for manner in MANNERS.values()}) == len(MANNERS)


@pytest.mark.parametrize(
    ("layout", "dialogues", "reason"),
    [("friends", 12, "known are meld, iemocap"), ("meld", 7, "at least 8")],
)
def test_what_cannot_be_made_is_refused(
    tmp_path: Path, layout: str, dialogues: int, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        write_corpus(layout, tmp_path, dialogues)
    assert not list(tmp_path.iterdir())
