"""openSMILE's features as a stage, where it is installed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the extra [train]")
pytest.importorskip("opensmile", reason="needs the extra [opensmile]")
pytest.importorskip("espeakng_loader", reason="the extra [demo] is not installed")

from tiny_systems import lpgnet, train

from erc_ros.training.features.store import FeatureStore


def test_functionals_are_standardised_and_fewer(generated_iemocap: Path, tmp_path: Path) -> None:
    recipe = lpgnet({"bert": "", "wavlm": ""}, "iemocap-6")
    stage = {"feature_set": "eGeMAPSv02", "components": 5}
    recipe = {**recipe, "kind": "summer", "stages": {"acoustic": stage}}
    assert train(recipe, generated_iemocap, tmp_path / "out") == 0

    folder = tmp_path / "out" / "stages" / "acoustic"
    raw, store = (FeatureStore(folder / name / "train") for name in ("functionals", "features"))
    assert (raw.dimension, store.dimension) == (88, 5) and raw.keys() == store.keys()
    features = store.take(store.keys())[0]
    np.testing.assert_allclose(features.std(axis=0), 1.0, atol=0.01)
    dev = FeatureStore(folder / "features" / "dev")
    assert np.abs(dev.take(dev.keys())[0]).max() < 30
