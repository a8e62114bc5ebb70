from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")

from erc_ros.training.engine.embeddings import Embedded
from erc_ros.training.fusion.simulation import (
    ModalityDropout,
    draw,
    drop_modalities,
    match,
    rates,
    replace_modalities,
)

CLASSES = 4
PRIOR = np.array([0.4, 0.3, 0.2, 0.1])


def clips(seed: int = 0, count: int = 400) -> Embedded:
    """Four clouds, one per label, clearly apart."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    embeddings = np.eye(8)[labels] * 4 + rng.normal(size=(count, 8))
    return Embedded(embeddings.astype(np.float32), labels)


def labels(count: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).choice(CLASSES, count, p=PRIOR)


def test_without_mismatch_every_clip_has_the_label_of_its_utterance() -> None:
    wanted, source = labels(500), clips()
    assert (source.labels[draw(wanted, source.labels, 0.0, PRIOR, 3)] == wanted).all()


def test_the_mismatched_share_has_labels_of_the_prior() -> None:
    wanted, source = labels(20_000), clips()
    drawn = source.labels[draw(wanted, source.labels, 1.0, PRIOR, 3)]
    np.testing.assert_allclose(np.bincount(drawn) / len(drawn), PRIOR, atol=0.02)
    half = source.labels[draw(wanted, source.labels, 0.5, PRIOR, 3)]
    expected = 0.5 + 0.5 * (PRIOR**2).sum()
    assert (half == wanted).mean() == pytest.approx(expected, abs=0.02)


def test_a_seed_repeats_its_draws_and_another_does_not() -> None:
    wanted, source = labels(200), clips()
    one, same, other = (draw(wanted, source.labels, 0.3, PRIOR, seed) for seed in (1, 1, 2))
    assert (one == same).all() and (one != other).any()


def test_a_higher_rate_only_replaces_further_draws() -> None:
    wanted, source = labels(1000), clips()
    few, more = (draw(wanted, source.labels, rate, PRIOR, 1) for rate in (0.2, 0.6))
    untouched = few == draw(wanted, source.labels, 0.0, PRIOR, 1)
    assert (few != more).any() and (more[~untouched] == few[~untouched]).all()


def test_a_label_without_clips_is_an_error() -> None:
    source = clips()
    three = Embedded(source.embeddings[source.labels < 3], source.labels[source.labels < 3])
    with pytest.raises(ValueError, match=r"\[3\]"):
        draw(labels(200), three.labels, 0.0, PRIOR, 0)


def test_a_modality_becomes_as_weak_as_asked() -> None:
    wanted = {"train": labels(4000, 1), "dev": labels(1500, 2), "test": labels(1500, 3)}
    sources = {"train": clips(1), "dev": clips(2), "test": clips(3)}
    matched = match(wanted, sources, target=0.6, seed=0)
    assert matched.dev_f1 == pytest.approx(0.6, abs=0.02) and 0.2 < matched.mismatch < 0.8
    assert matched.embeddings["test"].shape == (1500, 8)
    again = match(wanted, sources, target=0.6, seed=0)
    assert (again.embeddings["train"] == matched.embeddings["train"]).all()


def test_clips_weaker_than_asked_are_left_as_they_are() -> None:
    wanted = {"train": labels(400, 1), "dev": labels(150, 2), "test": labels(150, 3)}
    sources = {"train": clips(1), "dev": clips(2), "test": clips(3)}
    assert match(wanted, sources, target=0.9999, seed=0).mismatch == 0


def test_every_utterance_keeps_a_modality_and_padding_has_none() -> None:
    valid = np.arange(12)[None] < np.array([[12], [5]])
    dropout = ModalityDropout((0.9, 0.9, 0.9), (0.5, 0.5, 0.5))
    seen = drop_modalities(valid, dropout, np.random.default_rng(0))
    assert (seen.any(axis=2) == valid).all()


def test_a_conversation_can_lose_its_microphone() -> None:
    dropout = ModalityDropout((0.0, 0.5, 0.0), (0.0, 0.0, 0.0))
    seen = drop_modalities(np.ones((100, 6), bool), dropout, np.random.default_rng(0))
    audio = seen[:, :, 1]
    assert (audio.all(axis=1) | ~audio.any(axis=1)).all() and 0.3 < audio.mean() < 0.7
    assert seen[:, :, [0, 2]].all()


def test_nonsense_rates_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(0\.1, 0\.1\)"):
        ModalityDropout((0.1, 0.1), (0.0, 0.0, 0.0))


def test_a_clip_is_mismatched_more_often_where_the_text_is_wrong() -> None:
    wanted, source = labels(20_000), clips()
    is_right = np.random.default_rng(5).random(len(wanted)) < 0.6
    chosen = draw(wanted, source.labels, rates(0.5, is_right, 0.4), PRIOR, 3)
    fits = source.labels[chosen] == wanted
    by_chance = (PRIOR**2).sum()
    assert fits[is_right].mean() == pytest.approx(0.7 + 0.3 * by_chance, abs=0.02)
    assert fits[~is_right].mean() == pytest.approx(0.3 + 0.7 * by_chance, abs=0.02)


def test_dev_is_drawn_several_times() -> None:
    wanted = {"train": labels(400, 1), "dev": labels(150, 2), "test": labels(150, 3)}
    sources = {"train": clips(1), "dev": clips(2), "test": clips(3)}
    matched = match(wanted, sources, target=0.6, seed=0)
    assert (matched.dev_draws[0] == matched.chosen["dev"]).all()
    assert len({tuple(row) for row in matched.dev_draws.tolist()}) == len(matched.dev_draws) > 2


def test_replaced_modalities_are_those_of_other_utterances_as_often_as_given() -> None:
    rng = np.random.default_rng(0)
    rows = np.where(np.arange(40) < 35, np.arange(4000).reshape(100, 40), -1)
    dropout = ModalityDropout(replaced=(0.44, 0.0, 0.88))
    sources = replace_modalities(rows, (rows, rows, rows), dropout, rng)
    shares = [float((source != rows).sum() / (rows >= 0).sum()) for source in sources]
    assert shares == pytest.approx([0.44, 0.0, 0.88], abs=0.02)
    assert all(((source < 0) == (rows < 0)).all() for source in sources)
    with pytest.raises(ValueError, match="replaced"):
        ModalityDropout(replaced=(0.1, 0.2, 1.5))
