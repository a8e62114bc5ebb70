"""Speakers followed in a stream: what is decided when, once, and what is corrected."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tones import RATE, LoudIsSpeech, Samples, scene, tone_networks

from erc_ros.dialogue.speakers.diarization import DiarizationConfig
from erc_ros.dialogue.speakers.networks import DiarizationNetworks
from erc_ros.dialogue.speakers.speaker_stream import SpeakerStream, SpeakerStreamConfig, relabel
from erc_ros.dialogue.speakers.turns import Attribution, SpeakerTurn, TurnCorrection
from erc_ros.dialogue.voice_activity import SileroVoiceActivity
from erc_ros.values.nanoseconds import NS, seconds

Events = list[SpeakerTurn | TurnCorrection]
DIALOGUE = scene((1, 4, 5), (5, 8, 20), (7, 12, 5), end=14.0)


def stream(networks: DiarizationNetworks | None = None, **config: float) -> SpeakerStream:
    activity = SileroVoiceActivity() if networks else LoudIsSpeech()
    return SpeakerStream(SpeakerStreamConfig(**config), activity, networks or tone_networks())


def hear(ears: SpeakerStream, sound: Samples, chunk: int = 1_600) -> Events:
    events: Events = []
    for first in range(0, len(sound), chunk):
        events += ears.feed(sound[first : first + chunk])
    return events + ears.flush()


def turns(events: Events) -> list[SpeakerTurn]:
    return [event for event in events if isinstance(event, SpeakerTurn)]


def corrected(events: Events) -> list[SpeakerTurn]:
    """What is known at the end."""
    found: list[SpeakerTurn] = []
    for event in events:
        found = [*found, event] if isinstance(event, SpeakerTurn) else relabel(found, event)
    return found


def at(found: Sequence[SpeakerTurn], second: float) -> set[int | None]:
    moment = seconds(second)
    return {t.attribution.speaker for t in found if t.start <= moment < t.end}


# --- what is decided when ---


@pytest.mark.parametrize("latency", [0.0, 1.0, 5.0])
def test_every_moment_of_every_speaker_is_told_once_and_in_order(latency: float) -> None:
    ears = stream(latency=latency)
    events = hear(ears, DIALOGUE)
    found = turns(events)
    for speaker in {turn.attribution.speaker for turn in found}:
        own = [turn for turn in found if turn.attribution.speaker == speaker]
        assert all(one.end <= other.start for one, other in itertools.pairwise(own))
    last = corrected(events)
    moments = (0.5, 3.0, 4.5, 6.0, 7.5, 11.0, 13.0)
    assert [at(last, moment) for moment in moments] == [set(), {0}, set(), {1}, {0, 1}, {0}, set()]
    counted = ears.counters()
    assert counted["turns"] == len(found)
    assert counted["overlaps"] == sum(turn.overlapped > 0 for turn in found)
    assert counted["corrections"] == len(events) - len(found)


def test_nothing_is_decided_before_its_time_nor_much_later() -> None:
    ears, decided = stream(latency=1.0), 0
    for first in range(0, len(DIALOGUE), RATE // 10):
        now = (first + RATE // 10) * NS // RATE
        new = turns(ears.feed(DIALOGUE[first : first + RATE // 10]))
        assert all(turn.start >= decided - seconds(1.05) for turn in new)  # a step
        decided = max([decided, *(turn.end for turn in new)])
        assert decided <= max(0, now - seconds(1.0))
        if seconds(3.0) < now < seconds(4.0):  # in the middle of speech
            assert decided >= now - seconds(1.0) - seconds(1.1)


def test_what_was_decided_too_soon_is_corrected() -> None:
    """The second voice is not beside the first, and too short at first to be somebody."""
    events = hear(stream(latency=0.5), scene((1, 4, 5), (16, 17, 20), (18, 21, 20)))
    assert at(turns(events), 16.5) == {0}
    last = corrected(events)
    assert at(last, 16.5) == {1} and at(last, 3.0) == {0} and at(last, 20.0) == {1}


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.integers(1, 60_000), max_size=8))
def test_any_chunking_gives_the_same_events(sizes: list[int]) -> None:
    ears, events = stream(), []
    for part in np.split(DIALOGUE, np.minimum(np.cumsum(sizes), len(DIALOGUE)).astype(int)):
        events += ears.feed(part)
    events += ears.flush()
    assert events == hear(stream(), DIALOGUE)


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(st.tuples(st.floats(-1.0, 2.0), st.floats(0.3, 3.0), st.integers(1, 4)), max_size=8),
    st.sampled_from([0.0, 1.0, 3.0]),
    st.integers(1, 3),
)
def test_whoever_speaks_when_turns_and_corrections_fit_together(
    spoken: list[tuple[float, float, int]], latency: float, bound: int
) -> None:
    heard, now = [(0.1, 0.4, 40)], 0.5
    for gap, duration, voice in spoken:
        start = max(0.0, now + gap)
        heard.append((start, start + duration, 10 * voice))
        now = start + duration
    sound = scene(*heard, end=now + 6.0)
    config = SpeakerStreamConfig(latency, diarization=DiarizationConfig(max_speakers=bound))
    ears = SpeakerStream(config, LoudIsSpeech(), tone_networks())
    known: list[SpeakerTurn] = []
    for event in hear(ears, sound):
        if isinstance(event, SpeakerTurn):
            assert 0 <= event.start < event.end <= len(sound) * NS // RATE
            assert 0 <= event.overlapped <= event.end - event.start
            speaker = event.attribution.speaker
            assert speaker is None or 0 <= event.attribution.confidence <= 1
            known.append(event)
        else:  # what it corrects has been told, and not been corrected since
            assert event.start < event.end and event.old_speaker != event.new_speaker
            assert event.old_speaker in at(known, event.start / NS)
            known = relabel(known, event)
    said = {turn.attribution.speaker for turn in known if turn.end - turn.start > seconds(0.1)}
    assert said - {None} <= set(range(2 * bound))


def test_after_a_reset_all_is_as_at_first() -> None:
    ears = stream()
    first = hear(ears, DIALOGUE)
    counted = ears.counters()
    ears.reset()
    assert hear(ears, DIALOGUE) == first
    assert ears.counters() == {name: 2 * count for name, count in counted.items()}


def test_silence_costs_no_look() -> None:
    ears = stream()
    hear(ears, np.zeros(60 * RATE, np.float32))
    assert ears.counters() == {"turns": 0, "overlaps": 0}
    hear(ears, scene((0, 2, 5), end=60.0))
    assert 2 <= ears.counters()["updates"] <= 4  # 2 s of speech and a little longer


def test_nothing_heard_is_nothing_told() -> None:
    ears = stream()
    assert ears.flush() == [] and ears.feed(np.zeros(0, np.float32)) == []
    assert ears.feed(np.zeros(100, np.float32)) == [] and ears.flush() == []


def test_twelve_speakers_and_room_for_six() -> None:
    sound = scene(*((1.0 + 4 * k, 4.0 + 4 * k, 4 * k + 2) for k in range(12)), end=50.0)
    config = SpeakerStreamConfig(diarization=DiarizationConfig(max_speakers=6))
    ears = SpeakerStream(config, LoudIsSpeech(), tone_networks())
    found = corrected(hear(ears, sound))
    said = {turn.attribution.speaker for turn in found if turn.end - turn.start > seconds(0.3)}
    assert len(said) <= 6 and None not in said
    assert ears.counters()["corrections"] > 0


# --- with the shipped networks ---


@pytest.fixture(scope="module")
def overlapping() -> Samples:
    """8.5 s, in which one of the demo's people begins a second before the other one ends."""
    pytest.importorskip("espeakng_loader", reason="the extra [demo] is not installed")
    from erc_ros.demo.conversation_bag import DIALOGUE, VOICES
    from erc_ros.demo.voices import synthesiser

    one, other = (
        0.5 * synthesiser().say(turn.text, VOICES[turn.speaker], turn.delivery)
        for turn in (DIALOGUE[0], DIALOGUE[2])
    )
    sound = np.random.default_rng(0).normal(0, 1e-3, round(8.5 * RATE)).astype(np.float32)
    sound[RATE : RATE + len(one)] += one
    second = len(one)  # a second before the end of the first
    sound[second : second + len(other)] += other[: len(sound) - second]
    return sound


