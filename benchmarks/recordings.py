"""`erc evaluate` on recordings with reference annotations.

    python -m benchmarks.recordings WHAT [--out out/recordings]

acted: conversations composed of clips of RAVDESS, EmoDB and nEMO. spoken: lines of MELD test
dialogues by the synthetic voices of the demo. Both are measured by number of speakers and noise,
with the shipped bundle. unseen: clips of people who are not in the training data of its voice part.
recorded: the real call and the AMI excerpts. links: effect of errors in speakers and words, and of
missing modalities; the camera shows images of the FER+ test split. speed: run time and memory of
the whole command with a camera. workers: 1 or 2 processes, with the memory of each. Data:
$ERC_DATA.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from benchmarks.conversations import (
    Samples,
    _loud_part,
    add_noise,
    call,
    meetings,
    read,
    reverberate,
)
from benchmarks.machine import description
from erc_ros.demo.conversation_bag import (
    HEIGHT,
    VOICES,
    WIDTH,
    Camera,
    Phrase,
    SimulatedRecognizer,
    portrait,
    write_conversation,
)
from erc_ros.demo.voices import Delivery, synthesiser
from erc_ros.evaluation.jobs import EvaluationJob, evaluate
from erc_ros.evaluation.many import run
from erc_ros.evaluation.matching import match
from erc_ros.evaluation.records import Prediction, Recording, SystemScores
from erc_ros.evaluation.run import EvaluatedSystem
from erc_ros.evaluation.scores import system_scores
from erc_ros.evaluation.tally import conversations
from erc_ros.metrics.classification import accuracy, weighted_f1
from erc_ros.metrics.figure import Figure
from erc_ros.pipeline import EstimateEvent, Recognition
from erc_ros.training.datasets.folder import data_folder
from erc_ros.values.events import UtteranceEvent
from erc_ros.values.nanoseconds import NS
from erc_ros.values.utterance import SAMPLE_RATE, FaceCrop, Utterance

SECONDS = 60.0  # approximate duration of a composed conversation
PAUSE = (0.4, 1.2)  # s, between turns
LEVEL = 0.03  # RMS of a turn
RAVDESS = {
    "01": "neutral",
    "03": "joy",
    "04": "sadness",
    "05": "anger",
    "06": "fear",
    "07": "disgust",
    "08": "surprise",
}
STATEMENTS = {"01": "Kids are talking by the door", "02": "Dogs are sitting by the door"}
EMODB = {"W": "anger", "E": "disgust", "A": "fear", "F": "joy", "T": "sadness", "N": "neutral"}
SHIPPED = EvaluatedSystem("edge-small")
WORDS_WRONG = 0.2  # share of the words that a poor speech recognizer changes or deletes


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """A turn: audio (n,) at 16 kHz, words ("": not recognized), emotion."""

    speaker: str
    sound: Samples
    text: str
    emotion: str


# --- composing ---


def ravdess(
    count: int, random: np.random.Generator, people: Set[str] | None = None
) -> Iterator[Line]:
    """Yield endless turns of `count` actors in random order. people: actors to use; None: all."""
    actors = np.arange(1, 25) if people is None else np.array(sorted(map(int, people)))
    actors = random.choice(actors, count, replace=False)
    last = -1
    while True:
        actor = int(random.choice([each for each in actors if each != last]))
        last = actor
        folder = data_folder() / f"ravdess_speech_16k/Actor_{actor:02d}"
        clips = [p for p in sorted(folder.glob("*.flac")) if p.name.split("-")[2] in RAVDESS]
        clip = clips[int(random.integers(len(clips)))]
        _, _, emotion, _, statement, *_ = clip.stem.split("-")
        sound = _loud_part(read(clip))
        yield Line(f"actor {actor}", sound, STATEMENTS[statement], RAVDESS[emotion])


def ravdess_unread(
    count: int, random: np.random.Generator, people: Set[str] | None = None
) -> Iterator[Line]:
    """Yield the same clips without words."""
    for line in ravdess(count, random, people):
        yield replace(line, text="")


def emodb(
    count: int, random: np.random.Generator, people: Set[str] | None = None
) -> Iterator[Line]:
    """Yield clips of EmoDB (German) without words."""
    files = sorted((data_folder() / "emodb/full").glob("*.flac"))
    clips = [(p, p.name[:2], EMODB[p.name[5]]) for p in files if p.name[5] in EMODB]
    return _unread(clips, count, random, people)


def nemo(count: int, random: np.random.Generator, people: Set[str] | None = None) -> Iterator[Line]:
    """Yield clips of nEMO (Polish) without words."""
    from erc_ros.training.datasets import nemo as corpus

    files = sorted((data_folder() / corpus.FOLDER / "samples").glob("*.wav"))
    labels = [(p, corpus.parse(p.stem)) for p in files]
    clips = [(p, label.speaker, corpus.TO_MELD[label.emotion]) for p, label in labels]
    return _unread(clips, count, random, people)


def _unread(
    clips: Sequence[tuple[Path, str, str]],
    count: int,
    random: np.random.Generator,
    people: Set[str] | None,
) -> Iterator[Line]:
    """Yield turns of `count` people of the clips (file, person, emotion) in random order."""
    known = {person for _, person, _ in clips if people is None or person in people}
    chosen = random.choice(sorted(known), count, replace=False)
    last = ""
    while True:
        last = str(random.choice([each for each in chosen if each != last]))
        own = [clip for clip in clips if clip[1] == last]
        file, person, emotion = own[int(random.integers(len(own)))]
        samples, rate = soundfile.read(file, dtype="float32")
        sound = soxr.resample(samples, rate, SAMPLE_RATE)  # nEMO is at 24 kHz
        yield Line(f"speaker {person}", _loud_part(sound), "", emotion)


def meld(count: int, random: np.random.Generator) -> Iterator[Line]:
    """Yield lines of MELD test dialogues of `count` people, in as many synthetic voices."""
    file = data_folder() / "meld_annotations" / "test_sent_emo.csv"
    dialogues: dict[str, list[dict[str, str]]] = {}
    with file.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            dialogues.setdefault(row["Dialogue_ID"], []).append(row)
    fitting = [d for d in dialogues.values() if len({r["Speaker"] for r in d}) == count]
    engine = synthesiser()
    for place in random.permutation(len(fitting)):
        people = list(dict.fromkeys(row["Speaker"] for row in fitting[place]))
        for row in fitting[place]:
            voice = people.index(row["Speaker"])
            text = row["Utterance"].replace("\x92", "'")
            said = engine.say(text, VOICES[voice], Delivery())
            yield Line(f"voice {voice}", _loud_part(said), text, row["Emotion"])


def held_out(corpus: str) -> set[str]:
    """Return the people of a corpus in the dev and test data of the shipped voice part."""
    groups = SHIPPED.bundle().training["held_out"]["audio"]
    people = [person.partition("-") for group in ("dev", "test") for person in groups[group]]
    return {name for of, _, name in people if of == corpus}


CORPORA: dict[str, Callable[[int, np.random.Generator], Iterator[Line]]] = {
    "RAVDESS": ravdess,
    "EmoDB": emodb,
    "MELD": meld,
    "RAVDESS unread": ravdess_unread,
    "nEMO": nemo,
    "RAVDESS held out": lambda count, random: ravdess_unread(count, random, held_out("ravdess")),
    "EmoDB held out": lambda count, random: emodb(count, random, held_out("emodb")),
    "nEMO held out": lambda count, random: nemo(count, random, held_out("nemo")),
}


def faces(seen: Sequence[tuple[Phrase, str]], random: np.random.Generator) -> Camera:
    """Return a camera that shows a FER+ test image with the emotion of the current phrase."""
    from erc_ros.training.datasets import ferplus

    test = ferplus.load(data_folder() / "fer2013plus").test
    emotions = np.array([ferplus.TO_MELD[name] for name in ferplus.CLASSES])[test.labels]
    shown = []
    for phrase, emotion in seen:
        image = test.pictures[random.choice(np.flatnonzero(emotions == emotion))]
        face = cv2.resize(image, (HEIGHT // 2, HEIGHT // 2), interpolation=cv2.INTER_CUBIC)
        shown.append((phrase, cv2.cvtColor(face, cv2.COLOR_GRAY2BGR)))
    wall = np.full((HEIGHT, WIDTH, 3), 140, np.uint8)

    def view(time: float) -> NDArray[np.uint8]:
        frame: NDArray[np.uint8] = wall.copy()
        for phrase, face in shown:
            if phrase.start - 0.2 <= time <= phrase.end + 0.2:
                top, left = (HEIGHT - face.shape[0]) // 2, (WIDTH - face.shape[1]) // 2
                frame[top : top + face.shape[0], left : left + face.shape[1]] = face
        return frame

    return view


def compose(
    corpus: str, count: int, noise: float | None, seed: int, folder: Path, seen: bool = False
) -> tuple[Path, Path]:
    """Write a recording of about `SECONDS` and its annotation (bag, CSV). seen: with a camera."""
    place = list(CORPORA).index(corpus.removesuffix(" unread"))  # the same clips
    random = np.random.default_rng((seed, count, place))
    sound = np.zeros(int((SECONDS + 40) * SAMPLE_RATE), np.float32)
    phrases, rows, now = [], [], 1.0
    for line in CORPORA[corpus](count, random):
        if now > SECONDS:
            break
        level = float(np.sqrt(np.mean(np.square(line.sound, dtype=np.float64)))) or 1.0
        first, length = int(now * SAMPLE_RATE), len(line.sound)
        sound[first : first + length] += line.sound * np.float32(LEVEL / level)
        end = now + length / SAMPLE_RATE
        if line.text:
            phrases.append(Phrase(now, end, line.text))
        rows.append((f"{now:.3f}", f"{end:.3f}", line.speaker, line.text, line.emotion))
        now = end + float(random.uniform(*PAUSE))
    sound = sound[: int((now + 2) * SAMPLE_RATE)]
    if noise is None:
        sound = sound + random.standard_normal(len(sound)).astype(np.float32) * 1e-4
    else:
        sound = add_noise(reverberate(sound, random), noise, random)
    heard = "quiet" if noise is None else f"{noise:g}dB"
    name = f"{corpus.replace(' ', '-')}-{count}-{heard}-{seed}{'-seen' if seen else ''}"
    bag, truth = folder / name, folder / f"{name}.csv"
    if not bag.exists():
        recognizer = SimulatedRecognizer(seed=seed)
        said = [(Phrase(float(row[0]), float(row[1]), row[3]), row[4]) for row in rows]
        camera = faces(said, random) if seen else None
        write_conversation(bag, np.clip(sound, -1, 1), phrases, camera, recognizer=recognizer)
    with truth.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(("start", "end", "speaker", "text", "emotion"))
        writer.writerows(rows)
    return bag, truth


# --- evaluating ---


def job_of(bag: Path, truth: Sequence[Path]) -> EvaluationJob:
    """Return an evaluation job with the models of the package."""
    return EvaluationJob(bag.name, bag, SHIPPED, tuple(truth))


def scored(recordings: Iterable[Recording]) -> SystemScores:
    """Return the scores of several recordings together.

    Raises:
        RuntimeError: a recording could not be evaluated.
    """
    tallies = []
    labels: tuple[str, ...] = ()
    for recording in recordings:
        if recording.error:
            raise RuntimeError(f"{recording.name}: {recording.error}")
        labels = recording.labels
        tallies += conversations(recording)
    return system_scores("edge-small", labels, tallies)


def percent(figure: Figure | None) -> str:
    """Format a figure in percent with its interval, if any."""
    if figure is None or figure.value is None:
        return "-"
    text = f"{100 * figure.value:.1f}"
    if figure.low is not None and figure.high is not None:
        text += f" [{100 * figure.low:.0f}, {100 * figure.high:.0f}]"
    return text


COLUMNS = (
    "teer", "steer", "weighted_f1", "accuracy", "der", "cpwer", "missed", "split", "merged",
    "invented",
)  # fmt: skip


def table(rows: Iterable[tuple[str, SystemScores]]) -> None:
    """Print the figures in percent, with a row for each set of recordings."""
    print("| recordings | segments | " + " | ".join(COLUMNS) + " |")
    print("|---" * (len(COLUMNS) + 2) + "|")
    for name, system in rows:
        figures = system.figures
        cells = [percent(figures.get(column)) for column in COLUMNS]
        print(f"| {name} | {figures['missed'].n:g} | " + " | ".join(cells) + " |", flush=True)


def composed(corpora: Sequence[str], folder: Path, counts: Sequence[int], seeds: int) -> None:
    """Print the results by number of speakers and noise."""

    def rows() -> Iterator[tuple[str, SystemScores]]:
        everything = []
        for corpus in corpora:
            for count in counts:
                for noise in (None, 10.0):
                    jobs = [
                        job_of(bag, [truth])
                        for bag, truth in (
                            compose(corpus, count, noise, seed, folder) for seed in range(seeds)
                        )
                    ]
                    recordings = [kept.load() for kept in run(jobs, folder / "kept")]
                    everything += recordings
                    heard = "quiet" if noise is None else f"{noise:g} dB, a room"
                    yield f"{corpus}, {count} speakers, {heard}", scored(recordings)
        yield "all", scored(everything)

    table(rows())


def recorded(folder: Path) -> None:
    """Print the results for the call and for AMI."""
    annotations = data_folder() / "ami_diarization_30s"

    def rows() -> Iterator[tuple[str, SystemScores]]:
        bag = folder / "sample"
        if not bag.exists():
            fields = (line.split(maxsplit=5) for line in (annotations / "sample.stm").open())
            phrases = [Phrase(float(f[3]), float(f[4]), f[5].strip()) for f in fields]
            write_conversation(bag, call().samples, phrases)
        truth = [annotations / "sample.stm"]
        yield "the call, annotated by phrases", scored([evaluate(job_of(bag, truth))])
        yield (
            "the call, annotated by turns",
            scored([evaluate(job_of(bag, [annotations / "sample.rttm"]))]),
        )
        for part in ("train", "development"):
            jobs = []
            for meeting in meetings(part):
                bag, turns = folder / meeting.name, folder / f"{meeting.name}.rttm"
                if not bag.exists():
                    write_conversation(bag, meeting.samples, [])
                lines = (
                    f"SPEAKER {meeting.name} 1 {turn.start:.3f} {turn.end - turn.start:.3f} <NA> "
                    f"<NA> {turn.speaker} <NA> <NA>\n"
                    for turn in meeting.turns
                )
                turns.write_text("".join(lines))
                jobs.append(job_of(bag, [turns]))
            recordings = [kept.load() for kept in run(jobs, folder / "kept")]
            yield f"AMI {part}, {len(jobs)} excerpts of 30 s, no words", scored(recordings)

    table(rows())


# --- effect of each part ---


def links(folder: Path, seeds: int) -> None:
    """Print the results for changed speakers, words and modalities of the same utterances."""
    jobs = [
        job_of(*(bag, [truth]))
        for count in (2, 3)
        for seed in range(seeds)
        for bag, truth in [compose("MELD", count, None, seed, folder, seen=True)]
    ]
    recordings = [kept.load() for kept in run(jobs, folder / "kept")]
    print("| speakers | text | modalities | utterances | weighted F1 | accuracy |")
    print("|---|---|---|---|---|---|")
    for speakers in ("found", "true"):
        for text in ("true", f"{WORDS_WRONG:.0%} of the words wrong"):
            for left_out in ("nothing", "text", "audio", "visual"):
                recognition = Recognition(SHIPPED.robot.pipeline)
                answered = [
                    pair
                    for recording in recordings
                    for pair in _again(recording, recognition, speakers == "true", text, left_out)
                ]
                recognition.close()
                labels = recordings[0].labels
                true, said = np.array(answered, np.int64).T
                modalities = "all" if left_out == "nothing" else f"without {left_out}"
                print(
                    f"| {speakers} | {text} | {modalities} | {len(true)} | "
                    f"{100 * weighted_f1(true, said, len(labels)):.1f} | "
                    f"{100 * accuracy(true, said, len(labels)):.1f} |",
                    flush=True,
                )


def _again(
    recording: Recording, recognition: Recognition, true_speakers: bool, text: str, left_out: str
) -> Iterator[tuple[int, int]]:
    """Yield the (reference, estimated) label of every matched utterance in order."""
    assert recording.truth is not None
    random = np.random.default_rng(0)
    segments = recording.truth.segments
    of = {m.prediction: m.truth for m in match(segments, recording.predictions)}
    people = list(dict.fromkeys(segment.speaker for segment in segments))
    for number, prediction in enumerate(recording.predictions):
        place = of.get(number)
        segment = segments[place] if place is not None else None
        words = prediction.text if text == "true" else misheard(prediction.text, random)
        speaker = prediction.speaker
        if true_speakers and segment is not None:
            speaker = str(people.index(segment.speaker))
        audio = prediction.audio if left_out != "audio" else None
        utterance = Utterance(
            f"{recording.name} {prediction.conversation_id}",
            prediction.utterance_id,
            prediction.start,
            prediction.end,
            text=words if left_out != "text" else "",
            speaker_id=speaker,
            audio=np.zeros(0, np.int16) if audio is None else audio,
            faces=_face(prediction) if left_out != "visual" else (),
        )
        for event in recognition.feed(UtteranceEvent(utterance)):
            assert isinstance(event, EstimateEvent)
            if segment is not None and segment.emotion is not None:
                # use the most probable label also below `min_confidence`
                answered = int(np.argmax(event.estimate.probabilities))
                yield recording.labels.index(segment.emotion), answered


def _face(prediction: Prediction) -> tuple[FaceCrop, ...]:
    """Return the stored crop of a prediction, which is the middle one."""
    if prediction.face is None:
        return ()
    pixels = cv2.imdecode(np.frombuffer(prediction.face, np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    return (FaceCrop((prediction.start + prediction.end) // 2, pixels.astype(np.uint8)),)


def misheard(text: str, random: np.random.Generator) -> str:
    """Delete some words, and replace some by another word of the sentence."""
    words = text.split()
    heard: list[str] = []
    for word in words:
        if random.random() >= WORDS_WRONG:
            heard.append(word)
        elif random.random() < 0.5:
            heard.append(words[int(random.integers(len(words)))])
    return " ".join(heard)


# --- speed ---


def speed(folder: Path, minutes: float) -> None:
    """Measure `erc evaluate` on a bag with a camera (640x480, 15 Hz), audio and texts.

    The command runs in a separate process; then again with cached estimates.
    """
    bag, out = folder / f"camera-{minutes:g}-minutes", folder / f"speed-{time.time_ns()}"
    if not bag.exists():
        sound, phrases = _long(minutes * 60)
        seen = phrases[::3]
        write_conversation(bag, sound, phrases, portrait(seen))
    size = sum(file.stat().st_size for file in bag.rglob("*") if file.is_file()) / 2**20
    wall, cpu, peak = _timed_command("evaluate-bag", str(bag), "--out", str(out))
    again, _, _ = _timed_command("evaluate-bag", str(bag), "--out", str(out))
    (recording,) = json.loads((out / "scores.json").read_text())["recordings"]
    length = recording["duration_s"]
    print(description())
    print(
        f"{length / 60:.1f} minutes of bag ({size:.0f} MiB, {recording['utterances']} "
        f"utterances): {wall:.1f} s, {length / wall:.1f} times real time, of these {again:.1f} s "
        f"to start and for scores, report and exports; {cpu:.1f} s of processor, "
        f"{length / cpu:.1f} times; peak memory {peak:.0f} MiB"
    )


# A small intermediate process: Linux includes the memory of the parent in the peak of a child, and
# this process may have generated an hour of audio and images.
WATCH = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss)
sys.exit(status)
"""


