"""What every fusion head must keep to, whatever paper it is from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn
from torch.nn.functional import pad

from erc_ros.networks.network import Network
from erc_ros.training.fusion.contract import CLAUSES, check_clause
from erc_ros.training.heads.base import FusionModel
from erc_ros.training.heads.context import moves
from erc_ros.training.heads.inputs import input_norm
from erc_ros.training.heads.lpgnet import FrameLpgnet, LpgnetConfig
from erc_ros.training.heads.registry import HEADS, reads_context
from erc_ros.training.heads.summer import Experts, SummerConfig, run
from erc_ros.training.onnx import export_fusion

SIZES = (12, 8, 6)
NAMES = ("text", "audio", "visual")
ALL = sorted(HEADS)
WITH_CONTEXT = [name for name in ALL if HEADS[name][1].READS_CONTEXT]
BOTH = [(name, causal) for name in ALL for causal in (True, False)]
ABLATIONS = [(name, part) for name in ALL for part in HEADS[name][0].PARTS]


def head(name: str, causal: bool = True, **options: Any) -> FusionModel:
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


@pytest.mark.parametrize("name", sorted(set(ALL) - set(WITH_CONTEXT)))
def test_a_head_without_context_sees_one_utterance(name: str) -> None:
    model, inputs = head(name), conversation()
    before = model(**inputs)[0]
    inputs["text"][:, 2] = torch.linspace(-9, 9, 12)
    after = model(**inputs)[0]
    others = [0, 1, 3, 4, 5]
    assert torch.allclose(before[:, others], after[:, others])
    assert not torch.allclose(before[:, 2], after[:, 2])


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


def unreached(model: FusionModel) -> list[str]:
    """Parameters without a gradient when the answer and every modality's own one count."""
    model.train()
    inputs = conversation(4, 8)
    inputs["modalities"] = torch.rand(4, 8, 3, generator=torch.Generator().manual_seed(0)) > 0.3
    details = model.details(**inputs)
    (details.logits.square().sum() + details.unimodal.square().sum()).backward()
    return [key for key, p in model.named_parameters() if p.grad is None or not p.grad.any()]


@pytest.mark.parametrize("name, causal", BOTH)
def test_gradients_reach_every_parameter(name: str, causal: bool) -> None:
    assert not unreached(head(name, causal))


@pytest.mark.parametrize("name, part", ABLATIONS)
def test_without_a_part_a_head_is_smaller_or_simpler_and_still_learns(name: str, part: str) -> None:
    whole, inputs = head(name), conversation()
    less = head(name, without=(part,))
    assert not torch.allclose(whole(**inputs)[0], less(**inputs)[0])
    sizes = [sum(p.numel() for p in model.parameters()) for model in (less, whole)]
    assert sizes[0] < sizes[1] or part in ("cosine", "confidence")
    assert not unreached(less)


@pytest.mark.parametrize("name", ALL)
def test_details_tell_the_losses_each_modality(name: str) -> None:
    model, inputs = head(name), conversation()
    details = model.details(**inputs)
    for plain, detailed in zip(model(**inputs), details[:2], strict=True):
        assert torch.equal(plain, detailed)
    assert details.unimodal.shape == (2, 6, 3, 4)
    assert details.features.shape[:3] == (2, 6, 3)


@pytest.mark.parametrize("name, causal", BOTH)
@pytest.mark.parametrize("length", [1, 400])
def test_dialogues_of_one_utterance_and_of_400_are_answered(
    name: str, causal: bool, length: int
) -> None:
    logits, weights = head(name, causal)(**conversation(1, length))
    assert logits.shape == (1, length, 4) and logits.isfinite().all()
    assert torch.allclose(weights.sum(-1), torch.ones(1, length))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("modality", NAMES)
def test_an_embedding_that_is_not_finite_is_refused_by_name(name: str, modality: str) -> None:
    inputs = conversation()
    inputs[modality][1, 3, 2] = float("nan")
    message = rf"{modality}: 1 embeddings are not finite, .* utterance 3 of conversation 1"
    with pytest.raises(ValueError, match=message):
        head(name)(**inputs)


def test_embeddings_of_another_size_and_global_speakers_are_refused() -> None:
    inputs = conversation()
    with pytest.raises(ValueError, match=r"audio.*5.*8"):
        head("concat")(**{**inputs, "audio": inputs["audio"][..., :5]})
    with pytest.raises(ValueError, match=r"0\.\.9"):
        head("magtkd")(**{**inputs, "speakers": inputs["speakers"] + 300})


