"""Small synthetic corpora in the layouts of MELD and IEMOCAP, to test a whole training.

The files are real mp4, avi and wav files. Emotions are expressed in the words, the voice (pitch,
rate, loudness and timbre of a synthesizer) and the face (color and mouth), much more clearly than
by people, so that a tiny network learns them from a dozen dialogues. Scores on these corpora show
that the training works; they are not a measure of accuracy.
"""

from __future__ import annotations

import csv
import functools
import io
import wave
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from erc_ros.demo.conversation_bag import (
    FACE,
    Camera,
    Phrase,
    SimulatedRecognizer,
    WrittenTurn,
    perform,
    write_conversation,
    write_truth,
)
from erc_ros.demo.voices import Delivery, Synthesiser, synthesiser
from erc_ros.values.files import write_whole
from erc_ros.values.utterance import SAMPLE_RATE

RATE = 12  # images per second
WIDTH, HEIGHT = 192, 144  # pixels of an image; of each half for IEMOCAP
MARGIN = 0.15  # s of a MELD clip before and after the speech
MOUTH = (318, 272)  # position of the mouth in FACE, pixels
AAC = ("aac", {"aac_coder": "fast"})
Pictures = NDArray[np.uint8]
Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Manner:
    """Expression of an emotion in voice, face and words.

    tint: blue, green and red, 0 to 1. smile: curvature of the mouth, -1 to 1. opened: opening of
    the mouth, 0 to 1. sentences: templates with {} for a topic.
    """

    delivery: Delivery
    tint: tuple[float, float, float]
    smile: float
    opened: float
    sentences: tuple[str, ...]


MANNERS: Mapping[str, Manner] = {
    "neutral": Manner(
        Delivery(),
        (0.9, 0.9, 0.9),
        0.0,
        0.0,
        ("The meeting is about {}.", "We keep {} in the office.", "They wrote a note on {}."),
    ),
    "surprise": Manner(
        Delivery(rate=185, pitch=25, range=95, loudness=0.8, tilt=-0.6),
        (0.4, 1.0, 1.0),
        0.0,
        1.0,
        ("Oh my god, {}? Really?", "What? I did not expect {}!", "No way, is that {}?"),
    ),
    "fear": Manner(
        Delivery(rate=200, pitch=15, range=10, loudness=0.3, tilt=-0.3),
        (1.0, 0.5, 0.5),
        -0.4,
        0.6,
        ("I am scared of {}.", "Please help, {} frightens me.", "Careful, {} is dangerous."),
    ),
    "sadness": Manner(
        Delivery(rate=115, pitch=-20, range=10, loudness=0.35, tilt=0.9),
        (0.9, 0.4, 0.3),
        -1.0,
        0.1,
        ("I am sad, I miss {}.", "I cried because of {}.", "We lost {}, I feel so lonely."),
    ),
    "joy": Manner(
        Delivery(rate=180, pitch=15, range=80, loudness=0.9, tilt=0.2),
        (0.6, 1.0, 0.6),
        1.0,
        0.4,
        ("I am so happy about {}!", "How wonderful, I love {}!", "Great, {} makes me smile!"),
    ),
    "disgust": Manner(
        Delivery(rate=130, pitch=-10, range=60, loudness=0.6, tilt=0.6),
        (0.4, 0.7, 0.3),
        -0.7,
        0.3,
        ("Ugh, {} smells rotten.", "Yuck, {} is disgusting.", "That is gross, take {} away."),
    ),
    "anger": Manner(
        Delivery(rate=190, pitch=5, range=60, loudness=1.0, tilt=-0.9),
        (0.3, 0.3, 1.0),
        -0.8,
        0.8,
        ("I am furious about {}!", "Stop it, I hate {}!", "How dare you touch {}!"),
    ),
    "excited": Manner(
        Delivery(rate=220, pitch=30, range=95, loudness=1.0, tilt=-0.4),
        (1.0, 0.9, 0.3),
        0.8,
        1.0,
        ("Yes, we are getting {}!", "I cannot wait for {}, amazing!", "Wow, look at {}, come on!"),
    ),
    "frustrated": Manner(
        Delivery(rate=150, pitch=-5, range=30, loudness=0.8, tilt=0.4),
        (0.7, 0.3, 0.7),
        -0.5,
        0.0,
        ("Not again, {} does not work.", "I tried {} ten times, no use.", "I give up on {}."),
    ),
}
THINGS = (
    "the new house", "my exam", "the old car", "this letter", "the garden", "your brother",
    "the kitchen", "our holiday", "the first train", "that song",
)  # fmt: skip
LABELS: Mapping[str, Mapping[str, str]] = {
    "meld": {
        emotion: emotion
        for emotion in ("neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger")
    },
    "iemocap": {
        "happy": "joy",
        "sad": "sadness",
        "neutral": "neutral",
        "angry": "anger",
        "excited": "excited",
        "frustrated": "frustrated",
    },
}
"""Layout -> label of a bundle for that corpus -> key of MANNERS."""
SENTIMENTS = {"neutral": "neutral", "surprise": "positive", "joy": "positive"}
SPLITS = {
    "train": ("train/train_sent_emo.csv", "train/train_splits"),
    "dev": ("dev_sent_emo.csv", "dev_splits_complete"),
    "test": ("test_sent_emo.csv", "output_repeated_splits_test"),
}
"""Table and folder of the clips of each split in MELD.Raw."""
MELD_COLUMNS = (
    "Sr No.", "Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID",
    "Season", "Episode", "StartTime", "EndTime",
)  # fmt: skip
NAMES = ("Ada", "Ben", "Cleo")


