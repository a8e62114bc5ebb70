"""LPGNet (Frame): fusion of every token and frame instead of one embedding per utterance.

The frozen encoders of earlier stages run in every epoch, so that 512 x 768 numbers per utterance
need not be stored. Results for every seed: best.safetensors and training.json of the training loop,
the stores `answers`, logits.npz and metrics.json of dev and test. The model uses single, complete
utterances; it is for the tables of the paper and cannot be exported to a robot.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial, reduce
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from erc_ros.metrics import classification as metrics
from erc_ros.training.distillation.task import shuffled_batches
from erc_ros.training.encoders.pretrained import SequenceEncoder
from erc_ros.training.engine.distributed import aside
from erc_ros.training.engine.prediction import Floats, Indices
from erc_ros.training.engine.runs import MEASURED
from erc_ros.training.engine.trainer import TrainerConfig, device_of, fit, set_seeds
from erc_ros.training.fusion.train import HeadSizes
from erc_ros.training.heads.base import MODALITIES
from erc_ros.training.heads.lpgnet import FrameLpgnet, LpgnetConfig
from erc_ros.training.losses import self_distillation
from erc_ros.training.systems.encoders import (
    ANSWERS,
    EncoderInputs,
    keep_results,
    saved_encoder,
    usable_rows,
    write_store,
)
from erc_ros.training.systems.material import Material
from erc_ros.training.systems.stages import Work

TEXT, SOUND = "text", ("audio", "audio_tuned")
"""Input stages: TEXT, and the first stage of SOUND in the recipe."""


@dataclass(frozen=True, slots=True)
class FrameStage:
    """The section of the stage `frames`."""

    trainer: TrainerConfig
    network: HeadSizes = field(default_factory=HeadSizes)
    heads: int = 4
    max_length: int = 512
    """Maximum number of tokens and frames of an utterance; the paper's is 512."""
    weights: tuple[float, float, float] = (1.5, 1.0, 0.3)
    """Weights of the task, the students' cross-entropy and their KL, as in the fusion."""

    def __post_init__(self) -> None:
        if self.max_length < 1:
            raise ValueError(f"max_length is {self.max_length}, must be at least 1")


def learn_from_frames(stage: FrameStage, work: Work) -> None:
    """Train and evaluate every seed on the text stage and an audio stage.

    Raises:
        ValueError: an encoder has one embedding per utterance and no frames.
    """
    for seed in work.seeds:
        _learn(stage, work, seed)


@dataclass(frozen=True, eq=False)
class _Sequences:
    """Token and frame states of a split's utterances that both encoders can encode."""

    inputs: tuple[EncoderInputs, ...]
    labels: Indices
    max_length: int

    def __len__(self) -> int:
        return len(self.labels)

    @torch.no_grad()
    def __call__(self, rows: Indices, device: torch.device) -> dict[str, tuple[Tensor, Tensor]]:
        """Return modality -> states (N, L, d) and their mask (N, L)."""
        inputs = {}
        for each in self.inputs:
            encoder = each.encoder
            assert isinstance(encoder, SequenceEncoder)  # checked by `_encoder`
            encoder.model.to(device)  # here, as only the process of a training may use a GPU
            collated = each(rows, None)
            states, there = encoder.sequence({k: v.to(device) for k, v in collated.items()})
            inputs[encoder.modality] = (
                states[:, : self.max_length].float(),
                there[:, : self.max_length],
            )
        return inputs


def _encoder(folder: Path, stage: str) -> SequenceEncoder:
    encoder = saved_encoder(folder)
    if not isinstance(encoder, SequenceEncoder):
        raise ValueError(
            f"the stage {stage} has one embedding per utterance and no frames: use a text or"
            " waveform encoder of Hugging Face, or emotion2vec"
        )
    encoder.model.eval()
    return encoder


