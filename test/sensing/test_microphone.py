"""A microphone topic: late, missing or per-message formats, and replaced devices."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from erc_ros.sensing.audio import AudioFormat, AudioSamples
from erc_ros.sensing.clock import RateChange
from erc_ros.sensing.level import Silent
from erc_ros.sensing.microphone import (
    AudioChunk,
    Microphone,
    MicrophoneEvent,
    NoInfo,
    NotWaited,
    Replugged,
)
from erc_ros.values.nanoseconds import NS, seconds

T0 = 1_700_000_000 * NS
S16 = AudioFormat(16_000, 1)
STEREO = AudioFormat(48_000, 2, "F32LE")


def chunk(number: int, data: bytes = bytes(3200), format: AudioFormat | None = None) -> AudioChunk:
    """Return the n-th tenth of a second."""
    at = T0 + number * NS // 10
    return AudioChunk(data, at, at, "", format)


def heard(events: list[MicrophoneEvent]) -> int:
    """Return the samples at 16 kHz."""
    return sum(len(event.samples) for event in events if isinstance(event, AudioSamples))


def stereo() -> bytes:
    return np.full((4800, 2), 0.25, "<f4").tobytes()


def test_without_an_info_to_expect_the_parameters_hold_at_once() -> None:
    microphone = Microphone(S16)
    assert heard(list(microphone.feed(chunk(0)))) == 1600


def test_audio_waits_for_a_late_info_without_loss() -> None:
    microphone = Microphone(S16)
    microphone.expects_info = True
    events = [event for n in range(40) for event in microphone.feed(chunk(n, stereo()))]
    assert events == []
    microphone.inform(STEREO)
    events = list(microphone.feed(chunk(40, stereo()))) + microphone.flush()
    assert heard(events) == pytest.approx(41 * 1600, abs=2)
    assert min(e.start for e in events if isinstance(e, AudioSamples)) == T0


def test_a_missing_info_is_reported_once_after_six_seconds() -> None:
    microphone = Microphone(S16)
    microphone.expects_info = True
    events = [event for n in range(100) for event in microphone.feed(chunk(n))]
    assert [e for e in events if isinstance(e, NoInfo)] == [NoInfo(T0)]
    assert heard(events) == 100 * 1600


def test_a_format_that_cannot_be_read_is_refused_until_another_one_comes() -> None:
    microphone = Microphone(S16)
    microphone.refuse("MP3 cannot be read")
    with pytest.raises(ValueError, match="MP3"):
        list(microphone.feed(chunk(0)))
    microphone.inform(S16)
    assert heard(list(microphone.feed(chunk(1)))) == 1600 and microphone.refused == ""


def test_a_message_with_its_own_format_does_not_wait() -> None:
    microphone = Microphone(S16)
    microphone.expects_info = True
    assert heard([*microphone.feed(chunk(0, stereo(), STEREO)), *microphone.flush()]) >= 1500


def test_a_chunk_that_cannot_be_read_does_not_take_the_others_with_it() -> None:
    microphone, events = Microphone(S16), list[MicrophoneEvent]()
    events += microphone.feed(chunk(0))
    with pytest.raises(ValueError, match="3 bytes"):
        list(microphone.feed(chunk(1, b"abc")))
    events += microphone.feed(chunk(2))
    events += microphone.flush()
    assert heard(events) == pytest.approx(3 * 1600, abs=1600)


def test_another_device_with_another_rate_and_channels_takes_over() -> None:
    microphone = Microphone(S16)
    events = [event for n in range(20) for event in microphone.feed(chunk(n))]
    events += microphone.replug()
    microphone.expects_info = True
    assert list(microphone.feed(chunk(50, stereo()))) == []  # what is it?
    microphone.inform(STEREO)
    events += [event for n in range(51, 60) for event in microphone.feed(chunk(n, stereo()))]
    events += microphone.flush()
    assert [type(e) for e in events if not isinstance(e, AudioSamples)] == [Replugged]
    assert heard(events) == pytest.approx(30 * 1600, abs=4)
    assert max(e.start for e in events if isinstance(e, AudioSamples)) > T0 + seconds(5)


def test_a_device_that_changes_its_rate_in_mid_stream_is_followed() -> None:
    microphone = Microphone(S16)
    events = [event for n in range(10) for event in microphone.feed(chunk(n))]
    microphone.inform(STEREO)
    events += [event for n in range(10, 20) for event in microphone.feed(chunk(n, stereo()))]
    events += microphone.flush()
    assert [type(e) for e in events if not isinstance(e, AudioSamples)] == [RateChange]
    assert heard(events) == pytest.approx(20 * 1600, abs=4)


def test_a_microphone_that_sends_zeros_is_reported_once() -> None:
    microphone = Microphone(S16)
    events = [event for n in range(200) for event in microphone.feed(chunk(n))]
    assert [e for e in events if not isinstance(e, AudioSamples)] == [Silent(T0)]


def samples(values: NDArray[np.float32]) -> bytes:
    return (values * 32767).astype("<i2").tobytes()


def test_what_waits_for_the_info_is_bounded() -> None:
    microphone = Microphone(S16, capacity=10)
    microphone.expects_info = True
    for n in range(40):
        events = list(microphone.feed(chunk(n, samples(np.full(1600, n / 100, np.float32)))))
        assert events == ([] if n < 10 else [NotWaited(chunk(n - 10).arrival)])
    microphone.inform(S16)
    events = list(microphone.feed(chunk(40)))
    assert heard(events) == 10 * 1600


def test_audio_that_waits_for_an_info_is_bounded_in_bytes_and_drops_are_reported() -> None:
    microphone = Microphone(S16, most_bytes=10 * 3200)
    microphone.expects_info = True
    events = [event for n in range(30) for event in microphone.feed(chunk(n))]
    assert events == [NotWaited(chunk(n).arrival) for n in range(20)]
    microphone.inform(S16)
    assert heard(list(microphone.feed(chunk(30)))) == 10 * 1600  # with the eleventh, one went
