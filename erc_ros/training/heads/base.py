"""The base class of fusion models: sizes, inputs, outputs and checks."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from erc_ros.training.heads.context import Context
from erc_ros.values.settings import check, setting
from erc_ros.values.utterance import MODALITIES as MODALITIES

TEXT, AUDIO, VISUAL = range(3)


@dataclass(frozen=True, slots=True)
class FusionModelConfig:
    """Settings of every fusion model."""

    PARTS: ClassVar[tuple[str, ...]] = ()
    """Names of the parts that `without` can remove."""

    width: int = setting(
        128, "width d; enough for embeddings of 384 and 128. Papers: 768 and 1024", "", (1, 100_000)
    )
    dropout: float = setting(0.3, "dropout inside the model", "", (0, 0.99))
    input_dropout: float = setting(
        0.3, "dropout of the embeddings, as encoders overfit their training data", "", (0, 0.99)
    )
    causal: bool = True
    reach: int = setting(
        0, "utterances before and after that attention reaches; 0: all, as in the papers", "",
        (0, 10_000),
    )  # fmt: skip
    context: int = setting(
        0, "width of recurrent layers over the embeddings, for encoders that read single "
        "utterances; 0: none", "", (0, 10_000),
    )  # fmt: skip
    input_norm: bool = True
    """Layer normalization of the embeddings. It removes their length, by which some encoders show
    how certain they are. DDVLM's own (its equation) stays."""
    embeddings: tuple[int, ...] = (384, 128, 128)
    """Sizes of the text, audio and visual embeddings."""
    labels: int = setting(7, "number of labels", "", (1, 100_000))
    speakers: int = setting(10, "speakers of a conversation: 0 unknown, 1..9", "", (1, 100_000))
    without: tuple[str, ...] = ()
    """Removed parts, for a paper's ablation."""

    def __post_init__(self) -> None:
        check(self)
        if len(self.embeddings) != 3:
            raise ValueError(f"embeddings {self.embeddings} must be text, audio and visual")
        if unknown := set(self.without) - set(self.PARTS):
            raise ValueError(
                f"{type(self).__name__} cannot remove {sorted(unknown)}; it has {self.PARTS}"
            )

    def has(self, part: str) -> bool:
        """Return whether the model has this part."""
        return part not in self.without


class Inputs(NamedTuple):
    """A batch of conversations, the input of `FusionModel.fuse`."""

    embeddings: tuple[Tensor, ...]
    """Text, audio, visual (B, U, d_m); zeros where missing."""
    seen: Tensor
    """(B, U, 3) bool; False for padding and for a missing modality."""
    speakers: Tensor
    """(B, U) long, within the conversation."""
    valid: Tensor
    """(B, U) bool; False for padding."""


class Details(NamedTuple):
    """Outputs of `FusionModel.details` for the losses; `forward` returns the first two."""

    logits: Tensor
    """(B, U, C)"""
    weights: Tensor
    """(B, U, 3): shares of the modalities, sum 1; 0 for a missing one, all 0 if all are."""
    unimodal: Tensor
    """(B, U, 3, C): logits of each modality's own classifier."""
    features: Tensor
    """(B, U, 3, d): the inputs of those classifiers."""