def test_two_people_who_talk_at_once_are_both_heard(
    networks: DiarizationNetworks, overlapping: Samples
) -> None:
    ears = stream(networks, latency=2.0)
    found = corrected(hear(ears, overlapping))
    assert [at(found, second) for second in (0.3, 2.0, 6.0, 8.3)] == [set(), {0}, {1}, set()]
    both = [k / 100 for k in range(850) if at(found, k / 100) == {0, 1}]
    assert 0.5 < len(both) / 100 < 1.2
    assert ears.counters()["overlaps"] > 0


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_a_microphone_that_sends_nothing_says_nothing(
    networks: DiarizationNetworks, value: float
) -> None:
    ears = stream(networks)
    assert hear(ears, np.full(5 * RATE, value, np.float32)) == []
    assert ears.counters() == {"turns": 0, "overlaps": 0}


def test_any_chunking_of_speech_gives_the_same_events(
    networks: DiarizationNetworks, overlapping: Samples
) -> None:
    one, other = (hear(stream(networks), overlapping, chunk) for chunk in (777, 50_000))
    assert one == other and turns(one)


# --- corrections ---


def turn(start: float, end: float, speaker: int | None) -> SpeakerTurn:
    return SpeakerTurn(seconds(start), seconds(end), Attribution(speaker, 0.5))


