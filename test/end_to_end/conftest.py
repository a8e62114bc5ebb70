"""Fixtures of the end-to-end tests."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="needs the extra [train]")

from tiny_systems import tiny  # noqa: F401
