"""Gain from voice and face in addition to text, and loss when they are broken.

    python -m benchmarks.modalities [--bundle edge-small] [--split test] [--draws 5]

Runs every situation of `training.fusion.situations` on MELD: text is real, voice and face are
simulated by clips of held-out people. Each is compared with text only, and with edge-small 1.2.0,
which assumes that voice and face have no information in 98.5 of 100 utterances, on the same data.
With `--split dev` also on the real audio of MELD dev (published features, out-of-fold logistic
regression).

Writes benchmarks/results/modalities_SPLIT.json. Needs the extra [train].
"""

from __future__ import annotations

import argparse
import timeit
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import process_time

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from benchmarks.record import write_results
from erc_ros.inference.bundle import load_bundle
from erc_ros.inference.reliability import Reading, ReliabilityConfig, initial_state, step
from erc_ros.metrics.calibration import fit_temperature
from erc_ros.metrics.classification import weighted_f1
from erc_ros.resources import model_folder
from erc_ros.training.datasets.folder import data_folder
from erc_ros.training.datasets.meld import read_meld
from erc_ros.training.datasets.published import read_meld_dev_sound
from erc_ros.training.fusion import situations
from erc_ros.training.fusion.bundle_trial import read_trial
from erc_ros.training.fusion.fit_reliability import read_material
from erc_ros.training.fusion.situations import Material, Stream

Floats = NDArray[np.float64]

FORMER = 0.985  # probability in edge-small 1.2.0 that voice and face have no information
FOLDS = 10
STRENGTHS = (0.001, 0.01)
RESAMPLES = 2000


def former(prior: Floats, stream: Stream) -> Floats:
    """Return the predictions of edge-small 1.2.0, (T, C)."""
    predicted = stream.alone[:, 0]
    for m in (1, 2):
        evidence = FORMER + (1 - FORMER) * stream.alone[:, m] / prior
        predicted = predicted * np.where(stream.present[:, m, None], evidence, 1.0)
    result: Floats = predicted / predicted.sum(axis=1, keepdims=True)
    return result


def measure(config: ReliabilityConfig, material: Material, draws: int) -> dict[str, object]:
    """Return mean and spread over draws of the gain over text ("plain words": weighted F1)."""
    now: dict[str, list[float]] = {}
    before: dict[str, list[float]] = {}
    for seed in range(draws):
        made = situations.streams(material, seed)
        for stream, predicted in zip(made, situations.replayed(config, made), strict=True):
            score = situations.score if stream.name == "plain words" else situations.gain
            now.setdefault(stream.name, []).append(score(stream, predicted))
            earlier = former(np.array(config.prior), stream)
            before.setdefault(stream.name, []).append(score(stream, earlier))
    result: dict[str, object] = {
        _key(name): {
            "now": float(np.mean(values)),
            "spread": float(np.std(values)),
            "1.2.0": float(np.mean(before[name])),
        }
        for name, values in now.items()
    }
    for key, start in (("worst_kept", ("both ", "voice ", "face ")), ("worst_cold", ("cold, b",))):
        costs = {n: float(np.mean(v)) for n, v in now.items() if n.startswith(start)}
        worst = min(costs, key=costs.__getitem__)
        earlier = min(float(np.mean(v)) for n, v in before.items() if n.startswith(start))
        result[key] = {"now": costs[worst], "1.2.0": earlier}
        print(f"{key}: {worst} {costs[worst]:+.2f}")
    result["recovery_utterances"] = situations.half_back(config, material, range(draws))
    result["badly_lit"] = _badly_lit(config, material, draws)
    return result


def _badly_lit(config: ReliabilityConfig, material: Material, draws: int) -> dict[str, float]:
    """Return the gain in accuracy for a well-lit person and for a badly lit one."""
    lit, dark = [], []
    for seed in range(draws):
        stream, is_dark = situations.badly_lit(material, seed)
        (predicted,) = situations.replayed(config, [stream])
        right = (predicted.argmax(1) == stream.labels).astype(float)
        right -= stream.alone[:, 0].argmax(1) == stream.labels
        lit.append(100 * right[~is_dark].mean())
        dark.append(100 * right[is_dark].mean())
    return {"in_the_light": float(np.mean(lit)), "in_the_dark": float(np.mean(dark))}