def _parts(
    encoders: Sequence[SequenceEncoder], work: Work, max_length: int
) -> dict[str, _Sequences]:
    """Return each split's labeled utterances that all encoders can encode."""
    rows = [
        usable_rows(work.material, encoder, work.folder / f"unusable-{encoder.modality}.json")
        for encoder in encoders
    ]
    parts = {}
    for name, split in work.material.splits.items():
        common = reduce(np.intersect1d, [rows_of[name] for rows_of in rows])
        inputs = tuple(EncoderInputs(split, common, encoder, None) for encoder in encoders)
        parts[name] = _Sequences(inputs, split.labels[common], max_length)
    return parts


@torch.inference_mode()
def _logits(model: FrameLpgnet, split: _Sequences, batch_size: int) -> Floats:
    """Return logits (N, C)."""
    model.eval()
    rows = np.arange(len(split))
    logits = [
        model(split(rows[start : start + batch_size], device_of(model))).logits[:, 0]
        for start in range(0, len(rows), batch_size)
    ]
    return torch.cat(logits).float().cpu().numpy()


def _learn(stage: FrameStage, work: Work, seed: int) -> None:
    begun = work.begin(stage, seed)
    if begun is None:
        return
    folder, trainer, settings = begun
    sound_stages = [name for name in SOUND if name in work.inputs][:1]
    encoders = [_encoder(work.read(name, seed), name) for name in (TEXT, *sound_stages)]
    parts = _parts(encoders, work, stage.max_length)
    labels = work.material.labels
    sizes = {encoder.modality: encoder.dimension for encoder in encoders}
    config = LpgnetConfig(
        **asdict(stage.network),
        causal=False,
        embeddings=tuple(sizes.get(name, 1) for name in MODALITIES),
        labels=len(labels),
        heads=stage.heads,
        modalities=tuple(name for name in MODALITIES if name in sizes),
    )
    set_seeds(seed)
    model = FrameLpgnet(config)
    generator = np.random.default_rng(seed)
    current = 0

    def batches(epoch: int) -> Sequence[Indices]:
        nonlocal current
        current = epoch
        return shuffled_batches(parts["train"].inputs[0], trainer.batch_size, generator)

    def loss(model: FrameLpgnet, rows: Indices) -> Tensor:
        device = device_of(model)
        sequences = parts["train"](rows, device)
        truth = torch.from_numpy(parts["train"].labels[rows]).to(device)
        # Every utterance has both modalities.
        seen = torch.tensor([name in sequences for name in MODALITIES]).to(device)
        everywhere = seen.expand(len(rows), 1, len(MODALITIES))  # (N, 1, 3)
        return self_distillation(model(sequences), everywhere, truth[:, None], stage.weights)

    def evaluate(model: FrameLpgnet) -> dict[str, float]:
        probabilities = metrics.softmax(_logits(model, parts["dev"], trainer.batch_size))
        report = metrics.report(parts["dev"].labels, probabilities, labels)
        return {"weighted_f1": report["weighted_f1"], "epoch": current + 1.0}

    fitted = fit(
        model,
        trainer,
        batches=batches,
        loss=loss,
        evaluate=evaluate,
        choose="weighted_f1" if work.epoch == "dev" else "epoch",
        out=folder,
        say=lambda line: print(f"{folder}: {line}", flush=True),
        stateful=[generator],
        settings=settings,
        keep_finished=True,
    )
    write = partial(_write_answers, model, parts, trainer, work.material, folder / ANSWERS)
    aside(write, trainer.processes)
    training = {"best_epoch": fitted.best_epoch, "seconds": fitted.seconds}
    keep_results(folder, work.material, {"seed": seed, "settings": settings, **training})


def _write_answers(
    model: FrameLpgnet,
    parts: Mapping[str, _Sequences],
    trainer: TrainerConfig,
    material: Material,
    folder: Path,
) -> None:
    model.to(trainer.device)
    for name in MEASURED:
        split = material.splits[name]
        keys = [split.keys[row] for row in parts[name].inputs[0].rows.tolist()]
        answers = _logits(model, parts[name], trainer.batch_size)
        write_store(folder / name, "lpgnet-frames", keys, answers, {})
