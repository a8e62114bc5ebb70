"""What an interrupted training needs to go on as if nothing had happened, in one file.

The file is written whole or not at all, is read without running code from it, and is only taken up
by the training that it belongs to.
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
    """An object that tells its state and goes on from it, such as `ema.EmaDistillation`."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> Any: ...


Stateful: TypeAlias = "random.Random | np.random.Generator | torch.Generator | HasState"


def save(file: Path, content: Mapping[str, Any]) -> None:
    """Write tensors, numbers, texts, and lists and tables of them."""
    write_with(file, lambda new: torch.save(dict(content), new))


def load(file: Path) -> dict[str, Any]:
    """Read what `save` wrote, all of it on the CPU; no code in the file is run.

    Raises:
        CheckpointError: the file is cut off or not a checkpoint.
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
    """The state of the generators that everybody shares: Python's, numpy's, torch's."""
    state = {
        "python": json.dumps(random.getstate()),
        "numpy": json.dumps(np.random.get_state(legacy=False), default=np.ndarray.tolist),
        "torch": torch.get_rng_state(),
    }
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: Mapping[str, Any], device: torch.device) -> None:
    """Go on from a `random_state`."""
    version, numbers, gauss = json.loads(state["python"])
    random.setstate((version, tuple(numbers), gauss))
    np.random.set_state(json.loads(state["numpy"]))
    torch.set_rng_state(state["torch"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)


def states(things: Sequence[Stateful]) -> list[Any]:
    """The state of each."""
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
    """Go on from `states` of the same things in the same order."""
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
