"""Diarization error rate of the pipeline, computed with pyannote.metrics.

    python -m benchmarks.diarization recorded|composed|words|cost

All results are from `UtteranceAssembler`, which the nodes, `erc replay` and `Pipeline` use. The
hypothesis consists of the utterances with their `speaker_id`, as published and after
`SpeakerCorrected` events.

recorded: AMI excerpts and the telephone call ($ERC_DATA), written to
benchmarks/results/diarization.json. composed: conversations of acted and of meeting speech. words:
words of the call with the right speaker. cost: CPU time per second of audio, and an hour of six
speakers.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pyannote.core import Annotation, Segment, Timeline
from pyannote.metrics.diarization import DiarizationErrorRate

from benchmarks.conversations import RATE, Conversation, Turn, call, compose, meetings, speakers
from benchmarks.record import write_results
from erc_ros.dialogue.assembler import (
    AssemblerConfig,
    Event,
    Transcript,
    UtteranceAssembler,
    UtteranceEvent,
)
from erc_ros.dialogue.speakers.networks import DiarizationNetworks, load_networks
from erc_ros.dialogue.voice_activity import FRAME, SileroVoiceActivity
from erc_ros.sensing.audio import AudioSamples
from erc_ros.training.datasets.folder import data_folder
from erc_ros.values.events import SpeakerCorrected
from erc_ros.values.nanoseconds import NS, seconds

MODELS = Path(__file__).resolve().parents[1] / "erc_ros" / "models"
COLLAR = 0.25  # s, on each side of a boundary
CHUNK = RATE // 10
PARTS = {"missed": "missed detection", "false_alarm": "false alarm", "confusion": "confusion"}


def networks() -> DiarizationNetworks:
    """Load the networks of the package."""
    return load_networks(MODELS / "segmentation", MODELS / "speaker-campplus")


@dataclass(frozen=True)
class Diarized:
    """Diarized speech of a conversation.

    published: utterances with their speaker at publication. corrected: likewise after all
    corrections. delays: s from the end of each utterance to its publication.
    """

    published: list[Turn]
    corrected: list[Turn]
    delays: list[float]


def diarize(conversation: Conversation, networks: DiarizationNetworks) -> Diarized:
    """Run the assembler on a conversation without transcripts."""
    config = AssemblerConfig(expect_text="never")
    assembler = UtteranceAssembler(config, SileroVoiceActivity(), networks)
    published: dict[str, Turn] = {}
    speakers: dict[str, str] = {}
    delays: list[float] = []

    def take(events: Sequence[Event], now: float) -> None:
        for event in events:
            if isinstance(event, UtteranceEvent) and event.utterance.is_final:
                u = event.utterance
                published[u.utterance_id] = Turn(u.start / NS - 1, u.end / NS - 1, u.speaker_id)
                speakers[u.utterance_id] = u.speaker_id
                delays.append(now - (u.end / NS - 1))
            elif isinstance(event, SpeakerCorrected):
                speakers.update(dict.fromkeys(event.utterance_ids, event.after))

    for first in range(0, len(conversation.samples), CHUNK):
        chunk = conversation.samples[first : first + CHUNK]
        take(
            assembler.feed_audio(AudioSamples(NS + first * NS // RATE, chunk)),
            (first + CHUNK) / RATE,
        )
    take(assembler.flush(), conversation.duration)
    assembler.close()
    corrected = [replace(turn, speaker=speakers[name]) for name, turn in published.items()]
    return Diarized(list(published.values()), corrected, delays)


def annotation(spans: Iterable[tuple[float, float, str]]) -> Annotation:
    """Create an annotation from (start s, end s, speaker)."""
    result = Annotation()
    for number, (start, end, speaker) in enumerate(spans):
        result[Segment(start, end), number] = speaker
    return result.support()


def spoken(turns: Iterable[Turn]) -> Annotation:
    """Convert turns to an annotation of pyannote.core."""
    return annotation((turn.start, turn.end, turn.speaker) for turn in turns)


class Score:
    """Errors of several conversations relative to the reference speech."""

    def __init__(self, collar: float, skip_overlap: bool) -> None:
        # the collar of pyannote is the total width
        self._rate = DiarizationErrorRate(collar=2 * collar, skip_overlap=skip_overlap)
        self._sums: Counter[str] = Counter()

    def add(self, conversation: Conversation, turns: Sequence[Turn]) -> None:
        whole = Timeline([Segment(0, conversation.duration)])
        reference, hypothesis = spoken(conversation.turns), spoken(turns)
        self._sums.update(self._rate(reference, hypothesis, uem=whole, detailed=True))

    def percent(self) -> dict[str, float]:
        """Return error, missed, false alarm and confusion in percent of the reference speech."""
        total = self._sums["total"] or 1.0
        parts = {name: 100 * self._sums[part] / total for name, part in PARTS.items()}
        return {"error": sum(parts.values()), **parts}


def scored(
    conversations: Sequence[Conversation], results: Sequence[Diarized]
) -> dict[str, dict[str, float]]:
    """Return name of a scoring variant -> percentages."""
    ways = {
        "published": (0.0, False, "published"),
        "corrected": (0.0, False, "corrected"),
        "corrected_collar": (COLLAR, False, "corrected"),
        "corrected_without_overlap": (0.0, True, "corrected"),
    }
    figures = {}
    for name, (collar, skip_overlap, which) in ways.items():
        score = Score(collar, skip_overlap)
        for conversation, result in zip(conversations, results, strict=True):
            score.add(conversation, getattr(result, which))
        figures[name] = score.percent()
    return figures


def recorded() -> None:
    """Print a table of the recorded conversations and write the results file."""
    both = networks()
    sets = {
        "ami_development": meetings("development"),
        "call": [call()],
        "ami_train": meetings("train"),
    }
    figures: dict[str, object] = {}
    print(
        "| data | counted | error | missed | false alarm | confusion |\n|---|---|---|---|---|---|"
    )
    for name, conversations in sets.items():
        results = [diarize(c, both) for c in conversations]
        table = scored(conversations, results)
        delays = [delay for result in results for delay in result.delays]
        figures[name] = {**table, "median_delay_s": float(np.median(delays))}
        for way, row in table.items():
            print(f"| {name} | {way} | {' | '.join(f'{v:.1f}' for v in row.values())} |")
        print(f"| {name} | median delay {np.median(delays):.2f} s | | | | |", flush=True)
    write_results(
        "diarization",
        "python -m benchmarks.diarization recorded",
        None,
        figures,
        "UtteranceAssembler without transcripts, the shipped int8 speaker networks; percent of the "
        "reference speech; no collar and overlap counted, unless the name says otherwise "
        "(collar: 0.25 s on both sides). pyannote.metrics.",
    )


def composed(seeds: int) -> None:
    """Print a table of composed conversations: speakers, overlap and noise."""
    both, clips = networks(), speakers(1)
    settings: list[tuple[int, float, float | None]] = [(n, 0.0, None) for n in (2, 3, 4, 6)]
    settings += [(3, overlap, None) for overlap in (0.1, 0.2)]
    settings += [(3, 0.0, noise) for noise in (20.0, 10.0, 5.0)]
    print("\ncomposed conversations, 60 s each, no collar, overlap counted, after corrections\n")
    print("| speakers | overlap | noise dB | error | missed | false alarm | confusion |")
    print("|---|---|---|---|---|---|---|")
    for count, overlap, noise in settings:
        conversations = [
            compose(clips, count, 60.0, 1000 + seed, overlap, noise) for seed in range(seeds)
        ]
        row = scored(conversations, [diarize(c, both) for c in conversations])["corrected"]
        room = "none" if noise is None else f"{noise:.0f}, reverb"
        values = " | ".join(f"{value:.1f}" for value in row.values())
        print(f"| {count} | {overlap:.0%} | {room} | {values} |", flush=True)


# --- words ---


def phrases() -> list[tuple[float, float, str, str]]:
    """Return (start s, end s, speaker, text) of the phrases of the call."""
    path = data_folder() / "ami_diarization_30s" / "sample.stm"
    fields = [line.split(maxsplit=5) for line in path.read_text("utf-8").splitlines()]
    return [(float(f[3]), float(f[4]), f[2], f[5]) for f in fields if len(f) == 6]


def words() -> None:
    """Print the share of words of the call with the right speaker."""
    conversation, random, both = call(), np.random.default_rng(0), networks()
    texts = [
        (seconds(end + random.uniform(0.3, 0.8)), seconds(start), seconds(end), text)
        for start, end, _, text in phrases()
    ]
    for has_times in (True, False):
        ears = UtteranceAssembler(
            AssemblerConfig(expect_text="always"), SileroVoiceActivity(), both
        )
        waiting = sorted(
            (
                Transcript(text, NS + at, start=NS + start, end=NS + end)
                if has_times
                else Transcript(text, NS + at)
                for at, start, end, text in texts
            ),
            key=lambda transcript: transcript.arrival,
        )
        events = []
        for first in range(0, len(conversation.samples), CHUNK):
            now = NS + first * NS // RATE
            while waiting and waiting[0].arrival <= now:
                events += ears.feed_transcript(waiting.pop(0))
            events += ears.feed_audio(
                AudioSamples(now, conversation.samples[first : first + CHUNK])
            )
        for transcript in waiting:
            events += ears.feed_transcript(transcript)
        events += ears.flush()
        report_words(events, "with" if has_times else "without")


def report_words(events: Sequence[object], kind: str) -> None:
    """Compare the speakers of the words in final utterances with the reference, in order."""
    finals = [e.utterance for e in events if isinstance(e, UtteranceEvent) and e.utterance.is_final]
    labels = {u.utterance_id: u.speaker_id for u in finals if u.text}
    for event in events:
        if isinstance(event, SpeakerCorrected):
            labels.update(dict.fromkeys(event.utterance_ids, event.after))
    said = [(word, u.utterance_id, u.speaker_id) for u in finals for word in u.text.split()]
    ground_truth = [(word, speaker) for _, _, speaker, text in phrases() for word in text.split()]
    pairs = list(zip(said, ground_truth, strict=False))
    first = best_naming(((s[2], t[1]) for s, t in pairs), len(ground_truth))
    last = best_naming(((labels[s[1]], t[1]) for s, t in pairs), len(ground_truth))
    same_text = [s[0] for s in said] == [t[0] for t in ground_truth]
    print(
        f"words, finals {kind} times: {len(ground_truth)}, text in order: {same_text}, "
        f"right speaker: {first:.1%} when published, {last:.1%} after corrections"
    )


def best_naming(pairs: Iterable[tuple[str, str]], total: int) -> float:
    """Return the share of pairs (hypothesis, reference) that agree under the best mapping."""
    from scipy.optimize import linear_sum_assignment

    counts = Counter(pairs)
    names = sorted({f for f, _ in counts} - {""})
    true = sorted({t for _, t in counts})
    table = np.array([[counts[f, t] for t in true] for f in names]).reshape(len(names), len(true))
    rows, columns = linear_sum_assignment(-table)
    return float(table[rows, columns].sum() / max(1, total))


# --- cost ---


def cost(hour: float) -> None:
    """Print the CPU time per second of audio of each stage, and measure a long conversation."""
    sound = compose(speakers(1), 6, 60.0, 7).samples
    both, probability = networks(), SileroVoiceActivity()
    duration = len(sound) / RATE
    frames = sound[: len(sound) // FRAME * FRAME].reshape(-1, FRAME)
    spans = [sound[first : first + 10 * RATE] for first in range(0, len(sound) - 10 * RATE, RATE)]
    windows = [sound[k : k + 19_200] for k in range(0, len(sound) - 19_200, 6_400)]
    stages: dict[str, tuple[float, Callable[[], object]]] = {
        "voice activity": (duration, lambda: [probability.feed(frame) for frame in frames]),
        "segmentation, once a second": (
            len(spans),
            lambda: [both.segmentation.run(span) for span in spans],
        ),
        "speaker embeddings, for continuous speech": (
            duration,
            lambda: [both.embedding.embed_all([both.embedding.features(w)]) for w in windows],
        ),
        "whole dialogue": (duration, lambda: diarize(Conversation("", sound, ()), both)),
    }
    print("\n| stage | ms of CPU per second of audio |\n|---|---|")
    for name, (heard, run) in stages.items():
        begin = time.process_time()
        run()
        print(f"| {name} | {1000 * (time.process_time() - begin) / heard:.1f} |", flush=True)
    long_conversation(both, hour)


def long_conversation(both: DiarizationNetworks, duration: float) -> None:
    """Measure the speed and memory for six speakers and `duration` s."""
    clips, heard, begin = speakers(1), 0.0, time.process_time()
    people = dict(list(clips.items())[:6])
    config = AssemblerConfig(expect_text="never")
    assembler = UtteranceAssembler(config, SileroVoiceActivity(), both)
    spent, seed = 0.0, 0
    while heard < duration:
        samples = compose(people, 6, 120.0, seed, 0.1, 20.0).samples
        begin = time.process_time()
        for first in range(0, len(samples), CHUNK):
            start = NS + round(heard * NS) + first * NS // RATE
            assembler.feed_audio(AudioSamples(start, samples[first : first + CHUNK]))
        spent += time.process_time() - begin
        heard, seed = heard + len(samples) / RATE, seed + 1
        if seed % 5 == 0 or heard >= duration:
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(f"{heard / 60:.0f} min: {heard / spent:.0f} x real time, peak {memory:.0f} MiB")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; see the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("recorded", "composed", "words", "cost"))
    parser.add_argument("--seeds", type=int, default=3, help="conversations of a row")
    parser.add_argument("--seconds", type=float, default=3600.0, help="of the long conversation")
    options = parser.parse_args(argv)
    if not data_folder().is_dir():
        print(f"{data_folder()} does not exist: set ERC_DATA to the data folder", file=sys.stderr)
        return 1
    if options.what == "recorded":
        recorded()
    elif options.what == "composed":
        composed(options.seeds)
    elif options.what == "words":
        words()
    else:
        cost(options.seconds)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
