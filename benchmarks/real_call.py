"""A real telephone call of two speakers, processed by the nodes over DDS.

    python -m benchmarks.real_call [--out out/real_call]

The audio is `ami_diarization_30s/sample.flac` of the data folder ($ERC_DATA). Its reference
transcript simulates a speech recognizer with a delay of 0.3 to 0.8 s after each phrase. The
speakers are determined by the nodes and compared with the annotation.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from erc_ros.cli import _print_end, _print_row
from erc_ros.demo.conversation_bag import Phrase, SimulatedRecognizer, write_conversation
from erc_ros.parameters import RobotConfig
from erc_ros.replay.bag import Bag
from erc_ros.replay.report import write
from erc_ros.replay.rows import Row
from erc_ros.replay.via_dds import play, recognizable_speech
from erc_ros.training.datasets import folder as datasets
from erc_ros.values.nanoseconds import NS
from erc_ros.values.utterance import SAMPLE_RATE

FRAME = 0.01  # s


@dataclass(frozen=True)
class Turn:
    """Speech of a speaker from `start` to `end` (s)."""

    start: float
    end: float
    speaker: str


def data_folder() -> Path:
    """Return the folder of the call."""
    return datasets.data_folder() / "ami_diarization_30s"


def read_rttm(file: Path) -> list[Turn]:
    """Read the turns of an RTTM file."""
    fields = [line.split() for line in file.read_text().splitlines() if line.strip()]
    return [Turn(float(f[3]), float(f[3]) + float(f[4]), f[7]) for f in fields]


def read_stm(file: Path) -> list[Phrase]:
    """Read the phrases of an STM file (name, channel, speaker, start, end, text)."""
    fields = [line.split(maxsplit=5) for line in file.read_text().splitlines() if line.strip()]
    return [Phrase(float(f[3]), float(f[4]), f[5]) for f in fields]


def write_call(folder: Path, path: Path) -> Path:
    """Write the call as a recording to the new folder `path`."""
    import soundfile

    sound, rate = soundfile.read(folder / "sample.flac", dtype="float32")
    if rate != SAMPLE_RATE or sound.ndim != 1:
        raise ValueError(f"sample.flac has {rate} Hz and shape {sound.shape}, expected 16 kHz mono")
    recognizer = SimulatedRecognizer(type=recognizable_speech(), delay=(0.3, 0.8))
    return write_conversation(path, sound, read_stm(folder / "sample.stm"), recognizer=recognizer)


def single_speaker(turns: Iterable[Turn], frames: int) -> NDArray[np.object_]:
    """Return (frames,) the single speaker in each 10 ms; None for silence or overlap."""
    who = np.full(frames, None, object)
    count = np.zeros(frames, int)
    for turn in turns:
        span = slice(round(turn.start / FRAME), round(turn.end / FRAME))
        who[span] = turn.speaker
        count[span] += 1
    who[count != 1] = None
    return who


@dataclass(frozen=True)
class Agreement:
    """Shares of frames and utterances with the right speaker.

    heard: share of the speech that is in utterances. judged: number of utterances. names: speaker
    of the hypothesis -> reference speaker.
    """

    frames: float
    utterances: float
    heard: float
    judged: int
    names: dict[str, str]


def agreement(rows: Sequence[Row], origin: int, truth: Sequence[Turn]) -> Agreement:
    """Compare the speakers of the estimates with the reference, under the best mapping.

    Only frames of 10 ms with exactly one speaker and inside an utterance are counted.
    """
    matches = [
        Turn((row.start - origin) / NS, (row.end - origin) / NS, row.speaker_id or "?")
        for row in rows
        if row.is_final
    ]
    frames = round(max(turn.end for turn in [*truth, *matches]) / FRAME) + 1
    real = single_speaker(truth, frames)
    spoken = real != None  # noqa: E711  (elementwise)
    pairs: Counter[tuple[str, str]] = Counter()
    for turn in matches:
        span = slice(round(turn.start / FRAME), round(turn.end / FRAME))
        pairs.update((turn.speaker, who) for who in real[span] if who is not None)
    names = best_naming(pairs)
    right = sum(n for (mine, who), n in pairs.items() if names.get(mine) == who)
    judged = [(turn, who) for turn in matches if (who := _majority(real, turn)) is not None]
    correct = sum(names.get(turn.speaker) == who for turn, who in judged)
    covered = single_speaker([Turn(t.start, t.end, "x") for t in matches], frames) != None  # noqa: E711
    return Agreement(
        frames=right / max(1, sum(pairs.values())),
        utterances=correct / max(1, len(judged)),
        heard=float((covered & spoken).sum() / max(1, spoken.sum())),
        judged=len(judged),
        names=names,
    )


def best_naming(pairs: Counter[tuple[str, str]]) -> dict[str, str]:
    """Return the one-to-one mapping of hypothesis to reference speakers with most agreement."""
    mine = sorted({m for m, _ in pairs} - {"?"})
    real = sorted({w for _, w in pairs})
    slots = [*mine, *([""] * max(0, len(real) - len(mine)))]
    best = max(
        permutations(slots, len(real)),
        key=lambda order: sum(pairs[m, w] for m, w in zip(order, real, strict=True)),
        default=(),
    )
    return {m: w for m, w in zip(best, real, strict=True) if m}


def _majority(real: NDArray[np.object_], turn: Turn) -> str | None:
    span = real[round(turn.start / FRAME) : round(turn.end / FRAME)]
    counts = Counter(who for who in span if who is not None)
    return counts.most_common(1)[0][0] if counts else None


def run(out: Path, robot: RobotConfig) -> int:
    """Write and play the recording, and print the results; return 1 if an estimate is missing.

    The agreement of speakers does not affect the return value.
    """
    folder = data_folder()
    if not (folder / "sample.flac").is_file():
        print(f"{folder} does not exist: set ERC_DATA to the data folder", file=sys.stderr)
        return 1
    path = out / "bag"
    if not path.exists():
        write_call(folder, path)
    with Bag(path) as bag:
        result = play(bag, {}, robot, on_row=_print_row(True))
    _print_end(result, write(result, out))
    figures = agreement(result.rows, result.origin, read_rttm(folder / "sample.rttm"))
    texts = read_stm(folder / "sample.stm")
    said = " ".join(row.text for row in result.rows if row.is_final)
    kept = sum(phrase.text in said for phrase in texts)
    print(f"texts with an estimate: {kept} of {len(texts)}")
    print(
        f"speaker as annotated: {figures.frames:.1%} of the single-speaker frames in utterances, "
        f"{figures.utterances:.0%} of {figures.judged} utterances; "
        f"{figures.heard:.1%} of the single-speaker speech is in an utterance"
    )
    latency, node = result.timing["latency_ms"], result.timing["node_latency_ms"]
    print(f"latency, ms: text to estimate over DDS {latency}, inside the nodes {node}")
    return 0 if kept == len(texts) else 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; see the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out/real_call"))
    parser.add_argument("--bundle", default=RobotConfig().emotion_node.recognition.bundle)
    options = parser.parse_args(argv)
    return run(options.out, RobotConfig().changed(bundle=options.bundle))


if __name__ == "__main__":
    raise SystemExit(main())
