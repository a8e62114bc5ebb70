"""What every speech corpus becomes: labelled clips of known speakers, mono, silence cut off."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from erc_ros.training.datasets.findings import NOTHING, Finding, Findings, joined
from erc_ros.training.datasets.utterances import LABELS, Conversation, LabelledUtterance, Split
from erc_ros.values.utterance import SAMPLE_RATE

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
class ClipLabel:
    """What a file's name says. label None: an emotion that is left out."""

    speaker: str
    sex: str
    emotion: str
    label: int | None


@dataclass(frozen=True, eq=False)
class SpeechCorpus:
    """The usable clips, ordered by name, and the files that were left out."""

    clips: tuple[Clip, ...]
    findings: Findings = NOTHING

    @property
    def skipped(self) -> Counter[str]:
        """How many files were left out, per reason."""
        return self.findings.counts()


class UnusableSoundError(ValueError):
    """A file that is no clip; the message is the reason, short enough to be counted by."""


def read_corpus(
    folder: Path, corpus: str, parse: Callable[[str], ClipLabel], longest: float | None = None
) -> SpeechCorpus:
    """Every sound file below `folder`; what cannot be used is left out and counted.

    Args:
        parse: a file's name without its ending -> entry; raises ValueError for a name of no clip.
        longest: s; only so much of a file's beginning is used.

    Raises:
        FileNotFoundError: no such folder, or no usable clip in it.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is missing: the corpus {corpus} is expected there")
    found = []
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
            found.append(_skipped(corpus, file, reason))
            continue
        seen.add(digest)
        speaker = f"{corpus}-{entry.speaker}"
        clips.append(Clip(corpus, speaker, entry.sex, entry.label, file.stem, samples))
    findings = Findings(tuple(found))
    if not clips:
        raise FileNotFoundError(f"{folder} has no usable clip of {corpus} ({_told(findings)})")
    return SpeechCorpus(tuple(clips), findings)


def list_corpus(folder: Path, corpus: str, parse: Callable[[str], ClipLabel], split: str) -> Split:
    """The same corpus as conversations of one utterance each, the files still unread.

    For encoding: no more than one clip need be in memory. A conversation is called
    "corpus/corpus-speaker/name"; files that are no sound are found when they are read.

    Raises:
        FileNotFoundError: no such folder, or no clip in it.
        ValueError: another split than "all".
    """
    if split != "all":
        raise ValueError(f"{corpus} has no official split, only 'all', not {split!r}")
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is missing: the corpus {corpus} is expected there")
    found = []
    conversations = []
    for file in _sound_files(folder):
        try:
            entry = _parse(parse, file.stem)
            if entry.label is None:
                raise UnusableSoundError(f"emotion {entry.emotion} left out")
        except UnusableSoundError as reason:
            found.append(_skipped(corpus, file, reason))
            continue
        utterance = LabelledUtterance("", 1, entry.label, 0, clip=file)
        name = f"{corpus}/{corpus}-{entry.speaker}/{file.stem}"
        conversations.append(Conversation(name, (utterance,)))
    findings = Findings(tuple(found))
    if not conversations:
        raise FileNotFoundError(f"{folder} has no clip of {corpus} ({_told(findings)})")
    return Split("all", tuple(conversations), LABELS, findings)


def read_sound(file: Path, longest: float | None = None) -> NDArray[np.float32]:
    """A sound file or a clip as (n,) float32 at SAMPLE_RATE; channels are averaged.

    Raises:
        UnusableSoundError: unreadable, cut short, empty or not finite.
    """
    mono, rate = _sound_file(file) if file.suffix.lower() in SUFFIXES else _clip_sound(file)
    if not np.isfinite(mono).all():
        raise UnusableSoundError("not finite")
    if rate != SAMPLE_RATE:
        mono = soxr.resample(mono, rate, SAMPLE_RATE)
    if longest is not None:
        mono = mono[: round(longest * SAMPLE_RATE)]
    return np.ascontiguousarray(mono, np.float32)


def _sound_file(file: Path) -> tuple[NDArray[np.float32], int]:
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
    return samples.mean(axis=1), rate


def _clip_sound(file: Path) -> tuple[NDArray[np.float32], int]:
    from erc_ros.training.datasets.media import UnusableClipError, sound_of

    try:
        return sound_of(file)
    except UnusableClipError as error:
        raise UnusableSoundError(str(error)) from error


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


def together(corpora: Iterable[SpeechCorpus]) -> SpeechCorpus:
    """All of them as one."""
    chosen = list(corpora)
    findings = joined(corpus.findings for corpus in chosen)
    return SpeechCorpus(tuple(clip for corpus in chosen for clip in corpus.clips), findings)


def _sound_files(folder: Path) -> Iterator[Path]:
    # By name, not by folder: the order must not depend on where a file lies.
    files = (file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)
    return iter(sorted(files, key=lambda file: (file.stem, str(file))))


def _skipped(corpus: str, file: Path, reason: Exception) -> Finding:
    return Finding(f"{corpus}: {reason}", "skipped", file.name)


def _told(findings: Findings) -> str:
    return "; ".join(findings.lines()) or "no sound file"


def _parse(parse: Callable[[str], ClipLabel], stem: str) -> ClipLabel:
    try:
        return parse(stem)
    except ValueError as error:
        raise UnusableSoundError("wrong name") from error
