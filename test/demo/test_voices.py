"""Synthetic voices (erc_ros.demo.voices)."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("espeakng_loader", reason="the extra [demo] is not installed")

from erc_ros.demo.conversation_bag import VOICES
from erc_ros.demo.voices import Delivery, Voice, VoiceError, synthesiser

TEXT = "The boats come home."


@pytest.mark.parametrize("voice", VOICES)
def test_a_sentence_gives_the_same_samples_whatever_was_said_before(voice: Voice) -> None:
    first = synthesiser().say(TEXT, voice)
    with pytest.raises(VoiceError):
        synthesiser().say(TEXT, Voice("no-such-voice"))
    synthesiser().say("Quite another sentence, by another voice.", VOICES[0])
    np.testing.assert_array_equal(synthesiser().say(TEXT, voice), first)


def test_vibrato_changes_the_pitch_and_not_the_duration() -> None:
    plain = synthesiser().say(TEXT, VOICES[0])
    modulated = synthesiser().say(TEXT, VOICES[0], Delivery(vibrato=0.2))
    assert len(modulated) == len(plain)
    assert np.abs(modulated).max() == pytest.approx(0.7, abs=1e-3)
    assert np.abs(modulated - plain).max() > 0.1
