"""Checkpoint file from which an interrupted training continues with identical results.

The file is written atomically, is loaded without running code from it, and is accepted only by a
training with the same settings.
"""

from __future__ import annotations

import json
import pickle
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch

from erc_ros.training.engine.recipe import WAY_OUT, CheckpointError
from erc_ros.training.engine.runs import write_with


class HasState(Protocol):
    """An object with a state for checkpoints, such as `ema.EmaDistillation`."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> Any: ...


Stateful: TypeAlias = "random.Random | np.random.Generator | torch.Generator | HasState"


def save(file: Path, content: Mapping[str, Any]) -> None:
    """Write tensors, numbers, strings, and lists and mappings of them."""
    write_with(file, lambda new: torch.save(dict(content), new))


def load(file: Path) -> dict[str, Any]:
    """Load a file of `save` to the CPU, without running code from it.

    Raises:
        CheckpointError: the file is truncated or not a checkpoint.
    """
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError, ValueError, KeyError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{file} cannot be read ({reason}): {WAY_OUT}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{file} is not a checkpoint of a training: {WAY_OUT}")
    return content


def random_state(device: torch.device) -> dict[str, Any]:
    """Return the state of the global random generators of Python, numpy and torch."""
    state = {
        "python": json.dumps(random.getstate()),
        "numpy": json.dumps(np.random.get_state(legacy=False), default=np.ndarray.tolist),
        "torch": torch.get_rng_state(),
    }
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: Mapping[str, Any], device: torch.device) -> None:
    """Restore a `random_state`."""
    version, numbers, gauss = json.loads(state["python"])
    random.setstate((version, tuple(numbers), gauss))
    np.random.set_state(json.loads(state["numpy"]))
    torch.set_rng_state(state["torch"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)


def states(things: Sequence[Stateful]) -> list[Any]:
    """Return the state of each object."""
    return [_state(thing) for thing in things]


def _state(thing: Stateful) -> Any:
    if isinstance(thing, random.Random):
        return json.dumps(thing.getstate())
    if isinstance(thing, np.random.Generator):
        return json.dumps(thing.bit_generator.state, default=np.ndarray.tolist)
    if isinstance(thing, torch.Generator):
        return thing.get_state()
    return thing.state_dict()


def set_states(things: Sequence[Stateful], saved: Sequence[Any]) -> None:
    """Restore the `states` of the same objects in the same order."""
    for thing, state in zip(things, saved, strict=True):
        if isinstance(thing, random.Random):
            version, numbers, gauss = json.loads(state)
            thing.setstate((version, tuple(numbers), gauss))
        elif isinstance(thing, np.random.Generator):
            thing.bit_generator.state = json.loads(state)
        elif isinstance(thing, torch.Generator):
            thing.set_state(state)
        else:
            thing.load_state_dict(state)