@pytest.mark.parametrize("name", ["magtkd", "summer"])
def test_order_and_speakers_count(name: str) -> None:
    model, inputs = head(name), conversation(1, 4)
    before = model(**inputs)[0][:, -1]
    swapped = {key: value[:, [1, 0, 2, 3]] for key, value in inputs.items()}
    assert not torch.allclose(before, model(**swapped)[0][:, -1])
    inputs["speakers"] = (inputs["speakers"] + 1) % 10
    assert not torch.allclose(before, model(**inputs)[0][:, -1])


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
        outputs = network({key: value.numpy() for key, value in inputs.items()})
        logits, weights = model(**inputs)
        np.testing.assert_allclose(outputs["logits"], logits.detach().numpy(), atol=1e-4)
        np.testing.assert_allclose(outputs["weights"], weights.detach().numpy(), atol=1e-4)


@pytest.mark.parametrize("name", ALL)
def test_nonsense_sizes_are_refused(name: str) -> None:
    config, _ = HEADS[name]
    with pytest.raises(ValueError, match=r"text.*audio.*visual"):
        config(embeddings=(1, 2))
    with pytest.raises(ValueError, match="dropout"):
        config(dropout=1.0)
    with pytest.raises(ValueError, match=r"\['everything'\]"):
        config(without=("everything",))


def test_sizes_that_do_not_fit_are_refused() -> None:
    for name in ("magtkd", "lpgnet"):
        with pytest.raises(ValueError, match=r"multiple.*3"):
            HEADS[name][0](width=16, heads=3)
    with pytest.raises(ValueError, match="attention"):
        HEADS["lpgnet"][0](without=("inter", "intra"))
    with pytest.raises(ValueError, match="lowest_gate"):
        HEADS["ddvlm"][0](lowest_gate=0.7)


def test_ddvlm_corrects_the_logits_of_the_text_and_without_text_the_mean_of_the_others() -> None:
    model = head("ddvlm")
    for parameter in model.corrections.parameters():
        nn.init.zeros_(parameter)
    for m, bias in ((1, 1.0), (2, 3.0)):
        nn.init.constant_(model.corrections[m - 1].own.bias[:1], bias)  # own logits, no correction
    inputs = conversation()
    with torch.no_grad():
        text = model.classifier(inputs["text"])
        torch.testing.assert_close(model(**inputs)[0], text)
        inputs["modalities"][..., 0] = False
        expected = torch.zeros_like(text)
        expected[..., 0] = 2.0
        torch.testing.assert_close(model(**inputs)[0], expected)


def test_the_gate_of_width_d_has_the_file_sizes_that_the_paper_reports() -> None:
    """13.5 MB in float32, 3.4 MB in dynamic int8 (section 4.4), without the student's head."""
    config, model = HEADS["ddvlm"]
    sizes = {"embeddings": (768, 1, 768), "width": 768, "labels": 7}
    weights = {}
    for gate in ("vector", "scalar"):
        fusion = model(config(**sizes, gate=gate, own="embedding")).corrections[1]
        weights[gate] = [p for name, p in fusion.named_parameters() if not name.startswith("own")]
    of_gate = {gate: sum(p.numel() for p in each) for gate, each in weights.items()}
    assert of_gate["vector"] * 4 / 2**20 == pytest.approx(13.54, abs=0.01)
    assert of_gate["scalar"] * 4 / 2**20 == pytest.approx(4.56, abs=0.02)
    matrices = sum(p.numel() for p in weights["vector"] if p.ndim > 1)
    int8 = matrices + 4 * (of_gate["vector"] - matrices)
    assert int8 / 2**20 == pytest.approx(3.39, abs=0.02)


def test_a_vector_gate_enters_the_logits_as_its_mean() -> None:
    vector, scalar = head("ddvlm", gate="vector"), head("ddvlm")
    scalar.load_state_dict({k: v for k, v in vector.state_dict().items() if "gate" not in k}, False)
    for model in (vector, scalar):
        for correction in model.corrections:
            nn.init.zeros_(correction.gate.weight)
            nn.init.constant_(correction.gate.bias, -0.3)  # the same gate in every dimension
    inputs = conversation()
    torch.testing.assert_close(vector(**inputs)[0], scalar(**inputs)[0])


def test_ddvlms_confidence_is_that_of_the_students_own_classifier() -> None:
    model = head("ddvlm", own="embedding")
    size = model.config.embeddings[2]
    assert model.corrections[1].own.in_features == size
    text, other = torch.randn(1, 2, model.config.embeddings[0]), torch.randn(1, 2, size)
    own = model.corrections[1](text, other)[2]
    torch.testing.assert_close(own, model.corrections[1].own(other))


