"""The contract of `erc_ros.training.encoders.sample.Encoder`.

The class is called with the model "" and must have a default model.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="encoders need the extra [train]", exc_type=ImportError)

from erc_ros.encoders.text import Turn
from erc_ros.training.encoders.sample import Encoder, Sample
from erc_ros.training.features.encode import EncodingJob


@pytest.fixture
def loaded(encoder: str) -> Encoder:
    """A new encoder, loaded as in `erc encode --encoder`."""
    return EncodingJob("", "", Path(), Path(), encoder, "").load_encoder()


def samples(count: int = 5) -> list[Sample]:
    """A conversation with text, audio and images."""
    rng = np.random.default_rng(0)
    turns = tuple(Turn(1 + n % 2, "This is a sentence" + " and more" * n) for n in range(count))
    return [
        Sample(
            f"u{n}",
            turns[: n + 1],
            (0.1 * rng.standard_normal(16_000 + 800 * n)).astype(np.float32),
            frames=rng.integers(0, 255, (4, 64, 64, 3), np.uint8),
        )
        for n in range(count)
    ]


def test_it_says_what_it_is(loaded: Encoder, encoder: str) -> None:
    """It has a modality, a dimension and a name; the name does not depend on the object."""
    assert loaded.modality in ("text", "audio", "visual")
    assert isinstance(loaded.dimension, int) and loaded.dimension >= 1
    assert isinstance(loaded.name, str) and loaded.name
    other: Any = EncodingJob("", "", Path(), Path(), encoder, "").load_encoder()
    assert (other.name, other.dimension) == (loaded.name, loaded.dimension)


def test_each_sample_has_one_finite_embedding(loaded: Encoder) -> None:
    """The embeddings are (N, dimension) float32."""
    embeddings = loaded.encode(samples())
    assert embeddings.shape == (5, loaded.dimension) and embeddings.dtype == np.float32
    assert np.isfinite(embeddings).all()


def test_the_rest_of_the_batch_does_not_count(loaded: Encoder) -> None:
    """A sample has the same embedding in a batch of one, and when it is encoded again."""
    batch = samples()
    together = loaded.encode(batch)
    alone = np.concatenate([loaded.encode([sample]) for sample in batch])
    np.testing.assert_allclose(alone, together, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(loaded.encode(batch), together, rtol=1e-6, atol=1e-6)


def test_what_it_refuses_is_an_error(loaded: Encoder) -> None:
    """An empty utterance has a reason for refusal, and encoding it raises ValueError."""
    empty = Sample("empty")
    assert loaded.refuses(empty)
    assert loaded.refuses(samples(1)[0]) == ""
    with pytest.raises(ValueError):
        loaded.encode([empty])
