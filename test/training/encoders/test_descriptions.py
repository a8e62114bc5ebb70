"""Descriptions of what is seen: a tiny model, the check for emotion words, the file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra [train]")

import tiny_models  # noqa: E402

from erc_ros.training.encoders.descriptions import (  # noqa: E402
    INSTRUCTION,
    Describer,
    DescriberConfig,
    DescriptionEncoder,
    describe_all,
    emotion_words,
    read,
)
from erc_ros.training.encoders.sample import Sample  # noqa: E402
from erc_ros.training.encoders.text.pretrained import sentence_encoder  # noqa: E402

FRAMES = np.random.default_rng(0).integers(0, 256, (6, 40, 60, 3)).astype(np.uint8)


class Written:
    """Answers that somebody wrote down, one for each attempt."""

    name = "written"

    def __init__(self, answers: dict[str, list[str]]) -> None:
        self.answers = answers
        self.asked: list[tuple[str, int]] = []

    def describe(self, sample: Sample, attempt: int) -> str:
        self.asked.append((sample.key, attempt))
        return self.answers[sample.key][attempt]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The man is smiling and raising one eyebrow.", []),
        ("She is frowning, wiping tears from her cheek.", []),
        ("He looks ANGRY, then sad.", ["angry", "sad"]),
        ("He is unhappily shaking his head in disbelief.", ["unhappily"]),
        ("Her face is neutral; a feeling of surprise.", ["neutral", "feeling", "surprise"]),
        ("Nodding at the contents of the saddle bag, glove in hand.", []),
        ("", []),
    ],
)
def test_words_for_emotions_are_found_and_those_for_what_is_seen_are_not(
    text: str, words: list[str]
) -> None:
    assert emotion_words(text) == words


def test_the_instruction_names_no_emotion_but_the_ban() -> None:
    forbidden = ["feels", "emotion", "mood", "neutral", "calm", "happy", "sad"]
    assert emotion_words(INSTRUCTION) == forbidden


def test_a_description_that_names_an_emotion_is_asked_for_again(tmp_path: Path) -> None:
    answers = Written({"a": ["He is sad.", "He is  looking\ndown."], "b": ["", "happy", "angry"]})

    counted = describe_all([Sample("a"), Sample("b")], answers, tmp_path / "d.jsonl", tries=3)

    descriptions = read(tmp_path / "d.jsonl")
    assert descriptions["a"].text == "He is looking down." and descriptions["a"].named == ("sad",)
    assert descriptions["b"].text == "" and descriptions["b"].named == ("happy", "angry")
    assert counted == {"described": 1, "dropped": 1, "retried": 3}


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path) -> None:
    file = tmp_path / "d.jsonl"
    answers = Written({"a": ["He nods."], "b": ["She blinks."]})
    describe_all([Sample("a"), Sample("b")], answers, file)
    whole = file.read_bytes()
    file.write_bytes(whole[:-20])  # in the middle of the second line
    again = Written(answers.answers)

    counted = describe_all([Sample("a"), Sample("b")], again, file)

    assert again.asked == [("b", 0)] and counted["kept"] == 1
    assert file.read_bytes() == whole


def test_descriptions_of_another_model_are_not_mixed_in(tmp_path: Path) -> None:
    describe_all([Sample("a")], Written({"a": ["He nods."]}), tmp_path / "d.jsonl")
    other = Written({"a": ["He nods."]})
    other.name = "other"

    with pytest.raises(ValueError, match=r"written.*other.*file"):
        describe_all([Sample("a")], other, tmp_path / "d.jsonl")


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("nothing", "line 2 .*description"),
        ('{"key": "a"}', "line 2 .*description"),
        ('{"key": 1, "text": "", "tries": 1, "named": [], "model": "m"}', "key is 1"),
        (
            '{"key": "b", "text": "so happy", "tries": 1, "named": [], "model": "written"}',
            "names emotions .happy.",
        ),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, complaint: str) -> None:
    file = tmp_path / "d.jsonl"
    describe_all([Sample("a")], Written({"a": ["He nods."]}), file)
    file.write_text(file.read_text() + line + "\n")

    with pytest.raises(ValueError, match=complaint):
        read(file)


def test_descriptions_become_embeddings_of_their_words(tmp_path: Path) -> None:
    file = tmp_path / "d.jsonl"
    answers = {"a": ["raising one eyebrow"], "b": ["the day"], "c": ["raising one eyebrow"]}
    answers["d"] = ["sad"]
    describe_all([Sample(key) for key in answers], Written(answers), file, tries=1)
    encoder = DescriptionEncoder(file, sentence_encoder(str(tiny_models.bert(tmp_path / "bert"))))

    a, b, c = encoder.encode([Sample("a"), Sample("b"), Sample("c")])

    np.testing.assert_allclose(a, c)
    assert np.abs(a - b).max() > 1e-3 and len(a) == encoder.dimension
    assert encoder.refuses(Sample("d")) == "every description named an emotion"
    with pytest.raises(ValueError, match="'e'"):
        encoder.encode([Sample("e")])
    with pytest.raises(FileNotFoundError, match="corpus"):
        read(tmp_path / "none.jsonl")


@pytest.fixture(scope="module")
def describer(tmp_path_factory: pytest.TempPathFactory) -> Describer:
    folder = tiny_models.vision_language(tmp_path_factory.mktemp("llava"))
    return Describer(DescriberConfig(str(folder), frames=2, longest=8))


def test_a_vision_language_model_describes_frames(describer: Describer, tmp_path: Path) -> None:
    sample = Sample("a", frames=FRAMES)
    counted = describe_all([sample], describer, tmp_path / "d.jsonl")
    line = json.loads((tmp_path / "d.jsonl").read_text())

    assert counted["described"] + counted["dropped"] == 1
    assert line["model"] == describer.name
    with pytest.raises(ValueError, match="'b'"):
        describer.describe(Sample("b"), 0)


def test_attempts_can_be_repeated_and_differ(describer: Describer) -> None:
    sample = Sample("a", frames=FRAMES)
    said = [describer.describe(sample, attempt) for attempt in (0, 1, 2, 0, 1)]

    assert said[:2] == said[3:] and len(set(said)) == 3


def test_half_the_memory_is_another_models_name(describer: Describer) -> None:
    half = Describer(replace(describer._config, precision="bf16"))
    assert half.model.dtype == torch.bfloat16 and half.name != describer.name
    assert half.describe(Sample("a", frames=FRAMES), 0) is not None


def test_the_model_sees_the_picture(describer: Describer) -> None:
    black = describer._inputs(Sample("a", frames=np.zeros_like(FRAMES)))
    white = describer._inputs(Sample("a", frames=np.full_like(FRAMES, 255)))

    with torch.inference_mode():
        a, b = (describer.model(**inputs).logits for inputs in (black, white))
    assert (a - b).abs().max() > 1e-4


def test_wrong_settings_are_refused() -> None:
    for wrong in (
        {"frames": 0},
        {"tries": 0},
        {"longest": 0},
        {"temperature": 0.0},
        {"precision": "int4"},
    ):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            DescriberConfig("m", **wrong)  # type: ignore[arg-type]