@dataclass(frozen=True, eq=False)
class Performance:
    """A synthesized dialogue: audio (n,) at 16 kHz, and the times of its turns."""

    turns: tuple[WrittenTurn, ...]
    sound: Samples
    phrases: tuple[Phrase, ...]

    def said(self, number: int, margin: float = 0.0) -> Samples:
        """Return the audio of one turn with `margin` s before and after it."""
        phrase = self.phrases[number]
        first, last = phrase.start - margin, phrase.end + margin
        return self.sound[max(0, round(first * SAMPLE_RATE)) : round(last * SAMPLE_RATE)]


def write_corpus(
    layout: str,
    folder: Path,
    dialogues: int = 12,
    seed: int = 0,
    progress: Callable[[float], None] = lambda done: None,
) -> Path:
    """Write a corpus to a subfolder of `folder`, in which the reader of that corpus expects it.

    The result is the same in every new process. The synthesizer has a state, so that a second
    corpus in one process differs slightly.

    Args:
        layout: "meld" or "iemocap".
        dialogues: number of dialogues of eight turns; at least 8, so that no split is empty.
        progress: called with the number of written dialogues.

    Returns:
        The folder of the corpus.

    Raises:
        ValueError: the layout is unknown, or there are too few dialogues.
        FileExistsError: the folder of the corpus exists already.
        VoiceError: the synthesizer is not installed.
    """
    writers = {"meld": _write_meld, "iemocap": _write_iemocap}
    if layout not in writers:
        raise ValueError(f"layout is {layout!r}, known are {', '.join(writers)}")
    if dialogues < 8:
        raise ValueError(f"dialogues is {dialogues}; three splits need at least 8")
    root = folder / {"meld": "MELD.Raw", "iemocap": "IEMOCAP_full_release"}[layout]
    if root.exists():
        raise FileExistsError(f"{root} exists already; choose another folder, or remove it")
    engine = synthesiser()
    rng = np.random.default_rng(seed)

    def performances() -> Iterator[Performance]:
        for number in range(dialogues):
            progress(number)  # the writer requests a dialogue after it has written the last one
            yield _perform(layout, rng, engine)

    writers[layout](root, performances(), dialogues)
    progress(dialogues)
    return root


def write_recording(
    layout: str,
    folder: Path,
    seed: int = 1000,
    dialogues: int = 2,
    recognizer: SimulatedRecognizer | None = None,
) -> Path:
    """Write a rosbag2 in the style of a corpus, and its reference annotation `folder`.truth.csv.

    It contains camera, audio and transcripts; the labels are those of bundles for the corpus.

    Raises:
        BagError: the folder exists already.
        ValueError: the layout is unknown.
        VoiceError: the synthesizer is not installed.
    """
    if layout not in LABELS:
        raise ValueError(f"layout is {layout!r}, known are {', '.join(LABELS)}")
    rng = np.random.default_rng(seed)
    turns = [turn for _ in range(dialogues) for turn in _dialogue(layout, rng)]
    performance = _perform_turns(layout, turns, synthesiser(), seed)
    write_conversation(
        folder,
        performance.sound,
        performance.phrases,
        _camera(layout, performance),
        frames_per_second=RATE,
        recognizer=recognizer,
    )
    write_truth(folder.with_name(f"{folder.name}.truth.csv"), turns, performance.phrases)
    return folder