def _timed_command(*arguments: str) -> tuple[float, float, float]:
    """Run `erc` and return its wall time (s), CPU time (s) and peak memory (MiB).

    Raises:
        RuntimeError: the command failed.
    """
    began = time.perf_counter()
    command = [sys.executable, "-c", WATCH, sys.executable, "-m", "erc_ros.cli", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        raise RuntimeError(f"erc {' '.join(arguments)} failed")
    used, peak = map(float, done.stdout.split())
    return time.perf_counter() - began, used, peak / 2**10


def _long(duration: float) -> tuple[NDArray[np.float32], list[Phrase]]:
    random = np.random.default_rng(0)
    sound = random.standard_normal(int((duration + 20) * SAMPLE_RATE)).astype(np.float32) * 1e-3
    phrases, now = [], 1.0
    lines = meld(3, random)
    known = [line for _, line in zip(range(120), lines, strict=False)]
    place = 0
    while now < duration:
        line = known[place % len(known)]
        place += 1
        first, length = int(now * SAMPLE_RATE), len(line.sound)
        sound[first : first + length] += line.sound * 0.5
        phrases.append(Phrase(now, now + length / SAMPLE_RATE, line.text))
        now += length / SAMPLE_RATE + float(random.uniform(*PAUSE))
    return np.clip(sound[: int((now + 1) * SAMPLE_RATE)], -1, 1), phrases


def workers(folder: Path, seeds: int) -> None:
    """Evaluate the same recordings with 1 and 2 processes, and print time and memory."""
    made = [compose("MELD", 3, None, seed, folder) for seed in range(seeds)]
    jobs = [job_of(bag, [truth]) for bag, truth in made]
    print(description(), flush=True)
    for number in (1, 2):
        out = folder / f"kept-{number}-{time.time_ns()}"
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak
        after: list[float] = []

        def watch(done: float, after: list[float] = after) -> None:
            if int(done) > len(after):
                after.append(_peak(os.getpid()))

        began = time.perf_counter()
        recordings = [kept.load() for kept in run(jobs, out, number, watch=watch)]
        wall = time.perf_counter() - began
        length = sum(recording.duration for recording in recordings) / NS
        if number == 1:
            memory = "peak memory after each: " + ", ".join(f"{each:.0f}" for each in after)
        else:
            peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**10
            memory = f"peak memory of a worker: {peak:.0f}"
        print(
            f"{number} workers: {len(jobs)} recordings, {length / 60:.1f} minutes, in {wall:.1f} "
            f"s, {length / wall:.1f} times real time; {memory} MiB",
            flush=True,
        )


def _peak(process: int) -> float:
    """Return the peak memory of a process in MiB; 0 if it has ended."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0.0
    lines = [line.split() for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(lines[0][1]) / 2**10 if lines else 0.0


def main(argv: Sequence[str] | None = None) -> int:
    """Print one table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recordings", description=__doc__)
    parser.add_argument(
        "what", choices=("acted", "unseen", "spoken", "recorded", "links", "speed", "workers")
    )
    parser.add_argument("--out", type=Path, default=Path("out/recordings"))
    parser.add_argument("--seeds", type=int, default=2, help="conversations of each kind")
    parser.add_argument("--speakers", type=int, nargs="+", help="in a composed conversation")
    parser.add_argument("--minutes", type=float, default=60.0, help="of the bag for speed")
    options = parser.parse_args(argv)
    options.out.mkdir(parents=True, exist_ok=True)
    if options.what == "acted":
        composed(
            ("RAVDESS", "RAVDESS unread", "EmoDB", "nEMO"),
            options.out,
            options.speakers or (2, 3, 4),
            options.seeds,
        )
    elif options.what == "unseen":
        corpora = ("RAVDESS held out", "EmoDB held out", "nEMO held out")
        composed(corpora, options.out, options.speakers or (2,), options.seeds)
    elif options.what == "spoken":
        composed(("MELD",), options.out, options.speakers or (2, 3), options.seeds)
    elif options.what == "recorded":
        recorded(options.out)
    elif options.what == "links":
        links(options.out, options.seeds)
    elif options.what == "speed":
        speed(options.out, options.minutes)
    else:
        workers(options.out, options.seeds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
