"""The assembler on recorded speech with the real networks; needs the data folder (ERC_DATA)."""

from __future__ import annotations

import functools
import itertools
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from data_folder import need
from numpy.typing import NDArray

from erc_ros.dialogue.assembler import (
    AssemblerConfig,
    Event,
    SpeakerCorrected,
    TextCorrected,
    Transcript,
    UtteranceAssembler,
    UtteranceEvent,
)
from erc_ros.dialogue.speakers.networks import DiarizationNetworks
from erc_ros.dialogue.voice_activity import SileroVoiceActivity
from erc_ros.sensing.audio import AudioSamples
from erc_ros.values.nanoseconds import NS, seconds
from erc_ros.values.utterance import Utterance

T0 = 1_700_000_000 * NS
RATE = 16_000
SpeakerTurn = tuple[float, float, str]  # start s, end s, speaker


def needs(folder: str) -> Path:
    return need(folder) / folder


def play(
    networks: DiarizationNetworks,
    samples: NDArray[np.float32],
    texts: list[Transcript],
    chunk: int = 1600,
) -> list[Event]:
    """Return all events; every text is fed when the audio has reached its arrival time."""
    expected = "always" if texts else "never"
    ears, events = (
        UtteranceAssembler(AssemblerConfig(expect_text=expected), SileroVoiceActivity(), networks),
        [],
    )
    texts = sorted(texts, key=lambda text: text.arrival)
    for first in range(0, len(samples), chunk):
        start = T0 + first * NS // RATE
        while texts and texts[0].arrival <= start:
            events += ears.feed_transcript(texts.pop(0))
        events += ears.feed_audio(AudioSamples(start, samples[first : first + chunk]))
    for text in texts:
        events += ears.feed_transcript(text)
    return events + ears.flush()


def finals(events: list[Event]) -> list[Utterance]:
    """Return the final utterances as published."""
    said = [event.utterance for event in events if isinstance(event, UtteranceEvent)]
    return [utterance for utterance in said if utterance.is_final]


def known(events: list[Event]) -> list[Utterance]:
    """Return the final utterances after corrections."""
    utterances: dict[str, Utterance] = {}
    for event in events:
        if isinstance(event, TextCorrected) or (
            isinstance(event, UtteranceEvent) and event.utterance.is_final
        ):
            utterances[event.utterance.utterance_id] = event.utterance
        elif isinstance(event, SpeakerCorrected):
            for name in set(event.utterance_ids) & set(utterances):
                utterances[name] = replace(utterances[name], speaker_id=event.after)
    return list(utterances.values())


def agreement(turns: list[SpeakerTurn], utterances: list[Utterance], duration: float) -> float:
    """Return the share of 10 ms frames with one speaker that are attributed to that speaker."""
    size = round(duration * 100)
    heard: dict[str, NDArray[np.bool_]] = defaultdict(lambda: np.zeros(size, bool))
    truth: dict[str, NDArray[np.bool_]] = defaultdict(lambda: np.zeros(size, bool))
    for start, end, speaker in turns:
        truth[speaker][round(start * 100) : round(end * 100)] = True
    for u in utterances:
        start, end = ((time - T0) / NS for time in (u.start, u.end))
        heard[u.speaker_id or "?"][round(start * 100) : round(end * 100)] = True
    alone = sum(spoken.astype(int) for spoken in truth.values()) == 1
    best = 0.0
    pairs = sorted(
        ((truth[t] & heard[h] & alone).sum(), t, h) for t in truth for h in heard if h != "?"
    )
    while pairs:  # greedy is the best assignment wherever agreement is high
        common, speaker, index = pairs[-1]
        best += common
        pairs = [pair for pair in pairs if pair[1] != speaker and pair[2] != index]
    return float(best / alone.sum())


