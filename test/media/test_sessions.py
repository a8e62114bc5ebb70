"""Several files of one session: cameras, a microphone for each person, files with an offset."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from media_clips import image, tone, write_media

from erc_ros.cli import main
from erc_ros.demo.conversation_bag import DIALOGUE, Phrase, perform, portrait
from erc_ros.demo.voices import synthesiser
from erc_ros.media.files import ORIGIN, MediaError
from erc_ros.media.transcripts import Cue, transcripts_of
from erc_ros.pipeline import VoiceSound
from erc_ros.replay.recording import SPEECH, VALUES, open_recording
from erc_ros.replay.session import Levels, read_session
from erc_ros.sensing.frames import Frame
from erc_ros.values.nanoseconds import NS, seconds
from erc_ros.values.transcript import Word

TURNS = DIALOGUE[:4]
RATE = 16_000
LATE = 0.8  # s after the session's beginning at which Ben's recorder was started
CROSSTALK = 0.1  # of the other person's voice, -20 dB


@dataclass
class Talk:
    folder: Path
    phrases: list[Phrase]
    speakers: list[str]

    @property
    def session(self) -> Path:
        return self.folder / "talk.session.yaml"


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Talk:
    """Two people; Ben's microphone has four times the gain of Ana's and was started later."""
    folder = tmp_path_factory.mktemp("session")
    audio, phrases = perform(TURNS, synthesiser())
    speakers = ["Ana" if turn.speaker == TURNS[0].speaker else "Ben" for turn in TURNS]
    alone = {name: np.zeros_like(audio) for name in ("Ana", "Ben")}
    for phrase, speaker in zip(phrases, speakers, strict=True):
        part = slice(round(phrase.start * RATE), round(phrase.end * RATE))
        alone[speaker][part] = audio[part]
    noise = np.random.default_rng(0).normal(0, 0.0005, len(audio)).astype(np.float32)
    ana = alone["Ana"] + CROSSTALK * alone["Ben"] + noise
    ben = alone["Ben"] + CROSSTALK * alone["Ana"] + noise
    write_media(folder / "ana.wav", [0.25 * ana], rate=RATE)
    write_media(folder / "ben.flac", [ben[round(LATE * RATE) :]], rate=RATE)
    camera = portrait(phrases[:1])
    times = [n / 10 for n in range(round(len(audio) / RATE * 10))]
    write_media(folder / "left.mp4", images=[(t, camera(t)) for t in times])
    write_media(folder / "right.mkv", images=[(t, image(30, 200, 90, 160)) for t in times])
    lines = [f"{p.start},{p.end},{json.dumps(p.text)}" for p in phrases]
    (folder / "words.csv").write_text("start,end,text\n" + "\n".join(lines))
    (folder / "talk.session.yaml").write_text(
        f"""
transcript: words.csv
files:
  - {{file: left.mp4, role: camera}}
  - {{file: right.mkv, role: camera}}
  - {{file: ana.wav, role: microphone, person: Ana}}
  - {{file: ben.flac, role: microphone, person: Ben, offset: {LATE}}}
