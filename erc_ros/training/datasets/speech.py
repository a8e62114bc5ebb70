"""What every speech corpus becomes: labelled clips of known speakers, mono, silence cut off."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from erc_ros.dialogue.utterance import SAMPLE_RATE

SUFFIXES = {".wav", ".flac"}
SHORTEST = 0.3  # s of speech; less tells nothing
QUIET = 35.0  # dB below the loudest 20 ms: silence at the ends, as voice activity would cut it
MARGIN = 0.1  # s of it that stays


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """One sentence. speaker: unique over all corpora. label: index into utterances.LABELS."""

    corpus: str
    speaker: str
    sex: str  # "female" or "male", so that folds have both
    label: int
    name: str
    samples: NDArray[np.float32]  # (n,) in [-1, 1], SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class Entry:
    """What a file's name says. label None: an emotion that is left out."""

    speaker: str
    sex: str
    emotion: str
    label: int | None


@dataclass(frozen=True, eq=False)
class Corpus:
    """The usable clips, ordered by name, and how many files were left out, per reason."""

    clips: tuple[Clip, ...]
    skipped: Counter[str] = field(default_factory=Counter)


class UnusableSoundError(ValueError):
    """A file that is no clip; the message is the reason, short enough to be counted by."""


def read_corpus(
    folder: Path, corpus: str, parse: Callable[[str], Entry], longest: float | None = None
) -> Corpus:
    """Every sound file below `folder`; what cannot be used is left out and counted.

    Args:
        parse: a file's name without its ending -> entry; raises ValueError for a name of no clip.
        longest: s; only so much of a file's beginning is used.

    Raises:
        FileNotFoundError: no such folder, or no usable clip in it.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is missing: the corpus {corpus} is expected there")
    skipped: Counter[str] = Counter()
    clips = []
    seen: set[bytes] = set()
    for file in _sound_files(folder):
        try:
            entry = _parse(parse, file.stem)
            if entry.label is None:
                raise UnusableSoundError(f"emotion {entry.emotion} left out")
            samples = trim(read_sound(file, longest))
            digest = hashlib.sha256(samples.tobytes()).digest()
            if digest in seen:
                raise UnusableSoundError("repeated")
        except UnusableSoundError as reason:
            skipped[f"{corpus}: {reason}"] += 1
            continue
        seen.add(digest)
        speaker = f"{corpus}-{entry.speaker}"
        clips.append(Clip(corpus, speaker, entry.sex, entry.label, file.stem, samples))
    if not clips:
        raise FileNotFoundError(f"{folder} has no usable clip of {corpus} ({dict(skipped)})")
    return Corpus(tuple(clips), skipped)


def read_sound(file: Path, longest: float | None = None) -> NDArray[np.float32]:
    """A sound file as (n,) float32 at SAMPLE_RATE; channels are averaged.

    Raises:
        UnusableSoundError: unreadable, cut short, empty or not finite.
    """
    try:
        with soundfile.SoundFile(file) as sound:
            promised, rate = sound.frames, sound.samplerate
            samples = sound.read(dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
        raise UnusableSoundError("unreadable") from error
    if promised == 0:
        raise UnusableSoundError("empty")
    if len(samples) < promised:
        raise UnusableSoundError("truncated")
    if not np.isfinite(samples).all():
        raise UnusableSoundError("not finite")
    mono = samples.mean(axis=1)
    if rate != SAMPLE_RATE:
        mono = soxr.resample(mono, rate, SAMPLE_RATE)
    if longest is not None:
        mono = mono[: round(longest * SAMPLE_RATE)]
    return np.ascontiguousarray(mono, np.float32)


def trim(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Without the silence at both ends, but for a margin.

    Raises:
        UnusableSoundError: nothing but silence, or too little speech.
    """
    block = SAMPLE_RATE // 50
    blocks = samples[: len(samples) // block * block].reshape(-1, block)
    power = np.square(blocks, dtype=np.float64).mean(axis=1)
    if power.max(initial=0) == 0:
        raise UnusableSoundError("silent")
    loud = np.flatnonzero(power > power.max() * 10 ** (-QUIET / 10))
    if (loud[-1] - loud[0] + 1) * block < SHORTEST * SAMPLE_RATE:
        raise UnusableSoundError("too short")
    margin = round(MARGIN * SAMPLE_RATE)
    return samples[max(0, loud[0] * block - margin) : (loud[-1] + 1) * block + margin]


def together(corpora: Iterable[Corpus]) -> Corpus:
    """All of them as one."""
    chosen = list(corpora)
    skipped: Counter[str] = Counter()
    for corpus in chosen:
        skipped += corpus.skipped
    return Corpus(tuple(clip for corpus in chosen for clip in corpus.clips), skipped)


def _sound_files(folder: Path) -> Iterator[Path]:
    # By name, not by folder: the order must not depend on where a file lies.
    files = (file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)
    return iter(sorted(files, key=lambda file: (file.stem, str(file))))


def _parse(parse: Callable[[str], Entry], stem: str) -> Entry:
    try:
        return parse(stem)
    except ValueError as error:
        raise UnusableSoundError("wrong name") from error
