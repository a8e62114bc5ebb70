"""Alignment of ASR texts with speech segments. Pure functions.

A text with word times matches the speech at these times. A text with its publication time only
matches the run of segments with the lowest cost. The cost compares the duration of the speech with
the expected duration of the text, and adds costs for a late text, for skipped older segments, for
pauses and speaker changes inside the run, and for an end at an unlikely place. All costs are on the
scale of |ln(duration / expected duration)|.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from erc_ros.dialogue.speakers.turns import UNCLEAR, Attribution
from erc_ros.values.nanoseconds import NS, seconds
from erc_ros.values.settings import check, setting
from erc_ros.values.transcript import Transcript

SHORTEST = seconds(0.1)  # minimum duration of the speech of a text

_FOUND = "benchmarks.alignment"


@dataclass(frozen=True, slots=True)
class AlignmentConfig:
    """Costs of matching a text with speech, on the scale of logarithms of duration ratios.

    Raises:
        ValueError: a value is outside its range.
    """

    slack: float = setting(
        0.15,
        "the time of a text may be this much earlier than the end of its speech",
        "s",
        (0.0, 2.0),
    )
    snap: float = setting(
        0.4,
        "tolerance of the times of a text: a shorter remainder of a segment is matched as well",
        "s",
        (0.0, 2.0),
        source=_FOUND,
    )
    plain: float = setting(
        0.3,
        "added to both durations, so that short texts are compared less strictly",
        "s",
        (0.01, 5.0),
        source=_FOUND,
    )
    delay: float = setting(
        0.6,
        "usual time from the end of speech to the final text of a speech recognizer",
        "s",
        (0.0, 10.0),
        source=_FOUND,
    )
    lateness: float = setting(
        0.2, "cost per second of deviation from `delay`", "1/s", (0.0, 10.0), source=_FOUND
    )
    end_told: float = setting(
        0.1,
        "a stamp that is this much earlier than the arrival is taken as the end of the "
        "speech, without `delay`",
        "s",
        (0.0, 5.0),
    )
    end_slack: float = setting(
        0.4,
        "such a stamp may be this much earlier than the end that voice activity detected",
        "s",
        (0.0, 5.0),
    )
    end_lateness: float = setting(
        0.6,
        "cost per second between a cut and the end that the speech recognizer reports",
        "1/s",
        (0.0, 10.0),
        source="benchmarks.latency (turns that were split)",
    )
    skipped: float = setting(
        0.5,
        "cost of each older segment that remains without text",
        range=(0.0, 10.0),
        source=_FOUND,
    )
    crossed: float = setting(
        0.15, "cost of each pause inside the match", range=(0.0, 10.0), source=_FOUND
    )
    crossed_speaker: float = setting(
        0.4, "cost of each speaker change inside the match", range=(0.0, 10.0), source=_FOUND
    )
    over: float = setting(
        0.1,
        "cost of a cut at the present end of an open segment, if the stamp is close to it",
        range=(0.0, 10.0),
    )
    end_near: float = setting(0.2, "tolerance of `over` during speech", "s", (0.0, 2.0))
    open_end: float = setting(
        0.6,
        "cost of a cut at the present end of an open segment otherwise",
        range=(0.0, 10.0),
        source=_FOUND,
    )
    dip: float = setting(0.15, "cost of a cut in a short silence", range=(0.0, 10.0), source=_FOUND)
    dip_depth: float = setting(
        0.35, "cost per unit of speech probability at it", range=(0.0, 10.0), source=_FOUND
    )
    quiet: float = setting(
        0.2, "cost of a cut at a short drop of the level", range=(0.0, 10.0), source=_FOUND
    )
    quiet_depth: float = setting(
        0.4, "cost per unit of level relative to the median", range=(0.0, 10.0), source=_FOUND
    )
    quiet_level: float = setting(
        0.5, "a drop is below this share of the median level", range=(0.0, 1.0), source=_FOUND
    )
    quiet_span: int = setting(3, "frames on each side of a drop with more level", "frames", (1, 30))
    change: float = setting(
        0.05, "cost of a cut at a speaker change", range=(0.0, 10.0), source=_FOUND
    )
    latest: float = setting(
        6.0,
        "maximum delay of a text after the end of speech that was published without text",
        "s",
        (0.0, 60.0),
    )
    late_mismatch: float = setting(
        0.7,
        "maximum |ln(duration / expected duration)| of such a text (0.7: a factor of two)",
        range=(0.0, 5.0),
    )

    same_stamp: float = setting(
        0.01,
        "two texts whose stamps differ by less are two results for the same speech",
        "s",
        (0.0, 1.0),
    )

    def __post_init__(self) -> None:
        check(self)


DEFAULT = AlignmentConfig()


@dataclass(frozen=True, slots=True)
class SpeechSegment:
    """Speech of one speaker without a text yet. Times in ns."""

    start: int
    end: int  # of an open segment: end of the audio so far
    is_open: bool = False  # the speech may continue
    is_paused: bool = False  # open, but silent at this moment
    deadline: int = 0  # time at which it is published without text; of a closed segment
    utterance_id: str = ""  # set when its draft is published
    attribution: Attribution = UNCLEAR


@dataclass(frozen=True, slots=True)
class Cut:
    """A time (ns) inside a segment at which a text may end, and its cost."""

    time: int
    cost: float


@dataclass(frozen=True, slots=True)
class TextMatch:
    """Speech from `start` to `end` (ns) that matches a text.

    segments: the segments in it; the first and the last one may extend beyond the match.
    """

    start: int
    end: int
    segments: tuple[SpeechSegment, ...]


@dataclass(frozen=True, slots=True)
class Latest:
    """Latest time (ns) at which the speech of a text can have ended.

    delay: s, usual time from the end of the speech to it. slack: ns, by which the end that voice
    activity detected may be later.
    """

    time: int
    delay: float
    slack: int


def expected_duration(text: str, seconds_per_character: float) -> int:
    """Return the expected duration (ns) of speaking `text`."""
    return max(SHORTEST, seconds(len(text) * seconds_per_character))


def dips(
    probabilities: Sequence[tuple[int, float]], config: AlignmentConfig = DEFAULT
) -> list[Cut]:
    """Return cuts at short silences: one minimum of (time, speech probability) per silence."""
    cuts: list[Cut] = []
    run: list[tuple[int, float]] = []
    for time, probability in [*probabilities, (0, 1.0)]:
        if probability < 0.5:
            run.append((time, probability))
        elif run:
            lowest = min(p for _, p in run)
            # the silence belongs to the speech before it, as a pause does
            cuts.append(Cut(run[-1][0], config.dip + config.dip_depth * lowest))
            run = []
    return cuts


def quiet(levels: Sequence[tuple[int, float]], config: AlignmentConfig = DEFAULT) -> list[Cut]:
    """Return cuts at local minima of (time, level) below a share of the median level."""
    if not levels:
        return []
    values = [level for _, level in levels]
    typical = sorted(values)[len(values) // 2]
    cuts = []
    for place, (time, level) in enumerate(levels):
        near = values[max(0, place - config.quiet_span) : place + config.quiet_span + 1]
        if level < config.quiet_level * typical and level <= min(near):
            cuts.append(Cut(time, config.quiet + config.quiet_depth * level / typical))
    return cuts


def align(
    segments: Sequence[SpeechSegment],
    transcript: Transcript,
    expected: int,
    cuts: Sequence[Cut],
    config: AlignmentConfig = DEFAULT,
) -> TextMatch | None:
    """Return the speech that matches a transcript; None if no segment matches.

    segments: sorted by time; only the last one may be open. expected: ns, expected duration of the
    text. cuts: times inside segments at which it may end.
    """
    if transcript.start is not None and transcript.end is not None:
        return _by_times(segments, transcript.start, transcript.end, cuts, config)
    is_end = transcript.time < transcript.arrival - seconds(config.end_told)
    if is_end:
        latest = Latest(transcript.time, 0.0, seconds(config.end_slack))
    else:
        latest = Latest(transcript.time, config.delay, seconds(config.slack))
    return _by_duration(segments, latest, expected, cuts, config)


def _by_times(
    segments: Sequence[SpeechSegment],
    start: int,
    end: int,
    cuts: Sequence[Cut],
    config: AlignmentConfig,
) -> TextMatch | None:
    """Match the segments of which at least half, or half of the text, is in start..end."""
    snap = seconds(config.snap)
    taken = []
    for segment in segments:
        common = min(segment.end, end) - max(segment.start, start)
        shorter = min(segment.end - segment.start, end - start)
        if common > 0 and (2 * common >= shorter or common >= snap):
            taken.append(segment)
    if not taken:
        return None
    first, last = taken[0], taken[-1]
    begin = first.start if start - first.start < snap else start
    if last.end - end < snap and not last.is_open:
        return TextMatch(begin, last.end, tuple(taken))
    # a cut before the last segment would match that segment without any of its speech
    after = max(begin, last.start)
    near = [cut for cut in cuts if abs(cut.time - end) < snap and after < cut.time < last.end]
    if near:
        end = min(near, key=lambda cut: (cut.cost + 3 * abs(cut.time - end) / NS, cut.time)).time
    return TextMatch(begin, min(end, last.end), tuple(taken))


def _by_duration(
    segments: Sequence[SpeechSegment],
    latest: Latest,
    expected: int,
    cuts: Sequence[Cut],
    config: AlignmentConfig,
) -> TextMatch | None:
    """Match the consecutive segments that end before `latest` with the lowest cost."""
    best: tuple[float, TextMatch] | None = None
    for first, segment in enumerate(segments):
        if segment.start + SHORTEST > latest.time:
            break
        for last in range(first, len(segments)):
            if segments[last].start + SHORTEST > latest.time:
                break
            for cut in _ends(segments[last], latest, cuts, config):
                match = TextMatch(segment.start, cut.time, tuple(segments[first : last + 1]))
                cost = cut.cost + first * config.skipped + _cost(match, latest, expected, config)
                if best is None or cost < best[0]:
                    best = (cost, match)
    return None if best is None else best[1]


def _ends(
    segment: SpeechSegment, latest: Latest, cuts: Sequence[Cut], config: AlignmentConfig
) -> list[Cut]:
    """Return the cuts in `segment` at which a text may end."""
    last = min(segment.end, latest.time)
    inside = [cut for cut in cuts if segment.start + SHORTEST <= cut.time <= last]
    if segment.end <= latest.time + latest.slack and not segment.is_open:
        return [*inside, Cut(segment.end, 0.0)]
    near = latest.slack if segment.is_paused else seconds(config.end_near)
    if not latest.delay and segment.end <= latest.time + near:
        return [*inside, Cut(segment.end, config.over)]
    return [*inside, Cut(last, config.open_end)]


def _cost(match: TextMatch, latest: Latest, expected: int, config: AlignmentConfig) -> float:
    spoken = sum(min(p.end, match.end) - p.start for p in match.segments) / NS
    mismatch = _mismatch(spoken, expected, config)
    rate = config.lateness if latest.delay else config.end_lateness
    lateness = rate * abs((latest.time - match.end) / NS - latest.delay)
    crossings = zip(match.segments, match.segments[1:], strict=False)
    return mismatch + lateness + sum(_crossing(*pair, config) for pair in crossings)


def _mismatch(spoken: float, expected: int, config: AlignmentConfig) -> float:
    return abs(math.log((spoken + config.plain) / (expected / NS + config.plain)))


def _crossing(left: SpeechSegment, right: SpeechSegment, config: AlignmentConfig) -> float:
    speakers = left.attribution.speaker, right.attribution.speaker
    is_change = None not in speakers and speakers[0] != speakers[1]
    # adjacent segments were split at a speaker change
    is_turn = is_change or right.start == left.end
    return config.crossed_speaker if is_turn else config.crossed


def is_same_speech(one: Transcript, other: Transcript, config: AlignmentConfig = DEFAULT) -> bool:
    """Return whether two texts are of the same speech, by their times or stamps, not arrivals."""
    if one.voice_id != other.voice_id:
        return False
    if one.start is not None and one.end is not None:
        if other.start is None or other.end is None:
            return False
        common = min(one.end, other.end) - max(one.start, other.start)
        return 2 * common > max(one.end, other.end) - min(one.start, other.start)
    if one.stamp is None or other.stamp is None or other.end is not None:
        return False
    return abs(one.stamp - other.stamp) <= seconds(config.same_stamp)


def late_cost(
    segment: SpeechSegment, transcript: Transcript, expected: int, config: AlignmentConfig = DEFAULT
) -> float | None:
    """Return the cost of matching a late text with speech published without one; None: no match."""
    if transcript.start is not None and transcript.end is not None:
        common = min(segment.end, transcript.end) - max(segment.start, transcript.start)
        shorter = min(segment.end - segment.start, transcript.end - transcript.start)
        return -common / NS if 2 * common >= shorter and common > 0 else None
    lateness = (transcript.time - segment.end) / NS
    spoken = (segment.end - segment.start) / NS
    mismatch = _mismatch(spoken, expected, config)
    if not 0 <= lateness <= config.latest or mismatch > config.late_mismatch:
        return None
    return mismatch + config.lateness * lateness


def remainders(match: TextMatch) -> list[SpeechSegment]:
    """Return the parts of the first and last segment that are outside the match, without id."""
    first, last = match.segments[0], match.segments[-1]
    left = []
    if match.start > first.start:
        left.append(
            replace(first, end=match.start, is_open=False, is_paused=False, utterance_id="")
        )
    if match.end < last.end or last.is_open:
        left.append(replace(last, start=match.end, utterance_id=""))
    return left


def majority(segments: Sequence[SpeechSegment]) -> Attribution:
    """Return the speaker of most of the speech; the confidence is multiplied by the share."""
    shares: dict[int | None, int] = {}
    for segment in segments:
        speaker = segment.attribution.speaker
        shares[speaker] = shares.get(speaker, 0) + segment.end - segment.start
    total = sum(shares.values())
    by_speaker = {speaker: share for speaker, share in shares.items() if speaker is not None}
    if not by_speaker or not total:
        return UNCLEAR
    best = max(by_speaker, key=lambda speaker: by_speaker[speaker])
    confidences = [p.attribution.confidence for p in segments if p.attribution.speaker == best]
    return Attribution(best, max(confidences) * by_speaker[best] / total)
