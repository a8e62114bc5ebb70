from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from erc_ros.inference.bundle import load_bundle
from erc_ros.inference.engines.build import recorded
from erc_ros.inference.engines.profiles import SizeRange, buckets, fitting, profiles, ranges
from erc_ros.inference.engines.store import EngineError

SIZES = {"L": buckets(96), "P": (SizeRange(0, 48, 96),), "B": (SizeRange(1, 1, 3),)}
TEXT = {"ids": ("B", "L"), "visible": ("B", "L", "P+L"), "past": (6, 2, "B", 12, "P", 32)}


@given(st.integers(1, 2000))
def test_buckets_cover_every_length_once(greatest: int) -> None:
    lengths = buckets(greatest)
    assert lengths[0].least == 1 and lengths[-1].greatest == greatest
    assert [b.least for b in lengths[1:]] == [b.greatest + 1 for b in lengths[:-1]]
    assert all(b.least <= b.typical <= b.greatest for b in lengths) and len(lengths) <= 8


def test_one_profile_for_each_bucket_of_lengths() -> None:
    all_profiles = profiles(TEXT, SIZES, "text.onnx")
    assert [p["ids"] for p in all_profiles] == [
        ((1, 1), (1, 32), (3, 32)),
        ((1, 33), (1, 64), (3, 64)),
        ((1, 65), (1, 96), (3, 96)),
    ]
    assert all_profiles[0]["past"] == (
        (6, 2, 1, 12, 0, 32),
        (6, 2, 1, 12, 48, 32),
        (6, 2, 3, 12, 96, 32),
    )


def test_an_axis_that_is_a_sum_of_others_follows_them() -> None:
    first, *_ = profiles(TEXT, SIZES, "text.onnx")
    assert first["visible"] == ((1, 1, 1), (1, 32, 80), (3, 32, 128))


@given(st.integers(1, 96), st.integers(0, 96), st.integers(1, 3))
def test_every_text_up_to_the_limit_has_a_profile(new: int, past: int, batch: int) -> None:
    all_profiles = profiles(TEXT, SIZES, "text.onnx")
    shapes = {
        "ids": (batch, new),
        "visible": (batch, new, past + new),
        "past": (6, 2, batch, 12, past, 32),
    }
    assert fitting(all_profiles, shapes) == (new - 1) // 32


@pytest.mark.parametrize(
    "shapes",
    [{"ids": (1, 97)}, {"ids": (4, 5)}, {"ids": (1, 0)}, {"ids": (1, 5, 1)}, {"other": (1, 5)}, {}],
)
def test_shapes_outside_of_every_profile(shapes: dict[str, tuple[int, ...]]) -> None:
    assert fitting(profiles({"ids": ("B", "L")}, SIZES, "text.onnx"), shapes) is None


@pytest.mark.parametrize("axis", ["batch", None])
def test_an_unknown_axis_is_named_with_what_to_do(axis: str | None) -> None:
    with pytest.raises(EngineError, match=rf"text\.onnx: axis {axis!r} of input ids .*known are"):
        profiles({"ids": (axis, "L")}, SIZES, "text.onnx")


def test_the_ranges_are_those_of_the_manifest(tiny_folder: Path) -> None:
    bundle = load_bundle(tiny_folder)
    sizes = ranges(bundle)
    for size in (size for each in sizes.values() for size in each):
        assert 0 <= size.least <= size.typical <= size.greatest
    tokens = bundle.text.max_tokens
    assert sizes["P"] == (SizeRange(0, tokens // 2, tokens),)  # the first text finds nothing cached
    assert sizes["L"] == buckets(tokens) and sizes["A"] == (SizeRange(1, 1, 1),)


def test_all_calls_of_the_recognizer_have_a_profile(tiny_folder: Path) -> None:
    """The calls include full size, no cached tokens, and missing modalities."""
    from erc_ros.inference.engines import graph

    bundle = load_bundle(tiny_folder)
    for part in recorded(bundle):
        axes = graph.axes(graph.load(part.file))
        all_profiles = profiles(axes, ranges(bundle), part.file.name)
        assert len(part.stored) >= 4
        for inputs, _ in part.stored:
            shapes = {name: array.shape for name, array in inputs.items()}
            assert fitting(all_profiles, shapes) is not None, (part.name, shapes)
