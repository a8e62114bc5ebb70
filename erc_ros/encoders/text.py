"""From a conversation to the text encoder's input: the prompt of MAGTKD (section 3.2, eq. 1-3).

    [CLS] <s1> text [SEP] <s2> text [SEP] ... [SEP] now <s2> feels [MASK] [SEP]

History first, the current utterance last, then the question; the encoder's output at [MASK] is
the utterance's embedding. Speakers are `<s1>`..`<s9>` in the order in which they first spoke in
this conversation, `<s0>` when unknown. What does not fit is cut from the left, whole tokens at a
time: the oldest history goes first, then the current utterance's beginning, never the question.

Training and the running robot use this same code.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import AddedToken, Tokenizer

UNKNOWN_SPEAKER = 0
LAST_SPEAKER = 9  # the tenth and every later speaker of a conversation share it
SPEAKER_TOKENS = tuple(f"<s{index}>" for index in range(LAST_SPEAKER + 1))
MAX_TOKENS = 96
MAX_CHARACTERS = 4096  # of one utterance; what stands before cannot reach the model anyway


@dataclass(frozen=True, slots=True)
class Turn:
    """One utterance as the text encoder sees it. speaker: 0 unknown, else 1..9."""

    speaker: int
    text: str


@dataclass(frozen=True, slots=True, eq=False)
class TextEncoderInput:
    """What text.onnx takes for one utterance: three int64 arrays, batch size 1."""

    input_ids: NDArray[np.int64]  # (1, L)
    attention_mask: NDArray[np.int64]  # (1, L), all ones
    mask_index: NDArray[np.int64]  # (1,) where [MASK] is


def speaker_index(known: tuple[str, ...], speaker: str) -> tuple[tuple[str, ...], int]:
    """The index of a speaker within the conversation, and who is known from now on.

    `known` holds at most 9 speaker ids in the order in which they first spoke. "" is unknown: 0.
    """
    if not speaker:
        return known, UNKNOWN_SPEAKER
    if speaker in known:
        return known, known.index(speaker) + 1
    if len(known) < LAST_SPEAKER:
        known += (speaker,)
        return known, len(known)
    return known, LAST_SPEAKER


def speaker_indices(speakers: Iterable[str]) -> list[int]:
    """`speaker_index` over a whole conversation."""
    known: tuple[str, ...] = ()
    indices = []
    for speaker in speakers:
        known, index = speaker_index(known, speaker)
        indices.append(index)
    return indices


def add_speaker_tokens(tokenizer: Tokenizer) -> Tokenizer:
    """Add `<s0>`..`<s9>` behind the vocabulary and drop built-in truncation and padding."""
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in SPEAKER_TOKENS]
    )
    return tokenizer


class TextPrompt:
    """Builds prompts; made once, used for every utterance.

    Args:
        tokenizer: with the speaker tokens in it (`add_speaker_tokens`).
        max_tokens: longest prompt, special tokens counted.

    Raises:
        ValueError: the tokenizer lacks a token, or max_tokens leaves no room for text.
    """

    def __init__(self, tokenizer: Tokenizer, max_tokens: int = MAX_TOKENS) -> None:
        self.max_tokens = max_tokens
        self._tokenizer = tokenizer
        # What people say is text, even if somebody spells out "<s1>" or "[MASK]".
        tokenizer.encode_special_tokens = True
        self._cls = self._special("[CLS]")
        self._sep = self._special("[SEP]")
        self._mask = self._special("[MASK]")
        self._speakers = [self._special(token) for token in SPEAKER_TOKENS]
        self._now = self.encode("now")
        self._feels = self.encode("feels")
        room = max_tokens - 1 - len(self._question(0))
        if room < 2:
            raise ValueError(
                f"max_tokens is {max_tokens}; the prompt itself takes {max_tokens - room}, so it"
                f" must be at least {max_tokens - room + 2}"
            )
        self._room = room

    @classmethod
    def from_file(cls, path: Path, max_tokens: int = MAX_TOKENS) -> TextPrompt:
        """Read a bundle's tokenizer.json.

        Raises:
            FileNotFoundError: no such file.
            ValueError: not a tokenizer, or not one for this prompt.
        """
        content = path.read_text(encoding="utf-8")
        try:
            tokenizer = Tokenizer.from_str(content)
        except Exception as error:  # the library raises bare Exception for a malformed file
            raise ValueError(f"{path} is not a tokenizer file: {error}") from error
        return cls(tokenizer, max_tokens)

    def encode(self, text: str) -> list[int]:
        """Tokens of plain text, without any special token. Any str is fine, "" gives []."""
        if len(text) > MAX_CHARACTERS:
            text = text[-MAX_CHARACTERS:]
        # A lone surrogate is no Unicode text, and the library would refuse it.
        text = text.encode("utf-8", "replace").decode("utf-8")
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def tokens(self, turns: Sequence[Turn]) -> list[int]:
        """The prompt for the last of `turns`; those before are its history.

        At most max_tokens ids; the [MASK] is the last but one. History without text is left out.

        Raises:
            ValueError: no turns, or a speaker outside 0..9.
        """
        if not turns:
            raise ValueError("a prompt needs at least the current utterance")
        parts: list[list[int]] = []
        length = 0
        for turn in reversed(turns):
            if not 0 <= turn.speaker <= LAST_SPEAKER:
                raise ValueError(f"speaker is {turn.speaker}, must be 0..{LAST_SPEAKER}")
            if parts and not turn.text:  # parts: the current one is in already
                continue
            parts.append([self._speakers[turn.speaker], *self.encode(turn.text), self._sep])
            length += len(parts[-1])
            if length >= self._room:
                break
        body = [token for part in reversed(parts) for token in part]
        return [self._cls, *body[-self._room :], *self._question(turns[-1].speaker)]

    def __call__(self, turns: Sequence[Turn]) -> TextEncoderInput:
        """The encoder's input for the last of `turns`; see `tokens`."""
        ids = np.array([self.tokens(turns)], np.int64)
        mask_index = np.array([ids.shape[1] - 2], np.int64)
        return TextEncoderInput(ids, np.ones_like(ids), mask_index)

    def _question(self, speaker: int) -> list[int]:
        return [*self._now, self._speakers[speaker], *self._feels, self._mask, self._sep]

    def _special(self, token: str) -> int:
        index = self._tokenizer.token_to_id(token)
        if index is None:
            raise ValueError(
                f"the tokenizer has no token {token!r}; bundles made by `erc train` have it"
            )
        return int(index)
