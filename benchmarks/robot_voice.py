"""Detection of the robot's own voice: false utterances, muted replies and barge-in.

    python -m benchmarks.robot_voice [--seeds 3] [--part tail] [--part answers] ...

Simulated data: eSpeak voices and EmoDB clips as the robot, RAVDESS clips as people ($ERC_DATA),
with simulated reverberation (decaying noise). No loudspeaker and no robot were used.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.signal import oaconvolve

from benchmarks.conversations import LEVEL, RATE, Samples, add_noise, speakers
from erc_ros.demo.conversation_bag import DIALOGUE, VOICES
from erc_ros.demo.voices import synthesiser
from erc_ros.dialogue.assembler import (
    AssemblerConfig,
    Event,
    TextCorrected,
    UtteranceAssembler,
    UtteranceEvent,
)
from erc_ros.dialogue.robot_voice import RobotGateConfig
from erc_ros.dialogue.voice_activity import SileroVoiceActivity
from erc_ros.sensing.audio import AudioSamples
from erc_ros.training.datasets.folder import data_folder
from erc_ros.values.nanoseconds import NS, seconds
from erc_ros.values.transcript import Transcript
from erc_ros.values.utterance import Utterance

ORIGIN = 1_700_000_000 * NS
CHUNK = 512
ROOMS = (0.2, 0.4, 0.8)  # s, RT60
VOLUME, DISTANCE = 50.0, 1.0  # m3, volume of the room; m, distance of both speakers
PLAYBACK = (0.0, 0.1, 0.2)  # s from /robot_speaking to the playback
TAILS = (0.0, 0.1, 0.2, 0.3, 0.5, 0.8)  # s
GAPS = (0.2, 0.5, 1.0)  # s from the end of the robot's speech to the reply
LOUDER = (-5, 0, 5, 10, 15)  # dB, level of the person relative to the robot
GATES = ("robot_speaking", "reference channel")
TEXT_AFTER = (0.0, 0.5, 1.0, 2.0, 3.0)  # s, robot_gate.text_delay
TEXT_DELAYS = {"0.3 to 0.8 s": (0.3, 0.8), "0.5 to 1.5 s": (0.5, 1.5), "1 to 3 s": (1.0, 3.0)}
NOISE = 30.0  # dB below the speech
FIRST_SEED = 2  # the settings of the gate were tuned on seeds 0 and 1
EXCHANGES = 8  # exchanges per session with one room and one robot
LEAST_CUT = 0.2  # s, muted beginning of a reply that counts as a lost syllable
LONG = 8.0  # s, duration of the robot's speech with barge-in
PATIENT = (2.5, 4.0)

Span = tuple[float, float]  # s


@dataclass(frozen=True, slots=True, eq=False)
class Exchange:
    """Speech of the robot, and of a person who begins `after` s after the robot."""

    robot: Samples
    person: Samples | None = None
    after: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Session:
    """Simulated audio: samples (n,) of the microphone, played (n,) of the reference channel.

    announced: spans of /robot_speaking. robot, people: spans of their direct sound. In s.
    """

    samples: Samples
    played: Samples
    announced: tuple[Span, ...]
    robot: tuple[Span, ...]
    people: tuple[Span, ...]


# --- rooms, voices ---


def room(rt60: float, random: np.random.Generator) -> Samples:
    """Return an impulse response of unit energy, with the direct-to-diffuse ratio by Sabine."""
    critical = 0.057 * np.sqrt(VOLUME / rt60)  # m
    decay = 10 ** (-3 * np.arange(int(1.2 * rt60 * RATE)) / (rt60 * RATE))
    diffuse = random.normal(0, 1, len(decay)) * decay
    response = diffuse / np.sqrt(np.sum(diffuse**2))
    response[0] += critical / DISTANCE
    return (response / np.sqrt(np.sum(response**2))).astype(np.float32)


def robots() -> dict[str, list[list[Samples]]]:
    """Return kind of voice -> clips of each voice."""
    engine = synthesiser()
    spoken = [
        [_trimmed(engine.say(turn.text, voice, turn.delivery)) for turn in DIALOGUE]
        for voice in VOICES
    ]
    recorded = [clips for name, clips in speakers(1).items() if name.startswith("emodb")]
    return {"synthetic": spoken, "recorded": recorded}


def people() -> list[list[Samples]]:
    """Return the clips of each person."""
    return [clips for name, clips in speakers(0).items() if name.startswith("ravdess")]


def _trimmed(sound: Samples) -> Samples:
    loud = np.flatnonzero(np.abs(sound) > 0.01)
    return sound[loud[0] : loud[-1] + 1]


def _at_level(sound: Samples, decibels: float = 0.0) -> Samples:
    rms = float(np.sqrt(np.mean(np.square(sound, dtype=np.float64)))) or 1.0
    return (sound * (LEVEL * 10 ** (decibels / 20) / rms)).astype(np.float32)


def perform(
    exchanges: Iterable[Exchange], rt60: float, playback: float, random: np.random.Generator
) -> Session:
    """Simulate the exchanges in one room, with pauses of 2.5 s."""
    placed, now = [], 1.0
    for exchange in exchanges:
        length = len(exchange.robot) / RATE
        announced = (now, now + length)
        begin = now + playback
        now = begin + length
        person: Span | None = None
        if exchange.person is not None:
            first = begin + exchange.after
            person = (first, first + len(exchange.person) / RATE)
            now = max(now, person[1])
        placed.append((exchange, announced, (begin, begin + length), person))
        now += 2.5
    count = int(np.ceil(now)) * RATE
    played, robot, human = (np.zeros(count, np.float32) for _ in range(3))
    for exchange, announced, heard, person in placed:
        _add(played, exchange.robot, announced[0])
        _add(robot, exchange.robot, heard[0])
        if exchange.person is not None and person is not None:
            _add(human, exchange.person, person[0])
    wet = oaconvolve(robot, room(rt60, random))[:count]
    wet = wet + oaconvolve(human, room(rt60, random))[:count]
    return Session(
        np.clip(add_noise(wet.astype(np.float32), NOISE, random), -1, 1),
        played,
        tuple(announced for _, announced, _, _ in placed),
        tuple(heard for _, _, heard, _ in placed),
        tuple(person for _, _, _, person in placed if person is not None),
    )


def _add(track: Samples, sound: Samples, time: float) -> None:
    first = int(time * RATE)
    track[first : first + len(sound)] += sound


# --- processing ---


def at(time: float) -> int:
    """Convert a time in the session from s to ns."""
    return ORIGIN + seconds(time)


def listen(
    session: Session,
    config: AssemblerConfig,
    gate: str = GATES[0],
    texts: Sequence[Transcript] = (),
) -> list[Utterance]:
    """Return the final utterances, with corrections for late texts."""
    ears, events = UtteranceAssembler(config, SileroVoiceActivity()), list[Event]()
    said = [(at(t), n % 2 == 0) for n, t in enumerate(np.ravel(session.announced).tolist())]
    waiting = sorted(texts, key=lambda text: text.arrival)
    for first in range(0, len(session.samples), CHUNK):
        start = ORIGIN + first * NS // RATE
        while gate == GATES[0] and said and said[0][0] <= start:
            events += ears.feed_robot_speaking(*said.pop(0))
        while waiting and waiting[0].arrival <= start:
            events += ears.feed_transcript(waiting.pop(0))
        part = slice(first, first + CHUNK)
        played = session.played[part] if gate == GATES[1] else None
        events += ears.feed_audio(AudioSamples(start, session.samples[part], played))
    for text in waiting:
        events += ears.feed_transcript(text)
    events += ears.flush()
    told = [event for event in events if isinstance(event, (UtteranceEvent, TextCorrected))]
    return [event.utterance for event in told if event.utterance.is_final]


def heard(utterance: Utterance) -> Span:
    """Return start and end of the audio that was not muted (muted samples are zeros)."""
    kept = np.flatnonzero(utterance.audio)
    start = (utterance.end - ORIGIN) / NS - len(utterance.audio) / RATE
    if not len(kept):
        return start, start
    return start + kept[0] / RATE, start + kept[-1] / RATE


def common(first: Span, second: Span) -> float:
    """Return the common duration (s) of two spans."""
    return max(0.0, min(first[1], second[1]) - max(first[0], second[0]))


def begun(person: Span, utterances: Sequence[Utterance]) -> float | None:
    """Return the s from the start of a person's speech to the first unmuted audio, or None."""
    delays = [
        span[0] - person[0] for span in map(heard, utterances) if common(span, person) >= LEAST_CUT
    ]
    return min(delays, default=None)


