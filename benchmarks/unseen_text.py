"""Accuracy on text corpora, most of which are not in the training data (see the model card).

    python -m benchmarks.unseen_text [--bundle edge-small] [--most 2000] [--without-history]
    python -m benchmarks.unseen_text --corpus dailydialog --corpus emorynlp --corpus reccon-iemocap

Uses the test splits of MELD, EmoContext (four classes, the last of three turns), GoEmotions (single
comments), the robot dialogues, and of three corpora that are for evaluation only (those of the
second command; skipped if they are not in the data folder), with text only. A class that covers
several of the seven labels ("others" of EmoContext) has the sum of their probabilities.
Probabilities of labels that a corpus does not have are removed, and the others are scaled to a sum
of 1. Percent, with 95 % intervals over conversations. `--against OTHER` prints the difference to
another bundle as well, with a paired bootstrap.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.record import write_results
from erc_ros.inference.bundle import load_bundle
from erc_ros.inference.emotion_recognizer import EmotionRecognizer
from erc_ros.metrics import classification as metrics
from erc_ros.metrics.significance import Difference, paired_bootstrap
from erc_ros.resources import model_folder
from erc_ros.training.datasets.folder import data_folder
from erc_ros.training.datasets.utterances import LABELS, Conversation
from erc_ros.training.encoders.text.mixture import Corpus, read_test
from erc_ros.values.nanoseconds import seconds
from erc_ros.values.utterance import Utterance

UNSEEN = ("dailydialog", "emorynlp", "reccon-iemocap")
CORPORA = ("meld", "emocontext", "goemotions", "robot-dialogues", *UNSEEN)
TURN = 3.0  # s between turns
FIGURES = ("weighted_f1", "macro_f1", "unweighted_recall", "calibration_error")


def read_to(
    recognizer: EmotionRecognizer, conversation: Conversation, has_history: bool
) -> NDArray[np.float64]:
    """Return the probabilities (n, C) of the labeled utterances of a conversation."""
    rows = []
    for place, said in enumerate(conversation.utterances):
        if not has_history and not said.is_labelled:
            continue
        start = seconds(TURN * place)
        alone = "" if has_history else f"/{place}"
        estimate = recognizer.feed(
            Utterance(
                conversation_id=conversation.name + alone,
                utterance_id=f"{conversation.name}/{place}",
                start=start,
                end=start + seconds(TURN - 1),
                text=said.text or "...",
                speaker_id=f"speaker{said.speaker}" if said.speaker else "",
                is_final=True,
            )
        )
        if said.is_labelled:
            rows.append(estimate.probabilities)
    return np.array(rows)


def names(corpus: Corpus) -> list[str]:
    """Return the names of the classes of a corpus."""
    return [LABELS[c[0]] if len(c) == 1 else "others" for c in corpus.classes]


class Answers(NamedTuple):
    """Probabilities (N, classes) of labeled utterances, and their conversations (N,)."""

    probabilities: NDArray[np.float64]
    owners: NDArray[np.int64]


def answer(bundle: str, corpus: Corpus, has_history: bool) -> Answers:
    """Return the predictions of a bundle for a corpus."""
    loaded = load_bundle(model_folder(bundle))
    order = [list(loaded.labels).index(label) for label in LABELS]
    with EmotionRecognizer(loaded) as recognizer:
        rows = [read_to(recognizer, c, has_history) for c in corpus.conversations]
    owners = np.repeat(np.arange(len(rows)), [len(each) for each in rows])
    ours = np.concatenate([each for each in rows if len(each)])[:, order]
    summed = np.stack([ours[:, list(each)].sum(axis=1) for each in corpus.classes], axis=1)
    return Answers(summed / summed.sum(axis=1, keepdims=True), owners)


def measured(answers: Answers, corpus: Corpus, how: str) -> list[str]:
    """Return the rows of the tables: metrics, and recall of each class."""
    truth = np.array(corpus.truth())
    p = answers.probabilities
    intervals = metrics.intervals(truth, p[None], names(corpus), answers.owners, resamples=300)
    said = p.argmax(axis=1)
    recall = ", ".join(
        f"{name} {100 * (said[truth == c] == c).mean():.0f}"
        for c, name in enumerate(names(corpus))
        if (truth == c).any()
    )
    figures = " | ".join(percent(intervals[name]) for name in FIGURES)
    return [f"| {corpus.name}, {how}, {len(truth)} | {figures} |", f"    recall: {recall}"]


def differences(ours: Answers, theirs: Answers, corpus: Corpus) -> dict[str, Difference]:
    """Return the differences of two bundles in each score of FIGURES, by paired bootstrap."""
    said, other = (each.probabilities.argmax(axis=1)[None] for each in (ours, theirs))
    truth, classes = np.array(corpus.truth()), len(corpus.classes)
    return {
        name: paired_bootstrap(truth, said, other, ours.owners, classes, score=name)
        for name in FIGURES
        if name in metrics.SCORES
    }


def percent(figure: Difference | metrics.Interval) -> str:
    """Format a value in percent with its 95 % interval, if there is one."""
    value = f"{100 * figure.value:.1f}"
    if not np.isfinite([figure.low, figure.high]).all():
        return value
    return f"{value} ({100 * figure.low:.1f} to {100 * figure.high:.1f})"


def measured_figures(answers: Answers, corpus: Corpus) -> dict[str, float]:
    """Return FIGURES in percent with 95 % intervals, and the recall of each class."""
    truth, p = np.array(corpus.truth()), answers.probabilities
    intervals = metrics.intervals(truth, p[None], names(corpus), answers.owners, resamples=300)
    said = p.argmax(axis=1)
    figures: dict[str, float] = {"utterances": len(truth)}
    for name in FIGURES:
        interval = intervals[name]
        figures[name] = 100 * interval.value
        figures[f"{name}_low"], figures[f"{name}_high"] = 100 * interval.low, 100 * interval.high
    for c, name in enumerate(names(corpus)):
        if (truth == c).any():
            figures[f"recall_{name}"] = 100 * float((said[truth == c] == c).mean())
    return figures


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a row per corpus."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--bundle", default="edge-small", help="folder, or a name in models/")
    parser.add_argument("--against", help="another bundle; rows with how much --bundle is better")
    parser.add_argument("--data", type=Path, help="folder of the data sets; default $ERC_DATA")
    parser.add_argument("--most", type=int, default=2000, help="conversations of each corpus")
    parser.add_argument("--corpus", action="append", choices=CORPORA, help="only this one")
    parser.add_argument("--without-history", action="store_true", help="and every turn by itself")
    parser.add_argument("--results", metavar="NAME", help="write benchmarks/results/NAME.json")
    options = parser.parse_args(arguments)
    results: dict[str, dict[str, float]] = {}
    print(f"| corpus | {' | '.join(FIGURES)} |\n|---|{'---|' * len(FIGURES)}")
    better: dict[str, list[dict[str, Difference]]] = {}
    for name in options.corpus or CORPORA:
        try:
            corpus = read_test(name, data_folder(options.data))
        except FileNotFoundError as error:
            if options.corpus or name not in UNSEEN:
                raise
            print(f"{name} is skipped: {error}", flush=True)
            continue
        drawn = np.random.default_rng(0).permutation(len(corpus.conversations))[: options.most]
        kept = tuple(corpus.conversations[n] for n in sorted(drawn))
        corpus = Corpus(name, kept, corpus.classes)
        for how in ("with history", "without") if options.without_history else ("with history",):
            ours = answer(options.bundle, corpus, how == "with history")
            print("\n".join(measured(ours, corpus, how)), flush=True)
            key = name if how == "with history" else f"{name} without history"
            results[key] = measured_figures(ours, corpus)
            if options.against:
                theirs = answer(options.against, corpus, how == "with history")
                gains = differences(ours, theirs, corpus)
                better.setdefault(how, []).append(gains)
                print("    better by:", ", ".join(f"{k} {percent(d)}" for k, d in gains.items()))
    if set(UNSEEN) <= set(results):
        results["untrained"] = {
            name: float(np.mean([results[corpus][name] for corpus in UNSEEN])) for name in FIGURES
        }
    if options.results:
        corpora = "".join(f" --corpus {name}" for name in options.corpus or ())
        command = (
            f"python -m benchmarks.unseen_text --bundle {options.bundle} --most {options.most}"
            f"{corpora}{' --without-history' * options.without_history} --results {options.results}"
        )
        conditions = "Test splits, text only, reference transcripts and speaker labels; percent"
        bundle = load_bundle(model_folder(options.bundle))
        write_results(options.results, command, bundle, results, conditions)
    for how, found_in in better.items():
        means = ((k, np.mean([gains[k].value for gains in found_in])) for k in found_in[0])
        print(f"better by, mean, {how}:", ", ".join(f"{k} {100 * mean:.1f}" for k, mean in means))


if __name__ == "__main__":
    main()
