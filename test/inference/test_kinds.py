"""Every kind of part of a bundle in format 3: reading, errors, and running."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import wait
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from bundles import CLIP, FRAMES, WIDTH, Kinds, write_tiny_bundle_3

from erc_ros.encoders.text import Turn, Vocabulary, WholePrompt
from erc_ros.inference.bundle import BundleError, load_bundle, text_prompt
from erc_ros.inference.emotion_recognizer import EmotionRecognizer
from erc_ros.inference.estimate import Estimate
from erc_ros.inference.manifest import (
    MANIFEST,
    FaceClip,
    PromptText,
    WaveformAudio,
)
from erc_ros.networks.network import observed
from erc_ros.values.events import SpeakerCorrected
from erc_ros.values.utterance import SAMPLE_RATE, FaceCrop, Utterance

OF_THE_PAPERS = {
    "MAGTKD": Kinds("magtkd", "waveform", "clip", "roberta"),
    "DDVLM": Kinds("ddvlm", "", "crops", "roberta"),
    "LPGNet": Kinds("plain", "waveform", "", "bert"),
    "cached, byte-level": Kinds("cached", "log-mel", "clip", "roberta"),
    "as edge-small": Kinds(),
    "a voice beside itself": Kinds("cached", "voice", "crops"),
    "text only": Kinds("magtkd", "", "", "bert"),
}


@pytest.fixture(params=OF_THE_PAPERS.values(), ids=OF_THE_PAPERS.keys())
def kinds(request: pytest.FixtureRequest) -> Kinds:
    chosen: Kinds = request.param
    return chosen


def utterance(number: int, **changes: Any) -> Utterance:
    noise = np.random.default_rng(number)
    said = Utterance(
        conversation_id="c",
        utterance_id=f"u{number}",
        start=0,
        end=0,
        text=f"what a good day number {number}",
        speaker_id=str(number % 2),
        audio=noise.integers(-8000, 8000, SAMPLE_RATE, np.int16),
        faces=tuple(
            FaceCrop(n, noise.integers(0, 255, (40, 40, 3), np.uint8)) for n in range(number + 1)
        ),
    )
    return replace(said, **changes)


def run(folder: Path, *utterances: Utterance) -> list[Any]:
    with EmotionRecognizer(load_bundle(folder)) as recognizer:
        recognizer.warm_up()
        return [recognizer.feed(each) for each in utterances]


def test_a_bundle_of_any_kinds_gives_estimates(kinds: Kinds, tmp_path: Path) -> None:
    folder = write_tiny_bundle_3(tmp_path / "tiny", kinds)
    said = [utterance(number) for number in range(5)]
    estimates = run(folder, *said)
    there = (True, bool(kinds.audio), bool(kinds.visual))
    for one in estimates:
        assert one.modalities == there and one.notes == ()
        assert sum(one.probabilities) == pytest.approx(1)
        assert [weight > 0 for weight in one.weights] == list(there)
    again = run(folder, *said)
    np.testing.assert_array_equal(estimates[-1].probabilities, again[-1].probabilities)
    alone = run(folder, said[-1])[0]  # without the others before it
    assert np.abs(alone.probabilities - estimates[-1].probabilities).max() > 1e-4


@pytest.mark.parametrize(("version", "meaning"), [(None, "question"), (2, "magtkd")])
def test_a_prompt_keeps_the_meaning_that_it_was_exported_with(
    tmp_path: Path, version: int | None, meaning: str
) -> None:
    folder = write_tiny_bundle_3(tmp_path / "tiny", OF_THE_PAPERS["MAGTKD"])
    manifest = yaml.safe_load((folder / "bundle.yaml").read_text())
    manifest["text"].pop("prompt_version")
    if version:
        manifest["text"]["prompt_version"] = version
    (folder / "bundle.yaml").write_text(yaml.safe_dump(manifest))
    part = load_bundle(folder).text
    vocabulary = Vocabulary.from_file(part.tokenizer.file, part.tokenizer.roles)
    expected, prompt = WholePrompt(vocabulary, 64, meaning, 3), text_prompt(part)
    window = prompt.slide((), Turn(1, "what a good day"))
    assert prompt.assemble(window) == expected.assemble(window)


def test_every_modality_that_is_there_counts(kinds: Kinds, tmp_path: Path) -> None:
    folder = write_tiny_bundle_3(tmp_path / "tiny", kinds)
    whole = run(folder, utterance(3))[0].probabilities
    without = {
        "text": {"text": "something else"},
        "audio": {"audio": np.full(SAMPLE_RATE, 9000, np.int16)},
        "visual": {"faces": (FaceCrop(0, np.full((40, 40, 3), 255, np.uint8)),)},
    }
    for modality, change in without.items():
        changed = run(folder, utterance(3, **change))[0].probabilities
        assert bool(np.abs(changed - whole).max() > 1e-5) == bool(getattr(kinds, modality)), (
            modality
        )


def test_text_of_a_corrected_speaker_is_encoded_again(kinds: Kinds, tmp_path: Path) -> None:
    folder = write_tiny_bundle_3(tmp_path / "tiny", kinds)
    said = [utterance(number) for number in range(3)]
    known = [said[0], replace(said[1], speaker_id="0"), said[2]]
    expected = run(folder, *known)[-1]
    with EmotionRecognizer(load_bundle(folder)) as recognizer:
        for each in said[:2]:
            recognizer.feed(each)
        assert recognizer.correct(SpeakerCorrected("c", ("u1",), 0, 0, "1", "0")) == 1
        estimate = recognizer.feed(said[2])
    # Speaker "1" keeps its index, so "0" is the same in both, and there is no other speaker later.
    np.testing.assert_allclose(estimate.probabilities, expected.probabilities, atol=1e-5)


def test_a_draft_prepares_the_final_utterance(kinds: Kinds, tmp_path: Path) -> None:
    folder = write_tiny_bundle_3(tmp_path / "tiny", kinds)
    expected = run(folder, utterance(0))[0]
    with EmotionRecognizer(load_bundle(folder)) as recognizer:
        recognizer.prepare(replace(utterance(0), is_final=False))
        for prepared in recognizer._drafts.values():
            wait(prepared)
        calls: list[str] = []
        with observed(lambda file, inputs: calls.append(file.name)):
            estimate = recognizer.feed(utterance(0))
    # who speaks may be known only now: a voice is compared when the text comes
    assert calls == [*["audio.onnx"] * (kinds.audio == "voice"), "fusion.onnx"]
    np.testing.assert_array_equal(estimate.probabilities, expected.probabilities)


def test_the_networks_get_what_the_manifest_says(tmp_path: Path) -> None:
    folder = write_tiny_bundle_3(tmp_path / "tiny", OF_THE_PAPERS["MAGTKD"])
    bundle, seen = load_bundle(folder), {}
    assert isinstance(bundle.text, PromptText) and isinstance(bundle.audio, WaveformAudio)
    assert isinstance(bundle.visual, FaceClip) and bundle.visual.embedding == WIDTH
    with (
        EmotionRecognizer(bundle) as recognizer,
        observed(lambda file, inputs: seen.update({file.name: inputs})),
    ):
        recognizer.feed(utterance(0, audio=np.arange(10 * SAMPLE_RATE).astype(np.int16)))
    waveform = seen["audio.onnx"]["waveform"]
    assert waveform.shape == (1, 4 * SAMPLE_RATE) and waveform.dtype == np.float32
    assert abs(waveform.mean()) < 1e-3 and waveform.std() == pytest.approx(1, abs=1e-3)
    assert seen["face.onnx"]["clip"].shape == (1, FRAMES, 3, CLIP, CLIP)
    ids, mask = seen["text.onnx"]["input_ids"][0], seen["text.onnx"]["mask_index"][0]
    vocabulary = yaml.safe_load((folder / "tokenizer.json").read_text())["model"]["vocab"]
    assert ids[0] == vocabulary["<s>"] and ids[mask] == vocabulary["<mask>"]
    assert ids[-1] == vocabulary["</s>"] and len(ids) <= 64


def test_each_set_of_modalities_has_its_own_temperature(tmp_path: Path) -> None:
    folder = write_tiny_bundle_3(tmp_path / "tiny")
    text = "Well, who would have thought that?"
    sound = np.random.default_rng(0).integers(-3000, 3000, 16_000).astype(np.int16)

    def confidence(temperatures: dict[str, float], audio: np.ndarray) -> float:
        changed = yaml.safe_load((folder / MANIFEST).read_text())
        changed["calibration"] = {"temperature": 1.5, "temperatures": temperatures}
        (folder / MANIFEST).write_text(yaml.safe_dump(changed))
        with EmotionRecognizer(load_bundle(folder)) as recognizer:
            return recognizer.feed(Utterance("c", "u", 0, 1, text=text, audio=audio)).confidence

    alone, both = confidence({}, sound[:0]), confidence({}, sound)
    assert confidence({"text": 0.5}, sound[:0]) > alone
    assert confidence({"text": 0.5}, sound) == both
    assert confidence({"text+audio": 0.5}, sound) > both


def test_a_set_of_modalities_may_have_a_factor_on_the_confidence_of_each_label(
    tmp_path: Path,
) -> None:
    folder = write_tiny_bundle_3(tmp_path / "tiny")
    sound = np.random.default_rng(0).integers(-3000, 3000, 16_000).astype(np.int16)
    labels = load_bundle(folder).labels

    def answer(text: str, **factors: list[float]) -> Estimate:
        changed = yaml.safe_load((folder / MANIFEST).read_text())
        changed["calibration"] = {"temperature": 1.5, "confidence_factors": factors}
        (folder / MANIFEST).write_text(yaml.safe_dump(changed))
        with EmotionRecognizer(load_bundle(folder)) as recognizer:
            return recognizer.feed(Utterance("c", "u", 0, 1, text=text, audio=sound))

    plain = answer("")
    factors = [1.0] * len(labels)
    factors[labels.index(plain.label)] = 1.25
    surer = answer("", audio=factors)
    assert surer.label == plain.label
    assert surer.confidence == pytest.approx(1.25 * plain.confidence)
    assert surer.probabilities.sum() == pytest.approx(1, abs=1e-6)
    np.testing.assert_array_equal(
        answer("", visual=factors).probabilities, plain.probabilities
    )  # of another set of modalities
    with_text = answer("Well, who would have thought that?")
    assert (
        with_text.confidence
        == answer("Well, who would have thought that?", audio=factors).confidence
    )


Change = Callable[[dict[str, Any]], Any]
BROKEN: list[tuple[Change, str]] = [
    (
        lambda m: m["text"].update(kind="letters"),
        "text.kind is 'letters'; must be one of cached, prompt",
    ),
    (
        lambda m: m["audio"].pop("kind"),
        "audio.kind is None; must be one of log-mel, waveform, voice",
    ),
    (lambda m: m["visual"].update(kind=["clip"]), r"visual.kind is \['clip'\]; must be one of"),
    (lambda m: m.update(visual=3), "visual must be a mapping, got 3"),
    (lambda m: m.pop("text"), r"lacks \['text'\]"),
    (lambda m: m.pop("fusion"), r"lacks \['fusion'\]"),
    (lambda m: m["text"].update(prompt="riddle"), "text: prompt must be one of magtkd"),
    (lambda m: m["text"].update(max_tokens=9), "max_tokens is 9; the prompt itself takes"),
    (lambda m: m["text"].update(history=-2), "text: history must be in"),
    (lambda m: m["text"]["tokenizer"].update(mask="[MASK]"), r"no token '\[MASK\]'"),
    (lambda m: m["text"]["tokenizer"].update(mask=""), "needs a mask token"),
    (lambda m: m["text"]["tokenizer"].pop("start"), r"text.tokenizer lacks \['start'\]"),
    (
        lambda m: m["text"]["tokenizer"].update(speakers=["<s0>"]),
        "speakers has 1 tokens; must be empty, or 10 tokens",
    ),
    (
        lambda m: m["text"]["tokenizer"].update(file="../t.json"),
        "text.tokenizer.file is '../t.json'",
    ),
    (lambda m: m["audio"].update(sample_rate=8000), "audio: sample_rate must be in"),
    (lambda m: m["audio"].update(max_seconds=1e9), "audio: max_seconds must be in"),
    (lambda m: m["audio"].update(normalise="yes"), "audio.normalise must be a bool, got 'yes'"),
    (lambda m: m["visual"].update(std=[0.2, 0.0, 0.2]), "std above 0"),
    (lambda m: m["visual"].update(mean=[0.5]), "visual.mean must have 3 values"),
    (lambda m: m["visual"].update(size=64), r"clip has shape \(any, 4, 3, 112, 112\), expected"),
    (lambda m: m["visual"].update(frames=10**6), "visual: frames must be in"),
    (lambda m: m["fusion"].update(context=10**6), "fusion: context must be in"),
    (lambda m: m["fusion"].update(causal=False), "causal"),
    (lambda m: m["calibration"].update(temperature=0), "calibration: temperature must be in"),
    (
        lambda m: m["calibration"].update(temperatures={"words": 1.0}),
        r"calibration.*temperatures has the key 'words'; must be one of text\+audio\+visual",
    ),
    (
        lambda m: m["calibration"].update(temperatures={"text": 0.0}),
        r"calibration.*temperatures.text is 0.0",
    ),
    (
        lambda m: m["calibration"].update(confidence_factors={"sound": [1.0] * 7}),
        r"calibration.*confidence_factors has the key 'sound'; must be one of text\+audio\+visual",
    ),
    (
        lambda m: m["calibration"].update(confidence_factors={"audio": [1.0]}),
        r"calibration.confidence_factors.audio has 1 values for \d labels; every label needs one",
    ),
    (
        lambda m: m["calibration"].update(confidence_factors={"audio": [float("nan")]}),
        r"calibration.*confidence_factors.audio is nan; must be in \[0.1, 10\]",
    ),
    (
        lambda m: m["calibration"].update(confidence_factors={"audio": [0.0]}),
        "confidence_factors.audio is 0.0",
    ),
    (
        lambda m: m["calibration"].update(confidence_factors={"audio": 1.0}),
        "confidence_factors.audio must be a list, got 1.0",
    ),
    (lambda m: m["training"].pop("licence"), r"training lacks \['licence'\]"),
    (lambda m: m.update(sample_rate=16000), r"has no \['sample_rate'\]"),
]


@pytest.mark.parametrize("change, message", BROKEN, ids=[message for _, message in BROKEN])
def test_a_manifest_that_does_not_fit_is_refused(
    tmp_path: Path, change: Change, message: str
) -> None:
    folder = write_tiny_bundle_3(tmp_path / "tiny", OF_THE_PAPERS["MAGTKD"])
    manifest = yaml.safe_load((folder / "bundle.yaml").read_text())
    change(manifest)
    (folder / "bundle.yaml").write_text(yaml.safe_dump(manifest))
    with pytest.raises(BundleError, match=message):
        load_bundle(folder)


def test_a_huge_manifest_is_not_read(tmp_path: Path) -> None:
    folder = write_tiny_bundle_3(tmp_path / "tiny")
    with (folder / "bundle.yaml").open("a") as stream:
        stream.write("#" * (5 << 20))
    with pytest.raises(BundleError, match=r"bundle\.yaml"):
        load_bundle(folder)
