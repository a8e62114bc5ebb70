"""From a conversation to the text encoder's input: the prompt of MAGTKD (section 3.2, eq. 1-3).

    [CLS] <s1> text [SEP] <s2> text [SEP] ... now <s2> feels [MASK] [SEP]

History first, the current utterance last, then the question; the encoder's output at [MASK] is
the utterance's embedding. Speakers are `<s1>`..`<s9>` in the order in which they first spoke in
this conversation, `<s0>` when unknown. Tokens are named by their role: a bundle says whether the
start is `[CLS]` or `<s>`.

Two ways to read it. `WholePrompt` encodes all of it again for each utterance, as the papers do. In
`TextPrompt` attention is causal between utterances and free within one: a token sees its own
utterance and all before it, and a question sees everything so far but no token sees it. So what
was computed for an utterance stays true while the conversation goes on: the robot encodes each
utterance once, with the keys and values of those before it at hand, and training reads every
utterance of a dialogue in one pass (`arrange` lays out both).

Trainings and the robot use this code, for the small text encoder and for the papers' prompts.
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
LAST_SPEAKER = 9  # the tenth and every later speaker of a conversation share it
SPEAKER_TOKENS = tuple(f"<s{index}>" for index in range(LAST_SPEAKER + 1))
MAX_TOKENS = 256
MAX_CHARACTERS = 4096  # of one utterance; what stands before cannot reach the model anyway

PROMPTS = ("magtkd", "question", "ddvlm", "plain")
"""What a whole prompt asks, see `WholePrompt`."""

_EMOTICON = re.compile(r"[:;=]['’]?-?[()\[\]/\\|]")
"""A face of punctuation alone, as people type it."""

Block = tuple[int, ...]
"""The tokens of one utterance: <si> text [SEP]; in a whole prompt <si> text."""


@dataclass(frozen=True, slots=True)
class TokenRoles:
    """Which tokens of a vocabulary play which role.

    speakers: of an unknown speaker and of speakers 1 to 9; none: speakers are not named.
    """

    start: str
    separator: str
    mask: str = ""
    speakers: tuple[str, ...] = SPEAKER_TOKENS

    def __post_init__(self) -> None:
        if len(self.speakers) not in (0, LAST_SPEAKER + 1):
            raise ErcValueError(
                f"speakers are {len(self.speakers)} tokens, must be {LAST_SPEAKER + 1}: of unknown "
                f"speakers and of 1 to {LAST_SPEAKER}; or none"
            )


BERT_ROLES = TokenRoles("[CLS]", "[SEP]", "[MASK]")


@dataclass(frozen=True, slots=True)
class Turn:
    """One utterance as the text encoder sees it. speaker: 0 unknown, else 1..9."""

    speaker: int
    text: str


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """What the text encoder reads in one pass, as int64 and bool arrays without a batch axis.

    P tokens are known from earlier passes and only seen; L tokens are new.
    """

    input_ids: NDArray[np.int64]  # (L,)
    positions: NDArray[np.int64]  # (L,) a question stands where the next utterance will begin
    visible: NDArray[np.bool_]  # (L, P + L) which tokens each new one sees
    mask_index: NDArray[np.int64]  # (A,) where among the L each answer is read: [MASK], or [SEP]
    kept: int  # the first so many of the L are utterances, what follows are questions


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


class Vocabulary:
    """A tokenizer and the tokens that play a role in prompts.

    Args:
        tokenizer: with the roles' tokens in it (`add_speaker_tokens`).

    Raises:
        ValueError: the tokenizer lacks a token.
    """

    def __init__(self, tokenizer: Tokenizer, roles: TokenRoles = BERT_ROLES) -> None:
        self._tokenizer = tokenizer
        unknown = getattr(tokenizer.model, "unk_token", None)  # some know every character
        self._unknown = None if unknown is None else tokenizer.token_to_id(unknown)
        # What people say is text, even if a person spells out "<s1>" or "[MASK]".
        tokenizer.encode_special_tokens = True
        self.start = self._special(roles.start)
        self.separator = self._special(roles.separator)
        self.mask = self._special(roles.mask) if roles.mask else None
        self.speakers = [self._special(token) for token in roles.speakers]

    @classmethod
    def from_file(cls, path: Path, roles: TokenRoles = BERT_ROLES) -> Vocabulary:
        """Read a bundle's tokenizer.json.

        Raises:
            FileNotFoundError: no such file.
            ValueError: not a tokenizer, or one that lacks a token.
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
        """Tokens of plain text, without any special token. Any str is fine, "" gives []."""
        ids: list[int] = self._read(_clean(text)).ids
        return ids

    def can_read(self, text: str) -> bool:
        """Whether there is a word in it that the vocabulary knows, a number, a sign or an emoticon.

        Punctuation says nothing of an emotion, nor does what is unknown: an emoji or a whole script
        for a vocabulary of English, all the same token to the encoder.
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
        """Share, 0 to 1, of a text's letters that are in tokens which the vocabulary lacks."""
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
        """The token of a speaker, 0..9; [] where speakers are not named.

        Raises:
            ValueError: a speaker outside 0..9.
        """
        if not 0 <= number <= LAST_SPEAKER:
            raise ErcValueError(f"speaker is {number}, must be 0..{LAST_SPEAKER}")
        return [self.speakers[number]] if self.speakers else []

    def _read(self, text: str) -> Encoding:
        # The space before makes the first word the same as any other, where that matters
        # (byte-level BPE).
        return self._tokenizer.encode(f" {text}" if text else "", add_special_tokens=False)

    def _special(self, token: str) -> int:
        index = self._tokenizer.token_to_id(token)
        if index is None:
            raise ErcValueError(
                f"the tokenizer has no token {token!r}; bundles made by `erc export` have it"
            )
        return int(index)


