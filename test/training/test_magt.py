from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from erc_ros.inference.backend import Network
from erc_ros.training.export import export_fusion
from erc_ros.training.fusion.magt import Magt, MagtConfig

CONFIG = MagtConfig(width=16, heads=2, embeddings=(12, 8, 6))


def model(config: MagtConfig = CONFIG) -> Magt:
    torch.manual_seed(0)
    return Magt(config).eval()


def conversation(b: int = 2, u: int = 6, seed: int = 1) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    text, audio, visual = (
        torch.randn(b, u, size, generator=generator) for size in CONFIG.embeddings
    )
    return {
        "text": text,
        "audio": audio,
        "visual": visual,
        "modalities": torch.ones(b, u, 3, dtype=torch.bool),
        "speakers": torch.randint(0, 10, (b, u), generator=generator),
        "valid": torch.ones(b, u, dtype=torch.bool),
    }


def test_a_causal_model_does_not_see_the_future() -> None:
    magt, inputs = model(), conversation()
    before = magt(**inputs)
    for name in ("text", "audio", "visual"):
        inputs[name][:, 4:] = 9.0
    inputs["speakers"][:, 4:] = 3
    inputs["modalities"][:, 5] = False
    for old, new in zip(before, magt(**inputs), strict=True):
        assert torch.equal(old[:, :4], new[:, :4])
        assert not torch.equal(old[:, 4:], new[:, 4:])


def test_an_offline_model_does_see_it() -> None:
    magt, inputs = model(MagtConfig(16, 2, causal=False, embeddings=(12, 8, 6))), conversation()
    before, _ = magt(**inputs)
    inputs["text"][:, 5] = 9.0
    assert not torch.allclose(before[:, 0], magt(**inputs)[0][:, 0])


@pytest.mark.parametrize("index, name", list(enumerate(["text", "audio", "visual"])))
def test_a_missing_modality_has_no_influence_and_no_weight(index: int, name: str) -> None:
    magt, inputs = model(), conversation()
    inputs["modalities"][:, 2:4, index] = False
    before, weights = magt(**inputs)
    inputs[name][:, 2:4] = float("nan")
    after, _ = magt(**inputs)
    assert torch.equal(before, after) and after.isfinite().all()
    assert (weights[:, 2:4, index] == 0).all() and (weights[:, :2] > 0).all()
    assert torch.allclose(weights.sum(-1), torch.ones(2, 6))


def test_what_was_missing_before_does_not_matter_now_when_all_is_missing() -> None:
    magt, inputs = model(), conversation()
    inputs["modalities"][:] = False
    logits, weights = magt(**inputs)
    assert logits.isfinite().all() and (weights == 0).all()


def test_padding_has_no_influence() -> None:
    magt, inputs = model(), conversation()
    inputs["valid"][:, 4:] = False
    before, _ = magt(**inputs)
    for name in ("text", "audio", "visual"):
        inputs[name][:, 4:] = float("nan")
    after, _ = magt(**inputs)
    alone, _ = magt(**{name: value[:, :4] for name, value in inputs.items()})
    assert torch.equal(before, after) and after.isfinite().all()
    assert torch.allclose(after[:, :4], alone, atol=1e-6)


def test_padding_on_the_left_changes_nothing_either() -> None:
    magt, inputs = model(), conversation()
    alone, _ = magt(**{name: value[:, 2:] for name, value in inputs.items()})
    inputs["valid"][:, :2] = False
    assert torch.allclose(magt(**inputs)[0][:, 2:], alone, atol=1e-6)


def test_gradients_reach_every_parameter() -> None:
    magt, inputs = model().train(), conversation(4, 8)
    inputs["modalities"] = torch.rand(4, 8, 3, generator=torch.Generator().manual_seed(0)) > 0.3
    magt(**inputs)[0].square().sum().backward()
    unreached = [name for name, p in magt.named_parameters() if p.grad is None or not p.grad.any()]
    assert not unreached


def test_order_and_speaker_count() -> None:
    magt, inputs = model(), conversation(1, 4)
    before = magt(**inputs)[0][:, -1]
    swapped = {name: value[:, [1, 0, 2, 3]] for name, value in inputs.items()}
    assert not torch.allclose(before, magt(**swapped)[0][:, -1])
    inputs["speakers"] = (inputs["speakers"] + 1) % 10
    assert not torch.allclose(before, magt(**inputs)[0][:, -1])


@pytest.mark.parametrize("b, u", [(1, 1), (1, 16), (3, 5)])
def test_the_exported_model_answers_as_the_trained_one(tmp_path: Path, b: int, u: int) -> None:
    magt, inputs = model(), conversation(b, u, seed=b + u)
    inputs["modalities"] = torch.rand(b, u, 3) > 0.4
    if u > 4:
        inputs["valid"][:, 4:] = False
    file = tmp_path / "fusion.onnx"
    export_fusion(magt, file)
    logits, weights = magt(**inputs)
    found = Network(file)({name: value.numpy() for name, value in inputs.items()})
    np.testing.assert_allclose(found["logits"], logits.detach().numpy(), atol=1e-4)
    np.testing.assert_allclose(found["weights"], weights.detach().numpy(), atol=1e-4)
    exported = onnx.load(str(file))
    assert exported.ir_version <= 9 and exported.opset_import[0].version <= 17


def test_nonsense_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 3 heads"):
        MagtConfig(width=16, heads=3)