"""
    )
    return Talk(folder, phrases, speakers)


def estimates(folder: Path) -> list[dict[str, object]]:
    rows = [json.loads(line) for line in (folder / "estimates.jsonl").read_text().splitlines()]
    return [row for row in rows if row["is_final"] and row["text"]]


def test_the_loudest_microphone_determines_the_speaker(talk: Talk, tmp_path: Path) -> None:
    assert main(["replay", str(talk.session), "--out", str(tmp_path)]) == 0
    rows = estimates(tmp_path)
    assert [row["text"] for row in rows] == [phrase.text for phrase in talk.phrases]
    assert [row["person_id"] for row in rows] == talk.speakers
    starts = [(int(str(row["start"])) - ORIGIN) / NS for row in rows]
    assert starts == pytest.approx([p.start for p in talk.phrases], abs=0.35)
    assert rows[0]["modalities"] == {"text": True, "audio": True, "visual": True}


def test_evaluate_scores_a_session_against_annotations(talk: Talk, tmp_path: Path) -> None:
    lines = ["start,end,speaker,text,emotion"]
    for phrase, speaker, turn in zip(talk.phrases, talk.speakers, TURNS, strict=True):
        lines.append(
            f"{phrase.start},{phrase.end},{speaker},{json.dumps(turn.text)},{turn.emotion}"
        )
    truth = tmp_path / "talk.csv"
    truth.write_text("\n".join(lines) + "\n")
    out = tmp_path / "out"
    assert main(["evaluate", str(talk.session), "--truth", str(truth), "--out", str(out)]) == 0
    scores = json.loads((out / "scores.json").read_text())
    assert [each["name"] for each in scores["recordings"]] == ["talk"]
    assert (out / "report.html").is_file()


def test_annotate_writes_the_mixture_for_elan(talk: Talk, tmp_path: Path) -> None:
    assert main(["annotate", str(talk.session), "--out", str(tmp_path)]) == 0
    assert {"talk.eaf", "talk.wav", "talk.mp4"} <= {file.name for file in tmp_path.iterdir()}


def test_info_lists_the_files_and_what_is_used(
    talk: Talk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["info", str(talk.session)]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in ("left.mp4", "right.mkv", "ana.wav", "ben.flac"))
    assert "/audio" in out
    assert "/image" in out


def test_a_folder_with_a_session_has_one_recording(talk: Talk, tmp_path: Path) -> None:
    from erc_ros.evaluation.recordings import find_bags

    assert find_bags([talk.folder]) == {"talk": talk.session}


class Repeats:
    """A recognizer with the same words for each segment."""

    def transcribe(self, samples: np.ndarray) -> list[Cue]:
        return [Cue(0, len(samples) * NS // RATE, "The same words.")]


def test_the_speech_of_a_session_is_recognized_only_where_it_is_wanted(
    talk: Talk, tmp_path: Path
) -> None:
    for name in ("ana.wav", "ben.flac"):
        (tmp_path / name).symlink_to(talk.folder / name)
    lines = talk.session.read_text().splitlines()
    kept = [line for line in lines if "transcript" not in line and "camera" not in line]
    session = tmp_path / "talk.session.yaml"
    session.write_text("\n".join(kept))
    with open_recording(session, recognizer=Repeats()) as recording:
        texts, none = (
            [r for r in recording.messages(topics) if r.topic == SPEECH and r.message is not None]
            for topics in ({SPEECH, "/audio"}, {"/audio"})
        )
    assert none == []
    assert len(texts) >= len(TURNS)
    assert {(r.type, r.message.text) for r in texts} == {(VALUES["speech"], "The same words.")}
    assert all(r.message.arrival == r.time >= r.message.end for r in texts)


def test_each_person_has_an_own_audio_stream_and_the_cameras_one_image(talk: Talk) -> None:
    with open_recording(talk.session) as recording:
        values = [r.message for r in recording.messages({"/audio", "/image"})]
    voices = {value.voice_id for value in values if isinstance(value, VoiceSound)}
    assert voices == {"voice_0", "voice_1"}
    frames = [value for value in values if isinstance(value, Frame)]
    lasts = len(values) / 30  # 10 chunks of each of 3 streams a second
    assert len(frames) == pytest.approx(5 * lasts, rel=0.2)
    pixels = np.frombuffer(frames[9].data, np.uint8).reshape(frames[9].height, frames[9].width, 3)
    right = pixels[:300, 640:]
    assert right[:, 20:300].mean() == pytest.approx(30, abs=8)
    assert right[:, 340:620].mean() == pytest.approx(200, abs=8)


def test_a_text_of_two_people_is_divided_where_its_words_have_times() -> None:
    powers = np.full((40, 2), 1e-7, np.float32)
    powers[5:15, 0], powers[20:35, 1] = 1e-2, 1e-3
    levels = Levels(powers, ["Ana", "Ben"])
    words = [
        Word(text, seconds(start), seconds(start + 0.3))
        for text, start in (("are", 0.6), ("you", 1.0), ("I", 2.1), ("am", 2.5), ("sure", 3.0))
    ]
    cue = Cue(seconds(0.6), seconds(3.3), "are you I am sure", words=tuple(words))
    parts = levels.attributed(cue)
    assert [(part.speaker, part.text) for part in parts] == [
        ("Ana", "are you"),
        ("Ben", "I am sure"),
    ]
    assert transcripts_of(parts, {"Ana": "a", "Ben": "b"})[1].voice_id == "b"


def test_a_person_who_never_speaks_gets_no_words() -> None:
    """The microphone of a silent person receives the others at a low level."""
    noise = np.random.default_rng(1).normal(0, 1e-3, (50, 1600, 3))
    powers = np.square(noise).mean(axis=1).astype(np.float32)
    powers[10:40] += np.array([4e-4, 1e-2, 2e-4], np.float32)
    levels = Levels(powers, ["Ana", "Ben", "Cem"])
    assert levels.person(seconds(1.2), seconds(3.8)) == "Ben"
    assert levels.person(seconds(4.2), seconds(4.9)) == ""


@pytest.mark.parametrize(
    "content",
    [
        "",
        "files: 3",
        "files: []",
        "files: [{file: a.wav}]",
        "files: [{file: a.wav, role: singer}]",
        "files: [{file: a.wav, role: microphone, offset: soon}]",
        "files: [{file: a.wav, role: microphone, offset: .inf}]",
        "files: [{file: a.wav, role: microphone, gain: 2}]",
        "files: [{file: a.wav, role: camera, person: Ana}]",
        "files: [{file: a.wav, role: camera}]",
        "files: [{file: missing.wav, role: microphone}]",
        "files: [{file: a.wav, role: microphone, person: A}, "
        "{file: a.wav, role: microphone, person: A}]",
        "files: [{file: ., role: microphone}]",
        "files: [*a]",
        "files: " + "[" * 5000,
    ],
)
def test_malformed_sessions_are_refused(tmp_path: Path, content: str) -> None:
    write_media(tmp_path / "a.wav", [tone(0.5)])
    path = tmp_path / "talk.session.yaml"
    path.write_text(content)
    assert main(["replay", str(path), "--out", str(tmp_path / "out")]) == 1
    assert not (tmp_path / "out" / "estimates.jsonl").exists()


@pytest.mark.parametrize("name", ["../a.wav", "{folder}/a.wav", "talk/../../a.wav", "b\\0.wav"])
@pytest.mark.parametrize(
    "content",
    [
        'files: [{{file: "{name}", role: microphone}}]',
        'transcript: "{name}"\nfiles: [{{file: b.wav, role: microphone}}]',
    ],
)
def test_a_session_names_no_file_outside_its_folder(
    tmp_path: Path, name: str, content: str
) -> None:
    folder = tmp_path / "talk"
    for path in (tmp_path / "a.wav", folder / "b.wav"):
        path.parent.mkdir(exist_ok=True)
        write_media(path, [tone(0.1)])
    session = folder / "talk.session.yaml"
    session.write_text(content.format(name=name.format(folder=tmp_path)))
    with pytest.raises(MediaError):
        read_session(session)


def test_a_session_may_use_folders_and_links_in_its_folder(tmp_path: Path) -> None:
    write_media(tmp_path / "a.wav", [tone(0.1)])
    audio = tmp_path / "talk" / "audio"
    audio.mkdir(parents=True)
    (audio / "a.wav").symlink_to(tmp_path / "a.wav")
    session = tmp_path / "talk" / "talk.session.yaml"
    session.write_text("files: [{file: audio/a.wav, role: microphone}]")
    with open_recording(session) as recording:
        assert recording.span[1] > recording.span[0]
