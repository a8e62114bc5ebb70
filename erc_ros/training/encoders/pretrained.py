"""Models of Hugging Face that lie on this machine, loaded so that a folder can do no harm.

Nothing is downloaded, no code of a model's author runs, and weights are read from safetensors only:
a pickled checkpoint could run anything.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from torch import Tensor, nn

from erc_ros.training.encoders.packaged import PACKAGED, model_folder
from erc_ros.training.encoders.sample import Encoder, Sample, check_samples

PROJECTION = "embedding_projection"
"""Name of the layer that `add_projection` gives a model."""
SAFELY: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}


def local_folder(model: str) -> Path:
    """Where a model's files are: a folder, or a name in the local Hugging Face cache.

    Raises:
        FileNotFoundError: neither; or the folder lacks config.json or safetensors.
    """
    folder = _find(model)
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"{folder} has no config.json: it is no Hugging Face model")
    if not any(folder.glob("*.safetensors")):
        raise FileNotFoundError(
            f"{folder} has no *.safetensors, and pickled weights are not read: convert them with"
            " model.save_pretrained(folder, safe_serialization=True) on a machine you trust"
        )
    return folder


def _find(model: str) -> Path:
    if Path(model).is_dir():
        return Path(model)
    if model.rpartition("/")[2] == PACKAGED:
        return model_folder()
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(model, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError) as error:
        raise FileNotFoundError(
            f"the model {model!r} is neither a folder nor in the local Hugging Face cache; fetch it"
            f" first: hf download {model}"
        ) from error


def load(auto: Any, folder: Path, layers: int = 0, dtype: torch.dtype = torch.float32) -> Any:
    """`auto`'s model (AutoModel, ...) in `folder`, in eval mode.

    Args:
        layers: only so many, the lowest ones; 0: all.
        dtype: of its weights; a model that is trained stays in float32.

    Raises:
        ValueError: of an architecture that this transformers does not have, fewer layers than are
            asked for, or broken files.
    """
    how = {**SAFELY, "num_hidden_layers": layers} if layers else SAFELY
    try:
        model, report = auto.from_pretrained(
            folder, use_safetensors=True, dtype=dtype, output_loading_info=True, **how
        )
    except Exception as error:  # the library raises whatever the broken file led to
        raise ValueError(f"{folder} cannot be loaded as {auto.__name__}: {error}") from error
    if missing := sorted(key for key in report["missing_keys"] if not _is_unused(key)):
        raise ValueError(f"{folder}: its weights lack {', '.join(missing[:3])}")
    return model.eval()


def _is_unused(weight: str) -> bool:
    """Whether a weight that a file lacks is one that no encoder here uses.

    Models for other tasks have no pooler. `masked_spec_embed` is for SpecAugment, which is switched
    off; published checkpoints such as wav2vec2-base-960h lack it. Other weights would be random.
    """
    return "pooler" in weight or weight.endswith("masked_spec_embed")


def stored_weights(folder: Path, prefix: str) -> dict[str, Tensor]:
    """The weights in a folder's safetensors whose names begin with `prefix`, without it."""
    weights = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, "pt") as stored:
            for name in stored.keys():  # noqa: SIM118 - not a mapping
                if name.startswith(prefix):
                    weights[name.removeprefix(prefix)] = stored.get_tensor(name)
    return weights


def add_projection(model: nn.Module, width: int, size: int, folder: Path) -> None:
    """Give a model a linear layer from `width` to `size`, with the weights that `folder` has.

    It is a part of the model: trained, moved, and saved with it.

    Raises:
        ValueError: the folder has one of another size.
    """
    layer = nn.Linear(width, size)
    stored = stored_weights(folder, f"{PROJECTION}.")
    if stored:
        try:
            layer.load_state_dict(stored)
        except RuntimeError as error:
            raise ValueError(f"{folder} has a projection of another size than {size}") from error
    setattr(model, PROJECTION, layer)


def projected(model: nn.Module, states: Tensor) -> Tensor:
    """States (..., hidden) of a model -> (..., d), by its projection if it has one."""
    layer = getattr(model, PROJECTION, None)
    return states if layer is None else layer(states)


def load_processor(auto: Any, folder: Path) -> Any:
    """The tokenizer, feature extractor or processor that belongs to a model.

    Raises:
        FileNotFoundError: its files are not there, or not usable.
    """
    try:
        return auto.from_pretrained(folder, **SAFELY)
    except Exception as error:  # as above
        raise FileNotFoundError(
            f"{folder} has no usable {auto.__name__.removeprefix('Auto')}: {error}; save the one"
            " that the model was trained with beside it"
        ) from error


def save(folder: Path, model: Any, processor: Any) -> None:
    """What `load` and `load_processor` read again; weights as safetensors."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def digest(folder: Path, **settings: Any) -> str:
    """12 hexadecimal digits of everything that decides an embedding: files and settings."""
    total = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for path in sorted(folder.iterdir()):
        if path.suffix in {".json", ".safetensors", ".txt", ".model"}:
            total.update(f"{path.name} {_sha256(path, path.stat().st_mtime_ns)}".encode())
    return total.hexdigest()[:12]


def text_digest(text: str) -> str:
    """12 hexadecimal digits of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


@lru_cache(maxsize=64)
def _sha256(path: Path, changed: int) -> str:
    """Of a file's content; `changed` (ns) is part of the key, so that a new file is read again."""
    total = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            total.update(block)
    return total.hexdigest()


class Trainable(Encoder, Protocol):
    """An encoder that can be trained further: `embed(collate(samples))` has gradients."""

    model: nn.Module
    batch_size: int

    def save(self, folder: Path) -> None:
        """Write it so that it can be made from the folder again."""

    def size(self, sample: Sample) -> int:
        """What the cost of a sample grows with; samples of like size share a batch."""

    def collate(self, samples: Sequence[Sample]) -> dict[str, Tensor]:
        """Samples as the model's inputs."""

    def embed(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """The model's inputs -> (N, dimension)."""


@runtime_checkable
class SequenceEncoder(Trainable, Protocol):
    """One that can also tell what it made of every token or frame."""

    def sequence(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The model's inputs -> tokens or frames (N, L, dimension), which there are (N, L) bool."""


@torch.inference_mode()
def encode(encoder: Trainable, samples: Sequence[Sample]) -> NDArray[np.float32]:
    """One embedding a sample, (N, dimension), in their order, computed on the model's device.

    Raises:
        ValueError: a sample that the encoder refuses, or an embedding that is not finite.
    """
    check_samples(encoder, samples)
    device = next(encoder.model.parameters()).device
    encoder.model.eval()
    order = sorted(range(len(samples)), key=lambda index: encoder.size(samples[index]))
    result = np.zeros((len(samples), encoder.dimension), np.float32)
    for start in range(0, len(order), encoder.batch_size):
        chosen = order[start : start + encoder.batch_size]
        inputs = encoder.collate([samples[index] for index in chosen])
        on_device = {name: tensor.to(device) for name, tensor in inputs.items()}
        result[chosen] = encoder.embed(on_device).float().cpu().numpy()
    bad = np.flatnonzero(~np.isfinite(result).all(axis=1)).tolist()
    if broken := [samples[row].key for row in bad]:
        raise ValueError(f"{encoder.name}: the embedding of {broken[:3]} is not finite")
    return result


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean over the valid steps: x (N, L, d), mask (N, L), 1 = valid -> (N, d)."""
    weights = mask[..., None].to(x.dtype)
    return (x * weights).sum(dim=1) / weights.sum(dim=1).clamp_min(1)
