"""Load Hugging Face models on this machine safely.

Nothing is downloaded, no code of a model's author is run, and weights are read from safetensors
only: a pickled checkpoint could run arbitrary code.
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
"""Name of the layer that `add_projection` adds to a model."""
SAFELY: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}


def local_folder(model: str) -> Path:
    """Return the folder of a model: a folder, or a name in the local Hugging Face cache.

    Raises:
        FileNotFoundError: there is no such folder, or it lacks config.json or safetensors.
    """
    folder = _find(model)
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"{folder} has no config.json: it is not a Hugging Face model")
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
    advice = f"download it first: hf download {model}"
    if model.rpartition("/")[2] == "emotion2vec":
        advice = f"make it first: erc convert-emotion2vec emotion2vec_base.pt {model}"
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(model, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError) as error:
        raise FileNotFoundError(
            f"the model {model!r} is neither a folder nor in the local Hugging Face cache; {advice}"
        ) from error


def load(auto: Any, folder: Path, layers: int = 0, dtype: torch.dtype = torch.float32) -> Any:
    """Load the model in `folder` with `auto` (AutoModel, ...), in eval mode.

    Args:
        layers: number of lowest layers that are used; 0: all.
        dtype: of its weights; float32 for training.

    Raises:
        ValueError: the architecture is not in the installed transformers, the model has fewer than
            `layers` layers, or files are broken.
    """
    how = {**SAFELY, "num_hidden_layers": layers} if layers else SAFELY
    try:
        model, report = auto.from_pretrained(
            folder, use_safetensors=True, dtype=dtype, output_loading_info=True, **how
        )
    except Exception as error:  # broken files may cause any exception
        raise ValueError(f"{folder} cannot be loaded as {auto.__name__}: {error}") from error
    if missing := sorted(key for key in report["missing_keys"] if not _is_unused(key)):
        raise ValueError(f"{folder}: its weights lack {', '.join(missing[:3])}")
    return model.eval()


def _is_unused(weight: str) -> bool:
    """Return whether a missing weight is not used by any encoder here.

    Models for other tasks have no pooler. `masked_spec_embed` is for SpecAugment, which is switched
    off; published checkpoints such as wav2vec2-base-960h lack it. Other missing weights are errors.
    """
    return "pooler" in weight or weight.endswith("masked_spec_embed")


def stored_weights(folder: Path, prefix: str) -> dict[str, Tensor]:
    """Return the weights whose names begin with `prefix`, by their names without it."""
    weights = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, "pt") as stored:
            for name in stored.keys():  # noqa: SIM118 - not a mapping
                if name.startswith(prefix):
                    weights[name.removeprefix(prefix)] = stored.get_tensor(name)
    return weights


def add_projection(model: nn.Module, width: int, size: int, folder: Path) -> None:
    """Add a linear layer from `width` to `size` to a model, with the weights in `folder` if any.

    The layer is a part of the model: it is trained, moved and saved with it.

    Raises:
        ValueError: the folder has a layer of another size.
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
    """Project states (..., hidden) of a model to (..., d), if it has a projection."""
    layer = getattr(model, PROJECTION, None)
    return states if layer is None else layer(states)


def load_processor(auto: Any, folder: Path) -> Any:
    """Load the tokenizer, feature extractor or processor of a model.

    Raises:
        FileNotFoundError: its files are missing or cannot be used.
    """
    try:
        return auto.from_pretrained(folder, **SAFELY)
    except Exception as error:  # as above
        raise FileNotFoundError(
            f"{folder} has no usable {auto.__name__.removeprefix('Auto')}: {error}; save the one"
            " that the model was trained with next to it"
        ) from error


def save(folder: Path, model: Any, processor: Any) -> None:
    """Write the files for `load` and `load_processor`; weights as safetensors."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def digest(folder: Path, **settings: Any) -> str:
    """Return a hash (12 hexadecimal digits) of the files and settings that determine embeddings."""
    total = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for path in sorted(folder.iterdir()):
        if path.suffix in {".json", ".safetensors", ".txt", ".model"}:
            total.update(f"{path.name} {_sha256(path, path.stat().st_mtime_ns)}".encode())
    return total.hexdigest()[:12]


def text_digest(text: str) -> str:
    """Return a hash of a text, 12 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


@lru_cache(maxsize=64)
def _sha256(path: Path, changed: int) -> str:
    """Return the hash of a file; `changed` (ns) is a cache key, so that new content is read."""
    total = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            total.update(block)
    return total.hexdigest()


class Trainable(Encoder, Protocol):
    """An encoder that can be fine-tuned: `embed(collate(samples))` has gradients."""

    model: nn.Module
    batch_size: int

    def save(self, folder: Path) -> None:
        """Write the encoder to a folder from which it can be loaded."""

    def size(self, sample: Sample) -> int:
        """Return a number that grows with the cost of a sample; batches have similar sizes."""

    def collate(self, samples: Sequence[Sample]) -> dict[str, Tensor]:
        """Return the model's inputs for samples."""

    def embed(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return embeddings (N, dimension) for the model's inputs."""


@runtime_checkable
class SequenceEncoder(Trainable, Protocol):
    """A trainable encoder that also gives the state of every token or frame."""

    def sequence(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return tokens or frames (N, L, dimension) and their mask (N, L) bool for inputs."""


@torch.inference_mode()
def encode(encoder: Trainable, samples: Sequence[Sample]) -> NDArray[np.float32]:
    """Return one embedding per sample (N, dimension), computed on the model's device.

    Raises:
        ValueError: the encoder refuses a sample, or an embedding is not finite.
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
    """Return the mean over the valid steps: x (N, L, d), mask (N, L), 1 = valid -> (N, d)."""
    weights = mask[..., None].to(x.dtype)
    return (x * weights).sum(dim=1) / weights.sum(dim=1).clamp_min(1)
