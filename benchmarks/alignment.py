"""Alignment of texts with speech on a real telephone call: timeouts, and words per speaker.

    python -m benchmarks.alignment [--seeds 5]

The audio is `ami_diarization_30s/sample.flac` of the data folder ($ERC_DATA). The phrases of its
reference transcript, with a delay, simulate a speech recognizer. The first table, about times only,
is without speaker diarization, the second one with it.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.real_call import best_naming, data_folder
from erc_ros.dialogue.assembler import (
    AssemblerConfig,
    Event,
    SpeakerCorrected,
    TextCorrected,
    UtteranceAssembler,
    UtteranceEvent,
)
from erc_ros.dialogue.voice_activity import SileroVoiceActivity
from erc_ros.pipeline import PerceptionConfig, speaker_networks
from erc_ros.sensing.audio import AudioSamples
from erc_ros.values.nanoseconds import NS, seconds
from erc_ros.values.transcript import Transcript, Word
from erc_ros.values.utterance import SAMPLE_RATE, Utterance

ORIGIN = 1_700_000_000 * NS
DELAYS = {"0.3 to 0.8 s": (0.3, 0.8), "0.5 to 1.5 s": (0.5, 1.5), "1 to 3 s": (1.0, 3.0)}
TIMEOUTS = (0.5, 1.0, 1.5, 3.0)
TOLD = ("start and end", "arrival")
CHUNK = 1600


@dataclass(frozen=True)
class Phrase:
    """Words of `speaker` from `start` to `end` (s)."""

    start: float
    end: float
    speaker: str
    text: str


def read_phrases() -> list[Phrase]:
    """Read the transcript of the call (STM: name, channel, speaker, start, end, text)."""
    lines = (data_folder() / "sample.stm").read_text().splitlines()
    fields = [line.split(maxsplit=5) for line in lines if line.strip()]
    return [Phrase(float(f[3]), float(f[4]), f[2], f[5]) for f in fields]


def at(time: float) -> int:
    """Convert a time in the call from s to ns."""
    return ORIGIN + seconds(time)


def listen(
    ears: UtteranceAssembler, sound: NDArray[np.float32], texts: Sequence[Transcript]
) -> list[Event]:
    """Return all events; each text is fed when the audio has reached its arrival time."""
    events, waiting = [], sorted(texts, key=lambda text: text.arrival)
    for first in range(0, len(sound), CHUNK):
        start = ORIGIN + first * NS // SAMPLE_RATE
        while waiting and waiting[0].arrival <= start:
            events += ears.feed_transcript(waiting.pop(0))
        events += ears.feed_audio(AudioSamples(start, sound[first : first + CHUNK]))
    for text in waiting:
        events += ears.feed_transcript(text)
    return events + ears.flush()


def final(events: Sequence[Event]) -> tuple[list[Utterance], int]:
    """Return the final utterances after corrections, and the number of repeated ones."""
    utterances: dict[str, Utterance] = {}
    twice = 0
    for event in events:
        if isinstance(event, UtteranceEvent) and event.utterance.is_final:
            utterances[event.utterance.utterance_id] = event.utterance
        elif isinstance(event, TextCorrected):
            utterances[event.utterance.utterance_id] = event.utterance
            twice += 1
    return list(utterances.values()), twice


def told(phrase: Phrase, how: str, delay: float) -> Transcript:
    """Return the phrase as the result of a speech recognizer."""
    text = Transcript(phrase.text, arrival=at(phrase.end + delay))
    if how == "start and end":
        return Transcript(phrase.text, text.arrival, start=at(phrase.start), end=at(phrase.end))
    return text


def is_right(phrase: Phrase, utterances: Sequence[Utterance]) -> bool:
    """Return whether the text of the phrase was matched mainly with its own speech."""
    for utterance in utterances:
        common = min(utterance.end, at(phrase.end)) - max(utterance.start, at(phrase.start))
        if phrase.text in utterance.text and 2 * common > seconds(phrase.end - phrase.start):
            return True
    return False


def timeouts(sound: NDArray[np.float32], phrases: Sequence[Phrase], seeds: int) -> None:
    """Print the first table."""
    print("| ASR delay | ASR times | text_timeout | correct | repeated | without speech |")
    print("|---|---|---|---|---|---|")
    for name, (least, most) in DELAYS.items():
        for how in TOLD:
            for timeout in TIMEOUTS:
                rows = []
                for seed in range(seeds):
                    random = np.random.default_rng(seed)
                    texts = [told(phrase, how, random.uniform(least, most)) for phrase in phrases]
                    config = AssemblerConfig(expect_text="always", text_timeout=timeout)
                    utterances, twice = final(
                        listen(UtteranceAssembler(config, SileroVoiceActivity()), sound, texts)
                    )
                    right = sum(is_right(phrase, utterances) for phrase in phrases) / len(phrases)
                    ghosts = sum(u.text != "" and u.start == u.end for u in utterances)
                    rows.append((right, twice, ghosts))
                mean, spread = np.mean(rows, axis=0), np.std(rows, axis=0)
                print(
                    f"| {name} | {how} | {timeout} s | {mean[0]:.3f} ± {spread[0]:.3f} | "
                    f"{mean[1]:.1f} | {mean[2]:.1f} |",
                    flush=True,
                )


# --- words per speaker ---


def words_of(phrase: Phrase) -> list[Word]:
    """Return the words of the phrase, with durations by their number of letters."""
    texts = phrase.text.split()
    ends = np.cumsum([len(text) for text in texts]) / sum(map(len, texts))
    bounds = [phrase.start, *(phrase.start + ends * (phrase.end - phrase.start))]
    return [
        Word(text, at(first), at(last))
        for text, first, last in zip(texts, bounds, bounds[1:], strict=False)
    ]


def joined(phrases: Sequence[Phrase], count: int) -> list[list[Phrase]]:
    """Group `count` phrases per final text, as from a speech recognizer that misses pauses."""
    return [list(phrases[n : n + count]) for n in range(0, len(phrases), count)]


def attributed(events: Sequence[Event], groups: Sequence[Sequence[Phrase]]) -> float:
    """Return the share of words with the right speaker, under the best speaker mapping."""
    labels: dict[str, str] = {}
    for event in events:
        if isinstance(event, SpeakerCorrected):
            labels.update(dict.fromkeys(event.utterance_ids, event.after))
    utterances = [u for u in final(events)[0] if u.text]
    heard = [
        (labels.get(u.utterance_id, u.speaker_id) or "?", word)
        for u in sorted(utterances, key=lambda u: u.start)
        for word in u.text.split()
    ]
    said = [(p.speaker, word) for group in groups for p in group for word in p.text.split()]
    if [word for _, word in heard] != [word for _, word in said]:
        raise SystemExit("the words are in another order and cannot be compared")
    pairs: Counter[tuple[str, str]] = Counter()
    for (mine, _), (real, _) in zip(heard, said, strict=True):
        pairs[mine, real] += 1
    names = best_naming(pairs)
    return sum(n for (mine, real), n in pairs.items() if names.get(mine) == real) / len(said)


def speakers(sound: NDArray[np.float32], phrases: Sequence[Phrase]) -> None:
    """Print the second table."""
    print("| phrases per final text | ASR times | words with the right speaker |")
    print("|---|---|---|")
    networks = speaker_networks(PerceptionConfig())
    for count in (1, 2, 3):
        for how in ("word times", "start and end"):
            texts = []
            for group in joined(phrases, count):
                words = [word for phrase in group for word in words_of(phrase)]
                first, last = group[0].start, group[-1].end
                text = " ".join(phrase.text for phrase in group)
                given = tuple(words) if how == "word times" else ()
                texts.append(
                    Transcript(text, at(last + 0.5), start=at(first), end=at(last), words=given)
                )
            ears = UtteranceAssembler(
                AssemblerConfig(expect_text="always", text_timeout=5.0),
                SileroVoiceActivity(),
                networks,
            )
            share = attributed(listen(ears, sound, texts), joined(phrases, count))
            print(f"| {count} | {how} | {share:.3f} |", flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args(argv)
    if not data_folder().is_dir():
        print(f"{data_folder()} does not exist: set ERC_DATA", file=sys.stderr)
        return 2
    import soundfile

    sound, _ = soundfile.read(data_folder() / "sample.flac", dtype="float32")
    sound = np.concatenate([sound, np.zeros(6 * SAMPLE_RATE, np.float32)])
    phrases = read_phrases()
    timeouts(sound, phrases, options.seeds)
    print()
    speakers(sound, phrases)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
