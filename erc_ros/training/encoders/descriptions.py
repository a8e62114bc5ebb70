"""DDVLM's visual features (section 3.3): what is seen, in words, and the words as an embedding.

A vision-language model describes some frames of every utterance, once, without naming emotions;
the descriptions are kept in a JSON-lines file, one object a line:

    {"key": "dia0_utt3", "text": "The person is raising both eyebrows.", "tries": 1,
     "named": [], "model": "3f2a90c14b7e"}

`text` is empty where every try named an emotion (`named` says which words); such an utterance has
no description and is counted. The file grows line by line: a run that was killed goes on.

The model is a teacher for training. It does not run on the robot: `distillation` passes on what its
descriptions say to the face encoder.
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
    " feels or why."
)
"""It begins with the sentence that DDVLM quotes of its own."""
# Stems: "angr" finds angry, angrily, angrier. Smiles, frowns and tears are seen, and may be named.
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
    frames: int = setting(4, "images of the utterance, evenly spread", "", (1, 1000))
    longest: int = setting(120, "tokens of a description, at most", "", (1, 10_000))
    tries: int = setting(3, "the first is the most likely text, others are drawn", "", (1, 100))
    temperature: float = setting(0.7, "of the texts that are drawn", "", (0.01, 10))
    precision: str = setting(
        "fp32", "of the weights; bf16 and fp16 take half the memory", choices=tuple(PRECISIONS)
    )

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True)
class Description:
    """A line of the file; text is "" where every try named an emotion, `named` says which."""

    key: str
    text: str
    tries: int
    named: tuple[str, ...]
    model: str


def emotion_words(text: str) -> list[str]:
    """Words in `text` that name an emotion, in lower case, each once, in their order."""
    return list(dict.fromkeys(word.lower() for word in _NAMED.findall(text)))


class Describes(Protocol):
    """Whatever can put frames into words: a vision-language model, or a person's notes."""

    name: str

    def describe(self, sample: Sample, attempt: int) -> str:
        """What is seen; the same for the same attempt (from 0)."""


class Describer:
    """A vision-language model of Hugging Face that lies on this machine.

    Raises:
        FileNotFoundError: the model or its processor is not there.
        ValueError: the model cannot be read.
    """

    def __init__(self, config: DescriberConfig) -> None:
        folder = pretrained.local_folder(config.model)
        self._config = config
        dtype = PRECISIONS[config.precision]
        self.model = pretrained.load(AutoModelForImageTextToText, folder, dtype=dtype)
        self._process = pretrained.load_processor(AutoProcessor, folder)
        settings: dict[str, Any] = {"frames": config.frames, "longest": config.longest}
        if config.precision != "fp32":  # so that older descriptions keep their model's name
            settings["precision"] = config.precision
        self.name = pretrained.digest(folder, instruction=INSTRUCTION, **settings)

    @torch.inference_mode()
    def describe(self, sample: Sample, attempt: int) -> str:
        """The model's answer; for attempt 0 the likeliest, for others drawn, seeded by it.

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
        return inputs.to(self.model.device, dtype=self.model.dtype)  # the images; ids stay whole


def describe_all(
    samples: Iterable[Sample], describer: Describes, file: Path, tries: int = 3
) -> Counter[str]:
    """Describe every sample that `file` lacks, line by line; returns what was counted.

    A description that is empty or names an emotion is asked for again, `tries` times in all; then
    the utterance stays without one. Counted: described, dropped, retried, kept (there before).

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
    """Descriptions by key; half a line at the end (of a run that was killed) is excluded.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a line that is no description, with its number; one that names an emotion.
    """
    entries: dict[str, Description] = {}
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing: describe the corpus first")
    text = file.read_bytes()
    for number, line in enumerate(text[: text.rfind(b"\n") + 1].splitlines(), 1):
        try:
            entry = _from_object(json.loads(line))
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{file}, line {number} is no description: {error}") from error
        if words := emotion_words(entry.text):
            raise ValueError(
                f"{file}, line {number} names emotions ({', '.join(words)}): features that hold the"
                " answer are no features; remove the line and describe that utterance again"
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
    """Descriptions from their file -> sentence embedding; see `sample.Encoder`.

    Args:
        file: made by `describe_all`.
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
        """Everything in the file, in its order."""
        return list(self._texts)

    def refuses(self, sample: Sample) -> str:
        """Some utterances have no description."""
        if sample.key not in self._texts:
            return "not described"
        return "" if self._texts[sample.key] else "every description named an emotion"

    def encode(self, samples: Sequence[Sample]) -> NDArray[np.float32]:
        """(N, d); see `sample.Encoder`."""
        check_samples(self, samples)
        said = [Sample(s.key, (Turn(0, self._texts[s.key]),)) for s in samples]
        return self._sentences.encode(said)
