"""The contract of `erc_ros.training.heads.base.FusionModel`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

contract: Any = pytest.importorskip("erc_ros.training.fusion.contract", exc_type=ImportError)


@pytest.mark.parametrize("clause", contract.CLAUSES, ids=lambda clause: clause.__name__)
def test_fusion_model(fusion_model: str, clause: Callable[..., None]) -> None:
    """Run one clause of the contract; see its docstring."""
    contract.check_clause(clause, fusion_model, {"width": 16})