def _dialogue(layout: str, rng: np.random.Generator) -> list[WrittenTurn]:
    """Return eight turns in random order: each label once, the others neutral."""
    labels = [*LABELS[layout], *["neutral"] * (8 - len(LABELS[layout]))]
    speakers = 3 if layout == "meld" else 2
    turns = []
    for label in rng.permutation(labels).tolist():
        manner = MANNERS[LABELS[layout][label]]
        text = str(rng.choice(manner.sentences)).format(rng.choice(THINGS))
        text = text[0].upper() + text[1:]
        turns.append(WrittenTurn(int(rng.integers(speakers)), text, manner.delivery, label))
    return turns


def _perform(layout: str, rng: np.random.Generator, engine: Synthesiser) -> Performance:
    return _perform_turns(layout, _dialogue(layout, rng), engine, int(rng.integers(1 << 30)))


def _perform_turns(
    layout: str, turns: Sequence[WrittenTurn], engine: Synthesiser, seed: int
) -> Performance:
    sound, phrases = perform(turns, engine, seed)
    return Performance(tuple(turns), sound, tuple(phrases))


# Images.


@functools.lru_cache(maxsize=32)
def _face(emotion: str, width: int, height: int) -> Pictures:
    """Draw the face with the color and mouth of an emotion: (height, width, 3) BGR."""
    manner = MANNERS[emotion]
    face = cv2.imread(str(FACE), cv2.IMREAD_COLOR)
    if face is None:
        raise FileNotFoundError(f"{FACE} is missing or not an image: reinstall erc_ros")
    picture = np.asarray(face * np.array(manner.tint), np.uint8)
    skin = picture[235, 318].tolist()
    cv2.ellipse(picture, MOUTH, (44, 17), 0, 0, 360, skin, -1)
    bend, lips = round(14 * manner.smile), (40, 20, 110)
    corners = [(MOUTH[0] + x, MOUTH[1] + round(bend * (1 - 2 * (x / 36) ** 2))) for x in
               range(-36, 37, 4)]  # fmt: skip
    lower = [(x, y + round(20 * manner.opened)) for x, y in reversed(corners)]
    cv2.fillPoly(picture, [np.array(corners + lower, np.int32)], lips)
    cv2.polylines(picture, [np.array(corners, np.int32)], False, lips, 5)
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _swaying(emotion: str, time: float, width: int = WIDTH, height: int = HEIGHT) -> Pictures:
    shift = round(width / 40 * np.sin(1.3 * time))
    return np.asarray(np.roll(_face(emotion, width, height), shift, axis=1), np.uint8)


def _camera(layout: str, said: Performance) -> Camera:
    """Return a camera that shows the speaker, with a neutral face in pauses."""
    manners = LABELS[layout]

    def view(time: float) -> Pictures:
        for phrase, turn in zip(said.phrases, said.turns, strict=True):
            if phrase.start - 0.2 <= time <= phrase.end + 0.2:
                return _swaying(manners[turn.emotion], time, 320, 240)
        return _swaying("neutral", time, 320, 240)

    return view


