"""Sample clock of a microphone: times from the sample count, corrected by the message stamps.

A chunk whose stamp differs from the count by more than the tolerance is buffered until the stamps
of the next chunks, for `CONFIRMATION`, agree with it. In this case samples were lost (`Gap`), sent
twice (`Overlap`), or the clock was set (`Jump`). If the stamps return to the count instead, the
stamp was wrong (a stalled driver): the chunk gets its time from the count and is reported as
`WrongStamps`. A late stamp therefore never causes a gap, and a real loss causes one short delay.

A "line" is a continuous run of samples. `step` is a pure function on a frozen state.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from erc_ros.values.nanoseconds import NS, seconds

STAMP_TOLERANCE = seconds(0.05)  # jitter of header stamps within a line
ARRIVAL_TOLERANCE = seconds(0.25)  # jitter of arrival times, used if there is no stamp
CONFIRMATION = seconds(0.1)  # stamps must agree this long before a gap or a jump is accepted
MAX_HELD = seconds(1.0)  # maximum audio buffered while the stamps disagree
MAX_FILL = seconds(1.0)  # gaps up to this length are filled with zeros
MAX_OVERLAP = seconds(1.0)  # stamps further back than this mean that the clock was set back
MAX_GAP = seconds(10.0)  # stamps further ahead than this mean that the clock was set
REMEMBERED = seconds(1.0)  # time span in which a duplicate chunk is detected
MOST_REMEMBERED = 64  # maximum number of chunks in it
TAKEOVER = seconds(1.0)  # another microphone is used after this time without the first one
PATTERN = 32  # chunks whose stamps are compared to detect two microphones on one topic
DRIFT_MEMORY = 5.0  # s, time constant of the average lag
DRIFT_WARM_UP = seconds(15.0)  # audio before the average is used
DRIFT_TOLERANCE = seconds(0.005)  # average lag at which a correction starts
DRIFT_DONE = seconds(0.0005)  # remaining lag at which it ends
DRIFT_SLEW = 1_000  # the correction is at most 1 ns in this many ns


@dataclass(frozen=True, slots=True)
class Gap:
    """Samples were lost: no audio was received for `duration` ns from `start`.

    filled: whether the following samples contain zeros for the gap (gaps up to 1 s).
    """

    start: int
    duration: int
    filled: bool


@dataclass(frozen=True, slots=True)
class Overlap:
    """Duplicate audio, stamped `start` and `duration` ns long, was dropped."""

    start: int
    duration: int


@dataclass(frozen=True, slots=True)
class Jump:
    """No audio for over 10 s, or the clock was set: a line ended at `before`.

    A new line begins at `after`.
    """

    before: int
    after: int


@dataclass(frozen=True, slots=True)
class Drift:
    """The stamps drift from the sample count; from `start` on, `offset` ns are being corrected.

    parts_per_million: drift rate, positive if the microphone is slower than its nominal rate.
    """

    start: int
    offset: int
    parts_per_million: float


@dataclass(frozen=True, slots=True)
class WrongStamps:
    """The stamps of `chunks` chunks from `start` on were wrong: times are from the count."""

    start: int
    chunks: int


@dataclass(frozen=True, slots=True)
class RateChange:
    """The sample rate (Hz) changed at `start`; the resampler is restarted, time continues."""

    start: int
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class SecondMicrophone:
    """A chunk of a second microphone on the same topic, stamped `start`, was dropped.

    source: its frame_id, "" if the second microphone was detected by the stamps only.
    """

    start: int
    source: str


ClockEvent = Gap | Overlap | Jump | Drift | WrongStamps | RateChange | SecondMicrophone


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """Samples (n,) or (n, c) at `rate` Hz.

    stamp: ns, time of the first sample; None = unknown.
    is_exact: whether the stamp is from a header; otherwise it is estimated from the arrival time.
    source: frame_id of the microphone, "" = unknown.
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
    """The next samples of the line. shift: ns to add to the counted times."""

    samples: NDArray[np.float32]
    shift: int


@dataclass(frozen=True, slots=True)
class NewLine:
    """A new line begins: its start in ns and rate in Hz.

    It precedes the event with the reason, so that the resampler is flushed first.
    """

    start: int
    rate: int


