"""Recordings of ordinary speech: people who read, talk or command, without an acted emotion.

Acted corpora do not contain ordinary speech: far from the microphone, in a room, on the telephone,
read aloud. These recordings are negatives: they have no labels, and every segment counts as
neutral. Layout below the folder of the data sets:

    ordinary_speech/SOURCE/SPEAKER/*.wav     a folder for each speaker
    ordinary_speech/SOURCE/SPEAKER_*.wav     or the speaker's name up to the first underscore

A file of two channels is a conversation with one speaker in each. `docs/reference/datasets.md`
lists the sources that the shipped voice part was trained with.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from erc_ros.dialogue.voice_activity import (
    FRAME,
    Activity,
    Began,
    Ended,
    SileroVoiceActivity,
    VoiceActivityConfig,
    finish,
    step,
)
from erc_ros.training.datasets.corpus import CorpusSpec
from erc_ros.training.datasets.findings import Finding, Findings
from erc_ros.training.datasets.speech import SUFFIXES, Clip, SpeechCorpus
from erc_ros.training.datasets.utterances import LABELS
from erc_ros.values.nanoseconds import NS
from erc_ros.values.utterance import SAMPLE_RATE

NAME = "ordinary"
FOLDER = "ordinary_speech"
SHORTEST, LONGEST = 0.6, 5.0  # s of a segment
MOST = 40  # maximum number of segments of one speaker

Samples = NDArray[np.float32]


def load(folder: Path) -> SpeechCorpus:
    """Return the segments of speech in all recordings below `folder`, labeled neutral.

    Returns:
        Clips whose corpus is "ordinary-SOURCE"; files that could not be decoded are findings.

    Raises:
        FileNotFoundError: the folder is missing, or has no speech.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is missing: recordings of ordinary speech go there")
    activity = SileroVoiceActivity()
    clips: list[Clip] = []
    findings = []
    counts: dict[str, int] = {}
    for file in sorted(each for each in folder.rglob("*") if each.suffix.lower() in SUFFIXES):
        try:
            samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
        except (soundfile.LibsndfileError, OSError):
            findings.append(Finding(f"{NAME}: unreadable", "skipped", file.name))
            continue
        if rate != SAMPLE_RATE:
            samples = soxr.resample(samples, rate, SAMPLE_RATE)
        source, speaker = _names(file.relative_to(folder))
        if counts.get(f"{NAME}-{source}-{speaker}", 0) >= MOST:
            continue
        for number, channel in enumerate(_channels(samples)):
            name = f"{NAME}-{source}-{speaker}" + (f"-{number}" if number else "")
            for begin, segment in segments(channel, activity):
                if counts.get(name, 0) < MOST:
                    counts[name] = counts.get(name, 0) + 1
                    place = f"{file.relative_to(folder)}/{number}/{begin}"
                    neutral = LABELS.index("neutral")
                    clips.append(Clip(f"{NAME}-{source}", name, "", neutral, place, segment))
    if not clips:
        raise FileNotFoundError(f"{folder} has no recording with speech in it")
    return SpeechCorpus(tuple(clips), Findings(tuple(findings)))


def segments(samples: Samples, activity: SileroVoiceActivity) -> Iterator[tuple[int, Samples]]:
    """Yield first sample and samples of each speech segment in (n,), SHORTEST to LONGEST s."""
    if not np.isfinite(samples).all():
        return
    config, state = VoiceActivityConfig(max_stretch=LONGEST), Activity()
    activity.reset()
    events: list[Began | Ended] = []
    for begin in range(0, len(samples) - FRAME + 1, FRAME):
        probability = activity.feed(samples[begin : begin + FRAME])
        state, new = step(state, config, begin * NS // SAMPLE_RATE, probability)
        events += new
    events += finish(state, config)[1]
    start = 0
    for event in events:
        if isinstance(event, Began):
            start = max(0, event.start) * SAMPLE_RATE // NS
        else:
            segment = samples[start : event.end * SAMPLE_RATE // NS]
            if len(segment) >= SHORTEST * SAMPLE_RATE:
                yield start, np.ascontiguousarray(segment, np.float32)


def _names(file: Path) -> tuple[str, str]:
    """Return source and speaker of a file, relative to the folder of all sources."""
    source = file.parts[0] if len(file.parts) > 1 else NAME
    return source, "/".join(file.parts[1:-1]) or file.stem.split("_")[0]


def _channels(samples: NDArray[np.float32]) -> list[Samples]:
    """Return both channels of a conversation (n, 2); for other numbers of channels their mean."""
    if samples.shape[1] == 2:
        return [samples[:, 0], samples[:, 1]]
    return [samples.mean(axis=1)]


CORPORA = (
    CorpusSpec(
        name=NAME,
        title="recordings of ordinary speech",
        about="people who read, talk and command in rooms and on the telephone, no emotion labels",
        license="each source its own; the dialogues of SpokenWOZ are CC BY-NC 4.0: non-commercial",
        splits=("all",),
        clips=lambda data: load(data / FOLDER),
        content="ordinary speech without an acted emotion, all neutral (below)",
        layout="`ordinary_speech/SOURCE/SPEAKER/*.wav`",
    ),
)
