"""Prompts of encoders without cache: layout, mask and truncation."""

from __future__ import annotations

import pytest
from bundles import tiny_byte_level

from erc_ros.encoders.text import SPEAKER_TOKENS, TokenRoles, Turn, Vocabulary, WholePrompt

ROLES = TokenRoles("<s>", "</s>", "<mask>", tuple(SPEAKER_TOKENS))
TURNS = (Turn(1, "hello there"), Turn(2, "no"), Turn(1, "yes"))


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary(tiny_byte_level(), ROLES)


def assembled(
    vocabulary: Vocabulary, prompt: str, max_tokens: int = 200, history: int = -1
) -> tuple[list[str], int]:
    """Return the tokens after all turns and the position of the mask."""
    whole = WholePrompt(vocabulary, max_tokens, prompt, history)
    window: tuple[tuple[int, ...], ...] = ()
    for turn in TURNS:
        window = whole.slide(window, turn)
    ids, mask = whole.assemble(window)
    assert len(ids) <= max_tokens
    tokens = tiny_byte_level()
    return [str(tokens.id_to_token(each)) for each in ids], mask


def test_question_names_the_speaker_and_is_read_at_the_mask(vocabulary: Vocabulary) -> None:
    tokens, mask = assembled(vocabulary, "question")
    assert tokens[:2] == ["<s>", SPEAKER_TOKENS[1]]
    assert tokens[-2:] == ["<mask>", "</s>"] and tokens[mask] == "<mask>"
    assert tokens.count(SPEAKER_TOKENS[1]) == 3 and tokens.count(SPEAKER_TOKENS[2]) == 1


def test_magtkd_repeats_the_utterance_before_the_question(vocabulary: Vocabulary) -> None:
    """Eq. 2 of the paper: For s_i : t_k Now s_i feels <mask>."""
    tokens, mask = assembled(vocabulary, "magtkd")
    question, _ = assembled(vocabulary, "question")
    end = question.index("</s>")
    before, after = question[: end + 1], question[end + 1 :]
    name, words = SPEAKER_TOKENS[1], vocabulary.encode("yes")
    repeated = [tiny_byte_level().id_to_token(each) for each in (*vocabulary.encode("For"),)]
    spoken = [tiny_byte_level().id_to_token(each) for each in words]
    assert tokens == [*before, *repeated, name, *spoken, *after]
    assert tokens[mask] == "<mask>" and tokens.count("<mask>") == 1


@pytest.mark.parametrize("max_tokens", range(22, 80, 7))
def test_an_utterance_that_does_not_fit_twice_leaves_the_question_whole(
    vocabulary: Vocabulary, max_tokens: int
) -> None:
    whole = WholePrompt(vocabulary, max_tokens, "magtkd")
    ids, mask = whole.assemble(whole.slide((), Turn(3, "long words " * 40)))
    asked = WholePrompt(vocabulary, max_tokens, "question")
    question = asked.assemble(asked.slide((), Turn(3, "")))[0][3:]
    assert len(ids) <= max_tokens and ids[-len(question) :] == question
    assert mask == len(ids) - 2 and ids.index(vocabulary.separator) > 1


def test_ddvlm_ends_with_the_mask_and_keeps_it_when_history_is_cut(vocabulary: Vocabulary) -> None:
    tokens, mask = assembled(vocabulary, "ddvlm")
    assert mask == len(tokens) - 1 and tokens[mask] == "<mask>" and tokens[0] == "<s>"
    short, mask = assembled(vocabulary, "ddvlm", max_tokens=20)
    assert short[mask] == "<mask>" and short == tokens[-20:]


def test_plain_has_no_mask(vocabulary: Vocabulary) -> None:
    tokens, mask = assembled(vocabulary, "plain")
    assert mask == -1 and tokens[0] == "<s>" and tokens[-1] == "</s>" and "<mask>" not in tokens
    assert not WholePrompt(vocabulary, 50, "plain").is_read_at_mask
    assert WholePrompt(vocabulary, 50, "ddvlm").is_read_at_mask


@pytest.mark.parametrize("prompt", ["plain", "magtkd", "question", "ddvlm"])
def test_history_limits_the_turns_before(vocabulary: Vocabulary, prompt: str) -> None:
    alone, _ = assembled(vocabulary, prompt, history=0)
    one, _ = assembled(vocabulary, prompt, history=1)
    assert SPEAKER_TOKENS[2] not in alone and one.count(SPEAKER_TOKENS[2]) == 1


def test_words_said_by_another_speaker_change_the_speaker_only(vocabulary: Vocabulary) -> None:
    whole = WholePrompt(vocabulary, 50, "plain")
    assert whole.said_by(2, whole.block(Turn(1, "yes"))) == whole.block(Turn(2, "yes"))
    assert whole.can_read("yes") and not whole.can_read("   ")


def test_prompts_that_cannot_work_are_refused(vocabulary: Vocabulary) -> None:
    with pytest.raises(ValueError, match="known"):
        WholePrompt(vocabulary, 50, "poem")
    with pytest.raises(ValueError, match=r"max_tokens.*5"):
        WholePrompt(vocabulary, 5, "magtkd")
    no_mask = Vocabulary(tiny_byte_level(), TokenRoles("<s>", "</s>", None, tuple(SPEAKER_TOKENS)))
    with pytest.raises(ValueError, match="mask"):
        WholePrompt(no_mask, 50, "magtkd")
    with pytest.raises(ValueError, match="speaker"):
        WholePrompt(vocabulary, 50, "plain").block(Turn(10, "yes"))
