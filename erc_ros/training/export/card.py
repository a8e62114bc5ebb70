# ruff: noqa: E501 - rows of a Markdown table cannot be broken
"""The model card of a bundle (README.md), generated from the records of its runs.

Parts, corpora, licenses, commands and figures come from the folders of the runs (`engine.history`,
metrics.json); no bundle is described in this module.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from erc_ros.inference.manifest import Calibration
from erc_ros.metrics.table import markdown, with_deviation
from erc_ros.training.datasets import licences
from erc_ros.training.datasets.corpora import DIALOGUES
from erc_ros.training.engine.history import RunHistory, kind_of, whole_history
from erc_ros.training.engine.runs import read_json, read_metrics
from erc_ros.training.fusion.conditions import Result, table

FUSION_HEADS = {
    "concat": "Concat (MAGTKD, figure 3)",
    "bclstm": "bc-LSTM (one level)",
    "magtkd": "MAGT (MAGTKD, eq. 15-22)",
    "summer": "SDMoE and HCMF (SUMMER)",
    "lpgnet": "LPIA and dual gates (LPGNet)",
    "ddvlm": "residual fusion (DDVLM)",
    "late-fusion": "late fusion of one calibrated classifier per modality, each mixed with a uniform outlier component",
}
NETWORKS = {
    "text": "all-MiniLM-L6-v2 (22 M, Apache-2.0), prompt with history, causal between utterances",
    "audio": "log-mel, convolutions, attentive pooling",
    "voice": "on speaker embeddings: relative to the speaker's earlier utterances, and absolute",
    "face": "residual CNN on gray faces",
}
"""Kind of recipe -> description of the network that it trains."""
MODALITY_NAMES = {"text": "text", "audio": "audio", "visual": "faces"}
NOT_RECORDED = "not recorded"
CALIBRATED = (("dev", "after"), ("test", "before"), ("test", "after"))

BEGIN = """# {name} {version}: emotion of an utterance from {modalities}

A model package ("bundle") for `erc_ros`: {encoders} and {fusion}
It estimates probabilities of {count} emotions ({labels}), and
valence and arousal derived from them. The probabilities are calibrated on the corpora named below only.

{made}
{note}
## Intended use, and what it is not for

USE.md of erc_ros applies: purpose, prohibited places, roles, accuracy by class and group, oversight.

For robots that adapt their dialogue, and for research: an estimate of the emotion of the last utterance.
Not for decisions about people (hiring, health, law enforcement, education, insurance), not for
monitoring people without their consent, not for identifying people. The expression of a face or a voice
is not the feeling of a person, and it differs between people, cultures and situations.
"""
SIMULATED = """
## What is simulated

No recordings with text, audio and faces of the same person were available. Each utterance of {text} was paired with
a clip of the same label from {clips}, drawn for each utterance independently. A part of the clips was
replaced by clips of any label, until a linear classifier on each modality alone was as accurate as is
published for real recordings: {simulation}.
{learned}
**No figure that involves audio or faces is a benchmark result.** They show only that the fusion uses its
input, and its behavior when a modality is missing or broken.
"""
LEARNED_FROM_PAIRS = "The fusion was trained on these pairs."
LEARNED_FROM_CLIPS = (
    "The classifiers of audio and faces in the fusion were trained on the clips themselves; the assumed"
    " probability\nthat a modality is uninformative was fitted on these pairs."
)
LIMITS = """
## Limits

- Training data: {about}. Expect lower accuracy elsewhere: other languages, spontaneous speech, children,
  elderly people, noise and bad light.
- Rare labels are often missed. Sarcasm and context outside the conversation are not understood.
- Modality weights are the shares of the change of the estimate when a modality is removed from the
  utterance: an indication, not a causal measure.
