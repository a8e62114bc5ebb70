"""DDVLM's visual features (section 3.3): descriptions of images, and their embeddings.

A vision-language model describes some frames of every utterance, once, without naming emotions.
The descriptions are stored in a JSON-lines file:

    {"key": "dia0_utt3", "text": "The person is raising both eyebrows.", "tries": 1,
     "named": [], "model": "3f2a90c14b7e"}

`text` is empty if every try named an emotion (`named` lists the words); such an utterance has no
description and is counted. The file is written line by line, so that an interrupted run continues.

The model is used in training only. It does not run on the robot: `distillation` trains the face
encoder with the embeddings of its descriptions.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForImageTextToText, AutoProcessor

from erc_ros.encoders.text import Turn
from erc_ros.training.encoders import pretrained
from erc_ros.training.encoders.sample import Sample, check_samples
from erc_ros.training.encoders.text.pretrained import PretrainedTextEncoder
from erc_ros.training.encoders.visual.pretrained import evenly
from erc_ros.training.engine.trainer import PRECISIONS
from erc_ros.values.settings import check, setting

INSTRUCTION = (
    "You are an annotator who concisely describes observable actions and facial states."
    " Describe in two or three short sentences, in the present progressive, the eyes, the eyebrows,"
    " the lips, the jaw, the head and the gaze of the person, and at least one movement of the"
    " hands, posture or interaction. Say only what is visible. Do not guess at what the person"
    " feels or why, and use no word for an emotion or mood, such as neutral, calm, happy or sad."
)
"""The first sentence is the one that DDVLM's paper quotes from its prompt."""
# Stems: "angr" matches angry, angrily, angrier. Visible signs (smiles, frowns, tears) are allowed.
STEMS = (
    r"afraid|aggress|amus|anger|angr|annoy|anxi|asham|aversion|bored|calm|cheer|confus|contempt"
    r"|content(?:ed|edly|ment)\b|curious|delight|depress|despair|disappoint|disgust|displeas"
    r"|distress|embarrass|emotion|enjoy|enthusias|excite|fear|feel|frighten|frustrat|furi|glad"
    r"|gloom|grie[fv]|guilt|happ(?:y|i)|hate|hatred|horr|irritat|jealous|joy|lonel|love|mad\b"
    r"|melanchol|miser|mood|nervous|neutral|panic|pleas(?:ed|ant|ure)|proud|rage|regret|relief"
    r"|reliev|resent|sad(?:ly|ness|der|dest|den|dened|dening)?\b|scared|sentiment|shock|shy\b"
    r"|sorrow|startl|stress|surpris|terrif|terror|upset|worr(?:y|i)"
)
_NAMED = re.compile(rf"\b(?:un)?(?:{STEMS})\w*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class DescriberConfig:
    """The section of a describer."""

    model: str
    """A folder, or a name in the local Hugging Face cache; DDVLM: Qwen2.5-VL-7B-Instruct."""
    frames: int = setting(4, "images of the utterance, at regular times", "", (1, 1000))
    longest: int = setting(120, "tokens of a description, at most", "", (1, 10_000))
    tries: int = setting(3, "the first is the most probable text, others are sampled", "", (1, 100))
    temperature: float = setting(0.7, "of the sampled texts", "", (0.01, 10))
    precision: str = setting(
        "fp32", "of the weights; bf16 and fp16 need half the memory", choices=tuple(PRECISIONS)
    )

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True)
class Description:
    """A line of the file; text is "" if every try named an emotion (`named`)."""

    key: str
    text: str
    tries: int
    named: tuple[str, ...]
    model: str


def emotion_words(text: str) -> list[str]:
    """Return the distinct words in `text` that name an emotion, in lower case and in order."""
    return list(dict.fromkeys(word.lower() for word in _NAMED.findall(text)))


class Describes(Protocol):
    """Interface of describers of frames, such as a vision-language model."""

    name: str

    def describe(self, sample: Sample, attempt: int) -> str:
        """Describe the frames; the result is deterministic for each attempt (from 0)."""


class Describer:
    """A vision-language model of Hugging Face on this machine.

    Raises:
        FileNotFoundError: the model or its processor is missing.
        ValueError: the model cannot be read.
    """

    def __init__(self, config: DescriberConfig) -> None:
        folder = pretrained.local_folder(config.model)
        self._config = config
        dtype = PRECISIONS[config.precision]
        self.model = pretrained.load(AutoModelForImageTextToText, folder, dtype=dtype)
        self._process = pretrained.load_processor(AutoProcessor, folder)
        settings: dict[str, Any] = {"frames": config.frames, "longest": config.longest}
        if config.precision != "fp32":  # keeps the model's name of older descriptions
            settings["precision"] = config.precision
        self.name = pretrained.digest(folder, instruction=INSTRUCTION, **settings)

    @torch.inference_mode()
    def describe(self, sample: Sample, attempt: int) -> str:
        """Return the model's text: the most probable one, or for attempts from 1 a sample.

        Raises:
            ValueError: the sample has no frames.
        """
        inputs = self._inputs(sample)
        torch.manual_seed(attempt)
        how = {"do_sample": True, "temperature": self._config.temperature} if attempt else {}
        tokens = self.model.generate(
            **inputs, max_new_tokens=self._config.longest, **({"do_sample": False} | how)
        )
        answer = tokens[0, inputs["input_ids"].shape[1] :]
        return str(self._process.decode(answer, skip_special_tokens=True)).strip()

    def _inputs(self, sample: Sample) -> Any:
        if sample.frames is None or len(sample.frames) == 0:
            raise ValueError(f"utterance {sample.key!r} has no frames to describe")
        chosen = [sample.frames[i] for i in evenly(len(sample.frames), self._config.frames)]
        content: list[dict[str, Any]] = [{"type": "image"} for _ in chosen]
        message = {"role": "user", "content": [*content, {"type": "text", "text": INSTRUCTION}]}
        prompt = self._process.apply_chat_template([message], add_generation_prompt=True)
        inputs = self._process(images=chosen, text=prompt, return_tensors="pt")
        return inputs.to(self.model.device, dtype=self.model.dtype)  # ids remain integers


