"""Accuracy of the voice part by sex and language, on clips of held-out actors.

    python -m benchmarks.voice_groups [--bundle edge-small]

RAVDESS (English) and EmoDB (German), actors who are not in the training data: unweighted average
recall of the labels in a group, with an interval over clips. The actors of the dev split were used
for model selection. Each clip is a new conversation, so that there are no earlier utterances of its
speaker.

Writes benchmarks/results/voice_groups.json. Needs the extra [train].
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.record import write_results
from erc_ros.inference.bundle import Bundle, load_bundle
from erc_ros.inference.emotion_recognizer import EmotionRecognizer
from erc_ros.inference.estimate import Estimate
from erc_ros.metrics import classification as metrics
from erc_ros.resources import model_folder
from erc_ros.training.datasets import corpora
from erc_ros.training.datasets.folder import data_folder
from erc_ros.training.datasets.held_out import recorded_speakers
from erc_ros.training.datasets.speech import Clip
from erc_ros.training.datasets.utterances import LABELS
from erc_ros.values.nanoseconds import NS
from erc_ros.values.utterance import Utterance

CORPORA = ("ravdess", "emodb")
RESAMPLES = 2000


def recall(labels: NDArray[np.int64], predicted: NDArray[np.int64]) -> dict[str, float]:
    """Return the unweighted average recall in percent with its 95 % interval over clips."""
    generator = np.random.default_rng(0)
    drawn = generator.integers(0, len(labels), (RESAMPLES, len(labels)))
    values = [
        metrics.unweighted_recall(labels[each], predicted[each], len(LABELS)) for each in drawn
    ]
    low, high = np.quantile(values, (0.025, 0.975))
    value = metrics.unweighted_recall(labels, predicted, len(LABELS))
    return {"recall": 100 * value, "low": 100 * float(low), "high": 100 * float(high)}


def held_out_clips(
    argv: Sequence[str] | None, description: str | None, names: Sequence[str] = CORPORA
) -> tuple[Bundle, list[Clip]]:
    """Return the bundle of the command line, and clips on whose speakers it was not trained."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--bundle", default="edge-small", help="folder, or a name in models/")
    parser.add_argument("--data", type=Path, help="folder of the data sets; default $ERC_DATA")
    options = parser.parse_args(argv)
    bundle = load_bundle(model_folder(options.bundle))
    held_out = recorded_speakers(bundle.training["held_out"]["audio"], str(bundle.folder))
    speakers = {*held_out.dev, *held_out.test}
    clips = corpora.clips(names, data_folder(options.data)).clips
    return bundle, [clip for clip in clips if clip.speaker in speakers]


def voice_estimates(bundle: Bundle, clips: Sequence[Clip]) -> list[Estimate]:
    """Return the estimate of each clip from audio only."""
    estimates = []
    with EmotionRecognizer(bundle) as recognizer:
        for number, clip in enumerate(clips):
            samples = np.rint(clip.samples * 32767).astype(np.int16)
            utterance = Utterance(
                conversation_id=f"c{number}",
                utterance_id="u",
                start=0,
                end=max(NS, len(samples) * NS // 16_000),
                speaker_id="s",
                audio=samples,
            )
            estimates.append(recognizer.feed(utterance))
    return estimates


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark, print the results and write them to a file."""
    bundle, clips = held_out_clips(argv, __doc__)
    order = [list(bundle.labels).index(label) for label in LABELS]
    estimates = voice_estimates(bundle, clips)
    predicted = np.array([each.probabilities[order].argmax() for each in estimates], np.int64)
    labels = np.array([clip.label for clip in clips], np.int64)
    groups = {
        "women": ("ravdess", "female"),
        "men": ("ravdess", "male"),
        "german_women": ("emodb", "female"),
    }
    figures: dict[str, dict[str, float]] = {}
    for name, (corpus, sex) in groups.items():
        chosen = np.array([clip.corpus == corpus and clip.sex == sex for clip in clips])
        people = {clip.speaker for clip, is_in in zip(clips, chosen, strict=True) if is_in}
        figures[name] = {
            "people": len(people),
            "clips": int(chosen.sum()),
            **recall(labels[chosen], predicted[chosen]),
        }
        print(name, figures[name])
    write_results(
        "voice_groups",
        "python -m benchmarks.voice_groups",
        bundle,
        figures,
        "clips of RAVDESS and EmoDB by actors whom the voice part was not trained on (dev and test "
        "split); voice alone, each clip a conversation of its own",
    )


if __name__ == "__main__":
    main()
