"""Prompt of the text encoder: content, attention mask, and robustness to any text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
from bundles import tiny_byte_level
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from erc_ros.encoders.text import (
    MAX_CHARACTERS,
    SPEAKER_TOKENS,
    Block,
    Layout,
    TextPrompt,
    TokenRoles,
    Turn,
    Vocabulary,
    WholePrompt,
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
QUESTION = 5  # now <si> feels [MASK] [SEP]
SAID = ["yes", "no", "never", "<s1>", "[MASK]", "[SEP]", "<mask>", "ß", "嗎"]

texts = st.one_of(
    st.text(max_size=40),
    st.lists(st.sampled_from(SAID)).map(" ".join),
)
turns = st.lists(st.builds(Turn, st.integers(0, 9), texts), min_size=1, max_size=8)


def window_of(said: list[Turn], prompt: TextPrompt = PROMPT) -> tuple[Block, ...]:
    """Return the window after all utterances."""
    window: tuple[Block, ...] = ()
    for turn in said:
        window = prompt.slide(window, turn)
    return window


def last(window: Sequence[Block], known: int = 0, prompt: TextPrompt = PROMPT) -> Layout:
    return prompt.arrange(window, [len(window) - 1], known)


def read(ids: Iterable[int]) -> str:
    made = tokenizer()
    return " ".join(str(made.id_to_token(int(number))) for number in ids)


def test_history_then_the_utterance_then_the_question() -> None:
    layout = last(window_of([Turn(1, "Yes!"), Turn(2, "Never mind")]))
    expected = "[CLS] <s1> yes [UNK] [SEP] <s2> never mind [SEP] now <s2> feels [MASK] [SEP]"
    assert read(layout.input_ids) == expected
    assert layout.positions.tolist() == list(range(14)) and layout.kept == 9
    assert read(layout.input_ids[layout.mask_index]) == "[MASK]"


def test_what_an_utterance_sees_is_itself_and_what_was_before() -> None:
    layout = last(window_of([Turn(1, "yes"), Turn(2, "no")]))
    first, second, question = slice(0, 4), slice(4, 7), slice(7, 12)
    visible = layout.visible
    assert visible[first, first].all() and not visible[first, 4:].any()
    assert visible[second, :7].all() and not visible[second, question].any()
    assert visible[question].all()


def test_no_question_sees_another() -> None:
    window = window_of([Turn(1, "yes"), Turn(2, "no")])
    layout = PROMPT.arrange(window, [0, 1])
    one, two = slice(7, 12), slice(12, 17)
    assert not layout.visible[one, two].any() and not layout.visible[two, one].any()
    assert not layout.visible[one, 4:7].any(), "the first question knows the second utterance"
    assert layout.positions[one].tolist() == [4, 5, 6, 7, 8]
    assert layout.positions[two].tolist() == [7, 8, 9, 10, 11]


@settings(deadline=None)
@given(turns, st.data())
def test_what_is_known_is_not_read_again(said: list[Turn], data: st.DataObject) -> None:
    window = window_of(said, ENDLESS)
    known = data.draw(st.integers(0, len(window) - 1))
    whole, rest = last(window, 0, ENDLESS), last(window, known, ENDLESS)
    new = len(rest.input_ids)
    assert rest.input_ids.tolist() == whole.input_ids[-new:].tolist()
    assert rest.positions.tolist() == whole.positions[-new:].tolist()
    assert (rest.visible == whole.visible[-new:]).all()
    assert rest.visible.shape == (new, len(whole.input_ids))


@settings(deadline=None)
@given(turns)
def test_all_at_once_is_each_on_its_own(said: list[Turn]) -> None:
    """A question in training has the same attention as on the robot."""
    window = window_of(said, ENDLESS)
    together = ENDLESS.arrange(window, range(len(window)))
    for number in range(len(window)):
        alone = last(window[: number + 1], 0, ENDLESS)
        seen = together.visible[together.mask_index[number]]
        assert together.input_ids[seen].tolist() == alone.input_ids.tolist()
        assert together.positions[seen].tolist() == alone.positions.tolist()


@settings(deadline=None)
@given(turns)
def test_no_pass_is_longer_than_allowed(said: list[Turn]) -> None:
    window = window_of(said)
    assert 1 + QUESTION < len(last(window).input_ids) <= 24
    assert window == tuple(map(ENDLESS.block, said))[-len(window) :] or any(
        len(ENDLESS.block(turn)) > 9 for turn in said
    )


@settings(deadline=None)
@given(turns)
def test_a_full_window_is_halved(said: list[Turn]) -> None:
    """The window is then not full again after the next utterance."""
    window: list[Block] = []
    for turn in said:
        block = PROMPT.block(turn)
        if gone := PROMPT.surplus(window, block):
            assert sum(map(len, window)) + len(block) > 18
            assert sum(map(len, window[gone:])) + len(block) <= 9 or gone == len(window)
        window = [*window[gone:], block]


@settings(deadline=None)
@given(turns)
def test_what_people_say_never_becomes_a_special_token(said: list[Turn]) -> None:
    made = tokenizer()
    ids = last(window_of(said, ENDLESS), 0, ENDLESS).input_ids.tolist()
    count = {name: ids.count(made.token_to_id(name)) for name in ("[MASK]", "[SEP]", "[CLS]")}
    assert count == {"[MASK]": 1, "[SEP]": len(said) + 1, "[CLS]": 1}
    speakers = sum(ids.count(made.token_to_id(token)) for token in SPEAKER_TOKENS)
    assert speakers == len(said) + 1


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
        assert 1 + QUESTION < len(last(window_of(said)).input_ids) <= 24


NO_WORDS = ["", "  ", "...", "... ?! --", "。。。", "？！", "…", "\u0301", "\ud800"]


@pytest.mark.parametrize("text", NO_WORDS)
def test_punctuation_is_nothing_to_read(text: str) -> None:
    assert not PROMPT.can_read(text)


@pytest.mark.parametrize("text", ["嗎", "مرحبا", "😢", "?! 😡", "hello"])
def test_what_the_vocabulary_does_not_know_is_nothing_to_read(text: str) -> None:
    assert not PROMPT.can_read(text)


@pytest.mark.parametrize("text", ["yes", "... no!", "Never 嗎", "4", ":(", "oh :'-)", "<"])
def test_words_numbers_signs_and_emoticons_are_something_to_read(text: str) -> None:
    assert PROMPT.can_read(text)


@pytest.mark.parametrize("text", ["嗎", "مرحبا", "नमस्ते", "😢", "Grüße", "4"])
def test_a_vocabulary_of_bytes_can_read_every_script_but_no_punctuation(text: str) -> None:
    roles = TokenRoles("<s>", "</s>", "<mask>")
    prompt = WholePrompt(Vocabulary(tiny_byte_level(), roles), 32, "plain")
    assert prompt.can_read(text) and prompt.can_read(f"... {text}")
    assert not prompt.can_read("... ?! --")


def test_of_a_text_that_is_too_long_the_end_is_kept() -> None:
    block = PROMPT.block(Turn(1, "no " * 50 + "never mind"))
    assert len(block) == 9 and read(block).endswith("no never mind [SEP]")


def test_of_a_text_beyond_the_bound_in_characters_the_end_is_kept() -> None:
    block = PROMPT.block(Turn(1, "no " * MAX_CHARACTERS + "never mind"))
    assert read(block).endswith("no never mind [SEP]")


@pytest.mark.parametrize("speaker", [-1, 10])
def test_a_speaker_without_a_token_is_refused(speaker: int) -> None:
    with pytest.raises(ValueError, match=str(speaker)):
        PROMPT.block(Turn(speaker, "yes"))


def test_a_limit_without_room_for_text_is_refused() -> None:
    with pytest.raises(ValueError, match=r"least.*12"):
        TextPrompt(tokenizer(), max_tokens=11)
    small = TextPrompt(tokenizer(), max_tokens=12)
    assert read(small.block(Turn(1, "never yes"))) == "<s1> yes [SEP]"


def test_a_tokenizer_without_speakers_is_refused() -> None:
    vocabulary = {"[CLS]": 0, "[SEP]": 1, "[MASK]": 2, "[UNK]": 3}
    with pytest.raises(ValueError, match="<s0>"):
        TextPrompt(Tokenizer(WordPiece(vocabulary, unk_token="[UNK]")))


def test_a_saved_tokenizer_makes_the_same_prompt(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    tokenizer().save(str(path))
    said = [Turn(1, "yes <s2> [MASK]"), Turn(2, "never mind")]
    again = TextPrompt.from_file(path, 24)
    assert last(window_of(said, again), 0, again).input_ids.tolist() == (
        last(window_of(said)).input_ids.tolist()
    )
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
