"""Trained text encoders on all development sets at once: to choose between recipes, with seeds.

    erc train config/training/text_open.yaml --hold-out meld --out runs/text_open
    python -m benchmarks.text_curve runs/text_open runs/another [--tokens 48] [--test]

Reads runs/NAME/seed-*/best.safetensors, float32, each conversation cut to --tokens as in the
bundle. Percent: weighted and macro F1 on dev splits (RECCON has only a test split; a quarter of
DailyDialog), and the contrast set: right with history, and the gain from it. --test adds MELD's
test split. Mean and standard deviation over seeds; writes benchmarks/results/text_curve.json, where
rows of earlier calls stay.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.contrast import read_pairs
from benchmarks.record import RESULTS, write_results
from erc_ros.metrics.table import deviation
from erc_ros.training.datasets import corpora
from erc_ros.training.datasets.folder import data_folder
from erc_ros.training.datasets.utterances import LABELS, Conversation, LabelledUtterance
from erc_ros.training.encoders.text.evaluation import predict, score
from erc_ros.training.encoders.text.examples import TextConfig
from erc_ros.training.encoders.text.mixture import Corpus, in_our_labels
from erc_ros.training.encoders.text.model import TextClassifier, load_tokenizer, make_model
from erc_ros.training.engine.recipe import read_recipe
from erc_ros.training.engine.trainer import load_weights

SETS = {  # corpus, split, every how many conversations
    "meld": ("meld", "dev", 1),
    "emorynlp": ("emorynlp", "dev", 1),
    "dailydialog": ("dailydialog", "dev", 4),
    "reccon": ("reccon-iemocap", "test", 1),
    "goemotions": ("goemotions", "valid", 4),
}
TEST = {"meld test": ("meld", "test", 1)}
NAME = "text_curve"


def pair_conversations() -> list[Conversation]:
    """Each contrast sentence after its two histories, then without a history; two speakers."""
    conversations = []
    for number, pair in enumerate(read_pairs()):
        for history, emotion in [*((h, e) for e, h in pair.histories.items()), ((), "neutral")]:
            turns = [*history, pair.last]
            said = [
                LabelledUtterance(text, 1 + place % 2, None, place)
                for place, text in enumerate(turns)
            ]
            said[-1] = replace(said[-1], label=LABELS.index(emotion))
            conversations.append(Conversation(f"{number}/{emotion}/{len(turns)}", tuple(said)))
    return conversations


def contrast(model: TextClassifier, config: TextConfig) -> dict[str, float]:
    """Percent right with history, and the gain over the same sentences without."""
    logits, labels = predict(model, pair_conversations(), config.prompt(load_tokenizer()), config)
    answers, truth = logits.argmax(axis=1).reshape(-1, 3), labels.reshape(-1, 3)[:, :2]
    right = 100 * float((answers[:, :2] == truth).mean())
    return {"with": right, "gain": right - 100 * float((answers[:, 2:] == truth).mean())}


def measured(
    folder: Path, config: TextConfig, sets: Mapping[str, Corpus]
) -> dict[str, dict[str, float]]:
    """Scores of one seed by set."""
    model = make_model(config.dropout, config.reading, config.corpora_of_classifier)
    load_weights(model, folder / "best.safetensors")
    prompt = config.prompt(load_tokenizer())
    scores = {
        name: {key: 100 * value for key, value in score(model, each, prompt, config).items()}
        for name, each in sets.items()
    }
    return {**scores, "contrast": contrast(model, config)}


def over_seeds(values: Sequence[float]) -> dict[str, float]:
    """Mean, and the standard deviation where there are several seeds."""
    spread = deviation(values)
    return {"mean": float(np.mean(values))} | ({} if spread is None else {"sd": spread})


def percent(figure: Mapping[str, float]) -> str:
    """Mean and standard deviation."""
    return f"{figure['mean']:.1f}" + (f" ± {figure['sd']:.1f}" if "sd" in figure else "")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure every run, print its row and store it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path, help="folders of text trainings")
    parser.add_argument("--data", type=Path, help="folder of the data sets; default $ERC_DATA")
    parser.add_argument("--tokens", type=int, default=48, help="of a conversation, at most")
    parser.add_argument("--test", action="store_true", help="MELD's test split as well")
    options = parser.parse_args(arguments)
    sets = {}
    for name, (corpus, split, step) in {**SETS, **(TEST if options.test else {})}.items():
        spec = corpora.find(corpus)
        whole = in_our_labels(corpus, corpora.read_split(spec, data_folder(options.data), split))
        sets[name] = replace(whole, conversations=whole.conversations[::step])
    file = RESULTS / f"{NAME}.json"
    figures = json.loads(file.read_text())["figures"] if file.is_file() else {}
    for run in options.runs:
        config = read_recipe(run / "recipe.yaml", run).section("text", TextConfig)
        config = replace(config, max_tokens=options.tokens)
        seeds = sorted(run.glob("seed-*/best.safetensors"))
        rows = [measured(weights.parent, config, sets) for weights in seeds]
        figures[run.name] = {"seeds": len(rows)} | {
            name: {key: over_seeds([row[name][key] for row in rows]) for key in rows[0][name]}
            for name in rows[0]
        }
        print(run.name, len(rows), "seeds")
        for name in rows[0]:
            shown = (f"{key} {percent(each)}" for key, each in figures[run.name][name].items())
            print(f"  {name}: {', '.join(shown)}", flush=True)
        conditions = "Float32, dev splits (RECCON: test), reference transcripts and speakers"
        command = f"python -m benchmarks.text_curve RUN{' --test' * options.test}"
        write_results(NAME, command, None, figures, conditions)


if __name__ == "__main__":
    main()