def compose(actors: list[int], seed: int) -> tuple[NDArray[np.float32], list[SpeakerTurn]]:
    """Compose turns of one or two sentences, neutral to happy, with pauses."""
    folder = needs("ravdess_speech_16k")
    random = np.random.default_rng(seed)
    parts, turns, now = [np.zeros(RATE // 2, np.float32)], [], 0.5
    for number in range(10):
        actor = actors[number % len(actors)]
        clips = sorted((folder / f"Actor_{actor:02d}").glob("03-01-0[123]-01-*.flac"))
        for path in random.choice(np.array(clips), 2, replace=False):
            samples, _ = soundfile.read(path, dtype="float32")
            loud = np.flatnonzero(np.abs(samples) > 0.1 * np.abs(samples).max())
            samples = samples[loud[0] : loud[-1]]
            samples = samples * np.float32(0.05 / np.sqrt((samples**2).mean()))
            turns.append((now, now + len(samples) / RATE, str(actor)))
            parts += [samples, np.zeros(RATE // 5, np.float32)]
            now += len(samples) / RATE + 0.2
        parts.append(np.zeros(RATE // 2, np.float32))
        now += 0.5
    return np.concatenate(parts), turns


@pytest.mark.data
@pytest.mark.parametrize("actors", [[1, 2], [3, 12], [5, 6, 14]])
def test_people_who_take_turns_are_distinguished(
    networks: DiarizationNetworks, actors: list[int]
) -> None:
    samples, turns = compose(actors, seed=1)
    utterances = known(play(networks, samples, []))
    assert agreement(turns, utterances, len(samples) / RATE) >= 0.95


# --- a telephone call ---

Phrase = tuple[float, float, str, str]  # start s, end s, speaker, text
Call = Callable[[bool, int], list[Event]]


def phrases() -> list[Phrase]:
    lines = (needs("ami_diarization_30s") / "sample.stm").read_text().splitlines()
    fields = [line.split(None, 5) for line in lines]
    return [(float(f[3]), float(f[4]), f[2], f[5]) for f in fields]


@pytest.fixture(scope="module")
def call(networks: DiarizationNetworks) -> Call:
    """Return the events for the call; texts have times or not, and random delays."""

    @functools.cache
    def listened(has_times: bool, seed: int) -> list[Event]:
        samples, _ = soundfile.read(needs("ami_diarization_30s") / "sample.flac", dtype="float32")
        random, texts = np.random.default_rng(seed), []
        for start, end, _, text in phrases():
            arrival = T0 + seconds(end + random.uniform(0.3, 0.8))
            span = (T0 + seconds(start), T0 + seconds(end)) if has_times else (None, None)
            texts.append(Transcript(text, arrival, start=span[0], end=span[1]))
        return play(networks, samples, texts)

    return listened


@pytest.mark.data
@pytest.mark.parametrize(("has_times", "seed"), [(True, 0), (False, 0), (False, 1)])
def test_every_phrase_of_the_call_finds_its_speech(call: Call, has_times: bool, seed: int) -> None:
    utterances = [utterance for utterance in finals(call(has_times, seed)) if utterance.text]
    misplaced = []
    for start, end, _, text in phrases():
        common, said = 0.0, ""
        while len(said) < len(text):  # a text may be split between speakers
            part = utterances.pop(0)
            said = f"{said} {part.text}".strip()
            begin, finish = ((time - T0) / NS for time in (part.start, part.end))
            common += max(0.0, min(finish, end) - max(begin, start))
        assert said == text
        if common <= (0.7 if has_times else 0.3) * (end - start):
            misplaced.append(text)
    assert misplaced == [] and utterances == []


def right_words(utterances: list[Utterance]) -> float:
    """Return the share of words of the call with the right speaker, under the best mapping."""
    said = [u.speaker_id for u in utterances for _ in u.text.split()]
    truth = [speaker for _, _, speaker, text in phrases() for _ in text.split()]
    assert len(said) == len(truth)
    people = sorted(set(truth))
    return max(
        sum(dict(zip(names, people, strict=True)).get(one) == other for one, other in pairs)
        for pairs in [list(zip(said, truth, strict=True))]
        for names in itertools.permutations([*sorted(set(said)), "-"], len(people))
    ) / len(truth)


@pytest.mark.data
@pytest.mark.parametrize(
    ("has_times", "published", "later"), [(True, 0.9, 0.95), (False, 0.9, 0.92)]
)
def test_the_words_of_the_call_go_to_the_right_speaker(
    call: Call, has_times: bool, published: float, later: float
) -> None:
    events = call(has_times, 0)
    assert right_words(finals(events)) >= published
    assert right_words(known(events)) >= later


@pytest.mark.data
def test_similar_voices_stay_separate_when_their_start_is_long_past(
    networks: DiarizationNetworks,
) -> None:
    folder = needs("ami_diarization_30s")
    samples, _ = soundfile.read(folder / "sample.flac", dtype="float32")
    length, times = len(samples) / RATE, 3
    lines = [line.split() for line in (folder / "sample.rttm").read_text().splitlines()]
    turns = [
        (start, start + float(line[4]), line[7])
        for k in range(times)
        for line in lines
        for start in [float(line[3]) + k * length]
    ]
    said = known(play(networks, np.concatenate([samples] * times), []))
    assert len({u.speaker_id for u in said if u.speaker_id}) == 2
    assert agreement(turns, said, times * length) >= 0.85


@pytest.mark.data
def test_any_chunking_of_a_recording_gives_identical_utterances(
    networks: DiarizationNetworks,
) -> None:
    folder = needs("ami_diarization_30s")
    samples, _ = soundfile.read(folder / "sample.flac", dtype="float32", stop=14 * RATE)
    runs = [
        [
            (u.start, u.end, u.speaker_id, u.audio.tobytes())
            for u in known(play(networks, samples, [], chunk))
        ]
        for chunk in (1_000, 14 * RATE)
    ]
    assert runs[0] == runs[1] and runs[0]
