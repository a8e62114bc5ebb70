"""Effect of voice and face on the estimates of the shipped bundle.

    python -m benchmarks.modality_effect [--bundle edge-small] [--only meld|ravdess] [--split dev]

meld: MELD test. Text is real; voice and face are **simulated** by clips of held-out people of
RAVDESS and EmoDB and images of FER+ test (`training.fusion.bundle_trial`), degraded to the
published accuracy of MELD's own modalities, and once undegraded: every clip has the label of its
utterance.

ravdess: clips of the held-out test actors of RAVDESS, each with five FER+ test images of the same
label: voice, face, both, and each with the words of the clip ("Kids are talking by the door."),
which do not depend on the emotion. With `--split dev`: clips of the dev actors and images of FER+
valid, on which constants are chosen; the results are only printed.

Writes benchmarks/results/modality_effect_meld.json and ..._ravdess.json. Needs the extra [train].
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
from erc_ros.metrics import classification as metrics
from erc_ros.resources import model_folder
from erc_ros.training.datasets import corpora, ferplus
from erc_ros.training.datasets.folder import data_folder
from erc_ros.training.datasets.held_out import recorded_speakers
from erc_ros.training.datasets.utterances import LABELS
from erc_ros.training.fusion.bundle_trial import read_trial, simulated_logits
from erc_ros.values.nanoseconds import NS
from erc_ros.values.utterance import FaceCrop, Utterance

STATEMENTS = {"01": "Kids are talking by the door.", "02": "Dogs are sitting by the door."}
FACES = 5
TEXT = (True, False, False)
ALL = (True, True, True)
SENSES = (False, True, True)


def meld(bundle: Bundle, data: Path) -> dict[str, float]:
    """Return weighted and macro F1 with and without voice and face, and changed labels."""
    trial = read_trial(bundle, data, "test")
    result: dict[str, float] = {}
    for name, mismatches in (("degraded", 1.0), ("undegraded", 0.0)):
        text, labels = simulated_logits(trial, TEXT, mismatches)
        every, _ = simulated_logits(trial, ALL, mismatches)
        senses, _ = simulated_logits(trial, SENSES, mismatches)
        said = {"text": text.argmax(axis=1), "all": every.argmax(axis=1)}
        said["voice_face"] = senses.argmax(axis=1)
        for key, predicted in said.items():
            result[f"{name}_{key}_weighted_f1"] = 100 * metrics.weighted_f1(
                labels, predicted, len(LABELS)
            )
            result[f"{name}_{key}_macro_f1"] = 100 * metrics.macro_f1(
                labels, predicted, len(LABELS)
            )
        result[f"{name}_gain"] = (
            result[f"{name}_all_weighted_f1"] - result[f"{name}_text_weighted_f1"]
        )
        result[f"{name}_changed"] = 100 * float((said["text"] != said["all"]).mean())
    return result


def acted(bundle: Bundle, data: Path, split: str = "test") -> dict[str, float]:
    """Return the weighted F1 on RAVDESS by modalities, and the share of neutral estimates."""
    speakers = recorded_speakers(bundle.training["held_out"]["audio"], str(bundle.folder))
    actors = speakers.test if split == "test" else speakers.dev
    clips = [clip for clip in corpora.clips(["ravdess"], data).clips if clip.speaker in actors]
    pictures = ferplus.load(data / ferplus.FOLDER)
    faces = pictures.test if split == "test" else pictures.valid
    to_label = np.array([LABELS.index(ferplus.TO_MELD[name]) for name in ferplus.CLASSES])
    images = [faces.pictures[(faces.labels >= 0) & (to_label[faces.labels] == c)] for c in range(7)]
    generator = np.random.default_rng(0)
    shown = [generator.choice(images[clip.label], FACES) for clip in clips]
    ground_truth = np.array([clip.label for clip in clips], np.int64)
    order = [list(bundle.labels).index(label) for label in LABELS]
    result: dict[str, float] = {"clips": len(clips), "actors": len({c.speaker for c in clips})}
    for name, parts in (
        ("voice", "v"), ("face", "f"), ("voice_face", "vf"), ("words", "w"),
        ("voice_words", "vw"), ("face_words", "fw"), ("voice_face_words", "vfw"),
    ):  # fmt: skip
        rows = []
        with EmotionRecognizer(bundle) as recognizer:
            for number, (clip, images_shown) in enumerate(zip(clips, shown, strict=True)):
                statement = STATEMENTS[clip.name.split("-")[4]]
                crops = tuple(FaceCrop(NS // 10 * place, p) for place, p in enumerate(images_shown))
                sound = np.rint(clip.samples * 32767).astype(np.int16)
                estimate = recognizer.feed(
                    Utterance(
                        conversation_id=f"c{number}",
                        utterance_id="u",
                        start=0,
                        end=max(NS, len(sound) * NS // 16_000),
                        text=statement if "w" in parts else "",
                        speaker_id="s",
                        audio=sound if "v" in parts else sound[:0],
                        faces=crops if "f" in parts else (),
                    )
                )
                rows.append(estimate.probabilities)
        predicted: NDArray[np.int64] = np.array(rows)[:, order].argmax(axis=1)
        result[f"{name}_weighted_f1"] = 100 * metrics.weighted_f1(
            ground_truth, predicted, len(LABELS)
        )
        result[f"{name}_neutral"] = 100 * float((predicted == LABELS.index("neutral")).mean())
    result["true_neutral"] = 100 * float((ground_truth == LABELS.index("neutral")).mean())
    return result


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark, print the results and write them to a file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--bundle", default="edge-small", help="folder, or a name in models/")
    parser.add_argument("--data", type=Path, help="folder of the data sets; default $ERC_DATA")
    parser.add_argument("--only", choices=("meld", "ravdess"))
    parser.add_argument("--split", choices=("dev", "test"), default="test", help="of ravdess")
    options = parser.parse_args(argv)
    bundle, data = load_bundle(model_folder(options.bundle)), data_folder(options.data)
    if options.split == "dev":
        for key, value in acted(bundle, data, "dev").items():
            print(f"{key} {value:.1f}")
        return
    conditions = {
        "ravdess": "RAVDESS clips of the held-out test actors, each with five images of FER+ test "
        "of the same label (simulated pairing); each clip is a conversation of its own",
        "meld": "MELD test, 2,610 utterances, reference transcripts and speaker labels; voice and "
        "face simulated, mean over five draws",
    }
    for name, measure in (("ravdess", acted), ("meld", meld)):
        if options.only not in (None, name):
            continue
        effects = measure(bundle, data)
        command = f"python -m benchmarks.modality_effect --only {name}"
        file = write_results(f"modality_effect_{name}", command, bundle, effects, conditions[name])
        print(file.name, *(f"{key} {value:.1f}" for key, value in effects.items()), sep="\n  ")


if __name__ == "__main__":
    main()
