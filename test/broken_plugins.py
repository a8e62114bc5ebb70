"""Classes that violate one clause of their contract each, for the tests of `erc_ros.contracts`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from erc_ros.dialogue.voice_activity import SileroVoiceActivity
from erc_ros.media.transcripts import Cue
from erc_ros.sensing.faces import Box, HaarDetector
from erc_ros.sensing.frames import Frame
from erc_ros.training.datasets.corpus import CorpusSpec
from erc_ros.training.datasets.utterances import Conversation, LabelledUtterance, Split
from erc_ros.training.encoders.sample import Sample, check_samples
from erc_ros.training.heads.base import Details, FusionModel, FusionModelConfig, Inputs
from erc_ros.training.heads.concat import Concat, ConcatConfig
from erc_ros.values.bounds import TEXT
from erc_ros.values.transcript import Transcript

# --- fusion models ---


class Recurrent(FusionModel):
    """A GRU over the conversation, whose results depend on padding before the utterances."""

    CONFIG = FusionModelConfig

    def __init__(self, config: FusionModelConfig) -> None:
        super().__init__(config)
        self.gru = nn.GRU(sum(config.embeddings), config.width, batch_first=True)
        self.classifier = nn.Linear(config.width, config.labels)

    def fuse(self, inputs: Inputs) -> Details:
        hidden, _ = self.gru(torch.cat(inputs.embeddings, -1))
        logits = self.classifier(hidden)
        seen = inputs.seen.float()
        weights = seen / seen.sum(-1, keepdim=True).clamp_min(1)
        three = logits[:, :, None].expand(-1, -1, 3, -1)
        return Details(logits, weights, three, three)


class Changed(Concat):
    """Concat with an additional value in its details."""

    CONFIG = ConcatConfig

    def fuse(self, inputs: Inputs) -> Details:
        details = super().fuse(inputs)
        return self.changed(details, inputs)

    def changed(self, details: Details, inputs: Inputs) -> Details:
        raise NotImplementedError

    def added(self, details: Details, more: Tensor) -> Details:
        return details._replace(logits=details.logits + more)


class LooksAhead(Changed):
    READS_CONTEXT = True

    def changed(self, details: Details, inputs: Inputs) -> Details:
        there = inputs.valid[..., None]
        mean = (details.logits * there).sum(1, keepdim=True) / there.sum(1, keepdim=True)
        return self.added(details, mean)


class Mixes(Changed):
    def changed(self, details: Details, inputs: Inputs) -> Details:
        return self.added(details, details.logits.mean(0, keepdim=True))


class NotANumber(Changed):
    def changed(self, details: Details, inputs: Inputs) -> Details:
        return self.added(details, 0.0 / inputs.seen.sum(-1, keepdim=True))


class Weightless(Changed):
    def changed(self, details: Details, inputs: Inputs) -> Details:
        return details._replace(weights=torch.zeros_like(details.weights))


class Random(Changed):
    def changed(self, details: Details, inputs: Inputs) -> Details:
        return self.added(details, torch.rand(()))


class Deaf(Changed):
    def changed(self, details: Details, inputs: Inputs) -> Details:
        return details._replace(logits=details.logits.detach())


class Branches(Changed):
    """A model whose trace is valid for one number of utterances only."""

    def changed(self, details: Details, inputs: Inputs) -> Details:
        longer = details.logits.shape[1] > 3
        return self.added(details, torch.ones(()) if longer else torch.zeros(()))


# --- face detectors ---


class SmallestFirst(HaarDetector):
    def detect(self, frame: Frame) -> list[Box]:
        return super().detect(frame)[::-1]


class Outside(HaarDetector):
    def detect(self, frame: Frame) -> list[Box]:
        return [Box(b.x, b.y, b.width + 9000, b.height) for b in super().detect(frame)]


class Remembers(HaarDetector):
    last: ClassVar[list[Box]] = []

    def detect(self, frame: Frame) -> list[Box]:
        boxes = super().detect(frame)
        self.last = boxes or self.last
        return self.last


class Blind(HaarDetector):
    def detect(self, frame: Frame) -> list[Box]:
        return []


# --- voice activity ---


class Percent(SileroVoiceActivity):
    def feed(self, frame: NDArray[np.float32]) -> float:
        return 100 * super().feed(frame)


class Forgets(SileroVoiceActivity):
    def reset(self) -> None:
        if not hasattr(self, "_heard"):
            super().reset()


class Inverted(SileroVoiceActivity):
    def feed(self, frame: NDArray[np.float32]) -> float:
        return 1 - super().feed(frame)


class Long(SileroVoiceActivity):
    frame = 4096


class Scales(SileroVoiceActivity):
    def feed(self, frame: NDArray[np.float32]) -> float:
        np.nan_to_num(frame, copy=False)
        return super().feed(frame)


# --- speech messages; String is installed with ROS ---


class Good:
    message_type = "std_msgs/msg/String"

    def read(self, message: Any, arrival: int) -> Transcript | None:
        text = message.data[:TEXT]
        return Transcript(text, arrival) if text.strip() else None


class Endless(Good):
    def read(self, message: Any, arrival: int) -> Transcript | None:
        return Transcript(message.data, arrival)


class Counts(Good):
    seen = 0

    def read(self, message: Any, arrival: int) -> Transcript | None:
        self.seen += 1
        return Transcript(f"{message.data} {self.seen}", arrival)


class NoType(Good):
    message_type = "String"


# --- speech recognizers ---


class Quiet:
    def __init__(self, model: str, language: str) -> None:
        pass

    def transcribe(self, samples: NDArray[np.int16]) -> list[Cue]:
        return []


class Untimed(Quiet):
    def transcribe(self, samples: NDArray[np.int16]) -> list[Cue]:
        return [Cue(0, 10**15, "a")]


class NeedsNoise(Quiet):
    def transcribe(self, samples: NDArray[np.int16]) -> list[Cue]:
        return [Cue(0, 0, "a")] if samples.any() else [][0]


class Counting(Quiet):
    calls = 0

    def transcribe(self, samples: NDArray[np.int16]) -> list[Cue]:
        self.calls += 1
        return [Cue(0, 0, f"{self.calls}" if samples.any() else "")]


# --- metrics ---


class ErrorRate:
    name = "error_rate"

    def compute(
        self, truth: NDArray[np.int64], probabilities: NDArray[np.float64], labels: Any
    ) -> float:
        return float((probabilities.argmax(axis=1) != truth).mean())


class Ordered(ErrorRate):
    def compute(
        self, truth: NDArray[np.int64], probabilities: NDArray[np.float64], labels: Any
    ) -> float:
        return float(probabilities[0, 0])


class Infinite(ErrorRate):
    def compute(
        self, truth: NDArray[np.int64], probabilities: NDArray[np.float64], labels: Any
    ) -> float:
        return float("inf")


class Rounds(ErrorRate):
    def compute(
        self, truth: NDArray[np.int64], probabilities: NDArray[np.float64], labels: Any
    ) -> float:
        probabilities[:] = probabilities.round()
        return super().compute(truth, probabilities, labels)


class Named(ErrorRate):
    name = "Error rate"


# --- exporters ---


class Tsv:
    suffix = ".tsv"

    def write(self, lines: Any, file: Path, name: str, duration: int) -> None:
        rows = (f"{line.start}\t{line.end}\t{line.speaker}\t{line.emotion}\n" for line in lines)
        file.write_text("".join(rows), encoding="utf-8")


class Dated(Tsv):
    def write(self, lines: Any, file: Path, name: str, duration: int) -> None:
        file.write_text(str(file.resolve()), encoding="utf-8")


class NeedsText(Tsv):
    def write(self, lines: Any, file: Path, name: str, duration: int) -> None:
        file.write_text("".join(line.text or "xylophone" for line in lines), encoding="utf-8")


class NeedsLines(Tsv):
    def write(self, lines: Any, file: Path, name: str, duration: int) -> None:
        file.write_text(str(lines[0].start), encoding="utf-8")


# --- encoders ---


class Length:
    """Number of letters and of words of the last turn as embedding."""

    modality, dimension, name = "text", 2, "length-1"

    def __init__(self, model: str) -> None:
        pass

    def refuses(self, sample: Sample) -> str:
        return "" if sample.turns else "no turn"

    def encode(self, samples: Any) -> NDArray[np.float32]:
        check_samples(self, samples)
        texts = [sample.turns[-1].text for sample in samples]
        return np.array([(len(text), len(text.split())) for text in texts], np.float32)


class Batched(Length):
    def encode(self, samples: Any) -> NDArray[np.float32]:
        embeddings = super().encode(samples)
        return embeddings - embeddings.mean(axis=0)


class Accepts(Length):
    def encode(self, samples: Any) -> NDArray[np.float32]:
        return np.ones((len(samples), 2), np.float32)


class Empty(Length):
    def encode(self, samples: Any) -> NDArray[np.float32]:
        return super().encode(samples) * np.float32("nan")


# --- corpora ---

LABELS = ("engaged", "not engaged")


def _corpus(name: str, read: Any) -> CorpusSpec:
    return CorpusSpec(name=name, title=name, about="", license="", labels=LABELS, read=read)


def _talk(split: str, labels: tuple[str, ...] = LABELS, name: str = "") -> Split:
    said = tuple(LabelledUtterance(f"words {n}", 1, n % 2, n) for n in range(4))
    return Split(split, (Conversation(name or split, said),), labels)


def _other(data: Path, split: str) -> Split:
    return _talk(split, ("yes", "no"))


def _twice(data: Path, split: str) -> Split:
    return _talk(split, name="same")


def _shuffled(data: Path, split: str) -> Split:
    _calls.append(split)
    return _talk(split, name=f"{split}-{len(_calls)}")


_calls: list[str] = []
UNCHECKED = _corpus("unchecked", lambda data, split: {}[split])
TWICE = _corpus("twice", _twice)
OTHER = _corpus("other", _other)
SHUFFLED = _corpus("shuffled", _shuffled)