def false_utterances(session: Session, utterances: Sequence[Utterance]) -> list[bool]:
    """Return for each speech of the robot only whether it caused an utterance."""
    starts = [heard(utterance)[0] for utterance in utterances]
    return [any(first <= start < last + 2.0 for start in starts) for first, last in session.robot]


# --- tables ---

Voices = Sequence[list[Samples]]
Shares = dict[float, list[tuple[int, float]]]  # varied parameter -> (seed, 0 or 1)


@dataclass(frozen=True)
class Cast:
    """Voices of the sessions."""

    robots: dict[str, list[list[Samples]]]
    people: list[list[Samples]]
    seeds: int

    def sessions(
        self, make: Callable[[Voices, np.random.Generator], Session]
    ) -> Iterable[tuple[int, Session]]:
        """Yield (seed, session) of each kind of robot voice; make gets the clips of both."""
        for seed in range(FIRST_SEED, FIRST_SEED + self.seeds):
            for number, voices in enumerate(self.robots.values()):
                random = np.random.default_rng((seed, number))
                yield seed, make([voices[seed % len(voices)], *self.people], random)


def spoken(voices: Voices, random: np.random.Generator) -> tuple[Samples, Samples]:
    """Draw a clip of the robot and one of a person, at the same level."""
    robot, *people = voices
    person = people[random.integers(len(people))]
    return (
        _at_level(robot[random.integers(len(robot))]),
        _at_level(person[random.integers(len(person))]),
    )


