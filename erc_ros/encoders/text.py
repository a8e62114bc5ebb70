"""Input of the text encoder: the prompt of MAGTKD (section 3.2, eq. 1-3).

    [CLS] <s1> text [SEP] <s2> text [SEP] ... now <s2> feels [MASK] [SEP]

The prompt contains the history, the current utterance and a question. The output of the encoder at
[MASK] is the embedding of the utterance. Speakers are `<s1>`..`<s9>` in the order of their first
utterance in the conversation, `<s0>` if unknown. Special tokens are named by their role; the bundle
defines whether the start is `[CLS]` or `<s>`.

`WholePrompt` encodes the whole prompt again for each utterance, as the papers do. `TextPrompt` uses
attention that is causal between utterances and bidirectional within one: a token attends to its own
utterance and all earlier ones, a question attends to all utterances so far, and no token attends to
a question. The keys and values of an utterance therefore stay valid. The robot encodes each
utterance once and reuses those of earlier ones; training encodes all utterances of a dialogue in
one pass (`arrange` creates both inputs).

Training and inference use this code, for the small text encoder and for the prompts of the papers.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import AddedToken, Encoding, Tokenizer

from erc_ros.values.errors import ErcValueError

UNKNOWN_SPEAKER = 0
LAST_SPEAKER = 9  # index of the ninth and all later speakers of a conversation
SPEAKER_TOKENS = tuple(f"<s{index}>" for index in range(LAST_SPEAKER + 1))
MAX_TOKENS = 256
MAX_CHARACTERS = 4096  # last characters of an utterance that are tokenized

PROMPTS = ("magtkd", "question", "ddvlm", "plain")
"""Names of the prompts of `WholePrompt`."""
PROMPT_VERSION = 2
"""Of what the names mean; in version 1 `magtkd` did not repeat the utterance."""

_EMOTICON = re.compile(r"[:;=]['’]?-?[()\[\]/\\|]")
"""Emoticons of punctuation characters."""

Block = tuple[int, ...]
"""The tokens of one utterance: <si> text [SEP]; in a whole prompt <si> text."""


@dataclass(frozen=True, slots=True)
class TokenRoles:
    """Special tokens of a vocabulary, by role.

    speakers: tokens of an unknown speaker and of speakers 1 to 9; empty: no speaker tokens.
    """

    start: str
    separator: str
    mask: str = ""
    speakers: tuple[str, ...] = SPEAKER_TOKENS

    def __post_init__(self) -> None:
        if len(self.speakers) not in (0, LAST_SPEAKER + 1):
            raise ErcValueError(
                f"speakers has {len(self.speakers)} tokens; must be empty, or {LAST_SPEAKER + 1} "
                f"tokens: of an unknown speaker and of speakers 1 to {LAST_SPEAKER}"
            )


BERT_ROLES = TokenRoles("[CLS]", "[SEP]", "[MASK]")


@dataclass(frozen=True, slots=True)
class Turn:
    """Text and speaker of one utterance. speaker: 0 = unknown, else 1..9."""

    speaker: int
    text: str


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """Input of one pass of the text encoder, without a batch axis.

    The keys and values of P tokens are cached from earlier passes; L tokens are new.
    """

    input_ids: NDArray[np.int64]  # (L,)
    positions: NDArray[np.int64]  # (L,) a question begins at the position of the next utterance
    visible: NDArray[np.bool_]  # (L, P + L) attention mask: tokens that each new token attends to
    mask_index: NDArray[np.int64]  # (A,) index in L of each embedding: [MASK] or [SEP]
    kept: int  # number of the L tokens that belong to utterances; the others are questions


def prompt_of_version(prompt: str, version: int) -> str:
    """Today's name of a prompt that was recorded with this PROMPT_VERSION."""
    return "question" if prompt == "magtkd" and version < 2 else prompt


