"""Attribution of the words of one text to several speakers. Pure functions.

A text that covers two speakers is split at the speaker change: by its word times, or by the share
of the speech before the change, with a preference for the end of a sentence.
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
    """Settings of text splitting.

    Raises:
        ValueError: a value is outside its range.
    """

    min_part: float = setting(
        0.5,
        "minimum speech of another speaker to split a text",
        "s",
        (0.0, 10.0),
        source=_FOUND,
    )
    min_inside: float = setting(
        1.0,
        "likewise between two parts of one speaker",
        "s",
        (0.0, 10.0),
        source="benchmarks.latency (turns that were split)",
    )
    bend_sentence: float = setting(
        0.8, "maximum shift of a split to the end of a sentence", "s", (0.0, 5.0), source=_FOUND
    )
    bend_clause: float = setting(0.3, "likewise of a clause", "s", (0.0, 5.0), source=_FOUND)
    bend_timed_sentence: float = setting(
        0.4, "likewise of a sentence with word times", "s", (0.0, 5.0), source=_FOUND
    )
    bend_timed_clause: float = setting(
        0.15, "likewise of a clause with word times", "s", (0.0, 5.0), source=_FOUND
    )

    def __post_init__(self) -> None:
        check(self)


DEFAULT = TextSplittingConfig()


@dataclass(frozen=True, slots=True)
class Share:
    """The part of a text of one speaker. transcript None: no words."""

    segments: tuple[SpeechSegment, ...]
    transcript: Transcript | None


def split(
    transcript: Transcript, segments: Sequence[SpeechSegment], config: TextSplittingConfig = DEFAULT
) -> list[Share]:
    """Split a text between the speakers of `segments`.

    segments: not empty, sorted by time, none of them open. Adjacent segments of one speaker are one
    share. The text is not split if the speakers are unknown, if it has a voice id, or if one of two
    turns is very short. The parts joined with blanks are the text.
    """
    groups = [tuple(segments)] if transcript.voice_id else _by_speaker(segments, config)
    if len(groups) == 1 or len(_tokens(transcript.text)[0]) < 2:
        main = max(groups, key=lambda group: sum(p.end - p.start for p in group))
        return [Share(group, transcript if group is main else None) for group in groups]
    return divide(transcript, groups, config)


def divide(
    transcript: Transcript,
    groups: Sequence[tuple[SpeechSegment, ...]],
    config: TextSplittingConfig = DEFAULT,
) -> list[Share]:
    """Divide a text between groups of segments by the times of its words, else by duration.

    Args:
        groups: not empty, in the order of time; each has a segment.

    Returns:
        One share for each group. Joined with blanks they are the text.
    """
    if len(groups) == 1:
        return [Share(groups[0], transcript)]
    tokens, joint = _tokens(transcript.text)
    joints = _joints(tokens, transcript.words, [segment for group in groups for segment in group])
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
    """Group adjacent segments by speaker; unknown or very short ones join their neighbor."""
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
        for place in range(len(groups) - 1, 0, -1):  # groups that the removal made adjacent
            if speakers[place] == speakers[place - 1]:
                groups[place - 1 : place + 1] = [(*groups[place - 1], *groups[place])]
    return groups


def _is_inside(groups: Sequence[tuple[SpeechSegment, ...]], place: int) -> bool:
    """Return whether the groups before and after have the same speaker."""
    if not 0 < place < len(groups) - 1:
        return False
    return _speaker(groups[place - 1]) == _speaker(groups[place + 1]) is not None


def _speaker(group: tuple[SpeechSegment, ...]) -> int | None:
    """Return the speaker of most of the speech in a group."""
    return majority(group).speaker


def _is_same(group: tuple[SpeechSegment, ...], segment: SpeechSegment) -> bool:
    speakers = {_speaker(group), segment.attribution.speaker}
    return len(speakers) == 1 or None in speakers


def _tokens(text: str) -> tuple[list[str], str]:
    """Return the words of a text (characters in scripts without blanks) and their separator."""
    words = text.split()
    if len(words) == 1 and any(east_asian_width(character) in "WF" for character in text):
        return list(words[0]), ""
    return words, " "


def _joints(
    tokens: list[str], words: tuple[Word, ...], segments: Sequence[SpeechSegment]
) -> list[tuple[int, int]]:
    """Return the range (ns) of a speaker change before each token, and after the last one."""
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
    """Return the end (ns) of each token, from the word times or from its share of the speech."""
    spans = [(w.start, w.end, len(w.text)) for w in words] or [
        (p.start, p.end, p.end - p.start) for p in segments
    ]
    total = max(1, sum(weight for *_, weight in spans))
    count = sum(map(len, tokens))
    ends, characters = [], 0
    for token in tokens:
        characters += len(token)
        ends.append(_moment(spans, characters / count * total))
    return ends


def _moment(spans: Sequence[tuple[int, int, int]], weight: float) -> int:
    """Return the time (ns) up to which (start, end, weight) spans have a total of `weight`."""
    for start, end, own in spans:
        if weight <= own and own:
            return start + round((end - start) * weight / own)
        weight -= own
    return spans[-1][1]


def _bend(token: str, is_timed: bool, config: TextSplittingConfig) -> float:
    """Return the maximum shift (s) of a split to the punctuation after a token."""
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
    """Return the part of a partial text in the last of `segments`.

    The text covers the speech from the first segment to its arrival.
    """
    received = [
        replace(segment, end=min(segment.end, transcript.time), is_open=False)
        for segment in segments
        if segment.start < transcript.time
    ]
    if len(received) < len(segments):
        return ""
    tokens, joint = _tokens(transcript.text)
    ends = _ends_of(tokens, transcript.words, received)
    # a word that ends at the start of the segment belongs to the previous one
    return joint.join(t for t, end in zip(tokens, ends, strict=True) if end > received[-1].start)
