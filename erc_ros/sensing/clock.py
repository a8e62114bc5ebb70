"""When was each sample heard? A microphone's clock: samples are counted, stamps correct the count.

A chunk whose stamp is off by more than the tolerance is held back until the stamps of the next ones
(`CONFIRMATION` later) agree with it: then samples were lost (`Gap`), were heard twice (`Overlap`)
or the clock was set (`Jump`). If they return to the count instead, the stamp was wrong (a stalled
driver): the chunk is placed by counting and reported as `WrongStamps`. So a late stamp never tears
a hole into the audio, and a loss costs one short delay.

`step` is pure, its state frozen.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from erc_ros.values.nanoseconds import NS, seconds

STAMP_TOLERANCE = seconds(0.05)  # jitter of header stamps that is still the same line
ARRIVAL_TOLERANCE = seconds(0.25)  # the same where only the arrival is known
CONFIRMATION = seconds(0.1)  # stamps must agree for so long before a gap or a jump is believed
MAX_HELD = seconds(1.0)  # sound held back at most while the stamps are in doubt
MAX_FILL = seconds(1.0)  # gaps up to this length are filled with zeros
MAX_OVERLAP = seconds(1.0)  # stamps further back than this are a clock that was set back
MAX_GAP = seconds(10.0)  # stamps further ahead than this are a clock that was set
REMEMBERED = seconds(1.0)  # audio in which a repeated chunk is recognized
MOST_REMEMBERED = 64  # chunks of it
TAKEOVER = seconds(1.0)  # without the first microphone, another one takes its place
PATTERN = 32  # chunks in which two microphones on one topic are recognized by their stamps
DRIFT_MEMORY = 5.0  # s, over which the stamps' lag is averaged
DRIFT_WARM_UP = seconds(15.0)  # sound before the average is believed
DRIFT_TOLERANCE = seconds(0.005)  # average lag that starts a correction
DRIFT_DONE = seconds(0.0005)  # and the rest that ends it
DRIFT_SLEW = 1_000  # ns are corrected by at most one in so many


@dataclass(frozen=True, slots=True)
class Gap:
    """Samples were lost: nothing was heard from `start` for `duration` ns.

    filled: zeros stand in for it among the sounds that follow (gaps up to 1 s).
    """

    start: int
    duration: int
    filled: bool


@dataclass(frozen=True, slots=True)
class Overlap:
    """`duration` ns of audio, stamped `start`, were heard before (a duplicate): dropped."""

    start: int
    duration: int


@dataclass(frozen=True, slots=True)
class Jump:
    """The clock was set: the line that ended at `before` ends; a new one begins at `after`."""

    before: int
    after: int


@dataclass(frozen=True, slots=True)
class Drift:
    """The stamps run away from the count; from `start` on `offset` ns are being corrected.

    parts_per_million: how fast, positive if the microphone is slower than its nominal rate.
    """

    start: int
    offset: int
    parts_per_million: float


@dataclass(frozen=True, slots=True)
class WrongStamps:
    """`chunks` chunks from `start` on had stamps that the others belie: placed by counting."""

    start: int
    chunks: int


@dataclass(frozen=True, slots=True)
class RateChange:
    """The sample rate (Hz) changed at `start`; the resampler restarted, time continues."""

    start: int
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class SecondMicrophone:
    """A chunk of another microphone on the same topic, stamped `start`: dropped.

    source: its frame, "" if only the stamps tell that there are two.
    """

    start: int
    source: str


ClockEvent = Gap | Overlap | Jump | Drift | WrongStamps | RateChange | SecondMicrophone


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """samples (n,) or (n, c) at `rate` Hz. stamp: ns, of the first one, None = unknown.

    is_exact: the stamp comes from a header; otherwise it was guessed from the arrival.
    source: the microphone's frame, "" = unknown.
    """

    samples: NDArray[np.float32]
    stamp: int | None
    rate: int
    is_exact: bool = True
    source: str = ""

    @property
    def duration(self) -> int:
        return len(self.samples) * NS // self.rate


@dataclass(frozen=True, slots=True, eq=False)
class ClockStretch:
    """What `step` lets through: the next samples of the line. shift: ns to add to counted times."""

    samples: NDArray[np.float32]
    shift: int


@dataclass(frozen=True, slots=True)
class NewLine:
    """The line before has ended, one begins: its start in ns and rate in Hz.

    Comes before the event that tells why, so that the tail of the old line is returned first.
    """

    start: int
    rate: int


@dataclass(frozen=True, slots=True)
class Drifting:
    """How far the stamps lie behind the count, ns; positive: the count is too early."""

    lag: float = 0.0  # average of stamp - counted time
    heard: int = 0  # ns of stamped audio in the average
    reference: tuple[int, float] | None = None  # heard and lag at two thirds of the warm-up
    shift: int = 0  # part of the lag that is corrected
    is_correcting: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Clock:
    """State: everything the clock remembers. Times in ns."""

    rate: int = 0  # Hz; 0 before the first chunk
    epoch: int = 0  # time of sample 0 of the line
    count: int = 0  # samples of the line so far
    is_stamped: bool = False  # some header stamp was seen: arrivals do not count any more
    last_stamp: int | None = None
    drifting: Drifting = Drifting()
    held: tuple[Chunk, ...] = ()  # in doubt: placed as soon as the next stamps tell
    recent: tuple[tuple[int, int, int], ...] = ()  # stamp, checksum, duration of the last chunks
    source: str | None = None  # the microphone that is listened to; None before the first chunk
    kept_until: int = 0  # end of its last chunk, by its stamp
    last_kept: int = 0  # the same, of those that the stamps tell to be the first microphone's
    stamps: tuple[int, ...] = ()  # of the last chunks, of whichever microphone
    is_double: bool = False  # the stamps are those of two microphones

    @property
    def counted(self) -> int:
        return self.epoch + self.count * NS // self.rate

    @property
    def now(self) -> int:
        """Time right after the last sample that was placed."""
        return self.counted + self.drifting.shift

    @property
    def held_duration(self) -> int:
        return sum(chunk.duration for chunk in self.held)


Output = ClockEvent | ClockStretch | NewLine


def step(clock: Clock, chunk: Chunk) -> tuple[Clock, list[Output]]:
    """Place a chunk on the line, drop it, or hold it back."""
    if not len(chunk.samples):
        return clock, []
    if chunk.stamp is not None and _is_of_another(clock, chunk, chunk.stamp):
        return clock, [SecondMicrophone(chunk.stamp, chunk.source)]
    if not clock.rate:
        return _begin(clock, chunk)
    if chunk.rate != clock.rate:
        return _change_rate(clock, chunk)
    until = clock.kept_until if chunk.stamp is None else chunk.stamp + chunk.duration
    clock = replace(clock, source=chunk.source or clock.source, kept_until=until)
    if not chunk.is_exact and clock.is_stamped:
        chunk = replace(chunk, stamp=None)
    if chunk.stamp is None:
        return _hold(clock, chunk) if clock.held else _place(clock, chunk)
    if chunk.is_exact:
        duplicate, clock = _remember(clock, chunk)
        if duplicate:
            return clock, [Overlap(chunk.stamp, chunk.duration)]
        is_second, clock = _tell_apart(clock, chunk, chunk.stamp)
        if is_second:
            return clock, [SecondMicrophone(chunk.stamp, "")]
        if (
            chunk.stamp == clock.last_stamp
        ):  # other audio, same stamp: the driver's clock is stopped
            event: list[Output] = [] if clock.held else [WrongStamps(clock.now, 1)]
            clock, out = step(clock, replace(chunk, stamp=None))
            return clock, event + out
        clock = replace(clock, last_stamp=chunk.stamp)
    return _compare(clock, chunk, chunk.stamp)


def finish(clock: Clock) -> tuple[Clock, list[Output]]:
    """End the stream: return what is held back, placed by its stamps."""
    outputs: list[Output] = []
    while clock.held:
        clock, out = _settle(clock)
        outputs += out
    return clock, outputs


def _begin(clock: Clock, chunk: Chunk) -> tuple[Clock, list[Output]]:
    start = chunk.stamp if chunk.stamp is not None else 0
    clock = replace(clock, rate=chunk.rate, epoch=start)
    clock, out = step(clock, chunk)
    return clock, [NewLine(start, chunk.rate), *out]


def _change_rate(clock: Clock, chunk: Chunk) -> tuple[Clock, list[Output]]:
    clock, out = finish(clock)
    out += [NewLine(clock.now, chunk.rate), RateChange(clock.now, clock.rate, chunk.rate)]
    # the lag of the old rate says nothing about the new one
    clock = replace(clock, rate=chunk.rate, epoch=clock.now, count=0, drifting=Drifting())
    clock, placed = step(clock, chunk)
    return clock, out + placed


def _compare(clock: Clock, chunk: Chunk, stamp: int) -> tuple[Clock, list[Output]]:
    tolerance = STAMP_TOLERANCE if chunk.is_exact else ARRIVAL_TOLERANCE
    without_held = stamp - clock.now
    offset = without_held - clock.held_duration
    if clock.held and abs(without_held) <= min(tolerance, abs(offset)):
        # the line goes on as if what is held had not been: it was heard before, or came late
        first, duration = clock.held[0].stamp or 0, clock.held_duration
        clock, out = _compare(replace(clock, held=()), chunk, stamp)
        return clock, [Overlap(first, duration), *out]
    is_early = -MAX_OVERLAP <= offset < -tolerance
    if abs(offset) > tolerance and (chunk.is_exact or not is_early):
        return _hold(clock, chunk)
    # an arrival too early means that the ones before were late: nothing was heard twice
    if clock.held:  # back on the line: the stamps that were held back were wrong
        clock, out = _refute(clock)
        clock, more = _compare(clock, chunk, stamp)
        return clock, out + more
    return _place(clock, chunk)


def _hold(clock: Clock, chunk: Chunk) -> tuple[Clock, list[Output]]:
    clock = replace(clock, held=(*clock.held, chunk))
    stamps = [held.stamp for held in clock.held if held.stamp is not None]
    if stamps[-1] - stamps[0] >= CONFIRMATION:
        return _settle(clock)
    if clock.held_duration > MAX_HELD:  # the stamps lead nowhere
        return _refute(clock)
    return clock, []


def _refute(clock: Clock) -> tuple[Clock, list[Output]]:
    held = clock.held
    out: list[Output] = [WrongStamps(clock.now, len(held))]
    clock = replace(clock, held=())
    for chunk in held:
        clock, placed = _place(clock, replace(chunk, stamp=None))
        out += placed
    return clock, out


def _settle(clock: Clock) -> tuple[Clock, list[Output]]:
    """The stamps held back are right: move the line there, then place what was held."""
    held, end = clock.held, clock.now
    offsets = _held_offsets(held, end)
    if min(offsets) < 0 < max(offsets):  # they do not even agree among themselves
        return _refute(clock)
    clock = replace(clock, held=())
    offset = min(offsets)  # stamps come late, never early
    if -MAX_OVERLAP <= max(offsets) < 0:
        return _drop_overlap(clock, held, -max(offsets))
    out: list[Output] = []
    if 0 < offset <= MAX_FILL:
        missing = round(offset * clock.rate / NS)
        zeros = np.zeros((missing, *held[0].samples.shape[1:]), np.float32)
        out += [Gap(end, offset, filled=True), ClockStretch(zeros, clock.drifting.shift)]
        clock = replace(clock, count=clock.count + len(zeros))
    else:
        is_gap = 0 < offset <= MAX_GAP
        out += [NewLine(end + offset, clock.rate)]
        out += [Gap(end, offset, filled=False) if is_gap else Jump(end, end + offset)]
        clock = replace(clock, epoch=end + offset, count=0, drifting=Drifting())
        clock = replace(clock, recent=clock.recent if is_gap else ())
    clock, placed = _place(clock, held[0])
    clock, rest = _again(clock, held[1:])
    return clock, out + placed + rest


def _held_offsets(held: tuple[Chunk, ...], end: int) -> list[int]:
    """How far off the line each held chunk is."""
    offsets = []
    for chunk in held:
        if chunk.stamp is not None:
            offsets.append(chunk.stamp - end)
        end += chunk.duration
    return offsets


def _drop_overlap(
    clock: Clock, held: tuple[Chunk, ...], overlap: int
) -> tuple[Clock, list[Output]]:
    """The first `overlap` ns of what was held were heard before."""
    left = round(overlap * clock.rate / NS)
    dropped, stamp = 0, held[0].stamp or 0
    while held and dropped < left:
        samples = held[0].samples[left - dropped :]
        dropped += len(held[0].samples) - len(samples)
        # a chunk without its beginning is placed by counting
        rest = (replace(held[0], samples=samples, stamp=None),) if len(samples) else ()
        held = (*rest, *held[1:])
    clock, out = _again(clock, held)
    return clock, [Overlap(stamp, dropped * NS // clock.rate), *out]


def _again(clock: Clock, chunks: tuple[Chunk, ...]) -> tuple[Clock, list[Output]]:
    """Place chunks that were held back, now that the line was moved."""
    out: list[Output] = []
    for chunk in chunks:
        if chunk.stamp is not None:
            clock, more = _compare(clock, chunk, chunk.stamp)
        else:
            clock, more = _hold(clock, chunk) if clock.held else _place(clock, chunk)
        out += more
    return clock, out


def _place(clock: Clock, chunk: Chunk) -> tuple[Clock, list[Output]]:
    out: list[Output] = []
    drifting = clock.drifting
    if chunk.stamp is not None:
        drifting, out = _follow(clock, chunk.duration, chunk.stamp - clock.counted)
    placed = ClockStretch(chunk.samples, drifting.shift)
    count = clock.count + len(chunk.samples)
    return replace(clock, drifting=drifting, count=count), [*out, placed]


def _follow(clock: Clock, duration: int, lag: int) -> tuple[Drifting, list[Output]]:
    """Average the lag; above the tolerance, correct it gradually."""
    old = clock.drifting
    heard = old.heard + duration
    weight = duration / min(heard, seconds(DRIFT_MEMORY) + duration)
    new = replace(old, heard=heard, lag=old.lag + weight * (lag - old.lag))
    if heard < DRIFT_WARM_UP:
        return new, []
    if new.reference is None:
        return replace(new, reference=(heard, new.lag)), []
    rest = round(new.lag) - new.shift
    out: list[Output] = []
    if not new.is_correcting and abs(rest) > DRIFT_TOLERANCE:
        since, lag_then = new.reference
        rate = (new.lag - lag_then) / max(heard - since, 1) * 1e6
        out = [Drift(clock.now, rest, round(rate, 1))]
        new = replace(new, is_correcting=True)
    if new.is_correcting:
        most = duration // DRIFT_SLEW
        new = replace(new, shift=new.shift + max(-most, min(most, rest)))
        new = replace(new, is_correcting=abs(rest) > DRIFT_DONE)
    return new, out


def _remember(clock: Clock, chunk: Chunk) -> tuple[bool, Clock]:
    """Is this chunk, stamp and audio, one of the last ones? It has a stamp of its own."""
    assert chunk.stamp is not None
    checksum = zlib.crc32(chunk.samples.tobytes())
    mark = (chunk.stamp, checksum, chunk.duration)
    if mark in clock.recent:
        return True, replace(clock, is_stamped=True)
    recent = (*clock.recent, mark)
    first, remembered = 0, sum([duration for _, _, duration in recent])
    while remembered > REMEMBERED and first < len(recent) - 1:
        remembered -= recent[first][2]
        first += 1
    return False, replace(clock, recent=recent[first:][-MOST_REMEMBERED:], is_stamped=True)


def _is_of_another(clock: Clock, chunk: Chunk, stamp: int) -> bool:
    """Is it from another frame, while the microphone that is listened to lives?"""
    is_other = bool(chunk.source and clock.source) and chunk.source != clock.source
    return is_other and abs(stamp - clock.kept_until) < TAKEOVER


def _tell_apart(clock: Clock, chunk: Chunk, stamp: int) -> tuple[bool, Clock]:
    """Is this chunk of a second microphone whose chunks lie between those of the first?

    Sorted by time, every other stamp of two microphones is one chunk's duration after another. A
    microphone alone is twice as slow, and a driver that stalls or stamps in bursts has no rhythm.
    """
    length, last_end = chunk.duration, clock.last_kept
    stamps = (*clock.stamps, stamp)[-PATTERN:]
    ordered = sorted(stamps)
    steps = [later - earlier for earlier, later in zip(ordered, ordered[2:], strict=False)]
    fits = len([step for step in steps if abs(step - length) <= length // 4])
    is_double = len(stamps) == PATTERN and fits >= 0.9 * len(steps)
    if is_double and not clock.is_double:  # the oldest stamp is from before the second one came
        last_end = stamps[0] + (stamp - stamps[0] + length - length // 8) // length * length
    off = stamp - last_end
    is_second = is_double and -TAKEOVER < off < -length // 8
    if not is_second:
        # stamps tremble: the rhythm of the first one is followed slowly
        rhythm = off // 10 if is_double and abs(off) < length else off
        last_end += rhythm + length
    return is_second, replace(clock, stamps=stamps, is_double=is_double, last_kept=last_end)