def spans(found: Sequence[SpeakerTurn]) -> list[tuple[float, float, int | None]]:
    return [(t.start / NS, t.end / NS, t.attribution.speaker) for t in found]


def correction(start: float, end: float, old: int | None, new: int | None) -> TurnCorrection:
    return TurnCorrection(seconds(start), seconds(end), old, new)


def test_a_correction_changes_its_part_of_the_speaker_it_names() -> None:
    told = [turn(0, 4, 0), turn(3, 5, 1)]
    assert spans(relabel(told, correction(2, 6, 0, 1))) == [(0, 2, 0), (2, 4, 1), (3, 5, 1)]
    assert spans(relabel(told, correction(1, 2, 0, None))) == [
        (0, 1, 0),
        (1, 2, None),
        (2, 4, 0),
        (3, 5, 1),
    ]
    assert relabel(told, correction(4, 9, 0, 1)) == told
    assert relabel([], correction(4, 9, 0, 1)) == []


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9), st.sampled_from([None, 0, 1]))),
    st.tuples(st.integers(0, 9), st.integers(1, 9)),
)
def test_a_correction_loses_no_time(
    told: list[tuple[int, int, int | None]], span: tuple[int, int]
) -> None:
    before = [turn(start, start + length, speaker) for start, length, speaker in told]
    after = relabel(before, correction(span[0], sum(span), 0, 1))
    for tenth in range(0, 200, 5):
        moment = seconds(tenth / 10)
        inside = span[0] * NS <= moment < sum(span) * NS

        def there(found: list[SpeakerTurn], moment: int = moment) -> list[SpeakerTurn]:
            return [t for t in found if t.start <= moment < t.end]

        assert len(there(before)) == len(there(after))
        assert not inside or 0 not in {t.attribution.speaker for t in there(after)}


class Understood:
    """Stands for a diarizer: what it understands now."""

    def __init__(
        self, *now: SpeakerTurn, reattributed_from: float = 0.0, **merged: int | None
    ) -> None:
        self.now, self.reattributed_from = now, seconds(reattributed_from)
        self.merged = {int(name[1:]): into for name, into in merged.items()}

    def speakers_between(self, start: int, end: int) -> list[SpeakerTurn]:
        return [
            replace(t, start=max(t.start, start), end=min(t.end, end))
            for t in self.now
            if t.start < end and t.end > start
        ]


@pytest.mark.parametrize(
    ("told", "now", "expected"),
    [
        ([turn(0, 4, 0)], Understood(turn(0, 4, 0)), []),
        ([turn(0, 4, 0)], Understood(turn(0, 4, 1)), [correction(0, 4, 0, 1)]),
        (
            [turn(0, 4, 0)],
            Understood(turn(0, 1, 0), turn(1, 2, 1), turn(2, 4, 0)),
            [correction(1, 2, 0, 1)],
        ),
        # somebody else joins in: nothing that was told is wrong
        ([turn(0, 4, 0)], Understood(turn(0, 4, 0), turn(1, 2, 1)), []),
        # who is told already beside it is not told twice
        ([turn(0, 4, 0), turn(0, 4, 1)], Understood(turn(0, 4, 1)), []),
        ([turn(0, 4, 0)], Understood(), []),
        # too long ago: only whole speakers who are joined
        ([turn(0, 4, 0)], Understood(turn(0, 4, 1), reattributed_from=1), []),
        (
            [turn(0, 4, 0), turn(4, 5, 1)],
            Understood(turn(4, 5, 1), reattributed_from=1, s0=1),
            [correction(0, 4, 0, 1)],
        ),
    ],
)
def test_what_is_understood_otherwise_is_corrected(
    told: list[SpeakerTurn], now: Understood, expected: list[TurnCorrection]
) -> None:
    ears = stream()
    ears._told, ears._diarizer = told, now  # type: ignore[assignment]
    assert ears._corrected() == expected
    assert ears._corrected() == []


def test_nonsense_in_the_configuration_is_refused_by_name() -> None:
    for wrong in ({"latency": -1.0}, {"latency": float("nan")}, {"step": 0.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            SpeakerStreamConfig(**wrong)