@dataclass(frozen=True, slots=True)
class Drifting:
    """State of the drift correction; positive lags mean that the counted times are too early."""

    lag: float = 0.0  # ns, average of stamp - counted time
    heard: int = 0  # ns of stamped audio in the average
    reference: tuple[int, float] | None = None  # `heard` and `lag` at two thirds of the warm-up
    shift: int = 0  # part of the lag that is corrected
    is_correcting: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Clock:
    """State of the sample clock. Times in ns."""

    rate: int = 0  # Hz; 0 before the first chunk
    epoch: int = 0  # time of the first sample of the line
    count: int = 0  # samples of the line so far
    is_stamped: bool = False  # a header stamp was received: arrival times are not used any more
    last_stamp: int | None = None
    drifting: Drifting = Drifting()
    held: tuple[Chunk, ...] = ()  # chunks whose stamps are not yet confirmed
    recent: tuple[tuple[int, int, int], ...] = ()  # stamp, checksum, duration of the last chunks
    source: str | None = None  # microphone in use; None before the first chunk
    kept_until: int = 0  # end of its last chunk, from its stamp
    last_kept: int = 0  # likewise, of the chunks whose stamps fit the first microphone
    stamps: tuple[int, ...] = ()  # of the last chunks of all microphones
    is_double: bool = False  # the stamps are from two microphones

    @property
    def counted(self) -> int:
        return self.epoch + self.count * NS // self.rate

    @property
    def now(self) -> int:
        """End of the last sample of the line."""
        return self.counted + self.drifting.shift

    @property
    def held_duration(self) -> int:
        return sum(chunk.duration for chunk in self.held)


Output = ClockEvent | ClockStretch | NewLine


def step(clock: Clock, chunk: Chunk) -> tuple[Clock, list[Output]]:
    """Append a chunk to the line, drop it, or buffer it until its stamp is confirmed."""
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
        ):  # same stamp, different audio: the clock of the driver has stopped
            event: list[Output] = [] if clock.held else [WrongStamps(clock.now, 1)]
            clock, out = step(clock, replace(chunk, stamp=None))
            return clock, event + out
        clock = replace(clock, last_stamp=chunk.stamp)
    return _compare(clock, chunk, chunk.stamp)


def finish(clock: Clock) -> tuple[Clock, list[Output]]:
    """End the stream: append the buffered chunks by their stamps."""
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
    # the lag at the old rate is not valid for the new one
    clock = replace(clock, rate=chunk.rate, epoch=clock.now, count=0, drifting=Drifting())
    clock, placed = step(clock, chunk)
    return clock, out + placed


def _compare(clock: Clock, chunk: Chunk, stamp: int) -> tuple[Clock, list[Output]]:
    tolerance = STAMP_TOLERANCE if chunk.is_exact else ARRIVAL_TOLERANCE
    without_held = stamp - clock.now
    offset = without_held - clock.held_duration
    if clock.held and abs(without_held) <= min(tolerance, abs(offset)):
        # the new chunk continues the line: the buffered chunks were duplicates or late
        first, duration = clock.held[0].stamp or 0, clock.held_duration
        clock, out = _compare(replace(clock, held=()), chunk, stamp)
        return clock, [Overlap(first, duration), *out]
    is_early = -MAX_OVERLAP <= offset < -tolerance
    if abs(offset) > tolerance and (chunk.is_exact or not is_early):
        return _hold(clock, chunk)
    # an early arrival means that the previous arrivals were late, not that audio was sent twice
    if clock.held:  # this stamp fits the count: the buffered stamps were wrong
        clock, out = _refute(clock)
        clock, more = _compare(clock, chunk, stamp)
        return clock, out + more
    return _place(clock, chunk)