@pytest.mark.parametrize("name", ["magtkd", "lpgnet", "summer"])
def test_attention_reaches_no_further_than_it_may(name: str) -> None:
    """One layer of attention over two utterances at most: twice for the enriched anchors."""
    options: dict[str, Any] = {"without": ("global",)} if name == "lpgnet" else {}
    if name == "summer":
        options = {"without": ("experts",)}
    model = head(name, causal=False, reach=1, **options)
    inputs = conversation(b=1, u=9)
    with torch.no_grad():
        before = model(**inputs)[0][0]
        inputs["text"][0, 8] *= -3.0
        after = model(**inputs)[0][0]
    changed = (before - after).abs().amax(dim=-1) > 1e-6
    assert changed[8] and changed[7] and not changed[:6].any()


def test_summer_refuses_an_alpha_and_a_width_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match="alpha"):
        SummerConfig(alpha=0.0)
    with pytest.raises(ValueError, match=r"multiple.*3"):
        SummerConfig(width=16, heads=3)


def test_experts_outside_the_range_are_dropped_and_the_papers_range_drops_none() -> None:
    def shares(alpha: float, weights: list[float]) -> list[float]:
        experts = Experts(SummerConfig(width=4, heads=1, alpha=alpha)).eval()
        return experts.shares(torch.tensor(weights)[None, None])[0, 0].tolist()

    # Mean 1, deviation sqrt(3): only the last one is farther away than 1 deviation.
    assert shares(1.0, [0.0, 0.0, 0.0, 4.0]) == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0])
    whole = 3 + np.exp(4.0)
    assert shares(2.0, [0.0, 0.0, 0.0, 4.0]) == pytest.approx([1 / whole] * 3 + [1 - 3 / whole])
    # Of eight, one can be farther away than two: with the paper's alpha it is dropped.
    assert shares(2.0, [0.0] * 7 + [8.0]) == pytest.approx([1 / 7] * 7 + [0])
    # All are exactly one deviation away: nobody would be left, so all stay.
    low, high = np.array([1 / np.e, np.e]) / (2 * np.e + 2 / np.e)
    assert shares(0.5, [1.0, 1.0, -1.0, -1.0]) == pytest.approx([high, high, low, low], rel=1e-5)


