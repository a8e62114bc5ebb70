"""Streaming: latency by length of the conversation, and accuracy of early estimates.

    python -m benchmarks.streaming [--bundle edge-small] [--dialogues 280]

1. Latency: milliseconds per utterance around the 10th, 100th and 1,000th of one conversation, text
   only; and of the text encoder with its cache and without it.
2. Early estimates: MELD test, text only. After some seconds of an utterance, the first words (in
   proportion to the time: simulated partial results) get a provisional estimate. The result is the
   share of them with the label of the final estimate.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.machine import description
from erc_ros.encoders.text import Turn
from erc_ros.inference.bundle import Bundle, load_bundle, text_prompt
from erc_ros.inference.emotion_recognizer import EmotionRecognizer
from erc_ros.inference.text_encoders import CachedTextEncoder
from erc_ros.networks.network import Network
from erc_ros.pipeline import PipelineConfig
from erc_ros.resources import model_folder
from erc_ros.training.datasets.folder import data_folder
from erc_ros.training.datasets.meld import read_meld
from erc_ros.training.datasets.utterances import Conversation
from erc_ros.values.nanoseconds import NS
from erc_ros.values.utterance import Utterance

HEARD = (0.5, 1.0, 2.0, 3.0, 4.0)  # s
AROUND = 5  # utterances on each side


def said(conversations: Sequence[Conversation], count: int) -> list[Utterance]:
    """Return `count` utterances of MELD as one long conversation of text."""
    texts = [u for c in conversations for u in c.utterances]
    return [
        Utterance(
            conversation_id="bench",
            utterance_id=f"u{number}",
            start=number * 4 * NS,
            end=number * 4 * NS + 3 * NS,
            text=texts[number % len(texts)].text,
            speaker_id=str(texts[number % len(texts)].speaker),
        )
        for number in range(count)
    ]


def cost(bundle: Bundle, utterances: Sequence[Utterance]) -> str:
    """Return a table of the ms per utterance, early and late in a conversation."""
    times = []
    with EmotionRecognizer(bundle) as recognizer:
        recognizer.warm_up()
        for utterance in utterances:
            begin = time.perf_counter_ns()
            recognizer.feed(utterance)
            times.append((time.perf_counter_ns() - begin) / 1e6)
    lines = ["| utterance | ms, median | ms, slowest |", "|---|---|---|"]
    for number in (10, 100, 1000):
        if number + AROUND <= len(times):
            near = times[number - AROUND : number + AROUND]
            lines.append(f"| {number}th | {statistics.median(near):.2f} | {max(near):.2f} |")
    return "\n".join(lines)


def memory(bundle: Bundle, utterances: Sequence[Utterance]) -> str:
    """Return a table of the ms of the text encoder, with and without its cache."""
    prompt = text_prompt(bundle.text)
    network = Network(bundle.text.file)
    times: dict[str, list[float]] = {"with cache": [], "without cache": []}
    reader, forgetful = (
        CachedTextEncoder(network, prompt, bundle.text.attention) for _ in range(2)
    )
    window: tuple[tuple[int, ...], ...] = ()
    for utterance in utterances:
        window = prompt.slide(window, Turn(int(utterance.speaker_id), utterance.text))
        forgetful.forget()
        for name, each in (("with cache", reader), ("without cache", forgetful)):
            begin = time.perf_counter_ns()
            each(window)
            times[name].append((time.perf_counter_ns() - begin) / 1e6)
    lines = ["| text encoder | ms p50 | ms p95 |", "|---|---|---|"]
    for name, taken in times.items():
        p50, p95 = np.percentile(taken[10:], [50, 95])
        lines.append(f"| {name} | {p50:.2f} | {p95:.2f} |")
    return "\n".join(lines)


def early(bundle: Bundle, conversations: Sequence[Conversation]) -> str:
    """Return a table of the share of early estimates with the final label, by time."""
    same: dict[float, list[bool]] = {heard: [] for heard in HEARD}
    with EmotionRecognizer(bundle) as recognizer:
        for conversation in conversations:
            for utterance in conversation.utterances:
                if utterance.start is None or utterance.end is None:
                    continue
                whole = Utterance(
                    conversation_id=conversation.name,
                    utterance_id=str(utterance.index),
                    start=utterance.start,
                    end=utterance.end,
                    text=utterance.text,
                    speaker_id=str(utterance.speaker),
                )
                duration = (utterance.end - utterance.start) / NS
                labels = {}
                for heard in HEARD:
                    words = utterance.text.split()
                    share = words[: int(len(words) * heard / duration)] if duration > 0 else []
                    if heard < duration and share:
                        draft = replace(whole, text=" ".join(share), is_final=False)
                        labels[heard] = recognizer.feed(draft).label
                final = recognizer.feed(whole).label
                for heard, label in labels.items():
                    same[heard].append(label == final)
    lines = ["| time in s | longer utterances | same label |", "|---|---|---|"]
    for heard, agreed in same.items():
        if agreed:
            lines.append(f"| {heard:g} | {len(agreed)} | {np.mean(agreed):.1%} |")
    return "\n".join(lines)


def main() -> int:
    """Run the benchmark; see the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", default=PipelineConfig().recognition.bundle)
    parser.add_argument("--dialogues", type=int, default=280, help="of MELD test, for 2.")
    parser.add_argument("--data", type=Path, help="folder of the data sets; default $ERC_DATA")
    options = parser.parse_args()
    bundle = load_bundle(model_folder(options.bundle))
    meld = read_meld(data_folder(options.data), "test").conversations
    print(description(), flush=True)
    utterances = said(meld, 1000 + AROUND)
    for text in (
        cost(bundle, utterances),
        memory(bundle, utterances[:300]),
        early(bundle, meld[: options.dialogues]),
    ):
        print(f"\n{text}", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
