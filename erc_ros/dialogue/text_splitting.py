"""One text, several speakers: who said which part of it? Pure functions.

A text that spans two speakers is split at the turn: by the times of its words, else by how much of
the speech lies before the turn; rather at the end of a sentence than within one.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from unicodedata import east_asian_width

from erc_ros.dialogue.alignment import SpeechSegment, majority
from erc_ros.values.nanoseconds import NS, seconds
from erc_ros.values.settings import check, setting
from erc_ros.values.transcript import Transcript, Word

SENTENCE_END, CLAUSE_END = ".!?…。！？", ",;:—，；：、"

_FOUND = "benchmarks.alignment"


@dataclass(frozen=True, slots=True)
class TextSplittingConfig:
    """When and where a text is split between speakers.

    Raises:
        ValueError: a value outside its range.
    """

    min_part: float = setting(
        0.5,
        "less speech than this of another speaker is no turn to split at",
        "s",
        (0.0, 10.0),
        source=_FOUND,
    )
    min_inside: float = setting(
        1.0,
        "the same between two parts of one speaker",
        "s",
        (0.0, 10.0),
        source="benchmarks.latency (turns that were split)",
    )
    bend_sentence: float = setting(
        0.8, "how far a turn may be off for the end of a sentence", "s", (0.0, 5.0), source=_FOUND
    )
    bend_clause: float = setting(0.3, "and for the end of a clause", "s", (0.0, 5.0), source=_FOUND)
    bend_timed_sentence: float = setting(
        0.4, "the same where words have times, which are exact", "s", (0.0, 5.0), source=_FOUND
    )
    bend_timed_clause: float = setting(
        0.15, "and for the end of a clause", "s", (0.0, 5.0), source=_FOUND
    )

    def __post_init__(self) -> None:
        check(self)


DEFAULT = TextSplittingConfig()


@dataclass(frozen=True, slots=True)
class Share:
    """What one speaker said of a text; transcript None: nothing of it."""

    segments: tuple[SpeechSegment, ...]
    transcript: Transcript | None


def split(
    transcript: Transcript, segments: Sequence[SpeechSegment], config: TextSplittingConfig = DEFAULT
) -> list[Share]:
    """Who of those who spoke in `segments` said which part of the text.

    segments: not empty, in the order of time, none of them open. Neighbours of one speaker are one
    share; where nobody is told apart, a voice id names the speaker, or one of two turns is hardly
    longer than a breath, the text stays whole. Joined with blanks the parts are the text.
    """
    groups = [tuple(segments)] if transcript.voice_id else _by_speaker(segments, config)
    tokens, joint = _tokens(transcript.text)
    if len(groups) == 1 or len(tokens) < 2:
        main = max(groups, key=lambda group: sum(p.end - p.start for p in group))
        return [Share(group, transcript if group is main else None) for group in groups]
    joints = _joints(tokens, transcript.words, segments)
    bends = [0.0, *(_bend(token, bool(transcript.words), config) for token in tokens)]
    places = [0]
    for left, right in itertools.pairwise(groups):
        turn = (left[-1].end + right[0].start) // 2
        costs = [
            max(first - turn, turn - last, 0) / NS - bend
            for (first, last), bend in zip(joints, bends, strict=True)
        ]
        places.append(max(places[-1], costs.index(min(costs))))
    places.append(len(tokens))
    return [
        Share(group, _part(transcript, tokens, joint, first, last))
        for group, (first, last) in zip(groups, itertools.pairwise(places), strict=True)
    ]


def _by_speaker(
    segments: Sequence[SpeechSegment], config: TextSplittingConfig
) -> list[tuple[SpeechSegment, ...]]:
    """Neighbours of one speaker together; those of no person, and scraps, with their neighbour."""
    groups: list[tuple[SpeechSegment, ...]] = []
    for segment in segments:
        if groups and _is_same(groups[-1], segment):
            groups[-1] = (*groups[-1], segment)
        else:
            groups.append((segment,))
    while len(groups) > 1:
        lengths = [sum(p.end - p.start for p in group) for group in groups]
        needed = [
            seconds(config.min_inside if _is_inside(groups, place) else config.min_part)
            for place in range(len(groups))
        ]
        scraps = [place for place in range(len(groups)) if lengths[place] < needed[place]]
        if not scraps:
            break
        shortest = min(scraps, key=lambda place: (lengths[place], place))
        other = shortest - 1 if shortest else 1
        first = min(shortest, other)
        groups[first : first + 2] = [(*groups[first], *groups[first + 1])]
        speakers = [_speaker(group) for group in groups]
        for place in range(len(groups) - 1, 0, -1):  # what the scrap stood between
            if speakers[place] == speakers[place - 1]:
                groups[place - 1 : place + 1] = [(*groups[place - 1], *groups[place])]
    return groups


def _is_inside(groups: Sequence[tuple[SpeechSegment, ...]], place: int) -> bool:
    """Does it lie between two parts of one speaker?"""
    if not 0 < place < len(groups) - 1:
        return False
    return _speaker(groups[place - 1]) == _speaker(groups[place + 1]) is not None


def _speaker(group: tuple[SpeechSegment, ...]) -> int | None:
    """Whose voice has most of it."""
    return majority(group).speaker


def _is_same(group: tuple[SpeechSegment, ...], segment: SpeechSegment) -> bool:
    speakers = {_speaker(group), segment.attribution.speaker}
    return len(speakers) == 1 or None in speakers


def _tokens(text: str) -> tuple[list[str], str]:
    """What a text can be cut into, and what stands between: words, in some scripts characters."""
    words = text.split()
    if len(words) == 1 and any(east_asian_width(character) in "WF" for character in text):
        return list(words[0]), ""
    return words, " "


def _joints(
    tokens: list[str], words: tuple[Word, ...], segments: Sequence[SpeechSegment]
) -> list[tuple[int, int]]:
    """Between which times (ns) the turn before each token can have been, and after the last."""
    if len(words) == len(tokens):
        starts, ends = [word.start for word in words], [word.end for word in words]
        inner = [(min(e, s), max(e, s)) for e, s in zip(ends, starts[1:], strict=False)]
        return [(starts[0] - NS, starts[0]), *inner, (ends[-1], ends[-1] + NS)]
    ends = _ends_of(tokens, words, segments)
    begin = words[0].start if words else segments[0].start
    return [(begin, begin), *((end, end) for end in ends)]


def _ends_of(
    tokens: list[str], words: tuple[Word, ...], segments: Sequence[SpeechSegment]
) -> list[int]:
    """When (ns) each token was over, by the times of words, else by what was spoken."""
    spans = [(w.start, w.end, len(w.text)) for w in words] or [
        (p.start, p.end, p.end - p.start) for p in segments
    ]
    total = max(1, sum(weight for *_, weight in spans))
    count = sum(map(len, tokens))
    ends, said = [], 0
    for token in tokens:
        said += len(token)
        ends.append(_moment(spans, said / count * total))
    return ends


def _moment(spans: Sequence[tuple[int, int, int]], weight: float) -> int:
    """When (ns) so much of the weight of (start, end, weight) was over."""
    for start, end, own in spans:
        if weight <= own and own:
            return start + round((end - start) * weight / own)
        weight -= own
    return spans[-1][1]


def _bend(token: str, is_timed: bool, config: TextSplittingConfig) -> float:
    """s that the turn may be off for the sake of the punctuation after a token."""
    closed = token.rstrip("\"'”’»)")
    if closed.endswith(tuple(SENTENCE_END)):
        return config.bend_timed_sentence if is_timed else config.bend_sentence
    if closed.endswith(tuple(CLAUSE_END)):
        return config.bend_timed_clause if is_timed else config.bend_clause
    return 0.0


def _part(
    transcript: Transcript, tokens: list[str], joint: str, first: int, last: int
) -> Transcript | None:
    if first >= last:
        return None
    is_exact = len(transcript.words) == len(tokens)
    words = transcript.words[first:last] if is_exact else ()
    return replace(transcript, text=joint.join(tokens[first:last]), words=words)


def text_within(transcript: Transcript, segments: Sequence[SpeechSegment]) -> str:
    """The part of a partial text that was said in the last of `segments`.

    The text began with the first one, and reaches as far as was heard when it came.
    """
    heard = [
        replace(segment, end=min(segment.end, transcript.time), is_open=False)
        for segment in segments
        if segment.start < transcript.time
    ]
    if len(heard) < len(segments):
        return ""
    tokens, joint = _tokens(transcript.text)
    ends = _ends_of(tokens, transcript.words, heard)
    # a word that ends where the segment begins was said before it
    return joint.join(t for t, end in zip(tokens, ends, strict=True) if end > heard[-1].start)
