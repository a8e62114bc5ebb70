"""Speech corpora: labeled clips of known speakers, mono, without silence at both ends."""

from __future__ import annotations

import hashlib
import os
import struct
from collections import Counter
from collections.abc import Callable, Iterable
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
SHORTEST = 0.3  # s, minimum duration of speech
QUIET = 35.0  # dB below the loudest 20 ms: silence at the ends, as a VAD would remove it
MARGIN = 0.1  # s of silence that are kept
SILENT = 1e-4  # RMS of full scale (-80 dB): only the noise of a converter
STREAMED = 2**31 - 2**16  # B; larger sizes are written before the size is known


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """A spoken sentence. speaker: unique over all corpora. label: index in utterances.LABELS."""

    corpus: str
    speaker: str
    sex: str  # "female" or "male", so that folds have both
    label: int
    name: str
    samples: NDArray[np.float32]  # (n,) in [-1, 1], SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class ClipLabel:
    """The content of a file name. label None: an emotion that is excluded."""

    speaker: str
    sex: str
    emotion: str
    label: int | None


@dataclass(frozen=True, eq=False)
class SpeechCorpus:
    """The usable clips, ordered by name, and the files that were skipped."""

    clips: tuple[Clip, ...]
    findings: Findings = NOTHING

    @property
    def skipped(self) -> Counter[str]:
        """Number of skipped files by reason."""
        return self.findings.counts()


class UnusableSoundError(ValueError):
    """An unusable audio file; the message is a short reason, by which faults are counted."""


def read_corpus(
    folder: Path, corpus: str, parse: Callable[[str], ClipLabel], longest: float | None = None
) -> SpeechCorpus:
    """Read every audio file below `folder`; unusable files are counted in the findings.

    Args:
        parse: file name without suffix -> label; raises ValueError for a name of another format.
        longest: s; the maximum duration that is used, from the beginning of a file.

    Raises:
        FileNotFoundError: no such folder, or no usable clip in it.
    """
    clips = []
    hashes: set[bytes] = set()

    def add(file: Path, label: ClipLabel) -> None:
        assert label.label is not None
        samples = trim(read_sound(file, longest))
        digest = hashlib.sha256(samples.tobytes()).digest()
        if digest in hashes:
            raise UnusableSoundError("repeated")
        hashes.add(digest)
        speaker = f"{corpus}-{label.speaker}"
        clips.append(Clip(corpus, speaker, label.sex, label.label, file.stem, samples))

    findings = _each_file(folder, corpus, parse, add)
    if not clips:
        raise FileNotFoundError(f"{folder} has no usable clip of {corpus} ({_told(findings)})")
    return SpeechCorpus(tuple(clips), findings)


def list_corpus(folder: Path, corpus: str, parse: Callable[[str], ClipLabel], split: str) -> Split:
    """Return the clips as conversations of one utterance, without decoding the files.

    For encoding, which holds few clips in memory. A conversation is called
    "corpus/corpus-speaker/name"; files that could not be decoded are reported when they are used.

    Raises:
        FileNotFoundError: no such folder, or no clip in it.
        ValueError: another split than "all".
    """
    if split != "all":
        raise ValueError(f"{corpus} has no official split, only 'all', not {split!r}")
    conversations = []

    def add(file: Path, label: ClipLabel) -> None:
        utterance = LabelledUtterance("", 1, label.label, 0, clip=file)
        name = f"{corpus}/{corpus}-{label.speaker}/{file.stem}"
        conversations.append(Conversation(name, (utterance,)))

    findings = _each_file(folder, corpus, parse, add)
    if not conversations:
        raise FileNotFoundError(f"{folder} has no clip of {corpus} ({_told(findings)})")
    return Split("all", tuple(conversations), LABELS, findings)


def _each_file(
    folder: Path,
    corpus: str,
    parse: Callable[[str], ClipLabel],
    add: Callable[[Path, ClipLabel], None],
) -> Findings:
    """Call `add` for every labeled audio file, sorted by name; return the faults."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is missing: the corpus {corpus} is expected there")
    faults = []
    # Sorted by name: the order must not depend on the folder of a file.
    files = (file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)
    for file in sorted(files, key=lambda file: (file.stem, str(file))):
        try:
            label = _parse(parse, file.stem)
            if label.label is None:
                raise UnusableSoundError(f"emotion {label.emotion} excluded")
            add(file, label)
        except UnusableSoundError as reason:
            faults.append(Finding(f"{corpus}: {reason}", "skipped", file.name))
    return Findings(tuple(faults))


def read_sound(file: Path, longest: float | None = None) -> NDArray[np.float32]:
    """Read an audio file or a clip as (n,) float32 at SAMPLE_RATE; channels are averaged.

    Raises:
        UnusableSoundError: unreadable, cut short, empty, silent or not finite.
    """
    mono, rate = _sound_file(file) if file.suffix.lower() in SUFFIXES else _clip_sound(file)
    if not np.isfinite(mono).all():
        raise UnusableSoundError("not finite")
    if rate != SAMPLE_RATE:
        mono = soxr.resample(mono, rate, SAMPLE_RATE)
    if longest is not None:
        mono = mono[: round(longest * SAMPLE_RATE)]
    if len(mono) and np.square(mono, dtype=np.float64).mean() < SILENT**2:
        raise UnusableSoundError("silent")
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
    if len(samples) < promised or _is_cut(file):
        raise UnusableSoundError("truncated")
    return samples.mean(axis=1), rate


def _is_cut(file: Path) -> bool:
    """Whether a WAV file is shorter than its header states; libsndfile corrects the header."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        if stream.read(12)[:4] != b"RIFF":
            return False
        while len(header := stream.read(8)) == 8:
            name, length = struct.unpack("<4sI", header)
            if name == b"data":
                return bool(length < STREAMED and stream.tell() + length > size)
            stream.seek(length + length % 2, os.SEEK_CUR)
    return False


def _clip_sound(file: Path) -> tuple[NDArray[np.float32], int]:
    from erc_ros.training.datasets.media import UnusableClipError, sound_of

    try:
        return sound_of(file)
    except UnusableClipError as error:
        raise UnusableSoundError(str(error)) from error


def trim(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Remove the silence at both ends except for a margin.

    Raises:
        UnusableSoundError: only silence, or too little speech.
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
    """Join corpora into one."""
    chosen = list(corpora)
    findings = joined(corpus.findings for corpus in chosen)
    return SpeechCorpus(tuple(clip for corpus in chosen for clip in corpus.clips), findings)


def _told(findings: Findings) -> str:
    return "; ".join(findings.lines()) or "no sound file"


def _parse(parse: Callable[[str], ClipLabel], stem: str) -> ClipLabel:
    try:
        return parse(stem)
    except ValueError as error:
        raise UnusableSoundError("wrong name") from error
