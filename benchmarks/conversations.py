"""Conversations with reference turns: composed of recorded clips, and real recordings.

Composed conversations consist of clips of RAVDESS, EmoDB and AMI training excerpts, with simulated
reverberation, overlap and noise. Results on them are marked "composed".
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from erc_ros.training.datasets.folder import data_folder

RATE = 16_000
LEVEL = 0.03  # RMS of a turn
LEVELS = 3.0  # dB, standard deviation of the levels of speakers
PAUSE = (0.1, 1.2)  # s, between turns that do not overlap
CLIPS_IN_TURN = (1, 3)
AMI_TURN = (1.0, 6.0)  # s, duration of a turn from a meeting

Samples = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Turn:
    """Speech of a speaker from `start` to `end` (s)."""

    start: float
    end: float
    speaker: str


@dataclass(frozen=True, slots=True, eq=False)
class Conversation:
    """samples: (n,) at 16 kHz. turns: reference turns, sorted by start."""

    name: str
    samples: Samples
    turns: tuple[Turn, ...]

    @property
    def duration(self) -> float:
        return len(self.samples) / RATE


def read(path: Path) -> Samples:
    """Read a mono recording at 16 kHz.

    Raises:
        ValueError: the rate differs, or there are several channels.
    """
    samples, rate = soundfile.read(path, dtype="float32")
    if rate != RATE or samples.ndim != 1:
        raise ValueError(f"{path}: {rate} Hz, shape {samples.shape}; must be {RATE} Hz, mono")
    return np.asarray(samples, np.float32)


def read_rttm(path: Path) -> dict[str, tuple[Turn, ...]]:
    """Return the turns of every recording in an RTTM file; ñ in names is replaced by n."""
    turns_of: dict[str, list[Turn]] = defaultdict(list)
    for line in path.read_text("utf-8").splitlines():
        if not line.strip():
            continue
        _, name, _, start, duration, _, _, speaker, *_ = line.split()
        turn = Turn(float(start), float(start) + float(duration), speaker)
        turns_of[name.replace("ñ", "n")].append(turn)
    return {name: tuple(sorted(turns, key=lambda t: t.start)) for name, turns in turns_of.items()}


def meetings(part: str) -> list[Conversation]:
    """Return the AMI excerpts of `part`: train or development."""
    folder = data_folder() / "ami_diarization_30s"
    truth = read_rttm(folder / f"debug.{part}.rttm")
    return [Conversation(n, read(folder / f"{n}.flac"), truth[n]) for n in sorted(truth)]


def call() -> Conversation:
    """Return the telephone call of two people."""
    folder = data_folder() / "ami_diarization_30s"
    return Conversation(
        "call", read(folder / "sample.flac"), read_rttm(folder / "sample.rttm")["sample"]
    )


# --- composed ---


def speakers(half: int) -> dict[str, list[Samples]]:
    """Return the clips of every speaker of one half (0: for tuning, 1: for the report).

    RAVDESS alternates male and female actors and is divided by pairs, EmoDB by the order of the
    speakers, AMI by meetings.
    """
    folder = data_folder()
    clips_of: dict[str, list[Samples]] = {}
    for actor in range(1, 25):
        if (actor - 1) // 2 % 2 == half:
            paths = sorted((folder / f"ravdess_speech_16k/Actor_{actor:02d}").glob("*.flac"))
            clips_of[f"ravdess{actor:02d}"] = [_loud_part(read(path)) for path in paths[::2]]
    clips: dict[str, list[Path]] = defaultdict(list)
    for path in sorted((folder / "emodb" / "full").rglob("*.flac")):
        clips[path.name[:2]].append(path)
    for place, (name, paths) in enumerate(sorted(clips.items())):
        if place // 2 % 2 == half:
            clips_of[f"emodb{name}"] = [_loud_part(read(path)) for path in paths]
    for name, turns in _said_alone(half).items():
        if len(turns) >= 2:
            clips_of[f"ami {name}"] = turns
    return clips_of


def _loud_part(samples: Samples) -> Samples:
    """Remove silence at both ends: from the first to the last loud 20 ms."""
    frames = samples[: len(samples) // 320 * 320].reshape(-1, 320)
    level = np.sqrt(np.mean(np.square(frames), axis=1))
    loud = np.flatnonzero(level > 0.1 * level.max())
    return samples[loud[0] * 320 : (loud[-1] + 1) * 320] if len(loud) else samples[:0]


def _said_alone(half: int) -> dict[str, list[Samples]]:
    parts: dict[str, list[Samples]] = defaultdict(list)
    for number, meeting in enumerate(meetings("train")):
        if number % 2 != half:
            continue
        for turn in meeting.turns:
            start = turn.start
            for other in meeting.turns:
                if other is not turn and other.start < turn.end and other.end > start:
                    start = max(start, other.end)
            while turn.end - start >= AMI_TURN[0]:
                end = min(turn.end, start + AMI_TURN[1])
                parts[turn.speaker].append(meeting.samples[int(start * RATE) : int(end * RATE)])
                start = end
    return parts


def compose(
    clips: dict[str, list[Samples]],
    count: int,
    duration: float,
    seed: int,
    overlap: float = 0.0,
    noise: float | None = None,
) -> Conversation:
    """Compose a conversation of `count` speakers of one corpus, about `duration` s long.

    overlap: share of the turns that begin before the previous one ends. noise: signal-to-noise
    ratio in dB, with reverberation; None: neither.

    Raises:
        ValueError: no corpus has so many speakers.
    """
    random = np.random.default_rng(seed)
    corpora: dict[str, list[str]] = defaultdict(list)
    for name in clips:
        corpora[name[:3]].append(name)
    large = sorted(corpus for corpus, names in corpora.items() if len(names) >= count)
    if not large:
        raise ValueError(f"no corpus has {count} speakers")
    chosen = random.permutation(corpora[large[seed % len(large)]])[:count].tolist()
    gains = {name: 10 ** (random.normal(0, LEVELS) / 20) for name in chosen}
    sound = np.zeros(int((duration + 60) * RATE), np.float32)
    turns: list[Turn] = []
    now, last = 0.5, ""
    while now < duration:
        # first each speaker once, then any speaker except the last one
        waiting = [name for name in chosen if name not in {t.speaker for t in turns}]
        speaker = str(random.choice(waiting or [n for n in chosen if n != last] or chosen))
        said = _turn(clips[speaker], random) * np.float32(gains[speaker])
        length = len(said) / RATE
        if turns and random.random() < overlap:
            now = max(turns[-1].start + 0.3, turns[-1].end - random.uniform(0.3, 1.5))
        first = int(now * RATE)
        sound[first : first + len(said)] += said
        turns.append(Turn(now, now + length, speaker))
        now, last = now + length + random.uniform(*PAUSE), speaker
    sound = sound[: int((max(turn.end for turn in turns) + 0.5) * RATE)]
    if noise is not None:
        sound = add_noise(reverberate(sound, random), noise, random)
    turns.sort(key=lambda turn: turn.start)
    name = f"{count} speakers, seed {seed}, overlap {overlap:.0%}, noise {noise}"
    return Conversation(name, np.clip(sound, -1, 1), tuple(turns))


def _turn(clips: Sequence[Samples], random: np.random.Generator) -> Samples:
    """Return one to three clips at the same level."""
    number = int(random.integers(CLIPS_IN_TURN[0], CLIPS_IN_TURN[1] + 1))
    chosen = [clips[place] for place in random.integers(0, len(clips), number)]
    said = np.concatenate(chosen)
    rms = float(np.sqrt(np.mean(np.square(said, dtype=np.float64)))) or 1.0
    return (said * np.float32(LEVEL / rms)).astype(np.float32)


def reverberate(sound: Samples, random: np.random.Generator) -> Samples:
    """Add simulated reverberation: exponentially decaying noise with an RT60 of 0.2 to 0.5 s."""
    from scipy.signal import oaconvolve

    length = int(random.uniform(0.2, 0.5) * RATE)
    decay = np.exp(-6.9 * np.arange(length) / length)
    response = random.normal(0, 1, length) * decay
    response *= random.uniform(0.3, 1.0) / np.sqrt(np.sum(response**2))  # relative to direct sound
    response[0] = 1.0
    wet: Samples = oaconvolve(sound, response.astype(np.float32))[: len(sound)].astype(np.float32)
    return wet


def add_noise(sound: Samples, decibels: float, random: np.random.Generator) -> Samples:
    """Add pink noise (-3 dB per octave), `decibels` below the speech."""
    spectrum = np.fft.rfft(random.normal(0, 1, len(sound)))
    frequencies = np.maximum(np.fft.rfftfreq(len(sound), 1 / RATE), 50.0)
    pink = np.fft.irfft(spectrum / np.sqrt(frequencies), len(sound))
    loud = np.abs(sound) > 1e-3
    speech = float(np.sqrt(np.mean(np.square(sound[loud], dtype=np.float64))))
    noise = pink * (speech * 10 ** (-decibels / 20) / np.sqrt(np.mean(pink**2)))
    return (sound + noise).astype(np.float32)
