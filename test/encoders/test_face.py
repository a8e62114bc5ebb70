"""Face crops: selection, order, and conversion to gray, 48x48, in [0, 1]."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from erc_ros.encoders.face import MAX_CROPS, SIZE, clip_input, face_input, spread, to_gray
from erc_ros.values.utterance import FaceCrop


def crop(value: int, size: int = 96, stamp: int = 0) -> FaceCrop:
    return FaceCrop(stamp, np.full((size, size, 3), value, np.uint8))


@given(st.integers(0, 500), st.integers(1, 20))
def test_the_chosen_crops_are_few_different_and_in_order(count: int, limit: int) -> None:
    chosen = spread(count, limit)
    assert len(chosen) == min(count, limit)
    assert chosen == sorted(set(chosen))
    assert all(0 <= index < count for index in chosen)


@given(st.integers(1, 500), st.integers(1, 20))
def test_no_part_of_the_utterance_is_excluded(count: int, limit: int) -> None:
    marks = [-1, *spread(count, limit), count]
    assert np.diff(marks).max() <= count / limit + 2


@pytest.mark.parametrize(
    ("count", "limit", "middles"),
    [(9, 3, [1, 4, 7]), (16, 2, [4, 12]), (10, 1, [5]), (3, 3, [0, 1, 2])],
)
def test_the_chosen_crops_are_the_middles_of_equal_parts(
    count: int, limit: int, middles: list[int]
) -> None:
    assert spread(count, limit) == middles


@pytest.mark.parametrize(("count", "limit"), [(-1, 8), (5, 0)])
def test_impossible_choices_are_refused(count: int, limit: int) -> None:
    with pytest.raises(ValueError, match="choose"):
        spread(count, limit)


def test_crops_come_out_in_the_order_of_the_utterance() -> None:
    faces = face_input([crop(10 * number, stamp=number) for number in range(20)])
    assert faces.shape == (MAX_CROPS, 1, SIZE, SIZE)
    assert faces.dtype == np.float32
    means = faces.mean(axis=(1, 2, 3))
    assert (np.diff(means) > 0).all()


def test_black_is_zero_and_white_is_one() -> None:
    faces = face_input([crop(0), crop(255)])
    assert not faces[0].any()
    np.testing.assert_array_equal(faces[1], 1)


def test_without_faces_there_is_no_visual_modality() -> None:
    assert face_input([]).shape == (0, 1, SIZE, SIZE)


def test_red_green_and_blue_count_as_for_a_gray_camera() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    expected = pixels @ np.array([0.114, 0.587, 0.299])  # BGR
    np.testing.assert_allclose(to_gray(pixels) * 255, expected, atol=0.6)


@pytest.mark.parametrize("shape", [(96, 96, 3), (96, 96), (31, 200, 3), (1, 1, 3), (48, 48)])
def test_any_size_becomes_48(shape: tuple[int, ...]) -> None:
    gray = to_gray(np.full(shape, 77, np.uint8))
    assert gray.shape == (SIZE, SIZE)
    np.testing.assert_allclose(gray, 77 / 255, atol=1 / 255)


def test_a_fine_pattern_becomes_gray_not_a_false_pattern() -> None:
    pattern = (np.indices((96, 96)).sum(axis=0) % 2 * 255).astype(np.uint8)
    gray = to_gray(cv2.cvtColor(pattern, cv2.COLOR_GRAY2BGR))
    np.testing.assert_allclose(gray, 0.5, atol=0.01)


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((0, 10, 3), np.uint8),
        np.zeros((10, 10, 4), np.uint8),
        np.zeros((10, 10, 3), np.float32),
        np.zeros(10, np.uint8),
        np.zeros((2, 10, 10, 3), np.uint8),
    ],
)
def test_what_is_not_an_image_is_refused_by_shape_and_type(pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"\(H, W, 3\)"):
        to_gray(pixels)


@pytest.mark.parametrize(
    ("count", "frames", "expected"),
    [(9, 3, [1, 4, 7]), (15, 5, [1, 4, 7, 10, 13]), (3, 3, [0, 1, 2]), (1, 4, [0] * 4)],
)
def test_a_clip_shows_the_middle_of_each_part_of_the_utterance(
    count: int, frames: int, expected: list[int]
) -> None:
    crops = [crop(number, size=8) for number in range(count)]
    clip = clip_input(crops, frames, 8, (0, 0, 0), (1, 1, 1))
    assert clip.shape == (frames, 3, 8, 8)
    np.testing.assert_allclose(clip[:, 0, 0, 0] * 255, expected, atol=1e-4)
