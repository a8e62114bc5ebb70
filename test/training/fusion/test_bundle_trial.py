"""Fitting a bundle's confidence to what it answers with each set of senses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from erc_ros.inference.manifest import MODALITY_SETS
from erc_ros.training.datasets.utterances import LABELS
from erc_ros.training.fusion.bundle_trial import (
    BundleTrial,
    answered,
    calibrate,
    calibration_errors,
    errors_without_text,
)
from erc_ros.training.fusion.conditions import Floats, SimulatedModality
from erc_ros.training.fusion.dialogues import Dialogues
from erc_ros.training.fusion.simulation import draw

COUNT, CLIPS = 800, 1050
SHARES = np.array([0.46, 0.09, 0.06, 0.09, 0.16, 0.05, 0.09])  # of the labels in a conversation
NEUTRAL = LABELS.index("neutral")


def trial(
    seed: int = 0, people: tuple[int, int] = (40, CLIPS), neutral: float = 1.0
) -> BundleTrial:
    """Half of the clips say nothing of their utterance, and all labels are said with a clear voice.

    neutral: how clearly that one is said, against the others. It is the most frequent one, so that
    it is right more often than it says where it is less clear.
    """
    generator = np.random.default_rng(seed)
    truth = generator.choice(len(LABELS), COUNT, p=SHARES)
    strength = np.full(len(LABELS), 3.0)
    strength[NEUTRAL] *= neutral

    def said(labels: np.ndarray) -> Floats:
        clear = np.eye(len(LABELS))[labels] * strength
        logits: Floats = (generator.normal(size=clear.shape) / 2 + clear).astype(np.float32)
        return logits

    clips = np.arange(CLIPS) % len(LABELS)

    def sense(number: int) -> SimulatedModality:
        seeds = range(10 * seed + number, 10 * seed + number + 5)
        return SimulatedModality(
            said(clips), clips, np.stack([draw(truth, clips, 0.5, SHARES, s) for s in seeds])
        )

    def predict(data: Dialogues, seen: Sequence[bool]) -> Floats:
        senses = zip((data.text, data.audio, data.visual), seen, strict=True)
        parts = [said for said, there in senses if there]
        return sum(parts[1:], parts[0])

    nothing = np.zeros((COUNT, len(LABELS)), np.float32)
    dialogues = Dialogues(said(truth), nothing, nothing, truth, truth, np.arange(COUNT))
    is_right = np.ones(COUNT, bool)
    return BundleTrial(dialogues, sense(0), sense(5), is_right, people, predict)


def test_every_set_gets_a_temperature_and_without_text_factors_where_they_help() -> None:
    calibration = calibrate(trial(neutral=0.5))
    assert tuple(calibration.temperatures) == MODALITY_SETS
    assert calibration.temperature == calibration.temperatures["text+audio+visual"]
    assert (
        {"audio", "visual"}
        <= set(calibration.confidence_factors)
        <= {"audio+visual", "audio", "visual"}
    )
    for factors in calibration.confidence_factors.values():
        assert len(factors) == len(LABELS)
        assert factors[NEUTRAL] > 1 and max(np.delete(factors, NEUTRAL)) < 1


def test_few_speakers_make_the_factors_of_the_sound_cautious() -> None:
    few, many = (
        calibrate(trial(people=(count, CLIPS), neutral=0.5)).confidence_factors["audio"]
        for count in (4, 400)
    )
    assert np.abs(np.log(few)).max() < 0.7 * np.abs(np.log(many)).max()


def test_clips_that_were_not_fitted_to_are_nearer_with_factors_and_the_rest_is_as_it_was() -> None:
    fitted = calibrate(trial(neutral=0.5))
    fresh = trial(seed=1, neutral=0.5)
    logits, truth = answered(fresh, (False, False, True))
    assert logits.shape == (5 * COUNT, len(LABELS)) and truth.shape == (5 * COUNT,)
    errors = calibration_errors(fresh, fitted)
    for temperature in (0.5, 1.0, 1.5, 2.0, fitted.temperatures["visual"]):
        without = replace(
            fitted,
            temperatures=fitted.temperatures | {"visual": temperature},
            confidence_factors={
                k: v for k, v in fitted.confidence_factors.items() if k != "visual"
            },
        )
        other = calibration_errors(fresh, without)
        assert errors["visual"] < 0.8 * other["visual"]
        assert all(errors[seen] == other[seen] for seen in MODALITY_SETS if seen != "visual")


def test_without_text_confidence_fits_what_lies_between_meld_and_the_clips_themselves() -> None:
    made = trial()
    calibration = calibrate(made)
    found = errors_without_text(made, calibration)
    assert set(found) == {"audio+visual", "audio", "visual"}
    fitted = calibration_errors(made, calibration)
    for seen, errors in found.items():
        assert list(errors) == [0.0, 0.5, 1.0] and errors[0.5] == fitted[seen]
    for seen in ("audio", "visual"):
        assert found[seen][0.5] < 0.5 * min(found[seen][0.0], found[seen][1.0])
