"""Check that a fusion model satisfies the contract of `training.heads.base.FusionModel`.

Each clause is a function that runs a model with new weights on small random conversations and
raises `ContractError`. A training checks models of other packages before it begins;
`pytest --pyargs erc_ros.contracts` reports each clause.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from erc_ros.training.heads.base import MODALITIES, Details, FusionModel
from erc_ros.training.heads.registry import HEADS, make_head
from erc_ros.training.onnx import export_fusion

EMBEDDINGS, LABELS = (12, 8, 6), 4
CONVERSATIONS, UTTERANCES = 2, 6
TOLERANCE = 1e-4  # for float32 results with another order of summation

Make = Callable[..., FusionModel]
Batch = dict[str, Tensor]


class ContractError(ValueError):
    """A fusion model violates its contract; the message names the clause."""


def check_head(name: str, options: Mapping[str, Any]) -> None:
    """Check a model of another package: every clause, with new weights.

    Models of this package are checked by its tests only. The random state is not changed.

    Args:
        name: the model, see `registry.head_class`.
        options: values of its configuration.

    Raises:
        ContractError: a clause is violated, or the model raises an error.
        ValueError: there is no such model, or its configuration refuses the options.
    """
    if name in HEADS:
        return
    with torch.random.fork_rng(devices=[]):
        for clause in CLAUSES:
            check_clause(clause, name, options)


def check_clause(clause: Callable[[Make], None], name: str, options: Mapping[str, Any]) -> None:
    """Check one of CLAUSES as in `check_head`; sets the random state."""

    def make(**values: Any) -> FusionModel:
        sizes = {"embeddings": EMBEDDINGS, "labels": LABELS}
        return make_head(name, {**options, **sizes, **values}, f"options of {name}").eval()

    torch.manual_seed(0)
    make()  # raises ValueError for wrong options
    try:
        clause(make)
    except ContractError:
        raise
    except Exception as error:
        raise ContractError(
            f"fusion model {name} raises {type(error).__name__} in the check "
            f"{clause.__name__!r}: {error}"
        ) from error


def conversations(u: int = UTTERANCES, b: int = CONVERSATIONS, seed: int = 1) -> Batch:
    """Return random inputs of a model with EMBEDDINGS: (b, u) utterances with all modalities."""
    rng = torch.Generator().manual_seed(seed)
    batch = {
        name: torch.randn(b, u, size, generator=rng)
        for name, size in zip(MODALITIES, EMBEDDINGS, strict=True)
    }
    batch["modalities"] = torch.ones(b, u, 3, dtype=torch.bool)
    batch["speakers"] = torch.randint(0, 3, (b, u), generator=rng)
    batch["valid"] = torch.ones(b, u, dtype=torch.bool)
    return batch


@torch.no_grad()
def _run(head: FusionModel, batch: Batch) -> Details:
    return head.details(**batch)


def _same(first: Tensor, second: Tensor, clause: str) -> None:
    if first.shape != second.shape or not torch.allclose(
        first, second, rtol=TOLERANCE, atol=TOLERANCE
    ):
        raise ContractError(
            f"{clause}; see the docstring of erc_ros.training.heads.base.FusionModel"
        )


def shapes(make: Make) -> None:
    """`Details` has the documented shapes and weights."""
    for u in (1, UTTERANCES):
        batch = conversations(u)
        batch["modalities"][0, 0, 1] = False
        details = _run(make(), batch)
        b, c = CONVERSATIONS, LABELS
        expected = {
            "logits": (b, u, c),
            "weights": (b, u, 3),
            "unimodal": (b, u, 3, c),
            "features": (b, u, 3),
        }
        for name, shape in expected.items():
            actual = tuple(getattr(details, name).shape)
            if actual[: len(shape)] != shape or (name != "features" and len(actual) != len(shape)):
                raise ContractError(f"{name} has the shape {actual}, must be {shape}")
        if (details.weights < 0).any() or (details.weights[0, 0, 1] != 0).any():
            raise ContractError("a weight is negative, or that of a missing modality is not 0")
        _same(details.weights.sum(-1), torch.ones(b, u), "the weights do not have the sum 1")


def finite(make: Make) -> None:
    """Results are finite, and weights are 0 without any modality."""
    batch = conversations()
    batch["modalities"][:] = False
    details = _run(make(), batch)
    if not details.logits.isfinite().all():
        raise ContractError("logits are not finite for an utterance without any modality")
    if (details.weights != 0).any():
        raise ContractError("weights must be 0 for an utterance without any modality")


def padding(make: Make) -> None:
    """Padding before and after the utterances changes no result."""
    for causal in (True, False):
        model, batch = make(causal=causal), conversations()
        for side, padded in (("before", slice(0, 2)), ("after", slice(4, 6))):
            kept = torch.ones(UTTERANCES, dtype=torch.bool)
            kept[padded] = False
            alone = _run(model, {name: values[:, kept] for name, values in batch.items()})
            valid = {**batch, "valid": kept.expand(CONVERSATIONS, -1).clone()}
            whole = _run(model, valid)
            message = f"padding {side} the utterances changes the {{}}"
            _same(whole.logits[:, kept], alone.logits, message.format("logits"))
            _same(whole.weights[:, kept], alone.weights, message.format("weights"))


def other_conversations(make: Make) -> None:
    """A conversation's results do not depend on the others of its batch."""
    model, batch = make(), conversations()
    first = _run(model, {name: values[:1] for name, values in batch.items()})
    _same(
        _run(model, batch).logits[:1],
        first.logits,
        "another conversation of the batch changes the logits",
    )


