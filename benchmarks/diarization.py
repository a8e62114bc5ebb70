"""Streaming diarization against the truth, scored with pyannote.metrics.

    python -m benchmarks.diarization recorded|composed|words|cost

recorded: AMI excerpts and the telephone call ($ERC_DATA) at several
latencies; composed: conversations of acted and of meeting speech; words: the call's transcript
through the whole listener; cost: milliseconds per second of sound, and an hour of six speakers.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pyannote.core import Annotation, Segment, Timeline
from pyannote.metrics.diarization import DiarizationErrorRate

from benchmarks.conversations import (
    RATE,
    Conversation,
    call,
    compose,
    meetings,
    speakers,
)
from erc_ros.dialogue.assembler import (
    AssemblerConfig,
    Transcript,
    UtteranceAssembler,
    UtteranceEvent,
)
from erc_ros.dialogue.speakers.networks import DiarizationNetworks, load_networks
from erc_ros.dialogue.speakers.speaker_stream import SpeakerStream, SpeakerStreamConfig, relabel
from erc_ros.dialogue.speakers.turns import SpeakerTurn, TurnCorrection
from erc_ros.dialogue.voice_activity import FRAME, SileroVoiceActivity
from erc_ros.sensing.audio import Sound
from erc_ros.training.datasets.folder import data_folder
from erc_ros.values.events import SpeakerCorrected
from erc_ros.values.nanoseconds import NS, seconds

MODELS = Path(__file__).resolve().parents[1] / "models"
LATENCIES = (0.5, 1.0, 2.0, 5.0)  # s
COLLAR = 0.25  # s, on both sides of a boundary
CHUNK = RATE // 10
PARTS = ("missed detection", "false alarm", "confusion")


class Remembered:
    """A network that computes nothing twice: several latencies see the same sound."""

    def __init__(self, networks: DiarizationNetworks) -> None:
        self._segmentation, self._embedding = networks.segmentation, networks.embedding
        self._known: dict[bytes, NDArray[np.float32]] = {}
        self.hop, self.field = self._segmentation.hop, self._segmentation.field
        self.longest = self._segmentation.longest
        self.same_voice, self.new_voice = self._embedding.same_voice, self._embedding.new_voice

    def run(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        key = samples.tobytes()
        if key not in self._known:
            self._known[key] = self._segmentation.run(samples)
        return self._known[key]

    def features(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        return self._embedding.features(samples)

    def embed_all(self, stretches: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        keys = [features.tobytes() for features in stretches]
        new = [k for k, key in enumerate(keys) if key not in self._known]
        if new:
            found = self._embedding.embed_all([stretches[k] for k in new])
            self._known.update(zip([keys[k] for k in new], found, strict=True))
        return (
            np.stack([self._known[key] for key in keys]) if keys else np.zeros((0, 1), np.float32)
        )


def networks() -> DiarizationNetworks:
    """Those that the package brings."""
    return load_networks(MODELS / "segmentation", MODELS / "speaker-campplus")


def remembered() -> DiarizationNetworks:
    """The same, which compute nothing twice."""
    both = Remembered(networks())
    return DiarizationNetworks(both, both)


def stream(
    conversation: Conversation, networks: DiarizationNetworks, latency: float
) -> tuple[list[SpeakerTurn], list[SpeakerTurn], int]:
    """(turns as first decided, turns as corrected afterwards, number of corrections)."""
    listener = SpeakerStream(SpeakerStreamConfig(latency=latency), SileroVoiceActivity(), networks)
    events: list[SpeakerTurn | TurnCorrection] = []
    for first in range(0, len(conversation.samples), CHUNK):
        events += listener.feed(conversation.samples[first : first + CHUNK])
    events += listener.flush()
    decided = [event for event in events if isinstance(event, SpeakerTurn)]
    corrections = [event for event in events if isinstance(event, TurnCorrection)]
    return decided, corrected(events), len(corrections)


def corrected(events: Sequence[SpeakerTurn | TurnCorrection]) -> list[SpeakerTurn]:
    """What is known at the end."""
    turns: list[SpeakerTurn] = []
    for event in events:
        turns = [*turns, event] if isinstance(event, SpeakerTurn) else relabel(turns, event)
    return turns


def annotation(spans: Iterable[tuple[float, float, str]]) -> Annotation:
    """Of (start s, end s, speaker)."""
    found = Annotation()
    for number, (start, end, speaker) in enumerate(spans):
        found[Segment(start, end), number] = speaker
    return found.support()


def spoken(turns: Iterable[SpeakerTurn]) -> Annotation:
    """Of what was found."""
    return annotation(
        (turn.start / NS, turn.end / NS, str(turn.attribution.speaker)) for turn in turns
    )


class Score:
    """Errors of many conversations, as shares of the speech in the truth."""

    def __init__(self, collar: float, skip_overlap: bool) -> None:
        # pyannote's collar is the whole width
        self._rate = DiarizationErrorRate(collar=2 * collar, skip_overlap=skip_overlap)
        self._sums: Counter[str] = Counter()

    def add(self, conversation: Conversation, turns: Sequence[SpeakerTurn]) -> None:
        truth = annotation((t.start, t.end, t.speaker) for t in conversation.turns)
        found = spoken(turns)
        whole = Timeline([Segment(0, conversation.duration)])
        self._sums.update(self._rate(truth, found, uem=whole, detailed=True))

    def row(self) -> str:
        """Total, then missed, false alarm, confusion, in %."""
        total = self._sums["total"] or 1.0
        parts = [100 * self._sums[part] / total for part in PARTS]
        return " | ".join(f"{value:.1f}" for value in (sum(parts), *parts))


def recorded(part: str) -> None:
    """Tables: latency, then the error and its parts, in four ways of counting."""
    both = remembered()
    sets = {f"AMI {part}": meetings(part), "call": [call()]}
    if part == "train":
        del sets["call"]
    for name, conversations in sets.items():
        print(f"\n{name}, {len(conversations)} recordings\n")
        print("| latency s | counted | error | missed | false alarm | confusion | corrected |")
        print("|---|---|---|---|---|---|---|")
        for latency in LATENCIES:
            found = [stream(c, both, latency) for c in conversations]
            for collar in (0.0, COLLAR):
                for skip_overlap in (False, True):
                    decided, corrected = Score(collar, skip_overlap), Score(collar, skip_overlap)
                    for conversation, (first, last, _) in zip(conversations, found, strict=True):
                        decided.add(conversation, first)
                        corrected.add(conversation, last)
                    kind = f"{'no collar' if not collar else '250 ms collar'}, overlap "
                    kind += "left out" if skip_overlap else "counted"
                    after = corrected.row().split(" | ")[0]
                    print(f"| {latency} | {kind} | {decided.row()} | {after} |", flush=True)
        overlap(conversations, both)


def overlap(conversations: Sequence[Conversation], both: DiarizationNetworks) -> None:
    """A line: how much of the overlapped speech is marked, and how much of what is marked is."""
    marked = true = common = 0.0
    for conversation in conversations:
        decided, _, _ = stream(conversation, both, 1.0)
        said = annotation((t.start, t.end, t.speaker) for t in conversation.turns).get_overlap()
        found = spoken(decided).get_overlap()
        marked, true = marked + found.duration(), true + said.duration()
        common += found.crop(said).duration()
    recall, precision = common / (true or 1.0), common / (marked or 1.0)
    print(f"\nlatency 1.0 s: {true:.1f} s are overlapped speech, {recall:.0%} of it marked;")
    print(f"{marked:.1f} s are marked, {precision:.0%} of it is overlapped")


def composed(seeds: int) -> None:
    """Tables on composed conversations: speaker error against speakers, overlap and noise."""
    both, clips = networks(), speakers(1)
    settings: list[tuple[int, float, float | None]] = [(n, 0.0, None) for n in (2, 3, 4, 6)]
    settings += [(3, overlap, None) for overlap in (0.1, 0.2)]
    settings += [(3, 0.0, noise) for noise in (20.0, 10.0, 5.0)]
    print("\ncomposed conversations, 60 s each, latency 2 s, no collar, overlap counted\n")
    print(
        "| speakers | overlap | noise dB | error | missed | false alarm | confusion | corrected |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for count, overlap, noise in settings:
        decided, corrected = Score(0.0, False), Score(0.0, False)
        for seed in range(seeds):
            conversation = compose(clips, count, 60.0, 1000 + seed, overlap, noise)
            first, last, _ = stream(conversation, both, 2.0)
            decided.add(conversation, first)
            corrected.add(conversation, last)
        room = "none" if noise is None else f"{noise:.0f}, reverb"
        after = corrected.row().split(" | ")
        row = f"| {count} | {overlap:.0%} | {room} | {decided.row()} | {after[0]} ({after[3]}) |"
        print(row, flush=True)


# --- words ---


def phrases() -> list[tuple[float, float, str, str]]:
    """(start s, end s, speaker, text) of the call."""
    path = data_folder() / "ami_diarization_30s" / "sample.stm"
    fields = [line.split(maxsplit=5) for line in path.read_text("utf-8").splitlines()]
    return [(float(f[3]), float(f[4]), f[2], f[5]) for f in fields if len(f) == 6]


def words() -> None:
    """Words of the call's transcript that the listener gives to the right speaker."""
    conversation, random, both = call(), np.random.default_rng(0), remembered()
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
            events += ears.feed_sound(Sound(now, conversation.samples[first : first + CHUNK]))
        for transcript in waiting:
            events += ears.feed_transcript(transcript)
        events += ears.flush()
        report_words(events, "with" if has_times else "without")