class TextPrompt:
    """Turns become tokens, tokens the encoder's input. Made once, used for every utterance.

    Args:
        tokenizer: with the speaker tokens in it (`add_speaker_tokens`).
        max_tokens: positions that utterances and question may take together.
        roles: which tokens to use.
        has_question: without one, an utterance is read at its own tokens; its [SEP] is the place
            that a layout names.

    Raises:
        ValueError: the tokenizer lacks a token, or max_tokens leaves no room for text.
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
        if self._room < 2 * 3:  # half of it holds <si>, a token of text, and [SEP]
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
            FileNotFoundError: no such file.
            ValueError: not a tokenizer, or not one for this prompt.
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
        """<si> text [SEP], at most half of what fits; of a longer text the end is kept.

        Raises:
            ValueError: a speaker outside 0..9.
        """
        speaker = self._vocabulary.speaker(turn.speaker)
        longest = self._room // 2 - 2
        return (*speaker, *self.encode(turn.text)[-longest:], self._vocabulary.separator)

    def said_by(self, speaker: int, block: Block) -> Block:
        """The same words as said by another speaker, 0..9."""
        return (*self._vocabulary.speaker(speaker), *block[1:])

    def surplus(self, window: Sequence[Block], block: Block) -> int:
        """How many of a window's oldest utterances have to go before another one is added.

        When it is full, so many go that the rest fills half of it: to drop them one by one
        would shift all positions, and all would have to be encoded again for each utterance.
        """
        lengths = [len(each) for each in window]
        if sum(lengths) + len(block) <= self._room:
            return 0
        number = 0
        while number < len(lengths) and sum(lengths[number:]) + len(block) > self._room // 2:
            number += 1
        return number

    def slide(self, window: Sequence[Block], turn: Turn) -> tuple[Block, ...]:
        """The window with one more utterance at its end, without the `surplus` at its beginning.

        Raises:
            ValueError: a speaker outside 0..9.
        """
        block = self.block(turn)
        return (*window[self.surplus(window, block) :], block)

    def arrange(self, window: Sequence[Block], asked: Iterable[int], known: int = 0) -> Layout:
        """The encoder's input for some utterances of a window.

        Args:
            window: utterances, as many as `surplus` allows.
            asked: which of them are asked about, numbers from `known` on.
            known: how many at the beginning are known from an earlier pass.
        """
        past = 1 + sum(map(len, window[:known])) if known else 0
        ids: list[int] = [] if known else [self._vocabulary.start]
        owners = [0] * len(ids)  # the number of the utterance that each token belongs to
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
        """`now <si> feels [MASK] [SEP]`, about the speaker with this token."""
        return (*self._now, speaker, *self._feels, self._mask, self._vocabulary.separator)


class WholePrompt:
    """The whole prompt of an utterance, history first, as an encoder without a cache reads it.

    magtkd: `<s> <s1> t1 ... <si> tk </s> For <si> tk Now <si> feels <mask> </s>`, read at the mask
    (eq. 1-3);
    question: the same without the repeated utterance, `... </s> Now <si> feels <mask> </s>`;
    ddvlm: the last tokens of `<s> <s1> t1 ... <si> tk Now <si> feels`, then the mask (section 3.3);
    plain: `<s> <s1> t1 ... <si> tk </s>`, read at the first token or as the mean, as the network
    does it. What does not fit is cut from the left: the oldest words go first, never the question.
    Of an utterance that does not fit twice, its last words are repeated.

    Args:
        prompt: one of PROMPTS.
        history: utterances before the current one that it may see; -1: all that fit.

    Raises:
        ValueError: no mask token for a prompt that needs one, or max_tokens leaves no room.
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
        """Whether the network has to be told where the mask is."""
        return self._prompt != "plain"

    def can_read(self, text: str) -> bool:
        """See `Vocabulary.can_read`."""
        return self._vocabulary.can_read(text)

    def unknown_letters(self, text: str) -> float:
        """See `Vocabulary.unknown_letters`."""
        return self._vocabulary.unknown_letters(text)

    def block(self, turn: Turn) -> Block:
        """<si> text.

        Raises:
            ValueError: a speaker outside 0..9.
        """
        return (*self._vocabulary.speaker(turn.speaker), *self._vocabulary.encode(turn.text))

    def said_by(self, speaker: int, block: Block) -> Block:
        """The same words as said by another speaker, 0..9."""
        own = self._vocabulary.speaker(speaker)
        return (*own, *block[len(own) :])

    def slide(self, window: Sequence[Block], turn: Turn) -> tuple[Block, ...]:
        """The window with one more utterance at its end; what cannot reach the network goes."""
        blocks = (*window, self.block(turn))
        if self._history >= 0:
            blocks = blocks[-(self._history + 1) :]
        first, length = len(blocks), 0
        while first and length < self.max_tokens:
            first -= 1
            length += len(blocks[first])
        return blocks[first:]

    def assemble(self, window: Sequence[Block]) -> tuple[list[int], int]:
        """The prompt for the last utterance of `window`, and where its mask is; -1: no mask."""
        said = [token for block in window for token in block]
        named = 1 if self._vocabulary.speakers else 0
        question = self._question(window[-1][:named], window[-1][named:])
        start = [self._vocabulary.start]
        if self._prompt == "ddvlm":
            ids = [*[*start, *said, *question][-(self.max_tokens - 1) :], *self._mask]
            return ids, len(ids) - 1
        ids = [*start, *said[-(self.max_tokens - 1 - len(question)) :], *question]
        return ids, len(ids) - 2 if self.is_read_at_mask else -1

    def _question(self, speaker: Sequence[int], words: Block) -> list[int]:
        """What follows the conversation, about its last utterance."""
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
    """The end of a text, as Unicode: the tokenizer would refuse a lone surrogate."""
    return text[-MAX_CHARACTERS:].encode("utf-8", "replace").decode("utf-8").strip()


def _has_words(text: str) -> bool:
    """Whether there is a letter, a number or a symbol in it (Unicode's L, N and S)."""
    return any(unicodedata.category(character)[0] in "LNS" for character in text)


def _visible(owners: NDArray[np.int64], kept: int, past: int) -> NDArray[np.bool_]:
    """(L, past + L): utterances see those before them and themselves, a question itself as well."""
    before = owners[None, :] <= owners[:, None]  # (L, L)
    asks = np.arange(len(owners)) >= kept
    same_question = (owners[None, :] == owners[:, None]) & asks[:, None]
    new = np.where(asks[None, :], same_question, before)
    return np.concatenate([np.ones((len(owners), past), bool), new], axis=1)
