"""Arousal of clips with normal and strong intensity, of held-out actors, from audio only.

    python -m benchmarks.arousal [--bundle edge-small]

RAVDESS has each sentence in each emotion with normal and with strong intensity. For pairs of clips
of one actor, emotion, sentence and repetition, the result is the share of pairs in which the strong
clip has the higher arousal (chance: 50 %), the mean difference, and likewise for the distance of
valence from 0. The voice part was not trained on these actors.

Writes benchmarks/results/arousal.json. Needs the extra [train].
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.record import write_results
from benchmarks.voice_groups import held_out_clips, voice_estimates

INTENSITY = 3  # index in the name of a clip
NORMAL, STRONG = "01", "02"
RESAMPLES = 2000


def compared(differences: NDArray[np.float64]) -> dict[str, float]:
    """Return the share of positive differences in percent and the mean, with 95 % intervals."""
    generator = np.random.default_rng(0)
    drawn = differences[generator.integers(0, len(differences), (RESAMPLES, len(differences)))]
    shares, means = 100 * (drawn > 0).mean(axis=1), drawn.mean(axis=1)
    return {
        "higher": 100 * float((differences > 0).mean()),
        "higher_low": float(np.quantile(shares, 0.025)),
        "higher_high": float(np.quantile(shares, 0.975)),
        "difference": float(differences.mean()),
        "difference_low": float(np.quantile(means, 0.025)),
        "difference_high": float(np.quantile(means, 0.975)),
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark, print the results and write them to a file."""
    bundle, clips = held_out_clips(argv, __doc__, ["ravdess"])
    estimates = voice_estimates(bundle, clips)
    by_pair: dict[tuple[str, ...], dict[str, tuple[float, float]]] = {}
    for clip, estimate in zip(clips, estimates, strict=True):
        parts = clip.name.split("-")
        intensity = parts.pop(INTENSITY)
        by_pair.setdefault(tuple(parts), {})[intensity] = (estimate.arousal, estimate.valence)
    pairs = [pair for pair in by_pair.values() if pair.keys() == {NORMAL, STRONG}]
    arousal = np.array([pair[STRONG][0] - pair[NORMAL][0] for pair in pairs])
    valence = np.array([abs(pair[STRONG][1]) - abs(pair[NORMAL][1]) for pair in pairs])
    figures = {
        "pairs": len(pairs),
        "people": len({clip.speaker for clip in clips}),
        "arousal": compared(arousal),
        "distance_of_valence": compared(valence),
    }
    print(figures)
    write_results(
        "arousal",
        "python -m benchmarks.arousal",
        bundle,
        figures,
        "pairs of RAVDESS clips (normal, strong) by actors whom the voice part was not trained on "
        "(dev and test split); voice alone, each clip a conversation of its own",
    )


if __name__ == "__main__":
    main()