def alone(rt60: float, playback: float) -> Callable[[Voices, np.random.Generator], Session]:
    """Return a function that simulates sessions of the robot only."""

    def make(voices: Voices, random: np.random.Generator) -> Session:
        said = [spoken(voices, random)[0] for _ in range(EXCHANGES)]
        return perform(map(Exchange, said), rt60, playback, random)

    return make


def answered(
    rt60: float, playback: float, gap: float
) -> Callable[[Voices, np.random.Generator], Session]:
    """Return a function that simulates replies `gap` s after the robot's speech."""

    def make(voices: Voices, random: np.random.Generator) -> Session:
        pairs = [spoken(voices, random) for _ in range(EXCHANGES)]
        exchanges = [Exchange(r, p, len(r) / RATE + gap) for r, p in pairs]
        return perform(exchanges, rt60, playback, random)

    return make


def interrupted(
    rt60: float, playback: float, decibels: float | None
) -> Callable[[Voices, np.random.Generator], Session]:
    """Return a function that simulates barge-in at a relative level; None: no barge-in."""

    def make(voices: Voices, random: np.random.Generator) -> Session:
        exchanges = []
        for _ in range(EXCHANGES):
            said, person = np.zeros(0, np.float32), spoken(voices, random)[1]
            while len(said) < LONG * RATE:
                said = np.concatenate([said, spoken(voices, random)[0]])
            after = random.uniform(*PATIENT)
            over = None if decibels is None else _at_level(person, decibels)
            exchanges.append(Exchange(said, over, after))
        return perform(exchanges, rt60, playback, random)

    return make


def by_seed(counts: Sequence[tuple[int, float]]) -> str:
    """Format (seed, value) as mean and standard deviation over seeds in percent."""
    means = [
        100 * np.mean([value for seed, value in counts if seed == each])
        for each in sorted({seed for seed, _ in counts})
    ]
    return f"{np.mean(means):.0f} ± {np.std(means):.0f}"


def header(*cells: object) -> None:
    """Print the header of a table."""
    row(*cells)
    print("|" + "---|" * len(cells))


def row(*cells: object) -> None:
    """Print a row of a table."""
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def listening(tail: float) -> AssemblerConfig:
    """Return a config in which speech does not wait for text."""
    return AssemblerConfig(expect_text="never", robot_tail=tail)


def tail_table(cast: Cast) -> None:
    """Print the false utterances by `robot_tail`."""
    header("RT60", "playback delay", *(f"{tail} s" for tail in TAILS))
    for rt60 in ROOMS:
        for playback in PLAYBACK:
            shares: Shares = defaultdict(list)
            for seed, session in cast.sessions(alone(rt60, playback)):
                for tail in TAILS:
                    wrong = false_utterances(session, listen(session, listening(tail)))
                    shares[tail] += [(seed, float(value)) for value in wrong]
            row(f"{rt60} s", f"{playback} s", *(by_seed(shares[tail]) for tail in TAILS))


def answers_table(cast: Cast) -> None:
    """Print the answers with a muted beginning by `robot_tail`, and with a reference channel."""
    header("answer after", *(f"{tail} s" for tail in TAILS), GATES[1])
    for gap in GAPS:
        counts: dict[tuple[str, float], list[tuple[int, float]]] = defaultdict(list)
        kinds = [*((GATES[0], tail) for tail in TAILS), (GATES[1], 0.3)]
        for rt60 in ROOMS:
            for seed, session in cast.sessions(answered(rt60, 0.1, gap)):
                for gate, tail in kinds:
                    utterances = listen(session, listening(tail), gate)
                    for person in session.people:
                        delay = begun(person, utterances)
                        is_cut = delay is None or delay >= LEAST_CUT
                        counts[gate, tail].append((seed, float(is_cut)))
        row(f"{gap} s", *(by_seed(counts[kind]) for kind in kinds))