def speaker_index(known: tuple[str, ...], speaker: str) -> tuple[tuple[str, ...], int]:
    """Return the updated list of speakers and the index of a speaker within the conversation.

    known: at most 9 speaker ids in the order of their first utterance. speaker: id; "" = unknown,
    whose index is 0.
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
    """Return the speaker index of each utterance of a conversation."""
    known: tuple[str, ...] = ()
    indices = []
    for speaker in speakers:
        known, index = speaker_index(known, speaker)
        indices.append(index)
    return indices


def add_speaker_tokens(tokenizer: Tokenizer) -> Tokenizer:
    """Append `<s0>`..`<s9>` to the vocabulary and disable truncation and padding."""
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in SPEAKER_TOKENS]
    )
    return tokenizer


class Vocabulary:
    """A tokenizer and its special tokens for prompts.

    Args:
        tokenizer: tokenizer that contains the special tokens (`add_speaker_tokens`).

    Raises:
        ValueError: the tokenizer lacks a special token.
    """

    def __init__(self, tokenizer: Tokenizer, roles: TokenRoles = BERT_ROLES) -> None:
        self._tokenizer = tokenizer
        unknown = getattr(tokenizer.model, "unk_token", None)  # byte-level tokenizers have none
        self._unknown = None if unknown is None else tokenizer.token_to_id(unknown)
        # "<s1>" or "[MASK]" in an utterance is encoded as text.
        tokenizer.encode_special_tokens = True
        self.start = self._special(roles.start)
        self.separator = self._special(roles.separator)
        self.mask = self._special(roles.mask) if roles.mask else None
        self.speakers = [self._special(token) for token in roles.speakers]

    @classmethod
    def from_file(cls, path: Path, roles: TokenRoles = BERT_ROLES) -> Vocabulary:
        """Read a bundle's tokenizer.json.

        Raises:
            FileNotFoundError: the file does not exist.
            ValueError: the file is not a tokenizer, or lacks a special token.
        """
        content = path.read_text(encoding="utf-8")
        try:
            tokenizer = Tokenizer.from_str(content)
        except Exception as error:  # the library raises bare Exception for a malformed file
            raise ErcValueError(f"{path} is not a tokenizer file: {error}") from error
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return cls(tokenizer, roles)

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a text, without special tokens; [] for ""."""
        ids: list[int] = self._read(_clean(text)).ids
        return ids

    def can_read(self, text: str) -> bool:
        """Return whether a text has a word of the vocabulary, a number, a symbol or an emoticon.

        Texts of punctuation or of unknown tokens contain no information: an English vocabulary
        encodes all emojis and other scripts as the same token.
        """
        text = _clean(text)
        if _EMOTICON.search(text):
            return True
        encoding = self._read(text)
        return any(
            token != self._unknown and _has_words(f" {text}"[begin:end])
            for token, (begin, end) in zip(encoding.ids, encoding.offsets, strict=True)
        )

    def unknown_letters(self, text: str) -> float:
        """Return the share, 0 to 1, of the letters of a text that are in unknown tokens."""
        text = f" {_clean(text)}"
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        letters = sum(map(str.isalpha, text))
        unknown = sum(
            sum(map(str.isalpha, text[begin:end]))
            for token, (begin, end) in zip(encoding.ids, encoding.offsets, strict=True)
            if token == self._unknown
        )
        return unknown / letters if letters else 0.0

    def speaker(self, number: int) -> list[int]:
        """Return the token of a speaker, 0..9; [] without speaker tokens.

        Raises:
            ValueError: the speaker is outside 0..9.
        """
        if not 0 <= number <= LAST_SPEAKER:
            raise ErcValueError(f"speaker is {number}, must be 0..{LAST_SPEAKER}")
        return [self.speakers[number]] if self.speakers else []

    def _read(self, text: str) -> Encoding:
        # With a space before it, byte-level BPE encodes the first word like any other.
        return self._tokenizer.encode(f" {text}" if text else "", add_special_tokens=False)

    def _special(self, token: str) -> int:
        index = self._tokenizer.token_to_id(token)
        if index is None:
            raise ErcValueError(
                f"the tokenizer has no token {token!r}; bundles made by `erc export` have it"
            )
        return int(index)