def describe_all(
    samples: Iterable[Sample], describer: Describes, file: Path, tries: int = 3
) -> Counter[str]:
    """Describe every sample that `file` lacks, line by line; return counts.

    A description that is empty or names an emotion is repeated, up to `tries` times in total; then
    the utterance has none. Counts: described, dropped, retried, kept (already in the file).

    Raises:
        ValueError: the file has descriptions of another model or instruction.
    """
    done = read(file) if file.exists() else {}
    if others := {entry.model for entry in done.values()} - {describer.name}:
        raise ValueError(
            f"{file} has descriptions by {sorted(others)}, not by {describer.name}: the model"
            " or the instruction has changed; use another file"
        )
    counted: Counter[str] = Counter()
    _cut_half_line(file)
    with file.open("a", encoding="utf-8") as lines:
        for sample in samples:
            if sample.key in done:
                counted["kept"] += 1
                continue
            entry = _describe(sample, describer, tries)
            done[sample.key] = entry
            counted["described" if entry.text else "dropped"] += 1
            counted["retried"] += entry.tries - 1
            lines.write(json.dumps(_as_object(entry), ensure_ascii=False) + "\n")
            lines.flush()
    return counted


def _describe(sample: Sample, describer: Describes, tries: int) -> Description:
    named: list[str] = []
    for attempt in range(tries):
        text = " ".join(describer.describe(sample, attempt).split())
        words = emotion_words(text)
        if text and not words:
            return Description(sample.key, text, attempt + 1, tuple(named), describer.name)
        named += words
    return Description(sample.key, "", tries, tuple(dict.fromkeys(named)), describer.name)


def _as_object(entry: Description) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in Description.__slots__}


def read(file: Path) -> dict[str, Description]:
    """Read descriptions by key; an incomplete last line (of an interrupted run) is skipped.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a line is not a description, or names an emotion; states its number.
    """
    entries: dict[str, Description] = {}
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing: describe the corpus first")
    text = file.read_bytes()
    for number, line in enumerate(text[: text.rfind(b"\n") + 1].splitlines(), 1):
        try:
            entry = _from_object(json.loads(line))
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{file}, line {number} is not a description: {error}") from error
        if words := emotion_words(entry.text):
            raise ValueError(
                f"{file}, line {number} names emotions ({', '.join(words)}): features must not"
                " contain the label; remove the line and describe that utterance again"
            )
        entries[entry.key] = entry
    return entries


def _from_object(value: Any) -> Description:
    if not isinstance(value, dict) or set(value) != set(Description.__slots__):
        raise ValueError(f"it must have {list(Description.__slots__)}")
    for name, kind in (("key", str), ("text", str), ("tries", int), ("model", str)):
        if not isinstance(value[name], kind):
            raise TypeError(f"{name} is {value[name]!r}")
    return Description(**{**value, "named": tuple(map(str, value["named"]))})


def _cut_half_line(file: Path) -> None:
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        return
    content = file.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        file.write_bytes(content[:whole])


class DescriptionEncoder:
    """Encoder of descriptions from a file by sentence embeddings; see `sample.Encoder`.

    Args:
        file: written by `describe_all`.
        sentences: `text.sentence_encoder`; DDVLM: all-mpnet-base-v2, 768.
    """

    modality = "visual"

    def __init__(self, file: Path, sentences: PretrainedTextEncoder) -> None:
        self._texts = {key: entry.text for key, entry in read(file).items()}
        self._sentences = sentences
        self.dimension = sentences.dimension
        content = json.dumps(self._texts, sort_keys=True)
        self.name = f"description-{pretrained.text_digest(content + sentences.name)}"

    @property
    def keys(self) -> list[str]:
        """Return the keys in the file, in its order."""
        return list(self._texts)

    def refuses(self, sample: Sample) -> str:
        """Refuse utterances without a description."""
        if sample.key not in self._texts:
            return "not described"
        return "" if self._texts[sample.key] else "every description named an emotion"

    def encode(self, samples: Sequence[Sample]) -> NDArray[np.float32]:
        """Return embeddings (N, d); see `sample.Encoder`."""
        check_samples(self, samples)
        described = [Sample(s.key, (Turn(0, self._texts[s.key]),)) for s in samples]
        return self._sentences.encode(described)
