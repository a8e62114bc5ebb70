# ruff: noqa: E501 - rows of a Markdown table cannot be broken
"""The model card of a bundle: README.md beside bundle.yaml, every number from the metrics files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

FUSION_HEADS = {
    "concat": "Concat (MAGTKD, figure 3)",
    "magt": "MAGT (MAGTKD, eq. 15-22)",
    "summer": "SDMoE and HCMF (SUMMER)",
    "lpgnet": "LPIA and dual gates (LPGNet)",
    "residual": "residual fusion (DDVLM)",
}
TEMPLATE = """# {name} {version}: emotion of an utterance from text, sound and faces

A bundle for `erc_ros`: three small encoders and a causal fusion over the last {context} utterances of
a conversation. It gives calibrated probabilities of seven emotions (neutral, surprise, fear, sadness,
joy, disgust, anger), and valence and arousal derived from them. It runs on a CPU.

Made by `erc train config/training/{{text_teacher,text,audio,face,fusion,bundle}}.yaml`, in that order,
and `erc quantize`; every number here comes out of those commands. One exception: the text encoder's
teacher is that of edge-small 0.1.0, its int8 weights read back as float32; it was trained like
text_teacher.yaml says, which was not run anew.

## Intended use, and what it is not for

For robots that adapt how they talk, and for research on that: a hint how the last utterance was meant.
Not for decisions about people (hiring, health, law enforcement, education, insurance), not for
watching people who did not agree to it, not for recognising who somebody is. What a face or a voice
shows is not what a person feels, and it differs between people, cultures and situations.

## Parts

| part | network | trained on | licence of the data |
|---|---|---|---|
| text | all-MiniLM-L6-v2 (22 M, Apache-2.0), prompt with history, causal between utterances, read at \
`[MASK]` | GoEmotions, then MELD with EmotionLines' votes | GoEmotions CC BY 4.0; MELD annotations GPL-3.0, its dialogue is \
television text, research use; EmotionLines: research use |
| audio | log-mel, convolutions, attentive pooling | RAVDESS and EmoDB, acted speech | \
RAVDESS **CC BY-NC-SA 4.0: non-commercial**; EmoDB: free for research |
| visual | residual CNN on 48x48 gray faces | FER2013 pictures with FER+ votes | votes MIT; the \
pictures come from web search without a clear licence, research use |
| fusion | {fusion_head}, causal, {fusion_parameters} | MELD's dialogues with **simulated** \
sound and faces | as above |

Taken together: **research and other non-commercial use only.** No recording, picture or transcript is
part of the bundle.

## What is simulated

MELD's audio and video were not available. For the fusion, each MELD utterance got the embedding of a
clip with the same label from RAVDESS/EmoDB and of a picture from FER+ (train clips for MELD's train
split; clips of unseen people for dev and test), drawn for each utterance on its own, so that only text
carries context. Part of them was replaced by clips of a label drawn from MELD's label frequencies
until a linear probe on each modality alone was as weak as published for MELD: {simulation}.
**Numbers that involve audio or visual on MELD are therefore no benchmark results**; they only show
that the fusion uses what it gets and survives what is missing.

## Results

Checkpoints, prior correction and seed were chosen on dev; test was looked at once per seed. Mean and
standard deviation over seeds; "bundle" is the model that was chosen. Causal, gold speakers (indices
within the dialogue), gold text. All in float32; [quantization.md](quantization.md), where it lies
beside this card, says what the smaller networks keep of it.{exceptions}

| | seeds | test, mean ± deviation | bundle (test) |
|---|---|---|---|
{results}

MELD test, weighted F1 through the fusion (audio and visual simulated):

| modalities seen | mean ± deviation over {fusion_seeds} seeds | bundle |
|---|---|---|
{subsets}

Per label (bundle, all modalities, test; simulated): {per_label}.

Calibration: one temperature ({temperature:.3f}) from dev. Expected calibration error (15 bins, all \
modalities): dev {ece_dev_before:.3f} -> {ece_dev_after:.3f}, test {ece_test_before:.3f} -> \
{ece_test_after:.3f}.

## Limits

- English text of a television comedy; acted English and German speech; posed or searched-for faces.
  Expect less on spontaneous talk, other languages, children, elderly people, noise and bad light.
- Fear and disgust are rare in MELD and often missed. Sarcasm and context outside the conversation are
  not understood.
