"""Synthetic voices (erc_ros.demo.voices)."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("espeakng_loader", reason="the extra [demo] is not installed")

from erc_ros.demo.conversation_bag import VOICES
from erc_ros.demo.voices import Voice, VoiceError, synthesiser

TEXT = "The boats come home."


@pytest.mark.parametrize("voice", VOICES)
def test_a_sentence_gives_the_same_samples_whatever_was_said_before(voice: Voice) -> None:
    first = synthesiser().say(TEXT, voice)
    with pytest.raises(VoiceError):
        synthesiser().say(TEXT, Voice("no-such-voice"))
    synthesiser().say("Quite another sentence, by another voice.", VOICES[0])
    np.testing.assert_array_equal(synthesiser().say(TEXT, voice), first)
