"""What every fusion head must keep to, whatever paper it is from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from erc_ros.inference.backend import Network
from erc_ros.training.export import export_fusion
from erc_ros.training.fusion.heads import HEADS
from erc_ros.training.fusion.summer import Experts, SummerConfig, moves

SIZES = (12, 8, 6)
NAMES = ("text", "audio", "visual")
ALL = sorted(HEADS)
WITH_CONTEXT = ["lpgnet", "magt", "summer"]
BOTH = [(name, causal) for name in ALL for causal in (True, False)]


def head(name: str, causal: bool = True, **options: float) -> nn.Module:
    torch.manual_seed(0)
    config, model = HEADS[name]
    return model(config(width=16, causal=causal, embeddings=SIZES, labels=4, **options)).eval()


def conversation(b: int = 2, u: int = 6, seed: int = 1) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    inputs = {
        name: torch.randn(b, u, size, generator=generator)
        for name, size in zip(NAMES, SIZES, strict=True)
    }
    inputs["modalities"] = torch.ones(b, u, 3, dtype=torch.bool)
    inputs["speakers"] = torch.randint(0, 10, (b, u), generator=generator)
    inputs["valid"] = torch.ones(b, u, dtype=torch.bool)
    return inputs


@pytest.mark.parametrize("name", ALL)
def test_a_causal_head_does_not_see_the_future(name: str) -> None:
    model, inputs = head(name), conversation()
    before = model(**inputs)
    for modality in NAMES:
        inputs[modality][:, 4:] = 9.0
    inputs["speakers"][:, 4:] = 3
    inputs["modalities"][:, 5, 1:] = False
    inputs["valid"][0, 5] = False
    for old, new in zip(before, model(**inputs), strict=True):
        assert torch.equal(old[:, :4], new[:, :4])
    assert not torch.equal(before[0][:, 4], model(**inputs)[0][:, 4])


@pytest.mark.parametrize("name", WITH_CONTEXT)
def test_a_causal_head_remembers_and_an_offline_one_looks_ahead(name: str) -> None:
    for causal in (True, False):
        model, inputs = head(name, causal), conversation()
        before = model(**inputs)[0]
        inputs["text"][:, 2] = torch.linspace(-9, 9, 12)
        after = model(**inputs)[0]
        assert not torch.allclose(before[:, 5], after[:, 5])
        assert torch.allclose(before[:, 0], after[:, 0]) == causal


@pytest.mark.parametrize("index", range(3))
@pytest.mark.parametrize("name, causal", BOTH)
def test_a_missing_modality_has_no_influence_and_no_weight(
    name: str, causal: bool, index: int
) -> None:
    model, inputs = head(name, causal), conversation()
    inputs["modalities"][:, 2:4, index] = False
    before, weights = model(**inputs)
    inputs[NAMES[index]][:, 2:4] = float("nan")
    after, _ = model(**inputs)
    assert torch.equal(before, after) and after.isfinite().all()
    assert (weights[:, 2:4, index] == 0).all() and (weights[:, :2] > 0).all()
    assert torch.allclose(weights.sum(-1), torch.ones(2, 6))


@pytest.mark.parametrize("name, causal", BOTH)
def test_where_everything_is_missing_the_answer_is_finite(name: str, causal: bool) -> None:
    model, inputs = head(name, causal), conversation()
    inputs["modalities"][:] = False
    logits, weights = model(**inputs)
    assert logits.isfinite().all() and (weights == 0).all()


@pytest.mark.parametrize("padded", [slice(0, 2), slice(4, 6)], ids=["left", "right"])
@pytest.mark.parametrize("name, causal", BOTH)
def test_padding_has_no_influence(name: str, causal: bool, padded: slice) -> None:
    model, inputs = head(name, causal), conversation()
    kept = torch.ones(6, dtype=torch.bool)
    kept[padded] = False
    alone = model(**{key: value[:, kept] for key, value in inputs.items()})
    inputs["valid"][:, padded] = False
    for modality in NAMES:
        inputs[modality][:, padded] = float("nan")
    for whole, part in zip(model(**inputs), alone, strict=True):
        assert whole.isfinite().all()
        assert torch.allclose(whole[:, kept], part, atol=1e-6)


@pytest.mark.parametrize("name, causal", BOTH)
def test_padding_has_no_influence_in_training_either(name: str, causal: bool) -> None:
    model, inputs = head(name, causal, dropout=0.0, input_dropout=0.0).train(), conversation()
    inputs["valid"][:, 4:] = False
    torch.manual_seed(0)  # of the noise on SUMMER's gates
    before, _ = model(**inputs)
    for modality in NAMES:
        inputs[modality][:, 4:] = float("nan")
    torch.manual_seed(0)
    after, _ = model(**inputs)
    assert torch.equal(before, after) and after.isfinite().all()


@pytest.mark.parametrize("name, causal", BOTH)
def test_gradients_reach_every_parameter(name: str, causal: bool) -> None:
    model, inputs = head(name, causal).train(), conversation(4, 8)
    inputs["modalities"] = torch.rand(4, 8, 3, generator=torch.Generator().manual_seed(0)) > 0.3
    # MAGT has no classifiers of its own for the losses.
    outputs = model.details(**inputs) if hasattr(model, "details") else model(**inputs)[:1]
    outputs[0].square().sum().backward(retain_graph=True)
    if hasattr(model, "details"):
        outputs.unimodal.square().sum().backward()
    unreached = [key for key, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not unreached


@pytest.mark.parametrize("name", [name for name in ALL if name != "magt"])
def test_details_tell_the_losses_each_modality(name: str) -> None:
    model, inputs = head(name), conversation()
    details = model.details(**inputs)
    for plain, detailed in zip(model(**inputs), details[:2], strict=True):
        assert torch.equal(plain, detailed)
    assert details.unimodal.shape == (2, 6, 3, 4)
    assert details.features.shape[:3] == (2, 6, 3)


@pytest.mark.parametrize("name, causal", BOTH)
def test_the_exported_head_answers_as_the_trained_one(
    tmp_path: Path, name: str, causal: bool
) -> None:
    model, file = head(name, causal), tmp_path / "fusion.onnx"
    export_fusion(model, file)
    exported, network = onnx.load(str(file)), Network(file)
    assert exported.ir_version <= 9 and exported.opset_import[0].version <= 17
    for b, u in ((1, 1), (1, 16), (3, 5)):
        inputs = conversation(b, u, seed=b + u)
        inputs["modalities"] = torch.rand(b, u, 3) > 0.4
        inputs["valid"][:, 4:] = u <= 4
        found = network({key: value.numpy() for key, value in inputs.items()})
        logits, weights = model(**inputs)
        np.testing.assert_allclose(found["logits"], logits.detach().numpy(), atol=1e-4)
        np.testing.assert_allclose(found["weights"], weights.detach().numpy(), atol=1e-4)


@pytest.mark.parametrize("name", ALL)
def test_nonsense_sizes_are_refused(name: str) -> None:
    config, _ = HEADS[name]
    with pytest.raises(ValueError, match="text, audio and visual"):
        config(embeddings=(1, 2))
    with pytest.raises(ValueError, match="dropout"):
        config(dropout=1.0)


def test_summer_refuses_an_alpha_and_a_width_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match="alpha"):
        SummerConfig(alpha=0.0)
    with pytest.raises(ValueError, match="multiple of 3 heads"):
        SummerConfig(width=16, heads=3)


def test_experts_outside_the_range_are_dropped_and_the_papers_range_drops_none() -> None:
    class Constant(nn.Module):
        def __init__(self, value: float) -> None:
            super().__init__()
            self.value = value

        def forward(self, x: torch.Tensor, orders: list[torch.Tensor]) -> torch.Tensor:
            return torch.full_like(x, self.value)

    def mixed(alpha: float, weights: list[float]) -> float:
        experts = Experts(SummerConfig(width=4, heads=1, alpha=alpha)).eval()
        experts.experts = nn.ModuleList(Constant(float(n)) for n in range(4))
        nn.init.zeros_(experts.gate.weight)
        experts.gate.bias.data = torch.tensor(weights)
        return float(experts(torch.zeros(1, 1, 4), [])[0, 0, 0].detach())

    # Mean 1, deviation sqrt(3): only the last one is farther away than 1 deviation.
    assert mixed(1.0, [0.0, 0.0, 0.0, 4.0]) == pytest.approx(1.0)  # mean of 0, 1, 2
    e4 = np.exp(4.0)
    assert mixed(2.0, [0.0, 0.0, 0.0, 4.0]) == pytest.approx((3 + 3 * e4) / (3 + e4), rel=1e-5)
    # All are exactly one deviation away: nobody would be left, so all stay.
    assert mixed(0.5, [1.0, 1.0, -1.0, -1.0]) == pytest.approx(
        (0 + np.e + 2 / np.e + 3 / np.e) / (2 * np.e + 2 / np.e), rel=1e-5
    )


def test_experts_read_what_was_seen_in_both_directions() -> None:
    seen = torch.tensor([[False, True, False, True, True]])
    forward, backward = moves(seen, causal=False)
    x = torch.arange(5.0)[None, :, None]
    assert (forward @ x)[0, :, 0].tolist() == [1, 3, 4, 0, 0]
    assert (backward @ x)[0, :, 0].tolist() == [4, 3, 1, 0, 0]
    assert (forward.transpose(1, 2) @ forward @ x)[0, :, 0].tolist() == [0, 1, 0, 3, 4]
