r"""Write a study of generated recordings: participants, two conditions, three annotators.

    pip install '.[evaluate,demo]'
    python examples/study/make_study.py out/study
    cd out/study
    erc evaluate recordings --study study.csv --truth RA1=RA1 RA2=RA2 RA3=RA3 \
        --offset RA2=-1.5 --workers 2 --out results

Each recording is a talk of a participant and an interviewer with synthetic voices. In the condition
"robot" participants express more joy, in the condition "screen" more sadness and anger. Annotators
differ in a fifth of the labels, the clock of RA2 is 1.5 s delay, and the last recording is damaged.
Results with these voices do not apply to people.
"""

from __future__ import annotations

import argparse
import csv
import wave
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from erc_ros.demo.conversation_bag import Phrase, WrittenTurn, perform
from erc_ros.demo.generated_corpora import MANNERS, THINGS
from erc_ros.demo.voices import synthesiser
from erc_ros.values.utterance import SAMPLE_RATE

EMOTIONS = ("neutral", "joy", "sadness", "anger", "surprise")
CONDITIONS = {"robot": (0.25, 0.5, 0.05, 0.05, 0.15), "screen": (0.3, 0.1, 0.3, 0.25, 0.05)}
"""Condition -> probability of each emotion of the participant."""
SPEAKERS = ("interviewer", "participant")
ANNOTATORS = {"RA1": 0.0, "RA2": 1.5, "RA3": 0.0}
"""Annotator -> delay of the clock (s)."""
CARELESS = 0.2  # share of labels that an annotator draws at random


def main(argv: Sequence[str] | None = None) -> None:
    """Write the folder of the study."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--participants", type=int, default=20)
    parser.add_argument("--turns", type=int, default=8, help="utterances per recording")
    options = parser.parse_args(argv)
    for name in ("recordings", *ANNOTATORS):
        (options.folder / name).mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(1, options.participants + 1):
        order = list(CONDITIONS) if number % 2 else list(reversed(CONDITIONS))  # counterbalanced
        for place, condition in enumerate(order, start=1):
            name = f"P{number:02}-{condition}"
            write_recording(
                options.folder, name, CONDITIONS[condition], 10 * number + place, options.turns
            )
            participant = f"P{number:02}"
            rows.append([name, participant, "participant", place, condition, place])
    damaged = options.folder / "recordings" / f"{rows[-1][0]}.wav"
    damaged.write_bytes(damaged.read_bytes()[:30])
    columns = ["recording", "participant", "speaker", "session", "condition", "order"]
    write_csv(options.folder / "study.csv", [columns, *rows])
    print(f"{len(rows)} recordings: {options.folder}")


def write_recording(
    folder: Path, name: str, chances: Sequence[float], seed: int, length: int
) -> None:
    """Write audio, subtitles, and a file for each annotator."""
    rng = np.random.default_rng(seed)
    turns = []
    for turn in range(length):
        emotion = str(rng.choice(EMOTIONS, p=chances)) if turn % 2 else "neutral"
        manner = MANNERS[emotion]
        text = str(rng.choice(manner.sentences)).format(rng.choice(THINGS))
        text = text[0].upper() + text[1:]
        turns.append(WrittenTurn(turn % 2, text, manner.delivery, emotion))
    audio, phrases = perform(turns, synthesiser(), seed)
    with wave.open(str(folder / "recordings" / f"{name}.wav"), "wb") as stream:
        stream.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
        stream.writeframes(np.asarray(np.clip(audio, -1, 1) * 32767, "<i2").tobytes())
    subtitles = [
        f"{n}\n{clock(phrase.start)} --> {clock(phrase.end)}\n{phrase.text}\n"
        for n, phrase in enumerate(phrases, start=1)
    ]
    (folder / "recordings" / f"{name}.srt").write_text("\n".join(subtitles))
    for annotator, delay in ANNOTATORS.items():
        write_annotation(folder / annotator / f"{name}.csv", turns, phrases, delay, rng)


def write_annotation(
    file: Path,
    turns: Sequence[WrittenTurn],
    phrases: Sequence[Phrase],
    delay: float,
    rng: np.random.Generator,
) -> None:
    """Write the labels of an annotator with random errors and slightly different times."""
    rows: list[list[object]] = [["start", "end", "speaker", "emotion"]]
    for turn, phrase in zip(turns, phrases, strict=True):
        start, end = np.array([phrase.start, phrase.end]) + delay + rng.normal(0, 0.05, 2)
        is_careless = rng.random() < CARELESS
        emotion = str(rng.choice(EMOTIONS)) if is_careless else turn.emotion
        rows.append([f"{max(0.0, start):.3f}", f"{end:.3f}", SPEAKERS[turn.speaker], emotion])
    write_csv(file, rows)


def write_csv(file: Path, rows: Sequence[Sequence[object]]) -> None:
    """Write lines of fields."""
    with file.open("w", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows(rows)


def clock(seconds: float) -> str:
    """Return a time in the format of subtitles: 00:01:02,345."""
    milliseconds = round(seconds * 1000)
    second = milliseconds // 1000
    return f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02},{milliseconds % 1000:03}"


if __name__ == "__main__":
    main()
