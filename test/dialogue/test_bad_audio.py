"""Degraded audio, from the microphone to the utterances, with the shipped networks.

The voices are those of the demo's synthesizer. Other audio is generated: music of notes with
overtones, applause of noise bursts, a child's shout of pulses through a short vocal tract.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import soxr
from tones import RATE, Samples

pytest.importorskip("espeakng_loader", reason="the extra [demo] is not installed")

from erc_ros.demo.conversation_bag import DIALOGUE, VOICES, Phrase, perform
from erc_ros.demo.voices import synthesiser
from erc_ros.dialogue.assembler import (
    AssemblerConfig,
    ConversationEnded,
    SpeakerCorrected,
    UtteranceAssembler,
    UtteranceEvent,
)
from erc_ros.dialogue.speakers.diarization import DiarizationConfig
from erc_ros.dialogue.speakers.networks import DiarizationNetworks
from erc_ros.dialogue.voice_activity import SileroVoiceActivity
from erc_ros.pipeline import Perception, PerceptionConfig
from erc_ros.sensing.clock import Jump, SecondMicrophone
from erc_ros.sensing.level import Clipping, Silent
from erc_ros.sensing.microphone import AudioChunk
from erc_ros.values.nanoseconds import NS, seconds
from erc_ros.values.utterance import Utterance

START = 1_700_000_000 * NS


TURNS = 7  # of the demo, the three people among them; it lasts 25 s
WHO = [turn.speaker for turn in DIALOGUE[:TURNS]]
Demo = tuple[Samples, list[Phrase]]


@pytest.fixture(scope="module")
def demo() -> Demo:
    sound, phrases = perform(DIALOGUE[:TURNS], synthesiser())
    return sound, phrases


@dataclass
class Heard:
    """Resulting events."""

    events: list[object] = field(default_factory=list)
    utterances: list[Utterance] = field(default_factory=list)  # final ones, as corrected
    counts: Counter[str] = field(default_factory=Counter)  # the microphone's and the listener's

    def of(self, kind: type) -> list[object]:
        return [event for event in self.events if isinstance(event, kind)]

    def speakers(self, phrases: list[Phrase], shift: float = 0.0) -> list[str]:
        """Return the speaker of most of each phrase; "": no utterance."""
        names = []
        for phrase in phrases:
            start, end = (START + seconds(shift + time) for time in (phrase.start, phrase.end))
            shares: Counter[str] = Counter()
            for said in self.utterances:
                shares[said.speaker_id] += max(0, min(end, said.end) - max(start, said.start))
            (label, common), *_ = shares.most_common(1)
            names.append(label if common else "")
        return names


def chunks(
    sound: Samples, rate: int = RATE, start: float = 0.0, frame: str = ""
) -> list[AudioChunk]:
    """Return chunks of 0.1 s in 16-bit integers, from `start` (s) on."""
    data = (sound.clip(-1, 1) * 32_767).astype("<i2")
    size, result = rate // 10, []
    for first in range(0, len(data), size):
        stamp = START + seconds(start) + first * NS // rate
        result.append(AudioChunk(data[first : first + size].tobytes(), stamp, stamp, frame))
    return result


def hear(
    networks: DiarizationNetworks, sound: list[AudioChunk], rate: int = RATE, **config: object
) -> Heard:
    settings = AssemblerConfig(expect_text="never", **config)  # type: ignore[arg-type]
    ears = UtteranceAssembler(settings, SileroVoiceActivity(), networks)
    senses = Perception(PerceptionConfig(audio_rate=rate, face_detector="none"), ears)
    heard, utterances = Heard(), {}
    for chunk in sound:
        heard.events += senses.feed(chunk)
    heard.events += senses.flush()
    for event in heard.events:
        if isinstance(event, UtteranceEvent) and event.utterance.is_final:
            said = event.utterance
            utterances[said.conversation_id, said.utterance_id] = said
        elif isinstance(event, SpeakerCorrected):
            for name in event.utterance_ids:
                key = event.conversation_id, name
                utterances[key] = replace(utterances[key], speaker_id=event.after)
    heard.utterances = list(utterances.values())
    heard.counts = Counter(senses.counters())
    return heard


def are_told_apart(labels: list[str], people: list[int]) -> bool:
    """Return whether each person has a label, different from the others."""
    pairs = set(zip(labels, people, strict=True))
    return "" not in labels and len(pairs) == len(set(labels)) == len(set(people))


def right(labels: list[str], people: list[int]) -> int:
    """Return the number of right labels under the best mapping."""
    names = sorted(set(people))
    orders = itertools.permutations([*sorted(set(labels) - {""}), *"---"], len(names))
    return max(
        sum(label == order[names.index(one)] for label, one in zip(labels, people, strict=True))
        for order in orders
    )


def silence(duration: float) -> Samples:
    return np.zeros(round(duration * RATE), np.float32)


def music(duration: float) -> Samples:
    """Return chords of half a second; each note has two overtones."""
    random, sound = np.random.default_rng(0), silence(duration)
    time = np.arange(RATE // 2) / RATE
    fading = np.exp(-3 * time) * 0.05
    for first in range(0, len(sound) - len(time) + 1, len(time)):
        root = 220 * 2 ** (random.integers(0, 12) / 12)
        for pitch in (root, root * 2 ** (4 / 12), root * 2 ** (7 / 12)):
            for overtone in (1, 2, 3):
                note = fading / overtone * np.sin(2 * np.pi * pitch * overtone * time)
                sound[first : first + len(time)] += note.astype(np.float32)
    return sound


def applause(duration: float) -> Samples:
    """Return noise bursts of 25 ms, 100 per second."""
    random, sound = np.random.default_rng(0), silence(duration)
    for first in random.integers(0, len(sound) - 400, int(100 * duration)):
        burst = random.normal(0, 0.1, 400) * np.exp(-np.arange(400) / 80)
        sound[first : first + 400] += burst.astype(np.float32)
    return sound


def shout(duration: float) -> Samples:
    """Return a vowel whose pitch rises to 600 Hz and falls again, with the formants of a child."""
    time = np.arange(round(duration * RATE)) / RATE
    pitch = 350 + 250 * np.sin(np.pi * time / duration)  # Hz
    pulses = np.diff(np.floor(np.cumsum(pitch) / RATE), prepend=0.0)
    ring = np.arange(RATE // 20) / RATE
    voice = pulses
    for formant, width in ((1_030, 90), (1_750, 110), (3_200, 170)):  # Hz
        resonance = np.exp(-np.pi * width * ring) * np.sin(2 * np.pi * formant * ring)
        voice = np.convolve(voice, resonance)[: len(time)]
    voice *= np.hanning(len(voice)) ** 0.3
    return (0.8 * voice / np.abs(voice).max()).astype(np.float32)


# --- what is no speech ---


@pytest.mark.parametrize("sound", [music(10), applause(10), shout(1.0)], ids=lambda s: len(s))
def test_music_applause_and_a_shout_are_no_utterance(
    networks: DiarizationNetworks, sound: Samples
) -> None:
    heard = hear(networks, chunks(np.concatenate([silence(1), sound, silence(1)])))
    assert heard.events == [] and heard.utterances == []
    assert +heard.counts == {"samples": len(sound) + 2 * RATE}


@pytest.mark.parametrize("noise", [music, applause])
def test_people_are_distinguished_with_music_and_applause(
    networks: DiarizationNetworks, demo: Demo, noise: Callable[[float], Samples]
) -> None:
    sound, phrases = demo
    other = noise(len(sound) / RATE + 1)[: len(sound)]
    heard = hear(networks, chunks(sound + np.float32(0.2) * other))
    assert right(heard.speakers(phrases), WHO) >= TURNS - 1


def test_a_shout_between_turns_makes_no_speakers_of_others(
    networks: DiarizationNetworks, demo: Demo
) -> None:
    sound, phrases = demo
    cut = round((phrases[4].end + 0.3) * RATE)
    whole = np.concatenate([sound[:cut], shout(1.0), silence(0.5), sound[cut:]])
    heard = hear(networks, chunks(whole))
    labels = heard.speakers(phrases[:5]) + heard.speakers(phrases[5:], shift=1.5)
    assert right(labels, WHO) >= TURNS - 1


def test_a_high_voice_like_a_childs_is_a_speaker(networks: DiarizationNetworks, demo: Demo) -> None:
    """The recording is played faster: formants and pitch are 1.5 times higher."""
    sound, phrases = demo
    high = soxr.resample(sound[: round(phrases[2].end + 0.5) * RATE], 1.5, 1.0)
    heard = hear(networks, chunks(high))
    said = sum(u.end - u.start for u in heard.utterances) / NS
    assert said > 5.0
    # the speaker of a phrase may be corrected to unknown later
    assert sum(not u.speaker_id for u in heard.utterances) <= 1


# --- how long, and how many ---


def test_speakers_are_known_again_after_five_minutes_of_silence(
    networks: DiarizationNetworks, demo: Demo
) -> None:
    sound, phrases = demo
    said = [
        sound[round((p.start - 0.5) * RATE) : round((p.end + 0.5) * RATE)]
        for p in (phrases[0], phrases[2])
    ]
    times = [Phrase(1.0, 3.0, ""), Phrase(4.5, 8.0, "")]  # approximate times of the phrases
    part, pause = np.concatenate(said), 300.0
    whole = np.concatenate([part, silence(pause), part])
    heard = hear(networks, chunks(whole), conversation_gap=600.0)
    again = heard.speakers(times, shift=len(part) / RATE + pause)
    assert heard.speakers(times) == again == ["0", "1"]
    assert len(heard.of(Silent)) == heard.counts["Silent"] == 1
    assert heard.counts["conversations"] == 1


def test_one_endless_speaker_is_one_speaker_in_several_utterances(
    networks: DiarizationNetworks,
) -> None:
    said = [synthesiser().say(t.text, VOICES[0], t.delivery) for t in DIALOGUE[:9]]
    sound = np.concatenate([silence(1), *(0.6 * part for part in said), silence(1)])
    assert len(sound) > 30 * RATE
    heard = hear(networks, chunks(sound))
    assert {u.speaker_id for u in heard.utterances} == {"0"}
    assert heard.counts["utterances"] >= 2 and not heard.counts["speaker_corrections"]
    assert all(u.end - u.start <= seconds(15.5) for u in heard.utterances)


def test_three_people_and_room_for_two(networks: DiarizationNetworks, demo: Demo) -> None:
    """The case of twelve and six is in test_assembler, with tones."""
    config = DiarizationConfig(max_speakers=2)
    heard = hear(networks, chunks(demo[0]), diarization=config)
    assert len({u.speaker_id for u in heard.utterances}) == 2
    corrections = heard.of(SpeakerCorrected)
    assert len(corrections) == heard.counts["speaker_corrections"] > 0


# --- the microphone ---


def test_clipped_audio_is_reported_and_people_are_distinguished(
    networks: DiarizationNetworks, demo: Demo
) -> None:
    sound, phrases = demo
    heard = hear(networks, chunks(np.clip(5 * sound, -1, 1)))
    assert are_told_apart(heard.speakers(phrases), WHO)
    assert len(heard.of(Clipping)) == heard.counts["Clipping"] >= TURNS


def test_people_on_a_telephone_are_distinguished(networks: DiarizationNetworks, demo: Demo) -> None:
    sound, phrases = demo
    heard = hear(networks, chunks(soxr.resample(sound, RATE, 8_000), rate=8_000), rate=8_000)
    assert are_told_apart(heard.speakers(phrases), WHO)
    assert heard.counts["samples"] == pytest.approx(len(sound), abs=RATE // 10)


def test_a_microphone_that_sends_zeros_is_reported_once(networks: DiarizationNetworks) -> None:
    heard = hear(networks, chunks(silence(20)))
    assert heard.events == [Silent(START)]
    assert +heard.counts == {"samples": 20 * RATE, "Silent": 1}


def test_a_second_microphone_on_the_topic_is_counted_and_not_listened_to(
    networks: DiarizationNetworks, demo: Demo
) -> None:
    sound, phrases = demo
    size = round((phrases[2].end + 0.5) * RATE)
    head = chunks(sound[:size], frame="head")
    chest = chunks(np.float32(0.3) * sound[-size:], start=0.007, frame="chest")
    alone = hear(networks, head)
    both = hear(networks, [chunk for pair in zip(head, chest, strict=True) for chunk in pair])
    assert both.utterances and [(u.start, u.end, u.speaker_id) for u in both.utterances] == [
        (u.start, u.end, u.speaker_id) for u in alone.utterances
    ]
    assert len(both.of(SecondMicrophone)) == both.counts["SecondMicrophone"] == len(chest)


@pytest.mark.parametrize("hours", [1, -1])
def test_a_clock_that_jumps_an_hour_begins_another_conversation(
    networks: DiarizationNetworks, demo: Demo, hours: int
) -> None:
    sound, phrases = demo
    cut = (phrases[1].end + phrases[2].start) / 2
    first, later = np.split(sound[: round((phrases[3].end + 0.5) * RATE)], [round(cut * RATE)])
    heard = hear(networks, chunks(first) + chunks(later, start=cut + 3_600 * hours))
    before, after = heard.speakers(phrases[:2]), heard.speakers(phrases[2:4], 3_600.0 * hours)
    assert before == after == ["0", "1"]  # and the speakers are numbered again
    assert len({u.conversation_id for u in heard.utterances}) == heard.counts["conversations"] == 2
    assert len(heard.of(Jump)) == heard.counts["Jump"] == 1
    assert heard.counts["clock_jumps"] == (hours < 0)
    assert len(heard.of(ConversationEnded)) == 2