def _write_video(file: Path, seconds: float, view: Camera, sound: Samples) -> None:
    """Write a video with MPEG-4 images, and with AAC (mp4) or PCM (avi) audio."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(file), "w") as container:
        video = container.add_stream("mpeg4", rate=RATE)
        codec, options = ("pcm_s16le", {}) if file.suffix == ".avi" else AAC
        audio = container.add_stream(codec, rate=SAMPLE_RATE, layout="mono", options=options)
        first = view(0.0)
        video.height, video.width, video.pix_fmt = *first.shape[:2], "yuv420p"
        video.bit_rate, video.thread_count = 600_000, 1  # so that every run writes the same
        for number in range(max(1, round(seconds * RATE))):
            frame = av.VideoFrame.from_ndarray(view(number / RATE), format="bgr24")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        whole = np.asarray(np.clip(sound, -1, 1) * 32767, np.int16)[None]
        for at in range(0, whole.shape[1], 1024):
            block = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(whole[:, at : at + 1024]), "s16", "mono"
            )
            block.rate, block.pts = SAMPLE_RATE, at
            container.mux(audio.encode(block))
        container.mux(audio.encode())


def _write_sound(file: Path, sound: Samples) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(file), "wb") as writer:
        writer.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
        writer.writeframes((np.clip(sound, -1, 1) * 32767).astype("<i2").tobytes())


# MELD.


def _write_meld(root: Path, performed: Iterator[Performance], dialogues: int) -> None:
    rest = max(1, dialogues // 6)
    counts = {"train": dialogues - 2 * rest, "dev": rest, "test": rest}
    for split, (table, clips) in SPLITS.items():
        rows: list[tuple[object, ...]] = [MELD_COLUMNS]
        for dialogue in range(counts[split]):
            performance = next(performed)
            for number, (turn, phrase) in enumerate(
                zip(performance.turns, performance.phrases, strict=True)
            ):
                times = (_clock(phrase.start - MARGIN), _clock(phrase.end + MARGIN))
                sentiment = SENTIMENTS.get(turn.emotion, "negative")
                speaker = NAMES[turn.speaker]
                rows.append((len(rows), turn.text, speaker, turn.emotion, sentiment, dialogue,
                             number, 1, 1, *times))  # fmt: skip
                sound = performance.said(number, MARGIN)
                _write_video(
                    root / clips / f"dia{dialogue}_utt{number}.mp4",
                    len(sound) / SAMPLE_RATE,
                    functools.partial(_swaying, turn.emotion),
                    sound,
                )
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        write_whole(root / table, text.getvalue())


def _clock(seconds: float) -> str:
    minutes, milliseconds = divmod(round(1000 * seconds), 60_000)
    return f"00:{minutes:02d}:{milliseconds // 1000:02d},{milliseconds % 1000:03d}"


# IEMOCAP.


def _write_iemocap(root: Path, performed: Iterator[Performance], dialogues: int) -> None:
    for number in range(dialogues):
        performance = next(performed)
        session = root / f"Session{number % 5 + 1}"
        # The speaker with the markers, after whom the dialogue is named, sits on the left.
        left = "FM"[number // 5 % 2]
        name = f"Ses{number % 5 + 1:02d}{left}_impro{number // 10 + 1:02d}"
        labels = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]", ""]
        words = []
        counts = {"F": 0, "M": 0}
        for index, (turn, phrase) in enumerate(
            zip(performance.turns, performance.phrases, strict=True)
        ):
            person = "FM"[turn.speaker]
            called = f"{name}_{person}{counts[person]:03d}"
            counts[person] += 1
            labels += [
                f"[{phrase.start:.4f} - {phrase.end:.4f}]\t{called}\t{turn.emotion[:3]}"
                "\t[2.5000, 2.5000, 2.5000]",
                "C-E1:\tNeutral;\t()",
                "A-E1:\tval 3; act 3; dom  3;\t()",
                "",
            ]
            words.append(f"{called} [{phrase.start:08.4f}-{phrase.end:08.4f}]: {turn.text}")
            _write_sound(
                session / "sentences/wav" / name / f"{called}.wav", performance.said(index)
            )
        for part, lines in (("EmoEvaluation", labels), ("transcriptions", words)):
            file = session / "dialog" / part / f"{name}.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(file, "\n".join(lines) + "\n")
        _write_sound(session / "dialog/wav" / f"{name}.wav", performance.sound)
        seconds = len(performance.sound) / SAMPLE_RATE
        avi = session / "dialog/avi/DivX" / f"{name}.avi"
        _write_video(avi, seconds, _side_by_side(performance, "FM".index(left)), performance.sound)


def _side_by_side(said: Performance, left: int) -> Callable[[float], Pictures]:
    """Return a camera that shows both speakers; the face of the listener is neutral."""

    def view(time: float) -> Pictures:
        looks = ["neutral", "neutral"]
        for phrase, turn in zip(said.phrases, said.turns, strict=True):
            if phrase.start <= time <= phrase.end:
                looks[turn.speaker] = LABELS["iemocap"][turn.emotion]
        order = (left, 1 - left)
        return np.concatenate([_swaying(looks[person], time + person) for person in order], axis=1)

    return view
