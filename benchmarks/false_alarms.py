"""False alarms: share of neutral speech without text that gets an emotion label.

    python -m benchmarks.false_alarms [--bundle edge-small]

Reads DATA/ami_diarization_30s: 12 excerpts of real meetings, 30 s each, nearly all of it neutral.
`Pipeline` processes each excerpt in chunks of 0.1 s, without texts and camera. The result is the
duration of the final utterances by label, and by label with a confidence above 0.5. Every label
except neutral is a false alarm.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from benchmarks.record import write_results
from erc_ros.inference.bundle import load_bundle
from erc_ros.inference.estimate import Estimate
from erc_ros.pipeline import EstimateEvent, Pipeline, PipelineConfig, PipelineEvent
from erc_ros.resources import model_folder
from erc_ros.sensing.microphone import AudioChunk
from erc_ros.training.datasets.folder import data_folder
from erc_ros.values.nanoseconds import NS
from erc_ros.values.utterance import SAMPLE_RATE

FOLDER = "ami_diarization_30s"
EXCERPTS = ("dev*.flac", "trn*.flac")  # `sample` is a telephone call
SURE = 0.5  # confidence above which a label counts as an alarm
CHUNK = SAMPLE_RATE // 10  # samples
START = 1000 * NS  # stamp of the first sample

CONDITIONS = (
    "12 excerpts of AMI meetings, 30 s each, without texts and camera; shares of the speech time."
    " No recording of AMI is in the training data."
)

Samples = NDArray[np.int16]


def listen(pipeline: Pipeline, samples: Samples) -> list[Estimate]:
    """Return the last final estimate of each utterance in (n,) samples, sorted by time."""
    events: list[PipelineEvent] = []
    for begin in range(0, len(samples), CHUNK):
        stamp = START + begin * NS // SAMPLE_RATE
        end = stamp + CHUNK * NS // SAMPLE_RATE
        data = samples[begin : begin + CHUNK].tobytes()
        events += pipeline.feed(AudioChunk(data, stamp, end, "microphone"))
        events += pipeline.advance(end)
    events += pipeline.flush()
    latest: dict[tuple[str, str], Estimate] = {}
    for event in events:
        if isinstance(event, EstimateEvent) and event.estimate.is_final:
            said = event.estimate.utterance
            latest[said.conversation_id, said.utterance_id] = event.estimate
    return sorted(latest.values(), key=lambda each: each.utterance.start)


def shares(estimates: Sequence[Estimate], labels: Sequence[str]) -> dict[str, Any]:
    """Return the shares of the speech time by label, and with a confidence above SURE.

    false_alarms: sum of the latter over all labels except neutral.
    """
    seconds = np.array([(e.utterance.end - e.utterance.start) / NS for e in estimates])
    best = np.array([int(np.argmax(e.probabilities)) for e in estimates], np.int64)
    sure = np.array([e.confidence > SURE for e in estimates], bool)
    total = max(float(seconds.sum()), 1e-9)
    by_label = {name: float(seconds[best == k].sum() / total) for k, name in enumerate(labels)}
    above = {
        name: float(seconds[(best == k) & sure].sum() / total) for k, name in enumerate(labels)
    }
    return {
        "speech_s": round(total, 1),
        "utterances": len(estimates),
        "likeliest": {name: round(share, 4) for name, share in by_label.items()},
        "above_0.5": {name: round(share, 4) for name, share in above.items()},
        "false_alarms": round(sum(s for name, s in above.items() if name != "neutral"), 4),
    }


def meetings(bundle: str, folder: Path) -> tuple[list[Estimate], tuple[str, ...]]:
    """Return the estimates of all excerpts, each in a new conversation, and the labels.

    Raises:
        FileNotFoundError: there are no excerpts.
    """
    files = sorted(file for pattern in EXCERPTS for file in folder.glob(pattern))
    if not files:
        raise FileNotFoundError(f"{folder} has no excerpts of meetings ({', '.join(EXCERPTS)})")
    estimates: list[Estimate] = []
    labels: tuple[str, ...] = ()
    for file in files:
        samples, rate = soundfile.read(file, dtype="int16")
        if rate != SAMPLE_RATE or samples.ndim != 1:
            raise ValueError(
                f"{file} has {rate} Hz and shape {samples.shape}; expected 16 kHz mono"
            )
        with Pipeline(PipelineConfig(bundle=bundle, face_detector="none")) as pipeline:
            labels = tuple(pipeline.recognition.bundle.labels)
            estimates += listen(pipeline, samples)
    return estimates, labels


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the shares, and write them to benchmarks/results/false_alarms.json."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.false_alarms",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--bundle", default="edge-small", help="folder, or a name in models/")
    parser.add_argument("--data", type=Path, help="folder of the data sets; default $ERC_DATA")
    options = parser.parse_args(arguments)
    estimates, labels = meetings(options.bundle, data_folder(options.data) / FOLDER)
    alarms = shares(estimates, labels)
    print(json.dumps(alarms, indent=2))
    bundle = load_bundle(model_folder(options.bundle))
    command = f"python -m benchmarks.false_alarms --bundle {bundle.name}"
    write_results("false_alarms", command, bundle, alarms, CONDITIONS)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
