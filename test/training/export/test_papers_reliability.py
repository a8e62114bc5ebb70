"""The fusion models of the four papers, exported, with the section `reliability`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the extra [train]")

import torch
from bundles import AUDIO, TEXT, VISUAL, write_tiny_bundle_3
from late_fusion import SECTION, with_section

from erc_ros.inference.bundle import load_bundle
from erc_ros.inference.emotion_recognizer import EmotionRecognizer
from erc_ros.training.heads.registry import make_head
from erc_ros.training.onnx import export_fusion
from erc_ros.values.nanoseconds import NS
from erc_ros.values.utterance import SAMPLE_RATE, FaceCrop, Utterance

PAPERS = ("magtkd", "summer", "lpgnet", "ddvlm")


def utterance(number: int) -> Utterance:
    rng = np.random.default_rng(number)
    return Utterance(
        conversation_id="c",
        utterance_id=f"u{number}",
        start=number * NS,
        end=(number + 1) * NS,
        text=" ".join(map(str, rng.integers(0, 99, 4))),
        speaker_id=str(number % 2),
        audio=rng.integers(-8000, 8000, SAMPLE_RATE, np.int16),
        faces=(FaceCrop(0, rng.integers(0, 255, (96, 96, 3), np.uint8)),),
    )


@pytest.mark.parametrize("name", PAPERS)
def test_voice_and_face_of_a_papers_model_are_weighed_by_their_reliability(
    name: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    values = {"width": 24, "embeddings": (TEXT, AUDIO, VISUAL), "labels": 7}
    model = make_head(name, values).eval()
    assert not model.INDEPENDENT  # its modalities are weighed by running it for each subset
    with_one = write_tiny_bundle_3(tmp_path / "with")
    without = write_tiny_bundle_3(tmp_path / "without")
    for folder, section in ((with_one, {**SECTION, "combination": "mixture"}), (without, None)):
        export_fusion(model, folder / "fusion.onnx")
        with_section(folder, section)
    with (
        EmotionRecognizer(load_bundle(with_one)) as weighed,
        EmotionRecognizer(load_bundle(without)) as plain,
    ):
        differences = []
        for number in range(12):
            said = utterance(number)
            estimate, other = weighed.feed(said), plain.feed(said)
            why = estimate.influence
            assert why is not None and estimate.modalities == (True, True, True)
            assert estimate.probabilities.sum() == pytest.approx(1, abs=1e-5)
            np.testing.assert_allclose(why.without.sum(axis=1), 1, atol=1e-5)
            differences.append(np.abs(estimate.probabilities - other.probabilities).max())
        assert max(differences) > 1e-5
        assert weighed.reliability != pytest.approx({"audio": 0.15, "visual": 0.25})
        assert plain.reliability == {}
        words = replace(utterance(12), audio=np.zeros(0, np.int16), faces=())
        np.testing.assert_allclose(
            weighed.feed(words).probabilities, plain.feed(words).probabilities, atol=1e-5
        )