def test_experts_that_step_together_answer_and_learn_as_one_after_another() -> None:
    torch.manual_seed(0)
    grus = nn.ModuleList(nn.GRU(5, 3, batch_first=True) for _ in range(4))
    x = torch.randn(2, 3, 7, 5)  # two modalities with two experts each
    together = run(grus, x)
    together.square().sum().backward()
    gradients = [p.grad.clone() for p in grus.parameters()]
    grus.zero_grad()
    one_by_one = torch.stack([gru(x[n // 2])[0] for n, gru in enumerate(grus)])
    one_by_one.square().sum().backward()
    assert torch.allclose(together, one_by_one, atol=1e-6)
    for gradient, p in zip(gradients, grus.parameters(), strict=True):
        assert torch.allclose(gradient, p.grad, atol=1e-5)


def test_experts_read_what_was_seen_in_both_directions() -> None:
    seen = torch.tensor([[False, True, False, True, True]])
    forward, backward = moves(seen, causal=False)
    x = torch.arange(5.0)[None, :, None]
    assert (forward @ x)[0, :, 0].tolist() == [1, 3, 4, 0, 0]
    assert (backward @ x)[0, :, 0].tolist() == [4, 3, 1, 0, 0]
    assert (forward.transpose(1, 2) @ forward @ x)[0, :, 0].tolist() == [0, 1, 0, 3, 4]


@pytest.mark.parametrize("lengths", [(1, 1), (3, 9), (9, 2)])
@torch.no_grad()
def test_tokens_and_frames_of_an_utterance_become_one_answer(lengths: tuple[int, int]) -> None:
    config = LpgnetConfig(width=16, causal=False, embeddings=(8, 12, 1), labels=4,
                          modalities=("text", "audio"))  # fmt: skip
    torch.manual_seed(0)
    model = FrameLpgnet(config).eval()
    tokens, frames = torch.randn(2, lengths[0], 8), torch.randn(2, lengths[1], 12)
    there = [torch.ones(2, n, dtype=torch.bool) for n in lengths]
    whole = model({"text": (tokens, there[0]), "audio": (frames, there[1])})
    assert whole.logits.shape == (2, 1, 4) and whole.unimodal.shape == (2, 1, 3, 4)
    torch.testing.assert_close(whole.weights.sum(dim=-1), torch.ones(2, 1))
    # What stands behind the end of either, even nonsense, changes nothing.
    behind = torch.full((2, 5, 8), 7.0), torch.full((2, 4, 12), -7.0)
    longer = [pad(mask, (0, extra.shape[1])) for mask, extra in zip(there, behind, strict=True)]
    padded = model(
        {
            "text": (torch.cat([tokens, behind[0]], dim=1), longer[0]),
            "audio": (torch.cat([frames, behind[1]], dim=1), longer[1]),
        }
    )
    for one, other in zip(whole, padded, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
    # Each place counts: another frame, another answer.
    frames[:, -1, 0] += 3
    moved = model({"text": (tokens, there[0]), "audio": (frames, there[1])})
    assert not torch.allclose(moved.logits, whole.logits)
    # Without sound the text answers alone.
    alone = model({"text": (tokens, there[0]), "audio": (frames, torch.zeros_like(there[1]))})
    only = model({"text": (tokens, there[0])})
    torch.testing.assert_close(alone.logits, only.logits)
    assert not alone.weights[..., 1].any() and not alone.unimodal[..., 2, :].any()


def test_an_utterance_is_not_read_causally() -> None:
    with pytest.raises(ValueError, match="whole"):
        FrameLpgnet(LpgnetConfig(width=16))


def test_offline_lpgnet_normalises_each_conversation_once() -> None:
    """A long conversation moves the batch norm as much as a short one."""
    from erc_ros.training.heads.lpgnet import Compress

    torch.manual_seed(0)
    compress = Compress(4, causal=False).train()
    x = torch.randn(3, 6, 4)
    seen = torch.ones(3, 6, 1, dtype=torch.bool)
    seen[0, 2:] = False
    compressed = compress(x, seen)
    means = torch.stack([x[0, :2].mean(0), x[1].mean(0), x[2].mean(0)])
    h = compress.convolution(means)
    expected = (h - h.mean(0)) / (h.var(0, unbiased=False) + compress.norm.eps).sqrt()
    expected = torch.nn.functional.leaky_relu(expected)
    assert torch.allclose(compressed, expected[:, None].expand(3, 6, 4), atol=1e-5)
    torch.testing.assert_close(compress.norm.running_mean, 0.1 * h.mean(0))
    nobody = torch.zeros_like(seen)
    assert compress(x, nobody).isfinite().all() and compress.eval()(x, nobody).isfinite().all()


def test_ddvlm_refuses_a_text_space_smaller_than_the_labels() -> None:
    """Voice and face are projected into it: with one dimension seven labels lie on a line."""
    config, model = HEADS["ddvlm"]
    with pytest.raises(ValueError, match=r"least.*7"):
        model(config(width=16, embeddings=(1, 8, 8), labels=7))


def test_the_one_number_of_an_absent_modality_is_not_normalized() -> None:
    assert input_norm(1)(torch.tensor([[3.0]])).item() == 3.0
    assert input_norm(2)(torch.tensor([[1.0, 3.0]])).tolist() == [
        [pytest.approx(-1, abs=1e-4), pytest.approx(1, abs=1e-4)]
    ]


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("clause", CLAUSES, ids=lambda clause: clause.__name__)
def test_layers_of_context_keep_to_the_contract(clause: Any, name: str) -> None:
    check_clause(clause, name, {"width": 16, "context": 8})


def test_layers_of_context_let_a_model_of_single_utterances_read_others() -> None:
    assert not reads_context("ddvlm", {}) and reads_context("ddvlm", {"context": 8})
    model, inputs = head("ddvlm", causal=False, context=8), conversation()
    before = model(**inputs)[0]
    inputs["text"][:, 2] = torch.linspace(-9, 9, 12)
    changed = ~torch.isclose(model(**inputs)[0], before).all(dim=-1)
    assert changed.all()


@pytest.mark.parametrize("name", ["bclstm", "lpgnet", "magtkd", "summer"])
def test_without_input_norm_the_length_of_an_embedding_counts(name: str) -> None:
    inputs = conversation()
    longer = {**inputs, **{name: 3 * inputs[name] for name in NAMES}}
    for normalized in (True, False):
        model = head(name, input_norm=normalized)
        same = torch.allclose(model(**inputs)[0], model(**longer)[0], atol=1e-3)
        assert same == normalized
