"""RAVDESS, EmoDB, nEMO and ASED in their official layouts, with the files that go wrong."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

soundfile = pytest.importorskip("soundfile", reason="needs the extra [train]")

from erc_ros.training.datasets import ased, corpora, emodb, nemo, ravdess  # noqa: E402
from erc_ros.training.datasets.speech import (  # noqa: E402
    SpeechCorpus,
    UnusableSoundError,
    read_corpus,
    read_sound,
    together,
    trim,
)
from erc_ros.training.datasets.utterances import LABELS  # noqa: E402
from erc_ros.values.utterance import SAMPLE_RATE  # noqa: E402


def speech(seconds: float = 1.0, rate: int = SAMPLE_RATE, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, round(seconds * rate))


def write(folder: Path, name: str, sound: np.ndarray, rate: int = SAMPLE_RATE) -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(file, sound, rate, subtype="PCM_16" if file.suffix == ".flac" else "FLOAT")
    return file


def load(corpus: ModuleType, folder: Path) -> SpeechCorpus:
    longest = getattr(corpus, "SECONDS", None)
    return read_corpus(folder, corpus.NAME, corpus.parse, longest)


@pytest.fixture
def actors(tmp_path: Path) -> Path:
    for number, name in enumerate(["01-01-01-01-01", "02-02-01-02-01", "05-01-02-01-24"]):
        actor = name[-2:]
        write(tmp_path, f"Actor_{actor}/03-01-{name}.wav", speech(seed=number))
    return tmp_path


def test_ravdess_names_give_actor_sex_and_emotion(actors: Path) -> None:
    corpus = load(ravdess, actors)
    assert [(clip.speaker, clip.sex, LABELS[clip.label]) for clip in corpus.clips] == [
        ("ravdess-01", "male", "neutral"),
        ("ravdess-01", "male", "neutral"),  # calm
        ("ravdess-24", "female", "anger"),
    ]
    assert not corpus.skipped


def test_emodb_names_give_speaker_sex_and_emotion(tmp_path: Path) -> None:
    for number, name in enumerate(["03a01Wa", "08b10Fd", "16a02Tb", "09b01Ea", "10a07Ad"]):
        write(tmp_path, f"wav/{name}.wav", speech(seed=number))
    corpus = load(emodb, tmp_path)
    rows = [(clip.speaker, clip.sex, LABELS[clip.label]) for clip in corpus.clips]
    assert rows == [
        ("emodb-03", "male", "anger"),
        ("emodb-08", "female", "joy"),
        ("emodb-09", "female", "disgust"),
        ("emodb-10", "male", "fear"),
        ("emodb-16", "female", "sadness"),
    ]


def test_nemo_names_give_speaker_sex_and_emotion(tmp_path: Path) -> None:
    names = ["EB0_surprised_64", "KS0_happiness_1", "XX0_anger_1", "EB0_boredom_2"]
    for number, name in enumerate(names):
        write(tmp_path, f"samples/{name}.wav", speech(rate=24_000, seed=number), 24_000)
    corpus = load(nemo, tmp_path)
    assert [(clip.speaker, clip.sex, LABELS[clip.label]) for clip in corpus.clips] == [
        ("nemo-EB0", "female", "surprise"),
        ("nemo-KS0", "male", "joy"),
    ]
    assert corpus.skipped == {"nemo: wrong name": 2}


def test_ased_names_give_speaker_sex_and_emotion(tmp_path: Path) -> None:
    names = ["05Angry/a5-07-02-01-05", "04Sad/S4-04-02-01-29", "03Happy/h3-01-01-02-05", "a6"]
    for number, name in enumerate(names):
        write(tmp_path, f"{name}.wav", speech(seed=number))
    corpus = load(ased, tmp_path)
    assert [(clip.speaker, clip.sex, LABELS[clip.label]) for clip in corpus.clips] == [
        ("ased-01-29", "female", "sadness"),
        ("ased-01-05", "female", "anger"),
        ("ased-02-05", "male", "joy"),
    ]
    assert corpus.skipped == {"ased: wrong name": 1}


def test_boredom_is_left_out_and_counted(tmp_path: Path) -> None:
    write(tmp_path, "03a01Wa.wav", speech())
    write(tmp_path, "03a01Lb.wav", speech(seed=1))
    corpus = load(emodb, tmp_path)
    assert len(corpus.clips) == 1
    assert corpus.skipped == {"emodb: emotion boredom excluded": 1}


def test_the_length_of_emodb_clips_does_not_tell_the_emotion(tmp_path: Path) -> None:
    padded = np.concatenate([speech(1.5, seed=1), np.zeros(SAMPLE_RATE // 2)])
    write(tmp_path, "cut2s/03a01Ab.flac", padded)
    write(tmp_path, "full/03a01Wa.flac", speech(5.0))
    fear, anger = load(emodb, tmp_path).clips
    assert len(anger.samples) == 2 * SAMPLE_RATE
    # The filling is cut off but for the margin that real silence keeps too.
    assert len(fear.samples) == pytest.approx(1.6 * SAMPLE_RATE, abs=SAMPLE_RATE // 50)


def test_files_that_cannot_be_used_are_counted_and_never_fatal(actors: Path) -> None:
    folder = actors / "Actor_02"
    good = "03-01-03-01-01-01-02"
    short = write(folder, f"{good[:-5]}02-02.flac", speech(2.0, seed=9))
    short.write_bytes(short.read_bytes()[: short.stat().st_size // 2])
    write(folder, "03-02-03-01-01-01-02.wav", speech())  # a song
    write(folder, "holiday.wav", speech())
    write(folder, "03-01-04-01-01-01-02.wav", np.full(SAMPLE_RATE, np.nan))
    write(folder, "03-01-04-01-01-02-02.wav", np.zeros(0))
    write(folder, "03-01-04-01-02-01-02.wav", np.zeros(SAMPLE_RATE))
    write(folder, "03-01-04-02-01-01-02.wav", speech(0.1))
    (folder / "03-01-04-02-01-02-02.wav").write_bytes(b"")
    (folder / "03-01-04-02-02-02-02.wav").write_bytes(b"this is no sound")
    (folder / "notes.txt").write_text("not a clip, not counted")
    write(folder, "03-01-03-01-02-01-02.wav", speech(seed=0))  # the same sound as Actor_01's
    corpus = load(ravdess, actors)
    assert len(corpus.clips) == 3
    skipped = corpus.skipped
    assert skipped.pop("ravdess: unreadable") + skipped.pop("ravdess: truncated", 0) == 3
    assert skipped == {
        "ravdess: wrong name": 2,
        "ravdess: not finite": 1,
        "ravdess: empty": 1,
        "ravdess: silent": 1,
        "ravdess: too short": 1,
        "ravdess: repeated": 1,
    }
    (silent,) = corpus.findings.of("ravdess: silent")
    assert silent.place == "03-01-04-01-02-01-02.wav"


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere.*emodb"):
        load(emodb, tmp_path / "nowhere")


def test_a_folder_without_clips_says_what_it_had(tmp_path: Path) -> None:
    write(tmp_path, "holiday.wav", speech())
    with pytest.raises(FileNotFoundError, match="name"):
        load(ravdess, tmp_path)


def test_any_rate_and_channels_become_16_khz_mono(tmp_path: Path) -> None:
    time = np.arange(48_000) / 48_000
    tone = 0.5 * np.sin(2 * np.pi * 440 * time)
    file = write(tmp_path, "tone.wav", np.stack([tone, tone], axis=1), 48_000)
    sound = read_sound(file)
    assert sound.shape == (SAMPLE_RATE,) and sound.dtype == np.float32
    assert np.abs(np.fft.rfft(sound)).argmax() == 440


@pytest.mark.parametrize("corpus", ["iemocap-4", "ravdess"])
def test_silent_and_truncated_audio_of_any_corpus_is_refused(corpus: str, tmp_path: Path) -> None:
    good, half, streamed = (write(tmp_path, f"{n}.wav", speech()) for n in ("good", "half", "str"))
    half.write_bytes(half.read_bytes()[: half.stat().st_size // 2])
    content = bytearray(streamed.read_bytes())
    size = content.index(b"data") + 4
    content[size : size + 4] = b"\xff\xff\xff\xff"  # its size was unknown when it was written
    streamed.write_bytes(content)
    noise = np.random.default_rng(0).normal(scale=1 / 32768, size=SAMPLE_RATE)
    silent = [write(tmp_path, f"{n}.wav", x) for n, x in enumerate((noise, 0 * noise))]
    for file in (good, streamed):
        assert len(corpora.sound(corpus, file)) > SAMPLE_RATE // 2
    for file, reason in ((half, "truncated"), *((file, "silent") for file in silent)):
        with pytest.raises(corpora.UnusableMediaError, match=reason):
            corpora.sound(corpus, file)


def test_trimming_keeps_the_speech_and_a_margin() -> None:
    silence = np.full(SAMPLE_RATE, 1e-4)
    sound = np.concatenate([silence, speech(1.0), silence]).astype(np.float32)
    trimmed = trim(sound)
    assert len(trimmed) == pytest.approx(1.2 * SAMPLE_RATE, abs=SAMPLE_RATE // 50)


def test_trimming_refuses_silence() -> None:
    with pytest.raises(UnusableSoundError, match="silent"):
        trim(np.zeros(SAMPLE_RATE, np.float32))


def test_corpora_add_up(actors: Path, tmp_path: Path) -> None:
    both = together([load(ravdess, actors), load(ravdess, actors)])
    assert len(both.clips) == 6