class TextPrompt:
    """Converts turns to tokens, and windows of utterances to the input of the encoder.

    Args:
        tokenizer: tokenizer that contains the speaker tokens (`add_speaker_tokens`).
        max_tokens: maximum number of tokens of the utterances and the question.
        roles: which tokens to use.
        has_question: whether the prompt ends with a question; otherwise the embedding is read at
            the [SEP] of the utterance.

    Raises:
        ValueError: the tokenizer lacks a special token, or max_tokens is too small.
    """

    def __init__(
        self,
        tokenizer: Tokenizer | Vocabulary,
        max_tokens: int = MAX_TOKENS,
        roles: TokenRoles = BERT_ROLES,
        has_question: bool = True,
    ) -> None:
        self.max_tokens = max_tokens
        self.has_question = has_question
        if not isinstance(tokenizer, Vocabulary):
            tokenizer = Vocabulary(tokenizer, roles)
        self._vocabulary = tokenizer
        if self._vocabulary.mask is None or not self._vocabulary.speakers:
            raise ErcValueError("this prompt needs a mask token and tokens for the speakers")
        self._mask = self._vocabulary.mask
        self._now = self.encode("now")
        self._feels = self.encode("feels")
        someone = self._vocabulary.speakers[UNKNOWN_SPEAKER]
        taken = 1 + (len(self.question(someone)) if has_question else 0)
        self._room = max_tokens - taken
        if self._room < 2 * 3:  # one half must hold <si>, one token of text, and [SEP]
            raise ErcValueError(
                f"max_tokens is {max_tokens}; the prompt itself takes {taken}, so it must be at"
                f" least {taken + 6}"
            )

    @classmethod
    def from_file(
        cls,
        path: Path,
        max_tokens: int = MAX_TOKENS,
        roles: TokenRoles = BERT_ROLES,
        has_question: bool = True,
    ) -> TextPrompt:
        """Read a bundle's tokenizer.json.

        Raises:
            FileNotFoundError: the file does not exist.
            ValueError: the file is not a tokenizer, or lacks a special token.
        """
        return cls(Vocabulary.from_file(path, roles), max_tokens, has_question=has_question)

    def encode(self, text: str) -> list[int]:
        """See `Vocabulary.encode`."""
        return self._vocabulary.encode(text)

    def can_read(self, text: str) -> bool:
        """See `Vocabulary.can_read`."""
        return self._vocabulary.can_read(text)

    def unknown_letters(self, text: str) -> float:
        """See `Vocabulary.unknown_letters`."""
        return self._vocabulary.unknown_letters(text)

    def block(self, turn: Turn) -> Block:
        """Return `<si> text [SEP]`, at most half of `max_tokens`; the end of a longer text.

        Raises:
            ValueError: the speaker is outside 0..9.
        """
        speaker = self._vocabulary.speaker(turn.speaker)
        longest = self._room // 2 - 2
        return (*speaker, *self.encode(turn.text)[-longest:], self._vocabulary.separator)

    def said_by(self, speaker: int, block: Block) -> Block:
        """Return the block with another speaker, 0..9."""
        return (*self._vocabulary.speaker(speaker), *block[1:])

    def surplus(self, window: Sequence[Block], block: Block) -> int:
        """Return how many of the oldest utterances to remove before another one is added.

        A full window is reduced to half of its size. Removing single utterances would shift all
        positions and require encoding the window again for each utterance.
        """
        lengths = [len(each) for each in window]
        if sum(lengths) + len(block) <= self._room:
            return 0
        number = 0
        while number < len(lengths) and sum(lengths[number:]) + len(block) > self._room // 2:
            number += 1
        return number

    def slide(self, window: Sequence[Block], turn: Turn) -> tuple[Block, ...]:
        """Append an utterance to a window and remove the `surplus` at its beginning.

        Raises:
            ValueError: the speaker is outside 0..9.
        """
        block = self.block(turn)
        return (*window[self.surplus(window, block) :], block)

    def arrange(self, window: Sequence[Block], asked: Iterable[int], known: int = 0) -> Layout:
        """Return the encoder input for some utterances of a window.

        Args:
            window: utterances; `surplus` limits their number.
            asked: indices, from `known` on, of the utterances to embed.
            known: number of utterances at the beginning that are cached.
        """
        past = 1 + sum(map(len, window[:known])) if known else 0
        ids: list[int] = [] if known else [self._vocabulary.start]
        owners = [0] * len(ids)  # index of the utterance of each token
        ends = {}
        for number in range(known, len(window)):
            ids += window[number]
            owners += [number] * len(window[number])
            ends[number] = past + len(ids)
        kept = len(ids)
        positions = list(range(past, past + kept))
        masks = []
        for number in asked:
            if not self.has_question:
                masks.append(ends[number] - 1 - past)
                continue
            question = self.question(window[number][0])
            masks.append(len(ids) + len(question) - 2)
            ids += question
            owners += [number] * len(question)
            positions += range(ends[number], ends[number] + len(question))
        return Layout(
            np.array(ids, np.int64),
            np.array(positions, np.int64),
            _visible(np.array(owners, np.int64), kept, past),
            np.array(masks, np.int64),
            kept,
        )

    def question(self, speaker: int) -> Block:
        """Return `now <si> feels [MASK] [SEP]` for a speaker."""
        return (*self._now, speaker, *self._feels, self._mask, self._vocabulary.separator)


