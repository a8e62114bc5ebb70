"""`erc train config/training/descriptions.yaml`: pictures into words, words into features.

DDVLM's visual features (section 3.3), for training: a vision-language model on this machine
describes the pictures of a corpus, and a sentence encoder embeds the descriptions. `erc distill`
then passes on to the face network what they tell.

    OUT/descriptions.jsonl   see `encoders.descriptions`; a killed run goes on
    OUT/store                the embeddings by key, a feature store
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from erc_ros.training.datasets import corpora, ferplus
from erc_ros.training.encoders.descriptions import (
    Describer,
    DescriberConfig,
    DescriptionEncoder,
    describe_all,
)
from erc_ros.training.encoders.packaged import PACKAGED
from erc_ros.training.encoders.sample import Sample
from erc_ros.training.encoders.text.pretrained import sentence_encoder
from erc_ros.training.engine.recipe import Recipe, RecipeError
from erc_ros.training.features.store import create, write_shard

AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class DescriptionsConfig:
    """The section `descriptions`: what is described."""

    corpus: str = "ferplus"
    """ferplus (pictures), or a corpus with clips as in `erc encode`."""
    splits: tuple[str, ...] = ("train", "valid", "test")
    sentences: str = PACKAGED
    """The sentence encoder; DDVLM: sentence-transformers/all-mpnet-base-v2."""


def train(recipe: Recipe) -> None:
    """Describe what is not described yet, then embed all.

    Raises:
        RecipeError, FileNotFoundError: recipe, corpus or model are not usable.
    """
    recipe.refuse_other_sections({"descriptions", "describer"})
    config = recipe.section("descriptions", DescriptionsConfig)
    how = recipe.section("describer", DescriberConfig)
    file = recipe.out / "descriptions.jsonl"
    try:
        counted = describe_all(_samples(config, recipe.data), Describer(how), file, how.tries)
        print(json.dumps(counted), flush=True)
        embed(config, file, recipe)
    except ValueError as error:
        raise RecipeError(str(error)) from error


def embed(config: DescriptionsConfig, file: Path, recipe: Recipe) -> None:
    """Write the store OUT/store with the embeddings of all descriptions."""
    encoder = DescriptionEncoder(file, sentence_encoder(config.sentences))
    keys, features, left_out = [], [], {}
    waiting: list[Sample] = []
    for key in encoder.keys:
        sample = Sample(key)
        if reason := encoder.refuses(sample):
            left_out[key] = reason
            continue
        keys.append(key)
        waiting.append(sample)
        if len(waiting) == AT_ONCE:
            features.append(encoder.encode(waiting))
            waiting = []
    if waiting:
        features.append(encoder.encode(waiting))
    if not keys:
        raise ValueError(f"{file} has no usable description: {len(left_out)} name emotions")
    create(recipe.out / "store", encoder.name, encoder.dimension, 1)
    write_shard(recipe.out / "store", 0, encoder.name, keys, np.concatenate(features), left_out)
    print(f"{len(keys)} embeddings in {recipe.out / 'store'}, {len(left_out)} left out", flush=True)


def _samples(config: DescriptionsConfig, data: Path) -> Iterator[Sample]:
    if config.corpus == "ferplus":
        faces = ferplus.load(data / "fer2013plus")
        for split in config.splits:
            for number, picture in enumerate(getattr(faces, split).pictures):
                rgb = np.repeat(picture[..., None], 3, axis=2)
                yield Sample(f"{split}/{number}", frames=rgb[None])
        return
    for split in config.splits:
        for conversation in corpora.read(config.corpus, data, split).conversations:
            for utterance in conversation.utterances:
                if utterance.pictures is None:
                    continue
                try:
                    frames = corpora.frames(utterance.pictures, 32)
                except corpora.UnusableMediaError as error:
                    print(f"{conversation.key(utterance)}: {error}", flush=True)
                    continue
                yield Sample(conversation.key(utterance), frames=frames)
