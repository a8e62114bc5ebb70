"""A device that is not the CPU, on a machine that has none.

Its tensors hold their values on the CPU, say that they lie on the device `meta`, and refuse what a
GPU's tensors refuse: to be combined with tensors of the CPU (single numbers excepted). So a tensor
that somebody forgot to move is found without a GPU.

    with elsewhere() as device:
        place(model)
        loss = compute(model, batch)     # RuntimeError if the batch was left on the CPU
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map_only

DEVICE = torch.device("meta")


class FarTensor(Tensor):
    """A tensor of the other device; `inner` has its values."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> FarTensor:
        result = Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=DEVICE,
        )
        result.inner = inner
        return result

    def __repr__(self) -> str:
        return f"FarTensor({self.inner})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with _Far():
            return func(*args, **(kwargs or {}))


class _Far(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # What is made under inference mode could not be given the storage of its base.
        with torch.inference_mode(False):
            return self._run(func, args, dict(kwargs or {}))

    def _run(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        leaves = tree_flatten((args, kwargs))[0]
        far = [leaf for leaf in leaves if isinstance(leaf, FarTensor)]
        near = [t for t in leaves if isinstance(t, Tensor) and not isinstance(t, FarTensor)]
        target = kwargs.get("device")
        is_far = bool(far) if target is None else torch.device(target) == DEVICE
        moves = func in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
        if far and not moves and any(t.dim() for t in near):
            shapes = [tuple(t.shape) for t in near if t.dim()]
            raise RuntimeError(f"{func}: tensors of two devices; on the CPU are {shapes}")
        if target is not None:
            kwargs["device"] = torch.device("cpu")
        inner_args, inner_kwargs = tree_map_only(FarTensor, lambda t: t.inner, (args, kwargs))
        found = func(*inner_args, **inner_kwargs)
        if not is_far:
            return found
        wrapped = tree_map_only(
            Tensor, lambda t: t if isinstance(t, FarTensor) else FarTensor(t), found
        )
        return return_and_correct_aliasing(func, args, kwargs, wrapped) if far else wrapped


def place(module: nn.Module) -> None:
    """Move a module's weights and buffers to the other device, in place."""
    for each in module.modules():
        for name, parameter in each._parameters.items():
            if parameter is not None and not isinstance(parameter.data, FarTensor):
                moved = nn.Parameter(FarTensor(parameter.data), parameter.requires_grad)
                each._parameters[name] = moved
        for name, buffer in each._buffers.items():
            if buffer is not None and not isinstance(buffer, FarTensor):
                each._buffers[name] = FarTensor(buffer)


@contextmanager
def elsewhere() -> Iterator[torch.device]:
    """Context manager in which tensors can be created on and moved to the other device."""
    with _Far():
        yield DEVICE