- Valence and arousal are weighted sums of anchors that were set by hand, not trained on ratings.
- The confidence is calibrated on the data above; on other data it may be wrong.
- Nothing was measured by sex, age or ethnicity.
"""


@dataclass(frozen=True, eq=False)
class CardPart:
    """One network of the bundle, from the records of its run.

    metrics: metrics.json of the selected seed. network: description.
    """

    history: RunHistory
    metrics: Mapping[str, Any]
    network: str


def read_parts(runs: Mapping[str, Path]) -> dict[str, CardPart]:
    """Read the parts of all runs; modality or "fusion" -> part."""
    return {name: read_part(run) for name, run in runs.items()}


def read_part(run: Path) -> CardPart:
    """Read the part of a run; raises FileNotFoundError without metrics.json."""
    metrics = read_metrics(run)
    network = NETWORKS.get(kind_of(run), NOT_RECORDED)
    if fusion_head(metrics):
        network = f"{fusion_name(metrics)}, causal"
        network += f", {metrics['parameters'] / 1e6:.1f} M"
    return CardPart(whole_history(run), metrics, network)


def fusion_head(metrics: Mapping[str, Any]) -> str:
    """Return the name of the fusion model in a metrics.json, or "".

    `erc train config/training/fusion.yaml` writes `head`, the rows of a system or a comparison
    write `settings.row.head`.
    """
    settings = metrics.get("settings")
    row = settings.get("row") if isinstance(settings, Mapping) else None
    head = row.get("head") if isinstance(row, Mapping) else None
    return str(metrics.get("head") or head or "")


def fusion_name(metrics: Mapping[str, Any]) -> str:
    """Return a description of the fusion model, or its name."""
    head = fusion_head(metrics)
    if head and head not in FUSION_HEADS:
        return f"{head.rpartition(':')[2]} (a class outside erc_ros)"
    return FUSION_HEADS.get(head) or f"fusion model {NOT_RECORDED}"


def fusion_sentence(manifest: Mapping[str, Any]) -> str:
    """Describe the fusion's input, from `fusion` and `reliability` of the manifest."""
    context = manifest["fusion"]["context"]
    if manifest.get("reliability"):
        return (
            "a fusion of the current utterance.\nHow far voice and face can be relied on is estimated"
            " from the utterances before it."
        )
    if context == 1:
        return (
            "a fusion of the current utterance alone.\nEarlier utterances reach the result through the"
            " encoders only."
        )
    how = "causal fusion" if manifest["fusion"]["causal"] else "fusion"
    return f"a {how} over the last {context} utterances of a\nconversation."


