"""The text encoder with a cache gives the same embeddings as one that encodes the whole window."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from erc_ros.encoders.text import Block, TextPrompt, Turn
from erc_ros.inference.bundle import Bundle, load_bundle
from erc_ros.inference.text_encoders import CachedTextEncoder
from erc_ros.networks.network import Network


@pytest.fixture(scope="module")
def bundle(tiny_folder: Path) -> Bundle:
    return load_bundle(tiny_folder)


@pytest.fixture(scope="module")
def prompt(bundle: Bundle) -> TextPrompt:
    return TextPrompt.from_file(bundle.text.tokenizer.file, bundle.text.max_tokens)


class Counting:
    """A network that counts the tokens of its input."""

    def __init__(self, network: Network) -> None:
        self.network, self.tokens = network, 0

    def __call__(self, inputs: dict[str, Any]) -> dict[str, Any]:
        self.tokens += inputs["input_ids"].shape[1]
        return self.network(inputs)


@pytest.fixture(scope="module")
def network(bundle: Bundle) -> Network:
    return Network(bundle.text.file)


@pytest.fixture(scope="module")
def make(bundle: Bundle, prompt: TextPrompt, network: Network) -> Callable[[], CachedTextEncoder]:
    return lambda: CachedTextEncoder(network, prompt, bundle.text.attention)


said = st.builds(Turn, st.integers(0, 9), st.text("abc ", max_size=30))


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(said, st.sampled_from(["goes on", "was corrected", "begins anew"]))))
def test_the_cache_changes_no_embedding(
    make: Callable[[], CachedTextEncoder],
    prompt: TextPrompt,
    conversation: list[tuple[Turn, str]],
) -> None:
    reader = make()
    window: tuple[Block, ...] = ()
    for turn, how in conversation:
        window = window[: {"goes on": len(window), "was corrected": -1, "begins anew": 0}[how]]
        window = prompt.slide(window, turn)
        np.testing.assert_allclose(reader(window), make()(window), atol=1e-4)


def test_only_what_is_new_is_read(bundle: Bundle, prompt: TextPrompt, network: Network) -> None:
    counting = Counting(network)
    reader = CachedTextEncoder(counting, prompt, bundle.text.attention)
    window: list[Block] = []
    for number in range(6):
        window.append(prompt.block(Turn(1, "abc")))
        counting.tokens = 0
        reader(window)
        assert counting.tokens == len(window[-1]) + 5 + (number == 0)  # the question; [CLS]


def test_a_text_that_comes_again_is_not_read_again(
    bundle: Bundle, prompt: TextPrompt, network: Network
) -> None:
    counting = Counting(network)
    reader = CachedTextEncoder(counting, prompt, bundle.text.attention)
    window = [prompt.block(Turn(1, "abc")), prompt.block(Turn(2, "b"))]
    partial = reader(window)
    counting.tokens = 0
    assert reader(window) is partial and counting.tokens == 0
    reader.forget()
    np.testing.assert_array_equal(reader(window), partial)
    assert counting.tokens > 0