def report_words(events: Sequence[object], kind: str) -> None:
    """Compare the speakers of the final utterances' words with the transcript's, in order."""
    finals = [e.utterance for e in events if isinstance(e, UtteranceEvent) and e.utterance.is_final]
    labels = {u.utterance_id: u.speaker_id for u in finals if u.text}
    for event in events:
        if isinstance(event, SpeakerCorrected):
            labels.update(dict.fromkeys(event.utterance_ids, event.after))
    said = [(word, u.utterance_id, u.speaker_id) for u in finals for word in u.text.split()]
    truth = [(word, speaker) for _, _, speaker, text in phrases() for word in text.split()]
    pairs = list(zip(said, truth, strict=False))
    first = best_naming(((s[2], t[1]) for s, t in pairs), len(truth))
    last = best_naming(((labels[s[1]], t[1]) for s, t in pairs), len(truth))
    same_text = [s[0] for s in said] == [t[0] for t in truth]
    print(
        f"words, finals {kind} times: {len(truth)}, text in order: {same_text}, right speaker: "
        f"{first:.1%} when published, {last:.1%} after corrections"
    )


def best_naming(pairs: Iterable[tuple[str, str]], total: int) -> float:
    """Share of pairs (found, true) that agree, under the best one-to-one naming."""
    from scipy.optimize import linear_sum_assignment

    counts = Counter(pairs)
    found = sorted({f for f, _ in counts} - {""})
    true = sorted({t for _, t in counts})
    table = np.array([[counts[f, t] for t in true] for f in found]).reshape(len(found), len(true))
    rows, columns = linear_sum_assignment(-table)
    return float(table[rows, columns].sum() / max(1, total))