def missing_modality(make: Make) -> None:
    """Values of a missing modality do not change the results."""
    model, batch = make(), conversations()
    batch["modalities"][:, 2] = torch.tensor([True, False, True])
    before = _run(model, batch).logits
    batch["audio"][:, 2] = 9.0
    _same(_run(model, batch).logits, before, "a missing modality changes the logits")


def future(make: Make) -> None:
    """Check that a causal model ignores later utterances, and one without context all others."""
    model, batch = make(causal=True), conversations()
    before = _run(model, batch).logits
    after = {**batch, "text": batch["text"].clone()}
    after["text"][:, 3] = 5.0
    changed = _run(model, after).logits
    _same(changed[:, :3], before[:, :3], "causal is true, and a later utterance changes the logits")
    if not (model.READS_CONTEXT or model.context):
        _same(
            changed[:, 4:], before[:, 4:], "context changes the logits, but READS_CONTEXT is False"
        )


def deterministic(make: Make) -> None:
    """In eval mode equal inputs give equal results."""
    model, batch = make(), conversations()
    if not torch.equal(_run(model, batch).logits, _run(model, batch).logits):
        raise ContractError("in eval mode the same inputs give different logits")


def learns(make: Make) -> None:
    """A loss of the logits has gradients, also with padding."""
    model, batch = make().train(), conversations()
    batch["valid"][:, 4:] = False
    model.details(**batch).logits[batch["valid"]].square().sum().backward()  # type: ignore[no-untyped-call]
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    if not any(bool(g.any()) for g in gradients):
        raise ContractError("a loss of the logits has no gradient for any parameter")
    if not all(bool(g.isfinite().all()) for g in gradients):
        raise ContractError("a gradient is not finite")


def onnx(make: Make) -> None:
    """The ONNX file and torch give equal results for conversations of other lengths."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            export_fusion(make(causal=True), Path(folder) / "fusion.onnx")
        except Exception as error:  # the exporter raises many types
            raise ContractError(
                f"the model cannot be exported to ONNX ({type(error).__name__}: "
                f"{str(error).splitlines()[0] if str(error) else 'no reason given'})"
            ) from error


CLAUSES: tuple[Callable[[Make], None], ...] = (
    shapes,
    finite,
    padding,
    other_conversations,
    missing_modality,
    future,
    deterministic,
    learns,
    onnx,
)
