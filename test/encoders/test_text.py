"""The prompt: what it contains, what it may not see, and that no text can break it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from erc_ros.encoders.text import (
    SPEAKER_TOKENS,
    TextPrompt,
    Turn,
    add_speaker_tokens,
    speaker_index,
    speaker_indices,
)

WORDS = ["now", "feels", "yes", "no", "never", "mind", "s", "mask", "sep", "[", "]", "<", ">"]
WORDS += list("0123456789") + ["##" + c for c in "abcdefghijklmnopqrstuvwxyz"]


def tokenizer() -> Tokenizer:
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    made = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = BertNormalizer(), BertPreTokenizer()
    made.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    return add_speaker_tokens(made)


PROMPT = TextPrompt(tokenizer(), max_tokens=24)
ENDLESS = TextPrompt(tokenizer(), max_tokens=100_000)
UNQUESTIONED = 1  # [CLS]
QUESTION = 5  # now <si> feels [MASK] [SEP]
SAID = ["yes", "no", "never", "<s1>", "[MASK]", "[SEP]", "<mask>", "ß", "嗎"]

texts = st.one_of(
    st.text(max_size=40),
    st.lists(st.sampled_from(SAID)).map(" ".join),
)
turns = st.lists(st.builds(Turn, st.integers(0, 9), texts), min_size=1, max_size=8)


def read(ids: list[int]) -> str:
    made = tokenizer()
    return " ".join(str(made.id_to_token(number)) for number in ids)


def test_history_then_the_utterance_then_the_question() -> None:
    ids = PROMPT.tokens([Turn(1, "Yes!"), Turn(2, "Never mind")])
    expected = "[CLS] <s1> yes [UNK] [SEP] <s2> never mind [SEP] now <s2> feels [MASK] [SEP]"
    assert read(ids) == expected


def test_the_input_is_one_row_of_int64() -> None:
    given_input = PROMPT([Turn(1, "yes")])
    for array in (given_input.input_ids, given_input.attention_mask, given_input.mask_index):
        assert array.dtype == np.int64
    assert given_input.input_ids.shape == given_input.attention_mask.shape == (1, 9)
    assert given_input.attention_mask.all()
    mask = tokenizer().token_to_id("[MASK]")
    assert given_input.input_ids[0, given_input.mask_index[0]] == mask


@settings(deadline=None)
@given(turns)
def test_what_is_too_long_loses_whole_tokens_from_the_left(said: list[Turn]) -> None:
    full, cut = ENDLESS.tokens(said), PROMPT.tokens(said)
    assert len(cut) == min(len(full), 24)
    assert cut[0] == full[0] and cut[1:] == full[len(full) - len(cut) + 1 :]


@settings(deadline=None)
@given(turns)
def test_the_question_is_never_cut(said: list[Turn]) -> None:
    assert PROMPT.tokens(said)[-5:] == PROMPT.tokens([Turn(said[-1].speaker, "")])[-5:]


@settings(deadline=None)
@given(turns)
def test_what_people_say_never_becomes_a_special_token(said: list[Turn]) -> None:
    made = tokenizer()
    ids = ENDLESS.tokens(said)
    kept = [turn for turn in said[:-1] if turn.text] + [said[-1]]
    count = {name: ids.count(made.token_to_id(name)) for name in ("[MASK]", "[SEP]", "[CLS]")}
    assert count == {"[MASK]": 1, "[SEP]": len(kept) + 1, "[CLS]": 1}
    speakers = sum(ids.count(made.token_to_id(token)) for token in SPEAKER_TOKENS)
    assert speakers == len(kept) + 1


@settings(deadline=None)
@given(turns, turns)
def test_the_future_is_not_seen(said: list[Turn], later: list[Turn]) -> None:
    everything = [*said, *later]
    assert PROMPT.tokens(everything[: len(said)]) == PROMPT.tokens(said)


@settings(deadline=None)
@given(turns)
def test_history_from_before_the_limit_makes_no_difference(said: list[Turn]) -> None:
    if len(PROMPT.tokens(said)) == 24:
        assert PROMPT.tokens([Turn(3, "no no no"), *said]) == PROMPT.tokens(said)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "x" * 10_000,
        "yes " * 10_000,
        "\x00\x07\x1b",
        "\ud800",
        "嗎" * 50,
        "مرحبا",
        "🙂🙂",
        "\n",
    ],
)
def test_any_text_makes_a_prompt(text: str) -> None:
    for said in ([Turn(1, text)], [Turn(1, text), Turn(2, "yes")], [Turn(1, "yes"), Turn(2, text)]):
        assert 1 + QUESTION < len(PROMPT.tokens(said)) <= 24


def test_history_without_text_is_left_out() -> None:
    assert PROMPT.tokens([Turn(1, ""), Turn(2, "yes")]) == PROMPT.tokens([Turn(2, "yes")])


def test_a_turn_that_is_said_again_is_history_too() -> None:
    turn = Turn(1, "yes")
    assert read(PROMPT.tokens([turn, turn])).count("yes") == 2
    empty = Turn(1, "")
    assert read(PROMPT.tokens([empty, empty])).count("[SEP]") == 2


@pytest.mark.parametrize("speaker", [-1, 10])
def test_a_speaker_without_a_token_is_refused(speaker: int) -> None:
    with pytest.raises(ValueError, match=str(speaker)):
        PROMPT.tokens([Turn(speaker, "yes")])


def test_a_conversation_without_utterances_is_refused() -> None:
    with pytest.raises(ValueError, match="current utterance"):
        PROMPT.tokens([])


def test_a_limit_without_room_for_text_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 8"):
        TextPrompt(tokenizer(), max_tokens=7)
    assert TextPrompt(tokenizer(), max_tokens=8).tokens([Turn(1, "yes")])


def test_a_tokenizer_without_speakers_is_refused() -> None:
    vocabulary = {"[CLS]": 0, "[SEP]": 1, "[MASK]": 2, "[UNK]": 3}
    with pytest.raises(ValueError, match="<s0>"):
        TextPrompt(Tokenizer(WordPiece(vocabulary, unk_token="[UNK]")))


def test_a_saved_tokenizer_makes_the_same_prompt(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    tokenizer().save(str(path))
    said = [Turn(1, "yes <s2> [MASK]"), Turn(2, "never mind")]
    assert TextPrompt.from_file(path, 24).tokens(said) == PROMPT.tokens(said)
    path.write_text("{}")
    with pytest.raises(ValueError, match=r"tokenizer\.json"):
        TextPrompt.from_file(path)
    with pytest.raises(FileNotFoundError):
        TextPrompt.from_file(tmp_path / "none.json")


@settings(deadline=None)
@given(st.lists(st.sampled_from(["", *"abcdefghijkl"]), max_size=40))
def test_speakers_are_numbered_as_they_appear(names: list[str]) -> None:
    indices = speaker_indices(names)
    order = list(dict.fromkeys(name for name in names if name))
    assert indices == [min(order.index(name) + 1, 9) if name else 0 for name in names]


def test_no_more_speakers_are_remembered_than_have_tokens() -> None:
    known: tuple[str, ...] = ()
    for number in range(1_000):
        known, index = speaker_index(known, f"p{number}")
    assert len(known) == 9 and index == 9