# --- cost ---


def cost(hour: float) -> None:
    """CPU per second of sound for each stage, and a long conversation."""
    sound = compose(speakers(1), 6, 60.0, 7).samples
    both, probability = networks(), SileroVoiceActivity()
    duration = len(sound) / RATE
    frames = sound[: len(sound) // FRAME * FRAME].reshape(-1, FRAME)
    spans = [sound[first : first + 10 * RATE] for first in range(0, len(sound) - 10 * RATE, RATE)]
    windows = [sound[k : k + 19_200] for k in range(0, len(sound) - 19_200, 6_400)]
    stages: dict[str, tuple[float, Callable[[], object]]] = {
        "voice activity": (duration, lambda: [probability.feed(frame) for frame in frames]),
        "segmentation, a look each second": (
            len(spans),
            lambda: [both.segmentation.run(span) for span in spans],
        ),
        "speaker embeddings, if all is speech": (
            duration,
            lambda: [both.embedding.embed_all([both.embedding.features(w)]) for w in windows],
        ),
        "all, latency 1 s, a look each second": (
            duration,
            lambda: stream(Conversation("", sound, ()), both, 1.0),
        ),
    }
    print("\n| stage | ms of CPU per second of sound |\n|---|---|")
    for name, (heard, run) in stages.items():
        begin = time.process_time()
        run()
        print(f"| {name} | {1000 * (time.process_time() - begin) / heard:.1f} |", flush=True)
    long_conversation(both, hour)


def long_conversation(both: DiarizationNetworks, duration: float) -> None:
    """Six speakers for `duration` s: speed and memory."""
    clips, heard, begin = speakers(1), 0.0, time.process_time()
    people = dict(list(clips.items())[:6])
    listener = SpeakerStream(SpeakerStreamConfig(), SileroVoiceActivity(), both)
    spent, seed = 0.0, 0
    while heard < duration:
        samples = compose(people, 6, 120.0, seed, 0.1, 20.0).samples
        begin = time.process_time()
        for first in range(0, len(samples), CHUNK):
            listener.feed(samples[first : first + CHUNK])
        spent += time.process_time() - begin
        heard, seed = heard + len(samples) / RATE, seed + 1
        if seed % 5 == 0 or heard >= duration:
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(f"{heard / 60:.0f} min: {heard / spent:.0f} x real time, peak {memory:.0f} MiB")


def main(argv: Sequence[str] | None = None) -> int:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("recorded", "composed", "words", "cost"))
    parser.add_argument("--part", choices=("train", "development"), default="development")
    parser.add_argument("--seeds", type=int, default=3, help="conversations of a row")
    parser.add_argument("--seconds", type=float, default=3600.0, help="of the long conversation")
    options = parser.parse_args(argv)
    if not data_folder().is_dir():
        print(f"{data_folder()} is not here: set ERC_DATA to the data folder", file=sys.stderr)
        return 1
    if options.what == "recorded":
        recorded(options.part)
    elif options.what == "composed":
        composed(options.seeds)
    elif options.what == "words":
        words()
    else:
        cost(options.seconds)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