def listed(names: Sequence[str]) -> str:
    """Join names as "text", "text and audio" or "text, audio and faces"."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def corpora(parts: Mapping[str, CardPart]) -> list[str]:
    """Return the training corpora of all parts, without duplicates."""
    return list(dict.fromkeys(name for part in parts.values() for name in part.history.corpora))


def write_card(
    file: Path,
    manifest: Mapping[str, Any],
    parts: Mapping[str, CardPart],
    summary: Mapping[str, Any],
    note: str = "",
    further: str = "",
) -> None:
    """Write the card.

    Args:
        file: README.md of the bundle.
        manifest: bundle.yaml.
        parts: by modality, and "fusion".
        summary: `parts` (per encoder: metric, dev, test), `fusion` (measure of the bundle),
            `temperatures`, `calibration_error` (split -> modalities -> before, after).
        note: further remarks, from the recipe.
        further: sections after the results.
    """
    encoders = [name for name in MODALITY_NAMES if name in manifest]
    begin = BEGIN.format(
        name=manifest["name"],
        version=manifest["version"],
        modalities=listed([MODALITY_NAMES[name] for name in encoders]),
        encoders=f"{len(encoders)} encoder{'s' * (len(encoders) > 1)}",
        fusion=fusion_sentence(manifest),
        count=len(manifest["labels"]),
        labels=", ".join(manifest["labels"]),
        made=_made(parts),
        note=f"\n{note.strip()}\n" if note.strip() else "",
    )
    sections = [
        begin,
        _networks(parts),
        _simulated(parts),
        _results(parts, summary),
        further,
        _limits(parts),
    ]
    file.write_text("".join(sections), encoding="utf-8")


def _made(parts: Mapping[str, CardPart]) -> str:
    commands = dict.fromkeys(c for part in parts.values() for c in part.history.commands)
    if not commands:
        return "The commands that made it were not recorded."
    lines = "\n".join(f"    {command}" for command in commands)
    return (
        "These commands trained its float32 networks; `erc quantize` and `erc calibrate` may have"
        f" changed\nthem since (`precision` and `metrics` in bundle.yaml):\n\n{lines}"
    )


def _networks(parts: Mapping[str, CardPart]) -> str:
    rows = []
    for name, part in parts.items():
        known = [licences.terms(corpus) for corpus in part.history.corpora]
        titles = "; ".join(t.title for t in known) or NOT_RECORDED
        each = "; ".join(f"{t.title}: {t.licence or 'not known'}" for t in known) or NOT_RECORDED
        rows.append([name, part.network, titles, each])
    table = markdown(["part", "network", "trained on", "license of the data"], rows)
    terms = licences.together(corpora(parts))
    return "\n".join(
        [
            "\n## Parts\n",
            *table,
            f"\nAll terms combined: **{terms}**. No recording, image or transcript is part of the",
            "bundle.\n",
        ]
    )


def _simulated(parts: Mapping[str, CardPart]) -> str:
    simulation = parts["fusion"].metrics.get("simulation")
    if not simulation:
        return ""
    read = parts["text"].history.corpora
    clips = [c for name in simulation if name in parts for c in parts[name].history.corpora]
    return SIMULATED.format(
        learned=LEARNED_FROM_CLIPS
        if fusion_head(parts["fusion"].metrics) == "late-fusion"
        else LEARNED_FROM_PAIRS,
        text=_titles([DIALOGUES] if DIALOGUES in read else read[-1:]),
        clips=_titles(clips),
        simulation="; ".join(
            f"{modality} weighted F1 {each['dev_weighted_f1']:.3f} on dev with"
            f" {each['mismatch']:.0%} replaced"
            for modality, each in simulation.items()
        ),
    )


def _titles(names: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(licences.terms(n).title for n in names)) or "other recordings"


def _results(parts: Mapping[str, CardPart], summary: Mapping[str, Any]) -> str:
    rows = []
    for name, part in parts.items():
        if name == "fusion":
            continue
        own = summary["parts"][name]
        rows.append([f"{name}: {own['metric']}, the bundle's", "-", "-", f"{own['test']:.4f}"])
        for figure, value, deviation, seeds in figures(part.metrics):
            text = with_deviation(value, deviation, 4)
            rows.append([f"{name}: {figure}", str(seeds), text, ""])
    measured = summary["fusion"]
    of_seeds = {each[0]: each[1:] for each in figures(parts["fusion"].metrics)}
    subsets = []
    for name, score in measured["test"].items():
        cells = ["-", "-"]
        if name in of_seeds:
            average, spread, count = of_seeds[name]
            cells = [str(count), with_deviation(average, spread, 4)]
        subsets.append([name, *cells, f"{score:.4f}"])
    errors = summary["calibration_error"]
    f1 = measured["test_report"]["f1"]
    return "\n".join(
        [
            "\n## Results\n",
            "Checkpoints, prior correction and seed were chosen on dev. Mean and",
            'standard deviation over seeds; "bundle" is the model that was chosen. Causal, reference speaker labels (indices',
            "within the dialogue), reference transcripts. All in float32. If `erc quantize` and `erc calibrate` were",
            f"run, quantization.md and {CALIBRATION} in this folder describe the finished files.\n",
            *markdown(["figure", "seeds", "test, mean ± deviation", "bundle (test)"], rows),
            "\nTest, weighted F1 through the fusion:\n",
            *markdown(["modalities seen", "seeds", "mean ± deviation", "bundle"], subsets),
            f"\nPer label (bundle, all modalities, test): {', '.join(f'{n} {v:.2f}' for n, v in f1.items())}.\n",
            "Calibration: a temperature for each set of modalities, from dev. Expected calibration error, 15 bins:\n",
            *markdown(
                ["modalities seen", "temperature", "dev", "test before", "test"],
                [
                    [
                        seen,
                        f"{temperature:.2f}",
                        *(f"{100 * errors[a][seen][b]:.1f} %" for a, b in CALIBRATED),
                    ]
                    for seen, temperature in summary["temperatures"].items()
                ],
            ),
            "",
        ]
    )


def figures(metrics: Mapping[str, Any]) -> Iterator[tuple[str, float, float | None, int]]:
    """Yield name, mean, deviation and number of seeds of every test figure in a metrics.json."""
    every = metrics.get("all_seeds", {})
    for name, value in every.get("mean", {}).items():
        seeds = len(every["seeds"])
        yield name, value, every["deviation"][name] if seeds > 1 else None, seeds


def _limits(parts: Mapping[str, CardPart]) -> str:
    known = (licences.terms(name) for name in corpora(parts))
    about = "; ".join(dict.fromkeys(t.about or t.title for t in known)) or NOT_RECORDED
    return LIMITS.format(about=about)


CALIBRATION = "calibration.md"
"""File next to the card with the figures of the finished files, by `erc calibrate`."""


def write_measured(
    folder: Path,
    results: Sequence[Result],
    errors: Mapping[str, Mapping[str, float]],
    without_text: Mapping[str, Mapping[float, float]],
    labels: Sequence[str],
    calibration: Calibration,
    elsewhere: Mapping[str, Mapping[str, float]],
    abstaining: Mapping[str, Sequence[tuple[float, float, float, float]]],
) -> list[str]:
    """Write CALIBRATION, the figures of the finished bundle (`erc calibrate`); return its lines.

    errors: calibration error of each set of modalities on dev, on test before, and on test.
    without_text: the same on test for each share of MELD's mismatches.
    calibration: as in the manifest.
    elsewhere: figures on corpora other than MELD. abstaining: see `calibration.abstaining`.
    """
    quantization = folder / "quantization.json"
    lines = [
        "# Figures of the finished files\n",
        "All figures are measured with the files in this folder, by `erc calibrate`: MELD test, causal, reference speaker labels and",
        "transcripts. Text is MELD's. **Audio and faces are simulated**: clips of held-out people of other corpora, degraded to",
        "the accuracy that is published for MELD's own audio and video.\n",
        *_precision(read_json(quantization) if quantization.is_file() else {}),
        "Weighted F1 while modalities are missing or uninformative (mean and spread over the draws of the clips):\n",
        *table(results),
        "\nExpected calibration error, 15 bins; the temperatures are fitted on dev, without text on draws of which",
        "half as many clips have another emotion:\n",
        *markdown(
            ["modalities seen", "temperature", "dev", "test before", "test"],
            [
                [seen, f"{t:.2f}", *(f"{100 * errors[e][seen]:.1f} %" for e in errors)]
                for seen, t in calibration.temperatures.items()
            ],
        ),
    ]
    if without_text:
        shares = list(next(iter(without_text.values())))
        lines += [
            "\nThe same without text on test, by the share of clips of another emotion, relative to the share with",
            "which the accuracy is that of MELD (0: every clip shows the label):\n",
            *markdown(
                ["modalities seen", *(f"{share:g}" for share in shares)],
                [
                    [seen, *(f"{100 * value:.1f} %" for value in values.values())]
                    for seen, values in without_text.items()
                ],
            ),
        ]
    if calibration.confidence_factors:
        lines += [
            "\nFactors of the confidence after that, by estimated label; also fitted on dev:\n",
            *markdown(
                ["modalities seen", *labels],
                [
                    [seen, *(f"{factor:.2f}" for factor in factors)]
                    for seen, factors in calibration.confidence_factors.items()
                ],
            ),
        ]
    for name, values in elsewhere.items():
        values_text = ", ".join(f"{key} {100 * value:.1f} %" for key, value in values.items())
        lines.append(f"\n{name}: {values_text}.")
    for seen, rows in abstaining.items():
        lines += [
            f"\nEffect of `min_confidence`, {seen}:\n",
            *markdown(
                ["min_confidence", "unknown", "their accuracy", "accuracy of the others"],
                [[f"{row[0]:g}", *(f"{100 * value:.1f} %" for value in row[1:])] for row in rows],
            ),
        ]
    (folder / CALIBRATION).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return lines


def _precision(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield the rows of the quantized parts."""
    if not report:
        return
    rows = []
    for name, part in report["parts"].items():
        alone = part["dev"].get("alone")
        kept = f"{alone['before']:.2f} -> {alone['after']:.2f}" if alone else "-"
        rows.append([name, part["scheme"], kept])
    head = ["part", "scheme", "weighted F1 of its modality alone, dev: float32 -> quantized"]
    yield from markdown(head, rows)
    yield ""