class WholePrompt:
    """Builds the whole prompt of an utterance, for an encoder without a cache.

    magtkd: `<s> <s1> t1 ... <si> tk </s> For <si> tk Now <si> feels <mask> </s>`, read at the mask
    (eq. 1-3).
    question: likewise without the repeated utterance, `... </s> Now <si> feels <mask> </s>`.
    ddvlm: the last tokens of `<s> <s1> t1 ... <si> tk Now <si> feels`, then the mask (section 3.3).
    plain: `<s> <s1> t1 ... <si> tk </s>`, read at the first token or as the mean, depending on the
    network.

    A prompt that is too long is cut on the left: the oldest words are removed, never the question.
    If an utterance does not fit twice, only its last words are repeated.

    Args:
        prompt: one of PROMPTS.
        history: maximum number of earlier utterances; -1: all that fit.

    Raises:
        ValueError: the prompt needs a mask token and there is none, or max_tokens is too small.
    """

    def __init__(
        self, vocabulary: Vocabulary, max_tokens: int, prompt: str, history: int = -1
    ) -> None:
        if prompt not in PROMPTS:
            raise ErcValueError(f"prompt is {prompt!r}, known are {', '.join(PROMPTS)}")
        if prompt != "plain" and vocabulary.mask is None:
            raise ErcValueError(f"the prompt {prompt!r} needs a mask token")
        self.max_tokens = max_tokens
        self._vocabulary, self._prompt, self._history = vocabulary, prompt, history
        self._mask = [] if vocabulary.mask is None else [vocabulary.mask]
        self._now, self._feels = vocabulary.encode("Now"), vocabulary.encode("feels")
        self._someone, self._for = vocabulary.encode("someone"), vocabulary.encode("For")
        taken = 1 + len(self._question(self._vocabulary.speaker(UNKNOWN_SPEAKER), ()))
        if max_tokens < taken + 2:
            raise ErcValueError(
                f"max_tokens is {max_tokens}; the prompt itself takes {taken}, so it must be at"
                f" least {taken + 2}"
            )

    @property
    def is_read_at_mask(self) -> bool:
        """Whether the network needs the position of the mask."""
        return self._prompt != "plain"

    def can_read(self, text: str) -> bool:
        """See `Vocabulary.can_read`."""
        return self._vocabulary.can_read(text)

    def unknown_letters(self, text: str) -> float:
        """See `Vocabulary.unknown_letters`."""
        return self._vocabulary.unknown_letters(text)

    def block(self, turn: Turn) -> Block:
        """Return `<si> text`.

        Raises:
            ValueError: the speaker is outside 0..9.
        """
        return (*self._vocabulary.speaker(turn.speaker), *self._vocabulary.encode(turn.text))

    def said_by(self, speaker: int, block: Block) -> Block:
        """Return the block with another speaker, 0..9."""
        own = self._vocabulary.speaker(speaker)
        return (*own, *block[len(own) :])

    def slide(self, window: Sequence[Block], turn: Turn) -> tuple[Block, ...]:
        """Append an utterance to a window and remove utterances that do not fit into the prompt."""
        blocks = (*window, self.block(turn))
        if self._history >= 0:
            blocks = blocks[-(self._history + 1) :]
        first, length = len(blocks), 0
        while first and length < self.max_tokens:
            first -= 1
            length += len(blocks[first])
        return blocks[first:]

    def assemble(self, window: Sequence[Block]) -> tuple[list[int], int]:
        """Return the prompt for the last utterance and the index of its mask; -1 without mask."""
        tokens = [token for block in window for token in block]
        named = 1 if self._vocabulary.speakers else 0
        question = self._question(window[-1][:named], window[-1][named:])
        start = [self._vocabulary.start]
        if self._prompt == "ddvlm":
            ids = [*[*start, *tokens, *question][-(self.max_tokens - 1) :], *self._mask]
            return ids, len(ids) - 1
        ids = [*start, *tokens[-(self.max_tokens - 1 - len(question)) :], *question]
        return ids, len(ids) - 2 if self.is_read_at_mask else -1

    def _question(self, speaker: Sequence[int], words: Block) -> list[int]:
        """Return the part of the prompt after the conversation."""
        end = [self._vocabulary.separator]
        if self._prompt == "plain":
            return end
        who = speaker or tuple(self._someone)
        question = [*self._now, *who, *self._feels]
        if self._prompt == "ddvlm":
            return question
        question = [*end, *question, *self._mask, *end]
        if self._prompt == "magtkd":
            repeated = [*self._for, *who]
            room = self.max_tokens - 1 - len(question) - len(repeated)
            kept = words[-(room // 2) :] if room > 1 else ()
            question = [*end, *repeated, *kept, *question[1:]]
        return question


def _clean(text: str) -> str:
    """Return the end of a text as valid Unicode, without lone surrogates."""
    return text[-MAX_CHARACTERS:].encode("utf-8", "replace").decode("utf-8").strip()


def _has_words(text: str) -> bool:
    """Return whether a text has a letter, number or symbol (Unicode categories L, N and S)."""
    return any(unicodedata.category(character)[0] in "LNS" for character in text)


def _visible(owners: NDArray[np.int64], kept: int, past: int) -> NDArray[np.bool_]:
    """Return the attention mask (L, past + L) of utterances and questions; see the module."""
    before = owners[None, :] <= owners[:, None]  # (L, L)
    asks = np.arange(len(owners)) >= kept
    same_question = (owners[None, :] == owners[:, None]) & asks[:, None]
    new = np.where(asks[None, :], same_question, before)
    return np.concatenate([np.ones((len(owners), past), bool), new], axis=1)