def _hold(clock: Clock, chunk: Chunk) -> tuple[Clock, list[Output]]:
    clock = replace(clock, held=(*clock.held, chunk))
    stamps = [held.stamp for held in clock.held if held.stamp is not None]
    if stamps[-1] - stamps[0] >= CONFIRMATION:
        return _settle(clock)
    if clock.held_duration > MAX_HELD:  # the stamps do not become consistent
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
    """Accept the buffered stamps: move the line to them, then append the buffered chunks."""
    held, end = clock.held, clock.now
    offsets = _held_offsets(held, end)
    if min(offsets) < 0 < max(offsets):  # the buffered stamps contradict each other
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
    """Return the difference of each buffered stamp from the counted time."""
    offsets = []
    for chunk in held:
        if chunk.stamp is not None:
            offsets.append(chunk.stamp - end)
        end += chunk.duration
    return offsets


def _drop_overlap(
    clock: Clock, held: tuple[Chunk, ...], overlap: int
) -> tuple[Clock, list[Output]]:
    """Drop the first `overlap` ns of the buffered audio, which are duplicates."""
    left = round(overlap * clock.rate / NS)
    dropped, stamp = 0, held[0].stamp or 0
    while held and dropped < left:
        samples = held[0].samples[left - dropped :]
        dropped += len(held[0].samples) - len(samples)
        # a chunk that lost its beginning gets its time from the count
        rest = (replace(held[0], samples=samples, stamp=None),) if len(samples) else ()
        held = (*rest, *held[1:])
    clock, out = _again(clock, held)
    return clock, [Overlap(stamp, dropped * NS // clock.rate), *out]


def _again(clock: Clock, chunks: tuple[Chunk, ...]) -> tuple[Clock, list[Output]]:
    """Process the buffered chunks after the line was moved."""
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
    """Update the average lag, and correct it gradually if it is above the tolerance."""
    old = clock.drifting
    duration_heard = old.heard + duration
    weight = duration / min(duration_heard, seconds(DRIFT_MEMORY) + duration)
    new = replace(old, heard=duration_heard, lag=old.lag + weight * (lag - old.lag))
    if duration_heard < DRIFT_WARM_UP:
        return new, []
    if new.reference is None:
        return replace(new, reference=(duration_heard, new.lag)), []
    rest = round(new.lag) - new.shift
    out: list[Output] = []
    if not new.is_correcting and abs(rest) > DRIFT_TOLERANCE:
        since, lag_then = new.reference
        rate = (new.lag - lag_then) / max(duration_heard - since, 1) * 1e6
        out = [Drift(clock.now, rest, round(rate, 1))]
        new = replace(new, is_correcting=True)
    if new.is_correcting:
        most = duration // DRIFT_SLEW
        new = replace(new, shift=new.shift + max(-most, min(most, rest)))
        new = replace(new, is_correcting=abs(rest) > DRIFT_DONE)
    return new, out


def _remember(clock: Clock, chunk: Chunk) -> tuple[bool, Clock]:
    """Return whether a chunk with a header stamp repeats a recent one, and the new state."""
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
    """Return whether a chunk has another frame_id while the microphone in use still sends."""
    is_other = bool(chunk.source and clock.source) and chunk.source != clock.source
    return is_other and abs(stamp - clock.kept_until) < TAKEOVER


def _tell_apart(clock: Clock, chunk: Chunk, stamp: int) -> tuple[bool, Clock]:
    """Detect by the stamps whether a chunk is from a second microphone on the same topic.

    With two microphones, the sorted stamps i and i + 2 differ by the duration of one chunk. With
    one microphone they differ by two, and a driver that stalls or sends in bursts has no period.
    """
    length, last_end = chunk.duration, clock.last_kept
    stamps = (*clock.stamps, stamp)[-PATTERN:]
    ordered = sorted(stamps)
    steps = [later - earlier for earlier, later in zip(ordered, ordered[2:], strict=False)]
    fits = len([step for step in steps if abs(step - length) <= length // 4])
    is_double = len(stamps) == PATTERN and fits >= 0.9 * len(steps)
    if is_double and not clock.is_double:  # the oldest stamp is from before the second microphone
        last_end = stamps[0] + (stamp - stamps[0] + length - length // 8) // length * length
    off = stamp - last_end
    is_second = is_double and -TAKEOVER < off < -length // 8
    if not is_second:
        # stamps jitter: the period of the first microphone is adapted slowly
        rhythm = off // 10 if is_double and abs(off) < length else off
        last_end += rhythm + length
    return is_second, replace(clock, stamps=stamps, is_double=is_double, last_kept=last_end)