- Modality weights say how far the answer moves when the modality is left out of the utterance, as
  shares: a hint, not a measure of cause. (The fusion's own gates are always about equally open.)
- Valence and arousal are weighted sums of anchors that were set by hand, not trained on ratings.
- The confidence is calibrated on MELD with simulated sound and faces; elsewhere it may be off.
- People in the training data are mostly young adult actors; no measurement by sex, age or ethnicity
  was possible.
"""


def write_card(
    file: Path,
    name: str,
    version: str,
    summary: Mapping[str, Any],
    context: int,
) -> None:
    """Write the card.

    summary: `parts` (per encoder: metric, dev, test), `runs` (the encoders' and the fusion's
    metrics.json), `fusion` (measure of the bundle), `temperature`, `calibration_error`.
    """
    runs, parts, measured = summary["runs"], summary["parts"], summary["fusion"]
    errors = summary["calibration_error"]
    text = TEMPLATE.format(
        name=name,
        version=version,
        context=context,
        fusion_head=FUSION_HEADS[runs["fusion"]["head"]],
        fusion_parameters=f"{runs['fusion']['parameters'] / 1e6:.1f} M",
        simulation="; ".join(
            f"{modality} weighted F1 {found['dev_weighted_f1']:.3f} on dev with"
            f" {found['mismatch']:.0%} replaced"
            for modality, found in runs["fusion"]["simulation"].items()
        ),
        results="\n".join(_results(runs, parts)),
        exceptions="".join(_not_the_best(runs)),
        fusion_seeds=len(runs["fusion"]["all_seeds"]["seeds"]),
        subsets="\n".join(_subsets(runs["fusion"], measured)),
        per_label=", ".join(
            f"{label} {f1:.2f}" for label, f1 in measured["test_report"]["f1"].items()
        ),
        temperature=summary["temperature"],
        ece_dev_before=errors["dev"]["before"],
        ece_dev_after=errors["dev"]["after"],
        ece_test_before=errors["test"]["before"],
        ece_test_after=errors["test"]["after"],
    )
    file.write_text(text, encoding="utf-8")


def _results(runs: Mapping[str, Any], parts: Mapping[str, Any]) -> Sequence[str]:
    text = runs["text"]["all_seeds"]
    f1 = text["test_weighted_f1"]
    rows = [
        f"| text alone: MELD, weighted F1 | {text['runs']} |"
        f" {f1['mean']:.4f} ± {f1['std'] or 0:.4f} | {_taken(parts['text'])} |"
    ]
    for part, title, key in (
        ("audio", "audio: RAVDESS + EmoDB, unweighted recall, unseen speakers", "uar_together"),
        ("audio", "audio: RAVDESS alone, the same", "uar_ravdess"),
        ("audio", "audio: EmoDB alone, the same", "uar_emodb"),
        ("visual", "visual: FER+, accuracy, 8 classes", "accuracy_8"),
        ("visual", "visual: FER+ mapped to the 7 labels, accuracy", "accuracy_meld_7"),
    ):
        found = runs[part]["all_seeds"]
        if key not in found["mean"]:
            continue
        bundle = {
            "uar_together": f"{_taken(parts[part])} (speakers of one fold)",
            "accuracy_8": _taken(parts[part]),
        }.get(key, "")
        rows.append(
            f"| {title} | {len(found['seeds'])} |"
            f" {found['mean'][key]:.4f} ± {found['deviation'][key]:.4f} | {bundle} |"
        )
    return rows


def _not_the_best(runs: Mapping[str, Any]) -> Sequence[str]:
    """A sentence for every part that is not the seed with the best dev score."""
    sentences = []
    for part in ("audio", "visual"):
        scores = {
            seed: found.get("dev", 0.0) for seed, found in runs[part]["all_seeds"]["seeds"].items()
        }
        taken, best = str(runs[part]["seed"]), max(scores, key=lambda seed: scores[seed])
        if scores[best] > scores[taken]:
            sentences.append(
                f"\nThe {part} part is seed {taken} (dev {scores[taken]:.4f}); seed {best}"
                f" (dev {scores[best]:.4f}) was finished only after the fusion had been trained."
            )
    return sentences


def _taken(part: Mapping[str, Any]) -> str:
    return f"{part['test']:.4f}"


def _subsets(run: Mapping[str, Any], measured: Mapping[str, Any]) -> Sequence[str]:
    seeds = run["all_seeds"]
    return [
        f"| {name} | {seeds['mean'][name]:.4f} ± {seeds['deviation'][name]:.4f} | {found:.4f} |"
        for name, found in measured["test"].items()
    ]