def real_audio(
    config: ReliabilityConfig, material: Material, data: Path
) -> dict[str, dict[str, float]]:
    """Return the gain from real audio of MELD dev, with 95 % intervals over dialogues."""
    sound = read_meld_dev_sound(data)
    conversations = read_meld(data, "dev").conversations
    names = [(int(c.name.rpartition("/")[2]), u.index) for c in conversations for u in c.utterances]
    has = np.array([name in sound for name in names])
    width = len(next(iter(sound.values())))
    rows = np.array([sound.get(name, np.zeros(width, np.float32)) for name in names])
    dialogues = np.unique(material.first)
    fold = np.random.default_rng(0).permutation(len(dialogues)) % FOLDS
    fold_of = fold[np.searchsorted(dialogues, material.first)]
    result = {}
    for strength in STRENGTHS:
        reports = np.tile(np.array(config.prior), (len(rows), 1))
        for number in range(FOLDS):
            held, train = fold_of == number, (fold_of != number) & has
            scaler = StandardScaler().fit(rows[train])
            model = LogisticRegression(C=strength, max_iter=300)
            model.fit(scaler.transform(rows[train]), material.labels[train])
            reports[held] = model.predict_proba(scaler.transform(rows[held]))
        present = np.stack([np.ones(len(rows), bool), has, np.zeros(len(rows), bool)], axis=1)
        alone = np.stack([material.words, reports, reports], axis=1)
        stream = Stream("real audio", "", alone, present, material.labels)
        (predicted,) = situations.replayed(config, [stream])
        earlier = former(np.array(config.prior), stream)
        for name, labels in (("now", predicted), ("1.2.0", earlier)):
            mean, low, high = _interval(stream, labels, material.first)
            nats, nats_low, nats_high = _likelihood(stream, labels, material.first)
            key = f"C_{strength:g}_{name}"
            result[key] = {"gain": mean, "low": low, "high": high}
            result[key] |= {"nats": nats, "nats_low": nats_low, "nats_high": nats_high}
    return result


def _likelihood(
    stream: Stream, predicted: Floats, first: NDArray[np.int64]
) -> tuple[float, float, float]:
    """Return the gain in log likelihood over the words (nats), and its interval over dialogues.

    Predictions and words each have the temperature that fits them best, so that it is no gain to be
    less or more certain everywhere.
    """
    truth, each = stream.labels, []
    for probabilities in (predicted, stream.alone[:, 0]):
        logits = np.log(np.maximum(probabilities, 1e-9))
        logits /= fit_temperature(logits, truth)
        each.append(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))
    rows = np.arange(len(truth))
    gained = each[0][rows, truth] - each[1][rows, truth]
    begins = np.unique(first)
    of_dialogue = np.searchsorted(begins, first)
    sums, counts = np.bincount(of_dialogue, gained), np.bincount(of_dialogue)
    rng = np.random.default_rng(0)
    chosen = rng.integers(0, len(begins), (RESAMPLES, len(begins)))
    low, high = np.percentile(sums[chosen].sum(1) / counts[chosen].sum(1), [2.5, 97.5])
    return float(gained.mean()), float(low), float(high)


def _interval(
    stream: Stream, predicted: Floats, first: NDArray[np.int64]
) -> tuple[float, float, float]:
    """Return the gain and its 95 % bootstrap interval over dialogues."""
    rows = np.split(np.arange(len(first)), np.unique(first)[1:])
    ground_truth, mine, words = stream.labels, predicted.argmax(1), stream.alone[:, 0].argmax(1)
    rng, gains = np.random.default_rng(0), []
    for _ in range(RESAMPLES):
        chosen = np.concatenate([rows[n] for n in rng.integers(0, len(rows), len(rows))])
        one = weighted_f1(ground_truth[chosen], mine[chosen], 7)
        gains.append(100 * (one - weighted_f1(ground_truth[chosen], words[chosen], 7)))
    low, high = np.percentile(gains, [2.5, 97.5])
    return situations.gain(stream, predicted), float(low), float(high)


def step_milliseconds(config: ReliabilityConfig) -> float:
    """Return the CPU time of one utterance: the minimum of five means over 500 steps."""
    reading = Reading(np.tile(np.array(config.prior), (3, 1)), np.ones(3, bool))
    state = initial_state(config)
    times = timeit.repeat(
        lambda: step(config, state, reading), number=500, repeat=5, timer=process_time
    )
    return 1000 * min(times) / 500


def _key(name: str) -> str:
    return name.replace("'", "").replace(", ", "_").replace(" ", "_")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark, print the results and write them to a file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--bundle", default="edge-small", help="folder, or a name in models/")
    parser.add_argument("--split", choices=("dev", "test"), default="test")
    parser.add_argument("--draws", type=int, default=5, help="of the clips")
    parser.add_argument("--data", type=Path, help="folder of the data sets; default $ERC_DATA")
    options = parser.parse_args(arguments)
    bundle, data = load_bundle(model_folder(options.bundle)), data_folder(options.data)
    if bundle.reliability is None:
        parser.error(f"{bundle.folder} has no section reliability")
    trial = read_trial(bundle, data, options.split)
    material = read_material(bundle, trial, data, options.split)
    figures = dict(measure(bundle.reliability, material, options.draws))
    figures["step_ms"] = step_milliseconds(bundle.reliability)
    figures["draws"] = options.draws
    if options.split == "dev":
        figures["real_audio"] = real_audio(bundle.reliability, material, data)
    _show(figures)
    command = f"python -m benchmarks.modalities --split {options.split} --draws {options.draws}"
    conditions = (
        f"MELD {options.split}, {len(material.labels)} utterances, reference transcripts; voice and"
        " face simulated by clips of held-out people; gains in points of weighted F1 over words"
    )
    write_results(f"modalities_{options.split}", command, bundle, figures, conditions)


def _show(figures: Mapping[str, object], indent: str = "") -> None:
    for name, value in figures.items():
        if isinstance(value, Mapping):
            print(f"{indent}{name}")
            _show(value, indent + "  ")
        else:
            print(f"{indent}{name}: {value:.2f}")


if __name__ == "__main__":
    main()