class FusionModel(nn.Module, ABC):
    """Base class of fusion models. A subclass defines `fuse`; this class checks the inputs.

    Contract, checked by `training.heads.contract` when a training starts:

    - The class is called with one `CONFIG`, calls `super().__init__(config)`, and takes all sizes
      from it: `embeddings`, `labels`, `speakers`, `width`.
    - `fuse` gets a batch of conversations (`Inputs`) and returns `Details`. Logits are finite, also
      for an utterance without any modality.
    - Padding (utterances that are not valid, before or after valid ones) and other conversations
      of the batch do not change a result.
    - A missing modality, which is zeros in `embeddings` and False in `seen`, does not change a
      result.
    - With `causal`, an utterance's result depends on it and on earlier ones only. Where
      `READS_CONTEXT` is False, it depends on the utterance alone, whatever `causal` is.
    - In eval mode it is deterministic. Modality weights are at least 0, 0 for missing modalities,
      and have the sum 1 unless all modalities are missing.
    - It is traced to ONNX (opset 17) with conversations of any number and length: no loop over
      utterances, no branch on values.
    """

    CONFIG: ClassVar[type[FusionModelConfig]] = FusionModelConfig
    """Its settings; `options` of a recipe's row are their values."""
    INDEPENDENT: ClassVar[bool] = False
    """Whether modalities are independent evidence, each with a calibrated classifier."""
    READS_CONTEXT: ClassVar[bool] = True
    """Whether other utterances of the conversation change the logits of an utterance, also without
    the layers of `context`."""

    def __init__(self, config: FusionModelConfig) -> None:
        super().__init__()
        self.config = config
        self.correction: Tensor
        self.register_buffer("correction", torch.zeros(config.labels))  # (C,), logits minus it
        self.context = nn.ModuleList(
            Context(size, config.context, config.input_dropout, config.causal)
            for size in config.embeddings
            if config.context
        )

    def forward(
        self,
        text: Tensor,
        audio: Tensor,
        visual: Tensor,
        modalities: Tensor,
        speakers: Tensor,
        valid: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Embeddings (B, U, d_m), modalities (B, U, 3), valid (B, U) bool, speakers (B, U) long.

        Returns logits (B, U, C), and the modality weights (B, U, 3): shares (sum 1); 0 for a
        missing one, all 0 if all are missing.

        Raises:
            ValueError: as `details`.
        """
        details = self.details(text, audio, visual, modalities, speakers, valid)
        return details.logits, details.weights

    def details(
        self,
        text: Tensor,
        audio: Tensor,
        visual: Tensor,
        modalities: Tensor,
        speakers: Tensor,
        valid: Tensor,
    ) -> Details:
        """Return all outputs; the inputs are those of `forward`.

        Raises:
            ValueError: an available embedding is not finite or of another size, or a speaker is
                outside 0..speakers-1; names the position.
        """
        # Read all six inputs: an ONNX graph drops inputs that nothing reads.
        seen = modalities & (valid & (speakers >= 0))[..., None]  # (B, U, 3)
        embeddings = tuple(
            blank(x, seen[..., m : m + 1]) for m, x in enumerate((text, audio, visual))
        )  # (B, U, d_m) each
        if not torch.jit.is_tracing():
            self._check(embeddings, speakers)
        if self.context:
            embeddings = tuple(
                read(x, seen[..., m])
                for m, (read, x) in enumerate(zip(self.context, embeddings, strict=True))
            )
        details = self.fuse(Inputs(embeddings, seen, speakers, valid))
        return details._replace(logits=details.logits - self.correction)

    @abstractmethod
    def fuse(self, inputs: Inputs) -> Details:
        """Compute the fusion of a batch."""

    def loss(self, details: Details, seen: Tensor, labels: Tensor) -> Tensor:
        """Return the training loss of a batch, a scalar; a model may override it.

        Args:
            details: the outputs of the model.
            seen: (B, U, 3) bool, the available modalities.
            labels: (B, U), negative without a label; at least one utterance has one.
        """
        known = labels >= 0
        return cross_entropy(details.logits[known], labels[known])

    def _check(self, embeddings: tuple[Tensor, ...], speakers: Tensor) -> None:
        for name, size, x in zip(MODALITIES, self.config.embeddings, embeddings, strict=True):
            if x.shape[-1] != size:
                raise ValueError(f"{name} embeddings have {x.shape[-1]} numbers, not {size}")
            if not x.isfinite().all():
                bad = ~x.isfinite().all(dim=-1)  # (B, U)
                b, u = bad.nonzero()[0].tolist()
                raise ValueError(
                    f"{name}: {int(bad.sum())} embeddings are not finite, the first is utterance"
                    f" {u} of conversation {b} in the batch; encode them again, or mark them as"
                    " missing in `modalities`"
                )
        if speakers.min() < 0 or speakers.max() >= self.config.speakers:
            raise ValueError(
                f"speakers are {int(speakers.min())}..{int(speakers.max())}; they must be indices"
                f" within the conversation, 0..{self.config.speakers - 1}"
            )


def blank(x: Tensor, seen: Tensor) -> Tensor:
    """Set x, also NaN, to zero where `seen` (B, U, 1) is False."""
    return x.masked_fill(~seen, 0.0)


def __getattr__(name: str) -> Any:
    former = {"Head": "FusionModel", "HeadConfig": "FusionModelConfig"}
    if name in former:
        message = f"{__name__}.{name} is now {former[name]}"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return globals()[former[name]]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
