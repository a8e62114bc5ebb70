"""Acoustic features by openSMILE as in SUMMER: functionals of an utterance.

openSMILE has a license of its own, which allows research and personal use, and commercial use only
with audEERING's consent. It is therefore a separate extra (`pip install opensmile`) that only this
module needs and that never runs on a robot.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from erc_ros.training.encoders.audio.pretrained import waveform
from erc_ros.training.encoders.sample import Sample, check_samples, unusable_sound
from erc_ros.values.utterance import SAMPLE_RATE

SHORTEST = SAMPLE_RATE // 10  # samples; some functionals need several of openSMILE's frames
SETS = ("ComParE_2016", "GeMAPSv01b", "eGeMAPSv02")


class OpenSmileEncoder:
    """Encoder of audio -> functionals (N, d), not standardized; see `sample.Encoder`.

    Args:
        feature_set: one of SETS: ComParE_2016 has 6373 numbers, eGeMAPSv02 88.

    Raises:
        FileNotFoundError: openSMILE is not installed.
        ValueError: an unknown set.
    """

    modality = "audio"

    def __init__(self, feature_set: str = "ComParE_2016") -> None:
        if feature_set not in SETS:
            raise ValueError(f"feature_set is {feature_set!r}, must be one of {SETS}")
        try:
            import opensmile
        except ImportError as error:
            raise FileNotFoundError(
                "openSMILE is not installed: pip install 'opensmile>=2.5' (its license is for"
                " research, not for products), or give the recipe the stage audio instead"
            ) from error
        self._smile = opensmile.Smile(
            feature_set=opensmile.FeatureSet[feature_set],
            feature_level=opensmile.FeatureLevel.Functionals,
        )
        self.dimension = len(self._smile.feature_names)
        self.name = f"opensmile-{opensmile.__version__}-{feature_set}"

    def refuses(self, sample: Sample) -> str:
        """Refuse audio that is missing, not finite, or shorter than 100 ms."""
        return unusable_sound(sample, SHORTEST, least="100 ms")

    def encode(self, samples: Sequence[Sample]) -> NDArray[np.float32]:
        """Return functionals (N, d); see `sample.Encoder`."""
        check_samples(self, samples)
        rows = [
            self._smile.process_signal(waveform(sample, SAMPLE_RATE), SAMPLE_RATE).to_numpy()
            for sample in samples
        ]
        return np.concatenate(rows).astype(np.float32)