def barge_table(cast: Cast) -> None:
    """Print the detection rate and delay of barge-in."""
    header("gate", "person louder by", *(f"RT60 {rt60} s" for rt60 in ROOMS), "delay in s")
    for decibels in LOUDER:
        counts: dict[tuple[str, float], list[tuple[int, float]]] = defaultdict(list)
        delays: dict[str, list[float]] = defaultdict(list)
        for rt60 in ROOMS:
            for seed, session in cast.sessions(interrupted(rt60, 0.1, decibels)):
                for gate in GATES:
                    utterances = listen(session, listening(0.3), gate)
                    for person in session.people:
                        delay = begun(person, utterances)
                        counts[gate, rt60].append((seed, float(delay is not None)))
                        delays[gate] += [] if delay is None else [delay]
        for gate in GATES:
            shares = [by_seed(counts[gate, rt60]) for rt60 in ROOMS]
            late = np.quantile(delays[gate] or [np.nan], (0.5, 0.9))
            row(gate, f"{decibels} dB", *shares, "{:.1f}, {:.1f}".format(*late))


def false_table(cast: Cast) -> None:
    """Print the rate of false barge-in."""
    header("gate", "playback delay", *(f"RT60 {rt60} s" for rt60 in ROOMS))
    for playback in PLAYBACK:
        rates: dict[str, list[str]] = defaultdict(list)
        for rt60 in ROOMS:
            counts, minutes = dict.fromkeys(GATES, 0), 0.0
            for _, session in cast.sessions(interrupted(rt60, playback, None)):
                minutes += sum(last - first for first, last in session.robot) / 60
                for gate in GATES:
                    counts[gate] += len(listen(session, listening(0.3), gate))
            for gate in GATES:
                rates[gate].append(f"{counts[gate] / minutes:.1f}")
        for gate in GATES:
            row(gate, f"{playback} s", *rates[gate])


def recognised(
    session: Session, delay: Span, tells_times: bool, random: np.random.Generator
) -> list[Transcript]:
    """Simulate a speech recognizer that also transcribes the robot."""
    texts = []
    for who, spans in (("robot", session.robot), ("person", session.people)):
        for n, span in enumerate(spans):
            text = f"{who} {n}".ljust(int((span[1] - span[0]) / 0.065), "-")
            start, end = (at(span[0]), at(span[1])) if tells_times else (None, None)
            arrival = at(span[1] + random.uniform(*delay))
            texts.append(Transcript(text, arrival, start=start, end=end))
    return texts


def text_table(cast: Cast) -> None:
    """Print the share of published texts of the robot, and of lost texts of replies."""
    header("ASR delay", "ASR times", *(f"{after} s" for after in TEXT_AFTER))
    for name, delay in TEXT_DELAYS.items():
        for tells in ("start and end", "arrival"):
            robots: Shares = defaultdict(list)
            lost: Shares = defaultdict(list)
            for seed, session in cast.sessions(answered(0.4, 0.1, 1.0)):
                random = np.random.default_rng(seed)
                texts = recognised(session, delay, tells != "arrival", random)
                for after in TEXT_AFTER:
                    gate = RobotGateConfig(text_delay=after)
                    config = AssemblerConfig(expect_text="always", robot_gate=gate)
                    heard = listen(session, config, texts=texts)
                    came = " ".join(utterance.text for utterance in heard)
                    for n in range(EXCHANGES):
                        robots[after].append((seed, float(f"robot {n}-" in came)))
                        lost[after].append((seed, float(f"person {n}-" not in came)))
            shares = (f"{by_seed(robots[after])}; {by_seed(lost[after])}" for after in TEXT_AFTER)
            row(name, tells, *shares)


TABLES = {
    "tail": tail_table,
    "answers": answers_table,
    "barge-in": barge_table,
    "false": false_table,
    "texts": text_table,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--part", choices=TABLES, action="append", help="default: all")
    options = parser.parse_args(argv)
    if not data_folder().is_dir():
        print(f"{data_folder()} has no recordings: set ERC_DATA", file=sys.stderr)
        return 2
    cast = Cast(robots(), people(), options.seeds)
    for part in options.part or TABLES:
        print(f"\n{part}: {options.seeds} seeds, simulated\n")
        TABLES[part](cast)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
