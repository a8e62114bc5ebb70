"""The speech training on tiny generated corpora."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="needs the extra [train]")
soundfile = pytest.importorskip("soundfile", reason="needs the extra [train]")

from erc_ros.encoders.audio import audio_input  # noqa: E402
from erc_ros.metrics import classification as metrics  # noqa: E402
from erc_ros.networks.network import Network  # noqa: E402
from erc_ros.training.datasets.speech import Clip  # noqa: E402
from erc_ros.training.datasets.utterances import LABELS  # noqa: E402
from erc_ros.training.encoders.audio.model import AudioNetwork, AudioNetworkConfig, pad  # noqa: E402
from erc_ros.training.encoders.audio.train import (  # noqa: E402
    FOLDS,
    all_versions,
    folds,
    predict,
    train,
)
from erc_ros.training.encoders.augmentation import (  # noqa: E402
    SpeechAugmentation,
    add_noise,
    augment_speech,
    hide_parts,
    reverberate,
)
from erc_ros.training.engine.embeddings import load_embeddings  # noqa: E402
from erc_ros.training.engine.evaluation import read_run  # noqa: E402
from erc_ros.training.engine.recipe import Recipe, RecipeError  # noqa: E402
from erc_ros.training.onnx import export_audio  # noqa: E402
from erc_ros.values.utterance import SAMPLE_RATE  # noqa: E402

TINY = AudioNetworkConfig(widths=(4, 4, 4), hidden=8, dilations=(1,), dropout=0.0)
HOW = SpeechAugmentation(variants=2)


def network(config: AudioNetworkConfig = TINY) -> AudioNetwork:
    """Evaluation mode, with batch statistics that are not the trivial ones."""
    torch.manual_seed(0)
    model = AudioNetwork(config)
    model.train()
    with torch.no_grad():
        for _ in range(3):
            model(torch.randn(8, 60, 64) * 2 + 1, torch.full((8,), 60))
        for parameter in model.parameters():  # as batch normalisation's shift after training
            parameter += 0.1 * torch.randn_like(parameter)
    return model.eval()


def clip(speaker: str, sex: str, corpus: str = "ravdess", label: int = 0) -> Clip:
    return Clip(corpus, speaker, sex, label, "", np.zeros(0, np.float32))


def sound(seconds: float = 1.0, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.uniform(-0.3, 0.3, round(seconds * SAMPLE_RATE)).astype(np.float32)


@given(st.integers(1, 90), st.integers(0, 70), st.floats(-50, 50))
@settings(max_examples=20, deadline=None)
def test_padding_has_no_influence(frames: int, padding: int, value: float) -> None:
    model = network()
    features = torch.randn(1, frames, 64, generator=torch.Generator().manual_seed(frames))
    filling = torch.full((1, padding, 64), value)
    count = torch.tensor([frames])
    with torch.inference_mode():
        alone = model(features, count)
        padded = model(torch.cat([features, filling], dim=1), count)
    assert alone.isfinite().all()
    torch.testing.assert_close(alone, padded, atol=1e-5, rtol=1e-4)


def test_a_batch_gives_what_each_clip_gives_alone() -> None:
    model = network()
    clips = [np.random.default_rng(n).standard_normal((n, 64)).astype(np.float16) for n in (5, 80)]
    together = predict(model, clips)
    for index, single in enumerate(clips):
        alone = predict(model, [single])
        np.testing.assert_allclose(together[0][index], alone[0][0], atol=1e-4)
        np.testing.assert_allclose(together[1][index], alone[1][0], atol=1e-4)


def test_silence_gives_a_finite_embedding() -> None:
    features = torch.from_numpy(audio_input(np.zeros(SAMPLE_RATE, np.int16)))[None]
    assert network()(features, torch.tensor([features.shape[1]])).isfinite().all()


def test_the_export_equals_torch_for_any_batch_and_length(tmp_path: Path) -> None:
    model = network(AudioNetworkConfig())
    file = tmp_path / "audio.onnx"
    export_audio(model, file, 64)
    exported = Network(file)
    for lengths in ([1], [7], [598], [3, 120, 64]):
        batch = [np.random.default_rng(n).standard_normal((n, 64)).astype("f4") for n in lengths]
        features, frames = pad(batch)
        inputs = {"features": features.numpy(), "frames": frames.numpy()}
        got = exported(inputs)["embedding"]
        with torch.inference_mode():
            expected = model(features, frames).numpy()
        assert got.shape == (len(lengths), 128)
        np.testing.assert_allclose(got, expected, atol=1e-4)


def test_the_part_loads_in_old_runtimes(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    export_audio(network(), tmp_path / "audio.onnx", 64)
    part = onnx.load(str(tmp_path / "audio.onnx"))
    assert part.ir_version <= 9
    assert [entry.version for entry in part.opset_import if entry.domain in ("", "ai.onnx")] == [17]


def test_the_network_can_learn_a_batch_by_heart() -> None:
    torch.manual_seed(0)
    model = AudioNetwork(TINY)
    features, frames = torch.randn(14, 20, 64), torch.full((14,), 20)
    truth = torch.arange(14) % 7
    optimizer = torch.optim.AdamW(model.parameters(), 0.01)
    for _ in range(60):
        loss = torch.nn.functional.cross_entropy(model.head(model(features, frames)), truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.2


@given(st.integers(5, 24), st.integers(0, 10), st.integers(0, 10))
def test_speakers_never_cross_folds(ravdess: int, women: int, men: int) -> None:
    clips = [clip(f"r{n}", "male" if n % 2 else "female") for n in range(ravdess)] * 2
    clips += [clip(f"w{n}", "female", "emodb") for n in range(women)]
    clips += [clip(f"m{n}", "male", "emodb") for n in range(men)]
    tested: list[int] = []
    for split in folds(clips):
        parts_of_split = [split.train, split.dev, split.test]
        speakers = [{clips[index].speaker for index in part} for part in parts_of_split]
        assert not (speakers[0] & speakers[1] or speakers[0] & speakers[2])
        assert not speakers[1] & speakers[2]
        assert sorted(np.concatenate(parts_of_split).tolist()) == list(range(len(clips)))
        tested += split.test.tolist()
    assert sorted(tested) == list(range(len(clips)))


def test_every_fold_has_both_corpora_and_sexes_and_a_dev_part() -> None:
    clips = [clip(f"r{n}", "male" if n % 2 else "female") for n in range(24)]
    clips += [clip(f"e{n}", "male" if n % 2 else "female", "emodb") for n in range(10)]
    for split in folds(clips):
        assert {(clips[index].corpus, clips[index].sex) for index in split.test} == {
            ("ravdess", "male"),
            ("ravdess", "female"),
            ("emodb", "male"),
            ("emodb", "female"),
        }
        assert {clips[index].corpus for index in split.dev} == {"ravdess", "emodb"}


def test_noise_has_the_wanted_level() -> None:
    clean = sound()
    noise = add_noise(clean, 10.0, np.random.default_rng(0)) - clean
    assert 10 * np.log10(np.mean(clean**2) / np.mean(noise**2)) == pytest.approx(10, abs=0.1)


def test_a_room_answers_after_the_sound_never_before() -> None:
    click = np.zeros(SAMPLE_RATE, np.float32)
    click[4000] = 1
    wet = reverberate(click, 0.5, np.random.default_rng(0))
    assert np.abs(wet[:4000]).max() < 1e-6
    early, late = (np.mean(wet[4000 + at : 4000 + at + 1600] ** 2) for at in (200, 6000))
    assert early > 100 * late > 0


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_changed_clips_are_finite_and_within_range(seed: int) -> None:
    changed = augment_speech(sound(0.5), HOW, np.random.default_rng(seed))
    assert np.isfinite(changed).all() and np.abs(changed).max() <= 1
    assert 0.4 * SAMPLE_RATE < len(changed) < 0.6 * SAMPLE_RATE


@given(st.integers(1, 400), st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_hiding_keeps_most_frames_of_any_clip(frames: int, seed: int) -> None:
    features = np.ones((frames, 64), np.float32)
    result = hide_parts(features, HOW, np.random.default_rng(seed))
    assert 1 <= len(result) <= HOW.longest
    assert len(result) >= min(round(0.8 * frames), HOW.longest) - 1
    assert features.all()
    assert result.any()


def test_the_first_version_is_the_clean_one_as_the_robot_hears_it() -> None:
    pcm = (sound() * 32767).astype(np.int16)
    one = Clip("c", "s", "male", 0, "n", pcm.astype(np.float32) / 32768)
    ((clean, changed),) = all_versions([one], HOW)
    np.testing.assert_allclose(clean, audio_input(pcm), atol=0.01)
    assert clean.shape != changed.shape or np.abs(clean - changed).max() > 0.1


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    data = tmp_path / "data"
    for actor in range(1, 11):
        for emotion in (1, 3, 5):
            name = f"03-01-{emotion:02d}-01-01-01-{actor:02d}.flac"
            file = data / "ravdess_speech_16k" / f"Actor_{actor:02d}" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            time = np.arange(SAMPLE_RATE // 2) / SAMPLE_RATE
            tone = np.sin(2 * np.pi * 400 * emotion * time) + 0.1 * sound(0.5, actor)
            soundfile.write(file, 0.3 * tone, SAMPLE_RATE)
    for speaker in emodb_speakers():
        file = data / "emodb" / "full" / f"{speaker}a01Na.flac"
        file.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(file, sound(0.6, int(speaker)), SAMPLE_RATE)
    (data / "emodb" / "full" / "03a02Nb.flac").write_bytes(b"broken")
    sections = {
        "trainer": {"epochs": 1, "batch_size": 8, "learning_rate": 0.01},
        "network": {"widths": [4, 4], "hidden": 8, "dilations": [1]},
        "augmentation": {"variants": 2},
    }
    return Recipe("audio", sections, tmp_path / "runs", data, seed=1)


def emodb_speakers() -> list[str]:
    return ["03", "08", "09", "10", "11", "12", "13", "14", "15", "16"]


def test_training_tests_every_clip_once_and_leaves_a_part(recipe: Recipe) -> None:
    train(recipe)
    best = recipe.out / "best"
    figures = json.loads((best / "metrics.json").read_text())
    assert figures["reports"]["together"]["n"] == 40
    assert figures["reports"]["ravdess"]["n"] == 30
    assert figures["left_out"] == {"emodb: unreadable": 1}
    assert set(figures["test"]) == {
        "uar_together",
        "uar_ravdess",
        "uar_emodb",
        "accuracy_together",
    }
    assert not set(figures["held_out"]["dev"]) & set(figures["held_out"]["test"])
    assert len(list((recipe.out / "seed-1").glob("fold-*/best.safetensors"))) == FOLDS
    embedded = load_embeddings(best / "embeddings.safetensors")
    assert sum(len(part.labels) for part in embedded.values()) == 40
    features = np.zeros((1, 20, 64), np.float32)
    inputs = {"features": features, "frames": np.array([20])}
    got = Network(best / "audio.onnx")(inputs)["embedding"]
    assert got.shape == (1, 128) and np.isfinite(got).all()


def test_a_trained_run_can_be_evaluated(recipe: Recipe) -> None:
    train(recipe)
    run = read_run(recipe.out)
    assert run.names == LABELS and run.splits["test"].probabilities.shape == (1, 40, 7)
    predicted = run.splits["test"].probabilities[0].argmax(axis=1)
    found = json.loads((recipe.out / "best" / "metrics.json").read_text())["test"]
    assert metrics.accuracy(run.splits["test"].labels, predicted, 7) == found["accuracy_together"]


def test_missing_data_are_named(recipe: Recipe, tmp_path: Path) -> None:
    elsewhere = Recipe("audio", recipe.sections, recipe.out, tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="ravdess"):
        train(elsewhere)


@pytest.mark.parametrize("section", [{"variants": 0}, {"speed": 0.9}, {"noisy": 2.0}, {"gane": 3}])
def test_impossible_augmentation_is_refused(recipe: Recipe, section: dict[str, float]) -> None:
    sections = {**recipe.sections, "augmentation": section}
    with pytest.raises(RecipeError):
        train(Recipe("audio", sections, recipe.out, recipe.data))
