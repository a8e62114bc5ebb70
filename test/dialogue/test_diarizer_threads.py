"""Diarization in the background: texts do not wait, and its speed does not change results."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace

import numpy as np
from executors import Held, Postponed
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tones import RATE, LoudIsSpeech, ToneEmbedding, ToneSegmentation, scene, tone_networks

from erc_ros.dialogue.assembler import (
    AssemblerConfig,
    Event,
    SpeakerCorrected,
    Transcript,
    UtteranceAssembler,
    UtteranceEvent,
)
from erc_ros.dialogue.speakers.diarization import DiarizationConfig
from erc_ros.dialogue.speakers.networks import DiarizationNetworks
from erc_ros.sensing.audio import AudioSamples
from erc_ros.values.nanoseconds import NS, seconds

T0 = 1_700_000_000 * NS
# similar voices, an interruption, and a short turn of a person who becomes a speaker only later
CHAT = scene((1, 2.2, 5), (2.2, 4.0, 20), (4.5, 5.2, 33), (6, 9, 33), (9.4, 12, 5), end=14.0)
TEXTS = [
    Transcript("Where have you been all day?", T0 + seconds(2.6)),
    Transcript("At the sea, swimming, and in town.", T0 + seconds(4.4)),
    Transcript("Not without me!", T0 + seconds(5.6)),
    Transcript("Next time I shall ask you before, all right?", T0 + seconds(9.2)),
    Transcript("Then let us go there tomorrow, shall we?", T0 + seconds(12.4)),
]


def play(
    ears: UtteranceAssembler, sound: NDArray[np.float32], texts: list[Transcript], chunk: int
) -> list[Event]:
    """Feed every text when the audio has reached its arrival time."""
    events: list[Event] = []
    edges = {(text.arrival - T0) * RATE // NS for text in texts}
    cuts = sorted({0, len(sound), *range(0, len(sound), chunk), *edges})
    for first, last in itertools.pairwise(cuts):
        for text in texts:
            if (text.arrival - T0) * RATE // NS == first:
                events += ears.feed_transcript(text)
        events += ears.feed_audio(AudioSamples(T0 + first * NS // RATE, sound[first:last]))
    return events + ears.flush()


def told(events: list[Event]) -> list[object]:
    """Return the comparable part of the published events."""
    corrections: list[object] = []
    for event in events:
        if isinstance(event, UtteranceEvent):
            said = event.utterance
            numbers = repr((said.speaker_confidence, said.overlap, said.text_confidence))
            corrections.append(
                (numbers, said.audio.tobytes(), said.text, said.speaker_id, said.end)
            )
        else:
            corrections.append(event)
    return corrections


def assembler(executor: Executor, **config: float) -> UtteranceAssembler:
    diarization = DiarizationConfig(**config)  # type: ignore[arg-type]
    settings = AssemblerConfig(diarization=diarization)
    return UtteranceAssembler(settings, LoudIsSpeech(), tone_networks(), executor=executor)


@settings(max_examples=6, deadline=None)
@given(st.data())
def test_no_speed_of_the_worker_and_no_chunking_changes_a_result(data: st.DataObject) -> None:
    delay = data.draw(st.sampled_from([0.0, 0.18, 0.7]))
    at_once, never = assembler(Postponed(lambda: True), delay=delay), Postponed()
    expected = told(play(at_once, CHAT, TEXTS, 512))
    assert any(isinstance(event, tuple) and event[3] == "2" for event in expected)
    chunk = data.draw(st.integers(100, 40_000))
    by_chance = Postponed(lambda: data.draw(st.booleans()))
    with ThreadPoolExecutor(1) as real:
        for executor in (never, by_chance, real):
            assert told(play(assembler(executor, delay=delay), CHAT, TEXTS, chunk)) == expected


class HeldSegmentation(ToneSegmentation):
    """A stand-in for the segmentation network that waits until it is released."""

    def __init__(self) -> None:
        super().__init__()
        self.held: Held | None = None

    def run(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        run = super().run if self.held is None else self.held
        return run(samples)  # type: ignore[no-any-return]


def test_a_text_received_during_diarization_does_not_wait() -> None:
    segmentation = HeldSegmentation()
    networks = DiarizationNetworks(segmentation, ToneEmbedding())
    with ThreadPoolExecutor(1) as executor:
        ears = UtteranceAssembler(AssemblerConfig(), LoudIsSpeech(), networks, executor=executor)
        sound = scene((1, 4, 5), (5, 8, 5))
        pause = round(8.2 * RATE)  # an update has begun, and is not due yet
        ears.feed_audio(AudioSamples(T0, sound[: 8 * RATE]))
        executor.submit(int).result()  # what was begun is done
        segmentation.held = held = Held(lambda samples: ToneSegmentation.run(segmentation, samples))
        released = threading.Timer(30, held.may_go_on.set)  # a failure, not a deadlock
        released.start()
        ears.feed_audio(AudioSamples(T0 + 8 * NS, sound[8 * RATE : pause]))
        assert held.begun.wait(10)
        text = Transcript("So that is what you think about it.", T0 + seconds(8.2))
        events = ears.feed_transcript(replace(text, stamp=T0 + seconds(8.0)))
        assert not held.may_go_on.is_set()  # it was answered while the network ran
        finals = [e.utterance for e in events if isinstance(e, UtteranceEvent)]
        assert [(u.text, u.speaker_id, u.is_final) for u in finals] == [(text.text, "0", True)]
        released.cancel()
        held.may_go_on.set()
        ears.flush()


def test_the_speaker_is_corrected_when_the_update_is_in_effect() -> None:
    """The text arrives before the second voice is known."""
    ears = assembler(Postponed(), delay=1.0)
    sound = scene((1, 4, 5), (5, 7, 20), end=12.0)
    texts = [
        Transcript("One two three four five and six.", T0 + seconds(4.5)),
        Transcript("Seven eight nine ten.", T0 + seconds(7.1), stamp=T0 + seconds(7.0)),
    ]
    events = play(ears, sound, texts, 1600)
    finals = {
        e.utterance.utterance_id: e.utterance.speaker_id
        for e in events
        if isinstance(e, UtteranceEvent) and e.utterance.is_final
    }
    for event in events:
        if isinstance(event, SpeakerCorrected):
            finals.update(dict.fromkeys(event.utterance_ids, event.after))
    assert list(finals.values()) == ["0", "1"]
    assert any(isinstance(event, SpeakerCorrected) for event in events)
