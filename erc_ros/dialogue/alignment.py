"""Which speech does a text belong to, and who said which part of it? Pure functions.

A recogniser that tells when its words were spoken claims the speech of that time. One that tells
only when it was done claims the speech that explains its text best: long enough for so many
characters, old enough (texts come in order), but not long past, and ending where one could end.

A text that spans two speakers is split at the turn: by the times of its words, else by how much of
the speech lies before the turn; rather at the end of a sentence than within one.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from unicodedata import east_asian_width

from erc_ros.dialogue.speakers.turns import UNCLEAR, Attribution
from erc_ros.values.nanoseconds import NS, seconds
from erc_ros.values.transcript import Transcript, Word

SLACK = seconds(0.15)  # a time may lie this much before the end of its speech (padding, frames)
SNAP = seconds(0.4)  # told times are this inexact: a rest shorter than this belongs to the claim
SHORTEST = seconds(0.1)  # no text is spoken faster

# Costs of an explanation, on the scale of |ln(speech / expected speech)|.
PLAIN = 0.3  # s, added to both durations: short texts are not compared too strictly
DELAY = 0.6  # s; a recogniser is done this long after the end of the speech, more or less
# A stamp that lies this much before the arrival is when the speech ended, as the recogniser heard
# it: then there is no delay, but it may lie further before the end that voice activity found.
END_TOLD = seconds(0.1)
END_SLACK = seconds(0.4)
LATENESS = 0.2  # for each second off that delay
LATENESS_TOLD = 0.6  # the same where the recogniser tells when the speech ended
SKIPPED = 0.5  # for each older piece that would be left without text
CROSSED = 0.15  # for each pause inside the claim
CROSSED_SPEAKER = 0.4  # for each change of speaker inside it
OVER = 0.1  # cut where speech ends that is open yet, but over as the text tells
END_NEAR = seconds(0.2)  # so much before that end
OPEN_END = 0.6  # cut where the sound ends at this moment, in the midst of speech
DIP, DIP_DEPTH = 0.15, 0.35  # cut in a short silence; and for how little silent it is
QUIET, QUIET_DEPTH = 0.2, 0.4  # cut where it is quiet for a moment; and for how little quiet
QUIET_SPAN = 3  # frames on both sides that are louder

# A text that comes after its speech went out without one.
LATEST = 6.0  # s after the end of the speech
LATE_MISMATCH = 0.7  # ln: the speech is at most twice as long as the text, or half as long
SAME_STAMP = seconds(0.01)  # two texts of one stamp are two opinions about the same speech

# Splitting a text between speakers.
SHORTEST_PART = seconds(0.5)  # less speech than this of somebody else is no turn to split at
SHORTEST_INSIDE = seconds(1.0)  # the same between two parts of one speaker
SENTENCE_END, CLAUSE_END = ".!?…。！？", ",;:—，；：、"
# s that the turn may be off for the sake of the punctuation; exact times bend less
BEND_SENTENCE, BEND_CLAUSE = 0.8, 0.3
BEND_TIMED_SENTENCE, BEND_TIMED_CLAUSE = 0.4, 0.15


@dataclass(frozen=True, slots=True)
class Piece:
    """Speech of one voice that has no text yet. Times in ns."""

    start: int
    end: int  # as far as it was heard
    is_open: bool = False  # speech goes on, or may
    is_paused: bool = False  # open, but nobody speaks at this moment
    deadline: int = 0  # when it goes out without text; only of a piece that is not open
    utterance_id: str = ""  # given with its draft
    attribution: Attribution = UNCLEAR


@dataclass(frozen=True, slots=True)
class Cut:
    """A moment (ns) inside a piece at which a text may end, and what it costs."""

    time: int
    cost: float


@dataclass(frozen=True, slots=True)
class Claim:
    """Speech from `start` to `end` (ns) gets the text: `pieces`, the outer ones cut maybe."""

    start: int
    end: int
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Latest:
    """The latest time (ns) at which the speech of a text can have ended.

    delay: s, how long before it the speech did end, more or less. slack: ns, how far after it the
    end that voice activity found may lie.
    """

    time: int
    delay: float
    slack: int


def expected_duration(text: str, seconds_per_character: float) -> int:
    """How long (ns) it takes to say `text`."""
    return max(SHORTEST, seconds(len(text) * seconds_per_character))


def dips(probabilities: Sequence[tuple[int, float]]) -> list[Cut]:
    """Moments of little speech: local minima of (time, probability of speech), one per silence."""
    cuts: list[Cut] = []
    run: list[tuple[int, float]] = []
    for time, probability in [*probabilities, (0, 1.0)]:
        if probability < 0.5:
            run.append((time, probability))
        elif run:
            lowest = min(p for _, p in run)
            # the whole silence belongs to what was said before it, as a pause does
            cuts.append(Cut(run[-1][0], DIP + DIP_DEPTH * lowest))
            run = []
    return cuts


def quiet(levels: Sequence[tuple[int, float]]) -> list[Cut]:
    """Moments quieter than half of the median level: local minima of (time, level)."""
    if not levels:
        return []
    values = [level for _, level in levels]
    typical = sorted(values)[len(values) // 2]
    cuts = []
    for place, (time, level) in enumerate(levels):
        near = values[max(0, place - QUIET_SPAN) : place + QUIET_SPAN + 1]
        if level < 0.5 * typical and level <= min(near):
            cuts.append(Cut(time, QUIET + QUIET_DEPTH * level / typical))
    return cuts


def align(
    pieces: Sequence[Piece], transcript: Transcript, expected: int, cuts: Sequence[Cut]
) -> Claim | None:
    """The speech that `transcript` belongs to, None if there is none.

    pieces: in the order of time; only the last one may be open. expected: ns that the text takes.
    cuts: moments inside pieces at which it may end.
    """
    if transcript.start is not None and transcript.end is not None:
        return _by_times(pieces, transcript.start, transcript.end, cuts)
    is_end = transcript.time < transcript.arrival - END_TOLD
    latest = Latest(transcript.time, *((0.0, END_SLACK) if is_end else (DELAY, SLACK)))
    return _by_duration(pieces, latest, expected, cuts)


def _by_times(pieces: Sequence[Piece], start: int, end: int, cuts: Sequence[Cut]) -> Claim | None:
    """All pieces that lie for the most part of themselves, or of the text, in start..end."""
    taken = []
    for piece in pieces:
        common = min(piece.end, end) - max(piece.start, start)
        shorter = min(piece.end - piece.start, end - start)
        if common > 0 and (2 * common >= shorter or common >= SNAP):
            taken.append(piece)
    if not taken:
        return None
    first, last = taken[0], taken[-1]
    begin = first.start if start - first.start < SNAP else start
    if last.end - end < SNAP and not last.is_open:
        return Claim(begin, last.end, tuple(taken))
    near = [cut for cut in cuts if abs(cut.time - end) < SNAP and begin < cut.time < last.end]
    if near:
        end = min(near, key=lambda cut: (cut.cost + 3 * abs(cut.time - end) / NS, cut.time)).time
    return Claim(begin, min(end, last.end), tuple(taken))


def _by_duration(
    pieces: Sequence[Piece], latest: Latest, expected: int, cuts: Sequence[Cut]
) -> Claim | None:
    """The cheapest run of pieces that ends before `latest`."""
    best: tuple[float, Claim] | None = None
    for first, piece in enumerate(pieces):
        if piece.start + SHORTEST > latest.time:
            break
        for last in range(first, len(pieces)):
            if pieces[last].start + SHORTEST > latest.time:
                break
            for cut in _ends(pieces[last], latest, cuts):
                claim = Claim(piece.start, cut.time, tuple(pieces[first : last + 1]))
                cost = cut.cost + first * SKIPPED + _cost(claim, latest, expected)
                if best is None or cost < best[0]:
                    best = (cost, claim)
    return None if best is None else best[1]


def _ends(piece: Piece, latest: Latest, cuts: Sequence[Cut]) -> list[Cut]:
    """Where in `piece` a text may end."""
    last = min(piece.end, latest.time)
    inside = [cut for cut in cuts if piece.start + SHORTEST <= cut.time <= last]
    if piece.end <= latest.time + latest.slack and not piece.is_open:
        return [*inside, Cut(piece.end, 0.0)]
    near = latest.slack if piece.is_paused else END_NEAR
    if not latest.delay and piece.end <= latest.time + near:
        return [*inside, Cut(piece.end, OVER)]
    return [*inside, Cut(last, OPEN_END)]


def _cost(claim: Claim, latest: Latest, expected: int) -> float:
    spoken = sum(min(p.end, claim.end) - p.start for p in claim.pieces) / NS
    mismatch = abs(math.log((spoken + PLAIN) / (expected / NS + PLAIN)))
    rate = LATENESS if latest.delay else LATENESS_TOLD
    lateness = rate * abs((latest.time - claim.end) / NS - latest.delay)
    return mismatch + lateness + sum(map(_crossing, claim.pieces, claim.pieces[1:]))


def _crossing(left: Piece, right: Piece) -> float:
    speakers = left.attribution.speaker, right.attribution.speaker
    is_change = None not in speakers and speakers[0] != speakers[1]
    # turns that touch were split at a change of speaker
    return CROSSED_SPEAKER if is_change or right.start == left.end else CROSSED


def is_same_speech(one: Transcript, other: Transcript) -> bool:
    """Do both texts mean the same speech? Told by times or stamps only, never by the arrival."""
    if one.voice_id != other.voice_id:
        return False
    if one.start is not None and one.end is not None:
        if other.start is None or other.end is None:
            return False
        common = min(one.end, other.end) - max(one.start, other.start)
        return 2 * common > max(one.end, other.end) - min(one.start, other.start)
    if one.stamp is None or other.stamp is None or other.end is not None:
        return False
    return abs(one.stamp - other.stamp) <= SAME_STAMP


def late_cost(piece: Piece, transcript: Transcript, expected: int) -> float | None:
    """How badly a late text fits speech that went out without one; None: it is not its text."""
    if transcript.start is not None and transcript.end is not None:
        common = min(piece.end, transcript.end) - max(piece.start, transcript.start)
        shorter = min(piece.end - piece.start, transcript.end - transcript.start)
        return -common / NS if 2 * common >= shorter and common > 0 else None
    lateness = (transcript.time - piece.end) / NS
    spoken = (piece.end - piece.start) / NS
    mismatch = abs(math.log((spoken + PLAIN) / (expected / NS + PLAIN)))
    if not 0 <= lateness <= LATEST or mismatch > LATE_MISMATCH:
        return None
    return mismatch + LATENESS * lateness


def rests(claim: Claim) -> list[Piece]:
    """What the claim leaves of its outer pieces, to be drafted anew."""
    first, last = claim.pieces[0], claim.pieces[-1]
    left = []
    if claim.start > first.start:
        left.append(
            replace(first, end=claim.start, is_open=False, is_paused=False, utterance_id="")
        )
    if claim.end < last.end or last.is_open:
        left.append(replace(last, start=claim.end, utterance_id=""))
    return left


# --- one text, several speakers ---


@dataclass(frozen=True, slots=True)
class Share:
    """What one speaker said of a text; transcript None: nothing of it."""

    pieces: tuple[Piece, ...]
    transcript: Transcript | None


def split(transcript: Transcript, pieces: Sequence[Piece]) -> list[Share]:
    """Who of those who spoke in `pieces` said which part of the text.

    pieces: not empty, in the order of time, none of them open. Neighbours of one speaker are one
    share; where nobody is told apart, a voice id names the speaker, or one of two turns is hardly
    longer than a breath, the text stays whole. Joined with blanks the parts are the text.
    """
    groups = [tuple(pieces)] if transcript.voice_id else _by_speaker(pieces)
    tokens, joint = _tokens(transcript.text)
    if len(groups) == 1 or len(tokens) < 2:
        main = max(groups, key=lambda group: sum(p.end - p.start for p in group))
        return [Share(group, transcript if group is main else None) for group in groups]
    joints = _joints(tokens, transcript.words, pieces)
    bends = [0.0, *(_bend(token, is_timed=bool(transcript.words)) for token in tokens)]
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


def _by_speaker(pieces: Sequence[Piece]) -> list[tuple[Piece, ...]]:
    """Neighbours of one speaker together; those of nobody, and scraps, with their neighbour."""
    groups: list[tuple[Piece, ...]] = []
    for piece in pieces:
        if groups and _is_same(groups[-1], piece):
            groups[-1] = (*groups[-1], piece)
        else:
            groups.append((piece,))
    while len(groups) > 1:
        lengths = [sum(p.end - p.start for p in group) for group in groups]
        needed = [
            SHORTEST_INSIDE if _is_inside(groups, place) else SHORTEST_PART
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


def _is_inside(groups: Sequence[tuple[Piece, ...]], place: int) -> bool:
    """Does it lie between two parts of one speaker?"""
    if not 0 < place < len(groups) - 1:
        return False
    return _speaker(groups[place - 1]) == _speaker(groups[place + 1]) is not None


def _speaker(group: tuple[Piece, ...]) -> int | None:
    """Whose voice has most of it."""
    return majority(group).speaker


def _is_same(group: tuple[Piece, ...], piece: Piece) -> bool:
    speakers = {_speaker(group), piece.attribution.speaker}
    return len(speakers) == 1 or None in speakers


def majority(pieces: Sequence[Piece]) -> Attribution:
    """Whose voice has most of the speech; its confidence counts for its share only."""
    shares: dict[int | None, int] = {}
    for piece in pieces:
        speaker = piece.attribution.speaker
        shares[speaker] = shares.get(speaker, 0) + piece.end - piece.start
    total = sum(shares.values())
    known = {speaker: share for speaker, share in shares.items() if speaker is not None}
    if not known or not total:
        return UNCLEAR
    best = max(known, key=lambda speaker: known[speaker])
    found = [p.attribution.confidence for p in pieces if p.attribution.speaker == best]
    return Attribution(best, max(found) * known[best] / total)


def _tokens(text: str) -> tuple[list[str], str]:
    """What a text can be cut into, and what stands between: words, in some scripts characters."""
    words = text.split()
    if len(words) == 1 and any(east_asian_width(character) in "WF" for character in text):
        return list(words[0]), ""
    return words, " "


def _joints(
    tokens: list[str], words: tuple[Word, ...], pieces: Sequence[Piece]
) -> list[tuple[int, int]]:
    """Between which times (ns) the turn before each token can have been, and after the last."""
    if len(words) == len(tokens):
        starts, ends = [word.start for word in words], [word.end for word in words]
        inner = [(min(e, s), max(e, s)) for e, s in zip(ends, starts[1:], strict=False)]
        return [(starts[0] - NS, starts[0]), *inner, (ends[-1], ends[-1] + NS)]
    ends = _ends_of(tokens, words, pieces)
    begin = words[0].start if words else pieces[0].start
    return [(begin, begin), *((end, end) for end in ends)]


def _ends_of(tokens: list[str], words: tuple[Word, ...], pieces: Sequence[Piece]) -> list[int]:
    """When (ns) each token was over, by the times of words, else by what was spoken."""
    spans = [(w.start, w.end, len(w.text)) for w in words] or [
        (p.start, p.end, p.end - p.start) for p in pieces
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


def _bend(token: str, is_timed: bool) -> float:
    closed = token.rstrip("\"'”’»)")
    if closed.endswith(tuple(SENTENCE_END)):
        return BEND_TIMED_SENTENCE if is_timed else BEND_SENTENCE
    if closed.endswith(tuple(CLAUSE_END)):
        return BEND_TIMED_CLAUSE if is_timed else BEND_CLAUSE
    return 0.0


def _part(
    transcript: Transcript, tokens: list[str], joint: str, first: int, last: int
) -> Transcript | None:
    if first >= last:
        return None
    is_exact = len(transcript.words) == len(tokens)
    words = transcript.words[first:last] if is_exact else ()
    return replace(transcript, text=joint.join(tokens[first:last]), words=words)


def text_within(transcript: Transcript, pieces: Sequence[Piece]) -> str:
    """The part of a partial text that was said in the last of `pieces`.

    The text began with the first one, and reaches as far as was heard when it came.
    """
    heard = [
        replace(piece, end=min(piece.end, transcript.time), is_open=False)
        for piece in pieces
        if piece.start < transcript.time
    ]
    if len(heard) < len(pieces):
        return ""
    tokens, joint = _tokens(transcript.text)
    ends = _ends_of(tokens, transcript.words, heard)
    # a word that ends where the piece begins was said before it
    return joint.join(t for t, end in zip(tokens, ends, strict=True) if end > heard[-1].start)
